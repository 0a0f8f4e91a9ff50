//! Links between nests with certificates: the handshake, and the two directions after it.
//!
//! rustls keeps both directions in one connection. A lane that seals and one that opens share it, and
//! neither holds it while it waits for the network.

use std::fmt;
use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::{Buf, BytesMut};
use flock_proto::NestName;
use rustls::{Connection, Error};

use super::accept::write_all;
use super::frame::{PREFIX, WIRE};
use super::knock::Knock;
use super::lane::{Incoming, Outgoing, write_rest};
use super::lock;
use crate::tls::{names, speaks_flock};

/// No handshake needs more: certificates are a few KiB.
const MAX_SHAKE: usize = 16 * 1024;

/// Bytes that are read at a time from somebody who hasn't said hello, and from others.
const SMALL: usize = 4 * 1024;
const LARGE: usize = 64 * 1024;

/// The most that is sealed for one write.
const MAX_PLAIN: usize = 64 * 1024;

/// Whoever is refused has so long to read why.
const LAST_WORD: Duration = Duration::from_millis(250);

/// Why two nests don't come together.
#[derive(Debug, thiserror::Error)]
pub(super) enum Broken {
    /// The other end is gone.
    #[error("the connection is lost: {0}")]
    Lost(#[from] io::Error),
    /// It has no certificate: a frame came, this one.
    #[error("it has no certificate, and this nest has one")]
    Frame(Vec<u8>),
    /// What came is no handshake at all.
    #[error("no handshake")]
    Foreign,
    /// More came than a handshake has.
    #[error("more than {MAX_SHAKE} bytes are too long for a handshake")]
    TooLong,
    /// The other end doesn't let this nest in.
    #[error("it doesn't accept this nest's certificate: {0}")]
    Refused(Error),
    /// This nest doesn't let the other one in.
    #[error("{}", crate::tls::why(.0))]
    Distrusted(Error),
}

impl From<Error> for Broken {
    fn from(e: Error) -> Self {
        match e {
            Error::AlertReceived(_) => Self::Refused(e),
            Error::InvalidMessage(_) => Self::Foreign,
            e => Self::Distrusted(e),
        }
    }
}

/// The two directions of a link between nests that have shown each other their certificates.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) sealer: Sealer,
    pub(super) opener: Opener,
}

/// Speaks until both ends know each other, or one of them says no.
pub(super) async fn shake(
    mut tls: Connection,
    incoming: &mut Incoming,
    outgoing: &Outgoing,
) -> Result<Session, Broken> {
    let (mut heard, mut came) = (BytesMut::new(), 0);
    loop {
        say(&mut tls, outgoing).await?;
        if !tls.is_handshaking() {
            break;
        }
        incoming.readable().await?;
        heard.reserve(SMALL);
        match incoming.try_read(&mut heard) {
            Ok(0) => return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into()),
            Ok(n) => came += n,
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => continue,
            Err(e) => return Err(e.into()),
        }
        if came > MAX_SHAKE {
            return Err(Broken::TooLong);
        }
        if came == heard.len() {
            match first_frame(&heard) {
                First::Frame(frame) => return Err(Broken::Frame(frame)),
                First::Unclear => continue,
                First::Other => {}
            }
        }
        while !heard.is_empty() && tls.is_handshaking() {
            if let Err(e) = feed(&mut tls, &mut heard) {
                // Why, for the other end. If it doesn't hear this, it will wonder.
                let _ = say(&mut tls, outgoing).await;
                return Err(e.into());
            }
        }
    }
    if !speaks_flock(tls.alpn_protocol()) {
        return Err(Broken::Foreign);
    }
    let certificate = tls.peer_certificates().and_then(<[_]>::first);
    let names = names(certificate.ok_or(Error::NoCertificatesPresented)?)?;
    let shared = Arc::new(Mutex::new(tls));
    let sealer = Sealer { tls: shared.clone(), record: Vec::new(), sent: 0, holds: 0 };
    let opener = Opener { tls: shared, names, sealed: heard, at_a_time: SMALL, fresh: true };
    Ok(Session { sealer, opener })
}

/// Lets whoever was refused read why: what it has sent meanwhile, and nobody has read, would otherwise make
/// the connection end by a reset, which overtakes the reason.
pub(super) async fn hear_out(mut incoming: Incoming, outgoing: Outgoing) {
    drop(outgoing);
    let listen = async {
        let (mut some, mut came) = (BytesMut::new(), 0);
        while came < MAX_SHAKE && incoming.readable().await.is_ok() {
            some.clear();
            some.reserve(SMALL);
            match incoming.try_read(&mut some) {
                Ok(n @ 1..) => came += n,
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
                Ok(0) | Err(_) => return,
            }
        }
    };
    let _ = tokio::time::timeout(LAST_WORD, listen).await;
}

/// What stands at the beginning of what a stranger says.
enum First {
    /// A frame of somebody who has no certificate.
    Frame(Vec<u8>),
    /// Too little to say.
    Unclear,
    Other,
}

fn first_frame(heard: &[u8]) -> First {
    let (Some(prefix), 5..) = (heard.first_chunk::<PREFIX>(), heard.len()) else {
        return First::Unclear;
    };
    let length = u32::from_le_bytes(*prefix) as usize;
    // A record of TLS has its version there: as a length, that is more than 64 KiB.
    if length > MAX_SHAKE || heard.get(PREFIX) != Some(&WIRE) {
        return First::Other;
    }
    match heard.get(PREFIX..PREFIX + length) {
        Some(frame) => First::Frame(frame.to_vec()),
        None => First::Unclear,
    }
}

