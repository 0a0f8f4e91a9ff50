//! Of lives: one at a time, fences that grow, restarts within the limit, no resurrection.

use std::collections::BTreeSet;
use std::time::Duration;

use super::Checks;
use crate::sim::host::{CRASH_WINDOW, MAX_CRASHES};
use crate::sim::world::World;
use crate::{BirdName, Dot, Fence, Hlc, Time, Why};

/// A life that began and isn't over.
#[derive(Clone, Copy, Debug)]
pub(super) struct Life {
    host: usize,
    since: Time,
}

/// A crash counts up to the end of the window: one that is nearly as old may be left out.
const EDGE: Duration = Duration::from_secs(1);

impl Checks {
    /// A life begins on a host.
    pub(in crate::sim) fn on_life(
        &mut self,
        name: &BirdName,
        birth: Dot,
        fence: Fence,
        host: usize,
        whole: bool,
    ) {
        // I5: no resurrection after a stop is known everywhere.
        if self.buried.contains(&birth) {
            self.fail("I5", format!("{name} of birth {birth:?} hatches, and was dead everywhere"));
        }
        if self.births.insert(birth, name.clone()).as_ref() != Some(name) {
            self.births_of.entry(name.clone()).or_default().insert(birth);
        }
        self.on_fence(name, birth, fence, host, whole);
        let lives = self.lives.entry(name.clone()).or_default();
        lives.push(Life { host, since: self.now });
        if lives.len() < 2 {
            return;
        }
        // I1: no name has two lives inside one connected component.
        let what = format!("{name} lives on hosts {:?}", hosts(lives));
        if self.rough {
            self.doubled.insert(name.clone());
        } else {
            self.fail("I1", what);
        }
    }

    pub(in crate::sim) fn on_life_over(&mut self, name: &BirdName, host: usize) {
        let Some(lives) = self.lives.get_mut(name) else { return };
        if let Some(at) = lives.iter().position(|life| life.host == host) {
            lives.swap_remove(at);
        }
        if lives.len() < 2 {
            self.doubled.remove(name);
        }
        if lives.is_empty() {
            self.lives.remove(name);
        }
    }

    /// A host is gone, and all lives on it. What it knew of fences and crashes nobody may know.
    pub(in crate::sim) fn on_host_gone(&mut self, host: usize) {
        let here = self.lives.iter().filter(|(_, lives)| hosts(lives).contains(&host));
        let names: Vec<_> = here.map(|(name, lives)| (name.clone(), lives.len() > 1)).collect();
        for (name, doubled) in names {
            self.on_life_over(&name, host);
            self.crashes.remove(&name);
            // The life that is left may never have heard of the one that is gone.
            if self.skewed || doubled {
                self.fences.remove(&name);
            }
        }
        // What was on its way from there or to there is lost, too.
        let lives = &self.lives;
        self.crashes.retain(|name, _| lives.contains_key(name));
        self.on_silence(host);
        self.died = self.now;
        self.on_fault();
    }

    /// A host says nothing any more. In rough times, nobody may have heard of the fences it gave.
    pub(in crate::sim) fn on_silence(&mut self, host: usize) {
        if self.rough {
            self.fences.retain(|_, (_, _, giver)| *giver != host);
        }
    }

    /// Where a name has lives.
    pub(in crate::sim) fn hosts_of(&self, name: &BirdName) -> Vec<usize> {
        self.lives.get(name).map(|lives| hosts(lives)).unwrap_or_default()
    }

    /// How many lives a name has.
    pub(in crate::sim) fn lives_of(&self, name: &BirdName) -> usize {
        self.lives.get(name).map_or(0, Vec::len)
    }

    /// I11: fences grow along connected chains.
    fn on_fence(&mut self, name: &BirdName, birth: Dot, fence: Fence, host: usize, whole: bool) {
        let strict = !self.rough || (whole && self.is_calm());
        let mut before = self.last_fence(name, birth);
        if fence <= before && !strict && self.skewed {
            // The one that gave it died, and by a clock that is behind nobody can tell.
            before = Fence(0);
        }
        // Of a greater fence that was given elsewhere, that host may be the only one to know.
        let kept = self.fences.get(name).filter(|_| before > fence).map(|(_, _, giver)| *giver);
        self.fences.insert(name.clone(), (birth, fence.max(before), kept.unwrap_or(host)));
        if fence <= before && strict {
            self.fail("I11", format!("{name} got fence {fence:?} after {before:?}"));
        }
    }

