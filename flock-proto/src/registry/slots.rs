//! Live records, packed, in hash-ordered buckets with a digest each.
//!
//! A bucket is a list of hashes, with a pointer to each one's record. So whoever looks for one reads
//! two or three lines of memory that follow each other, and records stay where they are when others
//! come: of a new one nothing else has to be read, and nothing but the list ever moved.
//!
//! A digest is a sum over the slots, so that the digest of any range is the sum of the buckets in
//! it and of the slots at its edges, and two nests can compare ranges whatever the number of their
//! buckets.
//!
//! - this file: all buckets.
//! - `bucket`: one of them.
//! - `slot`: one record, packed.

mod bucket;
mod slot;

use std::ops::RangeInclusive;

use bucket::{Bucket, Span};
use slot::Species;
pub(super) use slot::{Run, Slot, mix};

use super::codec::Entry;
use super::origins::Origins;
use crate::{Dot, NestId, RegistryConfig};

/// So many places are approached together: their buckets' lists fit into the caches at once.
pub(super) const TOGETHER: usize = 128;

/// So many buckets are halved together, for the same reason: their records' heads do.
const HALVED_TOGETHER: usize = 16;

/// All live records.
#[derive(Clone, Debug)]
pub(super) struct Slots {
    buckets: Vec<Bucket>,
    bits: u32,
    config: RegistryConfig,
    slots: usize,
    names: usize,
    digest: u64,
    species: Species,
}

/// A record to be packed, with its hash and the numbers of its origin and species.
#[derive(Clone, Copy, Debug)]
struct Packed<'a> {
    entry: &'a Entry<'a>,
    hash: u64,
    origin: u32,
    species: u16,
}

/// What a range holds, in two numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Sum {
    pub(super) digest: u64,
    pub(super) records: u64,
}

impl Slots {
    pub(super) fn new(config: RegistryConfig) -> Self {
        let max = config.max_bucket_bits.clamp(1, 32);
        let bits = config.bucket_bits.clamp(1, max);
        Self {
            buckets: vec![Bucket::default(); 1 << bits],
            bits,
            config: RegistryConfig { bucket_bits: bits, max_bucket_bits: max, ..config },
            slots: 0,
            names: 0,
            digest: 0,
            species: Species::default(),
        }
    }

    /// How many names have a live record.
    pub(super) const fn names(&self) -> usize {
        self.names
    }

    pub(super) const fn records(&self) -> usize {
        self.slots
    }

    pub(super) const fn digest(&self) -> u64 {
        self.digest
    }

