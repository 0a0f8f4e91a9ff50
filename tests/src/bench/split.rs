//! A flock cut in two, in network namespaces: each side runs all birds, and counters are raised on both.
//! After the heal each bird has one life, and its count is the sum.

use std::collections::BTreeMap;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use serde::Serialize;

use super::{AS_NEST, Bench, Options, Progress, Report, thousands};
use crate::nest::Nest;
use crate::nests::{Census, Nests, amiss, census};
use crate::network::{self, Network};
use crate::protocol::{Command, NestSeen, Raised};

pub(super) const BENCH: Bench = Bench {
    name: "split",
    what: "a flock cut in two and healed (needs root): each side runs all birds, and no count is lost",
    options: &[("--nests", "4"), ("--birds", "1000"), ("--raises", "3")],
    run,
};

/// A silent side is given up after some six seconds, and its birds hatch within one more.
const PATIENCE: Duration = Duration::from_secs(60);

/// What is promised of the heal: one view, one register, one life each.
const HEALED: Duration = Duration::from_secs(12);

/// Between two looks at all.
const PAUSE: Duration = Duration::from_millis(50);

#[derive(Clone, Debug, Default, Serialize)]
struct Figures {
    nests: u8,
    birds: usize,
    before: usize,
    side_a: usize,
    side_b: usize,
    after: usize,
    doubled: usize,
    /// Calls that were acknowledged: before the cut, and on either side of it.
    raised: u64,
    /// Calls that failed: each may have been counted.
    unknown: u64,
    /// The sum of all counts after the heal.
    merged: u64,
    /// Birds whose count isn't the sum of what was acknowledged, because it is less.
    lost: usize,
    /// The same, because it is more.
    counted_twice: usize,
    /// From the cut until each side ran all birds.
    split_ms: u64,
    /// From the heal until each bird had one life, where all nests say.
    healed_ms: u64,
}

fn run(options: &Options, progress: &Progress) -> anyhow::Result<Report> {
    let (count, birds): (u8, usize) = (options.get("--nests")?, options.get("--birds")?);
    let raises: usize = options.get("--raises")?;
    ensure!((2..=200).contains(&count), "2 to 200 nests can be cut in two");
    let program = std::env::current_exe().context("which program is this?")?;
    let program = program.to_str().context("the program's path isn't UTF-8")?;
    if let Err(why) = network::possible() {
        bail!("no networks can be made here, which takes root, `ip` and `iptables`: {why}");
    }
    let network = Network::build(&[program, AS_NEST], count).map_err(anyhow::Error::msg)?;
    let mut split = Split::start(&network, count, birds)?;
    progress.now("before the cut");
    split.raise_all(raises)?;
    split.figures.before = split.figures.birds - split.missing(split.nests.all());
    progress.now("the network is cut");
    split.cut(&network)?;
    progress.now("counting on both sides");
    split.raise_all(raises)?;
    progress.now("the network heals");
    split.heal(&network)?;
    let figures = split.examine()?;
    Ok(report(&figures))
}

fn report(figures: &Figures) -> Report {
    let mut report = Report::new(figures);
    report.row("nests, in two halves", figures.nests.to_string());
    let all = figures.birds;
    for (what, found) in [
        ("birds that live before the cut", figures.before),
        ("… during it, on one side", figures.side_a),
        ("… on the other", figures.side_b),
        ("… after the heal", figures.after),
    ] {
        report.promise(what, thousands(found as u64), thousands(all as u64), found == all);
    }
    for (what, found) in [
        ("birds with two lives after it", figures.doubled),
        ("birds that have forgotten a call", figures.lost),
        ("birds that have counted one twice", figures.counted_twice),
    ] {
        report.promise(what, thousands(found as u64), "0", found == 0);
    }
    let same = figures.merged == figures.raised;
    let raised = thousands(figures.raised);
    report.promise(
        "calls acknowledged, by the birds' counts",
        thousands(figures.merged),
        raised,
        same,
    );
    report.row("until each side ran all birds", format!("{} ms", figures.split_ms));
    let kept = u128::from(figures.healed_ms) <= HEALED.as_millis();
    let must = format!("≤ {} ms", HEALED.as_millis());
    report.promise(
        "until each had one life again",
        format!("{} ms", figures.healed_ms),
        must,
        kept,
    );
    report
}

struct Split {
    nests: Nests,
    names: Vec<String>,
    /// By bird: calls that were acknowledged, and calls that failed.
    calls: BTreeMap<String, (u64, u64)>,
    figures: Figures,
}

impl Split {
    fn start(network: &Network, count: u8, birds: usize) -> anyhow::Result<Self> {
        let mut nests = Nests::none(AS_NEST);
        for host in 0..count {
            nests.add(network.nest(host, host == 0));
        }
        nests.agree();
        let names: Vec<String> = (1..=birds).map(|n| format!("tally-{n:05}")).collect();
        nests.start_tallies("nest-0", &names, 64);
        let figures = Figures { nests: count, birds, ..Figures::default() };
        Ok(Self { nests, names, calls: BTreeMap::new(), figures })
    }

