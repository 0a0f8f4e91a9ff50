//! Each way in which a call can fail, from the bird's own nest and from another.

mod common;

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use actix::prelude::*;
use common::*;
use flock_actix::testing::TestFlock;
use flock_actix::{Bird, BirdRef, CallError, Flock, Hatching, bird};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use tokio::sync::Semaphore;

/// Two nests, and a bird of the first by references from both.
async fn seen_from_both(flock: &TestFlock) -> [BirdRef<Counter>; 2] {
    let (name, here) = start_on::<Counter>(flock, 0, || 0).await;
    [here, counter(flock.nest(1), &name)]
}

#[tokio::test]
async fn no_such_bird_is_said_on_every_nest() {
    let flock = counters(3).await;
    for nest in flock.nests() {
        for name in names("nobody", 10) {
            let call = counter(nest, &name).send(Add(1)).await;
            assert_eq!(call, Err(CallError::NoSuchBird));
        }
    }
}

#[tokio::test]
async fn wrong_species_is_said_by_the_bird_with_its_own() {
    let flock = counters(2).await;
    let [here, _] = seen_from_both(&flock).await;
    for nest in flock.nests() {
        let parrot: BirdRef<Parrot> = nest.bird(here.name().as_str()).expect("a name");
        let call = parrot.send(Say("hello".into())).await;
        assert_eq!(call, Err(CallError::WrongSpecies { actual: Some("counter".into()) }));
    }
    assert_eq!(here.send(Add(1)).await, Ok(1), "nothing happened to it");
}

#[tokio::test]
async fn a_message_that_the_bird_does_not_hear_is_not_heard() {
    let flock = counters(2).await;
    let [here, there] = seen_from_both(&flock).await;
    // The other nest is of a later build, whose counters hear more.
    let newer: BirdRef<Newer> = flock.nest(1).bird(here.name().as_str()).expect("a name");
    assert_eq!(newer.send(Novelty).await, Err(CallError::NotHeard));
    newer.do_send(Novelty);
    assert_eq!(there.send(Add(1)).await, Ok(1), "nothing happened to it");
}

#[tokio::test]
async fn a_message_of_another_shape_is_not_decodable() {
    let flock = counters(2).await;
    let [here, there] = seen_from_both(&flock).await;
    let newer: BirdRef<Newer> = flock.nest(1).bird(here.name().as_str()).expect("a name");
    let call = newer.send(AddText("one".into())).await;
    assert!(matches!(call, Err(CallError::NotDecodable(_))), "{call:?}");
    assert_eq!(there.send(Add(1)).await, Ok(1), "nothing happened to it");
}

#[tokio::test]
async fn crashed_is_said_to_the_call_that_panicked_alone() {
    let flock = counters(2).await;
    for bird in seen_from_both(&flock).await {
        let before = bird.send(Add(1)).at_once();
        let boom = bird.send(Boom).at_once();
        let behind = bird.send(Add(5)).at_once();
        assert!(before.await.is_ok());
        assert_eq!(boom.await, Err(CallError::Crashed));
        assert_eq!(behind.await, Ok(5), "a fresh life answers what waited");
    }
}

#[tokio::test]
async fn grounded_is_said_with_the_last_crash() {
    let flock =
        TestFlock::with(2, |n| n.species::<Counter>().restarts(0, Duration::from_secs(60))).await;
    let [here, there] = seen_from_both(&flock).await;
    assert_eq!(there.send(Boom).await, Err(CallError::Crashed));
    for bird in [here, there] {
        let call = bird.send(Add(1)).await;
        let Err(CallError::Grounded { reason }) = call else { panic!("{call:?}") };
        assert!(reason.contains("boom"), "{reason}");
    }
}

#[tokio::test]
async fn interrupted_is_said_when_the_life_ends_before_the_answer() {
    let flock = counters(2).await;
    let [here, there] = seen_from_both(&flock).await;
    let calls = [here.send(Ponder).at_once(), there.send(Ponder).at_once()];
    // From both, so that each link has brought its call by the time the bird is told to stop.
    assert!(here.send(Add(1)).await.is_ok() && there.send(Add(1)).await.is_ok());
    assert_eq!(there.send(Retire).await, Ok(()));
    for call in calls {
        assert_eq!(call.await, Err(CallError::Interrupted));
    }
}

#[tokio::test]
async fn a_stop_interrupts_answers_that_never_come() {
    let flock = counters(2).await;
    let [here, there] = seen_from_both(&flock).await;
    let waiting = |bird: &BirdRef<Counter>| bird.send(Ponder).deadline(PATIENCE).at_once();
    let calls = [waiting(&here), waiting(&there)];
    assert!(here.send(Add(1)).await.is_ok() && there.send(Add(1)).await.is_ok());
    assert_eq!(flock.nest(1).stop(here.name().as_str()).await, Ok(()));
    for call in calls {
        assert_eq!(call.await, Err(CallError::Interrupted));
    }
    assert_eq!(there.send(Add(1)).await, Err(CallError::NoSuchBird));
}

