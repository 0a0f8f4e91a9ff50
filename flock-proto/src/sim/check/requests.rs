//! Of what users were told.

use std::time::Duration;

use crate::sim::calls::DEADLINE;
use crate::sim::facts::Verdict;
use crate::sim::host::CallEnd;
use crate::sim::world::World;
use crate::{Answer, BirdName, NestState, Time};

use super::{Made, SETTLING};

/// A leave that takes longer is cut short, sooner or later.
const CUT_SHORT: Duration = Duration::from_secs(29);

impl World {
    /// I6: an answer is true, and two nests hold what it says.
    pub(in crate::sim) fn check_answer(&mut self, verdict: &Verdict, answer: &Answer) {
        let name = &verdict.asked.name;
        let told = match (answer, verdict.before) {
            (Answer::AlreadyExists { .. }, Some(false)) => Some("taken, and nobody had it"),
            (Answer::Started { fresh: true, .. }, Some(true)) => Some("started, and it lived"),
            (Answer::NoSuchBird, Some(true)) => Some("unknown, and it lived"),
            _ => None,
        };
        if let Some(told) = told {
            let what = format!("to host {} {name} was {told}", verdict.asked.host);
            return self.checks.fail("I6", what);
        }
        // L4: nor does anybody wait in vain, also where only others have a link to both.
        if *answer == Answer::TimedOut && !self.checks.is_rough() && !self.is_held_up(name) {
            let what = format!("host {} waited for {name} in vain", verdict.asked.host);
            return self.checks.fail("L4", what);
        }
        if !verdict.alone {
            return;
        }
        match answer {
            Answer::Started { .. } => self.check_held(verdict, true),
            Answer::Stopped => {
                self.check_held(verdict, false);
                if self.checks.lives_of(name) > 0 && !self.checks.is_rough() {
                    self.checks.fail("I6", format!("{name} was stopped, and lives"));
                }
                self.checks.on_stopped(name);
            }
            _ => {}
        }
    }

    /// Whether one who waits for that bird may wait in vain, and nobody is to blame. What goes into a link
    /// that was cut is lost, and sent another way once that is noticed, which takes two to three seconds of
    /// his five. The rest isn't enough for a nest that stands still besides, or a bird that takes long to hatch.
    fn is_held_up(&self, name: &BirdName) -> bool {
        let checks = &self.checks;
        let lately = |at: &Time| *at > Time::default() && self.now < *at + DEADLINE;
        let slow = checks.hatches_slowly.get(name).is_some_and(lately);
        lately(&checks.muted) && (slow || checks.thawed.values().any(lately))
    }

    /// Two nests hold it, where there are two: one may die now, and it is still so.
    fn check_held(&mut self, verdict: &Verdict, alive: bool) {
        let Some(asker) = &self.hosts[verdict.asked.host].nest else { return };
        let staying =
            asker.view().members().iter().filter(|m| m.state != NestState::Leaving).count();
        // Whoever confirmed it may have died since.
        if staying < 2 || self.checks.now < self.checks.died + SETTLING {
            return;
        }
        let nests = self.hosts.iter().filter_map(|host| host.nest.as_ref());
        let holders = nests.filter(|nest| nest.holds(&verdict.asked.name) == alive).take(2).count();
        if holders < 2 {
            let what = format!("{} was acknowledged, and {holders} hold it", verdict.asked.name);
            self.checks.fail("I6", what);
        }
    }

    /// I6: who calls a bird that lives for certain is not told that there is none.
    pub(in crate::sim) fn check_call_end(&mut self, made: &Made, end: CallEnd) {
        if end == CallEnd::NoSuchBird
            && made.life.is_some()
            && !self.checks.is_rough()
            && self.facts.certain_life(&made.name) == made.life
        {
            let what = format!("host {} was told that {} doesn't live", made.host, made.name);
            self.checks.fail("I6", what);
        }
    }

    /// I6: nobody starts a bird of a name of which he knows that another one lives.
    pub(in crate::sim) fn check_denied(&mut self, host: usize, name: &BirdName) {
        if self.hosts[host].nest.as_ref().is_some_and(|nest| nest.has_denied(name)) {
            let what = format!("host {host} started {name}, and had heard of another one");
            self.checks.fail("I6", what);
        }
    }

    /// I6: who says that it has left has handed over what it had, and told what it knew.
    pub(in crate::sim) fn check_left(&mut self, host: usize) {
        let Some(nest) = &self.hosts[host].nest else { return };
        let asked = self.checks.leaving.get(&host).copied().unwrap_or_default();
        let view = nest.view();
        let someone = !view.ring().is_empty();
        // Cut short after a while; or there is nobody to hand anything to.
        if self.checks.now > asked + CUT_SHORT || !someone {
            return;
        }
        let mut table = self.hosts[host].body.table.iter();
        let here = table.find(|(_, entry)| entry.state.lives()).map(|(name, _)| name.clone());
        let unaware = self.hosts_seen_by(host).into_iter().find(|other| {
            let other = self.hosts[*other].nest.as_ref();
            other.is_some_and(|other| !other.knows_writes_of(nest))
        });
        if let Some(name) = here {
            self.checks.fail("I6", format!("host {host} has left, and {name} lived there"));
        }
        if let Some(other) = unaware {
            let what = format!("host {host} has left, and knew what host {other} doesn't");
            self.checks.fail("I6", what);
        }
    }
}
