//! One replica of the registry by itself: its heap, its bytes on the wire, how fast it joins.

use std::time::{Duration, Instant};

use flock_proto::wire::{Frame, Header, Ops};
use flock_proto::{
    BirdName, Delta, Hlc, Joined, NestId, Registry, RegistryConfig, SpeciesId, Time,
};

use crate::heap;

/// Bytes of a name and of its args, as the figures are promised for.
const NAME: usize = 24;
const ARGS: usize = 32;

/// Starts that travel together: what a nest of some hundred thousand starts a second pushes at once.
const BATCH: u64 = 1000;

/// The length prefix of a frame.
const PREFIX: usize = 4;

/// The starts of many names, as the nest that started them pushed them.
pub(super) struct Batches {
    pub(super) deltas: Vec<Delta>,
    /// What they took on the wire, with all that stands around them.
    pub(super) bytes: usize,
    /// Kept, lest what is measured afterwards begin with a heap of a million holes: a nest that
    /// joins what others started doesn't.
    _issuer: Registry,
}

/// A name of 24 bytes.
pub(super) fn name(n: u64) -> BirdName {
    let name = BirdName::new(&format!("bird-{n:019}")).expect("a name");
    debug_assert_eq!(name.as_str().len(), NAME);
    name
}

/// Starts so many birds of a species that nobody hatches.
pub(super) fn batches(names: u64, origin: NestId, begun: Time) -> Batches {
    let mut registry = Registry::new(origin, RegistryConfig::default());
    let species = SpeciesId::of("dodo");
    let (mut deltas, mut bytes) = (Vec::new(), 0);
    for n in 0..names {
        // Tokens are drawn by chance, and so are args, as far as a codec can tell.
        let token = n.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let args: [u8; ARGS] = std::array::from_fn(|i| (token >> (i % 8 * 8)) as u8 ^ i as u8);
        // A start every 5 µs: the stamps of one batch differ as those of real ones do.
        let at = Time::from_micros(begun.as_micros() + n * 5);
        registry.start(&name(n), species, &args, token, Hlc::at(at));
        if (n + 1).is_multiple_of(BATCH) || n + 1 == names {
            let Some(delta) = registry.take_delta() else { continue };
            bytes += wire_len(&delta);
            deltas.push(delta);
        }
    }
    Batches { deltas, bytes, _issuer: registry }
}

/// What it takes on the wire, with all that stands around it.
fn wire_len(delta: &Delta) -> usize {
    let header = Header { hops: 0, stamp: Hlc(0), author: NestId(1), dest: NestId(2) };
    let frame = Frame::Ops(Ops { delta: delta.clone(), ack: false }).encode(header);
    frame.len() + PREFIX
}

fn joined(deltas: &[Delta]) -> (Registry, usize) {
    let mut registry = Registry::new(NestId(2), RegistryConfig::default());
    let mut changes = 0;
    for delta in deltas {
        match registry.join(delta) {
            // Looked at one by one, as a nest does.
            Joined::Applied(changed) => changes += changed.into_iter().count(),
            other => panic!("{other:?}"),
        }
    }
    (registry, changes)
}

/// Bytes of heap for each name, with everything that a replica keeps besides.
pub(super) fn heap_per_name(batches: &Batches) -> f64 {
    let ((registry, _), bytes) = heap::growth(|| joined(&batches.deltas));
    bytes as f64 / registry.len() as f64
}

/// Operations that one core joins in a second of its time: the median of three replicas. What else the
/// machine does meanwhile doesn't count, where the system tells the two apart; but it takes lines of
/// the caches, and one run alone may find few left.
pub(super) fn joined_per_second(batches: &Batches, names: u64) -> f64 {
    // All are kept, lest the second begin with the holes that the first left.
    let mut replicas = [(); 3].map(|()| {
        let begun = (Instant::now(), on_core());
        let (registry, changes) = joined(&batches.deltas);
        let took = match (begun.1, on_core()) {
            (Some(begun), Some(ended)) => ended.saturating_sub(begun),
            _ => begun.0.elapsed(),
        };
        assert_eq!((registry.len() as u64, changes as u64), (names, names), "all were joined");
        (took, registry)
    });
    replicas.sort_unstable_by_key(|(took, _)| *took);
    let [_, (median, _), _] = replicas;
    names as f64 / median.as_secs_f64()
}

/// The time that this thread has spent on a core; Linux knows.
fn on_core() -> Option<Duration> {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    text.split(' ').next()?.parse().ok().map(Duration::from_nanos)
}
