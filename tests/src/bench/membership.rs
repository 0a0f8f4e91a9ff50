//! Many simulated nests of the whole core, on links that stall: how soon all know of a silent nest,
//! all are joined, and all is well after a partition; and what peace costs. Of flocks of more than two
//! hundred only joining and peace are told.

use std::collections::BTreeSet;
use std::num::NonZero;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use flock_proto::sim::World;
use flock_proto::{BirdName, NestName};
use serde::Serialize;

use super::simulate::{for_each, lock};
use super::{Bench, Options, Progress, Report, thousands};

pub(super) const BENCH: Bench = Bench {
    name: "membership",
    what: "simulated nests, 1 % of frames stalled: a silent one, mass join, heal, traffic, speed",
    options: &[("--nests", "100"), ("--names", "500"), ("--seeds", "12"), ("--first", "1")],
    run,
};

/// How often the nests are looked at.
const STEP: Duration = Duration::from_millis(50);

/// In a larger flock the halves would take minutes to tell.
const LARGE: usize = 200;

/// What hasn't come true by then never will.
const PATIENCE: Duration = Duration::from_secs(60);

/// How long the flock is halved.
const HALVED: Duration = Duration::from_secs(60);

/// How long traffic is counted in peace.
const PEACE: Duration = Duration::from_secs(20);

/// How long users work while the simulator's speed is taken, in simulated time, and on how many names.
const WORK: Duration = Duration::from_secs(20);
const WORKED_ON: usize = 1000;

/// What one seed showed. Times in seconds.
#[derive(Clone, Copy, Debug, Default, Serialize)]
struct Seen {
    join_s: f64,
    frames_per_s: f64,
    bytes_per_s: f64,
    false_downs: u64,
    #[serde(flatten)]
    faults: Option<Faults>,
}

/// The same of a nest that falls silent, and of a halving.
#[derive(Clone, Copy, Debug, Default, Serialize)]
struct Faults {
    kill_s: f64,
    heal_s: f64,
    registry_equal_s: f64,
    single_life_s: f64,
}

#[derive(Serialize)]
struct Figures {
    nests: usize,
    seeds: usize,
    #[serde(flatten)]
    seen: Seen,
    #[serde(skip_serializing_if = "Option::is_none")]
    steady_nest_seconds_per_second: Option<u64>,
}

fn run(options: &Options, progress: &Progress) -> anyhow::Result<Report> {
    let (nests, names): (usize, usize) = (options.get("--nests")?, options.get("--names")?);
    let (first, seeds): (u64, u64) = (options.get("--first")?, options.get("--seeds")?);
    anyhow::ensure!(nests >= 4, "--nests {nests}: a flock that can be halved has 4");
    let (all, failed) = (Mutex::new(Vec::new()), Mutex::new(None));
    let done = AtomicUsize::new(0);
    for_each(first..first + seeds, |seed| {
        match tell(seed, nests, names) {
            Ok(seen) => lock(&all).push(seen),
            Err(e) => *lock(&failed) = Some(e.context(format!("seed {seed}"))),
        }
        let done = done.fetch_add(1, Ordering::Relaxed) + 1;
        progress.now(format_args!("{done} of {seeds} flocks of {nests}"));
        lock(&failed).is_none()
    });
    if let Some(e) = lock(&failed).take() {
        return Err(e);
    }
    let all = lock(&all);
    if nests > LARGE {
        return Ok(report(nests, &all, None));
    }
    progress.now(format_args!("users at work on flocks of {nests}"));
    let speeds = Mutex::new(Vec::new());
    let cores = std::thread::available_parallelism().map_or(1, NonZero::get) as u64;
    for_each(first..first + cores, |seed| {
        let speed = speed(seed, nests);
        let good = speed.is_ok();
        lock(&speeds).push(speed);
        good
    });
    let speeds = speeds.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    let speed = speeds.into_iter().sum::<anyhow::Result<f64>>()?;
    Ok(report(nests, &all, Some(speed as u64)))
}

/// Nest-seconds that one core simulates in a second, once all are joined: each second one user on each
/// nest starts, stops or calls a bird. All invariants are looked at.
fn speed(seed: u64, nests: usize) -> anyhow::Result<f64> {
    let mut flock = Flock::new(seed, nests);
    flock.join()?;
    flock.start(0, WORKED_ON)?;
    flock.world.run(Duration::from_secs(10));
    let pause = Duration::from_secs(1) / nests as u32;
    let deeds = (WORK.as_secs_f64() * nests as f64) as u64;
    let begun = Instant::now();
    for deed in 0..deeds {
        let chance = deed.wrapping_add(seed << 32).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 20;
        let host = (deed % nests as u64) as usize;
        let name = BirdName::new(&format!("bird-{}", chance as usize / 4 % WORKED_ON))?;
        match chance % 4 {
            0 => drop(flock.world.start(host, &name)),
            1 => drop(flock.world.stop(host, &name)),
            _ => drop(flock.world.call(host, &name)),
        }
        flock.world.run(pause);
    }
    let took = begun.elapsed().as_secs_f64();
    if let Some(broken) = flock.world.broken() {
        anyhow::bail!("at work: {broken:?}");
    }
    Ok(WORK.as_secs_f64() * nests as f64 / took)
}

