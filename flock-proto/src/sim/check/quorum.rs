//! Of flocks in which not each side of a partition goes on.

use std::time::Duration;

use crate::sim::world::World;
use crate::{BirdName, Dot, NestId, Policy, View, Why};

/// A nest that was frozen so lately may not have seen yet that it is alone.
const AWAKE: Duration = Duration::from_secs(15);

/// What a bird may take to stop, beyond the time that a nest waits before it tells it to.
const STOPPING: Duration = Duration::from_secs(1);

impl World {
    /// A host has others in its view: whom these have met it is to know of, too.
    pub(in crate::sim) fn on_met(&mut self, host: usize, before: Option<&View>, after: &View) {
        if !self.wants_majority() {
            return;
        }
        let mut met = self.checks.met.remove(&host).unwrap_or_default();
        let is_new = |id: &NestId| before.is_none_or(|before| before.member(*id).is_none());
        for id in after.ids().filter(is_new) {
            met.insert(id);
            let theirs = self.by_id.get(&id).and_then(|other| self.checks.met.get(other));
            met.extend(theirs.into_iter().flatten());
        }
        self.checks.met.insert(host, met);
    }

    fn wants_majority(&self) -> bool {
        self.config.policy == Policy::Majority
    }

    /// Whether this host was frozen a short while ago.
    fn was_asleep(&self, host: usize) -> bool {
        let thawed = self.checks.thawed.get(&host).copied().unwrap_or_default();
        thawed > crate::Time::default() && self.now < thawed + AWAKE
    }

    /// I19: where only a majority goes on, no bird hatches while another life of it goes on elsewhere, but
    /// for one on a nest that stood still.
    pub(in crate::sim) fn check_majority(
        &mut self,
        (name, birth): (&BirdName, Dot),
        host: usize,
        why: Why,
    ) {
        if !self.wants_majority() || self.checks.skewed {
            return;
        }
        let others: Vec<usize> = self.checks.hosts_of(name);
        let (met, nest) = (self.checks.met.get(&host), self.hosts[host].nest.as_ref());
        // What others met before it came, it counts if they told it so.
        let has_met = |id: NestId| {
            met.is_some_and(|met| met.contains(&id)) && nest.is_some_and(|nest| nest.knows_nest(id))
        };
        if !has_met(birth.origin) {
            // Another flock's, which this one is just about to meet: what it wrote may come before itself.
            return;
        }
        let knows = |other: usize| self.hosts[other].id().is_some_and(has_met);
        // Nor can those be counted that this one never heard of.
        let asleep = |host: &usize| self.was_asleep(*host) || !knows(*host);
        if let Some(other) = others.iter().find(|other| **other != host && !asleep(other)) {
            let what =
                format!("{name} hatches on host {host} ({why:?}), and lives on host {other}");
            self.checks.fail("I19", what);
        }
    }

    /// I19: a nest that is with too few takes its birds out of service.
    pub(in crate::sim) fn check_minorities(&mut self) {
        if !self.wants_majority() {
            return;
        }
        let late = self.config.stable_after + STOPPING;
        for (at, host) in self.hosts.iter().enumerate() {
            let Some(nest) = &host.nest else { continue };
            let alone = nest.quorum_lost_since().is_some_and(|since| self.local(at) > since + late);
            if !alone || self.was_asleep(at) || self.now < host.frozen_until {
                continue;
            }
            let lives = host.body.table.iter().find(|(_, entry)| entry.state.lives());
            if let Some((name, _)) = lives {
                let what = format!("{name} lives on host {at}, which has no majority");
                return self.checks.fail("I19", what);
            }
        }
    }
}
