//! Birds end gently, by themselves or by a stop, and outlive whoever started them.

mod common;

use std::future::IntoFuture;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use actix::prelude::*;
use common::*;
use flock_actix::testing::TestFlock;
use flock_actix::{Bird, CallError, Cause, Event, Flock, Hatching, RequestError, bird};

#[tokio::test]
async fn a_bird_that_stops_itself_is_gone_on_every_nest_and_its_name_is_free() {
    let flock = counters(3).await;
    for (i, name) in names("robin", 6).iter().enumerate() {
        let robin = flock.nest(i % 3).start::<Counter>(name, 7).await.expect("it starts");
        let mut events: Vec<_> = flock.nests().map(Flock::events).collect();
        // A nest that hears of the start and the end at once has nothing to tell.
        for nest in flock.nests() {
            let known = || async { nest.alive(name).await == Ok(true) };
            flock.eventually(PATIENCE, known).await;
        }
        assert_eq!(counter(flock.nest((i + 1) % 3), name).send(Retire).await, Ok(()));
        for events in &mut events {
            let cause = until(events, |event| match event {
                Event::Ended(bird, cause) if bird.as_str() == name => Some(cause.clone()),
                _ => None,
            });
            assert_eq!(cause.await, Cause::Ended);
        }
        for nest in flock.nests() {
            assert_eq!(nest.alive(name).await, Ok(false));
            assert_eq!(counter(nest, name).send(Add(1)).await, Err(CallError::NoSuchBird));
        }
        assert_eq!(robin.send(Add(1)).await, Err(CallError::NoSuchBird));
        flock.nest((i + 2) % 3).start::<Counter>(name, 40).await.expect("the name is free");
        assert_eq!(robin.send(Add(2)).await, Ok(42), "a fresh bird under the old name");
    }
}

#[tokio::test]
async fn a_stop_from_anywhere_ends_the_bird_and_removes_its_name_everywhere() {
    let flock = counters(3).await;
    for (i, name) in names("robin", 9).iter().enumerate() {
        flock.nest(i % 3).start::<Counter>(name, 0).await.expect("it starts");
        let home = owner(flock.nest(i % 3), name).await.expect("an owner");
        assert_eq!(flock.nest((i / 3) % 3).stop(name).await, Ok(()));
        let nest = flock.nests().find(|nest| nest.name() == home).expect("a nest");
        assert!(nest.local_birds().await.iter().all(|bird| bird.as_str() != name));
        for nest in flock.nests() {
            assert_eq!(counter(nest, name).send(Add(1)).await, Err(CallError::NoSuchBird));
            let unknown = || async { nest.alive(name).await == Ok(false) };
            flock.eventually(PATIENCE, unknown).await;
        }
        assert!(flock.nest(0).start::<Parrot>(name, "a".into()).await.is_ok(), "it is free");
    }
}

#[tokio::test]
async fn stopping_a_name_that_does_not_live_is_no_such_bird() {
    let flock = counters(3).await;
    for nest in flock.nests() {
        for name in names("nobody", 6) {
            assert_eq!(nest.stop(&name).await, Err(RequestError::NoSuchBird));
        }
    }
    flock.nest(0).start::<Counter>("robin", 0).await.expect("it starts");
    assert_eq!(flock.nest(1).stop("robin").await, Ok(()));
    for nest in flock.nests() {
        assert_eq!(nest.stop("robin").await, Err(RequestError::NoSuchBird));
    }
}

#[tokio::test]
async fn a_stop_answers_after_the_life_has_ended_and_lets_its_answers_finish() {
    let flock = TestFlock::with(3, |nest| nest.species::<Slow>()).await;
    for (i, name) in names("slow", 3).iter().enumerate() {
        let before = ENDED.load(Ordering::SeqCst);
        let slow = flock.nest(0).start::<Slow>(name, ()).await.expect("it starts");
        let work = slow.send(Work).at_once();
        assert_eq!(slow.send(Idle).await, Ok(()), "the work before it has begun");
        assert_eq!(flock.nest(i).stop(name).await, Ok(()));
        assert_eq!(ENDED.load(Ordering::SeqCst), before + 1, "stopped() has run");
        assert_eq!(work.await, Ok(7), "work in flight was finished");
    }
}

#[tokio::test]
async fn of_many_stops_at_once_at_least_one_succeeds_and_all_are_answered() {
    let flock = counters(3).await;
    flock.nest(0).start::<Counter>("robin", 0).await.expect("it starts");
    let stops: Vec<_> =
        (0..9).map(|n| tokio::spawn(flock.nest(n % 3).stop("robin").into_future())).collect();
    let mut stopped = 0;
    for stop in stops {
        match stop.await.expect("no panic") {
            Ok(()) => stopped += 1,
            Err(error) => assert_eq!(error, RequestError::NoSuchBird),
        }
    }
    assert!(stopped >= 1);
}

