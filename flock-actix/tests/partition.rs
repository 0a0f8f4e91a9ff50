//! Cuts between nests, and their ends.

mod common;

use common::*;
use flock_actix::testing::TestFlock;
use flock_actix::{CallError, Cause, Event, RequestError};

/// Cuts nest 0 off from the other two, and waits until all have noticed.
async fn cut_off_nest_0(flock: &TestFlock) {
    flock.partition(&[0], &[1, 2]);
    let noticed = || async {
        flock.nest(0).nests().await.len() == 1
            && flock.nest(1).nests().await.len() == 2
            && flock.nest(2).nests().await.len() == 2
    };
    flock.eventually(PATIENCE, noticed).await;
}

#[tokio::test]
async fn each_side_of_a_cut_runs_one_life_of_every_bird_and_one_is_left_after_the_heal() {
    let flock = counters(3).await;
    let birds = names("bird", 60);
    start_all(flock.nest(0), &birds).await;
    flock.partition(&[0], &[1, 2]);
    let both_sides = || async {
        let [a, b, c] = [0, 1, 2].map(|i| flock.nest(i).local_birds());
        let (a, b, c) = (a.await, b.await, c.await);
        a.len() == 60 && b.len() + c.len() == 60
    };
    flock.eventually(PATIENCE, both_sides).await;
    for nest in flock.nests() {
        for name in &birds {
            let call = counter(nest, name).send(Add(1)).deadline(PATIENCE).await;
            assert!(call.is_ok(), "{name} from {}: {call:?}", nest.name());
        }
    }
    assert!(both_sides().await, "calls change nothing of it");
    flock.heal();
    flock.agree().await;
    flock.one_life_each(60, PATIENCE).await;
    for name in &birds {
        let mut told = Vec::new();
        for nest in flock.nests() {
            let life = counter(nest, name).send(Tell).deadline(PATIENCE).await;
            told.push(life.expect("an answer").expect("a life"));
            assert_eq!(owner(nest, name).await, told.first().map(|life| life.nest.clone()));
        }
        told.dedup();
        assert_eq!(told.len(), 1, "every nest reaches the same life");
    }
    assert_eq!(flock.nest(0).count().await, 60);
}

#[tokio::test]
async fn the_life_that_is_left_after_a_heal_has_a_fence_above_both() {
    let flock = counters(3).await;
    let birds = names("bird", 30);
    start_all(flock.nest(0), &birds).await;
    cut_off_nest_0(&flock).await;
    let mut before = Vec::new();
    for name in &birds {
        let mut fences = Vec::new();
        for nest in [flock.nest(0), flock.nest(1)] {
            let life = counter(nest, name).send(Tell).deadline(PATIENCE).await;
            fences.push(life.expect("an answer").expect("a life").fence);
        }
        before.push(fences);
    }
    flock.heal();
    flock.agree().await;
    flock.one_life_each(30, PATIENCE).await;
    for (name, before) in birds.iter().zip(before) {
        let fence = || async {
            let life = counter(flock.nest(2), name).send(Tell).await;
            life.ok().and_then(Result::ok).map(|life| life.fence)
        };
        let above = || async { fence().await.is_some_and(|now| before.iter().all(|f| now > *f)) };
        flock.eventually(PATIENCE, above).await;
    }
}

#[tokio::test]
async fn starts_and_stops_take_effect_on_their_side_at_once_and_everywhere_after_the_heal() {
    let flock = counters(3).await;
    start_all(flock.nest(0), &names("old", 12)).await;
    cut_off_nest_0(&flock).await;
    for name in names("from-a", 6) {
        flock.nest(0).start::<Counter>(&name, 100).await.expect("it starts");
    }
    for name in names("from-b", 6) {
        flock.nest(1).start::<Counter>(&name, 200).await.expect("it starts");
    }
    let stopped_on_a = &names("old", 12)[..4];
    let stopped_on_b = &names("old", 12)[4..8];
    for (side, stopped) in [(0, stopped_on_a), (2, stopped_on_b)] {
        for name in stopped {
            flock.nest(side).stop(name).deadline(PATIENCE).await.expect("it stops");
        }
    }
    let nobody = Err(CallError::NoSuchBird);
    for (a, b) in [("from-a-0", "from-b-0"), ("old-4", "old-0")] {
        assert!(counter(flock.nest(0), a).send(Add(0)).deadline(PATIENCE).await.is_ok(), "{a}");
        assert_eq!(counter(flock.nest(1), a).send(Add(0)).await, nobody, "{a}");
        assert!(counter(flock.nest(2), b).send(Add(0)).deadline(PATIENCE).await.is_ok(), "{b}");
        assert_eq!(counter(flock.nest(0), b).send(Add(0)).await, nobody, "{b}");
    }
    flock.heal();
    flock.agree().await;
    flock.one_life_each(16, PATIENCE).await;
    for nest in flock.nests() {
        assert_eq!(nest.count().await, 16);
        for name in stopped_on_a.iter().chain(stopped_on_b) {
            assert_eq!(counter(nest, name).send(Add(0)).await, nobody, "{name}");
        }
        for (prefix, total) in [("from-a", 100), ("from-b", 200)] {
            for name in names(prefix, 6) {
                let call = counter(nest, &name).send(Add(0)).deadline(PATIENCE).await;
                assert_eq!(call, Ok(total), "{name}");
            }
        }
    }
}

