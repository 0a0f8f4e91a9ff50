//! The sky: many nests of the whole core, one clock, a wire that stalls and breaks; all from one
//! seed.
//!
//! The world, in reading order:
//!
//! - `world.rs`: hosts, and what may be done to them.
//! - `faults.rs`: what may go wrong: deaths, cuts, breaks, freezes.
//! - `steps.rs`, `queue.rs`: time, one event after the other.
//! - `driver.rs`: inputs to the cores, and what becomes of their effects.
//! - `rings.rs`: what nests of one view needn't build each for itself.
//! - `net.rs`, `wires.rs`: links: first in, first out, until they stall, break or are cut; how they
//!   come to be and to an end.
//! - `host.rs`: one host's body: what a driver keeps of birds and calls.
//! - `calls.rs`: the data plane: calls and casts from body to body.
//! - `memory.rs`: what simulated birds remember.
//! - `standby.rs`: what they leave with other nests.
//! - `many.rs`: requests that a user makes together.
//! - `facts.rs`: what users were told, and so may rely on.
//! - `check.rs`, `check/`: the invariants.
//!
//! Stories:
//!
//! - `script.rs`: a story as a list of deeds, which can be written down and read again.
//! - `plan.rs`: from a seed to a script.
//! - `perform.rs`: a script, carried out; what happened, and what broke first.
//! - `shrink.rs`: the shortest script that still breaks the same invariant.

mod calls;
mod check;
mod driver;
mod facts;
mod faults;
mod host;
mod many;
mod memory;
mod net;
mod perform;
mod plan;
mod queue;
mod rings;
mod script;
mod shrink;
mod standby;
mod steps;
mod wires;
mod world;

pub use check::Broken;
pub use host::CallEnd;
pub use perform::{Deeds, Told, perform};
pub use plan::{Kind, Story, plan};
pub(crate) use rings::{keep_ring, ring};
pub use script::{Deed, Line, Script, ScriptError};
pub use shrink::shrink;
pub use world::World;

/// Reads a packet of SWIM as a nest does, and writes what it read; `None` if it is none.
pub fn reread_swim(packet: &[u8]) -> Option<Vec<u8>> {
    crate::membership::reread(packet)
}
