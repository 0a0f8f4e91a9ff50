//! The same calls by flock and by other libraries, in one run: round by round in turn, so that whatever else
//! the machine does falls on all of them alike.
//!
//! - `program`: the others' programs: built, started, told to call.
//! - `picture`: what was found, as bars.

mod picture;
mod program;

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use serde::{Deserialize, Serialize};
use tokio::task::LocalSet;

use super::calls::birds::{Caller, Face};
use super::calls::echo::Child;
use super::calls::meter::{Latencies, Machine, Measured, Meter, median, round};
use super::calls::{AS_CALLEE, BIRDS, WARM};
use super::{Bench, Misuse, Options, Progress, Report, thousands};
use program::{PEERS, Pair, Peer};

pub(super) const BENCH: Bench = Bench {
    name: "peers",
    what: "the same calls between two processes, by flock and by other libraries, in turn; --svg FILE draws it, \
           --from FILE.json takes the figures of an earlier run",
    options: &[
        ("--rounds", "10"),
        ("--span", "0.8"),
        ("--only", "all"),
        ("--from", "none"),
        ("--svg", "none"),
    ],
    run,
};

/// So many at a time, by the key that they have among the figures; the first is what is promised of.
const SCENES: [(&str, usize); 2] = [(MANY, 256), (ONE, 1)];
const MANY: &str = "256";
const ONE: &str = "1";

/// Of each body.
const BYTES: usize = 64;

/// What is promised: so many times the calls of the best of the others.
const TIMES: f64 = 6.0;

/// From here on others had so much of the machine that the figures say little.
const CROWDED: f64 = 0.1;

const FLOCK: &str = "flock";

/// What one library can do, or why that isn't known.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Contender {
    name: String,
    version: String,
    /// Why there are no figures.
    missing: Option<String>,
    calls: BTreeMap<String, Figures>,
}

/// Of so many calls at a time. Medians of the rounds; CPU time is that of both processes, for one call.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Figures {
    per_second: f64,
    p50_us: f64,
    p99_us: f64,
    p999_us: f64,
    cpu_us: f64,
    /// In all rounds together.
    failed: u64,
    /// The calls of flock in the same rounds, for one of these.
    flock_ratio: f64,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct All {
    rounds: usize,
    span_s: f64,
    bytes: usize,
    cores: usize,
    /// The part of the machine that others used meanwhile.
    others: f64,
    /// Flock is the first.
    contenders: Vec<Contender>,
}

fn run(options: &Options, progress: &Progress) -> anyhow::Result<Report> {
    let all = match options.text("--from") {
        "none" => {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            LocalSet::new().block_on(&runtime, measure(options, progress))?
        }
        file => {
            let text = std::fs::read_to_string(file).with_context(|| format!("reading {file}"))?;
            serde_json::from_str(&text).with_context(|| format!("{file} isn't what this prints"))?
        }
    };
    let svg = options.text("--svg");
    if svg != "none" {
        std::fs::write(svg, picture::draw(&all)).with_context(|| format!("writing {svg}"))?;
    }
    Ok(report(&all))
}

/// `all`, or names parted by commas.
fn wanted(names: &str) -> Result<Vec<Peer>, Misuse> {
    if names == "all" {
        return Ok(PEERS.to_vec());
    }
    let find = |name: &str| PEERS.iter().find(|peer| peer.0 == name).copied();
    let known = || PEERS.iter().map(|peer| peer.0).collect::<Vec<_>>().join(", ");
    let all = names.split(',').map(|name| {
        find(name).ok_or_else(|| Misuse(format!("--only {name}: there are {}", known())))
    });
    all.collect()
}

/// A peer that takes part, until something goes wrong.
struct Guest {
    contender: Contender,
    pair: Option<Pair>,
    rounds: Vec<[Measured; SCENES.len()]>,
}

