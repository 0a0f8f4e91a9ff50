//! Three real nests that serve an honest client while strangers, and peers that send nothing but bad
//! frames, do to them what they can: once without a key and once with one.
//!
//! - `peer`: speaks with a nest, byte by byte.
//! - `corpus`: bad frames.
//! - `relay`: overhears what honest nests say.
//! - `deeds`: the attackers.
//!
//! What a flock without a key can't defend is left out: whoever reaches its port can say what a nest may
//! say. There, and from peers that have the key, all that counts is that malformed input does nothing.

mod corpus;
mod deeds;
mod peer;
mod relay;

use std::collections::BTreeMap;
use std::fs;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use flock_actix::ClusterKey;
use serde::Serialize;

use self::deeds::Field;
use self::peer::Key;
use self::relay::Relay;
use super::{AS_NEST, Bench, Options, Progress, Report, thousands};
use crate::nest::Nest;
use crate::nests::Nests;
use crate::protocol::{Command, Health, NestSeen, Orders, Paced, Raised};

pub(super) const BENCH: Bench = Bench {
    name: "attack",
    what: "three real nests under fire: bad frames, floods, replays; once without a key, once with one",
    options: &[
        ("--seconds", "60"),
        ("--rate", "48000"),
        ("--half-open", "10000"),
        ("--birds", "60"),
    ],
    run,
};

/// How long honest calls are measured undisturbed, and under attack, in turns: whatever else the machine
/// does falls on both.
const CALM: Duration = Duration::from_secs(2);
/// Until what an attack left under way has arrived, and its connections are gone.
const REST: Duration = Duration::from_millis(1500);
const TURNS: u32 = 3;

/// What is promised for a run of a minute: so many bad frames, in proportion for others.
const BAD: u64 = 2_000_000;

/// What is promised of a nest's memory and of the honest client's calls.
const RSS_RATIO: f64 = 1.05;
const P99_RATIO: f64 = 2.0;

/// What buffers and the allocator may keep of the first attack.
const GROWN_KIB: u64 = 4096;

/// The nest whose client's calls are measured.
const HONEST: &str = "nest-0";

/// How long a nest may take to be as it was.
const SETTLED: Duration = Duration::from_secs(15);

/// Of the calls that examine what birds have counted.
const PATIENCE: Duration = Duration::from_secs(10);

#[derive(Clone, Debug, Default, Serialize)]
struct Half {
    /// Bad frames that were sent, most of them many to a connection.
    bad: u64,
    connections: u64,
    half_open: u64,
    /// Handshakes and records of honest nests that were said again.
    replays: u64,
    /// What the nests say that they refused, skipped or sent away.
    noticed: u64,
    /// Warnings that they told.
    warnings: u64,
    /// Processes that ended, and panics in those that didn't.
    crashes: u64,
    /// Where members, register or counters are not what the honest client made them, and how often
    /// somebody was welcome who hasn't got the key.
    accepted: u64,
    hung_calls: u64,
    failed_calls: u64,
    calls: u64,
    p99_us: u32,
    p99_under_attack_us: u32,
    p99_ratio: f64,
    /// The same of each turn alone: how much of the ratio is the machine's own unrest.
    calm_p99s_us: Vec<u32>,
    fire_p99s_us: Vec<u32>,
    /// Of the nest that has grown most: after the attack, by what it was after the first turn of it.
    rss_ratio: f64,
    /// The same, over what it was before anybody attacked it.
    grown_kib: u64,
    fds_leaked: u64,
}

#[derive(Clone, Debug, Default, Serialize)]
struct Figures {
    /// In all; of ratios the larger.
    #[serde(flatten)]
    all: Half,
    seconds: u64,
    unkeyed: Half,
    keyed: Half,
}

fn run(options: &Options, progress: &Progress) -> anyhow::Result<Report> {
    let seconds: u64 = options.get("--seconds")?;
    ensure!(seconds >= 20, "less than 20 seconds show nothing");
    progress.now("without a key");
    let unkeyed = half(options, false, progress)?;
    progress.now("with a key");
    let keyed = half(options, true, progress)?;
    let all = unkeyed.and(&keyed);
    Ok(report(&Figures { all, seconds, unkeyed, keyed }))
}