fn tell(seed: u64, nests: usize, names: usize) -> anyhow::Result<Seen> {
    let mut flock = Flock::new(seed, nests);
    flock.world.set_stalls(100);
    let join_s = flock.join()?;
    flock.start(0, names)?;
    let (frames_per_s, bytes_per_s) = flock.peace();
    let mut seen = Seen { join_s, frames_per_s, bytes_per_s, ..Seen::default() };
    if nests <= LARGE {
        let kill_s = flock.silence()?;
        let [heal_s, registry_equal_s, single_life_s] = flock.halve(names / 10)?;
        seen.faults = Some(Faults { kill_s, heal_s, registry_equal_s, single_life_s });
    }
    flock.count_false_downs(|_, _| false);
    seen.false_downs = flock.false_downs;
    Ok(seen)
}

struct Flock {
    world: World,
    nests: usize,
    /// Names started so far.
    born: usize,
    /// Deaths told of, of nests that lived and could be heard.
    false_downs: u64,
}

impl Flock {
    fn new(seed: u64, nests: usize) -> Self {
        Self { world: World::new(seed), nests, born: 0, false_downs: 0 }
    }

    /// All start at once. Time until each sees all of them up.
    fn join(&mut self) -> anyhow::Result<f64> {
        for _ in 0..self.nests {
            self.world.add_empty_host(0);
        }
        for host in 0..self.nests {
            // Not in one microsecond.
            self.world.run(Duration::from_micros(100));
            self.world.boot(host);
        }
        self.until("all are joined", |flock| {
            flock.world.up().len() == flock.nests && flock.is_one_view()
        })
    }

    fn start(&mut self, host: usize, names: usize) -> anyhow::Result<()> {
        let names: Vec<BirdName> = (self.born..self.born + names)
            .map(|n| BirdName::new(&format!("bird-{n}")))
            .collect::<Result<_, _>>()?;
        self.born += names.len();
        let asked = self.world.start_many(host, &names);
        let answered = |world: &World| asked.iter().all(|req| world.answers.contains_key(req));
        anyhow::ensure!(self.world.run_until(PATIENCE, answered), "starts have no answers");
        Ok(())
    }

    /// Frames and bytes that one nest sends in a second, when nothing happens.
    fn peace(&mut self) -> (f64, f64) {
        self.world.run(Duration::from_secs(5));
        let before = self.world.frames;
        self.world.run(PEACE);
        let (frames, bytes) = self.world.frames;
        let each = PEACE.as_secs_f64() * self.nests as f64;
        ((frames - before.0) as f64 / each, (bytes - before.1) as f64 / each)
    }

    /// One nest is no longer heard, and its links stay open. Time until all know that it is down.
    fn silence(&mut self) -> anyhow::Result<f64> {
        self.count_false_downs(|_, _| false);
        let last = self.nests - 1;
        let others: Vec<usize> = (0..last).collect();
        self.world.cut(&[last], &others);
        let took = self.until("all know of the silent nest", |flock| {
            flock.world.running().iter().filter(|&&host| host != last).all(|&host| {
                let view = flock.world.nest(host).map(|nest| nest.view());
                view.is_some_and(|view| view.members().len() < flock.nests)
            })
        })?;
        self.world.kill(last);
        self.nests = last;
        self.world.heal();
        self.until("the rest agree", Self::is_one_view)?;
        // It hears nobody either.
        self.count_false_downs(|teller, dead| (teller == last) != (dead == last));
        Ok(took)
    }

    /// Two halves for a while, each with births of its own. Times from the end of the cut until all
    /// have one view, from then until registries are equal, from then until each bird has one life.
    fn halve(&mut self, births: usize) -> anyhow::Result<[f64; 3]> {
        let half = self.nests / 2;
        let (left, right): (Vec<_>, Vec<_>) = (0..self.nests).partition(|host| *host < half);
        self.world.cut(&left, &right);
        self.world.run(HALVED / 2);
        self.start(0, births)?;
        self.start(half, births)?;
        self.world.run(HALVED / 2);
        self.count_false_downs(|teller, dead| (teller < half) != (dead < half));
        self.world.heal();
        Ok([
            self.until("one view after the heal", Self::is_one_view)?,
            self.until("one registry after the heal", Self::is_one_registry)?,
            self.until("one life each after the heal", Self::is_one_life_each)?,
        ])
    }

    fn until(&mut self, what: &str, so: impl Fn(&Self) -> bool) -> anyhow::Result<f64> {
        let begun = self.world.elapsed();
        while !so(self) {
            self.world.run(STEP);
            if let Some(broken) = self.world.broken() {
                anyhow::bail!("{broken:?}");
            }
            anyhow::ensure!(self.world.elapsed() < begun + PATIENCE, "never: {what}");
        }
        Ok((self.world.elapsed() - begun).as_secs_f64())
    }

