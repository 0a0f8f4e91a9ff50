//! Where lives begin and end: rule 3, stops, and what becomes of two lives of a name.

use crate::register::Deed;
use crate::rules::Rule;
use crate::state::{Bird, Ended, Frame, Id, Life, Lost, Name, Phase, Snapshot};
use crate::states::Before;
use crate::step::Step;

impl Step<'_> {
    /// Takes the next step with a name, if there is one; false if not.
    pub(crate) fn consider(&mut self, me: Id, name: Name) -> bool {
        match self.here(me, name).bird {
            Some(bird) if bird.phase == Phase::Running => self.consider_living(me, name, bird),
            Some(_) => false,
            None => self.consider_absent(me, name),
        }
    }

    fn consider_living(&mut self, me: Id, name: Name, bird: Bird) -> bool {
        let birth = bird.life.birth;
        if !self.is_alive(me, name, birth) {
            let lost = self.winner_birth(me, name).is_some();
            self.check_end(me, name, birth);
            return if lost && !self.follows(Rule::LosersEnd) { false } else { self.end(me, name) };
        }
        if self.nest(me).stopped {
            return self.set_phase(me, name, Phase::Departing);
        }
        if !self.owns(me, name) {
            return self.depart_when_ready(me, name);
        }
        if !self.may_hatch(me, name) || !self.is_accounted_for(me, name) {
            return false;
        }
        let known = self.nest(me).known;
        let Some(winner) = self.winner_birth(me, name) else { return false };
        if winner != birth {
            // A bird of the losing record gives way; what follows is decided when it has ended.
            return self.follows(Rule::LosersEnd) && self.end(me, name);
        }
        let mut done = false;
        if !self.here(me, name).offers.is_empty() {
            self.take_offers(me, name, Some(winner));
            done = true;
        }
        let records = self.world.register.records(known, name);
        if records.count_ones() > 1 {
            self.issue(me, Deed::Overwrite, name, Some(winner), records, None);
            done = true;
        }
        done
    }

    fn consider_absent(&mut self, me: Id, name: Name) -> bool {
        if !self.owns(me, name) {
            return self.return_offers(me, name) | self.move_on(me, name);
        }
        if self.nest(me).stopped || !self.may_hatch(me, name) || !self.is_accounted_for(me, name) {
            return false;
        }
        if self.begins_nothing(me) {
            return false;
        }
        let winner = self.winner_birth(me, name);
        let had_offers = !self.here(me, name).offers.is_empty();
        let offer = self.take_offers(me, name, winner);
        let snap = self.here(me, name).snap.as_ref();
        let under_way =
            snap.is_some_and(|snap| snap.sent_to.is_some()) && self.follows(Rule::SentSnapsWait);
        if under_way && offer.is_none() {
            // Its copy may run on another nest: only the answer frees it.
            return had_offers;
        }
        let moves = offer.is_some() || snap.is_some_and(|snap| Some(snap.life.birth) == winner);
        if winner.is_some() && offer.is_none() && !self.may_take_over(me) {
            return had_offers;
        }
        let kept = self.here_mut(me, name).snap.take();
        let Some(birth) = winner else { return had_offers || kept.is_some() };
        let kept = kept.map(|snap| Before::kept(snap, birth));
        self.check_hatch(me, name, birth, moves);
        self.hatch(me, name, birth, offer.or(kept).unwrap_or_default());
        true
    }

    /// Whether this nest knows all that it must know about a name before it decides about it.
    fn may_hatch(&self, me: Id, name: Name) -> bool {
        self.is_settled(me, name) || !self.follows(Rule::DecideSettled)
    }

    /// Rule 3: every nest that listed the name has followed it up, or offers what it had.
    fn is_accounted_for(&self, me: Id, name: Name) -> bool {
        let here = self.here(me, name);
        let winner = self.winner_birth(me, name);
        let offered = |from: Id| here.offers.iter().any(|offer| usize::from(offer.from) == from);
        let waits = |(from, listed): (Id, &Option<Life>)| {
            let every = self.follows(Rule::AwaitEveryBirth);
            let counts = listed.filter(|life| every || Some(life.birth) == winner);
            counts.is_some() && !offered(from)
        };
        let some = !here.offers.is_empty() && !self.follows(Rule::AwaitEveryListing);
        some || !self.follows(Rule::AwaitListed) || !here.listed.iter().enumerate().any(waits)
    }

    fn hatch(&mut self, me: Id, name: Name, birth: u8, before: Before) {
        let fence = self.fresh_fence(me);
        let life = Life { birth, fence };
        let (past, memory) = self.inherit(me, name, before);
        let bird = Bird { life, phase: Phase::Running, past, memory, ends_here: false };
        self.here_mut(me, name).bird = Some(bird);
    }

    fn set_phase(&mut self, me: Id, name: Name, phase: Phase) -> bool {
        if let Some(bird) = &mut self.here_mut(me, name).bird {
            bird.phase = phase;
        }
        true
    }

    fn end(&mut self, me: Id, name: Name) -> bool {
        self.set_phase(me, name, Phase::Ending)
    }

    /// A life that was told to end has ended.
    pub(crate) fn on_over(&mut self, me: Id, name: Name) {
        if let Some(bird) = self.here_mut(me, name).bird.take() {
            self.follow_up(me, name, bird);
        }
        self.round(me);
    }

    /// A bird ends of itself: its record goes, or, if it lost against another, only its own.
    pub(crate) fn on_end_of_itself(&mut self, me: Id, name: Name) {
        self.world.budget.ends -= 1;
        let Some(bird) = self.here_mut(me, name).bird.take() else { return };
        if self.is_alive(me, name, bird.life.birth) {
            let known = self.nest(me).known;
            let records = self.world.register.records(known, name);
            let winner = self.winner_birth(me, name);
            if winner == Some(bird.life.birth) {
                self.issue(me, Deed::End, name, None, records, None);
            } else {
                self.issue(me, Deed::Overwrite, name, winner, records, None);
            }
        }
        // Its state is no longer wanted.
        self.world.excused |= bird.memory;
        self.follow_up(me, name, Bird { ends_here: true, ..bird });
        self.round(me);
    }

    /// A life is over here: whoever may wait for it is told.
    fn follow_up(&mut self, me: Id, name: Name, bird: Bird) {
        let left = self.left_by(me, name, bird);
        self.tell_ended(me, name, bird.life, left);
        if self.winner_birth(me, name).is_some() || self.here(me, name).lost.is_some() {
            self.here_mut(me, name).lost = Some(Lost { life: bird.life, left });
        }
    }

    /// Rule 3: whoever listed a name follows it up. It goes to the present owner.
    pub(crate) fn tell_ended(&mut self, me: Id, name: Name, life: Life, left: Option<Snapshot>) {
        let Some(owner) = self.owner(me, name).filter(|&owner| owner != me) else { return };
        if self.follows(Rule::TellEnds) {
            let after = self.world.register.of(self.nest(me).known, me);
            self.send(me, owner, Frame::Ended(Ended { name: name as u8, life, after, left }));
        }
    }

    /// A listed life is over. What its author did before counts first.
    pub(crate) fn on_ended(&mut self, me: Id, from: Id, ended: Ended) {
        let known = ended.after & !self.nest(me).known == 0;
        if known || !self.follows(Rule::EndsInOrder) {
            self.account_for_end(me, from, ended);
        } else {
            self.nest_mut(me).early_ends.push((from as u8, ended));
        }
    }

    pub(crate) fn finish_early_ends(&mut self, me: Id) {
        let known = self.nest(me).known;
        let is_due = |(_, ended): &(u8, Ended)| ended.after & !known == 0;
        if !self.nest(me).early_ends.iter().any(is_due) {
            return;
        }
        let (due, rest) =
            std::mem::take(&mut self.nest_mut(me).early_ends).into_iter().partition(is_due);
        self.nest_mut(me).early_ends = rest;
        let due: Vec<(u8, Ended)> = due;
        for (from, ended) in due {
            self.account_for_end(me, usize::from(from), ended);
        }
    }

    fn account_for_end(&mut self, me: Id, from: Id, ended: Ended) {
        let name = usize::from(ended.name);
        let is_that = |life: Option<Life>| life.is_some_and(|life| life.birth == ended.life.birth);
        if is_that(self.here(me, name).listed[from]) {
            self.unlist(me, name, from);
        }
        if self.follows(Rule::EndsReachSeals)
            && let Some(kept) = &mut self.nest_mut(me).seals[from]
            && is_that(kept.seal.listing[name])
        {
            // The seal may be for a view that is entered later: its listing is outdated, too.
            kept.seal.listing[name] = None;
        }
        let goes_on = self.owns(me, name) && self.winner_birth(me, name).is_some();
        if let Some(left) = ended.left.filter(|_| goes_on) {
            self.merge(me, name, left);
        }
    }

    /// One nest's listing of a name is accounted for.
    pub(crate) fn unlist(&mut self, me: Id, name: Name, from: Id) {
        self.here_mut(me, name).listed[from] = None;
    }

    /// Tells owners again which lives ended here because others go on: all, or those of one owner.
    pub(crate) fn tell_lost(&mut self, me: Id, owner: Option<Id>) {
        for name in 0..self.config.names {
            if owner.is_none() || self.owner(me, name) == owner {
                self.tell_lost_life(me, name);
            }
        }
    }

    pub(crate) fn tell_lost_life(&mut self, me: Id, name: Name) {
        let here = self.here(me, name);
        if let Some(Lost { life, left }) = here.lost
            && here.bird.is_none()
            && here.snap.is_none()
            && self.follows(Rule::RepeatLost)
        {
            self.tell_ended(me, name, life, left);
        }
    }

    /// A bird ended of itself elsewhere, and a life of it runs here: after a cut, the idle copy must not end
    /// the busy one.
    pub(crate) fn outlive(&mut self, me: Id, name: Name) {
        let Some(bird) = self.here(me, name).bird.filter(|bird| bird.phase == Phase::Running)
        else {
            return;
        };
        if !self.follows(Rule::LivesOutlive) {
            return;
        }
        let records = self.world.register.records(self.nest(me).known, name);
        let mut same = 0;
        for (at, op) in self.world.register.each(records) {
            same |= u16::from(op.birth == bird.life.birth) << at;
        }
        self.issue(me, Deed::ReAdd, name, Some(bird.life.birth), same, None);
        if let Some(bird) = &mut self.here_mut(me, name).bird {
            bird.ends_here = false;
        }
    }
}
