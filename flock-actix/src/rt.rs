//! Threads and runtimes: the only place that makes them, so that a simulator can do without.
//!
//! A nest has a control thread, which carries an actix `System`; a data thread, which reads and
//! writes the links that carry calls; and one actix `Arbiter` for each worker. A bird that blocks its
//! worker delays neither membership nor calls to the birds of other workers.

use std::io;

use actix::{Arbiter, System};
use actix_rt::ArbiterHandle;
use tokio::runtime::Handle;
use tokio::sync::{oneshot, watch};

/// Where tasks run. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Crew {
    control: Handle,
    data: Handle,
}

impl Crew {
    /// All work on the runtime that calls this.
    #[cfg(test)]
    pub(crate) fn here() -> Self {
        Self { control: Handle::current(), data: Handle::current() }
    }

    /// The control thread's runtime.
    pub(crate) const fn control(&self) -> &Handle {
        &self.control
    }

    /// The data thread's runtime. Links on the workers would save a hop between threads, and a
    /// bird that blocks would hold up the calls of all others whose link is there.
    pub(crate) const fn data(&self) -> &Handle {
        &self.data
    }
}

/// The threads of one nest. They end when this is dropped or told to; nobody waits for them unless
/// he asks to.
#[derive(Debug)]
pub(crate) struct Threads {
    system: System,
    workers: Vec<ArbiterHandle>,
    crew: Crew,
    ended: watch::Receiver<bool>,
}

impl Threads {
    /// Starts the control thread and this many workers.
    pub(crate) async fn start(name: &str, workers: usize) -> io::Result<Self> {
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

    /// Where tasks run.
    pub(crate) const fn crew(&self) -> &Crew {
        &self.crew
    }

    /// The workers, for actors.
    pub(crate) fn workers(&self) -> &[ArbiterHandle] {
        &self.workers
    }

    /// Runs this on the control thread, where actors may be started.
    pub(crate) async fn on_control<T: Send + 'static>(
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

    /// Tells all threads to end.
    pub(crate) fn stop(&self) {
        self.system.stop();
    }

    /// Becomes true when all threads have ended.
    pub(crate) fn ended(&self) -> watch::Receiver<bool> {
        self.ended.clone()
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        self.stop();
    }
}

type Started = (System, Vec<ArbiterHandle>, Crew);

fn run(workers: usize, ready: oneshot::Sender<Started>) {
    let runner = System::new();
    let control = runner.runtime().tokio_runtime().handle().clone();
    let arbiters: Vec<Arbiter> = (0..workers.max(1)).map(|_| Arbiter::new()).collect();
    let handles: Vec<ArbiterHandle> = arbiters.iter().map(Arbiter::handle).collect();
    let wire = Arbiter::new();
    let (give, take) = std::sync::mpsc::channel();
    wire.spawn_fn(move || {
        // The receiver waits below.
        let _ = give.send(Handle::current());
    });
    // An arbiter that can't even say where it is has not started: nobody gets a nest then.
    let Ok(data) = take.recv() else { return };
    let crew = Crew { control, data };
    if ready.send((System::current(), handles, crew)).is_ok() {
        // The exit code is always 0: nobody stops this system with another.
        let _ = runner.run();
    }
    for arbiter in arbiters.into_iter().chain([wire]) {
        arbiter.stop();
        // A thread that panicked has ended as well.
        let _ = arbiter.join();
    }
}
