//! The invariants, each a function over the world, named as in the book.
//!
//! - `check/lives.rs`: of lives: one at a time, fences, restarts, no resurrection.
//! - `check/calls.rs`: of calls and casts.
//! - `check/views.rs`: of views and the ring, and of who may take over.
//! - `check/shares.rs`: of shares of the ring.
//! - `check/requests.rs`: of what users were told.
//! - `check/rest.rs`: what must hold once faults have ceased.
//!
//! Most are looked at when something happens that could break them, so that looking costs nothing
//! while nothing of the kind happens.

mod calls;
mod lives;
mod quorum;
mod requests;
mod rest;
mod shares;
mod states;
mod views;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

pub(super) use calls::Made;
use lives::Life;
use shares::Due;
use states::Remembered;

use super::world::START;
use crate::{BirdName, Dot, Fence, Fingerprint, NestId, NestName, Time};

/// An invariant that did not hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broken {
    /// Which one, as the book numbers them.
    pub invariant: &'static str,
    /// What was seen.
    pub what: String,
    /// When, since the beginning.
    pub at: Duration,
}

/// After a fault, or a change of anybody's view, the strict rules of rough times hold again when so
/// much time has passed.
const SETTLING: Duration = Duration::from_secs(12);

/// What the checks remember.
#[derive(Debug)]
pub(super) struct Checks {
    broken: Option<Broken>,
    now: Time,
    /// A crash, a cut or a hasty leave happened since all was last at rest: two lives may coexist
    /// for a while.
    rough: bool,
    /// When the last fault began or ended, or somebody's view changed.
    disturbed: Time,
    /// When a nest last died, or went without handing over what it had.
    died: Time,
    /// When each host was last frozen until.
    thawed: BTreeMap<usize, Time>,
    /// When the path between two hosts was last cut, round which others see both.
    muted: Time,
    /// When a life of each name last began that takes long to hatch.
    hatches_slowly: BTreeMap<BirdName, Time>,
    /// Clocks differ by more than they should: fences don't grow across a crash.
    pub(super) skewed: bool,
    /// Since all was last at rest, nests may have held others for dead that lived.
    pub(super) torn: bool,
    /// A nest was forgotten by others, and came back.
    pub(super) renewed: bool,

    /// Where each name has lives.
    lives: BTreeMap<BirdName, Vec<Life>>,
    doubled: BTreeSet<BirdName>,
    /// The last fence that each name was given, of which birth, and on which host.
    fences: BTreeMap<BirdName, (Dot, Fence, usize)>,
    /// The crashes of each name's bird, which has this birth.
    crashes: BTreeMap<BirdName, (Dot, Vec<Time>)>,
    /// When it is looked next whether nests that are with too few have stopped their birds.
    pub(super) minorities_at: Time,
    /// What each bird is to remember.
    pub(super) remembered: Remembered,
    births: BTreeMap<Dot, BirdName>,
    births_of: BTreeMap<BirdName, BTreeSet<Dot>>,
    /// Births known to be dead everywhere.
    buried: BTreeSet<Dot>,
    /// Births whose life is over for good, though others may have yet to hear of that.
    ended: BTreeSet<Dot>,
    /// Which bird each name was at the last rest, if nobody has started or stopped it since.
    at_rest: BTreeMap<BirdName, Dot>,
    /// When each host was asked to leave.
    leaving: BTreeMap<usize, Time>,

    made: BTreeMap<u64, Made>,
    due: BTreeSet<(Time, u64)>,
    handled: BTreeSet<u64>,
    /// The last number that a bird handled of each host's calls that were not redirected; in rough
    /// times on each host for itself.
    in_order: BTreeMap<(usize, BirdName, Option<usize>), u64>,

    owners: BTreeMap<Fingerprint, Vec<Option<NestName>>>,
    /// When each host entered its present view.
    entered: BTreeMap<usize, (Fingerprint, Time)>,
    /// Since when each host has each of the others in its view, without a break.
    sees: BTreeMap<usize, BTreeMap<usize, Time>>,
    /// Whom each host has had in its view, or those whom it met there before it came.
    met: BTreeMap<usize, BTreeSet<NestId>>,
    /// Since when each host's nest is up.
    up: BTreeMap<usize, Time>,
    /// When each nest was last seen settled in a view.
    settled: BTreeMap<(NestId, Fingerprint), Time>,
    /// The same of the view in which each host's nest was settled last: looked at after every event.
    settled_now: Vec<Option<((NestId, Fingerprint), Time)>>,
    refused: BTreeMap<(BirdName, Fence), u32>,

