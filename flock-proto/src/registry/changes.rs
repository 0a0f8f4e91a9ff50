//! What an operation or a join did, name by name.

use std::collections::{BTreeMap, HashMap};
use std::hash::{BuildHasherDefault, Hasher};
use std::ops::Range;

use super::Registry;
use super::codec::{Entry, Removal};
use super::slots::Run;
use crate::{BirdName, Cause, Dot, Fence};

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
    /// Of a bird that ended of itself: the fence of the life that ended. Else 0.
    pub fence: Fence,
    /// A record of another birth appeared beside one, or gave way to one: the births of winner
    /// and loser.
    pub conflict: Option<(Dot, Dot)>,
}

/// What was done to many names. Their texts lie one after the other: a change has its name in an
/// allocation of its own only once somebody looks at it, and most are looked at and let go.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    noted: Vec<Noted>,
    names: String,
}

/// A change without its name, which lies elsewhere.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Noted {
    name_at: usize,
    name_len: u8,
    hash: u64,
    before: Option<(Dot, bool)>,
    after: Option<(Dot, bool)>,
    cause: Option<Cause>,
    fence: Fence,
    conflict: Option<(Dot, Dot)>,
}

impl Changes {
    /// How many names were changed.
    pub const fn len(&self) -> usize {
        self.noted.len()
    }

    /// Nothing was changed.
    pub const fn is_empty(&self) -> bool {
        self.noted.is_empty()
    }

    fn name(&self, noted: &Noted) -> &str {
        self.names.get(noted.name()).unwrap_or_default()
    }
}

impl Noted {
    /// Where its name lies.
    const fn name(&self) -> Range<usize> {
        self.name_at..self.name_at + self.name_len as usize
    }
}

impl IntoIterator for Changes {
    type Item = Change;
    type IntoIter = IntoChanges;

    fn into_iter(mut self) -> IntoChanges {
        IntoChanges { noted: std::mem::take(&mut self.noted).into_iter(), of: self }
    }
}

/// One change after the other.
#[derive(Debug)]
pub struct IntoChanges {
    noted: std::vec::IntoIter<Noted>,
    of: Changes,
}

impl IntoChanges {
    /// The next change, but for starts without a conflict of which `skip` says so, by hash and name.
    /// Those get no name of their own.
    pub(crate) fn next_but_starts(&mut self, skip: impl Fn(u64, &str) -> bool) -> Option<Change> {
        let (of, is_start) = (&self.of, |noted: &Noted| {
            noted.before.is_none() && noted.after.is_some() && noted.conflict.is_none()
        });
        let news = |noted: &Noted| !is_start(noted) || !skip(noted.hash, of.name(noted));
        let noted = self.noted.find(news)?;
        Some(self.named(noted))
    }

    fn named(&self, noted: Noted) -> Change {
        // It was checked before it came here.
        let name = BirdName::trusted(self.of.name(&noted));
        let Noted { hash, before, after, cause, fence, conflict, .. } = noted;
        Change { name, hash, before, after, cause, fence, conflict }
    }
}

impl Iterator for IntoChanges {
    type Item = Change;

    fn next(&mut self) -> Option<Change> {
        let noted = self.noted.next()?;
        Some(self.named(noted))
    }
}

impl Change {
    pub(super) const fn nothing(name: BirdName, hash: u64) -> Self {
        Self { name, hash, before: None, after: None, cause: None, fence: Fence(0), conflict: None }
    }
}

/// What makes a record dead.
#[derive(Clone, Debug)]
pub(super) enum Killer {
    Removal(Removal),
    Overwrite,
    /// A peer that knew it holds it no more.
    Comparison,
}

