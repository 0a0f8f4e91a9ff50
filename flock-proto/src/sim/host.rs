//! One host's body: a table of birds that hatch, run and end as the core says, and calls to them.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use crate::{BirdName, Dot, Fence, NestId, Time, View};
use std::sync::Arc;

/// A call under way in the simulation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct SimCall {
    pub(super) id: u64,
    pub(super) name: BirdName,
    pub(super) origin: usize,
    pub(super) hops: u8,
    pub(super) deadline: Time,
}

/// How a call ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CallEnd {
    /// The life with this fence answered.
    Answered(Fence),
    /// No such bird lives.
    NoSuchBird,
    /// It is grounded.
    Grounded,
    /// The deadline passed.
    TimedOut,
    /// The caller's host went down.
    CallerGone,
}

/// What travels between bodies.
#[derive(Clone, Debug)]
pub(super) enum Data {
    Call(SimCall),
    Reply(u64, CallEnd),
    Retry(SimCall),
}

/// What a body does after a while.
#[derive(Clone, Debug)]
pub(super) enum Later {
    Hatched(BirdName, Fence, bool),
    Ended(BirdName, Fence),
    Departed(BirdName, Fence),
    Data(Box<Data>),
    Resolve(SimCall),
    DialDone(String),
    LinkGone(u64, usize),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum State {
    Waiting,
    Hatching,
    Running,
    Ending,
    Departing,
    Kept,
    Moved(NestId),
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
    pub(super) queue: VecDeque<SimCall>,
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
        }
    }

    /// A life is here, in whatever phase.
    pub(super) const fn lives(&self) -> bool {
        matches!(self.state, State::Hatching | State::Running | State::Ending | State::Departing)
    }
}

/// The restart policy of simulated birds.
pub(super) const MAX_CRASHES: usize = 5;
pub(super) const CRASH_WINDOW: Duration = Duration::from_secs(30);

/// A host's table and its picture of the flock.
#[derive(Debug, Default)]
pub(super) struct Body {
    pub(super) table: BTreeMap<BirdName, Entry>,
    pub(super) view: Option<Arc<View>>,
}

impl Body {
    /// Routes by a new view. An owner's forwarding to the nest that still runs the bird is void
    /// when that nest is gone, or the name isn't ours any more: then the view knows better.
    pub(super) fn enter(&mut self, view: Arc<View>) {
        let before = self.view.replace(view.clone());
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
