//! A nest that leaves while its birds are busy: each goes as soon as it can, and what can't go is told.

mod common;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread::ThreadId;
use std::time::{Duration, Instant};

use actix::prelude::*;
use common::*;
use flock_actix::testing::TestFlock;
use flock_actix::{Bird, BirdRef, CallError, Departure, Flock, Hatching, bird};
use serde::{Deserialize, Serialize};

/// Takes as long as it is told to: for its work, and to stop.
struct Slow {
    name: String,
    nest: String,
    stops_for: Duration,
}

/// Is handled for so long, and holds up no other call.
#[derive(Clone, Copy, Message, Serialize, Deserialize)]
#[rtype(result = "()")]
struct Work(Duration);

/// Blocks the bird's thread until the test lets it go.
#[derive(Message, Serialize, Deserialize)]
#[rtype(result = "()")]
struct Block;

/// Says where it lives.
#[derive(Message, Serialize, Deserialize)]
#[rtype(result = "String")]
struct Where;

/// What happened to birds in this process, in order: name, nest, and what.
static LOG: Mutex<Vec<(String, String, Deed)>> = Mutex::new(Vec::new());

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Deed {
    Hatched(ThreadId),
    Works,
    Gone,
}

fn note(name: &str, nest: &str, deed: Deed) {
    LOG.lock().unwrap_or_else(PoisonError::into_inner).push((name.into(), nest.into(), deed));
}

/// What happened to this bird, and when by the order of all.
fn story(name: &str) -> Vec<(usize, String, Deed)> {
    let log = LOG.lock().unwrap_or_else(PoisonError::into_inner);
    let of = |(at, (bird, nest, deed)): (usize, &(String, String, Deed))| {
        (bird == name).then(|| (at, nest.clone(), *deed))
    };
    log.iter().enumerate().filter_map(of).collect()
}

/// When this first happened to the bird on that nest.
fn when(name: &str, nest: &str, what: impl Fn(Deed) -> bool) -> Option<usize> {
    story(name).into_iter().find(|(_, on, deed)| on == nest && what(*deed)).map(|(at, ..)| at)
}

fn is_hatched(deed: Deed) -> bool {
    matches!(deed, Deed::Hatched(_))
}

/// The most lives that the bird had at once.
fn most_lives(name: &str) -> usize {
    let (mut lives, mut most) = (0, 0);
    for (_, _, deed) in story(name) {
        match deed {
            Deed::Hatched(_) => lives += 1,
            Deed::Gone => lives -= 1,
            Deed::Works => {}
        }
        most = most.max(lives);
    }
    most
}

static LET_GO: AtomicBool = AtomicBool::new(false);

impl Actor for Slow {
    type Context = Context<Self>;

    fn stopping(&mut self, _: &mut Context<Self>) -> Running {
        std::thread::sleep(self.stops_for);
        Running::Stop
    }
}

impl Drop for Slow {
    fn drop(&mut self) {
        note(&self.name, &self.nest, Deed::Gone);
    }
}

impl Bird for Slow {
    /// How long it takes to stop.
    type Args = Duration;

    async fn hatch(stops_for: Duration, bird: &Hatching) -> anyhow::Result<Self> {
        let (name, nest) = (bird.name().to_string(), bird.nest().to_string());
        note(&name, &nest, Deed::Hatched(std::thread::current().id()));
        Ok(Self { name, nest, stops_for })
    }
}

bird!(Slow as "slow" { Work, Block, Where });

impl Handler<Work> for Slow {
    type Result = ResponseActFuture<Self, ()>;

    fn handle(&mut self, Work(time): Work, _: &mut Context<Self>) -> Self::Result {
        note(&self.name, &self.nest, Deed::Works);
        Box::pin(tokio::time::sleep(time).into_actor(self))
    }
}

impl Handler<Block> for Slow {
    type Result = ();

