//! The pump: takes jobs from the inbox into the bird, from within the bird's own context.

use std::cell::{Cell, RefCell};
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
use crate::shared::Shared;
use crate::table::Entry;

/// Jobs begun in one poll before the bird's other futures and its thread get their turn.
const JOBS_PER_POLL: usize = 64;

/// Moves jobs from an inbox into the bird.
///
/// An actor future rather than messages to the mailbox, because an inbox outlives the life, and
/// with it the mailbox.
pub(crate) struct Pump {
    pub(crate) entry: Arc<Entry>,
    pub(crate) shared: Arc<Shared>,
    pub(crate) pulse: Rc<Pulse>,
    pub(crate) copies: Option<Copies>,
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
        let Self { entry, shared, pulse, copies, .. } = &mut *self;
        if let Some(copies) = copies {
            // Also where a job has just begun to wait: it shall find what it asked for.
            copies.see_to(bird, entry, shared, pulse, task);
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
            if self.pulse.paused.get() || ctx.waiting() {
                return;
            }
            let (parcel, more) = self.entry.pop(task.waker(), self.shared.settings.inbox);
            let Some(parcel) = parcel else {
                self.behind.set(false);
                return;
            };
            behind |= more;
            let over = behind && parcel.is_over(*now.get_or_insert_with(|| self.shared.now()));
            if over || parcel.is_cancelled() {
                parcel.fail(CallError::TimedOut);
            } else {
                self.pulse.touched.set(true);
                parcel::run(parcel, bird, ctx, &self.pulse);
            }
            if !more {
                // Unless the job has the bird for itself, or the bird is to stop: others may come meanwhile.
                self.behind.set(self.pulse.paused.get() || ctx.waiting());
                return;
            }
        }
        task.waker().wake_by_ref();
    }

    /// Takes in what other lives left; takes the state of this one, if it is wanted.
    fn see_to_states<B: Bird>(&self, bird: &mut B) {
        let Some(migration) = &B::MIGRATION else { return };
        for state in self.pulse.merges.take() {
            if let Err(why) = migration.merge(&self.shared, bird, state) {
                let bird = self.entry.name.clone();
                self.shared.nest.event(Event::StateLost { bird, why });
            }
        }
        if self.pulse.wanted.replace(false) {
            self.pulse.taken.set(Some(Box::new(migration.take(bird))));
            self.pulse.news.notify_one();
        }
    }
}

/// What one life and the answers in flight from it know of each other. All on one thread.
pub(crate) struct Pulse {
    /// No job is begun any more.
    pub(crate) paused: Cell<bool>,
    in_flight: Cell<usize>,
    /// An answer was given, or the state was taken: to the one who winds the life down.
    news: Notify,
    /// The life ended otherwise than by a crash.
    gentle: Cell<bool>,
    cut: Cell<bool>,
    cut_short: Notify,
    /// A job was begun or an answer given, since the last copy of the bird's state.
    pub(crate) touched: Cell<bool>,
    /// Who wants to know of that.
    pub(crate) on_answer: RefCell<Option<Waker>>,
    /// States of other lives, to be taken in before the next job.
    pub(crate) merges: RefCell<Vec<Bytes>>,
    /// The state of this life is wanted; and here it is.
    pub(crate) wanted: Cell<bool>,
    pub(crate) taken: Cell<Option<Box<Result<Bytes, String>>>>,
}

impl std::fmt::Debug for Pulse {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pulse").field("in_flight", &self.in_flight).finish_non_exhaustive()
    }
}

impl Pulse {
    pub(crate) fn new() -> Rc<Self> {
        Rc::new(Self {
            paused: Cell::new(false),
            in_flight: Cell::new(0),
            news: Notify::new(),
            gentle: Cell::new(false),
            cut: Cell::new(false),
            cut_short: Notify::new(),
            touched: Cell::new(false),
            on_answer: RefCell::default(),
            merges: RefCell::default(),
            wanted: Cell::new(false),
            taken: Cell::new(None),
        })
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
        self.0.in_flight.set(self.0.in_flight.get() - 1);
        self.0.news.notify_one();
        self.0.touched.set(true);
        if let Some(pump) = self.0.on_answer.take() {
            pump.wake();
        }
    }
}
