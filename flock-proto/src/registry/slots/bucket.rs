//! A bucket: the records whose hashes begin with the same bits, and their digest.
//!
//! Mostly it is one list, sorted by hash. But hashes of names have no key, so
//! that every nest ranks names alike, and whoever likes can find names by the hundred thousand whose
//! hashes begin alike. So one that is far too full is parted by the bits that follow, and each part in
//! its turn: a search goes through few records whatever the names are.

use std::ops::RangeInclusive;

use super::slot::{Held, Run, digest, pack};
use super::{Packed, Sum};
use crate::Dot;
use crate::registry::origins::Origins;

/// A bucket with more records than this is parted. Where hashes are spread evenly, as those of names
/// chosen for themselves are, and a dozen records are in a bucket, none has half as many.
const CROWDED: u32 = 64;
/// One with fewer is whole again.
const QUIET: u32 = CROWDED / 4;
/// A part is told by so many bits more.
const PART_BITS: u32 = 4;
/// So many of a list's items lie in one line of memory, which is what a processor fetches at a time.
const IN_A_LINE: usize = 64 / size_of::<Held>();

#[derive(Clone, Debug, Default)]
pub(super) struct Bucket {
    body: Body,
    records: u32,
    digest: u64,
}

#[derive(Clone, Debug)]
enum Body {
    /// Records, sorted by hash and name, so that siblings are neighbours.
    Run(Vec<Held>),
    /// In the order of their hashes.
    Parts(Box<[Bucket; 1 << PART_BITS]>),
}

/// The hashes of a bucket: those whose first bits are these.
#[derive(Clone, Copy, Debug)]
pub(super) struct Span {
    first: u64,
    bits: u32,
}

impl Span {
    /// Those that begin like this hash.
    pub(super) const fn of(hash: u64, bits: u32) -> Self {
        Self { first: hash & !(u64::MAX >> bits), bits }
    }

    const fn last(self) -> u64 {
        self.first | (u64::MAX >> self.bits)
    }

    /// The first of the upper half.
    const fn middle(self) -> u64 {
        self.first | (1 << (u64::BITS - 1 - self.bits))
    }

    /// A bucket of these hashes can be parted.
    const fn is_wide(self) -> bool {
        self.bits + PART_BITS < u64::BITS
    }

    const fn part_of(self, hash: u64) -> usize {
        ((hash >> (u64::BITS - PART_BITS - self.bits)) & ((1 << PART_BITS) - 1)) as usize
    }

    const fn part(self, hash: u64) -> Self {
        Self::of(hash, self.bits + PART_BITS)
    }

    fn parts(self) -> impl Iterator<Item = Self> {
        let (bits, width) = (self.bits + PART_BITS, u64::MAX >> (self.bits + PART_BITS));
        (0..1 << PART_BITS).map(move |n| Self { first: self.first + n * width + n, bits })
    }

    fn is_in(self, hashes: &RangeInclusive<u64>) -> bool {
        *hashes.start() <= self.first && self.last() <= *hashes.end()
    }

    fn meets(self, hashes: &RangeInclusive<u64>) -> bool {
        *hashes.start() <= self.last() && self.first <= *hashes.end()
    }
}

impl Default for Body {
    fn default() -> Self {
        Self::Run(Vec::new())
    }
}

impl Bucket {
    /// One of these records, which are sorted.
    fn of(held: Vec<Held>, span: Span, origins: &Origins) -> Self {
        let digest = digest_of(&held, origins);
        Self::summed(held, digest, span, origins)
    }

    /// The same of records whose digest is known.
    fn summed(mut held: Vec<Held>, digest: u64, span: Span, origins: &Origins) -> Self {
        let records = held.len() as u32;
        if records > CROWDED && span.is_wide() {
            return Self { body: Body::parts(held, span, origins), records, digest };
        }
        held.shrink_to(held.len() + room(held.len()));
        Self { body: Body::Run(held), records, digest }
    }

    /// What it holds, in two numbers.
    pub(super) fn sum(&self) -> Sum {
        Sum { digest: self.digest, records: self.records.into() }
    }

