//! Copies of a bird's state, for another nest to hold: taken by the pump, from within the bird's context.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Context as TaskContext;

use bytes::Bytes;
use flock_proto::{Event, Fence, Input};
use tokio::time::{Instant, Sleep};

use crate::bird::{Bird, CheckpointError, Desk, Migration};
use crate::pulse::Pulse;
use crate::table::Entry;

/// What one life's pump knows of copies.
pub(crate) struct Copies {
    desk: Arc<Desk>,
    fence: Arc<AtomicU64>,
    /// When the last one was taken.
    last: Option<Instant>,
    /// Runs until the next one may be taken unasked.
    pause: Option<Pin<Box<Sleep>>>,
    /// The last could not be taken, and that was told.
    failed: bool,
}

impl Copies {
    pub(crate) fn new(desk: &Option<Arc<Desk>>, fence: &Arc<AtomicU64>) -> Option<Self> {
        let (desk, fence) = (desk.clone()?, fence.clone());
        Some(Self { desk, fence, last: None, pause: None, failed: false })
    }

    /// Takes a copy, if one is due.
    pub(crate) fn see_to<B: Bird>(
        &mut self,
        bird: &mut B,
        entry: &Entry,
        pulse: &Pulse,
        task: &mut TaskContext<'_>,
    ) {
        let Some(migration) = &B::MIGRATION else { return };
        let shared = &entry.home;
        // In this order: the desk must know whom to wake.
        if !self.desk.is_wanted(task.waker()) && !self.is_due(migration, pulse, task) {
            return;
        }
        let number = self.desk.begin();
        pulse.touched.set(false);
        (self.last, self.pause) = (Some(Instant::now()), None);
        // The desk has forgotten the waker if somebody asked since.
        if self.desk.is_wanted(task.waker()) {
            task.waker().wake_by_ref();
        }
        let taken = take(migration, bird, shared.settings.snapshot_bytes);
        let snapshot = match taken {
            Ok(state) => {
                self.failed = false;
                Some(state)
            }
            Err(error) => {
                if !std::mem::replace(&mut self.failed, true) {
                    let (bird, why) = (entry.name.clone(), error.to_string());
                    shared.nest.event(Event::NotCheckpointed { bird, why });
                }
                self.desk.settle(number, &Err(error));
                None
            }
        };
        let (name, fence) = (entry.name.clone(), Fence(self.fence.load(Ordering::Acquire)));
        shared.nest.tell(Input::Checkpoint { name, fence, number, snapshot });
    }

    /// Whether one is due though nobody asked.
    fn is_due<B>(
        &mut self,
        migration: &Migration<B>,
        pulse: &Pulse,
        task: &mut TaskContext<'_>,
    ) -> bool {
        let Some(period) = migration.standby().period() else { return false };
        if !pulse.touched.get() {
            pulse.wake_on_answer(task.waker());
            return false;
        }
        let Some(last) = self.last.filter(|last| last.elapsed() < period) else { return true };
        let pause =
            self.pause.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(last + period)));
        pause.as_mut().poll(task).is_ready()
    }
}

fn take<B>(migration: &Migration<B>, bird: &mut B, most: usize) -> Result<Bytes, CheckpointError> {
    let state = migration.take(bird).map_err(CheckpointError::NotTaken)?;
    match state.len() {
        bytes if bytes > most => Err(CheckpointError::TooLarge { bytes, most }),
        _ => Ok(state),
    }
}