    /// All slots of this hash. Names whose hashes collide come one after the other.
    #[inline]
    pub(super) fn group(&self, hash: u64) -> Run<'_> {
        let Some(bucket) = self.buckets.get(self.place(hash)) else { return Run::default() };
        bucket.run(hash, self.span(hash)).of(hash)
    }

    /// Looks at the places of these hashes, one right after the other: at all buckets, then at their
    /// lists. In a large register each lies where the processor's caches don't reach; asked for
    /// together, they are fetched side by side. Joining a batch is twice as fast for it.
    pub(super) fn approach(&self, hashes: impl Iterator<Item = u64> + Clone) {
        let buckets = hashes.filter_map(|hash| self.buckets.get(self.place(hash)));
        let heads = buckets.clone().fold(0, |sum, bucket| sum ^ bucket.approach());
        let lists = buckets.fold(0, |sum, bucket| sum ^ bucket.fetch());
        std::hint::black_box((heads, lists));
    }

    /// Then at the records of some of them, where there are any.
    pub(super) fn fetch(&self, hashes: impl Iterator<Item = u64>) {
        let records = hashes.fold(0, |sum, hash| sum ^ self.group(hash).fetch());
        std::hint::black_box(records);
    }

    pub(super) fn siblings<'a>(
        &'a self,
        hash: u64,
        name: &'a [u8],
    ) -> impl Iterator<Item = Slot<'a>> + 'a {
        self.group(hash).filter(move |slot| slot.name() == name)
    }

    pub(super) fn find(&self, hash: u64, origin: u32, seq: u64) -> Option<Slot<'_>> {
        self.group(hash).find(|slot| slot.is(origin, seq))
    }

    /// The record in a slot; `origin` is the id behind the slot's number.
    pub(super) fn entry<'a>(&self, slot: Slot<'a>, origin: NestId) -> Entry<'a> {
        slot.entry(origin, &self.species)
    }

    /// All slots whose hashes lie in this range, in the order of hash and name.
    pub(super) fn range(&self, hashes: RangeInclusive<u64>) -> impl Iterator<Item = Slot<'_>> {
        let first = self.place(*hashes.start());
        let buckets = self.buckets.get(first..=self.place(*hashes.end())).unwrap_or_default();
        let all = hashes.clone();
        let runs = buckets
            .iter()
            .zip(first..)
            .flat_map(move |(bucket, place)| bucket.runs(&all, self.span_at(place)));
        runs.flatten().filter(move |slot| hashes.contains(&slot.hash))
    }

    /// What a range holds. Costs a look at each bucket in it, and at the slots of two.
    pub(super) fn sum(&self, hashes: &RangeInclusive<u64>, origins: &Origins) -> Sum {
        let (first, last) = (self.place(*hashes.start()), self.place(*hashes.end()));
        let mut sum = Sum::default();
        for (bucket, place) in
            self.buckets.get(first..=last).unwrap_or_default().iter().zip(first..)
        {
            let at_an_edge = place == first || place == last;
            sum.add(if at_an_edge {
                bucket.sum_in(hashes, self.span_at(place), origins)
            } else {
                bucket.sum()
            });
        }
        sum
    }

    /// Takes in a record under its hash and the number of its origin.
    pub(super) fn insert(&mut self, entry: &Entry<'_>, hash: u64, origin: u32, origins: &Origins) {
        let full = self.slots >= self.buckets.len() * self.config.bucket_full;
        if full && self.bits < self.config.max_bucket_bits {
            self.halve_buckets(origins);
        }
        let species = self.species.number(entry.species);
        let (place, span) = (self.place(hash), self.span(hash));
        let Some(bucket) = self.buckets.get_mut(place) else { return };
        let known = bucket.insert(&Packed { entry, hash, origin, species }, span, origins);
        self.digest = self.digest.wrapping_add(slot::digest(hash, entry.dot));
        self.slots += 1;
        self.names += usize::from(!known);
    }

    pub(super) fn remove(&mut self, hash: u64, dot: Dot, origin: u32, origins: &Origins) {
        let (place, span) = (self.place(hash), self.span(hash));
        let Some(bucket) = self.buckets.get_mut(place) else { return };
        let Some(others) = bucket.remove(hash, dot, origin, span) else { return };
        self.digest = self.digest.wrapping_sub(slot::digest(hash, dot));
        self.slots -= 1;
        self.names -= usize::from(!others);
        let sparse = self.slots < self.buckets.len() * self.config.bucket_sparse;
        if sparse && self.bits > self.config.bucket_bits {
            self.merge_buckets(origins);
        }
    }

    const fn place(&self, hash: u64) -> usize {
        (hash >> (u64::BITS - self.bits)) as usize
    }

    /// The hashes of the bucket of this one.
    const fn span(&self, hash: u64) -> Span {
        Span::of(hash, self.bits)
    }

    const fn span_at(&self, place: usize) -> Span {
        self.span((place as u64) << (u64::BITS - self.bits))
    }

    fn halve_buckets(&mut self, origins: &Origins) {
        let mut halves = Vec::with_capacity(2 * self.buckets.len());
        let mut wholes = std::mem::take(&mut self.buckets);
        let mut first = 0;
        for wholes in wholes.chunks_mut(HALVED_TOGETHER) {
            let lists = wholes.iter().fold(0, |sum, whole| sum ^ whole.fetch());
            let spans = (first..).map(|place| self.span_at(place));
            let low = wholes.iter().zip(spans.clone()).map(|(whole, span)| whole.fetch_low(span));
            std::hint::black_box((lists, low.fold(0, |sum, low| sum ^ low)));
            first += wholes.len();
            for (whole, span) in wholes.iter_mut().zip(spans) {
                halves.extend(std::mem::take(whole).halves(span, origins));
            }
        }
        self.buckets = halves;
        self.bits += 1;
    }

    fn merge_buckets(&mut self, origins: &Origins) {
        self.bits -= 1;
        let mut merged: Vec<Bucket> = Vec::with_capacity(1 << self.bits);
        let mut halves = std::mem::take(&mut self.buckets).into_iter();
        while let (Some(low), Some(high)) = (halves.next(), halves.next()) {
            merged.push(low.joined(high, self.span_at(merged.len()), origins));
        }
        self.buckets = merged;
    }
}

