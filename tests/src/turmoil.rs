//! Stories of real nests on simulated hosts: one thread, virtual time, one seed, one trace.
//!
//! [`tell`] tells one: hosts in turmoil, a nest on each, birds, users on every nest, and faults
//! of every kind, all drawn from the seed. After each chapter the faults cease, the flock comes to
//! rest, and everything must be in order.
//!
//! In reading order:
//!
//! - `teller`: the story, deed by deed.
//! - `weather`: what happens to the network.
//! - `post`: a host as the teller sees it, and the software that runs on it.
//! - `birds`: the actors, which write down what they handle.
//! - `ledger`: what was asked, handled and answered, and the trace of it all.
//! - `certainty`: which names must live after all that.
//! - `rest`: what must hold once the flock is at rest.
//! - `panics`: those that the story wants, and all others.

mod birds;
mod certainty;
mod ledger;
mod panics;
mod post;
mod rest;
mod teller;
mod weather;

use std::fmt;
use std::hash::{BuildHasher as _, BuildHasherDefault, DefaultHasher};

use serde::Serialize;

pub use teller::{tell, tell_keyed};

macro_rules! deeds {
    ($($(#[$what:meta])* $deed:ident,)*) => {
        /// What happened in a story, counted.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
        #[non_exhaustive]
        pub struct Deeds {
            $($(#[$what])* pub $deed: u64,)*
        }

        impl Deeds {
            /// Each kind by its name.
            pub fn all(&self) -> Vec<(&'static str, u64)> {
                vec![$((stringify!($deed), self.$deed)),*]
            }

            /// Adds what happened in another story.
            pub const fn add(&mut self, other: &Self) {
                $(self.$deed += other.$deed;)*
            }
        }
    };
}

deeds! {
    /// Birds that were started.
    starts,
    /// Birds that were stopped.
    stops,
    /// Calls that a bird answered.
    calls,
    /// Casts that a bird handled.
    casts,
    /// Birds that were hatched where another nest had handed them over to.
    moves,
    /// Birds that were hatched again because their nest was gone.
    recoveries,
    /// Names of which two records or two lives met, as often as nests told of it.
    conflicts,
    /// Hosts that lost their power, and processes that were killed.
    crashes,
    /// Hosts and processes that were started again, under the same name.
    bounces,
    /// Times that the network failed in part: cut both ways or one way, held up, lossy.
    partitions,
    /// Times that such a fault ended.
    repairs,
    /// Nests that left in good order.
    leaves,
    /// Birds that panicked.
    panics,
    /// Names that had to live when the flock had come to rest, for it had been acknowledged, and did.
    kept,
    /// Names that had been stopped by then, for certain, and stayed so.
    gone,
}

impl Deeds {
    /// The kinds of deeds that never happened.
    pub fn missing(&self) -> Vec<&'static str> {
        self.all().into_iter().filter(|(_, n)| *n == 0).map(|(name, _)| name).collect()
    }
}

/// An invariant that did not hold.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Broken {
    /// Which one, as `docs/testing.md` names them.
    pub invariant: &'static str,
    /// What was seen.
    pub what: String,
    /// When, in milliseconds of the story.
    pub at: u64,
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { invariant, what, at } = self;
        write!(f, "{invariant} after {}.{:03} s: {what}", at / 1000, at % 1000)
    }
}

/// The command that tells a story again, with its trace.
pub fn replay(seed: u64) -> String {
    format!("cargo run --release -p flock-tests --features turmoil --bin story -- {seed}")
}

/// The same of a story of nests with a key.
pub fn replay_keyed(seed: u64) -> String {
    format!("{} --keyed", replay(seed))
}

/// A story that was told.
#[derive(Clone, Debug)]
pub struct Told {
    /// What happened.
    pub did: Deeds,
    /// What broke first.
    pub broken: Option<Broken>,
    /// How long it took, in milliseconds of its own.
    pub millis: u64,
    /// Everything that nests told and that became of requests and calls, a line each; and a digest
    /// of all that went over the network.
    pub trace: String,
}

impl Told {
    /// A digest of the trace, the same in each process.
    pub fn digest(&self) -> u64 {
        BuildHasherDefault::<DefaultHasher>::default().hash_one(&self.trace)
    }
}
