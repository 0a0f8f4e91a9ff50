//! Rosters, read with an eye on what is known.
//!
//! While many nests join, or a flock heals, nearly all cards that come are known: each is told by many.
//! Of those a number or two is looked at, where they lie; the others are read as everything is.

use super::control::{Card, HEADER, ROSTER, body};
use crate::NestId;

/// The cards in a frame that aren't known, by incarnation, name and version. None if it is no roster, or
/// one that was written otherwise than this version does: then it must be read as a whole.
pub(crate) fn unknown_cards(
    frame: &[u8],
    is_known: impl Fn(NestId, &[u8], u64) -> bool,
) -> Option<Vec<Card>> {
    if frame.get(1) != Some(&ROSTER) {
        return None;
    }
    let mut scan = Scan(frame.get(HEADER..)?);
    scan.literal(&[MAP | 1])?;
    scan.key("cards")?;
    let mut unknown = Vec::new();
    for _ in 0..scan.count()? {
        let start = scan.0;
        let (id, name, version) = scan.card()?;
        if !is_known(id, name, version) {
            let len = start.len().checked_sub(scan.0.len())?;
            unknown.push(body(start.get(..len)?).ok()?);
        }
    }
    scan.0.is_empty().then_some(unknown)
}

/// Markers of MessagePack, of the values that are in cards.
const MAP: u8 = 0x80;
const ARRAY: u8 = 0x90;
const TEXT: u8 = 0xa0;

/// What is still to be looked at.
struct Scan<'a>(&'a [u8]);

impl<'a> Scan<'a> {
    fn card(&mut self) -> Option<(NestId, &'a [u8], u64)> {
        let fields = self.byte()?.checked_sub(MAP | 9)?;
        self.key("id")?;
        let id = NestId(self.number()?);
        self.key("name")?;
        let name = self.text()?;
        self.key("address")?;
        self.text()?;
        self.key("state")?;
        self.text()?;
        self.key("weight")?;
        self.number()?;
        self.key("unlinked")?;
        for _ in 0..self.count()? {
            self.number()?;
        }
        self.key("left")?;
        self.flag()?;
        self.key("renewed")?;
        self.flag()?;
        let mut more = 0;
        for key in ["due", "rebalances"] {
            if self.has_key(key) {
                self.number()?;
                more += 1;
            }
        }
        self.key("version")?;
        let version = self.number()?;
        (fields == more).then_some((id, name, version))
    }

    /// Whether that is the next key; if so, it is passed over.
    fn has_key(&mut self, key: &str) -> bool {
        let mut ahead = Scan(self.0);
        let has = ahead.key(key).is_some();
        if has {
            self.0 = ahead.0;
        }
        has
    }

    fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(taken)
    }

    fn byte(&mut self) -> Option<u8> {
        let (byte, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*byte)
    }

    fn literal(&mut self, bytes: &[u8]) -> Option<()> {
        self.0 = self.0.strip_prefix(bytes)?;
        Some(())
    }

    fn key(&mut self, key: &str) -> Option<()> {
        self.literal(&[TEXT | key.len() as u8])?;
        self.literal(key.as_bytes())
    }

    /// A number of so many bytes.
    fn wide<const N: usize>(&mut self) -> Option<u64> {
        let (bytes, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(bytes.iter().fold(0, |number, byte| number << 8 | u64::from(*byte)))
    }

    fn number(&mut self) -> Option<u64> {
        match self.byte()? {
            small @ 0..=0x7f => Some(small.into()),
            0xcc => self.wide::<1>(),
            0xcd => self.wide::<2>(),
            0xce => self.wide::<4>(),
            0xcf => self.wide::<8>(),
            _ => None,
        }
    }

    fn text(&mut self) -> Option<&'a [u8]> {
        let len = match self.byte()? {
            short @ TEXT..=0xbf => (short - TEXT).into(),
            0xd9 => self.wide::<1>()?,
            0xda => self.wide::<2>()?,
            _ => return None,
        };
        self.take(usize::try_from(len).ok()?)
    }

    fn count(&mut self) -> Option<u64> {
        match self.byte()? {
            few @ ARRAY..=0x9f => Some((few - ARRAY).into()),
            0xdc => self.wide::<2>(),
            0xdd => self.wide::<4>(),
            _ => None,
        }
    }

    fn flag(&mut self) -> Option<()> {
        matches!(self.byte()?, 0xc2 | 0xc3).then_some(())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::wire::{Frame, Header, Roster};
    use crate::{Hlc, NestName, NestState, Rng};

    const STATES: [NestState; 3] = [NestState::Joining, NestState::Up, NestState::Leaving];

    fn card(rng: &mut Rng) -> Card {
        let wide = |rng: &mut Rng| rng.next_u64() >> rng.below(64);
        let text = |rng: &mut Rng| "ü".repeat(1 + rng.below(100) as usize);
        Card {
            id: NestId(rng.below(40)),
            name: NestName::new(&text(rng)).expect("a name"),
            address: text(rng).into(),
            state: STATES[rng.below(3) as usize],
            weight: wide(rng) as u32,
            unlinked: (0..rng.below(40)).map(|_| NestId(wide(rng))).collect(),
            left: rng.one_in(2),
            renewed: rng.one_in(2),
            due: if rng.one_in(2) { wide(rng) as u32 } else { 0 },
            rebalances: if rng.one_in(2) { wide(rng) } else { 0 },
            version: rng.below(300),
        }
    }

    #[test]
    fn the_cards_that_are_not_known_are_those_that_a_full_reading_finds() {
        let mut rng = Rng::new(9);
        let header = Header { hops: 0, stamp: Hlc(7), author: NestId(1), dest: NestId(2) };
        for _ in 0..500 {
            let cards: Vec<Card> = (0..rng.below(40)).map(|_| card(&mut rng)).collect();
            let known: BTreeSet<u64> = (0..rng.below(40)).map(|_| rng.below(40)).collect();
            let is_known = |id: NestId, name: &[u8], version: u64| {
                known.contains(&id.0) && version < 200 && name.len() < 150
            };
            let left =
                |card: &&Card| !is_known(card.id, card.name.as_str().as_bytes(), card.version);
            let left: Vec<Card> = cards.iter().filter(left).cloned().collect();
            let frame = Frame::Roster(Roster { cards }).encode(header);
            assert_eq!(unknown_cards(&frame, is_known), Some(left));
            // What is cut short, or goes on, must be read as a whole, and is found to be bad.
            let cut = rng.below(frame.len() as u64) as usize;
            assert_eq!(unknown_cards(&frame[..cut], |_, _, _| true), None);
            assert_eq!(unknown_cards(&[&frame[..], &[0]].concat(), |_, _, _| true), None);
        }
    }
}