    /// The same of those of its hashes that lie in a range.
    pub(super) fn sum_in(
        &self,
        hashes: &RangeInclusive<u64>,
        span: Span,
        origins: &Origins,
    ) -> Sum {
        if span.is_in(hashes) {
            return self.sum();
        }
        let mut sum = Sum::default();
        match &self.body {
            Body::Run(held) => {
                for slot in Run::new(held).within(hashes) {
                    sum.add(Sum { digest: slot.digest(origins.id(slot.origin)), records: 1 });
                }
            }
            Body::Parts(parts) => {
                let inside = parts.iter().zip(span.parts()).filter(|(_, part)| part.meets(hashes));
                inside.for_each(|(part, span)| sum.add(part.sum_in(hashes, span, origins)));
            }
        }
        sum
    }

    /// The records among which those of this hash are.
    #[inline]
    pub(super) fn run(&self, hash: u64, span: Span) -> Run<'_> {
        match &self.body {
            Body::Run(held) => Run::new(held),
            Body::Parts(parts) => Self::run_of_part(parts, hash, span),
        }
    }

    #[cold]
    fn run_of_part(parts: &[Self; 1 << PART_BITS], hash: u64, span: Span) -> Run<'_> {
        let part = parts.get(span.part_of(hash));
        part.map(|part| part.run(hash, span.part(hash))).unwrap_or_default()
    }

    /// All runs of hashes of this range, in their order.
    pub(super) fn runs(&self, hashes: &RangeInclusive<u64>, span: Span) -> Runs<'_> {
        match &self.body {
            Body::Run(held) => Runs::One(Some(Run::new(held).within(hashes))),
            Body::Parts(_) => {
                let mut runs = Vec::new();
                self.gather(hashes, span, &mut runs);
                Runs::Many(runs.into_iter())
            }
        }
    }

    fn gather<'a>(&'a self, hashes: &RangeInclusive<u64>, span: Span, into: &mut Vec<Run<'a>>) {
        match &self.body {
            Body::Run(held) => into.push(Run::new(held).within(hashes)),
            Body::Parts(parts) => {
                let inside = parts.iter().zip(span.parts()).filter(|(_, part)| part.meets(hashes));
                inside.for_each(|(part, span)| part.gather(hashes, span, into));
            }
        }
    }

    /// Looks at what must be looked at before its list can be.
    #[inline]
    pub(super) const fn approach(&self) -> u64 {
        self.digest
    }

    /// Looks at every line of the list.
    #[inline]
    pub(super) fn fetch(&self) -> u64 {
        let Body::Run(held) = &self.body else { return 0 };
        held.iter().step_by(IN_A_LINE).fold(0, |sum, held| sum ^ held.hash)
    }

    /// Looks at each record of the lower half, for halving.
    #[inline]
    pub(super) fn fetch_low(&self, span: Span) -> u8 {
        let Body::Run(held) = &self.body else { return 0 };
        Run::new(held).before(span.middle()).fetch()
    }

    /// Takes in a record. True: its name has others.
    pub(super) fn insert(&mut self, packed: &Packed<'_>, span: Span, origins: &Origins) -> bool {
        let known = match &mut self.body {
            Body::Run(held) => insert(held, packed),
            Body::Parts(parts) => {
                let part = parts.get_mut(span.part_of(packed.hash));
                part.is_some_and(|part| part.insert(packed, span.part(packed.hash), origins))
            }
        };
        self.records += 1;
        self.digest = self.digest.wrapping_add(digest(packed.hash, packed.entry.dot));
        if self.records > CROWDED
            && span.is_wide()
            && let Body::Run(held) = &mut self.body
        {
            self.body = Body::parts(std::mem::take(held), span, origins);
        }
        known
    }

    /// Takes out a record. `None`: it isn't here. True: its name has others.
    pub(super) fn remove(&mut self, hash: u64, dot: Dot, origin: u32, span: Span) -> Option<bool> {
        let others = match &mut self.body {
            Body::Run(held) => remove(held, hash, origin, dot.seq),
            Body::Parts(parts) => {
                let part = parts.get_mut(span.part_of(hash))?;
                part.remove(hash, dot, origin, span.part(hash))
            }
        }?;
        self.records -= 1;
        self.digest = self.digest.wrapping_sub(digest(hash, dot));
        if self.records < QUIET && matches!(self.body, Body::Parts(_)) {
            self.body = Body::Run(std::mem::take(&mut self.body).into_list());
        }
        Some(others)
    }

    /// Its two halves.
    pub(super) fn halves(self, span: Span, origins: &Origins) -> [Self; 2] {
        let mut low = self.body.into_list();
        let [low_span, high_span] =
            [span.first, span.middle()].map(|hash| Span::of(hash, span.bits + 1));
        let middle = low.partition_point(|held| held.hash < high_span.first);
        // With room from the first: the next record would have it moved.
        let upper = low.len() - middle;
        let mut high = Vec::with_capacity(upper + room(upper));
        high.extend(low.drain(middle..));
        // Records lie where the processor's caches don't reach, so only those of one half are read.
        let low_digest = digest_of(&low, origins);
        let high_digest = self.digest.wrapping_sub(low_digest);
        [
            Self::summed(low, low_digest, low_span, origins),
            Self::summed(high, high_digest, high_span, origins),
        ]
    }

    /// One of what both hold; the other's hashes follow this one's. It has these hashes.
    pub(super) fn joined(self, other: Self, span: Span, origins: &Origins) -> Self {
        let (records, digest) =
            (self.records + other.records, self.digest.wrapping_add(other.digest));
        let mut held = self.body.into_list();
        other.body.give(&mut held);
        if records > CROWDED && span.is_wide() {
            return Self { body: Body::parts(held, span, origins), records, digest };
        }
        Self { body: Body::Run(held), records, digest }
    }

    #[cfg(test)]
    pub(super) fn capacity(&self) -> usize {
        if let Body::Run(held) = &self.body { held.capacity() } else { usize::MAX }
    }
}

