//! A panic anywhere kills at most one life of one bird.

mod common;

use std::time::{Duration, Instant};

use actix::prelude::*;
use common::*;
use flock_actix::testing::TestFlock;
use flock_actix::{Bird, BirdRef, CallError, Event, HatchWhy, Hatching, RequestError, bird};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

async fn mad_birds(nests: usize) -> TestFlock {
    let describe = |nest: flock_actix::Builder| {
        nest.species::<Mad>().species::<Counter>().restarts(1000, Duration::from_secs(30))
    };
    TestFlock::with(nests, describe).await
}

/// A bird of nest 0 and, unless `fault` says otherwise, its neighbours on the same thread.
async fn mad(flock: &TestFlock, fault: Fault) -> (String, [BirdRef<Mad>; 2]) {
    let (name, here) = start_on::<Mad>(flock, 0, || fault).await;
    let there = flock.nest(1).bird(&name).expect("a name");
    (name, [here, there])
}

#[tokio::test]
async fn a_panic_in_a_handler_or_in_an_answer_that_holds_the_bird_costs_one_life() {
    let flock = mad_birds(2).await;
    for place in [Place::Handler, Place::Act, Place::Atomic] {
        for seen_from in 0..2 {
            // One bird each: the wait before a restart grows with the crashes.
            let (name, birds) = mad(&flock, Fault::None).await;
            let bird = &birds[seen_from];
            assert_eq!(bird.send(Count).await, Ok(1));
            let panicked = match place {
                Place::Handler => bird.send(InHandler).await,
                Place::Act => bird.send(InAct).await,
                Place::Atomic => bird.send(InAtomic).await,
            };
            assert_eq!(panicked, Err(CallError::Crashed), "{place:?}");
            let told = bird.send(Which).await.expect("an answer");
            assert_eq!(told, format!("{name} on nest-0: Crash 2"), "{place:?}");
            assert_eq!(bird.send(Count).await, Ok(1), "its state is fresh");
        }
    }
}

#[tokio::test]
async fn a_panic_in_an_answer_of_its_own_costs_the_call_and_no_life() {
    let flock = mad_birds(2).await;
    let (_, birds) = mad(&flock, Fault::None).await;
    for (n, bird) in birds.into_iter().enumerate() {
        assert_eq!(bird.send(InFuture).await, Err(CallError::Crashed));
        assert_eq!(bird.send(Count).await, Ok(n as u64 + 1));
    }
}

#[tokio::test]
async fn a_panic_in_hatch_or_started_of_a_first_life_fails_the_start_and_frees_the_name() {
    let flock = mad_birds(3).await;
    for (n, fault) in [Fault::Hatch, Fault::Started, Fault::Args].into_iter().enumerate() {
        for (i, name) in names(&format!("{fault:?}"), 4).iter().enumerate() {
            let starter = flock.nest((n + i) % 3);
            let Err(RequestError::HatchFailed(why)) = starter.start::<Mad>(name, fault).await
            else {
                panic!("{fault:?} hatched")
            };
            assert!(why.contains("mad"), "{why}");
            assert!(starter.start::<Counter>(name, 0).await.is_ok(), "the name is free");
        }
    }
}

#[tokio::test]
async fn a_panic_in_hatch_or_started_of_a_later_life_is_tried_again() {
    let flock = mad_birds(2).await;
    for fault in [Fault::LaterHatch, Fault::LaterStarted] {
        let name = format!("{fault:?}");
        let bird = flock.nest(0).start::<Mad>(&name, fault).await.expect("it starts");
        assert_eq!(bird.send(InHandler).await, Err(CallError::Crashed));
        assert_eq!(bird.send(Count).await, Ok(1));
        let told = bird.send(Which).await.expect("an answer");
        assert!(told.ends_with("Crash 3"), "the second life failed: {told}");
    }
}

#[tokio::test]
async fn a_panic_in_stopped_or_drop_disturbs_neither_a_crash_nor_an_end() {
    let flock = mad_birds(2).await;
    for fault in [Fault::Stopped, Fault::Drop, Fault::Stopping] {
        let name = format!("{fault:?}");
        let bird = flock.nest(0).start::<Mad>(&name, fault).await.expect("it starts");
        assert_eq!(bird.send(InHandler).await, Err(CallError::Crashed));
        assert_eq!(bird.send(Count).await, Ok(1), "{fault:?}");
        assert_eq!(flock.nest(1).stop(&name).await, Ok(()), "{fault:?}");
        for nest in flock.nests() {
            let gone: BirdRef<Mad> = nest.bird(&name).expect("a name");
            assert_eq!(gone.send(Count).await, Err(CallError::NoSuchBird), "{fault:?}");
        }
    }
}

