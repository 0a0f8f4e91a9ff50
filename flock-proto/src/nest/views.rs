//! From members to views, and who is settled in them.
//!
//! A nest that enters a view *seals* it towards every other: "this is what I know, and this is
//! what I run of the names that are yours now". Who has the seals of all others for its own view,
//! and knows what they know, is *settled*: nobody can run a bird of its arcs without its knowledge.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::Arc;

use super::Nest;
use crate::bugs::{Bug, planted};
use crate::wire::{Card, Ended, Frame, Listed, Ready, Seal};
use crate::{Effect, Event, Fingerprint, Member, NestId, NestState, Time, Via, View};

impl Nest {
    /// Brings the view up to date. Joins are gathered for a while, so that many nests that start
    /// together change the ring once. A death or a leave counts at once.
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
        let next = self.members_now();
        self.links_changed = false;
        self.members_changed = false;
        if View::fingerprint_of(&next) == self.view.fingerprint() {
            self.view_at = Time::NEVER;
            return self.enter_unless_same(next);
        }
        let (me_too, joins) = self.what_changes(&next);
        let single = planted(Bug::SingleJoins);
        if me_too && joins && self.now < self.view_at && !single {
            if self.view_at == Time::NEVER {
                self.view_at = self.now + self.config.coalesce_joins;
            }
            // The joins wait; everything else about the members is news for the routers already.
            return self.enter_unless_same(self.members_held_back(&next));
        }
        self.view_at = Time::NEVER;
        self.enter(self.view.revised(next));
    }

    fn enter_unless_same(&mut self, members: Vec<Member>) {
        if members != self.view.members() {
            self.enter(self.view.revised(members));
        }
    }

    fn members_now(&self) -> Vec<Member> {
        // In order.
        let (me, alive) = (self.id, self.swim.alive());
        let above = alive.range((Bound::Excluded(me), Bound::Unbounded));
        let ids = alive.range(..me).chain([&me]).chain(above);
        ids.filter_map(|&id| self.roster.card(id))
            .filter(|card| !card.left)
            .map(|card| Member {
                id: card.id,
                name: card.name.clone(),
                address: card.address.clone(),
                state: card.state,
                weight: card.weight,
                via: self.via(card.id),
            })
            .collect()
    }

    fn via(&self, id: NestId) -> Via {
        if id == self.id {
            Via::Me
        } else if self.links.contains(id) {
            Via::Link
        } else {
            self.relay_to(id).map_or(Via::Nothing, Via::Relay)
        }
    }

    /// Whether this nest itself stays as it is: for its own coming up or leaving nothing waits. And
    /// whether others came up, and nothing else changed in the ring.
    fn what_changes(&self, next: &[Member]) -> (bool, bool) {
        let next_of = |id: NestId| {
            let at = next.binary_search_by_key(&id, |m| m.id).ok()?;
            next.get(at)
        };
        let in_ring = |member: &&Member| member.state != NestState::Joining;
        let me_too =
            self.view.member(self.id).map(|m| m.state) == next_of(self.id).map(|m| m.state);
        let joins = self.view.members().iter().filter(in_ring).all(|old| {
            next_of(old.id).is_some_and(|new| new.state == old.state && new.weight == old.weight)
        });
        (me_too, joins)
    }

    /// The members as they are, with those that came up still shown as joining.
    fn members_held_back(&self, members: &[Member]) -> Vec<Member> {
        let mut members = members.to_vec();
        for member in &mut members {
            let up_before =
                self.view.member(member.id).is_some_and(|m| m.state != NestState::Joining);
            if !up_before {
                member.state = NestState::Joining;
            }
        }
        members
    }

    fn enter(&mut self, next: View) {
        let new_ring = next.fingerprint() != self.view.fingerprint();
        let before = std::mem::replace(&mut self.view, Arc::new(next));
        let view = self.view.clone();
        self.tell_members(&before, &view);
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
        self.dirty.extend(self.birds.keys().cloned());
        self.dirty.extend(self.snaps.keys().cloned());
        self.dirty.extend(self.offers.keys().cloned());
        self.dirty.extend(self.wanted.iter().cloned());
        self.dirty.extend(self.routed.keys().cloned());
        self.dirty.extend(self.served_names.keys().cloned());
        // Whom they waited for may be gone, or they may belong to others now.
        self.dirty.append(&mut self.on_hold);
        // Before the seals, which list what is held: what goes back is listed by whom it goes to.
        let theirs = |name: &&crate::BirdName| view.owner(name.hash64()) != Some(self.id);
        for name in self.offers.keys().filter(theirs).cloned().collect::<Vec<_>>() {
            self.refuse_offers(&name);
        }
        let here = self.birds.keys().chain(self.snaps.keys());
        let mut away = BTreeMap::<NestId, BTreeSet<crate::BirdName>>::new();
        for name in here {
            if let Some(owner) = view.owner(name.hash64()).filter(|&owner| owner != self.id) {
                away.entry(owner).or_default().insert(name.clone());
            }
        }
        self.away = away;
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
        let members: Vec<NestId> = self.view.members().iter().map(|m| m.id).collect();
        for id in members {
            self.forget_member(id);
        }
        self.gained.clear();
        self.newcomers.clear();
        self.strangers.clear();
        self.listed.clear();
        self.in_flight.clear();
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
        let names: Vec<_> = self
            .listed
            .iter()
            .filter(|(_, from)| from.contains_key(&id))
            .map(|(name, _)| name.clone())
            .collect();
        for name in names {
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

    pub(super) fn send_seal(&mut self, to: NestId) {
        let wanted = self.is_seal_wanted(to);
        self.send_seal_and(to, wanted);
    }

    fn send_seal_and(&mut self, to: NestId, wanted: bool) {
        if to == self.id || self.state == NestState::Joining {
            return;
        }
        self.seal_seq += 1;
        let known = self.registry.vector_digest();
        let same = self.knowledge.get(to) == Some(&known);
        let seal = Seal {
            view: self.view.fingerprint(),
            seq: self.seal_seq,
            wanted,
            known,
            vector: (!same).then(|| self.registry.vector().clone()),
            listing: self.listing_for(to),
        };
        self.send(to, &Frame::Seal(seal));
    }

    /// Names that the view gives to that nest, and that this one runs, or holds for moving on.
    fn listing_for(&self, to: NestId) -> Vec<Listed> {
        let mut listing = Vec::new();
        for name in self.away.get(&to).into_iter().flatten() {
            let bird = self.birds.get(name).map(|bird| (bird.record.birth, bird.fence));
            let snap = self.snaps.get(name).map(|snap| (snap.birth, snap.fence));
            let life = if planted(Bug::UnlistedSnaps) { bird } else { bird.or(snap) };
            listing.extend(life.map(|(birth, fence)| Listed { name: name.clone(), birth, fence }));
        }
        listing
    }

    /// Seals anew towards those whose own seal is missing: one of the two may have been lost.
    pub(super) fn ask_missing_seals(&mut self) {
        let by = (self.view.fingerprint(), self.seal_changes);
        if self.all_sealed == Some(by) && self.is_settled_everywhere() {
            return;
        }
        let others = self.view.members().iter().filter(|m| m.id != self.id);
        let sealing = others.filter(|m| m.state != NestState::Joining).map(|m| m.id);
        let missing: Vec<NestId> = sealing.filter(|&id| self.is_seal_wanted(id)).collect();
        self.all_sealed = missing.is_empty().then_some(by);
        for id in missing {
            self.send_seal(id);
        }
    }

    /// Whether its seal is missing, or it must follow our horizon before it can be settled by.
    fn is_seal_wanted(&self, of: NestId) -> bool {
        let settled = self.is_settled_everywhere();
        self.seals.get(of).is_none_or(|seal| {
            seal.view != self.view.fingerprint() || (!settled && self.is_behind(of))
        })
    }

    pub(super) fn on_seal(&mut self, from: NestId, mut seal: Seal) {
        if self.seals.get(from).is_some_and(|last| last.seq >= seal.seq) {
            return;
        }
        self.knowledge.insert(from, seal.known);
        let same = seal.known == self.registry.vector_digest() || planted(Bug::BelievedSeals);
        if !same && seal.vector.is_none() {
            // What its author knows was known here, and isn't any more, or the other way round. As
            // if it had been lost on the way; the answer to ours will say all.
            return self.send_seal_and(from, true);
        }
        self.note_known(from, seal.vector.as_ref().filter(|_| !same));
        if same {
            seal.vector = None;
        }
        let fits = seal.view == self.view.fingerprint();
        let wanted = seal.wanted;
        if seal.vector.is_some() {
            self.demanding.insert(from, None);
        } else {
            self.demanding.remove(&from);
        }
        self.seals.insert(from, seal);
        self.seal_changes += 1;
        // It says what is listed, and what must be known before that counts.
        self.early_ends.remove(&from);
        if fits {
            self.apply_seal(from);
            if wanted {
                self.send_seal(from);
            }
        }
        // A bird that was refused departs again once its owner has sealed our view.
        self.dirty.extend(self.snaps.keys().cloned());
    }

    fn apply_seal(&mut self, from: NestId) {
        let Some(seal) = self.seals.get(from) else { return };
        let vector = seal.vector.as_ref().filter(|v| !self.registry.vector().covers_all(v));
        let behind = vector.is_some();
        let after = vector.map_or(0, |vector| vector.seq(from));
        let listing = seal.listing.clone();
        let names: Vec<_> = self
            .listed
            .iter()
            .filter(|(_, by)| by.contains_key(&from))
            .map(|(name, _)| name.clone())
            .collect();
        for name in names {
            let listed = self.listed.get(&name).and_then(|by| by.get(&from)).cloned();
            let over = listing.iter().all(|entry| entry.name != name);
            match listed.filter(|_| behind && over && !planted(Bug::EarlyEnds)) {
                // What became of it is not known here yet: as with an end that comes too early.
                Some(Listed { name, birth, fence }) => {
                    let ended = Ended { name, birth, fence, after };
                    self.early_ends.entry(from).or_default().push(ended);
                }
                None => self.unlist(&name, from),
            }
        }
        for entry in listing {
            let mine = self.view.owner(entry.name.hash64()) == Some(self.id);
            if mine && !self.was_accepted(&entry.name, entry.fence) {
                self.dirty.insert(entry.name.clone());
                self.listed.entry(entry.name.clone()).or_default().insert(from, entry);
            }
        }
        if behind {
            self.send_status(from, true);
        }
    }

    /// Settles arcs whose seals are all in, and tells those who listed for us to let go.
    pub(super) fn check_settled(&mut self) {
        // Between two changes of these nothing can come of it, and it looks at every seal.
        let by = (self.view.fingerprint(), self.registry.vector_digest(), self.seal_changes);
        let last = self.checked_by.replace(by);
        if last == Some(by) {
            return;
        }
        let covered = self.drop_covered();
        let same = last.is_some_and(|last| (last.0, last.2) == (by.0, by.2));
        if same && !covered && self.newcomers.is_empty() && self.gained.is_empty() {
            // Some operation came, as happens all the time: no seal is another for that.
            return;
        }
        let view = self.view.clone();
        let waits = |nest: &Self, id: &NestId| {
            nest.seals.get(*id).is_none_or(|seal| {
                (seal.view != view.fingerprint() && !planted(Bug::ForeignSeals))
                    || (seal.vector.is_some() && !planted(Bug::BlindSettling))
                    // It holds what is retired here, and will write that anew.
                    || nest.is_behind(*id)
            })
        };
        if !self.newcomers.is_empty() {
            let mut left = std::mem::take(&mut self.newcomers);
            left.retain(|id| waits(self, id));
            self.newcomers = left;
            if self.newcomers.is_empty() {
                self.settled_now();
            }
        }
        if !self.gained.is_empty() {
            let all = view
                .members()
                .iter()
                .filter(|m| m.id != self.id && m.state != NestState::Joining)
                .all(|m| !waits(self, &m.id));
            if all && self.newcomers.is_empty() {
                let gained = std::mem::take(&mut self.gained);
                self.unseen.extend(gained.iter().flat_map(|arc| arc.ranges()));
                self.settled_now();
            }
        }
        if self.newcomers.is_empty() && self.gained.is_empty() {
            self.tell_ready(view.fingerprint());
        }
    }

    /// Drops what seals require and is known by now, which it is for good. Whether there was any.
    fn drop_covered(&mut self) -> bool {
        if self.demanding.is_empty() {
            return false;
        }
        let (known, digest) = (self.registry.vector(), self.registry.vector_digest());
        let (seals, before) = (&mut self.seals, self.demanding.len());
        self.demanding.retain(|id, seen_by| {
            // Nothing was learnt since.
            if seen_by.replace(digest) == Some(digest) {
                return true;
            }
            let vector = seals.get_mut(*id).map(|seal| &mut seal.vector);
            vector.is_some_and(|vector| {
                drop(vector.take_if(|vector| known.covers_all(vector)));
                vector.is_some()
            })
        });
        self.demanding.len() < before
    }

    /// Looks at some names of the arcs gained: birds may be due here that nobody asks for. A nest that
    /// joins gains them by the hundred thousand, and must answer heartbeats in between.
    pub(super) fn look_at_gained(&mut self) {
        let (view, id, mut room) = (self.view.clone(), self.id, self.config.gained_at_once);
        while let Some((from, to)) = self.unseen.pop_front() {
            let mut rest = None;
            let mut last = from;
            for name in self.registry.names_in(from..=to) {
                let hash = name.hash64();
                // Cut between two hashes only: names that share one come together.
                if room == 0 && hash != last {
                    rest = Some(hash);
                    break;
                }
                (room, last) = (room.saturating_sub(1), hash);
                if view.owner(hash) == Some(id) {
                    self.dirty.insert(name);
                }
            }
            if let Some(hash) = rest {
                return self.unseen.push_front((hash, to));
            }
        }
    }

    fn settled_now(&mut self) {
        self.dirty.extend(self.listed.keys().cloned());
        self.dirty.extend(self.offers.keys().cloned());
        self.dirty.extend(self.snaps.keys().cloned());
        self.dirty.extend(self.wanted.iter().cloned());
        self.dirty.extend(self.served_names.keys().cloned());
        self.dirty.append(&mut self.on_hold);
    }

    fn tell_ready(&mut self, view: Fingerprint) {
        let due: Vec<(NestId, u64)> = self
            .seals
            .iter()
            .filter(|(id, seal)| {
                seal.view == view
                    && !seal.listing.is_empty()
                    && self.readied.get(id) != Some(&seal.seq)
                    // One that came back, to a view that this nest never left, may list births
                    // that are not known here: their departs would be answered with `Gone`.
                    && seal.vector.is_none()
            })
            .map(|(id, seal)| (id, seal.seq))
            .collect();
        for (id, seq) in due {
            self.readied.insert(id, seq);
            self.send(id, &Frame::Ready(Ready { view, seal: seq }));
        }
    }

    pub(super) fn on_ready(&mut self, from: NestId, ready: Ready) {
        if ready.seal <= self.entered {
            return;
        }
        self.ready.insert(from, ready.view);
        if ready.view != self.view.fingerprint() {
            return;
        }
        self.dirty.extend(self.away.get(&from).into_iter().flatten().cloned());
    }

    /// Whether this nest may decide about names of this hash.
    pub(super) fn is_settled(&self, hash: u64) -> bool {
        self.newcomers.is_empty() && !self.gained.iter().any(|arc| arc.contains(hash))
    }

    pub(super) fn owns(&self, hash: u64) -> bool {
        self.view.owner(hash) == Some(self.id)
    }
}
