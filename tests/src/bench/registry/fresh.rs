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
}

/// Has a nest join another one, which knows all these names.
pub(super) fn fresh(batches: &Batches, names: usize) -> anyhow::Result<Fresh> {
    let mut nests = nests(1)?;
    let holder = nests.all().next().context("it has come up")?;
    stranger::tell(holder.address(), &batches.deltas)?;
    holder.ask::<()>(Command::Await(names));

    let begun = Instant::now();
    let name = join(&mut nests)?;
    let up = begun.elapsed();
    nests.nest(&name).ask::<()>(Command::Await(names));
    Ok(Fresh { up, known: begun.elapsed() })
}
