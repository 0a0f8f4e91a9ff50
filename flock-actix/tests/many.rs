//! Many starts and stops by one call: an outcome for each name, and all or none where that is asked.

mod common;

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use actix::prelude::*;
use flock_actix::testing::TestFlock;
use flock_actix::{Bird, Event, Flock, Hatching, NameError, Outcomes, RequestError, bird};
use serde::{Deserialize, Serialize, Serializer};

use common::{Counter, Parrot, counter, lives, names, until};

/// What comes of the first hatch.
#[derive(Clone, Copy, Serialize, Deserialize)]
enum Egg {
    Good,
    Bad,
    /// It never hatches, and never fails.
    Stone,
    /// It can't even be encoded.
    #[serde(serialize_with = "refuse")]
    Lost(()),
}

fn refuse<S: Serializer>((): &(), _: S) -> Result<S::Ok, S::Error> {
    Err(serde::ser::Error::custom("it is lost"))
}

struct Chick;

impl Actor for Chick {
    type Context = Context<Self>;
}

impl Bird for Chick {
    type Args = Egg;

    async fn hatch(egg: Egg, _: &Hatching) -> anyhow::Result<Self> {
        match egg {
            Egg::Good => Ok(Self),
            Egg::Stone => std::future::pending().await,
            Egg::Bad | Egg::Lost(()) => anyhow::bail!("no chick in it"),
        }
    }
}

bird!(Chick as "chick" {});

async fn flock_of(nests: usize) -> TestFlock {
    let species = |nest: flock_actix::Builder| {
        nest.species::<Counter>().species::<Parrot>().species::<Chick>()
    };
    TestFlock::with(nests, species).await
}

fn eggs(eggs: &[(&str, Egg)]) -> Vec<(String, Egg)> {
    eggs.iter().map(|(name, egg)| ((*name).to_owned(), *egg)).collect()
}

/// Names with their errors.
fn failed<T>(outcomes: &Outcomes<T>) -> Vec<(&str, &RequestError)> {
    outcomes.failed().collect()
}

async fn alive(nest: &Flock) -> BTreeSet<String> {
    nest.birds(None, 10_000).await.into_iter().map(|bird| bird.name.to_string()).collect()
}

#[actix::test]
async fn each_name_has_its_outcome_in_the_order_given() {
    for nests in [1, 3] {
        let flock = flock_of(nests).await;
        let nest = flock.nest(0);
        nest.start::<Parrot>("taken", "hello".into()).await.expect("it starts");
        let long = "x".repeat(256);
        let given = eggs(&[
            ("a", Egg::Good),
            ("b", Egg::Bad),
            ("taken", Egg::Good),
            ("", Egg::Good),
            ("c", Egg::Good),
            ("d", Egg::Lost(())),
            (&long, Egg::Good),
            ("e", Egg::Good),
            ("a", Egg::Good),
            ("b", Egg::Good),
        ]);
        let outcomes = nest.start_many::<Chick>(given.clone()).await;
        assert!(outcomes.iter().map(|(name, _)| name).eq(given.iter().map(|(name, _)| name)));
        let all: Vec<_> = outcomes.into_iter().map(|(_, outcome)| outcome).collect();
        let hatch_failed = RequestError::HatchFailed("no chick in it".into());
        let taken = |e: &RequestError, by: &str| matches!(e, RequestError::AlreadyExists { species: Some(s), .. } if s == by);
        let names_started =
            [&all[0], &all[4], &all[7]].map(|o| o.as_ref().expect("it started").name().as_str());
        assert_eq!(names_started, ["a", "c", "e"]);
        assert_eq!(all[1].as_ref().err(), Some(&hatch_failed));
        assert!(all[2].as_ref().is_err_and(|e| taken(e, "parrot")), "{:?}", all[2]);
        assert_eq!(all[3].as_ref().err(), Some(&RequestError::BadName(NameError::Empty)));
        assert!(matches!(&all[5], Err(RequestError::NotEncodable(why)) if why.contains("lost")));
        assert_eq!(all[6].as_ref().err(), Some(&RequestError::BadName(NameError::TooLong(256))));
        // The second of a name has what the first came to.
        assert!(all[8].as_ref().is_err_and(|e| taken(e, "chick")), "{:?}", all[8]);
        assert_eq!(all[9].as_ref().err(), Some(&hatch_failed));
        assert_eq!(alive(nest).await, ["a", "c", "e", "taken"].map(String::from).into());

        let stopped = nest.stop_many(["c", "b", "", "a", "c"]).await;
        let expected = [
            ("b", &RequestError::NoSuchBird),
            ("", &RequestError::BadName(NameError::Empty)),
            ("c", &RequestError::NoSuchBird),
        ];
        assert_eq!(failed(&stopped), expected);
        assert_eq!(stopped.ok().map(|(name, ())| name).collect::<Vec<_>>(), ["c", "a"]);
        assert_eq!(alive(nest).await, ["e", "taken"].map(String::from).into());
    }
}

