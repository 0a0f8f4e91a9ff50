//! Birds that take their state along: from nest to nest, and from both sides of a cut into one.

mod common;

use std::collections::BTreeMap;
use std::time::Duration;

use actix::prelude::*;
use common::*;
use flock_actix::testing::TestFlock;
use flock_actix::{Bird, BirdRef, Event, Flock, Hatching, Migrate, SnapshotError, bird};
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;

/// Counts what it hears; what each of its lives has heard it knows apart, so that what two lives had in
/// common counts once.
struct Tally {
    life: u64,
    heard: BTreeMap<u64, u64>,
    /// Makes its state large.
    ballast: Vec<u8>,
    why: String,
}

/// One more; answers with the sum.
#[derive(Message, Serialize, Deserialize)]
#[rtype(result = "u64")]
struct One;

/// Makes its state so many bytes larger.
#[derive(Message, Serialize, Deserialize)]
#[rtype(result = "()")]
struct Grow(usize);

/// Why it hatched, and how many lives have added to its sum.
#[derive(Message, Serialize, Deserialize)]
#[rtype(result = "(String, usize)")]
struct Past;

/// Is handled for ever, and holds up all others.
/// Has the bird for itself for ever.
#[derive(Message, Serialize, Deserialize)]
#[rtype(result = "()")]
struct Hold;

/// Told when that was begun.
static HELD: Notify = Notify::const_new();

impl Actor for Tally {
    type Context = Context<Self>;
}

impl Tally {
    fn hatched(bird: &Hatching) -> Self {
        let (life, why) = (bird.fence().now().0, format!("{:?}", bird.why()));
        Self { life, heard: BTreeMap::new(), ballast: Vec::new(), why }
    }

    fn sum(&self) -> u64 {
        self.heard.values().sum()
    }
}

impl Bird for Tally {
    type Args = ();

    async fn hatch((): (), bird: &Hatching) -> anyhow::Result<Self> {
        Ok(Self::hatched(bird))
    }
}

impl Migrate for Tally {
    type Snapshot = (BTreeMap<u64, u64>, serde_bytes::ByteBuf);

    fn snapshot(&mut self) -> Self::Snapshot {
        (self.heard.clone(), std::mem::take(&mut self.ballast).into())
    }

    fn restore(
        (): (),
        snapshot: Result<Self::Snapshot, SnapshotError>,
        bird: &Hatching,
    ) -> anyhow::Result<Self> {
        let (heard, ballast) = snapshot?;
        Ok(Self { heard, ballast: ballast.into_vec(), ..Self::hatched(bird) })
    }

    fn merge(&mut self, (heard, _): Self::Snapshot) {
        for (life, count) in heard {
            let known = self.heard.entry(life).or_default();
            *known = count.max(*known);
        }
    }
}

bird!(Tally as "tally", migrates { One, Grow, Past, Hold });

impl Handler<One> for Tally {
    type Result = u64;

    fn handle(&mut self, _: One, _: &mut Context<Self>) -> u64 {
        *self.heard.entry(self.life).or_default() += 1;
        self.sum()
    }
}

impl Handler<Grow> for Tally {
    type Result = ();

    fn handle(&mut self, Grow(by): Grow, _: &mut Context<Self>) {
        self.ballast.resize(self.ballast.len() + by, 7);
    }
}

impl Handler<Past> for Tally {
    type Result = MessageResult<Past>;

    fn handle(&mut self, _: Past, _: &mut Context<Self>) -> Self::Result {
        MessageResult((self.why.clone(), self.heard.len()))
    }
}

impl Handler<Hold> for Tally {
    type Result = AtomicResponse<Self, ()>;

    fn handle(&mut self, _: Hold, _: &mut Context<Self>) -> Self::Result {
        HELD.notify_one();
        AtomicResponse::new(Box::pin(std::future::pending().into_actor(self)))
    }
}

async fn tallies(nests: usize) -> TestFlock {
    TestFlock::with(nests, |nest| {
        nest.species::<Tally>().snapshot_bytes(100_000).drain_timeout(Duration::from_millis(200))
    })
    .await
}

fn tally(nest: &Flock, name: &str) -> BirdRef<Tally> {
    nest.bird(name).expect("a name")
}

async fn start(nest: &Flock, names: &[String]) {
    for name in names {
        nest.start::<Tally>(name, ()).await.expect("it starts");
    }
}

async fn one(nest: &Flock, name: &str) -> u64 {
    let call = tally(nest, name).send(One).deadline(PATIENCE).await;
    call.unwrap_or_else(|e| panic!("{name} from {}: {e}", nest.name()))
}

