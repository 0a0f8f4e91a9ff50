//! Which names must live, and which must not, after all that was asked for.
//!
//! Only what is promised counts. A request without a definite answer may still take effect. Of a
//! start and a stop that overlap, or that fell on different sides of a fault, either may win; and a
//! stop on one side may lose against a grounding on the other. What was acknowledged is held by two
//! nests, and by all once a calm while has passed: until then it outlives one crash; if it was
//! acknowledged amid faults, none.

use std::collections::{BTreeMap, BTreeSet};

use super::post::Refusal;

/// After so many calm milliseconds every nest holds what was acknowledged before them.
const SPREAD: u64 = 2_000;

/// So long after it was sent, a request without a definite answer may still take effect: its deadline,
/// and as long again for copies that were held up.
const LATE: u64 = 20_000;

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wish {
    Start,
    Stop,
    Revive,
}

/// When something happens, and since when times have been good.
#[derive(Clone, Copy, Debug)]
pub(super) struct Times {
    pub(super) now: u64,
    /// Nothing is amiss with network and hosts.
    pub(super) calm: Option<u64>,
    /// No nest comes or goes.
    pub(super) steady: Option<u64>,
}

/// All requests of a chapter.
#[derive(Debug)]
pub(super) struct Requests {
    last: u64,
    of_chapter: BTreeMap<u64, Request>,
    /// What lived when the chapter began.
    lived: BTreeSet<String>,
    /// What was grounded in this chapter, or revived.
    grounded: BTreeSet<String>,
}

#[derive(Clone, Debug)]
struct Request {
    host: String,
    bird: String,
    wish: Wish,
    sent: u64,
    /// Since when it was calm, if it was, when this was sent.
    calm: Option<u64>,
    /// The same for nests that neither came nor went.
    steady: Option<u64>,
    ended: Option<u64>,
    effect: Effect,
    /// The asker went down with the host.
    orphan: bool,
    /// Every nest knows of it.
    spread: bool,
    /// Crashes before that.
    crashes: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Effect {
    Nothing,
    Lives,
    LivesNot,
    Unknown,
}

impl Request {
    /// Nothing was amiss from its beginning to its end.
    fn was_calm(&self) -> bool {
        self.calm.is_some()
    }

    fn overlaps(&self, other: &Self) -> bool {
        let end = |request: &Self| request.ended.unwrap_or(u64::MAX);
        self.sent <= end(other) && other.sent <= end(self)
    }
}

impl Requests {
    pub(super) const fn new() -> Self {
        Self {
            last: 0,
            of_chapter: BTreeMap::new(),
            lived: BTreeSet::new(),
            grounded: BTreeSet::new(),
        }
    }

    pub(super) fn sent(&mut self, host: &str, bird: &str, wish: Wish, times: Times) -> u64 {
        self.last += 1;
        let request = Request {
            host: host.into(),
            bird: bird.into(),
            wish,
            sent: times.now,
            calm: times.calm,
            steady: times.steady,
            ended: None,
            effect: Effect::Unknown,
            orphan: false,
            spread: false,
            crashes: 0,
        };
        self.of_chapter.insert(self.last, request);
        self.last
    }

    /// Says whose request it was, for what, and whether it was granted.
    pub(super) fn ended(
        &mut self,
        number: u64,
        outcome: Result<(), Refusal>,
        times: Times,
    ) -> Option<(String, Wish, bool)> {
        let request = self.of_chapter.get_mut(&number)?;
        request.ended = Some(times.now);
        // So at its end since before its beginning.
        let all_along = |since: &u64| *since <= request.sent;
        request.calm = request.calm.and(times.calm.filter(all_along));
        request.steady = request.steady.and(times.steady.filter(all_along));
        let calm = request.was_calm();
        request.effect = match (request.wish, outcome) {
            (Wish::Revive, _) | (_, Err(Refusal::NothingDone)) => Effect::Nothing,
            // Amid faults that is so on the side of the asker, who changed nothing.
            (_, Err(Refusal::Exists | Refusal::NoSuchBird)) if !calm => Effect::Nothing,
            (Wish::Start, Ok(()) | Err(Refusal::Exists)) => Effect::Lives,
            (Wish::Stop, Ok(()) | Err(Refusal::NoSuchBird)) => Effect::LivesNot,
            (Wish::Start, Err(Refusal::HatchFailed)) if calm && request.steady.is_some() => {
                Effect::LivesNot
            }
            // When the owner changes meanwhile, the next one may try once more, though the failure
            // of the first is reported.
            _ => Effect::Unknown,
        };
        Some((request.bird.clone(), request.wish, outcome.is_ok()))
    }

