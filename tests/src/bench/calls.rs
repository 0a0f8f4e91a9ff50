//! Calls and casts between two processes on the loopback, beside what the sockets alone would give.
//!
//! Two references take turns with flock, round by round, so that whatever else the machine does
//! falls on all three alike; what counts are the medians of the rounds' ratios.
//!
//! - `raw`: the references: a bare loop of frames, and callers that share one connection.
//! - `birds`: the same asked of birds.
//! - `echo`: the bird that is called, and the process that it lives in.
//! - `keyed`: calls by nests with a key, beside the same without.
//! - `meter`: rates, latencies, CPU time and memory.

pub(super) mod birds;
pub(super) mod echo;
pub(super) mod keyed;
pub(super) mod meter;
mod raw;

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Context as _;
use serde::Serialize;
use tokio::task::LocalSet;

use super::{Bench, Options, Progress, Report, thousands};
use birds::{Caller, Face};
use echo::Child;
use meter::{Latencies, Machine, Measured, Meter, median, round};

pub(super) const BENCH: Bench = Bench {
    name: "calls",
    what: "calls and casts between two processes, beside plain connections without flock",
    options: &[
        ("--rounds", "10"),
        ("--span", "0.8"),
        ("--workers", "1"),
        ("--full", ""),
        ("--only", "all"),
    ],
    run,
};

/// The word behind which this program is the nest that is called.
pub(super) const AS_CALLEE: &str = "callee-under-test";

/// The word behind which this program sends back whatever frames come.
const AS_ECHO: &str = "echo-under-test";

/// Runs before what is measured: both ends settle on how much they do at a time.
pub(super) const WARM: Duration = Duration::from_millis(100);

/// Below this part of the loop, the other reference hadn't its share of the machine.
const STARVED: f64 = 0.40;

/// So many birds are called in turn, unless something else is said.
pub(super) const BIRDS: usize = 1024;

/// What is promised, at 256 in flight.
const OF_CHAN: f64 = 0.60;
const OF_LOOP: f64 = 0.35;
const CPU: f64 = 3.0;
/// With one in flight, of the median and of the 99th hundredth.
const RTT: (f64, f64) = (1.35, 1.6);
/// Of casts, against round trips of the loop.
const CASTS: f64 = 0.9;

/// What is called, and how.
#[derive(Clone, Copy, Debug)]
struct Scene {
    /// Its key among the figures.
    key: &'static str,
    in_flight: usize,
    bytes: usize,
    birds: usize,
    face: Face,
}

const ONE: Scene = Scene { key: "1", in_flight: 1, bytes: 64, birds: BIRDS, face: Face::Ref };
const MAIN: Scene = Scene { key: "256", in_flight: 256, ..ONE };

/// Measured in any case.
const SCENES: &[Scene] = &[ONE, MAIN];

/// The others.
const FULL: &[Scene] = &[
    Scene { key: "16", in_flight: 16, ..ONE },
    Scene { key: "64", in_flight: 64, ..ONE },
    Scene { key: "1024", in_flight: 1024, ..ONE },
    Scene { key: "64 of 1 KiB", in_flight: 64, bytes: 1024, ..ONE },
    Scene { key: "64 of 64 KiB", in_flight: 64, bytes: 64 << 10, ..ONE },
    Scene { key: "256 from outside", face: Face::Outside, ..MAIN },
    Scene { key: "256 by the router", face: Face::Router, ..MAIN },
    Scene { key: "256 to one bird", birds: 1, ..MAIN },
    Scene { key: "256 to 65536 birds", birds: 65_536, ..MAIN },
];

/// One round of one scene.
struct Round {
    flock: Measured,
    bare: Measured,
    chan: Measured,
}

/// What the rounds of one scene come to. Rates are medians per second, CPU time is that of both
/// processes, latencies are medians of the rounds' quantiles.
#[derive(Clone, Debug, Default, Serialize)]
struct Figures {
    flock: f64,
    #[serde(rename = "loop")]
    bare: f64,
    chan: f64,
    ratio_loop: f64,
    ratio_chan: f64,
    chan_of_loop: f64,
    cpu_us: f64,
    cpu_us_chan: f64,
    cpu_us_loop: f64,
    cpu_ratio_chan: f64,
    us: Latencies,
    us_chan: Latencies,
    failed: u64,
}

