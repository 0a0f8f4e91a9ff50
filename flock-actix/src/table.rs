//! The table of names known to this nest's data plane, each with the inbox that outlives its lives.

use std::borrow::Borrow;
use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasherDefault, Hash, Hasher};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::task::Waker;

use flock_proto::{BirdName, Fence, NestId, Time};
use tokio::sync::Notify;

use crate::bird::Desk;
use crate::commands::Teller;
use crate::parcel::Parcel;
use crate::shared::HatchOrder;
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
    Grounded(String, Time),
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
    pub(crate) commands: Teller,
    /// Where checkpoints are asked for, if the species has any.
    pub(crate) desk: Option<Arc<Desk>>,
}

impl Life {
    pub(crate) fn fence(&self) -> Fence {
        Fence(self.fence.load(Ordering::Acquire))
    }
}

/// One name.
pub(crate) struct Entry {
    pub(crate) name: BirdName,
    pub(crate) hash: u64,
    state: Mutex<State>,
    /// Told when a full inbox has room again, or will never have.
    pub(crate) room: Notify,
}

/// What an entry's lock guards.
pub(crate) struct State {
    pub(crate) phase: Phase,
    pub(crate) parcels: VecDeque<Parcel>,
    pub(crate) life: Option<Life>,
    /// A hatch that must wait for the end of the present life. Boxed, for it is large and hardly ever there.
    pub(crate) next: Option<Box<HatchOrder>>,
    waker: Option<Waker>,
    /// The pump has found nothing and waits to be woken.
    asleep: bool,
}

impl Entry {
    fn new(name: BirdName, phase: Phase) -> Arc<Self> {
        Arc::new(Self {
            hash: name.hash64(),
            name,
            state: Mutex::new(State {
                phase,
                parcels: VecDeque::new(),
                life: None,
                next: None,
                waker: None,
                asleep: false,
            }),
            room: Notify::new(),
        })
    }

    /// Runs `change` under the entry's lock, then wakes whoever may care. It must run no foreign
    /// code: parcels are dropped outside.
    pub(crate) fn with<R>(&self, change: impl FnOnce(&mut State) -> R) -> R {
        let (result, waker) = {
            let mut state = lock(&self.state);
            let before = state.phase.clone();
            let result = change(&mut state);
            let waker = if state.phase == before {
                None
            } else {
                self.room.notify_waiters();
                state.asleep = false;
                state.waker.take()
            };
            (result, waker)
        };
        if let Some(waker) = waker {
            waker.wake();
        }
        result
    }

    /// Puts a parcel at the end of the queue. `now` is seldom asked for.
    pub(crate) fn push(&self, parcel: Parcel, room: usize, now: impl Fn() -> Time) -> Push {
        let mut state = lock(&self.state);
        match &state.phase {
            Phase::Gone => return Push::Stale(parcel),
            Phase::Moved(to, until) if now() < *until => return Push::Moved(parcel, *to),
            Phase::Grounded(reason, until) if now() < *until => {
                return Push::Grounded(parcel, reason.clone());
            }
            Phase::Moved(..) | Phase::Grounded(..) => return Push::Stale(parcel),
            _ => {}
        }
        if state.parcels.len() >= room {
            return Push::Full(parcel);
        }
        state.parcels.push_back(parcel);
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
        let parcel = if state.phase == Phase::Running { state.parcels.pop_front() } else { None };
        let more = parcel.is_some() && !state.parcels.is_empty();
        if parcel.is_some() && state.parcels.len() == room / 2 {
            self.room.notify_waiters();
        }
        if !more {
            state.asleep = true;
            if !state.waker.as_ref().is_some_and(|old| old.will_wake(waker)) {
                state.waker = Some(waker.clone());
            }
        }
        (parcel, more)
    }

    /// The phase at this moment.
    pub(crate) fn phase(&self) -> Phase {
        lock(&self.state).phase.clone()
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

#[derive(Clone, PartialEq, Eq)]
struct Key(u64, BirdName);

impl Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.0);
    }
}

/// A key as it is looked for: without a name of its own, whose count of owners all threads would write.
trait Sought {
    fn hash(&self) -> u64;
    fn name(&self) -> &str;
}

impl Sought for Key {
    fn hash(&self) -> u64 {
        self.0
    }

    fn name(&self) -> &str {
        self.1.as_str()
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

impl<'a> Borrow<dyn Sought + 'a> for Key {
    fn borrow(&self) -> &(dyn Sought + 'a) {
        self
    }
}

type Shard = Mutex<HashMap<Key, Arc<Entry>, BuildHasherDefault<AsIs>>>;

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
        lock(self.shard(hash)?).get(&key as &dyn Sought).cloned()
    }

    /// The entry of a name; if there is none, a new one in this phase, and `true`.
    pub(crate) fn find_or_insert(&self, name: &BirdName, phase: Phase) -> (Arc<Entry>, bool) {
        let hash = name.hash64();
        let Some(shard) = self.shard(hash) else { return (Entry::new(name.clone(), phase), true) };
        let mut fresh = false;
        let entry = lock(shard)
            .entry(Key(hash, name.clone()))
            .or_insert_with(|| {
                fresh = true;
                Entry::new(name.clone(), phase)
            })
            .clone();
        (entry, fresh)
    }

    /// Takes an entry out if `gone` says so, under both locks; gives the parcels that waited.
    pub(crate) fn remove(
        &self,
        entry: &Arc<Entry>,
        gone: impl FnOnce(&State) -> bool,
    ) -> VecDeque<Parcel> {
        let Some(shard) = self.shard(entry.hash) else { return VecDeque::new() };
        let mut shard = lock(shard);
        entry.with(|state| {
            if state.phase == Phase::Gone || !gone(state) {
                return VecDeque::new();
            }
            state.phase = Phase::Gone;
            state.life = None;
            shard.remove(&Key(entry.hash, entry.name.clone()));
            std::mem::take(&mut state.parcels)
        })
    }

    /// All entries at this moment.
    pub(crate) fn entries(&self) -> Vec<Arc<Entry>> {
        self.0.iter().flat_map(|shard| lock(shard).values().cloned().collect::<Vec<_>>()).collect()
    }
}
