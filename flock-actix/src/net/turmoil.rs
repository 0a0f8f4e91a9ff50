//! The network of a host in turmoil: what a nest may expect of TCP, over turmoil's datagrams.
//!
//! turmoil has streams of its own, and they would mislead here. A segment of theirs that is lost is
//! never sent again, so after one loss a stream is mute for ever, where TCP is merely late. A
//! request to connect that is lost counts as refused, where TCP hears nothing; and nests take a
//! refusal for the word of a host whose process is dead. A host that crashes says goodbye on every
//! stream. (`turmoils_own_streams_would_mislead` in the package of tests shows all three.)
//!
//! - this file: the host, with its tables and its two tasks; what `net` asks for.
//! - `conn`: one end of a connection.
//! - `segment`: what the ends say to each other.

mod conn;
mod segment;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ::turmoil::net::UdpSocket;
use bytes::BytesMut;
use flock_proto::Rng;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::link::lock;
use conn::{Conn, Phase};
use segment::{Key, MAX_DATAGRAM, Segment, Word};

/// Where hosts hear each other's segments: all of them, whatever port they are for.
const PORT: u16 = 6;

/// How exactly times are kept at which something is sent again.
const EVERY: Duration = Duration::from_millis(50);

/// Ports given to those who don't care.
const FIRST_FREE_PORT: u16 = 49_152;

/// A host in turmoil: its network, and the chance of the nests on it.
///
/// It lasts until turmoil crashes the host. A nest on it that is dropped is a process that was
/// killed: its connections are closed, and its port refuses.
#[derive(Clone)]
pub struct Host(Arc<Inner>);

struct Inner {
    state: Mutex<State>,
    /// Something is to be sent.
    wake: Notify,
}

struct State {
    rng: Rng,
    doors: BTreeMap<u16, Waiting>,
    conns: BTreeMap<Key, Conn>,
    outbox: VecDeque<(SocketAddr, Segment)>,
    traffic: Traffic,
}

/// Connections that nobody has accepted yet.
#[derive(Default)]
struct Waiting {
    keys: VecDeque<Key>,
    came: Arc<Notify>,
}

/// What a host has sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Traffic {
    /// Datagrams.
    pub sent: u64,
    /// Those among them that had been sent before.
    pub again: u64,
    /// A digest of every byte, of when it was sent and to whom.
    pub digest: u64,
}

impl Host {
    /// Brings up the network of the turmoil host that calls this. To be called once each time that
    /// the host's software starts, from within its future. All chance of the nests on it comes
    /// from the seed.
    pub async fn boot(seed: u64) -> io::Result<Self> {
        let socket = UdpSocket::bind(("0.0.0.0", PORT)).await?;
        let state = State {
            rng: Rng::new(seed),
            doors: BTreeMap::new(),
            conns: BTreeMap::new(),
            outbox: VecDeque::new(),
            traffic: Traffic { digest: 0xcbf2_9ce4_8422_2325, ..Traffic::default() },
        };
        let host = Self(Arc::new(Inner { state: Mutex::new(state), wake: Notify::new() }));
        // The two tasks hold the socket, and nobody else: it ends with the host, whoever keeps this.
        let socket = Arc::new(socket);
        tokio::spawn(host.clone().hear(socket.clone()));
        tokio::spawn(host.clone().speak(socket));
        Ok(host)
    }

    /// What this host has sent so far.
    pub fn traffic(&self) -> Traffic {
        lock(&self.0.state).traffic
    }

    pub(crate) fn draw(&self) -> u64 {
        lock(&self.0.state).rng.next_u64()
    }

    async fn hear(self, socket: Arc<UdpSocket>) {
        let mut room = vec![0; MAX_DATAGRAM];
        while let Ok((length, from)) = socket.recv_from(&mut room).await {
            if let Some(segment) = room.get(..length).and_then(Segment::decode) {
                self.change(|state, out| state.on_segment(from, segment, out));
            }
        }
    }

    /// The only one that sends. So a host that turmoil crashes is silent from that moment on,
    /// though all that it holds is dropped and closed.
    async fn speak(self, socket: Arc<UdpSocket>) {
        loop {
            tokio::select! {
                biased;
                () = self.0.wake.notified() => {}
                () = tokio::time::sleep(EVERY) => self.change(State::on_time),
            }
            let outbox = std::mem::take(&mut lock(&self.0.state).outbox);
            for (to, segment) in outbox {
                let datagram = segment.encode();
                lock(&self.0.state).traffic.note(to, &datagram);
                // One that can't be sent is lost, as any may be.
                let _ = socket.try_send_to(&datagram, to);
            }
        }
    }

