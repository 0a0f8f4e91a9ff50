//! Bad input is a clear error or event: nothing is lost, nothing hangs.

mod common;

use std::future::{Future, IntoFuture};
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use actix::prelude::*;
use common::*;
use flock_actix::testing::TestFlock;
use flock_actix::{
    Bird, BirdRef, Builder, CallError, Event, Flock, Hatching, RequestError, StartError, bird,
};
use serde::{Deserialize, Serialize};

fn lone(flock: &str) -> Builder {
    Flock::builder(flock).form_after(Duration::ZERO).species::<Counter>()
}

async fn in_time<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.expect("it hangs")
}

/// The nest does all that a nest should.
async fn is_well(nest: &Flock) {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    let name = format!("check-{}", NEXT.fetch_add(1, Ordering::Relaxed));
    in_time(async {
        nest.start::<Counter>(&name, 1).await.expect("it starts");
        assert_eq!(counter(nest, &name).send(Add(1)).await, Ok(2));
        nest.stop(&name).await.expect("it stops");
    })
    .await;
}

#[tokio::test]
async fn a_port_in_use_is_a_start_up_error_that_names_it() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("an address").to_string();
    let error = in_time(lone("busy").bind(&address).join()).await.expect_err("it is taken");
    assert!(matches!(error, StartError::Bind { .. }), "{error}");
    assert!(error.to_string().contains(&address), "{error}");
}

#[tokio::test]
async fn an_address_to_listen_on_that_makes_no_sense_is_a_start_up_error() {
    for nonsense in ["", "nonsense", "127.0.0.1", "127.0.0.1:port", "no.such.host.invalid:1"] {
        let error = in_time(lone("odd").bind(nonsense).join()).await.expect_err("no address");
        assert!(matches!(error, StartError::Bind { .. }), "{nonsense}: {error}");
    }
}

#[tokio::test]
async fn an_unresolvable_seed_is_told_and_tried_on_and_other_seeds_serve() {
    let nest = in_time(lone("lost").seeds(["no.such.host.invalid:7101", "nonsense"]).join()).await;
    let nest = nest.expect("it forms a flock of its own");
    let mut events = nest.events();
    let why = until(&mut events, |event| match event {
        Event::Alone { why } => Some(why.clone()),
        _ => None,
    });
    let why = why.await;
    assert!(why.contains("no.such.host.invalid") || why.contains("nonsense"), "{why}");
    is_well(&nest).await;
    let good = nest.address().expect("an address").to_string();
    let seeds = ["no.such.host.invalid:7101".into(), good];
    let second = Flock::builder("lost").species::<Counter>().seeds(seeds).form_after(PATIENCE);
    let second = in_time(second.join()).await.expect("the other seed serves");
    assert_eq!(second.nests().await.len(), 2);
}

#[tokio::test]
async fn a_nest_whose_seeds_are_all_down_says_so_and_joins_when_one_comes_up() {
    let free = TcpListener::bind("127.0.0.1:0").expect("a port");
    let seed = free.local_addr().expect("an address").to_string();
    drop(free);
    let early = in_time(lone("early").name("early").seeds([&seed]).join()).await.expect("alone");
    let mut events = early.events();
    for _ in 0..2 {
        let why = until(&mut events, |event| match event {
            Event::Alone { why } => Some(why.clone()),
            _ => None,
        });
        assert!(why.await.contains(&seed), "it says whom it tries, and goes on saying it");
    }
    early.start::<Counter>("robin", 7).await.expect("it starts");
    let late = in_time(lone("early").name("late").bind(&seed).join()).await.expect("up");
    until(&mut events, |event| match event {
        Event::NestUp(nest) if nest.as_str() == "late" => Some(()),
        _ => None,
    })
    .await;
    assert_eq!(counter(&late, "robin").send(Add(1)).deadline(PATIENCE).await, Ok(8));
}

#[tokio::test]
async fn a_start_of_a_species_unknown_at_the_owner_says_so_and_names_the_nest() {
    let plain = lone("species").name("plain").join().await.expect("up");
    let seed = plain.address().expect("an address").to_string();
    let knows = Flock::builder("species").name("knows").seeds([seed]).species::<Picky>();
    let knows = knows.species::<Counter>().join().await.expect("up");
    let (mut here, mut there) = (0, 0);
    for name in names("picky", 24) {
        match in_time(knows.start::<Picky>(&name, 1).into_future()).await {
            Ok(_) => here += 1,
            Err(RequestError::UnknownSpecies { nest }) => {
                assert_eq!(nest.as_str(), "plain");
                assert_eq!(knows.alive(&name).await, Ok(false), "nothing changed");
                there += 1;
            }
            Err(other) => panic!("{other}"),
        }
    }
    assert!(here > 0 && there > 0, "{here} {there}");
    is_well(&plain).await;
}

