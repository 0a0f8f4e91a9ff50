//! Minutes of calls between three nests, at half of what they can do: whether memory grows, and whether
//! anything goes wrong.
//!
//! - `nest`: one of the three processes.
//! - `histogram`: times, in classes.

mod histogram;
mod nest;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use serde::Serialize;

use super::calls::meter::{Machine, round, status_kb};
use super::talk::Talk;
use super::{Bench, Options, Progress, Report, thousands};
use histogram::Histogram;
use nest::{Called, Calls, Order};

pub(super) const BENCH: Bench = Bench {
    name: "soak",
    what: "three nests call each other's birds for minutes, at half of their top rate: memory, errors, latencies",
    options: &[("--minutes", "10"), ("--birds", "3000"), ("--top", "8")],
    run,
};

/// The word behind which this program is one of the nests.
const AS_NEST: &str = "soaking-nest-under-test";

const NESTS: usize = 3;

/// Of each nest, at a time, at most.
const IN_FLIGHT: usize = 85;

/// Of the top rate.
const PART: f64 = 0.5;

/// Between two looks at the memory.
const LOOK: Duration = Duration::from_secs(3);

/// For whatever else takes its time.
const PATIENCE: Duration = Duration::from_secs(90);

/// What is promised: memory grows by less, in percent over the last half.
const GROWTH: f64 = 1.0;

/// And what was to be called was called.
const KEPT_UP: f64 = 0.95;

#[derive(Clone, Debug, Default, Serialize)]
struct Figures {
    minutes: f64,
    birds: usize,
    /// Calls per second of all nests together: as fast as it goes, as intended, and as it was.
    top: f64,
    wanted: f64,
    per_second: f64,
    calls: u64,
    errors: BTreeMap<String, u64>,
    /// Nests that another one held for dead.
    downs: u64,
    p50_us: f64,
    p99_us: f64,
    p999_us: f64,
    rss: Rss,
    /// The part of the machine that others used meanwhile.
    others: f64,
}

/// Memory of all processes together.
#[derive(Clone, Debug, Default, Serialize)]
struct Rss {
    half_mb: f64,
    end_mb: f64,
    /// Over the last half, by the straight line through what was seen, in percent of where it begins.
    growth_percent: f64,
    /// The same, of the process that grew most.
    worst_percent: f64,
    /// Seconds, and megabytes of each process.
    seen: Vec<(f64, [f64; NESTS])>,
}

/// Is one of the nests, if this is the word for it.
pub(super) fn play(word: &str) -> Option<anyhow::Result<()>> {
    (word == AS_NEST).then(nest::serve)
}

fn run(options: &Options, progress: &Progress) -> anyhow::Result<Report> {
    let minutes: f64 = options.get("--minutes")?;
    let (birds, top): (usize, f64) = (options.get("--birds")?, options.get("--top")?);
    let span = Duration::try_from_secs_f64(minutes * 60.0)?;
    ensure!(span >= 4 * LOOK, "that is too short to see whether memory grows");
    progress.now("the nests come up");
    let mut nests = nests(birds)?;

    progress.now("as fast as it goes");
    let calls = Calls { birds, in_flight: IN_FLIGHT, seconds: top, per_second: None };
    order(&mut nests, calls)?;
    let found = nests.iter_mut().map(|nest| nest.hear_of(calls_take(top)));
    let top = rate(&found.collect::<anyhow::Result<Vec<Called>>>()?);

    let machine = Machine::now()?;
    let used = |nests: &[Talk]| nests.iter().map(|it| cpu(it.pid())).sum::<anyhow::Result<_>>();
    let before: Duration = used(&nests)?;
    let wanted = top * PART;
    let per_second = Some(wanted / NESTS as f64);
    let begun = Instant::now();
    order(&mut nests, Calls { seconds: span.as_secs_f64(), per_second, ..calls })?;
    let mut seen = Vec::new();
    while begun.elapsed() + LOOK <= span {
        std::thread::sleep(LOOK);
        seen.push((round(begun.elapsed().as_secs_f64()), rss(&nests)?));
        let (left, mb) = (span.saturating_sub(begun.elapsed()), seen.last().map(|(_, mb)| mb));
        progress.now(format_args!("{} s to go, {mb:.1?} MB", left.as_secs()));
    }
    let found = nests.iter_mut().map(|nest| nest.hear_of(calls_take(LOOK.as_secs_f64())));
    let found = found.collect::<anyhow::Result<Vec<Called>>>()?;
    let others = machine.others_but(used(&nests)?.saturating_sub(before))?;
    let mut figures = summed(&found, grown(seen));
    (figures.minutes, figures.birds, figures.others) = (minutes, birds, round(others));
    (figures.top, figures.wanted) = (top.round(), wanted.round());
    Ok(report(&figures))
}

/// All of them up, and so many birds.
fn nests(birds: usize) -> anyhow::Result<Vec<Talk>> {
    let program = std::env::current_exe().context("which program is this?")?;
    let (mut nests, mut seeds) = (Vec::new(), Vec::<String>::new());
    for number in 0..NESTS {
        let words = [AS_NEST.to_owned(), format!("nest-{number}")].into_iter().chain(seeds.clone());
        let mut nest = Talk::start(&program, words)?;
        seeds.push(nest.hear_of(PATIENCE)?);
        nests.push(nest);
    }
    for nest in &mut nests {
        nest.tell(&Order::Await(NESTS))?;
        ensure!(nest.hear_of::<bool>(PATIENCE)?, "the nests don't come up");
    }
    let first = nests.first_mut().context("there are some")?;
    first.tell(&Order::Start(birds))?;
    ensure!(first.hear_of::<bool>(PATIENCE)?, "the birds don't start");
    Ok(nests)
}

