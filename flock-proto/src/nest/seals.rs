//! Who is settled in a view.
//!
//! A nest that enters a view *seals* it towards every other: "this is what I know, and this is
//! what I run of the names that are yours now". Who has the seals of all others for its own view,
//! and knows what they know, is *settled*: nobody can run a bird of its arcs without its knowledge.

use std::collections::{BTreeMap, BTreeSet};

use super::Nest;
use crate::bugs::{Bug, planted};
use crate::name_sets::NameSet;
use crate::wire::{Ended, Frame, Listed, Listing, Ready, Seal};
use crate::{Fingerprint, NestId, NestState, ring};

/// A listing of more parts than these is taken for nonsense, lest it fill the memory: 16 million names.
const MAX_PARTS: u32 = 4096;

/// The parts of a listing that came so far; the seal comes last.
#[derive(Debug, Default)]
pub(super) struct Parts {
    seal: u64,
    parts: u32,
    listing: Vec<Listed>,
}

impl Nest {
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
        let same = self.knowledge.get(to) == Some(&known) || planted(Bug::BelievedSeals);
        // One frame would be too long for half a million names, as a joiner may be due.
        let most = self.config.listed_at_once.max(1);
        let (mut rest, mut parts) = (self.listing_for(to).into_iter(), 0);
        while rest.len() > most {
            let listing = rest.by_ref().take(most).collect();
            let part = Listing { seal: self.seal_seq, part: parts, listing };
            self.send(to, &Frame::Listing(part));
            parts += 1;
        }
        let seal = Seal {
            view: self.view.fingerprint(),
            seq: self.seal_seq,
            wanted,
            known,
            vector: (!same).then(|| self.registry.vector().clone()),
            listing: rest.collect(),
            parts,
        };
        self.send(to, &Frame::Seal(seal));
    }

    /// Names that the view gives to that nest, and that this one runs, or holds for moving on.
    fn listing_for(&self, to: NestId) -> Vec<Listed> {
        let mut listing = Vec::new();
        for name in self.away.get(&to).into_iter().flat_map(NameSet::iter) {
            let bird = self.birds.get(name).map(|bird| (bird.birth, bird.fence));
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

    /// Whether that seal, or one after it, is here.
    fn is_late(&self, from: NestId, seq: u64) -> bool {
        self.seals.get(from).is_some_and(|last| last.seq >= seq)
    }

    pub(super) fn on_listing(&mut self, from: NestId, part: Listing) {
        // Of one that is gone nothing would ever take it away. Where that is yet to be met, its seal is repeated.
        let is_known = self.links.contains(from) || self.view.member(from).is_some();
        if self.is_late(from, part.seal) || !is_known {
            return;
        }
        let so_far = self.parts.entry(from).or_default();
        if part.part == 0 {
            *so_far = Parts { seal: part.seal, ..Parts::default() };
        }
        // What belongs to another seal, or lacks a part before it, is of no use without that.
        if (so_far.seal, so_far.parts) == (part.seal, part.part) && part.part < MAX_PARTS {
            so_far.parts += 1;
            so_far.listing.extend(part.listing);
        }
    }

    /// Puts a seal's listing together; false if a part of it was lost.
    fn complete(&mut self, from: NestId, seal: &mut Seal) -> bool {
        let parts = self.parts.remove(&from).filter(|parts| parts.seal == seal.seq);
        let parts = parts.unwrap_or_default();
        if planted(Bug::LostListings) {
            return true;
        }
        let whole = parts.parts == seal.parts;
        let mut listing = parts.listing;
        listing.append(&mut seal.listing);
        seal.listing = listing;
        whole
    }

    pub(super) fn on_seal(&mut self, from: NestId, mut seal: Seal) {
        if self.is_late(from, seal.seq) {
            return;
        }
        if !self.complete(from, &mut seal) {
            // As if it had been lost, too: it is repeated as long as there is no link.
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
        if same || seal.vector.as_ref().is_some_and(|v| self.registry.vector().covers_all(v)) {
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
        // It says what is listed, and what must be known before that counts. But a state comes once.
        if let Some(ends) = self.early_ends.get_mut(&from) {
            ends.retain(|ended| ended.left.is_some());
        }
        if fits {
            self.apply_seal(from);
            if wanted {
                self.send_seal(from);
            }
        }
        // A bird that was refused departs again once its owner has sealed our view.
        self.dirty.extend(self.snaps.keys().cloned());
    }

    /// Takes what a seal for our view lists instead of what its author listed before.
    pub(super) fn apply_seal(&mut self, from: NestId) {
        let Some(seal) = self.seals.get(from) else { return };
        let vector = seal.vector.as_ref().filter(|v| !self.registry.vector().covers_all(v));
        let behind = vector.is_some();
        let after = vector.map_or(0, |vector| vector.seq(from));
        let listing = seal.listing.clone();
        let names = self.listed_by(from);
        // Of listings there may be hundreds of thousands, and mostly none came before: no set for those.
        let still: BTreeSet<&crate::BirdName> = if behind && !names.is_empty() {
            listing.iter().map(|entry| &entry.name).collect()
        } else {
            BTreeSet::new()
        };
        for name in names {
            let listed = self.listed.get(&name).and_then(|by| by.get(&from)).cloned();
            let over = !still.contains(&name);
            match listed.filter(|_| behind && over && !planted(Bug::EarlyEnds)) {
                // What became of it is not known here yet: as with an end that comes too early.
                Some(Listed { name, birth, fence }) => {
                    let ended = Ended { name, birth, fence, after, left: None };
                    self.early_ends.entry(from).or_default().push(ended);
                }
                None => self.unlist(&name, from),
            }
        }
        for entry in listing {
            let mine = self.view.owner(entry.name.hash64()) == Some(self.id);
            if mine && !self.was_accepted(&entry.name, from, entry.fence) {
                self.dirty.insert(entry.name.clone());
                let listed = self.listed.get_or_insert_with(&entry.name, BTreeMap::new);
                listed.insert(from, entry);
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
        if self.settles_after.is_some_and(|id| self.blocks(id) && self.is_waited_for(id)) {
            // While many join, hundreds of seals come after one of which it can't be settled.
            return;
        }
        let covered = self.drop_covered();
        let same = last.is_some_and(|last| (last.0, last.2) == (by.0, by.2));
        if same && !covered && self.is_settled_everywhere() {
            // Some operation came, as happens all the time: no seal is another for that.
            return;
        }
        let view = self.view.clone();
        self.drop_sealed_newcomers();
        self.settles_after = self.newcomers.first().copied();
        if !self.gained.is_empty() && self.newcomers.is_empty() {
            let mut sealing = view
                .members()
                .iter()
                .filter(|m| m.id != self.id && m.state != NestState::Joining)
                .map(|m| m.id);
            self.settles_after = sealing.find(|id| self.is_waited_for(*id));
            if self.settles_after.is_none() {
                let gained = std::mem::take(&mut self.gained);
                self.unseen.extend(gained.iter().flat_map(|arc| arc.ranges()));
                self.settled_now();
            }
        }
        if self.is_settled_everywhere() {
            self.tell_ready(view.fingerprint());
        }
    }

    /// Whether something here can't be settled without a seal of this nest.
    fn blocks(&self, id: NestId) -> bool {
        let sealing = |m: &crate::Member| m.id != self.id && m.state != NestState::Joining;
        self.newcomers.contains(&id)
            || (!self.gained.is_empty() && self.view.member(id).is_some_and(sealing))
    }

    /// Whether this nest's seal for the view is missing, or requires what isn't known here.
    fn is_waited_for(&self, id: NestId) -> bool {
        let known = self.registry.vector();
        self.seals.get(id).is_none_or(|seal| {
            let lacks = seal.vector.as_ref().is_some_and(|vector| !known.covers_all(vector));
            (seal.view != self.view.fingerprint() && !planted(Bug::ForeignSeals))
                || (lacks && !planted(Bug::BlindSettling))
                // It holds what is retired here, and will write that anew.
                || self.is_behind(id)
        })
    }

    /// Those that are new in the view and have sealed it aren't waited for, in later views either.
    pub(super) fn drop_sealed_newcomers(&mut self) {
        if self.newcomers.is_empty() {
            return;
        }
        let mut left = std::mem::take(&mut self.newcomers);
        left.retain(|id| self.is_waited_for(*id));
        self.newcomers = left;
        if self.newcomers.is_empty() {
            self.settled_now();
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

    /// Has names looked at of which no life is here, but something that waits.
    pub(super) fn settled_now(&mut self) {
        self.dirty.extend(self.listed.keys().cloned());
        self.dirty.extend(self.offers.keys().cloned());
        self.dirty.extend(self.snaps.keys().cloned());
        self.dirty.extend(self.wanted.iter().cloned());
        self.dirty.extend(self.served_names.keys().cloned());
        self.dirty.append(&mut self.on_hold);
    }

    /// The same, and the lives that are here.
    pub(super) fn look_at_all(&mut self) {
        self.dirty.extend(self.birds.keys().cloned());
        self.settled_now();
    }

    /// Also birds that nobody asks for, and that live nowhere.
    pub(super) fn look_at_everything(&mut self) {
        self.look_at_all();
        self.unseen.extend(ring::Arc::whole().ranges());
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
        self.dirty.extend(self.away.get(&from).into_iter().flat_map(NameSet::iter).cloned());
    }

    /// Whether this nest may decide about names of this hash.
    pub(super) fn is_settled(&self, hash: u64) -> bool {
        self.newcomers.is_empty()
            && !self.gained.iter().any(|arc| arc.contains(hash))
            && !self.may_live_out_of_sight(hash)
    }

    pub(super) fn owns(&self, hash: u64) -> bool {
        self.view.owner(hash) == Some(self.id)
    }
}
