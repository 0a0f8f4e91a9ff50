//! What people may look at, on every nest.

mod common;

use std::collections::BTreeSet;

use common::*;
use flock_actix::{CallError, Cause, Event, Flock, NestState, RequestError};

#[tokio::test]
async fn alive_and_whereis_say_the_same_on_every_nest() {
    let flock = counters(3).await;
    let birds = names("bird", 20);
    start_all(flock.nest(0), &birds).await;
    flock.nest(0).start::<Parrot>("polly", "hi".into()).await.expect("it starts");
    for nest in flock.nests() {
        flock.eventually(PATIENCE, || async { nest.count().await == 21 }).await;
        for name in &birds {
            assert_eq!(nest.alive(name).await, Ok(true));
            let here = nest.whereis(name).await.expect("a name").expect("it lives");
            let there = flock.nest(0).whereis(name).await.expect("a name").expect("it lives");
            assert_eq!(here, there);
            let life = counter(nest, name).send(Tell).await.expect("an answer").expect("a life");
            assert_eq!(here.nest.map(|nest| nest.to_string()), Some(life.nest));
            assert_eq!((here.species.as_deref(), here.grounded), (Some("counter"), None));
        }
        let polly = nest.whereis("polly").await.expect("a name").expect("it lives");
        assert_eq!(polly.species.as_deref(), Some("parrot"));
        assert_eq!(nest.alive("nobody").await, Ok(false));
        assert_eq!(nest.whereis("nobody").await, Ok(None));
    }
}

#[tokio::test]
async fn a_second_start_of_a_name_has_another_birth() {
    let flock = counters(2).await;
    let mut births = BTreeSet::new();
    for _ in 0..3 {
        flock.nest(0).start::<Counter>("robin", 0).await.expect("it starts");
        let robin = flock.nest(1).whereis("robin").await.expect("a name").expect("it lives");
        births.insert(robin.birth);
        flock.nest(1).stop("robin").await.expect("it stops");
    }
    assert_eq!(births.len(), 3);
}

#[tokio::test]
async fn birds_are_listed_a_page_at_a_time_in_one_order_on_every_nest() {
    let flock = counters(3).await;
    let birds = names("bird", 101);
    start_all(flock.nest(0), &birds).await;
    let mut lists = Vec::new();
    for nest in flock.nests() {
        flock.eventually(PATIENCE, || async { nest.count().await == 101 }).await;
        lists.push(pages(nest, 10).await);
    }
    assert_eq!(lists[0], lists[1]);
    assert_eq!(lists[0], lists[2]);
    let listed: BTreeSet<_> = lists[0].iter().cloned().collect();
    assert_eq!(listed, birds.into_iter().collect(), "each once, and no other");
    assert_eq!(flock.nest(0).birds(None, 1000).await.len(), 101);
    assert!(flock.nest(0).birds(None, 0).await.is_empty());
    assert!(flock.nest(0).birds(Some(""), 10).await.is_empty(), "no name lies behind no name");
}

async fn pages(nest: &Flock, limit: usize) -> Vec<String> {
    let mut all: Vec<String> = Vec::new();
    loop {
        let page = nest.birds(all.last().map(String::as_str), limit).await;
        if page.is_empty() {
            return all;
        }
        assert!(page.len() <= limit);
        for bird in page {
            assert_eq!(bird.species.as_deref(), Some("counter"));
            assert_eq!(bird.nest.map(|n| n.to_string()), owner(nest, bird.name.as_str()).await);
            all.push(bird.name.to_string());
        }
    }
}

#[tokio::test]
async fn each_nest_shows_every_nests_share_of_the_load() {
    let flock = counters(3).await;
    start_all(flock.nest(0), &names("bird", 200)).await;
    for nest in flock.nests() {
        flock.eventually(PATIENCE, || async { nest.count().await == 200 }).await;
        let nests = nest.nests().await;
        let names: Vec<_> = nests.iter().map(|n| n.name.as_str()).collect();
        assert_eq!(names, ["nest-0", "nest-1", "nest-2"]);
        assert_eq!(nests.iter().map(|n| n.birds).sum::<usize>(), 200);
        assert!((nests.iter().map(|n| n.share).sum::<f64>() - 1.0).abs() < 1e-9);
        for shown in &nests {
            let itself = flock.nests().find(|n| n.name() == shown.name.as_str()).expect("a nest");
            assert_eq!(shown.birds, itself.local_birds().await.len());
            assert_eq!(shown.address, itself.address().expect("an address").to_string());
            assert_eq!((shown.state, shown.weight), (NestState::Up, 1));
            assert_eq!(shown.me, shown.name.as_str() == nest.name());
            let percent = shown.birds as f64 / 2.0;
            let text =
                format!("{} has {percent:.1} % of the load, {} of 200", shown.name, shown.birds);
            assert_eq!(shown.to_string(), text);
        }
    }
}