#[actix::test]
async fn nothing_is_forgotten_and_no_call_is_lost_when_nests_come_and_go() {
    let mut flock = tallies(2).await;
    let birds = names("tally", 40);
    start(flock.nest(0), &birds).await;
    let caller = flock.nest(0).clone();
    let (done, mut over) = tokio::sync::watch::channel(false);
    let mut callers = Vec::new();
    for name in birds.clone() {
        let (nest, over) = (caller.clone(), over.clone());
        callers.push(actix::spawn(async move {
            let mut told = 0;
            while !*over.borrow() {
                // The next number each time: none is lost, none counted twice, none overtaken.
                told += 1;
                assert_eq!(one(&nest, &name).await, told, "{name}");
            }
            told
        }));
    }
    let third = flock.start_nest("nest-2").await;
    flock.agree().await;
    let moved = || async { flock.nest(third).local_birds().await.len() >= 5 };
    flock.eventually(PATIENCE, moved).await;
    flock.nest(1).leave().await.expect("it leaves");
    flock.kill(1).await;
    flock.agree().await;
    done.send(true).expect("they listen");
    let _ = over.changed().await;
    let mut sums = Vec::new();
    for caller in callers {
        sums.push(caller.await.expect("it called"));
    }
    let mut lives_before = 0;
    for (name, sum) in birds.iter().zip(sums) {
        assert_eq!(one(flock.nest(third), name).await, sum + 1, "{name}");
        let past = tally(&caller, name).send(Past).deadline(PATIENCE).await.expect("an answer");
        lives_before = lives_before.max(past.1);
    }
    assert!(lives_before > 1, "some birds have moved");
}

#[actix::test]
async fn what_both_sides_of_a_cut_counted_adds_up() {
    let flock = tallies(2).await;
    let birds = names("tally", 20);
    start(flock.nest(0), &birds).await;
    for name in &birds {
        assert_eq!(one(flock.nest(0), name).await, 1);
    }
    flock.partition(&[0], &[1]);
    let both = || async {
        let (a, b) = (flock.nest(0).local_birds(), flock.nest(1).local_birds());
        a.await.len() == 20 && b.await.len() == 20
    };
    flock.eventually(PATIENCE, both).await;
    // Where the bird was, it counts on from 1; beyond the cut it begins anew.
    let mut counts = BTreeMap::new();
    for name in &birds {
        for _ in 0..3 {
            one(flock.nest(0), name).await;
        }
        for _ in 0..4 {
            one(flock.nest(1), name).await;
        }
        counts.insert(name.clone(), 1 + 3 + 4);
    }
    flock.heal();
    flock.agree().await;
    for (name, sum) in counts {
        let merged = || async {
            let told = tally(flock.nest(1), &name).send(Past).deadline(PATIENCE).await;
            let alone = lives_of(&flock, &name).await == 1;
            alone && told.is_ok_and(|(_, lives)| lives == 2)
        };
        flock.eventually(PATIENCE, merged).await;
        assert_eq!(one(flock.nest(0), &name).await, sum + 1, "{name}");
        assert_eq!(one(flock.nest(1), &name).await, sum + 2, "{name}");
    }
}

async fn lives_of(flock: &TestFlock, name: &str) -> usize {
    let mut lives = 0;
    for nest in flock.nests() {
        lives += nest.local_birds().await.iter().filter(|bird| bird.as_str() == name).count();
    }
    lives
}

#[actix::test]
async fn two_birds_started_under_one_name_beyond_a_cut_become_one_with_both_their_counts() {
    let flock = tallies(2).await;
    flock.partition(&[0], &[1]);
    let apart = || async {
        flock.nest(0).nests().await.len() == 1 && flock.nest(1).nests().await.len() == 1
    };
    flock.eventually(PATIENCE, apart).await;
    let birds = names("twin", 10);
    for nest in flock.nests() {
        start(nest, &birds).await;
        for name in &birds {
            one(nest, name).await;
        }
    }
    flock.heal();
    flock.agree().await;
    for name in &birds {
        let merged = || async {
            let told = tally(flock.nest(1), name).send(Past).deadline(PATIENCE).await;
            told.is_ok_and(|(_, lives)| lives == 2) && lives_of(&flock, name).await == 1
        };
        flock.eventually(PATIENCE, merged).await;
        assert_eq!(one(flock.nest(0), name).await, 3, "{name}");
    }
}