/// The names touched so far, in the order in which they were touched, and what became of each.
#[derive(Debug, Default)]
pub(super) struct Touched {
    noted: Vec<Noted>,
    /// Bytes as yet: that they are text is found out of all together, in a tenth of the time.
    names: Vec<u8>,
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
        Self { noted: Vec::with_capacity(names), ..Self::default() }
    }

    fn name(&self, noted: &Noted) -> &[u8] {
        self.names.get(noted.name()).unwrap_or_default()
    }

    /// Where this name stands among those touched.
    fn find(&mut self, hash: u64, name: &[u8]) -> Option<usize> {
        if self.noted.len() > FEW {
            for (at, noted) in self.noted.iter().enumerate().skip(self.indexed) {
                self.index.entry(noted.hash).or_insert(at);
            }
            self.indexed = self.noted.len();
        }
        let is_it = |noted: &Noted| noted.hash == hash && self.name(noted) == name;
        if self.noted.len() > FEW {
            let at = *self.index.get(&hash)?;
            if self.noted.get(at).is_some_and(is_it) {
                return Some(at);
            }
            // Another name of the same hash is there.
        }
        self.noted.iter().position(is_it)
    }

    /// Notes how a name that wasn't touched yet is now.
    fn add(&mut self, hash: u64, name: &[u8], before: Option<(Dot, bool)>) -> usize {
        if self.noted.is_empty() {
            // Mostly there is one.
            self.noted.reserve_exact(1);
        }
        let (name_at, name_len) = (self.names.len(), name.len() as u8);
        self.names.extend_from_slice(name);
        self.noted.push(Noted { name_at, name_len, hash, before, ..Noted::default() });
        self.noted.len() - 1
    }

    pub(super) fn met_elsewhere(&mut self, hash: u64, name: &[u8], winner: Dot, loser: Dot) {
        if let Some(at) = self.find(hash, name) {
            self.marks.entry(at).or_default().unseen = Some((winner, loser));
        }
    }

    pub(super) fn killed(&mut self, at: usize, birth: Dot, by: &Killer) {
        self.killed = true;
        let before = self.noted.get(at).and_then(|noted| noted.before);
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
        let Some(noted) = self.noted.get_mut(at) else { return };
        noted.after = now.winner;
        if !now.losers.is_empty() || self.marks.contains_key(&at) {
            self.marks.entry(at).or_default().losers = now.losers;
        }
    }
}

impl Mark {
    /// Tells why, and of what conflict, from how it was and how it is.
    fn explain(self, change: &mut Noted) {
        let (before, after) = (change.before, change.after);
        let births = |winner: Option<(Dot, bool)>| winner.map(|(birth, _)| birth).into_iter();
        let was: Vec<_> = births(before).chain(self.losers_before).collect();
        let is: Vec<_> = births(after).chain(self.losers.iter().copied()).collect();
        change.conflict = self.unseen;
        if let Some((old, _)) = before
            && !is.contains(&old)
        {
            match (self.killer, after) {
                (Some(Killer::Removal(Removal { cause, fence })), _) => {
                    change.cause = Some(cause_of_byte(cause));
                    change.fence = Fence(fence);
                }
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
        let at = touched.add(hash, name, was.winner);
        if !was.losers.is_empty() {
            touched.marks.insert(at, Mark { losers_before: was.losers, ..Mark::default() });
        }
        at
    }

    /// Notes how a name is after something was done to it.
    pub(super) fn retouch(&self, at: usize, touched: &mut Touched) {
        let Some(noted) = touched.noted.get(at) else { return };
        let now = self.lives(self.slots.group(noted.hash), touched.name(noted));
        touched.put(at, now);
    }

    /// The same of a name that had no record and has this one now.
    pub(super) fn retouch_new(at: usize, entry: &Entry<'_>, touched: &mut Touched) {
        let winner = Some((entry.birth, entry.grounded.is_some()));
        touched.put(at, Lives { winner, losers: Vec::new() });
    }

    /// Says what became of the names that were touched, and has the vector know what was done.
    pub(super) fn finish(&mut self, touched: Touched) -> Changes {
        self.origins.settle();
        let Touched { mut noted, names, marks, .. } = touched;
        for (at, mark) in marks {
            if let Some(change) = noted.get_mut(at) {
                mark.explain(change);
            }
        }
        // Each was checked before it came here.
        Changes { noted, names: String::from_utf8(names).unwrap_or_default() }
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
