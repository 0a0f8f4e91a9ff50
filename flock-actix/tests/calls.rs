//! Calls and casts by name.

mod common;

use std::time::{Duration, Instant};

use common::*;
use flock_actix::{BirdRef, Call, CallError, Cast, Flock};
use tokio::task::JoinSet;

const SHORT: Duration = Duration::from_millis(150);

#[tokio::test]
async fn a_call_that_names_no_deadline_has_five_seconds() {
    let flock = counters(2).await;
    let (name, here) = start_on::<Counter>(&flock, 0, || 0).await;
    let there = counter(flock.nest(1), &name);
    let begun = Instant::now();
    let (here, there) = tokio::join!(here.send(Ponder).at_once(), there.send(Ponder));
    assert_eq!((here, there), (Err(CallError::TimedOut), Err(CallError::TimedOut)));
    let took = begun.elapsed();
    assert!((5000..8000).contains(&took.as_millis()), "{took:?}");
}

#[tokio::test]
async fn a_call_may_name_its_own_deadline() {
    let flock = counters(2).await;
    let (name, here) = start_on::<Counter>(&flock, 0, || 0).await;
    for bird in [here, counter(flock.nest(1), &name)] {
        let begun = Instant::now();
        assert_eq!(bird.send(Ponder).deadline(SHORT).await, Err(CallError::TimedOut));
        let took = begun.elapsed();
        assert!(took >= SHORT && took < SHORT * 20, "{took:?}");
        assert_eq!(bird.send(Add(1)).deadline(PATIENCE).await.map(|_| ()), Ok(()));
    }
}

#[tokio::test]
async fn a_reference_is_made_without_asking_anybody() {
    let flock = counters(3).await;
    // Not even whether the bird lives: this is no future.
    let early: Vec<BirdRef<Counter>> =
        flock.nests().map(|nest| nest.bird("later").expect("a name")).collect();
    for bird in &early {
        assert_eq!(bird.send(Add(1)).await, Err(CallError::NoSuchBird));
    }
    flock.nest(1).start::<Counter>("later", 0).await.expect("it starts");
    for (n, bird) in early.iter().enumerate() {
        assert_eq!(bird.send(Add(1)).await, Ok(n as u64 + 1), "it finds the bird that came later");
    }
}

#[tokio::test]
async fn the_router_takes_calls_and_casts_on_every_nest() {
    let flock = counters(3).await;
    let robin = flock.nest(0).start::<Counter>("robin", 0).await.expect("it starts");
    let mut total = 0;
    for nest in flock.nests() {
        let (router, bird) = (nest.router(), counter(nest, "robin"));
        total += 1;
        let called = router.send(Call::new(&bird, Add(1))).await.expect("a router");
        assert_eq!(called, Ok(total));
        router.send(Cast::new(&bird, Add(10))).await.expect("a router");
        router.do_send(Cast::new(&bird, Add(10)));
        total += 20;
        flock.eventually(PATIENCE, || async { robin.send(Add(0)).await == Ok(total) }).await;
        let nobody = counter(nest, "nobody");
        let called = router.send(Call::new(&nobody, Add(1))).await.expect("a router");
        assert_eq!(called, Err(CallError::NoSuchBird));
    }
}

#[tokio::test]
async fn casts_from_every_nest_arrive_once_each() {
    let flock = counters(3).await;
    let robin = flock.nest(0).start::<Counter>("robin", 0).await.expect("it starts");
    for nest in flock.nests() {
        let bird = counter(nest, "robin");
        (0..200).for_each(|_| bird.do_send(Add(1)));
        bird.recipient::<Add>().do_send(Add(1000));
    }
    flock.eventually(PATIENCE, || async { robin.send(Add(0)).await == Ok(3600) }).await;
    assert_eq!(robin.send(Add(0)).await, Ok(3600));
}

#[tokio::test]
async fn a_recipient_hears_one_message_from_every_nest() {
    let flock = counters(2).await;
    flock.nest(0).start::<Counter>("robin", 40).await.expect("it starts");
    for (n, nest) in flock.nests().enumerate() {
        let recipient = counter(nest, "robin").recipient::<Add>();
        assert_eq!(recipient.name().as_str(), "robin");
        assert_eq!(recipient.send(Add(1)).await, Ok(41 + n as u64));
    }
}

#[tokio::test]
async fn a_reference_is_written_as_its_name_and_is_unbound_when_read_outside_a_flock() {
    let flock = Flock::builder("calls").species::<Counter>().local().await.expect("a nest");
    let robin = flock.start::<Counter>("robin", 0).await.expect("it starts");
    let written = rmp_serde::to_vec(&robin).expect("it is written");
    assert_eq!(rmp_serde::from_slice::<String>(&written).expect("a text"), "robin");
    let loose: BirdRef<Counter> = rmp_serde::from_slice(&written).expect("it is read");
    assert!(!loose.is_bound());
    assert_eq!(loose.send(Add(1)).await, Err(CallError::Unbound));
}

