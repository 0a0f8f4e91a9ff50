//! One record, packed.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use super::Packed;
use crate::registry::codec::{Entry, Reader};
use crate::{Dot, Hlc, NestId, SpeciesId};

const HAS_BIRTH: u8 = 1;
const IS_GROUNDED: u8 = 2;
const IS_ANEW: u8 = 4;

/// What each record begins with: seq, hlc, number of the origin, number of the species, length of the
/// name, flags.
const HEAD: usize = 24;

/// One live record, in a bucket's list. Its hash stands here, and not in the record: a search goes
/// through the list alone, and looks at a record only where the hash is the right one.
#[derive(Clone, Debug)]
pub(super) struct Held {
    pub(super) hash: u64,
    record: Box<[u8]>,
}

impl Held {
    /// Looks at the record, that it be near when it is read.
    #[inline]
    pub(super) fn fetch(&self) -> u8 {
        self.record.first().copied().unwrap_or_default()
    }

    #[inline]
    pub(super) fn slot(&self) -> Option<Slot<'_>> {
        let (head, data) = self.record.split_first_chunk::<HEAD>()?;
        let (&[seq, hlc, rest], &[]) = head.as_chunks::<8>() else { return None };
        let [o0, o1, o2, o3, s0, s1, name_len, flags] = rest;
        Some(Slot {
            hash: self.hash,
            seq: u64::from_le_bytes(seq),
            hlc: Hlc(u64::from_le_bytes(hlc)),
            origin: u32::from_le_bytes([o0, o1, o2, o3]),
            species: u16::from_le_bytes([s0, s1]),
            name_len,
            flags,
            data,
        })
    }
}

/// One live record, read where it lies.
#[derive(Clone, Copy, Debug)]
pub(in crate::registry) struct Slot<'a> {
    pub(in crate::registry) hash: u64,
    pub(in crate::registry) seq: u64,
    pub(in crate::registry) hlc: Hlc,
    pub(in crate::registry) origin: u32,
    species: u16,
    name_len: u8,
    flags: u8,
    /// Name, token, species if it has no number, birth if it isn't the dot, grounding if there is
    /// one, args.
    data: &'a [u8],
}

/// Records that follow each other in a bucket.
#[derive(Clone, Debug, Default)]
pub(in crate::registry) struct Run<'a>(&'a [Held]);

impl<'a> Run<'a> {
    pub(super) const fn new(held: &'a [Held]) -> Self {
        Self(held)
    }

    pub(in crate::registry) const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Those of one hash.
    #[inline]
    pub(super) fn of(&self, hash: u64) -> Self {
        self.from(self.0.partition_point(|held| held.hash < hash), hash)
    }

    /// Those of one hash, where it is known at which place the first is, or would be.
    #[inline]
    pub(super) fn from(&self, first: usize, hash: u64) -> Self {
        let rest = self.0.get(first..).unwrap_or_default();
        // Mostly there is none, or one.
        let len = rest.iter().take_while(|held| held.hash == hash).count();
        Self(rest.get(..len).unwrap_or_default())
    }

    /// Those whose hashes come before this one.
    #[inline]
    pub(super) fn before(&self, hash: u64) -> Self {
        let end = self.0.partition_point(|held| held.hash < hash);
        Self(self.0.get(..end).unwrap_or_default())
    }

    /// Those whose hashes lie in a range, and that are about to be read: records lie apart, and asked
    /// for together they are fetched side by side.
    #[inline]
    pub(super) fn within(&self, hashes: &RangeInclusive<u64>) -> Self {
        let start = self.0.partition_point(|held| held.hash < *hashes.start());
        let end = self.0.partition_point(|held| held.hash <= *hashes.end());
        let inside = Self(self.0.get(start..end).unwrap_or_default());
        std::hint::black_box(inside.fetch());
        inside
    }

    /// Looks at each record, that it be near when it is read.
    #[inline]
    pub(super) fn fetch(&self) -> u8 {
        self.0.iter().fold(0, |sum, held| sum ^ held.fetch())
    }
}

