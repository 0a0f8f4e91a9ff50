//! Hand-over: a bird moves from the nest that ran it to the one that owns it now.
//!
//! The old owner serves until the new one is ready; then it ends the life, keeps what is left of
//! it as a *snap*, and offers it. It forgets the snap only when told that the bird lives elsewhere.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::Bytes;

use super::Nest;
use super::birds::{Bird, Phase};
use crate::bugs::{Bug, planted};
use crate::name_sets::NameSet;
use crate::wire::{Carried, Depart, Frame, Life, LifeId, Refused, Snapshot};
use crate::{BirdName, Dot, Effect, Event, Fence, NestId, Route};

/// What is left of a life that ended here so as to go on elsewhere.
#[derive(Debug)]
pub(super) struct Snap {
    pub(super) birth: Dot,
    pub(super) fence: Fence,
    pub(super) crashes: Vec<Duration>,
    pub(super) carried: Carried,
    /// To whom it was offered; no answer came yet.
    sent_to: Option<NestId>,
    /// Its bird was stopped, or ended: whoever has the name since is another.
    pub(super) ends_here: bool,
}

impl Snap {
    /// The copy of a life whose nest is gone.
    pub(super) fn of_copy(birth: Dot, fence: Fence, copy: Snapshot) -> Self {
        let (standby, others) = (true, Vec::new());
        let carried = Carried { snapshot: Some(copy), others, standby, copy: true };
        Self { birth, fence, crashes: Vec::new(), carried, sent_to: None, ends_here: false }
    }

    #[cfg(feature = "sim")]
    pub(super) fn is_sent_to(&self, nest: Option<NestId>) -> bool {
        self.sent_to == nest
    }

    pub(super) const fn is_sent(&self) -> bool {
        self.sent_to.is_some()
    }
}

/// A bird that another nest hands over.
#[derive(Debug)]
pub(super) struct Offer {
    pub(super) birth: Dot,
    pub(super) fence: Fence,
    crashes: Vec<Duration>,
    pub(super) carried: Carried,
}

impl Offer {
    /// The greater, the later it is: of one life there may be several copies.
    fn rank(&self) -> (Fence, u64) {
        let snapshot = self.carried.snapshot.as_ref();
        (self.fence, snapshot.map_or(0, |snapshot| snapshot.moment().reach()))
    }
}

/// What a new life must know of the one before.
#[derive(Debug, Default)]
pub(super) struct Before {
    pub(super) fence: Fence,
    pub(super) crashes: Vec<Duration>,
    pub(super) carried: Carried,
    /// Nests that keep what they gave of it, until a copy of the new life is held elsewhere.
    pub(super) givers: BTreeSet<NestId>,
}

impl Nest {
    /// Takes a bird out of service that belongs to another nest, once that one is ready for it.
    pub(super) fn depart_when_ready(&mut self, name: &BirdName, hash: u64) {
        let Some(owner) = self.view.owner(hash) else { return };
        if self.is_ahead(owner) {
            return;
        }
        let ready = self
            .ready
            .get(&owner)
            .is_some_and(|&view| view == self.view.fingerprint() || planted(Bug::StaleReady));
        if (!ready && !planted(Bug::EarlyDeparts)) || self.snaps.contains_key(name) {
            return;
        }
        if !self.may_depart(owner) {
            self.queue.entry(owner).or_default().insert(name.clone());
            return;
        }
        self.in_flight.entry(owner).or_default().insert(name.clone());
        self.note_departure();
        if let Some(bird) = self.birds.get_mut(name) {
            bird.phase = Phase::Departing;
            let fence = bird.fence;
            self.out.push(Effect::Depart { name: name.clone(), fence });
        }
    }

    /// A bird is no longer on its way: the next may be called up.
    pub(super) fn release_window(&mut self, name: &BirdName) {
        for window in self.in_flight.values_mut() {
            window.remove(name);
        }
        self.in_flight.retain(|_, window| !window.is_empty());
        let held_back = std::mem::take(&mut self.held_back).into_values();
        self.dirty.extend(held_back.flat_map(NameSet::into_names));
    }

