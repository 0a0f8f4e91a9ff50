//! The registry: which birds live in the flock. An op-sequenced, optimized OR-map, kept in step
//! by deltas; no tombstones.
//!
//! Every operation takes a [`Dot`], removals too, so that a [`Vector`] says exactly what a peer
//! lacks. State is the live records, the vector, the few dots known out of order, and a bounded
//! log. An operation supersedes the records of its name that its issuer saw; records that nobody
//! superseded are *siblings*: all are kept, and the one with the greatest `(hlc, dot)` is read.
//! (Dropping the loser when states meet would be a removal without an operation: a replica that
//! never saw the winner's side would keep it for ever.)
//!
//! - `vector`, `origins`: what is known of each incarnation's operations, and the log.
//! - `slots`: the live records, packed, in hash-ordered buckets.
//! - `changes`: what an operation or a join did, name by name.
//! - `status`: a register in short, and how a peer's stands to ours.
//! - `delta`: what a peer lacks, by log; and joining it.
//! - `ranges`: the same without a log, told by ranges of hashes: digests and records.
//! - `comparison`: taking that in.
//! - `retirement`: how dead incarnations are forgotten.
//! - `codec`: the bytes of all three.
//!
//! Sources: Bieniusa et al., "An Optimized Conflict-free Replicated Set", 2012; Almeida, Shoker,
//! Baquero, "Delta State Replicated Data Types", 2018.

mod changes;
mod codec;
mod comparison;
mod delta;
mod origins;
mod ranges;
mod retirement;
mod slots;
mod status;
#[cfg(test)]
mod tests;
mod vector;

use std::ops::RangeInclusive;

use bytes::Bytes;

pub use changes::{Change, Changes, IntoChanges};
use changes::{Killer, Touched};
pub use codec::DecodeError;
use codec::{Entry, Removal};
pub use comparison::Compared;
use comparison::Comparison;
pub use delta::{Delta, Joined};
use origins::{Logged, Origins};
pub use ranges::{Opening, Ranges, RangesWanted};
use retirement::Outdone;
use slots::{Slot, Slots};
pub use status::{Standing, Status};
pub use vector::Vector;

use crate::bugs::{Bug, planted};
use crate::{BirdName, Cause, Dot, Fence, Hlc, NestId, RegistryConfig, SpeciesId};

/// A living bird, as the flock knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// The operation that wrote this record.
    pub dot: Dot,
    /// The operation that started the bird; overwrites keep it.
    pub birth: Dot,
    /// When it was written; among siblings the latest is read.
    pub hlc: Hlc,
    /// The bird's name.
    pub name: BirdName,
    /// The bird's species.
    pub species: SpeciesId,
    /// What it is hatched from.
    pub args: Bytes,
    /// Chosen by whoever asked for the start, so that asking again is not a second start.
    pub token: u64,
    /// It crashed too often and must not be hatched.
    pub grounded: Option<Grounding>,
    /// It was written anew as it was, in place of a record of a nest that is gone: whatever removes
    /// that one removes it.
    pub anew: bool,
}

/// Why a bird is not hatched any more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grounding {
    /// The last crash, in words.
    pub reason: String,
    /// How often it crashed.
    pub crashes: u32,
}

/// One nest's replica of the registry.
#[derive(Clone, Debug)]
pub struct Registry {
    me: NestId,
    /// Among the origins, as it was at the last own operation.
    my_number: u32,
    config: RegistryConfig,
    slots: Slots,
    origins: Origins,
    /// One at a time: a second peer would tell the same again.
    comparison: Option<Comparison>,
    /// The last own operation handed out by [`Registry::take_delta`].
    taken: u64,
    diverged: u64,
    /// Records that others removed as they were before they were written anew.
    outdone: Vec<Outdone>,
    /// Grows with every change.
    revision: u64,
}

impl Registry {
    /// An empty replica.
    pub fn new(me: NestId, config: RegistryConfig) -> Self {
        let (slots, origins) = (Slots::new(config), Origins::new(config.log_len));
        Self {
            me,
            my_number: 0,
            config,
            slots,
            origins,
            comparison: None,
            taken: 0,
            diverged: 0,
            outdone: Vec::new(),
            revision: 0,
        }
    }

    /// Goes on under another incarnation. `false`, and nothing is changed, if this one has issued
    /// operations or others issued some under the new one.
    pub fn rename(&mut self, me: NestId) -> bool {
        let unused = self.origins.seq(self.me) == 0 && self.origins.seq(me) == 0;
        if unused {
            self.me = me;
        }
        unused
    }

