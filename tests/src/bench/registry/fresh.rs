//! Real processes: a nest that knows all names, and one that is new.

use std::time::{Duration, Instant};

use anyhow::Context as _;

use super::replica::Batches;
use super::stranger;
use crate::bench::{join, nests};
use crate::protocol::Command;

/// What it took a nest to learn all names, from the start of its process on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fresh {
    /// Until it was up: before that, it had to know all that the other knew.
    pub(super) up: Duration,
    /// Until it said that it knows all names.
    pub(super) known: Duration,
    /// What the other's process and its own spent on a core meanwhile, where the system tells.
    pub(super) holder_cpu: Option<Duration>,
    pub(super) fresh_cpu: Option<Duration>,
}

/// Has a nest join another one, which knows all these names.
pub(super) fn fresh(batches: &Batches, names: usize) -> anyhow::Result<Fresh> {
    let mut nests = nests(1)?;
    let holder = nests.all().next().context("it has come up")?;
    stranger::tell(holder.address(), &batches.deltas)?;
    holder.ask::<()>(Command::Await(names));

    let holder = holder.pid();
    let before = on_core(holder);
    let begun = Instant::now();
    let name = join(&mut nests)?;
    let up = begun.elapsed();
    let fresh = nests.nest(&name);
    fresh.ask::<()>(Command::Await(names));
    let known = begun.elapsed();
    let holder_cpu = on_core(holder).zip(before).map(|(after, before)| after - before);
    Ok(Fresh { up, known, holder_cpu, fresh_cpu: on_core(fresh.pid()) })
}

/// The time that all threads of a process have spent on a core; Linux knows.
fn on_core(process: u32) -> Option<Duration> {
    let tasks = std::fs::read_dir(format!("/proc/{process}/task")).ok()?;
    let of_task = |task: std::fs::DirEntry| {
        let text = std::fs::read_to_string(task.path().join("schedstat")).ok()?;
        text.split(' ').next()?.parse().ok().map(Duration::from_nanos)
    };
    tasks.map_while(Result::ok).map(of_task).sum()
}
