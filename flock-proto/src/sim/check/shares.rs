//! Of shares of the ring: who takes one, and who has to.

use std::time::Duration;

use super::Checks;
use crate::sim::world::World;
use crate::{Member, NestState, Rebalancing, Time, View};

/// A request to all that reaches a nest so late is none for it, or it is: that depends on which way it
/// took.
const ON_ITS_WAY: Duration = Duration::from_secs(30);

/// What is known of the share of one host's nest.
#[derive(Debug, Default)]
pub(super) struct Due {
    /// Since it is up, one with a share went from its view, or a user asked all.
    must: bool,
    /// When its ring last changed.
    changed: Option<Time>,
}

fn has_share(member: &Member) -> bool {
    member.state == NestState::Up && member.weight > 0
}

/// The other nests that have a share.
fn others(view: &View) -> impl Iterator<Item = &Member> {
    view.members().iter().filter(|m| m.id != view.me() && has_share(m))
}

fn is_there(view: &View, member: &Member) -> bool {
    view.member(member.id).is_some_and(|m| m.state == NestState::Up)
}

/// Whether the nest whose view it is has a share, and whether it is up.
fn me(view: &View) -> (bool, bool) {
    let me = view.member(view.me());
    let up = me.is_some_and(|me| me.state == NestState::Up);
    (up && me.is_some_and(has_share), up)
}

impl Checks {
    /// Users ask all nests to take their shares. Those that are up must, and those that aren't yet may.
    pub(in crate::sim) fn on_call_for_shares(&mut self, up: &[usize]) {
        self.called_at = Some(self.now);
        // Who asks may be gone before anybody has heard of it.
        for host in up.iter().filter(|_| !self.rough) {
            self.shares.entry(*host).or_default().must = true;
        }
    }
}

impl World {
    /// I18: a nest that waits for its share takes it for a reason only.
    pub(in crate::sim) fn check_share(&mut self, host: usize, before: Option<&View>, after: &View) {
        let now = self.now;
        let due = self.checks.shares.entry(host).or_default();
        let changed = due.changed;
        if before.is_none_or(|before| !before.ring().is_same(after.ring())) {
            due.changed = Some(now);
        }
        let (had, was_up) = before.map_or((false, false), me);
        let (has, is_up) = me(after);
        // One that was given a weight of 0 has not gone.
        let went =
            was_up && before.is_some_and(|before| others(before).any(|m| !is_there(after, m)));
        due.must = is_up && (due.must || went);
        if !has {
            return;
        }
        let must = std::mem::take(&mut due.must);
        let cooled = changed.is_some_and(|at| now >= at + self.config.cool_down);
        let by_time = !self.is_passive(host) && (self.config.cool_down.is_zero() || cooled);
        let asked = self.checks.called_at.is_some_and(|at| now < at + ON_ITS_WAY);
        let idle = self.hosts[host].nest.as_ref().is_some_and(|nest| nest.records() == 0);
        let alone = others(after).next().is_none();
        if !(had || by_time || must || asked || idle || alone) {
            let what = format!("host {host} took its share, and nobody asked for that");
            self.checks.fail("I18", what);
        }
    }

    /// L6: a nest waits for its share no longer than it has to.
    pub(super) fn shares_taken(&self) -> Result<(), (&'static str, String)> {
        for (i, host) in self.hosts.iter().enumerate() {
            let Some(nest) = &host.nest else { continue };
            let view = nest.view();
            if view.member(view.me()).is_none_or(|me| me.due == 0) {
                continue;
            }
            let must = self.checks.shares.get(&i).is_some_and(|due| due.must);
            let alone = !view.members().iter().any(has_share);
            if must || alone || nest.records() == 0 || !self.is_passive(i) {
                return Err(("L6", format!("host {i} still waits for its share")));
            }
        }
        Ok(())
    }

    /// Whether a nest on this host waits until it is asked to take its share.
    pub(in crate::sim) fn is_passive(&self, host: usize) -> bool {
        let some = !self.passive_by_halves || host % 2 == 1;
        some && self.config.rebalancing == Rebalancing::Passive
    }
}