/// If frames left only once all callers have sent theirs and wait, each end would have nothing to do
/// while the other works.
#[tokio::test]
async fn many_callers_do_not_make_both_ends_work_in_turn() {
    const CALLERS: usize = 256;
    const CALLS: usize = 50;
    let flock = counters(2).await;
    // Long names: what is written early holds few enough calls to be told from all of them.
    let birds = names(&"bird".repeat(20), 600);
    start_all(flock.nest(0), &birds).await;
    let there = flock.nest(1).local_birds().await;
    let there: Vec<_> = there.iter().map(|bird| counter(flock.nest(0), bird.as_str())).collect();
    assert!(there.len() >= 100, "{} of 600", there.len());
    // So that the link is open.
    assert_eq!(there[0].send(Add(1)).await, Ok(1));

    let written = async || {
        let (asks, answers) = (flock.nest(0).counters().await, flock.nest(1).counters().await);
        [("calls", asks.call_writes), ("answers", answers.call_writes)]
    };
    let before = written().await;
    let mut callers = JoinSet::new();
    for caller in 0..CALLERS {
        let bird = there[caller % there.len()].clone();
        callers.spawn(async move {
            for _ in 0..CALLS {
                bird.send(Add(1)).await.expect("an answer");
            }
        });
    }
    callers.join_all().await;
    for ((what, before), (_, after)) in before.into_iter().zip(written().await) {
        let frames = CALLERS * CALLS / (after - before) as usize;
        println!("{frames} {what} in each write");
        assert!(frames <= CALLERS / 2, "{frames} {what} in each write, of {CALLERS} under way");
    }
}

/// Each write costs as much as a dozen calls: those that are made in one turn of a worker share one.
#[tokio::test]
async fn callers_of_one_turn_share_a_write() {
    const CALLERS: usize = 20;
    const CALLS: usize = 50;
    let flock = counters(2).await;
    let birds = names("bird", 100);
    start_all(flock.nest(0), &birds).await;
    let there = flock.nest(1).local_birds().await;
    let there: Vec<_> = there.iter().map(|bird| counter(flock.nest(0), bird.as_str())).collect();
    let (done, all_done) = tokio::sync::oneshot::channel();
    let worker = flock.nest(0).arbiters().into_iter().next().expect("a worker");
    let before = flock.nest(0).counters().await.call_writes;
    worker.spawn_fn(move || {
        let mut callers = JoinSet::new();
        for caller in 0..CALLERS {
            let bird = there[caller % there.len()].clone();
            callers.spawn_local(async move {
                for _ in 0..CALLS {
                    bird.send(Add(1)).await.expect("an answer");
                }
            });
        }
        tokio::task::spawn_local(async move {
            callers.join_all().await;
            let _ = done.send(());
        });
    });
    all_done.await.expect("no caller fails");
    let frames = CALLERS * CALLS / (flock.nest(0).counters().await.call_writes - before) as usize;
    println!("{frames} calls in each write");
    assert!(frames >= CALLERS / 5, "{frames} calls in each write, of {CALLERS} under way");
}

#[tokio::test]
async fn every_call_ends_once_and_in_time_while_nests_come_and_go() {
    let mut flock = counters(3).await;
    let birds = names("bird", 60);
    start_all(flock.nest(0), &birds).await;
    let deadline = Duration::from_secs(4);
    let mut calls = Vec::new();
    for round in 0..30 {
        for name in &birds {
            let call = counter(flock.nest(0), name).send(Add(1)).deadline(deadline).at_once();
            calls.push(tokio::spawn(async move {
                let begun = Instant::now();
                (call.await, begun.elapsed())
            }));
        }
        match round {
            10 => flock.kill(2).await,
            20 => drop(flock.start_nest("nest-3").await),
            _ => tokio::task::yield_now().await,
        }
    }
    let (mut ok, mut failed) = (0, 0);
    for call in calls {
        let (outcome, took) = call.await.expect("no panic");
        assert!(took < deadline * 3, "{took:?}");
        match outcome {
            Ok(_) => ok += 1,
            // What was on its way to the nest that died.
            Err(CallError::OutcomeUnknown | CallError::TimedOut) => failed += 1,
            Err(other) => panic!("{other}"),
        }
    }
    println!("{ok} answered, {failed} lost with the nest");
    assert!(ok >= 1200, "only {ok} answered");
}
