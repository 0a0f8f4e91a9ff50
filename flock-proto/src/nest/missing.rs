//! Nests that went out of sight, and may live on.
//!
//! A nest that this one doesn't see any more is mostly dead, and its birds are hatched at once. Where a
//! [policy](super::quorum) lets one side of a cut go on alone, they wait until it must have stopped what it
//! runs; birds of a [fenced species](crate::Me::fenced) wait until this nest's clock is surely ahead of
//! the one that gave them their last fence.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::Nest;
use crate::bugs::{Bug, planted};
use crate::{Fingerprint, NestId, NestName, NestState, Policy, SpeciesId, Time, View};

/// Nests that were up, and went out of sight not in good order.
#[derive(Debug, Default)]
pub(super) struct Missing {
    nests: BTreeMap<NestId, OutOfSight>,
    /// For whom birds wait: by the policy, and by their species.
    waited_for: (usize, usize),
    /// Cards and view by which that was found, and until when it is so; none: somebody was added.
    found_by: Option<(u64, Fingerprint)>,
    until: Time,
}

#[derive(Debug)]
struct OutOfSight {
    since: Time,
    name: NestName,
    /// What it owned then; anything, if that isn't known.
    view: Option<Arc<View>>,
}

impl Nest {
    fn waits_for_the_missing(&self) -> bool {
        !matches!(self.config.policy, Policy::Available) || !self.me.fenced.is_empty()
    }

    /// Members went out of the view, and didn't say that they leave.
    pub(super) fn note_missing(&mut self, before: &Arc<View>, after: &View) {
        if !self.waits_for_the_missing() || self.state == NestState::Joining {
            return;
        }
        for member in before.members() {
            let left = self.roster.card(member.id).is_none_or(|card| card.left);
            let renamed = after.members().iter().any(|other| other.name == member.name);
            let was_up = member.state != NestState::Joining;
            if was_up && !left && !renamed && after.member(member.id).is_none() {
                // It may run what it should have handed over here, or hasn't listed yet.
                let owed = !self.is_settled_everywhere() || !self.listed_by(member.id).is_empty();
                let view = (!owed).then(|| before.clone());
                let it = OutOfSight { since: self.now, name: member.name.clone(), view };
                self.missing.nests.insert(member.id, it);
                self.missing.found_by = None;
            }
        }
    }

    /// This nest comes up now, or sees enough others again. Whoever is missing may run anything still.
    pub(super) fn note_missed(&mut self) {
        if !self.waits_for_the_missing() {
            return;
        }
        let gone = |id| self.view.member(id).is_none() && !self.swim.alive().contains(&id);
        let cards = self.roster.cards();
        let missed = cards.filter(|c| c.state == NestState::Up && !c.left && gone(c.id));
        let since = self.now;
        let missed =
            missed.map(|card| (card.id, OutOfSight { since, name: card.name.clone(), view: None }));
        self.missing.nests.extend(missed);
        self.missing.found_by = None;
    }

    /// Has birds looked at that waited for nests which aren't waited for any more.
    pub(super) fn check_missing(&mut self) {
        if self.missing.nests.is_empty() && self.missing.waited_for == (0, 0) {
            return;
        }
        let (now, roster) = (self.now, &self.roster);
        // Asked after each frame, and it looks at all members for each of them.
        let by = Some((roster.digest(), self.view.fingerprint()));
        if self.missing.found_by == by && now < self.missing.until {
            return;
        }
        // One that is back, under whatever number, lists what it runs.
        let view = &self.view;
        let is_back = |name: &NestName| {
            let up = |nest: &crate::Member| nest.state != NestState::Joining && nest.name == *name;
            view.members().iter().any(up)
        };
        let longest = self.policy_wait().max(self.config.clock_skew);
        self.missing.nests.retain(|id, it| {
            let left = || roster.named(&it.name).is_none_or(|card| card.id == *id && card.left);
            now < it.since + longest && !is_back(&it.name) && !left()
        });
        let still =
            |wait: Duration| self.missing.nests.values().filter(|it| now < it.since + wait).count();
        let now_for = (still(self.policy_wait()), still(self.config.clock_skew));
        let before = std::mem::replace(&mut self.missing.waited_for, now_for);
        let waits = [self.policy_wait(), self.config.clock_skew];
        let ends = self.missing.nests.values().flat_map(|it| waits.map(|wait| it.since + wait));
        self.missing.until = ends.filter(|end| *end > now).min().unwrap_or(Time::NEVER);
        self.missing.found_by = by;
        if now_for.0 < before.0 || now_for.1 < before.1 {
            self.look_at_everything();
        }
    }

    const fn policy_wait(&self) -> Duration {
        match self.config.policy {
            Policy::Available => Duration::ZERO,
            _ => self.config.take_over_after,
        }
    }

    /// Whether a name belonged to a nest that may not have stopped yet what it runs of it.
    pub(super) fn may_live_out_of_sight(&self, hash: u64) -> bool {
        // Asked at each name's turn, and nearly always none is missing.
        !self.missing.nests.is_empty()
            && !planted(Bug::HastyTakeOver)
            && self.is_owned_out_of_sight(hash, self.policy_wait())
    }

    /// Whether a bird's last fence may be ahead of this nest's clock.
    pub(super) fn may_be_fenced_above(&self, hash: u64, species: SpeciesId) -> bool {
        self.me.fenced.contains(&species)
            && self.is_owned_out_of_sight(hash, self.config.clock_skew)
    }

    fn is_owned_out_of_sight(&self, hash: u64, wait: Duration) -> bool {
        let owned = |id: &NestId, it: &OutOfSight| {
            it.view.as_ref().is_none_or(|view| view.owner(hash) == Some(*id))
        };
        let mut missing = self.missing.nests.iter();
        missing.any(|(id, it)| self.now < it.since + wait && owned(id, it))
    }

    pub(super) fn missing_deadline(&self) -> Time {
        if self.missing.nests.is_empty() { Time::NEVER } else { self.missing.until }
    }
}
