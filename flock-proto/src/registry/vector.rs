//! Version vectors: what a nest knows of the operations of each incarnation.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{Dot, NestId};

/// For each incarnation the number up to which all its operations are known, and a horizon: an
/// incarnation up to it that isn't named is *retired*. All that it did is known, or done anew by
/// others, and it does nothing more. So a vector names little more than the nests that live.
///
/// Source: Parker et al., "Detection of Mutual Inconsistency in Distributed Systems", 1983.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Vector {
    seqs: BTreeMap<NestId, u64>,
    #[serde(default)]
    horizon: NestId,
}

impl Vector {
    /// Knows nothing.
    pub const fn new() -> Self {
        Self { seqs: BTreeMap::new(), horizon: NestId(0) }
    }

    /// The number up to which this incarnation's operations are known; 0 if none is, or it is retired.
    pub fn seq(&self, origin: NestId) -> u64 {
        self.seqs.get(&origin).copied().unwrap_or(0)
    }

    /// Is this operation known, or its incarnation retired?
    pub fn covers(&self, dot: Dot) -> bool {
        self.seq(dot.origin) >= dot.seq || self.is_retired(dot.origin)
    }

    /// Is all known that the other knows?
    pub fn covers_all(&self, other: &Self) -> bool {
        other.iter().all(|dot| self.covers(dot))
    }

    /// Up to which incarnation those are retired that aren't named; 0: none is.
    pub const fn horizon(&self) -> NestId {
        self.horizon
    }

    /// Is this incarnation retired?
    pub fn is_retired(&self, origin: NestId) -> bool {
        origin <= self.horizon && !self.seqs.contains_key(&origin)
    }

    /// Does the other name incarnations that are retired here?
    pub fn retires_of(&self, other: &Self) -> bool {
        self.horizon > NestId(0) && other.iter().any(|dot| self.is_retired(dot.origin))
    }

    /// Learns of all operations of an incarnation up to this one.
    pub fn raise(&mut self, to: Dot) {
        if to.seq > 0 {
            let seq = self.seqs.entry(to.origin).or_default();
            *seq = to.seq.max(*seq);
        }
    }

    /// Retires an incarnation: up to the horizon, and named no more.
    pub(super) fn retire(&mut self, origin: NestId) {
        self.seqs.remove(&origin);
    }

    /// The horizon never goes back.
    pub(super) fn raise_horizon(&mut self, horizon: NestId) {
        self.horizon = self.horizon.max(horizon);
    }

    /// The last known operation of each incarnation, in the order of the incarnations.
    pub fn iter(&self) -> impl Iterator<Item = Dot> + '_ {
        self.seqs.iter().map(|(&origin, &seq)| Dot { origin, seq })
    }

    /// How many incarnations it names.
    pub fn len(&self) -> usize {
        self.seqs.len()
    }

    /// Does it know nothing?
    pub fn is_empty(&self) -> bool {
        self.seqs.is_empty()
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
