//! The network of this machine.

use std::io;
use std::net::SocketAddr;

use bytes::BytesMut;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};

pub(crate) type Stream = TcpStream;

#[derive(Debug)]
pub(crate) struct Reading(OwnedReadHalf);

#[derive(Debug)]
pub(crate) struct Writing(OwnedWriteHalf);

#[derive(Debug)]
pub(crate) struct Door(TcpListener);

#[derive(Debug)]
pub(crate) struct Afoot(std::net::TcpStream);

impl Door {
    pub(super) async fn open(addresses: &[SocketAddr]) -> io::Result<Self> {
        TcpListener::bind(addresses).await.map(Self)
    }

    pub(super) fn address(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
    }

    pub(super) async fn accept(&self) -> io::Result<(Stream, SocketAddr)> {
        let (stream, from) = self.0.accept().await?;
        stream.set_nodelay(true)?;
        Ok((stream, from))
    }
}

pub(super) async fn resolve(address: &str) -> io::Result<Vec<SocketAddr>> {
    Ok(tokio::net::lookup_host(address).await?.collect())
}

pub(super) async fn connect(at: SocketAddr) -> io::Result<Stream> {
    let stream = TcpStream::connect(at).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

impl Afoot {
    pub(super) fn from(stream: Stream) -> io::Result<Self> {
        stream.into_std().map(Self)
    }

    pub(super) fn arrive(self) -> io::Result<Stream> {
        TcpStream::from_std(self.0)
    }
}

pub(super) fn split(stream: Stream) -> (Reading, Writing) {
    let (reading, writing) = stream.into_split();
    (Reading(reading), Writing(writing))
}

pub(super) fn rejoin(reading: Reading, writing: Writing) -> io::Result<Stream> {
    reading.0.reunite(writing.0).map_err(io::Error::other)
}

impl Reading {
    pub(super) async fn readable(&self) -> io::Result<()> {
        self.0.readable().await
    }

    pub(super) fn try_read(&self, into: &mut BytesMut) -> io::Result<usize> {
        self.0.try_read_buf(into)
    }
}

impl Writing {
    pub(super) async fn writable(&self) -> io::Result<()> {
        self.0.writable().await
    }

    pub(super) fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        self.0.try_write(bytes)
    }
}
