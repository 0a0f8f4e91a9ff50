//! Copies of the states of birds that run on other nests: held, and given on when those are gone.

#[cfg(feature = "sim")]
use std::collections::BTreeSet;

#[cfg(feature = "sim")]
use bytes::Bytes;

use super::Nest;
use super::moving::{Before, Snap};
use crate::bugs::{Bug, planted};
use crate::name_map::NameMap;
use crate::registry::Record;
use crate::wire::{Checkpoint, Checkpointed, Forget, Frame, Life, Snapshot};
use crate::{BirdName, Dot, Fence, NestId, Time, Why};

/// A copy that this nest holds for another.
#[derive(Debug)]
struct Held {
    birth: Dot,
    fence: Fence,
    number: u64,
    /// The nest whose death makes it the last there is.
    runner: NestId,
    snapshot: Snapshot,
}

/// So many copies of one bird are held.
const LIVES: usize = 2;

impl Held {
    const fn rank(&self) -> (Fence, u64) {
        (self.fence, self.number)
    }
}

/// Copies that a nest holds for others.
#[derive(Debug, Default)]
pub(super) struct Copies {
    /// Of each bird one, but for the time after a cut: there two lives may each have one.
    held: NameMap<Vec<Held>>,
    bytes: usize,
    /// Birds that moved, of which this nest holds the last state until then.
    given: NameMap<Time>,
}

impl Copies {
    /// Takes a copy in place of those that are in it.
    fn put(&mut self, name: &BirdName, held: Held) {
        let (life, has) =
            (held.snapshot.life, |other: &Held| held.snapshot.has(&other.snapshot.moment()));
        self.take(name, |other| has(other) || other.snapshot.life == life);
        self.bytes += held.snapshot.state.len();
        let copies = self.held.get_or_insert_with(name, Vec::new);
        copies.push(held);
        copies.sort_by_key(Held::rank);
        if let Some(first) = copies.first().map(Held::rank).filter(|_| copies.len() > LIVES) {
            self.take(name, |other| other.rank() == first);
        }
    }

    /// Takes those copies of a bird out.
    fn take(&mut self, name: &BirdName, which: impl Fn(&Held) -> bool) -> Vec<Held> {
        let Some(copies) = self.held.get_mut(name) else { return Vec::new() };
        let (out, rest) = std::mem::take(copies).into_iter().partition(which);
        *copies = rest;
        if copies.is_empty() {
            self.held.remove(name);
            self.given.remove(name);
        }
        self.bytes -= out.iter().map(|held: &Held| held.snapshot.state.len()).sum::<usize>();
        out
    }

    fn of(&self, name: &BirdName) -> &[Held] {
        self.held.get(name).map_or(&[], Vec::as_slice)
    }
}

impl Nest {
    pub(super) fn on_checkpoint(&mut self, from: NestId, checkpoint: Checkpoint) {
        let Checkpoint { life: Life { name, birth, fence }, number, snapshot } = checkpoint;
        let stopped = self.registry.covers(birth) && !self.registry.is_alive(&name, birth);
        if self.view.member(from).is_none() || stopped {
            // It is dead for this nest, or the bird is: as soon as both agree, it is sent anew.
            return;
        }
        let moment = snapshot.moment();
        let copies = self.copies.of(&name);
        let newer = copies.iter().any(|held| held.snapshot.has(&moment))
            || (!copies.is_empty() && planted(Bug::OldCopies));
        let full = !newer && self.is_full(&snapshot);
        if !newer && !full {
            self.copies.put(&name, Held { birth, fence, number, runner: from, snapshot });
        }
        self.send(from, &Frame::Checkpointed(Checkpointed { name, number, refused: full }));
    }

    /// Whether there is no room for one more copy.
    const fn is_full(&self, snapshot: &Snapshot) -> bool {
        self.copies.bytes + snapshot.state.len() > self.config.standby_bytes
    }

    pub(super) fn on_forget(&mut self, from: NestId, forget: &Forget) {
        let Forget { life, number } = forget;
        self.copies
            .take(&life.name, |held| held.runner == from && held.rank() <= (life.fence, *number));
    }

    /// A bird was handed over: what it left is kept until a copy of its new life is held elsewhere.
    pub(super) fn keep_for(&mut self, name: &BirdName, runner: NestId) {
        let Some(snap) = self.snaps.get(name).filter(|snap| snap.carried.standby) else { return };
        let Some(snapshot) = snap.carried.snapshot.clone() else { return };
        let moment = snapshot.moment();
        let known = self.copies.of(name).iter().any(|held| held.snapshot.has(&moment));
        if !known && !self.is_full(&snapshot) {
            let (birth, fence, number) = (snap.birth, snap.fence, moment.reach());
            self.copies.put(name, Held { birth, fence, number, runner, snapshot });
            let until = self.now + self.config.aftermath;
            self.copies.given.insert(name.clone(), until);
        }
    }

