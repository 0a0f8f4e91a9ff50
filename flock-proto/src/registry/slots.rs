//! Live records, packed, in hash-ordered buckets with a digest each.
//!
//! A digest is a sum over the slots, so that the digest of any range is the sum of the buckets in
//! it and of the slots at its edges, and two nests can compare ranges whatever the number of their
//! buckets.
//!
//! - this file: the buckets.
//! - `slot`: one record, packed.

mod slot;

use std::ops::RangeInclusive;

use slot::Species;
pub(super) use slot::{Slot, mix};

use super::codec::Entry;
use super::origins::Origins;
use crate::{Dot, NestId};

/// The greatest number of buckets, as a power of two: 16 Mi, for 400 million records.
const MAX_BITS: u32 = 24;
/// Buckets are halved when they hold more than this on average: a search stays within a few cache
/// lines, and what a bucket costs is spread over a dozen records at least.
const FULL: usize = 12;
/// Pairs of buckets are merged when they hold less than this on average. Far below half of `FULL`,
/// so that a register that shrinks and grows about one size doesn't do both again and again.
const SPARSE: usize = 2;

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
    /// Sorted by hash and name, so that siblings are neighbours.
    slots: Vec<Slot>,
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
    pub(super) fn group(&self, hash: u64) -> &[Slot] {
        let Some(bucket) = self.buckets.get(self.place(hash)) else { return &[] };
        let rest = bucket.slots.get(self.search(&bucket.slots, hash)..).unwrap_or_default();
        let len = rest.iter().take_while(|slot| slot.hash == hash).count();
        rest.get(..len).unwrap_or_default()
    }

    /// Looks at the places of these hashes, one right after the other. In a large register each lies
    /// where the processor's caches don't reach; asked for together, they are fetched side by side.
    /// Joining a batch is twice as fast for it.
    pub(super) fn approach(&self, hashes: &[u64]) {
        let bucket = |&hash: &u64| self.buckets.get(self.place(hash));
        let lens = hashes.iter().filter_map(bucket).fold(0, |sum, b| sum ^ b.slots.len());
        let near = hashes.iter().zip(hashes.iter().map(bucket)).fold(0, |sum, (&hash, bucket)| {
            let slots = bucket.map_or(&[][..], |bucket| &bucket.slots);
            sum ^ slots.get(self.guess(slots, hash)).map_or(0, |slot| slot.hash)
        });
        std::hint::black_box((lens, near));
    }

    pub(super) fn siblings<'a>(
        &'a self,
        hash: u64,
        name: &'a [u8],
    ) -> impl Iterator<Item = &'a Slot> + 'a {
        self.group(hash).iter().filter(move |slot| slot.name() == name)
    }

    pub(super) fn find(&self, hash: u64, origin: u32, seq: u64) -> Option<&Slot> {
        self.group(hash).iter().find(|slot| slot.is(origin, seq))
    }

    /// The record in a slot; `origin` is the id behind the slot's number.
    pub(super) fn entry<'a>(&self, slot: &'a Slot, origin: NestId) -> Entry<'a> {
        slot.entry(origin, &self.species)
    }

    /// All slots whose hashes lie in this range, in the order of hash and name.
    pub(super) fn range(&self, hashes: RangeInclusive<u64>) -> impl Iterator<Item = &Slot> {
        let places = self.place(*hashes.start())..=self.place(*hashes.end());
        let buckets = self.buckets.get(places).unwrap_or_default();
        buckets.iter().flat_map(|b| &b.slots).filter(move |slot| hashes.contains(&slot.hash))
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
                sum.add(bucket.digest, bucket.slots.len());
                continue;
            }
            for slot in bucket.slots.iter().filter(|slot| hashes.contains(&slot.hash)) {
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
        let slot = Slot::pack(entry, hash, origin, &mut self.species);
        let digest = slot.digest(entry.dot.origin);
        let place = self.place(hash);
        let Some(mut at) = self.buckets.get(place).map(|b| self.search(&b.slots, hash)) else {
            return;
        };
        let Some(bucket) = self.buckets.get_mut(place) else { return };
        let slots = &mut bucket.slots;
        let key = (hash, slot.name());
        while slots.get(at).is_some_and(|other| (other.hash, other.name()) < key) {
            at += 1;
        }
        let known = slots.get(at).is_some_and(|other| (other.hash, other.name()) == key);
        // Grown by a quarter: doubling would leave a third of the memory unused.
        if slots.len() == slots.capacity() {
            slots.reserve_exact((slots.len() / 4).max(2));
        }
        slots.insert(at, slot);
        bucket.digest = bucket.digest.wrapping_add(digest);
        self.digest = self.digest.wrapping_add(digest);
        self.slots += 1;
        self.names += usize::from(!known);
    }

    pub(super) fn remove(&mut self, hash: u64, dot: Dot, origin: u32) {
        let place = self.place(hash);
        let Some(bucket) = self.buckets.get_mut(place) else { return };
        let found = |slot: &Slot| slot.hash == hash && slot.is(origin, dot.seq);
        let Some(at) = bucket.slots.iter().position(found) else { return };
        let slot = bucket.slots.remove(at);
        if bucket.slots.len() <= bucket.slots.capacity() / 2 {
            bucket.slots.shrink_to_fit();
        }
        let digest = slot.digest(dot.origin);
        let last = !bucket.slots.iter().any(|s| s.hash == hash && s.name() == slot.name());
        bucket.digest = bucket.digest.wrapping_sub(digest);
        self.digest = self.digest.wrapping_sub(digest);
        self.slots -= 1;
        self.names -= usize::from(last);
        if self.slots < self.buckets.len() * SPARSE && self.bits > self.min_bits {
            self.merge_buckets();
        }
    }

    /// How many slots of a bucket are below this hash. Hashes are spread evenly, so it is near the
    /// guess: that costs one look into memory where halving costs four, each waiting for the last.
    fn search(&self, slots: &[Slot], hash: u64) -> usize {
        // Where they aren't, somebody has chosen them.
        if slots.len() > 4 * FULL {
            return slots.partition_point(|slot| slot.hash < hash);
        }
        let mut at = self.guess(slots, hash);
        while slots.get(at).is_some_and(|slot| slot.hash < hash) {
            at += 1;
        }
        while at > 0 && slots.get(at - 1).is_some_and(|slot| slot.hash >= hash) {
            at -= 1;
        }
        at
    }

    const fn guess(&self, slots: &[Slot], hash: u64) -> usize {
        let inside = hash << self.bits;
        ((inside as u128 * slots.len() as u128) >> u64::BITS) as usize
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
        for Bucket { slots: mut low, digest } in std::mem::take(&mut self.buckets) {
            let high = low.split_off(low.partition_point(|slot| (slot.hash >> bit) & 1 == 0));
            low.shrink_to_fit();
            let digests = high.iter().map(|slot| slot.digest(origins.id(slot.origin)));
            let high_digest = digests.fold(0, u64::wrapping_add);
            halves.push(Bucket { slots: low, digest: digest.wrapping_sub(high_digest) });
            halves.push(Bucket { slots: high, digest: high_digest });
        }
        self.buckets = halves;
    }

    fn merge_buckets(&mut self) {
        self.bits -= 1;
        let mut merged: Vec<Bucket> = Vec::with_capacity(1 << self.bits);
        for (at, bucket) in std::mem::take(&mut self.buckets).into_iter().enumerate() {
            match merged.last_mut() {
                Some(low) if at % 2 == 1 => {
                    low.slots.reserve_exact(bucket.slots.len());
                    low.slots.extend(bucket.slots);
                    low.digest = low.digest.wrapping_add(bucket.digest);
                }
                _ => merged.push(bucket),
            }
        }
        self.buckets = merged;
    }
}

impl Sum {
    const fn add(&mut self, digest: u64, records: usize) {
        self.digest = self.digest.wrapping_add(digest);
        self.records += records as u64;
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
        assert!(slots.buckets.iter().all(|bucket| bucket.slots.capacity() == 0));
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