#[derive(Clone, Debug, Default, Serialize)]
struct Rtt {
    us: Latencies,
    us_loop: Latencies,
    p50_ratio: f64,
    p99_ratio: f64,
}

#[derive(Clone, Debug, Default, Serialize)]
struct Casts {
    flock: f64,
    ratio_loop: f64,
    cpu_us: f64,
    lost: u64,
}

#[derive(Clone, Debug, Default, Serialize)]
struct Rss {
    nest_mb: f64,
    caller_mb: f64,
}

#[derive(Clone, Debug, Default, Serialize)]
struct All {
    rounds: usize,
    /// The reference was starved: no ratio means anything.
    void: bool,
    /// The part of the machine that others used meanwhile.
    others: f64,
    calls: BTreeMap<&'static str, Figures>,
    rtt: Rtt,
    casts: Casts,
    /// The most that each process had.
    rss: Rss,
}

/// Is the other end, if this is the word for it, for as long as the bench runs.
pub(super) fn play(word: &str) -> Option<anyhow::Result<()>> {
    let serve = match word {
        AS_CALLEE => echo::serve,
        AS_ECHO => raw::serve,
        _ => return None,
    };
    Some(echo::end_with_the_parent().and_then(|()| serve()))
}

fn run(options: &Options, progress: &Progress) -> anyhow::Result<Report> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let all = LocalSet::new().block_on(&runtime, measure(options, progress))?;
    Ok(report(&all))
}

async fn measure(options: &Options, progress: &Progress) -> anyhow::Result<All> {
    let rounds = options.get::<usize>("--rounds")?.max(1);
    let span = Duration::try_from_secs_f64(options.get("--span")?)?;
    let full = if options.is_given("--full") { FULL } else { &[] };
    let scenes: Vec<Scene> = SCENES.iter().chain(full).copied().collect();
    let only = options.text("--only").to_owned();
    let wants = |what: &str| only == "all" || only == what;
    let most = scenes.iter().map(|scene| scene.birds).max().unwrap_or(BIRDS);

    progress.now(format_args!("{} birds are started", thousands(most as u64)));
    let nest = Child::start_with(AS_CALLEE, &[(echo::WORKERS, options.text("--workers"))])?;
    let echo = Child::start(AS_ECHO)?;
    let workers = options.get::<usize>("--workers")?;
    let builder = crate::builder(echo::FLOCK)?.workers(workers);
    let caller = Caller::join_as(builder, &nest.says, most).await?;
    let meter = |child: &Child| Meter::new(WARM, span, child.pid());
    let (raw, called) = (meter(&echo), meter(&nest));

    let machine = Machine::now()?;
    let mut found: Vec<Vec<Round>> = scenes.iter().map(|_| Vec::new()).collect();
    let mut casts = Vec::new();
    for number in 1..=rounds {
        for (scene, found) in scenes.iter().zip(&mut found) {
            let Scene { key, in_flight, bytes, .. } = *scene;
            progress.now(format_args!("round {number} of {rounds}, {key} in flight"));
            let bare = if wants("loop") || wants("refs") {
                raw::bare(&raw, &echo.says, in_flight, bytes).await?
            } else {
                Measured::default()
            };
            let chan = if wants("chan") || wants("refs") {
                raw::chan(&raw, &echo.says, in_flight, bytes).await?
            } else {
                Measured::default()
            };
            let flock = if wants("flock") || wants(key) {
                caller.calls(&called, in_flight, bytes, scene.birds, scene.face).await?
            } else {
                Measured::default()
            };
            found.push(Round { flock, bare, chan });
        }
        if wants("casts") {
            casts.push(caller.casts(&called, MAIN.in_flight, MAIN.bytes, MAIN.birds).await?);
        }
    }
    let others = machine.others(&[std::process::id(), echo.pid(), nest.pid()])?;
    let rss = Rss {
        nest_mb: round(meter::peak_mb(nest.pid())?),
        caller_mb: round(meter::peak_mb(std::process::id())?),
    };
    let mut all = summed(rounds, &scenes, &found, &casts)?;
    (all.others, all.rss) = (round(others), rss);
    Ok(all)
}

