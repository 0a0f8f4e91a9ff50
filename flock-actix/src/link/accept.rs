//! Links that peers dial, and the strangers among them.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use flock_proto::{Event, NestName};
use tokio::task::AbortHandle;

use super::count;
use super::frame::{Cut, MAX_HELLO};
use super::hello::{Hello, LinkKind, Reason, Refuse, Unreadable, Word};
use super::links::Links;
use crate::net::{self, Afoot, Door, Reading, Stream, Writing};

/// Why no word of a handshake came.
#[derive(Debug, thiserror::Error)]
pub(super) enum NoWord {
    /// The other end is gone.
    #[error("the connection is lost: {0}")]
    Lost(#[from] io::Error),
    /// Bytes came, and were no word.
    #[error("{0}")]
    Unreadable(#[from] Unreadable),
}

impl Links {
    /// Lets peers in, until the links are closed.
    pub(crate) fn accept(self: &Arc<Self>, door: Door) {
        let links = self.clone();
        self.spawn(async move {
            let mut strangers: VecDeque<AbortHandle> = VecDeque::new();
            loop {
                let (stream, from) = match door.accept().await {
                    Ok(accepted) => accepted,
                    Err(e) => {
                        // Out of file handles, most likely. They come back.
                        tracing::warn!(error = %e, "can't accept connections");
                        tokio::time::sleep(Duration::from_millis(50)).await;
                        continue;
                    }
                };
                strangers.retain(|s| !s.is_finished());
                if strangers.len() >= links.plan.half_open {
                    count(&links.counts.crowded);
                    // The oldest has to go, not the newest: peers are quick, so it is none.
                    strangers.pop_front().iter().for_each(AbortHandle::abort);
                }
                let answer = links.clone();
                strangers.push_back(links.spawn(async move { answer.answer(stream, from).await }));
            }
        });
    }

    async fn answer(&self, stream: Stream, from: SocketAddr) {
        let patience = self.plan.handshake;
        match tokio::time::timeout(patience, self.hear(stream, from)).await {
            Ok(()) => {}
            Err(_) => self.refused(from.to_string(), "it said no hello in time".into()),
        }
    }

    async fn hear(&self, stream: Stream, from: SocketAddr) {
        let (reading, writing) = net::split(stream);
        let mut cut = Cut::new(MAX_HELLO);
        let hello = match read_word(&reading, &mut cut).await {
            Ok(Word::Hello(hello)) => hello,
            Ok(Word::Welcome(_) | Word::Refuse(_)) => {
                return self.refused(from.to_string(), "it answered without being asked".into());
            }
            Err(e) => {
                if let NoWord::Unreadable(e) = &e {
                    let refuse = Refuse::new(Reason::Unreadable, e.to_string());
                    // Whoever sends garbage may not read the answer either.
                    let _ = write_word(&writing, &Word::Refuse(refuse)).await;
                    count(&self.counts.bad);
                }
                return self.refused(from.to_string(), e.to_string());
            }
        };
        if self.cutter.is_cut(&hello.nest) {
            return;
        }
        if let Err(refuse) = self.judge(&hello) {
            self.tell_refused(&hello, &refuse);
            // If it doesn't hear this, it will find out by dialling again.
            let _ = write_word(&writing, &Word::Refuse(refuse)).await;
            return;
        }
        let welcome = Word::Welcome(self.hello(hello.link, hello.nonce));
        let me = self.id();
        if write_word(&writing, &welcome).await.is_err() || self.id() != me {
            return;
        }
        match hello.link {
            LinkKind::Control => {
                let pipe = self.pipe(&hello, false);
                self.open_control(&pipe, None, (reading, writing), cut);
            }
            LinkKind::Data => self.move_to_data_thread(&hello, reading, writing, cut),
        }
    }

    /// Calls have a thread of their own: the control thread has other things to do.
    fn move_to_data_thread(&self, hello: &Hello, reading: Reading, writing: Writing, cut: Cut) {
        let Some(links) = self.this() else { return };
        let pipe = self.pipe(hello, false);
        let afoot = net::rejoin(reading, writing).and_then(Afoot::from);
        self.crew.data().spawn(async move {
            match afoot.and_then(Afoot::arrive) {
                Ok(stream) => links.open_incoming(&pipe, net::split(stream), cut),
                Err(e) => tracing::warn!(error = %e, peer = %pipe.peer.name, "lost a data link"),
            }
        });
    }

    fn tell_refused(&self, hello: &Hello, refuse: &Refuse) {
        match refuse.code {
            // In good order: nobody needs to know.
            Reason::Myself | Reason::Busy | Reason::Outdated => {}
            Reason::NameTaken => {
                count(&self.counts.refused);
                self.control.on_event(Event::NameTaken(hello.nest.clone()));
            }
            Reason::Clock => {
                count(&self.counts.refused);
                let ahead_ms = self.skew(hello).unwrap_or_default();
                self.control.on_event(Event::ClockSkew { nest: hello.nest.clone(), ahead_ms });
            }
            _ => self.refused(named(&hello.nest, &hello.address), refuse.why.clone()),
        }
    }

    fn refused(&self, peer: String, why: String) {
        count(&self.counts.refused);
        self.control.on_event(Event::Refused { peer, why });
    }
}

fn named(nest: &NestName, address: &str) -> String {
    format!("{nest} at {address}")
}

/// Reads one word; what came behind it stays in `cut`.
pub(super) async fn read_word(reading: &Reading, cut: &mut Cut) -> Result<Word, NoWord> {
    loop {
        match cut.next(Word::decode) {
            Ok(Some(word)) => return Ok(word?),
            Ok(None) => {}
            Err(e) => return Err(Unreadable::TooLong(e.0).into()),
        }
        reading.readable().await?;
        match reading.try_read(cut.room()) {
            Ok(0) => return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into()),
            Ok(_) => {}
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
            Err(e) => return Err(e.into()),
        }
    }
}

pub(super) async fn write_word(writing: &Writing, word: &Word) -> io::Result<()> {
    let frame = word.encode();
    let mut rest: &[u8] = &frame;
    while !rest.is_empty() {
        writing.writable().await?;
        match writing.try_write(rest) {
            Ok(n) => rest = rest.get(n..).unwrap_or_default(),
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
            Err(e) => return Err(e),
        }
    }
    Ok(())
}