    /// The nests of one side.
    fn side(&self, second: bool) -> Vec<&Nest> {
        let half = usize::from(self.figures.nests / 2);
        let is_second = |nest: &Nest| {
            let number = nest.name().strip_prefix("nest-").and_then(|it| it.parse::<usize>().ok());
            number.is_some_and(|number| number >= half)
        };
        self.nests.all().filter(|nest| is_second(nest) == second).collect()
    }

    /// Has one nest of each side have each bird count, so often.
    fn raise_all(&mut self, times: usize) -> anyhow::Result<()> {
        for _ in 0..times {
            for second in [false, true] {
                let caller = self.side(second).into_iter().next().context("a nest on each side")?;
                let (names, patience) = (self.names.clone(), PATIENCE);
                let raise = Command::Raise { names, deadline: PATIENCE, patience };
                for Raised { name, told, open } in caller.ask::<Vec<Raised>>(raise) {
                    told.map_err(anyhow::Error::msg).with_context(|| name.clone())?;
                    let calls = self.calls.entry(name).or_default();
                    *calls = (calls.0 + 1, calls.1 + open);
                    self.figures.raised += 1;
                    self.figures.unknown += open;
                }
            }
        }
        Ok(())
    }

    /// How many birds don't live on these nests, once each.
    fn missing<'a>(&self, nests: impl IntoIterator<Item = &'a Nest>) -> usize {
        let census = census(nests);
        let is_there = |name: &&String| census.get(*name).is_some_and(|homes| homes.len() == 1);
        self.names.len() - self.names.iter().filter(is_there).count()
    }

    fn cut(&mut self, network: &Network) -> anyhow::Result<()> {
        let half = self.figures.nests / 2;
        let begun = Instant::now();
        for one in 0..half {
            for other in half..self.figures.nests {
                network.cut(one, other);
            }
        }
        let all_there = || {
            [false, true].iter().all(|&second| {
                let side = self.side(second);
                let seen = |nest: &&Nest| nest.ask::<Vec<NestSeen>>(Command::Nests).len();
                side.iter().all(|nest| seen(nest) == side.len())
                    && amiss(&census(side), &self.names).is_ok()
            })
        };
        wait_until(all_there)?;
        self.figures.split_ms = ms(begun);
        let living = |second| self.names.len() - self.missing(self.side(second));
        (self.figures.side_a, self.figures.side_b) = (living(false), living(true));
        Ok(())
    }

    fn heal(&mut self, network: &Network) -> anyhow::Result<()> {
        let begun = Instant::now();
        network.heal();
        let all = usize::from(self.figures.nests);
        let healed = || {
            let seen = |nest: &Nest| nest.ask::<Vec<NestSeen>>(Command::Nests).len();
            self.nests.all().all(|nest| seen(nest) == all) && self.nests.homes(&self.names).is_ok()
        };
        // What doesn't come to rest is counted afterwards.
        let _ = wait_until(healed);
        self.figures.healed_ms = ms(begun);
        let census: Census = self.nests.census();
        self.figures.after = self.names.iter().filter(|name| census.contains_key(*name)).count();
        self.figures.doubled = census.values().filter(|homes| homes.len() > 1).count();
        Ok(())
    }

    /// Has each bird count once more, and say how much that makes.
    fn examine(mut self) -> anyhow::Result<Figures> {
        let first = self.nests.all().next().context("no nest")?;
        let (names, patience) = (self.names.clone(), PATIENCE);
        let raise = Command::Raise { names, deadline: PATIENCE, patience };
        for Raised { name, told, open } in first.ask::<Vec<Raised>>(raise) {
            let told = told.map_err(anyhow::Error::msg).with_context(|| name.clone())?;
            // Without this very call.
            let count = told.count.saturating_sub(1);
            let (acknowledged, failed) = self.calls.get(&name).copied().unwrap_or_default();
            self.figures.merged += count;
            self.figures.unknown += open;
            self.figures.lost += usize::from(count < acknowledged);
            self.figures.counted_twice += usize::from(count > acknowledged + failed + open);
        }
        Ok(self.figures)
    }
}

fn wait_until(mut done: impl FnMut() -> bool) -> anyhow::Result<()> {
    let begun = Instant::now();
    while !done() {
        ensure!(begun.elapsed() < PATIENCE, "not even after {PATIENCE:?}");
        thread::sleep(PAUSE);
    }
    Ok(())
}

fn ms(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bird_that_is_missing_doubled_or_miscounts_breaks_a_promise() {
        let good = Figures {
            nests: 4,
            birds: 10,
            before: 10,
            side_a: 10,
            side_b: 10,
            after: 10,
            raised: 90,
            merged: 90,
            healed_ms: 3000,
            ..Figures::default()
        };
        assert!(report(&good).is_as_promised());
        for bad in [
            Figures { side_b: 9, ..good.clone() },
            Figures { after: 9, ..good.clone() },
            Figures { doubled: 1, ..good.clone() },
            Figures { merged: 89, lost: 1, ..good.clone() },
            Figures { merged: 91, counted_twice: 1, ..good.clone() },
            // One lost and one counted twice: the sums are equal.
            Figures { lost: 1, counted_twice: 1, ..good.clone() },
            Figures { healed_ms: 12_001, ..good.clone() },
        ] {
            assert!(!report(&bad).is_as_promised(), "{bad:?}");
        }
    }
}
