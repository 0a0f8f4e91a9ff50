//! What can go wrong when a nest starts, and when it is asked for something.

use std::io;
use std::net::SocketAddr;

use flock_proto::{NameError, NestName};

/// Why a nest didn't start. No thread and no socket of it is left.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// A name of the flock or the nest is none.
    #[error("{0}")]
    BadName(#[from] NameError),
    /// The address can't be listened on: it is in use, say, or not of this machine.
    #[error("can't listen on {address}: {source}")]
    Bind {
        /// The address as it was given.
        address: String,
        /// What the operating system says.
        source: io::Error,
    },
    /// The address can be reached from other machines, and anybody there could join.
    #[error(
        "{address} can be reached from other machines, and whoever reaches it may join: give the \
         flock a key, `.key(ClusterKey::from_env(\"FLOCK_KEY\")?)`, or say `.insecure()` if the network is \
         closed to strangers"
    )]
    NotLoopback {
        /// The address.
        address: SocketAddr,
    },
    /// There are no keys, or too many.
    #[cfg(feature = "noise")]
    #[error("a keyring holds one to eight keys, not {0}")]
    BadKeyring(usize),
    /// There is a key, and there are certificates: which of the two should keep strangers out?
    #[cfg(all(feature = "noise", feature = "tls"))]
    #[error("give the flock a key or certificates, not both")]
    KeyAndCertificate,
    /// The nest's name isn't in its certificate, so the others would refuse it.
    #[cfg(feature = "tls")]
    #[error(
        "the certificate is for {}, and the nest {}",
        names.join(", "),
        name.as_ref().map_or("has no name: say `.name(…)`".into(), |name| format!("is named {name}"))
    )]
    NotCertified {
        /// The nest's name, if it was given one.
        name: Option<String>,
        /// Those of its certificate.
        names: Vec<String>,
    },
    /// The nest listens everywhere, so it can't tell where peers should dial.
    #[error("{address} stands for every address: say `.advertise(\"host:port\")` to be found")]
    Unspecified {
        /// The address.
        address: SocketAddr,
    },
    /// A living nest of the flock bears this name.
    #[error("a nest named {0} lives in the flock")]
    NameTaken(NestName),
    /// Two species have one wire name.
    #[error("the species {0:?} is given twice")]
    DuplicateSpecies(&'static str),
    /// The weight is beyond the ring's largest.
    #[error("a weight of {0} is too large, the largest is {max}", max = flock_proto::MAX_WEIGHT)]
    BadWeight(u32),
    /// The operating system gave no thread.
    #[error("can't start a thread: {0}")]
    Thread(#[source] io::Error),
    /// The nest was shut down before it was up.
    #[error("the nest was shut down while it joined")]
    Closed,
}

/// Why a request came to nothing, or may have.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RequestError {
    /// The text is no name. Nothing was asked.
    #[error("{0}")]
    BadName(#[from] NameError),
    /// A bird of this name lives. Nothing changed.
    #[error("a bird of this name lives on {nest}, a {}", species.as_deref().unwrap_or("stranger"))]
    AlreadyExists {
        /// Its species; none if this nest doesn't know it.
        species: Option<String>,
        /// The nest that owns it.
        nest: NestName,
    },
    /// No bird of this name lives. Nothing changed.
    #[error("no bird of this name lives")]
    NoSuchBird,
    /// The first hatch failed. The name is free.
    #[error("the bird didn't hatch: {0}")]
    HatchFailed(String),
    /// The nest that owns the name can't hatch this species. Nothing changed.
    #[error("{nest}, which owns the name, doesn't know the species")]
    UnknownSpecies {
        /// The owner.
        nest: NestName,
    },
    /// The deadline passed. The request may still take effect.
    #[error("the deadline passed")]
    TimedOut,
    /// Of a start that was to be [rolled back](crate::StartMany::or_roll_back): another of the same
    /// call failed, so this one was taken back, or not begun. Nothing of it lives.
    #[error("it was taken back, as another start failed")]
    RolledBack,
    /// The deadline passed, and the start was [taken back](crate::StartMany::or_roll_back). Nothing
    /// of it lives, or will.
    #[error("the deadline passed, and the start was taken back")]
    Withdrawn,
    /// The bird was started and could not be [taken back](crate::StartMany::or_roll_back), though
    /// another start of the same call failed. It may live.
    #[error("it was started and could not be taken back: {0}")]
    NotRolledBack(#[source] Box<Self>),
    /// This nest is leaving and takes no requests. Nothing changed.
    #[error("this nest is leaving")]
    Leaving,
    /// The bird isn't grounded. Nothing changed.
    #[error("the bird is not grounded")]
    NotGrounded,
    /// The nest that owns the name sees too few others, by the flock's [policy](crate::Policy). Nothing
    /// changed.
    #[error("too few nests are there")]
    NoQuorum,
    /// No nest of this name is known. Nothing changed.
    #[error("no nest of this name is known")]
    NoSuchNest,
    /// The nest is alive, as this one sees it. Nothing changed.
    #[error("the nest is alive")]
    NestAlive,
    /// Nobody may listen for signals here. Nothing changed.
    #[error("can't listen for signals: {0}")]
    NoSignals(String),
    /// The weight is beyond the ring's largest. Nothing changed.
    #[error("a weight of {0} is too large, the largest is {max}", max = flock_proto::MAX_WEIGHT)]
    BadWeight(u32),
    /// No nest owns anything: all have weight 0. Nothing changed.
    #[error("no nest of the flock owns birds")]
    NoOwner,
    /// The args can't be encoded. Nothing was asked.
    #[error("the args can't be encoded: {0}")]
    NotEncodable(String),
    /// This nest is shut down. The request may have taken effect.
    #[error("this nest is shut down")]
    Closed,
}
