//! What the core wants done with birds, and what came of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use flock_proto::{BirdName, EndWhy, Fence, Hlc, Input, NestId, NestName, Route, Unheld, View};

use super::{HatchOrder, Shared};
use crate::bird::{CheckpointError, Desk};
use crate::call::CallError;
use crate::commands::{Command, Commands};
use crate::life::{End, LifeOrder};
use crate::parcel::Parcel;
use crate::slot::lock;
use crate::supervisor::Raise;
use crate::table::{Entry, Life, Phase};

/// How long an answer of the core on a grounded bird is good for, before it is asked again.
const GROUNDED_FOR: Duration = Duration::from_secs(1);

impl Shared {
    /// `Effect::Hatch`: a life on the inbox of that name. A life of the same fence that is there
    /// already is left alone; one of another fence ends first.
    pub(crate) fn hatch(self: &Arc<Self>, order: HatchOrder) {
        let life = self.found(order);
        self.raise(life);
    }

    /// The same but for the last step: the life stands in the table, and is yet to be raised. What it is
    /// told meanwhile waits for it.
    pub(crate) fn found(self: &Arc<Self>, order: HatchOrder) -> Option<LifeOrder> {
        while !self.closed.load(Ordering::Acquire) {
            let (entry, _) = self.table.find_or_insert(self, &order.name, Phase::Hatching);
            let mut gone = false;
            let raise = entry.with(|state| match state.life.as_ref().map(Life::fence) {
                _ if state.phase == Phase::Gone => {
                    gone = true;
                    None
                }
                Some(fence) if fence == order.fence => None,
                Some(fence) => {
                    state.tell(fence, Command::End(EndWhy::Duplicate));
                    state.set_next(order.clone());
                    None
                }
                None => {
                    let fence = Arc::new(AtomicU64::new(order.fence.0));
                    let stands_by = self.species.stands_by(order.species);
                    let desk = stands_by.then(Arc::<Desk>::default);
                    state.begin(Life { fence: fence.clone(), desk: desk.clone() });
                    Some((fence, desk))
                }
            });
            if gone {
                continue;
            }
            let (fence, desk) = raise?;
            let commands = Commands::new(entry, fence);
            return Some(LifeOrder::new(order, desk, commands));
        }
        None
    }

    /// Has lives begin on the threads of their birds.
    pub(crate) fn raise(self: &Arc<Self>, lives: impl IntoIterator<Item = LifeOrder>) {
        let workers = self.workers.get().map(Vec::as_slice).unwrap_or_default();
        let mut orders: Vec<Vec<_>> = workers.iter().map(|_| Vec::new()).collect();
        for life in lives {
            // The low bits: the ring has used up the high ones, so they hardly differ within a nest.
            let worker = (life.commands.entry.hash as usize).checked_rem(workers.len());
            match worker.and_then(|worker| orders.get_mut(worker)) {
                Some(orders) => orders.push(life),
                None => self.cannot_live(life),
            }
        }
        for (worker, orders) in workers.iter().zip(orders) {
            if !orders.is_empty() {
                worker.do_send(Raise(orders));
            }
        }
    }

    /// `Effect::End`. `Ended` follows in any case, for a life that isn't there at once.
    pub(crate) fn end(self: &Arc<Self>, name: &BirdName, fence: Fence, why: EndWhy) {
        let entry = self.table.find(name.as_str(), name.hash64());
        let told = entry
            .as_ref()
            .is_some_and(|entry| entry.with(|state| state.tell(fence, Command::End(why))));
        if told {
            return;
        }
        let departed = entry.filter(|entry| entry.phase() == Phase::Departed);
        let left = departed.map(|entry| (self.clear(&entry, why).0, entry));
        self.nest.tell(Input::Ended { name: name.clone(), fence, snapshot: None });
        if let Some((left, entry)) = left {
            self.see_to(&entry, left);
        }
    }

    /// `Effect::Depart`. A life that isn't there has told its end already.
    pub(crate) fn depart(&self, name: &BirdName, fence: Fence) {
        if let Some(entry) = self.table.find(name.as_str(), name.hash64()) {
            entry.with(|state| state.tell(fence, Command::Depart));
        }
    }

    /// `Effect::Merge`. A life that isn't there has told its end already, and what it was to take in
    /// is lost with it.
    pub(crate) fn merge(&self, name: &BirdName, fence: Fence, merged: Bytes) {
        if let Some(entry) = self.table.find(name.as_str(), name.hash64()) {
            entry.with(|state| state.tell(fence, Command::Merge(merged)));
        }
    }

    /// `Effect::Checkpoint`. A life of a species that has no copies says so at once.
    pub(crate) fn want_checkpoint(&self, name: &BirdName, fence: Fence) {
        match self.desk_of(name, fence) {
            Some(Some(desk)) => desk.want(),
            Some(None) => {
                let (name, snapshot) = (name.clone(), None);
                self.nest.tell(Input::Checkpoint { name, fence, number: 0, snapshot });
            }
            None => {}
        }
    }