    fn handle(&mut self, _: Block, _: &mut Context<Self>) {
        note(&self.name, &self.nest, Deed::Works);
        while !LET_GO.load(Ordering::Acquire) {
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

impl Handler<Where> for Slow {
    type Result = String;

    fn handle(&mut self, _: Where, _: &mut Context<Self>) -> String {
        self.nest.clone()
    }
}

const FAST: Duration = Duration::from_millis(500);
const LONG: Duration = Duration::from_secs(5);
/// Longer than any of them.
const FOR_EVER: Duration = Duration::from_secs(3600);

/// Two nests, whose birds may take so long to finish, and who may take so long to leave.
async fn two(finish: Duration, leave: Duration) -> TestFlock {
    let nest = move |nest: flock_actix::Builder| {
        nest.species::<Slow>().species::<Counter>().drain_timeout(finish).leave_timeout(leave)
    };
    TestFlock::with(2, move |builder| nest(builder).workers(2)).await
}

fn slow(nest: &Flock, name: &str) -> BirdRef<Slow> {
    nest.bird(name).expect("a name")
}

/// Starts a bird that lives on nest 0 and of which `fits` is true; takes so long to stop. Its name.
async fn start(
    flock: &TestFlock,
    prefix: &str,
    stops_for: Duration,
    fits: impl Fn(&str) -> bool,
) -> String {
    for n in 0..1000 {
        let name = format!("{prefix}-{n}");
        flock.nest(0).start::<Slow>(&name, stops_for).await.expect("it starts");
        let home = slow(flock.nest(1), &name).send(Where).await.expect("it lives");
        if home == flock.nest(0).name() && fits(&name) {
            return name;
        }
    }
    panic!("nest 0 owns nothing");
}

/// Has nest 1 call it, and waits until the bird is at work.
async fn put_to_work<M>(flock: &TestFlock, name: &str, work: M) -> Called
where
    Slow: flock_actix::Hears<M>,
    M: flock_actix::Wire<Result = ()> + Send,
{
    let call = slow(flock.nest(1), name).send(work).deadline(FOR_EVER).at_once();
    let call = actix::spawn(call);
    let works = || async { when(name, "nest-0", |deed| deed == Deed::Works).is_some() };
    flock.eventually(PATIENCE, works).await;
    call
}

type Called = actix_rt::task::JoinHandle<Result<(), CallError>>;

/// What became of the call.
async fn outcome(call: Called) -> Result<(), CallError> {
    tokio::time::timeout(PATIENCE, call).await.expect("it ends").expect("no panic")
}

#[actix::test]
async fn a_bird_that_is_done_soon_moves_before_a_slow_one_has_finished() {
    let flock = two(2 * LONG, 6 * LONG).await;
    let fast = start(&flock, "works-soon", Duration::ZERO, |_| true).await;
    let late = start(&flock, "works-long", Duration::ZERO, |_| true).await;
    let calls = [
        put_to_work(&flock, &late, Work(LONG)).await,
        put_to_work(&flock, &fast, Work(FAST)).await,
    ];
    assert_eq!(flock.nest(0).leave().await, Ok(Departure::default()), "nothing is left behind");
    for call in calls {
        assert_eq!(outcome(call).await, Ok(()), "what was begun is finished");
    }
    moved_in_turn(&flock, &fast, &late).await;
}

#[actix::test]
async fn a_bird_that_stops_soon_moves_before_a_slow_one_has_stopped() {
    let flock = two(LONG, 6 * LONG).await;
    let late = start(&flock, "stops-late", LONG, |_| true).await;
    // A bird whose `stopping` blocks holds up those of its own thread, whoever they are.
    let thread = |name: &str| story(name).into_iter().find(|(_, _, deed)| is_hatched(*deed));
    let elsewhere = |name: &str| thread(name).map(|it| it.2) != thread(&late).map(|it| it.2);
    let fast = start(&flock, "stops-soon", FAST, elsewhere).await;
    assert_eq!(flock.nest(0).leave().await, Ok(Departure::default()), "nothing is left behind");
    moved_in_turn(&flock, &fast, &late).await;
}

/// The fast one lived on nest 1 before the late one was gone from nest 0; neither lived twice.
async fn moved_in_turn(flock: &TestFlock, fast: &str, late: &str) {
    for name in [fast, late] {
        let home = slow(flock.nest(1), name).send(Where).deadline(PATIENCE).await;
        assert_eq!(home.as_deref(), Ok("nest-1"), "{name}");
        assert_eq!(most_lives(name), 1, "{name}: {:?}", story(name));
    }
    let hatched = when(fast, "nest-1", is_hatched).expect("it moved");
    let gone = when(late, "nest-0", |deed| deed == Deed::Gone).expect("it moved");
    assert!(hatched < gone, "{:?} {:?}", story(fast), story(late));
}

#[actix::test]
async fn a_call_that_never_ends_is_interrupted_in_time_and_its_bird_moves() {
    let flock = two(FAST, 6 * LONG).await;
    let name = start(&flock, "busy", Duration::ZERO, |_| true).await;
    let call = put_to_work(&flock, &name, Work(FOR_EVER)).await;
    let begun = Instant::now();
    assert_eq!(flock.nest(0).leave().await, Ok(Departure::default()), "nothing is left behind");
    assert!(begun.elapsed() >= FAST, "it had its time");
    assert_eq!(outcome(call).await, Err(CallError::Interrupted));
    let home = slow(flock.nest(1), &name).send(Where).deadline(PATIENCE).await;
    assert_eq!(home.as_deref(), Ok("nest-1"));
    assert_eq!(most_lives(&name), 1);
}

#[actix::test]
async fn a_leave_ends_at_its_deadline_and_says_which_birds_it_left_behind() {
    let flock = two(FOR_EVER, 2 * FAST).await;
    let idle = start(&flock, "idle", Duration::ZERO, |_| true).await;
    let name = start(&flock, "stuck", Duration::ZERO, |_| true).await;
    let call = put_to_work(&flock, &name, Work(FOR_EVER)).await;
    let Departure { left_behind, .. } = flock.nest(0).leave().await.expect("it leaves");
    assert_eq!(left_behind.iter().map(|bird| bird.as_str()).collect::<Vec<_>>(), [&*name]);
    let error = outcome(call).await;
    assert_eq!(error, Err(CallError::OutcomeUnknown), "nobody can say what became of it");
    for name in [&name, &idle] {
        let home = slow(flock.nest(1), name).send(Where).deadline(PATIENCE).await;
        assert_eq!(home.as_deref(), Ok("nest-1"), "{name}");
    }
}

#[actix::test]
async fn a_bird_that_blocks_its_thread_for_ever_holds_up_no_leave() {
    let flock = two(FAST, 2 * FAST).await;
    let name = start(&flock, "blocks", Duration::ZERO, |_| true).await;
    let call = put_to_work(&flock, &name, Block).await;
    let leave = tokio::time::timeout(PATIENCE, flock.nest(0).leave()).await;
    let Departure { left_behind, .. } = leave.expect("in time").expect("it leaves");
    assert!(left_behind.iter().any(|bird| bird.as_str() == name), "{left_behind:?}");
    assert_eq!(outcome(call).await, Err(CallError::OutcomeUnknown));
    let home = slow(flock.nest(1), &name).send(Where).deadline(PATIENCE).await;
    assert_eq!(home.as_deref(), Ok("nest-1"));
    LET_GO.store(true, Ordering::Release);
}
