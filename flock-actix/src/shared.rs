//! The data plane's one handle: everything that a call touches hangs on [`Shared`].
//!
//! The driver of the core makes one per nest, carries out the core's effects on birds by it
//! ([`Shared::hatch`], [`Shared::end`], …), and spawns [`Shared::sweep_forever`] on its own thread.
//!
//! - `effects`: what the core wants done with birds.
//! - `send`: the way of a call out of here, or into a bird's inbox.
//! - `receive`: what comes over the links.
//! - `passed`: calls passed on for other nests.
//! - `sweep`: deadlines, second tries, and entries that age.

mod effects;
mod passed;
mod receive;
mod send;
mod sweep;

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use actix::Addr;
use arc_swap::ArcSwap;
use bytes::Bytes;
use flock_proto::{
    BirdName, CallId, Fence, Hlc, NestId, NestName, Pending, SpeciesId, Time, View, Why,
};

use crate::bird::SpeciesTable;
use crate::call::CallError;
use crate::core::Core;
use crate::data_link::{DataLink, LinkId, Links, NestHandle};
use crate::parcel::Parcel;
use crate::rt::{self, Worker};
use crate::slot::{Settle, lock};
use crate::supervisor::BirdSupervisor;
use crate::table::{Entry, Phase, Table};
use crate::wall::Wall;

pub(crate) use send::{Refused, Way};

/// Knobs of the data plane.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    /// Calls and casts that may wait at one bird.
    pub(crate) inbox: usize,
    /// So many restarts within `restart_window` are allowed; one crash more grounds a bird.
    pub(crate) restarts: u32,
    /// The window of the restart limit.
    pub(crate) restart_window: Duration,
    /// How long a bird waits after its first crash before it lives again; it doubles with each
    /// further one in the window, up to 200 times as long.
    pub(crate) backoff: Duration,
    /// A hatch that takes longer has failed.
    pub(crate) hatch_timeout: Duration,
    /// How long the end of a life waits for the answers in flight.
    pub(crate) drain_timeout: Duration,
    /// The largest state that a bird takes along.
    pub(crate) snapshot_bytes: usize,
    /// How long stragglers are forwarded after a bird moved.
    pub(crate) forward_for: Duration,
    /// The deadline of a call that names none, and how long a cast may be on its way.
    pub(crate) call_deadline: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            inbox: 1024,
            restarts: 5,
            restart_window: Duration::from_secs(30),
            backoff: Duration::from_millis(50),
            hatch_timeout: Duration::from_secs(30),
            drain_timeout: Duration::from_secs(5),
            snapshot_bytes: 1 << 20,
            forward_for: Duration::from_secs(30),
            call_deadline: Duration::from_secs(5),
        }
    }
}

/// What [`flock_proto::Effect::Hatch`] says.
#[derive(Clone, Debug)]
pub(crate) struct HatchOrder {
    pub(crate) name: BirdName,
    pub(crate) fence: Fence,
    pub(crate) species: SpeciesId,
    pub(crate) args: Bytes,
    pub(crate) why: Why,
    pub(crate) crashes: Vec<Duration>,
    /// The state to go on from.
    pub(crate) snapshot: Option<Bytes>,
    /// States of other lives, to be merged in first.
    pub(crate) merges: Vec<Bytes>,
}

/// Names the core may be asked for at one time.
const MAX_WAITING: usize = 16_384;

/// Tables of pending calls, so that threads seldom meet at one.
const SHARDS: u32 = 16;

/// Calls that may wait in one of these tables.
const MAX_PENDING: usize = 1 << 18;

/// A call made here that waits for its outcome.
struct PendingCall {
    slot: Arc<dyn Settle>,
    /// The link it went over, if it did.
    link: Option<LinkId>,
    /// How often others passed it on, as far as they said.
    step: u8,
    /// The nest that it went to has left; by then it must have said to whom it passed it on.
    word_by: Option<Time>,
}

/// One of the tables of pending calls.
#[derive(Default)]
struct Shard {
    calls: Mutex<Pending<PendingCall>>,
    /// No more fit in, when somebody looked the last time.
    is_full: AtomicBool,
}

