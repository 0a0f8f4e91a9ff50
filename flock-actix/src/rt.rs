//! Threads and runtimes: the only place that makes them.
//!
//! A nest has a control thread, which carries an actix `System`; a data thread, which reads and
//! writes the links that carry calls; and one actix `Arbiter` for each worker. A bird that blocks its
//! worker delays neither membership nor calls to the birds of other workers.
//!
//! - `threads`: those of this machine.
//! - `turmoil` (feature): one thread, of the simulation's, that stands for all of them.

mod threads;
#[cfg(feature = "turmoil")]
mod turmoil;

use std::cell::Cell;
use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};

use actix::{Actor, Addr, Context};
use actix_rt::ArbiterHandle;
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::host::Host;

/// Where tasks run. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Crew {
    host: Host,
    control: Lane,
    data: Lane,
}

/// A thread as a place for tasks, which end with it.
#[derive(Clone, Debug)]
pub(crate) struct Lane {
    runtime: Handle,
    #[cfg(feature = "turmoil")]
    tasks: Option<turmoil::Tasks>,
}

/// A thread for birds.
#[derive(Clone, Debug)]
pub(crate) enum Worker {
    Arbiter(ArbiterHandle),
    /// The thread that asks.
    #[cfg(feature = "turmoil")]
    Here,
}

/// The threads of one nest. They end when this is dropped or told to; nobody waits for them unless
/// he asks to.
#[derive(Debug)]
pub(crate) enum Threads {
    Machine(threads::Threads),
    #[cfg(feature = "turmoil")]
    Turmoil(turmoil::Threads),
}

impl Crew {
    /// All work on the runtime that calls this.
    #[cfg(test)]
    pub(crate) fn here() -> Self {
        let lane = Lane::of(Handle::current());
        Self { host: Host::Machine, control: lane.clone(), data: lane }
    }

    /// What the nest runs on.
    pub(crate) const fn host(&self) -> &Host {
        &self.host
    }

    /// The control thread.
    pub(crate) const fn control(&self) -> &Lane {
        &self.control
    }

    /// The data thread. Links on the workers would save a hop between threads, and a bird that
    /// blocks would hold up the calls of all others whose link is there.
    pub(crate) const fn data(&self) -> &Lane {
        &self.data
    }
}

impl Lane {
    pub(crate) fn spawn<T: Send + 'static>(
        &self,
        task: impl Future<Output = T> + Send + 'static,
    ) -> JoinHandle<T> {
        let task = self.runtime.spawn(task);
        #[cfg(feature = "turmoil")]
        if let Some(tasks) = &self.tasks {
            tasks.add(task.abort_handle());
        }
        task
    }

    const fn of(runtime: Handle) -> Self {
        Self {
            runtime,
            #[cfg(feature = "turmoil")]
            tasks: None,
        }
    }
}

impl Worker {
    /// Starts an actor on this thread.
    pub(crate) fn start<A: Actor<Context = Context<A>>>(
        &self,
        make: impl FnOnce() -> A + Send + 'static,
    ) -> Addr<A> {
        match self {
            Self::Arbiter(arbiter) => A::start_in_arbiter(arbiter, |_| make()),
            #[cfg(feature = "turmoil")]
            Self::Here => make().start(),
        }
    }
}

impl Threads {
    /// Starts the control thread, the data thread and this many workers.
    pub(crate) async fn start(host: &Host, name: &str, workers: usize) -> io::Result<Self> {
        match host {
            Host::Machine => threads::Threads::start(name, workers).await.map(Self::Machine),
            #[cfg(feature = "turmoil")]
            Host::Turmoil(_) => Ok(Self::Turmoil(turmoil::Threads::start(host.clone(), workers))),
        }
    }

    /// Where tasks run.
    pub(crate) const fn crew(&self) -> &Crew {
        match self {
            Self::Machine(threads) => threads.crew(),
            #[cfg(feature = "turmoil")]
            Self::Turmoil(threads) => threads.crew(),
        }
    }

    /// The workers, for actors.
    pub(crate) fn workers(&self) -> Vec<Worker> {
        match self {
            Self::Machine(threads) => {
                threads.workers().iter().cloned().map(Worker::Arbiter).collect()
            }
            #[cfg(feature = "turmoil")]
            Self::Turmoil(threads) => vec![Worker::Here; threads.workers()],
        }
    }

    /// Runs this on the control thread, where actors may be started.
    pub(crate) async fn on_control<T: Send + 'static>(
        &self,
        run: impl FnOnce() -> T + Send + 'static,
    ) -> io::Result<T> {
        match self {
            Self::Machine(threads) => threads.on_control(run).await,
            #[cfg(feature = "turmoil")]
            Self::Turmoil(threads) => threads.on_control(run).await,
        }
    }

    /// Tells all threads to end.
    pub(crate) fn stop(&self) {
        match self {
            Self::Machine(threads) => threads.stop(),
            #[cfg(feature = "turmoil")]
            Self::Turmoil(threads) => threads.stop(),
        }
    }

    /// Becomes true when all threads have ended, but for those that birds block.
    pub(crate) fn ended(&self) -> watch::Receiver<bool> {
        match self {
            Self::Machine(threads) => threads.ended(),
            #[cfg(feature = "turmoil")]
            Self::Turmoil(threads) => threads.ended(),
        }
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        self.stop();
    }
}

/// A number of the present thread, which hardly any other has: for spreading over tables.
pub(crate) fn thread_number() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    NUMBER.with(|number| {
        number.get().unwrap_or_else(|| {
            let mine = NEXT.fetch_add(1, Ordering::Relaxed);
            number.set(Some(mine));
            mine
        })
    })
}

thread_local! {
    static NUMBER: Cell<Option<usize>> = const { Cell::new(None) };
}
