//! What birds carry from life to life: snapshots that are restored, and others that are merged.
//!
//! A life that moves is restored from the snapshot that the one before it left. A life that was not
//! alone, because the flock was cut in two, takes in what each other left; each once, whatever way it
//! comes. What is in a state already is known by the lives that went into it.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::Nest;
use super::birds::Bird;
use crate::bugs::{Bug, planted};
use crate::registry::Record;
use crate::wire::{Carried, LifeId, Moment, Snapshot};
use crate::{BirdName, Effect, Event, Fence, Time};

/// The state of a life that ended elsewhere, and that no life has taken in yet.
#[derive(Debug)]
pub(super) struct Leftover {
    snapshot: Snapshot,
    until: Time,
}

/// What a life's state is made of.
#[derive(Debug)]
pub(super) struct Lineage {
    /// The life that has it, also should its nest come by another number.
    pub(super) own: LifeId,
    /// Of a life that is the first of its bird, as most are, there is no more to say.
    more: Option<Box<More>>,
}

/// What a life has of others.
#[derive(Debug, Default)]
struct More {
    /// Which states of others are in it.
    past: Vec<Moment>,
    /// What it is to go on from, as long as it hasn't hatched: it may have to move on before.
    unborn: Carried,
}

impl Lineage {
    const fn new(own: LifeId) -> Self {
        Self { own, more: None }
    }

    fn past(&self) -> &[Moment] {
        self.more.as_deref().map_or(&[], |more| &more.past)
    }

    fn more(&mut self) -> &mut More {
        self.more.get_or_insert_default()
    }

    /// It hatched, and has taken in what it was to go on from.
    pub(super) fn forget_unborn(&mut self) {
        if let Some(more) = &mut self.more {
            more.unborn = Carried::default();
        }
        self.more.take_if(|more| more.past.is_empty());
    }

    /// Whether that state is in it, or one that the same life had later.
    fn has(&self, snapshot: &Snapshot) -> bool {
        let moment = snapshot.moment();
        let covers = |known: &Moment| {
            known.covers(&moment) || (known.0 == moment.0 && planted(Bug::CheckpointsAsEnds))
        };
        snapshot.life == self.own || self.past().iter().any(covers)
    }

    /// This state is in it from now on.
    fn take_in(&mut self, snapshot: &Snapshot) {
        let all = &mut self.more().past;
        all.extend(snapshot.past.iter().copied().chain([snapshot.moment()]));
        let mut last = BTreeMap::<LifeId, Moment>::new();
        for moment in all.iter() {
            let known = last.entry(moment.0).or_insert(*moment);
            if moment.reach() > known.reach() {
                *known = *moment;
            }
        }
        all.reverse();
        // Of each life the last state, in the place where it was named last.
        let mut lately = Vec::with_capacity(last.len());
        lately.extend(all.iter().filter_map(|moment| last.remove(&moment.0)));
        lately.truncate(Snapshot::PAST);
        lately.reverse();
        *all = lately;
    }
}

/// What a life leaves behind, or has at a checkpoint of this number.
pub(super) fn snapshot_of(
    bird: &Bird,
    number: Option<u64>,
    state: Option<Bytes>,
) -> Option<Snapshot> {
    let (species, life) = (bird.species, bird.lineage.own);
    let past = bird.lineage.past().to_vec();
    state.map(|state| Snapshot { species, life, number, past, state })
}

impl Nest {
    /// What a life that moves takes along. `state`: what its driver took from it.
    pub(super) fn carried_by(
        &mut self,
        name: &BirdName,
        bird: &mut Bird,
        state: Option<Bytes>,
    ) -> Carried {
        let mut carried = if !bird.born && !planted(Bug::ForgottenUnborn) {
            bird.lineage.more.take().map(|more| more.unborn).unwrap_or_default()
        } else if planted(Bug::ForgottenStates) {
            Carried::default()
        } else {
            Carried { snapshot: snapshot_of(bird, None, state), ..Carried::default() }
        };
        carried.others.extend(self.take_leftovers(name));
        carried.standby |= self.is_kept(name);
        self.cap(name, &mut carried);
        carried
    }

    /// What a life leaves that ended because another of its name goes on: to that one. Whoever owns the name in
    /// the views to come must be told, also where this nest owns it now and keeps it for the next life here:
    /// it may not have met the one that goes on yet.
    pub(super) fn left_by(
        &mut self,
        name: &BirdName,
        bird: &mut Bird,
        state: Option<Bytes>,
    ) -> Vec<Snapshot> {
        let winner = self.registry.winner_birth(name);
        if bird.ends_here || winner.is_none_or(|(winner, _)| winner == bird.birth) {
            return Vec::new();
        }
        let left: Vec<Snapshot> = self.carried_by(name, bird, state).into_all().collect();
        if self.owns(name.hash64()) {
            left.iter().for_each(|state| self.merge(name, state.clone()));
        }
        left
    }

