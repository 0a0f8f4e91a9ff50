//! Who runs what: every process asked for its own live birds, never through the router.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use futures_util::future::try_join_all;

use crate::child::Nest;

/// Bird → the nests whose processes each say that it lives there.
#[derive(Clone, Debug, Default)]
pub struct Census(BTreeMap<String, BTreeSet<String>>);

impl Census {
    /// Asks these nests.
    pub async fn take(nests: &[&Nest]) -> anyhow::Result<Self> {
        let lists = try_join_all(nests.iter().map(|nest| nest.local())).await?;
        let mut homes: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for (nest, birds) in nests.iter().zip(lists) {
            for bird in birds {
                homes.entry(bird).or_default().insert(nest.name.clone());
            }
        }
        Ok(Self(homes))
    }

    /// Where each bird lives that has exactly one life.
    pub fn homes(&self) -> BTreeMap<String, String> {
        let single = self.0.iter().filter(|(_, homes)| homes.len() == 1);
        single.filter_map(|(bird, homes)| Some((bird.clone(), homes.first()?.clone()))).collect()
    }

    /// The birds with more than one life.
    fn doubled(&self) -> BTreeMap<String, BTreeSet<String>> {
        self.0
            .iter()
            .filter(|(_, homes)| homes.len() > 1)
            .map(|(b, h)| (b.clone(), h.clone()))
            .collect()
    }
}

/// The birds for which two of these nests each report a life of their own.
///
/// The nests are not asked at the same instant: a bird that moves between two answers appears in
/// both. So what looks doubled is asked for again; a bird that has moved on is then gone from its
/// old nest.
pub async fn doubled(nests: &[&Nest]) -> anyhow::Result<BTreeSet<String>> {
    let first = Census::take(nests).await?.doubled();
    if first.is_empty() {
        return Ok(BTreeSet::new());
    }
    let second = Census::take(nests).await?.doubled();
    let in_both = |bird: &String| {
        let both = first.get(bird).zip(second.get(bird));
        both.is_some_and(|(then, now)| then.intersection(now).count() > 1)
    };
    Ok(first.keys().filter(|bird| in_both(bird)).cloned().collect())
}

/// What a wait for quiet found.
#[derive(Clone, Debug, Default)]
pub struct Settled {
    /// Where each bird lives that has exactly one life.
    pub homes: BTreeMap<String, String>,
    /// Birds that had two lives at any time during the wait.
    pub doubled: BTreeSet<String>,
    /// What was still missing when patience ended; `None` if nothing was.
    pub missing: Option<String>,
}

/// Waits until these nests see each other and nobody else, and each bird has one life, at the nest
/// where all of them believe it to be.
pub async fn settle(
    nests: &[&Nest],
    names: &[String],
    patience: Duration,
) -> anyhow::Result<Settled> {
    let end = Instant::now() + patience;
    let mut ever_doubled = BTreeSet::new();
    loop {
        ever_doubled.extend(doubled(nests).await?);
        let homes = Census::take(nests).await?.homes();
        let missing = missing(nests, names, &homes).await?;
        if missing.is_none() || Instant::now() > end {
            return Ok(Settled { homes, doubled: ever_doubled, missing });
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

async fn missing(
    nests: &[&Nest],
    names: &[String],
    homes: &BTreeMap<String, String>,
) -> anyhow::Result<Option<String>> {
    if homes.len() != names.len() {
        return Ok(Some(format!("{} of {} birds have one life", homes.len(), names.len())));
    }
    for (nest, seen) in nests.iter().zip(try_join_all(nests.iter().map(|n| n.nests())).await?) {
        let up = seen.iter().filter(|nest| nest.up).count();
        if up != nests.len() || !nests.iter().all(|n| seen.iter().any(|s| s.name == n.name)) {
            return Ok(Some(format!("{} sees {up} nests up, not {}", nest.name, nests.len())));
        }
    }
    let beliefs = try_join_all(nests.iter().map(|n| n.whereis(names.to_vec()))).await?;
    let wrong = nests.iter().zip(&beliefs).find(|(_, belief)| *belief != homes);
    Ok(wrong.map(|(nest, _)| format!("{} looks for some birds in the wrong place", nest.name)))
}
