//! The table of names known to this nest's data plane, each with the inbox that outlives its lives.

use std::borrow::Borrow;
use std::collections::{HashSet, VecDeque};
use std::hash::{BuildHasherDefault, Hash, Hasher};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Poll, Waker};

use flock_proto::{BirdName, EndWhy, Fence, NestId, Time};
use tokio::sync::Notify;

use crate::bird::Desk;
use crate::commands::{self, Command};
use crate::parcel::Parcel;
use crate::shared::{HatchOrder, Shared};
use crate::slot::lock;

/// What stands behind a name at the moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Nothing yet: the core was asked, at this time.
    Waiting(Time),
    /// A hatch is under way, the first or one after a crash.
    Hatching,
    /// A life runs.
    Running,
    /// The life is ending.
    Ending,
    /// The life has ended, to go on elsewhere; calls wait to hear where.
    Departed,
    /// The bird went there; stragglers follow it until then.
    Moved(NestId, Time),
    /// The bird is grounded; asked again after that time.
    Grounded(Box<str>, Time),
    /// This entry is out of the table.
    Gone,
}

/// What became of a parcel that was pushed.
pub(crate) enum Push {
    Taken,
    /// The inbox is full.
    Full(Parcel),
    Moved(Parcel, NestId),
    Grounded(Parcel, String),
    /// The entry is no longer valid; look again.
    Stale(Parcel),
}

/// The life that is going on, or about to.
#[derive(Debug)]
pub(crate) struct Life {
    pub(crate) fence: Arc<AtomicU64>,
    /// Where checkpoints are asked for, if the species has any.
    pub(crate) desk: Option<Arc<Desk>>,
}

impl Life {
    pub(crate) fn fence(&self) -> Fence {
        Fence(self.fence.load(Ordering::Acquire))
    }
}

/// One name. There is one for each bird, and each call looks at it: so it is small, what most birds never
/// have is kept apart, and what a call looks at lies together, at the front.
#[repr(C)]
pub(crate) struct Entry {
    /// The life was told something since it last looked, or isn't among those who are woken any more.
    news: AtomicBool,
    /// Out of the table, for good.
    gone: AtomicBool,
    state: Mutex<State>,
    /// The data plane that it belongs to.
    pub(crate) home: Arc<Shared>,
    pub(crate) hash: u64,
    pub(crate) name: BirdName,
}

/// What an entry's lock guards.
#[repr(C)]
pub(crate) struct State {
    /// The pump has found nothing and waits to be woken.
    asleep: bool,
    /// The life's task has ended: whatever it is told, it won't hear.
    deaf: bool,
    pub(crate) phase: Phase,
    pub(crate) parcels: Inbox,
    /// Of the task of the life that is going on.
    waker: Option<Waker>,
    pub(crate) life: Option<Life>,
    seldom: Option<Box<Seldom>>,
}

/// What most birds never have.
#[derive(Default)]
struct Seldom {
    /// What the life was told and hasn't heard.
    said: VecDeque<Command>,
    /// A hatch that must wait for the end of the present life.
    next: Option<HatchOrder>,
    /// Told when a full inbox has room again, or will never have.
    room: Option<Arc<Notify>>,
}

impl State {
    /// Tells the life of this fence something, whose task is woken as soon as the lock is let go. False:
    /// there is none, or it has ended.
    pub(crate) fn tell(&mut self, fence: Fence, command: Command) -> bool {
        match &self.life {
            Some(life) if life.fence() == fence && !self.deaf => {
                self.seldom().said.push_back(command);
                true
            }
            _ => false,
        }
    }

    /// A life, where there is none.
    pub(crate) fn begin(&mut self, life: Life) {
        self.life = Some(life);
        self.deaf = false;
        self.phase = Phase::Hatching;
    }

    /// Lets go of the life, and says whether its end had been asked for without its having heard so.
    pub(crate) fn let_go(&mut self) -> Option<EndWhy> {
        self.life = None;
        self.pending_end()
    }

    fn pending_end(&mut self) -> Option<EndWhy> {
        commands::end_among(std::mem::take(&mut self.seldom.as_mut()?.said))
    }

