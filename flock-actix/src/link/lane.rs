//! The two directions of an open connection, as it is or sealed: where bytes that frames are made of
//! become bytes on the network.

use std::io;
#[cfg(feature = "noise")]
use std::sync::Mutex;

use bytes::BytesMut;

#[cfg(feature = "noise")]
use super::lock;
#[cfg(feature = "noise")]
use super::noise::Session;
#[cfg(feature = "noise")]
use super::record::{Opener, Sealer};
use crate::net::{self, Afoot, Reading, Stream, Writing};

/// What comes from a peer.
#[derive(Debug)]
pub(crate) struct Incoming {
    reading: Reading,
    #[cfg(feature = "noise")]
    opener: Option<Opener>,
}

/// What goes to a peer. Dropping it tells the peer that no more will come.
#[derive(Debug)]
pub(crate) struct Outgoing {
    writing: Writing,
    /// Two threads write at one time or another, so it has a lock; never both at once.
    #[cfg(feature = "noise")]
    sealer: Option<Mutex<Sealer>>,
}

/// Both directions of a connection, not sealed yet.
pub(crate) fn lanes(stream: Stream) -> (Incoming, Outgoing) {
    let (reading, writing) = net::split(stream);
    let incoming = Incoming {
        reading,
        #[cfg(feature = "noise")]
        opener: None,
    };
    let outgoing = Outgoing {
        writing,
        #[cfg(feature = "noise")]
        sealer: None,
    };
    (incoming, outgoing)
}

/// From now on everything on them is sealed.
#[cfg(feature = "noise")]
pub(crate) fn seal(incoming: &mut Incoming, outgoing: &mut Outgoing, session: Session) {
    incoming.opener = Some(session.opener);
    outgoing.sealer = Some(Mutex::new(session.sealer));
}

impl Incoming {
    /// Resolves when [`try_read`](Self::try_read) has something to read.
    pub(crate) async fn readable(&self) -> io::Result<()> {
        #[cfg(feature = "noise")]
        if self.opener.as_ref().is_some_and(Opener::is_ready) {
            return Ok(());
        }
        self.reading.readable().await
    }

    /// Reads what is there; `Ok(0)` is the end, `WouldBlock` says that nothing is there yet, and
    /// `InvalidData` that somebody has meddled with it.
    pub(crate) fn try_read(&mut self, into: &mut BytesMut) -> io::Result<usize> {
        #[cfg(feature = "noise")]
        if let Some(opener) = &mut self.opener {
            return opener.try_read(into, |sealed| self.reading.try_read(sealed));
        }
        self.reading.try_read(into)
    }

    /// The peer is known now.
    pub(crate) const fn trust(&mut self) {
        #[cfg(feature = "noise")]
        if let Some(opener) = &mut self.opener {
            opener.trust();
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
        #[cfg(feature = "noise")]
        if let Some(sealer) = &self.sealer {
            return lock(sealer).try_write(bytes, |sealed| self.writing.try_write(sealed));
        }
        self.writing.try_write(bytes)
    }
}

/// A connection on its way to another thread's runtime.
#[derive(Debug)]
pub(crate) struct Moving {
    afoot: Afoot,
    #[cfg(feature = "noise")]
    session: (Option<Opener>, Option<Mutex<Sealer>>),
}

impl Moving {
    /// Takes a connection from the present runtime.
    pub(crate) fn from(incoming: Incoming, outgoing: Outgoing) -> io::Result<Self> {
        Ok(Self {
            afoot: net::rejoin(incoming.reading, outgoing.writing).and_then(Afoot::from)?,
            #[cfg(feature = "noise")]
            session: (incoming.opener, outgoing.sealer),
        })
    }

    /// Makes it a connection of the runtime that calls this.
    pub(crate) fn arrive(self) -> io::Result<(Incoming, Outgoing)> {
        #[cfg_attr(not(feature = "noise"), expect(unused_mut, reason = "nothing is sealed"))]
        let (mut incoming, mut outgoing) = lanes(self.afoot.arrive()?);
        #[cfg(feature = "noise")]
        {
            (incoming.opener, outgoing.sealer) = self.session;
        }
        Ok((incoming, outgoing))
    }
}
