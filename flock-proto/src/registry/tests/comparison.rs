//! Comparisons, while operations go on.

use std::collections::VecDeque;

use super::*;

fn full(id: u64, birds: u64) -> Registry {
    let mut nest = registry(id);
    for i in 0..birds {
        start(&mut nest, &format!("bird-{i}"), i);
    }
    nest
}

/// One that is told in messages of a few records each.
fn full_and_tight(id: u64, birds: u64) -> Registry {
    Registry {
        config: RegistryConfig { message_bytes: 200, window_bytes: 600, ..tight() },
        ..full(id, birds)
    }
}

/// Opens a comparison and takes in the first answer. Gives what to ask next.
fn half_way(from: &Registry, into: &mut Registry) -> RangesWanted {
    let Compared::Going(_, Some(wanted)) = into.compare(from.me, &from.opening(false, false))
    else {
        panic!()
    };
    let mut next = None;
    for told in from.ranges(&wanted).unwrap() {
        match into.compare(from.me, &told) {
            Compared::Going(changes, wanted) if !changes.is_empty() => next = wanted.or(next),
            other => panic!("{other:?}"),
        }
    }
    next.expect("one of them asks for more")
}

fn finish(from: &Registry, into: &mut Registry, wanted: &RangesWanted) -> Vec<Change> {
    go_on(from, into, from.ranges(wanted).unwrap())
}

#[test]
fn the_vector_is_taken_over_when_all_is_compared() {
    let a = full_and_tight(1, 50);
    let mut b = registry(2);
    let mut told = vec![a.opening(false, false)];
    let mut messages = 0;
    while !told.is_empty() {
        assert!(b.vector().is_empty(), "after {messages} messages");
        messages += 1;
        match b.compare(a.me, &told.remove(0)) {
            Compared::Going(_, Some(wanted)) => told.extend(a.ranges(&wanted).unwrap()),
            Compared::Going(_, None) => {}
            Compared::Done(_) => break,
            other => panic!("{other:?}"),
        }
    }
    assert!(messages > 5, "{messages}");
    assert_eq!(state(&a), state(&b));
    assert_eq!(b.delta_since(&Vector::new()), None, "what was skipped isn't in the log");
}

#[test]
fn what_lies_beyond_an_answer_is_asked_for_at_its_first_message_and_once() {
    let a = full_and_tight(1, 200);
    let mut b = registry(2);
    let mut told: VecDeque<_> = [a.opening(false, false)].into();
    let (mut answer, mut first, mut ahead, mut records) = (0, true, 0, 0);
    loop {
        let next = told.pop_front().expect("more is asked for before the last comes");
        first |= next.number != answer;
        answer = next.number;
        match b.compare(a.me, &next) {
            Compared::Going(changes, wanted) => {
                records += changes.len();
                assert!(first || wanted.is_none() || next.last, "one request for each answer");
                ahead += usize::from(wanted.is_some() && !next.last);
                told.extend(wanted.iter().flat_map(|wanted| a.ranges(wanted).unwrap()));
            }
            Compared::Done(changes) => break records += changes.len(),
            other => panic!("{other:?}"),
        }
        first = false;
    }
    assert!(ahead > 5 && told.is_empty(), "{ahead} times; nothing was told twice: {told:?}");
    assert_eq!((records, state(&a)), (200, state(&b)));
}

#[test]
fn operations_of_the_meantime_are_not_lost() {
    let mut a = full_and_tight(1, 50);
    let mut b = registry(2);
    let wanted = half_way(&a, &mut b);
    for i in 0..25 {
        a.remove(&name(&format!("bird-{i}")), Cause::Stopped).unwrap();
        start(&mut a, &format!("late-{i}"), 100);
    }
    finish(&a, &mut b, &wanted);
    assert_eq!(b.vector().seq(a.me), 50, "that of the opening");
    sync(&a, &mut b);
    assert_eq!(state(&a), state(&b));
}

