//! The two directions of an open connection, as it is or sealed: where bytes that frames are made of
//! become bytes on the network.

use std::io;
#[cfg(any(feature = "noise", feature = "tls"))]
use std::sync::Mutex;

use bytes::BytesMut;
use flock_proto::NestName;

#[cfg(any(feature = "noise", feature = "tls"))]
use super::lock;
#[cfg(feature = "tls")]
use super::tls;
#[cfg(feature = "noise")]
use super::{noise, record};
use crate::net::{self, Afoot, Reading, Stream, Writing};

/// What comes from a peer.
#[derive(Debug)]
pub(crate) struct Incoming {
    reading: Reading,
    opens: Opens,
}

/// What goes to a peer. Dropping it tells the peer that no more will come.
#[derive(Debug)]
pub(crate) struct Outgoing {
    writing: Writing,
    seals: Seals,
}

#[derive(Debug)]
enum Opens {
    Nothing,
    #[cfg(feature = "noise")]
    Noise(record::Opener),
    #[cfg(feature = "tls")]
    Tls(tls::Opener),
}

/// Two threads write at one time or another, so there are locks; never both at once.
#[derive(Debug)]
enum Seals {
    Nothing,
    #[cfg(feature = "noise")]
    Noise(Mutex<record::Sealer>),
    #[cfg(feature = "tls")]
    Tls(Mutex<tls::Sealer>),
}

/// Both directions of a connection, not sealed yet.
pub(crate) fn lanes(stream: Stream) -> (Incoming, Outgoing) {
    let (reading, writing) = net::split(stream);
    (Incoming { reading, opens: Opens::Nothing }, Outgoing { writing, seals: Seals::Nothing })
}

/// From now on everything on them is sealed.
#[cfg(feature = "noise")]
pub(crate) fn seal(incoming: &mut Incoming, outgoing: &mut Outgoing, session: noise::Session) {
    incoming.opens = Opens::Noise(session.opener);
    outgoing.seals = Seals::Noise(Mutex::new(session.sealer));
}

/// The same, by certificates.
#[cfg(feature = "tls")]
pub(super) fn seal_tls(incoming: &mut Incoming, outgoing: &mut Outgoing, session: tls::Session) {
    incoming.opens = Opens::Tls(session.opener);
    outgoing.seals = Seals::Tls(Mutex::new(session.sealer));
}

impl Incoming {
    /// Resolves when [`try_read`](Self::try_read) has something to read.
    pub(crate) async fn readable(&self) -> io::Result<()> {
        let ready = match &self.opens {
            Opens::Nothing => false,
            #[cfg(feature = "noise")]
            Opens::Noise(opener) => opener.is_ready(),
            #[cfg(feature = "tls")]
            Opens::Tls(opener) => opener.is_ready(),
        };
        if ready { Ok(()) } else { self.reading.readable().await }
    }

    /// Reads what is there; `Ok(0)` is the end, `WouldBlock` says that nothing is there yet, and
    /// `InvalidData` that somebody has meddled with it.
    pub(crate) fn try_read(&mut self, into: &mut BytesMut) -> io::Result<usize> {
        match &mut self.opens {
            Opens::Nothing => self.reading.try_read(into),
            #[cfg(feature = "noise")]
            Opens::Noise(opener) => opener.try_read(into, |sealed| self.reading.try_read(sealed)),
            #[cfg(feature = "tls")]
            Opens::Tls(opener) => opener.try_read(into, |sealed| self.reading.try_read(sealed)),
        }
    }

    /// The peer is known now.
    pub(crate) const fn trust(&mut self) {
        match &mut self.opens {
            Opens::Nothing => {}
            #[cfg(feature = "noise")]
            Opens::Noise(opener) => opener.trust(),
            #[cfg(feature = "tls")]
            Opens::Tls(opener) => opener.trust(),
        }
    }

    /// Whether the peer may go by this name; if not, why.
    #[cfg_attr(not(feature = "tls"), expect(unused_variables, reason = "nobody shows a name"))]
    pub(super) fn vouches_for(&self, name: &NestName) -> Result<(), String> {
        match &self.opens {
            #[cfg(feature = "tls")]
            Opens::Tls(opener) => opener.vouches_for(name),
            // All who have the key may go by any.
            _ => Ok(()),
        }
    }
}

impl Outgoing {
    pub(crate) async fn writable(&self) -> io::Result<()> {
        self.writing.writable().await
    }

    /// Says how many of these bytes have left. Those that have not must be offered again before any
    /// others: some may be sealed already.
    pub(crate) fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        match &self.seals {
            Seals::Nothing => self.writing.try_write(bytes),
            #[cfg(feature = "noise")]
            Seals::Noise(sealer) => {
                lock(sealer).try_write(bytes, |sealed| self.writing.try_write(sealed))
            }
            #[cfg(feature = "tls")]
            Seals::Tls(sealer) => {
                lock(sealer).try_write(bytes, |sealed| self.writing.try_write(sealed))
            }
        }
    }
}

/// Writes what hasn't left yet of a sealed record, and counts it.
#[cfg(any(feature = "noise", feature = "tls"))]
pub(super) fn write_rest(
    record: &[u8],
    sent: &mut usize,
    write: impl Fn(&[u8]) -> io::Result<usize>,
) -> io::Result<()> {
    while let Some(rest @ [_, ..]) = record.get(*sent..) {
        match write(rest)? {
            0 => return Err(io::ErrorKind::WriteZero.into()),
            n => *sent += n,
        }
    }
    Ok(())
}

/// A connection on its way to another thread's runtime.
#[derive(Debug)]
pub(crate) struct Moving {
    afoot: Afoot,
    opens: Opens,
    seals: Seals,
}

impl Moving {
    /// Takes a connection from the present runtime.
    pub(crate) fn from(incoming: Incoming, outgoing: Outgoing) -> io::Result<Self> {
        Ok(Self {
            afoot: net::rejoin(incoming.reading, outgoing.writing).and_then(Afoot::from)?,
            opens: incoming.opens,
            seals: outgoing.seals,
        })
    }

    /// Makes it a connection of the runtime that calls this.
    pub(crate) fn arrive(self) -> io::Result<(Incoming, Outgoing)> {
        let (mut incoming, mut outgoing) = lanes(self.afoot.arrive()?);
        (incoming.opens, outgoing.seals) = (self.opens, self.seals);
        Ok((incoming, outgoing))
    }
}
