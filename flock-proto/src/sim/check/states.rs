//! Of what birds remember: nothing is lost in a move, nothing taken in twice.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;

use super::Checks;
use crate::sim::host::Host;
use crate::sim::memory::{LifeKey, Memory, Taken};
use crate::sim::world::World;
use crate::{BirdName, Dot, Nest, NestId, Why};

/// What each bird, by its birth, is to remember: what its lives have handled, as long as none of those that
/// remember it crashed.
#[derive(Debug, Default)]
pub(in crate::sim) struct Remembered {
    numbers: BTreeMap<Dot, BTreeSet<u64>>,
    given_up: BTreeSet<Dot>,
    /// What another nest holds of a bird, as the bird was told.
    held: BTreeMap<Dot, Held>,
    /// Which bird each life was of.
    births: BTreeMap<(BirdName, LifeKey), Dot>,
    /// Lives from a checkpoint of which others went on beyond a cut.
    forked: BTreeSet<(BirdName, LifeKey)>,
}

#[derive(Debug)]
struct Held {
    runner: usize,
    holder: usize,
    numbers: BTreeSet<u64>,
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

    /// A bird was told that its state is held elsewhere.
    pub(in crate::sim) fn on_held(
        &mut self,
        birth: Dot,
        runner: usize,
        holder: usize,
        numbers: BTreeSet<u64>,
    ) {
        self.held.insert(birth, Held { runner, holder, numbers });
    }

    /// The life is over, and not by the death of its nest: what was held of it may go.
    pub(in crate::sim) fn on_life_over(&mut self, birth: Dot, host: usize) {
        self.held.retain(|of, held| *of != birth || held.runner != host);
    }

    /// Whether both go back to a life that went on twice. The copies that each side had may outlive the cut
    /// by far, where the bird gives no state that has both.
    fn share_a_fork(&self, name: &BirdName, one: &Memory, other: &Memory) -> bool {
        let mut both = one.known_lives().filter(|life| other.knows(*life));
        both.any(|life| self.forked.contains(&(name.clone(), life)))
    }

    fn lacks(&self, birth: Dot, memory: &Memory) -> Option<u64> {
        let known: BTreeSet<u64> = memory.numbers().collect();
        self.numbers.get(&birth)?.difference(&known).next().copied()
    }
}

impl Checks {
    /// All is at rest, and was looked at.
    pub(super) fn calm_states(&mut self) {
        let Remembered { held, births, forked, .. } = std::mem::take(&mut self.remembered);
        self.remembered = Remembered { held, births, forked, ..Remembered::default() };
    }
}

impl World {
    /// A life begins, with what others left for it.
    pub(in crate::sim) fn on_inheritance(
        &mut self,
        name: &BirdName,
        (life, birth): (LifeKey, Dot),
        snapshot: Option<Bytes>,
        merges: Vec<Bytes>,
    ) -> Memory {
        self.checks.remembered.births.insert((name.clone(), life), birth);
        let mut memory = Memory::of(life);
        if let Some(before) = snapshot.and_then(|bytes| Memory::decode(&bytes)) {
            if before.is_checkpoint() {
                *self.events.entry("restored").or_default() += 1;
                if self.checks.torn {
                    self.checks.remembered.forked.insert((name.clone(), before.life()));
                }
            }
            // I17: nobody begins as another bird, which had the name before.
            let of = self.checks.remembered.births.get(&(name.clone(), before.life()));
            if of.is_some_and(|of| *of != birth) {
                self.checks.fail("I17", format!("{name} goes on as another bird of its name"));
            }
            memory = before.passed_on(life);
        }
        for bytes in merges {
            self.take_in(name, &mut memory, &bytes);
        }
        memory
    }

    /// I17: what another life left is taken in once.
    pub(in crate::sim) fn take_in(&mut self, name: &BirdName, memory: &mut Memory, bytes: &[u8]) {
        let other = Memory::decode(bytes);
        let share = |other: &Memory| self.checks.remembered.share_a_fork(name, memory, other);
        let forked = self.checks.torn || other.as_ref().is_some_and(share);
        let taken = other.map(|other| memory.merge(other));
        // Beyond a cut two lives may go on from one checkpoint.
        if taken == Some(Taken::Partly) && forked {
            return;
        }
        if taken != Some(Taken::Fresh) {
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
        let others = self.hosts.iter().filter_map(Host::id).filter(|id| Some(*id) != dead);
        let alive: BTreeSet<NestId> = others.collect();
        let mut held = BTreeMap::<Dot, BTreeSet<u64>>::new();
        for (_, other) in self.hosts.iter().enumerate().filter(|(other, _)| *other != host) {
            let lives = other.body.table.values().filter(|entry| entry.state.lives());
            for entry in lives {
                if let Some(birth) = entry.birth {
                    held.entry(birth).or_default().extend(entry.memory.numbers());
                }
            }
            let states = |nest: &Nest| {
                let copies = nest.copies_of_lost(&alive);
                nest.states_on_the_way(dead).into_iter().chain(copies).collect::<Vec<_>>()
            };
            for (birth, state) in other.nest.iter().flat_map(states) {
                if let Some(memory) = Memory::decode(&state) {
                    held.entry(birth).or_default().extend(memory.numbers());
                }
            }
        }
        let torn = self.checks.torn;
        let Remembered { numbers, held: copies, .. } = &mut self.checks.remembered;
        // What a bird was told to be held elsewhere is, whatever its nest's end; as long as all see who
        // lives, and the other nest does.
        copies.retain(|_, copy| copy.holder != host && !torn);
        for (birth, numbers) in numbers {
            let copy = copies.get(birth).filter(|copy| copy.runner == host);
            let known = held.get(birth).into_iter().chain(copy.map(|copy| &copy.numbers));
            let known: Vec<_> = known.collect();
            numbers.retain(|number| known.iter().any(|known| known.contains(number)));
        }
        copies.retain(|_, copy| copy.runner != host);
    }
}
