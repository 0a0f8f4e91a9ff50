//! SWIM's packets, hand-laid: every nest writes several a second.
//!
//! The header: who sends it (number `u64`, bump `u32`, length of the name `u8`, the name; numbers in little
//! endian), its incarnation `u16`, to whom (as who), the kind `u8`, a third nest where the kind has one (as
//! who), the number of the probe `u8` where it has one. Then foca's: how many members `u16` (big endian), and of
//! each who, incarnation `u16`, state `u8`.

use std::fmt;

use bytes::{Buf, BufMut};
#[cfg(feature = "sim")]
use foca::Codec as _;
use foca::{Identity, Message};
use xxhash_rust::xxh3::xxh3_128;

use crate::{NestId, NestName};

/// A nest as foca knows it.
#[derive(Clone, Debug)]
pub(super) struct SwimId {
    pub(super) id: NestId,
    name: NestName,
    /// Of the name, by which foca tells members apart. It looks for one by a walk over all of them:
    /// numbers are compared where they lie.
    key: u128,
    /// Raised by a nest that was wrongly declared down: foca takes no identity back.
    pub(super) bump: u32,
}

impl PartialEq for SwimId {
    fn eq(&self, other: &Self) -> bool {
        // The key stands for the name, which lies elsewhere.
        (self.id, self.key, self.bump) == (other.id, other.key, other.bump)
    }
}

impl Eq for SwimId {}

impl SwimId {
    pub(super) fn new(id: NestId, name: NestName, bump: u32) -> Self {
        // Of so many bits that no two names ever made have one key.
        let key = xxh3_128(name.as_str().as_bytes());
        Self { id, name, key, bump }
    }
}

impl Identity for SwimId {
    type Addr = u128;

    fn renew(&self) -> Option<Self> {
        Some(Self { bump: self.bump.checked_add(1)?, ..self.clone() })
    }

    fn addr(&self) -> u128 {
        self.key
    }

    fn win_addr_conflict(&self, other: &Self) -> bool {
        (self.id, self.bump) > (other.id, other.bump)
    }
}

/// The tag of the message by which foca tells a nest that it was declared down.
pub(super) const TURN_UNDEAD: u8 = 10;

/// The tag of the message by which a nest asks another to ping a third.
const PING_REQ: u8 = 2;

/// Whether a packet asks a third nest to ping one that doesn't answer.
pub(crate) fn asks_for_a_ping(packet: &[u8]) -> bool {
    let to = packet.get(12).map(|name| 13 + usize::from(*name) + 2);
    let name = to.and_then(|to| packet.get(to + 12).map(|name| to + 13 + usize::from(*name)));
    name.and_then(|at| packet.get(at)) == Some(&PING_REQ)
}

/// The nest that a packet is meant for, and under which of its identities.
pub(super) fn dest_of(packet: &[u8]) -> Option<(NestId, u32)> {
    let name = usize::from(*packet.get(12)?);
    let dest = packet.get(13 + name + 2..)?;
    let (id, rest) = dest.split_first_chunk()?;
    let bump = rest.first_chunk()?;
    Some((NestId(u64::from_le_bytes(*id)), u32::from_le_bytes(*bump)))
}

/// Reads a packet as a nest does, and writes what it read: for tests of the decoder.
#[cfg(feature = "sim")]
pub(crate) fn reread(mut packet: &[u8]) -> Option<Vec<u8>> {
    let header = Codec.decode_header(&mut packet).ok()?;
    let mut out = Vec::new();
    Codec.encode_header(&header, &mut out).ok()?;
    if let Some((count, rest)) = packet.split_first_chunk() {
        out.extend_from_slice(count);
        packet = rest;
        for _ in 0..u16::from_be_bytes(*count) {
            let member = Codec.decode_member(&mut packet).ok()?;
            Codec.encode_member(&member, &mut out).ok()?;
        }
    }
    out.extend_from_slice(packet);
    Some(out)
}

/// Between foca's messages and their bytes.
pub(super) struct Codec;

/// Why bytes are no SWIM packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct BadPacket(&'static str);

impl fmt::Display for BadPacket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "not a SWIM packet: {}", self.0)
    }
}

impl std::error::Error for BadPacket {}

const SHORT: BadPacket = BadPacket("cut short");
const FULL: BadPacket = BadPacket("no room left");

pub(super) fn put_id(mut to: impl BufMut, id: &SwimId) {
    let name = id.name.as_str().as_bytes();
    to.put_u64_le(id.id.0);
    to.put_u32_le(id.bump);
    // A name has at most 255 bytes, checked where it was made.
    to.put_u8(name.len() as u8);
    to.put_slice(name);
}

pub(super) fn id_len(id: &SwimId) -> usize {
    13 + id.name.as_str().len()
}

