//! What the original's own tests check of its manager and its supervisor, and its ten defects, each
//! as a test that this flock doesn't have it. (Those of its CRDT are the registry's own tests.)

mod common;

use std::future::IntoFuture;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use actix::prelude::*;
use common::*;
use flock_actix::testing::TestFlock;
use flock_actix::{Bird, CallError, Cause, Event, Flock, Hatching, NestState, RequestError, bird};

async fn alone() -> Flock {
    let nest = Flock::builder("original").species::<Counter>().species::<Parrot>();
    nest.local().await.expect("a nest")
}

#[tokio::test]
async fn manager_start() {
    let flock = alone().await;
    let robin = flock.start::<Counter>("robin", 1).await.expect("it starts");
    assert_eq!(robin.name().as_str(), "robin");
    assert_eq!(flock.alive("robin").await, Ok(true));
}

#[tokio::test]
async fn manager_start_twice() {
    let flock = alone().await;
    flock.start::<Counter>("robin", 1).await.expect("it starts");
    let again = flock.start::<Counter>("robin", 1).await;
    assert!(matches!(again, Err(RequestError::AlreadyExists { .. })), "{again:?}");
}

#[tokio::test]
async fn manager_call() {
    let flock = alone().await;
    flock.start::<Counter>("robin", 1).await.expect("it starts");
    assert_eq!(counter(&flock, "robin").send(Add(1)).await, Ok(2));
}

#[tokio::test]
async fn manager_cast() {
    let flock = alone().await;
    let robin = flock.start::<Counter>("robin", 1).await.expect("it starts");
    robin.do_send(Add(1));
    assert_eq!(robin.send(Add(0)).await, Ok(2), "a cast comes before the call behind it");
}

#[tokio::test]
async fn manager_call_unknown() {
    let flock = alone().await;
    assert_eq!(counter(&flock, "nobody").send(Add(1)).await, Err(CallError::NoSuchBird));
}

#[tokio::test]
async fn manager_stop() {
    let flock = alone().await;
    let robin = flock.start::<Counter>("robin", 1).await.expect("it starts");
    assert_eq!(flock.stop("robin").await, Ok(()));
    assert_eq!(robin.send(Add(1)).await, Err(CallError::NoSuchBird));
    assert_eq!(flock.alive("robin").await, Ok(false));
}

#[tokio::test]
async fn manager_stop_unknown() {
    let flock = alone().await;
    assert_eq!(flock.stop("nobody").await, Err(RequestError::NoSuchBird));
}

#[tokio::test]
async fn manager_normal_end() {
    let flock = alone().await;
    let robin = flock.start::<Counter>("robin", 1).await.expect("it starts");
    let nest = flock.clone();
    let watch = tokio::spawn(async move { nest.watch("robin").await });
    // Only a watch that is under way sees the end.
    tokio::task::yield_now().await;
    assert_eq!(robin.send(Retire).await, Ok(()));
    assert_eq!(watch.await.expect("no panic"), Ok(Cause::Ended));
    assert_eq!(robin.send(Add(1)).await, Err(CallError::NoSuchBird), "it isn't restarted");
    assert!(flock.start::<Counter>("robin", 1).await.is_ok(), "its name is free");
}

#[tokio::test]
async fn supervisor_crash_and_respawn() {
    let flock = alone().await;
    let robin = flock.start::<Counter>("robin", 1).await.expect("it starts");
    assert_eq!(robin.send(Add(5)).await, Ok(6));
    assert_eq!(robin.send(Boom).await, Err(CallError::Crashed));
    assert_eq!(robin.send(Add(5)).await, Ok(6), "from its args, under its name");
}

#[tokio::test]
async fn d1_a_crash_loop_kills_no_other_bird_of_its_nest() {
    let flock = counters(1).await;
    let birds = names("calm", 49);
    start_all(flock.nest(0), &birds).await;
    let mad = flock.nest(0).start::<Counter>("mad", 0).await.expect("it starts");
    loop {
        match mad.send(Boom).deadline(PATIENCE).await {
            Err(CallError::Crashed) => {}
            Err(CallError::Grounded { .. }) => break,
            other => panic!("{other:?}"),
        }
        for name in &birds {
            assert!(counter(flock.nest(0), name).send(Add(1)).await.is_ok());
        }
    }
    for name in &birds {
        let life = counter(flock.nest(0), name).send(Tell).await.expect("an answer");
        assert_eq!(life.expect("a life").attempt, 1, "{name} never crashed");
    }
}

