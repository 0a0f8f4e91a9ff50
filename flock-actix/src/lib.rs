//! Named, supervised actix actors that live on a cluster: start by name, call from anywhere.
//!
//! A *bird* is an actor with a name. A *nest* is a process that runs birds, a *flock* all nests of
//! one name that have found each other. The name alone says which nest a bird *hatches* on; any nest
//! calls it.
//!
//! ```
//! use actix::prelude::*;
//! use flock_actix::{Bird, Flock, Hatching, bird};
//! use serde::{Deserialize, Serialize};
//!
//! #[derive(Message, Serialize, Deserialize)]
//! #[rtype(result = "String")]
//! struct Greet(String);
//!
//! struct Parrot;
//!
//! impl Actor for Parrot {
//!     type Context = Context<Self>;
//! }
//!
//! impl Handler<Greet> for Parrot {
//!     type Result = String;
//!     fn handle(&mut self, Greet(who): Greet, _: &mut Context<Self>) -> String {
//!         format!("Hello, {who}!")
//!     }
//! }
//!
//! impl Bird for Parrot {
//!     type Args = ();
//!     async fn hatch(_: (), _: &Hatching) -> anyhow::Result<Self> {
//!         Ok(Parrot)
//!     }
//! }
//! bird!(Parrot as "parrot" { Greet });
//!
//! # #[actix::main]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! // `.join()` in place of `.local()` opens a socket and looks for other nests.
//! let flock = Flock::builder("zoo").species::<Parrot>().local().await?;
//! let polly = flock.start::<Parrot>("polly", ()).await?;
//! assert_eq!(polly.send(Greet("world".into())).await?, "Hello, world!");
//! # Ok(())
//! # }
//! ```
//!
//! Calls end exactly once, with the answer or a [`CallError`] that says what is then true; a bird
//! sees each at most once. A crash or a lost nest ends an actor's state, a move of one that doesn't
//! [migrate](Migrate), too: [`Bird::hatch`]
//! builds it anew. What else is promised, and what is not, says the project's README.
//!
//! What lives where, in reading order:
//!
//! - `bird`: what a bird's author writes against.
//! - `bird_ref`, `call`, `router`: how birds are called.
//! - `shared`: the data plane, from a call to an inbox or a link; `table`, `parcel`, `slot`,
//!   `codec` are its parts.
//! - `life`, `commands`, `pump`, `job`, `copies`, `supervisor`: how birds live, crash and live again.
//! - `drain`: how a nest goes. `balance`: who owns how much, and what would move. `quorum`: whether enough nests
//!   are there.
//! - `flock`, `builder`, `request`, `many`, `look`, `events`, `error`: the handle on a nest.
//! - `core`, `nest_actor`, `questions`: the way to the core, its driver, and who asked it what.
//! - `data_link`: what the data plane asks of the links between nests.
//! - `link`: those links. `key` (feature `noise`), `tls` (feature), `secret`: who may join.
//! - `host`: what a nest runs on. `net`, `rt`, `wall`: the only places with sockets, threads, a clock.
//!   `heap`: room for many small things.
//! - `testing` (feature): several nests in one process. `turmoil` (feature): nests in a simulation.

mod balance;
mod bird;
mod bird_ref;
mod builder;
mod call;
mod codec;
mod commands;
mod copies;
mod core;
mod data_link;
mod drain;
mod error;
mod events;
mod flock;
mod heap;
mod host;
mod job;
#[cfg(feature = "noise")]
mod key;
mod life;
mod link;
mod look;
mod many;
mod nest_actor;
mod net;
mod parcel;
mod payload;
mod pulse;
mod pump;
mod questions;
mod quorum;
mod request;
mod router;
mod rt;
#[cfg(any(feature = "noise", feature = "tls"))]
mod secret;
mod shared;
mod slot;
mod supervisor;
mod table;
#[cfg(feature = "tls")]
mod tls;
mod wall;

#[cfg(feature = "testing")]
pub mod testing;
#[cfg(test)]
mod tests;
#[cfg(feature = "turmoil")]
pub mod turmoil;

pub use balance::{Change, PlanError};
pub use bird::{
    Bird, CheckpointError, Checkpoints, Chirp, FenceHandle, HatchWhy, Hatching, Hears, Migrate,
    SnapshotError, Standby, Wire,
};
pub use bird_ref::{BirdRecipient, BirdRef, Outgoing, RecipientRequest, Reply};
pub use builder::Builder;
pub use call::{Call, CallError, Cast};
pub use drain::{Departure, Ended};
pub use error::{RequestError, StartError};
pub use events::Events;
pub use flock::Flock;
pub use flock_proto::{
    BirdName, Cause, Dot, Event, Fence, Hlc, Moves, NameError, NestName, NestState, Plan, Policy,
    Rebalancing, Share, SpeciesId,
};
#[cfg(feature = "noise")]
pub use key::{ClusterKey, KeyError};
pub use look::{BirdInfo, Counters, NestInfo, Whereabouts};
pub use many::{Outcomes, SomeFailed, StartMany, StopMany};
pub use request::{Request, Start, StartOrGet};
pub use router::Router;
#[cfg(feature = "tls")]
pub use tls::{Tls, TlsError};

/// What [`bird!`] writes; not for use by hand.
#[doc(hidden)]
pub mod __private {
    pub use crate::bird::{Ear, Migration, Plumage, all_distinct, last_segment};
    pub use flock_proto::MessageId;
}

/// The examples of the README, compiled and run as tests.
#[cfg(all(doctest, feature = "noise"))]
#[doc = include_str!("../../README.md")]
struct Readme;

/// The same of the book.
#[cfg(doctest)]
#[doc = include_str!("../../docs/moving-house.md")]
struct MovingHouse;
