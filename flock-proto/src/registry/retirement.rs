//! Dead incarnations are forgotten, so that a vector names little more than the nests that live.
//!
//! A nest retires an incarnation when nothing of it is left: no live record was written by it (who
//! owns the names writes those anew), and everybody knows all its operations. A peer hears of it by
//! the horizon in vectors, and follows. What the peer still holds of an incarnation that is retired
//! elsewhere it writes anew before: *a horizon that comes from others never kills*.

use std::collections::BTreeMap;

use super::codec::{Entry, Removal};
use super::slots::Slot;
use super::{Change, Op, Registry, Touched, name_of};
use crate::bugs::{Bug, planted};
use crate::{BirdName, Dot, NestId};

/// A record that was written anew, and what removed it as it was before, if that is known.
#[derive(Clone, Debug)]
pub(super) struct Outdone {
    name: BirdName,
    dot: Dot,
    birth: Dot,
    removal: Option<Removal>,
}

impl Registry {
    /// How many live records this incarnation wrote.
    pub fn live_of(&self, origin: NestId) -> u64 {
        self.origins.live(origin)
    }

    /// Live records written by some incarnations, from this hash on: at most so many are looked at.
    /// Says at which hash to go on; none after the last.
    pub fn written_by(
        &self,
        is_theirs: impl Fn(NestId) -> bool,
        from: u64,
        looks: usize,
    ) -> (Vec<(BirdName, Dot)>, Option<u64>) {
        let mut found = Vec::new();
        for (looked, slot) in self.slots.range(from..=u64::MAX).enumerate() {
            if looked >= looks && slot.hash > from {
                return (found, Some(slot.hash));
            }
            let dot = self.dot(slot);
            if is_theirs(dot.origin)
                && let Some(record) = self.record(slot)
            {
                found.push((record.name, dot));
            }
        }
        (found, None)
    }

    /// Writes a record anew as it is, so that nothing of its author is left in it but the birth. Its
    /// siblings stay, and which of them is read.
    pub fn rewrite(&mut self, name: &BirdName, dot: Dot) -> Option<Change> {
        let record = self.siblings(name).into_iter().find(|record| record.dot == dot)?;
        // One that was put back after a removal must outlive that: it stands for itself.
        let anew = record.anew || record.dot == record.birth;
        let entry = Entry { dot: self.next_dot(), anew, ..record.entry() };
        let mut touched = Touched::default();
        let covers = std::iter::once(dot);
        self.apply(entry.dot, name.hash64(), covers, Op::Add(entry), &mut touched);
        self.finish(touched).into_iter().next()
    }

    /// Takes note of what a removal would have removed that was not written anew meanwhile.
    pub(super) fn note_outdone(
        &mut self,
        hash: u64,
        covers: impl Iterator<Item = Dot> + Clone,
        removal: Removal,
    ) {
        for slot in self.slots.group(hash).filter(Slot::is_anew) {
            let (birth, _) = self.birth(slot);
            if covers.clone().any(|dot| dot == birth)
                && let Some(name) = name_of(slot)
            {
                let (dot, removal) = (self.dot(slot), Some(removal));
                self.outdone.push(Outdone { name, dot, birth, removal });
            }
        }
    }

    /// Takes note of a record that comes written anew where its bird is dead by all that is known:
    /// it may have been removed here as it was before.
    pub(super) fn note_late(&mut self, hash: u64, entry: &Entry<'_>) {
        let lives = |birth| self.slots.group(hash).any(|slot| self.birth(slot).0 == birth);
        if entry.anew
            && self.remembers(entry.birth)
            && !lives(entry.birth)
            && let Ok(name) = std::str::from_utf8(entry.name)
        {
            let (name, dot, birth) = (BirdName::trusted(name), entry.dot, entry.birth);
            self.outdone.push(Outdone { name, dot, birth, removal: None });
        }
    }

    /// Removes what others removed that had not seen it written anew: a bird that is stopped while its
    /// record is written anew would live on.
    pub fn remove_outdone(&mut self) -> Vec<Change> {
        if self.outdone.is_empty() || planted(Bug::OutdoneRemovals) {
            return Vec::new();
        }
        let mut outdone = std::mem::take(&mut self.outdone);
        self.find_removals(&mut outdone);
        let mut changes = Vec::new();
        for Outdone { name, dot, birth, removal } in outdone {
            let Some(removal) = removal else { continue };
            if !self.siblings(&name).iter().any(|record| record.dot == dot) {
                continue;
            }
            let mut touched = Touched::default();
            let covers = [dot, birth].into_iter();
            self.apply(self.next_dot(), name.hash64(), covers, Op::Remove(removal), &mut touched);
            changes.extend(self.finish(touched));
        }
        changes
    }

    /// Looks in the logs for removals of births. (Most of the records that come late were written
    /// anew by the very operation that this nest knows as the end of the former one.)
    fn find_removals(&self, outdone: &mut [Outdone]) {
        let late = outdone.iter_mut().filter(|outdone| outdone.removal.is_none());
        let mut late: BTreeMap<Dot, &mut Outdone> = late.map(|late| (late.birth, late)).collect();
        if late.is_empty() {
            return;
        }
        for (removed, removal) in self.origins.removals() {
            if let Some(late) = late.get_mut(&removed) {
                late.removal = Some(removal);
            }
        }
    }

    /// Does anew what the last operations of some incarnations did to the records of others: nobody
    /// who has retired them will take those in.
    pub fn remove_anew(&mut self, origins: &[NestId]) {
        let logged = self.origins.logged(origins);
        for (hash, covers, removal) in logged {
            let op = removal.map_or(Op::Void, Op::Remove);
            let mut touched = Touched::default();
            self.apply(self.next_dot(), hash, covers.into_iter(), op, &mut touched);
            // They are dead here already.
            let _nothing = self.finish(touched);
        }
    }

    /// Retires incarnations that have no live record here. One that has is left as it is; the horizon
    /// then stays, too.
    pub fn retire(&mut self, horizon: NestId, gone: &[NestId]) -> bool {
        let none = |id| self.live_of(id) == 0 || planted(Bug::UnwrittenHorizon);
        let may = gone.iter().all(|&id| none(id) && id <= horizon && id != self.me);
        if may {
            self.revision += 1;
            self.origins.retire(horizon, gone);
        }
        may
    }
}
