//! A bucket: the records whose hashes begin with the same bits, and their digest.
//!
//! Mostly it is one run of bytes, its records one after the other. But hashes of names have no key, so
//! that every nest ranks names alike, and whoever likes can find names by the hundred thousand whose
//! hashes begin alike. So one that is far too full is parted by the bits that follow, and each part in
//! its turn: a search goes through few records whatever the names are.

use std::ops::RangeInclusive;

use super::slot::{Run, Slot, digest, pack, packed_len};
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
/// What a processor fetches at a time.
const LINE: usize = 64;

#[derive(Clone, Debug, Default)]
pub(super) struct Bucket {
    body: Body,
    records: u32,
    digest: u64,
}

#[derive(Clone, Debug)]
enum Body {
    /// Records, sorted by hash and name, so that siblings are neighbours.
    Run(Vec<u8>),
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
    fn of(run: Run<'_>, span: Span, origins: &Origins) -> Self {
        let mut bucket = Self::default();
        for slot in run.clone() {
            bucket.records += 1;
            bucket.digest = bucket.digest.wrapping_add(slot.digest(origins.id(slot.origin)));
        }
        if bucket.records > CROWDED && span.is_wide() {
            bucket.body = Body::parts(run, span, origins);
        } else {
            let mut bytes = Vec::new();
            make_room(&mut bytes, run.len());
            bytes.extend_from_slice(run.bytes());
            bucket.body = Body::Run(bytes);
        }
        bucket
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
            Body::Run(bytes) => {
                for slot in Run::new(bytes).filter(|slot| hashes.contains(&slot.hash)) {
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
            Body::Run(bytes) => Run::new(bytes),
            Body::Parts(parts) => Self::run_of_part(parts, hash, span),
        }
    }

    #[cold]
    fn run_of_part(parts: &[Self; 1 << PART_BITS], hash: u64, span: Span) -> Run<'_> {
        let part = parts.get(span.part_of(hash));
        part.map(|part| part.run(hash, span.part(hash))).unwrap_or_default()
    }

    /// All runs that may hold hashes of this range, in their order.
    pub(super) fn runs(&self, hashes: &RangeInclusive<u64>, span: Span) -> Runs<'_> {
        match &self.body {
            Body::Run(bytes) => Runs::One(Some(Run::new(bytes))),
            Body::Parts(_) => {
                let mut runs = Vec::new();
                self.gather(hashes, span, &mut runs);
                Runs::Many(runs.into_iter())
            }
        }
    }

    fn gather<'a>(&'a self, hashes: &RangeInclusive<u64>, span: Span, into: &mut Vec<Run<'a>>) {
        match &self.body {
            Body::Run(bytes) => into.push(Run::new(bytes)),
            Body::Parts(parts) => {
                let inside = parts.iter().zip(span.parts()).filter(|(_, part)| part.meets(hashes));
                inside.for_each(|(part, span)| part.gather(hashes, span, into));
            }
        }
    }

    /// Looks at what must be looked at before its bytes can be.
    #[inline]
    pub(super) const fn approach(&self) -> u64 {
        self.digest
    }

    /// Looks at every line of it. From record to record each look would wait for the last.
    #[inline]
    pub(super) fn fetch(&self) -> u8 {
        let Body::Run(bytes) = &self.body else { return 0 };
        bytes.iter().step_by(LINE).fold(0, |sum, byte| sum ^ byte)
    }

    /// Takes in a record. True: its name has others.
    pub(super) fn insert(&mut self, packed: &Packed<'_>, span: Span, origins: &Origins) -> bool {
        let known = match &mut self.body {
            Body::Run(bytes) => insert(bytes, packed),
            Body::Parts(parts) => {
                let part = parts.get_mut(span.part_of(packed.hash));
                part.is_some_and(|part| part.insert(packed, span.part(packed.hash), origins))
            }
        };
        self.records += 1;
        self.digest = self.digest.wrapping_add(digest(packed.hash, packed.entry.dot));
        if self.records > CROWDED
            && span.is_wide()
            && let Body::Run(bytes) = &self.body
        {
            self.body = Body::parts(Run::new(bytes), span, origins);
        }
        known
    }

    /// Takes out a record. `None`: it isn't here. True: its name has others.
    pub(super) fn remove(&mut self, hash: u64, dot: Dot, origin: u32, span: Span) -> Option<bool> {
        let others = match &mut self.body {
            Body::Run(bytes) => remove(bytes, |slot| slot.hash == hash && slot.is(origin, dot.seq)),
            Body::Parts(parts) => {
                let part = parts.get_mut(span.part_of(hash))?;
                part.remove(hash, dot, origin, span.part(hash))
            }
        }?;
        self.records -= 1;
        self.digest = self.digest.wrapping_sub(digest(hash, dot));
        if self.records < QUIET && matches!(self.body, Body::Parts(_)) {
            let mut bytes = Vec::new();
            std::mem::take(&mut self.body).give(&mut bytes);
            self.body = Body::Run(bytes);
        }
        Some(others)
    }

    /// Its two halves.
    pub(super) fn halves(self, span: Span, origins: &Origins) -> [Self; 2] {
        let bytes = self.body.into_bytes();
        let bit = u64::BITS - span.bits - 1;
        let whole = Run::new(&bytes);
        let high = whole.clone().past(|slot| (slot.hash >> bit) & 1 == 0);
        let [low_span, high_span] =
            [span.first, span.last()].map(|hash| Span::of(hash, span.bits + 1));
        [Self::of(whole.before(&high), low_span, origins), Self::of(high, high_span, origins)]
    }

    /// One of what both hold; the other's hashes follow this one's. It has these hashes.
    pub(super) fn joined(self, other: Self, span: Span, origins: &Origins) -> Self {
        let (records, digest) =
            (self.records + other.records, self.digest.wrapping_add(other.digest));
        let mut bytes = self.body.into_bytes();
        other.body.give(&mut bytes);
        if records > CROWDED && span.is_wide() {
            return Self { body: Body::parts(Run::new(&bytes), span, origins), records, digest };
        }
        Self { body: Body::Run(bytes), records, digest }
    }

    #[cfg(test)]
    pub(super) fn capacity(&self) -> usize {
        if let Body::Run(bytes) = &self.body { bytes.capacity() } else { usize::MAX }
    }
}

