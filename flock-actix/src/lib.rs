//! Named, supervised actix actors that live on a cluster: start by name, call from anywhere.
//!
//! What lives where, in reading order:
//!
//! - `bird`: what a bird's author writes against.
//! - `bird_ref`, `call`, `router`: how birds are called.
//! - `shared`: the data plane, from a call to an inbox or a link; `table`, `parcel`, `slot`,
//!   `codec` are its parts.
//! - `life`, `pump`, `supervisor`: how birds live, crash and live again.
//! - `flock`, `builder`, `request`, `look`, `events`, `error`: the handle on a nest.
//! - `core`, `nest_actor`: the way to the core, and its driver.
//! - `data_link`: what the data plane asks of the links between nests.
//! - `link`: those links. `net` and `rt`: the only places with sockets and threads.
//! - `testing` (feature): several nests in one process.

#![allow(dead_code, reason = "the driver, which calls most of it, is not wired up yet")]

mod bird;
mod bird_ref;
mod builder;
mod call;
mod codec;
mod core;
mod data_link;
mod error;
mod events;
mod flock;
mod life;
mod link;
mod look;
mod nest_actor;
mod net;
mod parcel;
mod pump;
mod request;
mod router;
mod rt;
mod shared;
mod slot;
mod supervisor;
mod table;
mod wall;

#[cfg(feature = "testing")]
pub mod testing;
#[cfg(test)]
mod tests;

pub use bird::{Bird, Chirp, FenceHandle, HatchWhy, Hatching, Hears, Wire};
pub use bird_ref::{BirdRecipient, BirdRef, Outgoing, Reply};
pub use builder::Builder;
pub use call::{Call, CallError, Cast};
pub use error::{RequestError, StartError};
pub use events::Events;
pub use flock::Flock;
pub use flock_proto::{
    BirdName, Cause, Dot, Event, Fence, Hlc, NameError, NestName, NestState, SpeciesId,
};
pub use look::{BirdInfo, NestInfo, Whereabouts};
pub use request::{Request, Start, StartOrGet};
pub use router::Router;

/// What [`bird!`] writes; not for use by hand.
#[doc(hidden)]
pub mod __private {
    pub use crate::bird::{Ear, Plumage, all_distinct, last_segment};
    pub use flock_proto::MessageId;
}
