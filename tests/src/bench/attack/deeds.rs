//! The attackers: each does one thing, again and again, while it is told to.

use std::io::Write as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use tokio::net::TcpSocket;

use super::corpus::{self, BAD_LENGTHS, first_words, is_lock};
use super::peer::{Hello, Key, Peer, connect, connect_narrow, framed, id};
use super::relay::Relay;

/// Bad frames leave in pieces of so many bytes: small enough that a nest is through with one in less
/// time than a call takes.
const PIECE: usize = 4 << 10;

/// Connections on which a byte comes each second.
const SLOW: usize = 20;

/// Between two looks whether it goes on.
const PAUSE: Duration = Duration::from_millis(20);

/// What all attackers of one flock share.
pub(super) struct Field {
    /// Where the nests listen.
    pub(super) nests: Vec<String>,
    pub(super) key: Option<Key>,
    /// A bird that lives.
    pub(super) bird: String,
    pub(super) relay: Relay,
    /// Bad frames a second that all insiders together send.
    pub(super) rate: u64,
    /// Connections to stand in the door.
    pub(super) half_open: u64,
    pub(super) active: AtomicBool,
    pub(super) over: AtomicBool,
    pub(super) tally: Tally,
}

/// What they have done.
#[derive(Debug, Default)]
pub(super) struct Tally {
    /// Bad frames that were sent.
    pub(super) bad: AtomicU64,
    pub(super) connections: AtomicU64,
    pub(super) half_open: AtomicU64,
    pub(super) replays: AtomicU64,
    /// How often somebody was welcome who hasn't got the key.
    pub(super) let_in: AtomicU64,
}

fn add(to: &AtomicU64, more: u64) {
    to.fetch_add(more, Ordering::Relaxed);
}

impl Field {
    fn goes_on(&self) -> bool {
        self.active.load(Ordering::Relaxed) && !self.is_over()
    }

    fn is_over(&self) -> bool {
        self.over.load(Ordering::Relaxed)
    }

    /// Does this whenever the attack goes on, until it is over.
    fn whenever(&self, mut deed: impl FnMut()) {
        while !self.is_over() {
            if self.goes_on() {
                deed();
            } else {
                thread::sleep(PAUSE);
            }
        }
    }

    /// Sets all attackers upon the flock; returns when the attack is over.
    pub(super) fn attack(&self) {
        thread::scope(|all| {
            for (n, nest) in (1..).zip(&self.nests) {
                let insiders = self.nests.len() as u64 * 2;
                all.spawn(move || self.insider(nest, "Control", n, self.rate / insiders));
                all.spawn(move || self.insider(nest, "Data", 100 + n, self.rate / insiders));
                all.spawn(move || self.deaf(nest, 200 + n));
                all.spawn(move || self.outsider(nest, n));
            }
            all.spawn(|| self.slow());
            all.spawn(|| self.crowd());
            if self.key.is_some() {
                all.spawn(|| self.parrot());
            }
        });
    }

    /// Says a good hello, and then bad frames only, many on each connection.
    fn insider(&self, nest: &str, link: &str, who: u64, rate: u64) {
        let mut pieces: Vec<(u64, Vec<u8>)> = Vec::new();
        let (mut at, mut ends) = (0, BAD_LENGTHS.iter().cycle());
        self.whenever(|| {
            let Ok(mut peer) = Peer::welcome(nest, self.key.as_ref(), who, link) else {
                return thread::sleep(PAUSE);
            };
            add(&self.tally.connections, 1);
            if pieces.is_empty() {
                let bad = match link {
                    "Data" => corpus::data(id(who), peer.victim, &self.bird, who),
                    _ => corpus::control(id(who), peer.victim, who),
                };
                pieces = in_pieces(&bad);
            }
            let mut pace = Pace::new(rate);
            while self.goes_on() {
                let Some((frames, bytes)) = pieces.get(at) else {
                    at = 0;
                    let length = ends.next().copied().unwrap_or(u32::MAX);
                    add(&self.tally.bad, 1);
                    // It ends the connection.
                    let _ = peer.say(&length.to_le_bytes());
                    return;
                };
                at += 1;
                if peer.say(bytes).is_err() || peer.hear().is_err() {
                    return;
                }
                add(&self.tally.bad, *frames);
                pace.keep(*frames);
            }
        });
    }

    /// Asks for answers and never reads one.
    fn deaf(&self, nest: &str, who: u64) {
        self.whenever(|| {
            let stream = connect_narrow(nest);
            let welcome = |stream| Peer::welcome_on(stream, self.key.as_ref(), who, "Data");
            let Ok(mut peer) = stream.and_then(welcome) else { return thread::sleep(PAUSE) };
            add(&self.tally.connections, 1);
            let bad = corpus::data(id(who), peer.victim, &self.bird, who);
            let mut pace = Pace::new(4000);
            if peer.hurry().is_ok() {
                for (frames, bytes) in in_pieces(&bad).iter().cycle() {
                    if !self.goes_on() || peer.say(bytes).is_err() {
                        break;
                    }
                    add(&self.tally.bad, *frames);
                    pace.keep(*frames);
                }
            }
            while self.goes_on() {
                thread::sleep(PAUSE);
            }
        });
    }

    /// Has no key and says no good hello: one word for each connection.
    fn outsider(&self, nest: &str, seed: u64) {
        let words = first_words(self.key.as_ref(), seed).unwrap_or_default();
        // Each begins elsewhere.
        let skip = words.len() * usize::try_from(seed).unwrap_or(0) / 3;
        let mut words = words.iter().cycle().skip(skip);
        let mut pace = Pace::new(300);
        self.whenever(|| {
            let (Some(word), Ok(mut stream)) = (words.next(), connect(nest)) else {
                return thread::sleep(PAUSE);
            };
            add(&self.tally.connections, 1);
            // The nest may hang up in the middle.
            let _ = stream.write_all(word);
            add(&self.tally.bad, 1);
            pace.keep(1);
        });
    }

