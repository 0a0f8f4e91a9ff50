//! Stories of the real nests on simulated hosts, each told by a process of its own.
//!
//! The stories need turmoil within the nests. Nothing that is measured may contain it, this program's
//! other benches included: so the program that tells stories is built apart, here.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::simulate::{for_each, lock};
use super::{Bench, Options, Progress, Report, thousands};

pub(super) const BENCH: Bench = Bench {
    name: "turmoil",
    what: "stories of the real nests on simulated hosts",
    options: &[("--seeds", "50"), ("--first", "1")],
    run,
};

/// One seed in so many is told a second time, to see that its trace is the same.
const TWICE: u64 = 10;

/// A story takes a second or two. One that takes so long doesn't come to an end.
const PATIENCE: Duration = Duration::from_secs(300);

/// Between two looks at a story that is being told.
const LOOK: Duration = Duration::from_millis(5);

/// Invariants whose breach means that a bird or what was acknowledged of it is lost or back.
const LOST: &[&str] = &["I5", "L3", "L4"];

/// Invariants whose breach means that a bird lives twice, or does twice what it was told once.
const DOUBLED: &[&str] = &["I1", "I10"];

#[derive(Serialize)]
struct Figures<'a> {
    seeds: u64,
    seconds: u64,
    violations: u64,
    first_violation: Option<&'a Violation>,
    lost: u64,
    doubled: u64,
    told_twice: u64,
    traces_differ: u64,
    did: Map<String, Value>,
}

/// What the program `story` says of one.
#[derive(Debug, Deserialize)]
struct Told {
    did: BTreeMap<String, u64>,
    broken: Option<Broken>,
    millis: u64,
    trace: String,
}

#[derive(Debug, Deserialize)]
struct Broken {
    invariant: String,
    what: String,
    at: u64,
}

#[derive(Clone, Debug, Serialize)]
struct Violation {
    seed: u64,
    invariant: String,
    what: String,
    at_s: f64,
}

/// What all stories together were like.
#[derive(Default)]
struct Sum {
    did: BTreeMap<String, u64>,
    millis: u64,
    /// Of each seed that has one.
    violations: BTreeMap<u64, Violation>,
    twice: u64,
    differ: Vec<u64>,
    /// What kept a story from being told at all.
    failed: Option<anyhow::Error>,
}

impl Sum {
    fn add(&mut self, seed: u64, told: Told) {
        for (deed, times) in told.did {
            *self.did.entry(deed).or_default() += times;
        }
        self.millis += told.millis;
        if let Some(Broken { invariant, what, at }) = told.broken {
            let at_s = Duration::from_millis(at).as_secs_f64();
            self.violations.insert(seed, Violation { seed, invariant, what, at_s });
        }
    }

    fn breaches_of(&self, invariants: &[&str]) -> u64 {
        let breaches = |violation: &&Violation| invariants.contains(&&*violation.invariant);
        self.violations.values().filter(breaches).count() as u64
    }
}

fn run(options: &Options, progress: &Progress) -> anyhow::Result<Report> {
    let (first, seeds): (u64, u64) = (options.get("--first")?, options.get("--seeds")?);
    progress.now("building the program that tells stories");
    let program = build()?;
    let sum = Mutex::new(Sum::default());
    let told = AtomicU64::new(0);
    for_each(first..first.saturating_add(seeds), |seed| {
        let outcome = tell_once_or_twice(&program, seed, seed % TWICE == first % TWICE);
        let mut sum = lock(&sum);
        match outcome {
            Ok((story, alike)) => {
                if let Some(Broken { invariant, what, at }) = &story.broken {
                    progress.note(format_args!("seed {seed}, {at} ms: {invariant}: {what}"));
                }
                sum.add(seed, story);
                sum.twice += u64::from(alike.is_some());
                sum.differ.extend((alike == Some(false)).then_some(seed));
            }
            Err(error) => sum.failed = Some(error),
        }
        let told = told.fetch_add(1, Ordering::Relaxed) + 1;
        progress.now(format_args!("{told} of {seeds} stories"));
        sum.failed.is_none()
    });
    let sum = sum.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    match sum.failed {
        Some(error) => Err(error),
        None => Ok(report(seeds, &sum)),
    }
}

