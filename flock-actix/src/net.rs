//! The network: the only place that names socket types, so that a simulated network can take its
//! place.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::BytesMut;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};

/// A connection that belongs to the runtime of whoever made it.
pub(crate) type Stream = TcpStream;

/// The reading half of a connection.
#[derive(Debug)]
pub(crate) struct Reading(OwnedReadHalf);

/// The writing half of a connection. Dropping it tells the other end that no more will come.
#[derive(Debug)]
pub(crate) struct Writing(OwnedWriteHalf);

/// Waits for peers on one address.
#[derive(Debug)]
pub(crate) struct Door(TcpListener);

/// Why nobody could be reached.
#[derive(Debug)]
pub(crate) struct DialError {
    /// A host answered, and nobody listens there.
    pub(crate) refused: bool,
    /// In words.
    pub(crate) why: String,
}

impl DialError {
    pub(crate) fn new(why: impl Into<String>) -> Self {
        Self { refused: false, why: why.into() }
    }
}

impl Door {
    /// Opens the first of these addresses that can be had.
    pub(crate) async fn open(addresses: &[SocketAddr]) -> io::Result<Self> {
        TcpListener::bind(addresses).await.map(Self)
    }

    pub(crate) fn address(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
    }

    pub(crate) async fn accept(&self) -> io::Result<(Stream, SocketAddr)> {
        let (stream, from) = self.0.accept().await?;
        stream.set_nodelay(true)?;
        Ok((stream, from))
    }
}

/// What `host:port` stands for now.
pub(crate) async fn resolve(address: &str) -> io::Result<Vec<SocketAddr>> {
    Ok(tokio::net::lookup_host(address).await?.collect())
}

/// Connects to `host:port`, whose name is looked up now: what it stands for may have changed since
/// the last time. Each address behind the name gets its own `patience`.
pub(crate) async fn dial(
    address: &str,
    loopback_only: bool,
    patience: Duration,
) -> Result<Stream, DialError> {
    let found = match tokio::time::timeout(patience, resolve(address)).await {
        Ok(Ok(found)) => found,
        Ok(Err(e)) => return Err(DialError::new(format!("{address} has no address: {e}"))),
        Err(_) => return Err(DialError::new(format!("looking up {address} took too long"))),
    };
    let mut last = DialError::new(format!("{address} has no address"));
    for at in found {
        if loopback_only && !at.ip().is_loopback() {
            last = DialError::new(format!("{at} is not a loopback address and no key is set"));
            continue;
        }
        match tokio::time::timeout(patience, TcpStream::connect(at)).await {
            Ok(Ok(stream)) => match stream.set_nodelay(true) {
                Ok(()) => return Ok(stream),
                Err(e) => last = DialError::new(format!("{at}: {e}")),
            },
            Ok(Err(e)) => {
                let refused = e.kind() == io::ErrorKind::ConnectionRefused;
                last = DialError { refused, why: format!("{at}: {e}") };
            }
            Err(_) => last = DialError::new(format!("{at} doesn't answer")),
        }
    }
    Err(last)
}

/// A connection on its way to another thread's runtime.
#[derive(Debug)]
pub(crate) struct Afoot(std::net::TcpStream);

impl Afoot {
    /// Takes a connection from the present runtime.
    pub(crate) fn from(stream: Stream) -> io::Result<Self> {
        stream.into_std().map(Self)
    }

    /// Makes it a connection of the runtime that calls this.
    pub(crate) fn arrive(self) -> io::Result<Stream> {
        TcpStream::from_std(self.0)
    }
}

pub(crate) fn split(stream: Stream) -> (Reading, Writing) {
    let (reading, writing) = stream.into_split();
    (Reading(reading), Writing(writing))
}

/// Undoes [`split`].
pub(crate) fn rejoin(reading: Reading, writing: Writing) -> io::Result<Stream> {
    reading.0.reunite(writing.0).map_err(io::Error::other)
}

impl Reading {
    pub(crate) async fn readable(&self) -> io::Result<()> {
        self.0.readable().await
    }

    /// Reads what is there; `Ok(0)` is the end, `WouldBlock` says that nothing is there yet.
    pub(crate) fn try_read(&self, into: &mut BytesMut) -> io::Result<usize> {
        self.0.try_read_buf(into)
    }
}

impl Writing {
    pub(crate) async fn writable(&self) -> io::Result<()> {
        self.0.writable().await
    }

    pub(crate) fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        self.0.try_write(bytes)
    }
}
