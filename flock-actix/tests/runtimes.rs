//! The same program works under any runtime, and a blocked thread stops only its own birds.

mod common;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use actix::prelude::*;
use actix_rt::ArbiterHandle;
use common::*;
use flock_actix::testing::TestFlock;
use flock_actix::{Bird, BirdRef, Call, Event, Flock, Hatching, NestState, bird};
use serde::{Deserialize, Serialize};

/// All that a program does with a flock.
async fn program() {
    let nest = |name: &str| Flock::builder("any").name(name).species::<Counter>();
    let one = nest("one").form_after(Duration::ZERO).join().await.expect("up");
    let seed = one.address().expect("an address").to_string();
    let two = nest("two").seeds([seed]).form_after(PATIENCE).join().await.expect("up");
    // Birds that are started while the ring still changes may move, and a move carries no state.
    for nest in [&one, &two] {
        while nest.nests().await.iter().filter(|nest| nest.state == NestState::Up).count() < 2 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
    let mut events = one.events();
    for name in names("bird", 8) {
        one.start::<Counter>(&name, 40).await.expect("it starts");
        let bird = counter(&two, &name);
        assert_eq!(bird.send(Add(1)).await, Ok(41));
        let called = two.router().send(Call::new(&bird, Add(1))).await.expect("a router");
        assert_eq!(called, Ok(42));
        bird.do_send(Add(1));
    }
    two.stop("bird-0").await.expect("it stops");
    until(&mut events, |event| matches!(event, Event::Ended(..)).then_some(())).await;
    assert_eq!(two.nests().await.len(), 2);
    two.leave().await.expect("it leaves");
    assert_eq!(counter(&one, "bird-1").send(Add(0)).deadline(PATIENCE).await.map(|_| ()), Ok(()));
    one.leave().await.expect("it leaves");
}

#[test]
fn the_program_works_under_actix_main() {
    #[actix::main]
    async fn main() {
        program().await;
    }
    main();
}

#[test]
fn the_program_works_under_actix_web_main() {
    #[actix_web::main]
    async fn main() {
        program().await;
    }
    main();
}

#[test]
fn the_program_works_under_tokio_main_with_many_threads() {
    #[tokio::main]
    async fn main() {
        tokio::spawn(program()).await.expect("no panic");
    }
    main();
}

#[test]
fn the_program_works_under_tokio_main_with_one_thread() {
    #[tokio::main(flavor = "current_thread")]
    async fn main() {
        program().await;
    }
    main();
}

#[test]
fn a_flock_outlives_the_runtime_that_started_it() {
    let runtime = || {
        let mut builder = tokio::runtime::Builder::new_current_thread();
        builder.enable_all().build().expect("a runtime")
    };
    let flock = runtime().block_on(async {
        let flock = Flock::builder("any").species::<Counter>().local().await.expect("a nest");
        flock.start::<Counter>("robin", 1).await.expect("it starts");
        flock
    });
    let another = std::thread::spawn(move || {
        runtime().block_on(async { counter(&flock, "robin").send(Add(1)).await })
    });
    assert_eq!(another.join().expect("no panic"), Ok(2));
}

#[tokio::test]
async fn a_bird_that_blocks_its_thread_for_five_seconds_delays_nothing_else() {
    let flock =
        TestFlock::with(3, |nest| nest.species::<Blocker>().workers(2).restarts(5, PATIENCE)).await;
    // Birds of nest 0 by the thread that they live on.
    let mut threads: BTreeMap<String, Vec<BirdRef<Blocker>>> = BTreeMap::new();
    for n in 0..60 {
        let name = format!("blocker-{n}");
        let bird = flock.nest(0).start::<Blocker>(&name, ()).await.expect("it starts");
        if owner(flock.nest(0), &name).await.as_deref() == Some("nest-0") {
            let thread = bird.send(Thread).await.expect("an answer");
            threads.entry(thread).or_default().push(bird);
        }
    }
    assert_eq!(threads.len(), 2, "birds live on two threads");
    let mut others = Vec::new();
    let mut events: Vec<_> = flock.nests().map(Flock::events).collect();
    let mut groups = threads.into_values();
    let (blocked, free) = (groups.next().expect("one"), groups.next().expect("two"));
    for nest in flock.nests() {
        for bird in &free {
            let bird: BirdRef<Blocker> = nest.bird(bird.name().as_str()).expect("a name");
            // Each nest has called before: links need not be dialled first.
            assert!(bird.send(Thread).await.is_ok());
            others.push(bird);
        }
    }
    let begun = Instant::now();
    blocked[0].do_send(Block(5000));
    let mut slowest = Duration::ZERO;
    while begun.elapsed() < Duration::from_millis(4500) {
        for bird in &others {
            let called = Instant::now();
            let answer = bird.send(Thread).deadline(PATIENCE).await;
            assert!(answer.is_ok(), "{answer:?}");
            slowest = slowest.max(called.elapsed());
        }
        let asked = Instant::now();
        assert_eq!(flock.nest(0).nests().await.len(), 3);
        slowest = slowest.max(asked.elapsed());
    }
    assert!(slowest < Duration::from_millis(1500), "one took {slowest:?}");
    assert!(blocked[0].send(Thread).deadline(PATIENCE).await.is_ok());
    assert!(begun.elapsed() >= Duration::from_secs(5), "it did block its own thread");
    for (i, events) in events.iter_mut().enumerate() {
        flock.nest(i).start::<Blocker>(&format!("last-{i}"), ()).await.expect("it starts");
        let down = until(events, |event| match event {
            Event::NestDown(nest) => Some(Some(nest.clone())),
            Event::Started(bird) if bird.as_str().starts_with("last") => Some(None),
            _ => None,
        });
        assert_eq!(down.await, None, "no nest was held to be dead");
    }
}

#[tokio::test]
async fn a_blocked_thread_delays_no_calls_that_other_threads_of_its_nest_make() {
    let flock = TestFlock::with(2, |nest| nest.species::<Blocker>().workers(2)).await;
    let mut birds = Vec::new();
    for n in 0..20 {
        let name = format!("blocker-{n}");
        flock.nest(0).start::<Blocker>(&name, ()).await.expect("it starts");
        if owner(flock.nest(0), &name).await.as_deref() == Some("nest-0") {
            birds.push(flock.nest(1).bird::<Blocker>(&name).expect("a name"));
        }
    }
    let threads = flock.nest(1).arbiters();
    assert_eq!(threads.len(), 2);
    // Each thread has called before: links need not be dialled first.
    for thread in &threads {
        assert_eq!(call_all_from(thread, birds.clone()).await, Ok(()));
    }
    let (unblock, blocked) = std::sync::mpsc::channel::<()>();
    threads[0].spawn_fn(move || {
        let _ = blocked.recv();
    });
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(2) {
        let called = Instant::now();
        assert_eq!(call_all_from(&threads[1], birds.clone()).await, Ok(()));
        for bird in &birds {
            assert!(bird.send(Thread).await.is_ok(), "from a thread that isn't the nest's");
        }
        assert!(called.elapsed() < Duration::from_millis(1500));
    }
    drop(unblock);
    assert_eq!(call_all_from(&threads[0], birds).await, Ok(()));
}

/// Calls birds one after the other on this thread, and says what went wrong.
async fn call_all_from(
    thread: &ArbiterHandle,
    birds: Vec<BirdRef<Blocker>>,
) -> Result<(), flock_actix::CallError> {
    let (tell, told) = tokio::sync::oneshot::channel();
    thread.spawn(async move {
        let mut outcome = Ok(());
        for bird in birds {
            outcome = outcome.and(bird.send(Thread).deadline(PATIENCE).await.map(|_| ()));
        }
        let _ = tell.send(outcome);
    });
    told.await.expect("the thread goes on")
}

struct Blocker;

impl Actor for Blocker {
    type Context = Context<Self>;
}

impl Bird for Blocker {
    type Args = ();
    async fn hatch((): (), _: &Hatching) -> anyhow::Result<Self> {
        Ok(Self)
    }
}

/// Blocks the thread for so many milliseconds.
#[derive(Message, Serialize, Deserialize)]
#[rtype(result = "()")]
struct Block(u64);

/// Which thread is this?
#[derive(Message, Serialize, Deserialize)]
#[rtype(result = "String")]
struct Thread;

bird!(Blocker as "blocker" { Block, Thread });

impl Handler<Block> for Blocker {
    type Result = ();
    fn handle(&mut self, Block(millis): Block, _: &mut Context<Self>) {
        std::thread::sleep(Duration::from_millis(millis));
    }
}

impl Handler<Thread> for Blocker {
    type Result = String;
    fn handle(&mut self, _: Thread, _: &mut Context<Self>) -> String {
        format!("{:?}", std::thread::current().id())
    }
}
