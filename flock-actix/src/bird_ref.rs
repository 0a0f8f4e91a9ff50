//! References to birds, and calls through them.
//!
//! - here: a bird's name with its type, and how a call is made.
//! - `outgoing`: a call to be made.
//! - `reply`: the answer to one that was made, and who waits for it.
//! - `recipient`: a bird that hears a message, whatever its species.

mod outgoing;
mod recipient;
mod reply;

use std::fmt;
use std::hash::{Hash, Hasher};
use std::marker::PhantomData;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::Waker;
use std::time::Duration;

use arc_swap::{ArcSwapOption, Guard};
use flock_proto::{BirdName, NameError, SpeciesId, Time, hash64};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::bird::{Hears, Wire};
use crate::call::CallError;
use crate::codec;
use crate::parcel::{Note, Parcel};
use crate::shared::{Expected, Refused, Shared, Way};
use crate::slot::Slot;
use crate::table::{Entry, Push};
pub use outgoing::Outgoing;
pub use recipient::{BirdRecipient, RecipientRequest};
pub use reply::Reply;
use reply::{Room, wait_for_room};

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
    /// Something is kept there. Most have nothing, and to look for it is felt.
    keeps: AtomicBool,
    /// It was called before: whoever does so once doesn't keep anything for the next time.
    called: AtomicBool,
    /// Nothing stands behind the name in this process, as long as the table says the same of
    /// [its arrivals](Shared::arrivals).
    missed_at: AtomicU64,
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

    /// The same, if it needn't be looked for.
    #[inline]
    fn kept(&self) -> Option<Found<'_>> {
        match self {
            Self::Here(entry) => Some(Found::Known(entry)),
            Self::Named(to) => {
                to.keeps.load(Ordering::Relaxed).then(|| Found::Looked(to.entry.load()))
            }
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
                        to.keep(None);
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
        if self.keeps.load(Ordering::Relaxed) {
            let kept = self.entry.load();
            if kept.is_some() {
                return Some(kept);
            }
        }
        // Before the look: what arrives meanwhile is looked for the next time.
        let arrivals = shared.arrivals(self.hash);
        if self.missed_at.load(Ordering::Relaxed) == arrivals {
            return None;
        }
        let Some(found) = shared.entry(self.name.as_str(), self.hash) else {
            self.missed_at.store(arrivals, Ordering::Relaxed);
            return None;
        };
        if self.called.load(Ordering::Relaxed) {
            self.keep(Some(found.clone()));
        } else {
            self.called.store(true, Ordering::Relaxed);
        }
        Some(Guard::from_inner(Some(found)))
    }

    fn keep(&self, entry: Option<Arc<Entry>>) {
        self.keeps.store(entry.is_some(), Ordering::Relaxed);
        self.entry.store(entry);
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
        let (keeps, called) = (AtomicBool::new(false), AtomicBool::new(false));
        let (entry, hash) = (ArcSwapOption::empty(), name.hash64());
        let missed_at = AtomicU64::new(u64::MAX);
        let to = Named { name, hash, home, entry, keeps, called, missed_at };
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

    /// Sends a message and waits for the answer, as `Addr::send` does. The message is on its way as soon as the
    /// future is polled, or [`at_once`](Outgoing::at_once).
    ///
    /// Dropping the future cancels the call: a job not begun isn't run.
    ///
    /// A bird of the caller's own thread that has nothing else to do handles it within the caller's turn, as a
    /// function would that the caller called; else, and on other threads and nests, in a turn of its own. So a
    /// future shouldn't be polled while a lock is held that the bird takes, too. And what is bound to a task, as
    /// `tracing`'s current span and `tokio::task_local!`, is that of whoever's turn it is: in handlers, and in whatever
    /// else goes on in the bird's context, it says nothing of whom that is done for.
    pub fn send<M: Wire>(&self, message: M) -> Outgoing<B, M>
    where
        B: Hears<M>,
    {
        Outgoing::new(self.clone(), message)
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
        let mut note = self.note::<M>(shared, false, Expected::default());
        let entry = to.entry(shared);
        if entry.is_none()
            && let Some(way) = shared.way(to.hash())
            && shared.send_off(&way, to.name(), &note, within, &message).is_some()
        {
            return;
        }
        note.deadline = shared.now() + within;
        let parcel = Parcel::typed::<B, M>(note, message, None);
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
        BirdRecipient::new(self.clone())
    }

    /// What is known of a call, but for its deadline: it takes a clock, and the link needs none.
    #[inline(always)]
    fn note<M: Wire>(
        &self,
        shared: &Shared,
        is_call: bool,
        Expected { id, among }: Expected,
    ) -> Note
    where
        B: Hears<M>,
    {
        Note {
            id,
            deadline: Time::NEVER,
            species: const { SpeciesId::of(B::SPECIES) },
            message: B::ID,
            origin: shared.me(),
            is_call,
            hop: 0,
            redirected: false,
            among,
        }
    }

    /// Puts a call into the table of those that wait, and sends it on its way.
    #[inline(never)]
    fn call<M: Wire>(
        self,
        message: M,
        within: Option<Duration>,
        wait: bool,
        waker: Option<&Waker>,
    ) -> Reply<M::Result>
    where
        B: Hears<M>,
    {
        let to = &self.to;
        let Some(shared) = to.home() else { return Reply::failed(CallError::Unbound) };
        let within = within.unwrap_or(shared.settings.call_deadline);
        let slot = Slot::awaited_by(waker);
        let entry = to.entry(shared);
        let way = if entry.is_none() { shared.way(to.hash()) } else { None };
        let link = way.as_ref().map(Way::link);
        let Some(call) = shared.expect(within, slot.clone(), link) else {
            return Reply::failed(CallError::Overloaded);
        };
        let id = call.id;
        let mut note = self.note::<M>(shared, true, call);
        if let Some(way) = way {
            match shared.send_off(&way, to.name(), &note, within, &message) {
                Some(Ok(())) => return Reply::new(self.to, slot, id, None),
                Some(Err(error)) => {
                    shared.forget(id);
                    return Reply::failed(error);
                }
                None => {}
            }
        }
        note.deadline = shared.now() + within;
        let parcel = Parcel::typed::<B, M>(note, message, Some(slot.clone()));
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
