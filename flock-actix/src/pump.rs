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
    behind: Cell<Behind>,
}

/// Whether what is in the inbox may have waited there. As large as all else that a pump is made of: to move what
/// was written in parts is felt.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(usize)]
enum Behind {
    No,
    Maybe,
}

thread_local! {
    /// The pump of the life that is polled. Never left there: so nothing has to be dropped when the thread ends,
    /// which would be asked at each use.
    static LENT: Cell<Option<ManuallyDrop<Pump>>> = const { Cell::new(None) };
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
        let (copies, behind) = (copies.map(Box::new), Cell::new(Behind::Maybe));
        Self { entry, pulse: LazyPulse::default(), copies, behind }
    }

    /// Lends it to the context that `poll` polls.
    #[inline]
    pub(crate) fn lend<R>(this: &mut Option<Self>, poll: impl FnOnce() -> R) -> R {
        // A bird that polls another's context, by whatever means, is lent its own again afterwards.
        let outer = LENT.replace(this.take().map(ManuallyDrop::new));
        let polled = poll();
        *this = LENT.replace(outer).map(ManuallyDrop::into_inner);
        polled
    }

    fn run<B: Bird>(&mut self, bird: &mut B, ctx: &mut Context<B>, task: &mut TaskContext<'_>) {
        if !ctx.waiting() {
            self.see_to_states(bird);
        }
        self.run_jobs(bird, ctx, task);
        let Self { entry, pulse, copies, .. } = self;
        if let Some(copies) = copies {
            // Also where a job has just begun to wait: it shall find what it asked for.
            copies.see_to(bird, entry, pulse.get(), task);
        }
    }

    fn run_jobs<B: Bird>(&self, bird: &mut B, ctx: &mut Context<B>, task: &mut TaskContext<'_>) {
        // One that comes while the pump waits for it is begun at once. The clock costs as much as all else
        // that is done about a job here.
        let mut behind = self.behind.replace(Behind::Maybe) == Behind::Maybe;
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
                self.leave_behind(more);
                return;
            };
            behind |= more;
            let over = behind && parcel.is_over(*now.get_or_insert_with(|| self.entry.home.now()));
            if over {
                parcel.fail(CallError::TimedOut);
            } else {
                if self.copies.is_some() && !parcel.is_cancelled() {
                    self.pulse.get().touched.set(true);
                }
                parcel::run(parcel, bird, ctx, &self.pulse, &self.entry.home);
            }
            if !more {
                // Unless the job has the bird for itself: others may come meanwhile.
                self.leave_behind(ctx.waiting());
                return;
            }
        }
        task.waker().wake_by_ref();
    }

    /// Whether what the inbox has next may have waited there.
    fn leave_behind(&self, maybe: bool) {
        self.behind.set(if maybe { Behind::Maybe } else { Behind::No });
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
