//! References to birds, and calls through them.

use std::fmt;
use std::future::{Future, IntoFuture};
use std::hash::{Hash, Hasher};
use std::marker::PhantomData;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use arc_swap::{ArcSwapOption, Guard};
use flock_proto::{BirdName, CallId, NameError, SpeciesId, Time, hash64};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::bird::{Hears, Wire};
use crate::call::CallError;
use crate::codec;
use crate::parcel::{Note, Parcel, Typed};
use crate::shared::{Expected, Refused, Shared, Way};
use crate::slot::{Origin, Slot};
use crate::table::{Entry, Push};

/// A bird's name with its type: what `Addr` is to an actor, wherever the bird lives.
///
/// It serialises as the name alone. One that was decoded in a message, an answer or a bird's
/// arguments is bound to the flock that brought it; decoded elsewhere, its calls fail as
/// [`CallError::Unbound`] until it is bound.
pub struct BirdRef<B> {
    to: To,
    bird: PhantomData<fn() -> B>,
}

/// Whom a reference means.
#[derive(Clone)]
enum To {
    /// One that stood in the table of this process when the reference was made: all that a call needs is
    /// there, and nothing else of the reference's own is looked at.
    Here(Arc<Entry>),
    Named(Arc<Named>),
}

/// What all clones of a reference to a bird of which nothing was known here have in common.
struct Named {
    name: BirdName,
    hash: u64,
    home: Option<Arc<Shared>>,
    /// What stood behind the name in this process the last time. It says itself when it no longer does.
    entry: ArcSwapOption<Entry>,
    /// It was called before: whoever does so once doesn't keep anything for the next time.
    called: AtomicBool,
}

/// What stands behind a name in this process.
enum Found<'a> {
    Known(&'a Arc<Entry>),
    Looked(Guard<Option<Arc<Entry>>>),
}

impl Found<'_> {
    fn entry(&self) -> Option<&Arc<Entry>> {
        match self {
            Self::Known(entry) => Some(entry),
            Self::Looked(entry) => entry.as_ref(),
        }
    }
}

impl To {
    fn name(&self) -> &BirdName {
        match self {
            Self::Here(entry) => &entry.name,
            Self::Named(to) => &to.name,
        }
    }

    fn hash(&self) -> u64 {
        match self {
            Self::Here(entry) => entry.hash,
            Self::Named(to) => to.hash,
        }
    }

    fn home(&self) -> Option<&Arc<Shared>> {
        match self {
            Self::Here(entry) => Some(&entry.home),
            Self::Named(to) => to.home.as_ref(),
        }
    }

    /// What stands behind the name in this process.
    fn entry(&self, shared: &Shared) -> Option<Found<'_>> {
        match self {
            Self::Here(entry) if !entry.is_gone() => Some(Found::Known(entry)),
            Self::Here(entry) => {
                let found = shared.entry(entry.name.as_str(), entry.hash)?;
                Some(Found::Looked(Guard::from_inner(Some(found))))
            }
            Self::Named(to) => to.entry(shared).map(Found::Looked),
        }
    }

    /// Sends a parcel on its way: right into the inbox, if there is one in this process and all is as nearly
    /// always.
    fn dispatch(
        &self,
        shared: &Arc<Shared>,
        entry: Option<&Arc<Entry>>,
        mut parcel: Parcel,
    ) -> Result<(), Refused> {
        if let Some(entry) = entry.filter(|_| !shared.is_closed()) {
            parcel = match entry.push(parcel, shared.settings.inbox, || shared.now()) {
                Push::Taken => return Ok(()),
                Push::Full(back) => back,
                Push::Moved(back, _) | Push::Grounded(back, _) | Push::Stale(back) => {
                    if let Self::Named(to) = self {
                        to.entry.store(None);
                    }
                    back
                }
            };
        }
        shared.dispatch(self.name(), self.hash(), parcel)
    }
}

impl Named {
    fn entry(&self, shared: &Shared) -> Option<Guard<Option<Arc<Entry>>>> {
        let kept = self.entry.load();
        if kept.is_some() {
            return Some(kept);
        }
        let found = shared.entry(self.name.as_str(), self.hash)?;
        if self.called.load(Ordering::Relaxed) {
            self.entry.store(Some(found.clone()));
        } else {
            self.called.store(true, Ordering::Relaxed);
        }
        Some(Guard::from_inner(Some(found)))
    }
}

impl<B> BirdRef<B> {
    /// A reference to the bird of this name.
    pub(crate) fn find(name: &str, home: &Arc<Shared>) -> Result<Self, NameError> {
        // One that stands in the table is the name of a bird: nothing else has to be looked at.
        Ok(match home.entry(name, hash64(name)) {
            Some(entry) => Self { to: To::Here(entry), bird: PhantomData },
            None => Self::named(BirdName::new(name)?, Some(home.clone())),
        })
    }

