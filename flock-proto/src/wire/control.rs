//! Frames of the control plane: membership, registry, ownership, requests.
//!
//! A frame is a fixed header of [`HEADER`] bytes and a body in rmp-serde's named form, so that
//! fields may be added between versions in both directions:
//!
//! | bytes | what |
//! |---|---|
//! | 0 | wire version |
//! | 1 | kind |
//! | 2 | flags, 0 |
//! | 3 | hops so far |
//! | 4..12 | HLC stamp of the author, little-endian as all numbers |
//! | 12..20 | author |
//! | 20..28 | the nest it is meant for |

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::carried::{Carried, Snapshot};
use super::walk::{MAX_DEPTH, check_body, sparing};
use super::{Claimed, Claims, Requests, Responses};
use crate::ids::shared_text;
use crate::registry::{Delta, Ranges, RangesWanted, Status, Vector};
use crate::{BirdName, Dot, Fence, Fingerprint, Hlc, NestId, NestName, NestState};

/// The wire version that this build speaks.
pub const WIRE_VERSION: u8 = 1;

/// Length of the fixed header, in bytes.
pub const HEADER: usize = 28;

/// Frames up to this length may share their room. A slow link keeps that of all of them for its own.
const SHORT: usize = 512;

/// The kind of [`Frame::Roster`].
pub(super) const ROSTER: u8 = 12;

/// A frame that crossed so many links is dropped: the views disagree, and its author asks again.
pub const MAX_HOPS: u8 = 3;

/// Why bytes are no frame.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FrameError {
    /// Shorter than a header.
    #[error("the frame is cut short")]
    Short,
    /// Written by a version that this build doesn't speak.
    #[error("wire version {0} is not spoken here")]
    Version(u8),
    /// Of a kind that this version doesn't know. Not an error of the peer's: it may be newer.
    #[error("kind {0} is not known here")]
    Kind(u8),
    /// The body doesn't decode, or bytes follow it.
    #[error("the body does not decode: {0}")]
    Body(String),
}

/// The fixed header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Links crossed so far.
    pub hops: u8,
    /// The author's clock.
    pub stamp: Hlc,
    /// Who wrote the frame.
    pub author: NestId,
    /// Who is to read it.
    pub dest: NestId,
}

