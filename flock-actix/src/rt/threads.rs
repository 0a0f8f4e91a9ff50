//! The threads of a nest that runs on this machine.

use std::io;
use std::sync::mpsc::RecvTimeoutError;
use std::time::Duration;

use actix::{Arbiter, System};
use actix_rt::ArbiterHandle;
use tokio::runtime::Handle;
use tokio::sync::{oneshot, watch};

use super::{Crew, Lane, SEAT};
use crate::host::Host;

/// A thread that hasn't ended so long after it was told to is held to be blocked.
const BLOCKED: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub(crate) struct Threads {
    system: System,
    workers: Vec<ArbiterHandle>,
    crew: Crew,
    ended: watch::Receiver<bool>,
}

impl Threads {
    pub(super) async fn start(name: &str, workers: usize) -> io::Result<Self> {
        let (ready, started) = oneshot::channel();
        let (end, ended) = watch::channel(false);
        std::thread::Builder::new().name(format!("flock {name}")).spawn(move || {
            run(workers, ready);
            end.send_replace(true);
        })?;
        let (system, workers, crew) =
            started.await.map_err(|_| io::Error::other("the control thread didn't start"))?;
        Ok(Self { system, workers, crew, ended })
    }

    pub(super) const fn crew(&self) -> &Crew {
        &self.crew
    }

    pub(super) fn workers(&self) -> &[ArbiterHandle] {
        &self.workers
    }

    pub(super) async fn on_control<T: Send + 'static>(
        &self,
        run: impl FnOnce() -> T + Send + 'static,
    ) -> io::Result<T> {
        let (answer, answered) = oneshot::channel();
        self.system.arbiter().spawn_fn(move || {
            // Whoever asked may have gone; then nobody wants the answer.
            let _ = answer.send(run());
        });
        answered.await.map_err(|_| io::Error::other("the control thread has ended"))
    }

    pub(super) fn stop(&self) {
        self.system.stop();
    }

    pub(super) fn ended(&self) -> watch::Receiver<bool> {
        self.ended.clone()
    }
}

type Started = (System, Vec<ArbiterHandle>, Crew);

fn run(workers: usize, ready: oneshot::Sender<Started>) {
    let runner = System::new();
    let control = Lane::of(runner.runtime().tokio_runtime().handle().clone());
    let arbiters: Vec<Arbiter> = (0..workers.max(1)).map(|_| Arbiter::new()).collect();
    let handles: Vec<ArbiterHandle> = arbiters.iter().map(Arbiter::handle).collect();
    let wire = Arbiter::new();
    // An arbiter that can't even say where it is has not started: nobody gets a nest then.
    let Some(data) = ask(&wire, || Lane::of(Handle::current())) else { return };
    let lanes = arbiters.iter().map(|arbiter| ask(arbiter, || Lane::of(Handle::current())));
    let Some(lanes) = lanes.collect::<Option<Vec<Lane>>>() else { return };
    let crew = Crew::new(Host::Machine, control, data, lanes);
    for (arbiter, seat) in arbiters.iter().zip(0..crew.seats()) {
        let number = crew.number;
        arbiter.spawn_fn(move || SEAT.set(Some((number, seat))));
    }
    if ready.send((System::current(), handles, crew)).is_ok() {
        // The exit code is always 0: nobody stops this system with another.
        let _ = runner.run();
    }
    join(arbiters.into_iter().chain([wire]).collect());
}

/// What a thread has to say.
fn ask<T: Send + 'static>(of: &Arbiter, what: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    let (give, take) = std::sync::mpsc::channel();
    of.spawn_fn(move || {
        // The receiver waits below.
        let _ = give.send(what());
    });
    take.recv().ok()
}

/// Waits for threads that were told to end, but not for one that a bird blocks: that may be for ever, and
/// a nest that was told to go must go. Such a thread ends when the bird lets it go, or with the process.
fn join(arbiters: Vec<Arbiter>) {
    let (tell, all_ended) = std::sync::mpsc::channel::<()>();
    let wait = move || {
        for arbiter in &arbiters {
            arbiter.stop();
        }
        for arbiter in arbiters {
            // A thread that panicked has ended as well.
            let _ = arbiter.join();
        }
        drop(tell);
    };
    // Without a thread to wait on, nobody waits.
    let waits = std::thread::Builder::new().name("flock end".into()).spawn(wait);
    if waits.is_ok() && all_ended.recv_timeout(BLOCKED) == Err(RecvTimeoutError::Timeout) {
        tracing::warn!("a bird blocks its thread, which is left alone");
    }
}