impl<'a> Iterator for Run<'a> {
    type Item = Slot<'a>;

    #[inline]
    fn next(&mut self) -> Option<Slot<'a>> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        // Only `pack` lays these bytes, so they can be read back.
        first.slot()
    }
}

/// The species of all slots, by a small number that they use in place of the id.
#[derive(Clone, Debug, Default)]
pub(super) struct Species {
    list: Vec<SpeciesId>,
    index: BTreeMap<SpeciesId, u16>,
}

/// In place of a number, where all numbers are given away: the id itself is in the slot. A flock
/// has dozens of species; but what a peer sends is no reason to fail.
const UNNUMBERED: u16 = u16::MAX;

impl Species {
    pub(super) fn number(&mut self, id: SpeciesId) -> u16 {
        if let Some(&number) = self.index.get(&id) {
            return number;
        }
        let number = self.list.len().min(UNNUMBERED.into()) as u16;
        if number != UNNUMBERED {
            self.list.push(id);
            self.index.insert(id, number);
        }
        number
    }
}

/// How many bytes a record takes.
const fn packed_len(entry: &Entry<'_>, species: u16) -> usize {
    let id = if species == UNNUMBERED { 8 } else { 0 };
    let birth = if has_birth(entry) { 16 } else { 0 };
    let grounded = if let Some((reason, _)) = entry.grounded { 8 + reason.len() } else { 0 };
    HEAD + entry.name.len() + 8 + id + birth + grounded + entry.args.len()
}

/// Lays a record, under the numbers of its origin and species.
pub(super) fn pack(packed: &Packed<'_>) -> Held {
    let Packed { entry, hash, origin, species } = *packed;
    // Just so much, that the box be made of it as it is.
    let mut out = Vec::with_capacity(packed_len(entry, species));
    let mut flags = 0;
    if has_birth(entry) {
        flags |= HAS_BIRTH;
    }
    if entry.grounded.is_some() {
        flags |= IS_GROUNDED;
    }
    if entry.anew {
        flags |= IS_ANEW;
    }
    let [o0, o1, o2, o3] = origin.to_le_bytes();
    let [s0, s1] = species.to_le_bytes();
    let rest = [o0, o1, o2, o3, s0, s1, entry.name.len() as u8, flags];
    let head = [entry.dot.seq.to_le_bytes(), entry.hlc.0.to_le_bytes(), rest];
    out.extend_from_slice(head.as_flattened());
    out.extend_from_slice(entry.name);
    out.extend_from_slice(&entry.token.to_le_bytes());
    if species == UNNUMBERED {
        out.extend_from_slice(&entry.species.0.to_le_bytes());
    }
    if has_birth(entry) {
        out.extend_from_slice(&entry.birth.origin.0.to_le_bytes());
        out.extend_from_slice(&entry.birth.seq.to_le_bytes());
    }
    if let Some((reason, crashes)) = entry.grounded {
        out.extend_from_slice(&crashes.to_le_bytes());
        out.extend_from_slice(&(reason.len() as u32).to_le_bytes());
        out.extend_from_slice(reason.as_bytes());
    }
    out.extend_from_slice(entry.args);
    Held { hash, record: out.into_boxed_slice() }
}

const fn has_birth(entry: &Entry<'_>) -> bool {
    entry.birth.origin.0 != entry.dot.origin.0 || entry.birth.seq != entry.dot.seq
}

