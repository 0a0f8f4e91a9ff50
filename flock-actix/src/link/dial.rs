//! Links that this nest dials.

use std::sync::Arc;

use flock_proto::{Event, Input, NestId};

use super::accept::{NoWord, read_word, write_word};
use super::frame::{Cut, MAX_HELLO};
use super::hello::{Hello, LinkKind, Reason, Refuse, Unreadable, Word};
use super::lane::{Incoming, Outgoing};
use super::links::Links;
use super::pipe::Pipe;
use super::seats::Seats;
use crate::net::{self, DialError};
use crate::rt::Seat;

/// Why a dial came to nothing.
pub(super) enum Failed {
    /// Nobody was reached, or nobody who makes sense.
    Network(DialError),
    /// A nest said no.
    Refused(Refuse),
    /// One of the two has a key, or a certificate, that the other lacks or doesn't accept.
    Barred(String),
    /// Somebody answered who isn't to be trusted.
    Distrusted(String),
}

impl From<DialError> for Failed {
    fn from(e: DialError) -> Self {
        Self::Network(e)
    }
}

/// A handshake that ended in a welcome.
struct Greeted {
    by: Hello,
    lanes: (Incoming, Outgoing),
    /// Holds what came behind the welcome.
    cut: Cut,
}

impl Links {
    /// Opens a control link to whoever listens there. Ends in `LinkOpened` or `DialFailed`; a
    /// second dial while the first is under way shares its end.
    pub(crate) fn dial(&self, address: String) {
        let Some(links) = self.this() else { return };
        if !self.begin_dial(&address) {
            return;
        }
        self.spawn(async move {
            let me = links.id();
            let greeted = links.greet(&address, LinkKind::Control, None).await;
            if links.id() != me {
                // Said in the name of a former incarnation; the core has dialled anew.
                return;
            }
            match greeted {
                Ok(Greeted { by, lanes, cut }) => {
                    let pipe = links.pipe(&by, true);
                    links.open_control(&pipe, Some(address.clone()), lanes, cut);
                    links.end_dial(&address);
                }
                Err(failed) => {
                    links.end_dial(&address);
                    links.on_failed(address, failed);
                }
            }
        });
    }

    /// Opens a data link in the background; until then it buffers.
    pub(super) fn dial_data(&self, pipe: Arc<Pipe>, Seats { here, there }: Seats) {
        let Some(links) = self.this() else { return };
        let link = pipe.clone();
        let task = self.crew.at(here).spawn(async move {
            match links.greet(&pipe.peer.address, LinkKind::Data, there).await {
                Ok(Greeted { by, lanes, cut }) if by.id == pipe.peer.id => {
                    links.run(&pipe, lanes, cut);
                }
                // Another incarnation lives there now, or none.
                Ok(_) | Err(_) => links.on_no_data(&pipe),
            }
        });
        link.own(task.abort_handle());
    }

    /// Makes a link for data to whoever listens there, and lets go of it.
    #[cfg(feature = "testing")]
    pub(crate) async fn handshake(&self, address: String) -> Result<(), String> {
        let Some(links) = self.this() else { return Err("the nest has ended".into()) };
        let made = self.crew.at(None).spawn(async move {
            let greeted = links.greet(&address, LinkKind::Data, None).await;
            greeted.map(drop).map_err(|failed| match failed {
                Failed::Network(e) => e.why,
                Failed::Refused(Refuse { why, .. }) => why,
                Failed::Barred(why) | Failed::Distrusted(why) => why,
            })
        });
        made.await.unwrap_or_else(|e| Err(e.to_string()))
    }

    fn on_failed(&self, address: String, failed: Failed) {
        match failed {
            Failed::Network(DialError { refused, why }) => {
                self.control.on_input(Input::DialFailed { address, refused, why });
            }
            Failed::Barred(why) => {
                self.tell_of_refusal(&address, &why);
                self.control.on_input(Input::DialFailed { address, refused: false, why });
            }
            Failed::Distrusted(why) => {
                self.refused(address.clone(), why.clone());
                self.control.on_input(Input::DialFailed { address, refused: false, why });
            }
            Failed::Refused(Refuse { code, why, above }) => {
                let alarming = matches!(
                    code,
                    Reason::OtherFlock
                        | Reason::Version
                        | Reason::Unreadable
                        | Reason::Clock
                        | Reason::OtherName
                        | Reason::Other(_)
                );
                if alarming {
                    self.tell_of_refusal(&address, &why);
                }
                self.control.on_input(Input::DialFailed { address, refused: false, why });
                if code == Reason::Outdated && above > NestId(0) {
                    self.control.on_input(Input::Outdated { above });
                }
                if code == Reason::NameTaken {
                    self.control.on_name_taken();
                }
            }
        }
    }

    fn tell_of_refusal(&self, address: &str, why: &str) {
        let why = format!("this nest was refused: {why}");
        if let Some(why) = self.refusals.tell(self.now(), why) {
            self.control.on_event(Event::Refused { peer: address.into(), why });
        }
    }

    async fn greet(&self, address: &str, kind: LinkKind, seat: Seat) -> Result<Greeted, Failed> {
        let patience = self.plan.handshake;
        if self.cutter.is_address_cut(address) {
            tokio::time::sleep(patience).await;
            return Err(DialError::new(format!("{address} doesn't answer")).into());
        }
        let (host, loopback_only) = (self.crew.host(), self.plan.loopback_only);
        let stream = net::dial(host, address, loopback_only, patience).await?;
        match tokio::time::timeout(patience, self.introduce(stream, kind, seat)).await {
            Ok(greeted) => greeted,
            Err(_) => Err(DialError::new(format!("{address} doesn't say welcome")).into()),
        }
    }

    async fn introduce(
        &self,
        stream: net::Stream,
        kind: LinkKind,
        seat: Seat,
    ) -> Result<Greeted, Failed> {
        let (mut incoming, outgoing) = self.meet_dialled(stream).await?;
        let mut cut = Cut::new(MAX_HELLO);
        let broken = |why: String| DialError::new(why);
        // Tells this nest's hellos apart; nobody needs to be unable to guess it.
        let nonce = self.fresh_number();
        let mut hello = self.hello(kind, nonce);
        hello.seat = seat;
        let word = Word::Hello(hello.clone());
        write_word(&outgoing, &word).await.map_err(|e| broken(e.to_string()))?;
        let word = read_word(&mut incoming, &mut cut).await.map_err(|e| match e {
            NoWord::Unreadable(Unreadable::Barred(bar)) => Failed::Barred(bar.to_string()),
            #[cfg(feature = "tls")]
            NoWord::Lost(e) if let Some(refused) = super::tls::refused(&e) => {
                Failed::Barred(refused.to_string())
            }
            e => broken(e.to_string()).into(),
        })?;
        match word {
            Word::Refuse(refuse) => Err(Failed::Refused(refuse)),
            Word::Welcome(mut by) if by.nonce == nonce && by.flock == hello.flock => {
                incoming.vouches_for(&by.nest).map_err(Failed::Distrusted)?;
                self.cutter.passable(&by.nest).await;
                // The sender's own kind is beside the point: this link is what it was dialled for.
                by.link = kind;
                Ok(Greeted { by, lanes: (incoming, outgoing), cut })
            }
            Word::Welcome(_) | Word::Hello(_) => {
                Err(broken("the answer is meant for somebody else".into()).into())
            }
        }
    }
}