    pub(crate) fn new(name: BirdName, home: Option<Arc<Shared>>) -> Self {
        let entry = home.as_ref().and_then(|home| home.entry(name.as_str(), name.hash64()));
        match entry {
            Some(entry) => Self { to: To::Here(entry), bird: PhantomData },
            None => Self::named(name, home),
        }
    }

    fn named(name: BirdName, home: Option<Arc<Shared>>) -> Self {
        let (entry, called) = (ArcSwapOption::empty(), AtomicBool::new(false));
        let to = Named { hash: name.hash64(), name, home, entry, called };
        Self { to: To::Named(Arc::new(to)), bird: PhantomData }
    }

    /// The bird's name.
    pub fn name(&self) -> &BirdName {
        self.to.name()
    }

    /// Whether calls through it have a flock to go through.
    pub fn is_bound(&self) -> bool {
        self.to.home().is_some()
    }

    /// Sends a message and waits for the answer, as `Addr::send` does. The message is on its way
    /// when the returned builder is awaited, or turned into a future.
    ///
    /// Dropping the future cancels the call: a job not begun isn't run.
    pub fn send<M: Wire>(&self, message: M) -> Outgoing<B, M>
    where
        B: Hears<M>,
    {
        Outgoing { to: self.clone(), message, deadline: None, wait: false }
    }

    /// Sends a message without asking for an answer, as `Addr::do_send` does. It may be lost, if
    /// there is no such bird, no room or no way.
    pub fn do_send<M: Wire>(&self, message: M)
    where
        B: Hears<M>,
    {
        let to = &self.to;
        let Some(shared) = to.home() else { return };
        let within = shared.settings.call_deadline;
        let note = self.note::<M>(shared, None, shared.now() + within);
        let entry = to.entry(shared);
        if entry.is_none()
            && let Some(way) = shared.way(to.hash())
            && shared.send_off(&way, to.name(), &note, within, &message).is_some()
        {
            return;
        }
        let parcel = Parcel::Typed(Box::new(Typed::<B, M>::new(note, message, None)));
        let entry = entry.as_ref().and_then(Found::entry);
        if let Err(refused) = to.dispatch(shared, entry, parcel) {
            shared.lose(refused.into_parcel());
        }
    }

    /// The bird as one that hears this message, its species forgotten.
    pub fn recipient<M: Wire>(&self) -> BirdRecipient<M>
    where
        B: Hears<M>,
    {
        BirdRecipient(Arc::new(self.clone()))
    }

    fn note<M: Wire>(&self, shared: &Shared, call: Option<Expected>, deadline: Time) -> Note
    where
        B: Hears<M>,
    {
        let is_call = call.is_some();
        let Expected { id, alone } = call.unwrap_or_default();
        Note {
            id,
            deadline,
            species: const { SpeciesId::of(B::SPECIES) },
            message: B::ID,
            origin: shared.me(),
            is_call,
            hop: 0,
            redirected: false,
            alone,
        }
    }

    fn call<M: Wire>(self, message: M, within: Option<Duration>, wait: bool) -> Reply<M::Result>
    where
        B: Hears<M>,
    {
        let to = &self.to;
        let Some(shared) = to.home() else { return Reply(State::Failed(CallError::Unbound)) };
        let within = within.unwrap_or(shared.settings.call_deadline);
        let deadline = shared.now() + within;
        let slot = Arc::new(Slot::new());
        let entry = to.entry(shared);
        let way = if entry.is_none() { shared.way(to.hash()) } else { None };
        let link = way.as_ref().map(Way::link);
        let Some(call) = shared.expect(deadline, slot.clone(), link) else {
            return Reply(State::Failed(CallError::Overloaded));
        };
        let id = call.id;
        let note = self.note::<M>(shared, Some(call), deadline);
        if let Some(way) = way {
            match shared.send_off(&way, to.name(), &note, within, &message) {
                Some(Ok(())) => return Reply::new(self.to, slot, id, None),
                Some(Err(error)) => {
                    shared.forget(id);
                    return Reply(State::Failed(error));
                }
                None => {}
            }
        }
        let typed = Typed::<B, M>::new(note, message, Some(slot.clone()));
        let parcel = Parcel::Typed(Box::new(typed));
        let mut room = None;
        match to.dispatch(shared, entry.as_ref().and_then(Found::entry), parcel) {
            Ok(()) => {}
            Err(refused) if wait => {
                let waiting = wait_for_room(shared.clone(), to.name().clone(), refused);
                room = Some(Box::pin(waiting) as Room);
            }
            Err(refused) => refused.into_parcel().fail(CallError::Overloaded),
        }
        Reply::new(self.to, slot, id, room)
    }
}