    pub(super) fn on_departed(
        &mut self,
        name: BirdName,
        fence: Fence,
        crashes: Vec<Duration>,
        state: Option<Bytes>,
    ) {
        let Some(mut bird) = self.take_bird(&name, fence) else { return };
        let carried = self.carried_by(&name, &mut bird, state);
        let Bird { birth, fence, ends_here, .. } = bird;
        let snap = Snap { birth, fence, crashes, carried, sent_to: None, ends_here };
        self.snaps.insert(name.clone(), snap);
        self.dirty.insert(name);
    }

    /// What becomes of a snap whose name belongs to another nest.
    pub(super) fn move_on(&mut self, name: &BirdName, hash: u64) {
        let Some(snap) = self.snaps.get(name) else { return };
        let (birth, sent) = (snap.birth, snap.is_sent());
        let Some(owner) = self.view.owner(hash) else { return };
        if sent {
            return;
        }
        if !self.registry.is_alive(name, birth) {
            return self.give_way(name, Route::To(owner));
        }
        // Only to an owner that sees the view as we do: else the two would go back and forth.
        let agrees = self.seals.get(owner).is_some_and(|seal| seal.view == self.view.fingerprint())
            && !self.is_ahead(owner);
        if agrees || planted(Bug::EagerOffers) {
            if self.is_too_much(name, owner) {
                self.held_back.entry(owner).or_default().insert(name.clone());
                return;
            }
            if let Some(snap) = self.snaps.get_mut(name) {
                snap.sent_to = Some(owner);
            }
            self.send_depart(name, owner);
            if planted(Bug::ForgottenSnaps) {
                self.drop_snap(name, Route::To(owner));
            }
        }
    }

    /// Whether too much state is under way to that nest already.
    fn is_too_much(&self, name: &BirdName, owner: NestId) -> bool {
        let size = self.snaps.get(name).map_or(0, |snap| snap.carried.size());
        let sent = self.snaps.values().filter(|snap| size > 0 && snap.sent_to == Some(owner));
        let under_way: usize = sent.map(|snap| snap.carried.size()).sum();
        under_way > 0 && under_way + size > self.config.depart_bytes
    }

    fn send_depart(&mut self, name: &BirdName, to: NestId) {
        let Some(snap) = self.snaps.get(name) else { return };
        let life = Life { name: name.clone(), birth: snap.birth, fence: snap.fence };
        let mut crashes = snap.crashes.clone();
        if planted(Bug::ForgottenCrashes) {
            crashes.clear();
        }
        let carried = snap.carried.clone();
        let depart = Depart { life, crashes, carried };
        self.send(to, &Frame::Depart(depart));
    }

    /// The link opened anew: what was offered may never have arrived.
    pub(super) fn resend_departs(&mut self, to: NestId) {
        let names: Vec<_> = self
            .snaps
            .iter()
            .filter(|(_, snap)| snap.sent_to == Some(to))
            .map(|(name, _)| name.clone())
            .collect();
        for name in names {
            self.send_depart(&name, to);
        }
    }

    /// To whom snaps were offered that weren't answered.
    pub(super) fn offered_to(&self) -> BTreeSet<NestId> {
        self.snaps.values().filter_map(|snap| snap.sent_to).collect()
    }

    /// The nest to which snaps were offered is gone: they are ours to offer again, or to hatch.
    pub(super) fn free_snaps_sent_to(&mut self, id: NestId) {
        for (name, snap) in self.snaps.iter_mut() {
            if snap.sent_to == Some(id) {
                snap.sent_to = None;
                self.dirty.insert(name.clone());
            }
        }
    }

    fn drop_snap(&mut self, name: &BirdName, route: Route) {
        let Some(snap) = self.snaps.remove(name) else { return };
        if !planted(Bug::LeakingWindow) {
            self.release_window(name);
        }
        self.held_back.retain(|_, names| {
            names.remove(name);
            !names.is_empty()
        });
        self.out.push(Effect::Route { name: name.clone(), route });
        self.stop_keeping(name);
        // It may have been listed to a later owner than the one that took it.
        self.tell_ended(name, snap.birth, snap.fence, None);
        self.dirty.insert(name.clone());
    }

