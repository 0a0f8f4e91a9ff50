//! The buffer that frames are put into, and the task that empties it.
//!
//! A frame is laid down under the buffer's lock and leaves with whatever else has gathered: in one
//! write for many frames when there is much to do, and early, from the appending thread itself,
//! once enough waits and nobody is writing. Flushing only when the senders have run dry makes both
//! ends run in lockstep.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use bytes::{Buf, BufMut, BytesMut};
use tokio::sync::Notify;

use super::frame::{PREFIX, boundary};
use super::lane::Outgoing;
use super::lock;
use crate::rt::Among;

/// From here on the appending thread writes by itself.
pub(crate) const MUCH: usize = 12 * 1024;

/// With less it doesn't, unless the frame is to leave at once: a write costs as much as a dozen frames.
const LITTLE: usize = 1400;

/// Why a frame was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NotTaken {
    /// As many bytes wait as may.
    Full,
    /// Nothing will leave any more.
    Closed,
}

/// When the thread that appends a frame writes by itself, if nobody is writing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Write {
    /// That is left to the link's own task.
    Never,
    /// Once so many bytes wait, or thereabouts.
    From(usize),
    /// At once: no frame is expected that could leave with this one. It saves waking the other thread.
    Now,
}

/// What went over some links: how often, and how much.
#[derive(Debug, Default)]
pub(crate) struct Written {
    writes: AtomicU64,
    bytes: AtomicU64,
}

impl Written {
    fn add(&self, bytes: usize) {
        self.writes.fetch_add(1, Ordering::Relaxed);
        self.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// Writes, and the bytes of all of them.
    pub(crate) fn read(&self) -> [u64; 2] {
        [&self.writes, &self.bytes].map(|n| n.load(Ordering::Relaxed))
    }
}

/// Frames on their way out.
#[derive(Debug)]
pub(crate) struct Out {
    state: Mutex<State>,
    limit: usize,
    written: Arc<Written>,
    /// Bytes that wait, as they were when somebody last held the lock: looked at with every call.
    level: AtomicUsize,
    /// Set while a sender found the link above its mark; cleared with a word to all who wait.
    high: AtomicBool,
    wake: Notify,
    drained: Notify,
}

#[derive(Debug, Default)]
struct State {
    /// Frames with their prefixes; the first `torn` bytes belong to a frame begun before.
    buffer: BytesMut,
    torn: usize,
    /// The same for what the writer has taken; it puts the rest back when writing fails.
    writing: usize,
    phase: Phase,
    stream: Option<Arc<Outgoing>>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Phase {
    #[default]
    Open,
    /// Nothing more is taken; what is there still leaves.
    Finishing,
    Closed,
}

impl Out {
    /// `written` counts what leaves.
    pub(crate) fn new(limit: usize, written: Arc<Written>) -> Self {
        Self {
            state: Mutex::default(),
            limit,
            written,
            level: AtomicUsize::new(0),
            high: AtomicBool::new(false),
            wake: Notify::new(),
            drained: Notify::new(),
        }
    }

    /// Takes one frame, in two pieces, and says when the appending thread may write by itself.
    pub(crate) fn append(&self, head: &[u8], body: &[u8], write: Write) -> Result<(), NotTaken> {
        let mut state = lock(&self.state);
        if state.phase != Phase::Open {
            return Err(NotTaken::Closed);
        }
        let len = head.len() + body.len();
        let waiting = state.buffer.len() + state.writing;
        // One frame always fits: the largest is longer than the limit of a data link.
        if waiting > 0 && waiting + PREFIX + len > self.limit {
            self.high.store(true, Ordering::Release);
            return Err(NotTaken::Full);
        }
        let was_empty = state.buffer.is_empty();
        state.buffer.put_u32_le(u32::try_from(len).map_err(|_| NotTaken::Full)?);
        state.buffer.put_slice(head);
        state.buffer.put_slice(body);
        let enough = match write {
            Write::Never => usize::MAX,
            Write::From(enough) => enough.clamp(LITTLE, MUCH),
            Write::Now => 0,
        };
        if state.buffer.len() >= enough && state.writing == 0 {
            state.write_early(&self.written);
        }
        let wake = was_empty && !state.buffer.is_empty();
        self.note_level(&state);
        drop(state);
        if wake {
            self.wake.notify_one();
        }
        Ok(())
    }

