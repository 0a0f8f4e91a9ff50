//! Whole cores with a million names: how two that differ become equal, and what a change of the ring
//! costs one of a hundred.

use std::time::Duration;

use flock_proto::{BirdName, Config, RegistryConfig};

use super::replica::Batches;
use crate::cores::{Cores, Decision};

/// Names in which the two registers differ.
const DIFFERING: u64 = 10;

/// What it took to make two registers equal again.
#[derive(Clone, Copy, Debug)]
pub(super) struct Repair {
    /// Of all frames of registers, both ways, from the first look to the last.
    pub(super) bytes: u64,
    pub(super) frames: u64,
    pub(super) time: Duration,
}

/// Ten names differ between two nests, half of them started and half of them stopped on one alone.
pub(super) fn repair(batches: &Batches, log_len: usize) -> Repair {
    let registry = RegistryConfig { log_len, ..RegistryConfig::default() };
    let config = Config { registry, ..Config::default() };
    let mut cores = Cores::of(2, &config);
    let (old, new) = own_names(&cores, DIFFERING as usize / 2);
    for name in &old {
        cores.start(0, name, b"args");
    }
    for at in 0..2 {
        cores.teach(at, &batches.deltas);
    }
    cores.pass(Duration::from_secs(3));
    assert!(cores.are_equal(), "both were taught the same");

    cores.deafen(1, true);
    for name in &new {
        cores.start(0, name, b"args");
    }
    for name in &old {
        cores.stop(0, name);
    }
    // Longer than any request goes on asking for a second holder, which would repair on its own.
    cores.pass(Duration::from_secs(20));
    assert!(!cores.are_equal(), "nothing was heard");
    cores.deafen(1, false);
    cores.traffic = (0, 0);
    let time = cores.pass_until("both are equal", Duration::from_secs(10), Cores::are_equal);
    let (frames, bytes) = cores.traffic;
    Repair { bytes, frames, time }
}

/// Names that nest 0 owns: it starts and stops them asking nobody.
fn own_names(cores: &Cores, count: usize) -> (Vec<BirdName>, Vec<BirdName>) {
    let view = cores.nest(0).view();
    let all = (0..).filter_map(|n| BirdName::new(&format!("differing-{n}")).ok());
    let mut own = all.filter(|name| view.owner(name.hash64()) == Some(view.me()));
    (own.by_ref().take(count).collect(), own.take(count).collect())
}

/// Changes of the ring of a hundred nests, as one with all names sees them: some of the others die,
/// one after the other.
pub(super) fn ring_changes(
    batches: &Batches,
    nests: usize,
    mut said: impl FnMut(&str),
) -> Vec<Decision> {
    let mut cores = Cores::of(nests, &Config::default());
    said("a hundred nests are up");
    // The others would want to know, too, and a hundred million names are more than there is room for.
    cores.deafen(0, true);
    cores.teach(0, &batches.deltas);
    cores.pass(Duration::from_secs(3));
    let mut decisions = Vec::new();
    for victim in 1..=5 {
        said("a nest dies");
        let before = cores.nest(0).view().fingerprint();
        cores.kill(victim);
        let changed = |cores: &Cores| {
            let nest = cores.nest(0);
            nest.view().fingerprint() != before && nest.is_settled_everywhere()
        };
        cores.pass_until("its death is known", Duration::from_secs(10), changed);
        decisions.extend(cores.decisions.get(&0).copied());
    }
    decisions
}
