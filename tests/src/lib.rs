//! Tests with real processes, and the program `bench`: what they share.
//!
//! - `tally`: a bird that counts, and takes its count along. `diary`: one whose builds disagree.
//! - `tallies`: what a nest does with them when it is told to.
//! - `keeper`: one that keeps what it is given, whatever becomes of its nest.
//! - `protocol`: what a test and a nest say to each other.
//! - `nest`: one nest, a child process of the test.
//! - `nests`: several of them, and what must hold of them together.
//! - `network`: networks of their own for nests, which lose what a test wants lost.
//! - `detour`: a way to a nest on which everything takes its time.
//! - `accounts`: what tallies have acknowledged, and whether they still know it.
//! - `poll`: waiting for something to come true.
//! - `samples`: good frames of each kind.
//! - `cores`: nests of the core alone, within one process.
//! - `heap`: how many bytes something takes.
//! - `turmoil` (feature): stories of nests on simulated hosts.
//! - `bench`: figures, each from one command.
//!
//! The child itself is `src/bin/nest-under-test.rs`. The tests are in `tests/`.

use flock_actix::{Builder, ClusterKey, Flock, KeyError};

mod accounts;
pub mod bench;
pub mod cores;
mod detour;
pub mod diary;
pub mod heap;
pub mod keeper;
mod nest;
mod nests;
mod network;
mod poll;
pub mod protocol;
pub mod samples;
pub mod tallies;
pub mod tally;
#[cfg(feature = "turmoil")]
pub mod turmoil;

/// The variable that holds the key of all nests that these tests and benches start, if there is one.
pub const KEY: &str = "FLOCK_KEY";

/// A nest of this flock. Where the environment has a [key](KEY), whoever hasn't got it stays out.
pub fn builder(flock: &str) -> Result<Builder, KeyError> {
    let nest = Flock::builder(flock);
    match ClusterKey::from_env(KEY) {
        Ok(key) => Ok(nest.key(key)),
        Err(KeyError::NotSet(_)) => Ok(nest),
        Err(e) => Err(e),
    }
}

pub use accounts::Accounts;
pub use detour::Detour;
pub use nest::{Nest, Pending};
pub use nests::{Census, Nests, amiss, census, names};
pub use network::{Network, allowed};
pub use poll::{eventually, throughout};
