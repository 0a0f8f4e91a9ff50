//! Stories of many simulated nests, with every invariant looked at as it may break.

mod bugs;

use std::num::NonZero;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use flock_proto::sim::{Broken, Deeds, Kind, Script, Story, Told, perform, plan, shrink};
use serde::Serialize;

use super::{Bench, Misuse, Options, Progress, Report, thousands};

pub(super) const BENCH: Bench = Bench {
    name: "simulate",
    what: "random stories of simulated nests: smooth and rough ones in turn",
    options: &[
        ("--seeds", "300"),
        ("--first", "1"),
        ("--nests", "5"),
        ("--names", "24"),
        ("--seconds", "120"),
        ("--kind", "mixed"),
        ("--shrink", ""),
        ("--bug", "none"),
    ],
    run,
};

#[derive(Serialize)]
struct Figures {
    seeds: u64,
    nest_seconds: u64,
    nest_seconds_per_second: u64,
    violations: u64,
    first_violation: Option<Violation>,
    did: serde_json::Map<String, serde_json::Value>,
}

#[derive(Clone, Debug, Serialize)]
struct Violation {
    seed: u64,
    kind: &'static str,
    invariant: &'static str,
    what: String,
    at_s: f64,
}

/// Which story each seed tells.
#[derive(Clone, Copy)]
pub(super) struct Plot {
    pub(super) nests: u32,
    pub(super) names: u32,
    pub(super) seconds: u32,
    /// Of one kind only.
    pub(super) kind: Option<Kind>,
}

impl Plot {
    fn read(options: &Options) -> Result<Self, Misuse> {
        let kind = match options.text("--kind") {
            "mixed" => None,
            "smooth" => Some(Kind::Smooth),
            "rough" => Some(Kind::Rough),
            "restless" => Some(Kind::Restless),
            "thawing" => Some(Kind::Thawing),
            "steady" => Some(Kind::Steady),
            other => {
                let kinds = "mixed, smooth, rough, restless, thawing or steady";
                return Err(Misuse(format!("--kind {other}: {kinds}")));
            }
        };
        let seconds = options.get("--seconds")?;
        Ok(Self { nests: options.get("--nests")?, names: options.get("--names")?, seconds, kind })
    }

    fn kind_of(&self, seed: u64) -> Kind {
        self.kind.unwrap_or(if seed.is_multiple_of(2) { Kind::Rough } else { Kind::Smooth })
    }

    pub(super) fn script(&self, seed: u64) -> Script {
        let &Self { nests, names, seconds, .. } = self;
        plan(Story { seed, kind: self.kind_of(seed), nests, names, seconds })
    }

    pub(super) fn tell(&self, seed: u64) -> Told {
        perform(&self.script(seed), Some(Duration::from_secs(self.seconds.into())))
    }

    /// Whether all of what is counted must have happened in many such stories.
    fn tells_of(&self, deed: &str) -> bool {
        match self.kind {
            None | Some(Kind::Rough) => true,
            Some(Kind::Smooth | Kind::Restless) => {
                !["crashes", "partitions", "heals", "conflicts", "renewals", "restored"]
                    .contains(&deed)
            }
            Some(Kind::Thawing) => ["starts", "freezes"].contains(&deed),
            Some(Kind::Steady) => ["starts", "stops", "calls"].contains(&deed),
        }
    }
}

/// What all stories together were like.
#[derive(Default)]
struct Sum {
    deeds: Deeds,
    nest_seconds: f64,
    violations: u64,
    /// Of the least seed.
    first: Option<(u64, Broken)>,
}

impl Sum {
    fn add(&mut self, seed: u64, told: Told) {
        self.deeds.add(&told.deeds);
        self.nest_seconds += told.nest_seconds;
        if let Some(broken) = told.broken {
            self.violations += 1;
            if self.first.as_ref().is_none_or(|(first, _)| seed < *first) {
                self.first = Some((seed, broken));
            }
        }
    }
}