    /// Whoever asked from this host is gone.
    pub(super) fn askers_gone(&mut self, host: &str) {
        for request in self.of_chapter.values_mut() {
            if request.host == host && request.ended.is_none() {
                // What it asked for may still be done, at any time.
                (request.orphan, request.calm) = (true, None);
            }
        }
    }

    /// Something is amiss from now on; it was calm since then.
    pub(super) fn calm_ends(&mut self, since: u64, now: u64) {
        for request in self.of_chapter.values_mut() {
            request.spread |= request.ended.is_some_and(|at| at.max(since) + SPREAD < now);
        }
    }

    /// A nest died.
    pub(super) fn nest_died(&mut self) {
        for request in self.of_chapter.values_mut().filter(|request| !request.spread) {
            request.crashes += 1;
        }
    }

    /// A bird was grounded or revived.
    pub(super) fn grounded(&mut self, bird: &str) {
        self.grounded.insert(bird.into());
    }

    /// A nest leaves. Amid faults it may be the only one that knows.
    pub(super) fn nest_leaves(&mut self) {
        let unsafe_yet = |request: &&mut Request| !request.spread && !request.was_calm();
        for request in self.of_chapter.values_mut().filter(unsafe_yet) {
            request.crashes += 1;
        }
    }

    /// Requests that should have an answer by now, in words.
    pub(super) fn open(&self) -> Option<String> {
        let open = self.of_chapter.values().find(|r| r.ended.is_none() && !r.orphan)?;
        Some(format!("{} waits for {:?} {}", open.host, open.wish, open.bird))
    }

    /// Whether the bird lived at that time, and nobody has asked for anything else since.
    pub(super) fn surely_lived(&self, bird: &str, at: u64, calm: Option<u64>) -> bool {
        let mut lived = self.lived.contains(bird);
        let mut since = 0;
        for request in self.of_chapter.values().filter(|request| request.bird == bird) {
            match (request.effect, request.ended) {
                (Effect::Lives, Some(end)) if end <= at && request.was_calm() => lived = true,
                (Effect::Nothing, Some(_)) => {}
                _ => return false,
            }
            since = since.max(request.sent);
        }
        // In calm from before the first request to now.
        lived && calm.is_some_and(|calm| calm <= since)
    }

