//! Flocks in which not each side of a cut goes on.

mod common;

use std::time::Duration;

use common::*;
use flock_actix::testing::TestFlock;
use flock_actix::{CallError, Event, Policy, RequestError};

/// Nests of which the greater part goes on.
async fn majority_of(nests: usize) -> TestFlock {
    let describe = |nest: flock_actix::Builder| {
        let nest = nest.species::<Counter>().policy(Policy::Majority);
        nest.stable_after(Duration::from_millis(300))
    };
    TestFlock::with(nests, describe).await
}

async fn quorum_lost(events: &mut flock_actix::Events) {
    until(events, |event| (*event == Event::QuorumLost).then_some(())).await;
}

#[tokio::test]
async fn the_smaller_side_of_a_cut_stops_and_says_so_and_goes_on_after_the_heal() {
    let flock = majority_of(3).await;
    let birds = names("bird", 30);
    start_all(flock.nest(0), &birds).await;
    let mut events = flock.nest(0).events();
    flock.partition(&[0], &[1, 2]);
    quorum_lost(&mut events).await;
    let none_here = || async { flock.nest(0).local_birds().await.is_empty() };
    flock.eventually(PATIENCE, none_here).await;
    for name in &birds {
        let call = counter(flock.nest(0), name).send(Add(1)).await;
        assert!(matches!(call, Err(CallError::NoQuorum)), "{name}: {call:?}");
    }
    let start = flock.nest(0).start::<Counter>("new", 0).await;
    assert!(matches!(start, Err(RequestError::NoQuorum)), "{start:?}");
    let stop = flock.nest(0).stop(&birds[0]).await;
    assert!(matches!(stop, Err(RequestError::NoQuorum)), "{stop:?}");
    let not_yet = flock.nest(0).ready(1, Duration::from_millis(50)).await;
    assert!(matches!(not_yet, Err(RequestError::TimedOut)), "{not_yet:?}");

    // The greater side runs all, and nobody else does.
    for name in &birds {
        let call = counter(flock.nest(1), name).send(Add(1)).deadline(PATIENCE).await;
        assert!(call.is_ok(), "{name}: {call:?}");
    }
    assert_eq!(lives(&flock).await.len(), 30);
    flock.nest(2).start::<Counter>("new", 0).await.expect("it starts");

    flock.heal();
    flock.agree().await;
    until(&mut events, |event| (*event == Event::QuorumFound).then_some(())).await;
    flock.nest(0).ready(3, PATIENCE).await.expect("all are there");
    for name in birds.iter().chain([&"new".to_owned()]) {
        let call = counter(flock.nest(0), name).send(Add(1)).deadline(PATIENCE).await;
        assert!(call.is_ok(), "{name}: {call:?}");
    }
    let each_once = || async { lives(&flock).await.len() == 31 };
    flock.eventually(PATIENCE, each_once).await;
}

#[tokio::test]
async fn nests_that_are_dead_for_good_can_be_forgotten() {
    let mut flock = majority_of(3).await;
    let birds = names("bird", 30);
    start_all(flock.nest(0), &birds).await;
    let forget = flock.nest(0).forget("nest-1").await;
    assert!(matches!(forget, Err(RequestError::NestAlive)), "{forget:?}");
    let forget = flock.nest(0).forget("nest-7").await;
    assert!(matches!(forget, Err(RequestError::NoSuchNest)), "{forget:?}");
    let mut events = flock.nest(0).events();
    flock.kill(1).await;
    flock.kill(2).await;
    quorum_lost(&mut events).await;
    let call = counter(flock.nest(0), &birds[0]).send(Add(1)).await;
    assert!(matches!(call, Err(CallError::NoQuorum)), "{call:?}");
    // One of two is still no majority; one of one is.
    flock.nest(0).forget("nest-1").await.expect("it is dead");
    let call = counter(flock.nest(0), &birds[0]).send(Add(1)).await;
    assert!(matches!(call, Err(CallError::NoQuorum)), "{call:?}");
    flock.nest(0).forget("nest-2").await.expect("it is dead");
    for name in &birds {
        let call = counter(flock.nest(0), name).send(Add(1)).deadline(PATIENCE).await;
        assert!(call.is_ok(), "{name}: {call:?}");
    }
}

#[tokio::test]
async fn one_that_was_forgotten_and_lives_joins_anew() {
    let flock = majority_of(3).await;
    start_all(flock.nest(0), &names("bird", 30)).await;
    flock.partition(&[2], &[0, 1]);
    let gone = || async { flock.nest(0).nests().await.len() == 2 };
    flock.eventually(PATIENCE, gone).await;
    let mut events = flock.nest(2).events();
    flock.nest(0).forget("nest-2").await.expect("nobody sees it");
    flock.heal();
    until(&mut events, |event| (*event == Event::Renewed).then_some(())).await;
    flock.agree().await;
    let each_once = || async { lives(&flock).await.len() == 30 };
    flock.eventually(PATIENCE, each_once).await;
}

#[tokio::test]
async fn a_flock_begins_when_as_many_are_there_as_are_expected() {
    let describe =
        |nest: flock_actix::Builder| nest.species::<Counter>().policy(Policy::Majority).expect(3);
    let mut flock = TestFlock::with(1, describe).await;
    let start = flock.nest(0).start::<Counter>("bird", 0).await;
    assert!(matches!(start, Err(RequestError::NoQuorum)), "{start:?}");
    let alone = flock.nest(0).ready(2, Duration::from_millis(50)).await;
    assert!(matches!(alone, Err(RequestError::TimedOut)), "{alone:?}");
    let first = flock.nest(0).clone();
    let ready = tokio::spawn(async move { first.ready(2, PATIENCE).await });
    flock.start_nest("nest-1").await;
    ready.await.expect("no panic").expect("two are there");
    flock.nest(0).start::<Counter>("bird", 0).deadline(PATIENCE).await.expect("it starts");
}

#[tokio::test]
async fn a_quorum_is_as_many_as_are_said() {
    let describe = |nest: flock_actix::Builder| nest.species::<Counter>().policy(Policy::Quorum(2));
    let mut flock = TestFlock::with(1, describe).await;
    let start = flock.nest(0).start::<Counter>("bird", 0).await;
    assert!(matches!(start, Err(RequestError::NoQuorum)), "{start:?}");
    flock.start_nest("nest-1").await;
    flock.nest(0).ready(2, PATIENCE).await.expect("two are there");
    flock.nest(0).start::<Counter>("bird", 0).deadline(PATIENCE).await.expect("it starts");
}
