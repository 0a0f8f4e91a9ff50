//! The callers: tasks of this very process, behind a nest that owns no birds and is there throughout.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use flock_actix::{Flock, NestState};
use tokio::runtime::Runtime;
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::ledger::{Ledger, Phase};
use crate::nests::Census;
use crate::tally::{One, Tally};

/// So many birds are called every few milliseconds, to see how long they are away.
const WATCHED: usize = 150;
const OFTEN: Duration = Duration::from_millis(10);

/// The others.
const SELDOM: Duration = Duration::from_secs(1);

/// Of each call.
const DEADLINE: Duration = Duration::from_secs(5);

/// Until each bird was called, and until nests see each other.
const PATIENCE: Duration = Duration::from_secs(20);

pub(super) struct Clients {
    runtime: Runtime,
    flock: Flock,
    shared: Arc<Shared>,
    round: watch::Sender<u64>,
    tasks: JoinSet<()>,
}

struct Shared {
    ledger: Mutex<Ledger>,
    /// How many birds have answered since this round of the clock.
    answered: Mutex<(u64, usize)>,
}

impl Shared {
    fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note_round(&self, round: u64) {
        let mut answered = self.answered.lock().unwrap_or_else(PoisonError::into_inner);
        if answered.0 == round {
            answered.1 += 1;
        } else if answered.0 < round {
            *answered = (round, 1);
        }
    }
}

impl Clients {
    /// Starts the birds, and calls them from then on.
    pub(super) fn start(
        seeds: Vec<String>,
        names: Vec<String>,
        state: usize,
    ) -> anyhow::Result<Self> {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let joining = crate::builder("flock-tests")?.name("clients").seeds(seeds).weight(0);
        let flock = runtime.block_on(joining.form_after(PATIENCE).join())?;
        let birds = names.iter().map(|name| (name.clone(), state));
        let start = flock.start_many::<Tally>(birds).deadline(PATIENCE);
        let started = runtime.block_on(async { start.await });
        if let Some((name, Err(e))) = started.into_iter().find(|(_, outcome)| outcome.is_err()) {
            bail!("{name}: {e}");
        }
        let ledger = Mutex::new(Ledger::new(names.len(), WATCHED));
        let shared = Arc::new(Shared { ledger, answered: Mutex::default() });
        let (round, rounds) = watch::channel(0);
        let mut tasks = JoinSet::new();
        for (bird, name) in names.into_iter().enumerate() {
            let caller =
                Caller { flock: flock.clone(), shared: shared.clone(), rounds: rounds.clone() };
            tasks.spawn_on(caller.call(bird, name), runtime.handle());
        }
        Ok(Self { runtime, flock, shared, round, tasks })
    }

    /// From now on this is done, by which so many birds must move.
    pub(super) fn begin(&self, phase: Phase, needed: usize) {
        self.shared.ledger().begin(phase, needed);
    }

    /// So many had to move besides.
    pub(super) fn needed(&self, birds: usize) {
        self.shared.ledger().needed += birds as u64;
    }

    pub(super) fn census(&self, census: Census) {
        self.shared.ledger().on_census(&census);
    }

    /// Waits until this nest sees so many others, all up.
    pub(super) fn agree(&self, nests: usize) -> anyhow::Result<()> {
        let begun = Instant::now();
        while begun.elapsed() < PATIENCE {
            let seen = self.runtime.block_on(self.flock.nests());
            if seen.len() == nests + 1 && seen.iter().all(|nest| nest.state == NestState::Up) {
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        bail!("not all nests are up after {PATIENCE:?}")
    }

    /// Waits until each bird has answered once more.
    pub(super) fn settle(&self) -> anyhow::Result<()> {
        let birds = self.tasks.len();
        let mut round = 0;
        self.round.send_modify(|last| {
            *last += 1;
            round = *last;
        });
        let begun = Instant::now();
        while begun.elapsed() < PATIENCE {
            let answered = *self.shared.answered.lock().unwrap_or_else(PoisonError::into_inner);
            if answered == (round, birds) {
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        bail!("some birds don't answer any more")
    }

    /// No call from now on. What was seen.
    pub(super) fn stop(mut self) -> anyhow::Result<Ledger> {
        self.round.send_replace(u64::MAX);
        self.runtime.block_on(async {
            while let Some(ended) = self.tasks.join_next().await {
                ended.context("a caller")?;
            }
            anyhow::Ok(())
        })?;
        let left = self.runtime.block_on(self.flock.leave());
        left.context("the clients' nest")?;
        let shared = Arc::into_inner(self.shared).context("a caller that goes on")?;
        Ok(shared.ledger.into_inner().unwrap_or_else(PoisonError::into_inner))
    }
}

struct Caller {
    flock: Flock,
    shared: Arc<Shared>,
    rounds: watch::Receiver<u64>,
}

impl Caller {
    /// Calls one bird again and again.
    async fn call(mut self, number: usize, name: String) {
        let Ok(bird) = self.flock.bird::<Tally>(&name) else { return };
        let pause = if number < WATCHED { OFTEN } else { SELDOM };
        // Not all at once.
        tokio::time::sleep(pause.mul_f64((number % 1000) as f64 / 1000.0)).await;
        let mut answered_in = 0;
        loop {
            let round = *self.rounds.borrow_and_update();
            if round == u64::MAX {
                return;
            }
            match bird.send(One).deadline(DEADLINE).await {
                Ok(told) => {
                    self.shared.ledger().on_answer(number, told, Instant::now());
                    if round > std::mem::replace(&mut answered_in, round) {
                        self.shared.note_round(round);
                    }
                }
                Err(error) => self.shared.ledger().on_error(number, error.to_string()),
            }
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                _ = self.rounds.changed() => {}
            }
        }
    }
}
