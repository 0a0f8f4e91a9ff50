//! Version vectors: what a nest knows of the operations of each incarnation.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{Dot, NestId};

/// For each incarnation the number up to which all its operations are known.
///
/// Source: Parker et al., "Detection of Mutual Inconsistency in Distributed Systems", 1983.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Vector(BTreeMap<NestId, u64>);

impl Vector {
    /// Knows nothing.
    pub const fn new() -> Self {
        Self(BTreeMap::new())
    }

    /// The number up to which this incarnation's operations are known; 0 if none is.
    pub fn seq(&self, origin: NestId) -> u64 {
        self.0.get(&origin).copied().unwrap_or(0)
    }

    /// Is this operation known?
    pub fn covers(&self, dot: Dot) -> bool {
        self.seq(dot.origin) >= dot.seq
    }

    /// Is all known that the other knows?
    pub fn covers_all(&self, other: &Self) -> bool {
        other.iter().all(|dot| self.covers(dot))
    }

    /// Learns what the other knows.
    pub fn merge(&mut self, other: &Self) {
        for dot in other.iter() {
            self.raise(dot);
        }
    }

    /// Learns of all operations of an incarnation up to this one.
    pub fn raise(&mut self, to: Dot) {
        if to.seq > 0 {
            let seq = self.0.entry(to.origin).or_default();
            *seq = to.seq.max(*seq);
        }
    }

    /// The last known operation of each incarnation, in the order of the incarnations.
    pub fn iter(&self) -> impl Iterator<Item = Dot> + '_ {
        self.0.iter().map(|(&origin, &seq)| Dot { origin, seq })
    }

    /// How many incarnations it names.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Does it know nothing?
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl FromIterator<Dot> for Vector {
    fn from_iter<I: IntoIterator<Item = Dot>>(dots: I) -> Self {
        let mut vector = Self::new();
        for dot in dots {
            vector.raise(dot);
        }
        vector
    }
}
