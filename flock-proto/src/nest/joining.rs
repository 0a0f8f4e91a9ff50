//! From `Joining` to `Up` to `Leaving`: what a nest says of itself, and when it may say it.

use std::collections::BTreeSet;

use super::Nest;
use super::founding::incarnation;
use crate::bugs::{Bug, planted};
use crate::membership::Swim;
use crate::nest_map::without;
use crate::registry::Vector;
use crate::wire::{Card, Frame, Held};
use crate::{Answer, BirdName, Effect, NestId, NestState, ReqId, Time};

/// A leave under way, or done.
#[derive(Debug)]
pub(super) struct Leave {
    req: ReqId,
    pub(super) deadline: Time,
    done: bool,
    /// What the others must know. Fixed once this nest has nothing left to add: under the writes of
    /// others, its vector is never still.
    told: Option<Vector>,
    /// Who is known to know it.
    informed: BTreeSet<NestId>,
}

/// A nest that holds this joiner in its view.
#[derive(Debug)]
pub(super) struct Holder {
    /// What must be known here before this nest is up.
    pub(super) vector: Vector,
    /// Who is up by what it said.
    up: Vec<NestId>,
    /// It was up itself as it said so. What one knows that joins still is not what its flock knows.
    was_up: bool,
}

impl Leave {
    /// Takes note of what another nest knows; `None`: all that we do.
    pub(super) fn note_known(&mut self, nest: NestId, vector: Option<&Vector>) {
        let covers = |told: &Vector| vector.is_none_or(|vector| vector.covers_all(told));
        if self.told.as_ref().is_some_and(covers) {
            self.informed.insert(nest);
        }
    }
}

impl Nest {
    /// This nest has left and does nothing more.
    pub(super) fn has_left(&self) -> bool {
        self.leave.as_ref().is_some_and(|leave| leave.done)
    }

    pub(super) fn write_card(&mut self) {
        self.card_version += 1;
        let unlinked =
            self.roster.card(self.id).map(|card| card.unlinked.clone()).unwrap_or_default();
        let (weight, due, rebalances) = self.balance.on_card();
        self.roster.put(Card {
            id: self.id,
            name: self.me.name.clone(),
            address: self.me.address.as_str().into(),
            state: self.state,
            weight,
            unlinked,
            left: self.has_left(),
            renewed: self.renewed,
            due,
            rebalances,
            version: self.card_version,
        });
        self.members_changed = true;
    }

    /// Publishes which members this nest has no link to, so that nobody picks it to relay there. Only
    /// those to which it had none the last time either: they have been dialled since, in vain. Where
    /// many join, each lacks links to all at first, and would tell all of each.
    pub(super) fn note_unlinked(&mut self) {
        let alive = self.swim.alive().iter().copied();
        let known = |id: &NestId| self.roster.card(*id).is_some();
        let missing: Vec<NestId> = without(alive, self.links.ids()).filter(known).collect();
        let before = std::mem::replace(&mut self.unlinked, missing.clone());
        let unlinked: Vec<NestId> =
            missing.into_iter().filter(|id| before.binary_search(id).is_ok()).collect();
        let Some(card) = self.roster.card(self.id) else { return };
        if card.unlinked == unlinked {
            return;
        }
        let mut card = card.clone();
        self.card_version += 1;
        card.version = self.card_version;
        card.unlinked = unlinked;
        self.roster.put(card);
    }

    /// A later incarnation of this nest's name is known: this one is renewed above it. That can
    /// only be while it joins; it owns nothing yet and has written nothing.
    pub(super) fn on_outdated(&mut self, above: NestId) {
        if self.state != NestState::Joining || self.registry.last_dot().seq > 0 {
            // It came up where nobody knew of the later one: a flock of its own, by a clock that was put
            // back. Under this number the others won't see it.
            if above >= self.id && self.leave.is_none() {
                self.renew(above);
            }
            return;
        }
        let id = self.draw_above(above);
        self.registry.rename(id);
        self.become_another(id);
    }

