//! What is said before the hello where a key is needed, and by whom one is missing.
//!
//! Whoever dials locks: the first message of the handshake that `noise` knows. The other answers with
//! the second, and from then on all is sealed; or with a word of one byte, for nothing more may be
//! said to, or heard from, somebody who has not shown a key.

use bytes::{BufMut, BytesMut};

use super::frame::WIRE;

const LOCK: u8 = 4;
const UNLOCK: u8 = 5;
const BARRED: u8 = 6;

/// One of the three frames before a sealed hello.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Knock<'a> {
    /// From whoever dialled.
    Lock(&'a [u8]),
    /// All that follows is sealed.
    Unlock(&'a [u8]),
    /// Nothing follows.
    Barred(Bar),
}

/// Why two nests can't speak with each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Bar {
    /// The speaker has a key, and heard somebody without one.
    #[error("it has a key, and this nest has none")]
    KeyNeeded,
    /// The speaker has no key, and heard somebody with one.
    #[error("it has no key, and this nest has one")]
    NoKey,
    /// The speaker has a key, and what it heard was made with another.
    #[error("it has another key, or is of another flock or version")]
    OtherKey,
    /// The speaker has a certificate, and heard somebody who shows none.
    #[error("it has a certificate, and this nest has none")]
    CertificateNeeded,
    /// The speaker has no certificate, and heard somebody with one.
    #[error("it has no certificate, and this nest has one")]
    NoCertificate,
    /// A reason of a later version.
    #[error("it gave the unknown reason {0}")]
    Other(u8),
}

impl From<u8> for Bar {
    fn from(code: u8) -> Self {
        match code {
            1 => Self::KeyNeeded,
            2 => Self::NoKey,
            3 => Self::OtherKey,
            4 => Self::CertificateNeeded,
            5 => Self::NoCertificate,
            other => Self::Other(other),
        }
    }
}

impl From<Bar> for u8 {
    fn from(bar: Bar) -> Self {
        match bar {
            Bar::KeyNeeded => 1,
            Bar::NoKey => 2,
            Bar::OtherKey => 3,
            Bar::CertificateNeeded => 4,
            Bar::NoCertificate => 5,
            Bar::Other(code) => code,
        }
    }
}

impl<'a> Knock<'a> {
    /// The frame, with its length prefix.
    pub(crate) fn encode(self) -> BytesMut {
        let code;
        let (kind, body) = match self {
            Self::Lock(message) => (LOCK, message),
            Self::Unlock(message) => (UNLOCK, message),
            Self::Barred(bar) => {
                code = [bar.into()];
                (BARRED, &code[..])
            }
        };
        let mut frame = BytesMut::with_capacity(body.len() + 6);
        frame.put_u32_le(body.len() as u32 + 2);
        frame.put_slice(&[WIRE, kind]);
        frame.put_slice(body);
        frame
    }

    /// Reads a frame without its length prefix. `None`: it is something else.
    pub(crate) fn decode(frame: &'a [u8]) -> Option<Self> {
        match frame {
            [WIRE, LOCK, message @ ..] => Some(Self::Lock(message)),
            [WIRE, UNLOCK, message @ ..] => Some(Self::Unlock(message)),
            [WIRE, BARRED, code] => Some(Self::Barred((*code).into())),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_is_heard_and_a_byte_too_many_is_not() {
        for knock in [Knock::Lock(b"abc"), Knock::Unlock(b""), Knock::Barred(Bar::Other(9))] {
            assert_eq!(Knock::decode(&knock.encode()[4..]), Some(knock));
        }
        for code in 0..=255 {
            assert_eq!(u8::from(Bar::from(code)), code);
        }
        assert_eq!(Knock::decode(&[WIRE, BARRED, 1, 1]), None);
        assert_eq!(Knock::decode(&[WIRE, BARRED]), None);
        assert_eq!(Knock::decode(&[WIRE + 1, LOCK, 1]), None);
    }
}
