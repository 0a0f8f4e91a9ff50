//! Links that peers dial, and the strangers among them.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use flock_proto::{Event, NestName};

use super::alarm::Alarm;
use super::count;
use super::frame::{Cut, MAX_HELLO};
use super::hello::{Hello, LinkKind, Reason, Refuse, Unreadable, Word};
use super::knock::{Bar, Knock};
use super::lane::{Incoming, Moving, Outgoing};
use super::links::Links;
use super::meet::{NotMet, write_knock};
use super::strangers::Strangers;
use crate::net::{Door, Stream};

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
            let mut strangers = Strangers::new(links.plan.half_open, links.plan.half_open_each);
            let alarm = Alarm::new(links.now());
            loop {
                let (stream, from) = match door.accept().await {
                    Ok(accepted) => accepted,
                    Err(e) => {
                        // Out of file handles, most likely. They come back.
                        if let Some(why) = alarm.tell(links.now(), e.to_string()) {
                            tracing::warn!("can't accept connections: {why}");
                        }
                        tokio::time::sleep(Duration::from_millis(50)).await;
                        continue;
                    }
                };
                if strangers.make_room(from.ip()) {
                    count(&links.counts.crowded);
                }
                let answer = links.clone();
                let task = links.spawn(async move { answer.answer(stream, from).await });
                strangers.add(from.ip(), task);
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
        let (mut incoming, outgoing) = match self.meet_dialler(stream).await {
            Ok(lanes) => lanes,
            Err(e) => {
                if let NotMet::NoWord(NoWord::Unreadable(
                    Unreadable::TooLong(_) | Unreadable::Foreign,
                )) = e
                {
                    count(&self.counts.bad);
                }
                return self.refused(from.to_string(), e.to_string());
            }
        };
        let mut cut = Cut::new(MAX_HELLO);
        let hello = match read_word(&mut incoming, &mut cut).await {
            Ok(Word::Hello(hello)) => hello,
            Ok(Word::Welcome(_) | Word::Refuse(_)) => {
                return self.refused(from.to_string(), "it answered without being asked".into());
            }
            Err(e) => {
                if let NoWord::Unreadable(e) = &e {
                    // Whoever sends garbage may not read the answer either.
                    let _ = match e {
                        Unreadable::Locked => {
                            write_knock(&outgoing, Knock::Barred(Bar::NoKey)).await
                        }
                        Unreadable::Tls => {
                            write_knock(&outgoing, Knock::Barred(Bar::NoCertificate)).await
                        }
                        e => {
                            count(&self.counts.bad);
                            let refuse = Refuse::new(Reason::Unreadable, e.to_string());
                            write_word(&outgoing, &Word::Refuse(refuse)).await
                        }
                    };
                }
                return self.refused(from.to_string(), e.to_string());
            }
        };
        if self.cutter.is_cut(&hello.nest) {
            return;
        }
        let vouched = incoming.vouches_for(&hello.nest);
        let vouched = vouched.map_err(|why| Refuse::new(Reason::OtherName, why));
        if let Err(refuse) = vouched.and_then(|()| self.judge(&hello)) {
            self.tell_refused(&hello, &refuse);
            // If it doesn't hear this, it will find out by dialling again.
            let _ = write_word(&outgoing, &Word::Refuse(refuse)).await;
            return;
        }
        let welcome = Word::Welcome(self.hello(hello.link, hello.nonce));
        let me = self.id();
        if write_word(&outgoing, &welcome).await.is_err() || self.id() != me {
            return;
        }
        match hello.link {
            LinkKind::Control => {
                let pipe = self.pipe(&hello, false);
                self.open_control(&pipe, None, (incoming, outgoing), cut);
            }
            LinkKind::Data => self.move_to_its_seat(&hello, incoming, outgoing, cut),
        }
    }

    /// Calls are read where their birds are, or by a thread of their own: the control thread has other
    /// things to do.
    fn move_to_its_seat(&self, hello: &Hello, incoming: Incoming, outgoing: Outgoing, cut: Cut) {
        let Some(links) = self.this() else { return };
        let pipe = self.pipe(hello, false);
        let moving = Moving::from(incoming, outgoing);
        self.crew.at(hello.seat).spawn(async move {
            match moving.and_then(Moving::arrive) {
                Ok(lanes) => links.open_incoming(&pipe, lanes, cut),
                // Whoever dialled will notice, and dial again.
                Err(e) => tracing::debug!(error = %e, peer = %pipe.peer.name, "lost a data link"),
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

    pub(super) fn refused(&self, peer: String, why: String) {
        count(&self.counts.refused);
        if let Some(why) = self.strangers.tell(self.now(), why) {
            self.control.on_event(Event::Refused { peer, why });
        }
    }
}

fn named(nest: &NestName, address: &str) -> String {
    format!("{nest} at {address}")
}

/// Reads one word; what came behind it stays in `cut`.
pub(super) async fn read_word(incoming: &mut Incoming, cut: &mut Cut) -> Result<Word, NoWord> {
    read_frame(incoming, cut, Word::decode).await
}

/// Reads one frame and has it decoded; what came behind it stays in `cut`.
pub(super) async fn read_frame<T>(
    incoming: &mut Incoming,
    cut: &mut Cut,
    decode: impl Fn(&[u8]) -> Result<T, Unreadable>,
) -> Result<T, NoWord> {
    loop {
        match cut.next(&decode) {
            Ok(Some(word)) => return Ok(word?),
            Ok(None) => {}
            Err(e) => return Err(Unreadable::from(e).into()),
        }
        incoming.readable().await?;
        match incoming.try_read(cut.room()) {
            Ok(0) => return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into()),
            Ok(_) => {}
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
            Err(e) => return Err(e.into()),
        }
    }
}

pub(super) async fn write_word(outgoing: &Outgoing, word: &Word) -> io::Result<()> {
    write_all(outgoing, &word.encode()).await
}

pub(super) async fn write_all(outgoing: &Outgoing, frame: &[u8]) -> io::Result<()> {
    let mut rest = frame;
    while !rest.is_empty() {
        outgoing.writable().await?;
        match outgoing.try_write(rest) {
            Ok(n) => rest = rest.get(n..).unwrap_or_default(),
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
            Err(e) => return Err(e),
        }
    }
    Ok(())
}
