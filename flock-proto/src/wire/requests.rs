//! What users ask of a name's owner, and its answers. Both travel many to a frame.

use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::walk::sparing;
use crate::registry::Delta;
use crate::{BirdName, Dot, NestId, SpeciesId};

/// See [`Frame::Requests`](super::Frame::Requests).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Requests {
    /// The nest whose users ask.
    pub origin: NestId,
    /// How often they were forwarded by nests that don't own the names.
    pub hops: u8,
    /// The last operation of the receiver's own that the asker holds; 0 if they were forwarded.
    pub known: u64,
    /// The asker has its answers to all requests with lower numbers: a copy of one of those that
    /// still comes was held up on its way.
    pub oldest: u64,
    /// The requests, in the order in which they were made.
    #[serde(deserialize_with = "sparing")]
    pub requests: Vec<Request>,
}

/// One request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request {
    /// The asker's number for it; later ones have greater numbers.
    pub id: u64,
    /// About whom.
    pub name: BirdName,
    /// What is asked.
    pub wish: Wish,
    /// Names the request across repetitions.
    pub token: u64,
    /// It was sent before, and an answer may have been lost.
    pub again: bool,
    /// Time left until the asker gives up.
    pub remaining: Duration,
}

/// What is asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Wish {
    /// Start a bird.
    Start {
        /// Its species.
        species: SpeciesId,
        /// What to hatch it from.
        args: Bytes,
        /// A living bird of the species will do.
        or_get: bool,
    },
    /// Stop a bird.
    Stop,
    /// Let a grounded bird try again.
    Revive,
    /// Take a start back: stop the bird if that start made it, and see that a copy of it that
    /// still comes makes none.
    Undo {
        /// The asker's number for the start.
        start: u64,
        /// The start's token.
        token: u64,
    },
}

/// See [`Frame::Claims`](super::Frame::Claims).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claims {
    /// The receiver's numbers for them.
    #[serde(deserialize_with = "sparing")]
    pub ids: Vec<u64>,
}

/// See [`Frame::Claimed`](super::Frame::Claimed).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claimed {
    /// Those that are the receiver's to decide, here and now: no other nest's answer counts.
    #[serde(deserialize_with = "sparing")]
    pub granted: Vec<u64>,
    /// Those that were answered, or given up.
    #[serde(deserialize_with = "sparing")]
    pub closed: Vec<u64>,
}

/// See [`Frame::Responses`](super::Frame::Responses).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Responses {
    /// An answer each.
    #[serde(deserialize_with = "sparing")]
    pub responses: Vec<Response>,
    /// The author's operations up to those behind the answers, so that two nests hold them.
    pub delta: Option<Delta>,
}

/// What came of one request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Response {
    /// The asker's number.
    pub id: u64,
    /// What came of it.
    pub outcome: Outcome,
    /// The operation that made it so.
    pub op: Option<Dot>,
}

/// What came of a request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    /// The bird runs.
    Started {
        /// It didn't live before.
        fresh: bool,
    },
    /// The name is taken.
    AlreadyExists {
        /// By a bird of this species.
        species: SpeciesId,
    },
    /// The first hatch failed.
    HatchFailed {
        /// In its author's words.
        reason: String,
    },
    /// The owner can't hatch that species.
    UnknownSpecies,
    /// The life has ended, the name is free.
    Stopped,
    /// No such bird lives.
    NoSuchBird,
    /// No longer grounded.
    Revived,
    /// Not grounded.
    NotGrounded,
    /// The owner sees too few nests.
    NoQuorum,
}

/// What a request or an answer takes in a frame beside its texts, at most.
const REST: usize = 160;

impl Request {
    /// About how many bytes of a frame it takes; never less than it does.
    pub fn size(&self) -> usize {
        self.name.as_str().len() + self.wish.size() + REST
    }
}

impl Wish {
    /// The bytes that the user gave.
    pub const fn size(&self) -> usize {
        match self {
            Self::Start { args, .. } => args.len(),
            Self::Stop | Self::Revive | Self::Undo { .. } => 0,
        }
    }
}