impl<'a> Slot<'a> {
    pub(in crate::registry) fn name(&self) -> &'a [u8] {
        self.data.get(..usize::from(self.name_len)).unwrap_or_default()
    }

    /// Is it the record of this dot?
    pub(in crate::registry) const fn is(&self, origin: u32, seq: u64) -> bool {
        self.seq == seq && self.origin == origin
    }

    pub(in crate::registry) const fn is_grounded(&self) -> bool {
        self.flags & IS_GROUNDED != 0
    }

    pub(in crate::registry) const fn is_anew(&self) -> bool {
        self.flags & IS_ANEW != 0
    }

    /// The dot of the start; cheaper than the whole record. `origin` is the id behind the number.
    pub(in crate::registry) fn birth(&self, origin: NestId) -> Dot {
        let dot = Dot { origin, seq: self.seq };
        if self.flags & HAS_BIRTH == 0 {
            return dot;
        }
        let id = if self.species == UNNUMBERED { 8 } else { 0 };
        let start = usize::from(self.name_len) + 8 + id;
        let mut data = Reader::new(self.data.get(start..).unwrap_or_default());
        let birth = (data.u64(), data.u64());
        let (Ok(origin), Ok(seq)) = birth else { return dot };
        Dot { origin: NestId(origin), seq }
    }

    /// The record that was packed.
    pub(super) fn entry(&self, origin: NestId, known: &Species) -> Entry<'a> {
        let dot = Dot { origin, seq: self.seq };
        let nothing = Entry {
            dot,
            birth: dot,
            hlc: self.hlc,
            species: SpeciesId(0),
            token: 0,
            grounded: None,
            anew: self.is_anew(),
            name: &[],
            args: &[],
        };
        // Only `pack` lays these bytes, so they can be read back.
        self.unpack(nothing, known).unwrap_or(nothing)
    }

    fn unpack(&self, start: Entry<'a>, known: &Species) -> Option<Entry<'a>> {
        let mut data = Reader::new(self.data);
        let mut entry = Entry { name: data.take(self.name_len.into()).ok()?, ..start };
        entry.token = data.u64().ok()?;
        entry.species = match self.species {
            UNNUMBERED => SpeciesId(data.u64().ok()?),
            number => *known.list.get(usize::from(number))?,
        };
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

    pub(super) fn digest(&self, origin: NestId) -> u64 {
        digest(self.hash, Dot { origin, seq: self.seq })
    }
}

pub(super) const fn digest(hash: u64, dot: Dot) -> u64 {
    mix(hash ^ mix(dot.origin.0.wrapping_add(mix(dot.seq))))
}

/// A bijection of 64 bits that spreads each bit over all (Evensen's `rrmxmx` in short).
pub(in crate::registry) const fn mix(mut x: u64) -> u64 {
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
    fn what_is_packed_comes_back_whatever_it_has_and_however_many_species_there_are() {
        let mut known = Species::default();
        for number in 0..u64::from(u16::MAX) + 3 {
            known.number(SpeciesId(1000 + number));
        }
        let dot = Dot { origin: NestId(7), seq: 5 };
        let births = [dot, Dot { origin: NestId(3), seq: 1 }];
        for (birth, species) in births.into_iter().flat_map(|b| [(b, 1002), (b, 70_000)]) {
            for grounded in [None, Some(("ow", 3))] {
                let entry = Entry {
                    dot,
                    birth,
                    hlc: Hlc(9),
                    species: SpeciesId(species),
                    token: u64::MAX,
                    grounded,
                    anew: grounded.is_none(),
                    name: b"robin",
                    args: b"args",
                };
                let number = known.number(entry.species);
                let packed = Packed { entry: &entry, hash: 1, origin: 2, species: number };
                let held = pack(&packed);
                assert_eq!(held.record.len(), packed_len(&entry, number));
                let slot = held.slot().expect("it was packed");
                assert_eq!(slot.hash, 1);
                assert!(slot.is(2, 5) && slot.hlc == Hlc(9));
                assert_eq!(slot.entry(dot.origin, &known), entry);
                let short = (slot.birth(dot.origin), slot.is_grounded(), slot.name());
                assert_eq!(short, (birth, grounded.is_some(), &b"robin"[..]));
                assert_eq!(slot.is_anew(), grounded.is_none());
            }
        }
        assert_eq!(known.list.len(), usize::from(u16::MAX));
    }
}
