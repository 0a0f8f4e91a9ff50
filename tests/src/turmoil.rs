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

use serde::Serialize;

pub use teller::tell;

/// What happened in a story, counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Deeds {
    /// Birds that were started.
    pub starts: u64,
    /// Birds that were stopped.
    pub stops: u64,
    /// Calls that a bird answered.
    pub calls: u64,
    /// Casts that a bird handled.
    pub casts: u64,
    /// Hosts that lost their power, and processes that were killed.
    pub crashes: u64,
    /// Hosts and processes that were started again, under the same name.
    pub bounces: u64,
    /// Times that the network failed in part: cut both ways or one way, held up, lossy.
    pub partitions: u64,
    /// Times that such a fault ended.
    pub repairs: u64,
    /// Nests that left in good order.
    pub leaves: u64,
    /// Birds that panicked.
    pub panics: u64,
}

impl Deeds {
    /// Each kind by its name.
    pub const fn all(&self) -> [(&'static str, u64); 10] {
        [
            ("starts", self.starts),
            ("stops", self.stops),
            ("calls", self.calls),
            ("casts", self.casts),
            ("crashes", self.crashes),
            ("bounces", self.bounces),
            ("partitions", self.partitions),
            ("repairs", self.repairs),
            ("leaves", self.leaves),
            ("panics", self.panics),
        ]
    }

    /// Adds what happened in another story.
    pub const fn add(&mut self, other: &Self) {
        self.starts += other.starts;
        self.stops += other.stops;
        self.calls += other.calls;
        self.casts += other.casts;
        self.crashes += other.crashes;
        self.bounces += other.bounces;
        self.partitions += other.partitions;
        self.repairs += other.repairs;
        self.leaves += other.leaves;
        self.panics += other.panics;
    }

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
