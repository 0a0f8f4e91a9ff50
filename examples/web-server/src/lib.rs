//! A counter of visits, which lives somewhere in the flock and takes its count along.

use actix::prelude::*;
use flock_actix::{
    Bird, Builder, ClusterKey, Flock, Hatching, KeyError, Migrate, SnapshotError, bird,
};
use serde::{Deserialize, Serialize};

/// The flock that all servers belong to.
pub const FLOCK: &str = "web";

/// A nest of it. Where the environment has a `FLOCK_KEY`, whoever hasn't got it stays out.
pub fn builder() -> Result<Builder, KeyError> {
    let nest = Flock::builder(FLOCK);
    match ClusterKey::from_env("FLOCK_KEY") {
        Ok(key) => Ok(nest.key(key)),
        Err(KeyError::NotSet(_)) => Ok(nest),
        Err(e) => Err(e),
    }
}

/// The name of the one counter that they share.
pub const VISITS: &str = "visits";

/// One more; answered with the sum.
#[derive(Clone, Copy, Debug, Message, Serialize, Deserialize)]
#[rtype(result = "u64")]
pub struct Visit;

/// Counts visits.
#[derive(Debug)]
pub struct Visits(u64);

impl Actor for Visits {
    type Context = Context<Self>;
}

impl Bird for Visits {
    type Args = ();

    async fn hatch((): (), _: &Hatching) -> anyhow::Result<Self> {
        Ok(Self(0))
    }
}

impl Migrate for Visits {
    type Snapshot = u64;

    fn snapshot(&mut self) -> u64 {
        self.0
    }

    fn restore((): (), snapshot: Result<u64, SnapshotError>, _: &Hatching) -> anyhow::Result<Self> {
        Ok(Self(snapshot?))
    }
}

bird!(Visits as "visits", migrates { Visit });

impl Handler<Visit> for Visits {
    type Result = u64;

    fn handle(&mut self, _: Visit, _: &mut Context<Self>) -> u64 {
        self.0 += 1;
        self.0
    }
}
