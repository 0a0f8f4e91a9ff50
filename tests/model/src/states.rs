//! What birds remember: a life that moves goes on from its snapshot, and takes in what others left; each once.

use crate::rules::Rule;
use crate::state::{Bird, Carried, Id, Lives, Name, Phase, Snap, Snapshot};
use crate::step::Step;

/// What a new life must know of the one before.
#[derive(Debug, Default)]
pub(crate) struct Before {
    pub(crate) carried: Carried,
}

impl Before {
    /// What was kept here, for a bird of this birth.
    pub(crate) fn kept(snap: Snap, birth: u8) -> Self {
        let carried = if snap.life.birth == birth {
            snap.carried
        } else {
            Carried { snapshot: None, others: snap.carried.into_all().collect() }
        };
        Self { carried }
    }
}

const fn has(past: Lives, snapshot: &Snapshot) -> bool {
    past & snapshot.life != 0
}

impl Step<'_> {
    /// A bird is told something: its life remembers it from now on.
    pub(crate) fn tell_bird(&mut self, me: Id, name: Name) {
        self.world.budget.told -= 1;
        let thing = self.config.budget.told - self.world.budget.told - 1;
        if let Some(bird) = &mut self.here_mut(me, name).bird {
            bird.memory |= 1 << thing;
            let birth = bird.life.birth;
            self.world.told[usize::from(thing)] = birth;
        }
    }

    /// What a life that moves takes along.
    pub(crate) fn carried_by(&mut self, me: Id, name: Name, bird: Bird) -> Carried {
        if !self.config.migrates || !self.follows(Rule::CarryStates) {
            return Carried::default();
        }
        let (life, past, memory) = (self.life_at(me, bird.life.fence), bird.past, bird.memory);
        let others = std::mem::take(&mut self.here_mut(me, name).leftovers);
        Carried { snapshot: Some(Snapshot { life, past, memory }), others }
    }

    /// What a life leaves that ended because another bird of its name goes on: to that one.
    pub(crate) fn left_by(&mut self, me: Id, name: Name, bird: Bird) -> Option<Snapshot> {
        let winner = self.winner_birth(me, name)?;
        if bird.ends_here || winner == bird.life.birth || !self.follows(Rule::LeaveStates) {
            return None;
        }
        let mut carried = self.carried_by(me, name, bird);
        if !self.owns(me, name) {
            return carried.snapshot.take();
        }
        carried.into_all().for_each(|state| self.merge(me, name, state));
        None
    }

    /// What a life goes on from, and what it has to merge in.
    pub(crate) fn inherit(&mut self, me: Id, name: Name, before: Before) -> (Lives, u8) {
        let Carried { snapshot, mut others } = before.carried;
        others.append(&mut self.here_mut(me, name).leftovers);
        let (mut past, mut memory) = (0, 0);
        if let Some(Snapshot { life, past: before, memory: known }) = snapshot {
            (past, memory) = (before | life, known);
        }
        for other in others {
            if has(past, &other) {
                self.note_twice(name, &other);
            }
            if !has(past, &other) || !self.follows(Rule::MergeOnce) {
                past |= other.past | other.life;
                memory |= other.memory;
            }
        }
        (past, memory)
    }

    /// The state of another life is to be in the one that goes on here, now or later.
    pub(crate) fn merge(&mut self, me: Id, name: Name, state: Snapshot) {
        if !self.follows(Rule::MergeStates) {
            return;
        }
        let running = |bird: &Bird| bird.phase == Phase::Running;
        let Some(bird) = self.here(me, name).bird.filter(running) else {
            let leftovers = &mut self.here_mut(me, name).leftovers;
            let at = leftovers.partition_point(|other| other.life < state.life);
            return leftovers.insert(at, state);
        };
        let own = self.life_at(me, bird.life.fence) == state.life;
        if own || has(bird.past, &state) {
            self.note_twice(name, &state);
            if self.follows(Rule::MergeOnce) {
                return;
            }
        }
        if let Some(bird) = &mut self.here_mut(me, name).bird {
            bird.past |= state.past | state.life;
            bird.memory |= state.memory;
        }
    }

    /// A state is offered to be merged that is in it already.
    fn note_twice(&mut self, name: Name, state: &Snapshot) {
        if !self.follows(Rule::MergeOnce) {
            self.fail(
                "states",
                format!("bird {name} takes in twice what one life left ({:x})", state.life),
            );
        }
    }

    /// All that this nest has of what birds were told, in lives and on the way.
    pub(crate) fn memory_at(&self, me: Id) -> u8 {
        self.memory_of(me, |_| true)
    }

    /// The same, but of snaps only these.
    pub(crate) fn memory_of(&self, me: Id, which: impl Fn(&Snap) -> bool) -> u8 {
        let carried = |carried: &Carried| {
            carried.clone().into_all().fold(0, |memory, state| memory | state.memory)
        };
        self.nest(me).names.iter().fold(0, |memory, here| {
            let bird = here.bird.map_or(0, |bird| bird.memory);
            let snap = here
                .snap
                .as_ref()
                .filter(|snap| which(snap))
                .map_or(0, |snap| carried(&snap.carried));
            let offers =
                here.offers.iter().fold(0, |memory, offer| memory | carried(&offer.carried));
            let left = here.leftovers.iter().fold(0, |memory, state| memory | state.memory);
            let lost = here.lost.and_then(|lost| lost.left).map_or(0, |left| left.memory);
            memory | bird | snap | offers | left | lost
        })
    }
}