fn summed(
    rounds: usize,
    scenes: &[Scene],
    found: &[Vec<Round>],
    casts: &[Measured],
) -> anyhow::Result<All> {
    let figures = scenes.iter().zip(found).map(|(scene, found)| (scene.key, figures(found)));
    let calls: BTreeMap<_, _> = figures.collect();
    let of =
        |key: &str| scenes.iter().position(|scene| scene.key == key).and_then(|at| found.get(at));
    let (one, main) = of(ONE.key).zip(of(MAIN.key)).context("the scenes of any run")?;
    let ratio = |of: fn(&Latencies) -> f64| {
        round(median(one.iter().map(|it| of(&it.flock.us) / of(&it.bare.us))))
    };
    let rtt = Rtt {
        us: Latencies::median(one.iter().map(|it| it.flock.us)),
        us_loop: Latencies::median(one.iter().map(|it| it.bare.us)),
        p50_ratio: ratio(|us| us.p50),
        p99_ratio: ratio(|us| us.p99),
    };
    let against = casts.iter().zip(main).map(|(casts, it)| casts.rate / it.bare.rate);
    let casts = Casts {
        flock: median(casts.iter().map(|it| it.rate)).round(),
        ratio_loop: round(median(against)),
        cpu_us: round(median(casts.iter().map(|it| it.cpu_us))),
        lost: casts.iter().map(|it| it.failed).sum(),
    };
    let void = calls.get(MAIN.key).is_none_or(|main| main.chan_of_loop < STARVED);
    Ok(All { rounds, void, calls, rtt, casts, ..All::default() })
}

fn figures(rounds: &[Round]) -> Figures {
    let over = |of: fn(&Round) -> f64| median(rounds.iter().map(of));
    Figures {
        flock: over(|it| it.flock.rate).round(),
        bare: over(|it| it.bare.rate).round(),
        chan: over(|it| it.chan.rate).round(),
        ratio_loop: round(over(|it| it.flock.rate / it.bare.rate)),
        ratio_chan: round(over(|it| it.flock.rate / it.chan.rate)),
        chan_of_loop: round(over(|it| it.chan.rate / it.bare.rate)),
        cpu_us: round(over(|it| it.flock.cpu_us)),
        cpu_us_chan: round(over(|it| it.chan.cpu_us)),
        cpu_us_loop: round(over(|it| it.bare.cpu_us)),
        cpu_ratio_chan: round(over(|it| it.flock.cpu_us / it.chan.cpu_us)),
        us: Latencies::median(rounds.iter().map(|it| it.flock.us)),
        us_chan: Latencies::median(rounds.iter().map(|it| it.chan.us)),
        failed: rounds.iter().map(|it| it.flock.failed).sum(),
    }
}

fn report(all: &All) -> Report {
    let mut report = Report::new(all);
    let times = |ratio: f64| format!("{ratio:.2} ×");
    let per_second = |rate: f64| format!("{}/s", thousands(rate as u64));
    let main = all.calls.get(MAIN.key).cloned().unwrap_or_default();
    let kept = main.chan_of_loop >= STARVED;
    report.promise("chan ÷ loop, 256 in flight", times(main.chan_of_loop), "≥ 0.40 ×", kept);
    // What a starved reference says of flock is nothing to go by, either way.
    let mut judge = |what: &str, found: f64, must: f64, at_least: bool| {
        if all.void {
            report.row(what, times(found));
            return;
        }
        let sign = if at_least { "≥" } else { "≤" };
        // Of nothing there is no ratio, and no promise is kept by that.
        let kept = if at_least { found >= must } else { found <= must && found > 0.0 };
        report.promise(what, times(found), format!("{sign} {must:.2} ×"), kept);
    };
    judge("calls, 256 in flight, ÷ chan", main.ratio_chan, OF_CHAN, true);
    judge("calls, 256 in flight, ÷ loop", main.ratio_loop, OF_LOOP, true);
    judge("CPU of both ends per call, ÷ chan", main.cpu_ratio_chan, CPU, false);
    judge("1 in flight, p50, ÷ a ping-pong", all.rtt.p50_ratio, RTT.0, false);
    judge("1 in flight, p99, ÷ a ping-pong", all.rtt.p99_ratio, RTT.1, false);
    judge("casts, ÷ round trips of the loop", all.casts.ratio_loop, CASTS, true);
    let failed: u64 = all.calls.values().map(|it| it.failed).sum();
    report.promise("calls failed", failed.to_string(), "0", failed == 0);
    report.promise("casts lost", all.casts.lost.to_string(), "0", all.casts.lost == 0);
    for (key, it) in &all.calls {
        let rates = [it.flock, it.chan, it.bare].map(per_second).join(", ");
        report.row(format!("{key} in flight: flock, chan, loop"), rates);
        let cpu = format!("{:.2}, {:.2}, {:.2} µs", it.cpu_us, it.cpu_us_chan, it.cpu_us_loop);
        report.row("… CPU per call", cpu);
        let Latencies { p50, p99, p999 } = it.us;
        report.row("… p50, p99, p99.9", format!("{p50:.1}, {p99:.1}, {p999:.1} µs"));
        report.row("… flock ÷ chan, ÷ loop", [it.ratio_chan, it.ratio_loop].map(times).join(", "));
    }
    let Latencies { p50, p99, p999 } = all.rtt.us_loop;
    report.row("ping-pong p50, p99, p99.9", format!("{p50:.1}, {p99:.1}, {p999:.1} µs"));
    report.row("casts", per_second(all.casts.flock));
    report.row("… CPU per cast", format!("{:.2} µs", all.casts.cpu_us));
    let rss = format!("{:.0}, {:.0} MB", all.rss.nest_mb, all.rss.caller_mb);
    report.row("most memory: the nest, the caller", rss);
    report.row("others' part of the machine", format!("{:.0} %", all.others * 100.0));
    if all.void {
        report.note("VOID: the reference was starved, so no ratio is judged. Run it anew.");
    }
    report.note(format!("Medians of {} rounds, 64 bytes unless said otherwise.", all.rounds));
    report
}

