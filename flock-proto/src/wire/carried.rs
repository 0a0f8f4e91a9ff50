//! What lives leave behind for those that go on.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::walk::sparing;
use crate::{Fence, NestId, SpeciesId};

/// Names one life of all: where it began, and with which fence. On both sides of a cut the same fence may be
/// given.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct LifeId(pub NestId, pub Fence);

/// One state of all that a life had. The number counts the checkpoints of the life; without one it is the
/// state with which the life ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Moment(pub LifeId, pub Option<u64>);

impl Moment {
    /// Whether it is of the same life, and not before the other.
    pub fn covers(&self, other: &Self) -> bool {
        self.0 == other.0 && self.reach() >= other.reach()
    }

    /// Grows within a life; nothing is behind its end.
    pub fn reach(&self) -> u64 {
        self.1.unwrap_or(u64::MAX)
    }
}

/// The state of one life: as it was when the life ended, or at a checkpoint.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Snapshot {
    /// Which species can read it.
    pub species: SpeciesId,
    /// Whose state it is.
    pub life: LifeId,
    /// The number of the checkpoint; none, if the life ended with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub number: Option<u64>,
    /// States that are in it, one of each life, the latest last, and no more than [`Snapshot::PAST`]: to
    /// take one of those in again would count it twice.
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "sparing")]
    pub past: Vec<Moment>,
    /// What the bird wrote.
    pub state: Bytes,
}

impl Snapshot {
    /// So many lives before are remembered. Each move is one; a copy of a state that is about still
    /// after so many moves was lost to a crash, a cut and a heal, one upon the other.
    pub const PAST: usize = 32;

    /// Which state it is.
    pub const fn moment(&self) -> Moment {
        Moment(self.life, self.number)
    }

    /// Whether that state is in this one, or is this one.
    pub fn has(&self, moment: &Moment) -> bool {
        self.past.iter().chain([&self.moment()]).any(|known| known.covers(moment))
    }
}

/// What goes along with a bird that moves.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Carried {
    /// What it goes on from. Without, it hatches afresh.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub snapshot: Option<Snapshot>,
    /// What other lives of its name left, and no life has taken in yet.
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "sparing")]
    pub others: Vec<Snapshot>,
    /// Another nest is to hold a copy of it at any time.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub standby: bool,
    /// What it goes on from is a copy: nobody has seen its life end.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub copy: bool,
}

impl Carried {
    /// Nothing goes along.
    pub fn is_nothing(&self) -> bool {
        *self == Self::default()
    }

    /// How many bytes of state.
    pub fn size(&self) -> usize {
        self.snapshot.iter().chain(&self.others).map(|snapshot| snapshot.state.len()).sum()
    }

    /// All states, for a life that has one of its own.
    pub fn into_all(self) -> impl Iterator<Item = Snapshot> {
        self.snapshot.into_iter().chain(self.others)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_what_is_carried_nothing_is_left_out_that_is_something() {
        let nothing = Carried::default();
        assert!(nothing.is_nothing());
        assert!(!Carried { standby: true, ..nothing.clone() }.is_nothing());
        assert!(!Carried { copy: true, ..nothing }.is_nothing());
    }
}
