//! What time brings: deadlines, second tries, and entries that age.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use flock_proto::{Input, Time};

use super::{Shared, effects::fail_all};
use crate::call::CallError;
use crate::slot::lock;
use crate::table::{Entry, Phase};

/// How exactly deadlines are kept: the time of a call begins with one sweep, and is over with another.
const EVERY: Duration = Duration::from_millis(20);

/// One sweep in so many looks at the entries for which nobody waits, too.
const LOOK_AT_ALL: usize = 50;

/// How often the core is asked again about a name for which calls wait.
const ASK_EVERY: Duration = Duration::from_secs(1);

impl Shared {
    /// Deadlines, second tries and ageing entries, until the data plane is closed or dropped. The driver
    /// spawns it on the control thread, where no bird can hold it up.
    pub(crate) fn sweep_forever(self: &Arc<Self>) -> impl Future<Output = ()> + Send + 'static {
        let weak = Arc::downgrade(self);
        async move {
            let mut ticks = tokio::time::interval(EVERY);
            ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
            loop {
                ticks.tick().await;
                let Some(shared) = weak.upgrade() else { return };
                if shared.closed.load(Ordering::Acquire) {
                    return;
                }
                shared.sweep();
            }
        }
    }

    /// One sweep.
    pub(crate) fn sweep(self: &Arc<Self>) {
        let now = self.now();
        if let Some(stamp) = self.news_of_stamps() {
            self.nest.tell(Input::Observed { stamp });
        }
        for shard in &self.pending {
            let due = lock(&shard.calls).expired(now);
            for call in due {
                call.slot.fail(CallError::TimedOut);
            }
        }
        self.give_up_unheard(now);
        self.try_parked(now);
        self.age(now);
    }

    fn try_parked(self: &Arc<Self>, now: Time) {
        // Only what is there now: what is parked again meanwhile waits for the next sweep.
        let count = lock(&self.parked).len();
        for _ in 0..count {
            let mut parked = lock(&self.parked);
            if parked.front().is_none_or(|first| first.due > now) {
                return;
            }
            let Some(next) = parked.pop_front() else { return };
            drop(parked);
            if next.parcel.is_over(now) {
                next.parcel.fail(CallError::TimedOut);
            } else {
                self.dispatch_or_fail(&next.name, next.parcel);
            }
        }
    }

    /// From now on sweeps look at this entry, until a life takes it over or it goes.
    pub(super) fn watch_age(&self, entry: &Arc<Entry>) {
        lock(&self.ageing).push(entry.clone());
    }

    fn age(self: &Arc<Self>, now: Time) {
        let mut entries = std::mem::take(&mut *lock(&self.ageing));
        let look_at_all = self.sweeps.fetch_add(1, Ordering::Relaxed).is_multiple_of(LOOK_AT_ALL);
        if look_at_all {
            entries.append(&mut lock(&self.resting));
        }
        let (mut waiting, mut resting) = (Vec::new(), Vec::new());
        let mut seen = HashSet::new();
        for entry in entries {
            // One that aged twice is here twice.
            if !seen.insert(Arc::as_ptr(&entry)) {
                continue;
            }
            let rests = !matches!(entry.phase(), Phase::Waiting(_));
            if rests && !look_at_all {
                resting.push(entry);
            } else if self.ages_on(&entry, now) {
                if rests { &mut resting } else { &mut waiting }.push(entry);
            }
        }
        self.waiting.store(waiting.len(), Ordering::Relaxed);
        lock(&self.ageing).append(&mut waiting);
        lock(&self.resting).append(&mut resting);
    }

    /// Looks at one entry without a life; `false` once there is nothing more to look at.
    fn ages_on(self: &Arc<Self>, entry: &Arc<Entry>, now: Time) -> bool {
        match entry.phase() {
            Phase::Waiting(asked) => self.waits_on(entry, asked, now),
            Phase::Departed => {
                self.drop_overdue(entry, now);
                true
            }
            Phase::Moved(moved) => self.holds_until(entry, moved.1, now),
            Phase::Grounded(why) => self.holds_until(entry, why.1, now),
            Phase::Hatching | Phase::Running | Phase::Ending | Phase::Gone => false,
        }
    }

    /// What is known of a bird that isn't here, until it may not be so any more.
    fn holds_until(self: &Arc<Self>, entry: &Arc<Entry>, until: Time, now: Time) -> bool {
        if now >= until {
            let left = self
                .table
                .remove(entry, |state| matches!(state.phase, Phase::Moved(_) | Phase::Grounded(_)));
            self.redirect(entry, left);
        }
        now < until
    }

    fn waits_on(self: &Arc<Self>, entry: &Arc<Entry>, asked: Time, now: Time) -> bool {
        self.drop_overdue(entry, now);
        let view = self.view();
        let elsewhere = view.owner(entry.hash).is_some_and(|owner| owner != view.me());
        let empty = entry.with(|state| state.parcels.is_empty());
        if elsewhere || (empty && now.since(asked) >= ASK_EVERY) {
            let left = self.table.remove(entry, |state| state.phase == Phase::Waiting(asked));
            self.redirect(entry, left);
            return false;
        }
        if now.since(asked) >= ASK_EVERY {
            entry.with(|state| {
                if state.phase == Phase::Waiting(asked) {
                    state.phase = Phase::Waiting(now);
                }
            });
            self.nest.tell(Input::Wanted { name: entry.name.clone() });
        }
        true
    }

    /// Drops what nobody waits for any more.
    fn drop_overdue(&self, entry: &Arc<Entry>, now: Time) {
        let overdue = entry.with(|state| {
            if !state.parcels.iter().any(|parcel| parcel.is_over(now)) {
                return Vec::new();
            }
            state.parcels.take_unless(|parcel| !parcel.is_over(now))
        });
        fail_all(overdue, &CallError::TimedOut);
    }
}
