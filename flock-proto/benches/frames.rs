//! Frames to bytes and back: those of calls, laid out by hand, and those of the core.

use std::hint::black_box;
use std::time::Duration;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use flock_proto::wire::{Frame, Header, Heartbeat, Ops};
use flock_proto::{
    BirdName, CallHead, CallId, CallKind, DataFrame, Delta, Fingerprint, Hlc, MessageId, NestId,
    Registry, RegistryConfig, ReplyHead, SpeciesId, Time,
};

/// Behind a header: the payload isn't touched by it.
const PAYLOAD: [u8; 64] = [7; 64];

fn calls(criterion: &mut Criterion) {
    let call = CallHead {
        kind: CallKind::Call,
        redirected: false,
        hop: 0,
        fingerprint: Fingerprint(1),
        hlc: Hlc(2),
        id: CallId { slot: 3, generation: 4 },
        origin: NestId(5),
        dest: NestId(6),
        remaining: Duration::from_secs(5),
        species: SpeciesId::of("echo"),
        message: MessageId::of("Ping"),
        name: "bird/account/00000042",
    };
    let id = CallId { slot: 3, generation: 4 };
    let reply = ReplyHead { redirected: false, hop: 0, code: 0, hlc: Hlc(2), id, dest: NestId(5) };
    let mut out = Vec::with_capacity(256);
    criterion.bench_function("frames/call, write", |b| {
        b.iter(|| {
            out.clear();
            black_box(&call).write(&mut out);
            out.extend_from_slice(&PAYLOAD);
        });
    });
    let frame = out.clone();
    criterion.bench_function("frames/call, read", |b| {
        b.iter(|| DataFrame::read(black_box(&frame)));
    });
    criterion.bench_function("frames/reply, write", |b| {
        b.iter(|| {
            out.clear();
            black_box(&reply).write(&mut out);
            out.extend_from_slice(&PAYLOAD);
        });
    });
    let frame = out.clone();
    criterion.bench_function("frames/reply, read", |b| {
        b.iter(|| DataFrame::read(black_box(&frame)));
    });
}

fn core(criterion: &mut Criterion) {
    let header = Header { hops: 0, stamp: Hlc(1), author: NestId(1), dest: NestId(2) };
    let both = |criterion: &mut Criterion, what: &str, frame: &Frame| {
        let bytes = frame.encode(header);
        let mut group = criterion.benchmark_group(format!("frames/{what}"));
        group.throughput(Throughput::Bytes(bytes.len() as u64));
        group.bench_function("encode", |b| b.iter(|| black_box(frame).encode(header)));
        group.bench_function("decode", |b| b.iter(|| Frame::decode(black_box(&bytes))));
    };
    both(criterion, "heartbeat", &Frame::Heartbeat(Heartbeat { cards: 1 }));
    for starts in [1, 1000] {
        let frame = Frame::Ops(Ops { delta: delta(starts), ack: false });
        both(criterion, &format!("starts, {starts}"), &frame);
    }
}

/// So many starts, of names of 24 bytes and arguments of 32.
fn delta(starts: u64) -> Delta {
    let mut registry = Registry::new(NestId(1), RegistryConfig::default());
    for n in 0..starts {
        let name = BirdName::new(&format!("bird-{n:019}")).expect("a name");
        let args: [u8; 32] = std::array::from_fn(|at| (n as u8).wrapping_mul(31) ^ at as u8);
        let hlc = Hlc::at(Time::from_micros(1_800_000_000_000_000 + n * 5));
        registry.start(&name, SpeciesId::of("dodo"), &args, n, hlc);
    }
    registry.take_delta().expect("what was just written")
}

criterion_group!(benches, calls, core);
criterion_main!(benches);