macro_rules! frames {
    ($($(#[$doc:meta])* $kind:literal $name:ident($body:ty),)*) => {
        /// What one nest says to another on the control plane.
        #[derive(Clone, Debug, PartialEq)]
        pub enum Frame {
            $($(#[$doc])* $name($body),)*
        }

        impl Frame {
            /// Header and body as bytes.
            pub fn encode(&self, header: Header) -> Bytes {
                self.encode_body().encode(header)
            }

            /// The body as bytes, for several receivers.
            pub fn encode_body(&self) -> EncodedBody {
                match self { $(Self::$name(body) => EncodedBody::of($kind, body),)* }
            }

            /// Reads the body of a frame whose header was read.
            pub fn decode(frame: &[u8]) -> Result<Self, FrameError> {
                let kind = *frame.get(1).ok_or(FrameError::Short)?;
                let bytes = frame.get(HEADER..).ok_or(FrameError::Short)?;
                match kind {
                    $($kind => body(bytes).map(Self::$name),)*
                    other => Err(FrameError::Kind(other)),
                }
            }
        }
    };
}

/// The body of a frame, which may go to several nests. Only the header differs then.
#[derive(Clone, Debug)]
pub struct EncodedBody {
    kind: u8,
    /// Behind room for a header.
    bytes: Vec<u8>,
}

impl EncodedBody {
    fn of(kind: u8, body: &impl Serialize) -> Self {
        // Room for the header of the first receiver, which mostly is the only one.
        let mut bytes = Vec::with_capacity(HEADER + 100);
        bytes.extend_from_slice(&[0; HEADER]);
        let done = rmp_serde::encode::write_named(&mut bytes, body);
        debug_assert!(done.is_ok(), "our own frames are plain values: {done:?}");
        Self { kind, bytes }
    }

    /// The frames for them. Short ones lie one behind the other, and are freed together: a hundred small
    /// pieces cost more than what is in them.
    pub fn frames(&self, headers: impl ExactSizeIterator<Item = Header>) -> Vec<Bytes> {
        let len = self.bytes.len();
        if len > SHORT {
            return headers.map(|header| self.clone().encode(header)).collect();
        }
        let count = headers.len();
        let mut all = Vec::with_capacity(count * len);
        for header in headers {
            all.extend_from_slice(&header.encode(self.kind));
            all.extend_from_slice(self.bytes.get(HEADER..).unwrap_or_default());
        }
        let mut all = Bytes::from(all);
        (0..count).map(|_| all.split_to(len.min(all.len()))).collect()
    }

    /// The frame for one nest.
    pub fn encode(mut self, header: Header) -> Bytes {
        if let Some(room) = self.bytes.first_chunk_mut() {
            *room = header.encode(self.kind);
        }
        self.bytes.into()
    }
}

frames! {
    /// A sign of life, where nothing else was said for a while.
    10 Heartbeat(Heartbeat),
    /// A message of SWIM, as foca writes it.
    11 Swim(Swim),
    /// What nests say of themselves.
    12 Roster(Roster),
    /// Does anybody answer at that nest's address?
    13 Probe(Probe),
    /// The answer to `Probe`.
    14 Probed(Probed),
    /// The author leaves the flock for good.
    15 Goodbye(()),
    /// To a joiner: the author holds it in its view, and this is what it must know.
    16 Held(Held),
    /// The author suspects the receiver to be dead.
    17 Suspected(Suspected),
    /// What the author's register holds, in short.
    20 Status(Status),
    /// Operations.
    21 Ops(Ops),
    /// The author holds the operations of the receiver up to here.
    22 Acked(Acked),
    /// What the author's register holds in some ranges of hashes.
    23 Ranges(Ranges),
    /// What the author wants to know of some ranges.
    24 RangesWanted(RangesWanted),
    /// Which operations the author lacks.
    25 OpsWanted(OpsWanted),
    /// A part of a listing, of which the rest is in the seal that follows.
    29 Listing(Listing),
    /// What the author knows and runs, as it enters a view.
    30 Seal(Seal),
    /// The author is settled in this view and takes over what was listed.
    31 Ready(Ready),
    /// A bird leaves the author for the receiver.
    32 Depart(Depart),
    /// The bird lives here now, or a better copy of it does.
    33 Hatched(Life),
    /// The author isn't the owner in its view.
    34 Refused(Refused),
    /// The name was stopped, or another record of it won.
    35 Gone(Life),
    /// What was listed is no longer run by the author.
    36 Ended(Ended),
    /// A copy of a bird's state, for the nest that is next in the ring.
    37 Checkpoint(Checkpoint),
    /// The answer to `Checkpoint`.
    38 Checkpointed(Checkpointed),
    /// A copy that the receiver holds is of no more use.
    39 Forget(Forget),
    /// Users' requests, for the owner of the names.
    42 Requests(Requests),
    /// The owner's answers.
    43 Responses(Responses),
    /// The author is about to decide these requests; so may others have been.
    44 Claims(Claims),
    /// The answer to `Claims`.
    45 Claimed(Claimed),
}

impl Roster {
    /// The body of a frame with these cards, which stay where they are.
    pub fn encode_body<'a>(cards: impl Iterator<Item = &'a Card>) -> EncodedBody {
        #[derive(Serialize)]
        struct Cards<'a> {
            cards: Vec<&'a Card>,
        }
        EncodedBody::of(ROSTER, &Cards { cards: cards.collect() })
    }
}

pub(super) fn body<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, FrameError> {
    check_body(bytes).map_err(|why| FrameError::Body(why.into()))?;
    let mut from = rmp_serde::Deserializer::from_read_ref(bytes);
    from.set_max_depth(MAX_DEPTH);
    // Nothing follows the value, or it would not have passed.
    T::deserialize(&mut from).map_err(|e| FrameError::Body(e.to_string()))
}

impl Header {
    fn encode(self, kind: u8) -> [u8; HEADER] {
        let mut bytes = [0; HEADER];
        let mut out = &mut bytes[..];
        out.put_slice(&[WIRE_VERSION, kind, 0, self.hops]);
        out.put_u64_le(self.stamp.0);
        out.put_u64_le(self.author.0);
        out.put_u64_le(self.dest.0);
        bytes
    }

    /// Reads the header; checks the version.
    pub fn decode(frame: &[u8]) -> Result<Self, FrameError> {
        let header: &[u8; HEADER] = frame.first_chunk().ok_or(FrameError::Short)?;
        if header[0] != WIRE_VERSION {
            return Err(FrameError::Version(header[0]));
        }
        let word = |at: usize| {
            let mut bytes = [0; 8];
            bytes.copy_from_slice(&header[at..at + 8]);
            u64::from_le_bytes(bytes)
        };
        Ok(Self {
            hops: header[3],
            stamp: Hlc(word(4)),
            author: NestId(word(12)),
            dest: NestId(word(20)),
        })
    }

    /// The same frame with one hop more, for passing on; nothing if it went too far already.
    pub fn pass_on(frame: &[u8]) -> Option<Bytes> {
        let mut copy = BytesMut::from(frame);
        let hops = copy.get_mut(3)?;
        *hops = hops.saturating_add(1);
        (*hops <= MAX_HOPS).then(|| copy.freeze())
    }
}

/// See [`Frame::Heartbeat`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Heartbeat {
    /// A digest of all cards that the author holds: whoever holds others sends them.
    pub cards: u64,
}

/// See [`Frame::Swim`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Swim {
    /// foca's packet.
    pub packet: Bytes,
}

