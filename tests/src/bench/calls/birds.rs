//! The same asked of birds, by a nest that has none itself.

use std::future::Future;
use std::rc::Rc;
use std::time::{Duration, Instant};

use actix::Addr;
use anyhow::{Context as _, ensure};
use flock_actix::{BirdRef, Builder, Call, CallError, Flock, Router};
use tokio::sync::oneshot;

use super::echo::{Echo, FLOCK, Heard, Note, Ping, Pong};
use super::meter::{Measured, Meter, SAMPLE, Tally};

/// How calls are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Face {
    /// `bird.send(…)`, on a thread of the nest, as birds call birds.
    Ref,
    /// The same from a thread that the nest knows nothing of.
    Outside,
    /// A message to the [`Router`].
    Router,
}

/// From one call to the next: each caller comes to each bird.
const STRIDE: usize = 97;

/// Casts before one asks how many came: so few that neither the link nor a bird has ever too many.
const BURST: usize = 32;

/// Larger messages wait where many of them fill a link, instead of failing.
const LARGE: usize = 4096;

/// A nest without birds of its own, and all birds of the other.
#[derive(Debug)]
pub(crate) struct Caller {
    flock: Flock,
    birds: Rc<[BirdRef<Echo>]>,
}

impl Caller {
    /// Joins the nest that listens there, and has so many birds started on it.
    pub(crate) async fn join(at: &str, birds: usize) -> anyhow::Result<Self> {
        Self::join_as(crate::builder(FLOCK)?, at, birds).await
    }

    pub(super) async fn join_as(nest: Builder, at: &str, birds: usize) -> anyhow::Result<Self> {
        let flock = nest
            .name("caller")
            .seeds([at])
            .weight(0)
            .form_after(Duration::from_secs(60))
            .species::<Echo>()
            .join()
            .await?;
        let names = (0..birds).map(|n| (format!("bird/account/{n:08}"), ()));
        let start = flock.start_many::<Echo>(names).deadline(Duration::from_secs(60));
        let birds = start.await.into_result()?;
        Ok(Self { flock, birds: birds.into() })
    }

    /// The nest that it calls from.
    pub(super) const fn nest(&self) -> &Flock {
        &self.flock
    }

    /// So many callers, each of which calls one bird after the other.
    pub(crate) async fn calls(
        &self,
        meter: &Meter,
        in_flight: usize,
        bytes: usize,
        birds: usize,
        face: Face,
    ) -> anyhow::Result<Measured> {
        let way = match face {
            Face::Router => Way::Router(self.flock.router()),
            _ if bytes > LARGE => Way::Patient,
            Face::Ref | Face::Outside => Way::Ref,
        };
        let birds = self.birds.get(..birds).context("so many were started")?.to_vec();
        let meter = meter.clone();
        let run = move || async move {
            let tally = Rc::<Tally>::default();
            let birds: Rc<[BirdRef<Echo>]> = birds.into();
            let caller = |first| {
                let (birds, tally, way) = (birds.clone(), tally.clone(), way.clone());
                tokio::task::spawn_local(async move {
                    call_on(&birds, first, bytes, &tally, &way, in_flight == 1).await;
                })
            };
            let callers: Vec<_> = (0..in_flight).map(caller).collect();
            let measured = meter.measure(&tally).await?;
            for caller in callers {
                caller.await?;
            }
            Ok(measured)
        };
        if face == Face::Outside { run().await } else { self.on_a_worker(run).await }
    }

    /// So many who cast, each a burst to one bird after the other. What counts is what the birds
    /// have heard.
    pub(crate) async fn casts(
        &self,
        meter: &Meter,
        in_flight: usize,
        bytes: usize,
        birds: usize,
    ) -> anyhow::Result<Measured> {
        ensure!(
            birds.is_multiple_of(in_flight),
            "each has birds of its own, to count what they heard"
        );
        let birds = self.birds.get(..birds).context("so many were started")?.to_vec();
        let meter = meter.clone();
        self.on_a_worker(move || async move {
            let tally = Rc::<Tally>::default();
            let caster = |first| {
                let own: Vec<_> = birds.iter().skip(first).step_by(in_flight).cloned().collect();
                let tally = tally.clone();
                tokio::task::spawn_local(async move { cast_on(&own, bytes, &tally).await })
            };
            let casters: Vec<_> = (0..in_flight).map(caster).collect();
            let measured = meter.measure(&tally).await?;
            for caster in casters {
                caster.await??;
            }
            Ok(measured)
        })
        .await
    }

    /// Where birds run that call others.
    async fn on_a_worker<F: Future<Output = anyhow::Result<Measured>> + 'static>(
        &self,
        run: impl FnOnce() -> F + Send + 'static,
    ) -> anyhow::Result<Measured> {
        let worker = self.flock.arbiters().into_iter().next().context("a nest has a worker")?;
        let (tell, told) = oneshot::channel();
        worker.spawn_fn(move || {
            tokio::task::spawn_local(async move {
                // Whoever asked has gone, if it fails.
                let _ = tell.send(run().await);
            });
        });
        told.await.context("the worker has ended")?
    }
}

#[derive(Clone, Debug)]
enum Way {
    Ref,
    /// Waits where there is no room.
    Patient,
    Router(Addr<Router>),
}

impl Way {
    async fn call(&self, to: &BirdRef<Echo>, ping: Ping) -> Result<Pong, CallError> {
        match self {
            Self::Ref => to.send(ping).await,
            Self::Patient => to.send(ping).wait_when_full().await,
            Self::Router(router) => {
                let sent = router.send(Call::new(to, ping)).await;
                sent.unwrap_or(Err(CallError::Leaving))
            }
        }
    }
}

async fn call_on(
    birds: &[BirdRef<Echo>],
    first: usize,
    bytes: usize,
    tally: &Tally,
    way: &Way,
    alone: bool,
) {
    let data = vec![7; bytes];
    let (mut at, mut calls) = (first % birds.len(), 0);
    while let Some(bird) = birds.get(at).filter(|_| !tally.is_over()) {
        calls += 1;
        let begun = (alone || calls % SAMPLE == 0).then(Instant::now);
        let ping = Ping { n: calls, data: data.clone() };
        match way.call(bird, ping).await {
            Ok(pong) if pong.n == calls && pong.data.len() == bytes => tally.add(1),
            _ => tally.fail(1),
        }
        if let Some(begun) = begun {
            tally.took(begun);
        }
        at = (at + STRIDE) % birds.len();
    }
}

async fn cast_on(birds: &[BirdRef<Echo>], bytes: usize, tally: &Tally) -> anyhow::Result<()> {
    let data = vec![7; bytes];
    while !tally.is_over() {
        for bird in birds {
            for _ in 0..BURST {
                bird.do_send(Note { data: data.clone() });
            }
            // The answer comes after what was sent before: order holds between a nest and a bird.
            let heard = bird.send(Heard).await?;
            tally.add(heard);
            tally.fail((BURST as u64).saturating_sub(heard));
        }
    }
    Ok(())
}
