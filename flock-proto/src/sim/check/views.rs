//! Of views and the ring, and of who may take over.

use std::collections::BTreeSet;
use std::time::Duration;

use super::Checks;
use crate::sim::world::World;
use crate::{BirdName, Fence, Fingerprint, NestId, NestName, NestState, Time, View};

/// Places on the circle at which rings are compared.
const PROBES: u64 = 16;

/// How often one life may be refused before it is a storm: each refusal takes a change of view.
const REFUSALS: u32 = 30;

/// So long after a nest came up all joiners have heard of it.
const NEWS: Duration = Duration::from_secs(3);

fn probes() -> impl Iterator<Item = u64> {
    (1..=PROBES).map(|i| i.wrapping_mul(0x2357_1113_1719_2329))
}

fn owner_name(view: &View, hash: u64) -> Option<NestName> {
    view.owner(hash).and_then(|id| view.member(id)).map(|member| member.name.clone())
}

fn weight_in_ring(view: &View, name: &NestName) -> u32 {
    let its = view.members().iter().filter(|m| m.name == *name);
    its.map(|m| view.ring().weight(m.id)).max().unwrap_or_default()
}

impl Checks {
    /// A host routes by another view from now on.
    pub(in crate::sim) fn on_view(&mut self, host: usize, before: Option<&View>, after: &View) {
        if before.is_some_and(|before| before.fingerprint() == after.fingerprint()) {
            return;
        }
        self.on_disturbance();
        self.entered.insert(host, (after.fingerprint(), self.now));
        self.check_same_owners(after);
        if let Some(before) = before {
            self.check_moves(before, after);
        }
    }

    /// I3: the same members make the same owners everywhere.
    fn check_same_owners(&mut self, view: &View) {
        let owners: Vec<_> = probes().map(|hash| owner_name(view, hash)).collect();
        let known = self.owners.entry(view.fingerprint()).or_insert_with(|| owners.clone());
        if *known != owners {
            let what = format!("one view, two rings: {known:?} and {owners:?}");
            self.fail("I3", what);
        }
    }

    /// I2: names change hands only to a nest that came, or from one that went; or that counts for more,
    /// or less, than it did.
    fn check_moves(&mut self, before: &View, after: &View) {
        for hash in probes() {
            let (from, to) = (owner_name(before, hash), owner_name(after, hash));
            if from == to {
                continue;
            }
            let grows =
                |name: &NestName| weight_in_ring(before, name) < weight_in_ring(after, name);
            let shrinks =
                |name: &NestName| weight_in_ring(before, name) > weight_in_ring(after, name);
            let came = to.as_ref().is_some_and(grows);
            let went = from.as_ref().is_some_and(shrinks);
            let nobody = from.is_none() || to.is_none();
            if !came && !went && !nobody {
                let what = format!("{hash:x} moved between old nests, from {from:?} to {to:?}");
                return self.fail("I2", what);
            }
        }
    }

    /// L1: a nest that was never away for long is not forgotten.
    pub(in crate::sim) fn on_renewed(&mut self) {
        self.renewed = true;
        if !self.rough {
            self.fail("L1", "a nest found itself forgotten, and was never away".to_owned());
        }
    }

    /// A nest is settled in its view at this moment.
    pub(in crate::sim) fn on_settled(&mut self, host: usize, nest: NestId, view: Fingerprint) {
        let now = self.now;
        if self.settled_now.len() <= host {
            self.settled_now.resize(host + 1, None);
        }
        let last = self.settled_now[host].get_or_insert(((nest, view), now));
        if last.0 != (nest, view) {
            let (was, at) = std::mem::replace(last, ((nest, view), now));
            self.settled.insert(was, at);
        }
        last.1 = now;
    }

    /// When a nest was last seen settled in a view.
    fn settled_at(&self, nest: NestId, view: Fingerprint) -> Option<Time> {
        let now = self.settled_now.iter().flatten().filter(|(of, _)| *of == (nest, view));
        let before = self.settled.get(&(nest, view));
        now.map(|(_, at)| at).chain(before).max().copied()
    }