    /// A hatch that must wait for the end of the present life.
    pub(crate) fn set_next(&mut self, order: HatchOrder) {
        self.seldom().next = Some(order);
    }

    /// Whether a hatch waits.
    pub(crate) fn has_next(&self) -> bool {
        self.seldom.as_ref().is_some_and(|seldom| seldom.next.is_some())
    }

    /// The hatch that waited.
    pub(crate) fn take_next(&mut self) -> Option<HatchOrder> {
        self.seldom.as_mut()?.next.take()
    }

    fn seldom(&mut self) -> &mut Seldom {
        self.seldom.get_or_insert_default()
    }

    fn has_news(&self) -> bool {
        self.life.is_none() || self.seldom.as_ref().is_some_and(|seldom| !seldom.said.is_empty())
    }

    fn tell_of_room(&self) {
        if let Some(room) = self.seldom.as_ref().and_then(|seldom| seldom.room.as_ref()) {
            room.notify_waiters();
        }
    }

    /// Has this one woken from now on.
    fn wake_next(&mut self, waker: &Waker) {
        if !self.waker.as_ref().is_some_and(|old| old.will_wake(waker)) {
            self.waker = Some(waker.clone());
        }
    }
}

impl Entry {
    pub(crate) fn new(home: &Arc<Shared>, name: BirdName, phase: Phase) -> Arc<Self> {
        Arc::new(Self {
            news: AtomicBool::new(false),
            gone: AtomicBool::new(false),
            state: Mutex::new(State {
                asleep: false,
                deaf: false,
                phase,
                parcels: Inbox::default(),
                waker: None,
                life: None,
                seldom: None,
            }),
            home: home.clone(),
            hash: name.hash64(),
            name,
        })
    }

    /// Whether it is out of the table, and with it all that it knows.
    pub(crate) fn is_gone(&self) -> bool {
        self.gone.load(Ordering::Acquire)
    }

    /// Runs `change` under the entry's lock, then wakes whoever may care. It must run no foreign
    /// code: parcels are dropped outside.
    pub(crate) fn with<R>(&self, change: impl FnOnce(&mut State) -> R) -> R {
        let (result, waker) = {
            let mut state = lock(&self.state);
            let before = state.phase.clone();
            let result = change(&mut state);
            let changed = state.phase != before;
            if changed {
                state.tell_of_room();
                self.gone.store(state.phase == Phase::Gone, Ordering::Release);
            }
            let waker = if changed || state.has_news() {
                // Whoever is woken is no longer among those who are, and has to look.
                self.news.store(true, Ordering::Release);
                state.asleep = false;
                state.waker.take()
            } else {
                None
            };
            (result, waker)
        };
        if let Some(waker) = waker {
            waker.wake();
        }
        result
    }

    /// Something was said to the life since it last looked.
    pub(crate) fn has_news(&self) -> bool {
        self.news.load(Ordering::Acquire)
    }

    /// What the life with this fence was told; `None` once nothing more will come. If nothing was, its task
    /// is woken by the next word.
    pub(crate) fn hear(&self, fence: &Arc<AtomicU64>, waker: &Waker) -> Poll<Option<Command>> {
        let mut state = lock(&self.state);
        self.news.store(false, Ordering::Relaxed);
        if !state.life.as_ref().is_some_and(|life| Arc::ptr_eq(&life.fence, fence)) {
            return Poll::Ready(None);
        }
        if let Some(command) = state.seldom.as_mut().and_then(|seldom| seldom.said.pop_front()) {
            return Poll::Ready(Some(command));
        }
        state.wake_next(waker);
        Poll::Pending
    }

    /// The end that was asked for, if it was, among what this life wasn't told yet. The rest is dropped.
    pub(crate) fn pending_end(&self, fence: &Arc<AtomicU64>) -> Option<EndWhy> {
        let mut state = lock(&self.state);
        let later = state.life.as_ref().is_some_and(|life| !Arc::ptr_eq(&life.fence, fence));
        if later { None } else { state.pending_end() }
    }

