//! Birds of whose state another nest holds a copy: what is left of it when their process is gone.

mod common;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use actix::prelude::*;
use common::{PATIENCE, names, until};
use flock_actix::testing::TestFlock;
use flock_actix::{
    Bird, BirdRef, Checkpoints, Event, Flock, Hatching, Migrate, SnapshotError, Standby, bird,
};
use serde::{Deserialize, Serialize};

/// Adds up; a copy is made when it is asked for one.
struct Ledger {
    total: u64,
    ballast: Vec<u8>,
    why: String,
    nest: String,
    checkpoints: Checkpoints,
}

/// Adds; the sum.
#[derive(Message, Serialize, Deserialize)]
#[rtype(result = "u64")]
struct Add(u64);

/// Adds, and answers when another nest holds the sum: which one; or why none does.
#[derive(Message, Serialize, Deserialize)]
#[rtype(result = "Result<String, String>")]
struct Keep(u64);

/// The same, while nothing else is handled.
#[derive(Message, Serialize, Deserialize)]
#[rtype(result = "Result<String, String>")]
struct KeepAlone(u64);

/// Makes the state so many bytes larger.
#[derive(Message, Serialize, Deserialize)]
#[rtype(result = "()")]
struct Grow(usize);

/// The sum, why it hatched, and where.
#[derive(Message, Serialize, Deserialize)]
#[rtype(result = "(u64, String, String)")]
struct Look;

impl Actor for Ledger {
    type Context = Context<Self>;
}

impl Ledger {
    fn with(total: u64, bird: &Hatching) -> Self {
        let (why, nest) = (format!("{:?}", bird.why()), bird.nest().to_string());
        Self { total, ballast: Vec::new(), why, nest, checkpoints: bird.checkpoints() }
    }
}

impl Bird for Ledger {
    type Args = u64;

    async fn hatch(start: u64, bird: &Hatching) -> anyhow::Result<Self> {
        Ok(Self::with(start, bird))
    }
}

impl Migrate for Ledger {
    type Snapshot = (u64, Vec<u8>);

    const STANDBY: Standby = Standby::WHEN_ASKED;

    fn snapshot(&mut self) -> Self::Snapshot {
        (self.total, self.ballast.clone())
    }

    fn restore(
        _: u64,
        snapshot: Result<Self::Snapshot, SnapshotError>,
        bird: &Hatching,
    ) -> anyhow::Result<Self> {
        let (total, ballast) = snapshot?;
        Ok(Self { ballast, ..Self::with(total, bird) })
    }
}

bird!(Ledger as "ledger", migrates { Add, Keep, KeepAlone, Grow, Look });

impl Handler<Add> for Ledger {
    type Result = u64;

    fn handle(&mut self, Add(n): Add, _: &mut Context<Self>) -> u64 {
        self.total += n;
        self.total
    }
}

impl Handler<Keep> for Ledger {
    type Result = ResponseFuture<Result<String, String>>;

    fn handle(&mut self, Keep(n): Keep, _: &mut Context<Self>) -> Self::Result {
        self.total += n;
        let kept = self.checkpoints.checkpoint();
        Box::pin(async move { kept.await.map(|n| n.to_string()).map_err(|e| e.to_string()) })
    }
}

impl Handler<KeepAlone> for Ledger {
    type Result = AtomicResponse<Self, Result<String, String>>;

    fn handle(&mut self, KeepAlone(n): KeepAlone, _: &mut Context<Self>) -> Self::Result {
        self.total += n;
        let kept = self.checkpoints.checkpoint();
        let kept = async move { kept.await.map(|n| n.to_string()).map_err(|e| e.to_string()) };
        AtomicResponse::new(Box::pin(kept.into_actor(self)))
    }
}

impl Handler<Grow> for Ledger {
    type Result = ();

    fn handle(&mut self, Grow(by): Grow, _: &mut Context<Self>) {
        self.ballast.resize(self.ballast.len() + by, 7);
    }
}

impl Handler<Look> for Ledger {
    type Result = MessageResult<Look>;

    fn handle(&mut self, Look: Look, _: &mut Context<Self>) -> Self::Result {
        MessageResult((self.total, self.why.clone(), self.nest.clone()))
    }
}

