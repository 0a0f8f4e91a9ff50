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
    /// What each life of which it knows has handled.
    lives: BTreeMap<LifeKey, BTreeSet<u64>>,
}

impl Memory {
    /// Of a life that begins with nothing.
    pub(super) fn of(life: LifeKey) -> Self {
        Self { life, lives: BTreeMap::new() }
    }

    pub(super) fn note(&mut self, number: u64) {
        self.lives.entry(self.life).or_default().insert(number);
    }

    pub(super) fn numbers(&self) -> impl Iterator<Item = u64> {
        self.lives.values().flatten().copied()
    }

    /// The next life goes on from it.
    pub(super) fn passed_on(self, life: LifeKey) -> Self {
        let mut lives = self.lives;
        // That it was taken in shows even if it holds nothing.
        lives.entry(self.life).or_default();
        Self { life, lives }
    }

    /// Takes in what another life left; false if that is in it already.
    pub(super) fn merge(&mut self, other: Self) -> bool {
        let fresh = other.life != self.life && !self.lives.contains_key(&other.life);
        for (life, numbers) in other.passed_on(self.life).lives {
            self.lives.entry(life).or_default().extend(numbers);
        }
        fresh
    }

    pub(super) fn encode(&self) -> Bytes {
        let mut bytes = BytesMut::new();
        put_life(&mut bytes, self.life);
        for (life, numbers) in &self.lives {
            put_life(&mut bytes, *life);
            bytes.put_u32_le(numbers.len() as u32);
            numbers.iter().for_each(|&number| bytes.put_u64_le(number));
        }
        bytes.freeze()
    }

    /// `None` if that is no memory.
    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let mut bytes = bytes;
        let mut memory = Self::of(get_life(&mut bytes)?);
        while !bytes.is_empty() {
            let life = get_life(&mut bytes)?;
            let numbers = memory.lives.entry(life).or_default();
            for _ in 0..bytes.try_get_u32_le().ok()? {
                numbers.insert(bytes.try_get_u64_le().ok()?);
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
        let read = Memory::decode(&first.encode()).expect("a memory");
        assert_eq!(read, first);
        let mut next = read.passed_on((0, Fence(2)));
        next.note(8);
        assert_eq!(next.numbers().collect::<Vec<_>>(), [7, 8]);
        let mut other = Memory::of((0, Fence(3)));
        assert!(other.merge(next.clone()) && !other.merge(next) && !other.merge(first));
        assert_eq!(other.numbers().count(), 2);
    }
}
