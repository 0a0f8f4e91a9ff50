//! Where one call's outcome is put, exactly once, and where its caller waits for it.

use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use serde::de::DeserializeOwned;

use crate::call::CallError;
use crate::codec;
use crate::shared::Shared;

/// Locks a mutex whose data is whole even if a thread panicked while it held the lock: no foreign
/// code runs under any of this crate's locks.
#[inline]
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

/// Where a call stands, to be read beside the lock: each job that is begun asks whether its call still waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
enum Stage {
    Waiting,
    /// The outcome came from the bird itself, in this process: the call is still in the table of those that wait.
    OfBird,
    /// It came from the table: whoever ends a call by its number takes it out.
    OfTable,
    /// The caller has gone.
    Abandoned,
}

type Outcome<R> = Result<R, Box<CallError>>;

/// The outcome of one call.
pub(crate) struct Slot<R> {
    /// Of a [`Stage`].
    stage: AtomicU8,
    state: Mutex<State<R>>,
}

/// What a slot's lock guards.
struct State<R> {
    waker: Option<Waker>,
    /// Until it is taken. An error, which is large and rare, has a box: to move an outcome is felt.
    outcome: Option<Outcome<R>>,
}

impl<R> Slot<R> {
    pub(crate) fn new() -> Arc<Self> {
        Self::awaited_by(None)
    }

    /// One whose outcome wakes this task.
    pub(crate) fn awaited_by(waker: Option<&Waker>) -> Arc<Self> {
        let state = Mutex::new(State { waker: waker.cloned(), outcome: None });
        Arc::new(Self { stage: AtomicU8::new(Stage::Waiting as u8), state })
    }

    /// Puts the bird's own outcome in, if the caller still waits and none is there.
    #[inline]
    pub(crate) fn settle(&self, outcome: Result<R, CallError>) {
        self.put(outcome.map_err(Box::new), Stage::OfBird);
    }

    #[inline]
    fn put(&self, outcome: Outcome<R>, by: Stage) {
        let mut state = lock(&self.state);
        if self.is_waiting() {
            state.outcome = Some(outcome);
            self.set(by);
            let waker = state.waker.take();
            drop(state);
            if let Some(waker) = waker {
                waker.wake();
            }
        }
    }

    /// Under the lock.
    fn set(&self, stage: Stage) {
        self.stage.store(stage as u8, Ordering::Release);
    }

    fn is_at(&self, stage: Stage) -> bool {
        self.stage.load(Ordering::Acquire) == stage as u8
    }

    /// Whether the caller still waits for an outcome.
    pub(crate) fn is_waiting(&self) -> bool {
        self.is_at(Stage::Waiting)
    }

    #[inline]
    pub(crate) fn poll(&self, cx: &Context<'_>) -> Poll<Outcome<R>> {
        if self.is_waiting() {
            // Made and dropped outside of the lock: a waker may be anybody's code.
            let mut waker = Some(cx.waker().clone());
            let mut state = lock(&self.state);
            if self.is_waiting() {
                std::mem::swap(&mut state.waker, &mut waker);
                return Poll::Pending;
            }
        }
        let outcome = lock(&self.state).outcome.take();
        Poll::Ready(outcome.unwrap_or_else(|| Err(Box::new(CallError::Interrupted))))
    }

    /// The caller has gone; a job not begun won't be.
    pub(crate) fn abandon(&self) {
        let (from, to) = (Stage::Waiting as u8, Stage::Abandoned as u8);
        // Else there is an outcome already.
        let _ = self.stage.compare_exchange(from, to, Ordering::AcqRel, Ordering::Acquire);
        let outcome = lock(&self.state).outcome.take();
        // It may run foreign code when dropped: not under the lock.
        drop(outcome);
    }

    /// Whether the call is still in the table of those that wait: nobody has ended it by its number.
    pub(crate) fn is_in_table(&self) -> bool {
        !self.is_at(Stage::OfTable)
    }
}

impl<R: DeserializeOwned + Send + 'static> Settle for Slot<R> {
    fn fail(&self, error: CallError) {
        self.put(Err(Box::new(error)), Stage::OfTable);
    }

    fn answer(&self, shared: &Arc<Shared>, bytes: &[u8]) {
        // Whoever has gone has taken itself out of the table, where this one was found just now.
        self.put(codec::decode(shared, bytes).map_err(Box::new), Stage::OfTable);
    }
}