    /// Changes the tables; what is to be sent for it is put into the outbox.
    fn change<R>(&self, change: impl FnOnce(&mut State, &mut Out) -> R) -> R {
        let mut out = Vec::new();
        let mut state = lock(&self.0.state);
        let result = change(&mut state, &mut out);
        state.outbox.extend(out);
        if !state.outbox.is_empty() {
            self.0.wake.notify_one();
        }
        result
    }

    /// The same for one connection, which goes if nothing is left to do for it.
    fn change_conn<R>(
        &self,
        key: Key,
        change: impl FnOnce(&mut Conn, Instant, &mut Vec<Segment>) -> R,
    ) -> Option<R> {
        self.change(|state, out| state.change_conn(key, out, change))
    }

    /// What `done` says of the connection, once it says something. `None`: there is none.
    async fn until<R>(&self, key: Key, done: impl Fn(&Conn) -> Option<R>) -> Option<R> {
        let changed = lock(&self.0.state).conns.get(&key)?.changed.clone();
        loop {
            // Listens before it looks, so that no change is missed in between.
            let change = changed.notified();
            let found = lock(&self.0.state).conns.get(&key).map(&done)?;
            if found.is_some() {
                return found;
            }
            change.await;
        }
    }
}

type Out = Vec<(SocketAddr, Segment)>;

impl State {
    fn change_conn<R>(
        &mut self,
        key: Key,
        out: &mut Out,
        change: impl FnOnce(&mut Conn, Instant, &mut Vec<Segment>) -> R,
    ) -> Option<R> {
        let conn = self.conns.get_mut(&key)?;
        let mut segments = Vec::new();
        let result = change(conn, Instant::now(), &mut segments);
        self.traffic.again += std::mem::take(&mut conn.again);
        out.extend(segments.into_iter().map(|segment| (conn.peer, segment)));
        if conn.is_done() {
            self.conns.remove(&key);
        }
        Some(result)
    }

    fn on_segment(&mut self, from: SocketAddr, segment: Segment, out: &mut Out) {
        let key = segment.to;
        if self.conns.contains_key(&key) {
            self.change_conn(key, out, |conn, now, out| conn.on_segment(segment, now, out));
            return;
        }
        match segment.word {
            Word::Reset => {}
            Word::Open { port } if self.doors.contains_key(&port) => {
                let mut segments = Vec::new();
                self.conns.insert(key, Conn::answer(key, from, &mut segments));
                out.extend(segments.into_iter().map(|segment| (from, segment)));
                if let Some(door) = self.doors.get_mut(&port) {
                    door.keys.push_back(key);
                    door.came.notify_one();
                }
            }
            _ => out.push((from, Segment { to: key.other_end(), acked: 0, word: Word::Reset })),
        }
    }

    fn on_time(&mut self, out: &mut Out) {
        let keys: Vec<Key> = self.conns.keys().copied().collect();
        for key in keys {
            self.change_conn(key, out, Conn::on_time);
        }
    }
}

impl Traffic {
    fn note(&mut self, to: SocketAddr, datagram: &[u8]) {
        self.sent += 1;
        let at = ::turmoil::sim_elapsed().unwrap_or_default().as_micros();
        let ip = match to.ip() {
            std::net::IpAddr::V4(ip) => ip.octets(),
            std::net::IpAddr::V6(_) => [0; 4],
        };
        // FNV-1a: any change of any byte shows.
        for byte in at.to_le_bytes().iter().chain(&ip).chain(datagram) {
            self.digest = (self.digest ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
}

impl fmt::Debug for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Host").field("traffic", &self.traffic()).finish_non_exhaustive()
    }
}

/// Both halves of a connection.
#[derive(Debug)]
pub(crate) struct Stream(pub(super) Reading, pub(super) Writing);

#[derive(Debug)]
pub(crate) struct Reading(End);

#[derive(Debug)]
pub(crate) struct Writing(End);

#[derive(Clone, Debug)]
struct End {
    host: Host,
    key: Key,
}

impl End {
    fn into_stream(self) -> Stream {
        Stream(Reading(self.clone()), Writing(self))
    }
}

#[derive(Debug)]
pub(crate) struct Door {
    host: Host,
    address: SocketAddr,
}

impl Door {
    pub(super) fn open(host: &Host, addresses: &[SocketAddr]) -> io::Result<Self> {
        let Some(&(mut address)) = addresses.first() else {
            return Err(io::ErrorKind::InvalidInput.into());
        };
        let mut state = lock(&host.0.state);
        if address.port() == 0 {
            let free = (FIRST_FREE_PORT..).find(|port| !state.doors.contains_key(port));
            address.set_port(free.ok_or(io::ErrorKind::AddrInUse)?);
        }
        if state.doors.contains_key(&address.port()) {
            return Err(io::ErrorKind::AddrInUse.into());
        }
        state.doors.insert(address.port(), Waiting::default());
        Ok(Self { host: host.clone(), address })
    }

