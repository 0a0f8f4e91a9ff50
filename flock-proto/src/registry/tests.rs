//! Tests of the registry as a whole.

mod comparison;
mod converge;
mod laws;
mod ops;
mod retirement;
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

/// Bounds so tight that eight names make a comparison of many rounds and messages.
fn tight() -> RegistryConfig {
    RegistryConfig {
        log_len: 0,
        message_bytes: 60,
        window_bytes: 120,
        fan_out: 2,
        leaf_records: 1,
        ..RegistryConfig::default()
    }
}

fn start(registry: &mut Registry, text: &str, hlc: u64) -> Change {
    registry.start(&name(text), SpeciesId(1), b"args", 7, Hlc(hlc))
}

fn applied(joined: Joined) -> Vec<Change> {
    match joined {
        Joined::Applied(changes) => changes.into_iter().collect(),
        other => panic!("{other:?}"),
    }
}

/// Joins all that `from` knows and `into` lacks.
fn sync(from: &Registry, into: &mut Registry) -> Vec<Change> {
    applied(into.join(&from.delta_since(into.vector()).unwrap()))
}

/// Compares `into` with `from` to the end, and says what that changed.
fn copy(from: &Registry, into: &mut Registry) -> Vec<Change> {
    go_on(from, into, vec![from.opening(false, false)])
}

/// The same from some messages on.
fn go_on(from: &Registry, into: &mut Registry, mut told: Vec<Ranges>) -> Vec<Change> {
    let mut all = Vec::new();
    loop {
        let mut wanted = None;
        for ranges in told.drain(..) {
            match into.compare(from.me, &ranges) {
                Compared::Going(changes, next) => {
                    all.extend(changes);
                    wanted = next.or(wanted);
                }
                Compared::Done(changes) => {
                    all.extend(changes);
                    return all;
                }
                other => panic!("{other:?}"),
            }
        }
        told = from.ranges(&wanted.expect("the last message asks for more")).unwrap();
    }
}

/// A replica in short, with its vector or without.
fn status(of: &Registry, short: bool) -> Status {
    let vector = (!short).then(|| of.vector().clone());
    let (known, digest) = (of.vector_digest(), of.digest());
    Status { known, digest, vector, answer: true, wants: true }
}

/// All that two equal replicas have in common.
fn state(registry: &Registry) -> (BTreeSet<(BirdName, Dot)>, u64, Vector) {
    (live(registry), registry.digest(), registry.vector().clone())
}

fn live(registry: &Registry) -> BTreeSet<(BirdName, Dot)> {
    let slots = registry.slots.range(0..=u64::MAX);
    slots.map(|slot| (name_of(slot).unwrap(), registry.dot(slot))).collect()
}