#[tokio::test]
async fn one_name_started_on_both_sides_has_one_winner_everywhere_and_events_name_the_loser() {
    let flock = counters(3).await;
    cut_off_nest_0(&flock).await;
    let birds = names("robin", 8);
    for name in &birds {
        flock.nest(0).start::<Counter>(name, 1000).await.expect("it starts on one side");
        flock.nest(1).start::<Counter>(name, 2000).await.expect("and on the other");
    }
    let mut events: Vec<_> = flock.nests().map(|nest| nest.events()).collect();
    flock.heal();
    flock.agree().await;
    flock.one_life_each(8, PATIENCE).await;
    for name in &birds {
        let mut totals = Vec::new();
        for nest in flock.nests() {
            totals
                .push(counter(nest, name).send(Add(0)).deadline(PATIENCE).await.expect("it lives"));
        }
        assert!(totals == [1000; 3] || totals == [2000; 3], "{name}: {totals:?}");
    }
    for (i, events) in events.iter_mut().enumerate() {
        let mut told = std::collections::BTreeMap::new();
        while told.len() < birds.len() {
            let (bird, winner, loser) = until(events, |event| match event {
                Event::Conflict { bird, winner, loser } => {
                    Some((bird.to_string(), winner.clone(), loser.clone()))
                }
                _ => None,
            })
            .await;
            let (winner, loser) = (winner.expect("a winner"), loser.expect("a loser"));
            told.insert(bird, (winner.to_string(), loser.to_string()));
        }
        for (name, (winner, loser)) in told {
            let total = counter(flock.nest(i), &name).send(Add(0)).await.expect("it lives");
            let by_nest_0 = if total == 1000 { &winner } else { &loser };
            assert_eq!(by_nest_0, "nest-0", "{name}: {winner} over {loser}, {total}");
            assert_ne!(winner, loser);
        }
    }
}

#[tokio::test]
async fn a_watcher_of_the_loser_is_told_or_keeps_watching_the_winner() {
    let flock = counters(3).await;
    cut_off_nest_0(&flock).await;
    flock.nest(0).start::<Counter>("robin", 1000).await.expect("it starts on one side");
    flock.nest(1).start::<Counter>("robin", 2000).await.expect("and on the other");
    flock.heal();
    flock.agree().await;
    flock.one_life_each(1, PATIENCE).await;
    let nest = flock.nest(2).clone();
    let watch = tokio::spawn(async move { nest.watch("robin").await });
    flock.nest(0).stop("robin").await.expect("it stops");
    assert!(matches!(watch.await, Ok(Ok(Cause::Stopped) | Err(RequestError::NoSuchBird))));
    for nest in flock.nests() {
        let gone = || async { nest.alive("robin").await == Ok(false) };
        flock.eventually(PATIENCE, gone).await;
    }
    assert!(flock.nest(1).start::<Counter>("robin", 3).await.is_ok(), "both records are gone");
}

#[tokio::test]
async fn what_a_third_nest_still_sees_is_no_partition_and_all_stays_callable_over_it() {
    let flock = counters(3).await;
    let birds = names("bird", 60);
    start_all(flock.nest(0), &birds).await;
    let before = lives(&flock).await;
    assert_eq!(before.len(), 60);
    flock.partition(&[0], &[1]);
    // Longer than it takes to miss a nest: the others must not be held to be dead.
    let watched = tokio::time::Instant::now();
    let mut rounds = 0;
    while watched.elapsed() < std::time::Duration::from_secs(6) {
        rounds += 1;
        for name in &birds {
            for nest in flock.nests() {
                // What was under way when the link broke may be lost; what comes later may not.
                let call = counter(nest, name).send(Add(1)).deadline(PATIENCE).await;
                let broken = matches!(call, Err(CallError::OutcomeUnknown));
                let early = watched.elapsed() < std::time::Duration::from_secs(4);
                assert!(call.is_ok() || (broken && early), "{} to {name}: {call:?}", nest.name());
            }
        }
    }
    assert!(rounds >= 2, "calls go on");
    for nest in flock.nests() {
        assert_eq!(nest.nests().await.len(), 3, "{} misses somebody", nest.name());
    }
    let after = lives(&flock).await;
    for (bird, nest) in &before {
        assert_eq!(after.get(bird), Some(nest), "{bird} moved");
    }
    assert_eq!(after.len(), 60);
    let more = names("during", 12);
    start_all(flock.nest(0), &more).await;
    for name in &more {
        for nest in flock.nests() {
            assert!(counter(nest, name).send(Add(1)).deadline(PATIENCE).await.is_ok());
        }
        assert_eq!(flock.nest(1).stop(name).await, Ok(()));
    }
    flock.heal();
    for name in &birds {
        assert!(counter(flock.nest(0), name).send(Add(1)).deadline(PATIENCE).await.is_ok());
    }
    assert_eq!(lives(&flock).await, before);
}

#[tokio::test]
async fn an_isolated_nest_comes_back_after_two_cuts_in_a_row() {
    let flock = counters(3).await;
    start_all(flock.nest(1), &names("bird", 30)).await;
    for _ in 0..2 {
        cut_off_nest_0(&flock).await;
        flock.heal();
        flock.agree().await;
        flock.one_life_each(30, PATIENCE).await;
    }
}