#[tokio::test]
async fn a_bird_that_moves_to_a_nest_without_its_species_is_an_event_and_a_typed_error() {
    let knows = lone("moved").name("knows").species::<Picky>().join().await.expect("up");
    for name in names("picky", 24) {
        knows.start::<Picky>(&name, 1).await.expect("it starts");
    }
    let seed = knows.address().expect("an address").to_string();
    let plain = Flock::builder("moved").name("plain").seeds([seed]).species::<Counter>();
    let mut events = plain.events();
    let plain = in_time(plain.join()).await.expect("up");
    until(&mut events, |e| matches!(e, Event::UnknownSpecies(_)).then_some(())).await;
    let mut failed = 0;
    for name in names("picky", 24) {
        let bird: BirdRef<Picky> = knows.bird(&name).expect("a name");
        match in_time(bird.send(Peck).at_once()).await {
            Ok(()) => {}
            Err(CallError::UnknownSpecies) => failed += 1,
            Err(other) => panic!("{name}: {other}"),
        }
    }
    assert!(failed > 0, "some belong to the newcomer");
    assert_eq!(plain.count().await, 24, "no name is lost");
    plain.leave().await.expect("it leaves");
    for name in names("picky", 24) {
        let bird: BirdRef<Picky> = knows.bird(&name).expect("a name");
        assert_eq!(bird.send(Peck).deadline(PATIENCE).await, Ok(()), "{name} is back");
    }
}

#[tokio::test]
async fn args_that_do_not_decode_fail_the_start_with_the_reason() {
    let flock = TestFlock::with(2, |nest| nest.species::<Counter>().species::<Picky>()).await;
    for (i, name) in names("odd", 6).iter().enumerate() {
        // Another build's bird: its args are a text.
        let start =
            in_time(flock.nest(i % 2).start::<OtherPicky>(name, "one".into()).into_future());
        let Err(RequestError::HatchFailed(why)) = start.await else { panic!("it hatched") };
        assert!(why.contains("arguments") && why.contains("decodable"), "{why}");
        assert!(flock.nest(0).start::<Picky>(name, 1).await.is_ok(), "the name is free");
    }
}

#[tokio::test]
async fn a_message_that_the_bird_does_not_hear_is_a_typed_error_and_costs_nothing() {
    let flock = TestFlock::with(2, |nest| nest.species::<Picky>()).await;
    let (name, here) = start_on::<Picky>(&flock, 0, || 1).await;
    let other: BirdRef<OtherPicky> = flock.nest(1).bird(&name).expect("a name");
    assert_eq!(other.send(Sing).await, Err(CallError::NotHeard));
    assert_eq!(here.send(Peck).await, Ok(()));
}

#[tokio::test]
async fn a_second_live_nest_of_a_name_is_refused_and_told() {
    let flock = counters(2).await;
    let mut events: Vec<_> = flock.nests().map(Flock::events).collect();
    for seed in [0, 1] {
        let seed = flock.nest(seed).address().expect("an address").to_string();
        let twin = Flock::builder("test").name("nest-1").seeds([seed]).form_after(PATIENCE);
        let error = in_time(twin.join()).await.expect_err("the name is taken");
        let StartError::NameTaken(name) = &error else { panic!("{error}") };
        assert_eq!(name.as_str(), "nest-1");
    }
    for events in &mut events {
        until(events, |event| match event {
            Event::NameTaken(nest) if nest.as_str() == "nest-1" => Some(()),
            _ => None,
        })
        .await;
    }
    flock.agree().await;
    for nest in flock.nests() {
        is_well(nest).await;
    }
}

#[tokio::test]
async fn garbage_on_the_port_is_told_and_harms_nobody() {
    let nest = lone("garbage").join().await.expect("up");
    let mut events = nest.events();
    let address = nest.address().expect("an address");
    let mut long_prefix = vec![0xff; 4];
    long_prefix.extend([7; 4096]);
    let hello_of_nothing = [6u8, 0, 0, 0, 1, 1, 0xc1, 0xc1, 0xc1, 0xc1];
    let garbage: [&[u8]; 6] = [
        b"GET / HTTP/1.1\r\nHost: flock\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        &[0; 64],
        &long_prefix,
        &hello_of_nothing,
        &[0xff],
    ];
    for bytes in garbage {
        let mut stranger = TcpStream::connect(address).expect("it listens");
        stranger.write_all(bytes).expect("it is sent");
        stranger.shutdown(Shutdown::Write).expect("and ended");
        until(&mut events, |event| matches!(event, Event::Refused { .. }).then_some(())).await;
        stranger.set_read_timeout(Some(PATIENCE)).expect("a time-out");
        let mut answer = Vec::new();
        // Reset or closed; but not left open.
        let _ = stranger.read_to_end(&mut answer);
        assert!(answer.len() < 1024, "no more than a refusal comes back");
    }
    is_well(&nest).await;
}

#[tokio::test]
async fn many_strangers_that_say_nothing_keep_nobody_out() {
    let nest = lone("crowd").join().await.expect("up");
    let address = nest.address().expect("an address");
    let _silent: Vec<_> = (0..150).map(|_| TcpStream::connect(address)).collect();
    let second = Flock::builder("crowd").species::<Counter>().seeds([address.to_string()]);
    let second = in_time(second.form_after(PATIENCE).join()).await.expect("it gets in");
    is_well(&second).await;
    assert_eq!(second.nests().await.len(), 2);
}

