//! From members to views: who is in the ring, and what changes with it.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::Arc;

use super::Nest;
use crate::bugs::{Bug, planted};
use crate::name_sets::NameSet;
use crate::wire::Card;
use crate::{Effect, Event, Member, NestId, NestName, NestState, Time, Via, View};

/// A member of the next view, if there is to be one: mostly none is, and its texts aren't even looked at.
struct Present<'a> {
    card: &'a Card,
    state: NestState,
    weight: u32,
    due: u32,
    via: Via,
}

impl Present<'_> {
    fn member(&self) -> Member {
        let Self { card, state, weight, due, via } = *self;
        let (name, address) = (card.name.clone(), card.address.clone());
        Member { id: card.id, name, address, state, weight, due, via }
    }

    /// What the ring is made of, and the view's fingerprint.
    fn in_ring(&self) -> (NestId, NestState, u32, &NestName) {
        (self.card.id, self.state, self.weight, &self.card.name)
    }

    fn all(&self) -> ((NestId, NestState, u32, &NestName), u32, Via, &Arc<str>) {
        (self.in_ring(), self.due, self.via, &self.card.address)
    }

    /// It waited for its share, and has taken it.
    const fn took_share(&self, before: &Member) -> bool {
        before.due > 0 && self.due == 0 && self.weight > 0
    }
}

fn in_ring(member: &Member) -> (NestId, NestState, u32, &NestName) {
    (member.id, member.state, member.weight, &member.name)
}

fn all(member: &Member) -> ((NestId, NestState, u32, &NestName), u32, Via, &Arc<str>) {
    (in_ring(member), member.due, member.via, &member.address)
}

impl Nest {
    /// Brings the view up to date. Joins are gathered for a while, so that many nests that start, or
    /// take their shares, together change the ring once. A death or a leave counts at once.
    pub(super) fn refresh_view(&mut self) {
        if !self.members_changed && !self.links_changed && self.now < self.view_at {
            return;
        }
        // What just changed was looked at a moment ago: while many join, each frame has news.
        let again_at = self.refreshed_at + self.config.refresh_every;
        if self.now < again_at.min(self.view_at)
            && self.view.members().len() > self.config.few_members
        {
            self.timers.refresh = again_at;
            return;
        }
        self.timers.refresh = Time::NEVER;
        self.refreshed_at = self.now;
        self.links_changed = false;
        self.members_changed = false;
        let mut next = self.members_now();
        let ring = next.iter().filter(|it| it.state != NestState::Joining);
        let ring_before = self.view.members().iter().filter(|m| m.state != NestState::Joining);
        let mut view_at = Time::NEVER;
        if !ring.map(Present::in_ring).eq(ring_before.map(in_ring)) {
            let (me_too, joins) = self.what_changes(&next);
            let single = planted(Bug::SingleJoins);
            if me_too && joins && self.now < self.view_at && !single {
                view_at = self.view_at.min(self.now + self.config.coalesce_joins);
                // The joins wait; everything else about the members is news for the routers already.
                self.hold_back(&mut next);
            }
        }
        let same = next.iter().map(Present::all).eq(self.view.members().iter().map(all));
        let revised = (!same).then(|| next.iter().map(Present::member).collect());
        let waited = self.joins_wait();
        self.view_at = view_at;
        if waited && !self.joins_wait() {
            self.dirty.append(&mut self.on_hold);
        }
        if let Some(members) = revised {
            self.enter(self.view.revised(members));
        }
    }

    /// Nests are up that aren't in the view's ring yet: it is about to change.
    pub(super) fn joins_wait(&self) -> bool {
        self.view_at != Time::NEVER
    }