    /// `Effect::Checkpointed`.
    pub(crate) fn checkpointed(
        &self,
        name: &BirdName,
        fence: Fence,
        number: u64,
        by: Result<NestName, Unheld>,
    ) {
        if let Some(Some(desk)) = self.desk_of(name, fence) {
            desk.settle(number, &by.map_err(CheckpointError::from));
        }
    }

    /// Of the life with this fence, if there is one.
    #[allow(clippy::option_option, reason = "no life, or one of a species without copies")]
    fn desk_of(&self, name: &BirdName, fence: Fence) -> Option<Option<Arc<Desk>>> {
        let entry = self.table.find(name.as_str(), name.hash64())?;
        entry.with(|state| {
            let life = state.life.as_ref().filter(|life| life.fence() == fence);
            life.map(|life| life.desk.clone())
        })
    }

    /// `Effect::SetFence`.
    pub(crate) fn set_fence(&self, name: &BirdName, old: Fence, new: Fence) {
        if let Some(entry) = self.table.find(name.as_str(), name.hash64()) {
            entry.with(|state| {
                if let Some(life) = &state.life {
                    let _ = life.fence.compare_exchange(
                        old.0,
                        new.0,
                        Ordering::AcqRel,
                        Ordering::Acquire,
                    );
                }
            });
        }
    }

    /// `Effect::Route`. Says nothing to a name whose bird lives here.
    pub(crate) fn route(self: &Arc<Self>, name: &BirdName, route: Route) {
        let Some(entry) = self.table.find(name.as_str(), name.hash64()) else { return };
        let now = self.now();
        let error = match route {
            // Where the view says who owns the name, the view is all that is needed; and it changes
            // when that does.
            Route::To(_) if self.view.load().owner(entry.hash) != Some(self.me()) => {
                let parcels = self.table.remove(&entry, |state| state.life.is_none());
                return self.redirect(&entry, parcels);
            }
            Route::To(to) => {
                let phase = Phase::moved(to, now + self.settings.forward_for);
                let parcels = self.turn(&entry, phase);
                return self.redirect(&entry, parcels);
            }
            Route::Grounded { reason } => {
                let phase = Phase::grounded(&reason, now + GROUNDED_FOR);
                let parcels = self.turn(&entry, phase);
                return fail_all(parcels, &CallError::Grounded { reason });
            }
            Route::UnknownSpecies(_) => CallError::UnknownSpecies,
            Route::NoQuorum => CallError::NoQuorum,
            _ => CallError::NoSuchBird,
        };
        fail_all(self.table.remove(&entry, |state| state.life.is_none()), &error);
    }

    /// `Effect::Publish`.
    pub(crate) fn publish(&self, view: Arc<View>) {
        let before = self.view.swap(view.clone());
        if before.fingerprint() == view.fingerprint() {
            return;
        }
        // An owner's forwarding to the nest that still runs the bird holds as long as the one owns
        // the name and the other lives. After that the view knows better.
        let me = view.me();
        let ageing = lock(&self.ageing).clone();
        for entry in ageing {
            let Phase::Moved(moved) = entry.phase() else { continue };
            let (to, _) = *moved;
            let owned = [&before, &view].iter().all(|v| v.owner(entry.hash) == Some(me));
            if !owned || view.member(to).is_none() {
                self.table.remove(&entry, |state| matches!(state.phase, Phase::Moved(..)));
            }
        }
    }

    /// `Effect::Stamp`.
    pub(crate) fn stamp(&self, hlc: Hlc) {
        self.hlc.fetch_max(hlc.0, Ordering::Relaxed);
    }

    /// `Effect::Renamed`.
    pub(crate) fn renamed(&self, id: NestId) {
        let before = self.me.swap(id.0, Ordering::AcqRel);
        lock(&self.former).push(NestId(before));
    }

    /// The nest is shut down: every call that waits ends as `Leaving`, every life ends.
    pub(crate) fn close(&self) {
        self.closed.store(true, Ordering::Release);
        for entry in self.table.entries() {
            entry.with(|state| {
                if let Some(fence) = state.life.as_ref().map(Life::fence) {
                    state.tell(fence, Command::End(EndWhy::Stopped));
                }
            });
            fail_all(self.table.remove(&entry, |_| true), &CallError::Leaving);
        }
        let parked = std::mem::take(&mut *lock(&self.parked));
        for parked in parked {
            parked.parcel.fail(CallError::Leaving);
        }
        self.fail_calls(&CallError::Leaving, |_, _| true);
    }