    pub(super) const fn address(&self) -> SocketAddr {
        self.address
    }

    pub(super) async fn accept(&self) -> io::Result<(Stream, SocketAddr)> {
        loop {
            let came = {
                let mut state = lock(&self.host.0.state);
                let door = state.doors.get_mut(&self.address.port());
                let door = door.ok_or(io::ErrorKind::NotConnected)?;
                let (key, came) = (door.keys.pop_front(), door.came.clone());
                if let Some(conn) = key.and_then(|key| state.conns.get(&key))
                    && let Some(key) = key
                {
                    let end = End { host: self.host.clone(), key };
                    return Ok((end.into_stream(), conn.peer));
                }
                came
            };
            came.notified().await;
        }
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        self.host.change(|state, out| {
            let door = state.doors.remove(&self.address.port()).unwrap_or_default();
            for key in door.keys {
                state.change_conn(key, out, |conn, _, out| conn.reset(out));
                state.conns.remove(&key);
            }
        });
    }
}

pub(super) fn resolve(address: &str) -> io::Result<Vec<SocketAddr>> {
    if let Ok(address) = address.parse() {
        return Ok(vec![address]);
    }
    let parts = address.rsplit_once(':').and_then(|(host, port)| Some((host, port.parse().ok()?)));
    let (host, port): (_, u16) = parts.ok_or(io::ErrorKind::InvalidInput)?;
    Ok(vec![SocketAddr::new(::turmoil::lookup(host), port)])
}

pub(super) async fn connect(host: &Host, at: SocketAddr) -> io::Result<Stream> {
    let key = Key { id: host.draw(), dialled: true };
    let mut dialling = Dialling { end: End { host: host.clone(), key }, given_up: true };
    host.change(|state, out| {
        let (peer, mut segments) = (SocketAddr::new(at.ip(), PORT), Vec::new());
        let conn = Conn::dial(key, peer, at.port(), Instant::now(), &mut segments);
        out.extend(segments.into_iter().map(|segment| (peer, segment)));
        state.conns.insert(key, conn);
    });
    let phase = |conn: &Conn| match conn.phase {
        Phase::Dialling { .. } => None,
        phase => Some(phase),
    };
    match host.until(key, phase).await {
        Some(Phase::Open) => {
            dialling.given_up = false;
            Ok(dialling.end.clone().into_stream())
        }
        _ => Err(io::ErrorKind::ConnectionRefused.into()),
    }
}

/// A dial; one that is given up leaves no connection behind.
struct Dialling {
    end: End,
    given_up: bool,
}

impl Drop for Dialling {
    fn drop(&mut self) {
        if self.given_up {
            lock(&self.end.host.0.state).conns.remove(&self.end.key);
        }
    }
}

impl Reading {
    pub(super) async fn readable(&self) -> io::Result<()> {
        let can = |conn: &Conn| conn.can_read().then_some(());
        self.0.host.until(self.0.key, can).await.ok_or(io::ErrorKind::NotConnected.into())
    }

    pub(super) fn try_read(&self, into: &mut BytesMut) -> io::Result<usize> {
        let read = self.0.host.change_conn(self.0.key, |conn, _, _| conn.read(into));
        read.unwrap_or_else(|| Err(io::ErrorKind::NotConnected.into()))
    }
}

impl Writing {
    pub(super) async fn writable(&self) -> io::Result<()> {
        let can = |conn: &Conn| conn.can_write().then_some(());
        self.0.host.until(self.0.key, can).await.ok_or(io::ErrorKind::NotConnected.into())
    }

    pub(super) fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        let write = |conn: &mut Conn, now, out: &mut Vec<Segment>| conn.write(bytes, now, out);
        let written = self.0.host.change_conn(self.0.key, write);
        written.unwrap_or_else(|| Err(io::ErrorKind::NotConnected.into()))
    }
}

impl Drop for Reading {
    fn drop(&mut self) {
        self.0.host.change_conn(self.0.key, |conn, _, out| conn.deafen(out));
    }
}

impl Drop for Writing {
    fn drop(&mut self) {
        self.0.host.change_conn(self.0.key, Conn::finish);
    }
}
