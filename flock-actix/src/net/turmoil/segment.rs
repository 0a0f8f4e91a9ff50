//! What the ends of a connection say to each other: one segment in each datagram.

use bytes::{Buf, BufMut, Bytes, BytesMut};

/// Bytes before a segment's payload.
const HEAD: usize = 28;

/// The largest payload. Larger than a wire would take, so that a simulation has less to do.
pub(super) const MAX_PAYLOAD: usize = 16 * 1024;

/// The largest datagram.
pub(super) const MAX_DATAGRAM: usize = HEAD + MAX_PAYLOAD;

/// One end of one connection. The number is the dialler's choice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Key {
    pub(super) id: u64,
    /// It is the end that dialled.
    pub(super) dialled: bool,
}

impl Key {
    pub(super) const fn other_end(self) -> Self {
        Self { id: self.id, dialled: !self.dialled }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Segment {
    /// The end that it is for.
    pub(super) to: Key,
    /// Every byte of the other direction below this has come.
    pub(super) acked: u64,
    pub(super) word: Word,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Word {
    /// To whoever listens on this port.
    Open { port: u16 },
    /// The answer.
    Opened,
    /// Bytes from this place in the stream on; `last`: its end, which counts as one byte more.
    Data { at: u64, bytes: Bytes, last: bool },
    /// Only what each segment says: see `acked`.
    Ack,
    /// There is no such connection, or nobody listens.
    Reset,
}

impl Segment {
    pub(super) fn encode(&self) -> BytesMut {
        let (kind, port, at, payload) = match &self.word {
            Word::Open { port } => (0, *port, 0, &[][..]),
            Word::Opened => (1, 0, 0, &[][..]),
            Word::Data { at, bytes, last: false } => (2, 0, *at, &bytes[..]),
            Word::Data { at, bytes, last: true } => (3, 0, *at, &bytes[..]),
            Word::Ack => (4, 0, 0, &[][..]),
            Word::Reset => (5, 0, 0, &[][..]),
        };
        let mut out = BytesMut::with_capacity(HEAD + payload.len());
        out.put_u8(kind);
        out.put_u8(u8::from(self.to.dialled));
        out.put_u16(port);
        out.put_u64(self.to.id);
        out.put_u64(self.acked);
        out.put_u64(at);
        out.put_slice(payload);
        out
    }

    /// `None`: it is none. Nobody but other hosts of the simulation could have sent it.
    pub(super) fn decode(mut datagram: &[u8]) -> Option<Self> {
        if datagram.len() < HEAD {
            return None;
        }
        let (kind, dialled) = (datagram.get_u8(), datagram.get_u8() != 0);
        let (port, id) = (datagram.get_u16(), datagram.get_u64());
        let (acked, at) = (datagram.get_u64(), datagram.get_u64());
        let bytes = || Bytes::copy_from_slice(datagram);
        let word = match kind {
            0 => Word::Open { port },
            1 => Word::Opened,
            2 => Word::Data { at, bytes: bytes(), last: false },
            3 => Word::Data { at, bytes: bytes(), last: true },
            4 => Word::Ack,
            5 => Word::Reset,
            _ => return None,
        };
        Some(Self { to: Key { id, dialled }, acked, word })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_segment_comes_out_as_it_went_in() {
        let bytes = Bytes::from_static(b"chirp");
        let words = [
            Word::Open { port: 7400 },
            Word::Opened,
            Word::Data { at: 7, bytes: bytes.clone(), last: false },
            Word::Data { at: 7, bytes, last: true },
            Word::Ack,
            Word::Reset,
        ];
        for (id, word) in (5..).zip(words) {
            let to = Key { id, dialled: id % 2 == 0 };
            let segment = Segment { to, acked: 3, word };
            assert_eq!(Segment::decode(&segment.encode()), Some(segment));
        }
    }
}
