//! What lives leave behind for those that go on.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::{Fence, NestId, SpeciesId};

/// Names one life of all: where it began, and with which fence. On both sides of a cut the same fence may be
/// given.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct LifeId(pub NestId, pub Fence);

/// The state of one life, as it was when the life ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Snapshot {
    /// Which species can read it.
    pub species: SpeciesId,
    /// Whose state it is.
    pub life: LifeId,
    /// Lives whose states are in it, the latest last, and no more than [`Snapshot::PAST`]: to take one of
    /// those in again would count it twice.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub past: Vec<LifeId>,
    /// What the bird wrote.
    pub state: Bytes,
}

impl Snapshot {
    /// So many lives before are remembered. Each move is one; a copy of a state that is about still
    /// after so many moves was lost to a crash, a cut and a heal, one upon the other.
    pub const PAST: usize = 32;
}

/// What goes along with a bird that moves.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Carried {
    /// What it goes on from. Without, it hatches afresh.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub snapshot: Option<Snapshot>,
    /// What other lives of its name left, and no life has taken in yet.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub others: Vec<Snapshot>,
}

impl Carried {
    /// Nothing goes along.
    pub fn is_nothing(&self) -> bool {
        self.snapshot.is_none() && self.others.is_empty()
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
