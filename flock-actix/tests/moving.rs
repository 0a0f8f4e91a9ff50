//! Nests join, leave and die; birds move, and never live twice.

mod common;

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use actix::prelude::*;
use common::*;
use flock_actix::testing::TestFlock;
use flock_actix::{Bird, BirdRef, Event, Flock, Hatching, NestState, bird};
use serde::{Deserialize, Serialize};

/// Where each of these birds is, once all of them live and are where every nest says.
async fn settled(flock: &TestFlock, birds: &[String]) -> BTreeMap<String, String> {
    for nest in flock.nests() {
        for name in birds {
            let call = counter(nest, name).send(Add(1)).deadline(PATIENCE).await;
            assert!(call.is_ok(), "{name} from {}: {call:?}", nest.name());
        }
    }
    let all_home = || async {
        let (lives, owner_of) = (lives_now(flock).await, flock.nests().next().expect("a nest"));
        let mut home = lives.len() == birds.len();
        for (name, nest) in &lives {
            home &= owner(owner_of, name).await.as_ref() == Some(nest);
        }
        home
    };
    flock.eventually(PATIENCE, all_home).await;
    lives(flock).await
}

/// As `lives`; a bird on its way between two nests counts for nothing here.
async fn lives_now(flock: &TestFlock) -> BTreeMap<String, String> {
    let mut lives = BTreeMap::new();
    for nest in flock.nests() {
        for bird in nest.local_birds().await {
            lives.insert(bird.to_string(), nest.name().to_owned());
        }
    }
    lives
}

#[tokio::test]
async fn a_nest_joins_through_any_one_of_its_seeds() {
    let flock = counters(3).await;
    let free = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let dead = free.local_addr().expect("an address").to_string();
    drop(free);
    for (n, nest) in flock.nests().enumerate() {
        let good = nest.address().expect("an address").to_string();
        let seeds = [dead.clone(), "no.such.host.invalid:1".into(), good];
        let joiner = Flock::builder("test")
            .name(format!("joiner-{n}"))
            .species::<Counter>()
            .seeds(seeds)
            .form_after(PATIENCE)
            .join();
        let joiner = tokio::time::timeout(PATIENCE, joiner).await.expect("in time").expect("up");
        assert!(joiner.nests().await.len() >= 4, "it sees all of the flock");
        joiner.leave().await.expect("it leaves");
    }
}

#[tokio::test]
async fn a_join_moves_only_the_birds_that_the_newcomer_now_owns() {
    let mut flock = counters(2).await;
    let birds = names("bird", 200);
    start_all(flock.nest(0), &birds).await;
    let before = settled(&flock, &birds).await;
    flock.start_nest("nest-2").await;
    flock.agree().await;
    let after = settled(&flock, &birds).await;
    let mut moved = 0;
    for (name, now) in &after {
        if now != &before[name] {
            assert_eq!(now, "nest-2", "{name} moved between old nests");
            moved += 1;
        }
    }
    assert!((20..140).contains(&moved), "{moved} moved, about 67 should");
}

#[tokio::test]
async fn a_leave_moves_only_the_birds_of_the_leaver_and_loses_no_call() {
    let flock = counters(3).await;
    let birds = names("bird", 150);
    start_all(flock.nest(0), &birds).await;
    let before = settled(&flock, &birds).await;
    let mut events = flock.nest(0).events();
    let stop = Arc::new(AtomicBool::new(false));
    let caller = tokio::spawn(call_on(flock.nest(1).clone(), birds.clone(), stop.clone()));
    flock.nest(2).leave().await.expect("it leaves");
    until(&mut events, |event| match event {
        Event::NestLeft(nest) if nest.as_str() == "nest-2" => Some(()),
        _ => None,
    })
    .await;
    stop.store(true, Ordering::Relaxed);
    assert!(caller.await.expect("no call failed") > 0);
    let rest = [flock.nest(0), flock.nest(1)];
    let mut after = BTreeMap::new();
    for nest in rest {
        assert_eq!(nest.nests().await.len(), 2);
        for bird in nest.local_birds().await {
            let twice = after.insert(bird.to_string(), nest.name().to_owned());
            assert_eq!(twice, None, "{bird} lives twice");
        }
    }
    assert_eq!(after.len(), birds.len(), "all had moved when the leaver was gone");
    for (name, then) in before {
        if then != "nest-2" {
            assert_eq!(after[&name], then, "{name} moved though its nest stayed");
        }
    }
}

