//! Of what users were told.

use crate::sim::facts::Verdict;
use crate::sim::host::CallEnd;
use crate::sim::world::World;
use crate::{Answer, NestState};

use super::{Made, SETTLING};

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
            }
            _ => {}
        }
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
        let holders =
            nests.filter(|nest| nest.find(&verdict.asked.name).is_some() == alive).count();
        if holders < 2 {
            let what = format!("{} was acknowledged, and {holders} hold it", verdict.asked.name);
            self.checks.fail("I6", what);
        }
    }

    /// I6: who calls a bird that lives for certain is not told that there is none.
    pub(in crate::sim) fn check_call_end(&mut self, made: &Made, end: CallEnd) {
        if end == CallEnd::NoSuchBird
            && made.lived
            && !self.checks.is_rough()
            && self.facts.certain(&made.name) == Some(true)
        {
            let what = format!("host {} was told that {} doesn't live", made.host, made.name);
            self.checks.fail("I6", what);
        }
    }
}