    /// A byte a second.
    fn slow(&self) {
        let word = match &self.key {
            Some(_) => framed(&[&[1, 4][..], &[7; 48]].concat()),
            None => Hello::good(300, "Control").frame(),
        };
        self.whenever(|| {
            let nests = self.nests.iter().cycle().take(SLOW);
            let mut open: Vec<_> = nests.filter_map(|nest| connect(nest).ok()).collect();
            add(&self.tally.connections, open.len() as u64);
            for byte in &word {
                open.retain_mut(|stream| stream.write_all(&[*byte]).is_ok());
                let next = Instant::now() + Duration::from_secs(1);
                while self.goes_on() && Instant::now() < next {
                    thread::sleep(PAUSE);
                }
                if open.is_empty() || !self.goes_on() {
                    return;
                }
            }
        });
    }

    /// Stands in the door with thousands, half of them from one address, the others each from its own.
    /// They stay until the attack is over.
    fn crowd(&self) {
        let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else {
            return;
        };
        let mut open = Vec::new();
        let mut pace = Pace::new(1000);
        self.whenever(|| {
            let n = open.len() as u32;
            let full = u64::from(n) >= self.half_open;
            let at = self.nests.get(n as usize % self.nests.len());
            let Some(at) = at.and_then(|at| at.parse().ok()).filter(|_| !full) else {
                return thread::sleep(PAUSE);
            };
            let from = if n.is_multiple_of(2) {
                Ipv4Addr::LOCALHOST
            } else {
                Ipv4Addr::from_bits((127 << 24) + (1 << 16) + n)
            };
            match runtime.block_on(half_open(from, at)) {
                Ok(stream) => {
                    open.push(stream);
                    add(&self.tally.half_open, 1);
                    pace.keep(1);
                }
                Err(_) => thread::sleep(PAUSE),
            }
        });
    }

    /// Says again what honest nests have said: as it was, from the middle, with a record twice or left
    /// out, to that nest and to others.
    fn parrot(&self) {
        let mut round = 0_usize;
        let mut pace = Pace::new(60);
        self.whenever(|| {
            let overheard = self.relay.overheard();
            let whole: Vec<_> = overheard.iter().filter(|said| is_lock(said)).collect();
            let Some(said) = whole.get(round % whole.len().max(1)) else {
                return thread::sleep(PAUSE);
            };
            let nest = self.nests.iter().rev().cycle().nth(round / 7 % self.nests.len());
            let Some(mut stream) = nest.and_then(|nest| connect(nest).ok()) else {
                return thread::sleep(PAUSE);
            };
            let (lock, records) = said.split_at(said.len().min(54));
            let bytes = match round % 5 {
                0 => said.to_vec(),
                1 => records.to_vec(),
                2 => [lock, lock, records].concat(),
                3 => [lock, without_first(records)].concat(),
                _ => lock.to_vec(),
            };
            if round % 5 == 4 {
                // As a nest would: it waits for the answer first.
                let _ = stream.write_all(&bytes);
                thread::sleep(PAUSE);
                let _ = stream.write_all(records);
            } else {
                let _ = stream.write_all(&bytes);
            }
            self.knock(round);
            add(&self.tally.replays, 1);
            add(&self.tally.bad, 1);
            round += 1;
            pace.keep(1);
        });
    }
}

impl Field {
    /// Says a good hello without a key, or with another one: nobody may let him in.
    fn knock(&self, round: usize) {
        let other = [0x5a; 32];
        let nest = self.nests.get(round % self.nests.len());
        let key = round.is_multiple_of(2).then_some(&other);
        let welcome = nest.is_some_and(|nest| Peer::welcome(nest, key, 400, "Data").is_ok());
        add(&self.tally.let_in, u64::from(welcome));
        add(&self.tally.bad, 1);
    }
}

fn without_first(records: &[u8]) -> &[u8] {
    let length = records.first_chunk().map_or(0, |head| 2 + usize::from(u16::from_le_bytes(*head)));
    records.get(length..).unwrap_or_default()
}

async fn half_open(from: Ipv4Addr, to: SocketAddr) -> std::io::Result<tokio::net::TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.bind((from, 0).into())?;
    socket.connect(to).await
}

/// Frames with their lengths, in pieces, with how many each holds.
fn in_pieces(frames: &[Vec<u8>]) -> Vec<(u64, Vec<u8>)> {
    let mut pieces = vec![(0, Vec::new())];
    for frame in frames {
        if pieces.last().is_some_and(|(_, bytes)| bytes.len() > PIECE) {
            pieces.push((0, Vec::new()));
        }
        if let Some((count, bytes)) = pieces.last_mut() {
            *count += 1;
            bytes.extend_from_slice(&framed(frame));
        }
    }
    pieces
}

/// So many a second, from when it was last asked on.
struct Pace {
    each: Duration,
    next: Instant,
}

impl Pace {
    fn new(a_second: u64) -> Self {
        Self {
            each: Duration::from_secs(1) / u32::try_from(a_second.max(1)).unwrap_or(u32::MAX),
            next: Instant::now(),
        }
    }

    fn keep(&mut self, done: u64) {
        let now = Instant::now();
        self.next = self.next.max(now - Duration::from_millis(200))
            + self.each * u32::try_from(done).unwrap_or(u32::MAX);
        thread::sleep(self.next.saturating_duration_since(now));
    }
}