pub(super) fn id(mut from: impl Buf) -> Result<SwimId, BadPacket> {
    if from.remaining() < 13 {
        return Err(SHORT);
    }
    let (id, bump, len) = (NestId(from.get_u64_le()), from.get_u32_le(), from.get_u8() as usize);
    if from.remaining() < len {
        return Err(SHORT);
    }
    let mut room = [0; u8::MAX as usize];
    let name = room.get_mut(..len).ok_or(SHORT)?;
    from.copy_to_slice(name);
    let name = str::from_utf8(name).map_err(|_| BadPacket("a name that is not UTF-8"))?;
    let name = NestName::new(name).map_err(|_| BadPacket("a name that is none"))?;
    Ok(SwimId::new(id, name, bump))
}

fn byte(mut from: impl Buf) -> Result<u8, BadPacket> {
    if from.has_remaining() { Ok(from.get_u8()) } else { Err(SHORT) }
}

fn half(mut from: impl Buf) -> Result<u16, BadPacket> {
    if from.remaining() >= 2 { Ok(from.get_u16_le()) } else { Err(SHORT) }
}

impl foca::Codec<SwimId> for Codec {
    type Error = BadPacket;

    fn encode_header(
        &mut self,
        header: &foca::Header<SwimId>,
        mut to: impl BufMut,
    ) -> Result<(), BadPacket> {
        let (tag, other, number) = match &header.message {
            Message::Ping(n) => (0, None, Some(*n)),
            Message::Ack(n) => (1, None, Some(*n)),
            Message::PingReq { target, probe_number } => (2, Some(target), Some(*probe_number)),
            Message::IndirectPing { origin, probe_number } => {
                (3, Some(origin), Some(*probe_number))
            }
            Message::IndirectAck { target, probe_number } => (4, Some(target), Some(*probe_number)),
            Message::ForwardedAck { origin, probe_number } => {
                (5, Some(origin), Some(*probe_number))
            }
            Message::Announce => (6, None, None),
            Message::Feed => (7, None, None),
            Message::Gossip => (8, None, None),
            Message::Broadcast => (9, None, None),
            Message::TurnUndead => (10, None, None),
        };
        let len = id_len(&header.src) + 2 + id_len(&header.dst) + 2 + other.map_or(0, id_len);
        if to.remaining_mut() < len {
            return Err(FULL);
        }
        put_id(&mut to, &header.src);
        to.put_u16_le(header.src_incarnation);
        put_id(&mut to, &header.dst);
        to.put_u8(tag);
        if let Some(other) = other {
            put_id(&mut to, other);
        }
        if let Some(number) = number {
            to.put_u8(number);
        }
        Ok(())
    }

    fn decode_header(&mut self, mut from: impl Buf) -> Result<foca::Header<SwimId>, BadPacket> {
        let src = id(&mut from)?;
        let src_incarnation = half(&mut from)?;
        let dst = id(&mut from)?;
        let message = match byte(&mut from)? {
            0 => Message::Ping(byte(&mut from)?),
            1 => Message::Ack(byte(&mut from)?),
            2 => Message::PingReq { target: id(&mut from)?, probe_number: byte(&mut from)? },
            3 => Message::IndirectPing { origin: id(&mut from)?, probe_number: byte(&mut from)? },
            4 => Message::IndirectAck { target: id(&mut from)?, probe_number: byte(&mut from)? },
            5 => Message::ForwardedAck { origin: id(&mut from)?, probe_number: byte(&mut from)? },
            6 => Message::Announce,
            7 => Message::Feed,
            8 => Message::Gossip,
            9 => Message::Broadcast,
            10 => Message::TurnUndead,
            _ => return Err(BadPacket("an unknown message")),
        };
        Ok(foca::Header { src, src_incarnation, dst, message })
    }

    fn encode_member(
        &mut self,
        member: &foca::Member<SwimId>,
        mut to: impl BufMut,
    ) -> Result<(), BadPacket> {
        if to.remaining_mut() < id_len(member.id()) + 3 {
            return Err(FULL);
        }
        put_id(&mut to, member.id());
        to.put_u16_le(member.incarnation());
        to.put_u8(match member.state() {
            foca::State::Alive => 0,
            foca::State::Suspect => 1,
            foca::State::Down => 2,
        });
        Ok(())
    }

    fn decode_member(&mut self, mut from: impl Buf) -> Result<foca::Member<SwimId>, BadPacket> {
        let id = id(&mut from)?;
        let incarnation = half(&mut from)?;
        let state = match byte(&mut from)? {
            0 => foca::State::Alive,
            1 => foca::State::Suspect,
            2 => foca::State::Down,
            _ => return Err(BadPacket("an unknown state")),
        };
        Ok(foca::Member::new(id, incarnation, state))
    }
}