impl Sum {
    const fn add(&mut self, more: Self) {
        self.digest = self.digest.wrapping_add(more.digest);
        self.records += more.records;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Hlc, SpeciesId};

    fn hash(name: &str) -> u64 {
        xxhash_rust::xxh3::xxh3_64(name.as_bytes())
    }

    fn dot(seq: u64) -> Dot {
        Dot { origin: NestId(7), seq }
    }

    fn slots(bucket_bits: u32) -> Slots {
        Slots::new(RegistryConfig { bucket_bits, ..RegistryConfig::default() })
    }

    fn fill(slots: &mut Slots, origins: &mut Origins, count: u64) {
        let origin = origins.number_or_new(NestId(7));
        for seq in 1..=count {
            let (name, species) = (format!("bird-{seq}"), SpeciesId(seq % 3));
            let entry = Entry {
                dot: dot(seq),
                birth: dot(seq),
                hlc: Hlc(seq),
                species,
                token: 2,
                grounded: None,
                anew: false,
                name: name.as_bytes(),
                args: b"args",
            };
            slots.insert(&entry, hash(&name), origin, origins);
            let found = slots.find(hash(&name), origin, seq);
            assert!(found.is_some_and(|slot| slots.entry(slot, NestId(7)) == entry));
        }
    }

    fn empty(slots: &mut Slots, origins: &Origins, seqs: std::ops::RangeInclusive<u64>) {
        let origin = origins.number(NestId(7)).expect("it has written");
        seqs.for_each(|seq| slots.remove(hash(&format!("bird-{seq}")), dot(seq), origin, origins));
    }

    #[test]
    fn halving_and_merging_buckets_keeps_slots_order_and_digests() {
        let (mut slots, mut origins) = (slots(4), Origins::new(0));
        fill(&mut slots, &mut origins, 2000);
        assert!(slots.bits > 4);
        let hashes: Vec<_> = slots.range(0..=u64::MAX).map(|slot| slot.hash).collect();
        assert!(hashes.len() == 2000 && hashes.is_sorted());
        for (bucket, place) in slots.buckets.iter().zip(0..) {
            let mut sum = Sum::default();
            for slot in bucket.runs(&(0..=u64::MAX), slots.span_at(place)).flatten() {
                sum.add(Sum { digest: slot::digest(slot.hash, dot(slot.seq)), records: 1 });
            }
            assert_eq!(bucket.sum(), sum, "each half is told of its own records");
        }
        let (full, digest) = (slots.bits, slots.digest());
        empty(&mut slots, &origins, 101..=2000);
        assert!(slots.bits < full && slots.bits >= 4);
        let hashes: Vec<_> = slots.range(0..=u64::MAX).map(|slot| slot.hash).collect();
        assert!(hashes.len() == 100 && hashes.is_sorted());
        let sum = slots.buckets.iter().fold(0u64, |sum, b| sum.wrapping_add(b.sum().digest));
        assert!(sum == slots.digest() && sum != digest);
        empty(&mut slots, &origins, 1..=100);
        assert_eq!((slots.names(), slots.digest(), slots.bits), (0, 0, 4));
        assert!(slots.buckets.iter().all(|bucket| bucket.capacity() == 0));
    }

