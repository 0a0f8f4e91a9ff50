//! What a flock promises, tried on several nests in one process.
#![cfg(feature = "testing")]

use std::time::Duration;

use actix::prelude::*;
use flock_actix::testing::TestFlock;
use flock_actix::{Bird, BirdRef, Hatching, bird};
use serde::{Deserialize, Serialize};

#[derive(Message, Serialize, Deserialize)]
#[rtype(result = "u64")]
struct Add(u64);

struct Counter {
    total: u64,
}

impl Actor for Counter {
    type Context = Context<Self>;
}

impl Handler<Add> for Counter {
    type Result = u64;

    fn handle(&mut self, Add(n): Add, _: &mut Context<Self>) -> u64 {
        self.total += n;
        self.total
    }
}

impl Bird for Counter {
    type Args = u64;

    async fn hatch(start: u64, _: &Hatching) -> anyhow::Result<Self> {
        Ok(Self { total: start })
    }
}

bird!(Counter as "counter" { Add });

async fn three() -> TestFlock {
    TestFlock::with(3, |nest| nest.species::<Counter>()).await
}

#[tokio::test]
async fn a_call_made_after_start_returned_reaches_the_bird_from_every_nest_at_once() {
    let flock = three().await;
    for i in 0..30 {
        let name = format!("bird-{i}");
        let starter = flock.nest(i % 3);
        starter.start::<Counter>(&name, 40).await.expect("it starts");
        for (n, nest) in flock.nests().enumerate() {
            let bird: BirdRef<Counter> = nest.bird(&name).expect("a name");
            assert_eq!(bird.send(Add(1)).await.expect("an answer"), 41 + n as u64);
        }
    }
}

#[tokio::test]
async fn birds_of_a_lost_nest_hatch_on_the_others() {
    let mut flock = three().await;
    for i in 0..60 {
        flock.nest(0).start::<Counter>(&format!("bird-{i}"), 0).await.expect("it starts");
    }
    flock.kill(2).await;
    let killed = std::time::Instant::now();
    for i in 0..60 {
        let bird: BirdRef<Counter> = flock.nest(0).bird(&format!("bird-{i}")).expect("a name");
        flock
            .eventually(Duration::from_secs(10), || async { bird.send(Add(1)).await.is_ok() })
            .await;
    }
    println!("all answer after {:?}", killed.elapsed());
}

#[tokio::test]
async fn each_side_of_a_cut_runs_every_bird_and_one_of_each_is_left_after_the_heal() {
    let flock = three().await;
    for i in 0..60 {
        flock.nest(0).start::<Counter>(&format!("bird-{i}"), 0).await.expect("it starts");
    }
    flock.partition(&[0], &[1, 2]);
    flock
        .eventually(Duration::from_secs(15), || async {
            let a = flock.nest(0).local_birds().await.len();
            let b = flock.nest(1).local_birds().await.len();
            let c = flock.nest(2).local_birds().await.len();
            a == 60 && b + c == 60
        })
        .await;
    flock.heal();
    flock.agree().await;
    flock
        .eventually(Duration::from_secs(15), || async {
            let mut all = Vec::new();
            for nest in flock.nests() {
                all.extend(nest.local_birds().await);
            }
            all.len() == 60
        })
        .await;
}
