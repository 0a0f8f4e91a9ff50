//! A call to be made.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use super::{BirdRef, Reply};
use crate::bird::{Hears, Wire};
use crate::call::CallError;
use crate::job::{NearCall, Outcome};
use crate::life;

/// A call to be made: await it, or set its terms first. What `Request` is to `Addr`.
#[must_use = "a call is made when it is awaited"]
pub struct Outgoing<B, M: Wire>(State<B, M>);

enum State<B, M: Wire> {
    Unsent(Terms<B, M>),
    Sent(Reply<M::Result>),
    Over,
}

pub(super) struct Terms<B, M> {
    to: BirdRef<B>,
    /// Until it is sent.
    message: Option<M>,
    deadline: Option<Duration>,
    wait: bool,
}

impl<B, M: Wire> Outgoing<B, M> {
    #[inline]
    pub(super) const fn new(to: BirdRef<B>, message: M) -> Self {
        Self(State::Unsent(Terms::new(to, message)))
    }

    /// How long to wait for the answer; by default five seconds. Then, or up to 40 ms later, the call ends as
    /// [`CallError::TimedOut`]. Links carry at most 71 minutes of it.
    ///
    /// It is counted from when the message is sent; or, if a bird of the caller's own thread handles it within the
    /// caller's turn, from when its handler has returned without the answer.
    pub fn deadline(mut self, within: Duration) -> Self {
        if let State::Unsent(terms) = &mut self.0 {
            terms.deadline = Some(within);
        }
        self
    }

    /// Waits while the bird's inbox, or the way to it, is full, instead of failing as
    /// [`CallError::Overloaded`]. On another nest the inbox may still refuse.
    pub fn wait_when_full(mut self) -> Self {
        if let State::Unsent(terms) = &mut self.0 {
            terms.wait = true;
        }
        self
    }
}

impl<B: Hears<M>, M: Wire> Outgoing<B, M> {
    /// Sends the message here and now, whenever its answer is awaited: so several may be on their way together, in
    /// the order in which they were sent.
    pub fn at_once(self) -> Reply<M::Result> {
        match self.0 {
            State::Unsent(terms) => terms.send(None),
            State::Sent(reply) => reply,
            State::Over => Reply::failed(CallError::Interrupted),
        }
    }
}

/// What came of a call that was made.
pub(super) enum Made<R> {
    Over(Result<R, CallError>),
    Sent(Reply<R>),
}

impl<B, M> Terms<B, M> {
    #[inline]
    pub(super) const fn new(to: BirdRef<B>, message: M) -> Self {
        Self { to, message: Some(message), deadline: None, wait: false }
    }
}

impl<B: Hears<M>, M: Wire> Terms<B, M> {
    /// Makes the call, for one who waits for it.
    pub(super) fn make(mut self, cx: &mut Context<'_>) -> Made<M::Result> {
        match self.handled(cx) {
            Some(Outcome::There(outcome)) => Made::Over(outcome),
            Some(Outcome::Later(slot, id)) => Made::Sent(Reply::new(self.to.to, slot, id, None)),
            None => Made::Sent(self.send(Some(cx.waker()))),
        }
    }

    /// `waker`: of the task that is about to await the answer, if it is known.
    fn send(self, waker: Option<&Waker>) -> Reply<M::Result> {
        match self.message {
            Some(message) => self.to.call(message, self.deadline, self.wait, waker),
            // It was handled before.
            None => Reply::failed(CallError::Interrupted),
        }
    }

    /// Has the call handled here and now, if the bird lives on this thread and rests.
    #[inline(always)]
    fn handled(&mut self, cx: &mut Context<'_>) -> Option<Outcome<M::Result>> {
        let found = self.to.to.kept()?;
        let entry = found.entry()?;
        let home = &entry.home;
        let job = life::hand(entry, cx, || {
            // Else its answer, should it come later, would have no place.
            let message = if home.may_note_later() { self.message.take()? } else { return None };
            let within = self.deadline.unwrap_or(home.settings.call_deadline);
            Some(NearCall::<B, M>::job(message, within))
        })?;
        match NearCall::<B, M>::outcome(job) {
            Ok(outcome) => Some(outcome),
            Err(message) => {
                self.message = message;
                None
            }
        }
    }
}

// Nothing in it is pinned in place: a message is moved out, and a reply is no different.
impl<B, M: Wire> Unpin for Outgoing<B, M> {}

impl<B: Hears<M>, M: Wire> Future for Outgoing<B, M> {
    type Output = Result<M::Result, CallError>;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let state = &mut self.get_mut().0;
        if let State::Unsent(terms) = state {
            let later = match terms.handled(cx) {
                Some(Outcome::There(outcome)) => return Poll::Ready(outcome),
                Some(Outcome::Later(slot, id)) => Some((slot, id)),
                None => None,
            };
            if let State::Unsent(terms) = std::mem::replace(state, State::Over) {
                let reply = match later {
                    Some((slot, id)) => Reply::new(terms.to.to, slot, id, None),
                    None => {
                        let reply = terms.send(Some(cx.waker()));
                        if reply.rests() {
                            *state = State::Sent(reply);
                            return Poll::Pending;
                        }
                        reply
                    }
                };
                *state = State::Sent(reply);
            }
        }
        match state {
            State::Sent(reply) => Pin::new(reply).poll(cx),
            State::Unsent(_) | State::Over => Poll::Ready(Err(CallError::Interrupted)),
        }
    }
}

impl<B, M: Wire> fmt::Debug for Outgoing<B, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Outgoing").finish_non_exhaustive()
    }
}
