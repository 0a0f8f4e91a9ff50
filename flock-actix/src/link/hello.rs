//! What two nests say to each other before anything else.
//!
//! Whoever dialled says hello; the other answers with a welcome or a refusal, no more than 1 KiB each.
//! Where the flock has a key these are sealed, and nothing is read before that but what `knock` knows.

use std::io;

use bytes::{BufMut, BytesMut};
use flock_proto::{Hlc, NestId, NestName};
use serde::{Deserialize, Serialize};

use super::frame::{MAX_HELLO, TooLong, WIRE};
use super::knock::{Bar, Knock};

const MAGIC: &str = "flock";

/// What a link is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum LinkKind {
    /// The core's frames.
    Control,
    /// Calls and casts.
    Data,
}

/// Who speaks, and what he speaks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Hello {
    magic: String,
    pub(crate) flock: String,
    /// The oldest version of the wire that the speaker understands.
    pub(crate) min: u8,
    /// The latest.
    pub(crate) max: u8,
    pub(crate) nest: NestName,
    pub(crate) id: NestId,
    pub(crate) address: String,
    pub(crate) clock: Hlc,
    pub(crate) link: LinkKind,
    /// A welcome repeats the hello's: it answers this hello, not an earlier one.
    pub(crate) nonce: u64,
    /// Threads of the speaker that read links for the birds on them, numbered from 0. Where there are
    /// `n`, a name's bird is on the one that its hash modulo `n` says.
    #[serde(default)]
    pub(crate) seats: u8,
    /// On which of them the other shall read this link; one that no bird has, if there is none.
    #[serde(default)]
    pub(crate) seat: Option<u8>,
}

/// Why a nest doesn't want a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "u8", into = "u8")]
pub(crate) enum Reason {
    /// Another flock's nest.
    OtherFlock,
    /// No version of the wire in common.
    Version,
    /// A nest of this name lives.
    NameTaken,
    /// A later incarnation of the same name is known.
    Outdated,
    /// It is the speaker itself.
    Myself,
    /// Both dialled at once, and the other dial counts.
    Busy,
    /// The hello can't be read.
    Unreadable,
    /// The clocks of the two are too far apart.
    Clock,
    /// Its certificate is for another name.
    OtherName,
    /// The nest has as many links as it may have.
    Crowded,
    /// A reason of a later version.
    Other(u8),
}

impl From<u8> for Reason {
    fn from(code: u8) -> Self {
        match code {
            1 => Self::OtherFlock,
            2 => Self::Version,
            3 => Self::NameTaken,
            4 => Self::Outdated,
            5 => Self::Myself,
            6 => Self::Busy,
            7 => Self::Unreadable,
            8 => Self::Clock,
            9 => Self::OtherName,
            10 => Self::Crowded,
            other => Self::Other(other),
        }
    }
}

impl From<Reason> for u8 {
    fn from(reason: Reason) -> Self {
        match reason {
            Reason::OtherFlock => 1,
            Reason::Version => 2,
            Reason::NameTaken => 3,
            Reason::Outdated => 4,
            Reason::Myself => 5,
            Reason::Busy => 6,
            Reason::Unreadable => 7,
            Reason::Clock => 8,
            Reason::OtherName => 9,
            Reason::Crowded => 10,
            Reason::Other(code) => code,
        }
    }
}

/// No.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Refuse {
    pub(crate) code: Reason,
    pub(crate) why: String,
    /// The incarnation that must be surpassed, if the reason is [`Reason::Outdated`].
    pub(crate) above: NestId,
}

impl Refuse {
    pub(crate) fn new(code: Reason, why: impl Into<String>) -> Self {
        Self { code, why: why.into(), above: NestId(0) }
    }
}

/// One of the three frames of a handshake.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Word {
    /// From whoever dialled.
    Hello(Hello),
    /// The link is open.
    Welcome(Hello),
    /// It is not.
    Refuse(Refuse),
}

/// Why bytes are no word of a handshake.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Unreadable {
    /// Longer than 1 KiB.
    #[error("{0} bytes are too long for a handshake")]
    TooLong(usize),
    /// Not a handshake frame at all.
    #[error("no handshake")]
    Foreign,
    /// The speaker has a key, and this nest has none.
    #[error("it has a key, and this nest has none")]
    Locked,
    /// The speaker has a certificate, and this nest has none.
    #[error("it has a certificate, and this nest has none")]
    Tls,
    /// The speaker says that it can't speak with this nest.
    #[error("{0}")]
    Barred(Bar),
    /// A handshake frame with a body that can't be read.
    #[error("{0}")]
    Body(String),
    /// More bytes than the body has.
    #[error("{0} bytes too many")]
    Trailing(usize),
}

const HELLO: u8 = 1;
const WELCOME: u8 = 2;
const REFUSE: u8 = 3;

impl Word {
    /// The frame, with its length prefix.
    pub(crate) fn encode(&self) -> BytesMut {
        let body = match self {
            Self::Hello(hello) | Self::Welcome(hello) => rmp_serde::to_vec_named(hello),
            Self::Refuse(refuse) => rmp_serde::to_vec_named(refuse),
        };
        // Plain structs of numbers and texts: encoding them into memory has no way to fail.
        let body = body.unwrap_or_default();
        let mut frame = BytesMut::with_capacity(body.len() + 6);
        frame.put_u32_le(body.len() as u32 + 2);
        frame.put_u8(WIRE);
        frame.put_u8(match self {
            Self::Hello(_) => HELLO,
            Self::Welcome(_) => WELCOME,
            Self::Refuse(_) => REFUSE,
        });
        frame.put_slice(&body);
        frame
    }

