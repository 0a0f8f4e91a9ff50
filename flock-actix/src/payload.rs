//! The bytes of a call that waits.

use std::fmt;
use std::ops::Deref;

/// What is no longer than this needs no memory beside the call's own.
const SMALL: usize = 96;

/// The bytes of a call's message.
pub(crate) enum Payload {
    /// So many of these.
    Small(u8, [u8; SMALL]),
    Large(Box<[u8]>),
}

impl Payload {
    pub(crate) const EMPTY: Self = Self::Small(0, [0; SMALL]);

    /// Takes these bytes in instead of what it has, where it lies: to move what was just written is felt.
    #[inline]
    pub(crate) fn fill(&mut self, bytes: &[u8]) {
        if let Self::Small(len, small) = self
            && let Some(room) = small.get_mut(..bytes.len())
        {
            room.copy_from_slice(bytes);
            *len = bytes.len() as u8;
        } else {
            *self = Self::Large(bytes.into());
        }
    }
}

impl Deref for Payload {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Self::Small(len, bytes) => bytes.get(..usize::from(*len)).unwrap_or_default(),
            Self::Large(bytes) => bytes,
        }
    }
}

impl fmt::Debug for Payload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Payload({} bytes)", self.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_come_out_as_they_went_in() {
        for len in [0, 1, SMALL - 1, SMALL, SMALL + 1, 255, 256, 70_000] {
            let bytes: Vec<u8> = (0..len).map(|n| n as u8).collect();
            let mut payload = Payload::EMPTY;
            payload.fill(&bytes);
            assert_eq!(*payload, *bytes);
            payload.fill(b"others");
            assert_eq!(*payload, *b"others");
        }
    }
}
