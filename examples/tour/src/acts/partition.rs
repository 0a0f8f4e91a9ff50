//! Act four: the flock is cut in two, works on as two, and is healed.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use futures_util::future::{try_join, try_join_all};

use super::{PATIENCE, Stage, each};
use crate::calls::Deed;
use crate::census::settle;
use crate::figures::Partition;
use crate::progress::thousands;
use crate::protocol::Command;

const SIDE_A: [&str; 1] = ["nest-3"];
const SIDE_B: [&str; 2] = ["nest-1", "nest-2"];

/// Cuts, calls all birds on both sides, heals, and waits until each has one life again.
pub async fn play(stage: &mut Stage) -> anyhow::Result<Partition> {
    let mut twins = BTreeSet::new();
    stage.show.now("cutting the flock: {nest-3} | {nest-1, nest-2}");
    cut(stage).await?;
    let (side_a, side_b) = apart(stage, &mut twins).await?;
    stage.show.now("healing");
    let healed_at = Instant::now();
    try_join_all(stage.nests.iter().map(|nest| nest.done(Command::Heal))).await?;
    // Two lives meet here as they must; it counts what is left of that when the flock is at rest.
    let settled = settle(&stage.all(), &stage.names, PATIENCE).await?;
    let seconds = healed_at.elapsed().as_secs_f64();
    stage.complain(settled.missing);
    stage.homes = settled.homes;
    twins.extend(crate::census::doubled(&stage.all()).await?);
    let answers = stage.call(&["nest-1", "nest-2", "nest-3"], Deed::Call).await?;
    stage.complain(answers.complaint("after the heal"));
    let after_heal = answers.positions.len();
    let partition = Partition { side_a, side_b, after_heal, doubled: twins.len() };
    let line = format!(
        "{{nest-3}} | {{nest-1, nest-2}}: {} answered here, {} there; healed in {seconds:.1} s: {} \
         answered, {} doubled",
        thousands(side_a),
        thousands(side_b),
        thousands(after_heal),
        partition.doubled,
    );
    stage.show.act("4 partition", &line);
    Ok(partition)
}

async fn cut(stage: &Stage) -> anyhow::Result<()> {
    let cuts = stage.nests.iter().map(|nest| {
        let others: &[&str] = if SIDE_A.contains(&nest.name.as_str()) { &SIDE_B } else { &SIDE_A };
        nest.done(Command::Cut(others.iter().map(ToString::to_string).collect()))
    });
    try_join_all(cuts).await.map(drop)
}

/// Waits until each side works on alone; answers how many birds answer on each.
async fn apart(stage: &mut Stage, twins: &mut BTreeSet<String>) -> anyhow::Result<(usize, usize)> {
    let (a, b) = (stage.side(&SIDE_A), stage.side(&SIDE_B));
    let names = &stage.names;
    stage.show.now("waiting until each side runs all birds");
    let (rest_a, rest_b) =
        try_join(settle(&a, names, PATIENCE), settle(&b, names, PATIENCE)).await?;
    stage.show.now("calling all birds on both sides");
    let deed = Deed::CallUntil(Duration::from_secs(10));
    let (from_a, from_b) = try_join(each(&a, names, deed), each(&b, names, deed)).await?;
    for (rest, answers, side) in [(rest_a, &from_a, "side a"), (rest_b, &from_b, "side b")] {
        twins.extend(rest.doubled);
        stage.complain(rest.missing.map(|missing| format!("{side}: {missing}")));
        stage.complain(answers.complaint(side));
    }
    Ok((from_a.positions.len(), from_b.positions.len()))
}
