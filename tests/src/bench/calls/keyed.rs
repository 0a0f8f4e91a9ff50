//! Calls by nests with a key, beside the same calls by nests without one, and what a handshake takes.
//!
//! The two take turns, round by round, and so that each is first as often as the other: whatever else the
//! machine does falls on both alike. What counts is the median of the rounds' ratios.

use std::time::{Duration, Instant};

use flock_actix::{ClusterKey, Flock};
use serde::Serialize;
use tokio::task::LocalSet;

use super::birds::{Caller, Face};
use super::echo::{Child, FLOCK};
use super::meter::{Latencies, Machine, Measured, Meter, cpu_of, median, round};
use super::{AS_CALLEE, BIRDS, Bench, Options, Progress, Report, WARM, thousands};

pub(in crate::bench) const BENCH: Bench = Bench {
    name: "keyed",
    what: "calls by nests with a key, beside the same by nests without, and handshakes",
    options: &[("--rounds", "10"), ("--span", "0.8"), ("--bytes", "256"), ("--in-flight", "256")],
    run,
};

/// Handshakes in a round.
const HANDSHAKES: u32 = 100;

/// What is promised: keyed calls for one plain one, and what a handshake may take both ends together.
const RATIO: f64 = 0.8;
const HANDSHAKE_US: f64 = 2000.0;

/// A nest that calls, and the process with the birds.
struct Pair {
    caller: Caller,
    called: Child,
    meter: Meter,
}

/// One round of one of the two.
#[derive(Clone, Copy)]
struct Turn {
    calls: Measured,
    handshake_us: f64,
}

/// Rates are medians per second; CPU time is that of both processes.
#[derive(Clone, Debug, Default, Serialize)]
struct All {
    keyed: f64,
    plain: f64,
    ratio: f64,
    /// Of a link from the connection to the welcome, and to its end.
    handshake_cpu_us: f64,
    handshake_plain_cpu_us: f64,
    cpu_us: f64,
    cpu_us_plain: f64,
    us: Latencies,
    us_plain: Latencies,
    failed: u64,
    rounds: usize,
    bytes: usize,
    in_flight: usize,
    /// The part of the machine that others used meanwhile.
    others: f64,
}

fn run(options: &Options, progress: &Progress) -> anyhow::Result<Report> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let all = LocalSet::new().block_on(&runtime, measure(options, progress))?;
    Ok(report(&all))
}

async fn measure(options: &Options, progress: &Progress) -> anyhow::Result<All> {
    let rounds = options.get::<usize>("--rounds")?.max(1);
    let span = Duration::try_from_secs_f64(options.get("--span")?)?;
    let (bytes, in_flight) = (options.get("--bytes")?, options.get("--in-flight")?);
    progress.now(format_args!("{} birds are started, twice", thousands(BIRDS as u64)));
    let key = ClusterKey::generate()?;
    let keyed = Pair::start(Some(&key), span).await?;
    let plain = Pair::start(None, span).await?;

    let machine = Machine::now()?;
    let mut found = Vec::new();
    for number in 1..=rounds {
        progress.now(format_args!("round {number} of {rounds}"));
        let (with, without) = if number % 2 == 0 {
            let with = keyed.turn(in_flight, bytes).await?;
            (with, plain.turn(in_flight, bytes).await?)
        } else {
            let without = plain.turn(in_flight, bytes).await?;
            (keyed.turn(in_flight, bytes).await?, without)
        };
        found.push((with, without));
    }
    let own = [std::process::id(), keyed.called.pid(), plain.called.pid()];
    let others = round(machine.others(&own)?);
    Ok(All { rounds, bytes, in_flight, others, ..summed(&found) })
}

impl Pair {
    async fn start(key: Option<&ClusterKey>, span: Duration) -> anyhow::Result<Self> {
        let text = key.map(ClusterKey::reveal);
        let called = Child::start_keyed(AS_CALLEE, text.as_deref())?;
        let nest = Flock::builder(FLOCK);
        let nest = match key {
            Some(key) => nest.key(key.clone()),
            None => nest,
        };
        let caller = Caller::join_as(nest, &called.says, BIRDS).await?;
        let meter = Meter::new(WARM, span, called.pid());
        Ok(Self { caller, called, meter })
    }

    async fn turn(&self, in_flight: usize, bytes: usize) -> anyhow::Result<Turn> {
        let handshake_us = self.handshakes().await?;
        let calls = self.caller.calls(&self.meter, in_flight, bytes, BIRDS, Face::Ref).await?;
        Ok(Turn { calls, handshake_us })
    }

