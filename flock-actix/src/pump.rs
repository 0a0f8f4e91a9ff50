//! The pump: takes jobs from the inbox into the bird, from within the bird's own context.

use std::cell::Cell;
use std::mem::ManuallyDrop;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll};

use actix::fut::ActorFuture;
use actix::{AsyncContext, Context};
use flock_proto::Event;

use crate::bird::Bird;
use crate::call::CallError;
use crate::copies::Copies;
use crate::job::Job;
use crate::parcel;
use crate::pulse::LazyPulse;
use crate::table::Entry;

/// Jobs begun in one poll before the bird's other futures and its thread get their turn.
const JOBS_PER_POLL: usize = 64;

/// Moves jobs from an inbox into the bird, where the [`Spout`] runs it.
pub(crate) struct Pump {
    entry: Arc<Entry>,
    pub(crate) pulse: LazyPulse,
    copies: Option<Box<Copies>>,
}

thread_local! {
    /// The pump of the life that is polled. Never left there: so nothing has to be dropped when the thread ends,
    /// which would be asked at each use.
    static LENT: Cell<Option<ManuallyDrop<Pump>>> = const { Cell::new(None) };
    /// What it is handed, or was. Never left there, either.
    static HANDED: Cell<Option<ManuallyDrop<Box<dyn Job>>>> = const { Cell::new(None) };
}

/// Where a bird's context runs the pump, which it is lent for the time that it is polled.
///
/// An actor future rather than messages to the mailbox, because an inbox outlives the life, and
/// with it the mailbox. It holds nothing itself, and so needs no memory: the pump lies beside the context,
/// in the same few lines and on the same page, and not wherever there was room for its box.
pub(crate) struct Spout;

impl<B: Bird> ActorFuture<B> for Spout {
    type Output = ();

    fn poll(
        self: Pin<&mut Self>,
        bird: &mut B,
        ctx: &mut Context<B>,
        task: &mut TaskContext<'_>,
    ) -> Poll<()> {
        let mut lent = Lent(LENT.take().map(ManuallyDrop::into_inner));
        if let Some(pump) = &mut lent.0 {
            pump.run(bird, ctx, task);
        }
        Poll::Pending
    }
}

/// Given back however a job ends.
struct Lent(Option<Pump>);

impl Drop for Lent {
    #[inline]
    fn drop(&mut self) {
        LENT.set(self.0.take().map(ManuallyDrop::new));
    }
}

impl Pump {
    pub(crate) fn new(entry: Arc<Entry>, copies: Option<Copies>) -> Self {
        // What the last life left.
        entry.leave_behind(true);
        Self { entry, pulse: LazyPulse::default(), copies: copies.map(Box::new) }
    }

    /// Lends it to the context that `poll` polls, with a job, if the bird is handed one. What was run comes back,
    /// unless the bird crashed of it.
    #[inline]
    pub(crate) fn lend<R>(
        this: &mut Option<Self>,
        job: &mut Option<Box<dyn Job>>,
        poll: impl FnOnce() -> R,
    ) -> R {
        // A bird that polls another's context, by whatever means, has its own again afterwards.
        let outer = LENT.replace(this.take().map(ManuallyDrop::new));
        let outers = HANDED.replace(job.take().map(ManuallyDrop::new));
        let polled = poll();
        *job = HANDED.replace(outers).map(ManuallyDrop::into_inner);
        *this = LENT.replace(outer).map(ManuallyDrop::into_inner);
        polled
    }

    fn run<B: Bird>(&mut self, bird: &mut B, ctx: &mut Context<B>, task: &mut TaskContext<'_>) {
        if !ctx.waiting() {
            self.see_to_states(bird);
        }
        self.run_jobs(bird, ctx, task);
        let Self { entry, pulse, copies } = self;
        if let Some(copies) = copies {
            // Also where a job has just begun to wait: it shall find what it asked for.
            copies.see_to(bird, entry, pulse.get(), task);
        }
    }

    fn run_jobs<B: Bird>(&self, bird: &mut B, ctx: &mut Context<B>, task: &mut TaskContext<'_>) {
        if !ctx.waiting() && self.runs_handed(bird, ctx) {
            return;
        }
        // One that comes while the pump waits for it is begun at once. The clock costs as much as all else
        // that is done about a job here.
        let mut behind = self.entry.is_behind();
        self.entry.leave_behind(true);
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
                // What came before the bird runs may wait for long.
                self.entry.leave_behind(more);
                return;
            };
            behind |= more;
            let over = behind && parcel.is_over(*now.get_or_insert_with(|| self.entry.home.now()));
            if over {
                parcel.fail(CallError::TimedOut);
            } else {
                if !parcel.is_cancelled() {
                    self.touch();
                }
                parcel::run(parcel, bird, ctx, &self.pulse);
            }
            if !more {
                self.leave_behind(ctx);
                return;
            }
        }
        task.waker().wake_by_ref();
    }

    /// A job begins.
    fn touch(&self) {
        if self.copies.is_some() {
            self.pulse.get().touched.set(true);
        }
    }

    /// Whether what the inbox has next may have waited there: during the job that was just begun, or because that
    /// has the bird for itself.
    fn leave_behind<B: Bird>(&self, ctx: &Context<B>) {
        self.entry.leave_behind(ctx.waiting() || !self.entry.is_asleep());
    }

    /// Does what the bird was handed, if it was.
    fn runs_handed<B: Bird>(&self, bird: &mut B, ctx: &mut Context<B>) -> bool {
        let Some(job) = HANDED.take() else { return false };
        let mut job = ManuallyDrop::into_inner(job);
        // The context may look here several times in one turn.
        let runs = !job.was_run();
        if runs {
            self.touch();
            job.run(bird, ctx, &self.pulse, &self.entry.home, B::SPECIES);
            // Nothing was in the inbox; and what came meanwhile has woken the task.
            self.leave_behind(ctx);
        }
        HANDED.set(Some(ManuallyDrop::new(job)));
        runs
    }

    /// Takes in what other lives left; takes the state of this one, if it is wanted.
    fn see_to_states<B: Bird>(&self, bird: &mut B) {
        let Some(migration) = &B::MIGRATION else { return };
        let Some(pulse) = self.pulse.known() else { return };
        for state in pulse.merges() {
            if let Err(why) = migration.merge(&self.entry.home, bird, state) {
                let bird = self.entry.name.clone();
                self.entry.home.nest.event(Event::StateLost { bird, why });
            }
        }
        if pulse.is_wanted() {
            pulse.take(migration.take(bird));
        }
    }
}
