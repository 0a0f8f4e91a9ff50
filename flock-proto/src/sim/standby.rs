//! What simulated birds leave with other nests, should theirs die.

use std::time::Duration;

use super::host::{Later, State};
use super::world::World;
use crate::{BirdName, Fence, Input, NestName, Unheld};

impl World {
    /// From now on birds take a checkpoint after one in so many calls that they handle; 0: never.
    pub const fn set_standby(&mut self, one_in: u64) {
        self.standby = one_in;
    }

    /// The bird has handled a call, and may want it to be remembered.
    pub(super) fn perhaps_checkpoint(&mut self, host: usize, name: &BirdName, fence: Fence) {
        if self.standby > 0 && self.whims.one_in(self.standby) {
            self.plan_checkpoint(host, name.clone(), fence);
        }
    }

    /// The bird's state is wanted, or will be.
    pub(super) fn plan_checkpoint(&mut self, host: usize, name: BirdName, fence: Fence) {
        let delay = Duration::from_micros(self.whims.below(30_000));
        self.later(delay, host, Later::Checkpoint(name, fence));
    }

    pub(super) fn take_checkpoint(&mut self, host: usize, name: BirdName, first: Fence) {
        if !self.is_life(host, &name, first, State::Running) {
            return;
        }
        let forgets = self.whims.one_in(64);
        let Some(entry) = self.hosts[host].body.table.get_mut(&name) else { return };
        entry.checkpoints += 1;
        let (number, fence) = (entry.checkpoints, entry.fence);
        let mut snapshot = None;
        if !forgets {
            snapshot = Some(entry.memory.encode(Some(number)));
            entry.taken = entry.taken.split_off(&number.saturating_sub(8));
            entry.taken.insert(number, entry.memory.numbers().collect());
        }
        self.feed(host, Input::Checkpoint { name, fence, number, snapshot });
    }

    /// Another nest holds a checkpoint, or none does.
    pub(super) fn on_checkpointed(
        &mut self,
        host: usize,
        name: &BirdName,
        number: u64,
        by: &Result<NestName, Unheld>,
    ) {
        let Ok(by) = by else { return };
        let Some(holder) = self.hosts.iter().position(|it| it.name == *by) else { return };
        if let Some(entry) = self.hosts[host].body.table.get_mut(name)
            && let Some(birth) = entry.birth
            && let Some(numbers) = entry.taken.remove(&number)
        {
            self.checks.remembered.on_held(birth, host, holder, numbers);
            *self.events.entry("checkpointed").or_default() += 1;
        }
    }
}