    /// Whether each name must live after this chapter, as far as that is certain.
    pub(super) fn close_chapter(
        &mut self,
        living: &BTreeSet<String>,
        now: u64,
    ) -> BTreeMap<String, bool> {
        let requests = std::mem::take(&mut self.of_chapter);
        let lived = std::mem::replace(&mut self.lived, living.clone());
        let grounded = std::mem::take(&mut self.grounded);
        let names = requests.values().map(|request| &request.bird).chain(&lived);
        let names: BTreeSet<String> = names.cloned().collect();
        let mut certain = BTreeMap::new();
        for name in names {
            let about: Vec<_> = requests
                .values()
                .filter(|request| request.bird == name && request.effect != Effect::Nothing)
                .collect();
            match about.last() {
                None => {
                    let lives = lived.contains(&name);
                    certain.insert(name, lives);
                }
                Some(last) if is_certain(&about, grounded.contains(&name)) => {
                    certain.insert(name, last.effect == Effect::Lives);
                }
                Some(_) => {}
            }
        }
        let late =
            |request: &Request| request.effect == Effect::Unknown && request.sent + LATE > now;
        self.of_chapter = requests.into_iter().filter(|(_, request)| late(request)).collect();
        certain
    }
}

/// Whether the last of these requests about one name, in the order of their sending, decides.
fn is_certain(about: &[&Request], grounded: bool) -> bool {
    let Some(last) = about.last() else { return true };
    let alike = about.iter().all(|request| request.effect == last.effect);
    let calm = about.iter().all(|request| request.was_calm());
    let apart = about.iter().all(|request| {
        request.effect == last.effect || std::ptr::eq(*request, *last) || !request.overlaps(last)
    });
    let lost = |request: &&Request| request.crashes > u32::from(request.was_calm());
    about.iter().all(|request| request.effect != Effect::Unknown)
        && !about.iter().any(lost)
        && (calm && apart || (alike && (last.effect == Effect::Lives || !grounded)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn certain(tell: impl FnOnce(&mut Requests)) -> Option<bool> {
        let mut requests = Requests::new();
        tell(&mut requests);
        requests.close_chapter(&BTreeSet::new(), 30_000).get("wren").copied()
    }

    fn ask(
        requests: &mut Requests,
        wish: Wish,
        (from, to): (u64, u64),
        outcome: Result<(), Refusal>,
        calm: Option<u64>,
    ) {
        let times = |now| Times { now, calm, steady: calm };
        let number = requests.sent("a", "wren", wish, times(from));
        requests.ended(number, outcome, times(to));
    }

    const CALM: Option<u64> = Some(0);

    #[test]
    fn the_last_definite_answer_decides_in_calm() {
        let start_stop = |r: &mut Requests| {
            ask(r, Wish::Start, (1, 2), Ok(()), CALM);
            ask(r, Wish::Stop, (3, 4), Ok(()), CALM);
        };
        assert_eq!(certain(start_stop), Some(false));
        let again = |r: &mut Requests| {
            start_stop(r);
            ask(r, Wish::Start, (5, 6), Ok(()), CALM);
        };
        assert_eq!(certain(again), Some(true));
    }

    #[test]
    fn start_and_stop_that_overlap_or_fall_into_faults_say_nothing() {
        for (stop, calm) in [((2, 4), CALM), ((3, 4), None)] {
            let tell = |r: &mut Requests| {
                ask(r, Wish::Start, (1, 2), Ok(()), calm);
                ask(r, Wish::Stop, stop, Ok(()), calm);
            };
            assert_eq!(certain(tell), None, "{stop:?}");
        }
    }

    #[test]
    fn a_request_whose_outcome_is_open_says_nothing() {
        let tell = |r: &mut Requests| {
            ask(r, Wish::Start, (1, 2), Ok(()), CALM);
            ask(r, Wish::Start, (3, 9), Err(Refusal::Unknown), CALM);
        };
        assert_eq!(certain(tell), None);
    }

    #[test]
    fn that_nothing_was_to_be_done_says_nothing_amid_faults() {
        for (calm, lives) in [(CALM, Some(false)), (None, Some(true))] {
            let tell = |r: &mut Requests| {
                ask(r, Wish::Start, (1, 2), Ok(()), CALM);
                ask(r, Wish::Stop, (3, 4), Err(Refusal::NoSuchBird), calm);
            };
            assert_eq!(certain(tell), lives, "{calm:?}");
        }
    }

    #[test]
    fn what_was_acknowledged_outlives_one_crash_and_any_number_once_it_has_spread() {
        let crashes = |times: &'static [u64], calm| {
            certain(move |r| {
                ask(r, Wish::Start, (1, 2), Ok(()), calm);
                if let Some(first) = times.first() {
                    r.calm_ends(0, *first);
                }
                times.iter().for_each(|_| r.nest_died());
            })
        };
        assert_eq!(crashes(&[100], CALM), Some(true));
        assert_eq!(crashes(&[100, 200], CALM), None);
        assert_eq!(crashes(&[3000, 3001], CALM), Some(true));
        assert_eq!(crashes(&[100], None), None);
    }
}
