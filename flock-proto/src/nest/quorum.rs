//! Which side of a partition goes on, where not both shall.
//!
//! Counted are nests, not birds: of those known and not gone in good order, so many must be up in this
//! nest's view. A nest that counts too few begins nothing, and after a while takes its birds out of service:
//! what is left of each is kept as a snap, calls are told, nothing is written to the register. Those who count
//! enough wait for longer than that before they hatch what they have [lost sight of](super::missing). None
//! of this is a lock: a nest that stands still keeps its birds until it wakes, and the fence covers the rest.

use std::collections::BTreeSet;

use super::Nest;
use super::birds::Phase;
use crate::bugs::{Bug, planted};
use crate::{Answer, BirdName, Effect, Event, NestId, NestName, NestState, ReqId, Time};

/// How many cards further the word is that a nest is dead: it may have written some itself, beyond a cut,
/// and what it says of itself must not undo what was said of it.
const LAST_WORD: u64 = 1 << 32;

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
    /// The nests that count: those that were up once and didn't leave. By name, as one that is started anew
    /// is the same.
    counted: BTreeSet<NestName>,
    /// How many of them are up.
    present: usize,
    /// By which cards and which view that was found.
    found_by: Option<(u64, u64, NestId)>,
}

impl Nest {
    fn enough(&self) -> bool {
        let Quorum { counted, present, .. } = &self.quorum;
        match self.config.policy {
            Policy::Available => true,
            Policy::Quorum(nests) => *present >= nests as usize,
            Policy::Majority => {
                present * 2 > counted.len().max(self.config.expected_nests as usize)
            }
        }
    }

    fn count_nests(&mut self) {
        let (vector, view) = (self.registry.vector(), &self.view);
        // Asked after each frame.
        let by = (self.roster.digest(), view.fingerprint().0, vector.horizon());
        if self.quorum.found_by.replace(by) == Some(by) {
            return;
        }
        let counted = &mut self.quorum.counted;
        let roster = &self.roster;
        counted.retain(|name| roster.named(name).is_some());
        for card in roster.cards() {
            let is_forgotten = vector.is_retired(card.id) && view.member(card.id).is_none();
            match card.state {
                NestState::Up if !card.left && !is_forgotten => {
                    counted.insert(card.name.clone());
                }
                // Started anew, it isn't up yet.
                NestState::Joining if !card.left => {}
                _ => {
                    counted.remove(&card.name);
                }
            }
        }
        let up = |nest: &&crate::Member| nest.state == NestState::Up;
        self.quorum.present = view.members().iter().filter(up).count();
    }

    /// Whether this joiner may come up. Where too few are there, a nest that nobody beyond a cut has heard
    /// of must not make them more than half; one that was there before may.
    pub(super) fn may_admit(&mut self, joiner: NestId) -> bool {
        if self.config.policy != Policy::Majority || self.state == NestState::Joining {
            return true;
        }
        self.count_nests();
        let Quorum { counted, present, .. } = &self.quorum;
        let was_there = self.roster.card(joiner).is_some_and(|card| counted.contains(&card.name));
        was_there || present * 2 > counted.len()
    }

    /// Follows every change of the view.
    pub(super) fn check_quorum(&mut self) {
        if self.config.policy == Policy::Available || self.state == NestState::Joining {
            return;
        }
        self.count_nests();
        let now = self.now;
        if self.enough() || planted(Bug::NoQuorum) {
            if self.quorum.lost.take().is_some() {
                // Others may have counted enough until a moment ago, and run what is missed here.
                if !planted(Bug::HastyReturn) {
                    self.note_missed();
                }
                if std::mem::take(&mut self.quorum.stopped) {
                    self.tell(Event::QuorumFound);
                }
                self.look_at_everything();
            }
            return;
        }
        let since = *self.quorum.lost.get_or_insert(now);
        if now >= since + self.config.stable_after && !self.quorum.stopped {
            self.quorum.stopped = true;
            self.tell(Event::QuorumLost);
            self.look_at_all();
        }
    }

    /// Somebody knows that this nest is dead for good: it isn't counted any more.
    pub(super) fn on_give_up(&mut self, req: ReqId, name: &NestName) {
        let card = self.roster.named(name).cloned();
        let is_here = |id| id == self.id || self.swim.alive().contains(&id);
        let answer = match card {
            None => Answer::NoSuchNest,
            Some(card) if !card.left && is_here(card.id) => Answer::NestAlive,
            Some(mut card) => {
                if !card.left {
                    // As if it had said so itself. Should it come back, it finds that, and joins anew.
                    card.left = true;
                    card.version = card.version.saturating_add(LAST_WORD);
                    self.roster.put(card);
                    self.members_changed = true;
                }
                Answer::Forgotten
            }
        };
        self.out.push(Effect::Answer { req, answer });
    }

    /// Since when this nest sees too few others, on its own clock.
    #[cfg(feature = "sim")]
    pub(crate) const fn quorum_lost_since(&self) -> Option<Time> {
        self.quorum.lost
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
    pub const fn is_stopped(&self) -> bool {
        self.quorum.stopped
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
        let stop = stop.map_or(Time::NEVER, |since| since + self.config.stable_after);
        stop.min(self.missing_deadline())
    }
}
