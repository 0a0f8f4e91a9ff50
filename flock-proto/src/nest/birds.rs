//! What is to happen with one name: the one place where lives begin and end.
//!
//! [`Nest::consider`] looks at everything known of a name — its record, its owner, the life here,
//! what others listed — and takes the next step, if there is one. It may be called at any time,
//! and changes nothing if nothing is due.

use bytes::Bytes;

use super::Nest;
use super::moving::Before;
use super::states::Lineage;
use crate::bugs::{Bug, planted};
use crate::name_map::Hashed;
use crate::registry::{Change, Changes, Grounding, IntoChanges, Record};
use crate::wire::{Carried, Ended, Frame, Life, Listed, Snapshot};
use crate::{
    BirdName, Cause, Dot, Effect, EndWhy, Event, Fence, Hlc, NestId, NestName, Route, SpeciesId,
    Why,
};

/// A life on this nest.
#[derive(Debug)]
pub(super) struct Bird {
    // Of its record what is needed should that be removed and the bird go on. There are as many of these
    // as there are birds here: what few have is boxed, and the name stands in the map.
    pub(super) birth: Dot,
    pub(super) species: SpeciesId,
    token: u64,
    args: Bytes,
    /// The fence now; a merge after a heal raises it.
    pub(super) fence: Fence,
    pub(super) lineage: Lineage,
    pub(super) phase: Phase,
    /// It hatched here.
    pub(super) born: bool,
    /// It was stopped, or ended: whoever has the name since is another.
    pub(super) ends_here: bool,
}

impl Bird {
    /// It hatches or runs, and wasn't told to end or to leave.
    pub(super) const fn is_alive(&self) -> bool {
        matches!(self.phase, Phase::Hatching | Phase::Running)
    }

    /// The fence that it hatched with.
    pub(super) const fn first_fence(&self) -> Fence {
        self.lineage.own.1
    }

    /// A record that says of it what there is to say, to be written anew.
    pub(super) fn record(&self, name: &BirdName) -> Record {
        Record {
            dot: self.birth,
            birth: self.birth,
            hlc: Hlc(0),
            name: name.clone(),
            species: self.species,
            args: self.args.clone(),
            token: self.token,
            grounded: None,
            anew: false,
        }
    }
}

/// How far a life is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// The driver was told to hatch it.
    Hatching,
    /// It runs.
    Running,
    /// The driver was told to end it.
    Ending,
    /// The driver was told to take it out of service.
    Departing,
}

impl Nest {
    pub(super) fn consider(&mut self, name: &BirdName, hash: u64) {
        let mine = self.owns(hash);
        let bird = self.birds.get(&Hashed(hash, name.as_str()));
        match bird.map(|bird| (bird.phase, bird.birth)) {
            Some((Phase::Ending, _)) => {}
            Some((Phase::Departing, birth)) => self.outlive_grounding(name, birth),
            Some((Phase::Hatching | Phase::Running, birth)) => {
                // As nearly always. What would follow from several records, or others, can't.
                let sound = self.registry.is_sound(hash, name, birth);
                if !sound {
                    self.outlive_grounding(name, birth);
                }
                self.consider_living(name, hash, mine, birth, sound);
            }
            None => self.consider_absent(name, hash, mine),
        }
    }

    fn consider_living(&mut self, name: &BirdName, hash: u64, mine: bool, birth: Dot, sound: bool) {
        if !sound && !self.registry.is_alive(name, birth) {
            let lost = self.registry.winner(name).is_some();
            if lost && planted(Bug::LivingLosers) {
                return;
            }
            return self.end(name, if lost { EndWhy::LostConflict } else { EndWhy::Stopped });
        }
        if self.is_stopped() {
            return self.suspend(name);
        }
        if !mine {
            return self.depart_when_ready(name, hash);
        }
        if !self.is_settled(hash) {
            self.on_hold.insert(name.clone());
            return;
        }
        if !self.offers_complete(name) || (sound && !self.offers.contains_key(name)) {
            return;
        }
        let Some(winner) = self.registry.winner(name) else { return };
        if winner.birth != birth && !planted(Bug::LivingLosers) {
            // A bird of the losing record gives way; what follows is decided when it has ended.
            return self.end(name, EndWhy::LostConflict);
        }
        if self.offers.contains_key(name) {
            self.take_offers(name, Some(winner.birth));
        }
        // As long as it may fail to hatch, there is something left of those that gave way.
        let hatched = self.birds.get(name).is_some_and(|bird| bird.phase == Phase::Running);
        if hatched && self.registry.siblings(name).len() > 1 {
            let stamp = self.stamp();
            let change = self.registry.overwrite(name, stamp, winner.grounded);
            self.on_own_change(change);
        }
    }

