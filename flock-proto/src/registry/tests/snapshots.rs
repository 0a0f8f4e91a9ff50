//! Snapshots, taken in while operations go on.

use super::*;

fn full(id: u64, birds: u64) -> Registry {
    let mut nest = registry(id);
    for i in 0..birds {
        start(&mut nest, &format!("bird-{i}"), i);
    }
    nest
}

#[test]
fn the_vector_is_taken_over_after_the_last_chunk_only() {
    let a = full(1, 50);
    let mut b = registry(2);
    let chunk = a.snapshot(0, 500);
    let SnapshotJoined::Next(next, changes) = b.join_snapshot(a.me, &chunk) else { panic!() };
    assert!(!changes.is_empty() && changes.len() == b.len() && b.vector().is_empty());
    let mut first = next;
    while let SnapshotJoined::Next(next, _) = b.join_snapshot(a.me, &a.snapshot(first, 500)) {
        first = next;
        assert!(b.vector().is_empty());
    }
    assert_eq!(state(&a), state(&b));
    assert_eq!(b.delta_since(&Vector::new()), None, "what was skipped isn't in the log");
}

#[test]
fn operations_of_the_meantime_are_not_lost() {
    let mut a = full(1, 50);
    let mut b = registry(2);
    let SnapshotJoined::Next(next, _) = b.join_snapshot(a.me, &a.snapshot(0, 1000)) else {
        panic!()
    };
    for i in 0..25 {
        a.remove(&name(&format!("bird-{i}")), Cause::Stopped).unwrap();
        start(&mut a, &format!("late-{i}"), 100);
    }
    let mut first = next;
    while let SnapshotJoined::Next(next, _) = b.join_snapshot(a.me, &a.snapshot(first, 500)) {
        first = next;
    }
    assert_eq!(b.vector().seq(a.me), 50, "that of the first chunk");
    sync(&a, &mut b);
    assert_eq!(state(&a), state(&b));
}

#[test]
fn a_third_nest_cannot_bring_back_what_the_sender_knew_to_be_dead() {
    let (mut a, mut third) = (full(1, 50), registry(3));
    sync(&a, &mut third);
    let mut b = registry(2);
    let dead = a.names_in(0..=u64::MAX).next().unwrap();
    a.remove(&dead, Cause::Stopped).unwrap();
    let SnapshotJoined::Next(mut first, _) = b.join_snapshot(a.me, &a.snapshot(0, 500)) else {
        panic!()
    };
    sync(&third, &mut b);
    assert_eq!(b.winner(&dead), None);
    while let SnapshotJoined::Next(next, _) = b.join_snapshot(a.me, &a.snapshot(first, 500)) {
        first = next;
    }
    assert_eq!(state(&a), state(&b));
}

#[test]
fn a_snapshot_removes_what_was_removed_and_keeps_what_the_sender_never_knew() {
    let mut a = full(1, 50);
    let mut b = registry(2);
    sync(&a, &mut b);
    start(&mut b, "mine", 1);
    a.remove(&name("bird-7"), Cause::Stopped).unwrap();
    let changes = copy(&a, &mut b, 300);
    assert_eq!(changes.len(), 1);
    assert_eq!((&changes[0].name, changes[0].after), (&name("bird-7"), None));
    assert_eq!(changes[0].cause, None);
    assert_eq!(b.len(), 50);
    copy(&b, &mut a, 300);
    assert_eq!(state(&a), state(&b));
}

#[test]
fn what_the_sender_knew_out_of_order_is_taken_over_with_its_vector() {
    let (mut a, mut b, mut c, mut d) = (registry(1), registry(2), registry(3), registry(4));
    start(&mut a, "robin", 1);
    sync(&a, &mut b);
    b.remove(&name("robin"), Cause::Stopped).unwrap();
    // C knows of the removal, not of the start.
    applied(c.join(&b.delta_of_mine(0).unwrap()));
    copy(&c, &mut d, 100);
    assert_eq!(sync(&a, &mut d), []);
    assert_eq!(state(&d), state(&b));
}

#[test]
fn a_chunk_out_of_step_changes_nothing() {
    let a = full(1, 50);
    let mut b = registry(2);
    let chunk = a.snapshot(1 << 63, 500);
    assert_eq!(b.join_snapshot(a.me, &chunk), SnapshotJoined::OutOfStep(None));
    let SnapshotJoined::Next(next, _) = b.join_snapshot(a.me, &a.snapshot(0, 500)) else {
        panic!()
    };
    assert_eq!(b.join_snapshot(a.me, &chunk), SnapshotJoined::OutOfStep(Some(next)));
    b.forget_snapshot(a.me);
    assert_eq!(b.join_snapshot(a.me, &chunk), SnapshotJoined::OutOfStep(None));
}

/// It was taken before the first chunk of the snapshot under way, so it lacks what that one's
/// vector promises.
#[test]
fn a_chunk_of_an_earlier_snapshot_that_comes_late_is_not_joined() {
    let mut a = full(1, 50);
    let mut b = registry(2);
    let SnapshotJoined::Next(next, _) = b.clone().join_snapshot(a.me, &a.snapshot(0, 500)) else {
        panic!()
    };
    let old = a.snapshot(next, 1 << 20);
    start(&mut a, "late", 1);
    let joined = b.join_snapshot(a.me, &a.snapshot(0, 500));
    assert!(matches!(joined, SnapshotJoined::Next(at, _) if at == next));
    assert_eq!(b.join_snapshot(a.me, &old), SnapshotJoined::OutOfStep(Some(next)));
    assert_eq!(b.snapshot_wanted(a.me), Some(next));
    let joined = b.join_snapshot(a.me, &a.snapshot(next, 1 << 20));
    assert!(matches!(joined, SnapshotJoined::Done(_)));
    assert_eq!(state(&a), state(&b));
}

#[test]
fn equal_vectors_with_unequal_digests_are_noticed_and_repaired() {
    let mut a = full(1, 50);
    let mut b = registry(2);
    sync(&a, &mut b);
    assert_eq!(b.compare(a.vector(), a.digest()), Standing::Equal);
    // As if a fault had lost a record on each side.
    for (nest, lost) in [(&mut a, "bird-1"), (&mut b, "bird-2")] {
        let slot = nest.slots.siblings(name(lost).hash64(), lost.as_bytes()).next().unwrap();
        let (hash, dot, number) = (slot.hash, nest.dot(slot), slot.origin);
        nest.slots.remove(hash, dot, number);
    }
    assert_eq!(b.compare(a.vector(), a.digest()), Standing::Diverged);
    assert_eq!(b.diverged(), 1);
    copy(&a, &mut b, 500);
    copy(&b, &mut a, 500);
    assert_eq!(b.compare(a.vector(), a.digest()), Standing::Equal);
}
