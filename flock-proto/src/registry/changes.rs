//! What an operation or a join did, name by name.

use std::collections::{BTreeMap, HashMap};
use std::hash::{BuildHasherDefault, Hasher};

use super::Registry;
use super::codec::Entry;
use super::slots::Run;
use crate::{BirdName, Cause, Dot};

/// What joining or a local operation did to one name. There is one for each name whose live
/// records changed, however many operations of one delta touched it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The name.
    pub name: BirdName,
    /// Its hash.
    pub hash: u64,
    /// The winning record's birth before, and whether it was grounded.
    pub before: Option<(Dot, bool)>,
    /// The same afterwards.
    pub after: Option<(Dot, bool)>,
    /// Why the birth of `before` has no record any more. None if it still has one, if another
    /// record superseded it, or if the removal was learnt from a comparison, which has no causes.
    pub cause: Option<Cause>,
    /// A record of another birth appeared beside one, or gave way to one: the births of winner
    /// and loser.
    pub conflict: Option<(Dot, Dot)>,
}

impl Change {
    pub(super) const fn nothing(name: BirdName, hash: u64) -> Self {
        Self { name, hash, before: None, after: None, cause: None, conflict: None }
    }
}

/// What makes a record dead.
#[derive(Clone, Debug)]
pub(super) enum Killer {
    Removal(Cause),
    Overwrite,
    /// A peer that knew it holds it no more.
    Comparison,
}

/// The names touched so far, in the order in which they were touched, and what became of each.
#[derive(Debug, Default)]
pub(super) struct Touched {
    changes: Vec<Change>,
    /// What must be known besides, of names by their places, to tell cause and conflict. Most names
    /// of a delta are new and have one record: nothing.
    marks: BTreeMap<usize, Mark>,
    /// Where the hashes of the first changes stand among them: made when it is asked for, which pure
    /// batches of starts never do. Never iterated: its order would leak into what the nest does next.
    index: HashMap<u64, usize, BuildHasherDefault<Hashed>>,
    indexed: usize,
    /// Some record was killed.
    killed: bool,
}

#[derive(Debug, Default)]
struct Mark {
    /// The births of the records that didn't win, before and now.
    losers_before: Vec<Dot>,
    losers: Vec<Dot>,
    /// What became of the former winner's records.
    killer: Option<Killer>,
    /// The births of a winner and of a loser that never lived here.
    unseen: Option<(Dot, Dot)>,
}

/// The live records of one name, as far as changes are concerned.
#[derive(Debug, Default)]
struct Lives {
    /// The winning record's birth, and whether it is grounded.
    winner: Option<(Dot, bool)>,
    /// The births of the others, the greatest record's first, each once.
    losers: Vec<Dot>,
}

/// Few names are found by looking at each: a delta of one operation, as nearly all are in a large
/// flock, makes no index.
const FEW: usize = 8;

impl Touched {
    /// With room for as many names as there are operations to come.
    pub(super) fn with_room(names: usize) -> Self {
        Self { changes: Vec::with_capacity(names), ..Self::default() }
    }

    /// Where this name stands among those touched.
    fn find(&mut self, hash: u64, name: &[u8]) -> Option<usize> {
        let is_it =
            |change: &Change| change.hash == hash && change.name.as_str().as_bytes() == name;
        if self.changes.len() <= FEW {
            return self.changes.iter().position(is_it);
        }
        for (at, change) in self.changes.iter().enumerate().skip(self.indexed) {
            self.index.entry(change.hash).or_insert(at);
        }
        self.indexed = self.changes.len();
        let at = *self.index.get(&hash)?;
        if self.changes.get(at).is_some_and(is_it) {
            return Some(at);
        }
        // Another name of the same hash is there.
        self.changes.iter().position(is_it)
    }

    pub(super) fn met_elsewhere(&mut self, hash: u64, name: &[u8], winner: Dot, loser: Dot) {
        if let Some(at) = self.find(hash, name) {
            self.marks.entry(at).or_default().unseen = Some((winner, loser));
        }
    }

    pub(super) fn killed(&mut self, at: usize, birth: Dot, by: &Killer) {
        self.killed = true;
        let before = self.changes.get(at).and_then(|change| change.before);
        let mark = self.marks.entry(at).or_default();
        if before.is_some_and(|(winner, _)| winner == birth)
            // A removal is the better answer to "why", whatever else happened.
            && !matches!(mark.killer, Some(Killer::Removal(_)))
        {
            mark.killer = Some(by.clone());
        }
    }

    /// Notes how a name is now.
    fn put(&mut self, at: usize, now: Lives) {
        let Some(change) = self.changes.get_mut(at) else { return };
        change.after = now.winner;
        if !now.losers.is_empty() || self.marks.contains_key(&at) {
            self.marks.entry(at).or_default().losers = now.losers;
        }
    }
}