    /// A bird that was given away long ago has a copy elsewhere by now, or its nest makes none.
    pub(super) fn forget_given(&mut self) {
        let now = self.now;
        let old = self.copies.given.iter().filter(|(_, until)| **until <= now);
        for name in old.map(|(name, _)| name.clone()).collect::<Vec<_>>() {
            self.copies.given.remove(&name);
            let view = self.view.clone();
            self.copies
                .take(&name, |held| held.number == u64::MAX && view.member(held.runner).is_some());
        }
    }

    /// A name's records changed: of a bird that was stopped no copy is needed.
    pub(super) fn forget_stopped(&mut self, name: &BirdName) {
        if self.copies.held.contains_key(name) && !planted(Bug::StoppedCopies) {
            let registry = &self.registry;
            self.copies.take(name, |held| !registry.is_alive(name, held.birth));
        }
    }

    /// The ring is another. Copies of lives whose nests are gone are the last there is: this nest goes on
    /// from them, if it owns the name, and else hands them over. Copies of lives here may have to be
    /// held by others now.
    pub(super) fn see_to_copies(&mut self) {
        let view = self.view.clone();
        let runs = |id: NestId| view.member(id).is_some();
        let lost = |copies: &Vec<Held>| copies.iter().any(|held| !runs(held.runner));
        let lost = self.copies.held.iter().filter(|(_, copies)| lost(copies));
        for name in lost.map(|(name, _)| name.clone()).collect::<Vec<_>>() {
            self.release_copies(&name);
        }
        self.keep_all();
    }

    fn release_copies(&mut self, name: &BirdName) {
        let view = self.view.clone();
        let lost = |held: &Held| view.member(held.runner).is_none();
        if planted(Bug::ForgottenCopies) {
            self.copies.take(name, lost);
            return;
        }
        let alive = self.birds.contains_key(name);
        if self.owns(name.hash64()) && !alive {
            self.dirty.insert(name.clone());
            return;
        }
        let mut copies = self.copies.take(name, lost);
        copies.retain(|held| self.registry.is_alive(name, held.birth));
        if alive {
            // A life here that isn't of that one knows nothing of it.
            copies.into_iter().for_each(|held| self.merge(name, held.snapshot));
        } else if !self.snaps.contains_key(name)
            && let Some(Held { birth, fence, snapshot, .. }) = copies.pop()
        {
            let mut snap = Snap::of_copy(birth, fence, snapshot);
            snap.carried.others.extend(copies.into_iter().map(|held| held.snapshot));
            self.snaps.insert(name.clone(), snap);
        }
    }

    /// Adds what this nest holds of a bird that hatches here to what came of it otherwise.
    pub(super) fn with_copy(&mut self, record: &Record, why: Why, mut before: Before) -> Before {
        let mut copies = self.copies.take(&record.name, |_| true);
        if !planted(Bug::StoppedCopies) {
            copies.retain(|held| held.birth == record.birth);
        }
        if matches!(why, Why::Revive) {
            copies.clear();
        }
        let carried = &mut before.carried;
        for Held { fence, snapshot, .. } in copies.into_iter().rev() {
            before.fence = before.fence.max(fence);
            carried.standby = true;
            let moment = snapshot.moment();
            match &carried.snapshot {
                Some(present) if present.has(&moment) => {}
                Some(present) if !snapshot.has(&present.moment()) => carried.others.push(snapshot),
                _ => {
                    carried.snapshot = Some(snapshot);
                    carried.copy |= why == Why::NestLost;
                }
            }
        }
        before
    }

    /// How many copies this nest holds for others, and their bytes.
    pub fn copies(&self) -> (usize, usize) {
        (self.copies.held.len(), self.copies.bytes)
    }

    /// The copies that are the last of their lives, by the births of these: their nests aren't among those
    /// that live.
    #[cfg(feature = "sim")]
    pub(crate) fn copies_of_lost(&self, alive: &BTreeSet<NestId>) -> Vec<(Dot, Bytes)> {
        let held = self.copies.held.values().flatten();
        let lost = held.filter(|held| !alive.contains(&held.runner));
        lost.map(|held| (held.birth, held.snapshot.state.clone())).collect()
    }
}
