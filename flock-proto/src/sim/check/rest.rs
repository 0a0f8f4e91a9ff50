//! What must hold once faults have ceased.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::Broken;
use crate::sim::host::State;
use crate::sim::world::World;
use crate::{BirdName, Dot, Nest, NestState, Via};

/// So long a flock may take to come to rest after the last fault: a suspicion on each side of a cut,
/// the search for lost nests, and the merge.
const PATIENCE: Duration = Duration::from_secs(60);

/// How often it is looked whether all is at rest.
const LOOK: Duration = Duration::from_millis(250);

type Check = Result<(), (&'static str, String)>;

impl World {
    /// Lets time pass until all is at rest, at least for so long; breaks what isn't so in time.
    pub fn come_to_rest(&mut self, at_least: Duration) {
        self.checks.on_disturbance();
        self.run(at_least);
        let end = self.now + PATIENCE;
        let mut unrest = self.unrest();
        while let Err((invariant, what)) = &unrest {
            if self.broken().is_some() {
                return;
            }
            if self.now >= end {
                return self.checks.fail(invariant, what.clone());
            }
            self.run(LOOK);
            unrest = self.unrest();
        }
        self.check_repairs();
        self.check_facts();
        self.check_fences();
        self.check_births();
        self.check_memories();
        self.bury();
        self.checks.calm();
        let first = self.hosts.iter().find_map(|host| host.nest.as_ref());
        self.facts.calm(|name| first.is_some_and(|nest| nest.find(name).is_some()));
    }

    /// What is not at rest yet.
    fn unrest(&self) -> Check {
        self.nobody_leaves()?;
        self.same_view()?;
        self.shares_taken()?;
        self.same_registry()?;
        self.one_life_each()?;
        self.nothing_open()?;
        self.nothing_left_over()
    }

    fn nests(&self) -> impl Iterator<Item = &Nest> {
        self.hosts.iter().filter_map(|host| host.nest.as_ref())
    }

    /// L1: who leaves gets away. One that was frozen has its time from then on.
    fn nobody_leaves(&self) -> Check {
        let leaves = |nest: &&Nest| nest.state() == NestState::Leaving;
        let leavers: Vec<_> = self.nests().filter(leaves).map(Nest::id).collect();
        if leavers.is_empty() {
            return Ok(());
        }
        Err(("L1", format!("leavers never got away: {leavers:?}")))
    }

    /// L1: one view of members, and a link to each.
    fn same_view(&self) -> Check {
        let running = self.nests().count();
        let mut views = BTreeSet::new();
        for nest in self.nests() {
            let view = nest.view();
            let linked = view.members().iter().all(|m| matches!(m.via, Via::Me | Via::Link));
            if view.members().len() != running || !linked {
                let of = |m: &crate::Member| format!("{}:{:?}:{:?}", m.name, m.state, m.via);
                let members: Vec<_> = view.members().iter().map(of).collect();
                return Err(("L1", format!("of {running} nests {} sees {members:?}", nest.id())));
            }
            views.insert(view.fingerprint());
        }
        if views.len() > 1 {
            return Err(("L1", format!("views differ: {views:?}")));
        }
        Ok(())
    }

    /// L2: equal registries.
    fn same_registry(&self) -> Check {
        let digests: BTreeSet<_> = self.nests().map(Nest::registry_digest).collect();
        if digests.len() > 1 {
            return Err(("L2", format!("registries differ: {digests:?}")));
        }
        Ok(())
    }

    /// L3: each name that isn't grounded runs on its ring owner. I1: nowhere else. I5: it never was
    /// dead everywhere.
    fn one_life_each(&self) -> Check {
        let perches = self.perches();
        let Some(nest) = self.nests().next() else { return Ok(()) };
        let mut alive = BTreeSet::new();
        for info in nest.page(None, usize::MAX) {
            if self.checks.is_buried(info.birth) {
                return Err(("I5", format!("{} came back from the dead", info.name)));
            }
            let owner = info.owner.and_then(|id| self.by_id.get(&id));
            let at = perches.get(&info.name).map(Vec::as_slice).unwrap_or_default();
            if at.len() > 1 {
                return Err(("I1", format!("{} lives on {at:?}", info.name)));
            }
            let home = owner.copied().filter(|_| info.grounded.is_none());
            if at != home.as_slice() {
                return Err(("L3", format!("{} belongs on {home:?}, lives on {at:?}", info.name)));
            }
            let runs = |host: &usize| self.state_of(*host, &info.name) == Some(State::Running);
            if !at.iter().all(runs) {
                return Err(("L3", format!("{} doesn't run yet", info.name)));
            }
            if !at.iter().all(|host| self.birth_of(*host, &info.name) == Some(info.birth)) {
                return Err(("L3", format!("another {} lives than is on record", info.name)));
            }
            alive.insert(info.name);
        }
        match perches.iter().find(|(name, _)| !alive.contains(*name)) {
            Some((name, at)) => Err(("L3", format!("{name} lives on {at:?} without a record"))),
            None => Ok(()),
        }
    }

    fn birth_of(&self, host: usize, name: &BirdName) -> Option<Dot> {
        self.hosts.get(host)?.body.table.get(name)?.birth
    }

    fn state_of(&self, host: usize, name: &BirdName) -> Option<State> {
        self.hosts.get(host)?.body.table.get(name).map(|entry| entry.state)
    }

    /// I7: no question is left open.
    fn nothing_open(&self) -> Check {
        for (i, host) in self.hosts.iter().enumerate() {
            let Some(nest) = &host.nest else { continue };
            let (asks, served) = nest.open_questions();
            if asks + served > 0 {
                return Err(("I7", format!("host {i} still has {asks} asks, {served} requests")));
            }
            let waits = |parcel: &&super::super::host::Parcel| parcel.deadline >= self.now;
            let queues = host.body.table.values().map(|entry| &entry.queue);
            let waiting: usize = queues.map(|queue| queue.iter().filter(waits).count()).sum();
            if waiting + host.body.pending.len() > 0 {
                let pending = host.body.pending.len();
                return Err(("I7", format!("host {i} still has {waiting} calls, {pending} pend")));
            }
        }
        match (self.checks.open_calls(), self.facts.open()) {
            (0, 0) => Ok(()),
            (0, open) => Err(("I7", format!("{open} requests have no answer"))),
            (open, _) => Err(("I7", format!("{open} calls have no end"))),
        }
    }

    /// I13: what was needed on the way is gone.
    fn nothing_left_over(&self) -> Check {
        for (i, host) in self.hosts.iter().enumerate() {
            let Some(nest) = &host.nest else { continue };
            let sizes = nest.sizes();
            let left: Vec<_> = sizes.passing().filter(|(_, size)| *size > 0).collect();
            if !left.is_empty() {
                return Err(("I13", format!("host {i} still holds {left:?}")));
            }
        }
        Ok(())
    }

    /// I4: what deltas brought is what a full comparison would have brought.
    fn check_repairs(&mut self) {
        let repairs: u64 = self.nests().map(|nest| nest.counters().repairs).sum();
        // A removal may be known by nothing but a short log, and its author be forgotten elsewhere
        // before it is known there: then the two can't but differ, and it is the repair that is due.
        let excused = self.checks.renewed && self.config.registry.log_len < 1000;
        if repairs > 0 && !excused {
            let what = format!("{repairs} registries differed though their vectors were equal");
            self.checks.fail("I4", what);
        }
    }

    /// I5, I6: what was acknowledged is so, and a stopped bird stays stopped.
    fn check_facts(&mut self) {
        let Some(nest) = self.nests().next() else { return };
        // Where logs are so short, a removal may be out of all of them before it meets what was written
        // anew on the other side of a cut.
        let retired: u64 = self.nests().map(|nest| nest.counters().retired).sum();
        let forgetful = retired > 0 && self.config.registry.log_len < 1000;
        let facts = self.facts.all_certain().filter(|(_, alive)| *alive || !forgetful);
        let wrong = facts.into_iter().find_map(|(name, alive)| {
            let said = if alive { "started" } else { "stopped" };
            let lives = nest.find(name).is_some();
            (lives != alive).then(|| format!("{name} was acknowledged as {said}, and isn't so"))
        });
        if let Some(what) = wrong {
            self.checks.fail("I6", what);
        }
    }

    /// I11: a life that stayed is above all that were known to it.
    fn check_fences(&mut self) {
        let lives: Vec<_> = self
            .hosts
            .iter()
            .flat_map(|host| &host.body.table)
            .filter(|(_, entry)| entry.state == State::Running)
            .filter_map(|(name, entry)| Some((name.clone(), entry.birth?, entry.fence)))
            .collect();
        for (name, birth, fence) in lives {
            let last = self.checks.last_fence(&name, birth);
            if fence < last {
                let what = format!("{name} stayed with fence {fence:?}, {last:?} was given");
                self.checks.fail("I11", what);
            }
        }
    }

    /// I6: a name that nobody started or stopped since the last rest is the bird that it was.
    fn check_births(&mut self) {
        let Some(nest) = self.hosts.iter().find_map(|host| host.nest.as_ref()) else { return };
        let all = nest.page(None, usize::MAX).into_iter().map(|info| (info.name, info.birth));
        let all: Vec<(BirdName, Dot)> = all.collect();
        let other = |(name, birth): &&(BirdName, Dot)| {
            self.checks.birth_at_rest(name).is_some_and(|before| before != *birth)
        };
        if let Some((name, _)) = all.iter().find(other) {
            let what = format!("{name} is another bird, and nobody asked for that");
            self.checks.fail("I6", what);
        }
        self.checks.note_births(all.into_iter());
    }

    fn bury(&mut self) {
        let Some(nest) = self.hosts.iter().find_map(|host| host.nest.as_ref()) else { return };
        let alive: BTreeMap<_, _> = nest
            .page(None, usize::MAX)
            .into_iter()
            .map(|info| ((info.name, info.birth), ()))
            .collect();
        self.checks.bury(|name, birth| alive.contains_key(&(name.clone(), birth)));
    }

    /// L4: each name is callable from every nest.
    pub fn call_everyone(&mut self) {
        let Some(nest) = self.hosts.iter().find_map(|host| host.nest.as_ref()) else { return };
        let names = nest.page(None, usize::MAX);
        let mut open = Vec::new();
        for host in self.up() {
            for info in &names {
                open.push((self.call(host, &info.name), info.clone(), host));
            }
        }
        self.run(Duration::from_secs(1));
        for (number, info, host) in open {
            let end = self.ended.get(&number).copied();
            let good = match end {
                Some(super::super::CallEnd::Answered(_)) => info.grounded.is_none(),
                Some(super::super::CallEnd::Grounded) => info.grounded.is_some(),
                _ => false,
            };
            if !good {
                let what = format!("{} called from host {host}: {end:?}", info.name);
                self.checks.fail("L4", what);
            }
        }
    }

    /// What broke first, if anything did.
    pub fn verdict(&self) -> Option<Broken> {
        self.broken().cloned()
    }
}
