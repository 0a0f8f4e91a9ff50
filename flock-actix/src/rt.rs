//! Threads and runtimes: the only place that makes them.
//!
//! A nest has a control thread, which carries an actix `System`; one actix `Arbiter` for each worker;
//! and a data thread. Links that carry calls are read and written by the worker whose birds they are
//! for, or who makes the calls, and by the data thread where that is nobody. A bird that blocks its
//! worker delays neither membership nor calls to the birds of other workers.
//!
//! - `threads`: those of this machine.
//! - `turmoil` (feature): one thread, of the simulation's, that stands for all of them.

mod threads;
#[cfg(feature = "turmoil")]
mod turmoil;

use std::cell::Cell;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use actix::{Actor, Addr, Arbiter, Context};
use actix_rt::ArbiterHandle;
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinHandle};

use crate::host::Host;

/// Where tasks run. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Crew {
    host: Host,
    control: Lane,
    data: Lane,
    /// Those that links may be read on.
    workers: Arc<[Lane]>,
    /// Tells its threads from those of other crews of this process.
    number: u64,
}

/// A thread that reads and writes data links: a worker's, by its place, or the data thread.
pub(crate) type Seat = Option<u8>;

/// With more workers than this their links would be too many, and the data thread has them all.
const MAX_SEATS: usize = 8;

/// A thread as a place for tasks, which end with it.
#[derive(Clone, Debug)]
pub(crate) struct Lane {
    runtime: Handle,
    #[cfg(feature = "turmoil")]
    tasks: Option<turmoil::Tasks>,
}

/// In whose midst a task of a thread has its turns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Among {
    /// Of its actors: in the order in which they and the task were woken.
    Actors,
    /// Of what else runs there.
    Others,
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
        Self::new(Host::Machine, lane.clone(), lane, Vec::new())
    }

    fn new(host: Host, control: Lane, data: Lane, workers: Vec<Lane>) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let workers = if workers.len() > MAX_SEATS { Vec::new() } else { workers };
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        Self { host, control, data, workers: workers.into(), number }
    }

    /// What the nest runs on.
    pub(crate) const fn host(&self) -> &Host {
        &self.host
    }

    /// The control thread.
    pub(crate) const fn control(&self) -> &Lane {
        &self.control
    }

    /// The thread at this seat; the data thread, if there is no such worker.
    pub(crate) fn at(&self, seat: Seat) -> &Lane {
        seat.and_then(|seat| self.workers.get(usize::from(seat))).unwrap_or(&self.data)
    }

    /// How many workers have seats of their own.
    pub(crate) fn seats(&self) -> u8 {
        self.workers.len() as u8
    }

    /// Where answers to calls that the present thread makes are read: by itself, if it is a worker.
    pub(crate) fn seat(&self) -> Seat {
        SEAT.get().filter(|(crew, _)| *crew == self.number).map(|(_, seat)| seat)
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

impl Among {
    /// Has tasks begun among the actors of the present thread, if it is a worker that has a seat: in a moment. To
    /// wake an actor from there costs less.
    pub(crate) fn begin(begin: impl FnOnce(Self) + Send + 'static) {
        match SEAT.get().and_then(|_| Arbiter::try_current()) {
            // A worker that has ended begins nothing, as a runtime that has.
            Some(arbiter) => _ = arbiter.spawn_fn(move || begin(Self::Actors)),
            None => begin(Self::Others),
        }
    }

    /// To be called where these are.
    pub(crate) fn spawn(self, task: impl Future<Output = ()> + Send + 'static) -> AbortHandle {
        match self {
            Self::Actors => tokio::task::spawn_local(task).abort_handle(),
            Self::Others => tokio::spawn(task).abort_handle(),
        }
    }
}

impl Worker {
    /// It is a thread of its own, and not one that stands for several, as in a simulation.
    pub(crate) const fn is_a_thread(&self) -> bool {
        match self {
            Self::Arbiter(_) => true,
            #[cfg(feature = "turmoil")]
            Self::Here => false,
        }
    }

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

    /// The workers, for whatever else runs there. None in a simulation, where they are no threads.
    pub(crate) fn arbiters(&self) -> Vec<ArbiterHandle> {
        match self {
            Self::Machine(threads) => threads.workers().to_vec(),
            #[cfg(feature = "turmoil")]
            Self::Turmoil(_) => Vec::new(),
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

/// The present thread's own number, which is never zero.
#[inline]
pub(crate) fn thread_number() -> u32 {
    static NEXT: AtomicU32 = AtomicU32::new(1);
    NUMBER.with(|number| {
        number.get().unwrap_or_else(|| {
            let mine = NEXT.fetch_add(1, Ordering::Relaxed);
            number.set(Some(mine));
            mine
        })
    })
}

thread_local! {
    static NUMBER: Cell<Option<u32>> = const { Cell::new(None) };
    /// The crew and the seat of this thread, if it is a worker that has one.
    static SEAT: Cell<Option<(u64, u8)>> = const { Cell::new(None) };
}
