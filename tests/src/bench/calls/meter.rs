//! Rates, latencies, CPU time and memory: of what runs between two looks.

use std::cell::{Cell, RefCell};
use std::fs;
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use serde::Serialize;

/// One of so many latencies is kept where there are many.
pub(crate) const SAMPLE: u64 = 16;

/// What those who are measured have done so far. All on one thread.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    done: Cell<u64>,
    failed: Cell<u64>,
    nanos: RefCell<Vec<u32>>,
    over: Cell<bool>,
}

impl Tally {
    pub(crate) fn add(&self, done: u64) {
        self.done.set(self.done.get() + done);
    }

    pub(crate) fn fail(&self, failed: u64) {
        self.failed.set(self.failed.get() + failed);
    }

    pub(crate) fn took(&self, since: Instant) {
        let nanos = u32::try_from(since.elapsed().as_nanos()).unwrap_or(u32::MAX);
        self.nanos.borrow_mut().push(nanos);
    }

    /// Those who are measured shall come to an end.
    pub(crate) fn is_over(&self) -> bool {
        self.over.get()
    }
}

/// How long, and at whose expense, something is measured.
#[derive(Clone, Debug)]
pub(crate) struct Meter {
    warm: Duration,
    span: Duration,
    /// The process at the other end.
    other: u32,
}

impl Meter {
    pub(crate) const fn new(warm: Duration, span: Duration, other: u32) -> Self {
        Self { warm, span, other }
    }

    /// Lets what runs beside this run on for a while, and tells it to end.
    pub(crate) async fn measure(&self, tally: &Rc<Tally>) -> anyhow::Result<Measured> {
        tokio::time::sleep(self.warm).await;
        tally.nanos.borrow_mut().clear();
        let (done, cpu, begun) = (tally.done.get(), self.cpu()?, Instant::now());
        tokio::time::sleep(self.span).await;
        let (took, cpu) = (begun.elapsed(), self.cpu()?.saturating_sub(cpu));
        let done = tally.done.get() - done;
        tally.over.set(true);
        Ok(Measured {
            rate: done as f64 / took.as_secs_f64(),
            cpu_us: cpu.as_secs_f64() * 1e6 / done as f64,
            us: Latencies::of(&mut tally.nanos.borrow_mut()),
            failed: tally.failed.get(),
        })
    }

    /// What both ends have used so far.
    fn cpu(&self) -> anyhow::Result<Duration> {
        Ok(cpu_of(std::process::id())? + cpu_of(self.other)?)
    }
}

/// What came of it.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Measured {
    /// Per second.
    pub(crate) rate: f64,
    /// Of both processes, for one of what was done.
    pub(crate) cpu_us: f64,
    pub(crate) us: Latencies,
    /// In all, before and after the span, too.
    pub(crate) failed: u64,
}

/// In microseconds. Exact: nothing is put into classes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub(crate) struct Latencies {
    pub(crate) p50: f64,
    pub(crate) p99: f64,
    pub(crate) p999: f64,
}

impl Latencies {
    fn of(nanos: &mut [u32]) -> Self {
        nanos.sort_unstable();
        let at = |part: f64| {
            let last = nanos.len().saturating_sub(1);
            let nanos = nanos.get((last as f64 * part).round() as usize).copied();
            round(f64::from(nanos.unwrap_or_default()) / 1000.0)
        };
        Self { p50: at(0.5), p99: at(0.99), p999: at(0.999) }
    }

    /// The median of each.
    pub(crate) fn median(rounds: impl Iterator<Item = Self> + Clone) -> Self {
        Self {
            p50: median(rounds.clone().map(|it| it.p50)),
            p99: median(rounds.clone().map(|it| it.p99)),
            p999: median(rounds.map(|it| it.p999)),
        }
    }
}

/// The machine at one moment.
#[derive(Debug)]
pub(crate) struct Machine {
    busy: Duration,
    at: Instant,
}