    /// The CPU time that a handshake takes both ends together, in microseconds.
    async fn handshakes(&self) -> anyhow::Result<f64> {
        let cpu = || anyhow::Ok(cpu_of(std::process::id())? + cpu_of(self.called.pid())?);
        let before = cpu()?;
        let begun = Instant::now();
        for _ in 0..HANDSHAKES {
            let made = self.caller.nest().handshake(&self.called.says).await;
            made.map_err(anyhow::Error::msg)?;
        }
        anyhow::ensure!(begun.elapsed() < Duration::from_secs(60), "handshakes stand still");
        let used = cpu()?.saturating_sub(before);
        Ok(used.as_secs_f64() * 1e6 / f64::from(HANDSHAKES))
    }
}

fn summed(found: &[(Turn, Turn)]) -> All {
    let with = |of: fn(&Turn) -> f64| median(found.iter().map(|(keyed, _)| of(keyed)));
    let without = |of: fn(&Turn) -> f64| median(found.iter().map(|(_, plain)| of(plain)));
    All {
        keyed: with(|it| it.calls.rate).round(),
        plain: without(|it| it.calls.rate).round(),
        ratio: round(median(
            found.iter().map(|(keyed, plain)| keyed.calls.rate / plain.calls.rate),
        )),
        handshake_cpu_us: round(with(|it| it.handshake_us)),
        handshake_plain_cpu_us: round(without(|it| it.handshake_us)),
        cpu_us: round(with(|it| it.calls.cpu_us)),
        cpu_us_plain: round(without(|it| it.calls.cpu_us)),
        us: Latencies::median(found.iter().map(|(keyed, _)| keyed.calls.us)),
        us_plain: Latencies::median(found.iter().map(|(_, plain)| plain.calls.us)),
        failed: found.iter().map(|(one, other)| one.calls.failed + other.calls.failed).sum(),
        ..All::default()
    }
}

fn report(all: &All) -> Report {
    let mut report = Report::new(all);
    let calls = |rate: f64, cpu: f64, us: &Latencies| {
        format!(
            "{} calls/s, {cpu} µs of CPU each, p50 {} µs, p99 {} µs",
            thousands(rate as u64),
            us.p50,
            us.p99
        )
    };
    report.row("with a key", calls(all.keyed, all.cpu_us, &all.us));
    report.row("without", calls(all.plain, all.cpu_us_plain, &all.us_plain));
    let kept = all.ratio >= RATIO;
    report.promise("with ÷ without", all.ratio.to_string(), format!("≥ {RATIO}"), kept);
    let kept = all.handshake_cpu_us <= HANDSHAKE_US;
    let took = format!("{} µs of CPU, both ends", all.handshake_cpu_us);
    report.promise("a handshake", took, format!("≤ {HANDSHAKE_US} µs"), kept);
    report.row("the same without a key", format!("{} µs", all.handshake_plain_cpu_us));
    report.promise("calls that failed", all.failed.to_string(), "0", all.failed == 0);
    let All { rounds, bytes, in_flight, others, .. } = all;
    report.note(format!("{rounds} rounds of each, {bytes} bytes, {in_flight} in flight; others used {others} of the machine"));
    report
}

#[cfg(test)]
mod tests {
    use super::*;

    fn turn(rate: f64, handshake_us: f64) -> Turn {
        Turn { calls: Measured { rate, ..Measured::default() }, handshake_us }
    }

    #[test]
    fn each_figure_that_is_missed_breaks_a_promise() {
        let all = |keyed: f64, us: f64| summed(&[(turn(keyed, us), turn(100.0, 50.0))]);
        assert!(report(&all(81.0, 1999.0)).is_as_promised());
        assert!(!report(&all(79.0, 1999.0)).is_as_promised());
        assert!(!report(&all(81.0, 2001.0)).is_as_promised());
        assert!(!report(&All { failed: 1, ..all(81.0, 1.0) }).is_as_promised());
        assert!(!report(&all(f64::NAN, 1.0)).is_as_promised());
    }

    #[test]
    fn the_ratio_is_that_of_each_round_and_not_of_the_medians() {
        let found = [(10.0, 20.0), (30.0, 60.0), (8.0, 20.0)];
        let found = found.map(|(keyed, plain)| (turn(keyed, 1.0), turn(plain, 1.0)));
        assert_eq!(summed(&found).ratio, 0.5);
    }
}
