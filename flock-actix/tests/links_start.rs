//! How nests start, find each other and end.
#![cfg(feature = "testing")]

use std::net::TcpListener;
use std::time::Duration;

use flock_actix::testing::TestFlock;
use flock_actix::{Bird, Event, Flock, Hatching, NestState, RequestError, StartError};

struct Counter(u64);

impl actix::Actor for Counter {
    type Context = actix::Context<Self>;
}

#[derive(actix::Message, serde::Serialize, serde::Deserialize)]
#[rtype(result = "u64")]
struct Add(u64);

impl actix::Handler<Add> for Counter {
    type Result = u64;
    fn handle(&mut self, Add(n): Add, _: &mut actix::Context<Self>) -> u64 {
        self.0 += n;
        self.0
    }
}

impl Bird for Counter {
    type Args = u64;
    async fn hatch(start: u64, _: &Hatching) -> anyhow::Result<Self> {
        Ok(Self(start))
    }
}

flock_actix::bird!(Counter as "counter" { Add });

fn alone() -> Duration {
    Duration::from_millis(20)
}

#[tokio::test]
async fn a_local_flock_opens_no_socket_and_serves_birds() {
    let flock = Flock::builder("canaries").species::<Counter>().local().await.unwrap();
    assert_eq!(flock.address(), None);
    let robin = flock.start::<Counter>("robin", 40).await.unwrap();
    assert_eq!(robin.send(Add(2)).await, Ok(42));
    assert_eq!(flock.alive("robin").await, Ok(true));
    assert_eq!(flock.count().await, 1);
    flock.stop("robin").await.unwrap();
    assert_eq!(flock.alive("robin").await, Ok(false));
}

#[actix::test]
async fn a_nest_starts_under_actix_and_leaves() {
    let flock = Flock::builder("canaries").form_after(alone()).join().await.unwrap();
    let nests = flock.nests().await;
    assert_eq!(nests.len(), 1);
    assert!(nests[0].me && nests[0].state == NestState::Up);
    let mut events = flock.events();
    flock.leave().await.unwrap();
    assert_eq!(flock.stop("robin").await, Err(RequestError::Closed));
    while events.recv().await.is_some() {}
}

#[tokio::test]
async fn a_port_in_use_is_a_start_error() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let error = Flock::builder("canaries").bind(&address).join().await.unwrap_err();
    assert!(matches!(error, StartError::Bind { .. }), "{error}");
}

#[tokio::test]
async fn an_address_that_others_can_reach_needs_to_be_called_insecure() {
    let error = Flock::builder("canaries").bind("0.0.0.0:0").join().await.unwrap_err();
    assert!(matches!(error, StartError::NotLoopback { .. }), "{error}");
    assert!(error.to_string().contains("insecure"));
}

#[tokio::test]
async fn every_address_is_none_that_peers_could_dial() {
    let error = Flock::builder("canaries").bind("0.0.0.0:0").insecure().join().await.unwrap_err();
    assert!(matches!(error, StartError::Unspecified { .. }), "{error}");
}

#[tokio::test]
async fn a_species_given_twice_is_a_start_error() {
    let builder = Flock::builder("canaries").species::<Counter>().species::<Counter>();
    let error = builder.local().await.unwrap_err();
    assert!(matches!(error, StartError::DuplicateSpecies("counter")), "{error}");
}

#[tokio::test]
async fn a_nest_whose_seeds_are_all_down_keeps_trying() {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let nest = |seed: String| Flock::builder("canaries").seeds([seed, "nowhere.invalid:1".into()]);
    let early = nest(port.to_string()).name("early").form_after(alone()).join().await.unwrap();
    let mut events = early.events();
    let late = Flock::builder("canaries").bind(port.to_string()).name("late").form_after(alone());
    let late = late.join().await.unwrap();
    while !matches!(events.recv().await, Some(Event::NestUp(n)) if n.as_str() == "late") {}
    assert_eq!(late.nests().await.len(), 2);
}

#[tokio::test]
async fn a_second_nest_of_a_living_ones_name_does_not_start() {
    let first = Flock::builder("canaries").name("one").form_after(alone()).join().await.unwrap();
    let seed = first.address().unwrap().to_string();
    let second = Flock::builder("canaries").name("one").seeds([seed]).join().await;
    assert!(matches!(second, Err(StartError::NameTaken(_))));
}

#[tokio::test]
async fn dropping_the_last_handle_closes_the_port() {
    let flock = Flock::builder("canaries").form_after(alone()).join().await.unwrap();
    let address = flock.address().unwrap();
    drop(flock.clone());
    assert!(std::net::TcpStream::connect(address).is_ok());
    drop(flock);
    while std::net::TcpStream::connect(address).is_ok() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn three_nests_agree_and_survive_a_kill() {
    let mut flock = TestFlock::with(3, |nest| nest.species::<Counter>()).await;
    let robin = flock.nest(0).start::<Counter>("robin", 1).await.unwrap();
    assert_eq!(robin.send(Add(1)).await, Ok(2));
    flock.kill(2).await;
    flock.agree().await;
    assert!(robin.send(Add(1)).await.is_ok());
}

#[tokio::test]
async fn a_partition_parts_and_a_heal_joins() {
    let flock = TestFlock::new(3).await;
    flock.partition(&[0], &[1, 2]);
    let secs = Duration::from_secs(20);
    flock.eventually(secs, async || flock.nest(0).nests().await.len() == 1).await;
    flock.eventually(secs, async || flock.nest(1).nests().await.len() == 2).await;
    flock.heal();
    flock.agree().await;
}
