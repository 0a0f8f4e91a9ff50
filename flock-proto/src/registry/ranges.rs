//! What a nest tells of its register, range by range, to one that lacks more than the log holds:
//! digests of the parts of a range, or its records. Whoever answers keeps nothing between two
//! requests; whoever asks ([`Comparison`](super::comparison::Comparison)) keeps what is still to be
//! compared.
//!
//! A message is bounded whatever the register's size, and an answer is cut where its window ends:
//! what wasn't told is asked for again.

use std::ops::RangeInclusive;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::codec::{Blob, Item, Writer};
use super::{DecodeError, Registry, Vector};
use crate::Dot;

/// What the author holds in some ranges of hashes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ranges {
    /// When the author looked: a number that grows with every change of its register.
    pub revision: u64,
    /// The digest of what the author knew then.
    pub known: u64,
    /// This opens a comparison.
    pub opening: Option<Opening>,
    /// The request that this answers; 0 if it was not asked for.
    pub number: u64,
    /// Nothing more follows in answer to it.
    pub last: bool,
    /// The last hash of which the answer tells. What lies beyond may be asked for at once: that it be
    /// gathered here while this is taken in there.
    pub upto: u64,
    /// Digests and records, in the registry's compact form.
    pub items: Bytes,
}

/// What the opening of a comparison says besides.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Opening {
    /// What the author knew. The receiver knows it, too, once it has compared every range.
    pub vector: Vector,
    /// Both know the same operations, and hold different records all the same.
    pub repair: bool,
    /// The author wants the receiver's opening, too.
    pub wanted: bool,
}

/// Which ranges the author has still to compare, and what it wants to know of each.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RangesWanted {
    /// Counts the author's requests.
    pub number: u64,
    /// Ranges to be told in digests of their parts, and ranges to be told in records, with the dots
    /// of those that the author has; in the registry's compact form.
    pub items: Bytes,
}

impl Registry {
    /// Opens a comparison: what a peer must know to find out what it lacks.
    pub fn opening(&self, repair: bool, wanted: bool) -> Ranges {
        let mut blob = Writer::default();
        self.origins.cloud().for_each(|dot| blob.seen(dot));
        self.write_parts(&(0..=u64::MAX), &mut blob);
        let opening = Opening { vector: self.vector().clone(), repair, wanted };
        Ranges { opening: Some(opening), last: true, ..self.told(0, blob) }
    }

    /// Tells a peer what it wants to know, in several messages, as much as the window holds.
    pub fn ranges(&self, wanted: &RangesWanted) -> Result<Vec<Ranges>, DecodeError> {
        let blob = Blob::parse(&wanted.items)?;
        let mut answer = Answer {
            registry: self,
            number: wanted.number,
            told: Vec::new(),
            blob: Writer::default(),
            upto: 0,
        };
        let mut items = blob.items();
        let mut next = items.next().transpose()?;
        while let Some(item) = next.take() {
            let Item::Range { first, last, in_parts } = item else {
                return Err(DecodeError::Misplaced);
            };
            let mut has = Vec::new();
            loop {
                next = items.next().transpose()?;
                let Some(Item::Have(dot)) = next else { break };
                has.push(dot);
            }
            let more = if in_parts {
                answer.parts(&(first..=last))
            } else {
                has.sort_unstable();
                answer.records(first..=last, &has)
            };
            if !more {
                break;
            }
        }
        Ok(answer.finish())
    }

    /// A message with this in it.
    fn told(&self, number: u64, blob: Writer) -> Ranges {
        Ranges {
            revision: self.revision,
            known: self.origins.vector_digest(),
            opening: None,
            number,
            last: false,
            upto: u64::MAX,
            items: blob.finish(0).into(),
        }
    }

    fn write_parts(&self, range: &RangeInclusive<u64>, blob: &mut Writer) {
        blob.range(range, true);
        for part in parts(range, self.config.fan_out.into()) {
            blob.sum(self.slots.sum(&part, &self.origins));
        }
    }
}

/// An answer, as it grows.
struct Answer<'a> {
    registry: &'a Registry,
    number: u64,
    told: Vec<Ranges>,
    blob: Writer,
    /// The last hash told of.
    upto: u64,
}

impl Answer<'_> {
    /// Tells a range in digests. False: the window ends before it.
    fn parts(&mut self, range: &RangeInclusive<u64>) -> bool {
        let room = self.make_room();
        if room {
            self.registry.write_parts(range, &mut self.blob);
            self.upto = *range.end();
        }
        room
    }

    /// Tells a range in records, but of those that the peer has, in their dots alone. False: the
    /// window ends before it, or in it.
    fn records(&mut self, range: RangeInclusive<u64>, has: &[Dot]) -> bool {
        if !self.make_room() {
            return false;
        }
        let registry = self.registry;
        let mut end = self.blob.range(&range, false);
        let mut last = None;
        for slot in registry.slots.range(range.clone()) {
            // Cut between two hashes only, so that a range holds all or nothing of a name.
            if let Some(last) = last.filter(|&last| last != slot.hash && self.is_full()) {
                self.blob.end_range(end, last);
                self.upto = last;
                if !self.make_room() {
                    return false;
                }
                end = self.blob.range(&(last + 1..=*range.end()), false);
            }
            last = Some(slot.hash);
            let dot = registry.dot(slot);
            if has.binary_search(&dot).is_ok() {
                self.blob.have(dot);
            } else {
                self.blob.slot(&registry.entry(slot));
            }
        }
        self.upto = *range.end();
        true
    }

    const fn is_full(&self) -> bool {
        self.blob.len() >= self.registry.config.message_bytes
    }

    /// Goes on in another message, if this one is full. False: that would be one too many.
    fn make_room(&mut self) -> bool {
        let config = &self.registry.config;
        if !self.is_full() {
            return true;
        }
        if (self.told.len() + 2) * config.message_bytes > config.window_bytes {
            return false;
        }
        let blob = std::mem::take(&mut self.blob);
        self.told.push(self.registry.told(self.number, blob));
        true
    }

    fn finish(mut self) -> Vec<Ranges> {
        self.told.push(Ranges { last: true, ..self.registry.told(self.number, self.blob) });
        for told in &mut self.told {
            told.upto = self.upto;
        }
        self.told
    }
}

/// A range, cut into so many parts of equal width; into fewer if it has fewer hashes.
pub(super) fn parts(
    range: &RangeInclusive<u64>,
    count: u64,
) -> impl Iterator<Item = RangeInclusive<u64>> + use<> {
    let first = *range.start();
    let len = u128::from(range.end() - first) + 1;
    let count = u128::from(count.max(1)).min(len);
    // At most the range's length above its start, so within 64 bits.
    let cut = move |part: u128| first.wrapping_add((len * part / count) as u64);
    (0..count).map(move |part| cut(part)..=cut(part + 1).wrapping_sub(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_lie_end_to_end_and_make_up_the_range() {
        for range in [0..=u64::MAX, 0..=0, 7..=9, u64::MAX - 4..=u64::MAX, 5..=1 << 63] {
            for count in [1, 2, 3, 16, 1000] {
                let all: Vec<_> = parts(&range, count).collect();
                assert!(all.len() as u64 <= count && all.iter().all(|part| !part.is_empty()));
                assert_eq!(all.first().map(|part| part.start()), Some(range.start()));
                assert_eq!(all.last().map(|part| part.end()), Some(range.end()));
                assert!(all.is_sorted_by(|a, b| a.end() + 1 == *b.start()));
            }
        }
    }
}