    /// The bird was grounded on another nest, but a life of it is here: after a partition, the one
    /// that crashed must not end the sound one, nor leave it here without a record that says so.
    fn outlive_grounding(&mut self, name: &BirdName, birth: Dot) {
        let winner = self.registry.winner(name);
        if winner.is_some_and(|winner| winner.birth == birth && winner.grounded.is_some()) {
            let stamp = self.stamp();
            let change = self.registry.overwrite(name, stamp, None);
            self.on_own_change(change);
        }
    }

    fn consider_absent(&mut self, name: &BirdName, hash: u64, mine: bool) {
        if !mine {
            self.refuse_offers(name);
            return self.move_on(name, hash);
        }
        if self.is_stopped() {
            if self.snaps.contains_key(name) {
                // Calls may wait on its inbox.
                self.wanted.insert(name.clone());
            }
            return;
        }
        if !self.is_settled(hash) {
            self.on_hold.insert(name.clone());
            return;
        }
        if !self.offers_complete(name) {
            return;
        }
        let winner = self.registry.winner_at(hash, name);
        if winner.as_ref().is_some_and(|winner| self.may_live_on(winner)) {
            self.on_hold.insert(name.clone());
            return;
        }
        let offer = self.take_offers(name, winner.as_ref().map(|w| w.birth));
        let moved = offer.is_some();
        let snap = self.snaps.get(name);
        if snap.is_some_and(|snap| snap.is_sent()) && !moved {
            // Its copy is under way to a nest that may run it: only the answer frees it.
            return;
        }
        let kept = self.snaps.remove(name);
        if kept.is_some() {
            self.release_window(name);
            // Calls may wait on its inbox; if it doesn't hatch again, they must be told.
            self.wanted.insert(name.clone());
        }
        let Some(winner) = winner else { return };
        if winner.grounded.is_some() {
            return;
        }
        if !self.me.species.contains(&winner.species) {
            return self.tell(Event::UnknownSpecies(name.clone()));
        }
        let why = if moved || kept.as_ref().is_some_and(|snap| snap.birth == winner.birth) {
            Why::Move
        } else if self.is_being_started(name, winner.birth) {
            Why::Start
        } else if self.is_being_revived(name) {
            Why::Revive
        } else {
            Why::NestLost
        };
        let kept = kept.map(|snap| {
            let mut carried = snap.carried;
            if snap.birth != winner.birth {
                let others = carried.into_all().collect();
                carried = Carried { others, ..Carried::default() };
            }
            Before { fence: snap.fence, crashes: snap.crashes, carried, ..Before::default() }
        });
        let before = self.with_copy(&winner, why, offer.or(kept).unwrap_or_default());
        let why = if before.carried.copy { Why::NestLost } else { why };
        self.hatch(winner, hash, why, before);
    }

    /// Whether another nest may run this bird, though nothing is listed: it would be hatched here because the
    /// nest that had it is lost, while this one doesn't see enough others, or enters a view in a moment
    /// in which somebody else owns the name or lists it.
    fn may_live_on(&self, winner: &Record) -> bool {
        let (name, birth) = (&winner.name, winner.birth);
        let mut offers = self.offers.get(name).into_iter().flatten();
        if offers.any(|(_, offer)| offer.birth == birth) {
            return false;
        }
        if self.lacks_quorum() || self.may_be_fenced_above(name.hash64(), winner.species) {
            // It may have hatched elsewhere from what is still kept here.
            return true;
        }
        let kept = || self.snaps.get(name).is_some_and(|snap| snap.birth == birth);
        self.joins_wait()
            && !(kept() || self.is_being_started(name, birth) || self.reviving.contains(name))
    }

