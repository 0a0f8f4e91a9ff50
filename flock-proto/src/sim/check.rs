//! The invariants, each a function over the world, named as in the book.

use std::collections::{BTreeMap, BTreeSet};

use super::host::{CRASH_WINDOW, CallEnd, MAX_CRASHES};
use super::world::World;
use crate::{Answer, BirdName, Fence, Fingerprint, NestName, Time};

/// An invariant that did not hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broken {
    /// Which one, as the book numbers them.
    pub invariant: &'static str,
    /// What was seen.
    pub what: String,
}

/// What the checks remember.
#[derive(Debug, Default)]
pub(super) struct Checks {
    broken: Option<Broken>,
    /// A crash, a cut or a hasty leave happened: two lives may coexist until the heal is through.
    rough: bool,
    fences: BTreeMap<BirdName, Fence>,
    crashes: BTreeMap<BirdName, Vec<Time>>,
    /// How the last request about each name ended that certainly took effect.
    certain: BTreeMap<BirdName, bool>,
    /// Names about which a request's outcome is open, or that ended in other ways.
    unsure: BTreeSet<BirdName>,
    owners: BTreeMap<Fingerprint, Vec<Option<NestName>>>,
}

impl Checks {
    pub(super) const fn broken(&self) -> Option<&Broken> {
        self.broken.as_ref()
    }

    pub(super) fn fail(&mut self, invariant: &'static str, what: String) {
        if self.broken.is_none() {
            self.broken = Some(Broken { invariant, what });
        }
    }

    pub(super) const fn on_cut(&mut self) {
        self.rough = true;
    }

    pub(super) const fn on_death(&mut self, _host: usize) {
        self.rough = true;
    }

    pub(super) const fn on_hasty_leave(&mut self) {
        self.rough = true;
    }

    /// All is well again: from here on the strict rules hold anew.
    pub(super) fn calm(&mut self) {
        self.rough = false;
        self.fences.clear();
    }

    /// I11: fences grow along connected chains.
    pub(super) fn on_fence(&mut self, name: &BirdName, fence: Fence) {
        let last = self.fences.entry(name.clone()).or_default();
        if fence <= *last && !self.rough {
            let what = format!("{name} got fence {fence:?} after {last:?}");
            return self.fail("I11", what);
        }
        *last = fence.max(*last);
    }

    /// I12: restarts never exceed the policy, wherever the bird lives.
    pub(super) fn on_crash(&mut self, name: &BirdName, now: Time) {
        let crashes = self.crashes.entry(name.clone()).or_default();
        crashes.retain(|&at| now.since(at) <= CRASH_WINDOW);
        crashes.push(now);
        if crashes.len() > MAX_CRASHES + 1 && !self.rough {
            let what = format!("{name} crashed {} times without being grounded", crashes.len());
            self.fail("I12", what);
        }
    }

    pub(super) fn on_grounded(&mut self, name: &BirdName) {
        self.crashes.remove(name);
        self.unsure.insert(name.clone());
    }

    pub(super) fn on_answer(&mut self, _name: &BirdName, _end: CallEnd) {}

    pub(super) fn on_request_sent(&mut self, name: &BirdName) {
        self.unsure.insert(name.clone());
    }

    pub(super) fn on_request_end(&mut self, name: &BirdName, _start: bool, answer: &Answer) {
        match answer {
            Answer::Started { .. } | Answer::AlreadyExists { .. } => {
                self.certain.insert(name.clone(), true);
            }
            Answer::Stopped | Answer::NoSuchBird | Answer::HatchFailed { .. } => {
                self.certain.insert(name.clone(), false);
            }
            _ => {
                self.certain.remove(name);
            }
        }
    }

    pub(super) fn on_own_end(&mut self, name: &BirdName) {
        self.certain.insert(name.clone(), false);
        self.unsure.insert(name.clone());
    }

    /// What a name's last request says of it, if nothing else may have changed it since.
    pub(super) fn forget_certainty(&mut self, name: &BirdName) {
        self.certain.remove(name);
    }
}

impl World {
    /// What is checked after every event.
    pub(super) fn check_now(&mut self) {
        self.check_owners();
        if !self.checks.rough {
            self.check_single_lives("I1");
        }
    }

    /// I3: the same members make the same owners everywhere.
    fn check_owners(&mut self) {
        let probes: Vec<u64> = (0..8u64).map(|i| i.wrapping_mul(0x2357_1113_1719_2329)).collect();
        let mut found = Vec::new();
        for host in &self.hosts {
            let Some(view) = host.body.view.as_deref() else { continue };
            if self.checks.owners.contains_key(&view.fingerprint()) && found.len() > 64 {
                continue;
            }
            let owner = |hash: &u64| {
                view.owner(*hash).and_then(|id| view.member(id)).map(|m| m.name.clone())
            };
            found.push((view.fingerprint(), probes.iter().map(owner).collect::<Vec<_>>()));
        }
        for (fingerprint, owners) in found {
            let known = self.checks.owners.entry(fingerprint).or_insert_with(|| owners.clone());
            if *known != owners {
                let what = format!("one view, two rings: {known:?} and {owners:?}");
                self.checks.fail("I3", what);
            }
        }
    }

