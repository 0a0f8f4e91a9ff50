//! How cards get about: what each nest says of itself.
//!
//! A nest tells all its neighbours of a change of its own card, at once. Whoever hears of another's
//! passes it on with all else that is new, a moment later, to some neighbours. What is missed is
//! found by heartbeats, as they carry a digest of all cards: where two differ, both send all.

use std::collections::BTreeSet;
use std::time::Duration;

use super::Nest;
use crate::bugs::{Bug, planted};
use crate::wire::{Frame, Heartbeat, Roster};
use crate::{NestId, NestState, Time};

/// To one neighbour all cards are sent no more often than this. Two that can't agree, for whatever
/// reason, must not send them to and fro.
const AGAIN_AFTER: Duration = Duration::from_secs(1);

/// Whose cards differ from ours, and when they can have them.
#[derive(Debug, Default)]
pub(super) struct Owed {
    to: BTreeSet<NestId>,
    /// Before that, no more cards are sent to anybody.
    free_at: Time,
}

impl Nest {
    /// Has new cards told: the own one at once, all others with what else comes.
    pub(super) fn tell_news(&mut self) {
        if let Some(card) = self.roster.take_news_of(self.id) {
            let all: Vec<_> = self.links.ids().collect();
            self.send_to_all(all, &Frame::Roster(Roster { cards: vec![card] }));
        }
        if planted(Bug::FloodedCards) {
            self.pass_news_on();
        }
        if self.roster.has_news() {
            self.timers.news = self.timers.news.min(self.now + self.config.pass_cards_after);
        }
    }

    /// Passes on what came. Nobody knows who has it already: a few times too often for each nest is
    /// little, against every neighbour's telling every neighbour.
    pub(super) fn pass_news_on(&mut self) {
        self.timers.news = Time::NEVER;
        let cards = self.roster.take_news();
        if cards.is_empty() {
            return;
        }
        let mut missed: Vec<NestId> = cards.iter().flat_map(|c| &c.unlinked).copied().collect();
        missed.sort_unstable();
        missed.dedup();
        let (missed, others): (Vec<_>, Vec<_>) =
            self.links.ids().partition(|id| missed.binary_search(id).is_ok());
        let mut to = self.some_of(missed);
        to.extend(self.some_of(others));
        self.send_to_all(to, &Frame::Roster(Roster { cards }));
    }

    fn some_of(&mut self, mut nests: Vec<NestId>) -> Vec<NestId> {
        let mut some = Vec::new();
        let enough =
            if planted(Bug::FloodedCards) { nests.len() } else { self.config.pass_cards_to };
        while some.len() < enough && !nests.is_empty() {
            let at = self.rng.below(nests.len() as u64) as usize;
            some.push(nests.swap_remove(at));
        }
        some
    }

    pub(super) fn on_roster(&mut self, roster: Roster) {
        let mut of_lost = false;
        for card in roster.cards {
            // What a nest says of itself nobody else may say.
            if card.name == self.me.name {
                let is_forgotten = card.id == self.id && card.left && !self.has_left();
                if card.id > self.id || is_forgotten {
                    // An earlier run of this nest, which had a clock further ahead. Or the others were
                    // told that it is dead.
                    self.on_outdated(card.id);
                }
                continue;
            }
            if card.id == self.id {
                // Another nest drew the same number at the same moment.
                self.on_outdated(card.id);
            }
            let (id, is_joining) = (card.id, card.state == NestState::Joining);
            let calls = self.is_called_by(id, card.rebalances);
            let is_new = self.roster.put(card);
            if is_new && calls {
                self.on_called();
            }
            self.members_changed |= is_new;
            // Also of one that was waited for because nothing was known of it.
            if is_new && (!is_joining || self.waits_for == Some(id)) {
                self.look_who_is_up();
            }
            of_lost |= is_new && self.registry.vector().is_retired(id);
        }
        if of_lost {
            self.forget_lost_cards();
        }
    }

    /// Forgets cards of the dead, all nests the same: so by what all retire, and the latest stay.
    pub(super) fn forget_lost_cards(&mut self) {
        let (vector, alive, links) = (self.registry.vector(), self.swim.alive(), &self.links);
        // One that has yet to find out that it was retired is heard until then.
        let is_lost = |id| vector.is_retired(id) && !alive.contains(&id) && !links.contains(id);
        self.roster.forget_lost(self.config.lost_nests, is_lost);
    }

    /// Says to a new neighbour what this nest is, and how to find out what else it knows.
    pub(super) fn greet(&mut self, id: NestId) {
        let mine = self.roster.card(self.id).cloned();
        self.send(id, &Frame::Roster(Roster { cards: mine.into_iter().collect() }));
        let beat = self.beat();
        self.send(id, &beat);
    }

    pub(super) const fn beat(&self) -> Frame {
        Frame::Heartbeat(Heartbeat { cards: self.roster.digest() })
    }

    pub(super) fn on_heartbeat(&mut self, from: NestId, heartbeat: Heartbeat) {
        if heartbeat.cards == self.roster.digest() || planted(Bug::NoFullExchange) {
            self.owed.to.remove(&from);
            return;
        }
        let now = self.now;
        let told = self.links.get(from).and_then(|link| link.cards_at);
        let again = told.is_none_or(|at| now >= at + AGAIN_AFTER);
        if again && now >= self.owed.free_at {
            self.send_all_cards(from);
        } else {
            self.owed.to.insert(from);
            self.timers.owed = self.timers.owed.min(self.owed.free_at.max(now + self.beat_pause()));
        }
    }

    fn send_all_cards(&mut self, to: NestId) {
        let Some(link) = self.links.get_mut(to) else { return };
        link.cards_at = Some(self.now);
        let each = Duration::from_secs(1) / self.config.cards_per_second.max(1);
        self.owed.free_at = self.now + each * self.roster.ids().count() as u32;
        let cards = Roster::encode_body(self.roster.cards());
        self.send_body(to, cards);
        let beat = self.beat();
        self.send(to, &beat);
    }

    /// Asks one of those again whose cards differed when it wasn't their turn: mostly others have
    /// told them meanwhile.
    pub(super) fn ask_owed(&mut self) {
        self.timers.owed = Time::NEVER;
        let links = &self.links;
        self.owed.to.retain(|id| links.contains(*id));
        let now = self.now;
        let fresh = |id: &NestId| {
            let told = links.get(*id).and_then(|link| link.cards_at);
            told.is_some_and(|at| now < at + AGAIN_AFTER)
        };
        let next = self.owed.to.iter().copied().find(|id| !fresh(id));
        if let Some(id) = next {
            self.owed.to.remove(&id);
            let beat = self.beat();
            self.send(id, &beat);
        }
        if !self.owed.to.is_empty() {
            self.timers.owed = now + self.beat_pause();
        }
    }

    /// Between two that are asked.
    const fn beat_pause(&self) -> Duration {
        self.config.pass_cards_after
    }
}
