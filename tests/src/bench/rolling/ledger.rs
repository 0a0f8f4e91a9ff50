//! What clients were told, and what of that can't be if nothing is lost.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::nests::Census;
use crate::tally::Told;

/// What is done to the nests at the moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Phase {
    /// One goes in good order.
    Graceful,
    /// One comes.
    Join,
    /// One is killed.
    Kill,
}

/// The account of one bird.
#[derive(Debug, Default)]
struct Account {
    last: Option<(Told, Instant)>,
    /// Calls since the last answer of which nobody knows whether they were counted.
    open: u64,
    /// Called often enough for gaps to be measured.
    is_watched: bool,
}

/// All that was seen.
#[derive(Debug)]
pub(super) struct Ledger {
    phase: Phase,
    accounts: Vec<Account>,
    pub(super) calls: u64,
    pub(super) acknowledged_lost: u64,
    pub(super) state_lost: u64,
    pub(super) lost_to_kill: u64,
    pub(super) doubled: u64,
    pub(super) moved: u64,
    pub(super) needed: u64,
    pub(super) gaps: BTreeMap<Phase, Vec<Duration>>,
    errors: BTreeMap<(bool, String), u64>,
}

impl Ledger {
    /// Of so many birds, of which the first few are watched closely.
    pub(super) fn new(birds: usize, watched: usize) -> Self {
        let account = |n| Account { is_watched: n < watched, ..Account::default() };
        Self {
            phase: Phase::Join,
            accounts: (0..birds).map(account).collect(),
            calls: 0,
            acknowledged_lost: 0,
            state_lost: 0,
            lost_to_kill: 0,
            doubled: 0,
            moved: 0,
            needed: 0,
            gaps: BTreeMap::new(),
            errors: BTreeMap::new(),
        }
    }

    pub(super) fn begin(&mut self, phase: Phase, needed: usize) {
        self.phase = phase;
        self.needed += needed as u64;
    }

    pub(super) fn on_answer(&mut self, bird: usize, told: Told, now: Instant) {
        self.calls += 1;
        let Some(account) = self.accounts.get_mut(bird) else { return };
        let open = std::mem::take(&mut account.open);
        if let Some((last, at)) = account.last.replace((told.clone(), now)) {
            if last.nest != told.nest {
                self.moved += 1;
                if account.is_watched {
                    self.gaps.entry(self.phase).or_default().push(now - at);
                }
            }
            if last.begun != told.begun {
                match self.phase {
                    Phase::Kill => self.lost_to_kill += 1,
                    _ => self.state_lost += 1,
                }
            } else if told.count <= last.count {
                self.acknowledged_lost += last.count + 1 - told.count;
            } else if told.count > last.count + 1 + open {
                self.doubled += 1;
            }
        }
    }

    pub(super) fn on_error(&mut self, bird: usize, error: String) {
        let in_kill = self.phase == Phase::Kill;
        *self.errors.entry((in_kill, error)).or_default() += 1;
        if let Some(account) = self.accounts.get_mut(bird) {
            account.open += 1;
        }
    }

    /// Where each bird lives, as each process says.
    pub(super) fn on_census(&mut self, census: &Census) {
        self.doubled += census.values().filter(|homes| homes.len() > 1).count() as u64;
    }

    pub(super) fn errors_in_good_order(&self) -> u64 {
        self.errors.iter().filter(|((in_kill, _), _)| !in_kill).map(|(_, times)| times).sum()
    }

    pub(super) fn errors(&self) -> BTreeMap<String, u64> {
        let shown = |((in_kill, error), times): (&(bool, String), &u64)| {
            let when = if *in_kill { " (after the kill)" } else { "" };
            (format!("{error}{when}"), *times)
        };
        self.errors.iter().map(shown).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(count: u64, begun: u64, nest: &str) -> Told {
        Told { count, begun, nest: nest.into() }
    }

    #[test]
    fn what_cannot_be_is_told_apart() {
        let now = Instant::now();
        let mut ledger = Ledger::new(2, 1);
        ledger.begin(Phase::Graceful, 1);
        for (count, begun, nest) in [(1, 7, "a"), (2, 7, "a"), (3, 7, "b")] {
            ledger.on_answer(0, told(count, begun, nest), now);
        }
        let nothing = |l: &Ledger| (l.acknowledged_lost, l.state_lost, l.doubled, l.lost_to_kill);
        assert_eq!((ledger.moved, nothing(&ledger)), (1, (0, 0, 0, 0)));
        ledger.on_answer(0, told(2, 7, "b"), now);
        assert_eq!(nothing(&ledger), (2, 0, 0, 0));
        ledger.on_answer(0, told(4, 7, "b"), now);
        assert_eq!(nothing(&ledger), (2, 0, 1, 0));
        ledger.on_error(0, "unknown".into());
        ledger.on_answer(0, told(6, 7, "b"), now);
        assert_eq!((ledger.errors_in_good_order(), nothing(&ledger)), (1, (2, 0, 1, 0)));
        ledger.on_answer(0, told(1, 8, "a"), now);
        assert_eq!(nothing(&ledger), (2, 1, 1, 0));
        ledger.begin(Phase::Kill, 1);
        ledger.on_answer(0, told(1, 9, "b"), now);
        assert_eq!(nothing(&ledger), (2, 1, 1, 1));
    }
}