#[tokio::test]
async fn a_bird_outlives_the_task_that_started_it() {
    let flock = counters(2).await;
    let nest = flock.nest(0).clone();
    let starter = tokio::spawn(async move { nest.start::<Counter>("robin", 1).await.map(|_| ()) });
    assert_eq!(starter.await.expect("no panic"), Ok(()));
    let nest = flock.nest(1).clone();
    let never = tokio::spawn(async move {
        nest.start::<Counter>("wren", 1).await.expect("it starts");
        std::future::pending::<()>().await;
    });
    let lives = || async { flock.nest(0).alive("wren").await == Ok(true) };
    flock.eventually(PATIENCE, lives).await;
    never.abort();
    assert!(never.await.is_err_and(|end| end.is_cancelled()));
    for nest in flock.nests() {
        assert!(counter(nest, "robin").send(Add(1)).await.is_ok());
        assert!(counter(nest, "wren").send(Add(1)).await.is_ok());
    }
}

struct Starter(Flock);

impl Actor for Starter {
    type Context = Context<Self>;
}

#[derive(Message)]
#[rtype(result = "Result<(), RequestError>")]
struct StartAndDie;

impl Handler<StartAndDie> for Starter {
    type Result = ResponseActFuture<Self, Result<(), RequestError>>;

    fn handle(&mut self, _: StartAndDie, _: &mut Context<Self>) -> Self::Result {
        let start = self.0.start::<Counter>("robin", 1).into_future().into_actor(self);
        Box::pin(start.map(|started, _, ctx| {
            ctx.stop();
            started.map(|_| ())
        }))
    }
}

#[actix::test]
async fn a_bird_outlives_the_actor_that_started_it() {
    let flock = counters(2).await;
    let starter = Starter(flock.nest(0).clone()).start();
    assert_eq!(starter.send(StartAndDie).await, Ok(Ok(())));
    flock.eventually(PATIENCE, || async { !starter.connected() }).await;
    for nest in flock.nests() {
        assert!(counter(nest, "robin").send(Add(1)).await.is_ok());
    }
}

#[tokio::test]
async fn a_bird_outlives_the_bird_that_started_it() {
    let flock = TestFlock::with(2, |nest| nest.species::<Counter>().species::<Parent>()).await;
    flock.nest(0).start::<Parent>("parent", "child".into()).await.expect("it starts");
    flock.eventually(PATIENCE, || async { flock.nest(1).alive("child").await == Ok(true) }).await;
    flock.nest(0).stop("parent").await.expect("it stops");
    assert_eq!(counter(flock.nest(1), "child").send(Add(1)).await, Ok(6));
}

#[tokio::test]
async fn a_bird_outlives_the_nest_that_started_it() {
    let mut flock = counters(3).await;
    let birds = names("robin", 30);
    start_all(flock.nest(2), &birds).await;
    flock.kill(2).await;
    for name in &birds {
        let bird = counter(flock.nest(0), name);
        assert!(bird.send(Add(1)).deadline(PATIENCE).await.is_ok(), "{name}");
    }
    let more = names("wren", 30);
    start_all(flock.nest(1), &more).await;
    flock.nest(1).leave().await.expect("it leaves");
    for name in birds.iter().chain(&more) {
        let bird = counter(flock.nest(0), name);
        assert!(bird.send(Add(1)).deadline(PATIENCE).await.is_ok(), "{name}");
    }
}

/// Starts a bird of its own.
struct Parent;

impl Actor for Parent {
    type Context = Context<Self>;
}

impl Bird for Parent {
    type Args = String;

    async fn hatch(child: String, bird: &Hatching) -> anyhow::Result<Self> {
        let flock = bird.flock();
        actix_rt::spawn(async move {
            let _ = flock.start::<Counter>(&child, 5).await;
        });
        Ok(Self)
    }
}

bird!(Parent as "parent" {});

static ENDED: AtomicUsize = AtomicUsize::new(0);

struct Slow;

impl Actor for Slow {
    type Context = Context<Self>;

    fn stopped(&mut self, _: &mut Context<Self>) {
        ENDED.fetch_add(1, Ordering::SeqCst);
    }
}

impl Bird for Slow {
    type Args = ();
    async fn hatch((): (), _: &Hatching) -> anyhow::Result<Self> {
        Ok(Self)
    }
}

/// Takes a while.
#[derive(Message, serde::Serialize, serde::Deserialize)]
#[rtype(result = "u64")]
struct Work;
#[derive(Message, serde::Serialize, serde::Deserialize)]
#[rtype(result = "()")]
struct Idle;

bird!(Slow as "slow" { Work, Idle });

impl Handler<Work> for Slow {
    type Result = ResponseActFuture<Self, u64>;
    fn handle(&mut self, _: Work, _: &mut Context<Self>) -> Self::Result {
        let work = tokio::time::sleep(Duration::from_millis(300));
        Box::pin(work.into_actor(self).map(|(), _, _| 7))
    }
}

impl Handler<Idle> for Slow {
    type Result = ();
    fn handle(&mut self, _: Idle, _: &mut Context<Self>) {}
}