    /// The task of the life with this fence is no more.
    pub(crate) fn deafen(&self, fence: &Arc<AtomicU64>) {
        let mut state = lock(&self.state);
        if state.life.as_ref().is_some_and(|life| Arc::ptr_eq(&life.fence, fence)) {
            state.deaf = true;
            let unheard = state.seldom.as_mut().map(|seldom| std::mem::take(&mut seldom.said));
            let waker = state.waker.take();
            drop(state);
            drop((unheard, waker));
        }
    }

    /// What is told when a full inbox has room again, or will never have.
    pub(crate) fn room(&self) -> Arc<Notify> {
        lock(&self.state).seldom().room.get_or_insert_default().clone()
    }

    /// Puts a parcel at the end of the queue. `now` is seldom asked for.
    pub(crate) fn push(&self, parcel: Parcel, room: usize, now: impl Fn() -> Time) -> Push {
        let mut state = lock(&self.state);
        match &state.phase {
            Phase::Gone => return Push::Stale(parcel),
            Phase::Moved(to, until) if now() < *until => return Push::Moved(parcel, *to),
            Phase::Grounded(reason, until) if now() < *until => {
                return Push::Grounded(parcel, reason.to_string());
            }
            Phase::Moved(..) | Phase::Grounded(..) => return Push::Stale(parcel),
            _ => {}
        }
        if state.parcels.len() >= room {
            return Push::Full(parcel);
        }
        state.parcels.push(parcel);
        if std::mem::take(&mut state.asleep)
            && let Some(waker) = &state.waker
        {
            // Under the lock: it is a task's, and nothing foreign runs in it. It stays for the next time.
            waker.wake_by_ref();
        }
        Push::Taken
    }

    /// Takes the next parcel for a running life, and says whether another waits behind it. If none does,
    /// the pump is woken by the next one.
    pub(crate) fn pop(&self, waker: &Waker, room: usize) -> (Option<Parcel>, bool) {
        let mut state = lock(&self.state);
        let parcel = if state.phase == Phase::Running { state.parcels.pop() } else { None };
        let more = parcel.is_some() && !state.parcels.is_empty();
        if parcel.is_some() && state.parcels.len() == room / 2 {
            state.tell_of_room();
        }
        if !more {
            state.asleep = true;
            state.wake_next(waker);
        }
        (parcel, more)
    }

    /// The phase at this moment.
    pub(crate) fn phase(&self) -> Phase {
        lock(&self.state).phase.clone()
    }
}

/// Parcels in the order in which they came. One that waits alone, as nearly always, takes no memory of its
/// own: a bird that is called seldom looks at fewer cold lines.
#[derive(Default)]
pub(crate) struct Inbox {
    first: Option<Parcel>,
    /// Never filled without a first one.
    #[expect(clippy::box_collection, reason = "most inboxes never hold two")]
    rest: Option<Box<VecDeque<Parcel>>>,
}

impl Inbox {
    pub(crate) fn len(&self) -> usize {
        usize::from(self.first.is_some()) + self.rest.as_ref().map_or(0, |rest| rest.len())
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.first.is_none()
    }

    fn push(&mut self, parcel: Parcel) {
        match &self.first {
            None => self.first = Some(parcel),
            Some(_) => self.rest.get_or_insert_default().push_back(parcel),
        }
    }

    fn pop(&mut self) -> Option<Parcel> {
        let next = self.rest.as_mut().and_then(|rest| rest.pop_front());
        std::mem::replace(&mut self.first, next)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Parcel> {
        self.first.iter().chain(self.rest.iter().flat_map(|rest| rest.iter()))
    }

    /// All of them.
    pub(crate) fn take(&mut self) -> Vec<Parcel> {
        let rest = self.rest.take().map_or_else(VecDeque::new, |rest| *rest);
        self.first.take().into_iter().chain(rest).collect()
    }

    /// Leaves those in for which `stays` is true, and gives the others.
    pub(crate) fn take_unless(&mut self, stays: impl Fn(&Parcel) -> bool) -> Vec<Parcel> {
        let (stay, gone): (Vec<_>, Vec<_>) = self.take().into_iter().partition(stays);
        stay.into_iter().for_each(|parcel| self.push(parcel));
        gone
    }
}

/// A name's hash, already well mixed, is the key's hash.
#[derive(Default)]
struct AsIs(u64);

impl Hasher for AsIs {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, _: &[u8]) {}

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }
}

