//! Of lives: one at a time, fences that grow, restarts within the limit, no resurrection.

use super::Checks;
use crate::sim::host::{CRASH_WINDOW, MAX_CRASHES};
use crate::{BirdName, Dot, Fence, Time};

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
        self.births.insert(birth, name.clone());
        self.on_fence(name, birth, fence, host, whole);
        let lives = self.lives.entry(name.clone()).or_default();
        lives.push(host);
        if lives.len() < 2 {
            return;
        }
        // I1: no name has two lives inside one connected component.
        let what = format!("{name} lives on hosts {lives:?}");
        if self.rough {
            self.doubled.insert(name.clone());
        } else {
            self.fail("I1", what);
        }
    }

    pub(in crate::sim) fn on_life_over(&mut self, name: &BirdName, host: usize) {
        let Some(lives) = self.lives.get_mut(name) else { return };
        if let Some(at) = lives.iter().position(|life| *life == host) {
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
        let here = self.lives.iter().filter(|(_, lives)| lives.contains(&host));
        let names: Vec<_> = here.map(|(name, lives)| (name.clone(), lives.len() > 1)).collect();
        for (name, doubled) in names {
            self.on_life_over(&name, host);
            self.crashes.remove(&name);
            // The life that is left may never have heard of the one that is gone.
            if self.skewed || doubled {
                self.fences.remove(&name);
            }
        }
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

    /// In rough times two lives may coexist until the flock has found together again, and no longer.
    pub(in crate::sim) fn check_doubles(&mut self, whole: bool) {
        if self.doubled.is_empty() || !whole || !self.is_calm() {
            return;
        }
        if let Some(name) = self.doubled.first() {
            let what = format!("{name} still lives on hosts {:?}", self.lives.get(name));
            self.fail("I1", what);
        }
    }

    /// How many lives a name has.
    pub(in crate::sim) fn lives_of(&self, name: &BirdName) -> usize {
        self.lives.get(name).map_or(0, Vec::len)
    }

    /// I11: fences grow along connected chains.
    fn on_fence(&mut self, name: &BirdName, birth: Dot, fence: Fence, host: usize, whole: bool) {
        let strict = !self.rough || (whole && self.is_calm());
        let before = self.last_fence(name, birth);
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
        last.map_or(Fence(0), |(_, fence, _)| *fence)
    }

    /// I12: restarts never exceed the policy, wherever the bird lives.
    pub(in crate::sim) fn on_crash(&mut self, name: &BirdName, now: Time) {
        let crashes = self.crashes.entry(name.clone()).or_default();
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
            self.births.remove(&birth);
            self.buried.insert(birth);
        }
    }

    pub(super) fn is_buried(&self, birth: Dot) -> bool {
        self.buried.contains(&birth)
    }
}
