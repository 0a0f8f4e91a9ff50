//! A bird that hears a message, whatever its species.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use flock_proto::BirdName;

use super::outgoing::{Made, Terms};
use super::{BirdRef, Reply};
use crate::bird::{Hears, Wire};
use crate::call::CallError;

/// A bird that hears a message, whatever its species: what `Recipient` is to `Addr`.
pub struct BirdRecipient<M: Wire>(Arc<dyn Listen<M>>);

trait Listen<M: Wire>: Send + Sync {
    fn name(&self) -> &BirdName;
    fn call(&self, message: M, cx: &mut Context<'_>) -> Made<M::Result>;
    fn call_at_once(&self, message: M) -> Reply<M::Result>;
    fn cast(&self, message: M);
}

impl<B: Hears<M>, M: Wire> Listen<M> for BirdRef<B> {
    fn name(&self) -> &BirdName {
        self.to.name()
    }

    fn call(&self, message: M, cx: &mut Context<'_>) -> Made<M::Result> {
        Terms::new(self.clone(), message).make(cx)
    }

    fn call_at_once(&self, message: M) -> Reply<M::Result> {
        self.send(message).at_once()
    }

    fn cast(&self, message: M) {
        self.do_send(message);
    }
}

impl<M: Wire> BirdRecipient<M> {
    pub(super) fn new<B: Hears<M>>(bird: BirdRef<B>) -> Self {
        Self(Arc::new(bird))
    }

    /// The bird's name.
    pub fn name(&self) -> &BirdName {
        self.0.name()
    }

    /// Sends a message and waits for the answer, as [`BirdRef::send`] does.
    pub fn send(&self, message: M) -> RecipientRequest<M> {
        RecipientRequest(State::Unsent(self.clone(), message))
    }

    /// Sends a message without asking for an answer.
    pub fn do_send(&self, message: M) {
        self.0.cast(message);
    }
}

impl<M: Wire> Clone for BirdRecipient<M> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<M: Wire> fmt::Debug for BirdRecipient<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BirdRecipient({:?})", self.0.name().as_str())
    }
}

/// A call to be made, by way of a [`BirdRecipient`]: await it.
#[must_use = "a call is made when it is awaited"]
pub struct RecipientRequest<M: Wire>(State<M>);

enum State<M: Wire> {
    Unsent(BirdRecipient<M>, M),
    Sent(Reply<M::Result>),
    Over,
}

impl<M: Wire> RecipientRequest<M> {
    /// Sends the message here and now, whenever its answer is awaited.
    pub fn at_once(self) -> Reply<M::Result> {
        match self.0 {
            State::Unsent(to, message) => to.0.call_at_once(message),
            State::Sent(reply) => reply,
            State::Over => Reply::failed(CallError::Interrupted),
        }
    }
}

// Nothing in it is pinned in place: the message is moved out, and a reply is no different.
impl<M: Wire> Unpin for RecipientRequest<M> {}

impl<M: Wire> Future for RecipientRequest<M> {
    type Output = Result<M::Result, CallError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let state = &mut self.get_mut().0;
        if matches!(state, State::Unsent(..))
            && let State::Unsent(to, message) = std::mem::replace(state, State::Over)
        {
            match to.0.call(message, cx) {
                Made::Over(outcome) => return Poll::Ready(outcome),
                Made::Sent(reply) => *state = State::Sent(reply),
            }
        }
        match state {
            State::Sent(reply) => Pin::new(reply).poll(cx),
            State::Unsent(..) | State::Over => Poll::Ready(Err(CallError::Interrupted)),
        }
    }
}

impl<M: Wire> fmt::Debug for RecipientRequest<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RecipientRequest").finish_non_exhaustive()
    }
}