/// Calls these birds from a nest until told to stop; every call must be answered. Says how many
/// calls were.
async fn call_on(nest: Flock, birds: Vec<String>, stop: Arc<AtomicBool>) -> u64 {
    let mut answered = 0;
    while !stop.load(Ordering::Relaxed) {
        for name in &birds {
            let call = counter(&nest, name).send(Add(1)).deadline(PATIENCE).await;
            assert!(call.is_ok(), "{name}: {call:?}");
            answered += 1;
        }
    }
    answered
}

#[tokio::test]
async fn the_last_nest_may_leave_as_well() {
    let flock = counters(2).await;
    start_all(flock.nest(0), &names("bird", 20)).await;
    flock.nest(0).leave().await.expect("it leaves");
    flock.eventually(PATIENCE, || async { flock.nest(1).local_birds().await.len() == 20 }).await;
    flock.nest(1).leave().await.expect("it leaves");
}

#[tokio::test]
async fn birds_of_a_dead_nest_hatch_on_the_owners_that_the_ring_now_names() {
    let mut flock = counters(3).await;
    let birds = names("bird", 120);
    start_all(flock.nest(0), &birds).await;
    let before = settled(&flock, &birds).await;
    let mut events: Vec<_> = [0, 1].map(|i| flock.nest(i).events()).into();
    flock.kill(2).await;
    for events in &mut events {
        until(events, |event| match event {
            Event::NestDown(nest) if nest.as_str() == "nest-2" => Some(()),
            _ => None,
        })
        .await;
    }
    let after = settled(&flock, &birds).await;
    for (name, then) in before {
        let life = counter(flock.nest(0), &name).send(Tell).await.expect("it lives").expect("it");
        assert_eq!(life.nest, after[&name]);
        if then == "nest-2" {
            assert_eq!(life.why, "NestLost", "{name}");
        } else {
            assert_eq!((&after[&name], &*life.why), (&then, "Start"), "{name} had no reason");
        }
    }
}

#[tokio::test]
async fn a_nest_that_comes_back_under_its_name_gets_its_birds_back() {
    let mut flock = counters(3).await;
    let birds = names("bird", 120);
    start_all(flock.nest(0), &birds).await;
    let before = settled(&flock, &birds).await;
    flock.kill(2).await;
    settled(&flock, &birds).await;
    flock.start_nest("nest-2").await;
    flock.agree().await;
    assert_eq!(settled(&flock, &birds).await, before, "a name is the key on the ring");
}

#[tokio::test]
async fn a_nest_of_weight_0_owns_no_bird_and_calls_all() {
    let mut flock = counters(2).await;
    let seed = flock.nest(0).address().expect("an address").to_string();
    let guest = Flock::builder("test").name("guest").weight(0).seeds([seed]).join().await;
    let guest = guest.expect("it joins");
    let birds = names("bird", 60);
    start_all(&guest, &birds).await;
    assert!(guest.local_birds().await.is_empty());
    for (n, name) in birds.iter().enumerate() {
        assert_eq!(counter(&guest, name).send(Add(n as u64)).await, Ok(n as u64));
    }
    drop(guest);
    flock.eventually(PATIENCE, || async { flock.nest(0).nests().await.len() == 2 }).await;
    flock.start_nest("another").await;
    assert_eq!(settled(&flock, &birds).await.len(), 60);
}