fn report(seeds: u64, sum: &Sum) -> Report {
    let violations = sum.violations.len() as u64;
    let first = sum.violations.values().next();
    let (lost, doubled) = (sum.breaches_of(LOST), sum.breaches_of(DOUBLED));
    let (seconds, differ) = (sum.millis / 1000, sum.differ.len() as u64);
    let mut report = Report::new(&Figures {
        seeds,
        seconds,
        violations,
        first_violation: first,
        lost,
        doubled,
        told_twice: sum.twice,
        traces_differ: differ,
        did: sum.did.iter().map(|(deed, times)| (deed.clone(), (*times).into())).collect(),
    });
    report.row("seeds", thousands(seeds));
    report.row("seconds of theirs", thousands(seconds));
    for (deed, times) in &sum.did {
        report.promise(deed, thousands(*times), "> 0", *times > 0);
    }
    report.promise("violations", thousands(violations), "0", violations == 0);
    report.promise("  lost", thousands(lost), "0", lost == 0);
    report.promise("  doubled", thousands(doubled), "0", doubled == 0);
    report.promise("told twice", thousands(sum.twice), "> 0", sum.twice > 0);
    report.promise("  with another trace", thousands(differ), "0", differ == 0);
    if let Some(Violation { seed, invariant, what, at_s }) = first {
        report.note(format!("seed {seed}, {at_s:.3} s: {invariant}: {what}"));
    }
    for seed in first.map(|violation| &violation.seed).into_iter().chain(&sum.differ) {
        report.note(format!(
            "its trace: cargo run --release -p flock-tests --features turmoil --bin story -- {seed}"
        ));
    }
    report
}

/// Builds the program `story`, and says where it is.
fn build() -> anyhow::Result<PathBuf> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let built = Command::new(cargo)
        .args(["build", "--release", "-p", "flock-tests", "--features", "turmoil"])
        .args(["--bin", "story", "--message-format", "json-render-diagnostics"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .stderr(Stdio::inherit())
        .output()
        .context("cargo doesn't start")?;
    ensure!(built.status.success(), "the program that tells stories can't be built");
    let said = String::from_utf8_lossy(&built.stdout);
    let program = said
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .find_map(|artifact| {
            let is_it = artifact["target"]["name"] == "story";
            is_it.then(|| artifact["executable"].as_str().map(PathBuf::from)).flatten()
        });
    program.context("cargo doesn't say where the program that tells stories is")
}

/// Tells a story; and where it is told `twice`, says whether it was the same both times.
fn tell_once_or_twice(
    program: &Path,
    seed: u64,
    twice: bool,
) -> anyhow::Result<(Told, Option<bool>)> {
    let told = tell(program, seed)?;
    let alike = if twice { Some(tell(program, seed)?.trace == told.trace) } else { None };
    Ok((told, alike))
}

/// A process that ends with this.
struct Teller(Child);

impl Drop for Teller {
    fn drop(&mut self) {
        // It has ended, or is of no use any more.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn tell(program: &Path, seed: u64) -> anyhow::Result<Told> {
    let process = Command::new(program)
        .args([&seed.to_string(), "--json"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("{} doesn't start", program.display()))?;
    let mut teller = Teller(process);
    let begun = Instant::now();
    // It says a line or two, for which there is room: nobody has to listen meanwhile.
    while teller.0.try_wait()?.is_none() {
        if begun.elapsed() > PATIENCE {
            bail!("seed {seed}: its story doesn't come to an end");
        }
        std::thread::sleep(LOOK);
    }
    let (mut said, mut complaint) = (String::new(), String::new());
    teller.0.stdout.take().map(|mut out| out.read_to_string(&mut said)).transpose()?;
    teller.0.stderr.take().map(|mut err| err.read_to_string(&mut complaint)).transpose()?;
    serde_json::from_str(&said).with_context(|| format!("seed {seed}: no story: {complaint}"))
}
