//! Named, supervised actix actors that live on a cluster: start by name, call from anywhere.
//!
//! What lives where, in reading order:
//!
//! - `bird`: what a bird's author writes against.
//! - `bird_ref`, `call`, `router`: how birds are called.
//! - `shared`: the data plane, from a call to an inbox or a link; `table`, `parcel`, `slot`,
//!   `codec` are its parts.
//! - `life`, `pump`, `supervisor`: how birds live, crash and live again.
//! - `data_link`: what the data plane asks of the links between nests.

#![allow(dead_code, reason = "the driver, which calls most of it, is not wired up yet")]

mod bird;
mod bird_ref;
mod call;
mod codec;
mod data_link;
mod life;
mod link;
mod net;
mod parcel;
mod pump;
mod router;
mod rt;
mod shared;
mod slot;
mod supervisor;
mod table;
mod wall;

#[cfg(test)]
mod tests;

pub use bird::{Bird, Chirp, FenceHandle, HatchWhy, Hatching, Hears, Wire};
pub use bird_ref::{BirdRecipient, BirdRef, Outgoing, Reply};
pub use call::{Call, CallError, Cast};
pub use router::Router;

/// What [`bird!`] writes; not for use by hand.
#[doc(hidden)]
pub mod __private {
    pub use crate::bird::{Ear, Plumage, all_distinct, last_segment};
    pub use flock_proto::MessageId;
}