impl Shard {
    /// Puts a call into the table of this number, and gives it an id that says so.
    fn note(
        table: &mut Pending<PendingCall>,
        number: u32,
        within: Duration,
        slot: Arc<dyn Settle>,
        link: Option<LinkId>,
    ) -> CallId {
        let id = table.insert(within, PendingCall { slot, link, step: 0, word_by: None });
        CallId { slot: id.slot * SHARDS + number, ..id }
    }
}

/// A call that was noted.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Expected {
    pub(crate) id: CallId,
    /// So many calls of this thread wait, this one among them, whichever nests they go to. (Threads may share a
    /// table; then it is those of all of them.)
    pub(crate) among: u32,
}

/// A parcel that could go nowhere, to be tried again.
struct Parked {
    due: Time,
    name: BirdName,
    parcel: Parcel,
}

/// The data plane of one nest.
pub(crate) struct Shared {
    /// This nest's name.
    pub(crate) name: NestName,
    pub(crate) species: SpeciesTable,
    pub(crate) settings: Settings,
    pub(crate) nest: Arc<dyn NestHandle>,
    view: ArcSwap<View>,
    me: AtomicU64,
    hlc: AtomicU64,
    /// The greatest stamp that a frame of the data plane brought.
    heard: AtomicU64,
    wall: Wall,
    table: Table,
    core: OnceLock<Arc<Core>>,
    links: OnceLock<Arc<dyn Links>>,
    workers: OnceLock<Vec<Addr<BirdSupervisor>>>,
    pending: Vec<Shard>,
    parked: Mutex<VecDeque<Parked>>,
    /// Entries without a life, looked at in each sweep; those that can wait go on to `resting`.
    ageing: Mutex<Vec<Arc<Entry>>>,
    /// Entries without a life, looked at about once a second.
    resting: Mutex<Vec<Arc<Entry>>>,
    sweeps: AtomicUsize,
    /// About how many names the core was asked for.
    waiting: AtomicUsize,
    /// Incarnations that this nest had before it was renamed: calls made then still come back.
    former: Mutex<Vec<NestId>>,
    passed: passed::Passed,
    /// No call's `word_by` lies before this, in microseconds; so most sweeps look at nothing.
    word_due: AtomicU64,
    closed: AtomicBool,
    bad_frames: AtomicU64,
    lost_casts: AtomicU64,
}

impl Shared {
    /// A data plane that knows nobody yet. `wall` is the driver's own clock.
    pub(crate) fn new(
        name: NestName,
        view: Arc<View>,
        species: SpeciesTable,
        settings: Settings,
        wall: Wall,
        nest: Arc<dyn NestHandle>,
    ) -> Arc<Self> {
        Arc::new(Self {
            name,
            species,
            settings,
            nest,
            me: AtomicU64::new(view.me().0),
            view: ArcSwap::new(view),
            hlc: AtomicU64::new(0),
            heard: AtomicU64::new(0),
            wall,
            table: Table::new(),
            core: OnceLock::new(),
            links: OnceLock::new(),
            workers: OnceLock::new(),
            pending: (0..SHARDS).map(|_| Shard::default()).collect(),
            parked: Mutex::default(),
            ageing: Mutex::default(),
            resting: Mutex::default(),
            sweeps: AtomicUsize::new(0),
            waiting: AtomicUsize::new(0),
            former: Mutex::default(),
            passed: passed::Passed::default(),
            word_due: AtomicU64::new(u64::MAX),
            closed: AtomicBool::new(false),
            bad_frames: AtomicU64::new(0),
            lost_casts: AtomicU64::new(0),
        })
    }

    /// The nest itself, for the handles that birds get. Only the first call counts.
    pub(crate) fn set_core(&self, core: Arc<Core>) {
        let _ = self.core.set(core);
    }

    /// The nest itself; none where the data plane runs without one, as in its own tests.
    pub(crate) fn core(&self) -> Option<&Arc<Core>> {
        self.core.get()
    }

    /// The links, made after this because they need it as their sink. Only the first call counts.
    pub(crate) fn set_links(&self, links: Arc<dyn Links>) {
        let _ = self.links.set(links);
    }