    fn hatch(&mut self, record: Record, hash: u64, why: Why, before: Before) {
        let name = record.name.clone();
        // The life before may have had its fence from a clock that ours doesn't follow.
        let mut last = before.fence.max(self.fences.remove(&name).unwrap_or_default());
        if planted(Bug::LowFences) {
            last = Fence(0);
        }
        let fence = Fence(self.stamp().0.max(last.0.saturating_add(1)));
        self.wanted.remove(&name);
        self.routed.remove(&name);
        self.counters.hatches += 1;
        if before.carried.standby {
            let life = Life { name: name.clone(), birth: record.birth, fence };
            self.begin_keeping(life, before.givers);
        }
        let (lineage, snapshot, merges) = self.inherit(&record, fence, before.carried);
        self.out.push(Effect::Hatch {
            name: name.clone(),
            birth: record.birth,
            fence,
            species: record.species,
            args: record.args.clone(),
            why,
            crashes: before.crashes,
            snapshot,
            merges,
        });
        if self.audience {
            self.tell(Event::Hatching { bird: name.clone(), why });
        }
        let Record { birth, species, token, args, .. } = record;
        let phase = Phase::Hatching;
        let (born, ends_here) = (false, false);
        let bird = Bird { birth, species, token, args, fence, lineage, phase, born, ends_here };
        self.birds.insert_at(hash, name, Box::new(bird));
    }

    fn end(&mut self, name: &BirdName, why: EndWhy) {
        let Some(bird) = self.birds.get_mut(name) else { return };
        bird.phase = Phase::Ending;
        let fence = bird.fence;
        self.out.push(Effect::End { name: name.clone(), fence, why });
    }

    /// Takes a life off the books, if the driver's report is about it.
    pub(super) fn take_bird(&mut self, name: &BirdName, fence: Fence) -> Option<Bird> {
        let current = self.birds.get(name).is_some_and(|bird| fence >= bird.first_fence());
        if !current {
            return None;
        }
        let bird = self.birds.remove(name)?;
        self.note_fence(name, bird.fence);
        Some(*bird)
    }

    pub(super) fn on_hatched(&mut self, name: BirdName, fence: Fence) {
        let hash = name.hash64();
        if let Some(bird) = self.birds.get_mut(&Hashed(hash, name.as_str()))
            && fence >= bird.first_fence()
            && bird.phase == Phase::Hatching
        {
            bird.phase = Phase::Running;
            bird.born = true;
            bird.lineage.forget_unborn();
            self.see_to_copy(&name);
        }
        self.dirty.insert_at(hash, name);
    }

    pub(super) fn on_hatch_failed(&mut self, name: BirdName, fence: Fence, reason: String) {
        let Some(bird) = self.take_bird(&name, fence) else { return };
        // It may have been on its way out already.
        self.release_window(&name);
        self.stop_keeping(&name);
        self.drop_unhatched(&name, bird.birth, &reason);
        self.tell_ended(&name, bird.birth, bird.fence, None);
        self.dirty.insert(name);
    }

    /// Frees the name of a bird that was started and never hatched, and tells those who wait.
    fn drop_unhatched(&mut self, name: &BirdName, birth: Dot, reason: &str) {
        let mut op = None;
        if self.is_winner(name, birth) {
            // One that lived where this nest wasn't seen, and gave way, lives again.
            let change = self.registry.remove_birth(name, birth, Cause::HatchFailed);
            self.on_own_change(change);
            op = Some(self.registry.last_dot());
        }
        self.fail_start(name, birth, op, reason);
    }

