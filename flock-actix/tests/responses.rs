//! Handlers mean over the network what they mean in actix.

mod common;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use actix::prelude::*;
use common::*;
use flock_actix::testing::TestFlock;
use flock_actix::{Bird, BirdRef, Hatching, bird};
use serde::{Deserialize, Serialize};
use tokio::sync::Semaphore;

/// A bird of nest 0, as seen from nest 1.
async fn afar(flock: &TestFlock) -> BirdRef<Slow> {
    let (name, _) = start_on::<Slow>(flock, 0, || ()).await;
    flock.nest(1).bird(&name).expect("a name")
}

async fn two() -> TestFlock {
    TestFlock::with(2, |nest| nest.species::<Slow>()).await
}

#[tokio::test]
async fn a_value_answers_at_once() {
    let flock = two().await;
    let bird = afar(&flock).await;
    assert_eq!(bird.send(Now).await, Ok(1));
    assert_eq!(bird.send(Now).await, Ok(2));
}

#[tokio::test]
async fn a_response_future_answers_later_and_holds_up_nobody() {
    let flock = two().await;
    let bird = afar(&flock).await;
    let later = bird.send(Later("future".into())).at_once();
    assert_eq!(bird.send(Now).await, Ok(1));
    gate("future").add_permits(1);
    assert_eq!(later.await, Ok(0), "it saw the bird as it was when it was begun");
}

#[tokio::test]
async fn a_response_act_future_sees_the_bird_later_and_holds_up_nobody() {
    let flock = two().await;
    let bird = afar(&flock).await;
    let later = bird.send(ActLater("act".into())).at_once();
    assert_eq!(bird.send(Now).await, Ok(1));
    gate("act").add_permits(1);
    assert_eq!(later.await, Ok(101), "it saw the bird as it is at its end");
    assert_eq!(bird.send(Now).await, Ok(102));
}

#[tokio::test]
async fn an_atomic_response_has_the_bird_for_itself_and_leaves_the_thread_to_others() {
    let flock = two().await;
    let bird = afar(&flock).await;
    let atomic = bird.send(Atomic("atomic".into())).at_once();
    let next = bird.send(Now).at_once();
    // Another bird of the same thread answers, called over the same link after those two.
    let mut other = 0;
    let neighbour = loop {
        let name = format!("neighbour-{other}");
        let neighbour = flock.nest(1).start::<Slow>(&name, ()).await.expect("it starts");
        if owner(flock.nest(1), &name).await.as_deref() == Some("nest-0") {
            break neighbour;
        }
        other += 1;
    };
    for n in 1..50 {
        assert_eq!(neighbour.send(Now).await, Ok(n));
    }
    let mut next = std::pin::pin!(next);
    assert!(at_once(next.as_mut()).is_none(), "the next job waits");
    gate("atomic").add_permits(1);
    assert_eq!(atomic.await, Ok(1000));
    assert_eq!(next.await, Ok(1001), "it came after the atomic one");
}

#[tokio::test]
async fn jobs_from_one_nest_are_begun_in_the_order_of_their_calls() {
    let flock = two().await;
    let bird = afar(&flock).await;
    let calls: Vec<_> = (0..800).map(|_| bird.send(Now).at_once()).collect();
    for (n, call) in (1..).zip(calls) {
        assert_eq!(call.await, Ok(n));
    }
}

#[tokio::test]
async fn a_dropped_call_that_was_not_begun_is_not_run() {
    let flock = two().await;
    let (_, bird) = start_on::<Slow>(&flock, 0, || ()).await;
    let atomic = bird.send(Atomic("dropped".into())).at_once();
    drop(bird.send(Now).at_once());
    gate("dropped").add_permits(1);
    assert_eq!(atomic.await, Ok(1000));
    assert_eq!(bird.send(Now).await, Ok(1001), "the dropped one is not counted");
}

/// What handlers wait for, by name.
fn gate(key: &str) -> Arc<Semaphore> {
    static GATES: Mutex<Option<HashMap<String, Arc<Semaphore>>>> = Mutex::new(None);
    let mut gates = GATES.lock().unwrap_or_else(PoisonError::into_inner);
    let new = || Arc::new(Semaphore::new(0));
    gates.get_or_insert_default().entry(key.into()).or_insert_with(new).clone()
}

async fn opened(key: String) {
    let _permit = gate(&key).acquire_owned().await;
}

struct Slow(u64);

impl Actor for Slow {
    type Context = Context<Self>;
}

impl Bird for Slow {
    type Args = ();
    async fn hatch((): (), _: &Hatching) -> anyhow::Result<Self> {
        Ok(Self(0))
    }
}

#[derive(Message, Serialize, Deserialize)]
#[rtype(result = "u64")]
struct Now;
#[derive(Message, Serialize, Deserialize)]
#[rtype(result = "u64")]
struct Later(String);
#[derive(Message, Serialize, Deserialize)]
#[rtype(result = "u64")]
struct ActLater(String);
#[derive(Message, Serialize, Deserialize)]
#[rtype(result = "u64")]
struct Atomic(String);

bird!(Slow as "slow" { Now, Later, ActLater, Atomic });

impl Handler<Now> for Slow {
    type Result = u64;
    fn handle(&mut self, _: Now, _: &mut Context<Self>) -> u64 {
        self.0 += 1;
        self.0
    }
}

impl Handler<Later> for Slow {
    type Result = ResponseFuture<u64>;
    fn handle(&mut self, Later(key): Later, _: &mut Context<Self>) -> Self::Result {
        let seen = self.0;
        Box::pin(async move {
            opened(key).await;
            seen
        })
    }
}

impl Handler<ActLater> for Slow {
    type Result = ResponseActFuture<Self, u64>;
    fn handle(&mut self, ActLater(key): ActLater, _: &mut Context<Self>) -> Self::Result {
        Box::pin(opened(key).into_actor(self).map(|(), me, _| {
            me.0 += 100;
            me.0
        }))
    }
}

impl Handler<Atomic> for Slow {
    type Result = AtomicResponse<Self, u64>;
    fn handle(&mut self, Atomic(key): Atomic, _: &mut Context<Self>) -> Self::Result {
        AtomicResponse::new(Box::pin(opened(key).into_actor(self).map(|(), me, _| {
            me.0 += 1000;
            me.0
        })))
    }
}
