//! What people may look at.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::Nest;
use super::birds::Phase;
use super::serving::Asker;
use crate::name_sets::NameSet;
use crate::registry::Record;
use crate::{BirdName, Dot, NestId, NestState, SpeciesId, View};

/// What is counted but not told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Counters {
    /// Frames that could not be read.
    pub bad_frames: u64,
    /// Frames of a kind that this version doesn't know.
    pub unknown_frames: u64,
    /// Frames meant for a nest without a link here, or that went too far.
    pub undeliverable_frames: u64,
    /// SWIM packets that foca had no use for; most came late.
    pub odd_swim_packets: u64,
    /// Lives begun here.
    pub hatches: u64,
    /// Birds handed over to others.
    pub moves: u64,
    /// Dead incarnations that were retired.
    pub retired: u64,
    /// Registries that differed though their vectors were equal.
    pub repairs: u64,
}

/// How much a nest holds of what it needs for a while only. With nothing under way all of it is 0,
/// and each is bounded at all times.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Sizes {
    /// Names that calls wait for.
    pub wanted: usize,
    /// Names about to be decided.
    pub on_hold: usize,
    /// What is left of lives that go on elsewhere.
    pub snaps: usize,
    /// Birds that others hand over, not taken yet.
    pub offers: usize,
    /// Names that others run, and this nest owns.
    pub listed: usize,
    /// Birds on their way out.
    pub departing: usize,
    /// Birds that wait for their turn to leave.
    pub queued: usize,
    /// Registers that ours is being compared with.
    pub inbound: usize,
    /// Nests whose death is in question.
    pub deaths: usize,
    /// Joiners that were told what they must know, by a nest that joins.
    pub held: usize,
    /// Requests whose answers wait for operations.
    pub answered: usize,
    /// Names about to be revived.
    pub reviving: usize,
    /// Ends of lives that came before the operations behind them.
    pub early_ends: usize,
    /// Nests whose listings are under way, in parts.
    pub listings: usize,
}

impl Sizes {
    /// All of them, by name.
    pub fn passing(&self) -> impl Iterator<Item = (&'static str, usize)> {
        [
            ("wanted", self.wanted),
            ("on_hold", self.on_hold),
            ("snaps", self.snaps),
            ("offers", self.offers),
            ("listed", self.listed),
            ("departing", self.departing),
            ("queued", self.queued),
            ("inbound", self.inbound),
            ("deaths", self.deaths),
            ("held", self.held),
            ("answered", self.answered),
            ("reviving", self.reviving),
            ("early_ends", self.early_ends),
            ("listings", self.listings),
        ]
        .into_iter()
    }
}

/// What a nest knows of a bird.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BirdInfo {
    /// Its name.
    pub name: BirdName,
    /// Its species.
    pub species: SpeciesId,
    /// The dot of its start.
    pub birth: Dot,
    /// Why it is grounded, if it is.
    pub grounded: Option<String>,
    /// The nest that owns it; none while no nest owns anything.
    pub owner: Option<NestId>,
}

impl Nest {
    /// This nest's incarnation.
    pub const fn id(&self) -> NestId {
        self.id
    }

    /// How far it is on its way into the flock, or out of it.
    pub const fn state(&self) -> NestState {
        self.state
    }

    /// How many incarnations its register still tells apart: the living ones, and those that died and
    /// aren't retired yet.
    pub fn incarnations(&self) -> usize {
        self.registry.vector().len()
    }

    /// How many nests it has heard of and not forgotten: the living ones, and the dead that it may look
    /// for.
    pub fn acquaintances(&self) -> usize {
        self.roster.cards().count()
    }

    /// The present view.
    pub fn view(&self) -> Arc<View> {
        self.view.clone()
    }

    /// What is counted.
    pub const fn counters(&self) -> Counters {
        self.counters
    }

    /// The bird of a name, if one lives.
    pub fn find(&self, name: &BirdName) -> Option<BirdInfo> {
        self.registry.winner(name).map(|record| self.info(record))
    }

    /// Whether a bird of this name lives.
    #[cfg(feature = "sim")]
    pub(crate) fn holds(&self, name: &BirdName) -> bool {
        self.registry.winner_birth(name).is_some()
    }

    /// Living birds in the order of their names' hashes, from behind `after`.
    pub fn page(&self, after: Option<&BirdName>, limit: usize) -> Vec<BirdInfo> {
        self.registry.page(after, limit).into_iter().map(|record| self.info(record)).collect()
    }