async fn say(tls: &mut Connection, outgoing: &Outgoing) -> io::Result<()> {
    let mut said = Vec::new();
    while tls.wants_write() {
        tls.write_tls(&mut said)?;
    }
    write_all(outgoing, &said).await
}

/// Has some of what came looked at.
fn feed(tls: &mut Connection, heard: &mut BytesMut) -> Result<(), Error> {
    let read = tls.read_tls(&mut &heard[..]).map_err(|e| Error::General(e.to_string()))?;
    heard.advance(read);
    tls.process_new_packets()?;
    Ok(())
}

/// The word of an error with which the other end refused this nest, after its own handshake was done.
pub(super) fn refused(e: &io::Error) -> Option<Broken> {
    let error = e.get_ref()?.downcast_ref::<Error>()?;
    matches!(error, Error::AlertReceived(_)).then(|| Broken::Refused(error.clone()))
}

/// Seals what leaves.
pub(super) struct Sealer {
    tls: Arc<Mutex<Connection>>,
    /// Records that are leaving, those before `sent` have left. Kept from one write to the next.
    record: Vec<u8>,
    sent: usize,
    /// The bytes that they stand for.
    holds: usize,
}

impl Sealer {
    /// Seals and writes the first of these bytes, and says how many of them have left. What was offered
    /// once and hasn't left must be offered again, with whatever behind it.
    pub(super) fn try_write(
        &mut self,
        bytes: &[u8],
        write: impl Fn(&[u8]) -> io::Result<usize>,
    ) -> io::Result<usize> {
        if self.sent == self.record.len() {
            if bytes.is_empty() {
                return Ok(0);
            }
            self.seal(bytes)?;
        }
        write_rest(&self.record, &mut self.sent, write)?;
        Ok(self.holds)
    }

    fn seal(&mut self, bytes: &[u8]) -> io::Result<()> {
        let plain = bytes.get(..MAX_PLAIN).unwrap_or(bytes);
        let mut tls = lock(&self.tls);
        self.record.clear();
        (self.sent, self.holds) = (0, io::Write::write(&mut tls.writer(), plain)?);
        // The reader may have left something to say, too: new keys.
        while tls.wants_write() {
            tls.write_tls(&mut self.record)?;
        }
        if self.holds == 0 { Err(io::ErrorKind::WriteZero.into()) } else { Ok(()) }
    }
}

/// Opens what comes.
pub(super) struct Opener {
    tls: Arc<Mutex<Connection>>,
    /// Those that the other end may go by.
    names: Vec<String>,
    /// What came and is not opened.
    sealed: BytesMut,
    at_a_time: usize,
    /// The handshake may have left something that is open already.
    fresh: bool,
}

impl Opener {
    /// The other end has said hello: more may be read at a time.
    pub(super) const fn trust(&mut self) {
        self.at_a_time = LARGE;
    }

    /// There is something to read without waiting.
    pub(super) fn is_ready(&self) -> bool {
        self.fresh || !self.sealed.is_empty()
    }

    /// Whether the other end may go by this name; if not, by which.
    pub(super) fn vouches_for(&self, name: &NestName) -> Result<(), String> {
        if self.names.iter().any(|own| own == name.as_str()) {
            return Ok(());
        }
        Err(format!("it calls itself {name}, and its certificate is for {}", self.names.join(", ")))
    }

    /// Opens what there is of whole records. `Ok(0)` is the end.
    ///
    /// # Errors
    /// `InvalidData`: a record is too long, or doesn't open; nothing after it will. Or, with the alert
    /// within, the other end has said that it won't go on.
    pub(super) fn try_read(
        &mut self,
        into: &mut BytesMut,
        read: impl Fn(&mut BytesMut) -> io::Result<usize>,
    ) -> io::Result<usize> {
        loop {
            let before = into.len();
            let over = self.open(into)?;
            self.fresh = false;
            match into.len() - before {
                0 if over => return Ok(0),
                0 => {}
                n => return Ok(n),
            }
            self.sealed.reserve(self.at_a_time);
            if read(&mut self.sealed)? == 0 {
                return Ok(0);
            }
        }
    }

    /// Says whether the other end has said that this was all.
    fn open(&mut self, into: &mut BytesMut) -> io::Result<bool> {
        let mut tls = lock(&self.tls);
        loop {
            if drain(&mut tls, into)? {
                return Ok(true);
            }
            if self.sealed.is_empty() {
                return Ok(false);
            }
            let bad = |e| io::Error::new(io::ErrorKind::InvalidData, e);
            feed(&mut tls, &mut self.sealed).map_err(bad)?;
        }
    }
}

/// Takes what is open. True: no more will come.
fn drain(tls: &mut Connection, into: &mut BytesMut) -> io::Result<bool> {
    use io::BufRead as _;
    loop {
        let mut reader = tls.reader();
        match reader.fill_buf() {
            Ok([]) => return Ok(true),
            Ok(some) => {
                let taken = some.len();
                into.extend_from_slice(some);
                reader.consume(taken);
            }
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(false),
            Err(e) => return Err(e),
        }
    }
}

/// What a nest without a certificate says of it.
pub(super) fn barred(frame: &[u8]) -> Option<super::knock::Bar> {
    match Knock::decode(frame) {
        Some(Knock::Barred(bar)) => Some(bar),
        _ => None,
    }
}

impl fmt::Debug for Sealer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sealer").finish_non_exhaustive()
    }
}

impl fmt::Debug for Opener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Opener").field("names", &self.names).finish_non_exhaustive()
    }
}
