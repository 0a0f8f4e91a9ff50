//! Where one call's outcome is put, exactly once, and where its caller waits for it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use flock_proto::{CallId, Time};
use serde::de::DeserializeOwned;

use crate::call::CallError;
use crate::codec;
use crate::shared::Shared;

/// Locks a mutex whose data is whole even if a thread panicked while it held the lock: no foreign
/// code runs under any of this crate's locks.
pub(crate) fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A call that waits, whatever its result's type.
pub(crate) trait Settle: Send + Sync {
    /// Ends the call with an error, unless it is over.
    fn fail(&self, error: CallError);

    /// Ends the call with an answer that came as bytes, unless it is over.
    fn answer(&self, shared: &Arc<Shared>, bytes: &[u8]);
}

/// Where an outcome came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    /// The bird itself, in this process: the call is still in the table of those that wait.
    Bird,
    /// The table: whoever ends a call by its number takes it out.
    Table,
}

/// The outcome of one call.
pub(crate) struct Slot<R> {
    /// Beside the lock: each job that is begun asks this of its call.
    is_waiting: AtomicBool,
    /// For a call that isn't in the table of those that wait: how long it does, from the moment at which it is
    /// put there.
    within: Duration,
    state: Mutex<State<R>>,
}

enum State<R> {
    /// With its place in the table, and its deadline, if it was put there late.
    Waiting(Option<Waker>, Option<(CallId, Time)>),
    Done(Result<R, CallError>, Origin, Option<CallId>),
    /// The outcome was taken, or the caller has gone.
    Over,
}

impl<R> Slot<R> {
    pub(crate) const fn new(within: Duration) -> Self {
        let state = Mutex::new(State::Waiting(None, None));
        Self { is_waiting: AtomicBool::new(true), within, state }
    }

    /// Puts the outcome in, if the caller still waits and none is there.
    pub(crate) fn settle(&self, outcome: Result<R, CallError>, origin: Origin) {
        let mut state = lock(&self.state);
        if let State::Waiting(waker, late) = &mut *state {
            let (waker, late) = (waker.take(), late.map(|(id, _)| id));
            *state = State::Done(outcome, origin, late);
            self.is_waiting.store(false, Ordering::Release);
            drop(state);
            if let Some(waker) = waker {
                waker.wake();
            }
        }
    }

    /// Whether the caller still waits for an outcome.
    pub(crate) fn is_waiting(&self) -> bool {
        self.is_waiting.load(Ordering::Acquire)
    }

    /// The outcome; and the place that the call still has in the table, if it was put there late.
    pub(crate) fn poll(
        &self,
        cx: &Context<'_>,
    ) -> Poll<(Result<R, CallError>, Origin, Option<CallId>)> {
        let mut state = lock(&self.state);
        match &mut *state {
            State::Waiting(waker, _) => {
                if !waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
                    *waker = Some(cx.waker().clone());
                }
                Poll::Pending
            }
            State::Done(..) => match std::mem::replace(&mut *state, State::Over) {
                State::Done(outcome, origin, late) => Poll::Ready((outcome, origin, late)),
                _ => Poll::Pending,
            },
            State::Over => Poll::Ready((Err(CallError::Interrupted), Origin::Bird, None)),
        }
    }

    /// The caller has gone; a job not begun won't be. Gives the place that the call has in the table, if it
    /// was put there late.
    pub(crate) fn abandon(&self) -> Option<CallId> {
        self.is_waiting.store(false, Ordering::Release);
        let before = std::mem::replace(&mut *lock(&self.state), State::Over);
        // A result may run foreign code when dropped: not under the lock.
        match before {
            State::Waiting(_, late) => late.map(|(id, _)| id),
            State::Done(_, _, late) => late,
            State::Over => None,
        }
    }
}

impl<R: DeserializeOwned + Send + 'static> Slot<R> {
    /// Puts a call that isn't there into the table of those that wait, so that its deadline is kept and that a
    /// reply finds it. `None`: it is over.
    pub(crate) fn note(self: &Arc<Self>, shared: &Shared) -> Option<(CallId, Time)> {
        let mut state = lock(&self.state);
        let State::Waiting(_, late) = &mut *state else { return None };
        Some(*late.get_or_insert_with(|| {
            let deadline = shared.now() + self.within;
            (shared.expect_late(deadline, self.clone()), deadline)
        }))
    }
}

impl<R: DeserializeOwned + Send> Settle for Slot<R> {
    fn fail(&self, error: CallError) {
        self.settle(Err(error), Origin::Table);
    }

    fn answer(&self, shared: &Arc<Shared>, bytes: &[u8]) {
        // Whoever has gone has taken itself out of the table, where this one was found just now.
        self.settle(codec::decode(shared, bytes), Origin::Table);
    }
}
