//! The sky: many nests, one clock, a wire that stalls and breaks; all from one seed.
//!
//! - `world.rs`: hosts, and what may be done to them.
//! - `steps.rs`: time, one event after the other.
//! - `driver.rs`: inputs to the cores, and what becomes of their effects.
//! - `calls.rs`: calls from body to body.
//! - `many.rs`: requests that a user makes together.
//! - `wires.rs`: links opened, broken and hung up.
//! - `net.rs`: links between hosts: first in, first out, until they stall, break or are cut.
//! - `host.rs`: one host's body: what a driver does with the core's effects, and calls.
//! - `check.rs`: the invariants.
//! - `story.rs`: random stories, and the counts of what happened in them.

mod calls;
mod check;
mod driver;
mod host;
mod many;
mod net;
mod steps;
mod story;
mod wires;
mod world;

pub use check::Broken;
pub use host::CallEnd;
pub use story::{Deeds, Story, tell};
pub use world::World;