#[tokio::test]
async fn a_panic_in_serialize_or_deserialize_costs_the_call_alone() {
    let flock = mad_birds(2).await;
    let (_, [here, there]) = mad(&flock, Fault::None).await;
    assert!(matches!(there.send(Cursed(Curse::Write)).await, Err(CallError::NotEncodable(_))));
    assert!(matches!(there.send(Cursed(Curse::Read)).await, Err(CallError::NotDecodable(_))));
    assert_eq!(here.send(Count).await, Ok(1));
    assert_eq!(there.send(Count).await, Ok(2));
}

#[tokio::test]
async fn neighbours_on_the_same_thread_lose_no_call() {
    let flock = mad_birds(2).await;
    let mut neighbours = Vec::new();
    for name in names("neighbour", 20) {
        neighbours.push(flock.nest(1).start::<Counter>(&name, 0).await.expect("it starts"));
    }
    let mut crashing = Vec::new();
    for fault in [Fault::None, Fault::Stopped, Fault::Drop, Fault::LaterHatch] {
        for n in 0..4 {
            let name = format!("{fault:?}-{n}");
            crashing.push(flock.nest(0).start::<Mad>(&name, fault).await.expect("it starts"));
        }
    }
    let crashes = async {
        for _ in 0..3 {
            for bird in &crashing {
                assert_eq!(bird.send(InAtomic).await, Err(CallError::Crashed));
            }
        }
    };
    let calls = async {
        for total in 1..=200 {
            for bird in &neighbours {
                assert_eq!(bird.send(Add(1)).await, Ok(total));
            }
        }
    };
    tokio::join!(crashes, calls);
    for bird in &neighbours {
        assert_eq!(bird.send(Tell).await.expect("an answer").expect("a life").attempt, 1);
    }
}

#[tokio::test]
async fn five_restarts_are_allowed_and_the_sixth_crash_grounds_the_bird_on_every_nest() {
    let flock = counters(3).await;
    let robin = flock.nest(0).start::<Counter>("robin", 0).await.expect("it starts");
    flock.nest(0).start::<Counter>("other", 0).await.expect("it starts");
    let mut events: Vec<_> = flock.nests().map(|nest| nest.events()).collect();
    for crash in 1..=5 {
        assert_eq!(robin.send(Boom).await, Err(CallError::Crashed));
        let life = robin.send(Tell).await.expect("it lives again").expect("a life");
        assert_eq!(life.attempt, crash + 1);
    }
    assert_eq!(robin.send(Boom).await, Err(CallError::Crashed));
    for events in &mut events {
        let crashes = until(events, |event| match event {
            Event::Grounded { bird, reason, crashes } if bird.as_str() == "robin" => {
                assert!(reason.contains("boom"));
                Some(*crashes)
            }
            _ => None,
        });
        assert_eq!(crashes.await, 6);
    }
    for nest in flock.nests() {
        let call = counter(nest, "robin").send(Add(1)).await;
        assert!(matches!(call, Err(CallError::Grounded { .. })), "{call:?}");
        let whereabouts = nest.whereis("robin").await.expect("a name").expect("it keeps its name");
        assert!(whereabouts.grounded.is_some_and(|reason| reason.contains("boom")));
        assert_eq!(counter(nest, "other").send(Add(0)).await, Ok(0), "the others are not counted");
    }
}

#[tokio::test]
async fn a_grounding_is_warned_of_in_the_log() {
    let warned = Warnings::install();
    let flock =
        TestFlock::with(1, |n| n.species::<Counter>().restarts(0, Duration::from_secs(9))).await;
    let bird = flock.nest(0).start::<Counter>("heavy", 0).await.expect("it starts");
    assert_eq!(bird.send(Boom).await, Err(CallError::Crashed));
    let told = || warned.lines().iter().any(|line| line.contains("heavy is grounded"));
    flock.eventually(PATIENCE, || async { told() }).await;
}

