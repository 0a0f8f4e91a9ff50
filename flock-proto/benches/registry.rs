//! The register takes what another nest wrote: into an empty one, and beside a hundred thousand names.

use std::hint::black_box;

use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use flock_proto::{
    BirdName, Delta, Hlc, Joined, NestId, Registry, RegistryConfig, SpeciesId, Time,
};

/// Starts that travel together.
const STARTS: u64 = 1000;

fn join(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("registry/join a thousand starts");
    group.throughput(Throughput::Elements(STARTS));
    // Each takes a registry of its own, and the larger are slow to make.
    group.sample_size(20);
    for before in [0, 100_000] {
        let (old, new) = (starts(NestId(1), 0..before), starts(NestId(3), before..before + STARTS));
        group.bench_function(BenchmarkId::new("beside", before), |b| {
            b.iter_batched(
                || replica(&old),
                |mut registry| {
                    joined(&mut registry, &new);
                    registry
                },
                BatchSize::PerIteration,
            );
        });
    }
    group.finish();

    let mut registry = replica(&starts(NestId(1), 0..100_000));
    let names: Vec<BirdName> = (0..4096).map(|n| name(n * 24)).collect();
    let mut turn = names.iter().cycle();
    criterion.bench_function("registry/look for a name among 100000", |b| {
        b.iter(|| turn.next().map(|name| registry.winner_birth(black_box(name))));
    });
    let known = starts(NestId(1), 0..STARTS);
    criterion.bench_function("registry/join what is known, a thousand", |b| {
        b.iter(|| joined(&mut registry, &known));
    });
}

fn name(n: u64) -> BirdName {
    BirdName::new(&format!("bird-{n:019}")).expect("a name")
}

/// Starts by one nest, as it would tell of them.
fn starts(origin: NestId, names: std::ops::Range<u64>) -> Vec<Delta> {
    let mut registry = Registry::new(origin, RegistryConfig::default());
    let mut deltas = Vec::new();
    let last = names.end.saturating_sub(1);
    for n in names {
        let args: [u8; 32] = std::array::from_fn(|at| (n as u8).wrapping_mul(31) ^ at as u8);
        let hlc = Hlc::at(Time::from_micros(1_800_000_000_000_000 + n * 5));
        registry.start(&name(n), SpeciesId::of("dodo"), &args, n, hlc);
        if (n + 1).is_multiple_of(STARTS) || n == last {
            deltas.extend(registry.take_delta());
        }
    }
    deltas
}

fn replica(deltas: &[Delta]) -> Registry {
    let mut registry = Registry::new(NestId(2), RegistryConfig::default());
    joined(&mut registry, deltas);
    registry
}

fn joined(registry: &mut Registry, deltas: &[Delta]) {
    for delta in deltas {
        match registry.join(delta) {
            // Looked at one by one, as a nest does.
            Joined::Applied(changes) => drop(black_box(changes.into_iter().count())),
            other => panic!("{other:?}"),
        }
    }
}

criterion_group!(benches, join);
criterion_main!(benches);
