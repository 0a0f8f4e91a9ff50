//! One host, and its body: what a driver keeps of birds and calls beside the core.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use super::memory::Memory;
use super::net::LinkId;
use crate::nest_map::NestMap;
use crate::{
    BirdName, CallId, CallKind, Dot, EndWhy, Fence, Nest, NestId, NestName, Pending, Time, View,
    Why,
};

/// A host, whether or not a nest runs on it.
#[derive(Debug)]
pub(super) struct Host {
    pub(super) name: NestName,
    pub(super) nest: Option<Nest>,
    pub(super) body: Body,
    /// Where its nest looks for the flock.
    pub(super) seeds: BTreeSet<usize>,
    /// Its clock is ahead of the world's by so many microseconds.
    pub(super) skew: i64,
    pub(super) frozen_until: Time,
    /// Counts its boots: what was planned for an earlier one is void.
    pub(super) boots: u32,
    /// When its core's tick is planned.
    pub(super) armed: Time,
    /// When others are, that were planned before.
    pub(super) timers: BTreeSet<Time>,
    /// Control links that it knows as open.
    pub(super) control: NestMap<LinkId>,
    /// The last incarnation of each other host that was linked with this one's process.
    pub(super) known: BTreeMap<usize, NestId>,
}

impl Host {
    pub(super) fn new(name: NestName, skew: i64, now: Time) -> Self {
        Self {
            name,
            nest: None,
            body: Body::default(),
            seeds: BTreeSet::new(),
            skew,
            frozen_until: now,
            boots: 0,
            armed: Time::NEVER,
            timers: BTreeSet::new(),
            control: NestMap::new(),
            known: BTreeMap::new(),
        }
    }

    pub(super) fn id(&self) -> Option<NestId> {
        self.nest.as_ref().map(Nest::id)
    }

    /// The world's time on this host's clock.
    pub(super) const fn local(&self, now: Time) -> Time {
        Time::from_micros(now.as_micros().saturating_add_signed(self.skew))
    }

    /// This host's time on the world's clock.
    pub(super) fn world(&self, local: Time) -> Time {
        if local == Time::NEVER {
            return local;
        }
        Time::from_micros(local.as_micros().saturating_add_signed(-self.skew))
    }
}

/// A call or cast under way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Parcel {
    /// Its number in the world: no two have the same, and later ones have greater ones.
    pub(super) number: u64,
    pub(super) kind: CallKind,
    pub(super) redirected: bool,
    pub(super) hop: u8,
    pub(super) id: CallId,
    pub(super) origin: NestId,
    pub(super) name: BirdName,
    pub(super) deadline: Time,
    /// The link that brought it.
    pub(super) back: Option<LinkId>,
}

/// A call made on a host that waits for its outcome.
#[derive(Clone, Copy, Debug)]
pub(super) struct Waiting {
    pub(super) number: u64,
    /// The link that it went over, if it did.
    pub(super) link: Option<LinkId>,
}

/// How a call ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum CallEnd {
    /// The life with this fence answered.
    Answered(Fence),
    /// No such bird lives.
    NoSuchBird,
    /// It is grounded.
    Grounded,
    /// Too few nests are there.
    NoQuorum,
    /// The bird crashed over it.
    Crashed,
    /// The link broke after the call was sent.
    OutcomeUnknown,
    /// The deadline passed.
    TimedOut,
    /// The caller's host went down.
    CallerGone,
}

/// What a body does after a while.
#[derive(Clone, Debug)]
pub(super) enum Later {
    Hatched(BirdName, Fence, Why, bool),
    /// Told to end for this reason.
    Ended(BirdName, Fence, EndWhy),
    Departed(BirdName, Fence),
    /// A bird's state is taken, for another nest to hold.
    Checkpoint(BirdName, Fence),
    /// A parcel that could go nowhere is tried again.
    Resolve(Parcel),
    /// Calls whose deadlines have passed end.
    Sweep,
    /// A dial for control comes through, or is tried again, for the so-and-so-manieth time.
    Dial(String, u8),
    /// The same for data.
    DialData(LinkId, u8),
    /// The first end of a link hears that it is welcome.
    Welcome(LinkId),
    /// An end of a link sees that it is gone.
    LinkGone(LinkId, usize),
}

/// How far a name is on a host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    Waiting,
    Hatching,
    Running,
    Ending,
    Departing,
    /// The life is over, its inbox kept.
    Kept,
    Moved(NestId),
}

impl State {
    /// A life is here, in whatever phase.
    pub(super) const fn lives(self) -> bool {
        matches!(self, Self::Hatching | Self::Running | Self::Ending | Self::Departing)
    }
}

/// A name in a body's table.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) state: State,
    pub(super) birth: Option<Dot>,
    pub(super) fence: Fence,
    /// The fence it hatched with: reports about an earlier life name another one.
    pub(super) first_fence: Fence,
    pub(super) crashes: Vec<Time>,
    pub(super) queue: VecDeque<Parcel>,
    pub(super) memory: Memory,
    /// It has hatched: before that there is nobody whose state could be taken.
    pub(super) ran: bool,
    /// Checkpoints of this life, counted.
    pub(super) checkpoints: u64,
    /// What it knew at the last of them.
    pub(super) taken: BTreeMap<u64, BTreeSet<u64>>,
}

impl Entry {
    pub(super) fn waiting() -> Self {
        Self {
            state: State::Waiting,
            birth: None,
            fence: Fence(0),
            first_fence: Fence(0),
            crashes: Vec::new(),
            queue: VecDeque::new(),
            memory: Memory::default(),
            ran: false,
            checkpoints: 0,
            taken: BTreeMap::new(),
        }
    }
}

/// The restart policy of simulated birds.
pub(super) const MAX_CRASHES: usize = 5;
pub(super) const CRASH_WINDOW: Duration = Duration::from_secs(30);

/// A host's table of names, its calls, and its picture of the flock.
#[derive(Debug, Default)]
pub(super) struct Body {
    pub(super) table: BTreeMap<BirdName, Entry>,
    pub(super) pending: Pending<Waiting>,
    pub(super) view: Option<Arc<View>>,
    /// Data links that it dialled.
    pub(super) data: BTreeMap<NestId, LinkId>,
    /// Incarnations that it had before it was renamed: calls made then still come back.
    pub(super) former: Vec<NestId>,
}

impl Body {
    /// Routes by a new view. An owner's forwarding to the nest that still runs the bird is void
    /// when that nest is gone, or the name isn't ours any more: then the view knows better.
    pub(super) fn enter(&mut self, view: Arc<View>) {
        let before = self.view.replace(view.clone());
        if before.as_ref().is_some_and(|old| old.fingerprint() == view.fingerprint()) {
            return;
        }
        let me = view.me();
        self.table.retain(|name, entry| {
            let State::Moved(to) = entry.state else { return true };
            let hash = name.hash64();
            let was_mine = before.as_ref().is_some_and(|old| old.owner(hash) == Some(me));
            let is_mine = view.owner(hash) == Some(me);
            view.member(to).is_some() && was_mine && is_mine
        });
    }
}