    /// Draws an incarnation that is later than this one.
    pub(super) fn draw_above(&mut self, above: NestId) -> NestId {
        let drawn = incarnation(&mut self.rng, self.now);
        drawn.max(NestId(above.0.saturating_add(1 + self.rng.below(1 << 12))))
    }

    /// Whether this nest may be part of a flock that joiners form among themselves: not while a seed
    /// may yet turn out to be a flock that is merely slow to answer, or a link leads to a nest of
    /// which nothing is known yet. Two joiners that found each other first would be a second flock.
    fn may_form(&mut self) -> bool {
        if !self.unheard.is_empty() && self.now < self.born + self.config.form_after {
            return false;
        }
        // Asked after each frame: mostly there is none, or it is the same nest.
        if self.all_known {
            return true;
        }
        let (links, alive) = (&self.links, self.swim.alive());
        let unknown = |id: &NestId| links.contains(*id) && !alive.contains(id);
        self.unknown = self
            .unknown
            .filter(unknown)
            .or_else(|| without(links.ids(), alive.iter().copied()).next());
        self.all_known = self.unknown.is_none();
        self.all_known
    }

    pub(super) fn send_held_to_joiners(&mut self) {
        let view = self.view.clone();
        for &id in view.joining() {
            self.send_held(id);
        }
    }

    /// Tells a joiner that this nest holds it in its view, and what it must know before it is Up.
    pub(super) fn send_held(&mut self, to: NestId) {
        let joining = self.view.member(to).is_some_and(|m| m.state == NestState::Joining);
        if joining && (self.state != NestState::Joining || self.may_form()) && self.may_admit(to) {
            let vector = self.registry.vector().clone();
            // By what they last said: as it comes up, a nest tells so before its view says it of itself, and of
            // those that it has just met.
            let is_up =
                |id: &NestId| self.roster.card(*id).is_some_and(|card| card.state == NestState::Up);
            let others = self.swim.alive().iter().copied().filter(is_up);
            let me = (self.state == NestState::Up).then_some(self.id);
            let up = others.chain(me).collect();
            self.send(to, &Frame::Held(Held { vector, up }));
        }
    }

    pub(super) fn on_held(&mut self, from: NestId, held: Held) {
        if self.state == NestState::Joining {
            if !self.registry.vector().covers_all(&held.vector) {
                self.send_status(from, true);
            }
            self.note_horizon(from, Some(&held.vector));
            let Held { vector, up } = held;
            let was_up = up.contains(&from);
            self.held.insert(from, Holder { vector, up, was_up });
            // A vector that is covered already needn't be kept: there is one of each nest.
            self.is_held_by(from);
        }
    }

    /// Goes Up as soon as that is safe.
    pub(super) fn try_up(&mut self) {
        if self.state != NestState::Joining {
            return;
        }
        let may_form = self.may_form();
        if may_form && !std::mem::replace(&mut self.may_form_before, may_form) {
            self.send_held_to_joiners();
        }
        self.may_form_before = may_form;
        if self.may_be_up() && self.try_follow() {
            self.registry.arrive();
            self.note_missed();
            self.state = if self.leave.is_some() { NestState::Leaving } else { NestState::Up };
            self.held.clear();
            self.begin_to_wait();
            self.write_card();
            self.send_held_to_joiners();
        }
    }

    /// Whether this nest is known to keep us from coming up: it is alive, and has told no card, or is
    /// Up and doesn't hold us in its view, as far as we know, or forms the flock before us.
    fn is_kept_back_by(&mut self, id: NestId) -> bool {
        let up = |state| state == NestState::Up && !planted(Bug::UnheldJoiner);
        let state = self.roster.card(id).map(|card| card.state);
        self.swim.alive().contains(&id)
            && state.is_none_or(|state| {
                (up(state) && !self.is_held_from_above(id))
                    || (state == NestState::Joining && self.is_earlier(id))
            })
    }