#[actix::test]
async fn a_bird_that_was_stopped_beyond_a_cut_leaves_nothing_to_its_successor() {
    let flock = tallies(2).await;
    let birds = names("heir", 10);
    start(flock.nest(0), &birds).await;
    flock.partition(&[0], &[1]);
    let both = || async {
        let (a, b) = (flock.nest(0).local_birds(), flock.nest(1).local_birds());
        a.await.len() == 10 && b.await.len() == 10
    };
    flock.eventually(PATIENCE, both).await;
    for name in &birds {
        one(flock.nest(1), name).await;
        flock.nest(0).stop(name).await.expect("it stops");
        flock.nest(0).start::<Tally>(name, ()).await.expect("it starts");
    }
    flock.heal();
    flock.agree().await;
    for name in &birds {
        flock.eventually(PATIENCE, || async { lives_of(&flock, name).await == 1 }).await;
        assert_eq!(one(flock.nest(1), name).await, 1, "{name}");
    }
}

/// Has the nest on which the bird lives leave, and says what the other one is told of its state.
async fn moved_without(flock: &TestFlock, name: &str) -> String {
    let mut events = flock.nest(0).events();
    flock.nest(0).leave().await.expect("it leaves");
    let lost = |event: &Event| match event {
        Event::StateLost { bird, why } if bird.as_str() == name => Some(why.clone()),
        _ => None,
    };
    until(&mut events, lost).await
}

#[actix::test]
async fn a_state_that_is_too_large_is_left_behind() {
    let flock = tallies(2).await;
    let (name, bird) = start_on::<Tally>(&flock, 0, || ()).await;
    bird.send(Grow(100_001)).await.expect("it grows");
    let why = moved_without(&flock, &name).await;
    assert!(why.contains("100000 at most"), "{why}");
    assert_eq!(one(flock.nest(1), &name).await, 1, "it lives, and begins anew");
}

#[actix::test]
async fn a_state_that_cannot_be_taken_in_time_is_left_behind() {
    let flock = tallies(2).await;
    let (name, bird) = start_on::<Tally>(&flock, 0, || ()).await;
    let held = actix::spawn(bird.send(Hold).at_once());
    HELD.notified().await;
    // Behind it in the inbox: waits, and goes along.
    let waiting = tally(flock.nest(1), &name).send(One).deadline(PATIENCE).at_once();
    let waiting = actix::spawn(waiting);
    let why = moved_without(&flock, &name).await;
    assert!(why.contains("within 200ms"), "{why}");
    assert!(held.await.expect("it ends").is_err());
    assert_eq!(waiting.await.expect("it ends"), Ok(1));
}

/// A later build of the same species, which writes another state and can read the old one.
mod later {
    use super::*;

    pub(super) struct Tally(String);

    #[derive(Message, Serialize, Deserialize)]
    #[rtype(result = "String")]
    pub(super) struct Say;

    impl Actor for Tally {
        type Context = Context<Self>;
    }

    impl Bird for Tally {
        type Args = ();

        async fn hatch((): (), _: &Hatching) -> anyhow::Result<Self> {
            Ok(Self("afresh".into()))
        }
    }

    impl Migrate for Tally {
        type Snapshot = String;

        fn snapshot(&mut self) -> String {
            self.0.clone()
        }

        fn restore(
            (): (),
            snapshot: Result<String, SnapshotError>,
            bird: &Hatching,
        ) -> anyhow::Result<Self> {
            match snapshot {
                Err(error) if bird.name().as_str().starts_with("old") => {
                    Ok(Self(format!("from {} bytes", error.bytes().len())))
                }
                other => Ok(Self(other?)),
            }
        }
    }

    bird!(Tally as "tally", migrates { Say });

    impl Handler<Say> for Tally {
        type Result = String;

        fn handle(&mut self, _: Say, _: &mut Context<Self>) -> String {
            self.0.clone()
        }
    }
}

#[actix::test]
async fn a_state_of_another_build_is_read_by_who_knows_how_and_else_left_behind() {
    let old = Flock::builder("test").name("old").species::<Tally>();
    let old = old.form_after(Duration::from_millis(20)).join().await.expect("it joins");
    old.start::<Tally>("old-bird", ()).await.expect("it starts");
    old.start::<Tally>("bird", ()).await.expect("it starts");
    let seed = old.address().expect("an address").to_string();
    let new = Flock::builder("test").name("new").species::<later::Tally>();
    let new = new.seeds([seed]).form_after(PATIENCE).join().await.expect("it joins");
    let mut events = new.events();
    old.leave().await.expect("it leaves");
    let say = |name: &str| {
        let bird: BirdRef<later::Tally> = new.bird(name).expect("a name");
        async move { bird.send(later::Say).deadline(PATIENCE).await.expect("an answer") }
    };
    assert_eq!(say("bird").await, "afresh");
    assert!(say("old-bird").await.starts_with("from "));
    let lost = |event: &Event| match event {
        Event::StateLost { bird, why } => Some((bird.to_string(), why.clone())),
        _ => None,
    };
    let (bird, why) = until(&mut events, lost).await;
    assert_eq!(bird, "bird");
    assert!(why.contains("can't be read"), "{why}");
}
