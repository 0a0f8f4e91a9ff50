//! Of calls and casts.

use std::time::Duration;

use super::Checks;
use crate::{BirdName, Time};

/// A call ends so long after its deadline at the latest, if its caller isn't frozen.
const SLACK: Duration = Duration::from_millis(100);

/// A call that was made and has not ended.
#[derive(Clone, Debug)]
pub(in crate::sim) struct Made {
    pub(in crate::sim) host: usize,
    pub(in crate::sim) name: BirdName,
    pub(in crate::sim) deadline: Time,
    /// Which life of the bird it was made to, if it lived for certain.
    pub(in crate::sim) life: Option<u64>,
}

impl Checks {
    pub(in crate::sim) fn on_call(&mut self, number: u64, made: Made) {
        self.due.insert((made.deadline, number));
        self.made.insert(number, made);
    }

    /// I7: a call ends once, by its deadline.
    pub(in crate::sim) fn on_call_end(&mut self, number: u64) -> Option<Made> {
        let Some(made) = self.made.remove(&number) else {
            self.fail("I7", format!("call {number} ended twice"));
            return None;
        };
        self.due.remove(&(made.deadline, number));
        if self.now > self.latest_end(&made) {
            self.fail("I7", format!("call {number} from host {} ended late", made.host));
        }
        Some(made)
    }

    /// I7: no call is forgotten.
    pub(in crate::sim) fn check_due(&mut self) {
        while let Some(&(deadline, number)) = self.due.first() {
            if self.now <= deadline + SLACK {
                return;
            }
            let Some(made) = self.made.get(&number) else {
                self.due.pop_first();
                continue;
            };
            if self.now > self.latest_end(made) {
                let what = format!("call {number} from host {} has no end", made.host);
                return self.fail("I7", what);
            }
            // Its caller was frozen: to be looked at again.
            let again = self.latest_end(made);
            self.due.pop_first();
            self.due.insert((again, number));
            return;
        }
    }

    fn latest_end(&self, made: &Made) -> Time {
        let thawed = self.thawed.get(&made.host).copied().unwrap_or_default();
        made.deadline.max(thawed) + SLACK
    }

    /// I8: a reply reaches its caller, and nobody else.
    pub(in crate::sim) fn on_reply(&mut self, host: usize, waiting: u64, answered: u64) {
        if waiting != answered {
            let what = format!("the reply to call {answered} ended call {waiting} of host {host}");
            self.fail("I8", what);
        }
    }

    /// A bird on this host handles a call or cast. I9: in the order of sending, absent a redirect.
    /// I10: at most once.
    pub(in crate::sim) fn on_handled(
        &mut self,
        host: usize,
        number: u64,
        origin: Option<usize>,
        name: &BirdName,
        redirected: bool,
    ) {
        if !self.handled.insert(number) {
            self.fail("I10", format!("{name} handled call {number} twice"));
        }
        let Some(origin) = origin.filter(|_| !redirected) else { return };
        // Of two lives in rough times, one may handle late what was sent before the other began.
        let life = self.rough.then_some(host);
        let last = self.in_order.entry((origin, name.clone(), life)).or_default();
        let before = *last;
        *last = number.max(before);
        if number < before {
            let what = format!("{name} handled call {number} of host {origin} after {before}");
            self.fail("I9", what);
        }
    }

    /// I13: nothing is passed on for ever.
    pub(in crate::sim) fn on_hop(&mut self, hop: u8, what: &str) {
        if hop > crate::MAX_CALL_HOPS {
            self.fail("I13", format!("{what} was passed on {hop} times"));
        }
    }

    /// Calls without an end.
    pub(super) fn open_calls(&self) -> usize {
        self.made.len()
    }

    /// The calls of a host that is gone.
    pub(in crate::sim) fn calls_of(&self, host: usize) -> Vec<u64> {
        self.made.iter().filter(|(_, made)| made.host == host).map(|(n, _)| *n).collect()
    }
}