impl Half {
    fn and(&self, other: &Self) -> Self {
        Self {
            bad: self.bad + other.bad,
            connections: self.connections + other.connections,
            half_open: self.half_open + other.half_open,
            replays: self.replays + other.replays,
            noticed: self.noticed + other.noticed,
            warnings: self.warnings + other.warnings,
            crashes: self.crashes + other.crashes,
            accepted: self.accepted + other.accepted,
            hung_calls: self.hung_calls + other.hung_calls,
            failed_calls: self.failed_calls + other.failed_calls,
            calls: self.calls + other.calls,
            p99_us: self.p99_us.max(other.p99_us),
            p99_under_attack_us: self.p99_under_attack_us.max(other.p99_under_attack_us),
            p99_ratio: self.p99_ratio.max(other.p99_ratio),
            calm_p99s_us: [&self.calm_p99s_us[..], &other.calm_p99s_us].concat(),
            fire_p99s_us: [&self.fire_p99s_us[..], &other.fire_p99s_us].concat(),
            rss_ratio: self.rss_ratio.max(other.rss_ratio),
            grown_kib: self.grown_kib.max(other.grown_kib),
            fds_leaked: self.fds_leaked + other.fds_leaked,
        }
    }
}

fn report(figures: &Figures) -> Report {
    let mut report = Report::new(figures);
    let least = BAD * figures.seconds / 60;
    let bad = figures.all.bad;
    let must = format!("≥ {}", thousands(least));
    report.promise("bad frames sent", thousands(bad), must, bad >= least);
    for (name, half) in [("without a key", &figures.unkeyed), ("with a key", &figures.keyed)] {
        report.row(name, "");
        report.row("  bad frames", thousands(half.bad));
        let counted = half.noticed >= half.bad / 2;
        report.promise("  … noticed", thousands(half.noticed), "≥ half of them", counted);
        report.row("  connections", thousands(half.connections + half.half_open));
        report.row("  … that said nothing", thousands(half.half_open));
        report.row("  replays", thousands(half.replays));
        report.row("  warnings told", thousands(half.warnings));
        for (what, found) in [
            ("  crashes", half.crashes),
            ("  accepted", half.accepted),
            ("  hung calls", half.hung_calls),
            ("  file handles leaked", half.fds_leaked),
        ] {
            report.promise(what, thousands(found), "0", found == 0);
        }
        report.row("  honest calls", thousands(half.calls));
        report.row("  … that failed", thousands(half.failed_calls));
        report.row("  … p99 undisturbed", format!("{} µs", half.p99_us));
        report.row("  … p99 under attack", format!("{} µs", half.p99_under_attack_us));
        for (what, ratio, most) in [
            ("  … the ratio", half.p99_ratio, P99_RATIO),
            ("  memory, after ÷ before", half.rss_ratio, RSS_RATIO),
        ] {
            report.promise(what, format!("{ratio:.2}"), format!("≤ {most}"), ratio <= most);
        }
        let (grown, most) = (format!("{} KiB", thousands(half.grown_kib)), thousands(GROWN_KIB));
        report.promise(
            "  … more than before the first attack",
            grown,
            format!("≤ {most} KiB"),
            half.grown_kib <= GROWN_KIB,
        );
    }
    report
}

/// What a process holds.
#[derive(Clone, Copy, Debug)]
struct Held {
    rss_kib: u64,
    fds: u64,
}

