//! What a nest says of its register when it looks at another's: mostly that there is nothing to say.

use serde::de::Visitor;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::codec::{Reader, put};
use super::{DecodeError, Registry, Vector};
use crate::{Dot, NestId};

/// How a peer's registry stands to this one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Both hold the same.
    Equal,
    /// The peer lacks operations.
    PeerLacks,
    /// This nest lacks operations.
    WeLack,
    /// Each lacks operations.
    BothLack,
    /// Both know the same operations and yet hold different records. If the next look says so again,
    /// it is no passing matter of records known out of order: compare, both ways.
    Diverged,
}

/// A register in short.
///
/// Every nest says this once a second, so it is laid by hand: a byte of flags, the two digests, and
/// the vector, if it is there (horizon; count; of each incarnation its id and number). What follows
/// was added later, and is passed over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// A digest of the vector.
    pub known: u64,
    /// A digest of the live records.
    pub digest: u64,
    /// The operations known. Left out where the digest will probably do.
    pub vector: Option<Vector>,
    /// If the receiver lacks something, it shall say what.
    pub answer: bool,
    /// The receiver shall send what the author lacks. Else somebody else is about to.
    pub wants: bool,
}

const ANSWER: u8 = 1;
const WANTS: u8 = 2;
const VECTOR: u8 = 4;

impl Registry {
    /// How a peer stands to us. `None`: its digests differ from ours, and without its vector no more
    /// can be said. Divergence is counted.
    pub fn standing(&mut self, peer: &Status) -> Option<Standing> {
        if peer.known == self.vector_digest() {
            if peer.digest == self.digest() {
                return Some(Standing::Equal);
            }
            self.diverged += 1;
            return Some(Standing::Diverged);
        }
        let vector = peer.vector.as_ref()?;
        Some(match (self.vector().covers_all(vector), vector.covers_all(self.vector())) {
            (true, _) => Standing::PeerLacks,
            (false, true) => Standing::WeLack,
            (false, false) => Standing::BothLack,
        })
    }

    /// How often [`Registry::standing`] found equal vectors with unequal digests.
    pub const fn diverged(&self) -> u64 {
        self.diverged
    }
}

impl Status {
    fn encode(&self) -> Vec<u8> {
        let flag = |set, flag| if set { flag } else { 0 };
        let flags = flag(self.answer, ANSWER) | flag(self.wants, WANTS);
        let mut bytes = vec![flags | flag(self.vector.is_some(), VECTOR)];
        bytes.extend_from_slice(&self.known.to_le_bytes());
        bytes.extend_from_slice(&self.digest.to_le_bytes());
        if let Some(vector) = &self.vector {
            bytes.extend_from_slice(&vector.horizon().0.to_le_bytes());
            put(&mut bytes, vector.len() as u64);
            for dot in vector.iter() {
                bytes.extend_from_slice(&dot.origin.0.to_le_bytes());
                put(&mut bytes, dot.seq);
            }
        }
        bytes
    }

    fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut rest = Reader::new(bytes);
        let flags = rest.u8()?;
        let (known, digest) = (rest.u64()?, rest.u64()?);
        let vector = if flags & VECTOR == 0 {
            None
        } else {
            let horizon = NestId(rest.u64()?);
            let count = rest.varint()?;
            let dot = |rest: &mut Reader<'_>| {
                Ok(Dot { origin: NestId(rest.u64()?), seq: rest.varint()? })
            };
            let dots = (0..count).map(|_| dot(&mut rest));
            let mut vector = dots.collect::<Result<Vector, DecodeError>>()?;
            vector.raise_horizon(horizon);
            Some(vector)
        };
        let (answer, wants) = (flags & ANSWER != 0, flags & WANTS != 0);
        Ok(Self { known, digest, vector, answer, wants })
    }
}

impl Serialize for Status {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_bytes(&self.encode())
    }
}

impl<'de> Deserialize<'de> for Status {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_bytes(Bytes)
    }
}

struct Bytes;

impl Visitor<'_> for Bytes {
    type Value = Status;

    fn expecting(&self, to: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        to.write_str("a status in bytes")
    }

    fn visit_bytes<E: serde::de::Error>(self, bytes: &[u8]) -> Result<Status, E> {
        Status::decode(bytes).map_err(E::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_is_laid_as_the_book_says_and_reads_as_it_was_written() {
        let mut status = Status { known: 1, digest: 2, vector: None, answer: true, wants: false };
        assert_eq!(status.encode(), [1, 1, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(Status::decode(&status.encode()), Ok(status.clone()));
        status.vector = Some([Dot { origin: NestId(7), seq: 300 }].into_iter().collect());
        let bytes = status.encode();
        let vector = [0, 0, 0, 0, 0, 0, 0, 0, 1, 7, 0, 0, 0, 0, 0, 0, 0, 0xac, 0x02];
        assert_eq!(bytes[17..], vector);
        assert_eq!(Status::decode(&bytes), Ok(status.clone()));
        for len in 0..bytes.len() {
            assert_eq!(Status::decode(&bytes[..len]), Err(DecodeError::Short));
        }
        let later = [&bytes[..], &[9, 9]].concat();
        assert_eq!(Status::decode(&later), Ok(status));
    }
}
