//! What was asked, handled and answered in a story, and the trace of it all.
//!
//! One for each thread, and a story is all in one thread: birds have no other way to it, for they
//! are hatched from bytes. What can be judged at once is judged here; the rest when the flock is at
//! rest.
//!
//! - this file: the trace, the lives of birds, and what goes to the requests (`certainty`).
//! - `calls`: calls and casts.

mod calls;

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{Display, Write as _};

use flock_actix::{Fence, HatchWhy};
use flock_proto::Rng;

use super::certainty::{Requests, Times, Wish};
use super::{Broken, Deeds};
use calls::Call;
pub(super) use calls::{call, call_ended, call_given_up, call_handled, called, open_calls};

/// A nest restarts a bird so often...
const RESTARTS: usize = 5;

/// ...within so many milliseconds.
const RESTART_WINDOW: u64 = 30_000;

thread_local! {
    static LEDGER: RefCell<Ledger> = RefCell::new(Ledger::new(0));
}

pub(super) struct Ledger {
    /// The story's millisecond. Set from outside: what is dropped with a host that crashes has no
    /// clock any more.
    now: u64,
    rng: Rng,
    trace: String,
    broken: Option<Broken>,
    did: Deeds,
    /// Since when nothing has been amiss with network and hosts.
    calm_since: Option<u64>,
    /// Since when no nest has come or gone.
    steady_since: Option<u64>,
    /// No two lives of a bird may coexist, not for a moment.
    strict: bool,
    calls: BTreeMap<u64, Call>,
    last_call: u64,
    lives: BTreeMap<u64, Life>,
    last_life: u64,
    /// When each bird was restarted after a crash on each nest, since it came there.
    restarts: BTreeMap<(String, String), Vec<u64>>,
    /// The fence of each bird's last life.
    fences: BTreeMap<String, Fence>,
    requests: Requests,
}

#[derive(Clone, Debug)]
struct Life {
    bird: String,
    nest: String,
}

impl Ledger {
    fn new(seed: u64) -> Self {
        Self {
            now: 0,
            rng: Rng::new(seed),
            trace: String::new(),
            broken: None,
            did: Deeds::default(),
            calm_since: Some(0),
            steady_since: None,
            strict: true,
            calls: BTreeMap::new(),
            last_call: 0,
            lives: BTreeMap::new(),
            last_life: 0,
            restarts: BTreeMap::new(),
            fences: BTreeMap::new(),
            requests: Requests::new(),
        }
    }

    const fn times(&self) -> Times {
        Times { now: self.now, calm: self.calm_since, steady: self.steady_since }
    }

    fn note(&mut self, who: &str, what: impl Display) {
        let now = self.now;
        // Writing into a text has no way to fail.
        let _ = writeln!(self.trace, "{:>4}.{:03} {who:<7} {what}", now / 1000, now % 1000);
    }

    /// I12: restarts never exceed the limit on one nest.
    fn count_restart(&mut self, bird: &str, nest: &str, why: HatchWhy) {
        let now = self.now;
        let restarts = self.restarts.entry((bird.into(), nest.into())).or_default();
        if why != HatchWhy::Crash {
            return restarts.clear();
        }
        restarts.retain(|at| now - at < RESTART_WINDOW);
        restarts.push(now);
        let times = restarts.len();
        if times > RESTARTS {
            self.fail("I12", format!("{bird} was restarted {times} times within 30 s on {nest}"));
        }
    }

    fn fail(&mut self, invariant: &'static str, what: String) {
        self.note("BROKEN", format_args!("{invariant}: {what}"));
        let at = self.now;
        self.broken.get_or_insert(Broken { invariant, what, at });
    }
}

fn with<R>(look: impl FnOnce(&mut Ledger) -> R) -> R {
    LEDGER.with_borrow_mut(look)
}

/// A new story begins on this thread.
pub(super) fn begin(seed: u64) {
    with(|ledger| *ledger = Ledger::new(seed));
}

/// The story has come to an end: what happened, what broke, the trace.
pub(super) fn end() -> (Deeds, Option<Broken>, String) {
    let ledger = LEDGER.replace(Ledger::new(0));
    (ledger.did, ledger.broken, ledger.trace)
}

pub(super) fn set_now(millis: u64) {
    with(|ledger| ledger.now = millis);
}

pub(super) fn now() -> u64 {
    with(|ledger| ledger.now)
}

/// Chance for what runs on the hosts.
pub(super) fn below(n: u64) -> u64 {
    with(|ledger| ledger.rng.below(n))
}

pub(super) fn note(who: &str, what: impl Display) {
    with(|ledger| ledger.note(who, what));
}

pub(super) fn did(count: impl FnOnce(&mut Deeds)) {
    with(|ledger| count(&mut ledger.did));
}

/// An invariant doesn't hold. Also to be called by the hook of a panic in here.
pub(super) fn broken(invariant: &'static str, what: String) {
    LEDGER.with(|ledger| match ledger.try_borrow_mut() {
        Ok(mut ledger) => ledger.fail(invariant, what),
        Err(_) => eprintln!("{invariant}: {what}"),
    });
}