#[actix::test]
async fn thousands_start_everywhere_and_stop_again() {
    for nests in [1, 3] {
        let flock = flock_of(nests).await;
        let given = names("bird", 3000);
        let birds = given.iter().zip(0..);
        let started = flock.nest(0).start_many::<Counter>(birds).await.into_result();
        let started = started.expect("all start");
        assert!(started.iter().map(|bird| bird.name().as_str()).eq(&given));
        let homes = lives(&flock).await;
        assert_eq!(homes.len(), 3000);
        assert_eq!(homes.values().collect::<BTreeSet<_>>().len(), nests);
        // Each with its own args, whoever calls.
        for n in [0, 1234, 2999] {
            let there = counter(flock.nest(nests - 1), &given[n]);
            assert_eq!(there.send(common::Add(0)).await, Ok(n as u64));
        }
        let last = flock.nest(nests - 1);
        last.stop_many(&given).await.into_result().expect("all stop");
        assert_eq!(lives(&flock).await.len(), 0);
        assert_eq!(last.count().await, 0);
    }
}

#[actix::test]
async fn nothing_asked_is_nothing_failed() {
    let flock = flock_of(1).await;
    let none =
        flock.nest(0).start_many::<Counter>(Vec::<(String, u64)>::new()).or_roll_back().await;
    assert!(none.is_empty() && none.all_ok());
    assert!(none.into_result().expect("all of none").is_empty());
    let one = flock.nest(0).start_many::<Counter>([("robin", 4)]).await;
    assert_eq!((one.len(), one.all_ok()), (1, true));
    assert!(flock.nest(0).stop_many(Vec::<String>::new()).await.all_ok());
    assert!(flock.nest(0).stop_many(["robin"]).await.all_ok());
}

#[actix::test]
async fn a_failure_rolls_back_what_this_call_started_and_nothing_else() {
    for nests in [1, 3] {
        let flock = flock_of(nests).await;
        let nest = flock.nest(0);
        nest.start::<Chick>("lived-before", Egg::Good).await.expect("it starts");
        let mut given: Vec<_> = names("bird", 200).into_iter().map(|n| (n, Egg::Good)).collect();
        given[50].1 = Egg::Bad;
        given[60].0 = "lived-before".into();
        let outcomes = nest.start_many::<Chick>(given.clone()).or_roll_back().await;
        assert_eq!(outcomes.ok().count(), 0);
        for (at, (name, error)) in outcomes.failed().enumerate() {
            match at {
                50 => assert!(matches!(error, RequestError::HatchFailed(_)), "{name}: {error}"),
                60 => assert!(matches!(error, RequestError::AlreadyExists { .. }), "{error}"),
                _ => assert_eq!(*error, RequestError::RolledBack, "{name}"),
            }
        }
        let failed = outcomes.into_result().expect_err("some failed");
        let cause = "\"bird-50\" because the bird didn't hatch: no chick in it";
        assert_eq!(failed.to_string(), format!("200 of 200 failed, {cause}"));
        assert_eq!(alive(nest).await, ["lived-before".to_owned()].into());
        assert_eq!(lives(&flock).await.len(), 1);
        // The names are free.
        given.retain(|(name, egg)| name != "lived-before" && matches!(egg, Egg::Good));
        assert!(nest.start_many::<Chick>(given).or_roll_back().await.all_ok());
    }
}

#[actix::test]
async fn what_is_known_to_fail_at_the_door_has_nothing_begun() {
    let flock = flock_of(1).await;
    let mut events = flock.nest(0).events();
    let given = [("robin", Egg::Good), ("", Egg::Good), ("wren", Egg::Good)];
    let outcomes = flock.nest(0).start_many::<Chick>(given).or_roll_back().await;
    let expected = [
        ("robin", &RequestError::RolledBack),
        ("", &RequestError::BadName(NameError::Empty)),
        ("wren", &RequestError::RolledBack),
    ];
    assert_eq!(failed(&outcomes), expected);
    flock.nest(0).start::<Chick>("last", Egg::Good).await.expect("it starts");
    let started = |event: &Event| match event {
        Event::Started(name) => Some(name.to_string()),
        _ => None,
    };
    assert_eq!(until(&mut events, started).await, "last", "the first that started");
}