    #[test]
    fn ranges_have_one_sum_whatever_the_number_of_buckets() {
        let mut origins = Origins::new(0);
        let [mut few, mut many] = [1, 10].map(slots);
        fill(&mut few, &mut origins, 20);
        fill(&mut many, &mut origins, 20);
        let mut rng = crate::Rng::new(5);
        for _ in 0..1000 {
            let (a, b) = (rng.next_u64(), rng.next_u64());
            // Some as wide as buckets, some within one, some of a single hash.
            let (a, b) = match rng.below(4) {
                0 => (a << 54, (b << 54) | (u64::MAX >> 10)),
                1 => (hash("bird-3"), hash("bird-3")),
                2 => (a, a | (b >> 12)),
                _ => (a, b),
            };
            let range = a.min(b)..=a.max(b);
            let sum = few.sum(&range, &origins);
            assert_eq!(sum, many.sum(&range, &origins));
            assert_eq!(sum.records, few.range(range).count() as u64);
        }
        let all = Sum { digest: few.digest(), records: 20 };
        assert_eq!(many.sum(&(0..=u64::MAX), &origins), all);
    }

    /// Records whose hashes begin alike, or are alike, with some of others around them.
    fn crowd(slots: &mut Slots, origins: &mut Origins, count: u64) -> Vec<(u64, u64)> {
        let origin = origins.number_or_new(NestId(7));
        let hashes = (1..=count).map(|seq| match seq % 8 {
            0 => hash(&format!("bird-{seq}")),
            1 => 0x7777_7777_7777_7777,
            // Alike in all bits but the last eighteen.
            _ => 0x7777_7777_7777_7777 ^ (slot::mix(seq) >> 46),
        });
        let all: Vec<_> = hashes.zip(1..).collect();
        for &(hash, seq) in &all {
            let (name, args) = (format!("{seq}"), b"args");
            let (dot, hlc) = (dot(seq), Hlc(seq));
            let entry = Entry {
                dot,
                birth: dot,
                hlc,
                species: SpeciesId(1),
                token: 2,
                grounded: None,
                anew: false,
                name: name.as_bytes(),
                args,
            };
            slots.insert(&entry, hash, origin, origins);
        }
        all
    }

    #[test]
    fn a_crowded_bucket_holds_what_any_other_would() {
        let mut origins = Origins::new(0);
        let mut crowded = slots(4);
        let mut all = crowd(&mut crowded, &mut origins, 4000);
        assert_eq!(crowded.names(), 4000);
        let origin = origins.number_or_new(NestId(7));
        for &(hash, seq) in &all {
            assert!(crowded.find(hash, origin, seq).is_some(), "{hash:x}");
            let (walked, run) = (crowded.span(hash), crowded.place(hash));
            let run = crowded.buckets[run].run(hash, walked).count();
            assert!(run <= 64 || crowded.group(hash).count() > 400, "{run} looked at");
        }
        all.sort_unstable();
        let mut rng = crate::Rng::new(5);
        let mut check = |crowded: &Slots, all: &[(u64, u64)]| {
            let held: Vec<_> = crowded.range(0..=u64::MAX).map(|s| (s.hash, s.seq)).collect();
            let sorted = {
                let mut held = held.clone();
                held.sort_unstable();
                held
            };
            assert!(held.is_sorted_by_key(|(hash, _)| *hash) && sorted == all);
            for _ in 0..200 {
                let near = 0x7777_7777_7777_7777 ^ (rng.next_u64() >> 44);
                let range = near.min(near ^ (rng.next_u64() >> 40))..=near;
                let inside = all.iter().filter(|(hash, _)| range.contains(hash));
                let mut sum = Sum::default();
                for &(hash, seq) in inside {
                    sum.add(Sum { digest: slot::digest(hash, dot(seq)), records: 1 });
                }
                assert_eq!(crowded.sum(&range, &origins), sum, "{range:x?}");
                assert_eq!(crowded.range(range).count() as u64, sum.records);
            }
        };
        check(&crowded, &all);
        while let Some((hash, seq)) = all.pop() {
            crowded.remove(hash, dot(seq), origin, &origins);
            if all.len().is_multiple_of(500) {
                check(&crowded, &all);
            }
        }
        assert_eq!((crowded.names(), crowded.digest(), crowded.bits), (0, 0, 4));
        assert!(crowded.buckets.iter().all(|bucket| bucket.capacity() == 0));
    }
}
