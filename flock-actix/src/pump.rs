//! The pump: takes jobs from the inbox into the bird, from within the bird's own context.

use std::cell::{Cell, OnceCell, RefCell};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll, Waker};

use actix::fut::ActorFuture;
use actix::{AsyncContext, Context};
use bytes::Bytes;
use flock_proto::Event;
use tokio::sync::{Notify, oneshot};

use crate::bird::Bird;
use crate::call::CallError;
use crate::copies::Copies;
use crate::parcel::{self, Finish};
use crate::table::Entry;

/// Jobs begun in one poll before the bird's other futures and its thread get their turn.
const JOBS_PER_POLL: usize = 64;

/// Moves jobs from an inbox into the bird.
///
/// An actor future rather than messages to the mailbox, because an inbox outlives the life, and
/// with it the mailbox.
pub(crate) struct Pump {
    pub(crate) entry: Arc<Entry>,
    pub(crate) pulse: Rc<Pulse>,
    pub(crate) copies: Option<Box<Copies>>,
    /// What is in the inbox may have waited there.
    pub(crate) behind: Cell<bool>,
}

impl<B: Bird> ActorFuture<B> for Pump {
    type Output = ();

    fn poll(
        mut self: Pin<&mut Self>,
        bird: &mut B,
        ctx: &mut Context<B>,
        task: &mut TaskContext<'_>,
    ) -> Poll<()> {
        if !ctx.waiting() {
            self.see_to_states(bird);
        }
        self.run_jobs(bird, ctx, task);
        let Self { entry, pulse, copies, .. } = &mut *self;
        if let Some(copies) = copies {
            // Also where a job has just begun to wait: it shall find what it asked for.
            copies.see_to(bird, entry, pulse, task);
        }
        Poll::Pending
    }
}

impl Pump {
    fn run_jobs<B: Bird>(&self, bird: &mut B, ctx: &mut Context<B>, task: &mut TaskContext<'_>) {
        // One that comes while the pump waits for it is begun at once. The clock costs as much as all else
        // that is done about a job here.
        let mut behind = self.behind.replace(true);
        let mut now = None;
        for _ in 0..JOBS_PER_POLL {
            // While it waits, an `AtomicResponse` has the bird for itself; while it stops, it may
            // still answer `Running::Continue`. The context polls us again after either, so no
            // waker is left behind, and this future must not end.
            if ctx.waiting() {
                return;
            }
            let (parcel, more) = self.entry.pop(task.waker(), self.entry.home.settings.inbox);
            let Some(parcel) = parcel else {
                self.behind.set(false);
                return;
            };
            behind |= more;
            let over = behind && parcel.is_over(*now.get_or_insert_with(|| self.entry.home.now()));
            if over || parcel.is_cancelled() {
                parcel.fail(CallError::TimedOut);
            } else {
                if self.copies.is_some() {
                    self.pulse.touched.set(true);
                }
                parcel::run(parcel, bird, ctx, &self.pulse, &self.entry.home);
            }
            if !more {
                // Unless the job has the bird for itself: others may come meanwhile.
                self.behind.set(ctx.waiting());
                return;
            }
        }
        task.waker().wake_by_ref();
    }

    /// Takes in what other lives left; takes the state of this one, if it is wanted.
    fn see_to_states<B: Bird>(&self, bird: &mut B) {
        let Some(migration) = &B::MIGRATION else { return };
        for state in self.pulse.merges() {
            if let Err(why) = migration.merge(&self.entry.home, bird, state) {
                let bird = self.entry.name.clone();
                self.entry.home.nest.event(Event::StateLost { bird, why });
            }
        }
        if self.pulse.is_wanted() {
            self.pulse.take(migration.take(bird));
        }
    }
}

/// What one life and the answers in flight from it know of each other. All on one thread. A call that is
/// answered at once has no need of it.
pub(crate) struct Pulse {
    in_flight: Cell<u32>,
    /// The life ended otherwise than by a crash.
    gentle: Cell<bool>,
    cut: Cell<bool>,
    /// A job was begun or an answer given, since the last copy of the bird's state.
    pub(crate) touched: Cell<bool>,
    /// The state of this life is wanted.
    wanted: Cell<bool>,
    seldom: OnceCell<Box<Seldom>>,
}

/// What most lives never have.
#[derive(Default)]
struct Seldom {
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

impl Pulse {
    pub(crate) fn new() -> Rc<Self> {
        Rc::new(Self {
            in_flight: Cell::new(0),
            gentle: Cell::new(false),
            cut: Cell::new(false),
            touched: Cell::new(false),
            wanted: Cell::new(false),
            seldom: OnceCell::new(),
        })
    }

    fn seldom(&self) -> &Seldom {
        self.seldom.get_or_init(Box::default)
    }

    /// Has the pump take in these states.
    pub(crate) fn to_merge(&self, states: impl IntoIterator<Item = Bytes>) {
        let mut states = states.into_iter().peekable();
        if states.peek().is_some() {
            self.seldom().merges.borrow_mut().extend(states);
        }
    }

    fn merges(&self) -> Vec<Bytes> {
        self.seldom.get().map(|seldom| seldom.merges.take()).unwrap_or_default()
    }

    /// Has the pump take the state of this life.
    pub(crate) fn want(&self) {
        self.wanted.set(true);
    }

    pub(crate) fn is_wanted(&self) -> bool {
        self.wanted.get()
    }

    fn take(&self, state: Result<Bytes, String>) {
        self.wanted.set(false);
        self.seldom().taken.set(Some(state));
        self.seldom().news.notify_one();
    }

    /// The state that was wanted, if it was taken.
    pub(crate) fn taken(&self) -> Option<Result<Bytes, String>> {
        self.seldom.get()?.taken.take()
    }

    /// Has this one woken by the next answer.
    pub(crate) fn wake_on_answer(&self, waker: &Waker) {
        self.seldom().on_answer.set(Some(waker.clone()));
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
                let mut told = std::pin::pin!(pulse.seldom().cut_short.notified());
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
            self.seldom().news.notified().await;
        }
    }

    /// Ready when the state that was wanted has been taken.
    pub(crate) async fn was_taken(&self) {
        while self.wanted.get() {
            self.seldom().news.notified().await;
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
        if let Some(seldom) = self.seldom.get() {
            seldom.cut_short.notify_waiters();
        }
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
        if let Some(seldom) = pulse.seldom.get() {
            seldom.news.notify_one();
            if let Some(pump) = seldom.on_answer.take() {
                pump.wake();
            }
        }
    }
}
