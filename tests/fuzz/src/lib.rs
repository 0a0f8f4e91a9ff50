//! What all targets share.
//!
//! - `room`: how much memory something takes.
//! - `feed`: bytes, taken apart into what a target needs.
//! - here: what has to be the same in all of them.

mod feed;
mod room;

pub use feed::Feed;
pub use room::within;

use flock_actix::ClusterKey;

/// A key as good as any.
///
/// # Panics
/// If it is none: then nothing here would test anything.
pub fn key() -> ClusterKey {
    "5c2c0a71d4e85b36c7118fa2604de39b7c5512e0ad9846f3b1d70e6a28c4953f".parse().expect("a key")
}
