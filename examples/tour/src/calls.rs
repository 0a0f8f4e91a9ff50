//! Starting and calling many birds at once.

use std::sync::Arc;
use std::time::{Duration, Instant};

use flock_actix::Flock;
use serde::{Deserialize, Serialize};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::ticker::{Next, Ticker, symbol};

/// How many requests are under way at once, unless all must be.
pub const IN_FLIGHT: usize = 64;

/// What to do with each bird.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Deed {
    /// Start a ticker of this name.
    Start,
    /// Ask it for its next price, once.
    Call,
    /// Ask it for its next price by fresh calls, all birds at the same time, until one is answered
    /// or this has passed.
    CallUntil(Duration),
}

/// What came of one bird's request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outcome {
    /// The bird.
    pub name: String,
    /// The position of its tick (0 where none was asked for), or why it failed.
    pub position: Result<u64, String>,
}

/// Does the same with each of these birds. The outcomes come in no particular order.
pub async fn each(flock: &Flock, names: Vec<String>, deed: Deed) -> Vec<Outcome> {
    let width = match deed {
        // Birds that have no nest at the moment must not keep the others from being asked.
        Deed::CallUntil(_) => names.len().max(1),
        Deed::Start | Deed::Call => IN_FLIGHT,
    };
    let begun = Instant::now();
    let places = Arc::new(Semaphore::new(width));
    let mut tasks = JoinSet::new();
    for name in names {
        let (flock, places) = (flock.clone(), Arc::clone(&places));
        tasks.spawn(async move {
            // Never closed, so always granted.
            let _place = places.acquire().await;
            let position = one(&flock, &name, deed, begun).await;
            Outcome { name, position }
        });
    }
    let mut outcomes = Vec::new();
    while let Some(done) = tasks.join_next().await {
        // A task that panicked leaves no outcome; its bird counts as one that didn't answer.
        outcomes.extend(done.ok());
    }
    outcomes
}

async fn one(flock: &Flock, name: &str, deed: Deed, begun: Instant) -> Result<u64, String> {
    match deed {
        Deed::Start => {
            let started = flock.start::<Ticker>(name, symbol(name)).await;
            started.map(|_| 0).map_err(|e| e.to_string())
        }
        Deed::Call => call(flock, name, Duration::from_secs(5)).await,
        Deed::CallUntil(span) => call_until(flock, name, begun + span).await,
    }
}

async fn call(flock: &Flock, name: &str, deadline: Duration) -> Result<u64, String> {
    let ticker = flock.bird::<Ticker>(name).map_err(|e| e.to_string())?;
    let tick = ticker.send(Next).deadline(deadline).await.map_err(|e| e.to_string())?;
    tick.map(|tick| tick.position).map_err(|e| e.to_string())
}

async fn call_until(flock: &Flock, name: &str, end: Instant) -> Result<u64, String> {
    // A call that went to a nest just killed soon gives way to a fresh one.
    let longest = Duration::from_secs(1);
    let mut pause = Duration::from_millis(5);
    loop {
        let left = end.saturating_duration_since(Instant::now());
        let failure = match call(flock, name, longest.min(left)).await {
            Ok(position) => return Ok(position),
            Err(failure) => failure,
        };
        if Instant::now() + pause >= end {
            return Err(failure);
        }
        // Grows, lest a thousand birds without a nest keep the processor busy with refusals.
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(Duration::from_millis(80));
    }
}
