//! The answer to a call, and who waits for it.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use flock_proto::{BirdName, CallId};

use super::To;
use crate::call::CallError;
use crate::shared::{Refused, Shared};
use crate::slot::Slot;

/// The answer to a call that was made. Dropping it cancels the call.
#[must_use = "dropping it cancels the call"]
pub struct Reply<R>(State<R>);

enum State<R> {
    Waiting(Ticket<R>, Option<Room>),
    Failed(CallError),
}

/// Waits for room, and sends the message then.
pub(super) type Room = Pin<Box<dyn Future<Output = ()> + Send>>;

impl<R> Reply<R> {
    pub(super) const fn failed(error: CallError) -> Self {
        Self(State::Failed(error))
    }

    pub(super) const fn new(to: To, slot: Arc<Slot<R>>, id: CallId, room: Option<Room>) -> Self {
        Self(State::Waiting(Ticket { to, slot, id, over: false }, room))
    }

    /// Nothing is to be done about it before its task, which it was made for, is woken.
    pub(super) fn rests(&self) -> bool {
        matches!(&self.0, State::Waiting(ticket, None) if ticket.slot.is_waiting())
    }
}

struct Ticket<R> {
    to: To,
    slot: Arc<Slot<R>>,
    id: CallId,
    /// The outcome was taken, and nothing is left to be given up.
    over: bool,
}

impl<R> Ticket<R> {
    /// Takes the call out of the table.
    fn forget(&self) {
        if self.slot.is_in_table()
            && let Some(shared) = self.to.home()
        {
            shared.forget(self.id);
        }
    }

    fn poll(&mut self, cx: &Context<'_>) -> Poll<Result<R, CallError>> {
        let polled = self.slot.poll(cx);
        if polled.is_ready() {
            self.over = true;
            self.forget();
        }
        polled.map_err(|error| *error)
    }
}

impl<R> Drop for Ticket<R> {
    fn drop(&mut self) {
        if !self.over {
            self.slot.abandon();
            self.forget();
        }
    }
}

// Nothing in it is pinned in place: futures are boxed, and the answer is moved out.
impl<R> Unpin for Reply<R> {}

impl<R> Future for Reply<R> {
    type Output = Result<R, CallError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match &mut self.0 {
            State::Failed(error) => Poll::Ready(Err(error.clone())),
            State::Waiting(ticket, room) => {
                if let Some(waiting) = room
                    && waiting.as_mut().poll(cx).is_ready()
                {
                    *room = None;
                }
                let polled = ticket.poll(cx);
                if polled.is_ready() {
                    *room = None;
                }
                polled
            }
        }
    }
}

impl<R> fmt::Debug for Reply<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reply").finish_non_exhaustive()
    }
}

/// Tries again to send a parcel whenever there may be room, until its call is over.
pub(super) async fn wait_for_room(shared: Arc<Shared>, name: BirdName, mut refused: Refused) {
    // Short enough that room made while nobody listened is soon found.
    const LOOK_AGAIN: Duration = Duration::from_millis(20);
    let hash = name.hash64();
    loop {
        let parcel = match refused {
            Refused::Inbox(parcel, entry) => {
                let room = entry.room();
                let _ = tokio::time::timeout(LOOK_AGAIN, room.notified()).await;
                parcel
            }
            Refused::Link(parcel, link) => {
                let _ = tokio::time::timeout(LOOK_AGAIN, link.drained()).await;
                parcel
            }
            Refused::Crowd(parcel) => {
                tokio::time::sleep(LOOK_AGAIN).await;
                parcel
            }
        };
        if parcel.is_over(shared.now()) {
            return parcel.fail(CallError::TimedOut);
        }
        match shared.dispatch(&name, hash, parcel) {
            Ok(()) => return,
            Err(again) => refused = again,
        }
    }
}
