//! The birds of the stories: they write down what they handle.

use std::time::Duration;

use actix::prelude::*;
use flock_actix::{Bird, BirdRef, Hatching, Hears, Reply, bird};
use serde::{Deserialize, Serialize};

use super::ledger;
use super::panics::WANTED;

/// What a bird answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Noted {
    /// The call that it handled.
    pub(super) call: u64,
    /// Its life.
    pub(super) life: u64,
    /// How many calls and casts this life has handled.
    pub(super) count: u64,
}

/// Answered at once, whatever its size.
#[derive(Message, Serialize, Deserialize)]
#[rtype(result = "Noted")]
pub(super) struct Note {
    pub(super) call: u64,
    pub(super) ballast: String,
}

/// Answered after a while, in which the bird hears others.
#[derive(Message, Serialize, Deserialize)]
#[rtype(result = "Noted")]
pub(super) struct Ponder {
    pub(super) call: u64,
    pub(super) millis: u64,
}

/// Answered after a while, in which the bird hears nobody.
#[derive(Message, Serialize, Deserialize)]
#[rtype(result = "Noted")]
pub(super) struct Brood {
    pub(super) call: u64,
    pub(super) millis: u64,
}

/// Panics.
#[derive(Message, Serialize, Deserialize)]
#[rtype(result = "Noted")]
pub(super) struct Fall {
    pub(super) call: u64,
}

/// One life of a bird, from the end of its hatch until its actor is dropped.
struct Life {
    number: u64,
    count: u64,
}

impl Life {
    fn begin(hatching: &Hatching) -> Self {
        let (name, nest) = (hatching.name().as_str(), hatching.nest().as_str());
        let fence = hatching.fence().now();
        let number = ledger::life_begins(name, nest, hatching.why(), fence);
        Self { number, count: 0 }
    }

    fn handle(&mut self, call: u64) -> Noted {
        self.count += 1;
        let noted = Noted { call, life: self.number, count: self.count };
        ledger::call_handled(noted);
        noted
    }
}

impl Drop for Life {
    fn drop(&mut self) {
        ledger::life_ends(self.number);
    }
}

/// A bird that hatches at once.
pub(super) struct Steady(Life);

/// A bird that takes its time to hatch, and fails in one of four tries.
pub(super) struct Fussy(Life);

impl Bird for Steady {
    type Args = u64;

    async fn hatch(_: u64, bird: &Hatching) -> anyhow::Result<Self> {
        Ok(Self(Life::begin(bird)))
    }
}

impl Bird for Fussy {
    type Args = u64;

    async fn hatch(_: u64, bird: &Hatching) -> anyhow::Result<Self> {
        tokio::time::sleep(Duration::from_millis(ledger::below(300))).await;
        anyhow::ensure!(ledger::below(4) > 0, "not today");
        Ok(Self(Life::begin(bird)))
    }
}

macro_rules! hears_all {
    ($bird:ident as $name:literal) => {
        impl Actor for $bird {
            type Context = Context<Self>;
        }

        impl Handler<Note> for $bird {
            type Result = MessageResult<Note>;
            fn handle(&mut self, note: Note, _: &mut Context<Self>) -> Self::Result {
                assert!(note.ballast.bytes().all(|b| b == letter(note.call)), "bytes got mixed up");
                MessageResult(self.0.handle(note.call))
            }
        }

        impl Handler<Ponder> for $bird {
            type Result = ResponseFuture<Noted>;
            fn handle(&mut self, message: Ponder, _: &mut Context<Self>) -> Self::Result {
                let noted = self.0.handle(message.call);
                Box::pin(async move {
                    tokio::time::sleep(Duration::from_millis(message.millis)).await;
                    noted
                })
            }
        }

        impl Handler<Brood> for $bird {
            type Result = AtomicResponse<Self, Noted>;
            fn handle(&mut self, message: Brood, _: &mut Context<Self>) -> Self::Result {
                let noted = self.0.handle(message.call);
                let while_brooding = tokio::time::sleep(Duration::from_millis(message.millis));
                let answer = while_brooding.into_actor(self).map(move |(), _, _| noted);
                AtomicResponse::new(Box::pin(answer))
            }
        }

        impl Handler<Fall> for $bird {
            type Result = MessageResult<Fall>;
            fn handle(&mut self, Fall { call }: Fall, _: &mut Context<Self>) -> Self::Result {
                self.0.handle(call);
                ledger::did(|did| did.panics += 1);
                std::panic::panic_any(WANTED);
            }
        }

        bird!($bird as $name { Note, Ponder, Brood, Fall });
    };
}

hears_all!(Steady as "steady");
hears_all!(Fussy as "fussy");

/// What a bird is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Message {
    /// With so many bytes.
    Note(usize),
    Ponder(u64),
    Brood(u64),
    Fall,
}

fn note(call: u64, bytes: usize) -> Note {
    Note { call, ballast: char::from(letter(call)).to_string().repeat(bytes) }
}

/// What a call's ballast is made of.
const fn letter(call: u64) -> u8 {
    b'a' + (call % 26) as u8
}

/// Hears all of them.
pub(super) trait Listener:
    Bird<Args = u64> + Hears<Note> + Hears<Ponder> + Hears<Brood> + Hears<Fall>
{
}

impl Listener for Steady {}
impl Listener for Fussy {}

/// Makes a call, which is on its way when this returns.
pub(super) fn send<B: Listener>(
    bird: &BirdRef<B>,
    call: u64,
    message: Message,
    within: Duration,
) -> Reply<Noted> {
    match message {
        Message::Note(bytes) => bird.send(note(call, bytes)).deadline(within).at_once(),
        Message::Ponder(millis) => bird.send(Ponder { call, millis }).deadline(within).at_once(),
        Message::Brood(millis) => bird.send(Brood { call, millis }).deadline(within).at_once(),
        Message::Fall => bird.send(Fall { call }).deadline(within).at_once(),
    }
}

/// Makes a cast.
pub(super) fn cast<B: Listener>(bird: &BirdRef<B>, call: u64, message: Message) {
    match message {
        Message::Note(bytes) => bird.do_send(note(call, bytes)),
        Message::Ponder(millis) => bird.do_send(Ponder { call, millis }),
        Message::Brood(millis) => bird.do_send(Brood { call, millis }),
        Message::Fall => bird.do_send(Fall { call }),
    }
}