#[tokio::test]
async fn a_grounded_bird_is_revived_from_any_nest_and_has_its_restarts_again() {
    let flock =
        TestFlock::with(3, |n| n.species::<Counter>().restarts(1, Duration::from_secs(60))).await;
    let robin = flock.nest(0).start::<Counter>("robin", 7).await.expect("it starts");
    for nest in flock.nests() {
        assert_eq!(nest.revive("robin").await, Err(RequestError::NotGrounded));
        assert_eq!(nest.revive("nobody").await, Err(RequestError::NoSuchBird));
        for _ in 0..2 {
            assert_eq!(robin.send(Boom).await, Err(CallError::Crashed));
        }
        let grounded =
            || async { matches!(robin.send(Add(0)).await, Err(CallError::Grounded { .. })) };
        flock.eventually(PATIENCE, grounded).await;
        assert_eq!(nest.revive("robin").await, Ok(()));
        let life = || async { robin.send(Tell).await.ok().and_then(Result::ok) };
        flock.eventually(PATIENCE, || async { life().await.is_some() }).await;
        assert_eq!(life().await.map(|life| life.why), Some("Revive".into()));
        assert_eq!(robin.send(Add(1)).await, Ok(8), "hatched from its args");
    }
}

#[tokio::test]
async fn a_grounded_bird_stays_grounded_when_its_nest_dies_and_its_name_can_be_stopped() {
    let mut flock =
        TestFlock::with(3, |n| n.species::<Counter>().restarts(0, Duration::from_secs(60))).await;
    let (name, robin) = start_on::<Counter>(&flock, 2, || 0).await;
    assert_eq!(robin.send(Boom).await, Err(CallError::Crashed));
    let known = || async {
        let there = flock.nest(0).whereis(&name).await;
        there.ok().flatten().is_some_and(|bird| bird.grounded.is_some())
    };
    flock.eventually(PATIENCE, known).await;
    flock.kill(2).await;
    for nest in flock.nests() {
        // A call that is on its way while the nest dies may end as its link does.
        let first = counter(nest, &name).send(Add(1)).deadline(PATIENCE).await;
        assert!(matches!(first, Err(CallError::Grounded { .. } | CallError::OutcomeUnknown)));
        flock.eventually(PATIENCE, || async { nest.nests().await.len() == 2 }).await;
    }
    for nest in flock.nests() {
        let call = counter(nest, &name).send(Add(1)).deadline(PATIENCE).await;
        assert!(matches!(call, Err(CallError::Grounded { .. })), "{call:?}");
    }
    assert_eq!(flock.nest(0).stop(&name).await, Ok(()));
    assert!(flock.nest(1).start::<Counter>(&name, 0).await.is_ok());
}

#[tokio::test]
async fn restarts_back_off_longer_each_time() {
    let flock = mad_birds(1).await;
    let bird = flock.nest(0).start::<Mad>("back-off", Fault::None).await.expect("it starts");
    for least in [37, 75, 150, 300, 600] {
        assert_eq!(bird.send(InHandler).await, Err(CallError::Crashed));
        let crashed = Instant::now();
        assert_eq!(bird.send(Count).await, Ok(1));
        let waited = crashed.elapsed();
        assert!(waited >= Duration::from_millis(least - 2), "{waited:?} is less than {least} ms");
    }
}

#[tokio::test]
async fn calls_that_wait_for_a_restart_are_answered_by_the_next_life() {
    let flock = mad_birds(2).await;
    let (_, [_, there]) = mad(&flock, Fault::None).await;
    let boom = there.send(InHandler).at_once();
    let waiting: Vec<_> = (0..50).map(|_| there.send(Count).at_once()).collect();
    assert_eq!(boom.await, Err(CallError::Crashed));
    for (n, call) in (1..).zip(waiting) {
        assert_eq!(call.await, Ok(n));
    }
}

/// Where an answer panics.
#[derive(Clone, Copy, Debug)]
enum Place {
    Handler,
    Act,
    Atomic,
}

/// What else is wrong with a bird.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
enum Fault {
    None,
    Args,
    Hatch,
    Started,
    LaterHatch,
    LaterStarted,
    Stopping,
    Stopped,
    Drop,
}

impl<'de> Deserialize<'de> for Fault {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let all = [
            Self::None,
            Self::Args,
            Self::Hatch,
            Self::Started,
            Self::LaterHatch,
            Self::LaterStarted,
            Self::Stopping,
            Self::Stopped,
            Self::Drop,
        ];
        let name = String::deserialize(deserializer)?;
        assert_ne!(name, "Args", "mad args");
        all.into_iter()
            .find(|fault| format!("{fault:?}") == name)
            .ok_or_else(|| serde::de::Error::custom("no fault"))
    }
}

struct Mad {
    told: String,
    fault: Fault,
    attempt: u32,
    count: u64,
}