    /// Of each host's nest: whether it has to take its share.
    shares: BTreeMap<usize, Due>,
    /// When a user last asked all to take theirs.
    called_at: Option<Time>,
}

impl Default for Checks {
    fn default() -> Self {
        Self {
            broken: None,
            now: START,
            rough: false,
            disturbed: START,
            died: Time::default(),
            thawed: BTreeMap::new(),
            muted: Time::default(),
            hatches_slowly: BTreeMap::new(),
            skewed: false,
            torn: false,
            renewed: false,
            lives: BTreeMap::new(),
            doubled: BTreeSet::new(),
            fences: BTreeMap::new(),
            crashes: BTreeMap::new(),
            minorities_at: START,
            remembered: Remembered::default(),
            births: BTreeMap::new(),
            births_of: BTreeMap::new(),
            buried: BTreeSet::new(),
            ended: BTreeSet::new(),
            at_rest: BTreeMap::new(),
            leaving: BTreeMap::new(),
            made: BTreeMap::new(),
            due: BTreeSet::new(),
            handled: BTreeSet::new(),
            in_order: BTreeMap::new(),
            owners: BTreeMap::new(),
            entered: BTreeMap::new(),
            sees: BTreeMap::new(),
            met: BTreeMap::new(),
            up: BTreeMap::new(),
            settled: BTreeMap::new(),
            settled_now: Vec::new(),
            refused: BTreeMap::new(),
            shares: BTreeMap::new(),
            called_at: None,
        }
    }
}

impl Checks {
    pub(super) const fn broken(&self) -> Option<&Broken> {
        self.broken.as_ref()
    }

    /// Only the first one counts: what follows may follow from it.
    pub(super) fn fail(&mut self, invariant: &'static str, what: String) {
        if self.broken.is_none() {
            self.broken = Some(Broken { invariant, what, at: self.now.since(START) });
        }
    }

    pub(super) const fn is_rough(&self) -> bool {
        self.rough
    }

    /// Time has passed.
    pub(super) const fn on_time(&mut self, now: Time) {
        self.now = now;
    }

    /// A fault that two lives may come of.
    pub(super) fn on_fault(&mut self) {
        self.rough = true;
        // Whoever knew of it may be gone, or out of reach.
        self.ended.clear();
        self.disturbed = self.now;
    }

    /// A fault ended, or something changed that takes a while to settle.
    pub(super) const fn on_disturbance(&mut self) {
        self.disturbed = self.now;
    }

    /// A nest stands still until then.
    pub(super) fn on_freeze(&mut self, host: usize, until: Time) {
        self.disturbed = until;
        self.thawed.insert(host, until);
    }

    /// What two hosts say to each other is lost until they notice that.
    pub(super) const fn on_mute(&mut self, now: Time) {
        self.disturbed = self.now;
        self.muted = now;
    }

    pub(super) fn on_slow_hatch(&mut self, name: &BirdName, now: Time) {
        self.hatches_slowly.insert(name.clone(), now);
    }

    pub(super) fn on_leave(&mut self, host: usize, now: Time) {
        self.now = now;
        self.disturbed = now;
        self.leaving.insert(host, now);
    }

    pub(super) fn on_boot(&mut self, host: usize, now: Time) {
        self.now = now;
        self.disturbed = self.disturbed.max(now);
        self.entered.remove(&host);
        self.up.remove(&host);
        self.shares.remove(&host);
        self.sees.remove(&host);
        self.met.remove(&host);
        for others in self.sees.values_mut() {
            others.remove(&host);
        }
    }

    /// Has nothing happened for a while that could excuse what is seen?
    fn is_calm(&self) -> bool {
        self.now > self.disturbed + SETTLING
    }

    /// All is well again: from here on the strict rules hold anew.
    pub(super) fn calm(&mut self) {
        self.calm_states();
        self.torn = false;
        if std::mem::take(&mut self.rough) {
            // Of two lives that became one, each had crashes of its own.
            self.crashes.clear();
        }
        self.refused.clear();
        self.settled.retain(|_, at| self.now < *at + Duration::from_secs(60));
        for settled in &mut self.settled_now {
            settled.take_if(|(_, at)| self.now >= *at + Duration::from_secs(60));
        }
    }
}
