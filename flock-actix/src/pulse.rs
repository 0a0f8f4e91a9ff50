//! What one life and the answers in flight from it know of each other.

use std::cell::{Cell, OnceCell, RefCell};
use std::rc::Rc;
use std::task::Waker;

use bytes::Bytes;
use tokio::sync::{Notify, oneshot};

use crate::call::CallError;
use crate::parcel::Finish;

/// The pulse of one life, if it has one: a call that is answered at once has no need of it, and most birds take
/// none but such.
#[derive(Debug, Default)]
pub(crate) struct LazyPulse(OnceCell<Rc<Pulse>>);

/// What one life and the answers in flight from it know of each other. All on one thread.
#[derive(Default)]
pub(crate) struct Pulse {
    in_flight: Cell<u32>,
    /// The life ended otherwise than by a crash.
    gentle: Cell<bool>,
    cut: Cell<bool>,
    /// A job was begun or an answer given, since the last copy of the bird's state.
    pub(crate) touched: Cell<bool>,
    /// The state of this life is wanted.
    wanted: Cell<bool>,
    /// An answer was given, or the state was taken: to the one who winds the life down.
    news: Notify,
    cut_short: Notify,
    /// Who wants to know of answers.
    on_answer: Cell<Option<Waker>>,
    /// States of other lives, to be taken in before the next job.
    merges: RefCell<Vec<Bytes>>,
    /// The state of this life, if it was wanted.
    taken: Cell<Option<Result<Bytes, String>>>,
}

impl std::fmt::Debug for Pulse {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pulse").field("in_flight", &self.in_flight).finish_non_exhaustive()
    }
}

impl LazyPulse {
    pub(crate) fn get(&self) -> &Rc<Pulse> {
        self.0.get_or_init(Rc::default)
    }

    /// If anybody had need of it.
    pub(crate) fn known(&self) -> Option<&Rc<Pulse>> {
        self.0.get()
    }
}

impl Pulse {
    /// Has the pump take in these states.
    pub(crate) fn to_merge(&self, states: impl IntoIterator<Item = Bytes>) {
        self.merges.borrow_mut().extend(states);
    }

    pub(crate) fn merges(&self) -> Vec<Bytes> {
        self.merges.take()
    }

    /// Has the pump take the state of this life.
    pub(crate) fn want(&self) {
        self.wanted.set(true);
    }

    pub(crate) fn is_wanted(&self) -> bool {
        self.wanted.get()
    }

    pub(crate) fn take(&self, state: Result<Bytes, String>) {
        self.wanted.set(false);
        self.taken.set(Some(state));
        self.news.notify_one();
    }

    /// The state that was wanted, if it was taken.
    pub(crate) fn taken(&self) -> Option<Result<Bytes, String>> {
        self.taken.take()
    }

    /// Has this one woken by the next answer.
    pub(crate) fn wake_on_answer(&self, waker: &Waker) {
        self.on_answer.set(Some(waker.clone()));
    }

    /// Sees an answer home that isn't ready yet.
    pub(crate) fn follow<R: 'static>(
        self: &Rc<Self>,
        answer: oneshot::Receiver<R>,
        done: impl Finish<R>,
    ) {
        let flight = Flight::new(self.clone());
        actix_rt::spawn(async move {
            let pulse = &flight.0;
            let cut = async {
                let mut told = std::pin::pin!(pulse.cut_short.notified());
                told.as_mut().enable();
                if !pulse.cut.get() {
                    told.await;
                }
            };
            tokio::select! {
                biased;
                answer = answer => done.finish(answer.map_err(|_| pulse.loss())),
                () = cut => done.finish(Err(CallError::Interrupted)),
            }
        });
    }

    /// Ready when no answer is in flight.
    pub(crate) async fn idle(&self) {
        while self.in_flight.get() > 0 {
            self.news.notified().await;
        }
    }

    /// Ready when the state that was wanted has been taken.
    pub(crate) async fn was_taken(&self) {
        while self.wanted.get() {
            self.news.notified().await;
        }
    }

    /// The life has ended gently: what is lost with it was interrupted, not crashed.
    pub(crate) fn ended(&self) {
        self.gentle.set(true);
    }

    /// Ends what is still in flight as `Interrupted`.
    pub(crate) fn cut(&self) {
        self.gentle.set(true);
        self.cut.set(true);
        self.cut_short.notify_waiters();
    }

    const fn loss(&self) -> CallError {
        if self.gentle.get() { CallError::Interrupted } else { CallError::Crashed }
    }
}

/// One answer in flight.
struct Flight(Rc<Pulse>);

impl Flight {
    fn new(pulse: Rc<Pulse>) -> Self {
        pulse.in_flight.set(pulse.in_flight.get() + 1);
        Self(pulse)
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        let Self(pulse) = self;
        pulse.in_flight.set(pulse.in_flight.get() - 1);
        pulse.touched.set(true);
        pulse.news.notify_one();
        if let Some(pump) = pulse.on_answer.take() {
            pump.wake();
        }
    }
}
