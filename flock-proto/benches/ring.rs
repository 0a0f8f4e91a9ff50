//! Who owns a name: a look at the ring, and a new ring where a nest joins.

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use flock_proto::{BirdName, NestId, NestName, Ring};

/// Names that are looked for in turn: more than a core's first cache has points for.
const NAMES: usize = 4096;

fn ring(criterion: &mut Criterion) {
    let hashes: Vec<u64> = (0..NAMES)
        .map(|n| BirdName::new(&format!("bird/account/{n:08}")).expect("a name").hash64())
        .collect();
    let mut group = criterion.benchmark_group("ring");
    for nests in [3, 100] {
        let names: Vec<NestName> =
            (0..=nests).map(|n| NestName::new(&format!("nest-{n}")).expect("a name")).collect();
        let members = |count: u64| {
            (1..).map(NestId).zip(&names).map(|(id, name)| (id, name, 1)).take(count as usize)
        };
        let before = Ring::new(members(nests));
        let mut turn = hashes.iter().cycle();
        group.bench_function(BenchmarkId::new("owner", nests), |b| {
            b.iter(|| before.owner(black_box(*turn.next().unwrap_or(&0))));
        });
        group.bench_function(BenchmarkId::new("hash of a name, and owner", nests), |b| {
            let name = BirdName::new("bird/account/00000042").expect("a name");
            b.iter(|| before.owner(black_box(&name).hash64()));
        });
        group.bench_function(BenchmarkId::new("one more nest", nests), |b| {
            b.iter(|| before.revised(members(nests + 1)));
        });
        group.bench_function(BenchmarkId::new("new", nests), |b| {
            b.iter(|| Ring::new(members(nests)));
        });
    }
    group.finish();
}

criterion_group!(benches, ring);
criterion_main!(benches);