impl Body {
    fn parts(run: Run<'_>, span: Span, origins: &Origins) -> Self {
        let mut rest = run;
        let parts = span.parts().map(|part| {
            let whole = rest.clone();
            rest = whole.clone().past(|slot| slot.hash <= part.last());
            Bucket::of(whole.before(&rest), part, origins)
        });
        let parts: Vec<_> = parts.collect();
        let parts = <[Bucket; 1 << PART_BITS]>::try_from(parts);
        Self::Parts(Box::new(parts.unwrap_or_default()))
    }

    fn into_bytes(self) -> Vec<u8> {
        match self {
            Self::Run(bytes) => bytes,
            parts @ Self::Parts(_) => {
                let mut bytes = Vec::new();
                parts.give(&mut bytes);
                bytes
            }
        }
    }

    fn give(self, into: &mut Vec<u8>) {
        match self {
            Self::Run(bytes) => {
                into.reserve_exact(bytes.len());
                into.extend_from_slice(&bytes);
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

/// Lays a record in its place. True: its name has others.
fn insert(bytes: &mut Vec<u8>, packed: &Packed<'_>) -> bool {
    let Packed { entry, hash, origin, species } = *packed;
    let (run, key) = (Run::new(bytes), (hash, entry.name));
    let rest = run.past(|slot| (slot.hash, slot.name()) < key);
    let known = rest.clone().next().is_some_and(|slot| (slot.hash, slot.name()) == key);
    let (at, len) = (bytes.len() - rest.len(), packed_len(entry, species));
    make_room(bytes, len);
    pack(entry, hash, origin, species, bytes);
    if let Some(rest) = bytes.get_mut(at..) {
        rest.rotate_right(len);
    }
    known
}

/// Takes a record out. `None`: there is none. True: its name has others.
fn remove(bytes: &mut Vec<u8>, is_it: impl Fn(&Slot<'_>) -> bool) -> Option<bool> {
    let mut rest = Run::new(bytes).past(|slot| !is_it(slot));
    let start = bytes.len() - rest.len();
    let slot = rest.next()?;
    let end = bytes.len() - rest.len();
    let same_name = |s: &Slot<'_>| s.hash == slot.hash && s.name() == slot.name();
    let others = Run::new(bytes).filter(same_name).count() > 1;
    bytes.drain(start..end);
    if bytes.len() <= bytes.capacity() / 2 {
        bytes.shrink_to_fit();
    }
    Some(others)
}

/// Makes room for so many bytes more, and for a third: doubling would leave a third of the memory
/// unused, and less would have a bucket copied with every other record.
fn make_room(bytes: &mut Vec<u8>, more: usize) {
    let needed = bytes.len() + more;
    if needed > bytes.capacity() {
        bytes.reserve_exact(more + needed / 3);
    }
}