fn order(nests: &mut [Talk], calls: Calls) -> anyhow::Result<()> {
    nests.iter_mut().try_for_each(|nest| nest.tell(&Order::Call(calls)))
}

fn calls_take(seconds: f64) -> Duration {
    Duration::from_secs_f64(seconds) + PATIENCE
}

fn cpu(pid: u32) -> anyhow::Result<Duration> {
    super::calls::meter::cpu_of(pid)
}

fn rss(nests: &[Talk]) -> anyhow::Result<[f64; NESTS]> {
    let mut mb = [0.0; NESTS];
    for (nest, mb) in nests.iter().zip(&mut mb) {
        *mb = round(status_kb(nest.pid(), "VmRSS:").context("a nest is gone")? as f64 / 1024.0);
    }
    Ok(mb)
}

fn rate(found: &[Called]) -> f64 {
    found.iter().map(|it| it.answered as f64 / it.seconds).sum()
}

fn summed(found: &[Called], rss: Rss) -> Figures {
    let mut times = Histogram::new();
    let mut errors = BTreeMap::<String, u64>::new();
    for it in found {
        times.add_all(&it.times);
        for (why, count) in &it.errors {
            *errors.entry(why.clone()).or_default() += count;
        }
    }
    Figures {
        per_second: rate(found).round(),
        calls: found.iter().map(|it| it.answered).sum(),
        errors,
        downs: found.iter().map(|it| it.downs).sum(),
        p50_us: round(times.quantile(0.5)),
        p99_us: round(times.quantile(0.99)),
        p999_us: round(times.quantile(0.999)),
        rss,
        ..Figures::default()
    }
}

fn grown(seen: Vec<(f64, [f64; NESTS])>) -> Rss {
    let half = seen.get(seen.len() / 2..).unwrap_or_default();
    let all = |mb: &[f64; NESTS]| mb.iter().sum::<f64>();
    let growth_of = |of: &dyn Fn(&[f64; NESTS]) -> f64| {
        growth(&half.iter().map(|(at, mb)| (*at, of(mb))).collect::<Vec<_>>())
    };
    let each = (0..NESTS).map(|at| growth_of(&|mb| mb.get(at).copied().unwrap_or_default()));
    Rss {
        half_mb: round(half.first().map_or(0.0, |(_, mb)| all(mb))),
        end_mb: round(half.last().map_or(0.0, |(_, mb)| all(mb))),
        growth_percent: round(growth_of(&all)),
        worst_percent: round(each.fold(f64::NEG_INFINITY, f64::max)),
        seen,
    }
}

/// By the line of least squares, from the first to the last, in percent of where it begins.
fn growth(points: &[(f64, f64)]) -> f64 {
    let count = points.len() as f64;
    let mean = |of: fn(&(f64, f64)) -> f64| points.iter().map(of).sum::<f64>() / count;
    let (x, y) = (mean(|it| it.0), mean(|it| it.1));
    let spread: f64 = points.iter().map(|it| (it.0 - x).powi(2)).sum();
    let slope = points.iter().map(|it| (it.0 - x) * (it.1 - y)).sum::<f64>() / spread;
    let ends = points.first().zip(points.last());
    let Some((first, last)) = ends.filter(|_| spread > 0.0) else { return f64::NAN };
    let begin = y + slope * (first.0 - x);
    slope * (last.0 - first.0) / begin * 100.0
}

fn report(figures: &Figures) -> Report {
    let mut report = Report::new(figures);
    let Rss { half_mb, end_mb, growth_percent, worst_percent, .. } = figures.rss;
    // What can't be told is no promise kept.
    let flat = growth_percent < GROWTH;
    report.promise(
        "memory of all nests, over the last half",
        format!("{growth_percent:+.2} %"),
        format!("< {GROWTH:.0} %"),
        flat,
    );
    report.row("… of the nest that grew most", format!("{worst_percent:+.2} %"));
    report.row("… at half time, at the end", format!("{half_mb:.1} MB, {end_mb:.1} MB"));
    let errors: u64 = figures.errors.values().sum();
    report.promise("errors", thousands(errors), "0", errors == 0);
    for (why, count) in &figures.errors {
        report.row(format!("… {why}"), thousands(*count));
    }
    let downs = figures.downs;
    report.promise("nests held for dead", thousands(downs), "0", downs == 0);
    let per_second = |rate: f64| format!("{}/s", thousands(rate as u64));
    let kept_up = figures.per_second >= figures.wanted * KEPT_UP && figures.calls > 0;
    let wanted = format!("≥ {}", per_second(figures.wanted * KEPT_UP));
    report.promise("calls", per_second(figures.per_second), wanted, kept_up);
    report.row("… in all", thousands(figures.calls));
    report.row("… as fast as it goes", per_second(figures.top));
    let Figures { p50_us, p99_us, p999_us, .. } = figures;
    report.row("… p50, p99, p99.9", format!("{p50_us:.0}, {p99_us:.0}, {p999_us:.0} µs"));
    report.row("others' part of the machine", format!("{:.0} %", figures.others * 100.0));
    report.note(format!(
        "{} minutes, {NESTS} nests, {} birds: each nest calls all of them, and two of three are another's.",
        figures.minutes, figures.birds
    ));
    report
}

#[cfg(test)]
mod tests;
