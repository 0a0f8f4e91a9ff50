//! actix-telepathy: it has no remote calls (`RemoteAddr::send` is `unimplemented!()`), so a call is a message
//! there and a message back, as its users write it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use actix::prelude::*;
use actix_broker::BrokerSubscribe as _;
use actix_telepathy::prelude::*;
use anyhow::Context as _;
use peer::Role;
use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;

/// Named in `telepathy.yaml`: MessagePack, which takes half the time of the FlexBuffers that are the default.
struct Packed {}

impl CustomSerialization for Packed {
    fn serialize<T: ?Sized + Serialize>(
        &self,
        it: &T,
    ) -> Result<Vec<u8>, CustomSerializationError> {
        rmp_serde::to_vec(it).map_err(|_| CustomSerializationError)
    }

    fn deserialize<'a, T: Deserialize<'a>>(
        &self,
        bytes: &'a [u8],
    ) -> Result<T, CustomSerializationError> {
        rmp_serde::from_slice(bytes).map_err(|_| CustomSerializationError)
    }
}

#[derive(Serialize, Deserialize, RemoteMessage)]
#[with_source(source)]
struct Ping {
    n: u64,
    #[serde(with = "serde_bytes")]
    data: Vec<u8>,
    /// Which call this is: each caller counts for itself.
    id: u64,
    /// The library notes here by which connection it came. It needn't be sent for that.
    #[serde(skip)]
    source: RemoteAddr,
}

#[derive(Serialize, Deserialize, RemoteMessage)]
struct Pong {
    n: u64,
    #[serde(with = "serde_bytes")]
    data: Vec<u8>,
    id: u64,
}

/// Sends back what it is sent, to the node that it came from.
#[derive(RemoteActor)]
#[remote_messages(Ping)]
struct Echo;

impl Actor for Echo {
    type Context = Context<Self>;

    fn started(&mut self, context: &mut Context<Self>) {
        self.register(context.address().recipient());
    }
}

impl Handler<Ping> for Echo {
    type Result = ();

    fn handle(&mut self, ping: Ping, _: &mut Context<Self>) {
        let Ping { n, data, id, mut source } = ping;
        source.change_id(Answers::ACTOR_ID.to_owned());
        source.do_send(Pong { n, data, id });
    }
}

/// Calls that wait.
#[derive(Default)]
struct Waiting {
    last: u64,
    open: HashMap<u64, oneshot::Sender<Pong>>,
}

/// Hands each answer to whoever waits for it.
#[derive(RemoteActor)]
#[remote_messages(Pong)]
struct Answers {
    waiting: Arc<Mutex<Waiting>>,
    met: Option<oneshot::Sender<RemoteAddr>>,
}

impl Actor for Answers {
    type Context = Context<Self>;

    fn started(&mut self, context: &mut Context<Self>) {
        self.register(context.address().recipient());
        self.subscribe_system_async::<ClusterLog>(context);
    }
}

impl Handler<ClusterLog> for Answers {
    type Result = ();

    fn handle(&mut self, event: ClusterLog, _: &mut Context<Self>) {
        if let ClusterLog::NewMember(node) = event
            && let Some(met) = self.met.take()
        {
            let _ = met.send(node.get_remote_addr(Echo::ACTOR_ID.to_owned()));
        }
    }
}

impl ClusterListener for Answers {}

impl Handler<Pong> for Answers {
    type Result = ();

    fn handle(&mut self, pong: Pong, _: &mut Context<Self>) {
        if let Some(caller) = lock(&self.waiting).open.remove(&pong.id) {
            let _ = caller.send(pong);
        }
    }
}

#[derive(Clone)]
struct Way {
    echo: RemoteAddr,
    waiting: Arc<Mutex<Waiting>>,
}

impl peer::Call for Way {
    async fn call(&self, n: u64, data: Vec<u8>) -> anyhow::Result<(u64, Vec<u8>)> {
        let (answer, answered) = oneshot::channel();
        let id = {
            let mut waiting = lock(&self.waiting);
            waiting.last += 1;
            let id = waiting.last;
            waiting.open.insert(id, answer);
            id
        };
        self.echo.do_send(Ping { n, data, id, source: RemoteAddr::default() });
        let Pong { n, data, .. } = answered.await?;
        Ok((n, data))
    }
}

fn lock(waiting: &Mutex<Waiting>) -> MutexGuard<'_, Waiting> {
    waiting.lock().unwrap_or_else(PoisonError::into_inner)
}

#[actix_rt::main]
async fn main() -> anyhow::Result<()> {
    let own = peer::free_address()?;
    match peer::role()? {
        Role::Callee => {
            let _echo = Echo.start();
            let _cluster = Cluster::new(own, Vec::new());
            peer::serving(&own.to_string())?;
            std::future::pending().await
        }
        Role::Caller(address) => {
            let waiting = Arc::<Mutex<Waiting>>::default();
            let (met, node) = oneshot::channel();
            let _answers = Answers { waiting: waiting.clone(), met: Some(met) }.start();
            let _cluster = Cluster::new(own, vec![address.parse()?]);
            let echo = node.await.context("nobody joined")?;
            peer::calling(Way { echo, waiting }, |task| drop(actix_rt::spawn(task))).await
        }
    }
}