impl Guest {
    /// Builds it and has it connect.
    fn invite(peer: Peer, progress: &Progress) -> Self {
        progress.now(format_args!("{} is built, and started", peer.0));
        let (version, missing) = match peer.version() {
            Ok(version) => (version, None),
            Err(e) => (String::new(), Some(e)),
        };
        let pair = missing.map_or_else(|| Pair::start(&peer.build()?), Err);
        let mut guest = Self {
            contender: Contender { name: peer.0.to_owned(), version, ..Contender::default() },
            pair: None,
            rounds: Vec::new(),
        };
        match pair {
            Ok(pair) => guest.pair = Some(pair),
            Err(e) => guest.fails(&e, progress),
        }
        guest
    }

    fn fails(&mut self, error: &anyhow::Error, progress: &Progress) {
        progress.note(format_args!("{}: {error:#}", self.contender.name));
        self.contender.missing = Some(format!("{error:#}"));
        self.pair = None;
    }

    fn round(&mut self, span: Duration, progress: &Progress) {
        let Some(pair) = &mut self.pair else { return };
        let mut round = [Measured::default(); SCENES.len()];
        for ((_, in_flight), measured) in SCENES.iter().zip(&mut round) {
            let found = match pair.round(*in_flight, BYTES, span) {
                Ok(found) if found.rate > 0.0 => found,
                Ok(_) => return self.fails(&anyhow!("no call is answered"), progress),
                Err(e) => return self.fails(&e, progress),
            };
            *measured = Measured {
                rate: found.rate,
                cpu_us: found.caller_cpu_us + found.callee_cpu_us,
                us: Latencies { p50: found.p50_us, p99: found.p99_us, p999: found.p999_us },
                failed: found.failed,
            };
        }
        self.rounds.push(round);
    }
}

async fn measure(options: &Options, progress: &Progress) -> anyhow::Result<All> {
    let rounds = options.get::<usize>("--rounds")?.max(1);
    let span = Duration::try_from_secs_f64(options.get("--span")?)?;
    let wanted = wanted(options.text("--only"))?;
    let mut guests: Vec<Guest> =
        wanted.into_iter().map(|peer| Guest::invite(peer, progress)).collect();

    let nest = Child::start(AS_CALLEE)?;
    let caller = Caller::join(&nest.says, BIRDS).await?;
    let meter = Meter::new(WARM, span, nest.pid());
    let own = [std::process::id(), nest.pid()].into_iter();
    let pairs = guests.iter().filter_map(|guest| guest.pair.as_ref()).flat_map(Pair::pids);
    let pids: Vec<u32> = own.chain(pairs).collect();

    let machine = Machine::now()?;
    let before = pids.iter().map(|&pid| cpu_of(pid)).sum::<Duration>();
    let mut flock = Vec::new();
    for number in 0..rounds {
        // Whoever comes behind another finds what that one left in the caches: each in turn.
        let turns = guests.len() + 1;
        for turn in (0..turns).map(|turn| (turn + number) % turns) {
            if let Some(guest) = turn.checked_sub(1).and_then(|at| guests.get_mut(at)) {
                let name = &guest.contender.name;
                progress.now(format_args!("round {} of {rounds}, {name}", number + 1));
                guest.round(span, progress);
                continue;
            }
            progress.now(format_args!("round {} of {rounds}, {FLOCK}", number + 1));
            let mut round = [Measured::default(); SCENES.len()];
            for ((_, in_flight), measured) in SCENES.iter().zip(&mut round) {
                *measured = caller.calls(&meter, *in_flight, BYTES, BIRDS, Face::Ref).await?;
            }
            flock.push(round);
        }
    }
    let used = pids.iter().map(|&pid| cpu_of(pid)).sum::<Duration>().saturating_sub(before);
    let others = round(machine.others_but(used)?);
    let own = Contender {
        name: FLOCK.to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        missing: None,
        calls: figures(&flock, &flock),
    };
    let guests = guests.into_iter().map(|Guest { mut contender, rounds, .. }| {
        if contender.missing.is_none() {
            contender.calls = figures(&rounds, &flock);
        }
        contender
    });
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let contenders = std::iter::once(own).chain(guests).collect();
    Ok(All { rounds, span_s: span.as_secs_f64(), bytes: BYTES, cores, others, contenders })
}

