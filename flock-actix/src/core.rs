//! The way from everywhere to the core, which lives on the control thread.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use actix::Addr;
use flock_proto::{Answer, Event, Input, Nest};
use tokio::sync::oneshot;

use crate::data_link;
use crate::error::RequestError;
use crate::events::Hub;
use crate::link::{ControlSink, Links};
use crate::nest_actor::{Ask, Look, NameTaken, NestActor, Tell};
use crate::router::Router;
use crate::rt::Threads;
use crate::shared::Shared;

/// Bytes that may wait for the core before the readers of links pause.
const MAX_QUEUED: usize = 64 << 20;

/// What an input takes beside its bytes.
const OVERHEAD: usize = 128;

/// The way to the core, and all that ends with the nest.
#[derive(Debug)]
pub(crate) struct Core {
    actor: Addr<NestActor>,
    queued: Arc<AtomicUsize>,
    pub(crate) events: Arc<Hub>,
    rest: OnceLock<Rest>,
}

/// What is only known once the nest stands.
#[derive(Debug)]
pub(crate) struct Rest {
    pub(crate) links: Weak<Links>,
    pub(crate) shared: Weak<Shared>,
    pub(crate) threads: Threads,
    pub(crate) router: Addr<Router>,
    pub(crate) address: Option<SocketAddr>,
}

/// An input's place in the queue; given back when the core has dealt with it.
#[derive(Debug)]
pub(crate) struct Place {
    queued: Arc<AtomicUsize>,
    bytes: usize,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.queued.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

impl Core {
    pub(crate) fn new(actor: Addr<NestActor>, events: Arc<Hub>) -> Self {
        Self { actor, queued: Arc::default(), events, rest: OnceLock::new() }
    }

    /// Only the first call counts.
    pub(crate) fn complete(&self, rest: Rest) {
        // There is one caller, and it calls once.
        let _ = self.rest.set(rest);
    }

    pub(crate) fn rest(&self) -> Option<&Rest> {
        self.rest.get()
    }

    /// Asks the core a question; `make` gets the number and the deadline to put into it.
    pub(crate) async fn ask(
        &self,
        within: Duration,
        make: impl FnOnce(flock_proto::ReqId, flock_proto::Time) -> Input + Send + 'static,
    ) -> Result<Answer, RequestError> {
        let (answer, answered) = oneshot::channel();
        self.actor.do_send(Ask { within, make: Box::new(make), answer });
        answered.await.map_err(|_| RequestError::Closed)
    }

    /// Looks at the core, on its own thread. `None`: the nest is shut down.
    pub(crate) async fn look<T: Send + 'static>(
        &self,
        look: impl FnOnce(&Nest) -> T + Send + 'static,
    ) -> Option<T> {
        self.visit(|actor| look(actor.nest())).await
    }

    /// As [`Core::look`], for what the actor itself knows.
    pub(crate) async fn visit<T: Send + 'static>(
        &self,
        visit: impl FnOnce(&mut NestActor) -> T + Send + 'static,
    ) -> Option<T> {
        let (answer, answered) = oneshot::channel();
        self.actor.do_send(Look(Box::new(move |actor| {
            // Whoever asked may have gone; then nobody wants the answer.
            let _ = answer.send(visit(actor));
        })));
        answered.await.ok()
    }

    /// Closes all sockets at once, ends every call and life, and tells the threads to end.
    pub(crate) fn shut(&self) {
        let Some(rest) = self.rest.get() else { return };
        if let Some(links) = rest.links.upgrade() {
            links.close();
        }
        if let Some(shared) = rest.shared.upgrade() {
            shared.close();
        }
        self.events.close();
        rest.threads.stop();
    }

    /// Resolves when nothing is left to do for a nest that has said goodbye.
    pub(crate) async fn parted(&self) {
        let Some(rest) = self.rest.get() else { return };
        let (Some(links), Some(shared)) = (rest.links.upgrade(), rest.shared.upgrade()) else {
            return;
        };
        let parting = async move { links.part(|| shared.has_passed_all_on()).await };
        // On the nest's own thread: the caller's runtime may be of any kind. An error says that the
        // thread is gone, and with it all there was to do.
        let _ = rest.threads.crew().control().spawn(parting).await;
    }

    /// Resolves when all threads have ended.
    pub(crate) async fn ended(&self) {
        if let Some(rest) = self.rest.get() {
            // An error says that the control thread is gone, too.
            let _ = rest.threads.ended().wait_for(|ended| *ended).await;
        }
    }

    fn tell(&self, input: Input) {
        let bytes = OVERHEAD
            + match &input {
                Input::Frame { frame, .. } => frame.len(),
                Input::Start { args, .. } => args.len(),
                _ => 0,
            };
        self.queued.fetch_add(bytes, Ordering::Relaxed);
        self.actor.do_send(Tell(input, Place { queued: self.queued.clone(), bytes }));
    }
}

impl data_link::NestHandle for Core {
    fn tell(&self, input: Input) {
        Self::tell(self, input);
    }

    fn event(&self, event: Event) {
        self.events.tell(event);
    }
}

impl ControlSink for Core {
    fn on_input(&self, input: Input) {
        self.tell(input);
    }

    fn on_event(&self, event: Event) {
        self.events.tell(event);
    }

    fn on_name_taken(&self) {
        self.actor.do_send(NameTaken);
    }

    fn is_full(&self) -> bool {
        self.queued.load(Ordering::Relaxed) > MAX_QUEUED
    }
}