/// What a nest says of itself; a later `version` of the same incarnation replaces an earlier one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Card {
    /// Its incarnation.
    pub id: NestId,
    /// Its name.
    pub name: NestName,
    /// Where it listens.
    #[serde(with = "shared_text")]
    pub address: Arc<str>,
    /// Its state.
    pub state: NestState,
    /// Its weight.
    pub weight: u32,
    /// Members it has no link to.
    #[serde(deserialize_with = "sparing")]
    pub unlinked: Vec<NestId>,
    /// It has left in good order.
    pub left: bool,
    /// The incarnation before it was forgotten while it lived: this one joins with birds.
    #[serde(default)]
    pub renewed: bool,
    /// The weight that it will have once it takes its share. Until then it says that it has none, which
    /// those understand, too, who pass over this.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub due: u32,
    /// So many times its users have asked all that wait to take their shares.
    #[serde(default, skip_serializing_if = "is_none")]
    pub rebalances: u64,
    /// Counts its changes.
    pub version: u64,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde asks so")]
const fn is_zero(due: &u32) -> bool {
    *due == 0
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde asks so")]
const fn is_none(rebalances: &u64) -> bool {
    *rebalances == 0
}

/// See [`Frame::Roster`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Roster {
    /// The author's own, what is new, or all there is.
    #[serde(deserialize_with = "sparing")]
    pub cards: Vec<Card>,
}

/// See [`Frame::Probe`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Probe {
    /// Whom to look for.
    pub target: NestId,
}

/// See [`Frame::Probed`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Probed {
    /// Who was looked for.
    pub target: NestId,
    /// Nobody listens there: the connection was refused.
    pub refused: bool,
}

/// See [`Frame::Suspected`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Suspected {
    /// SWIM's own count of the receiver's refutations, as the author knows it.
    pub incarnation: u16,
}

/// See [`Frame::Held`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Held {
    /// What the joiner's vector must cover.
    pub vector: Vector,
    /// The nests that are up in the author's view: they must hold the joiner, too.
    #[serde(default, deserialize_with = "sparing")]
    pub up: Vec<NestId>,
}

/// See [`Frame::Ops`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Ops {
    /// The operations.
    pub delta: Delta,
    /// Say so, once they are held.
    pub ack: bool,
}

/// See [`Frame::Acked`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Acked {
    /// The last operation held of the receiver's own.
    pub seq: u64,
}

/// See [`Frame::OpsWanted`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpsWanted {
    /// Of these incarnations the author lacks all operations after these numbers.
    pub after: BTreeMap<NestId, u64>,
}

