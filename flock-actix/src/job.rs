//! Calls that are handled where they are made: to a bird of the same thread that rests.
//!
//! Such a bird needs no turn of its task's to hear a call, and its caller none to hear the answer: whoever awaits
//! the call has it handled there and then, from within the bird's own context. It waits in no inbox, and, unless
//! its answer comes later, in no table either.

use std::any::Any;
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use flock_proto::CallId;

use crate::bird::{Hears, Wire};
use crate::call::CallError;
use crate::parcel::{Done, Handled, handle, of_species};
use crate::pulse::LazyPulse;
use crate::shared::Shared;
use crate::slot::Slot;

/// What a bird is handed, the types of the call erased.
pub(crate) trait Job: Any {
    /// Has the call handled, if these are a bird and a context of the right species. `species` is what the bird
    /// is of.
    fn run(
        &mut self,
        bird: &mut dyn Any,
        ctx: &mut dyn Any,
        pulse: &LazyPulse,
        home: &Shared,
        species: &'static str,
    );
    fn was_run(&self) -> bool;
}

/// A call of a bird's own thread.
pub(crate) struct NearCall<B, M: Wire> {
    /// Until it is handled.
    message: Option<M>,
    within: Duration,
    outcome: Option<Outcome<M::Result>>,
    bird: PhantomData<fn() -> B>,
}

/// What came of one.
pub(crate) enum Outcome<R> {
    There(Result<R, CallError>),
    /// The answer comes later, and the call is in the table of those that wait.
    Later(Arc<Slot<R>>, CallId),
}

impl<B: Hears<M>, M: Wire> NearCall<B, M> {
    /// `within`: how long its answer may take, if it isn't there at once.
    #[inline]
    pub(crate) fn job(message: M, within: Duration) -> Box<dyn Job> {
        // The room first: then it is put together there, and not moved.
        let room = Box::<Self>::new_uninit();
        let call = Self { message: Some(message), within, outcome: None, bird: PhantomData };
        let call: Box<Self> = Box::write(room, call);
        call
    }

    /// What came of such a job; none is left, if the bird crashed of it. The error is its message, if it wasn't run.
    #[inline]
    pub(crate) fn outcome(job: Option<Box<dyn Job>>) -> Result<Outcome<M::Result>, Option<M>> {
        if let Some(job) = job
            && let Ok(call) = (job as Box<dyn Any>).downcast::<Self>()
        {
            return call.outcome.ok_or(call.message);
        }
        Ok(Outcome::There(Err(CallError::Crashed)))
    }
}

impl<B: Hears<M>, M: Wire> Job for NearCall<B, M> {
    fn run(
        &mut self,
        bird: &mut dyn Any,
        ctx: &mut dyn Any,
        pulse: &LazyPulse,
        home: &Shared,
        species: &'static str,
    ) {
        let Some(message) = self.message.take() else { return };
        let (bird, ctx) = match of_species::<B>(bird, ctx, species) {
            Ok(both) => both,
            Err(wrong) => {
                self.outcome = Some(Outcome::There(Err(wrong)));
                return;
            }
        };
        self.outcome = Some(match handle(bird, ctx, message) {
            Handled::Now(outcome) => Outcome::There(outcome),
            Handled::Later(answer) => {
                let slot = Slot::new();
                let id = home.expect_late(self.within, slot.clone());
                pulse.get().follow(answer, Done(Some(slot.clone())));
                Outcome::Later(slot, id)
            }
        });
    }

    fn was_run(&self) -> bool {
        self.message.is_none()
    }
}
