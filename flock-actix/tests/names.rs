//! Birds are started by name.

mod common;

use std::future::IntoFuture;

use common::*;
use flock_actix::{BirdRef, CallError, Flock, NameError, RequestError};

fn bad_names() -> Vec<(String, NameError)> {
    vec![
        (String::new(), NameError::Empty),
        ("x".repeat(256), NameError::TooLong(256)),
        ("é".repeat(128), NameError::TooLong(256)),
        ("a\nb".into(), NameError::Control('\n')),
        ("a\0".into(), NameError::Control('\0')),
        ("\u{7f}".into(), NameError::Control('\u{7f}')),
        ("\u{85}".into(), NameError::Control('\u{85}')),
    ]
}

#[tokio::test]
async fn a_bad_name_is_a_typed_error_before_anything_is_asked() {
    let flock = counters(2).await;
    let nest = flock.nest(0);
    for (name, error) in bad_names() {
        let bad = RequestError::BadName(error.clone());
        let start = nest.start::<Counter>(&name, 0).into_future();
        assert_eq!(at_once(start), Some(Err(bad.clone())), "{name:?}");
        let start = nest.start_or_get::<Counter>(&name, 0).into_future();
        assert_eq!(at_once(start), Some(Err(bad.clone())));
        assert_eq!(at_once(nest.stop(&name).into_future()), Some(Err(bad.clone())));
        assert_eq!(at_once(nest.revive(&name).into_future()), Some(Err(bad.clone())));
        assert_eq!(at_once(nest.watch(&name)), Some(Err(bad)));
        assert_eq!(at_once(nest.alive(&name)), Some(Err(error.clone())));
        assert_eq!(at_once(nest.whereis(&name)), Some(Err(error.clone())));
        assert_eq!(nest.bird::<Counter>(&name), Err(error));
    }
    assert_eq!(nest.count().await, 0);
}

#[tokio::test]
async fn a_name_of_1_to_255_bytes_of_any_text_is_good_on_every_nest() {
    let flock = counters(2).await;
    let good =
        ["x".into(), "x".repeat(255), "é".repeat(127), " ".into(), "🐦 ein Rotkehlchen".into()];
    for name in &good {
        let name: &String = name;
        flock.nest(0).start::<Counter>(name, 1).await.expect("it starts");
        for nest in flock.nests() {
            let life = counter(nest, name).send(Tell).await.expect("an answer").expect("a life");
            assert_eq!(&life.name, name);
        }
    }
    assert_eq!(flock.nest(0).count().await, good.len());
}

#[tokio::test]
async fn a_call_made_after_start_returned_reaches_the_bird_from_every_nest_at_once() {
    let flock = counters(3).await;
    for i in 0..60 {
        let name = format!("bird-{i}");
        flock.nest(i % 3).start::<Counter>(&name, 40).await.expect("it starts");
        for (n, nest) in flock.nests().enumerate() {
            assert_eq!(counter(nest, &name).send(Add(1)).await, Ok(41 + n as u64), "{name}");
        }
    }
}

#[tokio::test]
async fn a_name_that_lives_already_exists_whatever_its_species_or_args() {
    let flock = counters(3).await;
    for (i, name) in names("robin", 6).iter().enumerate() {
        let robin = flock.nest(i % 3).start::<Counter>(name, 40).await.expect("it starts");
        let home = owner(flock.nest(i % 3), name).await.expect("an owner");
        for nest in flock.nests() {
            let starts = [
                nest.start::<Counter>(name, 40).await.map(|_| ()),
                nest.start::<Counter>(name, 7).await.map(|_| ()),
                nest.start::<Parrot>(name, "hi".into()).await.map(|_| ()),
                nest.start_or_get::<Parrot>(name, "hi".into()).await.map(|_| ()),
            ];
            for start in starts {
                let Err(RequestError::AlreadyExists { species, nest }) = start else {
                    panic!("{name} lives: {start:?}")
                };
                assert_eq!((species.as_deref(), nest.as_str()), (Some("counter"), &*home));
            }
        }
        assert_eq!(robin.send(Add(1)).await, Ok(41), "nothing changed");
    }
}

#[tokio::test]
async fn of_many_starts_of_one_name_at_once_exactly_one_succeeds() {
    let flock = counters(3).await;
    for name in names("contended", 10) {
        let starts: Vec<_> = (0..9u64)
            .map(|n| flock.nest(n as usize % 3).start::<Counter>(&name, 100 * n).into_future())
            .map(tokio::spawn)
            .collect();
        let mut won = Vec::new();
        for (n, start) in starts.into_iter().enumerate() {
            match start.await.expect("no panic") {
                Ok(_) => won.push(100 * n as u64),
                Err(error) => assert!(matches!(error, RequestError::AlreadyExists { .. })),
            }
        }
        assert_eq!(won.len(), 1, "{won:?}");
        for nest in flock.nests() {
            assert_eq!(counter(nest, &name).send(Add(0)).await, Ok(won[0]), "the winner's args");
        }
    }
}

#[tokio::test]
async fn start_or_get_says_whether_the_bird_is_new() {
    let flock = counters(2).await;
    let (robin, new) = flock.nest(0).start_or_get::<Counter>("robin", 1).await.expect("a bird");
    assert!(new);
    assert_eq!(robin.send(Add(1)).await, Ok(2));
    let (robin, new) = flock.nest(1).start_or_get::<Counter>("robin", 9).await.expect("a bird");
    assert!(!new);
    assert_eq!(robin.send(Add(1)).await, Ok(3), "it is the same bird");
}

#[tokio::test]
async fn a_name_is_valid_in_its_own_flock_only() {
    let one = Flock::builder("one").species::<Counter>().local().await.expect("a nest");
    let two = Flock::builder("two").species::<Counter>().local().await.expect("a nest");
    one.start::<Counter>("robin", 1).await.expect("it starts");
    let stranger: BirdRef<Counter> = two.bird("robin").expect("a name");
    assert_eq!(stranger.send(Add(1)).await, Err(CallError::NoSuchBird));
    two.start::<Counter>("robin", 2).await.expect("it starts here, too");
    assert_eq!(counter(&one, "robin").send(Add(0)).await, Ok(1));
}

#[tokio::test]
async fn args_that_cannot_be_written_are_a_typed_error_before_anything_is_asked() {
    let flock = Flock::builder("args").species::<Fussy>().local().await.expect("a nest");
    for flaw in [Flaw::Fails, Flaw::Panics] {
        let start = flock.start::<Fussy>("fussy", flaw).into_future();
        assert!(matches!(at_once(start), Some(Err(RequestError::NotEncodable(_)))));
    }
    assert!(flock.start::<Fussy>("fussy", Flaw::None).await.is_ok());
}

struct Fussy;

#[derive(serde::Deserialize)]
enum Flaw {
    None,
    Fails,
    Panics,
}

impl serde::Serialize for Flaw {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::None => serializer.serialize_str("None"),
            Self::Fails => Err(serde::ser::Error::custom("no")),
            Self::Panics => panic!("no"),
        }
    }
}

impl actix::Actor for Fussy {
    type Context = actix::Context<Self>;
}

impl flock_actix::Bird for Fussy {
    type Args = Flaw;

    async fn hatch(_: Flaw, _: &flock_actix::Hatching) -> anyhow::Result<Self> {
        Ok(Self)
    }
}

flock_actix::bird!(Fussy as "fussy" {});