    /// A quarter of the limit waits to be written.
    pub(crate) fn is_high(&self) -> bool {
        if self.level.load(Ordering::Relaxed) < self.limit.div_ceil(4) {
            return false;
        }
        let state = lock(&self.state);
        let high = state.phase == Phase::Open
            && state.buffer.len() + state.writing >= self.limit.div_ceil(4);
        if high {
            self.high.store(true, Ordering::Release);
        }
        high
    }

    /// Everything that was taken has been written.
    pub(crate) fn is_idle(&self) -> bool {
        let state = lock(&self.state);
        state.phase == Phase::Closed || (state.buffer.is_empty() && state.writing == 0)
    }

    /// Resolves when less than a quarter of the limit waits, or the link is closed.
    pub(crate) async fn drained(&self) {
        loop {
            let drained = self.drained.notified();
            tokio::pin!(drained);
            // Enlists before looking, so that no word is missed in between.
            drained.as_mut().enable();
            if !self.is_high() {
                return;
            }
            drained.await;
        }
    }

    /// The link is open; writing may begin.
    pub(crate) fn open(&self, stream: Arc<Outgoing>) -> bool {
        let mut state = lock(&self.state);
        if state.phase == Phase::Closed {
            return false;
        }
        if state.phase == Phase::Open {
            state.stream = Some(stream);
        }
        true
    }

    /// Takes nothing more; what waits still leaves, then the writer returns.
    pub(crate) fn finish(&self) {
        let mut state = lock(&self.state);
        if state.phase == Phase::Open {
            state.phase = Phase::Finishing;
            state.stream = None;
        }
        drop(state);
        self.wake.notify_one();
        self.drained.notify_waiters();
    }

    /// Takes nothing more and writes nothing more. Hands back the frames of which no byte has
    /// left, with their prefixes; `None` if it was closed before.
    pub(crate) fn close(&self) -> Option<BytesMut> {
        let mut state = lock(&self.state);
        if state.phase == Phase::Closed {
            return None;
        }
        state.phase = Phase::Closed;
        state.stream = None;
        let torn = state.torn.min(state.buffer.len());
        state.buffer.advance(torn);
        state.torn = 0;
        let unwritten = std::mem::take(&mut state.buffer);
        drop(state);
        self.wake.notify_one();
        self.drained.notify_waiters();
        Some(unwritten)
    }

    /// Writes until the link is finished or fails. `pass` is awaited before each write.
    pub(crate) async fn write_all<F: Future<Output = ()>>(
        &self,
        stream: Arc<Outgoing>,
        among: Among,
        pass: impl Fn() -> F,
    ) -> io::Result<()> {
        let mut batch = BytesMut::new();
        loop {
            let Some(mut torn) = self.take(&mut batch) else { return Ok(()) };
            if batch.is_empty() {
                self.wake.notified().await;
                // Others shall add their frames to the same write. Among the actors of a worker those that were
                // woken by the same read as the one whose frame woke this have had their turns by now.
                if among == Among::Others {
                    tokio::task::yield_now().await;
                }
                continue;
            }
            while !batch.is_empty() {
                pass().await;
                match stream.try_write(&batch) {
                    Ok(n) => {
                        self.written.add(n);
                        torn = step(&mut batch, torn, n);
                    }
                    Err(e) if e.kind() == io::ErrorKind::WouldBlock => stream.writable().await?,
                    Err(e) => {
                        self.put_back(batch, torn);
                        return Err(e);
                    }
                }
            }
            if batch.capacity() > 1 << 20 {
                batch = BytesMut::new();
            }
        }
    }