    /// I1: no name has two lives.
    fn check_single_lives(&mut self, invariant: &'static str) {
        let mut seen: BTreeMap<&BirdName, usize> = BTreeMap::new();
        let mut double = None;
        for (i, host) in self.hosts.iter().enumerate() {
            for (name, _) in host.body.table.iter().filter(|(_, entry)| entry.lives()) {
                if let Some(other) = seen.insert(name, i) {
                    double = Some(format!("{name} lives on hosts {other} and {i}"));
                }
            }
        }
        if let Some(what) = double {
            self.checks.fail(invariant, what);
        }
    }

    /// What must hold once faults have ceased and time has passed: L1 to L4, I1, I4 to I7.
    pub(super) fn check_quiet(&mut self) {
        self.check_single_lives("I1");
        self.check_same_view();
        self.check_same_registry();
        self.check_perches();
        self.check_certain();
        self.check_nothing_open();
        self.checks.calm();
    }

    fn check_same_view(&mut self) {
        let views: BTreeSet<(Fingerprint, usize)> = self
            .hosts
            .iter()
            .filter_map(|host| host.nest.as_ref())
            .map(|nest| (nest.view().fingerprint(), nest.view().members().len()))
            .collect();
        if views.len() > 1 {
            let all: Vec<_> = self
                .hosts
                .iter()
                .filter_map(|host| host.nest.as_ref())
                .map(|nest| {
                    let view = nest.view();
                    let of = |m: &crate::Member| format!("{}:{:?}:{:?}", m.name, m.state, m.via);
                    view.members().iter().map(of).collect::<Vec<_>>()
                })
                .collect();
            self.checks.fail("L1", format!("views differ: {all:?}"));
        }
    }

    fn check_same_registry(&mut self) {
        let digests: BTreeSet<_> = self
            .hosts
            .iter()
            .filter_map(|host| host.nest.as_ref())
            .map(crate::Nest::registry_digest)
            .collect();
        if digests.len() > 1 {
            self.checks.fail("L2", format!("registries differ: {digests:?}"));
        }
    }

    fn check_perches(&mut self) {
        let perches = self.perches();
        let Some(nest) = self.hosts.iter().find_map(|host| host.nest.as_ref()) else { return };
        let mut wrong = None;
        for info in nest.page(None, usize::MAX) {
            let owner = info.owner.and_then(|id| self.host_of(id));
            let at = perches.get(&info.name).cloned().unwrap_or_default();
            let expected: Vec<usize> =
                if info.grounded.is_some() { Vec::new() } else { owner.into_iter().collect() };
            if at != expected {
                wrong = Some(format!("{} belongs on {expected:?}, lives on {at:?}", info.name));
            }
        }
        for (name, at) in &perches {
            if nest.find(name).is_none() {
                wrong = Some(format!("{name} lives on {at:?} without a record"));
            }
        }
        if let Some(what) = wrong {
            self.checks.fail("L3", what);
        }
    }

    /// I5, I6: what was acknowledged is so, and a stopped bird stays stopped.
    fn check_certain(&mut self) {
        let Some(nest) = self.hosts.iter().find_map(|host| host.nest.as_ref()) else { return };
        let mut wrong = None;
        for (name, alive) in &self.checks.certain {
            if self.checks.unsure.contains(name) {
                continue;
            }
            if nest.find(name).is_some() != *alive {
                let said = if *alive { "started" } else { "stopped" };
                wrong = Some(format!("{name} was acknowledged as {said}, and isn't so"));
            }
        }
        if let Some(what) = wrong {
            self.checks.fail("I5", what);
        }
        self.checks.unsure.clear();
        self.checks.certain.clear();
    }

    /// I7: no question is left open.
    fn check_nothing_open(&mut self) {
        let mut open = None;
        for (i, host) in self.hosts.iter().enumerate() {
            let Some(nest) = &host.nest else { continue };
            let (asks, served) = nest.open_questions();
            if asks + served > 0 {
                open = Some(format!("host {i} still has {asks} asks, {served} requests"));
            }
            let waiting: usize = host.body.table.values().map(|entry| entry.queue.len()).sum();
            if waiting > 0 {
                open = Some(format!("host {i} still has {waiting} calls waiting"));
            }
        }
        if !self.calls.is_empty() {
            open = Some(format!("{} calls have no end", self.calls.len()));
        }
        if let Some(what) = open {
            self.checks.fail("I7", what);
        }
    }
}
