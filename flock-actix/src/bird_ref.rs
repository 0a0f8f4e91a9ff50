//! References to birds, and calls through them.

use std::fmt;
use std::future::{Future, IntoFuture};
use std::hash::{Hash, Hasher};
use std::marker::PhantomData;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, RawWakerVTable};
use std::time::Duration;

use arc_swap::{ArcSwapOption, Guard};
use flock_proto::{BirdName, CallId, NameError, SpeciesId, Time, hash64};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::bird::{Hears, Wire};
use crate::call::CallError;
use crate::codec;
use crate::parcel::{Note, Parcel, Typed};
use crate::rt;
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

    /// Sends a call on its way. If there is no room it fails; or what waits for some is given, if the caller
    /// wants to `wait`.
    fn deliver(
        &self,
        shared: &Arc<Shared>,
        entry: Option<&Arc<Entry>>,
        call: Parcel,
        wait: bool,
    ) -> Option<Room> {
        let refused = self.dispatch(shared, entry, call).err()?;
        if wait {
            return Some(Box::pin(wait_for_room(shared.clone(), self.name().clone(), refused)));
        }
        refused.into_parcel().fail(CallError::Overloaded);
        None
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
        let deadline = shared.now() + within;
        let note = self.note::<M>(shared, false, Expected::default(), deadline);
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

    fn note<M: Wire>(
        &self,
        shared: &Shared,
        is_call: bool,
        Expected { id, alone }: Expected,
        deadline: Time,
    ) -> Note
    where
        B: Hears<M>,
    {
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
        let slot = Arc::new(Slot::new(within));
        let entry = to.entry(shared);
        if let Some(entry) = entry.as_ref().and_then(Found::entry)
            && entry.is_of(rt::thread_number())
            && shared.may_note_later()
            && !shared.is_closed()
        {
            let note = self.note::<M>(shared, true, Expected::default(), Time::NEVER);
            let typed = Typed::<B, M>::new(note, message, Some(slot.clone()));
            return match entry.push_unnoted(Parcel::Typed(Box::new(typed))) {
                Ok(wakers) => Reply::unnoted(self.to, slot, wakers),
                Err(mut call) => {
                    call.note_late(shared);
                    let id = call.note().id;
                    let room = to.deliver(shared, Some(entry), call, wait);
                    Reply::new(self.to, slot, id, room)
                }
            };
        }
        let deadline = shared.now() + within;
        let way = if entry.is_none() { shared.way(to.hash()) } else { None };
        let link = way.as_ref().map(Way::link);
        let Some(call) = shared.expect(deadline, slot.clone(), link) else {
            return Reply(State::Failed(CallError::Overloaded));
        };
        let id = call.id;
        let note = self.note::<M>(shared, true, call, deadline);
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
        let room = to.deliver(shared, entry.as_ref().and_then(Found::entry), parcel, wait);
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
        Self(State::Waiting(Ticket { to, slot, id, unnoted: None, over: false }, room))
    }
}

impl<R: DeserializeOwned + Send + 'static> Reply<R> {
    /// Of a call that is in no table yet.
    fn unnoted(to: To, slot: Arc<Slot<R>>, wakers: &'static RawWakerVTable) -> Self {
        let thread = rt::thread_number();
        let unnoted = Unnoted { note: Slot::note, wakers, thread, looked: false };
        let ticket =
            Ticket { to, slot, id: CallId::default(), unnoted: Some(unnoted), over: false };
        Self(State::Waiting(ticket, None))
    }
}

struct Ticket<R> {
    to: To,
    slot: Arc<Slot<R>>,
    /// The default for one that wasn't in the table when it was made.
    id: CallId,
    unnoted: Option<Unnoted<R>>,
    /// The outcome was taken, and nothing is left to be given up.
    over: bool,
}

/// A call that went to a bird of the same thread, which had nothing else to do: mostly it has its answer when
/// the bird's task has run, and is in no table till then. But whoever waits for it in another way than as a
/// task of that thread may wait without that task's ever running.
struct Unnoted<R> {
    /// Puts it into the table.
    note: fn(&Arc<Slot<R>>, &Shared) -> Option<(CallId, Time)>,
    /// Of the tasks of that thread.
    wakers: &'static RawWakerVTable,
    thread: u32,
    /// Somebody has looked for its outcome.
    looked: bool,
}

impl<R> Unnoted<R> {
    /// Somebody waits for it who does so as a task of its thread.
    fn may_wait(&self, cx: &Context<'_>) -> bool {
        self.thread == rt::thread_number() && std::ptr::eq(self.wakers, cx.waker().vtable())
    }
}

impl<R> Ticket<R> {
    /// Takes the call out of the table.
    fn forget(&self, late: Option<CallId>) {
        let id = late.unwrap_or(self.id);
        if id != CallId::default()
            && let Some(shared) = self.to.home()
        {
            shared.forget(id);
        }
    }

    fn poll(&mut self, cx: &Context<'_>) -> Poll<Result<R, CallError>> {
        let Poll::Ready((outcome, origin, late)) = self.slot.poll(cx) else {
            self.wait_on(cx);
            return Poll::Pending;
        };
        if origin == Origin::Bird {
            self.forget(late);
        }
        self.over = true;
        Poll::Ready(outcome)
    }

    /// It has no outcome. It must be in the table, if it was looked for before, or by one who can't be trusted to
    /// let the bird's task run.
    fn wait_on(&mut self, cx: &Context<'_>) {
        let Some(unnoted) = &mut self.unnoted else { return };
        if unnoted.looked || !unnoted.may_wait(cx) {
            if let Some(shared) = self.to.home() {
                (unnoted.note)(&self.slot, shared);
            }
            self.unnoted = None;
        } else {
            unnoted.looked = true;
        }
    }
}

impl<R> Drop for Ticket<R> {
    fn drop(&mut self) {
        if !self.over {
            let late = self.slot.abandon();
            self.forget(late);
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
