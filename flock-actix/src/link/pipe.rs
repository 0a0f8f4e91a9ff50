//! One connection between two nests, control or data: its reader, its writer and its end.

use std::fmt;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::BytesMut;
use flock_proto::{NestId, Peer, Time};
use tokio::task::AbortHandle;

use super::Cutter;
use super::frame::{Cut, MAX_FRAME, PREFIX};
use super::hello::LinkKind;
use super::lane::{Incoming, Outgoing};
use super::lock;
use super::out::{MUCH, NotTaken, Out, Write};
use crate::data_link::{DataLink, LinkError, LinkId};
use crate::rt::Among;
use crate::wall::Wall;

/// After so many reads without a pause the other tasks of the thread have their turn.
const READS_IN_A_ROW: u32 = 16;

/// More frames than this at a time are as good as so many: they fill any write.
const MANY: usize = 256;

/// One connection to a nest. It takes frames before it is open, and none once it is closed.
pub(crate) struct Pipe {
    id: LinkId,
    pub(crate) peer: Peer,
    pub(crate) kind: LinkKind,
    /// This side made the call.
    pub(crate) dialled: bool,
    /// Workers of the peer that have seats.
    pub(crate) seats: u8,
    pub(crate) opened: Time,
    /// When the peer was last heard, in microseconds.
    heard: AtomicU64,
    /// What was read last is one frame, and no more.
    alone: AtomicBool,
    /// Frames that came at a time, of late.
    together: AtomicUsize,
    wall: Wall,
    out: Out,
    cutter: Arc<Cutter>,
    /// `None` once it has ended.
    tasks: Mutex<Option<Vec<AbortHandle>>>,
}

/// How reading came to its end.
#[derive(Debug)]
pub(crate) enum ReadEnd {
    /// The peer said that no more will come, or the network did.
    Over,
    /// Something came that no honest peer sends.
    Bad(String),
}

impl Pipe {
    pub(crate) fn new(
        id: LinkId,
        peer: Peer,
        (kind, seats): (LinkKind, u8),
        dialled: bool,
        out: Out,
        cutter: Arc<Cutter>,
        wall: Wall,
    ) -> Arc<Self> {
        let opened = wall.now();
        Arc::new(Self {
            id,
            peer,
            kind,
            dialled,
            seats,
            opened,
            heard: AtomicU64::new(opened.as_micros()),
            alone: AtomicBool::new(false),
            together: AtomicUsize::new(MANY),
            wall,
            out,
            cutter,
            tasks: Mutex::new(Some(Vec::new())),
        })
    }

    /// Puts one frame on its way.
    pub(crate) fn put(&self, head: &[u8], body: &[u8]) -> Result<(), NotTaken> {
        self.put_and(head, body, self.once_enough(head.len() + body.len()))
    }

    fn put_and(&self, head: &[u8], body: &[u8], write: Write) -> Result<(), NotTaken> {
        if head.len().saturating_add(body.len()) > MAX_FRAME {
            return Err(NotTaken::Full);
        }
        let write = if self.cutter.is_cut(&self.peer.name) { Write::Never } else { write };
        self.out.append(head, body, write)
    }

    /// When a frame of this length leaves of which nothing else is known. Answers: with two thirds of as many as calls
    /// came at a time of late. So the peer, which waits for some of them to make its next calls, has something to
    /// do while the others are made.
    fn once_enough(&self, len: usize) -> Write {
        if self.kind == LinkKind::Data && !self.dialled {
            let all = self.together.load(Ordering::Relaxed);
            Write::From(all.saturating_mul(PREFIX + len) / 3 * 2)
        } else {
            Write::From(MUCH)
        }
    }

    /// So many frames came until there was nothing more to read.
    fn note_read(&self, frames: usize) {
        if frames == 0 {
            return;
        }
        let before = self.together.load(Ordering::Relaxed);
        self.together.store(before.midpoint(frames.min(MANY)), Ordering::Relaxed);
    }

    /// Whether the peer was heard within this span.
    pub(crate) fn is_fresh(&self, within: Duration) -> bool {
        let heard = Time::from_micros(self.heard.load(Ordering::Relaxed));
        self.wall.now().since(heard) < within
    }

    /// Ends this pipe together with these tasks; at once, if it has ended.
    pub(crate) fn own(&self, task: AbortHandle) {
        let mut tasks = lock(&self.tasks);
        let Some(tasks) = &mut *tasks else { return task.abort() };
        tasks.retain(|t| !t.is_finished());
        tasks.push(task);
    }

    /// Everything that was put into it has been written.
    pub(crate) fn is_idle(&self) -> bool {
        self.out.is_idle()
    }

    /// Takes nothing more, writes what waits, and tells the peer that this was all.
    pub(crate) fn finish(&self) {
        self.out.finish();
    }