#[test]
fn a_third_nest_cannot_bring_back_what_the_peer_knew_to_be_dead() {
    let (mut a, mut third) = (full_and_tight(1, 50), registry(3));
    sync(&a, &mut third);
    let mut b = registry(2);
    let dead = a.names_in(0..=u64::MAX).next().unwrap();
    a.remove(&dead, Cause::Stopped).unwrap();
    let wanted = half_way(&a, &mut b);
    sync(&third, &mut b);
    assert_eq!(b.winner(&dead), None);
    finish(&a, &mut b, &wanted);
    assert_eq!(state(&a), state(&b));
}

#[test]
fn what_was_removed_goes_and_what_the_peer_never_knew_stays() {
    for config in [RegistryConfig::default(), tight()] {
        let mut a = Registry { config, ..full(1, 50) };
        let mut b = Registry { config, ..registry(2) };
        sync(&a, &mut b);
        start(&mut b, "mine", 1);
        a.remove(&name("bird-7"), Cause::Stopped).unwrap();
        let changes = copy(&a, &mut b);
        assert_eq!(changes.len(), 1);
        assert_eq!((&changes[0].name, changes[0].after), (&name("bird-7"), None));
        assert_eq!(changes[0].cause, None);
        assert_eq!(b.len(), 50);
        copy(&b, &mut a);
        assert_eq!(state(&a), state(&b));
    }
}

#[test]
fn what_the_peer_knew_out_of_order_is_taken_over_with_its_vector() {
    let (mut a, mut b, mut c, mut d) = (registry(1), registry(2), registry(3), registry(4));
    start(&mut a, "robin", 1);
    sync(&a, &mut b);
    b.remove(&name("robin"), Cause::Stopped).unwrap();
    // C knows of the removal, not of the start.
    applied(c.join(&b.delta_of_mine(0).unwrap()));
    copy(&c, &mut d);
    assert_eq!(sync(&a, &mut d), []);
    assert_eq!(state(&d), state(&b));
}

