//! A bird that counts what it hears, and takes its count along.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use actix::{
    Actor, ActorFutureExt as _, Context, Handler, Message, MessageResult, WrapFuture as _,
};
use flock_actix::{Bird, Hatching, Migrate, SnapshotError};
use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;

/// One more, please.
#[derive(Clone, Copy, Debug, Message, Serialize, Deserialize)]
#[rtype(result = "Told")]
pub struct One;

/// The same; but it takes so long, and isn't counted before.
#[derive(Clone, Copy, Debug, Message, Serialize, Deserialize)]
#[rtype(result = "Told")]
pub struct Late(pub Duration);

/// Block your thread for ever.
#[derive(Clone, Copy, Debug, Message, Serialize, Deserialize)]
#[rtype(result = "()")]
pub struct Block;

/// Keep this in mind, and no longer what you did.
#[derive(Clone, Debug, Message, Serialize, Deserialize)]
#[rtype(result = "()")]
pub struct Learn(pub ByteBuf);

/// What have you in mind?
#[derive(Clone, Copy, Debug, Message, Serialize, Deserialize)]
#[rtype(result = "ByteBuf")]
pub struct Recall;

/// What a tally says of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Told {
    /// How much it has heard.
    pub count: u64,
    /// The fence of the life that began to count.
    pub begun: u64,
    /// The nest that it lives on.
    pub nest: String,
}

/// The nest and the fence with which a life began: no other life has both.
type LifeKey = (String, u64);

/// Counts.
#[derive(Debug)]
pub struct Tally {
    life: LifeKey,
    /// What each of its lives has counted. So what two of them have in common counts once.
    counted: BTreeMap<LifeKey, u64>,
    begun: u64,
    /// Makes its state as large as that of a bird with something to remember.
    ballast: ByteBuf,
}

impl Tally {
    fn count_one(&mut self) -> Told {
        *self.counted.entry(self.life.clone()).or_default() += 1;
        Told { count: self.counted.values().sum(), begun: self.begun, nest: self.life.0.clone() }
    }
}

impl Actor for Tally {
    type Context = Context<Self>;
}

impl Bird for Tally {
    /// How many bytes its state has besides.
    type Args = usize;

    async fn hatch(ballast: usize, bird: &Hatching) -> anyhow::Result<Self> {
        let life = hatched(bird);
        let begun = life.1;
        Ok(Self { life, counted: BTreeMap::new(), begun, ballast: vec![7; ballast].into() })
    }
}

impl Migrate for Tally {
    type Snapshot = (BTreeMap<LifeKey, u64>, u64, ByteBuf);

    fn snapshot(&mut self) -> Self::Snapshot {
        (self.counted.clone(), self.begun, std::mem::take(&mut self.ballast))
    }

    fn restore(
        _: usize,
        snapshot: Result<Self::Snapshot, SnapshotError>,
        bird: &Hatching,
    ) -> anyhow::Result<Self> {
        let (counted, begun, ballast) = snapshot?;
        Ok(Self { life: hatched(bird), counted, begun, ballast })
    }

    fn merge(&mut self, (counted, ..): Self::Snapshot) {
        for (life, count) in counted {
            let known = self.counted.entry(life).or_default();
            *known = count.max(*known);
        }
    }
}

flock_actix::bird!(Tally as "tally", migrates { One, Late, Block, Learn, Recall });

impl Handler<One> for Tally {
    type Result = MessageResult<One>;

    fn handle(&mut self, One: One, _: &mut Context<Self>) -> Self::Result {
        MessageResult(self.count_one())
    }
}

impl Handler<Late> for Tally {
    type Result = actix::ResponseActFuture<Self, Told>;

    fn handle(&mut self, Late(time): Late, _: &mut Context<Self>) -> Self::Result {
        BEGUN.fetch_add(1, Ordering::Release);
        let late = tokio::time::sleep(time).into_actor(self);
        Box::pin(late.map(|(), tally, _| tally.count_one()))
    }
}

impl Handler<Block> for Tally {
    type Result = ();

    fn handle(&mut self, _: Block, _: &mut Context<Self>) {
        BEGUN.fetch_add(1, Ordering::Release);
        loop {
            std::thread::park();
        }
    }
}

impl Handler<Learn> for Tally {
    type Result = ();

    fn handle(&mut self, Learn(what): Learn, _: &mut Context<Self>) {
        self.ballast = what;
    }
}

impl Handler<Recall> for Tally {
    type Result = MessageResult<Recall>;

    fn handle(&mut self, _: Recall, _: &mut Context<Self>) -> Self::Result {
        MessageResult(self.ballast.clone())
    }
}

static BEGUN: AtomicU64 = AtomicU64::new(0);

/// How many calls that take long were begun in this process.
pub fn begun() -> u64 {
    BEGUN.load(Ordering::Acquire)
}

static HATCHED: AtomicU64 = AtomicU64::new(0);
static LAST: AtomicU64 = AtomicU64::new(0);

fn hatched(bird: &Hatching) -> LifeKey {
    HATCHED.fetch_add(1, Ordering::Relaxed);
    LAST.fetch_max(now_us(), Ordering::Relaxed);
    (bird.nest().to_string(), bird.fence().now().0)
}

/// How many tallies have hatched in this process, and when the last one did, by the machine's clock in
/// microseconds.
pub fn hatchings() -> (u64, u64) {
    (HATCHED.load(Ordering::Relaxed), LAST.load(Ordering::Relaxed))
}

/// By the machine's clock, which all processes read: microseconds since 1970.
pub fn now_us() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
}