    /// All lives of a bird on this nest are over. The table is set right first, so that whoever
    /// hears of the end finds it so.
    pub(crate) fn life_over(self: &Arc<Self>, entry: &Arc<Entry>, fence: Fence, end: End) {
        let name = entry.name.clone();
        // An end that was asked for in the last moment. None comes later: the entry has let go of the life.
        let mut asked = None;
        let left = match end {
            End::Itself => {
                let (left, _) = self.clear(entry, EndWhy::Stopped);
                self.nest.tell(Input::Ended { name, fence, snapshot: None });
                left
            }
            End::Wanted(why, snapshot) => {
                let (left, _) = self.clear(entry, why);
                self.nest.tell(Input::Ended { name, fence, snapshot });
                left
            }
            End::HatchFailed(reason) => {
                let left;
                (left, asked) = self.clear(entry, EndWhy::Stopped);
                self.nest.tell(Input::HatchFailed { name, fence, reason });
                left
            }
            End::Departed(crashes, snapshot) => {
                let input = Input::Departed { name, fence, crashes, snapshot };
                (_, asked) = self.end_life(entry, Phase::Departed, input);
                Left::Nothing
            }
            End::Grounded { reason, crashes } => {
                let until = self.now() + GROUNDED_FOR;
                let phase = Phase::grounded(&reason, until);
                let error = CallError::Grounded { reason: reason.clone() };
                let input = Input::Grounded { name, fence, reason, crashes };
                let parcels;
                (parcels, asked) = self.end_life(entry, phase, input);
                Left::Failed(parcels, error)
            }
        };
        // Only now: whoever hears that the bird is gone may start it anew, and the core must have
        // heard of the end before.
        self.see_to(entry, left);
        if let Some(why) = asked {
            let (left, _) = self.clear(entry, why);
            let name = entry.name.clone();
            self.nest.tell(Input::Ended { name, fence, snapshot: None });
            self.see_to(entry, left);
        }
        let next = entry.with(|state| state.take_next());
        if let Some(order) = next {
            self.hatch(order);
        }
    }

    /// Takes the ended life out of its entry, which stays; parcels stay too for a departed bird. Also says
    /// whether an end was asked for that the life didn't hear of.
    fn end_life(
        &self,
        entry: &Arc<Entry>,
        phase: Phase,
        input: Input,
    ) -> (Vec<Parcel>, Option<EndWhy>) {
        let left = entry.with(|state| {
            // Under the lock: as soon as the new phase is seen, a caller may ask the core about it.
            self.nest.tell(input);
            let asked = state.let_go();
            if state.phase == Phase::Gone {
                return (Vec::new(), asked);
            }
            let stay = phase == Phase::Departed;
            state.phase = phase;
            (if stay { Vec::new() } else { state.parcels.take() }, asked)
        });
        self.watch_age(entry);
        left
    }

    /// Ends a name here. What waited is to be failed if the bird was stopped, and else looked at
    /// anew: another life of the bird goes on, here or elsewhere. Also says whether an end was asked for
    /// that the life didn't hear of.
    fn clear(&self, entry: &Arc<Entry>, why: EndWhy) -> (Left, Option<EndWhy>) {
        let (replaced, asked) = entry.with(|state| {
            let asked = state.let_go();
            (state.has_next(), asked)
        });
        if replaced {
            return (Left::Nothing, asked);
        }
        let parcels = self.table.remove(entry, |state| state.life.is_none());
        let left = if why == EndWhy::Stopped {
            Left::Failed(parcels, CallError::NoSuchBird)
        } else {
            Left::SentOn(parcels)
        };
        (left, asked)
    }

    fn see_to(self: &Arc<Self>, entry: &Arc<Entry>, left: Left) {
        match left {
            Left::Nothing => {}
            Left::Failed(parcels, error) => fail_all(parcels, &error),
            Left::SentOn(parcels) => self.redirect(entry, parcels),
        }
    }

    /// A new phase for a name without a life; gives what waited. Nothing happens to one that has.
    fn turn(&self, entry: &Arc<Entry>, phase: Phase) -> Vec<Parcel> {
        let parcels = entry.with(|state| {
            if state.life.is_some() || state.phase == Phase::Gone {
                return Vec::new();
            }
            state.phase = phase;
            state.parcels.take()
        });
        self.watch_age(entry);
        parcels
    }

    /// Sends what waited on its way again, in order.
    pub(super) fn redirect(
        self: &Arc<Self>,
        entry: &Arc<Entry>,
        parcels: impl IntoIterator<Item = Parcel>,
    ) {
        for mut parcel in parcels {
            parcel.note_mut().redirected = true;
            self.dispatch_or_fail(&entry.name, parcel);
        }
    }
}

/// What waited at a bird whose life is over, and is to become of it.
enum Left {
    Nothing,
    Failed(Vec<Parcel>, CallError),
    SentOn(Vec<Parcel>),
}

pub(super) fn fail_all(parcels: impl IntoIterator<Item = Parcel>, error: &CallError) {
    for parcel in parcels {
        parcel.fail(error.clone());
    }
}