    /// Ends both directions at once. Hands back the frames of which no byte has left, each with its
    /// prefix; `None` if it had ended before.
    pub(crate) fn end(&self) -> Option<BytesMut> {
        let unwritten = self.out.close();
        for task in lock(&self.tasks).take().into_iter().flatten() {
            task.abort();
        }
        unwritten
    }

    /// Writes until the pipe is finished or fails; then the peer is told that no more will come.
    pub(crate) async fn write(self: Arc<Self>, outgoing: Outgoing, among: Among) -> io::Result<()> {
        let outgoing = Arc::new(outgoing);
        if !self.out.open(outgoing.clone()) {
            return Ok(());
        }
        self.out.write_all(outgoing, among, || self.cutter.passable(&self.peer.name)).await
    }

    /// Hands frame after frame to `on_frame` until there are no more. `on_pause` is awaited after
    /// each batch. Both get what they have in common.
    pub(crate) async fn read<S, F: Future<Output = ()>>(
        &self,
        mut incoming: Incoming,
        mut cut: Cut,
        common: &mut S,
        on_frame: impl Fn(&mut S, &[u8]),
        on_pause: impl Fn(&mut S) -> F,
    ) -> ReadEnd {
        incoming.trust();
        cut.allow(MAX_FRAME);
        let (mut in_a_row, mut frames) = (0, 0);
        loop {
            self.alone.store(cut.holds_one(), Ordering::Relaxed);
            loop {
                match cut.next(|frame| on_frame(common, frame)) {
                    Ok(Some(())) => frames += 1,
                    Ok(None) => break,
                    Err(e) => return ReadEnd::Bad(e.to_string()),
                }
            }
            on_pause(common).await;
            self.cutter.passable(&self.peer.name).await;
            match incoming.try_read(cut.room()) {
                Ok(0) => return ReadEnd::Over,
                Ok(_) => {
                    self.heard.store(self.wall.now().as_micros(), Ordering::Relaxed);
                    in_a_row += 1;
                    if in_a_row >= READS_IN_A_ROW {
                        in_a_row = 0;
                        self.note_read(std::mem::take(&mut frames));
                        tokio::task::yield_now().await;
                    }
                }
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                    in_a_row = 0;
                    self.note_read(std::mem::take(&mut frames));
                    if incoming.readable().await.is_err() {
                        return ReadEnd::Over;
                    }
                }
                Err(e) if e.kind() == io::ErrorKind::InvalidData => {
                    return ReadEnd::Bad(e.to_string());
                }
                Err(_) => return ReadEnd::Over,
            }
        }
    }
}

impl DataLink for Pipe {
    fn id(&self) -> LinkId {
        self.id
    }

    fn peer(&self) -> NestId {
        self.peer.id
    }

    fn append(&self, head: &[u8], body: &[u8]) -> Result<(), LinkError> {
        Ok(self.put(head, body)?)
    }

    // With two fifths of what its sender has on the way: the peer has something to do while the rest is made.
    fn append_one_of(&self, among: u32, head: &[u8], body: &[u8]) -> Result<(), LinkError> {
        let write = match among {
            0 | 1 => Write::Now,
            _ => {
                let all = (among as usize).saturating_mul(PREFIX + head.len() + body.len());
                Write::From(all / 5 * 2)
            }
        };
        Ok(self.put_and(head, body, write)?)
    }

    fn came_alone(&self) -> bool {
        self.alone.load(Ordering::Relaxed)
    }

    fn heard_at(&self) -> Option<Time> {
        Some(Time::from_micros(self.heard.load(Ordering::Relaxed)))
    }

    fn is_over_high_water(&self) -> bool {
        self.out.is_high()
    }

    fn drained(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(self.out.drained())
    }
}

impl From<NotTaken> for LinkError {
    fn from(why: NotTaken) -> Self {
        match why {
            NotTaken::Full => Self::Full,
            NotTaken::Closed => Self::Closed,
        }
    }
}

impl fmt::Debug for Pipe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pipe")
            .field("id", &self.id)
            .field("peer", &self.peer)
            .field("kind", &self.kind)
            .field("dialled", &self.dialled)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use flock_proto::NestName;

    use super::*;

    #[tokio::test]
    async fn what_is_begun_for_a_pipe_that_has_ended_ends() {
        let peer = Peer {
            id: NestId(1),
            name: NestName::new("a").unwrap(),
            address: "127.0.0.1:1".into(),
        };
        let (out, wall) = (Out::new(100, Arc::default()), Wall::new());
        let pipe = Pipe::new(LinkId(1), peer, (LinkKind::Data, 0), true, out, Arc::default(), wall);
        let before = tokio::spawn(std::future::pending::<()>());
        pipe.own(before.abort_handle());
        assert!(pipe.end().is_some());
        let after = tokio::spawn(std::future::pending::<()>());
        pipe.own(after.abort_handle());
        assert!(pipe.end().is_none());
        for task in [before, after] {
            assert!(task.await.is_err_and(|why| why.is_cancelled()));
        }
    }
}
