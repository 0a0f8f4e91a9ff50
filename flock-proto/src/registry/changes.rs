//! What an operation or a join did, name by name.

use std::collections::BTreeMap;

use super::Registry;
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
    /// record superseded it, or if the removal was learnt from a snapshot, which has no causes.
    pub cause: Option<Cause>,
    /// A record of another birth appeared beside one, or gave way to one: the births of winner
    /// and loser.
    pub conflict: Option<(Dot, Dot)>,
}

impl Change {
    pub(super) fn nothing(name: BirdName) -> Self {
        let hash = name.hash64();
        Self { name, hash, before: None, after: None, cause: None, conflict: None }
    }
}

/// What makes a record dead.
#[derive(Clone, Debug)]
pub(super) enum Killer {
    Removal(Cause),
    Overwrite,
    /// A peer's snapshot lacks it.
    Snapshot,
}

/// The names touched so far, each as it was before. Ordered by hash, as a HashMap's order would
/// leak into what the nest does next.
#[derive(Debug, Default)]
pub(super) struct Touched(BTreeMap<(u64, BirdName), Before>);

#[derive(Debug)]
struct Before {
    winner: Option<(Dot, bool)>,
    births: Vec<Dot>,
    /// What became of the winner's records.
    killer: Option<Killer>,
    /// The births of a winner and of a loser that never lived here.
    unseen: Option<(Dot, Dot)>,
}

impl Touched {
    pub(super) fn met_elsewhere(&mut self, hash: u64, name: BirdName, winner: Dot, loser: Dot) {
        if let Some(before) = self.0.get_mut(&(hash, name)) {
            before.unseen = Some((winner, loser));
        }
    }

    pub(super) fn killed(&mut self, hash: u64, name: BirdName, birth: Dot, by: &Killer) {
        if let Some(before) = self.0.get_mut(&(hash, name))
            && before.winner.is_some_and(|(winner, _)| winner == birth)
            // A removal is the better answer to "why", whatever else happened.
            && !matches!(before.killer, Some(Killer::Removal(_)))
        {
            before.killer = Some(by.clone());
        }
    }
}

impl Registry {
    pub(super) fn touch(&self, hash: u64, name: &str, touched: &mut Touched) {
        if let Ok(key) = BirdName::new(name) {
            touched.0.entry((hash, key)).or_insert_with(|| Before {
                winner: self.winning(hash, name).map(|slot| self.birth(slot)),
                births: self.births(hash, name),
                killer: None,
                unseen: None,
            });
        }
    }

    pub(super) fn finish(&self, touched: Touched) -> Vec<Change> {
        let changes = touched.0.into_iter();
        changes.map(|((hash, name), before)| self.change(name, hash, before)).collect()
    }

    fn change(&self, name: BirdName, hash: u64, was: Before) -> Change {
        let births = self.births(hash, name.as_str());
        let after = self.winning(hash, name.as_str()).map(|slot| self.birth(slot));
        let before = was.winner;
        let (mut cause, mut conflict) = (None, was.unseen);
        if let Some((old, _)) = before
            && !births.contains(&old)
        {
            match (was.killer, after) {
                (Some(Killer::Removal(why)), _) => cause = Some(why),
                // Two births met elsewhere and were settled before we heard of it.
                (Some(Killer::Overwrite), Some((new, _))) => conflict = Some((new, old)),
                _ => {}
            }
        }
        let appeared = births.iter().any(|birth| !was.births.contains(birth));
        if let Some((winner, _)) = after
            && appeared
            && let Some(&loser) = births.iter().find(|&&birth| birth != winner)
        {
            conflict = Some((winner, loser));
        }
        Change { name, hash, before, after, cause, conflict }
    }

    /// The births of all live records of a name, each once; the greatest record's first.
    fn births(&self, hash: u64, name: &str) -> Vec<Dot> {
        let mut slots: Vec<_> = self.slots.siblings(hash, name).collect();
        slots.sort_by_key(|slot| std::cmp::Reverse((slot.hlc, self.dot(slot))));
        let mut births = Vec::new();
        for slot in slots {
            let (birth, _) = self.birth(slot);
            if !births.contains(&birth) {
                births.push(birth);
            }
        }
        births
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
