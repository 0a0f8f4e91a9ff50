//! ractor_cluster: calls to an actor of the other node, found by its process group.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use anyhow::{anyhow, bail};
use peer::Role;
use ractor::rpc::CallResult;
use ractor::{Actor, ActorProcessingErr, ActorRef, RpcReplyPort, pg};
use ractor_cluster::{BytesConvertable, NodeServer, NodeServerMessage, RactorClusterMessage};
use serde::{Deserialize, Serialize};

/// By which the two nodes know that they belong together.
const COOKIE: &str = "peers";

/// Of the actor that is called.
const GROUP: &str = "echo";

#[derive(Serialize, Deserialize)]
struct Body {
    n: u64,
    #[serde(with = "serde_bytes")]
    data: Vec<u8>,
}

impl BytesConvertable for Body {
    fn into_bytes(self) -> Vec<u8> {
        rmp_serde::to_vec(&self).expect("it can be written")
    }

    // The trait has no way to say that bytes make no sense.
    fn from_bytes(bytes: Vec<u8>) -> Self {
        rmp_serde::from_slice(&bytes).expect("the other end is this program")
    }
}

#[derive(RactorClusterMessage)]
enum Message {
    #[rpc]
    Ping(Body, RpcReplyPort<Body>),
}

struct Echo;

impl Actor for Echo {
    type Msg = Message;
    type State = ();
    type Arguments = ();

    async fn pre_start(&self, me: ActorRef<Message>, (): ()) -> Result<(), ActorProcessingErr> {
        pg::join(GROUP.into(), vec![me.get_cell()]);
        Ok(())
    }

    async fn handle(
        &self,
        _: ActorRef<Message>,
        Message::Ping(body, reply): Message,
        (): &mut (),
    ) -> Result<(), ActorProcessingErr> {
        // The caller may have gone.
        let _ = reply.send(body);
        Ok(())
    }
}

#[derive(Clone)]
struct Way(ActorRef<Message>);

impl peer::Call for Way {
    async fn call(&self, n: u64, data: Vec<u8>) -> anyhow::Result<(u64, Vec<u8>)> {
        let answer = self.0.call(|reply| Message::Ping(Body { n, data }, reply), None).await;
        match answer.map_err(|e| anyhow!("{e}"))? {
            CallResult::Success(Body { n, data }) => Ok((n, data)),
            CallResult::Timeout => bail!("no answer in time"),
            CallResult::SenderError => bail!("no answer"),
        }
    }
}

async fn node(name: &str, port: u16) -> anyhow::Result<ActorRef<NodeServerMessage>> {
    let node = NodeServer::new(port, COOKIE.into(), name.into(), "localhost".into(), None, None)
        .with_listen_addr(IpAddr::V4(Ipv4Addr::LOCALHOST));
    let (node, _) = Actor::spawn(None, node, ()).await.map_err(|e| anyhow!("{e}"))?;
    Ok(node)
}

fn main() -> anyhow::Result<()> {
    let runtime = peer::runtime()?;
    runtime.block_on(async {
        let own = peer::free_address()?;
        match peer::role()? {
            Role::Callee => {
                let _node = node("callee", own.port()).await?;
                Actor::spawn(None, Echo, ()).await.map_err(|e| anyhow!("{e}"))?;
                peer::serving(&own.to_string())?;
                std::future::pending().await
            }
            Role::Caller(address) => {
                let node = node("caller", own.port()).await?;
                let met = ractor_cluster::client_connect(&node, address).await;
                met.map_err(|e| anyhow!("{e}"))?;
                let echo = loop {
                    match pg::get_members(&GROUP.into()).pop() {
                        Some(echo) => break echo,
                        // Not connected yet.
                        None => tokio::time::sleep(Duration::from_millis(10)).await,
                    }
                };
                let way = Way(ActorRef::from(echo));
                peer::calling(way, |task| drop(tokio::spawn(task))).await
            }
        }
    })
}
