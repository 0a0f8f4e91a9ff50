//! A bird that counts what it hears, and takes its count along.

use actix::{Actor, Context, Handler, Message, MessageResult};
use flock_actix::{Bird, Hatching, Migrate, SnapshotError};
use serde::{Deserialize, Serialize};

/// One more, please.
#[derive(Clone, Copy, Debug, Message, Serialize, Deserialize)]
#[rtype(result = "Told")]
pub struct One;

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

/// Counts.
#[derive(Debug)]
pub struct Tally {
    count: u64,
    begun: u64,
    nest: String,
    /// Makes its state as large as that of a bird with something to remember.
    ballast: serde_bytes::ByteBuf,
}

impl Actor for Tally {
    type Context = Context<Self>;
}

impl Bird for Tally {
    /// How many bytes its state has besides.
    type Args = usize;

    async fn hatch(ballast: usize, bird: &Hatching) -> anyhow::Result<Self> {
        let (begun, nest) = (bird.fence().now().0, bird.nest().to_string());
        Ok(Self { count: 0, begun, nest, ballast: vec![7; ballast].into() })
    }
}

impl Migrate for Tally {
    type Snapshot = (u64, u64, serde_bytes::ByteBuf);

    fn snapshot(&mut self) -> Self::Snapshot {
        (self.count, self.begun, std::mem::take(&mut self.ballast))
    }

    fn restore(
        _: usize,
        snapshot: Result<Self::Snapshot, SnapshotError>,
        bird: &Hatching,
    ) -> anyhow::Result<Self> {
        let (count, begun, ballast) = snapshot?;
        Ok(Self { count, begun, nest: bird.nest().to_string(), ballast })
    }

    /// Counted by the life that was there first, and by the other one since.
    fn merge(&mut self, (count, ..): Self::Snapshot) {
        self.count += count;
    }
}

flock_actix::bird!(Tally as "tally", migrates { One });

impl Handler<One> for Tally {
    type Result = MessageResult<One>;

    fn handle(&mut self, One: One, _: &mut Context<Self>) -> Self::Result {
        self.count += 1;
        MessageResult(Told { count: self.count, begun: self.begun, nest: self.nest.clone() })
    }
}