    fn is_my_snap(&self, life: &Life) -> bool {
        self.snaps
            .get(&life.name)
            .is_some_and(|snap| snap.birth == life.birth && snap.fence == life.fence)
    }

    /// The bird lives at `from` now.
    pub(super) fn on_taken_over(&mut self, from: NestId, life: Life) {
        if !self.is_my_snap(&life) {
            return;
        }
        self.keep_for(&life.name, from);
        let is_copy = self.snaps.get(&life.name).is_some_and(|snap| snap.carried.copy);
        if let Some(to) = self.view.member(from).filter(|_| !is_copy).map(|m| m.name.clone()) {
            self.tell(Event::Moved { bird: life.name.clone(), to });
        }
        self.counters.moves += 1;
        self.drop_snap(&life.name, Route::To(from));
    }

    /// The name was stopped, or another record of it won: `from` knows what is true.
    pub(super) fn on_gone(&mut self, from: NestId, life: Life) {
        if self.is_my_snap(&life) {
            self.give_way(&life.name, Route::To(from));
        }
    }

    /// Drops a snap that goes on nowhere. If its record lost to another, its state is to be in the bird that
    /// goes on, as that of a life that ended here would be.
    fn give_way(&mut self, name: &BirdName, route: Route) {
        let Some(snap) = self.snaps.get(name) else { return };
        let (birth, fence) = (snap.birth, snap.fence);
        let outdone = !snap.ends_here
            && !snap.carried.copy
            && !self.registry.is_alive(name, birth)
            && self.registry.winner_birth(name).is_some();
        let left: Vec<_> =
            if outdone { snap.carried.clone().into_all().collect() } else { Vec::new() };
        self.drop_snap(name, route);
        if left.is_empty() {
            return;
        }
        if self.owns(name.hash64()) {
            left.iter().for_each(|state| self.merge(name, state.clone()));
        }
        self.tell_left(name, birth, fence, left.clone());
        self.note_lost(name, birth, fence, left);
    }

    pub(super) fn on_refused(&mut self, from: NestId, refused: Refused) {
        let name = refused.life.name.clone();
        if !self.is_my_snap(&refused.life) {
            return;
        }
        if let Some(snap) = self.snaps.get_mut(&name)
            && snap.sent_to == Some(from)
        {
            snap.sent_to = None;
            self.dirty.insert(name);
        }
        // It isn't where its seal says: that was given when the same members made the view before,
        // or on another way. It must seal anew.
        if let Some(seal) = self.seals.get_mut(from)
            && seal.view == self.view.fingerprint()
        {
            seal.view = refused.view;
            self.send_seal(from);
        }
    }

    pub(super) fn on_depart(&mut self, from: NestId, depart: Depart) {
        let Depart { life, crashes, carried } = depart;
        if self.was_accepted(&life.name, from, life.fence) {
            return self.send(from, &Frame::Hatched(life));
        }
        if !self.is_known(&life.name, life.birth, from) && self.registry.covers(life.birth) {
            // Its giver is to follow our horizon, and offers it again when it has.
            return self.send_seal(from);
        }
        if self.registry.vector().covers(life.birth)
            && !self.registry.is_alive(&life.name, life.birth)
        {
            self.unlist(&life.name, from);
            return self.send(from, &Frame::Gone(life));
        }
        if !self.owns(life.name.hash64()) {
            let view = self.view.fingerprint();
            return self.send(from, &Frame::Refused(Refused { life, view }));
        }
        let offer = Offer { birth: life.birth, fence: life.fence, crashes, carried };
        self.dirty.insert(life.name.clone());
        self.offers.get_or_insert_with(&life.name, BTreeMap::new).insert(from, offer);
    }

    /// Whether that nest's offer was taken. Of another nest a life may have had the same fence, if
    /// neither had heard of the other.
    pub(super) fn was_accepted(&self, name: &BirdName, from: NestId, fence: Fence) -> bool {
        !planted(Bug::OffersTakenTwice)
            && self
                .accepted
                .get(name)
                .is_some_and(|taken| taken.iter().any(|&(life, _)| life == LifeId(from, fence)))
    }

