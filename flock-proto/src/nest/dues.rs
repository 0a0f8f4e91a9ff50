//! When requests are due. Those that came together are due together, so there are few times, and many
//! requests to each: a set of both would be a tree that each request enters and leaves, and hardly any
//! stays until it is due.

use std::collections::BTreeMap;

use crate::{ReqId, Time};

/// See above.
#[derive(Debug, Default)]
pub(super) struct Dues {
    times: BTreeMap<Time, Due>,
}

/// The requests that are due at one time.
#[derive(Debug, Default)]
struct Due {
    /// As they came, with some that are answered meanwhile.
    reqs: Vec<ReqId>,
    /// How many of them aren't.
    open: usize,
}

impl Dues {
    /// When something is due next.
    pub(super) fn first(&self) -> Option<Time> {
        self.times.first_key_value().map(|(at, _)| *at)
    }

    /// Each request must be due once.
    pub(super) fn insert(&mut self, at: Time, req: ReqId) {
        let due = match self.times.last_entry() {
            // As nearly always.
            Some(last) if *last.key() == at => last.into_mut(),
            _ => self.times.entry(at).or_default(),
        };
        due.reqs.push(req);
        due.open += 1;
    }

    /// A request isn't due any more that was to be at this time.
    pub(super) fn remove(&mut self, at: Time) {
        if let Some(due) = self.times.get_mut(&at) {
            due.open = due.open.saturating_sub(1);
            if due.open == 0 {
                self.times.remove(&at);
            }
        }
    }

    /// Takes out what is due by now, in the order of times and requests: of each time with some that aren't
    /// any more.
    pub(super) fn pop(&mut self, now: Time) -> Option<(Time, Vec<ReqId>)> {
        let first = self.times.first_entry().filter(|first| *first.key() <= now)?;
        let (at, mut due) = first.remove_entry();
        due.reqs.sort_unstable();
        Some((at, due.reqs))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::*;
    use crate::Rng;

    #[test]
    fn what_is_due_comes_as_from_a_set_of_times_and_requests() {
        let mut rng = Rng::new(5);
        let (mut dues, mut set) = (Dues::default(), BTreeSet::new());
        let mut open = BTreeMap::new();
        for number in 0..20_000 {
            let (now, req) = (Time::from_micros(number / 4), ReqId(number));
            let at = now + std::time::Duration::from_micros(rng.below(3) * 40);
            dues.insert(at, req);
            set.insert((at, req));
            open.insert(req, at);
            let gone = ReqId(number - rng.below(30).min(number));
            if let Some(at) = open.remove(&gone) {
                dues.remove(at);
                set.remove(&(at, gone));
            }
            assert_eq!(dues.first(), set.first().map(|&(at, _)| at));
            if rng.one_in(8) {
                while let Some((at, reqs)) = dues.pop(now) {
                    for req in reqs {
                        if open.get(&req) == Some(&at) {
                            assert_eq!(set.pop_first(), Some((at, req)));
                            open.remove(&req);
                        }
                    }
                }
                assert!(set.first().is_none_or(|&(at, _)| at > now));
            }
        }
        assert!(open.len() > 5);
    }
}
