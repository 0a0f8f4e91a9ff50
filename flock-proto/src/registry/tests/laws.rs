//! The laws of joining: order, grouping and repetition don't matter; nothing comes back.

use super::*;

/// Three replicas with concurrent starts, overwrites and removals of the same names.
fn three() -> [Registry; 3] {
    let mut seed = registry(9);
    (0..6).for_each(|i| {
        start(&mut seed, &format!("bird-{i}"), i);
    });
    let mut all = [registry(1), registry(2), registry(3)];
    for (replica, i) in all.iter_mut().zip(0_u64..) {
        sync(&seed, replica);
        replica.remove(&name(&format!("bird-{i}")), Cause::Stopped).unwrap();
        replica.overwrite(&name("bird-4"), Hlc(100 + i), None).unwrap();
        replica.overwrite(&name(&format!("bird-{}", (i + 1) % 3)), Hlc(50), None).unwrap();
        start(replica, "new", 200 + i);
    }
    all
}

fn joined(into: &Registry, others: &[&Registry]) -> Registry {
    others.iter().fold(into.clone(), |mut into, from| {
        sync(from, &mut into);
        into
    })
}

#[test]
fn joining_is_commutative_associative_and_idempotent() {
    let [a, b, c] = three();
    let ab = joined(&a, &[&b]);
    assert_eq!(state(&ab), state(&joined(&b, &[&a])));
    let bc = joined(&b, &[&c]);
    assert_eq!(state(&joined(&ab, &[&c])), state(&joined(&a, &[&bc])));
    let delta = b.delta_since(&Vector::new()).unwrap();
    let mut again = ab.clone();
    assert_eq!(applied(again.join(&delta)), []);
    assert_eq!(state(&again), state(&ab));
}

#[test]
fn delta_synced_state_equals_fully_synced_state() {
    let [a, b, c] = three();
    let by_delta = joined(&a, &[&b, &c]);
    for config in [RegistryConfig::default(), tight()] {
        let [mut compared, mut b, mut c] = [&a, &b, &c].map(Clone::clone);
        for replica in [&mut compared, &mut b, &mut c] {
            replica.config = config;
        }
        copy(&b, &mut compared);
        copy(&c, &mut compared);
        assert_eq!(state(&compared), state(&by_delta));
    }
}

#[test]
fn a_delta_beyond_a_gap_is_not_joined() {
    let (mut a, mut b) = (registry(1), registry(2));
    start(&mut a, "robin", 1);
    let first = a.take_delta().unwrap();
    a.remove(&name("robin"), Cause::Stopped).unwrap();
    let removal = a.take_delta().unwrap();
    assert_eq!(a.take_delta(), None);
    assert_eq!(b.join(&removal), Joined::Gap);
    assert!(b.vector().is_empty());
    applied(b.join(&first));
    assert_eq!(applied(b.join(&removal)).len(), 1);
    assert_eq!(state(&a), state(&b));
}

/// What the guard is for: joined regardless, the vector would say that the start is known, no
/// peer would ever send it again, and the replicas would differ for ever.
#[test]
fn joining_beyond_a_gap_would_lose_the_operations_in_it() {
    let (mut a, mut b) = (registry(1), registry(2));
    start(&mut a, "robin", 1);
    a.take_delta().unwrap();
    start(&mut a, "wren", 2);
    let second = a.take_delta().unwrap();
    let mut unguarded = b.clone();
    unguarded.origins.adopt(&[Dot { origin: a.me, seq: 1 }].into_iter().collect());
    applied(unguarded.join(&second));
    assert!(unguarded.covers(a.last_dot()) && unguarded.len() == 1);
    assert_eq!(sync(&a, &mut unguarded), [], "robin never comes");
    assert_eq!(b.join(&second), Joined::Gap);
    sync(&a, &mut b);
    assert_eq!(b.len(), 2);
}

#[test]
fn a_stopped_bird_stays_stopped_though_its_start_comes_late_and_twice() {
    let (mut a, mut b, mut c) = (registry(1), registry(2), registry(3));
    start(&mut a, "robin", 1);
    let birth = a.delta_of_mine(0).unwrap();
    sync(&a, &mut b);
    b.remove(&name("robin"), Cause::Stopped).unwrap();
    // The removal comes first, by b's own operations alone.
    applied(c.join(&b.delta_of_mine(0).unwrap()));
    assert_eq!(applied(c.join(&birth)), []);
    applied(c.join(&birth));
    assert_eq!(c.winner(&name("robin")), None);
    sync(&a, &mut c);
    sync(&c, &mut a);
    assert_eq!((a.len(), state(&a)), (0, state(&c)));
}

#[test]
fn a_dead_record_brings_its_heir_along() {
    let (mut a, mut b, mut c) = (registry(1), registry(2), registry(3));
    let birth = start(&mut a, "robin", 1).after;
    sync(&a, &mut b);
    b.overwrite(&name("robin"), Hlc(2), None).unwrap();
    sync(&b, &mut a);
    // A tells of its own operations only, and the record of its start is superseded by b's. C
    // covers the birth afterwards, so it must not hold the bird for dead.
    let change = applied(c.join(&a.delta_of_mine(0).unwrap())).pop().unwrap();
    assert_eq!(change.after, birth);
    assert_eq!(c.vector().seq(NestId(2)), 0);
    assert_eq!(sync(&b, &mut c), []);
    assert_eq!(state(&c), state(&b));
}

#[test]
fn a_cut_delta_is_a_prefix_and_says_so() {
    let mut a = registry(1);
    (0..100).for_each(|i| {
        start(&mut a, &format!("bird-{i}"), i);
    });
    let mut b = registry(2);
    let mut steps = 0;
    loop {
        let delta = a.encode(|origin| Some(b.vector().seq(origin)), 500).unwrap();
        applied(b.join(&delta));
        steps += 1;
        if !delta.more() {
            break;
        }
    }
    assert!((5..50).contains(&steps), "{steps}");
    assert_eq!(state(&a), state(&b));
}

#[test]
fn the_log_is_bounded_and_says_when_it_is_too_short() {
    let mut a = logging(1, 10);
    (0..20).for_each(|i| {
        start(&mut a, &format!("bird-{i}"), i);
    });
    assert_eq!(a.delta_since(&Vector::new()), None);
    assert_eq!(a.delta_of_mine(9), None);
    assert!(a.delta_of_mine(10).is_some());
}
