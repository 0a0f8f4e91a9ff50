//! Hand-over: rules 4 and 3, as the nest that gives and as the nest that takes.

use crate::rules::Rule;
use crate::state::{Carried, Frame, Id, Life, Name, Offer, Phase, Snap, View};
use crate::states::Before;
use crate::step::Step;

impl Step<'_> {
    /// Rule 4: the old owner serves until the new one is ready.
    pub(crate) fn depart_when_ready(&mut self, me: Id, name: Name) -> bool {
        let nest = self.nest(me);
        let Some(owner) = nest.view.owner(name) else { return false };
        let ready = nest.ready[owner] == nest.view || !self.follows(Rule::AwaitReady);
        if !ready || nest.names[name].snap.is_some() {
            return false;
        }
        self.check_departing(me, owner, name);
        if let Some(bird) = &mut self.here_mut(me, name).bird {
            bird.phase = Phase::Departing;
        }
        true
    }

    /// A life is out of service; what is left of it is to go on elsewhere.
    pub(crate) fn on_departed(&mut self, me: Id, name: Name) {
        if let Some(bird) = self.here_mut(me, name).bird.take() {
            let carried = self.carried_by(me, name, bird);
            self.here_mut(me, name).snap = Some(Snap { life: bird.life, carried, sent_to: None });
        }
        self.round(me);
    }

    /// What becomes of a snap whose name belongs to another nest.
    pub(crate) fn move_on(&mut self, me: Id, name: Name) -> bool {
        let nest = self.nest(me);
        let Some(snap) = nest.names[name].snap.as_ref().filter(|snap| snap.sent_to.is_none())
        else {
            return false;
        };
        let Some(owner) = nest.view.owner(name) else { return false };
        let life = snap.life;
        if !self.is_alive(me, name, life.birth) {
            let memory = self.memory_at(me);
            self.excuse_conflict(memory);
            self.drop_snap(me, name);
            return true;
        }
        // Only to an owner that sees the view as we do: else the two would go back and forth.
        let agrees = nest.seals[owner].is_some_and(|kept| kept.seal.view == nest.view);
        if !agrees && self.follows(Rule::DepartToSealed) {
            return false;
        }
        self.send_depart(me, owner, name);
        if self.follows(Rule::KeepSnaps) {
            if let Some(snap) = &mut self.here_mut(me, name).snap {
                snap.sent_to = Some(owner as u8);
            }
        } else {
            self.drop_snap(me, name);
        }
        true
    }

    fn send_depart(&mut self, me: Id, to: Id, name: Name) {
        if let Some(Snap { life, carried, .. }) = self.here(me, name).snap.clone() {
            self.send(me, to, Frame::Depart { name: name as u8, life, carried });
        }
    }

    /// The link opened anew: what was offered may never have arrived.
    pub(crate) fn resend_departs(&mut self, me: Id, to: Id) {
        for name in 0..self.config.names {
            if self.here(me, name).snap.as_ref().is_some_and(|snap| snap.sent_to == Some(to as u8))
            {
                self.send_depart(me, to, name);
            }
        }
    }

    fn drop_snap(&mut self, me: Id, name: Name) {
        if let Some(snap) = self.here_mut(me, name).snap.take()
            && self.follows(Rule::TellEndedSnaps)
        {
            // It may have been listed to a later owner than the one that took it.
            self.tell_ended(me, name, snap.life, None);
        }
    }

    fn is_my_snap(&self, me: Id, name: Name, life: Life) -> bool {
        self.here(me, name).snap.as_ref().is_some_and(|snap| snap.life == life)
    }

    /// The bird lives elsewhere now, or its name was stopped: whoever says so knows what is true.
    pub(crate) fn on_taken(&mut self, me: Id, name: Name, life: Life) {
        if self.is_my_snap(me, name, life) {
            self.drop_snap(me, name);
        }
    }

    /// It isn't the owner, in its view. The snap is kept for whoever is.
    pub(crate) fn on_refused(&mut self, me: Id, from: Id, name: Name, life: Life, view: View) {
        if !self.is_my_snap(me, name, life) {
            return;
        }
        if let Some(snap) = &mut self.here_mut(me, name).snap
            && snap.sent_to == Some(from as u8)
        {
            snap.sent_to = None;
        }
        let mine = self.nest(me).view;
        if self.follows(Rule::RefusalsUnseal)
            && self.nest(me).seals[from].is_some_and(|kept| kept.seal.view == mine)
        {
            // It isn't where its seal says, and must seal anew.
            if let Some(kept) = &mut self.nest_mut(me).seals[from] {
                kept.seal.view = view;
            }
            self.send_seal(me, from);
        }
    }

    /// Another nest hands a bird over.
    pub(crate) fn on_depart(&mut self, me: Id, from: Id, name: Name, life: Life, carried: Carried) {
        let id = name as u8;
        if self.was_accepted(me, name, from, life.fence) {
            return self.send(me, from, Frame::Hatched { name: id, life });
        }
        let covers = self.nest(me).known >> life.birth & 1 == 1;
        if covers && !self.is_alive(me, name, life.birth) {
            self.unlist(me, name, from);
            self.excuse_conflict(carried.into_all().fold(0, |memory, state| memory | state.memory));
            return self.send(me, from, Frame::Gone { name: id, life });
        }
        if !self.owns(me, name) {
            let view = self.nest(me).view;
            if !self.follows(Rule::RefusalsEndNoWait) {
                self.unlist(me, name, from);
                if let Some(kept) = &mut self.nest_mut(me).seals[from] {
                    kept.seal.listing[name] = None;
                }
            }
            return self.send(me, from, Frame::Refused { name: id, life, view });
        }
        let offers = &mut self.here_mut(me, name).offers;
        offers.retain(|offer| usize::from(offer.from) != from);
        let at = offers.partition_point(|offer| usize::from(offer.from) < from);
        offers.insert(at, Offer { from: from as u8, life, carried });
    }

    /// A limit that the core no longer has: the state of a life that was on its way already when its record lost against
    /// another's is dropped.
    const fn excuse_conflict(&mut self, memory: u8) {
        self.world.excused |= memory;
    }

    /// Whether that nest's offer was taken.
    pub(crate) fn was_accepted(&self, me: Id, name: Name, from: Id, fence: u8) -> bool {
        self.follows(Rule::RememberAccepted)
            && self.here(me, name).accepted & self.life_at(from, fence) != 0
    }

    /// Answers all offers of a name. The best one of the winning record goes on: here and now, or as what it
    /// was if a life runs already. What the others carry is merged into it.
    pub(crate) fn take_offers(&mut self, me: Id, name: Name, winner: Option<u8>) -> Option<Before> {
        let mut best: Option<Offer> = None;
        let mut others = Vec::new();
        for offer in std::mem::take(&mut self.here_mut(me, name).offers) {
            let (from, life) = (usize::from(offer.from), offer.life);
            self.unlist(me, name, from);
            if Some(life.birth) != winner {
                others.extend(offer.carried.into_all());
                self.send(me, from, Frame::Gone { name: name as u8, life });
                continue;
            }
            self.here_mut(me, name).accepted |= self.life_at(from, life.fence);
            self.send(me, from, Frame::Hatched { name: name as u8, life });
            if best.as_ref().is_none_or(|best| best.life.fence < life.fence) {
                others.extend(
                    best.replace(offer).into_iter().flat_map(|best| best.carried.into_all()),
                );
            } else {
                others.extend(offer.carried.into_all());
            }
        }
        if winner.is_none() {
            // The state of a bird that was stopped goes nowhere.
            others.clear();
        }
        if self.here(me, name).bird.is_some() {
            others.extend(best.into_iter().flat_map(|best| best.carried.into_all()));
            others.into_iter().for_each(|state| self.merge(me, name, state));
            return None;
        }
        let own = self.here(me, name).snap.as_ref();
        let outdone = best.as_ref().is_some_and(|best| {
            let same = |own: &&Snap| own.life.birth == best.life.birth && own.sent_to.is_some();
            own.filter(same).is_some_and(|own| own.life.fence > best.life.fence)
        });
        let Some(best) = best.filter(|_| !outdone) else {
            others.into_iter().for_each(|state| self.merge(me, name, state));
            return None;
        };
        if let Some(own) = self.here_mut(me, name).snap.take() {
            others.extend(own.carried.into_all());
        }
        let mut carried = best.carried;
        carried.others.extend(others);
        Some(Before { carried })
    }

    /// Sends offers back that reached the wrong nest. That of a nest that is gone is the last copy there is.
    pub(crate) fn return_offers(&mut self, me: Id, name: Name) -> bool {
        if self.here(me, name).offers.is_empty() {
            return false;
        }
        let view = self.nest(me).view;
        for Offer { from, life, carried } in std::mem::take(&mut self.here_mut(me, name).offers) {
            let from = usize::from(from);
            let here = self.here(me, name);
            let kept = here.snap.is_none() && here.bird.is_none() && !view.has(from);
            if view.has(from) || self.follows(Rule::RefuseAll) {
                self.send(me, from, Frame::Refused { name: name as u8, life, view });
            }
            if kept && self.follows(Rule::KeepOrphans) {
                self.here_mut(me, name).snap = Some(Snap { life, carried, sent_to: None });
            }
        }
        true
    }
}
