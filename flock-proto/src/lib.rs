//! The mind of a flock: sans-IO state machines without clock, socket, thread or global chance.
//!
//! The same inputs and seed give the same outputs, to the byte. In reading order:
//!
//! - `ids`, `time`, `rng`: names and numbers, parsed once at the door.
//! - `ring`, `view`: which nest owns a name.
//! - `registry`: the delta-CRDT of living names.
//! - `membership`: who is alive.
//! - `wire`: what travels between nests, byte by byte.
//! - `nest`: the state machine over them all.
//! - `pending`, `routing`: the calls of the data plane, which never enter the core.
//! - `sim` (feature): many nests in virtual time, for tests.
//! - `bugs` (feature `planted-bugs`): mistakes that the simulator must notice.
//! - `door`: `Input` and `Effect`, the whole contract with a driver.
//!
//! A nest without seeds is a flock by itself at once:
//!
//! ```
//! use flock_proto::{Config, Effect, Me, Nest, NestName, Time};
//!
//! # fn main() -> Result<(), flock_proto::NameError> {
//! let me = Me {
//!     name: NestName::new("nest-1")?,
//!     address: "127.0.0.1:7101".into(),
//!     weight: 1,
//!     species: Default::default(),
//!     fenced: Default::default(),
//!     seeds: Vec::new(),
//! };
//! let now = Time::from_micros(1_800_000_000_000_000);
//! let mut nest = Nest::new(me, Config::default(), 42, now);
//! let effects: Vec<Effect> = nest.drain().collect();
//! assert!(effects.iter().any(|effect| matches!(effect, Effect::Publish(_))));
//! assert_eq!(nest.view().owner(7), Some(nest.id()));
//! # Ok(())
//! # }
//! ```

mod bugs;
mod config;
mod door;
mod event;
mod ids;
mod membership;
mod name_map;
mod name_sets;
mod name_table;
mod nest;
mod nest_map;
mod pending;
mod registry;
mod ring;
mod rng;
mod routing;
mod shown;
#[cfg(feature = "sim")]
pub mod sim;
mod time;
mod view;
pub mod wire;

#[cfg(feature = "planted-bugs")]
pub use bugs::{Bug, plant};
pub use config::{Config, Me, Rebalancing, RegistryConfig, SwimConfig};
pub use door::{Answer, Effect, EndWhy, Input, Peer, Route, Unheld, Why};
pub use event::{Cause, Event};
pub use ids::{
    BirdName, Dot, Fence, Fingerprint, MessageId, NameError, NestId, NestName, ReqId, SpeciesId,
    hash64,
};
pub use nest::{
    BirdInfo, Counters, Forecast, Moves, Nest, Plan, Policy, Share, Sizes, WhatIf, WhatIfError,
};
pub use pending::Pending;
pub use registry::{
    Change, Changes, Compared, DecodeError, Delta, Grounding, IntoChanges, Joined, Opening, Ranges,
    RangesWanted, Record, Registry, Standing, Status, Vector,
};
pub use ring::{Arc, MAX_WEIGHT, POINTS_PER_WEIGHT, Ring};
pub use rng::Rng;
pub use routing::{Local, MAX_CALL_HOPS, Step, pass_on, route};
pub use time::{Clock, Hlc, Time};
pub use view::{Member, NestState, Via, View};
pub use wire::{CallHead, CallId, CallKind, DataFrame, HeadError, ReplyHead};
