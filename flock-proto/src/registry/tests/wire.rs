//! The bytes: golden ones, short ones, broken ones.

use super::*;
use crate::Rng;

fn batch(birds: u64) -> Registry {
    let mut nest = logging(1, 10_000);
    for i in 0..birds {
        let (name, hlc) = (name(&format!("a-name-of-24-bytes-{i:05}")), Hlc::at(at(i)));
        nest.start(&name, SpeciesId::of("counter"), &[7; 32], u64::MAX - i, hlc);
    }
    nest
}

fn at(i: u64) -> crate::Time {
    crate::Time::from_micros(1_750_000_000_000_000 + i * 300)
}

/// All kinds of items.
fn mixed() -> Registry {
    let (mut a, mut b) = (registry(0xaaaa), registry(0xbbbb));
    for i in 0..4 {
        a.start(&name(&format!("bird-{i}")), SpeciesId(5), b"xyz", 300 + i, Hlc(4096 + i));
    }
    sync(&a, &mut b);
    b.overwrite(&name("bird-1"), Hlc(9000), Some(Grounding { reason: "ow".into(), crashes: 3 }));
    b.remove(&name("bird-2"), Cause::Ended);
    sync(&b, &mut a);
    a
}

#[test]
fn golden_bytes_hold_the_codec_still() {
    let a = mixed();
    let hex = |bytes: &[u8]| bytes.iter().map(|b| format!("{b:02x}")).collect::<String>();
    let delta = a.delta_since(&Vector::new()).unwrap();
    assert_eq!(hex(&delta.0), include_str!("golden_delta.hex").trim());
    let own = a.delta_of_mine(0).unwrap();
    assert_eq!(hex(&own.0), include_str!("golden_own.hex").trim());
    let mut c = registry(3);
    applied(c.join(&delta));
    assert_eq!(state(&c), state(&a));
}

#[test]
fn a_start_in_a_batch_takes_at_most_80_bytes() {
    let delta = batch(1000).delta_since(&Vector::new()).unwrap();
    assert!(!delta.more());
    assert!(delta.len() <= 80 * 1000, "{} bytes each", delta.len() / 1000);
}

#[test]
fn messages_travel_in_named_form() {
    let delta = mixed().delta_since(&Vector::new()).unwrap();
    let bytes = rmp_serde::to_vec_named(&delta).unwrap();
    assert_eq!(rmp_serde::from_slice::<Delta>(&bytes).unwrap(), delta);
    assert!(bytes.len() < delta.len() + 8);
    let chunk = mixed().snapshot(0, 100);
    let bytes = rmp_serde::to_vec_named(&chunk).unwrap();
    assert_eq!(rmp_serde::from_slice::<SnapshotChunk>(&bytes).unwrap(), chunk);
}

#[test]
fn every_cut_of_a_blob_is_refused_and_changes_nothing() {
    let whole = mixed().delta_since(&Vector::new()).unwrap();
    for len in 0..whole.len() {
        let mut nest = registry(7);
        let delta = Delta(whole.0.slice(..len));
        assert!(matches!(nest.join(&delta), Joined::Bad(_)), "{len}");
        assert_eq!(state(&nest), state(&registry(7)));
    }
}

#[test]
fn operations_in_our_name_that_we_have_not_issued_are_refused() {
    let delta = mixed().delta_since(&Vector::new()).unwrap();
    let mut nest = registry(0xaaaa);
    assert_eq!(nest.join(&delta), Joined::Bad(DecodeError::Forged));
    let chunk = mixed().snapshot(0, 1 << 20);
    let joined = nest.join_snapshot(NestId(9), &chunk);
    assert_eq!(joined, SnapshotJoined::Bad(DecodeError::Forged));
}

#[test]
fn broken_and_random_bytes_never_panic() {
    let (whole, chunk) =
        (mixed().delta_since(&Vector::new()).unwrap(), mixed().snapshot(0, 1 << 20));
    for seed in 0..3000 {
        let mut rng = Rng::new(seed);
        let mut nest = registry(7);
        start(&mut nest, "bird-1", 1);
        let mut ops = whole.0.to_vec();
        let mut slots = chunk.slots.to_vec();
        for bytes in [&mut ops, &mut slots] {
            for _ in 0..=rng.below(4) {
                let at = rng.below(bytes.len() as u64) as usize;
                match rng.below(3) {
                    0 => bytes[at] = rng.next_u64() as u8,
                    1 => bytes[at] ^= 1 << rng.below(8),
                    _ => bytes.insert(at, 0xff),
                }
            }
            if rng.one_in(4) {
                *bytes = (0..rng.below(64)).map(|_| rng.next_u64() as u8).collect();
                bytes.insert(0, 1);
            }
        }
        let delta = Delta(ops.into());
        let chunk = SnapshotChunk { slots: slots.into(), ..chunk.clone() };
        let before = state(&nest);
        if matches!(nest.join(&delta), Joined::Bad(_)) {
            assert_eq!(state(&nest), before);
        }
        let _ = nest.join_snapshot(NestId(9), &chunk);
        // Whatever came in, the nest goes on.
        nest.delta_since(&Vector::new());
        nest.snapshot(0, 100);
        start(&mut nest, "wren", 2);
        assert!(nest.winner(&name("wren")).is_some());
    }
}

#[test]
fn lengths_and_counts_beyond_the_bytes_are_refused_before_anything_is_reserved() {
    let huge = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f];
    // Version and flags, then a table of incarnations that is said to be huge.
    let mut tables = vec![1, 0];
    tables.extend(huge);
    // One incarnation, no species, a stamp; a span of one operation; its head, and covers.
    let head = [&[1, 0, 1, 9, 0, 0, 0, 0, 0, 0, 0, 0][..], &[0; 8]].concat();
    let mut covers = head.clone();
    covers.extend([1, 0, 0, 1, 0b100_1001]);
    covers.extend(huge);
    let mut spans = head;
    spans.extend(huge);
    for ops in [tables, covers, spans] {
        let delta = Delta(ops.into());
        assert_eq!(registry(7).join(&delta), Joined::Bad(DecodeError::Short));
    }
}