#[tokio::test]
async fn d2_a_first_hatch_that_fails_costs_no_other_name() {
    let flock = TestFlock::with(2, |nest| nest.species::<Counter>().species::<Egg>()).await;
    let birds = names("bird", 30);
    start_all(flock.nest(0), &birds).await;
    for (i, name) in names("egg", 10).iter().enumerate() {
        for panics in [false, true] {
            let start = flock.nest(i % 2).start::<Egg>(name, panics).await;
            let Err(RequestError::HatchFailed(why)) = start else { panic!("it hatched") };
            assert!(why.contains("rotten"), "{why}");
        }
    }
    for nest in flock.nests() {
        flock.eventually(PATIENCE, || async { nest.count().await == 30 }).await;
        for name in &birds {
            assert!(counter(nest, name).send(Add(1)).await.is_ok());
        }
    }
}

#[tokio::test]
async fn d3_a_name_is_accepted_once_whatever_the_args() {
    let flock = counters(3).await;
    flock.nest(0).start::<Counter>("robin", 1).await.expect("it starts");
    for (i, nest) in flock.nests().enumerate() {
        let again = nest.start::<Counter>("robin", 100 + i as u64).await;
        assert!(matches!(again, Err(RequestError::AlreadyExists { .. })));
        assert_eq!(counter(nest, "robin").send(Add(0)).await, Ok(1));
    }
    assert_eq!(flock.nest(0).count().await, 1);
    assert_eq!(lives(&flock).await.len(), 1);
}

#[tokio::test]
async fn d4_starting_does_not_slow_down_with_the_number_of_birds() {
    let flock = counters(3).await;
    let nest = flock.nest(0);
    let time = async |prefix: &str, count: usize| {
        let begun = Instant::now();
        start_all(nest, &names(prefix, count)).await;
        begun.elapsed()
    };
    time("warm", 100).await;
    let first = time("first", 250).await;
    time("middle", 1500).await;
    let last = time("last", 250).await;
    // 1,850 birds later. Quadratic would be some twenty times as long.
    assert!(last < first * 5 + Duration::from_millis(500), "{first:?}, then {last:?}");
}

#[tokio::test]
async fn d5_names_that_come_and_go_leave_nothing_behind() {
    let flock = counters(2).await;
    for round in 0..5 {
        let birds = names(&format!("round-{round}"), 40);
        start_all(flock.nest(0), &birds).await;
        for name in &birds {
            flock.nest(1).stop(name).await.expect("it stops");
        }
    }
    for nest in flock.nests() {
        flock.eventually(PATIENCE, || async { nest.count().await == 0 }).await;
        assert!(nest.birds(None, 1000).await.is_empty());
        assert!(nest.local_birds().await.is_empty());
    }
}

#[tokio::test]
async fn d6_slow_hatches_and_ends_block_neither_looks_nor_other_starts() {
    let flock = TestFlock::with(2, |nest| nest.species::<Counter>().species::<Sloth>()).await;
    let slow: Vec<_> = names("sloth", 10)
        .into_iter()
        .map(|name| flock.nest(0).start::<Sloth>(&name, ()).deadline(PATIENCE).into_future())
        .map(tokio::spawn)
        .collect();
    let begun = Instant::now();
    for (i, name) in names("quick", 20).iter().enumerate() {
        let nest = flock.nest(i % 2);
        nest.start::<Counter>(name, 0).await.expect("it starts");
        assert_eq!(counter(nest, name).send(Add(1)).await, Ok(1));
        assert_eq!(nest.nests().await.len(), 2);
        nest.stop(name).await.expect("it stops");
    }
    let quick = begun.elapsed();
    assert!(slow.iter().all(|start| !start.is_finished()), "{quick:?} was too long to tell");
    GATE.lock().expect("no panic").take();
    for start in slow {
        assert!(start.await.expect("no panic").is_ok());
    }
}

#[tokio::test]
async fn d7_a_bird_that_moves_on_a_join_is_never_out_of_reach() {
    let mut flock = counters(2).await;
    let birds = names("bird", 60);
    start_all(flock.nest(0), &birds).await;
    let nest = flock.nest(1).clone();
    let mut events = nest.events();
    let calls = tokio::spawn(async move {
        let mut slowest = Duration::ZERO;
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_millis(1500) {
            for name in &birds {
                let called = Instant::now();
                let call = counter(&nest, name).send(Add(1)).deadline(PATIENCE).await;
                assert!(call.is_ok(), "{name}: {call:?}");
                slowest = slowest.max(called.elapsed());
            }
        }
        slowest
    });
    flock.start_nest("nest-2").await;
    until(&mut events, |e| matches!(e, Event::Moved { .. }).then_some(())).await;
    let slowest = calls.await.expect("no call failed");
    println!("the slowest call took {slowest:?}");
    let all_there = || async { lives_in(&flock).await == 60 };
    flock.eventually(PATIENCE, all_there).await;
    assert!(!flock.nest(2).local_birds().await.is_empty(), "the newcomer has its share");
}