#[test]
fn equal_ranges_are_told_in_digests_and_few_records_cross() {
    let mut a = Registry {
        config: RegistryConfig { log_len: 0, ..RegistryConfig::default() },
        ..full(1, 0)
    };
    for i in 0..20_000 {
        start(&mut a, &format!("bird-{i}"), i);
    }
    let mut b = Registry { me: NestId(2), ..a.clone() };
    for i in 0..10 {
        start(&mut a, &format!("new-{i}"), i);
    }
    let (mut bytes, mut told) = (0, vec![a.opening(false, false)]);
    while !told.is_empty() {
        bytes += told[0].items.len();
        match b.compare(a.me, &told.remove(0)) {
            Compared::Going(_, Some(wanted)) => {
                bytes += wanted.items.len();
                told.extend(a.ranges(&wanted).unwrap());
            }
            Compared::Going(_, None) => {}
            Compared::Done(_) => break,
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(state(&a), state(&b));
    assert!(bytes < 10_000, "{bytes} bytes");
}

#[test]
fn a_message_of_no_comparison_changes_nothing() {
    let a = full_and_tight(1, 50);
    let (mut b, third) = (registry(2), full(3, 5));
    let Compared::Going(_, Some(wanted)) = b.clone().compare(a.me, &a.opening(false, false)) else {
        panic!()
    };
    let told = a.ranges(&wanted).unwrap();
    assert_eq!(b.compare(a.me, &told[0]), Compared::Stray, "none is under way");
    half_way(&a, &mut b);
    let before = state(&b);
    assert_eq!(b.compare(third.me, &third.opening(false, false)), Compared::Stray);
    assert_eq!(b.compare(third.me, &told[0]), Compared::Stray, "it is from another");
    b.forget_comparison(third.me);
    assert_eq!(b.comparing_with(), Some(a.me));
    b.forget_comparison(a.me);
    assert_eq!(b.compare(a.me, &told[0]), Compared::Stray);
    assert_eq!(state(&b), before);
}

/// It was told before the comparison under way was opened, so it lacks what that one's vector
/// promises.
#[test]
fn a_message_of_an_earlier_comparison_that_comes_late_is_not_taken_in() {
    let mut a = full_and_tight(1, 50);
    let mut b = registry(2);
    let Compared::Going(_, Some(wanted)) = b.clone().compare(a.me, &a.opening(false, false)) else {
        panic!()
    };
    let old = a.ranges(&wanted).unwrap().remove(0);
    start(&mut a, "late", 1);
    let wanted = half_way(&a, &mut b);
    assert_eq!(b.compare(a.me, &old), Compared::Stray);
    finish(&a, &mut b, &wanted);
    assert_eq!(state(&a), state(&b));
}

#[test]
fn a_comparison_goes_on_where_it_was_when_a_message_was_lost() {
    let a = full_and_tight(1, 50);
    let mut b = registry(2);
    half_way(&a, &mut b);
    let left = 50 - b.len();
    let (peer, wanted) = b.ranges_wanted().unwrap();
    assert_eq!(peer, a.me);
    assert_eq!(finish(&a, &mut b, &wanted).len(), left, "nothing is told twice");
    assert_eq!(state(&a), state(&b));
}

#[test]
fn an_answer_that_comes_twice_asks_once() {
    let a = full_and_tight(1, 50);
    let mut b = registry(2);
    let Compared::Going(_, Some(wanted)) = b.compare(a.me, &a.opening(false, false)) else {
        panic!()
    };
    let told = a.ranges(&wanted).unwrap().pop().unwrap();
    let Compared::Going(_, Some(_)) = b.compare(a.me, &told) else { panic!() };
    assert_eq!(b.compare(a.me, &told), Compared::Going(Changes::default(), None));
}

/// As if a fault had lost a record.
pub(super) fn lose(nest: &mut Registry, lost: &str) {
    let slot = nest.slots.siblings(name(lost).hash64(), lost.as_bytes()).next().unwrap();
    let (hash, dot, number) = (slot.hash, nest.dot(slot), slot.origin);
    nest.slots.remove(hash, dot, number, &nest.origins);
}

#[test]
fn equal_vectors_with_unequal_digests_are_noticed_and_repaired() {
    for config in [RegistryConfig::default(), tight()] {
        let mut a = Registry { config, ..full(1, 50) };
        let mut b = Registry { config, ..registry(2) };
        sync(&a, &mut b);
        let look = |a: &Registry, b: &mut Registry| b.standing(&status(a, true));
        assert_eq!(look(&a, &mut b), Some(Standing::Equal));
        lose(&mut a, "bird-1");
        lose(&mut b, "bird-2");
        assert_eq!(look(&a, &mut b), Some(Standing::Diverged));
        assert_eq!(b.diverged(), 1);
        go_on(&a, &mut b, vec![a.opening(true, false)]);
        go_on(&b, &mut a, vec![b.opening(true, false)]);
        assert_eq!(look(&a, &mut b), Some(Standing::Equal));
        // No operation says which side lost it, so what either lacks is held for removed. (A nest
        // that runs the bird puts it back.)
        assert_eq!(a.len(), 48);
    }
}

#[test]
fn a_repair_waits_until_both_know_the_same() {
    let mut a = full(1, 50);
    let mut b = registry(2);
    sync(&a, &mut b);
    lose(&mut a, "bird-1");
    let Compared::Going(_, Some(wanted)) = b.compare(a.me, &a.opening(true, false)) else {
        panic!()
    };
    // That bird-2 is gone is no fault, and B is about to hear why.
    a.remove(&name("bird-2"), Cause::Stopped).unwrap();
    let told = a.ranges(&wanted).unwrap();
    assert_eq!(b.compare(a.me, &told[0]), Compared::Stray);
    let change = sync(&a, &mut b).pop().unwrap();
    assert_eq!(change.cause, Some(Cause::Stopped));
    let (_, wanted) = b.ranges_wanted().unwrap();
    let changes = finish(&a, &mut b, &wanted);
    assert_eq!(changes.len(), 1);
    assert_eq!((changes[0].name.as_str(), changes[0].after), ("bird-1", None));
    assert_eq!(state(&a), state(&b));
}