    /// I11: whoever takes over from two lives goes on above both.
    pub(in crate::sim) fn on_merged_fence(&mut self, name: &BirdName, old: Fence, new: Fence) {
        if new <= old {
            self.fail("I11", format!("{name} went on with fence {new:?} after {old:?}"));
        }
        if let Some((_, last, _)) = self.fences.get_mut(name) {
            *last = new.max(*last);
        }
    }

    /// The last fence that a name was given. Where clocks differ by more than they may, another bird
    /// of the same name knows nothing of the one before.
    pub(super) fn last_fence(&self, name: &BirdName, birth: Dot) -> Fence {
        let last = self.fences.get(name).filter(|(of, ..)| *of == birth || !self.skewed);
        let last = last.map_or(Fence(0), |(_, fence, _)| *fence);
        // A bird that was stopped where a clock is far ahead, and lives on by a record that was written
        // anew elsewhere, meanwhile: nobody was there to tell its owner, nor does a clock.
        let far = Hlc::at(self.now + Duration::from_secs(60)).0;
        if self.renewed && self.skewed && last.0 > far { Fence(0) } else { last }
    }

    /// I1: whoever holds other nests in its view hears of their lives before it begins one, also
    /// where two parts of a flock have just met. `others`: those in its view that see it, too.
    pub(in crate::sim) fn check_meeting(
        &mut self,
        name: &BirdName,
        host: usize,
        others: &BTreeSet<usize>,
    ) {
        // What began since may be on a nest that was elsewhere meanwhile, without a word to this one.
        let Some(sees) = self.sees.get(&host) else { return };
        let lives = self.lives.get(name).into_iter().flatten();
        let before = |life: &&Life| {
            let since = sees.get(&life.host).filter(|_| others.contains(&life.host));
            since.is_some_and(|since| life.since < *since)
        };
        if let Some(life) = lives.copied().find(|life| before(&life)) {
            let what =
                format!("{name} hatches on host {host}, which sees that of host {}", life.host);
            self.fail("I1", what);
        }
    }

    /// I5: what ended for good begins no more, where everybody hears of the end.
    pub(in crate::sim) fn check_ended(&mut self, name: &BirdName, birth: Dot) {
        if self.ended.contains(&birth) && !self.rough {
            self.fail("I5", format!("{name} of birth {birth:?} hatches, and had ended"));
        }
    }

    /// I12, I15: a life goes on with all that it had before: that it crashed, and what it was.
    pub(in crate::sim) fn check_heritage(
        &mut self,
        name: &BirdName,
        birth: Dot,
        why: Why,
        crashes: &[Duration],
    ) {
        if self.rough || !self.births.contains_key(&birth) {
            return;
        }
        if why == Why::NestLost {
            self.fail("I15", format!("{name} was handed over, and begins from nothing"));
        }
        let Some((of, past)) = self.crashes.get(name) else { return };
        let within = |age: Duration| age + EDGE < CRASH_WINDOW;
        let expected = past.iter().filter(|at| within(self.now.since(**at))).count();
        if *of == birth && crashes.len() < expected {
            let what = format!("{name} crashed {expected} times, and {} are known", crashes.len());
            self.fail("I12", what);
        }
    }

    /// Which others a host has in its view from now on.
    pub(in crate::sim) fn on_seen(&mut self, host: usize, others: &BTreeSet<usize>) {
        let (now, sees) = (self.now, self.sees.entry(host).or_default());
        sees.retain(|other, _| others.contains(other));
        for other in others {
            sees.entry(*other).or_insert(now);
        }
    }

    /// I15: what moves goes on as one: where no two lives were, none are merged.
    pub(in crate::sim) fn check_merged(&mut self, name: &BirdName) {
        if !self.rough {
            self.fail("I15", format!("{name} was handed over, and merged with itself"));
        }
    }

    /// A life ended for good, and nobody may begin another one of this birth.
    pub(in crate::sim) fn on_end_for_good(&mut self, birth: Dot) {
        if !self.rough {
            self.ended.insert(birth);
        }
    }