#[tokio::test]
async fn timed_out_is_said_at_the_deadline_and_a_job_past_it_is_not_run() {
    let flock = TestFlock::with(2, |nest| nest.species::<Gate>()).await;
    let (name, here) = start_on::<Gate>(&flock, 0, || ()).await;
    let there: BirdRef<Gate> = flock.nest(1).bird(&name).expect("a name");
    let shut = here.send(Shut(0)).deadline(PATIENCE).at_once();
    flock.eventually(PATIENCE, || async { IS_SHUT[0].load(Ordering::SeqCst) }).await;
    let soon = Duration::from_millis(100);
    let calls = (here.send(Count).deadline(soon), there.send(Count).deadline(soon));
    let (a, b) = tokio::join!(calls.0, calls.1);
    assert_eq!((a, b), (Err(CallError::TimedOut), Err(CallError::TimedOut)));
    OPEN[0].add_permits(1);
    assert_eq!(shut.await, Ok(()));
    assert_eq!(there.send(Count).await, Ok(1), "the two were not run");
}

#[tokio::test]
async fn outcome_unknown_is_said_when_the_link_breaks_under_a_call() {
    let mut flock = counters(2).await;
    let (name, _) = start_on::<Counter>(&flock, 1, || 0).await;
    let there = counter(flock.nest(0), &name);
    let call = there.send(Ponder).deadline(PATIENCE).at_once();
    assert_eq!(there.send(Add(1)).await, Ok(1), "the call before it has arrived");
    flock.kill(1).await;
    assert_eq!(call.await, Err(CallError::OutcomeUnknown));
    assert_eq!(there.send(Add(1)).deadline(PATIENCE).await, Ok(1), "it hatched elsewhere");
}

#[tokio::test]
async fn overloaded_is_said_when_the_inbox_is_full_unless_the_caller_waits() {
    let flock = TestFlock::with(2, |nest| nest.species::<Gate>()).await;
    let (name, here) = start_on::<Gate>(&flock, 0, || ()).await;
    let there: BirdRef<Gate> = flock.nest(1).bird(&name).expect("a name");
    let shut = here.send(Shut(1)).deadline(PATIENCE).at_once();
    flock.eventually(PATIENCE, || async { IS_SHUT[1].load(Ordering::SeqCst) }).await;
    let send = |_| here.send(Count).deadline(PATIENCE).at_once();
    let mut calls: Vec<_> = (0..1200).map(send).collect();
    let full = calls.split_off(1100);
    for call in full {
        assert_eq!(call.await, Err(CallError::Overloaded));
    }
    let afar = there.send(Count).await;
    assert_eq!(afar, Err(CallError::Overloaded));
    let patient = here.send(Count).wait_when_full().deadline(PATIENCE).at_once();
    OPEN[1].add_permits(1);
    assert_eq!(shut.await, Ok(()));
    assert!(patient.await.is_ok(), "it waited for room");
    let mut handled = 0;
    for call in calls {
        match call.await {
            Ok(_) => handled += 1,
            Err(error) => assert_eq!(error, CallError::Overloaded),
        }
    }
    assert_eq!(handled, 1024, "as many wait in an inbox");
}

#[tokio::test]
async fn leaving_is_said_by_a_nest_that_has_left() {
    let flock = counters(2).await;
    let [here, there] = seen_from_both(&flock).await;
    flock.nest(1).leave().await.expect("it leaves");
    assert_eq!(there.send(Add(1)).await, Err(CallError::Leaving));
    assert_eq!(here.send(Add(1)).await, Ok(1));
}

#[tokio::test]
async fn what_cannot_be_written_or_read_fails_its_own_call_alone() {
    let flock = TestFlock::with(2, |nest| nest.species::<Scribe>()).await;
    let (name, _) = start_on::<Scribe>(&flock, 0, || ()).await;
    let there: BirdRef<Scribe> = flock.nest(1).bird(&name).expect("a name");
    assert_eq!(there.send(Copy(Ink::Good, Ink::Good)).await, Ok(Ok(Ink::Good)));
    for bad in [Ink::WriteFails, Ink::WritePanics] {
        for message in [Copy(bad, Ink::Good), Copy(Ink::Good, bad)] {
            let call = there.send(message).await;
            assert!(matches!(call, Err(CallError::NotEncodable(_))), "{bad:?}: {call:?}");
        }
    }
    for bad in [Ink::ReadFails, Ink::ReadPanics] {
        for message in [Copy(bad, Ink::Good), Copy(Ink::Good, bad)] {
            let call = there.send(message).await;
            assert!(matches!(call, Err(CallError::NotDecodable(_))), "{bad:?}: {call:?}");
        }
    }
    let lives = there.send(Copy(Ink::Good, Ink::Good)).await;
    assert_eq!(lives, Ok(Ok(Ink::Good)), "the bird is as well as ever");
}

