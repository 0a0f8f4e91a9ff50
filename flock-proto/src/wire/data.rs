//! The headers of the data plane. All numbers are little-endian and lie at fixed places, so a
//! reader takes them from the buffer where they are; what follows a header is the user's payload.
//!
//! ```text
//! call, cast, retry                      reply
//!  0 u8  wire version                     0 u8  wire version
//!  1 u8  kind                             1 u8  kind
//!  2 u8  flags                            2 u8  flags
//!  3 u8  hop                              3 u8  hop
//!  4 u64 fingerprint of the sender's view 4 u8  code, 0 if the answer follows
//! 12 u64 hybrid logical clock             5 u64 hybrid logical clock
//! 20 u32 slot, u32 generation            13 u32 slot, u32 generation
//! 28 u64 origin                          21 u64 destination
//! 36 u64 destination                     29     answer, or the error in words
//! 44 u32 remaining time in µs
//! 48 u64 species
//! 56 u64 message
//! 64 u8  length of the name, the name, the payload
//! ```
//!
//! `Passed` is laid out as a reply whose code is the call's hop count and whose payload is the
//! number of the nest that the call went on to.

use std::time::Duration;

use bytes::BufMut;

use super::WIRE_VERSION;
use crate::{Fingerprint, Hlc, MessageId, NestId, SpeciesId};

const CALL: u8 = 100;
const CAST: u8 = 101;
const REPLY: u8 = 102;
const RETRY_CALL: u8 = 103;
const RETRY_CAST: u8 = 104;
const PASSED: u8 = 105;

/// A redirect came between this call and an earlier one, so order doesn't hold across them.
const REDIRECTED: u8 = 1;

/// A call's place in the table of the nest that made it. The generation tells one use of a slot
/// from the next, so that a late reply never completes another call.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct CallId {
    /// The place in the table.
    pub slot: u32,
    /// Which use of that place.
    pub generation: u32,
}

/// What a call frame asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CallKind {
    /// An answer.
    Call,
    /// No answer.
    Cast,
    /// Sent back to its origin, surely undelivered: to be routed anew.
    Retry {
        /// It is a call, not a cast.
        call: bool,
    },
}

/// The header of a call, a cast, or one of these sent back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CallHead<'a> {
    /// What it asks for.
    pub kind: CallKind,
    /// A redirect sent it on its way again.
    pub redirected: bool,
    /// How often it was passed on.
    pub hop: u8,
    /// The view by which it was sent.
    pub fingerprint: Fingerprint,
    /// The sender's clock.
    pub hlc: Hlc,
    /// Whose reply this wants to be; nothing to a cast.
    pub id: CallId,
    /// The nest that made the call.
    pub origin: NestId,
    /// The nest that is to deliver it.
    pub dest: NestId,
    /// How long the caller still waits, as the sender saw it; on the wire at most 71 minutes.
    pub remaining: Duration,
    /// The species the caller takes the bird to be.
    pub species: SpeciesId,
    /// The message.
    pub message: MessageId,
    /// The bird's name, not yet checked.
    pub name: &'a str,
}

/// The header of a reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReplyHead {
    /// A redirect came before this answer.
    pub redirected: bool,
    /// How often it was passed on.
    pub hop: u8,
    /// 0: the payload is the answer. Else an error's number, the payload being its words.
    pub code: u8,
    /// The sender's clock.
    pub hlc: Hlc,
    /// The call that is answered.
    pub id: CallId,
    /// The nest that made the call.
    pub dest: NestId,
}

/// A frame of the data plane, read where it lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DataFrame<'a> {
    /// A call, cast or retry, and its payload.
    Call(CallHead<'a>, &'a [u8]),
    /// A reply and its payload.
    Reply(ReplyHead, &'a [u8]),
    /// To a call's origin: it was passed on to this nest, so the sender's link no longer stands for
    /// it. The code is the call's hop count, by which the last of several such words is known. A
    /// nest 0: the link over which the sender passed it on broke, so its track is lost.
    Passed(ReplyHead, NestId),
}

/// Why bytes are no frame of the data plane.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HeadError {
    /// The frame ends before its header does.
    #[error("the frame ends within its header")]
    Short,
    /// A wire version that this build doesn't speak.
    #[error("wire version {0} is not spoken here")]
    Version(u8),
    /// A kind from a later version, to be skipped.
    #[error("frames of kind {0} are unknown")]
    Kind(u8),
    /// The name isn't UTF-8.
    #[error("the bird's name is not UTF-8")]
    Name,
}

