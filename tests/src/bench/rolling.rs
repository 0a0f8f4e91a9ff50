//! A rolling restart under load: each of several real nests in turn is told to end by SIGTERM, goes, and
//! starts anew; and one more is killed. Clients call all birds all the while, and keep their own ledger.
//!
//! - `clients`: the callers.
//! - `ledger`: what they were told, and what of that can't be.

mod clients;
mod ledger;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use serde::Serialize;

use super::{Bench, Options, Progress, Report, nest, nests, thousands};
use crate::nests::Nests;
use crate::protocol::Command;
use clients::Clients;
use ledger::{Ledger, Phase};

pub(super) const BENCH: Bench = Bench {
    name: "rolling",
    what: "a rolling restart of real nests under load: what is lost, and how long birds are away",
    options: &[("--nests", "3"), ("--birds", "3000"), ("--seconds", "60"), ("--state", "1024")],
    run,
};

/// What is promised of a bird that moves in good order, and of one whose nest was killed: until it
/// answers again, of 99 in 100.
const MOVED: Duration = Duration::from_millis(100);
const KILLED: Duration = Duration::from_millis(1500);

/// What is promised: no more moves than are needed, and a tenth.
const MOVES: f64 = 1.1;

/// A nest that was told to end is gone by then.
const GONE: Duration = Duration::from_secs(40);

#[derive(Serialize)]
struct Figures {
    calls: u64,
    acknowledged_lost: u64,
    errors: BTreeMap<String, u64>,
    state_lost: u64,
    doubled: u64,
    unavailable_ms: Unavailable,
    moved: u64,
    moved_needed: u64,
    states_lost_to_kill: u64,
}

#[derive(Serialize)]
struct Unavailable {
    graceful: Spread,
    kill: Spread,
    join: Spread,
}

#[derive(Clone, Copy, Serialize)]
struct Spread {
    p50: f64,
    p99: f64,
}

impl Spread {
    fn of(mut gaps: Vec<Duration>) -> Self {
        gaps.sort();
        let at = |percent: usize| {
            let place = (gaps.len() * percent / 100).min(gaps.len().saturating_sub(1));
            let gap = gaps.get(place).copied().unwrap_or_default();
            (gap.as_secs_f64() * 10_000.0).round() / 10.0
        };
        Self { p50: at(50), p99: at(99) }
    }

    fn shown(self) -> String {
        format!("{:.1} ms, {:.1} ms", self.p50, self.p99)
    }

    fn keeps(self, most: Duration) -> bool {
        self.p99 <= most.as_secs_f64() * 1000.0
    }
}

fn run(options: &Options, progress: &Progress) -> anyhow::Result<Report> {
    let (count, birds): (usize, usize) = (options.get("--nests")?, options.get("--birds")?);
    let (seconds, state): (u64, usize) = (options.get("--seconds")?, options.get("--state")?);
    ensure!(count >= 2, "a nest that goes needs another one to go to");
    let mut nests = nests(count)?;
    let seeds = nests.all().map(|nest| nest.address().to_owned()).collect();
    let names = (1..=birds).map(|n| format!("tally-{n:05}")).collect();
    let clients = Clients::start(seeds, names, state)?;
    clients.settle()?;
    let phases = 2 * (count as u32 + 1);
    let pause = Duration::from_secs(seconds) / phases;
    for turn in 0..=count {
        let kill = turn == count;
        let victim = format!("nest-{}", turn % count);
        let how = if kill { "is killed" } else { "goes" };
        progress.now(format_args!("{victim} {how}, {} of {}", turn + 1, count + 1));
        let phase = if kill { Phase::Kill } else { Phase::Graceful };
        part(&mut nests, &clients, &victim, phase, pause)?;
        progress.now(format_args!("{victim} comes back, {} of {}", turn + 1, count + 1));
        come_back(&mut nests, &clients, &victim, pause)?;
    }
    Ok(report(&clients.stop()?))
}

/// One nest goes, and all settles.
fn part(
    nests: &mut Nests,
    clients: &Clients,
    victim: &str,
    phase: Phase,
    pause: Duration,
) -> anyhow::Result<()> {
    let begun = Instant::now();
    let there: Vec<String> = nests.nest(victim).ask(Command::Local);
    clients.begin(phase, there.len());
    if phase == Phase::Kill {
        nests.kill(victim);
    } else {
        nests.terminate(victim, GONE).with_context(|| format!("{victim} was told to end"))?;
    }
    clients.agree(nests.all().count())?;
    std::thread::sleep(pause.saturating_sub(begun.elapsed()));
    clients.settle()?;
    clients.census(nests.census());
    Ok(())
}

/// It starts anew, and all settles.
fn come_back(
    nests: &mut Nests,
    clients: &Clients,
    name: &str,
    pause: Duration,
) -> anyhow::Result<()> {
    let begun = Instant::now();
    clients.begin(Phase::Join, 0);
    let seeds = nests.all().map(|nest| nest.address().into()).collect();
    nests.add(nest(name.to_owned(), seeds)?);
    clients.agree(nests.all().count())?;
    std::thread::sleep(pause.saturating_sub(begun.elapsed()));
    clients.settle()?;
    clients.census(nests.census());
    let there: Vec<String> = nests.nest(name).ask(Command::Local);
    clients.needed(there.len());
    Ok(())
}

fn report(ledger: &Ledger) -> Report {
    let spread = |phase| Spread::of(ledger.gaps.get(&phase).cloned().unwrap_or_default());
    let (graceful, kill, join) =
        (spread(Phase::Graceful), spread(Phase::Kill), spread(Phase::Join));
    let errors = ledger.errors_in_good_order();
    let moves = ledger.moved as f64 / ledger.needed.max(1) as f64;
    let figures = Figures {
        calls: ledger.calls,
        acknowledged_lost: ledger.acknowledged_lost,
        errors: ledger.errors(),
        state_lost: ledger.state_lost,
        doubled: ledger.doubled,
        unavailable_ms: Unavailable { graceful, kill, join },
        moved: ledger.moved,
        moved_needed: ledger.needed,
        states_lost_to_kill: ledger.lost_to_kill,
    };
    let mut report = Report::new(&figures);
    let none = |report: &mut Report, what: &str, found: u64| {
        report.promise(what, thousands(found), "0", found == 0);
    };
    let enough = ledger.calls >= 100_000;
    report.promise("calls answered", thousands(ledger.calls), "≥ 100,000", enough);
    none(&mut report, "calls that were answered, and forgotten", ledger.acknowledged_lost);
    none(&mut report, "states lost in moves in good order", ledger.state_lost);
    none(&mut report, "birds with two lives, or calls handled twice", ledger.doubled);
    none(&mut report, "errors, but for the kill", errors);
    let away = |report: &mut Report, what: &str, spread: Spread, most: Duration| {
        let must = format!("p99 ≤ {} ms", most.as_millis());
        report.promise(what, spread.shown(), must, spread.keeps(most));
    };
    away(&mut report, "away when their nest goes: median, p99", graceful, MOVED);
    away(&mut report, "away when a nest comes: median, p99", join, MOVED);
    away(&mut report, "away when their nest is killed: median, p99", kill, KILLED);
    let shown = format!("{} of {}", thousands(ledger.moved), thousands(ledger.needed));
    report.promise("moves, of those needed", shown, format!("≤ {MOVES} ×"), moves <= MOVES);
    report.row("states lost to the kill", thousands(ledger.lost_to_kill));
    for (error, times) in ledger.errors() {
        report.row(format!("error: {error}"), thousands(times));
    }
    report.note("Away: from the last answer before the move to the first one after it, as its caller saw it.");
    report
}
