//! Which side of a partition goes on, where not both shall.
//!
//! Counted are nests, not birds: of those known and not gone in good order, so many must be up in this
//! nest's view. A nest that counts too few begins nothing, and after a while takes its birds out of service:
//! what is left of each is kept as a snap, calls are told, nothing is written to the register. Those who count
//! enough wait for longer than that before they hatch what they have lost sight of. None of this is a lock:
//! a nest that stands still keeps its birds until it wakes, and the fence covers the rest.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::Nest;
use super::birds::Phase;
use crate::bugs::{Bug, planted};
use crate::ring;
use crate::{BirdName, Effect, Event, NestId, NestState, Time, View};

/// Which side of a partition goes on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Policy {
    /// Each side does; they merge when they meet again.
    #[default]
    Available,
    /// The one with more than half of all nests, if there is one.
    Majority,
    /// The one with at least so many nests. Where two sides may have as many, both go on.
    Quorum(u32),
}

/// Whether enough nests are there, and since when not.
#[derive(Debug, Default)]
pub(super) struct Quorum {
    /// Since when too few are there.
    lost: Option<Time>,
    /// For so long that birds are out of service.
    stopped: bool,
    /// Nests that were up, and went out of sight not in good order; when, and what they owned then:
    /// anything, if this nest wasn't there yet.
    missing: BTreeMap<NestId, (Time, Option<Arc<View>>)>,
}

impl Nest {
    fn enough(&self) -> bool {
        let up = |nest: &&crate::Member| nest.state == NestState::Up;
        let present = self.view.members().iter().filter(up).count();
        match self.config.policy {
            Policy::Available => true,
            Policy::Quorum(nests) => present >= nests as usize,
            Policy::Majority => {
                let gone =
                    |id| self.registry.vector().is_retired(id) && self.view.member(id).is_none();
                let known = self.roster.cards();
                let known = known.filter(|c| c.state == NestState::Up && !c.left && !gone(c.id));
                present * 2 > known.count().max(self.config.expected_nests as usize)
            }
        }
    }

    /// Follows every change of the view.
    pub(super) fn check_quorum(&mut self) {
        if self.config.policy == Policy::Available || self.state == NestState::Joining {
            return;
        }
        let now = self.now;
        let wait = self.config.take_over_after;
        self.quorum.missing.retain(|_, (since, _)| now < *since + wait);
        if self.enough() || planted(Bug::NoQuorum) {
            if self.quorum.lost.take().is_some() {
                // Others may have counted enough until a moment ago, and run what is missed here.
                if !planted(Bug::HastyReturn) {
                    self.note_missed();
                }
                if std::mem::take(&mut self.quorum.stopped) {
                    self.tell(Event::QuorumFound);
                }
            }
        } else {
            if self.quorum.lost.is_none() {
                self.quorum.lost = Some(now);
                self.look_at_all();
            }
            let over =
                self.quorum.lost.is_some_and(|since| now >= since + self.config.stable_after);
            if over && !self.quorum.stopped {
                self.quorum.stopped = true;
                self.tell(Event::QuorumLost);
                self.look_at_all();
            }
        }
        let may = self.may_take_over();
        if may && !std::mem::replace(&mut self.could_take_over, may) {
            // Birds may have waited for this that nobody asks for.
            self.look_at_all();
            self.unseen.extend(ring::Arc::whole().ranges());
        }
        self.could_take_over = may;
    }

    fn look_at_all(&mut self) {
        self.dirty.extend(self.birds.keys().cloned());
        self.dirty.extend(self.snaps.keys().cloned());
        self.dirty.extend(self.offers.keys().cloned());
        self.dirty.extend(self.wanted.iter().cloned());
        self.dirty.extend(self.served_names.keys().cloned());
        self.dirty.append(&mut self.on_hold);
    }

    /// Members went out of the view, and didn't say that they leave.
    pub(super) fn note_missing(&mut self, before: &Arc<View>, after: &View) {
        if self.config.policy == Policy::Available || self.state == NestState::Joining {
            return;
        }
        for member in before.members() {
            let left = self.roster.card(member.id).is_none_or(|card| card.left);
            let renamed = after.members().iter().any(|other| other.name == member.name);
            let was_up = member.state != NestState::Joining;
            if was_up && !left && !renamed && after.member(member.id).is_none() {
                // It may run what it should have handed over here, or hasn't listed yet.
                let owed = !self.is_settled_everywhere() || !self.listed_by(member.id).is_empty();
                let owned = (!owed).then(|| before.clone());
                self.quorum.missing.insert(member.id, (self.now, owned));
                self.could_take_over = false;
            }
        }
    }

    /// Since when this nest sees too few others, on its own clock.
    #[cfg(feature = "sim")]
    pub(crate) const fn quorum_lost_since(&self) -> Option<Time> {
        self.quorum.lost
    }

    /// This nest comes up now, or sees enough others again. Whoever is missing may run anything still.
    pub(super) fn note_missed(&mut self) {
        if self.config.policy == Policy::Available {
            return;
        }
        let gone = |id| self.view.member(id).is_none() && !self.swim.alive().contains(&id);
        let cards = self.roster.cards();
        let missed = cards.filter(|c| c.state == NestState::Up && !c.left && gone(c.id));
        let now = self.now;
        self.quorum.missing.extend(missed.map(|card| (card.id, (now, None))));
        self.could_take_over &= self.quorum.missing.is_empty();
    }

    /// Whether this nest has heard of that one.
    #[cfg(feature = "sim")]
    pub(crate) fn knows_nest(&self, id: NestId) -> bool {
        self.roster.card(id).is_some()
    }

    /// Too few nests are there for anything to be begun.
    pub(super) fn lacks_quorum(&self) -> bool {
        self.quorum.lost.is_some()
    }

    /// Birds are out of service, as too few nests are there.
    pub(crate) const fn is_stopped(&self) -> bool {
        self.quorum.stopped
    }

    fn may_take_over(&self) -> bool {
        planted(Bug::HastyTakeOver) || (!self.lacks_quorum() && self.quorum.missing.is_empty())
    }

    /// Whether a name belonged to a nest that may not have stopped yet what it runs of it.
    pub(super) fn may_live_out_of_sight(&self, hash: u64) -> bool {
        let missing = &self.quorum.missing;
        !missing.is_empty()
            && !planted(Bug::HastyTakeOver)
            && missing.iter().any(|(id, (_, before))| {
                before.as_ref().is_none_or(|before| before.owner(hash) == Some(*id))
            })
    }

    /// Takes a bird out of service until enough nests are there.
    pub(super) fn suspend(&mut self, name: &BirdName) {
        if let Some(bird) = self.birds.get_mut(name) {
            bird.phase = Phase::Departing;
            let fence = bird.fence;
            self.out.push(Effect::Depart { name: name.clone(), fence });
        }
    }

    /// When the next thing of this is due.
    pub(super) fn quorum_deadline(&self) -> Time {
        if self.state == NestState::Joining || self.has_left() {
            return Time::NEVER;
        }
        let stop = self.quorum.lost.filter(|_| !self.quorum.stopped);
        let stop = stop.map(|since| since + self.config.stable_after);
        let take = self.quorum.missing.values().map(|(since, _)| *since).min();
        let take = take.map(|since| since + self.config.take_over_after);
        stop.into_iter().chain(take).min().unwrap_or(Time::NEVER)
    }
}