    /// Reads a frame without its length prefix.
    pub(crate) fn decode(frame: &[u8]) -> Result<Self, Unreadable> {
        if frame.len() > MAX_HELLO {
            return Err(Unreadable::TooLong(frame.len()));
        }
        match frame {
            [WIRE, HELLO, body @ ..] => hello(body).map(Self::Hello),
            [WIRE, WELCOME, body @ ..] => hello(body).map(Self::Welcome),
            [WIRE, REFUSE, body @ ..] => read(body).map(Self::Refuse),
            _ => Err(match Knock::decode(frame) {
                Some(Knock::Barred(bar)) => Unreadable::Barred(bar),
                Some(Knock::Lock(_)) => Unreadable::Locked,
                Some(Knock::Unlock(_)) | None => Unreadable::Foreign,
            }),
        }
    }
}

impl From<TooLong> for Unreadable {
    fn from(TooLong(length): TooLong) -> Self {
        // The first bytes of TLS, a handshake and its version, read as a length.
        match (length as u32).to_le_bytes() {
            [0x16, 3, 1 | 3, _] => Self::Tls,
            _ => Self::TooLong(length),
        }
    }
}

/// Whether this frame is a word, by its kind alone.
#[cfg(feature = "noise")]
pub(crate) const fn is_word(frame: &[u8]) -> bool {
    matches!(frame, [WIRE, HELLO | WELCOME | REFUSE, ..])
}

fn hello(body: &[u8]) -> Result<Hello, Unreadable> {
    let hello: Hello = read(body)?;
    if hello.magic != MAGIC {
        return Err(Unreadable::Foreign);
    }
    // It will be dialled and shown; a name's rules suit an address as well.
    NestName::new(&hello.address).map_err(|e| Unreadable::Body(e.to_string()))?;
    Ok(hello)
}

fn read<T: for<'a> Deserialize<'a>>(body: &[u8]) -> Result<T, Unreadable> {
    let mut rest = rmp_serde::Deserializer::new(io::Cursor::new(body));
    rest.set_max_depth(8);
    let value = T::deserialize(&mut rest).map_err(|e| Unreadable::Body(e.to_string()))?;
    match rest.position() as usize {
        end if end == body.len() => Ok(value),
        end => Err(Unreadable::Trailing(body.len().saturating_sub(end))),
    }
}

/// What this nest says of itself; changes when the core takes a new incarnation.
#[derive(Clone, Debug)]
pub(crate) struct Identity {
    pub(crate) flock: String,
    pub(crate) nest: NestName,
    pub(crate) id: NestId,
    pub(crate) address: String,
    pub(crate) seats: u8,
}

impl Identity {
    pub(crate) fn hello(&self, link: LinkKind, clock: Hlc, nonce: u64) -> Hello {
        Hello {
            magic: MAGIC.into(),
            flock: self.flock.clone(),
            min: WIRE,
            max: WIRE,
            nest: self.nest.clone(),
            id: self.id,
            address: self.address.clone(),
            clock,
            link,
            nonce,
            seats: self.seats,
            seat: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn robin() -> Hello {
        let nest = NestName::new("nest-1").unwrap();
        let address = "127.0.0.1:7101".to_owned();
        let me = Identity { flock: "canaries".into(), nest, id: NestId(7), address, seats: 2 };
        me.hello(LinkKind::Control, Hlc(9), 11)
    }

    #[test]
    fn a_hello_reads_as_it_was_written() {
        let frame = Word::Hello(robin()).encode();
        assert_eq!(Word::decode(&frame[4..]), Ok(Word::Hello(robin())));
    }

    #[test]
    fn a_byte_too_many_is_an_error() {
        let mut frame = Word::Hello(robin()).encode();
        frame.put_u8(0);
        assert_eq!(Word::decode(&frame[4..]), Err(Unreadable::Trailing(1)));
    }

    #[test]
    fn every_cut_and_every_flipped_byte_is_an_error_or_a_word_and_never_a_panic() {
        let frame = Word::Hello(robin()).encode();
        for end in 4..frame.len() {
            assert!(Word::decode(&frame[4..end]).is_err());
        }
        for at in 4..frame.len() {
            for bit in 0..8 {
                let mut flipped = frame.clone();
                flipped[at] ^= 1 << bit;
                let _ = Word::decode(&flipped[4..]);
            }
        }
    }

    #[test]
    fn a_field_of_a_later_version_is_passed_over() {
        #[derive(Serialize)]
        struct Later {
            code: u8,
            why: &'static str,
            above: u64,
            mood: &'static str,
        }
        let later = Later { code: 77, why: "no", above: 1, mood: "bad" };
        let mut frame = vec![WIRE, REFUSE];
        frame.extend(rmp_serde::to_vec_named(&later).unwrap());
        let refuse = Refuse { code: Reason::Other(77), why: "no".into(), above: NestId(1) };
        assert_eq!(Word::decode(&frame), Ok(Word::Refuse(refuse)));
    }
}
