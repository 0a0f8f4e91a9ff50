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
use crate::registry::{Grounding, Record};
use crate::wire::{Carried, Life};
use crate::{
    BirdName, Cause, Dot, Effect, EndWhy, Event, Fence, Hlc, NestId, NestName, SpeciesId, Why,
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

    pub(super) fn nest_name(&self, id: NestId) -> Option<NestName> {
        if id == self.id {
            return Some(self.me.name.clone());
        }
        self.roster.card(id).map(|card| card.name.clone())
    }
}
