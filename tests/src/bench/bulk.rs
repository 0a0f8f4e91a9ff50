//! Birds started in bulk, until every nest knows them.

use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use serde::Serialize;

use super::{Bench, Options, Progress, Report, median, nests, thousands};
use crate::protocol::{Bulk, Command};

pub(super) const BENCH: Bench = Bench {
    name: "bulk",
    what: "birds started by one call, until they are acknowledged and known on three real nests",
    options: &[("--names", "10000"), ("--times", "3")],
    run,
};

/// What is promised of ten thousand names.
const PROMISE: Duration = Duration::from_millis(500);

/// From the call on.
#[derive(Clone, Copy, Debug)]
pub struct Started {
    /// Until the call was answered: each name acknowledged.
    pub acknowledged: Duration,
    /// Until each nest, asked in its own process, knew each name.
    pub known: Duration,
}

#[derive(Serialize)]
struct Figures {
    names: usize,
    times: usize,
    acknowledged_s: f64,
    known_s: f64,
    known_worst_s: f64,
}

fn run(options: &Options, progress: &Progress) -> anyhow::Result<Report> {
    let (names, times): (usize, usize) = (options.get("--names")?, options.get("--times")?);
    let mut runs = Vec::new();
    for time in 1..=times.max(1) {
        progress.now(format_args!("{} names, {time} of {times}", thousands(names as u64)));
        runs.push(started(names)?);
    }
    let acknowledged = median(runs.iter().map(|run| run.acknowledged));
    let known = median(runs.iter().map(|run| run.known));
    let worst = runs.iter().map(|run| run.known).max().unwrap_or_default();
    let mut report = Report::new(&Figures {
        names,
        times,
        acknowledged_s: acknowledged.as_secs_f64(),
        known_s: known.as_secs_f64(),
        known_worst_s: worst.as_secs_f64(),
    });
    report.row("names started by one call", thousands(names as u64));
    report.row("until all are acknowledged", shown(acknowledged));
    if names == 10_000 {
        let must = format!("≤ {}", shown(PROMISE));
        report.promise("until each nest knows all", shown(known), must, known <= PROMISE);
    } else {
        report.row("until each nest knows all", shown(known));
    }
    report.row("the worst of them", shown(worst));
    report.note(format!("Medians of {times}, three fresh processes on the loopback each."));
    Ok(report)
}

/// Starts so many birds by one call on one of three fresh nests, each a process of its own. Says
/// how long it took until every name resolved on each of them.
pub fn bulk_known(names: usize) -> anyhow::Result<Duration> {
    Ok(started(names)?.known)
}

/// The same, and how long it took until the call was answered.
pub fn started(names: usize) -> anyhow::Result<Started> {
    let nests = nests(3)?;
    let names: Vec<String> = (1..=names).map(|n| format!("bird-{n:06}")).collect();
    let (known, knows) = std::sync::mpsc::channel();
    let waits = nests.all().map(|nest| nest.begin::<()>(Command::Await(names.len())));
    let waits: Vec<_> = waits.collect();
    let first = nests.all().next().context("three nests")?;
    let deadline = Duration::from_secs(30);
    let start = Command::StartMany { names: names.clone(), deadline, or_roll_back: false };

    let begun = Instant::now();
    let start = first.begin::<Bulk>(start);
    std::thread::scope(|scope| {
        // Each is waited for by itself: the time counts, not the order.
        for wait in waits {
            let known = known.clone();
            scope.spawn(move || {
                wait.wait();
                let _ = known.send(begun.elapsed());
            });
        }
        drop(known);
        let bulk = start.wait();
        let acknowledged = begun.elapsed();
        ensure!(bulk.failed.is_empty(), "{:?} and more failed", bulk.failed.first());
        ensure!(bulk.ok == names, "not the names that were given");
        let known = knows.iter().max().context("nobody knows them")?;
        for nest in nests.all() {
            let birds: std::collections::BTreeMap<String, Option<String>> =
                nest.ask(Command::Birds);
            ensure!(birds.keys().eq(&names), "{} knows other names", nest.name());
        }
        Ok(Started { acknowledged, known })
    })
}

fn shown(time: Duration) -> String {
    format!("{:.3} s", time.as_secs_f64())
}
