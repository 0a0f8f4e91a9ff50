//! One thread for a whole nest: that of the simulation, shared with every other host.
//!
//! The nest's actors live in a `LocalSet` of their own, a task of the host's. So a nest that stops
//! ends as one whose threads end: whatever runs on it is dropped where it stands.

use std::io;
use std::sync::{Arc, Mutex};

use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::{AbortHandle, LocalSet};

use super::{Crew, Lane, NUMBER};
use crate::host::Host;
use crate::link::lock;

type Job = Box<dyn FnOnce() + Send>;

#[derive(Debug)]
pub(crate) struct Threads {
    crew: Crew,
    workers: usize,
    /// None once it was told to stop.
    jobs: Mutex<Option<mpsc::UnboundedSender<Job>>>,
    ended: watch::Receiver<bool>,
}

/// Tasks that end with the nest.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tasks(Arc<Mutex<Vec<AbortHandle>>>);

impl Tasks {
    pub(super) fn add(&self, task: AbortHandle) {
        let mut tasks = lock(&self.0);
        tasks.retain(|task| !task.is_finished());
        tasks.push(task);
    }

    fn end(&self) {
        lock(&self.0).drain(..).for_each(|task| task.abort());
    }
}

impl Threads {
    /// To be called from within a `LocalSet`, as the software of turmoil's hosts is.
    pub(super) fn start(host: Host, workers: usize) -> Self {
        // Which thread of the process this is must make no difference.
        NUMBER.set(Some(0));
        let tasks = Tasks::default();
        let lane = Lane { runtime: Handle::current(), tasks: Some(tasks.clone()) };
        let crew = Crew::new(host, lane.clone(), lane, Vec::new());
        let (jobs, mut to_do) = mpsc::unbounded_channel::<Job>();
        let (end, ended) = watch::channel(false);
        tokio::task::spawn_local(async move {
            let actors = LocalSet::new();
            let work = async {
                while let Some(job) = to_do.recv().await {
                    job();
                }
            };
            actors.run_until(work).await;
            drop(actors);
            tasks.end();
            end.send_replace(true);
        });
        Self { crew, workers: workers.max(1), jobs: Mutex::new(Some(jobs)), ended }
    }

    pub(super) const fn crew(&self) -> &Crew {
        &self.crew
    }

    pub(super) const fn workers(&self) -> usize {
        self.workers
    }

    pub(super) async fn on_control<T: Send + 'static>(
        &self,
        run: impl FnOnce() -> T + Send + 'static,
    ) -> io::Result<T> {
        let (answer, answered) = oneshot::channel();
        let job: Job = Box::new(move || {
            // Whoever asked may have gone; then nobody wants the answer.
            let _ = answer.send(run());
        });
        if let Some(jobs) = &*lock(&self.jobs) {
            // Should the nest have ended meanwhile, the answer tells.
            let _ = jobs.send(job);
        }
        answered.await.map_err(|_| io::Error::other("the nest has ended"))
    }

    pub(super) fn stop(&self) {
        lock(&self.jobs).take();
    }

    pub(super) fn ended(&self) -> watch::Receiver<bool> {
        self.ended.clone()
    }
}