#[tokio::test]
async fn a_call_too_large_for_the_wire_is_not_encodable() {
    let flock = counters(2).await;
    let parrot = |nest: &Flock| nest.bird::<Parrot>("polly").expect("a name");
    flock.nest(0).start::<Parrot>("polly", "Polly".into()).await.expect("it starts");
    let long = "x".repeat(17 << 20);
    let home = owner(flock.nest(0), "polly").await.expect("an owner");
    let afar = flock.nests().find(|nest| nest.name() != home).expect("another nest");
    let call = parrot(afar).send(Say(long)).await;
    assert!(matches!(call, Err(CallError::NotEncodable(_))));
    assert_eq!(parrot(afar).send(Say("hi".into())).await, Ok("Polly: hi".into()));
}

/// A later build's counter.
struct Newer;

impl Actor for Newer {
    type Context = Context<Self>;
}

impl Bird for Newer {
    type Args = u64;
    async fn hatch(_: u64, _: &Hatching) -> anyhow::Result<Self> {
        Ok(Self)
    }
}

#[derive(Message, Serialize, Deserialize)]
#[rtype(result = "()")]
struct Novelty;

#[derive(Message, Serialize, Deserialize)]
#[rtype(result = "()")]
struct AddText(String);

bird!(Newer as "counter" { Novelty, AddText as "Add" });

impl Handler<Novelty> for Newer {
    type Result = ();
    fn handle(&mut self, _: Novelty, _: &mut Context<Self>) {}
}

impl Handler<AddText> for Newer {
    type Result = ();
    fn handle(&mut self, _: AddText, _: &mut Context<Self>) {}
}

/// A bird that can be busy with one thing alone.
struct Gate(u64);

/// Set by a gate that is shut, by its number.
static IS_SHUT: [AtomicBool; 2] = [const { AtomicBool::new(false) }; 2];

/// Open it again.
static OPEN: [Semaphore; 2] = [const { Semaphore::const_new(0) }; 2];

impl Actor for Gate {
    type Context = Context<Self>;
}

impl Bird for Gate {
    type Args = ();
    async fn hatch((): (), _: &Hatching) -> anyhow::Result<Self> {
        Ok(Self(0))
    }
}

/// Has the bird for itself until the gate of this number is opened.
#[derive(Message, Serialize, Deserialize)]
#[rtype(result = "()")]
struct Shut(usize);

#[derive(Message, Serialize, Deserialize)]
#[rtype(result = "u64")]
struct Count;

bird!(Gate as "gate" { Shut, Count });

impl Handler<Shut> for Gate {
    type Result = AtomicResponse<Self, ()>;
    fn handle(&mut self, Shut(number): Shut, _: &mut Context<Self>) -> Self::Result {
        IS_SHUT[number].store(true, Ordering::SeqCst);
        let busy = async move { OPEN[number].acquire().await.map_or((), drop) };
        AtomicResponse::new(Box::pin(busy.into_actor(self)))
    }
}

impl Handler<Count> for Gate {
    type Result = u64;
    fn handle(&mut self, _: Count, _: &mut Context<Self>) -> u64 {
        self.0 += 1;
        self.0
    }
}

struct Scribe;

impl Actor for Scribe {
    type Context = Context<Self>;
}

impl Bird for Scribe {
    type Args = ();
    async fn hatch((): (), _: &Hatching) -> anyhow::Result<Self> {
        Ok(Self)
    }
}

/// Something that fails where it says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ink {
    Good,
    WriteFails,
    WritePanics,
    ReadFails,
    ReadPanics,
}

impl Serialize for Ink {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::WriteFails => Err(serde::ser::Error::custom("no ink")),
            Self::WritePanics => panic!("no ink"),
            other => serializer.serialize_u8(*other as u8),
        }
    }
}

impl<'de> Deserialize<'de> for Ink {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let number = u8::deserialize(deserializer)?;
        if number == Self::ReadFails as u8 {
            return Err(serde::de::Error::custom("illegible"));
        }
        assert_ne!(number, Self::ReadPanics as u8, "illegible");
        let all = [Self::Good, Self::WriteFails, Self::WritePanics];
        Ok(all[usize::from(number)])
    }
}

/// The bird answers with the second, whatever the first is. Numbers travel, so a bad ink of the
/// answer can come over the wire inside the call.
#[derive(Message)]
#[rtype(result = "Result<Ink, ()>")]
struct Copy(Ink, Ink);

impl Serialize for Copy {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        (self.0, self.1 as u8).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Copy {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let (own, answer) = <(Ink, u8)>::deserialize(deserializer)?;
        let all = [Ink::Good, Ink::WriteFails, Ink::WritePanics, Ink::ReadFails, Ink::ReadPanics];
        Ok(Self(own, all[usize::from(answer)]))
    }
}

bird!(Scribe as "scribe" { Copy });

impl Handler<Copy> for Scribe {
    type Result = Result<Ink, ()>;
    fn handle(&mut self, Copy(_, answer): Copy, _: &mut Context<Self>) -> Result<Ink, ()> {
        Ok(answer)
    }
}
