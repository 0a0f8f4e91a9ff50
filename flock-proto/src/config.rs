//! The core's knobs, each with its default and the reason for it.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::{NestName, SpeciesId};

/// Who a nest is and what it can do. Fixed for the life of the process.
#[derive(Clone, Debug)]
pub struct Me {
    /// Its name.
    pub name: NestName,
    /// What peers dial, as `host:port`.
    pub address: String,
    /// Its share of the ring; 0 owns nothing.
    pub weight: u32,
    /// The species that it can hatch.
    pub species: BTreeSet<SpeciesId>,
    /// Where to look for the flock, as `host:port` each.
    pub seeds: Vec<String>,
}

/// Knobs of the core.
#[derive(Clone, Debug)]
pub struct Config {
    /// How long a nest that finds nobody waits before it is a flock of its own.
    pub form_after: Duration,
    /// How often a nest that misses a known address tries one of those again.
    pub redial_every: Duration,
    /// Joins within this span change the ring once.
    pub coalesce_joins: Duration,
    /// A link that brought nothing for so long is broken; heartbeats come three times as often.
    pub link_silence: Duration,
    /// How often the registry's vector is compared with a neighbour's.
    pub sync_every: Duration,
    /// Registry operations within this span travel together.
    pub batch_ops: Duration,
    /// Bounds of the registry.
    pub registry: RegistryConfig,
    /// A peer's stamp further ahead than this doesn't move our clock.
    pub max_clock_skew: Duration,
    /// How often an unanswered request is sent anew.
    pub retry_every: Duration,
    /// Birds in flight to one nest in a hand-over.
    pub depart_window: usize,
    /// How long stragglers are forwarded after a bird moved.
    pub forward_for: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            form_after: Duration::from_secs(2),
            redial_every: Duration::from_secs(1),
            coalesce_joins: Duration::from_millis(250),
            link_silence: Duration::from_millis(1500),
            sync_every: Duration::from_secs(1),
            batch_ops: Duration::from_millis(2),
            registry: RegistryConfig::default(),
            max_clock_skew: Duration::from_secs(10),
            retry_every: Duration::from_millis(500),
            depart_window: 256,
            forward_for: Duration::from_secs(30),
        }
    }
}

/// Bounds of the registry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RegistryConfig {
    /// Operations kept in the log, of all incarnations together, the latest to come. A peer that
    /// lacks older ones compares registers instead. One bound for all, as a peer that was away for a
    /// minute lacks what *everybody* did in it; a bound for each would grow with their number.
    /// 65,536 take 3 MiB at most, and are a minute of a thousand operations a second.
    pub log_len: usize,
    /// Buckets of an empty register, as a power of two: few, so that the register of a small flock
    /// stays small. Their number follows that of the records.
    pub bucket_bits: u32,
}

impl Default for RegistryConfig {
    fn default() -> Self {
        Self { log_len: 65_536, bucket_bits: 4 }
    }
}
