//! Links between nests: all that happens between a socket and a frame.
//!
//! Between two nests there is one control link, dialled by either side, and data links, each
//! dialled by the side that makes calls over it. In reading order:
//!
//! - `frame`: the length prefix and the kinds.
//! - `knock`, `noise`: what is said before the hello where the flock has a key, and what is in it.
//! - `tls`: the same by certificates.
//! - `record`, `lane`: sealed bytes; the two directions of a connection, sealed or not.
//! - `meet`: from a connection to two lanes.
//! - `hello`: what two nests say of themselves before anything else, and its limits.
//! - `out`: the buffer that frames are put into, and the task that empties it.
//! - `pipe`: one open connection, control or data, with its reader and its end.
//! - `plan`: the knobs. `links`: all links of this nest: which of two stays, who is hung up.
//! - `reading`, `seats`: what is read from links, and which of them a call takes.
//! - `judge`: who may come in.
//! - `dial`, `accept`: the two ways in which a link comes to be.
//! - `strangers`, `alarm`: who may stand in the door, and how loud they may be.
//! - `cutter`: partitions at will, for tests. `decoders`: what is read here, for fuzzing it.

mod accept;
mod alarm;
mod cutter;
#[cfg(all(feature = "testing", feature = "noise"))]
pub(crate) mod decoders;
mod dial;
mod frame;
mod hello;
mod judge;
mod knock;
mod lane;
mod links;
mod meet;
#[cfg(feature = "noise")]
mod noise;
mod out;
mod pipe;
mod plan;
mod reading;
#[cfg(feature = "noise")]
mod record;
mod seats;
mod strangers;
#[cfg(feature = "tls")]
mod tls;

#[cfg(test)]
mod tests;

use std::sync::atomic::{AtomicU64, Ordering};

use flock_proto::{Event, Input};

pub(crate) use alarm::Alarm;
pub(crate) use cutter::Cutter;
pub(crate) use hello::Identity;
pub(crate) use links::Links;
#[cfg(feature = "noise")]
pub(crate) use noise::Keyring;
pub(crate) use plan::Plan;

/// What the links tell the control plane.
pub(crate) trait ControlSink: Send + Sync + 'static {
    /// Something for the core.
    fn on_input(&self, input: Input);

    /// Something to be known.
    fn on_event(&self, event: Event);

    /// A nest that lives bears this nest's name, as a peer says.
    fn on_name_taken(&self);

    /// The core can't keep up: a reader waits, and so holds back its own peer and nobody else.
    fn is_full(&self) -> bool;
}

/// What went over the links, and what was refused.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    /// Frames of an unknown kind or version, skipped.
    pub(crate) skipped: AtomicU64,
    /// Frames that break the rules; each closed its link.
    pub(crate) bad: AtomicU64,
    /// Handshakes refused by this nest.
    pub(crate) refused: AtomicU64,
    /// Strangers sent away because too many stood in the door.
    pub(crate) crowded: AtomicU64,
}

impl Counts {
    /// Skipped, bad, refused, crowded.
    pub(crate) fn read(&self) -> [u64; 4] {
        [&self.skipped, &self.bad, &self.refused, &self.crowded].map(|n| n.load(Ordering::Relaxed))
    }
}

pub(crate) fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

/// A lock whose owner panicked is still good here: every change under it is complete at each step.
pub(crate) fn lock<T: ?Sized>(mutex: &std::sync::Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}
