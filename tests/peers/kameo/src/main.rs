//! kameo: asks to a registered actor of another peer.

use std::time::Duration;

use anyhow::{Context as _, anyhow, bail};
use futures::StreamExt as _;
use kameo::Actor;
use kameo::actor::{RemoteActorRef, Spawn as _};
use kameo::message::{Context, Message};
use kameo::remote::{self, messaging};
use kameo::{RemoteActor, Reply, remote_message};
use libp2p::identity::Keypair;
use libp2p::multiaddr::Protocol;
use libp2p::swarm::{NetworkBehaviour, SwarmEvent};
use libp2p::{Multiaddr, Swarm, SwarmBuilder, plaintext, tcp, yamux};
use peer::Role;
use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;

/// By which the actor is registered.
const NAME: &str = "echo";

/// Calls under way at a time. By default there are 100, and those beyond fail.
const STREAMS: usize = 4096;

#[derive(Serialize, Deserialize)]
struct Ping {
    n: u64,
    #[serde(with = "serde_bytes")]
    data: Vec<u8>,
}

#[derive(Reply, Serialize, Deserialize)]
struct Pong {
    n: u64,
    #[serde(with = "serde_bytes")]
    data: Vec<u8>,
}

#[derive(Actor, RemoteActor)]
struct Echo;

#[remote_message]
impl Message<Ping> for Echo {
    type Reply = Pong;

    async fn handle(&mut self, Ping { n, data }: Ping, _: &mut Context<Self, Pong>) -> Pong {
        Pong { n, data }
    }
}

#[derive(Clone)]
struct Way(RemoteActorRef<Echo>);

impl peer::Call for Way {
    async fn call(&self, n: u64, data: Vec<u8>) -> anyhow::Result<(u64, Vec<u8>)> {
        let Pong { n, data } = self.0.ask(&Ping { n, data }).send().await?;
        Ok((n, data))
    }
}

#[derive(NetworkBehaviour)]
struct Behaviour {
    kameo: remote::Behaviour,
}

fn plain(key: &Keypair) -> Result<plaintext::Config, std::io::Error> {
    Ok(plaintext::Config::new(key))
}

/// Without encryption, as flock on the loopback.
fn swarm() -> anyhow::Result<Swarm<Behaviour>> {
    let swarm = SwarmBuilder::with_new_identity()
        .with_tokio()
        .with_tcp(tcp::Config::default().nodelay(true), plain, yamux::Config::default)?
        .with_behaviour(|key| {
            let config = messaging::Config::default().with_max_concurrent_streams(STREAMS);
            Behaviour { kameo: remote::Behaviour::new(key.public().to_peer_id(), config) }
        })?
        .with_swarm_config(|config| config.with_idle_connection_timeout(Duration::from_secs(3600)))
        .build();
    swarm.behaviour().kameo.try_init_global()?;
    Ok(swarm)
}

/// Lets the swarm run, and says where it listens.
async fn run(mut swarm: Swarm<Behaviour>) -> anyhow::Result<Multiaddr> {
    swarm.listen_on("/ip4/127.0.0.1/tcp/0".parse()?)?;
    let (tell, told) = oneshot::channel();
    let mut tell = Some(tell);
    let me = *swarm.local_peer_id();
    tokio::spawn(async move {
        loop {
            if let SwarmEvent::NewListenAddr { address, .. } = swarm.select_next_some().await
                && let Some(tell) = tell.take()
            {
                let _ = tell.send(address);
            }
        }
    });
    told.await?.with_p2p(me).map_err(|e| anyhow!("{e} is another's"))
}

fn main() -> anyhow::Result<()> {
    let runtime = peer::runtime()?;
    runtime.block_on(async {
        let mut swarm = swarm()?;
        match peer::role()? {
            Role::Callee => {
                let own = run(swarm).await?;
                Echo::spawn(Echo).register(NAME).await.context("the actor")?;
                peer::serving(&own.to_string())?;
                std::future::pending().await
            }
            Role::Caller(address) => {
                let there: Multiaddr = address.parse()?;
                let Some(Protocol::P2p(peer)) = there.iter().last() else {
                    bail!("{there} doesn't say whose it is")
                };
                // Else the other wouldn't be asked where the actor is.
                swarm.add_peer_address(peer, there.clone());
                swarm.dial(there)?;
                run(swarm).await?;
                let echo = loop {
                    match RemoteActorRef::lookup(NAME).await {
                        Ok(Some(echo)) => break echo,
                        // Not connected yet.
                        Ok(None) | Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
                    }
                };
                peer::calling(Way(echo), |task| drop(tokio::spawn(task))).await
            }
        }
    })
}