#[tokio::test]
async fn a_seed_of_another_flock_is_told_at_both_ends_and_changes_neither() {
    let other = lone("other").name("other").join().await.expect("up");
    let mut told = other.events();
    let seed = other.address().expect("an address").to_string();
    let mine = in_time(lone("mine").name("mine").seeds([&seed]).join()).await.expect("alone");
    let mut events = mine.events();
    let refused = |event: &Event| match event {
        Event::Refused { why, .. } => Some(why.clone()),
        _ => None,
    };
    assert!(until(&mut events, refused).await.contains("flock other"), "it says whose seed it is");
    assert!(until(&mut told, refused).await.contains("flock other"));
    for nest in [&other, &mine] {
        assert_eq!(nest.nests().await.len(), 1);
        is_well(nest).await;
    }
}

#[tokio::test]
async fn a_nest_whose_clock_is_far_off_stays_out_and_both_ends_say_so() {
    for ahead in [Duration::from_secs(3600), Duration::from_secs(40 * 365 * 86_400)] {
        let right = lone("clock").name("right").join().await.expect("up");
        let mut told = right.events();
        right.start::<Counter>("old", 1).await.expect("it starts");
        let seed = right.address().expect("an address").to_string();
        let wrong = lone("clock").name("wrong").clock_ahead(ahead).seeds([seed]);
        let mut heard = wrong.events();
        let wrong = in_time(wrong.join()).await.expect("a flock of its own");
        let off = until(&mut told, |event| match event {
            Event::ClockSkew { nest, ahead_ms } if nest.as_str() == "wrong" => Some(*ahead_ms),
            _ => None,
        });
        let truly = i64::try_from(ahead.as_millis()).expect("it fits");
        assert!((off.await - truly).abs() < 30_000);
        let why = until(&mut heard, |event| match event {
            Event::Refused { why, .. } => Some(why.clone()),
            _ => None,
        });
        assert!(why.await.contains("clock"));
        for nest in [&right, &wrong] {
            assert_eq!(nest.nests().await.len(), 1);
            is_well(nest).await;
        }
        assert_eq!(counter(&right, "old").send(Add(1)).await, Ok(2));
    }
}

#[tokio::test]
async fn a_clock_a_little_off_is_let_in_and_loses_nothing() {
    let right = lone("clock").name("right").join().await.expect("up");
    right.start::<Counter>("old", 1).await.expect("it starts");
    let seed = right.address().expect("an address").to_string();
    let wrong = lone("clock").name("wrong").clock_ahead(Duration::from_secs(6)).seeds([seed]);
    let wrong = in_time(wrong.form_after(PATIENCE).join()).await.expect("it is let in");
    for nest in [&right, &wrong] {
        assert!(counter(nest, "old").send(Add(1)).deadline(PATIENCE).await.is_ok());
        for name in names(&format!("by-{}", nest.name()), 12) {
            in_time(nest.start::<Counter>(&name, 5).into_future()).await.expect("it starts");
            // Birds move while the ring settles, so their totals say nothing here.
            assert!(counter(&right, &name).send(Add(1)).deadline(PATIENCE).await.is_ok());
            assert!(counter(&wrong, &name).send(Add(1)).deadline(PATIENCE).await.is_ok());
            in_time(right.stop(&name).into_future()).await.expect("it stops");
            assert_eq!(counter(&wrong, &name).send(Add(1)).await, Err(CallError::NoSuchBird));
            in_time(right.start::<Counter>(&name, 5).into_future()).await.expect("again");
        }
    }
    in_time(wrong.leave()).await.expect("it leaves");
    assert!(counter(&right, "old").send(Add(1)).deadline(PATIENCE).await.is_ok());
    assert_eq!(right.count().await, 25);
}

/// A bird that only some nests know.
struct Picky;

impl Actor for Picky {
    type Context = Context<Self>;
}

impl Bird for Picky {
    type Args = u64;
    async fn hatch(_: u64, _: &Hatching) -> anyhow::Result<Self> {
        Ok(Self)
    }
}

#[derive(Message, Serialize, Deserialize)]
#[rtype(result = "()")]
struct Peck;

bird!(Picky as "picky" { Peck });

impl Handler<Peck> for Picky {
    type Result = ();
    fn handle(&mut self, _: Peck, _: &mut Context<Self>) {}
}

/// The same species in another build.
struct OtherPicky;

impl Actor for OtherPicky {
    type Context = Context<Self>;
}

impl Bird for OtherPicky {
    type Args = String;
    async fn hatch(_: String, _: &Hatching) -> anyhow::Result<Self> {
        Ok(Self)
    }
}

#[derive(Message, Serialize, Deserialize)]
#[rtype(result = "()")]
struct Sing;

bird!(OtherPicky as "picky" { Sing });

impl Handler<Sing> for OtherPicky {
    type Result = ();
    fn handle(&mut self, _: Sing, _: &mut Context<Self>) {}
}