#[tokio::test]
async fn nests_of_differently_named_flocks_refuse_each_other() {
    let one = Flock::builder("one").name("a").form_after(Duration::ZERO).join().await.expect("up");
    let mut told = one.events();
    let seed = one.address().expect("an address").to_string();
    let join = Flock::builder("two").name("b").seeds([seed]).form_after(SHORT).join();
    let two =
        tokio::time::timeout(PATIENCE, join).await.expect("in time").expect("it forms its own");
    let why = until(&mut told, |event| match event {
        Event::Refused { peer, why } => Some(format!("{peer}: {why}")),
        _ => None,
    });
    let why = why.await;
    assert!(why.contains('b') && why.contains("one"), "{why}");
    for flock in [&one, &two] {
        let nests = flock.nests().await;
        assert_eq!(nests.len(), 1, "each sees itself alone");
        assert_eq!(nests[0].state, NestState::Up);
    }
}

const SHORT: Duration = Duration::from_millis(300);

#[tokio::test]
async fn no_bird_lives_twice_while_nests_join_and_leave_under_calls_and_no_call_fails() {
    let mut flock = TestFlock::with(2, |nest| nest.species::<Unique>()).await;
    let birds = names("unique", 80);
    for name in &birds {
        flock.nest(0).start::<Unique>(name, ()).await.expect("it starts");
    }
    let stop = Arc::new(AtomicBool::new(false));
    let callers: Vec<_> = (0..2)
        .map(|nest| {
            let (nest, birds, stop) = (flock.nest(nest).clone(), birds.clone(), stop.clone());
            tokio::spawn(async move {
                let mut answered = 0u64;
                while !stop.load(Ordering::Relaxed) {
                    for name in &birds {
                        let bird: BirdRef<Unique> = nest.bird(name).expect("a name");
                        let call = bird.send(Live).deadline(PATIENCE).await;
                        assert!(matches!(call, Ok(1)), "{name}: {call:?}");
                        answered += 1;
                    }
                }
                answered
            })
        })
        .collect();
    for round in 0..2 {
        let (a, b) = (format!("comer-{round}-a"), format!("comer-{round}-b"));
        let a = flock.start_nest(&a).await;
        let b = flock.start_nest(&b).await;
        let busy = || async { !flock.nest(a).local_birds().await.is_empty() };
        flock.eventually(PATIENCE, busy).await;
        for leaver in [a, b] {
            flock.nest(leaver).leave().await.expect("it leaves");
            // Forgets a handle that is of no use any more.
            flock.kill(leaver).await;
        }
        flock.agree().await;
    }
    stop.store(true, Ordering::Relaxed);
    for caller in callers {
        assert!(caller.await.expect("no call failed") > 100);
    }
    assert_eq!(MOST.load(Ordering::SeqCst), 1, "the most lives that a bird ever had at once");
    assert!(HATCHED.load(Ordering::SeqCst) > 80, "birds did move");
}

/// A bird that counts how many of it live in this process, in which all nests are.
struct Unique(String);

static LIVES: Mutex<Option<HashMap<String, u64>>> = Mutex::new(None);
static MOST: AtomicU64 = AtomicU64::new(0);
static HATCHED: AtomicU64 = AtomicU64::new(0);

fn with_lives<R>(name: &str, then: impl FnOnce(&mut u64) -> R) -> R {
    let mut lives = LIVES.lock().unwrap_or_else(PoisonError::into_inner);
    then(lives.get_or_insert_default().entry(name.into()).or_default())
}

impl Actor for Unique {
    type Context = Context<Self>;
}

impl Bird for Unique {
    type Args = ();

    async fn hatch((): (), bird: &Hatching) -> anyhow::Result<Self> {
        let name = bird.name().to_string();
        let now = with_lives(&name, |lives| {
            *lives += 1;
            *lives
        });
        MOST.fetch_max(now, Ordering::SeqCst);
        HATCHED.fetch_add(1, Ordering::SeqCst);
        Ok(Self(name))
    }
}

impl Drop for Unique {
    fn drop(&mut self) {
        with_lives(&self.0, |lives| *lives -= 1);
    }
}

/// How many lives does the bird have?
#[derive(Message, Serialize, Deserialize)]
#[rtype(result = "u64")]
struct Live;

bird!(Unique as "unique" { Live });

impl Handler<Live> for Unique {
    type Result = u64;
    fn handle(&mut self, _: Live, _: &mut Context<Self>) -> u64 {
        with_lives(&self.0, |lives| *lives)
    }
}