/// A bird that the author of a seal runs, or holds for moving on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listed {
    /// Its name.
    pub name: BirdName,
    /// Its birth.
    pub birth: Dot,
    /// The fence of its last life.
    pub fence: Fence,
}

/// See [`Frame::Seal`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seal {
    /// The view that the author entered.
    pub view: Fingerprint,
    /// Counts the author's seals, so that a late one is known.
    pub seq: u64,
    /// A digest of what the author knows.
    pub known: u64,
    /// What the author knows. Left out where the receiver is believed to know the same: a change of
    /// the ring has every nest seal towards every other, and mostly nobody knows more than the rest.
    pub vector: Option<Vector>,
    /// The author lacks the receiver's seal for this view: it may have held it for dead for a
    /// while, which the other had no reason to notice.
    pub wanted: bool,
    /// What it runs or holds of the names that the view gives to the receiver.
    #[serde(deserialize_with = "sparing")]
    pub listing: Vec<Listed>,
    /// So many [`Listing`]s went before, and list more of these.
    #[serde(default)]
    pub parts: u32,
}

/// See [`Frame::Listing`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listing {
    /// The number of the seal to which it belongs.
    pub seal: u64,
    /// Which part it is, from 0 on.
    pub part: u32,
    /// As in the seal.
    #[serde(deserialize_with = "sparing")]
    pub listing: Vec<Listed>,
}

/// See [`Frame::Ready`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ready {
    /// The view in which the author is settled.
    pub view: Fingerprint,
    /// The number of the receiver's seal whose listing it takes over.
    pub seal: u64,
}

/// See [`Frame::Depart`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Depart {
    /// Which bird, and the fence of the life that ended.
    pub life: Life,
    /// How long ago its crashes within the limit's window were.
    #[serde(deserialize_with = "sparing")]
    pub crashes: Vec<Duration>,
    /// Its state, and what else there is of it.
    #[serde(default, skip_serializing_if = "Carried::is_nothing")]
    pub carried: Carried,
}

/// One life of one bird.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Life {
    /// The bird's name.
    pub name: BirdName,
    /// Its birth.
    pub birth: Dot,
    /// The fence of the life.
    pub fence: Fence,
}

/// See [`Frame::Refused`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refused {
    /// What was refused.
    pub life: Life,
    /// In which view.
    pub view: Fingerprint,
}

/// See [`Frame::Ended`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ended {
    /// The bird's name.
    pub name: BirdName,
    /// Its birth.
    pub birth: Dot,
    /// The fence of the life that is over.
    #[serde(default)]
    pub fence: Fence,
    /// The author's operations up to this one say what became of the bird: before they are known, the
    /// end alone would look as if it were to hatch again.
    #[serde(default)]
    pub after: u64,
    /// What the life left for the one that goes on, if it ended because of that one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub left: Option<Snapshot>,
}

/// See [`Frame::Checkpoint`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checkpoint {
    /// Whose state it is, with the fence that the life has.
    pub life: Life,
    /// Counts the checkpoints of the life.
    pub number: u64,
    /// The state.
    pub snapshot: Snapshot,
}

/// See [`Frame::Checkpointed`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checkpointed {
    /// The bird's name.
    pub name: BirdName,
    /// The number of the checkpoint.
    pub number: u64,
    /// The author has no room for it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub refused: bool,
}