pub(super) fn is_broken() -> bool {
    with(|ledger| ledger.broken.is_some())
}

/// Something is amiss with network or hosts, or nothing is any more.
pub(super) fn set_calm(calm: bool) {
    with(|ledger| {
        let now = ledger.now;
        match ledger.calm_since {
            Some(since) if !calm => {
                ledger.requests.calm_ends(since, now);
                ledger.calm_since = None;
            }
            None if calm => ledger.calm_since = Some(now),
            _ => {}
        }
    });
}

/// Nests come or go, or none does any more.
pub(super) fn set_steady(steady: bool) {
    with(|ledger| {
        let now = ledger.now;
        ledger.steady_since = steady.then(|| ledger.steady_since.unwrap_or(now));
    });
}

/// Whether two lives of a bird must never coexist from now on.
pub(super) fn set_strict(strict: bool) {
    with(|ledger| {
        ledger.strict = strict;
        ledger.fences.clear();
    });
}

/// A nest died, and what it was the only one to know is lost.
pub(super) fn nest_died() {
    with(|ledger| ledger.requests.nest_died());
}

/// A nest leaves, and may take along what it alone knows.
pub(super) fn nest_leaves() {
    with(|ledger| ledger.requests.nest_leaves());
}

/// Whoever called or asked from this host is gone.
pub(super) fn users_gone(host: &str) {
    with(|ledger| {
        ledger.callers_gone(host);
        ledger.requests.askers_gone(host);
    });
}

pub(super) fn requested(host: &str, bird: &str, wish: Wish) -> u64 {
    with(|ledger| {
        ledger.note(host, format_args!("{wish:?} {bird}"));
        ledger.requests.sent(host, bird, wish, ledger.times())
    })
}

pub(super) fn request_ended(number: u64, host: &str, outcome: Result<(), super::post::Refusal>) {
    with(|ledger| {
        let said = format!("{outcome:?}");
        let request = ledger.requests.ended(number, outcome, ledger.times());
        let Some((bird, wish, done)) = request else { return };
        ledger.note(host, format_args!("{wish:?} {bird}: {said}"));
        match wish {
            Wish::Start if done => ledger.did.starts += 1,
            Wish::Stop if done => ledger.did.stops += 1,
            _ => {}
        }
    });
}

/// I1 and I11, where they must always hold; and I12.
pub(super) fn life_begins(bird: &str, nest: &str, why: HatchWhy, fence: Fence) -> u64 {
    with(|ledger| {
        ledger.last_life += 1;
        let number = ledger.last_life;
        ledger.note(nest, format_args!("{bird} begins life {number}: {why:?}, fence {}", fence.0));
        let other = ledger.lives.iter().find(|(_, life)| life.bird == bird);
        if let Some((other, life)) = other
            && ledger.strict
        {
            let what = format!("{bird} lives on {nest}, and its life {other} on {}", life.nest);
            ledger.fail("I1", what);
        }
        let last = ledger.fences.insert(bird.into(), fence).unwrap_or_default();
        let grown = if why == HatchWhy::Crash { fence >= last } else { fence > last };
        if ledger.strict && !grown {
            let what = format!("{bird} got fence {} after {}: {why:?}", fence.0, last.0);
            ledger.fail("I11", what);
        }
        ledger.count_restart(bird, nest, why);
        match why {
            HatchWhy::Move => ledger.did.moves += 1,
            HatchWhy::NestLost => ledger.did.recoveries += 1,
            _ => {}
        }
        ledger.lives.insert(number, Life { bird: bird.into(), nest: nest.into() });
        number
    })
}

pub(super) fn life_ends(number: u64) {
    with(|ledger| {
        if let Some(life) = ledger.lives.remove(&number) {
            ledger.note(&life.nest, format_args!("{} ends life {number}", life.bird));
        }
    });
}

/// Where each bird lives.
pub(super) fn perches() -> BTreeMap<String, BTreeSet<String>> {
    with(|ledger| {
        let mut perches: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for life in ledger.lives.values() {
            perches.entry(life.bird.clone()).or_default().insert(life.nest.clone());
        }
        perches
    })
}

/// How many lives go on. More than there are perches: some bird has two on one nest.
pub(super) fn lives() -> usize {
    with(|ledger| ledger.lives.len())
}

/// A request that should have ended by now, in words.
pub(super) fn open_request() -> Option<String> {
    with(|ledger| ledger.requests.open())
}

/// A bird was grounded or revived.
pub(super) fn grounded(bird: &str) {
    with(|ledger| ledger.requests.grounded(bird));
}

/// What the requests of this chapter say of each name: whether it must live. Names of which nothing
/// is certain are left out. The next chapter starts from what lives now.
pub(super) fn certain(living: &BTreeSet<String>) -> BTreeMap<String, bool> {
    with(|ledger| ledger.requests.close_chapter(living, ledger.now))
}