    /// Starts a `BirdSupervisor` on each of these threads. To be called once, before any hatch.
    pub(crate) fn start_workers(self: &Arc<Self>, workers: &[Worker]) {
        let supervisors = workers.iter().map(|worker| {
            let (shared, alone) = (self.clone(), worker.is_a_thread());
            worker.start(move || BirdSupervisor::new(shared, alone))
        });
        let _ = self.workers.set(supervisors.collect());
    }

    /// The moment on the nest's clock.
    pub(crate) fn now(&self) -> Time {
        self.wall.now()
    }

    /// The nest is shut down.
    #[inline]
    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    /// What stands behind a name in this process. (It keeps this alive; none is left once this is closed.)
    pub(crate) fn entry(&self, name: &str, hash: u64) -> Option<Arc<Entry>> {
        self.table.find(name, hash)
    }

    /// How many names came into the part of the table where this hash belongs. As long as it stays, what isn't there
    /// needn't be looked for again.
    #[inline]
    pub(crate) fn arrivals(&self, hash: u64) -> u64 {
        self.table.arrivals(hash)
    }

    /// This nest's incarnation.
    #[inline]
    pub(crate) fn me(&self) -> NestId {
        NestId(self.me.load(Ordering::Acquire))
    }

    /// Whether this is, or was, this nest's incarnation. (One that was renewed because another nest had
    /// drawn the same number is that other's by now.)
    fn is_me(&self, id: NestId) -> bool {
        let is_others = || {
            let view = self.view.load();
            view.me() != id && view.member(id).is_some()
        };
        id == self.me() || lock(&self.former).contains(&id) && !is_others()
    }

    /// The present view.
    pub(crate) fn view(&self) -> Arc<View> {
        self.view.load_full()
    }

    /// Frames that could not be read since start.
    pub(crate) fn bad_frames(&self) -> u64 {
        self.bad_frames.load(Ordering::Relaxed)
    }

    /// Casts that found no room since start.
    pub(crate) fn lost_casts(&self) -> u64 {
        self.lost_casts.load(Ordering::Relaxed)
    }

    /// Ends a parcel that found no room: a call hears of it, a cast is counted.
    pub(crate) fn lose(&self, parcel: Parcel) {
        if !parcel.note().is_call {
            self.lost_casts.fetch_add(1, Ordering::Relaxed);
        }
        parcel.fail(CallError::Overloaded);
    }

    /// Calls or casts wait here, for a bird or for the way to one.
    pub(crate) fn holds_parcels(&self) -> bool {
        let waits = |entry: &Arc<Entry>| entry.with(|state| !state.parcels.is_empty());
        !lock(&self.parked).is_empty() || self.table.entries().iter().any(waits)
    }

    /// Birds with a running life in this process.
    pub(crate) fn local_birds(&self) -> Vec<BirdName> {
        let running = |entry: &Arc<Entry>| entry.phase() == Phase::Running;
        self.table.entries().into_iter().filter(running).map(|entry| entry.name.clone()).collect()
    }

    /// Calls made here that wait for their outcome.
    pub(crate) fn pending_calls(&self) -> usize {
        self.pending.iter().map(|shard| lock(&shard.calls).len()).sum()
    }

    /// Notes the stamp of a frame, for the core to observe.
    fn hear(&self, stamp: Hlc) {
        // Read first: nearly every frame brings a stamp that isn't new, and a write would be felt.
        if stamp.0 > self.heard.load(Ordering::Relaxed) {
            self.heard.fetch_max(stamp.0, Ordering::Relaxed);
        }
    }

    /// The greatest stamp heard since the last time, if the core doesn't know it.
    fn news_of_stamps(&self) -> Option<Hlc> {
        let heard = self.heard.swap(0, Ordering::Relaxed);
        (heard > self.hlc.load(Ordering::Relaxed)).then_some(Hlc(heard))
    }

    fn hlc(&self) -> Hlc {
        Hlc(self.hlc.load(Ordering::Relaxed))
    }

    /// The link to a neighbour, for a call of its bird with this hash, or for what it shall pass on.
    fn link(&self, to: NestId, bird: Option<u64>) -> Option<Arc<dyn DataLink>> {
        self.links.get()?.data(to, bird)
    }

