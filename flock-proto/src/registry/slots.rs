//! Live records, packed, in hash-ordered buckets with a digest each.
//!
//! A bucket is one run of bytes, its records one after the other. So a record costs no allocation and
//! no pointer of its own, and whoever looks for one reads a few lines of memory that follow each other.
//!
//! A digest is a sum over the slots, so that the digest of any range is the sum of the buckets in
//! it and of the slots at its edges, and two nests can compare ranges whatever the number of their
//! buckets.
//!
//! - this file: the buckets.
//! - `slot`: one record, packed.

mod slot;

use std::ops::RangeInclusive;

pub(super) use slot::{Run, Slot, mix};
use slot::{Species, pack, packed_len};

use super::codec::Entry;
use super::origins::Origins;
use crate::{Dot, NestId};

/// The greatest number of buckets, as a power of two: 16 Mi, for 400 million records.
const MAX_BITS: u32 = 24;
/// Buckets are halved when they hold more than this on average: a search, which goes from record to
/// record, is short, and what a bucket costs is spread over half a dozen records at least.
const FULL: usize = 12;
/// Pairs of buckets are merged when they hold less than this on average. Far below half of `FULL`,
/// so that a register that shrinks and grows about one size doesn't do both again and again.
const SPARSE: usize = 2;
/// So many places are approached together: their buckets' bytes fit into the caches at once.
pub(super) const TOGETHER: usize = 128;
/// What a processor fetches at a time.
const LINE: usize = 64;

/// All live records.
#[derive(Clone, Debug)]
pub(super) struct Slots {
    buckets: Vec<Bucket>,
    bits: u32,
    min_bits: u32,
    slots: usize,
    names: usize,
    digest: u64,
    species: Species,
}

#[derive(Clone, Debug, Default)]
struct Bucket {
    /// Records, sorted by hash and name, so that siblings are neighbours.
    bytes: Vec<u8>,
    records: u32,
    digest: u64,
}

/// What a range holds, in two numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Sum {
    pub(super) digest: u64,
    pub(super) records: u64,
}

impl Slots {
    pub(super) fn new(bits: u32) -> Self {
        let bits = bits.clamp(1, MAX_BITS);
        Self {
            buckets: vec![Bucket::default(); 1 << bits],
            bits,
            min_bits: bits,
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

    pub(super) const fn digest(&self) -> u64 {
        self.digest
    }

    /// All slots of this hash. Names whose hashes collide come one after the other.
    #[inline]
    pub(super) fn group(&self, hash: u64) -> Run<'_> {
        let Some(bucket) = self.buckets.get(self.place(hash)) else { return Run::default() };
        std::hint::black_box(bucket.fetch());
        let rest = bucket.run().past(|slot| slot.hash < hash);
        rest.before(&rest.clone().past(|slot| slot.hash == hash))
    }

    /// Looks at the places of these hashes, one right after the other. In a large register each lies
    /// where the processor's caches don't reach; asked for together, they are fetched side by side.
    /// Joining a batch is twice as fast for it.
    pub(super) fn approach(&self, hashes: &[u64]) {
        let buckets = hashes.iter().filter_map(|&hash| self.buckets.get(self.place(hash)));
        let lens = buckets.clone().fold(0, |sum, bucket| sum ^ bucket.bytes.len());
        std::hint::black_box((lens, buckets.fold(0, |sum, bucket| sum ^ bucket.fetch())));
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
        let places = self.place(*hashes.start())..=self.place(*hashes.end());
        let buckets = self.buckets.get(places).unwrap_or_default();
        buckets.iter().flat_map(Bucket::run).filter(move |slot| hashes.contains(&slot.hash))
    }

    /// What a range holds. Costs a look at each bucket in it, and at the slots of two.
    pub(super) fn sum(&self, hashes: &RangeInclusive<u64>, origins: &Origins) -> Sum {
        let (first, last) = (self.place(*hashes.start()), self.place(*hashes.end()));
        let mut sum = Sum::default();
        for place in first..=last {
            let Some(bucket) = self.buckets.get(place) else { break };
            let starts_inside = place != first || *hashes.start() == self.first_of(place);
            let ends_inside = place != last || *hashes.end() == self.last_of(place);
            if starts_inside && ends_inside {
                sum.add(bucket.digest, bucket.records.into());
                continue;
            }
            for slot in bucket.run().filter(|slot| hashes.contains(&slot.hash)) {
                sum.add(slot.digest(origins.id(slot.origin)), 1);
            }
        }
        sum
    }

    /// Takes in a record under its hash and the number of its origin.
    pub(super) fn insert(&mut self, entry: &Entry<'_>, hash: u64, origin: u32, origins: &Origins) {
        if self.slots >= self.buckets.len() * FULL && self.bits < MAX_BITS {
            self.halve_buckets(origins);
        }
        let species = self.species.number(entry.species);
        let place = self.place(hash);
        let Some(bucket) = self.buckets.get_mut(place) else { return };
        let key = (hash, entry.name);
        let rest = bucket.run().past(|slot| (slot.hash, slot.name()) < key);
        let known = rest.clone().next().is_some_and(|slot| (slot.hash, slot.name()) == key);
        let (at, len) = (bucket.bytes.len() - rest.len(), packed_len(entry, species));
        bucket.make_room(len);
        pack(entry, hash, origin, species, &mut bucket.bytes);
        if let Some(rest) = bucket.bytes.get_mut(at..) {
            rest.rotate_right(len);
        }
        let digest = slot::digest(hash, entry.dot);
        bucket.digest = bucket.digest.wrapping_add(digest);
        bucket.records += 1;
        self.digest = self.digest.wrapping_add(digest);
        self.slots += 1;
        self.names += usize::from(!known);
    }

    pub(super) fn remove(&mut self, hash: u64, dot: Dot, origin: u32) {
        let place = self.place(hash);
        let Some(bucket) = self.buckets.get_mut(place) else { return };
        let is_it = |slot: &Slot<'_>| slot.hash == hash && slot.is(origin, dot.seq);
        let mut rest = bucket.run().past(|slot| !is_it(slot));
        let start = bucket.bytes.len() - rest.len();
        let Some(slot) = rest.next() else { return };
        let end = bucket.bytes.len() - rest.len();
        let same_name = |s: &Slot<'_>| s.hash == hash && s.name() == slot.name();
        let last = bucket.run().filter(same_name).count() == 1;
        bucket.bytes.drain(start..end);
        bucket.give_back();
        let digest = slot::digest(hash, dot);
        bucket.digest = bucket.digest.wrapping_sub(digest);
        bucket.records -= 1;
        self.digest = self.digest.wrapping_sub(digest);
        self.slots -= 1;
        self.names -= usize::from(last);
        if self.slots < self.buckets.len() * SPARSE && self.bits > self.min_bits {
            self.merge_buckets();
        }
    }

    const fn place(&self, hash: u64) -> usize {
        (hash >> (u64::BITS - self.bits)) as usize
    }

    /// The first and the last hash of a bucket.
    const fn first_of(&self, place: usize) -> u64 {
        (place as u64) << (u64::BITS - self.bits)
    }

    const fn last_of(&self, place: usize) -> u64 {
        self.first_of(place) | (u64::MAX >> self.bits)
    }

    fn halve_buckets(&mut self, origins: &Origins) {
        self.bits += 1;
        let bit = u64::BITS - self.bits;
        let mut halves = Vec::with_capacity(1 << self.bits);
        for whole in std::mem::take(&mut self.buckets) {
            let high = whole.run().past(|slot| (slot.hash >> bit) & 1 == 0);
            let low = Bucket::of(whole.run().before(&high), origins);
            halves.extend([low, Bucket::of(high, origins)]);
        }
        self.buckets = halves;
    }

    fn merge_buckets(&mut self) {
        self.bits -= 1;
        let mut merged: Vec<Bucket> = Vec::with_capacity(1 << self.bits);
        for (at, bucket) in std::mem::take(&mut self.buckets).into_iter().enumerate() {
            match merged.last_mut() {
                Some(low) if at % 2 == 1 => {
                    low.bytes.reserve_exact(bucket.bytes.len());
                    low.bytes.extend_from_slice(&bucket.bytes);
                    low.records += bucket.records;
                    low.digest = low.digest.wrapping_add(bucket.digest);
                }
                _ => merged.push(bucket),
            }
        }
        self.buckets = merged;
    }
}

impl Bucket {
    fn of(run: Run<'_>, origins: &Origins) -> Self {
        let mut bucket = Self::default();
        bucket.make_room(run.len());
        bucket.bytes.extend_from_slice(run.bytes());
        for slot in run {
            bucket.records += 1;
            bucket.digest = bucket.digest.wrapping_add(slot.digest(origins.id(slot.origin)));
        }
        bucket
    }