    /// I15: a bird leaves service only for an owner that was ready to take over, in the view by
    /// which it leaves.
    pub(in crate::sim) fn on_depart(&mut self, host: usize, name: &BirdName, view: &View) {
        let Some(owner) = view.owner(name.hash64()) else {
            return self.fail("I15", format!("{name} departs, and nobody owns it"));
        };
        let entered = self.entered.get(&host);
        let since = entered.filter(|(of, _)| *of == view.fingerprint()).map(|(_, at)| *at);
        let settled = self.settled_at(owner, view.fingerprint());
        if settled < since || settled.is_none() {
            let what = format!("{name} leaves host {host} for {owner}, which was not settled");
            self.fail("I15", what);
        }
    }

    /// I13: a bird that is refused isn't offered again and again.
    pub(in crate::sim) fn on_refused(&mut self, name: &BirdName, fence: Fence) {
        let count = self.refused.entry((name.clone(), fence)).or_default();
        *count += 1;
        if *count > REFUSALS {
            self.fail("I13", format!("{name} of {fence:?} was refused {REFUSALS} times"));
        }
    }
}

impl World {
    /// I16: a nest is up only once all that are up hold it in their views; they may never have heard
    /// of each other if they came up at the same time.
    pub(in crate::sim) fn check_up(&mut self, host: usize, before: Option<&View>, after: &View) {
        let me = after.me();
        let is_up =
            |view: &View| view.member(me).is_some_and(|member| member.state == NestState::Up);
        if !is_up(after) || before.is_some_and(is_up) {
            return;
        }
        let now = self.checks.now;
        self.checks.up.insert(host, now);
        let knows = |other: usize| {
            let id = self.hosts[other].nest.as_ref().map(crate::Nest::id);
            id.is_some_and(|id| after.member(id).is_some())
        };
        let seeds_down = self.hosts[host].seeds.iter().all(|&seed| self.nest(seed).is_none());
        let apart = self.up().into_iter().any(|other| other != host && !knows(other));
        if apart && (self.checks.rough || seeds_down) {
            // All seeds are gone, and it forms a flock of its own: as if the network were cut.
            self.checks.on_fault();
            self.facts.on_torn(now);
        }
        if self.checks.rough || !self.net.is_whole() {
            return;
        }
        let long = |other: &usize| self.checks.up.get(other).is_some_and(|at| *at + NEWS < now);
        let unaware = self.up().into_iter().filter(|other| *other != host && long(other));
        let mut unaware = unaware.filter(|other| {
            self.hosts[*other].nest.as_ref().is_some_and(|nest| nest.view().member(me).is_none())
        });
        if let Some(other) = unaware.next() {
            let what = format!("host {host} is up, and host {other} doesn't see it");
            self.checks.fail("I16", what);
        }
    }

    /// I14: a nest goes down after a suspicion that it had the time to refute, or because its
    /// process is gone: never at a mere tick. `suspects` are those of before.
    pub(in crate::sim) fn check_downs(
        &mut self,
        host: usize,
        before: &BTreeSet<NestId>,
        suspects: &[(NestId, u16)],
    ) {
        let Some(nest) = &self.hosts[host].nest else { return };
        let gone: Vec<NestId> = before.difference(nest.alive()).copied().collect();
        for id in gone {
            let Some(&other) = self.by_id.get(&id) else { continue };
            let suspected = suspects.iter().any(|(suspect, _)| *suspect == id);
            if suspected && self.checks.rough {
                continue;
            }
            if suspected {
                let name = &self.hosts[other].name;
                let what = format!("host {host} gave {name} up, which had the time to answer");
                return self.checks.fail("I14", what);
            }
            let frozen = self.hosts[other].frozen_until > self.now;
            let name = &self.hosts[other].name;
            if !frozen && !self.net.is_torn(host, other) {
                let what = format!("host {host} gave {name} up without having suspected it");
                self.checks.fail("I14", what);
            }
        }
    }
}
