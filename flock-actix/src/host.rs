//! What a nest runs on: the machine, or a simulated host.
//!
//! All that is not the nest's own comes from here by way of three modules: sockets (`net`), threads
//! (`rt`), the clock (`wall`). Each asks the [`Host`] which kind is meant.

use std::hash::{BuildHasher, RandomState};

/// What a nest runs on.
#[derive(Clone, Debug, Default)]
pub(crate) enum Host {
    /// This machine: its sockets, threads, clock and chance.
    #[default]
    Machine,
    /// A host in turmoil: its network, its time and its chance, all in one thread.
    #[cfg(feature = "turmoil")]
    Turmoil(crate::turmoil::Host),
}

impl Host {
    /// What a new nest's chance starts from.
    pub(crate) fn seed(&self, address: &str) -> u64 {
        match self {
            Self::Machine => RandomState::new().hash_one(address),
            #[cfg(feature = "turmoil")]
            Self::Turmoil(host) => host.draw(),
        }
    }
}
