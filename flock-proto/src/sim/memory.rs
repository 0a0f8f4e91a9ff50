//! What simulated birds remember: the calls that they handled, life by life.

use std::collections::{BTreeMap, BTreeSet};

use bytes::{Buf, BufMut, Bytes, BytesMut};

use crate::Fence;

/// One life of all: where it began, and with which fence.
pub(super) type LifeKey = (usize, Fence);

/// The state of a simulated bird.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Memory {
    /// The life that has it.
    life: LifeKey,
    /// Which of its states it is, as [`reach`] tells.
    number: Option<u64>,
    /// What each life of which it knows has handled.
    lives: BTreeMap<LifeKey, Known>,
}

/// What is known of a life.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Known {
    /// Up to which of its states.
    reach: u64,
    numbers: BTreeSet<u64>,
}

/// Grows within a life: checkpoints are numbered, and behind the last is the end.
fn reach(number: Option<u64>) -> u64 {
    number.unwrap_or(u64::MAX)
}

/// How a state was taken in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Taken {
    /// Nothing of it was known.
    Fresh,
    /// A part of it was known: both go back to one checkpoint.
    Partly,
    /// That very state, or a later one of that life, was taken in before.
    Twice,
}

impl Memory {
    /// Of a life that begins with nothing.
    pub(super) fn of(life: LifeKey) -> Self {
        Self { life, ..Self::default() }
    }

    pub(super) const fn life(&self) -> LifeKey {
        self.life
    }

    /// It is that of a checkpoint.
    pub(super) const fn is_checkpoint(&self) -> bool {
        self.number.is_some()
    }

    pub(super) fn note(&mut self, number: u64) {
        self.lives.entry(self.life).or_default().numbers.insert(number);
    }

    pub(super) fn numbers(&self) -> impl Iterator<Item = u64> {
        self.lives.values().flat_map(|known| &known.numbers).copied()
    }

    /// The life that has it, and those before of which it knows.
    pub(super) fn known_lives(&self) -> impl Iterator<Item = LifeKey> {
        self.lives.keys().copied().chain([self.life])
    }

    pub(super) fn knows(&self, life: LifeKey) -> bool {
        self.life == life || self.lives.contains_key(&life)
    }

    /// The next life goes on from it.
    pub(super) fn passed_on(self, life: LifeKey) -> Self {
        let mut lives = self.lives;
        // That it was taken in shows even if it holds nothing.
        lives.entry(self.life).or_default().reach = reach(self.number);
        Self { life, lives, number: None }
    }

    /// Takes in what another life left.
    pub(super) fn merge(&mut self, other: Self) -> Taken {
        let known = self.lives.get(&other.life).map(|known| known.reach);
        let twice =
            other.life == self.life || known.is_some_and(|known| known >= reach(other.number));
        let numbers: BTreeSet<u64> = self.numbers().collect();
        let partly = other.numbers().any(|number| numbers.contains(&number));
        for (life, known) in other.passed_on(self.life).lives {
            let mine = self.lives.entry(life).or_default();
            mine.reach = mine.reach.max(known.reach);
            mine.numbers.extend(known.numbers);
        }
        match (twice, partly) {
            (true, _) => Taken::Twice,
            (false, true) => Taken::Partly,
            (false, false) => Taken::Fresh,
        }
    }

    /// As the life ends, or at a checkpoint of this number.
    pub(super) fn encode(&self, number: Option<u64>) -> Bytes {
        let mut bytes = BytesMut::new();
        put_life(&mut bytes, self.life);
        bytes.put_u64_le(reach(number));
        for (life, Known { reach, numbers }) in &self.lives {
            put_life(&mut bytes, *life);
            bytes.put_u64_le(*reach);
            bytes.put_u32_le(numbers.len() as u32);
            numbers.iter().for_each(|&number| bytes.put_u64_le(number));
        }
        bytes.freeze()
    }

    /// `None` if that is no memory.
    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let mut bytes = bytes;
        let mut memory = Self::of(get_life(&mut bytes)?);
        memory.number = Some(bytes.try_get_u64_le().ok()?).filter(|number| *number != u64::MAX);
        while !bytes.is_empty() {
            let life = get_life(&mut bytes)?;
            let known = memory.lives.entry(life).or_default();
            known.reach = bytes.try_get_u64_le().ok()?;
            for _ in 0..bytes.try_get_u32_le().ok()? {
                known.numbers.insert(bytes.try_get_u64_le().ok()?);
            }
        }
        Some(memory)
    }
}

fn put_life(bytes: &mut BytesMut, (host, fence): LifeKey) {
    bytes.put_u32_le(host as u32);
    bytes.put_u64_le(fence.0);
}

fn get_life(bytes: &mut &[u8]) -> Option<LifeKey> {
    let host = bytes.try_get_u32_le().ok()? as usize;
    Some((host, Fence(bytes.try_get_u64_le().ok()?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_memory_is_passed_on_whole_and_merged_once() {
        let mut first = Memory::of((0, Fence(1)));
        first.note(7);
        let read = Memory::decode(&first.encode(None)).expect("a memory");
        assert_eq!(read, first);
        let mut next = read.passed_on((0, Fence(2)));
        next.note(8);
        assert_eq!(next.numbers().collect::<Vec<_>>(), [7, 8]);
        let mut other = Memory::of((0, Fence(3)));
        assert_eq!(other.merge(next.clone()), Taken::Fresh);
        assert_eq!([other.merge(next), other.merge(first)], [Taken::Twice; 2]);
        assert_eq!(other.numbers().count(), 2);
    }

    #[test]
    fn what_a_life_was_after_its_checkpoint_is_partly_new() {
        let mut first = Memory::of((0, Fence(1)));
        first.note(7);
        let read = |bytes: Bytes| Memory::decode(&bytes).expect("a memory");
        let checkpoint = read(first.encode(Some(3)));
        let mut next = checkpoint.clone().passed_on((1, Fence(2)));
        first.note(8);
        let (later, end) = (read(first.encode(Some(4))), read(first.encode(None)));
        assert_eq!(next.merge(checkpoint), Taken::Twice);
        assert_eq!([next.merge(later), next.merge(end.clone())], [Taken::Partly; 2]);
        assert_eq!(next.merge(end), Taken::Twice);
        assert_eq!(next.numbers().collect::<Vec<_>>(), [7, 8]);
    }
}