fn run(options: &Options, progress: &Progress) -> anyhow::Result<Report> {
    if options.is_given("--bug") {
        return bugs::run(options, progress);
    }
    let plot = Plot::read(options)?;
    let (first, seeds): (u64, u64) = (options.get("--first")?, options.get("--seeds")?);
    let begun = Instant::now();
    let sum = Mutex::new(Sum::default());
    let told = AtomicU64::new(0);
    for_each(first..first + seeds, |seed| {
        let story = plot.tell(seed);
        if let Some(Broken { invariant, what, at }) = &story.broken {
            progress.note(format_args!("seed {seed}, {at:?}: {invariant}: {what}"));
        }
        lock(&sum).add(seed, story);
        let told = told.fetch_add(1, Ordering::Relaxed) + 1;
        progress.now(format_args!("{told} of {seeds} stories"));
        true
    });
    let took = begun.elapsed();
    let sum = sum.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    if let Some((seed, _)) = &sum.first
        && options.is_given("--shrink")
    {
        let short = shrink(&plot.script(*seed), |lines| {
            progress.now(format_args!("seed {seed}: {lines} lines are left"));
            true
        });
        progress.note(format_args!("# for flock-proto/tests/stories\n{short}"));
    }
    Ok(report(&plot, seeds, &sum, took))
}

fn report(plot: &Plot, seeds: u64, sum: &Sum, took: Duration) -> Report {
    let speed = (sum.nest_seconds / took.as_secs_f64()) as u64;
    let counts = sum.deeds.all();
    let first = sum.first.as_ref().map(|(seed, broken)| Violation {
        seed: *seed,
        kind: name_of(plot.kind_of(*seed)),
        invariant: broken.invariant,
        what: broken.what.clone(),
        at_s: broken.at.as_secs_f64(),
    });
    let mut report = Report::new(&Figures {
        seeds,
        nest_seconds: sum.nest_seconds as u64,
        nest_seconds_per_second: speed,
        violations: sum.violations,
        first_violation: first.clone(),
        did: counts.iter().map(|(name, count)| ((*name).to_owned(), (*count).into())).collect(),
    });
    report.row("seeds", thousands(seeds));
    report.row("nest-seconds", thousands(sum.nest_seconds as u64));
    report.row("nest-seconds per second", thousands(speed));
    for (name, count) in counts {
        if plot.tells_of(name) {
            report.promise(name, thousands(count), "> 0", count > 0);
        } else {
            report.row(name, thousands(count));
        }
    }
    report.promise("violations", thousands(sum.violations), "0", sum.violations == 0);
    if let Some(Violation { seed, kind, invariant, what, at_s }) = first {
        report.note(format!("seed {seed} ({kind}), {at_s:.3} s: {invariant}: {what}"));
        let Plot { nests, names, seconds, .. } = plot;
        report.note(format!(
            "again, and cut short: simulate --first {seed} --seeds 1 --kind {kind} --nests {nests} \
             --names {names} --seconds {seconds} --shrink"
        ));
    }
    report
}

const fn name_of(kind: Kind) -> &'static str {
    match kind {
        Kind::Smooth => "smooth",
        Kind::Rough => "rough",
        Kind::Restless => "restless",
        Kind::Thawing => "thawing",
        Kind::Steady => "steady",
    }
}

/// Does the same for each number, on all cores, until one says `false`.
pub(super) fn for_each(numbers: std::ops::Range<u64>, work: impl Fn(u64) -> bool + Sync) {
    let next = AtomicU64::new(numbers.start);
    let enough = AtomicBool::new(false);
    let cores = std::thread::available_parallelism().map_or(1, NonZero::get);
    std::thread::scope(|scope| {
        for _ in 0..cores {
            scope.spawn(|| {
                while !enough.load(Ordering::Relaxed) {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= numbers.end {
                        break;
                    }
                    if !work(number) {
                        enough.store(true, Ordering::Relaxed);
                    }
                }
            });
        }
    });
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}
