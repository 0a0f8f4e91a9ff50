//! Live records, packed, in hash-ordered buckets with a digest each.
//!
//! A digest is a sum over the slots, so that the digest of any hash prefix is the sum of its
//! buckets', and two nests can compare ranges whatever the number of their buckets.

use std::ops::RangeInclusive;

use super::codec::{Entry, Reader};
use super::origins::Origins;
use crate::{Dot, Hlc, NestId, SpeciesId};

/// The least number of buckets, as a power of two: a nest of a small flock stays small.
const MIN_BITS: u32 = 4;
const MAX_BITS: u32 = 24;
/// Buckets are halved when they hold more than this on average.
const FULL: usize = 24;

const HAS_BIRTH: u8 = 1;
const IS_GROUNDED: u8 = 2;

/// All live records.
#[derive(Clone, Debug)]
pub(super) struct Slots {
    buckets: Vec<Bucket>,
    bits: u32,
    slots: usize,
    names: usize,
    digest: u64,
}

#[derive(Clone, Debug, Default)]
struct Bucket {
    /// Sorted by hash and name, so that siblings are neighbours.
    slots: Vec<Slot>,
    digest: u64,
}

/// One live record: 48 bytes, and one allocation for what varies in length.
#[derive(Clone, Debug)]
pub(super) struct Slot {
    pub(super) hash: u64,
    pub(super) seq: u64,
    pub(super) hlc: Hlc,
    /// Name, species, token, birth if it isn't the dot, grounding if there is one, args.
    data: Box<[u8]>,
    pub(super) origin: u32,
    name_len: u8,
    flags: u8,
}

impl Slots {
    pub(super) fn new() -> Self {
        let buckets = vec![Bucket::default(); 1 << MIN_BITS];
        Self { buckets, bits: MIN_BITS, slots: 0, names: 0, digest: 0 }
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
        let start = bucket.slots.partition_point(|slot| slot.hash < hash);
        let rest = bucket.slots.get(start..).unwrap_or_default();
        let len = rest.iter().take_while(|slot| slot.hash == hash).count();
        rest.get(..len).unwrap_or_default()
    }

    pub(super) fn siblings<'a>(
        &'a self,
        hash: u64,
        name: &'a str,
    ) -> impl Iterator<Item = &'a Slot> + 'a {
        self.group(hash).iter().filter(move |slot| slot.name() == name.as_bytes())
    }

    pub(super) fn find(&self, hash: u64, origin: u32, seq: u64) -> Option<&Slot> {
        self.group(hash).iter().find(|slot| slot.seq == seq && slot.origin == origin)
    }

    /// All slots whose hashes lie in this range, in the order of hash and name.
    pub(super) fn range(&self, hashes: RangeInclusive<u64>) -> impl Iterator<Item = &Slot> {
        let places = self.place(*hashes.start())..=self.place(*hashes.end());
        let buckets = self.buckets.get(places).unwrap_or_default();
        buckets.iter().flat_map(|b| &b.slots).filter(move |slot| hashes.contains(&slot.hash))
    }

    pub(super) fn insert(&mut self, slot: Slot, origins: &Origins) {
        if self.slots >= self.buckets.len() * FULL && self.bits < MAX_BITS {
            self.halve_buckets(origins);
        }
        let digest = slot.digest(origins.id(slot.origin));
        let place = self.place(slot.hash);
        let Some(bucket) = self.buckets.get_mut(place) else { return };
        let slots = &mut bucket.slots;
        let key = (slot.hash, slot.name());
        let at = slots.partition_point(|other| (other.hash, other.name()) < key);
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
        let found = |slot: &Slot| slot.hash == hash && slot.seq == dot.seq && slot.origin == origin;
        let Some(at) = bucket.slots.iter().position(found) else { return };
        let slot = bucket.slots.remove(at);
        if bucket.slots.is_empty() {
            bucket.slots = Vec::new();
        }
        let digest = slot.digest(dot.origin);
        let last = !bucket.slots.iter().any(|s| s.hash == hash && s.name() == slot.name());
        bucket.digest = bucket.digest.wrapping_sub(digest);
        self.digest = self.digest.wrapping_sub(digest);
        self.slots -= 1;
        self.names -= usize::from(last);
    }

    fn place(&self, hash: u64) -> usize {
        (hash >> (u64::BITS - self.bits)) as usize
    }

    fn halve_buckets(&mut self, origins: &Origins) {
        self.bits += 1;
        let bit = u64::BITS - self.bits;
        let mut halves = Vec::with_capacity(1 << self.bits);
        for bucket in std::mem::take(&mut self.buckets) {
            let at = bucket.slots.partition_point(|slot| (slot.hash >> bit) & 1 == 0);
            let mut low = bucket.slots;
            let mut high = low.split_off(at);
            low.shrink_to_fit();
            high.shrink_to_fit();
            halves.push(low);
            halves.push(high);
        }
        self.buckets = halves
            .into_iter()
            .map(|slots| {
                let digests = slots.iter().map(|slot| slot.digest(origins.id(slot.origin)));
                Bucket { digest: digests.fold(0, u64::wrapping_add), slots }
            })
            .collect();
    }
}

