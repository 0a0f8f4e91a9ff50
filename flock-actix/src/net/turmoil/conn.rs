//! One end of a connection: what was sent and has not been acknowledged, what came and has not been
//! read. It knows no socket: segments go in, and those that it wants sent come out.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::sync::Notify;
use tokio::time::Instant;

use super::segment::{Key, MAX_PAYLOAD, Segment, Word};

/// How long to wait for the first answer before asking again, as Linux does.
const OPEN_AGAIN: Duration = Duration::from_secs(1);

/// How long to wait for an acknowledgement before sending again; it doubles each time.
const SEND_AGAIN: Duration = Duration::from_millis(200);

/// The longest such wait.
const MAX_AGAIN: Duration = Duration::from_secs(10);

/// After so many tries in a row, more than a minute, the other end is given up.
const MAX_TRIES: u32 = 12;

/// Bytes that may wait to be acknowledged, or to be read.
const BUFFER: usize = 256 * 1024;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    Dialling {
        port: u16,
    },
    Open,
    /// There is nobody at the other end, or never was.
    Reset,
}

#[derive(Debug)]
pub(super) struct Conn {
    me: Key,
    pub(super) peer: SocketAddr,
    pub(super) phase: Phase,
    /// Told of every change that a reader or a writer may wait for.
    pub(super) changed: Arc<Notify>,
    sent: Sent,
    came: Came,
    /// Somebody holds the reading half.
    has_reader: bool,
    /// Somebody holds the writing half.
    has_writer: bool,
    /// Segments that were sent once more.
    pub(super) again: u64,
}

#[derive(Debug)]
struct Sent {
    /// The place of the next byte.
    next: u64,
    /// Not acknowledged, in order: place, bytes, whether they are the last.
    open: VecDeque<(u64, Bytes, bool)>,
    /// The bytes of those.
    waiting: usize,
    again_at: Option<Instant>,
    again_after: Duration,
    tries: u32,
    /// What lies below this may have been lost together with what was sent again last.
    doubtful: u64,
}

#[derive(Debug, Default)]
struct Came {
    /// The place of the next byte in order.
    next: u64,
    /// Came before their turn.
    early: BTreeMap<u64, (Bytes, bool)>,
    ready: VecDeque<Bytes>,
    /// The bytes of those.
    waiting: usize,
    over: bool,
}

impl Conn {
    /// The end that dials: asks to be let in.
    pub(super) fn dial(
        me: Key,
        peer: SocketAddr,
        port: u16,
        now: Instant,
        out: &mut Vec<Segment>,
    ) -> Self {
        let mut conn = Self::new(me, peer, Phase::Dialling { port });
        conn.sent.again_after = OPEN_AGAIN;
        conn.sent.again_at = Some(now + OPEN_AGAIN);
        out.push(conn.segment(Word::Open { port }));
        conn
    }

    /// The end that was dialled.
    pub(super) fn answer(me: Key, peer: SocketAddr, out: &mut Vec<Segment>) -> Self {
        let conn = Self::new(me, peer, Phase::Open);
        out.push(conn.segment(Word::Opened));
        conn
    }

    fn new(me: Key, peer: SocketAddr, phase: Phase) -> Self {
        let sent = Sent {
            next: 0,
            open: VecDeque::new(),
            waiting: 0,
            again_at: None,
            again_after: SEND_AGAIN,
            tries: 0,
            doubtful: 0,
        };
        Self {
            me,
            peer,
            phase,
            changed: Arc::default(),
            sent,
            came: Came::default(),
            has_reader: true,
            has_writer: true,
            again: 0,
        }
    }

    const fn segment(&self, word: Word) -> Segment {
        Segment { to: self.me.other_end(), acked: self.came.next, word }
    }

    /// Nothing is left to do for it.
    pub(super) fn is_done(&self) -> bool {
        let sent = self.phase == Phase::Reset || self.sent.open.is_empty();
        !self.has_reader && !self.has_writer && sent
    }

    pub(super) fn can_read(&self) -> bool {
        !self.came.ready.is_empty() || self.came.over || self.phase == Phase::Reset
    }

    pub(super) fn can_write(&self) -> bool {
        self.sent.waiting < BUFFER || self.phase == Phase::Reset
    }

    pub(super) fn read(&mut self, into: &mut BytesMut) -> io::Result<usize> {
        if let Some(bytes) = self.came.ready.pop_front() {
            self.came.waiting -= bytes.len();
            into.extend_from_slice(&bytes);
            return Ok(bytes.len());
        }
        match self.phase {
            Phase::Reset => Err(io::ErrorKind::ConnectionReset.into()),
            _ if self.came.over => Ok(0),
            _ => Err(io::ErrorKind::WouldBlock.into()),
        }
    }