/// A copy of it is made by and by.
struct Diary(u64);

const PERIOD: Duration = Duration::from_millis(100);

/// How often the state of a diary was taken.
static TAKEN: AtomicUsize = AtomicUsize::new(0);

impl Actor for Diary {
    type Context = Context<Self>;
}

impl Bird for Diary {
    type Args = ();

    async fn hatch((): (), _: &Hatching) -> anyhow::Result<Self> {
        Ok(Self(0))
    }
}

impl Migrate for Diary {
    type Snapshot = u64;

    const STANDBY: Standby = Standby::every(PERIOD);

    fn snapshot(&mut self) -> u64 {
        TAKEN.fetch_add(1, Ordering::Relaxed);
        self.0
    }

    fn restore((): (), snapshot: Result<u64, SnapshotError>, _: &Hatching) -> anyhow::Result<Self> {
        Ok(Self(snapshot?))
    }
}

bird!(Diary as "diary", migrates { Add });

impl Handler<Add> for Diary {
    type Result = u64;

    fn handle(&mut self, Add(n): Add, ctx: &mut Context<Self>) -> u64 {
        self.0 += n;
        // Has the context look at all that is in it once more.
        ctx.spawn(async {}.into_actor(self));
        self.0
    }
}

/// Writes into a diary beside it, whose thread is its own, and says when that was done.
struct Writer(Flock);

/// Into the diary of this name.
#[derive(Message, Serialize, Deserialize)]
#[rtype(result = "Option<u64>")]
struct Write(String);

impl Actor for Writer {
    type Context = Context<Self>;
}

impl Bird for Writer {
    type Args = ();

    async fn hatch((): (), bird: &Hatching) -> anyhow::Result<Self> {
        Ok(Self(bird.flock()))
    }
}

bird!(Writer as "writer" { Write });

impl Handler<Write> for Writer {
    type Result = ResponseFuture<Option<u64>>;

    fn handle(&mut self, Write(diary): Write, _: &mut Context<Self>) -> Self::Result {
        let diary = self.0.bird::<Diary>(&diary).map(|diary| diary.send(Add(1)));
        Box::pin(async move { diary.ok()?.await.ok() })
    }
}

/// Takes its state along, and that is all.
struct Loner(Checkpoints);

impl Actor for Loner {
    type Context = Context<Self>;
}

impl Bird for Loner {
    type Args = ();

    async fn hatch((): (), bird: &Hatching) -> anyhow::Result<Self> {
        Ok(Self(bird.checkpoints()))
    }
}

bird!(Loner as "loner" { Keep });

impl Handler<Keep> for Loner {
    type Result = ResponseFuture<Result<String, String>>;

    fn handle(&mut self, Keep(_): Keep, _: &mut Context<Self>) -> Self::Result {
        let kept = self.0.checkpoint();
        Box::pin(async move { kept.await.map(|n| n.to_string()).map_err(|e| e.to_string()) })
    }
}

async fn ledgers(nests: usize) -> TestFlock {
    TestFlock::with(nests, |nest| {
        let nest = nest.species::<Ledger>().species::<Diary>().species::<Writer>();
        nest.species::<Loner>().snapshot_bytes(100_000)
    })
    .await
}

fn ledger(nest: &Flock, name: &str) -> BirdRef<Ledger> {
    nest.bird(name).expect("a name")
}

async fn start(nest: &Flock, names: &[String]) {
    for name in names {
        nest.start::<Ledger>(name, 1000).await.expect("it starts");
    }
}

/// Calls until there is an answer: while nests die, outcomes are unknown.
async fn answered<F: IntoFuture<Output = Result<T, E>>, T, E: std::fmt::Display>(
    call: impl Fn() -> F,
) -> T {
    let begun = Instant::now();
    loop {
        match call().await {
            Ok(answer) => return answer,
            Err(error) => assert!(begun.elapsed() < PATIENCE, "still {error}"),
        }
    }
}

/// What a ledger says, as soon as it can.
async fn look(nest: &Flock, name: &str) -> (u64, String, String) {
    answered(|| ledger(nest, name).send(Look)).await
}