impl Slot {
    pub(super) fn pack(entry: &Entry<'_>, hash: u64, origin: u32) -> Self {
        let mut data = Vec::with_capacity(entry.packed_len());
        data.extend_from_slice(entry.name.as_bytes());
        data.extend_from_slice(&entry.species.0.to_le_bytes());
        data.extend_from_slice(&entry.token.to_le_bytes());
        let mut flags = 0;
        if entry.birth != entry.dot {
            flags |= HAS_BIRTH;
            data.extend_from_slice(&entry.birth.origin.0.to_le_bytes());
            data.extend_from_slice(&entry.birth.seq.to_le_bytes());
        }
        if let Some((reason, crashes)) = entry.grounded {
            flags |= IS_GROUNDED;
            data.extend_from_slice(&crashes.to_le_bytes());
            data.extend_from_slice(&(reason.len() as u32).to_le_bytes());
            data.extend_from_slice(reason.as_bytes());
        }
        data.extend_from_slice(entry.args);
        let (name_len, seq) = (entry.name.len() as u8, entry.dot.seq);
        let data = data.into_boxed_slice();
        Self { hash, seq, hlc: entry.hlc, data, origin, name_len, flags }
    }

    pub(super) fn name(&self) -> &[u8] {
        self.data.get(..usize::from(self.name_len)).unwrap_or_default()
    }

    /// The record that was packed; `origin` is the id behind the slot's number.
    pub(super) fn entry(&self, origin: NestId) -> Entry<'_> {
        let dot = Dot { origin, seq: self.seq };
        let nothing = Entry {
            dot,
            birth: dot,
            hlc: self.hlc,
            species: SpeciesId(0),
            token: 0,
            grounded: None,
            name: "",
            args: &[],
        };
        // Only `pack` lays these bytes, so they can be read back.
        self.unpack(nothing).unwrap_or(nothing)
    }

    fn unpack<'a>(&'a self, start: Entry<'a>) -> Option<Entry<'a>> {
        let mut data = Reader::new(&self.data);
        let mut entry = Entry { name: data.text(self.name_len.into()).ok()?, ..start };
        entry.species = SpeciesId(data.u64().ok()?);
        entry.token = data.u64().ok()?;
        if self.flags & HAS_BIRTH != 0 {
            entry.birth = Dot { origin: NestId(data.u64().ok()?), seq: data.u64().ok()? };
        }
        if self.flags & IS_GROUNDED != 0 {
            let crashes = data.u32().ok()?;
            let len = data.u32().ok()?;
            entry.grounded = Some((data.text(u64::from(len)).ok()?, crashes));
        }
        entry.args = data.rest();
        Some(entry)
    }

    fn digest(&self, origin: NestId) -> u64 {
        mix(self.hash ^ mix(origin.0.wrapping_add(mix(self.seq))))
    }
}

/// A bijection of 64 bits that spreads each bit over all (Evensen's `rrmxmx` in short).
const fn mix(mut x: u64) -> u64 {
    x ^= x >> 32;
    x = x.wrapping_mul(0xd6e8_feb8_6659_fd93);
    x ^= x >> 32;
    x = x.wrapping_mul(0xd6e8_feb8_6659_fd93);
    x ^ (x >> 32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_takes_48_bytes() {
        assert_eq!(size_of::<Slot>(), 48);
    }

    #[test]
    fn halving_the_buckets_keeps_slots_order_and_digests() {
        let mut origins = Origins::new(0);
        let origin = origins.number_or_new(NestId(7));
        let mut slots = Slots::new();
        for seq in 1..=2000_u64 {
            let dot = Dot { origin: NestId(7), seq };
            let name = format!("bird-{seq}");
            let hash = xxhash_rust::xxh3::xxh3_64(name.as_bytes());
            let entry = Entry {
                dot,
                birth: dot,
                hlc: Hlc(seq),
                species: SpeciesId(1),
                token: 2,
                grounded: None,
                name: &name,
                args: b"args",
            };
            slots.insert(Slot::pack(&entry, hash, origin), &origins);
            assert!(slots.find(hash, origin, seq).is_some_and(|s| s.entry(dot.origin) == entry));
        }
        assert!(slots.bits > MIN_BITS);
        let hashes: Vec<_> = slots.range(0..=u64::MAX).map(|slot| slot.hash).collect();
        assert!(hashes.len() == 2000 && hashes.is_sorted());
        let sum = slots.buckets.iter().fold(0u64, |sum, b| sum.wrapping_add(b.digest));
        assert_eq!(sum, slots.digest());
        for (seq, hash) in (1..=2000).map(|seq| (seq, format!("bird-{seq}"))) {
            let hash = xxhash_rust::xxh3::xxh3_64(hash.as_bytes());
            slots.remove(hash, Dot { origin: NestId(7), seq }, origin);
        }
        assert_eq!((slots.names(), slots.digest()), (0, 0));
    }
}