#[tokio::test]
async fn a_watch_from_any_nest_resolves_with_the_reason_and_not_before_the_end() {
    let mut flock = counters(3).await;
    let watch = |nest: usize, name: &'static str| {
        let nest = flock.nest(nest).clone();
        tokio::spawn(async move { nest.watch(name).await })
    };
    for name in ["stopped", "retired"] {
        flock.nest(0).start::<Counter>(name, 0).await.expect("it starts");
        for nest in flock.nests() {
            flock.eventually(PATIENCE, || async { nest.alive(name).await == Ok(true) }).await;
        }
    }
    let stopped = [watch(0, "stopped"), watch(1, "stopped"), watch(0, "stopped")];
    let retired = [watch(0, "retired"), watch(1, "retired")];
    // Neither a crash nor a move nor the death of a nest is an end for good.
    assert_eq!(counter(flock.nest(0), "stopped").send(Boom).await, Err(CallError::Crashed));
    flock.kill(2).await;
    flock.start_nest("nest-3").await;
    flock.agree().await;
    for name in ["stopped", "retired"] {
        assert!(counter(flock.nest(0), name).send(Add(1)).deadline(PATIENCE).await.is_ok());
    }
    assert!(stopped.iter().chain(&retired).all(|watch| !watch.is_finished()));
    flock.nest(1).stop("stopped").await.expect("it stops");
    counter(flock.nest(1), "retired").send(Retire).await.expect("an answer");
    for watch in stopped {
        assert_eq!(watch.await.expect("no panic"), Ok(Cause::Stopped));
    }
    for watch in retired {
        assert_eq!(watch.await.expect("no panic"), Ok(Cause::Ended));
    }
    assert_eq!(flock.nest(0).watch("nobody").await, Err(RequestError::NoSuchBird));
}

#[tokio::test]
async fn events_tell_on_every_nest_what_happened_and_why() {
    let mut flock = counters(3).await;
    let mut events: Vec<_> = flock.nests().map(Flock::events).collect();
    flock.nest(0).start::<Counter>("robin", 0).await.expect("it starts");
    for events in &mut events {
        until(events, |e| (e.to_string() == "robin was started").then_some(())).await;
    }
    flock.nest(1).stop("robin").await.expect("it stops");
    for events in &mut events {
        until(events, |e| (e.to_string() == "robin ended: Stopped").then_some(())).await;
    }
    flock.start_nest("nest-3").await;
    for events in &mut events {
        until(events, |e| (e.to_string() == "nest-3 is up").then_some(())).await;
    }
    flock.nest(3).leave().await.expect("it leaves");
    for events in &mut events {
        until(events, |e| (e.to_string() == "nest-3 has left").then_some(())).await;
    }
    flock.kill(2).await;
    for events in &mut events[..2] {
        until(events, |e| (e.to_string() == "nest-2 is down").then_some(())).await;
    }
    let ended = tokio::time::timeout(PATIENCE, async { while events[2].recv().await.is_some() {} });
    assert!(ended.await.is_ok(), "the events of a dead nest come to an end");
}

#[tokio::test]
async fn a_crash_is_told_where_the_bird_lives_with_its_words() {
    let flock = counters(2).await;
    let (name, bird) = start_on::<Counter>(&flock, 1, || 0).await;
    let mut events = flock.nest(1).events();
    assert_eq!(bird.send(Boom).await, Err(CallError::Crashed));
    let reason = until(&mut events, |event| match event {
        Event::Crashed { bird, reason } if bird.as_str() == name => Some(reason.clone()),
        _ => None,
    });
    assert!(reason.await.contains("boom"));
}

#[tokio::test]
async fn events_are_bounded_and_a_slow_reader_learns_how_many_it_lost() {
    let flock = Flock::builder("events").species::<Counter>().local().await.expect("a nest");
    let (mut slow, mut quick) = (flock.events(), flock.events());
    for n in 0..1000u64 {
        let name = format!("bird-{n}");
        flock.start::<Counter>(&name, n).await.expect("it starts");
        until(&mut quick, |event| match event {
            Event::Started(bird) if bird.as_str() == name => Some(()),
            _ => None,
        })
        .await;
    }
    assert_eq!(quick.lost(), 0);
    let last = until(&mut slow, |event| match event {
        Event::Started(bird) if bird.as_str() == "bird-999" => Some(()),
        _ => None,
    });
    last.await;
    assert!(slow.lost() > 500, "two events a bird, and 1024 are kept: {}", slow.lost());
}