/// See [`Frame::Forget`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Forget {
    /// Which bird, and the fence of a life: whatever is of that one, or of one before.
    pub life: Life,
    /// Of that very life only checkpoints up to this number.
    pub number: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header() -> Header {
        Header { hops: 1, stamp: Hlc(0x0102), author: NestId(3), dest: NestId(4) }
    }

    #[test]
    fn a_golden_frame_reads_as_it_was_written() {
        let frame = Frame::Ready(Ready { view: Fingerprint(7), seal: 5 });
        let bytes = frame.encode(header());
        let golden = [
            &[1, 31, 0, 1, 2, 1, 0, 0, 0, 0, 0, 0][..],
            &[3, 0, 0, 0, 0, 0, 0, 0, 4, 0, 0, 0, 0, 0, 0, 0],
            b"\x82\xa4view\x07\xa4seal\x05",
        ]
        .concat();
        assert_eq!(&bytes[..], &golden[..]);
        assert_eq!(Header::decode(&bytes), Ok(header()));
        assert_eq!(Frame::decode(&bytes), Ok(frame));
    }

    #[test]
    fn a_card_is_written_as_ever_unless_its_nest_waits_for_its_share() {
        let mut card = Card {
            id: NestId(7),
            name: NestName::new("a").expect("a name"),
            address: "b:1".into(),
            state: NestState::Up,
            weight: 2,
            unlinked: vec![NestId(9)],
            left: false,
            renewed: true,
            due: 0,
            rebalances: 0,
            version: 3,
        };
        let before = &b"\x81\xa5cards\x91"[..];
        let ever = [
            &b"\xa2id\x07\xa4name\xa1a\xa7address\xa3b:1\xa5state\xa2Up"[..],
            b"\xa6weight\x02\xa8unlinked\x91\x09\xa4left\xc2\xa7renewed\xc3",
        ]
        .concat();
        let read =
            |bytes: &[u8]| Frame::decode(&[&[1, ROSTER][..], &[0; HEADER - 2], bytes].concat());
        let roster = |card: &Card| Frame::Roster(Roster { cards: vec![card.clone()] });
        let golden = [before, b"\x89", &ever, b"\xa7version\x03"].concat();
        assert_eq!(&roster(&card).encode(header())[HEADER..], &golden[..]);
        assert_eq!(read(&golden), Ok(roster(&card)));
        (card.due, card.rebalances) = (2, 5);
        let more = b"\xa3due\x02\xaarebalances\x05\xa7version\x03";
        let golden = [before, b"\x8b", &ever, more].concat();
        assert_eq!(&roster(&card).encode(header())[HEADER..], &golden[..]);
        assert_eq!(read(&golden), Ok(roster(&card)));
    }

    #[test]
    fn each_of_many_gets_the_frame_that_would_be_written_for_it_alone() {
        for packet in [0, 7, SHORT, 9 * SHORT] {
            let frame = Frame::Swim(Swim { packet: vec![5; packet].into() });
            for count in 0..4 {
                let headers = (0..count).map(|dest| Header { dest: NestId(dest), ..header() });
                let headers: Vec<Header> = headers.collect();
                let alone: Vec<Bytes> = headers.iter().map(|&one| frame.encode(one)).collect();
                assert_eq!(frame.encode_body().frames(headers.into_iter()), alone);
            }
        }
    }

    #[test]
    fn an_added_field_is_skipped_and_trailing_bytes_are_an_error() {
        let mut bytes = Frame::Acked(Acked { seq: 1 }).encode(header()).to_vec();
        bytes.truncate(HEADER);
        bytes.extend_from_slice(b"\x82\xa3seq\x07\xa3new\x01");
        assert_eq!(Frame::decode(&bytes), Ok(Frame::Acked(Acked { seq: 7 })));
        bytes.push(0);
        assert!(matches!(Frame::decode(&bytes), Err(FrameError::Body(_))));
    }

    #[test]
    fn bad_bytes_are_errors_of_their_kind() {
        assert_eq!(Header::decode(&[1; 5]), Err(FrameError::Short));
        let mut bytes = Frame::Goodbye(()).encode(header()).to_vec();
        bytes[1] = 99;
        assert_eq!(Frame::decode(&bytes), Err(FrameError::Kind(99)));
        bytes[0] = 9;
        assert_eq!(Header::decode(&bytes), Err(FrameError::Version(9)));
        let deep = [&bytes[..1], &[30], &bytes[2..HEADER], &[0x91; 5000][..]].concat();
        assert!(Frame::decode(&deep).is_err());
    }

    #[test]
    fn a_frame_is_passed_on_three_times_at_most() {
        let mut bytes = Frame::Goodbye(()).encode(Header { hops: 0, ..header() });
        for hop in 1..=MAX_HOPS {
            bytes = Header::pass_on(&bytes).unwrap_or_default();
            assert_eq!(bytes.get(3), Some(&hop));
        }
        assert_eq!(Header::pass_on(&bytes), None);
    }
}