#[cfg(test)]
mod tests {
    use super::*;

    fn good() -> All {
        let main = Figures {
            ratio_chan: 0.61,
            ratio_loop: 0.36,
            chan_of_loop: 0.55,
            cpu_ratio_chan: 2.9,
            ..Figures::default()
        };
        All {
            calls: [(MAIN.key, main)].into(),
            rtt: Rtt { p50_ratio: 1.3, p99_ratio: 1.5, ..Rtt::default() },
            casts: Casts { ratio_loop: 0.95, ..Casts::default() },
            ..All::default()
        }
    }

    fn with(change: impl FnOnce(&mut All)) -> All {
        let mut all = good();
        change(&mut all);
        all
    }

    fn main_of(all: &mut All) -> &mut Figures {
        all.calls.get_mut(MAIN.key).expect("it is there")
    }

    #[test]
    fn each_figure_that_is_missed_breaks_a_promise() {
        assert!(report(&good()).is_as_promised());
        let bad: [fn(&mut All); 8] = [
            |all| main_of(all).ratio_chan = 0.59,
            |all| main_of(all).ratio_loop = 0.34,
            |all| main_of(all).cpu_ratio_chan = 3.1,
            |all| main_of(all).failed = 1,
            |all| all.rtt.p50_ratio = 1.36,
            |all| all.rtt.p99_ratio = 1.61,
            |all| all.casts.ratio_loop = f64::NAN,
            |all| all.casts.lost = 1,
        ];
        for bad in bad {
            assert!(!report(&with(bad)).is_as_promised());
        }
    }

    #[test]
    fn a_starved_reference_makes_a_run_void() {
        let rounds = |chan: f64| {
            let of = |rate: f64| Measured { rate, cpu_us: 1.0, ..Measured::default() };
            vec![Round { flock: of(50.0), bare: of(100.0), chan: of(chan) }]
        };
        let void = |chan| {
            let found = [rounds(chan), rounds(chan)];
            summed(1, SCENES, &found, &[Measured::default()]).expect("all scenes are there").void
        };
        assert!(!void(41.0));
        assert!(void(39.0));
        assert!(void(0.0));
    }

    #[test]
    fn ratios_are_those_of_each_round_and_not_of_the_medians() {
        let round = |flock: f64, bare: f64| {
            let of = |rate: f64| Measured { rate, ..Measured::default() };
            Round { flock: of(flock), bare: of(bare), chan: of(bare) }
        };
        // The machine was three times as fast in one of the rounds, for both.
        let found = figures(&[round(8.0, 20.0), round(30.0, 60.0), round(12.0, 20.0)]);
        assert_eq!((found.flock, found.bare, found.ratio_loop), (12.0, 20.0, 0.5));
    }
}