    fn members_now(&self) -> Vec<Present<'_>> {
        let (me, alive) = (self.id, self.swim.alive());
        let above = alive.range((Bound::Excluded(me), Bound::Unbounded));
        let ids = alive.range(..me).chain([&me]).chain(above);
        // All three are in order: one walk along them.
        let (mut cards, mut links) =
            (self.roster.entries().peekable(), self.links.ids().peekable());
        let mut members = Vec::with_capacity(alive.len() + 1);
        for &id in ids {
            while cards.next_if(|(other, _)| *other < id).is_some() {}
            let Some((_, card)) = cards.next_if(|(other, _)| *other == id) else { continue };
            if card.left {
                continue;
            }
            while links.next_if(|other| *other < id).is_some() {}
            let via = if id == me {
                Via::Me
            } else if links.peek() == Some(&id) {
                Via::Link
            } else {
                self.relay_to(id).map_or(Via::Nothing, Via::Relay)
            };
            let (state, weight, due) = (card.state, card.weight, card.due);
            members.push(Present { card, state, weight, due, via });
        }
        members
    }

    /// Whether this nest itself stays as it is: for its own coming up or leaving nothing waits. And
    /// whether others came up or took their shares, and nothing else changed in the ring.
    fn what_changes(&self, next: &[Present<'_>]) -> (bool, bool) {
        let next_of = |id: NestId| {
            let at = next.binary_search_by_key(&id, |it| it.card.id).ok()?;
            next.get(at)
        };
        let in_ring = |member: &&Member| member.state != NestState::Joining;
        let me_too = self.view.member(self.id).map(|m| (m.state, m.weight))
            == next_of(self.id).map(|m| (m.state, m.weight));
        let joins = self.view.members().iter().filter(in_ring).all(|old| {
            next_of(old.id).is_some_and(|new| {
                new.state == old.state && (new.weight == old.weight || new.took_share(old))
            })
        });
        (me_too, joins)
    }

    /// Has those that came up shown as joining still, and those that took their shares as waiting.
    fn hold_back(&self, members: &mut [Present<'_>]) {
        for it in members {
            let before = self.view.member(it.card.id);
            if before.is_none_or(|m| m.state == NestState::Joining) {
                it.state = NestState::Joining;
            } else if let Some(before) = before.filter(|before| it.took_share(before)) {
                (it.weight, it.due) = (before.weight, before.due);
            }
        }
    }

    fn enter(&mut self, next: View) {
        let new_ring = next.fingerprint() != self.view.fingerprint();
        if new_ring {
            // What was sealed for the view before counts, also where it wasn't looked at yet.
            self.drop_sealed_newcomers();
        }
        let before = std::mem::replace(&mut self.view, Arc::new(next));
        let view = self.view.clone();
        self.note_missing(&before, &view);
        self.tell_members(&before, &view);
        self.note_shares(&before, &view);
        self.out.push(Effect::Publish(view.clone()));
        for member in view.members() {
            if member.state == NestState::Joining && before.member(member.id).is_none() {
                self.send_held(member.id);
            }
        }
        for gone in before.members().iter().filter(|m| view.member(m.id).is_none()) {
            self.note_gone(gone.id, &gone.name);
            self.forget_member(gone.id);
        }
        for new in view.members().iter().filter(|m| before.member(m.id).is_none()) {
            // As its card says: in the view it may be shown as joining at first.
            let comes_back = self.renewed && self.state == NestState::Joining;
            let lived = |card: &Card| card.state != NestState::Joining || card.renewed;
            if comes_back || self.roster.card(new.id).is_some_and(lived) {
                self.strangers.insert(new.id);
            }
        }
        if new_ring {
            self.enter_ring(&before, &view);
        }
    }

    fn enter_ring(&mut self, before: &View, view: &View) {
        self.gained.extend(view.ring().gained(before.ring(), self.id));
        let in_view = |id: &NestId| {
            *id != self.id && view.member(*id).is_some_and(|m| m.state != NestState::Joining)
        };
        let new = view
            .members()
            .iter()
            .filter(|m| before.member(m.id).is_none_or(|old| old.state == NestState::Joining));
        let newcomers: BTreeSet<NestId> =
            new.map(|m| m.id).chain(self.newcomers.iter().copied()).filter(in_view).collect();
        self.newcomers = if planted(Bug::UnsealedNewcomers) { BTreeSet::new() } else { newcomers };
        if !self.newcomers.is_empty() {
            let strangers = self.strangers.len();
            self.strangers.retain(|id| !self.newcomers.contains(id));
            self.on_reunion(self.strangers.len() < strangers);
        }
        // What others listed for arcs that are no longer ours is not ours to wait for.
        self.listed.retain(|name, _| view.owner(name.hash64()) == Some(self.id));
        // Whom they waited for may be gone, or they may belong to others now.
        self.look_at_all();
        self.dirty.extend(self.routed.keys().cloned());
        // Before the seals, which list what is held: what goes back is listed by whom it goes to.
        let theirs = |name: &&crate::BirdName| view.owner(name.hash64()) != Some(self.id);
        for name in self.offers.keys().filter(theirs).cloned().collect::<Vec<_>>() {
            self.refuse_offers(&name);
        }
        self.see_to_copies();
        let here = self.birds.keys().chain(self.snaps.keys());
        let mut away = BTreeMap::<NestId, NameSet>::new();
        for name in here {
            if let Some(owner) = view.owner(name.hash64()).filter(|&owner| owner != self.id) {
                away.entry(owner).or_default().insert(name.clone());
            }
        }
        self.away = away;
        self.note_away();
        self.queue.clear();
        // Also one that names this view: it was given when the same members made the view before,
        // and its author may not be settled this time. The seals below ask for another; one that is
        // under way answers an earlier seal.
        if !planted(Bug::StaleReady) {
            self.ready.clear();
            self.entered = self.seal_seq;
        }
        for member in view.members() {
            if member.state != NestState::Joining {
                self.send_seal(member.id);
            }
        }
        let fitting: Vec<NestId> = self
            .seals
            .iter()
            .filter(|(_, seal)| seal.view == view.fingerprint())
            .map(|(id, _)| id)
            .collect();
        for id in fitting {
            self.apply_seal(id);
        }
        self.resend_all_asks();
    }

    /// Forgets all that has to do with the view: this nest is no part of it any more.
    pub(super) fn forget_view(&mut self) {
        let members: Vec<NestId> = self.view.ids().collect();
        for id in members {
            self.forget_member(id);
        }
        self.gained.clear();
        self.newcomers.clear();
        self.strangers.clear();
        self.listed.clear();
        self.in_flight.clear();
        self.forget_lanes();
        self.queue.clear();
        self.away.clear();
        self.acked.clear();
        self.told.clear();
        self.accepted.clear();
        self.deaths.clear();
        self.probing.clear();
        self.members_changed = true;
    }

    /// Forgets what a nest that is gone has sealed, listed and promised. What it sent for good
    /// (a bird that departed from there) stays.
    fn forget_member(&mut self, id: NestId) {
        self.seals.remove(id);
        self.parts.remove(&id);
        self.demanding.remove(&id);
        self.seal_changes += 1;
        self.knowledge.remove(id);
        self.ready.remove(&id);
        self.readied.remove(&id);
        self.held.remove(&id);
        self.acked.remove(id);
        self.told.remove(id);
        self.forget_peer(id);
        self.newcomers.remove(&id);
        self.strangers.remove(&id);
        self.early_ends.remove(&id);
        self.queue.remove(&id);
        self.skewed.remove(&id);
        for name in self.listed_by(id) {
            self.unlist(&name, id);
        }
        self.free_snaps_sent_to(id);
    }

    fn tell_members(&mut self, before: &View, view: &View) {
        let me = self.id;
        for member in view.members().iter().filter(|m| m.id != me) {
            let old = before.member(member.id).map(|m| m.state);
            if old.is_none() {
                self.tell(Event::NestSeen(member.name.clone()));
            }
            if old != Some(member.state) {
                match member.state {
                    NestState::Joining => {}
                    NestState::Up => self.tell(Event::NestUp(member.name.clone())),
                    NestState::Leaving => self.tell(Event::NestLeaving(member.name.clone())),
                }
            }
        }
        for gone in before.members().iter().filter(|m| view.member(m.id).is_none()) {
            // A nest that renewed its own incarnation isn't gone.
            if gone.name == self.me.name {
                continue;
            }
            let left = self.roster.named(&gone.name).is_some_and(|c| c.id == gone.id && c.left);
            let name = gone.name.clone();
            self.tell(if left { Event::NestLeft(name) } else { Event::NestDown(name) });
        }
    }
}
