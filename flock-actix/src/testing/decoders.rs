//! The decoders of what comes from others, for fuzzing them. For this project's own tests: it may change at
//! any time.

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::codec;
pub use crate::link::decoders::{LIMITS, SealedLink, frames, knock, word};

/// A message or an answer, as a nest reads it that got it from another.
pub fn payload<T: DeserializeOwned>(bytes: &[u8]) -> Option<T> {
    codec::decode_unbound(bytes).ok()
}

/// The same, as it is written.
pub fn encoded<T: Serialize>(value: &T) -> Option<Vec<u8>> {
    codec::encode(value).ok()
}
