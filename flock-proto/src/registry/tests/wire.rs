//! The bytes: golden ones, short ones, broken ones.

use super::*;
use crate::Rng;

fn batch(birds: u64) -> Registry {
    batch_of(1, birds)
}

fn batch_of(id: u64, birds: u64) -> Registry {
    let mut nest = logging(id, 10_000);
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
    b.end(&name("bird-2"), Fence(0x0102_0304_0506_0708));
    b.remove(&name("bird-3"), Cause::Stopped);
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
fn golden_bytes_hold_comparisons_still() {
    let mut a = mixed();
    a.config.fan_out = 4;
    // Known out of order: that a bird of a third nest was stopped.
    let mut third = registry(0xcccc);
    start(&mut third, "wren", 1);
    let mut b = registry(0xbbbb);
    sync(&third, &mut b);
    b.remove(&name("wren"), Cause::Stopped).unwrap();
    let removal = b.delta_of_mine(0).unwrap();
    let mut d = registry(0xdddd);
    applied(d.join(&removal));
    d.config.fan_out = 2;
    let hex = |bytes: &[u8]| bytes.iter().map(|b| format!("{b:02x}")).collect::<String>();
    let lines = [
        hex(&d.opening(false, false).items),
        hex(&a.opening(false, false).items),
        hex(&a.ranges(&all_records()).unwrap()[0].items),
        hex(&wanted_of(&a).items),
    ];
    assert_eq!(lines.join("\n"), include_str!("golden_ranges.hex").trim());
}

/// What a nest asks that holds all but one bird of this one's: parts of nothing, records of some.
fn wanted_of(nest: &Registry) -> RangesWanted {
    let mut other = registry(3);
    copy(nest, &mut other);
    other.remove(&name("bird-0"), Cause::Stopped).unwrap();
    match other.compare(nest.me, &nest.opening(false, false)) {
        Compared::Going(_, Some(wanted)) => wanted,
        other => panic!("{other:?}"),
    }
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
    let opening = mixed().opening(false, false);
    let bytes = rmp_serde::to_vec_named(&opening).unwrap();
    assert_eq!(rmp_serde::from_slice::<Ranges>(&bytes).unwrap(), opening);
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
fn of_a_delta_longer_than_what_is_kept_the_rest_is_joined_or_refused_with_it() {
    let mut issuer = logging(3, 4 * delta::KEPT);
    for bird in 0..2 * delta::KEPT {
        start(&mut issuer, &format!("bird-{bird}"), 9 + bird as u64);
        if bird % 5 == 4 {
            issuer.remove(&name(&format!("bird-{}", bird - 1)), Cause::Stopped).unwrap();
            issuer.overwrite(&name(&format!("bird-{bird}")), Hlc(9_000), None).unwrap();
        }
    }
    let whole = issuer.delta_of_mine(0).unwrap();
    assert!(!whole.more() && whole.upto(NestId(3)) > 2 * delta::KEPT as u64);
    let mut nest = registry(7);
    let cut = Delta(whole.0.slice(..whole.len() - 1));
    assert!(matches!(nest.join(&cut), Joined::Bad(_)));
    assert_eq!(state(&nest), state(&registry(7)));
    assert_eq!(applied(nest.join(&whole)).len(), issuer.len());
    assert_eq!(state(&nest), state(&issuer));
}

#[test]
fn operations_in_our_name_that_we_have_not_issued_are_refused() {
    let delta = mixed().delta_since(&Vector::new()).unwrap();
    let mut nest = registry(0xaaaa);
    assert_eq!(nest.join(&delta), Joined::Bad(DecodeError::Forged));
    assert_eq!(compared(&mut nest, &mixed().opening(false, false)), DecodeError::Forged);
    let mut nest = registry(3);
    let Compared::Going(..) = nest.compare(NestId(9), &mixed().opening(false, false)) else {
        panic!()
    };
    // One that knows nothing of us, and holds a record in our name.
    let mut liar = registry(9);
    applied(liar.join(&batch_of(3, 5).delta_since(&Vector::new()).unwrap()));
    let told = liar.ranges(&all_records()).unwrap();
    assert_eq!(compared(&mut nest, &told[0]), DecodeError::Forged);
}

fn compared(nest: &mut Registry, told: &Ranges) -> DecodeError {
    match nest.compare(NestId(9), told) {
        Compared::Bad(error) => error,
        other => panic!("{other:?}"),
    }
}

/// A request for everything.
fn all_records() -> RangesWanted {
    let mut blob = codec::Writer::default();
    blob.range(&(0..=u64::MAX), false);
    RangesWanted { number: 1, items: blob.finish(0).into() }
}

#[test]
fn broken_and_random_bytes_never_panic() {
    let (whole, opening) =
        (mixed().delta_since(&Vector::new()).unwrap(), mixed().opening(false, false));
    let (told, asked) = (mixed().ranges(&all_records()).unwrap(), all_records());
    for seed in 0..3000 {
        let mut rng = Rng::new(seed);
        let mut nest = registry(7);
        start(&mut nest, "bird-1", 1);
        let blobs = [&whole.0, &opening.items, &told[0].items, &asked.items];
        let [ops, parts, records, asked] = blobs.map(|blob| broken(&mut rng, blob));
        let before = state(&nest);
        if matches!(nest.join(&Delta(ops)), Joined::Bad(_)) {
            assert_eq!(state(&nest), before);
        }
        let before = state(&nest);
        for told in [Ranges { items: parts, ..opening.clone() }, opening.clone()] {
            if matches!(nest.compare(NestId(9), &told), Compared::Bad(_)) {
                assert_eq!(state(&nest), before);
            }
        }
        let before = state(&nest);
        let told = Ranges { items: records, ..told[0].clone() };
        if matches!(nest.compare(NestId(9), &told), Compared::Bad(_)) {
            assert_eq!(state(&nest), before);
        }
        let _ = nest.ranges(&RangesWanted { number: 1, items: asked });
        // Whatever came in, the nest goes on.
        nest.delta_since(&Vector::new());
        nest.ranges_wanted();
        start(&mut nest, "wren", 2);
        assert!(nest.winner(&name("wren")).is_some());
    }
}

/// The same bytes, but for some.
fn broken(rng: &mut Rng, blob: &[u8]) -> Bytes {
    let mut bytes = blob.to_vec();
    for _ in 0..=rng.below(4) {
        let at = rng.below(bytes.len() as u64) as usize;
        match rng.below(3) {
            0 => bytes[at] = rng.next_u64() as u8,
            1 => bytes[at] ^= 1 << rng.below(8),
            _ => bytes.insert(at, 0xff),
        }
    }
    if rng.one_in(4) {
        bytes = (0..rng.below(64)).map(|_| rng.next_u64() as u8).collect();
        bytes.splice(0..0, [1, 0]);
    }
    bytes.into()
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
