//! Five nests join one that has all birds: how soon all of these are where they belong, with their states.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use serde::Serialize;

use super::{Bench, Options, Progress, Report, nest, nests, thousands};
use crate::nest::Nest;
use crate::nests::single;
use crate::protocol::{Command, Hatchings};
use crate::tally::now_us;

pub(super) const BENCH: Bench = Bench {
    name: "moves",
    what: "nests that join one with all birds: how soon these are there, and whether their states are",
    options: &[("--birds", "1000"), ("--bytes", "1024"), ("--joiners", "5"), ("--times", "1")],
    run,
};

/// What is promised, of five that join a thousand birds of a kilobyte.
const PROMISE: Duration = Duration::from_secs(2);

/// No more moves than are needed, and a tenth.
const MOVES: f64 = 1.1;

/// Until all birds are where they belong.
const PATIENCE: Duration = Duration::from_secs(30);

#[derive(Clone, Copy, Debug, Default, Serialize)]
struct Figures {
    birds: usize,
    bytes: usize,
    joiners: usize,
    /// Birds whose state is not what it was.
    states_lost: usize,
    /// Birds with two lives, or none.
    amiss: usize,
    moved: u64,
    moved_needed: usize,
    /// From the start of the joiners' processes to the last bird's hatch.
    settled_ms: f64,
    /// The same from the moment when the first of them was up.
    since_first_up_ms: f64,
}

fn run(options: &Options, progress: &Progress) -> anyhow::Result<Report> {
    let (birds, bytes): (usize, usize) = (options.get("--birds")?, options.get("--bytes")?);
    let (joiners, times): (usize, usize) = (options.get("--joiners")?, options.get("--times")?);
    ensure!(joiners >= 1, "without a joiner nothing moves");
    let mut worst = Figures::default();
    for time in 1..=times.max(1) {
        progress.now(format_args!("{joiners} join {}, {time} of {times}", thousands(birds as u64)));
        let found = once(birds, bytes, joiners)?;
        if found.settled_ms >= worst.settled_ms {
            let lost = (worst.states_lost + found.states_lost, worst.amiss + found.amiss);
            worst = Figures { states_lost: lost.0, amiss: lost.1, ..found };
        } else {
            worst.states_lost += found.states_lost;
            worst.amiss += found.amiss;
        }
    }
    Ok(report(&worst, times))
}

fn report(figures: &Figures, times: usize) -> Report {
    let mut report = Report::new(figures);
    report.row("birds, bytes of state each", format!("{}, {}", figures.birds, figures.bytes));
    report.row("nests that join one", figures.joiners.to_string());
    for (what, found) in [("states lost", figures.states_lost), ("birds amiss", figures.amiss)] {
        report.promise(what, found.to_string(), "0", found == 0);
    }
    let moved = format!("{} of {}", figures.moved, figures.moved_needed);
    let keeps = figures.moved as f64 <= MOVES * figures.moved_needed as f64;
    report.promise("hatched in moves, of those needed", moved, format!("≤ {MOVES} ×"), keeps);
    let shown = format!("{:.0} ms", figures.settled_ms);
    if (figures.birds, figures.bytes, figures.joiners) == (1000, 1024, 5) {
        let must = format!("≤ {} ms", PROMISE.as_millis());
        let kept = figures.settled_ms <= PROMISE.as_secs_f64() * 1000.0;
        report.promise("from their start to the last hatch", shown, must, kept);
    } else {
        report.row("from their start to the last hatch", shown);
    }
    report.row("from the first one up to it", format!("{:.0} ms", figures.since_first_up_ms));
    report.note(format!("The slowest of {times}; every bird was asked for its state by a call."));
    report
}

fn once(birds: usize, bytes: usize, joiners: usize) -> anyhow::Result<Figures> {
    let mut nests = nests(1)?;
    let names: Vec<String> = (1..=birds).map(|n| format!("tally-{n:05}")).collect();
    nests.start_tallies("nest-0", &names, 0);
    // No bird could make its state up from its arguments.
    let failed: Vec<String> = nests.nest("nest-0").ask(Command::Teach(names.clone(), bytes));
    ensure!(failed.is_empty(), "{:?} and more failed", failed.first());
    let before: Hatchings = nests.nest("nest-0").ask(Command::Hatchings);

    let begun = now_us();
    let seeds = vec![nests.nest("nest-0").address().to_owned()];
    for joiner in all_join(joiners, &seeds)? {
        nests.add(joiner);
    }
    nests.agree();
    let settled = Instant::now();
    while nests.homes(&names).is_err() && settled.elapsed() < PATIENCE {
        thread::sleep(Duration::from_millis(10));
    }
    let census = nests.census();
    let amiss =
        names.iter().filter(|name| census.get(*name).is_none_or(|on| on.len() != 1)).count();
    let homes = single(census);
    let hatchings: Vec<Hatchings> = nests.all().map(|nest| nest.ask(Command::Hatchings)).collect();
    let last = hatchings.iter().map(|it| it.last_us).max().context("no nest")?;
    // The first of them in the order of names is the one that was there.
    let first_up = hatchings.iter().skip(1).map(|it| it.up_us).min().context("no joiner")?;
    let lost: Vec<String> = nests.nest("nest-0").ask(Command::Examine(names, bytes));
    Ok(Figures {
        birds,
        bytes,
        joiners,
        states_lost: lost.len(),
        amiss,
        moved: hatchings.iter().map(|it| it.count).sum::<u64>() - before.count,
        moved_needed: homes.values().filter(|home| *home != "nest-0").count(),
        settled_ms: ms(last.saturating_sub(begun)),
        since_first_up_ms: ms(last.saturating_sub(first_up)),
    })
}

/// Starts so many nests at once, and waits until all are up.
fn all_join(joiners: usize, seeds: &[String]) -> anyhow::Result<Vec<Nest>> {
    thread::scope(|scope| {
        let started: Vec<_> = (1..=joiners)
            .map(|n| scope.spawn(move || nest(format!("nest-{n}"), seeds.to_vec())))
            .collect();
        let joined = |it: thread::ScopedJoinHandle<'_, anyhow::Result<Nest>>| match it.join() {
            Ok(nest) => nest,
            Err(panic) => std::panic::resume_unwind(panic),
        };
        started.into_iter().map(joined).collect()
    })
}

fn ms(us: u64) -> f64 {
    (us as f64 / 100.0).round() / 10.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_lost_late_or_moves_too_often_breaks_a_promise() {
        let good = Figures {
            birds: 1000,
            bytes: 1024,
            joiners: 5,
            moved: 880,
            moved_needed: 830,
            settled_ms: 1900.0,
            ..Figures::default()
        };
        assert!(report(&good, 1).is_as_promised());
        for bad in [
            Figures { states_lost: 1, ..good },
            Figures { amiss: 1, ..good },
            Figures { moved: 930, ..good },
            Figures { settled_ms: 2000.1, ..good },
        ] {
            assert!(!report(&bad, 1).is_as_promised());
        }
    }
}