impl<B> Clone for BirdRef<B> {
    fn clone(&self) -> Self {
        Self { to: self.to.clone(), bird: PhantomData }
    }
}

impl<B> fmt::Debug for BirdRef<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BirdRef({:?})", self.name().as_str())
    }
}

impl<B> PartialEq for BirdRef<B> {
    fn eq(&self, other: &Self) -> bool {
        self.name() == other.name()
    }
}

impl<B> Eq for BirdRef<B> {}

impl<B> Hash for BirdRef<B> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.name().hash(state);
    }
}

impl<B> Serialize for BirdRef<B> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name().as_str())
    }
}

impl<'de, B> Deserialize<'de> for BirdRef<B> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Self::new(BirdName::deserialize(deserializer)?, codec::binding()))
    }
}

/// A call to be made: await it, or set its terms first.
#[derive(Debug)]
#[must_use = "a call is made when it is awaited"]
pub struct Outgoing<B, M> {
    to: BirdRef<B>,
    message: M,
    deadline: Option<Duration>,
    wait: bool,
}

impl<B, M> Outgoing<B, M> {
    /// How long to wait for the answer; by default five seconds. Then the call ends as
    /// [`CallError::TimedOut`]. Links carry at most 71 minutes of it.
    pub const fn deadline(mut self, within: Duration) -> Self {
        self.deadline = Some(within);
        self
    }

    /// Waits while the bird's inbox, or the way to it, is full, instead of failing as
    /// [`CallError::Overloaded`]. On another nest the inbox may still refuse.
    pub const fn wait_when_full(mut self) -> Self {
        self.wait = true;
        self
    }
}

impl<B: Hears<M>, M: Wire> IntoFuture for Outgoing<B, M> {
    type Output = Result<M::Result, CallError>;
    type IntoFuture = Reply<M::Result>;

    fn into_future(self) -> Reply<M::Result> {
        self.to.call(self.message, self.deadline, self.wait)
    }
}

/// The answer to a call that was made. Dropping it cancels the call.
#[must_use = "dropping it cancels the call"]
pub struct Reply<R>(State<R>);

enum State<R> {
    Waiting(Ticket<R>, Option<Room>),
    Failed(CallError),
}

/// Waits for room, and sends the message then.
type Room = Pin<Box<dyn Future<Output = ()> + Send>>;

impl<R> Reply<R> {
    const fn new(to: To, slot: Arc<Slot<R>>, id: CallId, room: Option<Room>) -> Self {
        Self(State::Waiting(Ticket { to, slot, id, over: false }, room))
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
    fn forget(&self) {
        if let Some(shared) = self.to.home() {
            shared.forget(self.id);
        }
    }

    fn poll(&mut self, cx: &Context<'_>) -> Poll<Result<R, CallError>> {
        let (outcome, origin) = std::task::ready!(self.slot.poll(cx));
        if origin == Origin::Bird {
            self.forget();
        }
        self.over = true;
        Poll::Ready(outcome)
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
        let outcome = match &mut self.0 {
            State::Failed(error) => return Poll::Ready(Err(error.clone())),
            State::Waiting(ticket, room) => {
                if let Some(waiting) = room
                    && waiting.as_mut().poll(cx).is_ready()
                {
                    *room = None;
                }
                std::task::ready!(ticket.poll(cx))
            }
        };
        self.0 = State::Failed(CallError::Interrupted);
        Poll::Ready(outcome)
    }
}

impl<R> fmt::Debug for Reply<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reply").finish_non_exhaustive()
    }
}

/// Tries again to send a parcel whenever there may be room, until its call is over.
async fn wait_for_room(shared: Arc<Shared>, name: BirdName, mut refused: Refused) {
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

/// A bird that hears a message, whatever its species: what `Recipient` is to `Addr`.
pub struct BirdRecipient<M: Wire>(Arc<dyn Listen<M>>);

trait Listen<M: Wire>: Send + Sync {
    fn name(&self) -> &BirdName;
    fn call(&self, message: M) -> Reply<M::Result>;
    fn cast(&self, message: M);
}

impl<B: Hears<M>, M: Wire> Listen<M> for BirdRef<B> {
    fn name(&self) -> &BirdName {
        self.to.name()
    }

    fn call(&self, message: M) -> Reply<M::Result> {
        self.send(message).into_future()
    }

    fn cast(&self, message: M) {
        self.do_send(message);
    }
}

impl<M: Wire> BirdRecipient<M> {
    /// The bird's name.
    pub fn name(&self) -> &BirdName {
        self.0.name()
    }

    /// Sends a message and waits for the answer. The call is on its way at once.
    pub fn send(&self, message: M) -> Reply<M::Result> {
        self.0.call(message)
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