    /// A life is over: because it was told to end, or because the bird was done.
    pub(super) fn on_ended(&mut self, name: BirdName, fence: Fence, state: Option<Bytes>) {
        let Some(mut bird) = self.take_bird(&name, fence) else { return };
        self.release_window(&name);
        if bird.phase != Phase::Ending && self.registry.is_alive(&name, bird.birth) {
            let change = if self.is_winner(&name, bird.birth) {
                self.registry.end(&name, bird.fence)
            } else {
                // Its record lost a conflict anyway: only that one goes.
                let stamp = self.stamp();
                let grounding = self.registry.winner(&name).and_then(|w| w.grounded);
                self.registry.overwrite(&name, stamp, grounding)
            };
            self.on_own_change(change);
        }
        let left = self.left_by(&name, &mut bird, state);
        self.stop_keeping(&name);
        self.tell_left(&name, bird.birth, bird.fence, left.clone());
        self.note_lost(&name, bird.birth, bird.fence, left);
        self.dirty.insert(name);
    }

    pub(super) fn on_grounded(
        &mut self,
        name: BirdName,
        fence: Fence,
        reason: String,
        crashes: u32,
    ) {
        let Some(bird) = self.take_bird(&name, fence) else { return };
        self.release_window(&name);
        if self.is_start_open(&name, bird.birth) {
            // It moved before it ever hatched: that its start failed is all there is to say.
            self.drop_unhatched(&name, bird.birth, &reason);
        } else if self.is_winner(&name, bird.birth) {
            let stamp = self.stamp();
            let change = self.registry.overwrite(&name, stamp, Some(Grounding { reason, crashes }));
            self.on_own_change(change);
        }
        self.stop_keeping(&name);
        self.tell_ended(&name, bird.birth, bird.fence, None);
        self.dirty.insert(name);
    }

    fn is_winner(&self, name: &BirdName, birth: Dot) -> bool {
        self.registry.winner(name).is_some_and(|winner| winner.birth == birth)
    }

    /// Follows a listing up: whoever owns the name now may go on.
    pub(super) fn tell_ended(
        &mut self,
        name: &BirdName,
        birth: Dot,
        fence: Fence,
        left: Option<Snapshot>,
    ) {
        if let Some(owner) = self.view.owner(name.hash64()).filter(|&owner| owner != self.id)
            && !planted(Bug::UntoldEnds)
        {
            // What became of the bird goes before: else the owner would have to ask for it.
            self.flush();
            let after = self.registry.last_dot().seq;
            let name = name.clone();
            self.send(owner, &Frame::Ended(Ended { name, birth, fence, after, left }));
        }
    }

    /// The same of a life that left these states.
    pub(super) fn tell_left(
        &mut self,
        name: &BirdName,
        birth: Dot,
        fence: Fence,
        left: Vec<Snapshot>,
    ) {
        if left.is_empty() {
            return self.tell_ended(name, birth, fence, None);
        }
        for state in left {
            self.tell_ended(name, birth, fence, Some(state));
        }
    }

    pub(super) fn on_listed_ended(&mut self, from: NestId, ended: Ended) {
        let known = self.registry.covers(Dot { origin: from, seq: ended.after });
        if known || planted(Bug::EarlyEnds) {
            return self.account_for_end(from, &ended);
        }
        self.early_ends.entry(from).or_default().push(ended);
        self.send_status(from, true);
    }

    /// Operations have come: ends that came before them may be accounted for now.
    pub(super) fn finish_early_ends(&mut self) {
        if self.early_ends.is_empty() {
            return;
        }
        for (from, ends) in std::mem::take(&mut self.early_ends) {
            for ended in ends {
                if self.registry.covers(Dot { origin: from, seq: ended.after }) {
                    self.account_for_end(from, &ended);
                } else {
                    self.early_ends.entry(from).or_default().push(ended);
                }
            }
        }
    }

