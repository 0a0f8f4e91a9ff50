//! One record, packed.

use std::collections::BTreeMap;

use crate::registry::codec::{Entry, Reader};
use crate::{Dot, Hlc, NestId, SpeciesId};

const HAS_BIRTH: u8 = 1;
const IS_GROUNDED: u8 = 2;

/// One live record: 48 bytes, and one allocation for what varies in length.
#[derive(Clone, Debug)]
pub(in crate::registry) struct Slot {
    pub(in crate::registry) hash: u64,
    pub(in crate::registry) seq: u64,
    pub(in crate::registry) hlc: Hlc,
    /// Name, token, species if it has no number, birth if it isn't the dot, grounding if there is
    /// one, args.
    data: Box<[u8]>,
    pub(in crate::registry) origin: u32,
    species: u16,
    name_len: u8,
    flags: u8,
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
    fn number(&mut self, id: SpeciesId) -> u16 {
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

impl Slot {
    pub(super) fn pack(entry: &Entry<'_>, hash: u64, origin: u32, known: &mut Species) -> Self {
        let species = known.number(entry.species);
        let id = if species == UNNUMBERED { 8 } else { 0 };
        let birth = if entry.birth == entry.dot { 0 } else { 16 };
        let grounded = entry.grounded.map_or(0, |(reason, _)| 8 + reason.len());
        let len = entry.name.len() + 8 + id + birth + grounded + entry.args.len();
        let mut data = Vec::with_capacity(len);
        data.extend_from_slice(entry.name);
        data.extend_from_slice(&entry.token.to_le_bytes());
        if species == UNNUMBERED {
            data.extend_from_slice(&entry.species.0.to_le_bytes());
        }
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
        Self { hash, seq, hlc: entry.hlc, data, origin, species, name_len, flags }
    }

    pub(in crate::registry) fn name(&self) -> &[u8] {
        self.data.get(..usize::from(self.name_len)).unwrap_or_default()
    }

    /// Is it the record of this dot?
    pub(in crate::registry) const fn is(&self, origin: u32, seq: u64) -> bool {
        self.seq == seq && self.origin == origin
    }

    pub(in crate::registry) const fn is_grounded(&self) -> bool {
        self.flags & IS_GROUNDED != 0
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
    pub(super) fn entry(&self, origin: NestId, known: &Species) -> Entry<'_> {
        let dot = Dot { origin, seq: self.seq };
        let nothing = Entry {
            dot,
            birth: dot,
            hlc: self.hlc,
            species: SpeciesId(0),
            token: 0,
            grounded: None,
            name: &[],
            args: &[],
        };
        // Only `pack` lays these bytes, so they can be read back.
        self.unpack(nothing, known).unwrap_or(nothing)
    }

    fn unpack<'a>(&'a self, start: Entry<'a>, known: &Species) -> Option<Entry<'a>> {
        let mut data = Reader::new(&self.data);
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
        mix(self.hash ^ mix(origin.0.wrapping_add(mix(self.seq))))
    }
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
    fn a_slot_takes_48_bytes() {
        assert_eq!(size_of::<Slot>(), 48);
    }

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
                    name: b"robin",
                    args: b"args",
                };
                let slot = Slot::pack(&entry, 1, 2, &mut known);
                assert_eq!(slot.entry(dot.origin, &known), entry);
                let short = (slot.birth(dot.origin), slot.is_grounded(), slot.name());
                assert_eq!(short, (birth, grounded.is_some(), &b"robin"[..]));
            }
        }
        assert_eq!(known.list.len(), usize::from(u16::MAX));
    }
}