    /// Notes a call, so that its deadline is kept and replies find it, and the link that it is about to go
    /// over: it may break at once. `None`: too many wait.
    pub(crate) fn expect(
        &self,
        within: Duration,
        slot: Arc<dyn Settle>,
        link: Option<LinkId>,
    ) -> Option<Expected> {
        let (number, shard) = self.shard()?;
        let mut table = lock(&shard.calls);
        let is_full = table.len() >= MAX_PENDING;
        if shard.is_full.load(Ordering::Relaxed) != is_full {
            shard.is_full.store(is_full, Ordering::Relaxed);
        }
        if is_full {
            return None;
        }
        let id = Shard::note(&mut table, number, within, slot, link);
        Some(Expected { id, among: u32::try_from(table.len()).unwrap_or(u32::MAX) })
    }

    /// Notes a call that was made on this thread already, however many wait: no other is made without being noted
    /// then.
    pub(crate) fn expect_late(&self, within: Duration, slot: Arc<dyn Settle>) -> CallId {
        let Some((number, shard)) = self.shard() else { return CallId::default() };
        let mut table = lock(&shard.calls);
        let id = Shard::note(&mut table, number, within, slot.clone(), None);
        if table.len() >= MAX_PENDING {
            shard.is_full.store(true, Ordering::Relaxed);
        }
        drop(table);
        // Nobody looks into the table of a nest that was shut down before.
        if self.is_closed() {
            self.forget(id);
            slot.fail(CallError::Leaving);
        }
        id
    }

    /// Whether a call of this thread may be made that is noted later, if at all.
    #[inline]
    pub(crate) fn may_note_later(&self) -> bool {
        self.shard().is_some_and(|(_, shard)| !shard.is_full.load(Ordering::Relaxed))
    }

    /// The table of this thread's calls, as far as they go, and its number.
    #[inline]
    fn shard(&self) -> Option<(u32, &Shard)> {
        let number = rt::thread_number() % SHARDS;
        Some((number, self.pending.get(number as usize)?))
    }

    /// Runs `look` on the table that holds a call, and the call's id in it.
    fn in_shard<R>(
        &self,
        id: CallId,
        look: impl FnOnce(&mut Pending<PendingCall>, CallId) -> R,
    ) -> Option<R> {
        let table = &self.pending.get((id.slot % SHARDS) as usize)?.calls;
        Some(look(&mut lock(table), CallId { slot: id.slot / SHARDS, ..id }))
    }

    /// The caller has its outcome, or has gone.
    pub(crate) fn forget(&self, id: CallId) {
        let slot = self.take_call(id);
        drop(slot);
    }

    /// Whether a call made here still waits.
    fn is_expected(&self, id: CallId) -> bool {
        self.in_shard(id, |pending, id| pending.holds(id)).unwrap_or(false)
    }

    /// Notes that a call went over a link: when that breaks, its outcome is unknown.
    fn sent_over(&self, id: CallId, link: Option<LinkId>) {
        self.in_shard(id, |pending, id| {
            if let Some(call) = pending.call_mut(id) {
                (call.link, call.step, call.word_by) = (link, 0, None);
            }
        });
    }

    /// Ends a call made here with what came back.
    fn settle(self: &Arc<Self>, id: CallId, outcome: Result<&[u8], CallError>) {
        if let Some(slot) = self.take_call(id) {
            match outcome {
                Ok(bytes) => {
                    // A caller that has just gone leaves an answer to be dropped, by its own code.
                    let _ = catch_unwind(AssertUnwindSafe(|| slot.answer(self, bytes)));
                }
                Err(error) => slot.fail(error),
            }
        }
    }

    /// Takes a call out of the table.
    fn take_call(&self, id: CallId) -> Option<Arc<dyn Settle>> {
        self.in_shard(id, |pending, id| pending.take(id).map(|call| call.slot)).flatten()
    }

    /// Ends calls made here, chosen by `which`, with an error.
    fn fail_calls(&self, error: &CallError, which: impl Fn(CallId, Option<LinkId>) -> bool) {
        for (number, shard) in (0u32..).zip(&self.pending) {
            let gone = lock(&shard.calls).take_where(|id, call| {
                which(CallId { slot: id.slot * SHARDS + number, ..id }, call.link)
            });
            for (_, call) in gone {
                call.slot.fail(error.clone());
            }
        }
    }
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").field("name", &self.name).finish_non_exhaustive()
    }
}