/// How many copies all nests hold.
async fn copies(flock: &TestFlock) -> u64 {
    let mut copies = 0;
    for nest in flock.nests() {
        copies += nest.counters().await.copies;
    }
    copies
}

async fn await_copies(flock: &TestFlock, count: u64) {
    flock.eventually(PATIENCE, || async { copies(flock).await == count }).await;
}

#[actix::test]
async fn a_bird_goes_on_from_its_last_checkpoint_where_that_lies_when_its_nest_is_gone() {
    let mut flock = ledgers(3).await;
    let names = names("ledger", 60);
    start(flock.nest(0), &names).await;
    let mut holders = Vec::new();
    for name in &names {
        let bird = ledger(flock.nest(0), name);
        let (_, _, nest) = look(flock.nest(0), name).await;
        bird.send(Add(1)).await.expect("an answer");
        let holder = bird.send(Keep(10)).await.expect("an answer").expect("a copy");
        assert_ne!(holder, nest, "{name}");
        bird.send(Add(100)).await.expect("an answer");
        holders.push((name, nest, holder));
    }
    await_copies(&flock, 60).await;
    flock.kill(1).await;
    let mut lost = 0;
    for (name, nest, holder) in holders {
        let expect = if nest == "nest-1" {
            lost += 1;
            (1011, "NestLost".to_owned(), holder)
        } else {
            (1111, "Start".to_owned(), nest)
        };
        assert_eq!(look(flock.nest(0), name).await, expect, "{name}");
    }
    assert!(lost > 5, "nest-1 had {lost}");
}

#[actix::test]
async fn of_many_that_ask_at_once_each_is_told_that_its_own_part_is_held() {
    let mut flock = ledgers(2).await;
    let (name, _) = common::start_on::<Ledger>(&flock, 1, || 0).await;
    let bird = ledger(flock.nest(0), &name);
    let calls: Vec<_> = (0..200).map(|_| bird.send(Keep(1)).at_once()).collect();
    for call in calls {
        assert_eq!(call.await.expect("an answer"), Ok("nest-0".to_owned()));
    }
    // Also one that has the bird for itself meanwhile.
    assert_eq!(bird.send(KeepAlone(1)).await.expect("an answer"), Ok("nest-0".to_owned()));
    flock.kill(1).await;
    assert_eq!(look(flock.nest(0), &name).await.0, 201);
}

#[actix::test]
async fn a_copy_is_made_by_and_by_and_only_while_there_is_something_new() {
    let mut flock = ledgers(2).await;
    let (name, _) = common::start_on::<Diary>(&flock, 1, || ()).await;
    let bird = flock.nest(0).bird::<Diary>(&name).expect("a name");
    let begun = Instant::now();
    let mut sum = 0;
    while begun.elapsed() < 5 * PERIOD {
        sum = bird.send(Add(1)).await.expect("an answer");
    }
    let (taken, most) = (TAKEN.load(Ordering::Relaxed), begun.elapsed().as_millis() / 100 + 2);
    assert!((2..=most).contains(&(taken as u128)), "{taken} copies of {sum} states");
    // One more, for what the last calls did; and then none.
    tokio::time::sleep(3 * PERIOD).await;
    let taken = TAKEN.load(Ordering::Relaxed);
    tokio::time::sleep(3 * PERIOD).await;
    assert_eq!(TAKEN.load(Ordering::Relaxed), taken);
    // Also for what a bird of the same thread did.
    let (writer, _) = common::start_on::<Writer>(&flock, 1, || ()).await;
    let writer = flock.nest(0).bird::<Writer>(&writer).expect("a name");
    assert_eq!(writer.send(Write(name)).await, Ok(Some(sum + 1)));
    flock.eventually(PATIENCE, || async { TAKEN.load(Ordering::Relaxed) == taken + 1 }).await;
    tokio::time::sleep(3 * PERIOD).await;
    assert_eq!(TAKEN.load(Ordering::Relaxed), taken + 1);
    flock.kill(1).await;
    let next = answered(|| bird.send(Add(1))).await;
    assert_eq!(next, sum + 2);
}