async fn lives_in(flock: &TestFlock) -> usize {
    let mut lives = 0;
    for nest in flock.nests() {
        lives += nest.local_birds().await.len();
    }
    lives
}

#[tokio::test]
async fn d8_an_ok_from_start_means_that_the_next_call_finds_the_bird() {
    let flock = counters(3).await;
    for (i, name) in names("bird", 90).iter().enumerate() {
        let bird = flock.nest(i % 3).start::<Counter>(name, 1).await.expect("it starts");
        assert_eq!(bird.send(Add(1)).await, Ok(2));
        assert_eq!(counter(flock.nest((i + 1) % 3), name).send(Add(1)).await, Ok(3));
    }
}

#[tokio::test]
async fn d9_what_merely_connects_does_not_enter_the_ring() {
    let flock = counters(2).await;
    let address = flock.nest(0).address().expect("an address");
    let _silent = std::net::TcpStream::connect(address).expect("it listens");
    let stranger = Flock::builder("another").name("stranger").seeds([address.to_string()]);
    let stranger = stranger.form_after(Duration::from_millis(200)).join().await.expect("alone");
    let seed = address.to_string();
    let caller = Flock::builder("test").name("caller").weight(0).seeds([seed]).join().await;
    let caller = caller.expect("a nest of weight 0 is a nest");
    let birds = names("bird", 60);
    start_all(&caller, &birds).await;
    for nest in flock.nests() {
        let all_up = || async { nest.nests().await.iter().all(|n| n.state == NestState::Up) };
        flock.eventually(PATIENCE, all_up).await;
        let seen = nest.nests().await;
        assert!(seen.iter().all(|seen| seen.name.as_str() != "stranger"));
        let caller = seen.iter().find(|seen| seen.name.as_str() == "caller").expect("a nest");
        assert_eq!((caller.weight, caller.birds), (0, 0));
    }
    assert_eq!(lives_in(&flock).await, 60);
    assert!(stranger.local_birds().await.is_empty() && caller.local_birds().await.is_empty());
}

#[tokio::test]
async fn d10_what_goes_well_is_not_warned_of() {
    let (warned, begun) = (Warnings::install(), Instant::now());
    // Tests beside this one do warn, from threads that carry other names.
    let nest = |name: &str| Flock::builder("quiet").name(name).species::<Counter>();
    let one = nest("quiet-1").form_after(Duration::ZERO).join().await.expect("up");
    let seed = one.address().expect("an address").to_string();
    let two = nest("quiet-2").seeds([seed]).join().await.expect("up");
    for name in names("quiet", 20) {
        one.start::<Counter>(&name, 0).await.expect("it starts");
        assert_eq!(counter(&two, &name).send(Add(1)).deadline(PATIENCE).await.map(|_| ()), Ok(()));
        two.stop(&name).await.expect("it stops");
    }
    two.leave().await.expect("it leaves");
    let loud: Vec<_> = warned.lines().into_iter().filter(|line| line.contains("quiet")).collect();
    assert_eq!(loud, Vec::<String>::new());
    let crash = one.start::<Counter>("quiet-crash", 0).await.expect("it starts");
    assert_eq!(crash.send(Boom).await, Err(CallError::Crashed));
    // What goes wrong is.
    let told = || warned.lines().iter().any(|line| line.contains("quiet-crash crashed"));
    while !told() {
        assert!(begun.elapsed() < PATIENCE, "{:?}", warned.lines());
        tokio::task::yield_now().await;
    }
}

/// Never hatches.
struct Egg;

impl Actor for Egg {
    type Context = Context<Self>;
}

impl Bird for Egg {
    type Args = bool;
    async fn hatch(panics: bool, _: &Hatching) -> anyhow::Result<Self> {
        assert!(!panics, "rotten");
        anyhow::bail!("rotten")
    }
}

bird!(Egg as "egg" {});

/// Closed until it is taken out.
static GATE: Mutex<Option<()>> = Mutex::new(Some(()));

/// Takes its time to hatch.
struct Sloth;

impl Actor for Sloth {
    type Context = Context<Self>;
}

impl Bird for Sloth {
    type Args = ();
    async fn hatch((): (), _: &Hatching) -> anyhow::Result<Self> {
        while GATE.lock().is_ok_and(|gate| gate.is_some()) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        Ok(Self)
    }
}

bird!(Sloth as "sloth" {});