    /// Somebody may be Up: whoever would form the flock before us keeps us back no longer.
    pub(super) fn look_who_is_up(&mut self) {
        let joining = |id: &NestId| {
            let card = self.roster.card(*id);
            card.is_some_and(|card| card.state == NestState::Joining)
        };
        let _first = self.waits_for.take_if(|id| joining(id));
    }

    /// Whether this joiner forms the flock before us, where nobody is Up.
    fn is_earlier(&self, id: NestId) -> bool {
        self.roster.card(id).is_some_and(|card| card.name <= self.me.name)
    }

    /// One of those that are up by what this nest said, and that doesn't hold us yet as far as we know.
    fn first_unheld_of(&mut self, id: NestId) -> Option<NestId> {
        let mut up = std::mem::take(&mut self.held.get_mut(&id)?.up);
        // Who holds us does so from now on.
        up.retain(|other| *other != self.id && !self.is_held_from_above(*other));
        let first = up.first().copied();
        if let Some(held) = self.held.get_mut(&id) {
            held.up = up;
        }
        first
    }

    /// Whether a nest holds us in its view, and we know what it knows.
    fn is_held_by(&mut self, id: NestId) -> bool {
        let known = self.registry.vector();
        self.held.get_mut(&id).is_some_and(|held| {
            let covered = known.covers_all(&held.vector);
            if covered {
                // It is for good, and asked for after each frame.
                held.vector = Vector::new();
            }
            covered
        })
    }

    /// The same of a nest that is up, and was so as it said that it holds us: as it still joined, it may have
    /// known nothing of those who are up besides it.
    fn is_held_from_above(&mut self, id: NestId) -> bool {
        self.is_held_by(id) && self.held.get(&id).is_some_and(|holder| holder.was_up)
    }

    fn may_be_up(&mut self) -> bool {
        // Asked after each frame while a hundred nests join: mostly the answer is the same, for the
        // same reason.
        if self.waits_for.is_some_and(|id| self.is_kept_back_by(id)) {
            return false;
        }
        self.waits_for = without(self.swim.alive().iter().copied(), self.roster.ids()).next();
        if self.waits_for.is_some() {
            // It may be Up for all we know.
            return false;
        }
        let others: Vec<(NestId, NestState)> = self
            .swim
            .alive()
            .iter()
            .filter_map(|&id| self.roster.card(id).map(|card| (id, card.state)))
            .collect();
        if others.iter().any(|(_, state)| *state == NestState::Up) {
            let ups = others.iter().filter(|(_, state)| *state == NestState::Up).map(|(id, _)| *id);
            let ups: Vec<NestId> = ups.collect();
            let unheld = ups.iter().copied().find(|id| !self.is_held_from_above(*id));
            // A joiner that met one nest of many may not have heard of the rest yet: that one has.
            let waits_for =
                unheld.or_else(|| ups.into_iter().find_map(|id| self.first_unheld_of(id)));
            self.waits_for = waits_for;
            return planted(Bug::UnheldJoiner) || waits_for.is_none();
        }
        if others.iter().any(|(_, state)| *state == NestState::Joining) {
            // Nobody is Up: the first by name forms the flock, and the others join it.
            let mut joining = others.iter().filter(|(_, state)| *state == NestState::Joining);
            let earlier = joining.find(|(id, _)| self.is_earlier(*id));
            if let Some((id, _)) = earlier {
                self.waits_for = Some(*id);
                return false;
            }
            let gathered = self.first_contact.map_or(Time::NEVER, |at| at + self.config.gather_for);
            let formed = self.born + self.config.form_after;
            let form_at = if self.unheard.is_empty() { gathered } else { gathered.max(formed) };
            if self.now < form_at {
                self.timers.join = self.timers.join.min(form_at);
            }
            return self.now >= form_at
                && self.may_form()
                && others.iter().all(|(id, _)| self.is_held_by(*id));
        }
        if !others.is_empty() {
            // All that are left are leaving: they hand over to this nest, and wait for it.
            return others.iter().all(|(id, _)| self.is_held_by(*id));
        }
        let alone_at =
            if self.me.seeds.is_empty() { self.born } else { self.born + self.config.form_after };
        if self.now < alone_at {
            self.timers.join = self.timers.join.min(alone_at);
        }
        self.links.is_empty() && self.now >= alone_at
    }