impl Mark {
    /// Tells why, and of what conflict, from how it was and how it is.
    fn explain(self, change: &mut Change) {
        let (before, after) = (change.before, change.after);
        let births = |winner: Option<(Dot, bool)>| winner.map(|(birth, _)| birth).into_iter();
        let was: Vec<_> = births(before).chain(self.losers_before).collect();
        let is: Vec<_> = births(after).chain(self.losers.iter().copied()).collect();
        change.conflict = self.unseen;
        if let Some((old, _)) = before
            && !is.contains(&old)
        {
            match (self.killer, after) {
                (Some(Killer::Removal(why)), _) => change.cause = Some(why),
                // Two births met elsewhere and were settled before we heard of it.
                (Some(Killer::Overwrite), Some((new, _))) => change.conflict = Some((new, old)),
                _ => {}
            }
        }
        if let (Some((winner, _)), Some(&loser)) = (after, self.losers.first())
            && is.iter().any(|birth| !was.contains(birth))
        {
            change.conflict = Some((winner, loser));
        }
    }
}

/// The hashes of names are hashes already.
#[derive(Debug, Default)]
struct Hashed(u64);

impl Hasher for Hashed {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|&byte| self.0 = self.0.rotate_left(8) ^ u64::from(byte));
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }
}

impl Registry {
    /// Notes how a name is before something is done to it; `group` are the slots of its hash. Says
    /// where it stands among those touched.
    pub(super) fn touch(
        &self,
        hash: u64,
        name: &[u8],
        group: Run<'_>,
        touched: &mut Touched,
    ) -> usize {
        // One that has no record, where none was killed, can't have been touched before.
        let is_new = group.is_empty() && !touched.killed;
        if !is_new && let Some(at) = touched.find(hash, name) {
            return at;
        }
        let was = self.lives(group, name);
        // Names were checked before they came here.
        let name = BirdName::trusted(std::str::from_utf8(name).unwrap_or_default());
        let at = touched.changes.len();
        if at == 0 {
            touched.changes.reserve_exact(1);
        }
        touched.changes.push(Change { before: was.winner, ..Change::nothing(name, hash) });
        if !was.losers.is_empty() {
            touched.marks.insert(at, Mark { losers_before: was.losers, ..Mark::default() });
        }
        at
    }

    /// Notes how a name is after something was done to it.
    pub(super) fn retouch(&self, at: usize, touched: &mut Touched) {
        let Some(change) = touched.changes.get(at) else { return };
        let name = change.name.as_str().as_bytes();
        let now = self.lives(self.slots.group(change.hash), name);
        touched.put(at, now);
    }

    /// The same of a name that had no record and has this one now.
    pub(super) fn retouch_new(at: usize, entry: &Entry<'_>, touched: &mut Touched) {
        let winner = Some((entry.birth, entry.grounded.is_some()));
        touched.put(at, Lives { winner, losers: Vec::new() });
    }

    /// Says what became of the names that were touched, and has the vector know what was done.
    pub(super) fn finish(&mut self, touched: Touched) -> Vec<Change> {
        self.origins.settle();
        let Touched { mut changes, marks, .. } = touched;
        if !marks.is_empty() {
            for (at, mark) in marks {
                if let Some(change) = changes.get_mut(at) {
                    mark.explain(change);
                }
            }
        }
        changes
    }

    fn lives(&self, group: Run<'_>, name: &[u8]) -> Lives {
        let mut siblings = group.filter(|slot| slot.name() == name);
        let Some(first) = siblings.next() else { return Lives::default() };
        let Some(second) = siblings.next() else {
            return Lives { winner: Some(self.birth(first)), losers: Vec::new() };
        };
        let mut slots: Vec<_> = [first, second].into_iter().chain(siblings).collect();
        slots.sort_by_key(|slot| std::cmp::Reverse((slot.hlc, self.dot(*slot))));
        let mut lives = Lives::default();
        for slot in slots {
            let (birth, grounded) = self.birth(slot);
            match lives.winner {
                None => lives.winner = Some((birth, grounded)),
                Some((winner, _)) if winner == birth || lives.losers.contains(&birth) => {}
                Some(_) => lives.losers.push(birth),
            }
        }
        lives
    }
}

pub(super) const fn cause_to_byte(cause: &Cause) -> u8 {
    match cause {
        Cause::Stopped => 1,
        Cause::Ended => 2,
        Cause::HatchFailed => 3,
        Cause::LostConflict => 4,
    }
}

/// Causes of newer versions read as "it ended".
pub(super) const fn cause_of_byte(byte: u8) -> Cause {
    match byte {
        1 => Cause::Stopped,
        3 => Cause::HatchFailed,
        4 => Cause::LostConflict,
        _ => Cause::Ended,
    }
}