/// An entry, found by its name. No key beside it: an entry is looked at anyway once it is found.
struct Named(Arc<Entry>);

impl PartialEq for Named {
    fn eq(&self, other: &Self) -> bool {
        self.0.hash == other.0.hash && self.0.name == other.0.name
    }
}

impl Eq for Named {}

impl Hash for Named {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.0.hash);
    }
}

/// An entry as it is looked for: without a name of its own, whose count of owners all threads would write.
trait Sought {
    fn hash(&self) -> u64;
    fn name(&self) -> &str;
}

impl Sought for Named {
    fn hash(&self) -> u64 {
        self.0.hash
    }

    fn name(&self) -> &str {
        self.0.name.as_str()
    }
}

impl Sought for (u64, &str) {
    fn hash(&self) -> u64 {
        self.0
    }

    fn name(&self) -> &str {
        self.1
    }
}

impl Hash for dyn Sought + '_ {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(Sought::hash(self));
    }
}

impl PartialEq for dyn Sought + '_ {
    fn eq(&self, other: &Self) -> bool {
        Sought::hash(self) == Sought::hash(other) && self.name() == other.name()
    }
}

impl Eq for dyn Sought + '_ {}

impl<'a> Borrow<dyn Sought + 'a> for Named {
    fn borrow(&self) -> &(dyn Sought + 'a) {
        self
    }
}

type Shard = Mutex<HashSet<Named, BuildHasherDefault<AsIs>>>;

const SHARDS: usize = 64;

/// All entries, sharded so that threads seldom meet.
pub(crate) struct Table(Vec<Shard>);

impl Table {
    pub(crate) fn new() -> Self {
        Self((0..SHARDS).map(|_| Shard::default()).collect())
    }

    // Bits from the middle choose the shard: the maps take the low and the top ones.
    fn shard(&self, hash: u64) -> Option<&Shard> {
        self.0.get((hash >> 32) as usize % SHARDS)
    }

    pub(crate) fn find(&self, name: &str, hash: u64) -> Option<Arc<Entry>> {
        let key = (hash, name);
        lock(self.shard(hash)?).get(&key as &dyn Sought).map(|found| found.0.clone())
    }

    /// The entry of a name; if there is none, a new one in this phase, and `true`.
    pub(crate) fn find_or_insert(
        &self,
        home: &Arc<Shared>,
        name: &BirdName,
        phase: Phase,
    ) -> (Arc<Entry>, bool) {
        let hash = name.hash64();
        let new = || Entry::new(home, name.clone(), phase);
        let Some(shard) = self.shard(hash) else { return (new(), true) };
        let mut shard = lock(shard);
        let key = (hash, name.as_str());
        if let Some(Named(entry)) = shard.get(&key as &dyn Sought) {
            return (entry.clone(), false);
        }
        let entry = new();
        shard.insert(Named(entry.clone()));
        (entry, true)
    }

    /// Takes an entry out if `gone` says so, under both locks; gives the parcels that waited.
    pub(crate) fn remove(
        &self,
        entry: &Arc<Entry>,
        gone: impl FnOnce(&State) -> bool,
    ) -> Vec<Parcel> {
        let Some(shard) = self.shard(entry.hash) else { return Vec::new() };
        let mut shard = lock(shard);
        entry.with(|state| {
            if state.phase == Phase::Gone || !gone(state) {
                return Vec::new();
            }
            state.phase = Phase::Gone;
            state.life = None;
            let sought = (entry.hash, entry.name.as_str());
            shard.remove(&sought as &dyn Sought);
            state.parcels.take()
        })
    }

    /// All entries at this moment.
    pub(crate) fn entries(&self) -> Vec<Arc<Entry>> {
        self.0
            .iter()
            .flat_map(|shard| lock(shard).iter().map(|named| named.0.clone()).collect::<Vec<_>>())
            .collect()
    }
}
