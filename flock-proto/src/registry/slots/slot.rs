//! One record, packed.

use std::collections::BTreeMap;

use crate::registry::codec::{Entry, Reader};
use crate::{Dot, Hlc, NestId, SpeciesId};

const HAS_BIRTH: u8 = 1;
const IS_GROUNDED: u8 = 2;
const IS_ANEW: u8 = 4;

/// What each record begins with: hash, seq, hlc, number of the origin, length of the data, number of
/// the species, length of the name, flags.
const HEAD: usize = 36;

/// One live record, where it lies in its bucket: 36 bytes, and what varies in length.
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

/// Records, one right after the other.
#[derive(Clone, Debug, Default)]
pub(in crate::registry) struct Run<'a>(&'a [u8]);

impl<'a> Run<'a> {
    pub(super) const fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    pub(in crate::registry) const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many bytes it takes.
    pub(super) const fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) const fn bytes(&self) -> &'a [u8] {
        self.0
    }

    /// What is left from the first record on that isn't one of those.
    #[inline]
    pub(super) fn past(mut self, those: impl Fn(&Slot<'_>) -> bool) -> Self {
        let mut rest = self.clone();
        while rest.next().is_some_and(|slot| those(&slot)) {
            self = rest.clone();
        }
        self
    }

    /// What comes before the rest of it.
    pub(super) fn before(&self, rest: &Self) -> Self {
        let len = self.0.len() - rest.0.len();
        Self(self.0.get(..len).unwrap_or_default())
    }
}

impl<'a> Iterator for Run<'a> {
    type Item = Slot<'a>;

    #[inline]
    fn next(&mut self) -> Option<Slot<'a>> {
        let (head, rest) = self.0.split_first_chunk::<HEAD>()?;
        let (&[hash, seq, hlc, origin_and_len], &[low, high, name_len, flags]) =
            head.as_chunks::<8>()
        else {
            return None;
        };
        let [hash, seq, hlc, origin_and_len] =
            [hash, seq, hlc, origin_and_len].map(u64::from_le_bytes);
        // Only `pack` lays these bytes, so they can be read back.
        let (data, rest) = rest.split_at_checked((origin_and_len >> 32) as usize)?;
        self.0 = rest;
        let (origin, species) = (origin_and_len as u32, u16::from_le_bytes([low, high]));
        Some(Slot { hash, seq, hlc: Hlc(hlc), origin, species, name_len, flags, data })
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
pub(super) const fn packed_len(entry: &Entry<'_>, species: u16) -> usize {
    let id = if species == UNNUMBERED { 8 } else { 0 };
    let birth = if has_birth(entry) { 16 } else { 0 };
    let grounded = if let Some((reason, _)) = entry.grounded { 8 + reason.len() } else { 0 };
    HEAD + entry.name.len() + 8 + id + birth + grounded + entry.args.len()
}

/// Lays a record under its hash and the numbers of its origin and species.
pub(super) fn pack(entry: &Entry<'_>, hash: u64, origin: u32, species: u16, out: &mut Vec<u8>) {
    let data_len = (packed_len(entry, species) - HEAD) as u64;
    let mut flags = 0;
    out.extend_from_slice(&hash.to_le_bytes());
    out.extend_from_slice(&entry.dot.seq.to_le_bytes());
    out.extend_from_slice(&entry.hlc.0.to_le_bytes());
    out.extend_from_slice(&(u64::from(origin) | data_len << 32).to_le_bytes());
    out.extend_from_slice(&species.to_le_bytes());
    if has_birth(entry) {
        flags |= HAS_BIRTH;
    }
    if entry.grounded.is_some() {
        flags |= IS_GROUNDED;
    }
    if entry.anew {
        flags |= IS_ANEW;
    }
    out.extend_from_slice(&[entry.name.len() as u8, flags]);
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
                let mut bytes = vec![];
                // Two, one after the other: each must end where the next begins.
                pack(&entry, 1, 2, number, &mut bytes);
                pack(&entry, 3, 2, number, &mut bytes);
                assert_eq!(bytes.len(), 2 * packed_len(&entry, number));
                let slots: Vec<_> = Run::new(&bytes).collect();
                assert_eq!(slots.iter().map(|slot| slot.hash).collect::<Vec<_>>(), [1, 3]);
                let slot = slots[1];
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