    /// Goes on under another incarnation, though this one has issued operations: what they did stays,
    /// as if another nest had done it. `false`, and nothing is changed, if others issued some under
    /// the new one.
    pub fn renew(&mut self, me: NestId) -> bool {
        let unused = self.origins.seq(me) == 0;
        if unused {
            (self.me, self.taken) = (me, 0);
        }
        unused
    }

    /// How many names have a live record.
    pub const fn len(&self) -> usize {
        self.slots.names()
    }

    /// How many live records there are: one more than names for each sibling.
    pub const fn records(&self) -> usize {
        self.slots.records()
    }

    /// Is no bird alive?
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What this replica knows.
    pub const fn vector(&self) -> &Vector {
        self.origins.vector()
    }

    /// Does it know this operation and all before it of the same incarnation?
    pub fn covers(&self, dot: Dot) -> bool {
        self.origins.covers(dot)
    }

    /// The last operation issued here; its `seq` is 0 before the first.
    pub fn last_dot(&self) -> Dot {
        Dot { origin: self.me, seq: self.origins.seq_near(self.my_number, self.me) }
    }

    /// A digest of all live records: equal vectors must go with equal digests.
    pub const fn digest(&self) -> u64 {
        self.slots.digest()
    }

    /// A digest of the vector: equal digests go with equal vectors.
    pub const fn vector_digest(&self) -> u64 {
        self.origins.vector_digest()
    }

    /// Is this operation known for certain? Of those of a retired incarnation it can't be said.
    pub fn remembers(&self, dot: Dot) -> bool {
        self.origins.seq(dot.origin) >= dot.seq
    }

    /// The record that is read under this name.
    pub fn winner(&self, name: &BirdName) -> Option<Record> {
        self.winner_at(name.hash64(), name)
    }

    /// The same of a name whose hash is known.
    pub(crate) fn winner_at(&self, hash: u64, name: &BirdName) -> Option<Record> {
        let slot = self.winning(hash, name.as_str().as_bytes())?;
        Some(self.record_of(slot, name.clone()))
    }

    /// Has the records of these hashes near when they are asked for next, as far as there are any.
    pub(crate) fn approach(&self, hashes: impl Iterator<Item = u64> + Clone) {
        self.slots.approach(hashes.clone());
        self.slots.fetch(hashes);
    }

    /// Does one record live of this name, and no other, which carries this birth and isn't grounded?
    pub(crate) fn is_sound(&self, hash: u64, name: &BirdName, birth: Dot) -> bool {
        let mut siblings = self.slots.siblings(hash, name.as_str().as_bytes());
        siblings.next().is_some_and(|slot| self.birth(slot) == (birth, false))
            && siblings.next().is_none()
    }

    /// The birth of the winning record, and whether it is grounded; cheaper than the record.
    pub fn winner_birth(&self, name: &BirdName) -> Option<(Dot, bool)> {
        self.winning(name.hash64(), name.as_str().as_bytes()).map(|slot| self.birth(slot))
    }

    /// All live records of this name.
    pub fn siblings(&self, name: &BirdName) -> Vec<Record> {
        let siblings = self.slots.siblings(name.hash64(), name.as_str().as_bytes());
        siblings.filter_map(|slot| self.record(slot)).collect()
    }

    /// Does some live record of this name carry this birth?
    pub fn is_alive(&self, name: &BirdName, birth: Dot) -> bool {
        let mut siblings = self.slots.siblings(name.hash64(), name.as_str().as_bytes());
        siblings.any(|slot| self.birth(slot).0 == birth)
    }