#[actix::test]
async fn a_name_given_twice_rolls_back_its_own_start_too() {
    let flock = flock_of(1).await;
    let given = [("robin", Egg::Good), ("wren", Egg::Good), ("robin", Egg::Good)];
    let outcomes = flock.nest(0).start_many::<Chick>(given).or_roll_back().await;
    let all: Vec<_> = failed(&outcomes).into_iter().map(|(_, error)| error).collect();
    assert_eq!(all[..2], [&RequestError::RolledBack, &RequestError::RolledBack]);
    assert!(matches!(all[2], RequestError::AlreadyExists { .. }));
    assert!(alive(flock.nest(0)).await.is_empty());
}

#[actix::test]
async fn the_deadline_is_for_all_and_what_missed_it_can_be_withdrawn() {
    for nests in [1, 3] {
        let flock = flock_of(nests).await;
        let nest = flock.nest(0);
        let given = eggs(&[("a", Egg::Good), ("b", Egg::Stone), ("c", Egg::Good)]);
        let begun = Instant::now();
        let second = Duration::from_secs(1);
        let outcomes = nest.start_many::<Chick>(given.clone()).deadline(second).await;
        assert!(begun.elapsed() >= second && begun.elapsed() < 8 * second);
        assert_eq!(failed(&outcomes), [("b", &RequestError::TimedOut)]);
        // It may still take effect: its hatch goes on.
        assert_eq!(nest.count().await, 3);
        assert!(nest.stop_many(["a", "b", "c"]).await.all_ok());

        let outcomes = nest.start_many::<Chick>(given).deadline(second).or_roll_back().await;
        let expected = [
            ("a", &RequestError::RolledBack),
            ("b", &RequestError::Withdrawn),
            ("c", &RequestError::RolledBack),
        ];
        assert_eq!(failed(&outcomes), expected);
        assert_eq!(nest.count().await, 0);
    }
}

#[actix::test]
async fn a_start_that_failed_keeps_what_was_not_begun_from_beginning() {
    let flock = flock_of(1).await;
    let mut given: Vec<_> = names("bird", 60_000).into_iter().map(|n| (n, Egg::Good)).collect();
    given[0].1 = Egg::Bad;
    let outcomes = flock.nest(0).start_many::<Chick>(given).or_roll_back().await;
    let rolled_back = outcomes.failed().filter(|(_, error)| **error == RequestError::RolledBack);
    assert_eq!(rolled_back.count(), 59_999);
    assert_eq!(flock.nest(0).count().await, 0);
    let hatches = flock.nest(0).counters().await.hatches;
    assert!(hatches < 40_000, "{hatches} hatched, though the first had failed long before");
}

#[actix::test]
async fn when_the_nest_is_shut_down_those_who_wait_hear_of_it() {
    let mut flock = flock_of(1).await;
    let nest = flock.nest(0).clone();
    let given: Vec<_> = names("bird", 30_000).into_iter().map(|n| (n, Egg::Stone)).collect();
    let asked = actix_rt::spawn(nest.start_many::<Chick>(given).or_roll_back().into_future());
    let nest = flock.nest(0);
    flock.eventually(common::PATIENCE, || async { nest.count().await > 0 }).await;
    flock.kill(0).await;
    let outcomes = asked.await.expect("it doesn't panic");
    assert_eq!(outcomes.failed().filter(|(_, e)| **e == RequestError::Closed).count(), 30_000);
}

#[actix::test]
async fn a_single_start_does_not_wait_behind_a_bulk_that_hangs() {
    let flock = flock_of(1).await;
    let nest = flock.nest(0).clone();
    let given: Vec<_> = names("stone", 30_000).into_iter().map(|n| (n, Egg::Stone)).collect();
    let hanging = nest.start_many::<Chick>(given).deadline(Duration::from_secs(60));
    let hanging = actix_rt::spawn(hanging.into_future());
    flock.eventually(common::PATIENCE, || async { nest.count().await >= 1500 }).await;
    nest.start::<Chick>("robin", Egg::Good).await.expect("it starts");
    assert!(nest.count().await < 10_000, "the core has a part of the bulk at a time");
    hanging.abort();
}

#[actix::test]
async fn large_arguments_arrive_on_every_nest() {
    let flock = flock_of(3).await;
    let word = |n: usize| format!("{n}").repeat((n % 7) * 100_000);
    let given = (0..60).map(|n| (format!("parrot-{n}"), word(n)));
    let parrots = flock.nest(0).start_many::<Parrot>(given).deadline(common::PATIENCE).await;
    let parrots = parrots.into_result().expect("all start");
    for (n, parrot) in parrots.iter().enumerate() {
        let said = parrot.send(common::Say("hello".into())).await.expect("it answers");
        assert!(said == format!("{}: hello", word(n)), "parrot-{n} has other args");
    }
}