impl Response {
    /// About how many bytes of a frame it takes; never less than it does.
    pub fn size(&self) -> usize {
        match &self.outcome {
            Outcome::HatchFailed { reason } => reason.len() + REST,
            _ => REST,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{Frame, HEADER, Header};
    use crate::{Hlc, NameError};

    fn encode(frame: &Frame) -> Bytes {
        let header = Header { hops: 0, stamp: Hlc(1), author: NestId(2), dest: NestId(3) };
        frame.encode(header)
    }

    fn batch(requests: Vec<Request>) -> Frame {
        let origin = NestId(2);
        Frame::Requests(Requests { origin, hops: 0, known: 1, oldest: 4, requests })
    }

    #[test]
    fn golden_frames_of_requests_read_as_they_were_written() -> Result<(), NameError> {
        let wish = Wish::Undo { start: 5, token: 6 };
        let name = BirdName::new("robin")?;
        let remaining = Duration::from_secs(7);
        let request = Request { id: 8, name, wish, token: 9, again: true, remaining };
        let frame = batch(vec![request]);
        let bytes = encode(&frame);
        let golden = [
            &b"\x85\xa6origin\x02\xa4hops\x00\xa5known\x01\xa6oldest\x04\xa8requests\x91"[..],
            b"\x86\xa2id\x08\xa4name\xa5robin\xa4wish\x81\xa4Undo\x82\xa5start\x05\xa5token\x06",
            b"\xa5token\x09\xa5again\xc3\xa9remaining\x82\xa4secs\x07\xa5nanos\x00",
        ];
        assert_eq!((bytes[1], &bytes[HEADER..]), (42, &golden.concat()[..]));
        assert_eq!(Frame::decode(&bytes), Ok(frame));

        let frame = Frame::Claims(Claims { ids: vec![8] });
        let bytes = encode(&frame);
        assert_eq!((bytes[1], &bytes[HEADER..]), (44, &b"\x81\xa3ids\x91\x08"[..]));
        assert_eq!(Frame::decode(&bytes), Ok(frame));

        let frame = Frame::Claimed(Claimed { granted: vec![8], closed: vec![9] });
        let bytes = encode(&frame);
        let golden = &b"\x82\xa7granted\x91\x08\xa6closed\x91\x09"[..];
        assert_eq!((bytes[1], &bytes[HEADER..]), (45, golden));
        assert_eq!(Frame::decode(&bytes), Ok(frame));

        let op = Some(Dot { origin: NestId(3), seq: 2 });
        let response = Response { id: 8, outcome: Outcome::Stopped, op };
        let frame = Frame::Responses(Responses { responses: vec![response], delta: None });
        let bytes = encode(&frame);
        let golden = [
            &b"\x82\xa9responses\x91\x83\xa2id\x08\xa7outcome\xa7Stopped"[..],
            b"\xa2op\x82\xa6origin\x03\xa3seq\x02\xa5delta\xc0",
        ];
        assert_eq!((bytes[1], &bytes[HEADER..]), (43, &golden.concat()[..]));
        assert_eq!(Frame::decode(&bytes), Ok(frame));
        Ok(())
    }

    #[test]
    fn no_request_and_no_answer_takes_more_bytes_than_it_says() -> Result<(), NameError> {
        let most = u64::MAX;
        let wishes = [
            Wish::Start { species: SpeciesId(most), args: vec![7; 70_000].into(), or_get: true },
            Wish::Stop,
            Wish::Revive,
            Wish::Undo { start: most, token: most },
        ];
        let name = BirdName::new(&"x".repeat(255))?;
        let remaining = Duration::new(most, 999_999_999);
        let empty = encode(&batch(Vec::new())).len();
        for wish in wishes {
            let name = name.clone();
            let one = Request { id: most, name, wish, token: most, again: true, remaining };
            let size = one.size();
            assert!(encode(&batch(vec![one])).len() - empty <= size);
        }
        let species = SpeciesId(most);
        let reason = "y".repeat(5000);
        let outcomes = [Outcome::AlreadyExists { species }, Outcome::HatchFailed { reason }];
        let frame = |responses| Frame::Responses(Responses { responses, delta: None });
        let empty = encode(&frame(Vec::new())).len();
        for outcome in outcomes {
            let op = Some(Dot { origin: NestId(most), seq: most });
            let one = Response { id: most, outcome, op };
            let size = one.size();
            assert!(encode(&frame(vec![one])).len() - empty <= size);
        }
        Ok(())
    }
}
