//! What a test and a nest say to each other: a line of JSON each way, over the child's standard
//! input and output.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::tally::Told;

/// How a nest is to start; the only argument of the child, as JSON.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Orders {
    /// Its name.
    pub name: String,
    /// Where to listen. An address that isn't of the loopback makes the nest `insecure`.
    pub bind: String,
    /// Where peers dial it, if not where it listens.
    pub advertise: Option<String>,
    /// Where other nests listen. None: the nest forms a flock alone, at once.
    pub seeds: Vec<String>,
    /// Its share of the birds.
    pub weight: u32,
    /// How long a bird may take to finish what it has begun, if not as long as by default.
    pub drain_timeout: Option<Duration>,
    /// How long it may take to leave, if not as long as by default.
    pub leave_timeout: Option<Duration>,
    /// It is of a later build, whose diaries are kept in another form.
    pub is_later: bool,
    /// The flock's key, as text.
    pub key: Option<String>,
}

impl Orders {
    /// A nest on any free port of the loopback, with as large a share as the others.
    pub fn on_loopback(name: impl Into<String>, seeds: Vec<String>) -> Self {
        Self::on(name, "127.0.0.1:0", seeds)
    }

    /// A nest that listens there, with as large a share as the others.
    pub fn on(name: impl Into<String>, bind: impl Into<String>, seeds: Vec<String>) -> Self {
        Self {
            name: name.into(),
            bind: bind.into(),
            advertise: None,
            seeds,
            weight: 1,
            drain_timeout: None,
            leave_timeout: None,
            is_later: false,
            key: None,
        }
    }
}

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

/// A line from a nest.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Reply {
    /// The question's.
    pub id: u64,
    /// What came of it; its type is said beside each [`Command`].
    pub answer: Value,
}

/// What a nest is told to do.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Command {
    /// Start these birds. `Vec<String>`: what failed, in words.
    Start(Vec<String>),
    /// Start these birds by one call. `Bulk`.
    StartMany {
        /// Their names.
        names: Vec<String>,
        /// The deadline of the call.
        deadline: Duration,
        /// If any fails, take the others back.
        or_roll_back: bool,
    },
    /// Stop these birds by one call. `Bulk`.
    StopMany(Vec<String>),
    /// Say so once at least so many birds live in the flock, as this nest knows it. `()`.
    Await(usize),
    /// Say so once no nest of this name is up, as this nest sees it. `()`.
    AwaitGone(String),
    /// Stop this bird. `Result<(), String>`.
    Stop(String),
    /// Call each of these birds, again and again until it answers. `Vec<Answered>`.
    Call {
        /// Their names.
        names: Vec<String>,
        /// The deadline of each single call.
        deadline: Duration,
        /// No new call after so long; zero: one call each.
        patience: Duration,
    },
    /// Call these birds all the time, with a deadline of 5 s each, until `Quiet`. `()`.
    Load(Vec<String>),
    /// End the load. `Loaded`.
    Quiet,
    /// Have keepers of these names keep one thing after the other, for so long and at least until each was
    /// told once. `BTreeMap<String, Kept>`.
    Keep {
        /// Their names; those that don't live are started.
        names: Vec<String>,
        /// For how long.
        span: Duration,
    },
    /// The birds that live in this very process. `Vec<String>`.
    Local,
    /// How many actors of birds there are in this very process, as they count themselves. `usize`.
    Lives,
    /// The birds that the flock has, as far as this nest knows, and the nest that owns each by the
    /// ring. `BTreeMap<String, String>`.
    Birds,
    /// The nests that this one sees. `Vec<NestSeen>`.
    Nests,
    /// What has happened so far, in words, the newest last. `Vec<String>`.
    Events,
    /// Leave the flock. `Result<(), String>`.
    Leave,
    /// Start tallies, each with a state of so many bytes. `Bulk`.
    StartTallies {
        /// Their names.
        names: Vec<String>,
        /// The size of their states.
        bytes: usize,
    },
    /// Have each of these tallies count one more, again and again until it has said so. `Vec<Raised>`.
    Raise {
        /// Their names.
        names: Vec<String>,
        /// The deadline of each single call.
        deadline: Duration,
        /// No new call after so long; zero: one call each.
        patience: Duration,
    },
    /// Have a tally count one more, after so long. `Result<Told, String>`.
    RaiseLate(String, Duration),
    /// Have each tally keep its own name in mind, with so many bytes made from it. `Vec<String>`: who
    /// failed, and why.
    Teach(Vec<String>, usize),
    /// Ask each tally what it has in mind; it must be what it was taught. `Vec<String>`: who says something
    /// else, or nothing.
    Examine(Vec<String>, usize),
    /// How many tallies hatched in this very process, and when. `Hatchings`.
    Hatchings,
    /// Say so once so many birds have moved from this nest to others, since what moved was last forgotten.
    /// `()`.
    AwaitMoved(usize),
    /// What became of birds that moved from here or to here. `Travels`.
    Travels,
    /// Forget which birds have moved so far. `()`.
    ForgetTravels,
    /// Have this tally never finish a call, or block its thread for ever. `()`, once it is at it.
    Stick {
        /// Its name.
        name: String,
        /// Block the thread.
        block: bool,
    },
    /// Start a diary, and write this into it. `Result<(), String>`.
    Write(String, String),
    /// What a diary says, read by the build that this nest is of. `Result<String, String>`.
    Read(String),
    /// Have these tallies count, a few calls at a time with a pause between them, for so long. `Paced`.
    Pace {
        /// Their names.
        names: Vec<String>,
        /// For how long.
        span: Duration,
    },
    /// How this process is. `Health`.
    Health,
}