    /// Everybody who listed the name has made his offer.
    pub(super) fn offers_complete(&self, name: &BirdName) -> bool {
        let offers = self.offers.get(name);
        planted(Bug::IgnoredListings)
            || self
                .listed
                .get(name)
                .is_none_or(|by| by.keys().all(|id| offers.is_some_and(|o| o.contains_key(id))))
    }

    /// Answers all offers of a name. If one is of the winning record, the best of them (the one
    /// with the greatest fence) goes on: here and now, or as what it was if a life runs already. What
    /// the others carry is merged into it. Returns what a new life must know of the old.
    pub(super) fn take_offers(&mut self, name: &BirdName, winner: Option<Dot>) -> Option<Before> {
        let offers = self.offers.remove(name)?;
        let mut best: Option<Offer> = None;
        let mut last = Fence(0);
        let (mut others, mut givers) = (Vec::new(), BTreeSet::new());
        for (from, offer) in offers {
            self.unlist(name, from);
            last = last.max(offer.fence);
            let life = Life { name: name.clone(), birth: offer.birth, fence: offer.fence };
            if Some(offer.birth) != winner {
                others.extend(offer.carried.into_all());
                self.send(from, &Frame::Gone(life));
                continue;
            }
            let taken = (LifeId(from, offer.fence), self.now);
            self.accepted.get_or_insert_with(name, Vec::new).push(taken);
            // Of several stamps the clock has seen all, so that a fresh fence is above them.
            self.clock.observe(self.now, crate::Hlc(offer.fence.0));
            self.send(from, &Frame::Hatched(life));
            if offer.carried.standby {
                givers.insert(from);
            }
            if best.as_ref().is_none_or(|b| b.rank() < offer.rank()) {
                others.extend(best.replace(offer).into_iter().flat_map(|b| b.carried.into_all()));
            } else {
                others.extend(offer.carried.into_all());
            }
        }
        if winner.is_none() {
            others.clear();
        }
        if self.birds.contains_key(name) {
            // Also above a life whose record lost: it wrote to the same store.
            self.raise_fence(name, last);
            if let Some(best) = best {
                // A copy says nothing of another life: only that one of its nests is gone.
                if !best.carried.copy {
                    self.tell(Event::Merged(name.clone()));
                }
                others.extend(best.carried.into_all());
            }
            others.into_iter().for_each(|state| self.merge(name, state));
            self.note_givers(name, givers);
            return None;
        }
        self.note_fence(name, last);
        let own = self.snaps.get(name);
        let outdone = best.as_ref().is_some_and(|best| {
            own.is_some_and(|s| s.birth == best.birth && s.is_sent() && s.fence > best.fence)
        });
        let Some(best) = best.filter(|_| !outdone) else {
            others.into_iter().for_each(|state| self.merge(name, state));
            return None;
        };
        if let Some(own) = self.snaps.remove(name) {
            self.release_window(name);
            others.extend(own.carried.into_all());
        }
        let Offer { fence, crashes, mut carried, .. } = best;
        carried.others.extend(others);
        Some(Before { fence, crashes, carried, givers })
    }

    /// Sends offers back that reached the wrong nest. The offer of a nest that seems to be gone may be the
    /// last copy there is: it is kept and moved on. That nest is answered all the same: should it live, it
    /// would wait for ever.
    pub(super) fn refuse_offers(&mut self, name: &BirdName) {
        let Some(offers) = self.offers.remove(name) else { return };
        let view = self.view.fingerprint();
        for (from, offer) in offers {
            let life = Life { name: name.clone(), birth: offer.birth, fence: offer.fence };
            self.send(from, &Frame::Refused(Refused { life, view }));
            let has_another = self.snaps.contains_key(name) || self.birds.contains_key(name);
            if self.view.member(from).is_none() && !has_another {
                let Offer { birth, fence, crashes, carried } = offer;
                let snap = Snap { birth, fence, crashes, carried, sent_to: None, ends_here: false };
                self.snaps.insert(name.clone(), snap);
            }
        }
    }
}
