//! The names and numbers by which things are known, parsed once at the door.

use std::fmt;
use std::sync::Arc;

use serde::de::{Error, Unexpected, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use smol_str::SmolStr;
use xxhash_rust::xxh3::xxh3_64;

/// Why a text is no name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NameError {
    /// The text is empty.
    #[error("a name must not be empty")]
    Empty,
    /// The text is longer than 255 bytes.
    #[error("a name has at most 255 bytes of UTF-8, this one has {0}")]
    TooLong(usize),
    /// The text holds a control character.
    #[error("a name must not hold control characters, this one holds {0:?}")]
    Control(char),
}

/// Whether bytes are a name of plain ASCII. Most names are, and a register of a million looks at
/// each of them several times.
pub(crate) fn is_plain(name: &[u8]) -> bool {
    // Each byte is looked at: a loop that may end early can't take sixteen of them at a time.
    let plain = name.iter().fold(true, |plain, byte| plain & matches!(byte, b' '..=b'~'));
    plain && (1..=255).contains(&name.len())
}

/// Whether a text is a name, where the name itself isn't needed yet.
pub(crate) fn check(text: &str) -> Result<(), NameError> {
    if is_plain(text.as_bytes()) {
        return Ok(());
    }
    if text.is_empty() {
        return Err(NameError::Empty);
    }
    if text.len() > 255 {
        return Err(NameError::TooLong(text.len()));
    }
    match text.chars().find(|c| c.is_control()) {
        Some(c) => Err(NameError::Control(c)),
        None => Ok(()),
    }
}

/// Reads a text where it lies in a frame, and makes something of it: a `String` in between costs as much
/// as all the rest.
struct Text<F>(F);

impl<T, F: FnOnce(&str) -> Result<T, NameError>> Visitor<'_> for Text<F> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<T, E> {
        (self.0)(text).map_err(E::custom)
    }

    fn visit_bytes<E: Error>(self, bytes: &[u8]) -> Result<T, E> {
        match std::str::from_utf8(bytes) {
            Ok(text) => self.visit_str(text),
            Err(_) => Err(E::invalid_value(Unexpected::Bytes(bytes), &self)),
        }
    }
}

/// Shared texts in frames: `#[serde(with = "shared_text")]`.
pub(crate) mod shared_text {
    use super::{Arc, Deserializer, Serializer, Text};

    pub(crate) fn serialize<S: Serializer>(text: &Arc<str>, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(text)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Arc<str>, D::Error> {
        from.deserialize_str(Text(|text: &str| Ok(text.into())))
    }
}

/// What [`BirdName::hash64`] and [`NestName::hash64`] are for a text that is one, without making one.
pub fn hash64(name: &str) -> u64 {
    xxh3_64(name.as_bytes())
}

macro_rules! name {
    ($(#[$doc:meta])* $name:ident($text:ty)) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name($text);

        impl $name {
            /// 1 to 255 bytes of UTF-8 without control characters.
            pub fn new(text: &str) -> Result<Self, NameError> {
                check(text)?;
                Ok(Self(text.into()))
            }

            /// The text.
            pub fn as_str(&self) -> &str {
                &self.0
            }

            /// xxh3 (64 bits, seed 0) of the text: the place on the ring, and the hash of every
            /// table.
            pub fn hash64(&self) -> u64 {
                hash64(&self.0)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
                to.serialize_str(&self.0)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                from.deserialize_str(Text(Self::new))
            }
        }

        impl TryFrom<String> for $name {
            type Error = NameError;
            fn try_from(text: String) -> Result<Self, NameError> {
                check(&text)?;
                Ok(Self(text.into()))
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> Self {
                name.as_str().into()
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:?}", self.0)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

name! {
    /// A bird's name, valid inside its flock.
    ///
    /// One of up to 23 bytes, as most are, lies where the name itself does: whoever looks at a bird needn't go and
    /// look elsewhere, too, for what it is called.
    BirdName(SmolStr)
}

impl std::borrow::Borrow<str> for BirdName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl BirdName {
    /// A text that was checked before.
    pub(crate) fn trusted(text: &str) -> Self {
        debug_assert_eq!(check(text), Ok(()));
        Self(text.into())
    }
}

name! {
    /// A nest's name: its identity across restarts, and its key on the ring.
    NestName(Arc<str>)
}

macro_rules! number {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(
            Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
        )]
        #[serde(transparent)]
        pub struct $name(pub u64);

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({:x})", stringify!($name), self.0)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:x}", self.0)
            }
        }
    };
}

number! {
    /// A nest's incarnation: one run of one nest's process. The millisecond in which it began, with
    /// 22 random low bits, so later runs have greater numbers.
    NestId
}
number! {
    /// A species, by the hash of its wire name.
    SpeciesId
}
number! {
    /// A message type, by the hash of its wire name.
    MessageId
}
number! {
    /// A number that grows along the lives of a bird on nest after nest, for guarding writes to an
    /// outside store. A restart after a crash on the same nest keeps it.
    ///
    /// It is a stamp of the nest's hybrid logical clock. So after a nest was lost without a word it
    /// is greater only while clocks differ by less than the time that it took to notice; and during
    /// a partition both sides give out fences. After a heal the life that stays gets one above both.
    Fence
}
number! {
    /// Names a view: the same members in the same states give the same number.
    Fingerprint
}
number! {
    /// A question that the driver asked, by which it knows the answer. Later ones have greater
    /// numbers.
    ReqId
}

impl SpeciesId {
    /// The id of a species' wire name.
    pub const fn of(name: &str) -> Self {
        Self(xxhash_rust::const_xxh3::xxh3_64(name.as_bytes()))
    }
}

impl MessageId {
    /// The id of a message's wire name.
    pub const fn of(name: &str) -> Self {
        Self(xxhash_rust::const_xxh3::xxh3_64(name.as_bytes()))
    }
}

/// The identity of one registry operation: who issued it, and its place in that nest's sequence,
/// which starts at 1 and has no gaps.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Dot {
    /// The incarnation that issued the operation.
    pub origin: NestId,
    /// Its place in that incarnation's sequence.
    pub seq: u64,
}

impl fmt::Debug for Dot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:x}.{}", self.origin.0, self.seq)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_has_1_to_255_bytes_and_no_control_characters() {
        assert_eq!(BirdName::new(""), Err(NameError::Empty));
        assert_eq!(BirdName::new(&"é".repeat(128)), Err(NameError::TooLong(256)));
        assert_eq!(BirdName::new("a\nb"), Err(NameError::Control('\n')));
        assert!(BirdName::new(&"x".repeat(255)).is_ok());
        assert!(BirdName::new("ein Rotkehlchen 🐦").is_ok());
    }

    #[test]
    fn ids_of_wire_names_never_change() {
        assert_eq!(SpeciesId::of("counter").0, xxh3_64(b"counter"));
        assert_eq!(BirdName::new("robin").map(|n| n.hash64()), Ok(17_817_985_575_378_428_623));
    }
}
