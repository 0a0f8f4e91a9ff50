//! What the tour and its nests say to each other: a line of JSON each way, over the child's
//! standard input and output.
//!
//! The tour never asks through the flock what a nest can be asked directly. So it sees what each
//! process itself runs, whatever the flock believes.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::calls::{Deed, Outcome};

/// A nest's first line.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Hello {
    /// Where it listens, as `host:port`.
    pub address: String,
}

/// A line to a nest.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Question {
    /// By which the answer is known; answers may overtake each other.
    pub id: u64,
    /// What to do.
    pub command: Command,
}

/// What a nest is told to do.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Command {
    /// Do the same with each of these birds, as a client of the flock.
    Each {
        /// Their names.
        names: Vec<String>,
        /// What to do.
        deed: Deed,
    },
    /// Say which birds live in this very process.
    Local,
    /// Say where, by the ring, each of these birds lives.
    Whereis(Vec<String>),
    /// Say which nests are in the flock.
    Nests,
    /// From now on exchange nothing with these nests.
    Cut(Vec<String>),
    /// Undo all cuts.
    Heal,
}

/// A line from a nest.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Reply {
    /// The question's.
    pub id: u64,
    /// What came of it.
    pub answer: Answer,
}

/// What a nest answers.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Answer {
    /// To `Each`.
    Outcomes(Vec<Outcome>),
    /// To `Local`.
    Local(Vec<String>),
    /// To `Whereis`: bird → nest; birds that are unknown here are left out.
    Homes(BTreeMap<String, String>),
    /// To `Nests`.
    Nests(Vec<NestSeen>),
    /// To `Cut`, `Heal`.
    Done,
}

/// One nest as another sees it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct NestSeen {
    /// Its name.
    pub name: String,
    /// Is it in the ring?
    pub up: bool,
    /// How many birds it has.
    pub birds: usize,
    /// Its share of all birds, 0 to 1.
    pub share: f64,
}