fn held(nest: &Nest) -> anyhow::Result<Held> {
    let of = format!("/proc/{}", nest.pid());
    let status = fs::read_to_string(format!("{of}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let rss = line.and_then(|line| line.split_whitespace().next()).context("no VmRSS")?;
    Ok(Held { rss_kib: rss.parse()?, fds: fs::read_dir(format!("{of}/fd"))?.count() as u64 })
}

fn half(options: &Options, keyed: bool, progress: &Progress) -> anyhow::Result<Half> {
    let (seconds, birds): (u64, usize) = (options.get("--seconds")?, options.get("--birds")?);
    let key = ClusterKey::generate()?.reveal();
    let mut flock = Flock::start(keyed.then_some(&key), birds)?;
    let field = Field {
        nests: flock.nests.all().map(|nest| nest.listens_at().to_owned()).collect(),
        key: keyed.then(|| bytes(&key)).transpose()?,
        bird: flock.names.first().cloned().context("no bird")?,
        relay: flock.relay.take().context("no relay")?,
        rate: options.get("--rate")?,
        half_open: options.get("--half-open")?,
        active: false.into(),
        over: false.into(),
        tally: deeds::Tally::default(),
    };
    // What a nest takes once and for all, it has taken then; and each has a link to each for its calls.
    for nest in ["nest-2", "nest-1", "nest-0"] {
        flock.pace(nest, CALM)?;
    }
    let fresh: Vec<_> = flock.nests.all().map(held).collect::<Result<_, _>>()?;
    let turn = Duration::from_secs(seconds / 2) / TURNS;
    let fire = turn.saturating_sub(CALM).saturating_sub(REST);
    let mut half = Half::default();
    let (mut calm, mut disturbed, mut before) = (Vec::new(), Vec::new(), Vec::new());
    let measured = thread::scope(|all| {
        all.spawn(|| field.attack());
        let mut measured = || {
            calm.extend(flock.pace(HONEST, CALM)?);
            half.calm_p99s_us.push(p99(&mut calm.clone()));
            for n in 1..=TURNS {
                progress.now(format_args!("under attack, turn {n}"));
                field.active.store(true, Ordering::Relaxed);
                let mut took = flock.pace(HONEST, fire)?;
                half.fire_p99s_us.push(p99(&mut took));
                disturbed.extend(took);
                field.active.store(false, Ordering::Relaxed);
                thread::sleep(REST);
                progress.now(format_args!("undisturbed, turn {n}"));
                let mut took = flock.pace(HONEST, CALM)?;
                half.calm_p99s_us.push(p99(&mut took));
                calm.extend(took);
                if n == 1 {
                    // Buffers and the allocator keep what they needed once, and pages of the program are
                    // loaded when they are used: whoever is attacked for the first time grows by that,
                    // and then no more.
                    before = flock.nests.all().map(held).collect::<anyhow::Result<Vec<_>>>()?;
                }
            }
            anyhow::Ok(())
        };
        let measured = measured();
        field.over.store(true, Ordering::Relaxed);
        measured
    });
    progress.now("looking for traces");
    half = Half {
        bad: field.tally.bad.load(Ordering::Relaxed),
        connections: field.tally.connections.load(Ordering::Relaxed),
        half_open: field.tally.half_open.load(Ordering::Relaxed),
        replays: field.tally.replays.load(Ordering::Relaxed),
        accepted: field.tally.let_in.load(Ordering::Relaxed),
        p99_us: p99(&mut calm),
        p99_under_attack_us: p99(&mut disturbed),
        ..half
    };
    half.p99_ratio = f64::from(half.p99_under_attack_us) / f64::from(half.p99_us.max(1));
    let gone: Vec<&str> = flock.nests.all().filter(|n| n.is_gone()).map(Nest::name).collect();
    if !gone.is_empty() {
        // Nothing else can be said of a flock that was brought down.
        eprintln!("gone: {}", gone.join(", "));
        half.crashes = gone.len() as u64;
        return Ok(half);
    }
    measured?;
    flock.settle(&fresh, &before, &mut half)?;
    flock.examine(&mut half)?;
    Ok(half)
}

fn bytes(key: &str) -> anyhow::Result<Key> {
    let mut bytes = Key::default();
    for (at, byte) in bytes.iter_mut().enumerate() {
        let digits = key.get(2 * at..2 * at + 2).context("64 digits")?;
        *byte = u8::from_str_radix(digits, 16)?;
    }
    Ok(bytes)
}

fn p99(took_us: &mut [u32]) -> u32 {
    took_us.sort_unstable();
    took_us.get(took_us.len() * 99 / 100).copied().unwrap_or_default()
}

struct Flock {
    nests: Nests,
    names: Vec<String>,
    relay: Option<Relay>,
    /// What the honest client knows: calls that were answered, and calls that failed, by bird.
    account: BTreeMap<String, (u64, u64)>,
    hung: u64,
}

impl Flock {
    /// Three nests, of which the last is reached by a relay that keeps what it hears.
    fn start(key: Option<&String>, birds: usize) -> anyhow::Result<Self> {
        let program = std::env::current_exe().context("which program is this?")?;
        let program = program.to_str().context("the program's path isn't UTF-8")?;
        let relay = Relay::new()?;
        let mut nests = Nests::none(AS_NEST);
        for n in 0..3 {
            let seeds = nests.all().map(|nest| nest.address().into()).collect();
            let mut orders = Orders::on_loopback(format!("nest-{n}"), seeds);
            orders.key = key.cloned();
            if n == 2 {
                orders.advertise = Some(relay.address().into());
            }
            let nest = Nest::start(&[program, AS_NEST], &orders);
            if n == 2 {
                relay.lead_to(nest.listens_at());
            }
            nests.add(nest);
        }
        nests.agree();
        let names: Vec<String> = (1..=birds).map(|n| format!("tally-{n:05}")).collect();
        nests.start_tallies("nest-0", &names, 64);
        let account = names.iter().map(|name| (name.clone(), (0, 0))).collect();
        Ok(Self { nests, names, relay: Some(relay), account, hung: 0 })
    }

    /// Has an honest client at this nest call for so long. What each answered call took.
    fn pace(&mut self, nest: &str, span: Duration) -> anyhow::Result<Vec<u32>> {
        let names = self.names.clone();
        let nest = self.nests.nest(nest);
        ensure!(!nest.is_gone(), "{} is gone", nest.name());
        let paced: Paced = nest.begin(Command::Pace { names, span }).try_wait()?;
        for (name, count) in paced.answered {
            self.account.entry(name).or_default().0 += count;
        }
        for (name, count) in paced.failed {
            self.account.entry(name).or_default().1 += count;
        }
        if let Some(why) = paced.first_failure {
            eprintln!("an honest call failed: {why}");
        }
        self.hung += paced.hung;
        Ok(paced.took_us)
    }

    /// Waits until the nests hold no more than before, or for as long as they may take.
    fn settle(&self, fresh: &[Held], before: &[Held], half: &mut Half) -> anyhow::Result<()> {
        let begun = Instant::now();
        loop {
            (half.rss_ratio, half.grown_kib, half.fds_leaked) = (0.0, 0, 0);
            for ((nest, fresh), before) in self.nests.all().zip(fresh).zip(before) {
                let now = held(nest)?;
                half.grown_kib = half.grown_kib.max(now.rss_kib.saturating_sub(fresh.rss_kib));
                half.rss_ratio = half.rss_ratio.max(now.rss_kib as f64 / before.rss_kib as f64);
                half.fds_leaked += now.fds.saturating_sub(fresh.fds);
            }
            if half.fds_leaked == 0 && half.rss_ratio <= RSS_RATIO || begun.elapsed() > SETTLED {
                return Ok(());
            }
            thread::sleep(Duration::from_millis(200));
        }
    }

    /// Compares what the nests hold with what the honest client did.
    fn examine(&mut self, half: &mut Half) -> anyhow::Result<()> {
        let mut odd = Vec::new();
        for nest in self.nests.all() {
            let seen: Vec<NestSeen> = nest.ask(Command::Nests);
            let names: Vec<_> = seen.iter().filter(|n| n.up).map(|n| n.name.as_str()).collect();
            if names != ["nest-0", "nest-1", "nest-2"] {
                odd.push(format!("to {} the nests are {names:?}", nest.name()));
            }
            let birds: BTreeMap<String, String> = nest.ask(Command::Birds);
            if !birds.keys().eq(&self.names) {
                odd.push(format!("{} knows {} birds", nest.name(), birds.len()));
            }
            let health: Health = nest.ask(Command::Health);
            half.crashes += health.panics;
            half.noticed += health.noticed;
            half.warnings += health.warnings;
        }
        let names = self.names.clone();
        let raise = Command::Raise { names, deadline: PATIENCE, patience: PATIENCE };
        for Raised { name, told, open } in self.nests.nest("nest-0").ask::<Vec<Raised>>(raise) {
            let (answered, failed) = self.account.get(&name).copied().unwrap_or_default();
            match told {
                // With this very call.
                Ok(told) if (answered + 1..=answered + failed + open + 1).contains(&told.count) => {
                }
                Ok(told) => odd.push(format!("{name}: {}, not {}", told.count, answered + 1)),
                Err(why) => odd.push(format!("{name}: {why}")),
            }
            half.calls += answered;
            half.failed_calls += failed;
        }
        for what in odd.iter().take(10) {
            eprintln!("{what}");
        }
        half.accepted += odd.len() as u64;
        half.hung_calls = self.hung;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_an_attack_leaves_behind_breaks_a_promise() {
        let half = Half {
            bad: 1_000_000,
            noticed: 900_000,
            p99_ratio: 1.5,
            rss_ratio: 1.01,
            ..Half::default()
        };
        let of = |unkeyed: Half, keyed: Half| {
            report(&Figures { all: unkeyed.and(&keyed), seconds: 60, unkeyed, keyed })
        };
        assert!(of(half.clone(), half.clone()).is_as_promised());
        for bad in [
            Half { bad: 999_999, ..half.clone() },
            Half { noticed: 1000, ..half.clone() },
            Half { crashes: 1, ..half.clone() },
            Half { accepted: 1, ..half.clone() },
            Half { hung_calls: 1, ..half.clone() },
            Half { fds_leaked: 1, ..half.clone() },
            Half { p99_ratio: 2.1, ..half.clone() },
            Half { rss_ratio: 1.06, ..half.clone() },
            Half { grown_kib: 4097, ..half.clone() },
        ] {
            assert!(!of(half.clone(), bad.clone()).is_as_promised(), "{bad:?}");
            assert!(!of(bad.clone(), half.clone()).is_as_promised(), "{bad:?}");
        }
    }
}
