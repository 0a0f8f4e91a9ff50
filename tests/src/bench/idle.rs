//! Birds that do nothing: what each costs in memory, and how fast one nest starts them.

use std::time::{Duration, Instant};

use actix::{Actor, Context};
use anyhow::ensure;
use flock_actix::{Bird, Flock, Hatching};
use serde::Serialize;

use super::calls::meter::{Machine, cpu_of, round, status_kb};
use super::{Bench, Options, Progress, Report, thousands};

pub(super) const BENCH: Bench = Bench {
    name: "idle",
    what: "idle birds on one nest: the memory of each, and how many are started in a second",
    options: &[("--birds", "1000000"), ("--at-once", "100000")],
    run,
};

/// What is promised: bytes of each, and how many in a second.
const BYTES: f64 = 2000.0;
const STARTS: f64 = 300_000.0;

/// For all birds of one call.
const PATIENCE: Duration = Duration::from_secs(120);

/// Does nothing.
#[derive(Debug)]
struct Sleeper;

impl Actor for Sleeper {
    type Context = Context<Self>;
}

impl Bird for Sleeper {
    type Args = ();

    async fn hatch((): (), _: &Hatching) -> anyhow::Result<Self> {
        Ok(Self)
    }
}

flock_actix::bird!(Sleeper as "sleeper" {});

#[derive(Clone, Copy, Debug, Default, Serialize)]
struct Figures {
    birds: usize,
    bytes_per_bird: f64,
    starts_per_s: f64,
    cpu_us_per_start: f64,
    others: f64,
}

fn run(options: &Options, progress: &Progress) -> anyhow::Result<Report> {
    let (birds, at_once) = (options.get("--birds")?, options.get::<usize>("--at-once")?.max(1));
    ensure!(birds > 0, "without birds there is nothing to measure");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    Ok(report(&runtime.block_on(measure(birds, at_once, progress))?))
}

async fn measure(birds: usize, at_once: usize, progress: &Progress) -> anyhow::Result<Figures> {
    let me = std::process::id();
    let flock = Flock::builder("flock-bench").species::<Sleeper>().local().await?;
    // What the first birds have need of besides, as code that is read for the first time, is not theirs.
    start(&flock, "first", 0..1000).await?;
    let (machine, before, cpu) = (Machine::now()?, status_kb(me, "VmRSS:")?, cpu_of(me)?);
    let mut took = Duration::ZERO;
    let mut begun = 0;
    while begun < birds {
        progress.now(format_args!(
            "{} of {} birds",
            thousands(begun as u64),
            thousands(birds as u64)
        ));
        let end = birds.min(begun + at_once);
        took += start(&flock, "idle", begun..end).await?;
        begun = end;
    }
    let cpu = cpu_of(me)?.saturating_sub(cpu);
    let grown = status_kb(me, "VmRSS:")?.saturating_sub(before);
    let others = machine.others(&[me])?;
    ensure!(flock.local_birds().await.len() == birds + 1000, "not all of them live");
    Ok(Figures {
        birds,
        bytes_per_bird: (grown as f64 * 1024.0 / birds as f64).round(),
        starts_per_s: (birds as f64 / took.as_secs_f64()).round(),
        cpu_us_per_start: round(cpu.as_secs_f64() * 1e6 / birds as f64),
        others: round(others),
    })
}

/// Starts birds by one call, and says how long it took until all were acknowledged.
async fn start(
    flock: &Flock,
    kind: &str,
    numbers: std::ops::Range<usize>,
) -> anyhow::Result<Duration> {
    let birds: Vec<_> = numbers.map(|n| (format!("bird/{kind}/{n:012}"), ())).collect();
    let begun = Instant::now();
    let outcomes = flock.start_many::<Sleeper>(birds).deadline(PATIENCE).await;
    let took = begun.elapsed();
    drop(outcomes.into_result()?);
    Ok(took)
}

fn report(it: &Figures) -> Report {
    let mut report = Report::new(it);
    report.row("birds, names of 22 bytes", thousands(it.birds as u64));
    let bytes = format!("{} B", thousands(it.bytes_per_bird as u64));
    report.promise("memory per idle bird", bytes, "≤ 2,000 B", it.bytes_per_bird <= BYTES);
    let starts = format!("{}/s", thousands(it.starts_per_s as u64));
    report.promise("starts on one nest", starts, "≥ 300,000/s", it.starts_per_s >= STARTS);
    report.row("CPU per start", format!("{:.2} µs", it.cpu_us_per_start));
    report.row("others' part of the machine", format!("{:.0} %", it.others * 100.0));
    report
        .note("Memory is what the process has grown by (RSS), its register of the names included.");
    report
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn birds_too_large_or_too_slow_break_a_promise() {
        let good = Figures {
            birds: 1_000_000,
            bytes_per_bird: 2000.0,
            starts_per_s: 300_000.0,
            ..Figures::default()
        };
        assert!(report(&good).is_as_promised());
        assert!(!report(&Figures { bytes_per_bird: 2001.0, ..good }).is_as_promised());
        assert!(!report(&Figures { starts_per_s: 299_999.0, ..good }).is_as_promised());
    }
}
