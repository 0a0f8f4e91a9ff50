//! The registry with a million names.
//!
//! - `replica`: one replica by itself.
//! - `nests`: whole cores: repair, and changes of the ring.
//! - `fresh`: real processes: one that holds all names, and one that is new.
//! - `stranger`: who tells the former of them.

mod fresh;
mod nests;
mod replica;
mod stranger;

use std::time::{Duration, Instant};

use flock_proto::{NestId, RegistryConfig, Time};
use fresh::Fresh;
use nests::Repair;
use serde::Serialize;

use super::bulk::bulk_known;
use super::{Bench, Misuse, Options, Progress, Report, thousands};
use crate::cores::Decision;

pub(super) const BENCH: Bench = Bench {
    name: "registry",
    what: "the registry with many names: heap, wire, joining, repair, a fresh nest, a bulk, a ring change",
    options: &[("--names", "1000000")],
    run,
};

const NESTS: usize = 100;

/// Birds of the bulk start; hatched, unlike the names.
const BULK: usize = 10_000;

/// What the promises are made for.
const NAMES: u64 = 1_000_000;

#[derive(Serialize)]
struct Figures {
    names: u64,
    heap_per_name: f64,
    wire_per_start: f64,
    join_per_s: u64,
    fresh_s: f64,
    repair_log_bytes: u64,
    repair_digest_bytes: u64,
    ring_change_ms: f64,
    bulk_10k_known_s: f64,
}

fn run(options: &Options, progress: &Progress) -> anyhow::Result<Report> {
    let names: u64 = options.get("--names")?;
    if names == 0 {
        return Err(Misuse("--names 0: nothing to measure".into()).into());
    }
    let begun = Instant::now();
    let step = |what: &str| {
        progress.now(format_args!("{:3.0} s  {what}", begun.elapsed().as_secs_f64()));
    };
    step("starting all names");
    let batches = replica::batches(names, NestId(1), Time::from_micros(1_700_000_000_000_000));
    step("joining them");
    let join_per_s = replica::joined_per_second(&batches, names);
    let heap_per_name = replica::heap_per_name(&batches);
    step("repairing by log");
    let by_log = nests::repair(&batches, RegistryConfig::default().log_len);
    step("repairing by digests");
    let by_digest = nests::repair(&batches, 0);
    step("a fresh nest learns all names");
    let fresh = fresh::fresh(&batches, usize::try_from(names)?)?;
    step("starting birds in bulk on three nests");
    let bulk = bulk_known(BULK)?;
    let changes = nests::ring_changes(&batches, NESTS, step);
    let found = Found {
        wire_per_start: batches.bytes as f64 / names as f64,
        heap_per_name,
        join_per_s,
        by_log,
        by_digest,
        fresh,
        bulk,
        changes,
    };
    Ok(found.report(names))
}

struct Found {
    heap_per_name: f64,
    wire_per_start: f64,
    join_per_s: f64,
    fresh: Fresh,
    by_log: Repair,
    by_digest: Repair,
    changes: Vec<Decision>,
    bulk: Duration,
}

impl Found {
    fn report(mut self, names: u64) -> Report {
        self.changes.sort_by_key(Decision::took);
        let change =
            self.changes.get(self.changes.len() / 2).map_or(Duration::ZERO, Decision::took);
        let worst = self.changes.last().map_or(Duration::ZERO, Decision::took);
        let mut report = Report::new(&Figures {
            names,
            heap_per_name: tenths(self.heap_per_name),
            wire_per_start: tenths(self.wire_per_start),
            join_per_s: self.join_per_s as u64,
            fresh_s: self.fresh.known.as_secs_f64(),
            repair_log_bytes: self.by_log.bytes,
            repair_digest_bytes: self.by_digest.bytes,
            ring_change_ms: millis(change),
            bulk_10k_known_s: self.bulk.as_secs_f64(),
        });
        let mut row = |what: &str, found: String, must: &str, kept: bool| {
            // Figures of another size are worth a look, and were never promised.
            if names == NAMES {
                report.promise(what, found, must, kept);
            } else {
                report.row(what, found);
            }
        };
        let (heap, wire) = (self.heap_per_name, self.wire_per_start);
        row("heap per name", format!("{heap:.1} B"), "≤ 130 B", heap <= 130.0);
        row("wire per start", format!("{wire:.1} B"), "≤ 80 B", wire <= 80.0);
        let joins = thousands(self.join_per_s as u64);
        row("joined a second, one core", joins, "≥ 1,000,000", self.join_per_s >= 1e6);
        let fresh = self.fresh.known;
        let found = format!("{:.2} s", fresh.as_secs_f64());
        row("a fresh nest knows all", found, "≤ 3 s", fresh <= Duration::from_secs(3));
        let [by_log, by_digest] = [&self.by_log, &self.by_digest].map(|repair| repair.bytes);
        let found = |bytes| format!("{} B", thousands(bytes));
        row("ten differing, by log", found(by_log), "≤ 1,024 B", by_log <= 1024);
        row("ten differing, by digests", found(by_digest), "≤ 32,768 B", by_digest <= 32_768);
        let found = format!("{:.2} ms", millis(change));
        row("ring change, a nest's own", found, "≤ 5 ms", change <= Duration::from_millis(5));
        let found = format!("{:.3} s", self.bulk.as_secs_f64());
        row("10,000 in bulk, known", found, "≤ 0.5 s", self.bulk <= Duration::from_millis(500));
        report.row("names", thousands(names));
        report.row("the fresh nest was up after", format!("{:.2} s", self.fresh.up.as_secs_f64()));
        for (whose, spent) in
            [("the fresh nest", self.fresh.fresh_cpu), ("its teacher", self.fresh.holder_cpu)]
        {
            if let Some(spent) = spent {
                let spent = format!("{:.2} s", spent.as_secs_f64());
                report.row(format!("{whose} spent on a core"), spent);
            }
        }
        for (what, repair) in [("log", self.by_log), ("digests", self.by_digest)] {
            let time = repair.time.as_millis();
            report.row(format!("frames by {what}"), format!("{}, in {time} ms", repair.frames));
        }
        report.row("the worst ring change", format!("{:.2} ms", millis(worst)));
        report.note(
            "Joins are counted in time on the core, the median of three; a ring change is that of five deaths.",
        );
        report
    }
}

fn millis(time: Duration) -> f64 {
    (time.as_secs_f64() * 1e6).round() / 1e3
}

fn tenths(number: f64) -> f64 {
    (number * 10.0).round() / 10.0
}