    /// The names whose hashes lie in this range, each once, in the order of their hashes.
    pub fn names_in(&self, hashes: RangeInclusive<u64>) -> impl Iterator<Item = BirdName> + '_ {
        self.first_slots_in(hashes).filter_map(name_of)
    }

    /// The hashes of these names: once for each name.
    pub fn hashes_in(&self, hashes: RangeInclusive<u64>) -> impl Iterator<Item = u64> + '_ {
        self.first_slots_in(hashes).map(|slot| slot.hash)
    }

    /// Of each name in these hashes one of its records.
    fn first_slots_in(&self, hashes: RangeInclusive<u64>) -> impl Iterator<Item = Slot<'_>> {
        let mut last: Option<Slot<'_>> = None;
        self.slots.range(hashes).filter(move |slot| {
            let again = last.is_some_and(|l| l.hash == slot.hash && l.name() == slot.name());
            last = Some(*slot);
            !again
        })
    }

    /// Up to `limit` winning records in the order of hash and name, from the one after `after`.
    pub fn page(&self, after: Option<&BirdName>, limit: usize) -> Vec<Record> {
        let first = after.map_or(0, BirdName::hash64);
        let is_after = |name: &BirdName| {
            after.is_none_or(|a| (name.hash64(), name.as_str()) > (first, a.as_str()))
        };
        let names = self.names_in(first..=u64::MAX).filter(is_after);
        names.filter_map(|name| self.winner(&name)).take(limit).collect()
    }

    /// An operation that does nothing, if none was issued here before: for a nest to stand in the
    /// vectors as soon as it is part of the flock.
    pub fn arrive(&mut self) {
        if self.last_dot().seq == 0 {
            let mut touched = Touched::default();
            self.apply(self.next_dot(), 0, std::iter::empty(), Op::Void, &mut touched);
            let _nothing = self.finish(touched);
        }
    }

    /// Starts a bird under a name of which the caller knows that nobody lives there. (A record
    /// that lives all the same is superseded.)
    pub fn start(
        &mut self,
        name: &BirdName,
        species: SpeciesId,
        args: &[u8],
        token: u64,
        hlc: Hlc,
    ) -> Change {
        self.start_at(name.hash64(), name, species, args, token, hlc)
    }

    /// The same of a name whose hash is known.
    pub(crate) fn start_at(
        &mut self,
        hash: u64,
        name: &BirdName,
        species: SpeciesId,
        args: &[u8],
        token: u64,
        hlc: Hlc,
    ) -> Change {
        let dot = self.next_dot();
        let entry = Entry {
            dot,
            birth: dot,
            hlc,
            species,
            token,
            grounded: None,
            anew: false,
            name: name.as_str().as_bytes(),
            args,
        };
        self.write(name, hash, &entry, |_| true)
    }

    /// Writes the winning record anew, with or without a grounding, in place of all siblings.
    /// `None`: no record lives, nothing was done.
    pub fn overwrite(
        &mut self,
        name: &BirdName,
        hlc: Hlc,
        grounded: Option<Grounding>,
    ) -> Option<Change> {
        let winner = self.winner(name)?;
        // Siblings that are made one say nothing new: what removes one removes what they become.
        let anew = winner.anew && winner.grounded == grounded;
        let mut record = Record { dot: self.next_dot(), hlc, grounded, anew, ..winner };
        if planted(Bug::NewBirth) {
            record.birth = record.dot;
        }
        Some(self.write(name, name.hash64(), &record.entry(), |_| true))
    }

    /// Puts a record back whose birth is known already, because another life of it runs here. It
    /// supersedes records of the same birth; one of another birth stays, as a sibling.
    pub fn re_add(&mut self, record: &Record, hlc: Hlc) -> Change {
        let dot = self.next_dot();
        let entry = Entry { dot, hlc, anew: false, ..record.entry() };
        self.write(&record.name, record.name.hash64(), &entry, |birth| birth == record.birth)
    }

    /// Removes all records of this name. `None`: there is none, nothing was done.
    pub fn remove(&mut self, name: &BirdName, cause: Cause) -> Option<Change> {
        self.remove_those(name, Removal { cause: changes::cause_to_byte(&cause), fence: 0 }, |_| {
            true
        })
    }

    /// The same of its records of this birth: what another birth left stays.
    pub fn remove_birth(&mut self, name: &BirdName, birth: Dot, cause: Cause) -> Option<Change> {
        let removal = Removal { cause: changes::cause_to_byte(&cause), fence: 0 };
        self.remove_those(name, removal, |other| other == birth)
    }

    /// The same for a bird that ended of itself, whose life had this fence: one that goes on
    /// elsewhere must surpass it.
    pub fn end(&mut self, name: &BirdName, fence: Fence) -> Option<Change> {
        let cause = changes::cause_to_byte(&Cause::Ended);
        self.remove_those(name, Removal { cause, fence: fence.0 }, |_| true)
    }

    fn remove_those(
        &mut self,
        name: &BirdName,
        removal: Removal,
        those: impl Fn(Dot) -> bool,
    ) -> Option<Change> {
        let hash = name.hash64();
        let mut covers = self.dots_of(name, hash, &those);
        if covers.is_empty() {
            return None;
        }
        // Nests that have not seen what became of the birds since they were started shall end them,
        // too, if they write their records anew.
        let siblings = self.slots.siblings(hash, name.as_str().as_bytes());
        covers.extend(siblings.map(|slot| self.birth(slot).0).filter(|birth| those(*birth)));
        covers.sort_unstable();
        covers.dedup();
        let mut touched = Touched::default();
        let op = Op::Remove(removal);
        self.apply(self.next_dot(), hash, covers.iter().copied(), op, &mut touched);
        self.finish(touched).into_iter().next()
    }

    fn write(
        &mut self,
        name: &BirdName,
        hash: u64,
        entry: &Entry<'_>,
        supersedes: impl Fn(Dot) -> bool,
    ) -> Change {
        if self.slots.group(hash).is_empty() && self.write_first(hash, entry) {
            let after = Some((entry.birth, entry.grounded.is_some()));
            return Change { after, ..Change::nothing(name.clone(), hash) };
        }
        let covers = self.dots_of(name, hash, supersedes);
        let mut touched = Touched::default();
        self.apply(entry.dot, hash, covers.iter().copied(), Op::Add(*entry), &mut touched);
        let change = self.finish(touched).into_iter().next();
        change.unwrap_or_else(|| Change::nothing(name.clone(), hash))
    }

    /// Writes a record where there is none of its hash: there is nothing that it could supersede, or that
    /// would have to be told of it but that it came. `false`: this takes a closer look.
    fn write_first(&mut self, hash: u64, entry: &Entry<'_>) -> bool {
        let Dot { origin, seq } = entry.dot;
        let number = self.origins.number_or_new(origin);
        let compared = self.comparison.as_ref().is_some_and(|c| c.compared(hash, entry.dot));
        if entry.anew || compared || self.origins.knows(number, seq) {
            return false;
        }
        self.revision += 1;
        self.slots.insert(entry, hash, number, &self.origins);
        self.origins.count_live(number, true);
        self.my_number = number;
        self.origins.append(number, Logged::new(hash, Vec::new(), None));
        self.origins.settle();
        true
    }

    fn next_dot(&self) -> Dot {
        let last = self.last_dot();
        Dot { seq: last.seq + 1, ..last }
    }

    fn dots_of(&self, name: &BirdName, hash: u64, of_birth: impl Fn(Dot) -> bool) -> Vec<Dot> {
        let siblings = self.slots.siblings(hash, name.as_str().as_bytes());
        let siblings = siblings.filter(|slot| of_birth(self.birth(*slot).0));
        siblings.map(|slot| self.dot(slot)).collect()
    }

    /// Takes in an operation that follows the last known one of its origin.
    fn apply(
        &mut self,
        dot: Dot,
        hash: u64,
        covers: impl Iterator<Item = Dot> + Clone,
        op: Op<'_>,
        touched: &mut Touched,
    ) {
        self.revision += 1;
        let killer = match op {
            Op::Remove(removal) => Killer::Removal(removal),
            Op::Add(_) | Op::Void => Killer::Overwrite,
        };
        let unseen = match &op {
            Op::Add(entry) => self.unseen_sibling(hash, entry, covers.clone()),
            Op::Remove(_) | Op::Void => None,
        };
        if let Op::Add(entry) = &op {
            self.note_late(hash, entry);
        }
        let mut superseded = Vec::new();
        for covered in covers.clone() {
            if planted(Bug::DroppedRemove) && matches!(op, Op::Remove(_)) && dot.origin != self.me {
                continue;
            }
            let number = self.kill(hash, covered, &killer, touched);
            superseded.push((number, covered.seq));
        }
        if let Op::Add(entry) = &op {
            self.put(hash, entry, touched);
            if let Some(loser) = unseen {
                touched.met_elsewhere(hash, entry.name, entry.birth, loser);
            }
        }
        let removal = if let Op::Remove(removal) = op { Some(removal) } else { None };
        if let Some(removal) = removal {
            self.note_outdone(hash, covers, removal);
        }
        let number = self.origins.number_or_new(dot.origin);
        if dot.origin == self.me {
            self.my_number = number;
        }
        self.origins.append(number, Logged::new(hash, superseded, removal));
    }

    /// The loser of a conflict of which this nest sees the end alone: a record that never lived here
    /// is superseded together with the very start that lives here. A record made from that start
    /// would have superseded it before, so the two are of different births.
    fn unseen_sibling(
        &self,
        hash: u64,
        entry: &Entry<'_>,
        mut covers: impl Iterator<Item = Dot> + Clone,
    ) -> Option<Dot> {
        let lives = |dot: &Dot| {
            let number = self.origins.number(dot.origin);
            number.is_some_and(|number| self.slots.find(hash, number, dot.seq).is_some())
        };
        if !covers.clone().any(|dot| dot == entry.birth) || !lives(&entry.birth) {
            return None;
        }
        covers.find(|dot| !lives(dot))
    }

    /// Takes in a live record, unless it is here or known to be dead.
    fn put(&mut self, hash: u64, entry: &Entry<'_>, touched: &mut Touched) {
        let (number, seq) = (self.origins.number_or_new(entry.dot.origin), entry.dot.seq);
        let group = self.slots.group(hash);
        if self.origins.knows(number, seq)
            || group.clone().any(|slot| slot.is(number, seq))
            || self.comparison.as_ref().is_some_and(|c| c.compared(hash, entry.dot))
        {
            return;
        }
        let is_new = group.is_empty();
        if planted(Bug::DroppedLoser) && !is_new {
            return;
        }
        let at = self.touch(hash, entry.name, group, touched);
        self.revision += 1;
        self.slots.insert(entry, hash, number, &self.origins);
        if is_new {
            Self::retouch_new(at, entry, touched);
        } else {
            self.retouch(at, touched);
        }
        self.origins.count_live(number, true);
    }

    /// Takes note that the record of this dot is dead, though it may not have come yet. Says by
    /// which number its origin goes.
    fn kill(&mut self, hash: u64, dot: Dot, by: &Killer, touched: &mut Touched) -> u32 {
        self.revision += 1;
        let number = self.origins.number_or_new(dot.origin);
        let group = self.slots.group(hash);
        if let Some(slot) = group.clone().find(|slot| slot.is(number, dot.seq)) {
            let at = self.touch(hash, slot.name(), group, touched);
            touched.killed(at, self.birth(slot).0, by);
            self.slots.remove(hash, dot, number, &self.origins);
            self.retouch(at, touched);
            self.origins.count_live(number, false);
        }
        self.origins.note_dead(number, dot.seq);
        number
    }

    fn winning<'a>(&'a self, hash: u64, name: &'a [u8]) -> Option<Slot<'a>> {
        let mut siblings = self.slots.siblings(hash, name);
        // Mostly there is none, or one.
        let first = siblings.next()?;
        let Some(second) = siblings.next() else { return Some(first) };
        let all = [first, second].into_iter().chain(siblings);
        all.max_by_key(|slot| (slot.hlc, self.dot(*slot)))
    }

    fn dot(&self, slot: Slot<'_>) -> Dot {
        self.origins.dot(slot.origin, slot.seq)
    }

    fn entry<'a>(&self, slot: Slot<'a>) -> Entry<'a> {
        self.slots.entry(slot, self.origins.id(slot.origin))
    }

    fn birth(&self, slot: Slot<'_>) -> (Dot, bool) {
        (slot.birth(self.origins.id(slot.origin)), slot.is_grounded())
    }

    fn record(&self, slot: Slot<'_>) -> Option<Record> {
        Some(self.record_of(slot, name_of(slot)?))
    }

    /// The same where somebody has the name already.
    fn record_of(&self, slot: Slot<'_>, name: BirdName) -> Record {
        let entry = self.entry(slot);
        Record {
            dot: entry.dot,
            birth: entry.birth,
            hlc: entry.hlc,
            name,
            species: entry.species,
            args: Bytes::copy_from_slice(entry.args),
            token: entry.token,
            grounded: entry
                .grounded
                .map(|(reason, crashes)| Grounding { reason: reason.into(), crashes }),
            anew: entry.anew,
        }
    }
}

/// What an operation does beside superseding.
#[derive(Clone, Copy, Debug)]
enum Op<'a> {
    Add(Entry<'a>),
    Remove(Removal),
    /// An addition whose record is dead by now.
    Void,
}

fn name_of(slot: Slot<'_>) -> Option<BirdName> {
    // It was checked before it was packed.
    std::str::from_utf8(slot.name()).ok().map(BirdName::trusted)
}
