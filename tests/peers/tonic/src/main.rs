//! tonic: unary calls over one HTTP/2 channel, which all callers share.

use anyhow::Context as _;
use peer::Role;
use tokio::net::TcpListener;
use tonic::transport::server::TcpIncoming;
use tonic::transport::{Channel, Endpoint, Server};
use tonic::{Request, Response, Status};

use generated::echo_client::EchoClient;
use generated::echo_server::{Echo, EchoServer};

mod generated {
    tonic::include_proto!("peer.Echo");
}

#[derive(Clone, PartialEq, prost::Message)]
struct Ping {
    #[prost(uint64, tag = "1")]
    n: u64,
    #[prost(bytes = "vec", tag = "2")]
    data: Vec<u8>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Pong {
    #[prost(uint64, tag = "1")]
    n: u64,
    #[prost(bytes = "vec", tag = "2")]
    data: Vec<u8>,
}

struct Service;

#[tonic::async_trait]
impl Echo for Service {
    async fn call(&self, ping: Request<Ping>) -> Result<Response<Pong>, Status> {
        let Ping { n, data } = ping.into_inner();
        Ok(Response::new(Pong { n, data }))
    }
}

#[derive(Clone)]
struct Way(EchoClient<Channel>);

impl peer::Call for Way {
    async fn call(&self, n: u64, data: Vec<u8>) -> anyhow::Result<(u64, Vec<u8>)> {
        let Pong { n, data } = self.0.clone().call(Ping { n, data }).await?.into_inner();
        Ok((n, data))
    }
}

fn main() -> anyhow::Result<()> {
    let runtime = peer::runtime()?;
    runtime.block_on(async {
        match peer::role()? {
            Role::Callee => {
                let door = TcpListener::bind("127.0.0.1:0").await?;
                peer::serving(&format!("http://{}", door.local_addr()?))?;
                let door = TcpIncoming::from(door).with_nodelay(Some(true));
                let server = Server::builder().add_service(EchoServer::new(Service));
                Ok(server.serve_with_incoming(door).await?)
            }
            Role::Caller(address) => {
                let channel = Endpoint::from_shared(address)?.connect().await;
                let way = Way(EchoClient::new(channel.context("the channel")?));
                peer::calling(way, |task| drop(tokio::spawn(task))).await
            }
        }
    })
}
