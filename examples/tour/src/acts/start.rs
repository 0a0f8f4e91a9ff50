//! Act one: three nests, and a ticker for each user.

use std::collections::BTreeMap;
use std::time::Instant;

use super::{PATIENCE, Stage, each};
use crate::calls::Deed;
use crate::census::settle;
use crate::figures::Figures;
use crate::progress::thousands;

const NESTS: [&str; 3] = ["nest-1", "nest-2", "nest-3"];

/// Starts nests and birds, and calls all of them.
pub async fn play(stage: &mut Stage) -> anyhow::Result<Figures> {
    let birds = stage.names.len();
    for name in NESTS {
        stage.show.now(&format!("starting {name}"));
        stage.start_nest(name).await?;
    }
    stage.show.now(&format!("starting {} tickers", thousands(birds)));
    let begun = Instant::now();
    let started = each(&stage.all(), &stage.names, Deed::Start).await?;
    let started_ms = super::millis(begun);
    stage.complain(started.complaint("starting the tickers"));
    stage.show.now("calling each of them");
    let answers = stage.call(&NESTS, Deed::Call).await?;
    stage.complain(answers.complaint("calling the tickers"));
    let settled = settle(&stage.all(), &stage.names, PATIENCE).await?;
    stage.complain(settled.missing);
    stage.homes = settled.homes;
    let calls_ok = answers.positions.len();
    let line = format!(
        "{} nests; {} tickers started in {started_ms} ms; {} answered",
        NESTS.len(),
        thousands(started.positions.len()),
        thousands(calls_ok),
    );
    stage.show.act("1 start", &line);
    let share = shares(stage).await?;
    Ok(Figures { nests: NESTS.len(), birds, started_ms, calls_ok, share, ..Figures::default() })
}

/// What the flock says of each nest's share, held against what the nests' processes say.
async fn shares(stage: &mut Stage) -> anyhow::Result<BTreeMap<String, f64>> {
    let all = stage.names.len();
    let mut shares = BTreeMap::new();
    let seen = match stage.nests.first() {
        Some(nest) => nest.nests().await?,
        None => Vec::new(),
    };
    for nest in seen {
        let counted = stage.homes.values().filter(|home| **home == nest.name).count();
        let line = format!(
            "{} has {:.1} % of the load, {} of {}",
            nest.name,
            nest.share * 100.0,
            thousands(nest.birds),
            thousands(all),
        );
        stage.show.act("", &line);
        if counted != nest.birds {
            stage.complain(Some(format!("{} itself counts {counted} birds", nest.name)));
        }
        shares.insert(nest.name, nest.share);
    }
    Ok(shares)
}
