//! Of what birds remember: nothing is lost in a move, nothing taken in twice.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;

use super::Checks;
use crate::sim::memory::{LifeKey, Memory};
use crate::sim::world::World;
use crate::{BirdName, Dot, Why};

/// What each bird, by its birth, is to remember: what its lives have handled, as long as none of those that
/// remember it crashed.
#[derive(Debug, Default)]
pub(in crate::sim) struct Remembered {
    numbers: BTreeMap<Dot, BTreeSet<u64>>,
    given_up: BTreeSet<Dot>,
}

impl Remembered {
    pub(in crate::sim) fn note(&mut self, birth: Dot, number: u64) {
        if !self.given_up.contains(&birth) {
            self.numbers.entry(birth).or_default().insert(number);
        }
    }

    /// The bird ended of itself. Whoever hears of that keeps no state of it; another life of it, beyond a
    /// cut, may go on all the same.
    pub(in crate::sim) fn give_up(&mut self, birth: Dot) {
        self.numbers.remove(&birth);
        self.given_up.insert(birth);
    }

    /// A life is over, with all that it alone knew.
    pub(in crate::sim) fn forget(&mut self, birth: Dot, memory: &Memory) {
        if let Some(numbers) = self.numbers.get_mut(&birth) {
            let gone: BTreeSet<u64> = memory.numbers().collect();
            numbers.retain(|number| !gone.contains(number));
        }
    }

    fn lacks(&self, birth: Dot, memory: &Memory) -> Option<u64> {
        let known: BTreeSet<u64> = memory.numbers().collect();
        self.numbers.get(&birth)?.difference(&known).next().copied()
    }
}

impl Checks {
    /// All is at rest, and was looked at.
    pub(super) fn calm_states(&mut self) {
        self.remembered = Remembered::default();
    }
}

impl World {
    /// A life begins, with what others left for it.
    pub(in crate::sim) fn on_inheritance(
        &mut self,
        name: &BirdName,
        life: LifeKey,
        snapshot: Option<Bytes>,
        merges: Vec<Bytes>,
    ) -> Memory {
        let mut memory = Memory::of(life);
        if let Some(before) = snapshot.and_then(|bytes| Memory::decode(&bytes)) {
            memory = before.passed_on(life);
        }
        for bytes in merges {
            self.take_in(name, &mut memory, &bytes);
        }
        memory
    }

    /// I17: what another life left is taken in once.
    pub(in crate::sim) fn take_in(&mut self, name: &BirdName, memory: &mut Memory, bytes: &[u8]) {
        let fresh = Memory::decode(bytes).is_some_and(|other| memory.merge(other));
        if !fresh {
            self.checks.fail("I17", format!("{name} takes in twice what one life left"));
        }
    }

    /// I17: in smooth times each life knows all that those before it knew.
    pub(in crate::sim) fn check_memory(&mut self, host: usize, name: &BirdName, why: Why) {
        let Some(entry) = self.hosts[host].body.table.get(name) else { return };
        if self.checks.is_rough() || why == Why::NestLost {
            return;
        }
        let Some(birth) = entry.birth else { return };
        if let Some(number) = self.checks.remembered.lacks(birth, &entry.memory) {
            self.checks.fail("I17", format!("{name} has forgotten call {number} in a move"));
        }
    }

    /// I17: once all is at rest, the life that is left knows all that no crash took.
    pub(super) fn check_memories(&mut self) {
        let lives = self.hosts.iter().flat_map(|host| &host.body.table);
        let lives = lives.filter(|(_, entry)| entry.state.lives());
        let lost = lives.filter_map(|(name, entry)| {
            let number = self.checks.remembered.lacks(entry.birth?, &entry.memory)?;
            Some(format!("{name} has forgotten call {number}, and no crash took it"))
        });
        let lost = lost.take(1).collect::<Vec<_>>();
        lost.into_iter().for_each(|what| self.checks.fail("I17", what));
    }

    /// A host is gone: what nobody else holds is lost.
    pub(in crate::sim) fn forget_states_of(&mut self, host: usize) {
        let dead = self.hosts[host].id();
        let mut held = BTreeMap::<Dot, BTreeSet<u64>>::new();
        for (_, other) in self.hosts.iter().enumerate().filter(|(other, _)| *other != host) {
            let lives = other.body.table.values().filter(|entry| entry.state.lives());
            for entry in lives {
                if let Some(birth) = entry.birth {
                    held.entry(birth).or_default().extend(entry.memory.numbers());
                }
            }
            let nest = other.nest.iter();
            for (birth, state) in nest.flat_map(|nest| nest.states_on_the_way(dead)) {
                if let Some(memory) = Memory::decode(&state) {
                    held.entry(birth).or_default().extend(memory.numbers());
                }
            }
        }
        for (birth, numbers) in &mut self.checks.remembered.numbers {
            let held = held.get(birth);
            numbers.retain(|number| held.is_some_and(|held| held.contains(number)));
        }
    }
}
