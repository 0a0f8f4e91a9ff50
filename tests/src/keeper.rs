//! A bird that keeps what it is given: it says so only when another nest holds that, too.

use actix::{Actor, Context, Handler, Message, ResponseFuture};
use flock_actix::{Bird, Checkpoints, Hatching, Migrate, SnapshotError, Standby};
use serde::{Deserialize, Serialize};

/// Keep one more. How many there were before, and with it; or why no other nest holds that.
#[derive(Clone, Copy, Debug, Message, Serialize, Deserialize)]
#[rtype(result = "Result<u64, String>")]
pub struct Keep;

/// Keeps.
#[derive(Debug)]
pub struct Keeper {
    kept: u64,
    checkpoints: Checkpoints,
}

impl Actor for Keeper {
    type Context = Context<Self>;
}

impl Bird for Keeper {
    type Args = ();

    async fn hatch((): (), bird: &Hatching) -> anyhow::Result<Self> {
        Ok(Self { kept: 0, checkpoints: bird.checkpoints() })
    }
}

impl Migrate for Keeper {
    type Snapshot = u64;

    const STANDBY: Standby = Standby::WHEN_ASKED;

    fn snapshot(&mut self) -> u64 {
        self.kept
    }

    fn restore((): (), kept: Result<u64, SnapshotError>, bird: &Hatching) -> anyhow::Result<Self> {
        Ok(Self { kept: kept?, checkpoints: bird.checkpoints() })
    }
}

flock_actix::bird!(Keeper as "keeper", migrates { Keep });

impl Handler<Keep> for Keeper {
    type Result = ResponseFuture<Result<u64, String>>;

    fn handle(&mut self, Keep: Keep, _: &mut Context<Self>) -> Self::Result {
        self.kept += 1;
        let (kept, copy) = (self.kept, self.checkpoints.checkpoint());
        Box::pin(async move { copy.await.map(|_| kept).map_err(|error| error.to_string()) })
    }
}