    pub(super) fn write(
        &mut self,
        bytes: &[u8],
        now: Instant,
        out: &mut Vec<Segment>,
    ) -> io::Result<usize> {
        if self.phase == Phase::Reset {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        let taken = bytes.get(..BUFFER.saturating_sub(self.sent.waiting)).unwrap_or(bytes);
        if taken.is_empty() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        for piece in taken.chunks(MAX_PAYLOAD) {
            self.send(Bytes::copy_from_slice(piece), false, now, out);
        }
        Ok(taken.len())
    }

    fn send(&mut self, bytes: Bytes, last: bool, now: Instant, out: &mut Vec<Segment>) {
        let at = self.sent.next;
        self.sent.next += bytes.len() as u64 + u64::from(last);
        self.sent.waiting += bytes.len();
        self.sent.again_at.get_or_insert(now + self.sent.again_after);
        out.push(self.segment(Word::Data { at, bytes: bytes.clone(), last }));
        self.sent.open.push_back((at, bytes, last));
    }

    /// The writing half is gone: no more will come.
    pub(super) fn finish(&mut self, now: Instant, out: &mut Vec<Segment>) {
        self.has_writer = false;
        if self.phase != Phase::Reset {
            self.send(Bytes::new(), true, now, out);
        }
    }

    /// The reading half is gone. Whoever closes without having read all resets.
    pub(super) fn deafen(&mut self, out: &mut Vec<Segment>) {
        self.has_reader = false;
        if !self.came.ready.is_empty() {
            self.reset(out);
        }
    }

    /// Ends both directions at once, and says so.
    pub(super) fn reset(&mut self, out: &mut Vec<Segment>) {
        if self.phase != Phase::Reset {
            out.push(self.segment(Word::Reset));
            self.ended();
        }
    }

    fn ended(&mut self) {
        self.phase = Phase::Reset;
        self.sent.again_at = None;
        self.changed.notify_waiters();
    }

    /// Sends again what has waited for too long.
    pub(super) fn on_time(&mut self, now: Instant, out: &mut Vec<Segment>) {
        if self.sent.again_at.is_none_or(|at| now < at) {
            return;
        }
        self.sent.tries += 1;
        if self.sent.tries > MAX_TRIES {
            return self.ended();
        }
        self.sent.again_after = (self.sent.again_after * 2).min(MAX_AGAIN);
        self.sent.again_at = Some(now + self.sent.again_after);
        if let Phase::Dialling { port } = self.phase {
            self.again += 1;
            return out.push(self.segment(Word::Open { port }));
        }
        self.sent.doubtful = self.sent.next;
        self.send_first_again(out)
    }

    /// One segment and not all of them: a burst is likely to be lost again, and what came before
    /// its turn needn't be sent twice.
    fn send_first_again(&mut self, out: &mut Vec<Segment>) {
        let Some((at, bytes, last)) = self.sent.open.front() else { return };
        out.push(self.segment(Word::Data { at: *at, bytes: bytes.clone(), last: *last }));
        self.again += 1;
    }

    pub(super) fn on_segment(&mut self, segment: Segment, now: Instant, out: &mut Vec<Segment>) {
        if self.phase == Phase::Reset {
            return;
        }
        if segment.word == Word::Reset {
            return self.ended();
        }
        if let Phase::Dialling { .. } = self.phase {
            // Whatever comes shows that the dial was heard.
            self.phase = Phase::Open;
            self.sent.again_after = SEND_AGAIN;
            self.sent.again_at = None;
            self.sent.tries = 0;
        }
        self.on_acked(segment.acked, now, out);
        match segment.word {
            // The answer was lost.
            Word::Open { .. } => out.push(self.segment(Word::Opened)),
            Word::Data { at, bytes, last } => self.on_data(at, bytes, last, out),
            Word::Opened | Word::Ack | Word::Reset => {}
        }
        self.changed.notify_waiters();
    }

    fn on_acked(&mut self, acked: u64, now: Instant, out: &mut Vec<Segment>) {
        let before = self.sent.open.len();
        while let Some((at, bytes, last)) = self.sent.open.front()
            && at + bytes.len() as u64 + u64::from(*last) <= acked
        {
            self.sent.waiting -= bytes.len();
            self.sent.open.pop_front();
        }
        if self.sent.open.len() < before {
            self.sent.again_after = SEND_AGAIN;
            self.sent.tries = 0;
            let open = !self.sent.open.is_empty();
            self.sent.again_at = open.then(|| now + SEND_AGAIN);
            if acked < self.sent.doubtful {
                self.send_first_again(out);
            }
        }
    }

    fn on_data(&mut self, at: u64, bytes: Bytes, last: bool, out: &mut Vec<Segment>) {
        if !self.has_reader && !bytes.is_empty() {
            return self.reset(out);
        }
        // One that finds no room is as good as lost: it will come again.
        if at >= self.came.next && self.came.waiting < BUFFER {
            self.came.early.insert(at, (bytes, last));
        }
        while let Some((bytes, last)) = self.came.early.remove(&self.came.next) {
            self.came.next += bytes.len() as u64 + u64::from(last);
            self.came.waiting += bytes.len();
            self.came.over |= last;
            if !bytes.is_empty() {
                self.came.ready.push_back(bytes);
            }
        }
        out.push(self.segment(Word::Ack));
    }
}