    pub(super) fn on_leave(&mut self, req: ReqId) {
        if self.leave.is_some() {
            return self.out.push(Effect::Answer { req, answer: Answer::Leaving });
        }
        self.leave = Some(Box::new(Leave {
            req,
            deadline: self.now + self.config.leave_for,
            done: false,
            told: None,
            informed: BTreeSet::new(),
        }));
        self.state = NestState::Leaving;
        self.write_card();
    }

    /// Leaves as soon as nothing is left to hand over and everybody knows what this nest knows.
    pub(super) fn try_leave(&mut self) {
        let Some((req, late)) = self
            .leave
            .as_ref()
            .and_then(|leave| (!leave.done).then_some((leave.req, self.now >= leave.deadline)))
        else {
            return;
        };
        if !late && !self.may_leave() {
            return;
        }
        if let Some(leave) = &mut self.leave {
            leave.done = true;
        }
        self.write_card();
        self.tell_news();
        self.with_swim(Swim::leave);
        let all: Vec<_> = self.links.ids().collect();
        if !planted(Bug::NoGoodbye) {
            self.send_to_all(all, &Frame::Goodbye(()));
        }
        let here = self.birds.keys().chain(self.snaps.keys()).chain(self.offers.keys());
        let left_behind: BTreeSet<BirdName> = here.cloned().collect();
        let left_behind = left_behind.into_iter().collect();
        self.out.push(Effect::Answer { req, answer: Answer::Left { left_behind } });
    }

    fn may_leave(&mut self) -> bool {
        if self.view.member(self.id).is_some_and(|m| m.state != NestState::Leaving) {
            return false;
        }
        let others: Vec<NestId> = self.view.others().collect();
        let joining =
            |id: &NestId| self.view.member(*id).is_some_and(|m| m.state == NestState::Joining);
        if others.iter().any(joining) {
            return false;
        }
        if others.is_empty() || self.view.ring().is_empty() {
            return true;
        }
        let idle = self.birds.is_empty()
            && self.snaps.is_empty()
            && self.offers.is_empty()
            && self.served.is_empty();
        let idle = idle || planted(Bug::HastyLeave);
        if !idle || self.registry.last_dot().seq > self.pushed {
            return false;
        }
        let view = self.view.fingerprint();
        let agreed =
            others.iter().all(|id| self.seals.get(*id).is_some_and(|seal| seal.view == view));
        if !agreed {
            return false;
        }
        let known = self.registry.vector();
        let Some(leave) = &mut self.leave else { return false };
        if leave.told.as_ref().is_none_or(|told| told.seq(self.id) < known.seq(self.id)) {
            leave.told = Some(known.clone());
            leave.informed.clear();
        }
        let behind: Vec<NestId> =
            others.into_iter().filter(|id| !leave.informed.contains(id)).collect();
        let again = self.now + self.config.ask_every;
        if !behind.is_empty() && self.timers.sync > again {
            // Ask again soon: whoever lacks nothing says so.
            for id in &behind {
                self.look_at(*id);
            }
            self.timers.sync = again;
        }
        behind.is_empty() || planted(Bug::UntoldLeave)
    }

    pub(super) fn on_goodbye(&mut self, from: NestId) {
        if self.links.remove(from).is_some() {
            self.links_changed = true;
            self.out.push(Effect::Release { peer: from });
        }
        self.declare_down(from);
    }
}