impl Machine {
    pub(crate) fn now() -> anyhow::Result<Self> {
        Ok(Self { busy: busy()?, at: Instant::now() })
    }

    /// The part of the machine's time since then that others used than these processes, which were
    /// begun since, or did nothing before that counts.
    pub(crate) fn others(&self, own: &[u32]) -> anyhow::Result<f64> {
        self.others_but(own.iter().map(|&pid| cpu_of(pid)).sum::<anyhow::Result<Duration>>()?)
    }

    /// The same, where so much was used since then by those who are measured.
    pub(crate) fn others_but(&self, own: Duration) -> anyhow::Result<f64> {
        let passed = self.at.elapsed().as_secs_f64();
        let cores = std::thread::available_parallelism().map_or(1, usize::from) as f64;
        let busy = busy()?.saturating_sub(self.busy).saturating_sub(own);
        Ok(busy.as_secs_f64() / (passed * cores))
    }
}

/// What all processes have used of all cores.
fn busy() -> anyhow::Result<Duration> {
    let stat = fs::read_to_string("/proc/stat")?;
    let line = stat.lines().next().context("/proc/stat is empty")?;
    let ticks: Vec<u64> = line.split_whitespace().skip(1).map_while(|n| n.parse().ok()).collect();
    // User, nice, system, and behind idle and waiting: interrupts, and what was stolen.
    let busy = [0, 1, 2, 5, 6, 7].iter().filter_map(|&at| ticks.get(at)).sum::<u64>();
    Ok(Duration::from_millis(busy * 10))
}

/// What a process has used, as long as none of its threads has ended.
pub(crate) fn cpu_of(pid: u32) -> anyhow::Result<Duration> {
    let mut nanos = 0;
    for thread in fs::read_dir(format!("/proc/{pid}/task"))? {
        // One that has ended meanwhile has taken what it used along.
        let Ok(stat) = fs::read_to_string(thread?.path().join("schedstat")) else { continue };
        let ran = stat.split_whitespace().next().context("an empty schedstat")?;
        nanos += ran.parse::<u64>()?;
    }
    Ok(Duration::from_nanos(nanos))
}

/// The most memory that a process has had at one time.
pub(crate) fn peak_mb(pid: u32) -> anyhow::Result<f64> {
    Ok(status_kb(pid, "VmHWM:")? as f64 / 1024.0)
}

/// A line of what the system says of a process's memory.
pub(crate) fn status_kb(pid: u32, line: &str) -> anyhow::Result<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let found = status.lines().find_map(|it| it.strip_prefix(line));
    let kb = found.and_then(|rest| rest.split_whitespace().next());
    Ok(kb.with_context(|| format!("no {line} of {pid}"))?.parse()?)
}

pub(crate) fn median(of: impl Iterator<Item = f64>) -> f64 {
    let mut of: Vec<f64> = of.collect();
    of.sort_by(f64::total_cmp);
    of.get(of.len() / 2).copied().unwrap_or_default()
}

/// To two or three digits behind the point, as many as mean something.
pub(crate) fn round(figure: f64) -> f64 {
    (figure * 1000.0).round() / 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_those_of_the_sorted_times() {
        let mut nanos: Vec<u32> = (0..=1000).rev().map(|n| n * 1000).collect();
        assert_eq!(Latencies::of(&mut nanos), Latencies { p50: 500.0, p99: 990.0, p999: 999.0 });
        assert_eq!(Latencies::of(&mut []), Latencies::default());
    }

    #[test]
    fn a_process_that_works_uses_the_cpu() {
        let before = cpu_of(std::process::id()).expect("this process runs");
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_millis(30) {
            std::hint::black_box(begun);
        }
        let used = cpu_of(std::process::id()).expect("this process runs").saturating_sub(before);
        assert!(used > Duration::from_millis(1), "{used:?}");
        assert!(peak_mb(std::process::id()).is_ok_and(|mb| mb > 0.5));
    }
}
