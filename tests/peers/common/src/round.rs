//! One round: callers that share what they call by, and what is measured of them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::ensure;
use tokio::sync::mpsc;

use crate::usage::cpu_of;
use crate::{Call, Found, Order, Task};

/// Runs before what is measured: both ends settle on how much they do at a time.
pub const WARM: Duration = Duration::from_millis(100);

/// One of so many latencies is kept where there are many.
const SAMPLE: u64 = 16;

/// A call that has no answer by then, after the others have ended, has none.
const PATIENCE: Duration = Duration::from_secs(10);

/// What all callers of one round share.
#[derive(Debug, Default)]
struct Tally {
    done: AtomicU64,
    failed: AtomicU64,
    /// From here on latencies are kept.
    keep: AtomicBool,
    over: AtomicBool,
}

pub(crate) async fn run(
    way: &impl Call,
    order: &Order,
    spawn: &impl Fn(Task),
) -> anyhow::Result<Found> {
    ensure!(order.in_flight > 0, "nobody calls");
    let tally = Arc::<Tally>::default();
    let (end, mut ended) = mpsc::unbounded_channel();
    for _ in 0..order.in_flight {
        let (way, order, tally, end) = (way.clone(), *order, tally.clone(), end.clone());
        spawn(Box::pin(async move {
            let nanos = call_on(&way, &order, &tally).await;
            // Nobody waits any more if it took too long.
            let _ = end.send(nanos);
        }));
    }
    drop(end);
    let cpu = || anyhow::Ok((cpu_of(std::process::id())?, cpu_of(order.callee)?));
    tokio::time::sleep(WARM).await;
    tally.keep.store(true, Ordering::Relaxed);
    let (done, before, begun) = (tally.done.load(Ordering::Relaxed), cpu()?, Instant::now());
    tokio::time::sleep(Duration::try_from_secs_f64(order.seconds)?).await;
    let (took, after) = (begun.elapsed(), cpu()?);
    let done = tally.done.load(Ordering::Relaxed) - done;
    tally.over.store(true, Ordering::Relaxed);
    let (mut nanos, mut hung) = (Vec::new(), order.in_flight as u64);
    while let Ok(Some(more)) = tokio::time::timeout(PATIENCE, ended.recv()).await {
        nanos.extend(more);
        hung -= 1;
    }
    nanos.sort_unstable();
    let at = |part: f64| {
        let last = nanos.len().saturating_sub(1);
        let nanos = nanos.get((last as f64 * part).round() as usize).copied();
        f64::from(nanos.unwrap_or_default()) / 1000.0
    };
    let each = |after: Duration, before: Duration| {
        after.saturating_sub(before).as_secs_f64() * 1e6 / done.max(1) as f64
    };
    Ok(Found {
        rate: done as f64 / took.as_secs_f64(),
        p50_us: at(0.5),
        p99_us: at(0.99),
        p999_us: at(0.999),
        caller_cpu_us: each(after.0, before.0),
        callee_cpu_us: each(after.1, before.1),
        failed: tally.failed.load(Ordering::Relaxed) + hung,
    })
}

/// Calls again and again, and says how long each call took that it looked at, in nanoseconds.
async fn call_on(way: &impl Call, order: &Order, tally: &Tally) -> Vec<u32> {
    let data = vec![7; order.bytes];
    let (mut nanos, mut calls) = (Vec::new(), 0);
    while !tally.over.load(Ordering::Relaxed) {
        calls += 1;
        let looked_at = order.in_flight == 1 || calls % SAMPLE == 0;
        let begun = (looked_at && tally.keep.load(Ordering::Relaxed)).then(Instant::now);
        match way.call(calls, data.clone()).await {
            Ok((n, data)) if n == calls && data.len() == order.bytes => {
                tally.done.fetch_add(1, Ordering::Relaxed);
            }
            _ => {
                tally.failed.fetch_add(1, Ordering::Relaxed);
                // A way that refuses at once would never let another task run.
                tokio::task::yield_now().await;
            }
        }
        if let Some(begun) = begun {
            nanos.push(u32::try_from(begun.elapsed().as_nanos()).unwrap_or(u32::MAX));
        }
    }
    nanos
}
