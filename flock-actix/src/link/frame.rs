//! The length prefix, the kinds, and how frames are cut from a stream of bytes.

use bytes::{Buf, BytesMut};
pub(crate) use flock_proto::wire::WIRE_VERSION as WIRE;

/// No frame is longer: 16 MiB for a user's payload and 64 KiB for what stands around it.
pub(crate) const MAX_FRAME: usize = 16 * 1024 * 1024 + 64 * 1024;

/// No frame is longer before its sender said hello.
pub(crate) const MAX_HELLO: usize = 1024;

/// Longer frames are read into a buffer of their own, so that the common one stays small.
const LARGE: usize = 16 * 1024;

/// Bytes of the length prefix.
pub(crate) const PREFIX: usize = 4;

/// What a frame is for, by its second byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Opaque to the body.
    Control,
    /// A call, cast, reply, …
    Data,
    /// Of a later version, or out of place here.
    Unknown,
}

impl Kind {
    pub(crate) fn of(frame: &[u8]) -> Self {
        match frame {
            [WIRE, 10..=99, ..] => Self::Control,
            [WIRE, 100..=199, ..] => Self::Data,
            _ => Self::Unknown,
        }
    }
}

/// A length prefix that no honest peer sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a frame of {0} bytes is longer than allowed")]
pub(crate) struct TooLong(pub(crate) usize);

/// Cuts frames from a stream of bytes.
#[derive(Debug)]
pub(crate) struct Cut {
    bytes: BytesMut,
    /// A frame too large for the common buffer, and how long it will be.
    large: Option<(BytesMut, usize)>,
    limit: usize,
}

impl Cut {
    /// `limit`: longer frames are an error.
    pub(crate) fn new(limit: usize) -> Self {
        Self { bytes: BytesMut::new(), large: None, limit }
    }

    /// From now on longer frames are allowed.
    pub(crate) const fn allow(&mut self, limit: usize) {
        self.limit = limit;
    }

    /// Where the next bytes are to be read into.
    pub(crate) fn room(&mut self) -> &mut BytesMut {
        match &mut self.large {
            // Grows with what really came: a mere prefix must not reserve 16 MiB.
            Some((bytes, len)) => {
                let missing = len.saturating_sub(bytes.len());
                bytes.reserve(missing.min(64 * 1024));
                bytes
            }
            None => {
                self.bytes.reserve((64 * 1024).min(PREFIX + self.limit));
                &mut self.bytes
            }
        }
    }

    /// There is one whole frame, and nothing behind it.
    pub(crate) fn holds_one(&self) -> bool {
        let prefix = self.bytes.first_chunk::<PREFIX>();
        let len = prefix.map(|prefix| PREFIX + u32::from_le_bytes(*prefix) as usize);
        self.large.is_none() && len == Some(self.bytes.len())
    }

    /// Every byte that was read has been handed on.
    #[cfg(feature = "noise")]
    pub(crate) fn is_empty(&self) -> bool {
        self.bytes.is_empty() && self.large.is_none()
    }

    /// Hands the next whole frame to `take`. `Ok(None)`: more bytes are needed.
    pub(crate) fn next<T>(&mut self, take: impl FnOnce(&[u8]) -> T) -> Result<Option<T>, TooLong> {
        if let Some((bytes, len)) = &mut self.large {
            if bytes.len() < *len {
                return Ok(None);
            }
            // What was read beyond the frame's end belongs to the next ones.
            let rest = bytes.split_off(*len);
            let taken = take(bytes);
            self.large = None;
            self.bytes.extend_from_slice(&rest);
            return Ok(Some(taken));
        }
        let Some(prefix) = self.bytes.first_chunk::<PREFIX>() else { return Ok(None) };
        let len = u32::from_le_bytes(*prefix) as usize;
        if len > self.limit {
            return Err(TooLong(len));
        }
        if let Some(frame) = self.bytes.get(PREFIX..PREFIX + len) {
            let taken = take(frame);
            self.bytes.advance(PREFIX + len);
            return Ok(Some(taken));
        }
        if len > LARGE {
            self.bytes.advance(PREFIX);
            self.large = Some((self.bytes.split(), len));
        }
        Ok(None)
    }
}

/// Where the first frame starts that has no byte before `written`, in a buffer of whole frames
/// whose first `torn` bytes belong to an earlier frame.
pub(crate) fn boundary(buffer: &[u8], torn: usize, written: usize) -> usize {
    let mut at = torn;
    while at < written {
        let Some(prefix) = buffer.get(at..).and_then(|b| b.first_chunk::<PREFIX>()) else {
            return buffer.len();
        };
        at += PREFIX + u32::from_le_bytes(*prefix) as usize;
    }
    at.min(buffer.len())
}

#[cfg(test)]
mod tests {
    use bytes::BufMut;

    use super::*;

    fn put(into: &mut BytesMut, frame: &[u8]) {
        into.put_u32_le(frame.len() as u32);
        into.put_slice(frame);
    }

    #[test]
    fn frames_come_out_as_they_went_in_whatever_the_pieces() {
        let frames: Vec<Vec<u8>> =
            [0, 1, 100, 16 * 1024, 16 * 1024 + 1, 1 << 20, 3].map(|n| vec![n as u8; n]).into();
        let mut wire = BytesMut::new();
        frames.iter().for_each(|f| put(&mut wire, f));
        for piece in [1000, 4096, 70_000, 3_000_000] {
            let (mut cut, mut got) = (Cut::new(MAX_FRAME), Vec::new());
            for bytes in wire.chunks(piece) {
                cut.room().extend_from_slice(bytes);
                while let Some(frame) = cut.next(<[u8]>::to_vec).unwrap() {
                    got.push(frame);
                }
            }
            assert!(got == frames, "in pieces of {piece}");
        }
    }

    #[test]
    fn one_frame_is_alone_and_neither_a_part_nor_two_are() {
        let (mut cut, mut wire) = (Cut::new(MAX_FRAME), BytesMut::new());
        put(&mut wire, b"abc");
        assert!(!cut.holds_one());
        for (bytes, alone) in [(&wire[..5], false), (&wire[5..], true), (&wire[..], false)] {
            cut.room().extend_from_slice(bytes);
            assert_eq!(cut.holds_one(), alone);
        }
        assert_eq!(cut.next(<[u8]>::to_vec), Ok(Some(b"abc".to_vec())));
        assert!(cut.holds_one());
    }

    #[test]
    fn a_length_beyond_the_limit_is_an_error_before_its_bytes_come() {
        let mut cut = Cut::new(MAX_HELLO);
        cut.room().put_u32_le(1025);
        assert_eq!(cut.next(|_| ()), Err(TooLong(1025)));
    }

    #[test]
    fn only_frames_without_a_written_byte_are_unwritten() {
        let mut wire = BytesMut::new();
        put(&mut wire, b"abc");
        put(&mut wire, b"defgh");
        assert_eq!(boundary(&wire, 0, 0), 0);
        assert_eq!(boundary(&wire, 0, 1), 7);
        assert_eq!(boundary(&wire, 0, 7), 7);
        assert_eq!(boundary(&wire, 0, 8), 16);
        assert_eq!(boundary(&wire, 7, 3), 7);
    }
}