impl Actor for Mad {
    type Context = Context<Self>;

    fn started(&mut self, _: &mut Context<Self>) {
        assert_ne!(self.fault, Fault::Started, "mad start");
        assert!(self.fault != Fault::LaterStarted || self.attempt != 2, "mad start");
    }

    fn stopping(&mut self, _: &mut Context<Self>) -> Running {
        assert_ne!(self.fault, Fault::Stopping, "mad stop");
        Running::Stop
    }

    fn stopped(&mut self, _: &mut Context<Self>) {
        assert_ne!(self.fault, Fault::Stopped, "mad stop");
    }
}

impl Drop for Mad {
    fn drop(&mut self) {
        assert_ne!(self.fault, Fault::Drop, "mad drop");
    }
}

impl Bird for Mad {
    type Args = Fault;

    async fn hatch(fault: Fault, bird: &Hatching) -> anyhow::Result<Self> {
        let (why, attempt) = (bird.why(), bird.attempt());
        assert_eq!(why == HatchWhy::Crash, attempt > 1);
        tokio::task::yield_now().await;
        assert_ne!(fault, Fault::Hatch, "mad hatch");
        assert!(fault != Fault::LaterHatch || attempt != 2, "mad hatch");
        let told = format!("{} on {}: {why:?} {attempt}", bird.name(), bird.nest());
        Ok(Self { told, fault, attempt, count: 0 })
    }
}

#[derive(Message, Serialize, Deserialize)]
#[rtype(result = "u64")]
struct Count;
#[derive(Message, Serialize, Deserialize)]
#[rtype(result = "String")]
struct Which;
#[derive(Message, Serialize, Deserialize)]
#[rtype(result = "()")]
struct InHandler;
#[derive(Message, Serialize, Deserialize)]
#[rtype(result = "()")]
struct InFuture;
#[derive(Message, Serialize, Deserialize)]
#[rtype(result = "()")]
struct InAct;
#[derive(Message, Serialize, Deserialize)]
#[rtype(result = "()")]
struct InAtomic;
#[derive(Message, Serialize, Deserialize)]
#[rtype(result = "()")]
struct Cursed(Curse);

#[derive(Clone, Copy, PartialEq, Eq)]
enum Curse {
    Write,
    Read,
}

impl Serialize for Curse {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        assert!(*self != Self::Write, "mad writing");
        serializer.serialize_unit()
    }
}

impl<'de> Deserialize<'de> for Curse {
    fn deserialize<D: Deserializer<'de>>(_: D) -> Result<Self, D::Error> {
        panic!("mad reading")
    }
}

bird!(Mad as "mad" { Count, Which, InHandler, InFuture, InAct, InAtomic, Cursed });

impl Handler<Count> for Mad {
    type Result = u64;
    fn handle(&mut self, _: Count, _: &mut Context<Self>) -> u64 {
        self.count += 1;
        self.count
    }
}

impl Handler<Which> for Mad {
    type Result = String;
    fn handle(&mut self, _: Which, _: &mut Context<Self>) -> String {
        self.told.clone()
    }
}

impl Handler<InHandler> for Mad {
    type Result = ();
    fn handle(&mut self, _: InHandler, _: &mut Context<Self>) {
        panic!("mad handler")
    }
}

async fn in_a_moment() {
    tokio::task::yield_now().await;
}

impl Handler<InFuture> for Mad {
    type Result = ResponseFuture<()>;
    fn handle(&mut self, _: InFuture, _: &mut Context<Self>) -> Self::Result {
        Box::pin(async {
            in_a_moment().await;
            panic!("mad future")
        })
    }
}

impl Handler<InAct> for Mad {
    type Result = ResponseActFuture<Self, ()>;
    fn handle(&mut self, _: InAct, _: &mut Context<Self>) -> Self::Result {
        Box::pin(in_a_moment().into_actor(self).map(|(), _, _| panic!("mad answer")))
    }
}

impl Handler<InAtomic> for Mad {
    type Result = AtomicResponse<Self, ()>;
    fn handle(&mut self, _: InAtomic, _: &mut Context<Self>) -> Self::Result {
        let later = in_a_moment().into_actor(self);
        AtomicResponse::new(Box::pin(later.map(|(), _, _| panic!("mad answer"))))
    }
}

impl Handler<Cursed> for Mad {
    type Result = ();
    fn handle(&mut self, _: Cursed, _: &mut Context<Self>) {}
}
