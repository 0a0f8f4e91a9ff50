//! One life's context, polled so that no panic gets out of it.
//!
//! actix, left to itself, runs `stopping()` and `stopped()` on an actor that has just panicked; and
//! if one of those panics too, the process aborts. So after a panic the context is terminated
//! before it is dropped: no hook runs on the broken actor.

use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll};
use std::time::Duration;

use actix::dev::ContextFut;
use actix::{ActorContext, ActorState, AsyncContext, Context};
use bytes::Bytes;

use crate::bird::Bird;
use crate::codec::panic_text;
use crate::copies::Copies;
use crate::job::Job;
use crate::pulse::Pulse;
use crate::pump::{Pump, Spout};
use crate::table::Entry;

/// What came of winding a life down.
pub(super) enum Stopped {
    Gently,
    Crashed(String),
}

pub(super) struct Body<B: Bird> {
    /// The actor in its context, ready to be polled; none once the life is over.
    context: Option<ContextFut<B, Context<B>>>,
    /// None while the context is polled, to which it is lent.
    pump: Option<Pump>,
}

impl<B: Bird> Body<B> {
    pub(super) fn new(
        bird: B,
        mut ctx: Context<B>,
        entry: Arc<Entry>,
        copies: Option<Copies>,
    ) -> Self {
        ctx.spawn(Spout);
        let pump = Some(Pump::new(entry, copies));
        Self { context: Some(ctx.into_future(bird)), pump }
    }

    fn pulse(&self) -> Rc<Pulse> {
        debug_assert!(self.pump.is_some(), "asked from within a poll");
        self.pump.as_ref().map(|pump| pump.pulse.get().clone()).unwrap_or_default()
    }

    /// The life has ended gently.
    fn ended(&self) {
        if let Some(pulse) = self.pump.as_ref().and_then(|pump| pump.pulse.known()) {
            pulse.ended();
        }
    }

    /// The bird takes these in before its next job. It must be polled.
    pub(super) fn merge(&self, states: impl IntoIterator<Item = Bytes>) {
        let mut states = states.into_iter().peekable();
        if B::MIGRATION.is_some() && states.peek().is_some() {
            self.pulse().to_merge(states);
        }
    }

    /// Polls once, which runs `started()`. `Some`: the life is over already.
    pub(super) async fn first_poll(&mut self) -> Option<Result<(), String>> {
        poll_fn(|cx| {
            Poll::Ready(match self.poll(&mut None, cx) {
                Poll::Ready(end) => Some(end),
                Poll::Pending => None,
            })
        })
        .await
    }

    async fn run(&mut self) -> Result<(), String> {
        poll_fn(|cx| self.poll(&mut None, cx)).await
    }

    /// Waits a while for the answers in flight, cuts short what is left, and stops the actor, whatever its
    /// `stopping()` says. If it `goes_on` elsewhere, its state is taken before that, if it has one to take
    /// along. The entry's phase must say that the life ends: so no further job is begun.
    pub(super) async fn wind_down(
        &mut self,
        patience: Duration,
        goes_on: bool,
    ) -> (Stopped, Option<Result<Bytes, String>>) {
        let pulse = self.pulse();
        let deadline = tokio::time::Instant::now() + patience;
        let mut ended = tokio::select! {
            biased;
            ended = self.run() => Some(ended),
            () = pulse.idle() => None,
            () = tokio::time::sleep_until(deadline) => None,
        };
        pulse.cut();
        let mut state = None;
        if goes_on && B::MIGRATION.is_some() {
            if ended.is_none() {
                ended = self.take_state(deadline).await;
            }
            let late = || Err(format!("its snapshot could not be taken within {patience:?}"));
            state = Some(pulse.taken().unwrap_or_else(late));
        }
        let ended = match ended {
            Some(ended) => Some(ended),
            None => {
                if let Some(context) = &mut self.context {
                    context.ctx().stop();
                }
                self.first_poll().await
            }
        };
        self.bury();
        let stopped = match ended {
            Some(Err(reason)) => Stopped::Crashed(reason),
            _ => Stopped::Gently,
        };
        (stopped, state)
    }

    /// Has the pump take the bird's state, as soon as nothing has the bird for itself. `Some`: the
    /// life was over before.
    async fn take_state(&mut self, deadline: tokio::time::Instant) -> Option<Result<(), String>> {
        let pulse = self.pulse();
        pulse.want();
        // At once, even if the deadline has passed: mostly nothing is in the way.
        let over = self.first_poll().await;
        if over.is_some() || !pulse.is_wanted() {
            return over;
        }
        tokio::select! {
            biased;
            ended = self.run() => Some(ended),
            () = pulse.was_taken() => None,
            () = tokio::time::sleep_until(deadline) => None,
        }
    }

    /// Ready once the bird has stopped itself, or panicked. If it is handed a job, it does that first, unless
    /// something has it for itself.
    pub(super) fn poll(
        &mut self,
        job: &mut Option<Box<dyn Job>>,
        cx: &mut TaskContext<'_>,
    ) -> Poll<Result<(), String>> {
        let Some(context) = &mut self.context else { return Poll::Ready(Ok(())) };
        let polled = Pump::lend(&mut self.pump, job, || {
            catch_unwind(AssertUnwindSafe(|| Pin::new(&mut *context).poll(cx)))
        });
        match polled {
            Ok(Poll::Pending) => Poll::Pending,
            Ok(Poll::Ready(())) => {
                self.ended();
                self.bury();
                Poll::Ready(Ok(()))
            }
            Err(panic) => {
                // Past `stopping()` the end is settled: a panic in `stopped()` must not bring the
                // bird back.
                let stopped = context.ctx().state() == ActorState::Stopped;
                if stopped {
                    self.ended();
                }
                self.bury();
                Poll::Ready(if stopped { Ok(()) } else { Err(panic_text(&*panic)) })
            }
        }
    }

    fn bury(&mut self) {
        if let Some(mut context) = self.context.take() {
            context.ctx().terminate();
            let _ = catch_unwind(AssertUnwindSafe(|| drop(context)));
        }
    }
}

impl<B: Bird> Drop for Body<B> {
    fn drop(&mut self) {
        self.bury();
    }
}