    /// Swaps the writer's empty batch for what has gathered; `None` when all is written and nothing
    /// more will come.
    fn take(&self, batch: &mut BytesMut) -> Option<usize> {
        let mut state = lock(&self.state);
        std::mem::swap(&mut state.buffer, batch);
        state.writing = batch.len();
        let torn = std::mem::take(&mut state.torn);
        let over = match state.phase {
            Phase::Open => false,
            Phase::Finishing => batch.is_empty(),
            Phase::Closed => true,
        };
        self.note_level(&state);
        let low = state.writing < self.limit.div_ceil(4);
        drop(state);
        if low && self.high.swap(false, Ordering::AcqRel) {
            self.drained.notify_waiters();
        }
        (!over).then_some(torn)
    }

    fn note_level(&self, state: &State) {
        self.level.store(state.buffer.len() + state.writing, Ordering::Relaxed);
    }

    /// What the writer couldn't write goes before what has gathered since.
    fn put_back(&self, mut batch: BytesMut, torn: usize) {
        let mut state = lock(&self.state);
        batch.extend_from_slice(&state.buffer);
        state.buffer = batch;
        state.torn = torn;
        state.writing = 0;
        self.note_level(&state);
    }
}

impl State {
    /// Writing from the appending thread; whatever goes wrong, the writer will see it, too.
    fn write_early(&mut self, written: &Written) {
        let Some(stream) = &self.stream else { return };
        if let Ok(n) = stream.try_write(&self.buffer) {
            written.add(n);
            self.torn = step(&mut self.buffer, self.torn, n);
        }
    }
}

/// Drops `n` written bytes from the front and says how many of the rest belong to a begun frame.
fn step(buffer: &mut BytesMut, torn: usize, n: usize) -> usize {
    if n >= buffer.len() {
        buffer.clear();
        return 0;
    }
    let next = boundary(buffer, torn, n);
    buffer.advance(n);
    next - n
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_buffer_says_so_and_keeps_what_it_has() {
        let out = Out::new(100, Arc::default());
        assert_eq!(out.append(b"head", &[0; 60], Write::From(MUCH)), Ok(()));
        assert_eq!(out.append(b"head", &[0; 60], Write::From(MUCH)), Err(NotTaken::Full));
        assert!(out.is_high());
        assert_eq!(out.close().map(|b| b.len()), Some(68));
        assert_eq!(out.append(b"", b"", Write::From(MUCH)), Err(NotTaken::Closed));
        assert_eq!(out.close(), None);
    }

    /// Else the peer would hear that no more comes only when the link is given up.
    #[tokio::test]
    async fn what_is_finished_before_it_opens_keeps_no_stream() {
        let door = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let stream = tokio::net::TcpStream::connect(door.local_addr().unwrap()).await.unwrap();
        let (_, outgoing) = crate::link::lane::lanes(crate::net::Stream::Tcp(stream));
        let (out, outgoing) = (Out::new(100, Arc::default()), Arc::new(outgoing));
        out.finish();
        assert!(out.open(outgoing.clone()), "what waits still leaves");
        assert_eq!(Arc::strong_count(&outgoing), 1);
    }

    #[test]
    fn one_frame_fits_however_large() {
        let out = Out::new(100, Arc::default());
        assert_eq!(out.append(&[], &[0; 5000], Write::From(MUCH)), Ok(()));
    }

    #[test]
    fn a_frame_of_which_a_byte_has_left_is_not_handed_back() {
        let mut buffer = BytesMut::new();
        for frame in [&b"abc"[..], b"defgh"] {
            buffer.put_u32_le(frame.len() as u32);
            buffer.put_slice(frame);
        }
        let torn = step(&mut buffer, 0, 5);
        assert_eq!(torn, 2);
        let out = Out::new(100, Arc::default());
        out.put_back(buffer, torn);
        assert_eq!(out.close().as_deref(), Some(&b"\x05\0\0\0defgh"[..]));
    }
}
