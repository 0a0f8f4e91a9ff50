//! Speaks with a nest as a nest would, byte by byte, and without the crate that is under attack.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::TcpStream;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, bail, ensure};
use flock_proto::{Hlc, NestId, Time};
use serde::{Deserialize, Serialize};
use snow::StatelessTransportState;

pub(super) const WIRE: u8 = 1;
pub(super) const HELLO: u8 = 1;
pub(super) const WELCOME: u8 = 2;
pub(super) const REFUSE: u8 = 3;
pub(super) const LOCK: u8 = 4;
pub(super) const UNLOCK: u8 = 5;
pub(super) const BARRED: u8 = 6;

/// The flock that is attacked.
pub(super) const FLOCK: &str = "flock-tests";

/// A key, for those who have one.
pub(super) type Key = [u8; 32];

/// Longer than any nest takes, so that a nest that hangs fails the run instead of blocking it.
const PATIENCE: Duration = Duration::from_secs(10);

/// What one sealed record carries at most.
const MAX_PLAIN: usize = 65_535 - 16;

/// The body of a hello and of a welcome.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Hello {
    pub(super) magic: String,
    pub(super) flock: String,
    pub(super) min: u8,
    pub(super) max: u8,
    pub(super) nest: String,
    pub(super) id: NestId,
    pub(super) address: String,
    pub(super) clock: Hlc,
    pub(super) link: String,
    pub(super) nonce: u64,
}

impl Hello {
    /// One that is welcome. `link`: "Control" or "Data".
    pub(super) fn good(who: u64, link: &str) -> Self {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self {
            magic: "flock".into(),
            flock: FLOCK.into(),
            min: WIRE,
            max: WIRE,
            nest: format!("mallory-{who}"),
            id: id(who),
            address: "127.0.0.1:1".into(),
            clock: Hlc::at(Time::default() + now),
            link: link.into(),
            nonce: 7,
        }
    }

    pub(super) fn frame(&self) -> Vec<u8> {
        let body = rmp_serde::to_vec_named(self).unwrap_or_default();
        framed(&[&[WIRE, HELLO], &body[..]].concat())
    }
}

/// The incarnation that an attacker claims to be.
pub(super) const fn id(who: u64) -> NestId {
    NestId(0x0666_0000_0000_0000 + who)
}

/// A frame with its length in front.
pub(super) fn framed(frame: &[u8]) -> Vec<u8> {
    let length = u32::try_from(frame.len()).unwrap_or(u32::MAX);
    [&length.to_le_bytes(), frame].concat()
}

/// A connection of somebody who said a good hello, and was welcome.
pub(super) struct Peer {
    stream: TcpStream,
    seal: Option<Seal>,
    /// The nest that it is a connection to.
    pub(super) victim: NestId,
}

struct Seal {
    ciphers: StatelessTransportState,
    next: u64,
}

impl Peer {
    /// Comes in, with the key where there is one.
    pub(super) fn welcome(
        address: &str,
        key: Option<&Key>,
        who: u64,
        link: &str,
    ) -> anyhow::Result<Self> {
        Self::welcome_on(connect(address)?, key, who, link)
    }

    /// The same on a connection that is open.
    pub(super) fn welcome_on(
        mut stream: TcpStream,
        key: Option<&Key>,
        who: u64,
        link: &str,
    ) -> anyhow::Result<Self> {
        let mut seal = key.map(|key| shake_hands(&mut stream, FLOCK, key)).transpose()?;
        let hello = Hello::good(who, link).frame();
        let welcome = match &mut seal {
            None => {
                stream.write_all(&hello)?;
                read_frame(&mut stream)?
            }
            Some(seal) => {
                stream.write_all(&seal.sealed(&hello)?)?;
                let opened = read_record(&mut stream, seal)?;
                opened.get(4..).unwrap_or_default().to_vec()
            }
        };
        let body = match welcome.as_slice() {
            [WIRE, WELCOME, body @ ..] => body,
            other => bail!("not welcome: {}", String::from_utf8_lossy(other)),
        };
        let by: Hello = rmp_serde::from_slice(body).context("a welcome that can't be read")?;
        Ok(Self { stream, seal, victim: by.id })
    }

    /// Says something, sealed where it must be. An error: the nest hung up.
    pub(super) fn say(&mut self, bytes: &[u8]) -> anyhow::Result<()> {
        match &mut self.seal {
            None => self.stream.write_all(bytes)?,
            Some(seal) => self.stream.write_all(&seal.sealed(bytes)?)?,
        }
        Ok(())
    }