impl Body {
    fn parts(held: Vec<Held>, span: Span, origins: &Origins) -> Self {
        let mut rest = held.into_iter().peekable();
        let parts = span.parts().map(|part| {
            let inside = std::iter::from_fn(|| rest.next_if(|held| held.hash <= part.last()));
            Bucket::of(inside.collect(), part, origins)
        });
        let parts: Vec<_> = parts.collect();
        let parts = <[Bucket; 1 << PART_BITS]>::try_from(parts);
        Self::Parts(Box::new(parts.unwrap_or_default()))
    }

    fn into_list(self) -> Vec<Held> {
        match self {
            Self::Run(held) => held,
            parts @ Self::Parts(_) => {
                let mut held = Vec::new();
                parts.give(&mut held);
                held
            }
        }
    }

    fn give(self, into: &mut Vec<Held>) {
        match self {
            Self::Run(mut held) => {
                into.reserve_exact(held.len());
                into.append(&mut held);
            }
            Self::Parts(parts) => parts.into_iter().for_each(|part| part.body.give(into)),
        }
    }
}

/// The runs of one bucket.
pub(super) enum Runs<'a> {
    One(Option<Run<'a>>),
    Many(std::vec::IntoIter<Run<'a>>),
}

impl<'a> Iterator for Runs<'a> {
    type Item = Run<'a>;

    #[inline]
    fn next(&mut self) -> Option<Run<'a>> {
        match self {
            Self::One(run) => run.take(),
            Self::Many(runs) => runs.next(),
        }
    }
}

fn digest_of(held: &[Held], origins: &Origins) -> u64 {
    let digests = Run::new(held).map(|slot| slot.digest(origins.id(slot.origin)));
    digests.fold(0, u64::wrapping_add)
}

/// Lays a record in its place, by hash and name. True: its name has others.
fn insert(held: &mut Vec<Held>, packed: &Packed<'_>) -> bool {
    let Packed { entry, hash, .. } = *packed;
    // Records are looked at only where there are some of this hash already.
    let first = held.partition_point(|held| held.hash < hash);
    let group = Run::new(held).from(first, hash);
    let known = group.clone().any(|slot| slot.name() == entry.name);
    let at = first + group.take_while(|slot| slot.name() < entry.name).count();
    if held.len() == held.capacity() {
        held.reserve_exact(1 + room(held.len()));
    }
    held.insert(at, pack(packed));
    known
}

/// Takes a record out. `None`: there is none. True: its name has others.
fn remove(held: &mut Vec<Held>, hash: u64, origin: u32, seq: u64) -> Option<bool> {
    let group = Run::new(held).of(hash);
    let within = group.clone().position(|slot| slot.is(origin, seq))?;
    let slot = group.clone().nth(within)?;
    let others = group.filter(|other| other.name() == slot.name()).count() > 1;
    let at = held.partition_point(|held| held.hash < hash) + within;
    held.remove(at);
    if held.len() <= held.capacity() / 2 {
        held.shrink_to_fit();
    }
    Some(others)
}

/// Room for so many more. Doubling would leave a third of the memory unused, and much less would have
/// a list copied with every other record.
const fn room(held: usize) -> usize {
    held / 2
}
