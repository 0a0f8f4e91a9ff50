//! Act two: one nest ends without a goodbye.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use super::{Answers, PATIENCE, Stage, each, millis};
use crate::calls::Deed;
use crate::census::{doubled, settle};
use crate::child::Nest;
use crate::figures::Kill;
use crate::progress::thousands;

/// The nest that is killed in this act and comes back in the next.
pub const VICTIM: &str = "nest-2";

const SURVIVORS: [&str; 2] = ["nest-1", "nest-3"];

/// Kills a nest and measures how long its birds are away.
pub async fn play(stage: &mut Stage) -> anyhow::Result<Kill> {
    let orphans: BTreeSet<String> =
        stage.homes.iter().filter(|(_, home)| *home == VICTIM).map(|(n, _)| n.clone()).collect();
    let before = stage.positions.clone();
    stage.show.now(&format!("kill -9 {VICTIM}"));
    let victim = stage.take_nest(VICTIM)?;
    let killed_at = Instant::now();
    victim.kill().await?;
    let (first, mut twins) = call_and_watch(&stage.all(), &stage.names).await?;
    let recovered_ms = millis(killed_at);
    stage.acknowledge(&first);
    stage.complain(first.complaint("after the kill"));
    let settled = settle(&stage.all(), &stage.names, PATIENCE).await?;
    stage.complain(settled.missing);
    stage.homes = settled.homes;
    twins.extend(settled.doubled);
    let last = stage.call(&SURVIVORS, Deed::Call).await?;
    stage.complain(last.complaint("at the end of the act"));
    let resumed = orphans.iter().filter(|name| went_on(name, &before, &first)).count();
    let kill = Kill {
        recovered_ms,
        lost: stage.names.len() - last.positions.len(),
        doubled: twins.len(),
        resumed,
        orphaned: orphans.len(),
    };
    let line = format!(
        "{VICTIM} died with {} tickers; {} of {} answered again after {recovered_ms} ms, {resumed} of \
         the {} went on from their stored position; {} lost, {} doubled",
        orphans.len(),
        thousands(first.positions.len()),
        thousands(stage.names.len()),
        orphans.len(),
        kill.lost,
        kill.doubled,
    );
    stage.show.act("2 kill -9", &line);
    Ok(kill)
}

/// Calls all birds until they answer, and looks meanwhile for birds with two lives.
async fn call_and_watch(
    nests: &[&Nest],
    names: &[String],
) -> anyhow::Result<(Answers, BTreeSet<String>)> {
    let mut twins = BTreeSet::new();
    let calls = each(nests, names, Deed::CallUntil(PATIENCE));
    tokio::pin!(calls);
    loop {
        // Not all the time: the census costs processor time, which the recovery needs.
        let pause = tokio::time::sleep(Duration::from_millis(100));
        tokio::select! {
            answers = &mut calls => return Ok((answers?, twins)),
            () = pause => {}
        }
        twins.extend(doubled(nests).await?);
    }
}

fn went_on(name: &str, before: &BTreeMap<String, u64>, first: &Answers) -> bool {
    let acknowledged = before.get(name).copied().unwrap_or(0);
    acknowledged > 0 && first.positions.get(name).is_some_and(|at| *at >= acknowledged)
}
