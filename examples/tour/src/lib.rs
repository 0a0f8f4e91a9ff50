//! What the three programs share, and the tour itself.
//!
//! In reading order:
//!
//! - `ticker`: the bird, one for each connected user; `store`: where it keeps its position.
//! - `options`: reading a command line.
//! - `calls`: start or call many birds at once (used by `birds` and by the tour's nests).
//! - `protocol`: the lines that the tour and its nests exchange; `child`: the tour's end of them,
//!   one child process each; `serve`: the nest's end.
//! - `acts`: start, kill, join, partition, in this order; `census`: who runs what, asked directly.
//! - `figures`: what was measured, and whether it is as promised; `progress`: what the onlooker sees.
//! - `tour`: the main job, from the command line to the exit status.

use flock_actix::{Builder, ClusterKey, Flock, KeyError};

pub mod acts;
pub mod calls;
pub mod census;
pub mod child;
pub mod figures;
pub mod options;
pub mod progress;
pub mod protocol;
pub mod serve;
pub mod store;
pub mod ticker;
pub mod tour;

/// The flock that all three programs belong to, so that `birds` and `nest` can visit the tour's.
pub const FLOCK: &str = "tickers";

/// A nest of that flock. Where the environment has a `FLOCK_KEY`, whoever hasn't got it stays out.
pub fn builder() -> Result<Builder, KeyError> {
    let nest = Flock::builder(FLOCK);
    match ClusterKey::from_env("FLOCK_KEY") {
        Ok(key) => Ok(nest.key(key)),
        Err(KeyError::NotSet(_)) => Ok(nest),
        Err(e) => Err(e),
    }
}