    /// Reads and forgets what there is.
    pub(super) fn hear(&mut self) -> anyhow::Result<()> {
        self.stream.set_nonblocking(true)?;
        let mut room = [0; 64 << 10];
        let end = loop {
            match self.stream.read(&mut room) {
                Ok(0) => break Err(std::io::Error::from(ErrorKind::UnexpectedEof)),
                Ok(_) => {}
                Err(e) if e.kind() == ErrorKind::WouldBlock => break Ok(()),
                Err(e) => break Err(e),
            }
        };
        self.stream.set_nonblocking(false)?;
        Ok(end?)
    }

    /// From now on it gives up soon if the nest takes nothing more.
    pub(super) fn hurry(&self) -> anyhow::Result<()> {
        Ok(self.stream.set_write_timeout(Some(Duration::from_millis(100)))?)
    }
}

pub(super) fn connect(address: &str) -> anyhow::Result<TcpStream> {
    let stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    Ok(stream)
}

/// A connection of which the system takes next to nothing in that nobody reads.
pub(super) fn connect_narrow(address: &str) -> anyhow::Result<TcpStream> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let address = address.parse()?;
    let stream = runtime.block_on(async {
        let socket = tokio::net::TcpSocket::new_v4()?;
        socket.set_recv_buffer_size(4096)?;
        socket.connect(address).await?.into_std()
    })?;
    stream.set_nonblocking(false)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    Ok(stream)
}

/// The first message of a handshake with this key, for this flock, in this wire version.
pub(super) fn lock(flock: &str, version: u8, key: &Key) -> anyhow::Result<Vec<u8>> {
    let mut first = vec![0; 48];
    let length = caller(flock, version, key)?.write_message(&[], &mut first)?;
    first.truncate(length);
    Ok(framed(&[&[WIRE, LOCK], &first[..]].concat()))
}

fn caller(flock: &str, version: u8, key: &Key) -> anyhow::Result<snow::HandshakeState> {
    let prologue = [b"flock\0", &[version][..], flock.as_bytes()].concat();
    let suite = "Noise_NNpsk0_25519_AESGCM_BLAKE2s".parse()?;
    Ok(snow::Builder::new(suite).prologue(&prologue)?.psk(0, key)?.build_initiator()?)
}

fn shake_hands(stream: &mut TcpStream, flock: &str, key: &Key) -> anyhow::Result<Seal> {
    let mut state = caller(flock, WIRE, key)?;
    let mut first = vec![0; 48];
    let length = state.write_message(&[], &mut first)?;
    first.truncate(length);
    stream.write_all(&framed(&[&[WIRE, LOCK], &first[..]].concat()))?;
    let answer = read_frame(stream)?;
    let [WIRE, UNLOCK, second @ ..] = answer.as_slice() else { bail!("locked out: {answer:?}") };
    state.read_message(second, &mut [])?;
    Ok(Seal { ciphers: state.into_stateless_transport_mode()?, next: 0 })
}

impl Seal {
    fn sealed(&mut self, bytes: &[u8]) -> anyhow::Result<Vec<u8>> {
        let mut wire = Vec::with_capacity(bytes.len() + 64);
        for plain in bytes.chunks(MAX_PLAIN) {
            let mut record = vec![0; plain.len() + 16];
            let length = self.ciphers.write_message(self.next, plain, &mut record)?;
            self.next += 1;
            wire.extend_from_slice(&u16::try_from(length)?.to_le_bytes());
            wire.extend_from_slice(&record);
        }
        Ok(wire)
    }
}

fn read_frame(stream: &mut TcpStream) -> anyhow::Result<Vec<u8>> {
    let mut length = [0; 4];
    stream.read_exact(&mut length)?;
    let length = u32::from_le_bytes(length) as usize;
    ensure!(length <= 4096, "{length} bytes are no handshake");
    let mut frame = vec![0; length];
    stream.read_exact(&mut frame)?;
    Ok(frame)
}

/// The first record of the other direction.
fn read_record(stream: &mut TcpStream, seal: &Seal) -> anyhow::Result<Vec<u8>> {
    let mut length = [0; 2];
    stream.read_exact(&mut length)?;
    let mut record = vec![0; u16::from_le_bytes(length).into()];
    stream.read_exact(&mut record)?;
    let mut plain = vec![0; record.len()];
    let length = seal.ciphers.read_message(0, &record, &mut plain)?;
    plain.truncate(length);
    Ok(plain)
}
