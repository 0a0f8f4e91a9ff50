//! The sky: many nests, one clock, a wire that stalls and breaks; all from one seed.
//!
//! - `world.rs`: hosts, time, and what may be done to them.
//! - `net.rs`: links between hosts: first in, first out, until they stall, break or are cut.
//! - `host.rs`: one host's body: what a driver does with the core's effects, and calls.
//! - `check.rs`: the invariants.
//! - `story.rs`: random stories, and the counts of what happened in them.

mod check;
mod host;
mod net;
mod story;
mod world;

pub use check::Broken;
pub use host::CallEnd;
pub use story::{Deeds, Story, tell};
pub use world::World;
