//! What two lives of one name leave behind: fences that the one that goes on must surpass.
//!
//! Each nest's clock follows those of the others, so a fresh stamp is above every fence that was given
//! before the last frame came. What remains are clocks that are off, and lives that end on nests with
//! another picture of who owns the name.

use super::Nest;
use super::birds::Phase;
use crate::bugs::{Bug, planted};
use crate::wire::Snapshot;
use crate::{BirdName, Dot, Effect, Fence, NestId, Time};

/// A life that ended here because another goes on.
#[derive(Clone, Debug)]
pub(super) struct Lost {
    birth: Dot,
    fence: Fence,
    left: Vec<Snapshot>,
    until: Time,
}

impl Nest {
    /// Another record lost against the winner's.
    pub(super) fn on_conflict(&mut self, name: &BirdName, winner: Dot) {
        if self.birds.get(name).is_some_and(|bird| bird.birth == winner) {
            self.contested.insert(name.clone(), self.now + self.config.aftermath);
            self.surpass_all(name);
        }
    }

    /// A life ended here; if the bird, or another of its name, goes on elsewhere, whoever owns it in
    /// the views to come must hear of its fence.
    pub(super) fn note_lost(
        &mut self,
        name: &BirdName,
        birth: Dot,
        fence: Fence,
        left: Vec<Snapshot>,
    ) {
        // A bird that was stopped, or ended, may live on where a nest is that isn't seen now, or another of
        // its name.
        if self.registry.winner_birth(name).is_some()
            || self.lost.contains_key(name)
            || self.may_any_come_back()
        {
            self.remember_lost(name, birth, fence, left);
        }
    }

    fn remember_lost(&mut self, name: &BirdName, birth: Dot, fence: Fence, left: Vec<Snapshot>) {
        let until = self.now + self.config.aftermath;
        self.lost.insert(name.clone(), Lost { birth, fence, left, until });
    }

    /// Somebody else removed a bird that lives here: he may not have seen this life, and have started
    /// another since.
    pub(super) fn on_removed(&mut self, name: &BirdName, birth: Dot) {
        let bird = self.birds.get(name).filter(|bird| bird.birth == birth);
        if let Some(fence) = bird.map(|bird| bird.fence) {
            self.remember_lost(name, birth, fence, Vec::new());
        }
    }

    /// This nest entered a view with nests that it didn't see before. `merged`: some of them were up
    /// already, so it is the end of a partition.
    pub(super) fn on_reunion(&mut self, merged: bool) {
        // On the other side any bird may have lived and ended under a greater fence, of which nobody
        // tells. A conflict that is known lasts longer: whoever ends a life of the loser tells the
        // owner that it sees, and needn't see us.
        let names = if merged {
            self.on_lives_doubled();
            self.birds.keys().cloned().collect()
        } else {
            self.contested.keys().cloned().collect()
        };
        self.outlive(names);
    }

    /// Others held this nest for dead. They know that it is a reunion; this one, if it stood still, never lost
    /// sight of them.
    pub(super) fn on_held_dead(&mut self) {
        self.outlive(self.birds.keys().cloned().collect());
    }

    /// These birds go on above whatever there was elsewhere; and the owners hear of what ended here.
    fn outlive(&mut self, names: Vec<BirdName>) {
        for name in names {
            self.surpass_all(&name);
        }
        self.tell_lost(|_| true);
    }

    /// A link to this nest opened: what was told before may have been lost where it was relayed.
    pub(super) fn tell_lost_to(&mut self, id: NestId) {
        self.tell_lost(|owner| owner == Some(id));
    }

    /// Tells the owners of these names which lives of theirs ended here. One that has yet to end tells
    /// when it does.
    fn tell_lost(&mut self, is_due: impl Fn(Option<NestId>) -> bool) {
        let names = self.lost.keys().filter(|name| is_due(self.view.owner(name.hash64())));
        for name in names.cloned().collect::<Vec<_>>() {
            self.tell_lost_life(&name);
        }
    }

    /// The same for one name: a bird of that name was started since, maybe.
    pub(super) fn tell_lost_life(&mut self, name: &BirdName) {
        // Asked of each bird that is started anywhere, and hardly ever is any lost.
        let Some(Lost { birth, fence, left, .. }) = self.lost.get(name).cloned() else { return };
        if !self.birds.contains_key(name) && !self.snaps.contains_key(name) {
            self.tell_left(name, birth, fence, left);
        }
    }

    pub(super) fn forget_aftermath(&mut self) {
        let (now, passed) = (self.now, self.clock.last().0);
        self.contested.retain(|_, until| now < *until);
        self.lost.retain(|_, lost| now < lost.until);
        self.forget_leftovers();
        self.fences.retain(|_, fence| fence.0 > passed);
    }

    /// Another life of this name is over, which had this fence: the one that goes on, here and now or
    /// later, goes on above it.
    pub(super) fn surpass(&mut self, name: &BirdName, fence: Fence) {
        match self.birds.get(name) {
            Some(bird) if matches!(bird.phase, Phase::Hatching | Phase::Running) => {
                if fence > bird.fence {
                    self.raise_fence(name, fence);
                }
            }
            _ => self.note_fence(name, fence),
        }
    }

    /// The life of this name goes on above all fences that are known of by now.
    fn surpass_all(&mut self, name: &BirdName) {
        let phase = self.birds.get(name).map(|bird| bird.phase);
        if matches!(phase, Some(Phase::Hatching | Phase::Running)) {
            self.raise_fence(name, Fence(0));
        }
    }

    /// A life goes on where two had been: under a fence above both.
    pub(super) fn raise_fence(&mut self, name: &BirdName, other: Fence) {
        if planted(Bug::EqualFences) {
            return;
        }
        let stamp = self.stamp().0;
        let Some(bird) = self.birds.get_mut(name) else { return };
        // Either may be from a clock that ours doesn't follow.
        let last = bird.fence.max(other);
        let new = Fence(stamp.max(last.0.saturating_add(1)));
        let old = std::mem::replace(&mut bird.fence, new);
        self.out.push(Effect::SetFence { name: name.clone(), old, new });
    }

    /// The next life of this name goes on above this fence. Nothing needs to be kept of one that our
    /// own clock has passed.
    pub(super) fn note_fence(&mut self, name: &BirdName, fence: Fence) {
        if fence.0 > self.clock.last().0 {
            let floor = self.fences.get_or_insert_with(name, Fence::default);
            *floor = fence.max(*floor);
        }
    }
}