impl<'a> DataFrame<'a> {
    /// Reads a frame, without its length prefix.
    pub fn read(frame: &'a [u8]) -> Result<Self, HeadError> {
        let mut at = Reader(frame);
        let version = at.u8()?;
        if version != WIRE_VERSION {
            return Err(HeadError::Version(version));
        }
        let kind = match at.u8()? {
            CALL => CallKind::Call,
            CAST => CallKind::Cast,
            RETRY_CALL => CallKind::Retry { call: true },
            RETRY_CAST => CallKind::Retry { call: false },
            REPLY => {
                let (head, payload) = at.reply()?;
                return Ok(Self::Reply(head, payload));
            }
            PASSED => {
                let (head, payload) = at.reply()?;
                return Ok(Self::Passed(head, NestId(Reader(payload).u64()?)));
            }
            other => return Err(HeadError::Kind(other)),
        };
        at.call(kind)
    }
}

impl CallHead<'_> {
    /// Appends the header; the payload is to follow. A name of more than 255 bytes, which no
    /// checked name has, is cut.
    pub fn write(&self, out: &mut impl BufMut) {
        out.put_u8(WIRE_VERSION);
        out.put_u8(match self.kind {
            CallKind::Call => CALL,
            CallKind::Cast => CAST,
            CallKind::Retry { call: true } => RETRY_CALL,
            CallKind::Retry { call: false } => RETRY_CAST,
        });
        out.put_u8(if self.redirected { REDIRECTED } else { 0 });
        out.put_u8(self.hop);
        out.put_u64_le(self.fingerprint.0);
        out.put_u64_le(self.hlc.0);
        out.put_u32_le(self.id.slot);
        out.put_u32_le(self.id.generation);
        out.put_u64_le(self.origin.0);
        out.put_u64_le(self.dest.0);
        out.put_u32_le(u32::try_from(self.remaining.as_micros()).unwrap_or(u32::MAX));
        out.put_u64_le(self.species.0);
        out.put_u64_le(self.message.0);
        let length = u8::try_from(self.name.len()).unwrap_or(u8::MAX);
        out.put_u8(length);
        out.put_slice(self.name.as_bytes().get(..usize::from(length)).unwrap_or_default());
    }
}

impl ReplyHead {
    /// Appends the header; the payload is to follow.
    pub fn write(&self, out: &mut impl BufMut) {
        self.write_as(REPLY, out);
    }

    /// Appends a whole frame that says to whom the call was passed on.
    pub fn write_passed(&self, to: NestId, out: &mut impl BufMut) {
        self.write_as(PASSED, out);
        out.put_u64_le(to.0);
    }

