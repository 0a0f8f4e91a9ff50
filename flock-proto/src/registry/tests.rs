//! Tests of the registry as a whole.

mod converge;
mod laws;
mod ops;
mod snapshots;
mod wire;

use std::collections::BTreeSet;

use super::*;

fn name(text: &str) -> BirdName {
    BirdName::new(text).unwrap()
}

fn registry(id: u64) -> Registry {
    logging(id, 1000)
}

/// One that keeps so many operations in its log.
fn logging(id: u64, log_len: usize) -> Registry {
    Registry::new(NestId(id), RegistryConfig { log_len, ..RegistryConfig::default() })
}

fn start(registry: &mut Registry, text: &str, hlc: u64) -> Change {
    registry.start(&name(text), SpeciesId(1), b"args", 7, Hlc(hlc))
}

fn applied(joined: Joined) -> Vec<Change> {
    match joined {
        Joined::Applied(changes) => changes,
        other => panic!("{other:?}"),
    }
}

/// Joins all that `from` knows and `into` lacks.
fn sync(from: &Registry, into: &mut Registry) -> Vec<Change> {
    applied(into.join(&from.delta_since(into.vector()).unwrap()))
}

/// Hands a whole snapshot over.
fn copy(from: &Registry, into: &mut Registry, max_bytes: usize) -> Vec<Change> {
    let (mut first, mut all) = (0, Vec::new());
    loop {
        match into.join_snapshot(from.me, &from.snapshot(first, max_bytes)) {
            SnapshotJoined::Next(next, changes) => {
                first = next;
                all.extend(changes);
            }
            SnapshotJoined::Done(changes) => {
                all.extend(changes);
                return all;
            }
            other => panic!("{other:?}"),
        }
    }
}

/// All that two equal replicas have in common.
fn state(registry: &Registry) -> (BTreeSet<(BirdName, Dot)>, u64, Vector) {
    (live(registry), registry.digest(), registry.vector().clone())
}

fn live(registry: &Registry) -> BTreeSet<(BirdName, Dot)> {
    let slots = registry.slots.range(0..=u64::MAX);
    slots.map(|slot| (name_of(slot).unwrap(), registry.dot(slot))).collect()
}