    /// The births that this name had since the last rest, or has.
    pub(in crate::sim) fn births_of(&self, name: &BirdName) -> impl Iterator<Item = Dot> + '_ {
        self.births_of.get(name).into_iter().flatten().copied()
    }

    /// A name was stopped, and with it all births that it had.
    pub(in crate::sim) fn on_stopped(&mut self, name: &BirdName) {
        let of_name = self.births_of(name);
        // A birth that another name had since is that one's.
        let births: Vec<Dot> =
            of_name.filter(|birth| self.births.get(birth) == Some(name)).collect();
        births.into_iter().for_each(|birth| self.on_end_for_good(birth));
    }

    /// I12: restarts never exceed the policy, wherever the bird lives.
    pub(in crate::sim) fn on_crash(&mut self, name: &BirdName, birth: Dot, now: Time) {
        let (of, crashes) = self.crashes.entry(name.clone()).or_insert((birth, Vec::new()));
        if *of != birth {
            *of = birth;
            crashes.clear();
        }
        crashes.retain(|&at| now.since(at) <= CRASH_WINDOW);
        crashes.push(now);
        let crashes = crashes.len();
        if crashes > MAX_CRASHES + 1 {
            self.fail("I12", format!("{name} crashed {crashes} times without being grounded"));
        }
    }

    pub(in crate::sim) fn on_grounded(&mut self, name: &BirdName) {
        self.crashes.remove(name);
    }

    /// Each side of a cut counts for itself, and what a lost nest counted is lost.
    pub(in crate::sim) fn forget_crashes(&mut self) {
        self.crashes.clear();
    }

    /// All registries are equal, and hold no record of these births: they must never come back.
    pub(super) fn bury(&mut self, alive: impl Fn(&BirdName, Dot) -> bool) {
        let dead: Vec<Dot> = self
            .births
            .iter()
            .filter(|(birth, name)| !alive(name, **birth))
            .map(|(birth, _)| *birth)
            .collect();
        for birth in dead {
            if let Some(name) = self.births.remove(&birth)
                && let Some(births) = self.births_of.get_mut(&name)
            {
                births.remove(&birth);
            }
            self.buried.insert(birth);
        }
    }

    /// At rest: which bird each name is.
    pub(super) fn note_births(&mut self, births: impl Iterator<Item = (BirdName, Dot)>) {
        self.at_rest = births.collect();
    }

    /// Somebody asks for a start or a stop: another bird may have this name from now on.
    pub(in crate::sim) fn on_request(&mut self, name: &BirdName) {
        self.at_rest.remove(name);
    }

    /// I6: which bird a name was at the last rest, if nobody has started or stopped any since.
    pub(super) fn birth_at_rest(&self, name: &BirdName) -> Option<Dot> {
        self.at_rest.get(name).copied()
    }

    pub(super) fn is_buried(&self, birth: Dot) -> bool {
        self.buried.contains(&birth)
    }
}

impl World {
    /// I1: in rough times two lives may coexist until the flock has found together again, and no
    /// longer.
    pub(in crate::sim) fn check_doubles(&mut self) {
        let Some(name) = self.checks.doubled.first() else { return };
        let lives = self.checks.lives.get(name).map(|lives| hosts(lives)).unwrap_or_default();
        if self.is_whole() && self.checks.is_calm() && self.may_meet(&lives) {
            let what = format!("{name} still lives on hosts {lives:?}");
            self.checks.fail("I1", what);
        }
    }

    /// Whether those hosts can find each other: where all seeds are down, two flocks may have formed
    /// of which neither knows where to look for the other.
    fn may_meet(&self, hosts: &[usize]) -> bool {
        let seeds_down = (0..2).all(|seed| self.nest(seed).is_none());
        let Some(&first) = hosts.first().filter(|_| seeds_down) else { return true };
        let (mut known, mut next) = (BTreeSet::from([first]), vec![first]);
        while let Some(host) = next.pop() {
            next.extend(self.hosts_seen_by(host).into_iter().filter(|other| known.insert(*other)));
        }
        hosts.iter().all(|host| known.contains(host))
    }
}

fn hosts(lives: &[Life]) -> Vec<usize> {
    lives.iter().map(|life| life.host).collect()
}