    fn write_as(&self, kind: u8, out: &mut impl BufMut) {
        out.put_u8(WIRE_VERSION);
        out.put_u8(kind);
        out.put_u8(if self.redirected { REDIRECTED } else { 0 });
        out.put_u8(self.hop);
        out.put_u8(self.code);
        out.put_u64_le(self.hlc.0);
        out.put_u32_le(self.id.slot);
        out.put_u32_le(self.id.generation);
        out.put_u64_le(self.dest.0);
    }
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn call(mut self, kind: CallKind) -> Result<DataFrame<'a>, HeadError> {
        let head = CallHead {
            kind,
            redirected: self.u8()? & REDIRECTED != 0,
            hop: self.u8()?,
            fingerprint: Fingerprint(self.u64()?),
            hlc: Hlc(self.u64()?),
            id: self.id()?,
            origin: NestId(self.u64()?),
            dest: NestId(self.u64()?),
            remaining: Duration::from_micros(self.u32()?.into()),
            species: SpeciesId(self.u64()?),
            message: MessageId(self.u64()?),
            name: self.name()?,
        };
        Ok(DataFrame::Call(head, self.0))
    }

    fn reply(mut self) -> Result<(ReplyHead, &'a [u8]), HeadError> {
        let head = ReplyHead {
            redirected: self.u8()? & REDIRECTED != 0,
            hop: self.u8()?,
            code: self.u8()?,
            hlc: Hlc(self.u64()?),
            id: self.id()?,
            dest: NestId(self.u64()?),
        };
        Ok((head, self.0))
    }

    fn id(&mut self) -> Result<CallId, HeadError> {
        Ok(CallId { slot: self.u32()?, generation: self.u32()? })
    }

    fn name(&mut self) -> Result<&'a str, HeadError> {
        let length = self.u8()?.into();
        let (name, rest) = self.0.split_at_checked(length).ok_or(HeadError::Short)?;
        self.0 = rest;
        std::str::from_utf8(name).map_err(|_| HeadError::Name)
    }

    fn u8(&mut self) -> Result<u8, HeadError> {
        self.array().map(u8::from_le_bytes)
    }

    fn u32(&mut self) -> Result<u32, HeadError> {
        self.array().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Result<u64, HeadError> {
        self.array().map(u64::from_le_bytes)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], HeadError> {
        let (bytes, rest) = self.0.split_first_chunk().ok_or(HeadError::Short)?;
        self.0 = rest;
        Ok(*bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call() -> CallHead<'static> {
        CallHead {
            kind: CallKind::Call,
            redirected: true,
            hop: 2,
            fingerprint: Fingerprint(0x0102_0304_0506_0708),
            hlc: Hlc(0x1112_1314_1516_1718),
            id: CallId { slot: 0x2122_2324, generation: 0x3132_3334 },
            origin: NestId(0x41),
            dest: NestId(0x51),
            remaining: Duration::from_micros(0x6162),
            species: SpeciesId(0x71),
            message: MessageId(0x81),
            name: "robin",
        }
    }

    const GOLDEN_CALL: &[u8] = b"\x01\x64\x01\x02\
        \x08\x07\x06\x05\x04\x03\x02\x01\
        \x18\x17\x16\x15\x14\x13\x12\x11\
        \x24\x23\x22\x21\x34\x33\x32\x31\
        \x41\0\0\0\0\0\0\0\
        \x51\0\0\0\0\0\0\0\
        \x62\x61\0\0\
        \x71\0\0\0\0\0\0\0\
        \x81\0\0\0\0\0\0\0\
        \x05robinpay";

    #[test]
    fn a_call_is_laid_out_as_version_1_says() {
        let mut out = Vec::new();
        call().write(&mut out);
        out.extend_from_slice(b"pay");
        assert_eq!(out, GOLDEN_CALL);
        assert_eq!(DataFrame::read(GOLDEN_CALL), Ok(DataFrame::Call(call(), b"pay")));
    }

    #[test]
    fn a_reply_is_laid_out_as_version_1_says() {
        let head = ReplyHead {
            redirected: false,
            hop: 1,
            code: 9,
            hlc: Hlc(0x11),
            id: CallId { slot: 7, generation: 8 },
            dest: NestId(0x21),
        };
        let mut out = Vec::new();
        head.write(&mut out);
        out.extend_from_slice(b"why");
        let golden =
            b"\x01\x66\0\x01\x09\x11\0\0\0\0\0\0\0\x07\0\0\0\x08\0\0\0\x21\0\0\0\0\0\0\0why";
        assert_eq!(out, golden);
        assert_eq!(DataFrame::read(golden), Ok(DataFrame::Reply(head, b"why")));
    }

    #[test]
    fn word_of_passing_on_is_laid_out_as_version_1_says() {
        let head = ReplyHead {
            redirected: false,
            hop: 0,
            code: 2,
            hlc: Hlc(0x11),
            id: CallId { slot: 7, generation: 8 },
            dest: NestId(0x21),
        };
        let mut out = Vec::new();
        head.write_passed(NestId(0x31), &mut out);
        let golden = b"\x01\x69\0\0\x02\x11\0\0\0\0\0\0\0\x07\0\0\0\x08\0\0\0\
            \x21\0\0\0\0\0\0\0\x31\0\0\0\0\0\0\0";
        assert_eq!(out, golden);
        assert_eq!(DataFrame::read(golden), Ok(DataFrame::Passed(head, NestId(0x31))));
        assert_eq!(DataFrame::read(&golden[..36]), Err(HeadError::Short));
    }

    #[test]
    fn every_kind_comes_back_as_it_went() {
        for kind in [
            CallKind::Call,
            CallKind::Cast,
            CallKind::Retry { call: true },
            CallKind::Retry { call: false },
        ] {
            let mut out = Vec::new();
            CallHead { kind, ..call() }.write(&mut out);
            let Ok(DataFrame::Call(head, _)) = DataFrame::read(&out) else { panic!("{kind:?}") };
            assert_eq!(head.kind, kind);
        }
    }

    #[test]
    fn a_cut_frame_is_refused_wherever_it_is_cut() {
        for length in 0..GOLDEN_CALL.len() - 3 {
            assert_eq!(DataFrame::read(&GOLDEN_CALL[..length]), Err(HeadError::Short));
        }
    }

    #[test]
    fn unknown_versions_and_kinds_and_broken_names_are_told_apart() {
        assert_eq!(DataFrame::read(b"\x02\x64"), Err(HeadError::Version(2)));
        assert_eq!(DataFrame::read(b"\x01\xc7"), Err(HeadError::Kind(199)));
        let mut broken = GOLDEN_CALL.to_vec();
        broken[66] = 0xff;
        assert_eq!(DataFrame::read(&broken), Err(HeadError::Name));
    }
}