/// What came of calls at a steady pace.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Paced {
    /// Calls that were answered, by bird.
    pub answered: BTreeMap<String, u64>,
    /// Calls that failed, by bird: each may have been counted.
    pub failed: BTreeMap<String, u64>,
    /// Calls that didn't even end with an error, in time.
    pub hung: u64,
    /// What each answered call took, in microseconds.
    pub took_us: Vec<u32>,
    /// The first failure, in words.
    pub first_failure: Option<String>,
}

/// How a nest's process is.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub struct Health {
    /// Panics in it, caught or not.
    pub panics: u64,
    /// Frames and handshakes that it refused, skipped, or sent away, by its own counters.
    pub noticed: u64,
    /// The warnings that it told.
    pub warnings: u64,
}

/// What came of asking a keeper.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub struct Kept {
    /// So often it said that it kept a thing.
    pub told: u64,
    /// So often it was asked.
    pub asked: u64,
    /// How many it had when it last said so.
    pub last: u64,
}

/// What came of a bulk request.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Bulk {
    /// The names that went well.
    pub ok: Vec<String>,
    /// The others, each with what failed, in words.
    pub failed: Vec<(String, String)>,
}

/// What came of calling one bird.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Answered {
    /// Its name.
    pub name: String,
    /// Its answer, or the last call's error in words.
    pub answer: Result<Voice, String>,
}

/// What came of having one tally count.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Raised {
    /// Its name.
    pub name: String,
    /// What it said, or the last call's error in words.
    pub told: Result<Told, String>,
    /// How many calls failed before: each may have been counted.
    pub open: u64,
}

/// What hatched in one process.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Hatchings {
    /// How many tallies.
    pub count: u64,
    /// When the last one did, by the machine's clock in microseconds.
    pub last_us: u64,
    /// When the nest was up, by that clock.
    pub up_us: u64,
}

/// Birds that moved.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Travels {
    /// Those that this nest gave away, and knows to live elsewhere.
    pub gone: BTreeSet<String>,
    /// Those that hatched here because they moved from a nest that lives.
    pub come: BTreeSet<String>,
}

/// What a bird says when it is called.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Voice {
    /// The nest that it lives on.
    pub nest: String,
    /// Names this very life, in the whole flock.
    pub life: String,
}

/// What came of a load.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Loaded {
    /// Calls that were answered.
    pub answered: usize,
    /// What failed, in words.
    pub failed: Vec<String>,
}

/// One nest as another sees it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct NestSeen {
    /// Its name.
    pub name: String,
    /// Is it in the ring?
    pub up: bool,
    /// Is it held to be dead, if it doesn't answer soon?
    pub suspected: bool,
}