/// A peer that is gone has used what it has used, which nobody can ask any more.
fn cpu_of(pid: u32) -> Duration {
    super::calls::meter::cpu_of(pid).unwrap_or_default()
}

fn figures(
    rounds: &[[Measured; SCENES.len()]],
    flock: &[[Measured; SCENES.len()]],
) -> BTreeMap<String, Figures> {
    let scene = |(at, (key, _)): (usize, &(&str, usize))| {
        let over = |of: fn(&Measured) -> f64| {
            round(median(rounds.iter().filter_map(|round| round.get(at)).map(of)))
        };
        let ratios = flock.iter().zip(rounds).filter_map(|(flock, it)| {
            let (flock, it) = (flock.get(at)?, it.get(at)?);
            Some(flock.rate / it.rate)
        });
        let figures = Figures {
            per_second: over(|it| it.rate).round(),
            p50_us: over(|it| it.us.p50),
            p99_us: over(|it| it.us.p99),
            p999_us: over(|it| it.us.p999),
            cpu_us: over(|it| it.cpu_us),
            failed: rounds.iter().filter_map(|round| round.get(at)).map(|it| it.failed).sum(),
            flock_ratio: round(median(ratios)),
        };
        ((*key).to_owned(), figures)
    };
    SCENES.iter().enumerate().map(scene).collect()
}

fn report(all: &All) -> Report {
    let mut report = Report::new(all);
    let many = |it: &Contender| it.calls.get(MANY).copied();
    let flock = all.contenders.iter().find(|it| it.name == FLOCK);
    let peers = || all.contenders.iter().filter(|it| it.name != FLOCK);
    let best = peers()
        .filter_map(|it| Some((it, many(it)?)))
        .min_by(|(_, one), (_, other)| one.flock_ratio.total_cmp(&other.flock_ratio));
    let (name, times) = best.map_or(("none", 0.0), |(it, best)| (&it.name, best.flock_ratio));
    let what = format!("flock ÷ the best of the others ({name}), {MANY} in flight");
    report.promise(what, format!("{times:.2} ×"), format!("≥ {TIMES:.0} ×"), times >= TIMES);
    let failed: u64 = flock.iter().flat_map(|it| it.calls.values()).map(|it| it.failed).sum();
    report.promise("calls of flock that failed", thousands(failed), "0", failed == 0);
    for it in &all.contenders {
        let called = format!("{} {}", it.name, it.version);
        if let Some(why) = &it.missing {
            report.note(format!("{called}: {why}"));
            report.promise(called, "not measured", "measured", false);
            continue;
        }
        for (key, _) in SCENES {
            let Some(found) = it.calls.get(key) else { continue };
            let Figures { per_second, p50_us, p99_us, p999_us, cpu_us, failed, flock_ratio } =
                *found;
            let rate = format!("{}/s", thousands(per_second as u64));
            report.row(format!("{called}, {key} in flight"), rate);
            let times = format!("{p50_us:.1}, {p99_us:.1}, {p999_us:.1} µs");
            report.row("… p50, p99, p99.9", times);
            report.row("… CPU of both ends per call", format!("{cpu_us:.1} µs"));
            if it.name != FLOCK {
                report.row("… flock ÷ it", format!("{flock_ratio:.2} ×"));
            }
            if failed > 0 {
                report.row("… calls that failed", thousands(failed));
            }
        }
    }
    report.row("others' part of the machine", format!("{:.0} %", all.others * 100.0));
    if all.others > CROWDED {
        report.note("Others used much of the machine, so that little can be said. Run it anew.");
    }
    report.note(format!("Medians of {} rounds, {} bytes.", all.rounds, all.bytes));
    report
}

#[cfg(test)]
mod tests;
