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

impl From<&[u8]> for Payload {
    fn from(bytes: &[u8]) -> Self {
        let mut small = [0; SMALL];
        match (small.get_mut(..bytes.len()), u8::try_from(bytes.len())) {
            (Some(room), Ok(len)) => {
                room.copy_from_slice(bytes);
                Self::Small(len, small)
            }
            _ => Self::Large(bytes.into()),
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
            assert_eq!(*Payload::from(bytes.as_slice()), *bytes);
        }
    }
}
