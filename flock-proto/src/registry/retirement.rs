//! Dead incarnations are forgotten, so that a vector names little more than the nests that live.
//!
//! A nest retires an incarnation when nothing of it is left: no live record was written by it (who
//! owns the names writes those anew), and everybody knows all its operations. A peer hears of it by
//! the horizon in vectors, and follows. What the peer still holds of an incarnation that is retired
//! elsewhere it writes anew before: *a horizon that comes from others never kills*.

use super::codec::{Entry, Removal};
use super::{Change, Op, Registry, Touched};
use crate::bugs::{Bug, planted};
use crate::{BirdName, Dot, NestId};

/// A record that this nest wrote anew.
#[derive(Clone, Debug)]
pub(super) struct Rewritten {
    name: BirdName,
    dot: Dot,
}

/// A removal that has seen a record as it was before this nest wrote it anew.
#[derive(Clone, Debug)]
pub(super) struct Outdone {
    rewritten: Rewritten,
    removal: Removal,
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
        let entry = Entry { dot: self.next_dot(), ..record.entry() };
        let mut touched = Touched::default();
        let covers = std::iter::once(dot);
        self.rewritten.insert(dot, Rewritten { name: name.clone(), dot: entry.dot });
        self.apply(entry.dot, name.hash64(), covers, Op::Add(entry), &mut touched);
        self.finish(touched).into_iter().next()
    }

    /// Takes note of an operation that removes a record as it was before it was written anew here.
    pub(super) fn note_outdone(&mut self, dot: Dot, op: &Op<'_>) {
        if let Op::Remove(removal) = op
            && let Some(rewritten) = self.rewritten.remove(&dot)
        {
            self.outdone.push(Outdone { rewritten, removal: *removal });
        }
    }

    /// Removes what others removed that had not seen it written anew here: a bird that is stopped
    /// while its record is written anew would live on.
    pub fn remove_outdone(&mut self) -> Vec<Change> {
        let mut changes = Vec::new();
        for Outdone { rewritten: Rewritten { name, dot }, removal } in
            std::mem::take(&mut self.outdone)
        {
            if !self.siblings(&name).iter().any(|record| record.dot == dot) {
                continue;
            }
            let mut touched = Touched::default();
            let (next, covers) = (self.next_dot(), std::iter::once(dot));
            self.apply(next, name.hash64(), covers, Op::Remove(removal), &mut touched);
            changes.extend(self.finish(touched));
        }
        changes
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
            self.rewritten.retain(|dot, _| !gone.contains(&dot.origin));
            self.origins.retire(horizon, gone);
        }
        may
    }
}