    /// How many birds live in the flock.
    pub fn count(&self) -> usize {
        self.registry.len()
    }

    /// How many records live: more than birds as long as a name has several, each from another side
    /// of a partition.
    pub const fn records(&self) -> usize {
        self.registry.records()
    }

    /// How many birds each nest owns. Looks at every name.
    pub fn shares(&self) -> BTreeMap<NestId, usize> {
        let mut shares: BTreeMap<NestId, usize> =
            self.view.members().iter().map(|m| (m.id, 0)).collect();
        for member in self.view.members() {
            let arcs = self.view.ring().arcs(member.id);
            let owned: usize = arcs
                .flat_map(|arc| arc.ranges())
                .map(|(from, to)| self.registry.names_in(from..=to).count())
                .sum();
            shares.insert(member.id, owned);
        }
        shares
    }

    /// Whether this nest knows all operations that the other one issued.
    #[cfg(feature = "sim")]
    pub(crate) fn knows_writes_of(&self, other: &Self) -> bool {
        self.registry.covers(other.registry.last_dot())
    }

    /// Whether this nest has heard of the start of this birth.
    #[cfg(feature = "sim")]
    pub(crate) fn has_heard_of(&self, birth: Dot) -> bool {
        self.registry.covers(birth)
    }

    /// Whether this nest has just started a bird of this name, though it has heard of another one of
    /// which it knows nothing yet.
    #[cfg(feature = "sim")]
    pub(crate) fn has_denied(&self, name: &BirdName) -> bool {
        let just_now = |record: crate::registry::Record| record.dot == self.registry.last_dot();
        let mut listed = self.listed.get(name).into_iter().flatten();
        // Hardly ever is any listed.
        listed.any(|(_, listed)| !self.registry.covers(listed.birth))
            && self.registry.winner(name).is_some_and(just_now)
    }

    /// Whether this nest may decide about every name that it owns.
    pub fn is_settled_everywhere(&self) -> bool {
        self.gained.is_empty() && self.newcomers.is_empty()
    }

    /// The lives on this nest: those that hatch, run, end or are about to leave.
    pub fn lives(&self) -> impl Iterator<Item = (&BirdName, Dot, crate::Fence)> {
        self.birds.iter().map(|(name, bird)| (name, bird.birth, bird.fence))
    }

    /// Lives that run, as the driver said.
    pub fn running(&self) -> impl Iterator<Item = &BirdName> {
        self.birds.iter().filter(|(_, b)| b.phase == Phase::Running).map(|(name, _)| name)
    }

    /// What the registry says about everything: for comparing nests in tests.
    pub fn registry_digest(&self) -> (u64, usize) {
        (self.registry.digest(), self.registry.len())
    }

    /// What it holds of all nests' cards: for comparing nests in tests.
    pub const fn cards_digest(&self) -> u64 {
        self.roster.digest()
    }

    /// Questions that wait for an answer, as asker and as owner.
    pub fn open_questions(&self) -> (usize, usize) {
        (self.asks.len(), self.served.len())
    }

    /// Answers kept for copies of requests that may still come.
    pub fn remembered_answers(&self) -> usize {
        self.askers.values().map(Asker::remembered).sum()
    }

    /// The nests held to be alive or merely suspected, this one not included.
    pub const fn alive(&self) -> &BTreeSet<NestId> {
        self.swim.alive()
    }

    /// The nests that are suspected to be dead, each with SWIM's count of its refutations.
    pub fn suspects(&self) -> Vec<(NestId, u16)> {
        self.swim.suspects()
    }

    /// How much it holds for a while.
    pub fn sizes(&self) -> Sizes {
        Sizes {
            wanted: self.wanted.len(),
            on_hold: self.on_hold.len(),
            snaps: self.snaps.len(),
            offers: self.offers.len(),
            listed: self.listed.len(),
            departing: self.in_flight.values().map(NameSet::len).sum(),
            queued: self.queue.values().map(NameSet::len).sum(),
            inbound: self.registry.comparing_with().into_iter().count(),
            deaths: self.deaths.len(),
            held: self.held.len(),
            answered: self.answered.len(),
            reviving: self.reviving.len(),
            early_ends: self.early_ends.values().map(Vec::len).sum(),
            listings: self.parts.len(),
        }
    }

    fn info(&self, record: Record) -> BirdInfo {
        let owner = self.view.owner(record.name.hash64());
        BirdInfo {
            name: record.name,
            species: record.species,
            birth: record.birth,
            grounded: record.grounded.map(|grounding| grounding.reason),
            owner,
        }
    }
}