#[actix::test]
async fn a_bird_is_told_why_no_other_nest_holds_its_state() {
    let flock = ledgers(1).await;
    let alone = flock.nest(0).start::<Ledger>("alone", 0).await.expect("it starts");
    let why = alone.send(Keep(1)).await.expect("an answer");
    assert_eq!(why, Err("there is no other nest".to_owned()));
    let loner = flock.nest(0).start::<Loner>("loner", ()).await.expect("it starts");
    let why = loner.send(Keep(1)).await.expect("an answer");
    assert_eq!(why, Err("the species has no standby".to_owned()));

    let flock = ledgers(2).await;
    let mut events = flock.nest(0).events();
    let (name, _) = common::start_on::<Ledger>(&flock, 0, || 0).await;
    let bird = ledger(flock.nest(0), &name);
    bird.send(Grow(150_000)).await.expect("an answer");
    let why = bird.send(Keep(1)).await.expect("an answer").expect_err("too large");
    assert!(why.contains("bytes, of 100000 at most"), "{why}");
    let told = until(&mut events, |event| match event {
        Event::NotCheckpointed { bird, why } => Some((bird.to_string(), why.clone())),
        _ => None,
    });
    let told = told.await;
    assert_eq!(told, (name, why));
}

#[actix::test]
async fn a_nest_that_holds_as_much_as_it_may_says_so() {
    let flock = TestFlock::with(2, |nest| nest.species::<Ledger>().standby_bytes(1000)).await;
    let (name, _) = common::start_on::<Ledger>(&flock, 1, || 0).await;
    let bird = ledger(flock.nest(0), &name);
    assert_eq!(bird.send(Keep(1)).await.expect("an answer"), Ok("nest-0".to_owned()));
    bird.send(Grow(2000)).await.expect("an answer");
    let why = bird.send(Keep(1)).await.expect("an answer").expect_err("no room");
    assert_eq!(why, "the next nest holds as much for others as it may");
    assert_eq!(copies(&flock).await, 1);
}

#[actix::test]
async fn of_a_bird_that_was_stopped_nothing_is_left_for_the_next_of_its_name() {
    let mut flock = ledgers(2).await;
    let (name, _) = common::start_on::<Ledger>(&flock, 1, || 0).await;
    let bird = ledger(flock.nest(0), &name);
    bird.send(Keep(5)).await.expect("an answer").expect("a copy");
    assert_eq!(copies(&flock).await, 1);
    flock.nest(0).stop(&name).await.expect("it stops");
    await_copies(&flock, 0).await;
    flock.nest(0).start::<Ledger>(&name, 70).await.expect("it starts");
    assert_eq!(look(flock.nest(0), &name).await.0, 70);
    flock.kill(1).await;
    let again = look(flock.nest(0), &name).await;
    assert_eq!(again, (70, "NestLost".to_owned(), "nest-0".to_owned()));
}

#[actix::test]
async fn copies_follow_the_ring_as_nests_come_and_go() {
    let mut flock = ledgers(2).await;
    let names = names("ledger", 40);
    start(flock.nest(0), &names).await;
    for name in &names {
        ledger(flock.nest(0), name).send(Keep(1)).await.expect("an answer").expect("a copy");
    }
    await_copies(&flock, 40).await;
    // Of those that move the state is held elsewhere then; of those that stay another nest may be next.
    for name in ["nest-2", "nest-3"] {
        flock.start_nest(name).await;
        flock.agree().await;
        let moved = || async {
            let mut settled = true;
            for name in &names {
                let (_, _, nest) = look(flock.nest(0), name).await;
                settled &= common::owner(flock.nest(0), name).await == Some(nest);
            }
            settled
        };
        flock.eventually(PATIENCE, moved).await;
        await_copies(&flock, 40).await;
    }
    flock.kill(1).await;
    for name in &names {
        assert_eq!(look(flock.nest(0), name).await.0, 1001, "{name}");
    }
    // What was restored has a copy of its own again.
    await_copies(&flock, 40).await;
    flock.kill(2).await;
    for name in &names {
        assert_eq!(look(flock.nest(0), name).await.0, 1001, "{name}");
    }
}