    /// No bird carries more than is configured: what is to be merged goes first.
    fn cap(&mut self, name: &BirdName, carried: &mut Carried) {
        let mut lost = 0;
        while carried.size() > self.config.carried_bytes {
            lost += 1;
            if carried.others.pop().is_none() {
                carried.snapshot = None;
            }
        }
        if lost > 0 {
            let why = format!("a bird carries {} bytes at most", self.config.carried_bytes);
            self.tell(Event::StateLost { bird: name.clone(), why });
        }
    }

    /// What a life goes on from, and what it has to merge in: told to the driver once, and kept until
    /// it has hatched.
    pub(super) fn inherit(
        &mut self,
        record: &Record,
        fence: Fence,
        mut carried: Carried,
    ) -> (Lineage, Option<Bytes>, Vec<Bytes>) {
        let mut lineage = Lineage::new(LifeId(self.id, fence));
        carried.others.extend(self.take_leftovers(&record.name));
        let reads = |snapshot: &Snapshot| snapshot.species == record.species;
        carried.snapshot.take_if(|snapshot| !reads(snapshot));
        if let Some(snapshot) = &carried.snapshot {
            lineage.take_in(snapshot);
        }
        carried.others.retain(|other| {
            let due = reads(other) && (!lineage.has(other) || planted(Bug::MergedTwice));
            if due {
                lineage.take_in(other);
            }
            due
        });
        let snapshot = carried.snapshot.as_ref().map(|snapshot| snapshot.state.clone());
        let merges = carried.others.iter().map(|other| other.state.clone()).collect();
        if !carried.is_nothing() {
            lineage.more().unborn = carried;
        }
        (lineage, snapshot, merges)
    }

    /// The state of another life of this name is to be in the one that goes on here, now or later.
    pub(super) fn merge(&mut self, name: &BirdName, snapshot: Snapshot) {
        if planted(Bug::LostMerges) {
            return;
        }
        let alive = self.birds.get_mut(name).filter(|bird| bird.is_alive());
        let Some(bird) = alive else {
            let until = self.now + self.config.aftermath;
            let leftovers = self.leftovers.get_or_insert_with(name, Vec::new);
            return leftovers.push(Leftover { snapshot, until });
        };
        let known = bird.lineage.has(&snapshot);
        if snapshot.species != bird.species || (known && !planted(Bug::MergedTwice)) {
            return;
        }
        bird.lineage.take_in(&snapshot);
        let (fence, state) = (bird.fence, snapshot.state.clone());
        if !bird.born {
            bird.lineage.more().unborn.others.push(snapshot);
        }
        self.out.push(Effect::Merge { name: name.clone(), fence, state });
        self.keep_anew(name);
    }

    fn take_leftovers(&mut self, name: &BirdName) -> impl Iterator<Item = Snapshot> + use<> {
        let leftovers = self.leftovers.remove(name).unwrap_or_default();
        leftovers.into_iter().map(|leftover| leftover.snapshot)
    }

    /// Where no life goes on in time, none will.
    pub(super) fn forget_leftovers(&mut self) {
        let now = self.now;
        for leftovers in self.leftovers.values_mut() {
            leftovers.retain(|leftover| now < leftover.until);
        }
        self.leftovers.retain(|_, leftovers| !leftovers.is_empty());
    }

    /// The states that this nest holds of lives that are over, or have yet to go on, with their births; but
    /// for those that it offered to `dead`, which may have taken them.
    #[cfg(feature = "sim")]
    pub(crate) fn states_on_the_way(
        &self,
        dead: Option<crate::NestId>,
    ) -> Vec<(crate::Dot, Bytes)> {
        let birds = self.birds.values().filter_map(|bird| {
            let more = bird.lineage.more.as_deref()?;
            Some((bird.birth, more.unborn.clone()))
        });
        let kept = self.snaps.values().filter(move |snap| dead.is_none() || !snap.is_sent_to(dead));
        let snaps = kept.map(|snap| (snap.birth, snap.carried.clone()));
        let offers = self.offers.values().flat_map(BTreeMap::values);
        let offers = offers.map(|offer| (offer.birth, offer.carried.clone()));
        let carried = birds.chain(snaps).chain(offers);
        let carried = carried.flat_map(|(birth, c)| c.into_all().map(move |s| (birth, s.state)));
        let left = self.leftovers.iter().flat_map(|(name, left)| {
            let winner = self.registry.winner_birth(name);
            left.iter().filter_map(move |left| Some((winner?.0, left.snapshot.state.clone())))
        });
        carried.chain(left).collect()
    }
}
