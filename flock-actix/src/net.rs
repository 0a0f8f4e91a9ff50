//! The network: the only place that knows sockets.
//!
//! - `tcp`: those of this machine.
//! - `turmoil` (feature): those of a simulated host.

mod tcp;
#[cfg(feature = "turmoil")]
pub(crate) mod turmoil;

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::BytesMut;

use crate::host::Host;

/// A connection that belongs to the runtime of whoever made it.
#[derive(Debug)]
pub(crate) enum Stream {
    Tcp(tcp::Stream),
    #[cfg(feature = "turmoil")]
    Turmoil(turmoil::Stream),
}

/// The reading half of a connection.
#[derive(Debug)]
pub(crate) enum Reading {
    Tcp(tcp::Reading),
    #[cfg(feature = "turmoil")]
    Turmoil(turmoil::Reading),
}

/// The writing half of a connection. Dropping it tells the other end that no more will come.
#[derive(Debug)]
pub(crate) enum Writing {
    Tcp(tcp::Writing),
    #[cfg(feature = "turmoil")]
    Turmoil(turmoil::Writing),
}

/// Waits for peers on one address.
#[derive(Debug)]
pub(crate) enum Door {
    Tcp(tcp::Door),
    #[cfg(feature = "turmoil")]
    Turmoil(turmoil::Door),
}

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
    pub(crate) async fn open(host: &Host, addresses: &[SocketAddr]) -> io::Result<Self> {
        match host {
            Host::Machine => tcp::Door::open(addresses).await.map(Self::Tcp),
            #[cfg(feature = "turmoil")]
            Host::Turmoil(host) => turmoil::Door::open(host, addresses).map(Self::Turmoil),
        }
    }

    pub(crate) fn address(&self) -> io::Result<SocketAddr> {
        match self {
            Self::Tcp(door) => door.address(),
            #[cfg(feature = "turmoil")]
            Self::Turmoil(door) => Ok(door.address()),
        }
    }

    pub(crate) async fn accept(&self) -> io::Result<(Stream, SocketAddr)> {
        match self {
            Self::Tcp(door) => {
                door.accept().await.map(|(stream, from)| (Stream::Tcp(stream), from))
            }
            #[cfg(feature = "turmoil")]
            Self::Turmoil(door) => {
                door.accept().await.map(|(stream, from)| (Stream::Turmoil(stream), from))
            }
        }
    }
}

/// What `host:port` stands for now.
pub(crate) async fn resolve(host: &Host, address: &str) -> io::Result<Vec<SocketAddr>> {
    match host {
        Host::Machine => tcp::resolve(address).await,
        #[cfg(feature = "turmoil")]
        Host::Turmoil(_) => turmoil::resolve(address),
    }
}

async fn connect(host: &Host, at: SocketAddr) -> io::Result<Stream> {
    match host {
        Host::Machine => tcp::connect(at).await.map(Stream::Tcp),
        #[cfg(feature = "turmoil")]
        Host::Turmoil(host) => turmoil::connect(host, at).await.map(Stream::Turmoil),
    }
}

/// Connects to `host:port`, whose name is looked up now: what it stands for may have changed since
/// the last time. Each address behind the name gets its own `patience`.
pub(crate) async fn dial(
    host: &Host,
    address: &str,
    loopback_only: bool,
    patience: Duration,
) -> Result<Stream, DialError> {
    let found = match tokio::time::timeout(patience, resolve(host, address)).await {
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
        match tokio::time::timeout(patience, connect(host, at)).await {
            Ok(Ok(stream)) => return Ok(stream),
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
pub(crate) enum Afoot {
    Tcp(tcp::Afoot),
    /// There, all threads are one.
    #[cfg(feature = "turmoil")]
    Turmoil(turmoil::Stream),
}

impl Afoot {
    /// Takes a connection from the present runtime.
    pub(crate) fn from(stream: Stream) -> io::Result<Self> {
        match stream {
            Stream::Tcp(stream) => tcp::Afoot::from(stream).map(Self::Tcp),
            #[cfg(feature = "turmoil")]
            Stream::Turmoil(stream) => Ok(Self::Turmoil(stream)),
        }
    }

    /// Makes it a connection of the runtime that calls this.
    pub(crate) fn arrive(self) -> io::Result<Stream> {
        match self {
            Self::Tcp(afoot) => afoot.arrive().map(Stream::Tcp),
            #[cfg(feature = "turmoil")]
            Self::Turmoil(stream) => Ok(Stream::Turmoil(stream)),
        }
    }
}

pub(crate) fn split(stream: Stream) -> (Reading, Writing) {
    match stream {
        Stream::Tcp(stream) => {
            let (reading, writing) = tcp::split(stream);
            (Reading::Tcp(reading), Writing::Tcp(writing))
        }
        #[cfg(feature = "turmoil")]
        Stream::Turmoil(turmoil::Stream(reading, writing)) => {
            (Reading::Turmoil(reading), Writing::Turmoil(writing))
        }
    }
}

/// Undoes [`split`].
pub(crate) fn rejoin(reading: Reading, writing: Writing) -> io::Result<Stream> {
    match (reading, writing) {
        (Reading::Tcp(reading), Writing::Tcp(writing)) => {
            tcp::rejoin(reading, writing).map(Stream::Tcp)
        }
        #[cfg(feature = "turmoil")]
        (Reading::Turmoil(reading), Writing::Turmoil(writing)) => {
            Ok(Stream::Turmoil(turmoil::Stream(reading, writing)))
        }
        #[cfg(feature = "turmoil")]
        _ => Err(io::Error::other("two halves of different connections")),
    }
}

impl Reading {
    pub(crate) async fn readable(&self) -> io::Result<()> {
        match self {
            Self::Tcp(reading) => reading.readable().await,
            #[cfg(feature = "turmoil")]
            Self::Turmoil(reading) => reading.readable().await,
        }
    }

    /// Reads what is there; `Ok(0)` is the end, `WouldBlock` says that nothing is there yet.
    pub(crate) fn try_read(&self, into: &mut BytesMut) -> io::Result<usize> {
        match self {
            Self::Tcp(reading) => reading.try_read(into),
            #[cfg(feature = "turmoil")]
            Self::Turmoil(reading) => reading.try_read(into),
        }
    }
}

impl Writing {
    pub(crate) async fn writable(&self) -> io::Result<()> {
        match self {
            Self::Tcp(writing) => writing.writable().await,
            #[cfg(feature = "turmoil")]
            Self::Turmoil(writing) => writing.writable().await,
        }
    }

    pub(crate) fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(writing) => writing.try_write(bytes),
            #[cfg(feature = "turmoil")]
            Self::Turmoil(writing) => writing.try_write(bytes),
        }
    }
}