    fn run(&self) -> Run<'_> {
        Run::new(&self.bytes)
    }

    /// Looks at every line of it. From record to record each look would wait for the last.
    #[inline]
    fn fetch(&self) -> u8 {
        self.bytes.iter().step_by(LINE).fold(0, |sum, byte| sum ^ byte)
    }

    /// Makes room for so many bytes more, and for a third: doubling would leave a third of the memory
    /// unused, and less would have a bucket copied with every other record.
    fn make_room(&mut self, bytes: usize) {
        let needed = self.bytes.len() + bytes;
        if needed > self.bytes.capacity() {
            self.bytes.reserve_exact(bytes + needed / 3);
        }
    }

    fn give_back(&mut self) {
        if self.bytes.len() <= self.bytes.capacity() / 2 {
            self.bytes.shrink_to_fit();
        }
    }
}

impl Sum {
    const fn add(&mut self, digest: u64, records: u64) {
        self.digest = self.digest.wrapping_add(digest);
        self.records += records;
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
        seqs.for_each(|seq| slots.remove(hash(&format!("bird-{seq}")), dot(seq), origin));
    }

    #[test]
    fn halving_and_merging_buckets_keeps_slots_order_and_digests() {
        let (mut slots, mut origins) = (Slots::new(4), Origins::new(0));
        fill(&mut slots, &mut origins, 2000);
        assert!(slots.bits > 4);
        let hashes: Vec<_> = slots.range(0..=u64::MAX).map(|slot| slot.hash).collect();
        assert!(hashes.len() == 2000 && hashes.is_sorted());
        let (full, digest) = (slots.bits, slots.digest());
        empty(&mut slots, &origins, 101..=2000);
        assert!(slots.bits < full && slots.bits >= 4);
        let hashes: Vec<_> = slots.range(0..=u64::MAX).map(|slot| slot.hash).collect();
        assert!(hashes.len() == 100 && hashes.is_sorted());
        let sum = slots.buckets.iter().fold(0u64, |sum, b| sum.wrapping_add(b.digest));
        assert!(sum == slots.digest() && sum != digest);
        empty(&mut slots, &origins, 1..=100);
        assert_eq!((slots.names(), slots.digest(), slots.bits), (0, 0, 4));
        assert!(slots.buckets.iter().all(|bucket| bucket.bytes.capacity() == 0));
    }

    #[test]
    fn ranges_have_one_sum_whatever_the_number_of_buckets() {
        let mut origins = Origins::new(0);
        let [mut few, mut many] = [1, 10].map(Slots::new);
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
}