    fn account_for_end(&mut self, from: NestId, ended: &Ended) {
        // A later life of the same bird may be listed by now.
        let is_that = |listed: &Listed| listed.birth == ended.birth && listed.fence <= ended.fence;
        if self.listed.get(&ended.name).and_then(|by| by.get(&from)).is_some_and(is_that) {
            self.unlist(&ended.name, from);
        }
        if let Some(seal) = self.seals.get_mut(from) {
            // The seal may be for a view that we enter later: its listing is outdated, too.
            seal.listing.retain(|listed| listed.name != ended.name || !is_that(listed));
        }
        self.surpass(&ended.name, ended.fence);
        let goes_on =
            self.owns(ended.name.hash64()) && self.registry.winner_birth(&ended.name).is_some();
        if let Some(left) = ended.left.clone().filter(|_| goes_on) {
            self.merge(&ended.name, left);
        }
    }

    /// Names that this nest has listed for us, and that are not accounted for.
    pub(super) fn listed_by(&self, from: NestId) -> Vec<BirdName> {
        let listed = self.listed.iter().filter(|(_, by)| by.contains_key(&from));
        listed.map(|(name, _)| name.clone()).collect()
    }

    /// One nest's listing of a name is accounted for.
    pub(super) fn unlist(&mut self, name: &BirdName, from: NestId) {
        if let Some(by) = self.listed.get_mut(name) {
            let listed = by.remove(&from);
            if by.is_empty() {
                self.listed.remove(name);
            }
            if let Some(listed) = listed {
                self.surpass(name, listed.fence);
            }
        }
        self.dirty.insert(name.clone());
    }

    pub(super) fn on_wanted(&mut self, name: BirdName) {
        if self.wanted.len() < self.config.wanted_cap {
            self.dirty.insert(name.clone());
            self.wanted.insert(name);
        }
    }

    /// Says where calls go that wait for a name, as soon as it can be said.
    pub(super) fn route_name(&mut self, name: &BirdName, hash: u64) {
        let routed = self.routed.get(name).copied();
        if routed.is_none() && !self.wanted.contains(name) {
            return;
        }
        let Some(route) = self.route_of(name, hash) else { return };
        let asked = self.wanted.remove(name);
        match &route {
            Route::To(nest) if routed == Some(*nest) && !asked => return,
            Route::To(nest) if self.owns(hash) => {
                self.routed.insert(name.clone(), *nest);
            }
            _ => {
                self.routed.remove(name);
            }
        }
        self.out.push(Effect::Route { name: name.clone(), route });
    }

    fn route_of(&self, name: &BirdName, hash: u64) -> Option<Route> {
        if self.birds.contains_key(name) {
            return None;
        }
        match self.view.owner(hash) {
            Some(owner) if owner != self.id => return Some(Route::To(owner)),
            Some(_) => {}
            None => return None,
        }
        if self.is_stopped() {
            return Some(Route::NoQuorum);
        }
        // Who listed the bird serves it until it departs.
        let runs =
            |by: &NestId| !self.offers.get(name).is_some_and(|offers| offers.contains_key(by));
        if let Some(by) = self.listed.get(name).and_then(|by| by.keys().copied().find(runs)) {
            return Some(Route::To(by));
        }
        let settled = self.is_settled(hash) || planted(Bug::UnsettledDenial);
        if !settled || self.offers.contains_key(name) || self.snaps.contains_key(name) {
            return None;
        }
        match self.registry.winner(name) {
            None => Some(Route::NoSuchBird),
            Some(Record { grounded: Some(Grounding { reason, .. }), .. }) => {
                Some(Route::Grounded { reason })
            }
            Some(record) if !self.me.species.contains(&record.species) => {
                Some(Route::UnknownSpecies(record.species))
            }
            Some(_) => None,
        }
    }

    /// What operations of others did.
    pub(super) fn on_changes(&mut self, changes: Changes) {
        let mut changes = changes.into_iter();
        while let Some(change) = self.next_news(&mut changes) {
            self.on_change(change, false);
        }
    }

    /// The next change that anybody here wants to know of. Starts of birds that live elsewhere come by
    /// the million, and mostly nobody does.
    pub(super) fn next_news(&self, changes: &mut IntoChanges) -> Option<Change> {
        changes.next_but_starts(|hash, name| !self.audience && !self.concerns(name, hash))
    }