    fn is_one_view(&self) -> bool {
        let nests = self.world.running().into_iter().filter_map(|host| self.world.nest(host));
        let views: Vec<_> = nests.map(|nest| nest.view()).collect();
        views.iter().all(|view| view.members().len() == self.nests)
            && views.iter().map(|view| view.fingerprint()).collect::<BTreeSet<_>>().len() == 1
    }

    fn is_one_registry(&self) -> bool {
        let nests = self.world.running().into_iter().filter_map(|host| self.world.nest(host));
        nests.map(|nest| nest.registry_digest()).collect::<BTreeSet<_>>().len() == 1
    }

    fn is_one_life_each(&self) -> bool {
        let names = self.world.nest(0).map_or(0, |nest| nest.count());
        let perches = self.world.perches();
        perches.len() == names && perches.values().all(|hosts| hosts.len() == 1)
    }

    /// Counts the deaths told of since it was last done: those for which there was no cause, given who
    /// told of whom.
    fn count_false_downs(&mut self, cause: impl Fn(usize, usize) -> bool) {
        let host_of = |name: &NestName| name.as_str().rsplit('-').next()?.parse().ok();
        let told = std::mem::take(&mut self.world.downs);
        let is_false = |(teller, dead): &&(usize, NestName)| {
            host_of(dead).is_none_or(|dead| !cause(*teller, dead))
        };
        self.false_downs += told.iter().filter(is_false).count() as u64;
    }
}

/// The middle of all seeds, and the worst.
fn over(all: &[Seen], what: impl Fn(&Seen) -> f64) -> (f64, f64) {
    let mut all: Vec<f64> = all.iter().map(what).collect();
    all.sort_by(f64::total_cmp);
    let middle = all.get(all.len() / 2).copied().unwrap_or_default();
    (middle, all.last().copied().unwrap_or_default())
}

fn report(nests: usize, all: &[Seen], speed: Option<u64>) -> Report {
    let of = |what: fn(&Faults) -> f64| over(all, |seen| seen.faults.as_ref().map_or(0.0, what));
    let (kill, heal) = (of(|f| f.kill_s), of(|f| f.heal_s));
    let (equal, single) = (of(|f| f.registry_equal_s), of(|f| f.single_life_s));
    let join = over(all, |seen| seen.join_s);
    let frames = over(all, |seen| seen.frames_per_s);
    let bytes = over(all, |seen| seen.bytes_per_s);
    let false_downs = all.iter().map(|seen| seen.false_downs).sum();
    let faults = Faults {
        kill_s: kill.0,
        heal_s: heal.0,
        registry_equal_s: equal.0,
        single_life_s: single.0,
    };
    let mut report = Report::new(&Figures {
        nests,
        seeds: all.len(),
        seen: Seen {
            join_s: join.0,
            frames_per_s: frames.0,
            bytes_per_s: bytes.0,
            false_downs,
            faults: (nests <= LARGE).then_some(faults),
        },
        steady_nest_seconds_per_second: speed,
    });
    let mut rows = vec![
        ("all that started at once are joined", join, "s", 6.0),
        ("frames a second, each nest", frames, "", 10.0),
        ("bytes a second, each nest", bytes, "", 1000.0),
    ];
    if nests <= LARGE {
        rows.extend([
            ("a silent nest is known to all", kill, "s", 7.0),
            ("after a heal: one view", heal, "s", 8.0),
            ("then: equal registries", equal, "s", 2.0),
            ("then: one life each", single, "s", 2.0),
        ]);
    }
    report.row("flocks told of, and nests of each", format!("{}, {nests}", all.len()));
    for (what, (middle, worst), unit, most) in rows {
        let found = format!("{middle:.1} {unit} (worst {worst:.1})");
        report.promise(what, found, format!("≤ {most} {unit}"), middle <= most);
    }
    let none = false_downs == 0;
    report.promise("nests held for dead that weren't", false_downs.to_string(), "0", none);
    if let Some(speed) = speed {
        let what = "nest-seconds simulated in a second, users at work";
        report.promise(what, thousands(speed), "≥ 10,000", speed >= 10_000);
    }
    report
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_nest_that_is_held_for_dead_counts_unless_it_was_cut_off() -> anyhow::Result<()> {
        let told = |cause: fn(usize, usize) -> bool| {
            let mut flock = Flock::new(1, 5);
            flock.join()?;
            flock.world.cut(&[4], &[0, 1, 2, 3]);
            flock.world.run(Duration::from_secs(10));
            flock.count_false_downs(cause);
            anyhow::Ok(flock.false_downs)
        };
        assert_eq!(told(|teller, dead| (teller == 4) != (dead == 4))?, 0);
        assert_eq!(told(|_, _| false)?, 8);
        Ok(())
    }
}