    /// What an operation did to a name, whoever issued it.
    pub(super) fn on_change(&mut self, change: Change, own: bool) {
        let Change { name, hash, before, after, cause, fence, conflict } = change;
        if let Some((birth, _)) = before.filter(|_| cause.is_some()) {
            if let Some(bird) = self.birds.get_mut(&name).filter(|bird| bird.birth == birth) {
                bird.ends_here = true;
            }
            if let Some(snap) = self.snaps.get_mut(&name).filter(|snap| snap.birth == birth) {
                snap.ends_here = true;
            }
        }
        self.forget_stopped(&name);
        match (before, after) {
            (None, Some(_)) => {
                if self.audience {
                    self.tell(Event::Started(name.clone()));
                }
                if !own {
                    self.tell_lost_life(&name);
                }
            }
            (Some((birth, _)), None) => {
                if cause == Some(Cause::HatchFailed) && !own {
                    // Its start may have been asked here since: the name was another's until now.
                    self.fail_start(&name, birth, None, "it failed to hatch where it was first");
                }
                // A comparison doesn't say why a record is gone.
                let cause = cause.unwrap_or(Cause::Stopped);
                if own || !self.outlives(&name, &cause, fence) {
                    if !own {
                        self.on_removed(&name, birth);
                    }
                    self.tell(Event::Ended(name.clone(), cause));
                }
            }
            (Some((_, false)), Some((_, true))) => {
                let grounding = self.registry.winner(&name).and_then(|record| record.grounded);
                if let Some(Grounding { reason, crashes }) = grounding {
                    self.tell(Event::Grounded { bird: name.clone(), reason, crashes });
                }
            }
            (Some((_, true)), Some((_, false))) => self.tell(Event::Revived(name.clone())),
            _ => {}
        }
        if let Some((winner, loser)) = conflict {
            self.on_conflict(&name, winner);
            let (winner, loser) = (self.nest_name(winner.origin), self.nest_name(loser.origin));
            self.tell(Event::Conflict { bird: name.clone(), winner, loser });
        }
        // Of a million names that come, most are others'.
        if self.concerns(name.as_str(), hash) {
            self.dirty.insert_at(hash, name);
        }
    }

    /// Whether a change of this name may be followed by anything here. A view that gives the name to
    /// this nest has it looked at in any case.
    fn concerns(&self, name: &str, hash: u64) -> bool {
        let name = &Hashed(hash, name);
        self.owns(hash)
            || self.birds.contains_key(name)
            || self.snaps.contains_key(name)
            || self.offers.contains_key(name)
            || self.wanted.contains(name)
            || self.routed.contains_key(name)
            || self.served_names.contains_key(name)
            || self.lost.contains_key(name)
    }

    /// The bird ended of itself on another nest, but another life of it runs here: after a
    /// partition, the idle copy must not end the busy one. Its record comes back.
    fn outlives(&mut self, name: &BirdName, cause: &Cause, fence: Fence) -> bool {
        if *cause != Cause::Ended {
            return false;
        }
        let bird = self.birds.get(name).filter(|bird| bird.is_alive());
        let Some(record) = bird.map(|bird| bird.record(name)) else { return false };
        let nest = self.nest_name(record.birth.origin);
        let stamp = self.stamp();
        let change = self.registry.re_add(&record, stamp);
        self.tell(Event::Conflict { bird: name.clone(), winner: nest.clone(), loser: nest });
        if let Some(bird) = self.birds.get_mut(name) {
            bird.ends_here = false;
        }
        self.keep_anew(name);
        self.raise_fence(name, fence);
        self.dirty.insert(change.name);
        true
    }

    pub(super) fn on_own_change(&mut self, change: impl IntoIterator<Item = Change>) {
        for change in change {
            self.on_change(change, true);
        }
        self.flush_many();
    }

    /// The same of one that certainly did something.
    pub(super) fn on_own_operation(&mut self, change: Change) {
        self.on_change(change, true);
        self.flush_many();
    }

    pub(super) fn nest_name(&self, id: NestId) -> Option<NestName> {
        if id == self.id {
            return Some(self.me.name.clone());
        }
        self.roster.card(id).map(|card| card.name.clone())
    }
}
