//! Birds that take their state along.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{Bird, Hatching, Standby};
use crate::codec;
use crate::shared::Shared;

/// A bird that takes its state along when it moves to another nest.
///
/// Say so in [`bird!`](crate::bird!): `bird!(Counter as "counter", migrates { Add });`. A bird of a
/// species that doesn't is hatched afresh wherever it moves.
///
/// A snapshot is taken once the jobs in flight are done and before any later one begins, so what a
/// caller was told is in it. It is lost with a crash of the bird, or of the nest that holds it; and where
/// it can't be taken in time, is larger than [`snapshot_bytes`](crate::Builder::snapshot_bytes) allows, or
/// can't be read: then the bird hatches afresh, and [`Event::StateLost`](crate::Event::StateLost) says why.
///
/// ```
/// # use actix::prelude::*;
/// # use flock_actix::{Bird, Hatching, Migrate, SnapshotError, bird};
/// # use serde::{Deserialize, Serialize};
/// # #[derive(Message, Serialize, Deserialize)] #[rtype(result = "u64")] struct Add(u64);
/// # struct Counter { total: u64 }
/// # impl Actor for Counter { type Context = Context<Self>; }
/// # impl Handler<Add> for Counter {
/// #     type Result = u64;
/// #     fn handle(&mut self, Add(n): Add, _: &mut Context<Self>) -> u64 { self.total += n; self.total }
/// # }
/// # impl Bird for Counter {
/// #     type Args = u64;
/// #     async fn hatch(start: u64, _: &Hatching) -> anyhow::Result<Self> { Ok(Counter { total: start }) }
/// # }
/// impl Migrate for Counter {
///     type Snapshot = u64;
///
///     fn snapshot(&mut self) -> u64 {
///         self.total
///     }
///
///     fn restore(
///         _start: u64,
///         snapshot: Result<u64, SnapshotError>,
///         _: &Hatching,
///     ) -> anyhow::Result<Self> {
///         Ok(Counter { total: snapshot? })
///     }
/// }
/// bird!(Counter as "counter", migrates { Add });
/// # fn main() {}
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` can't take its state along",
    note = "`migrates` in `bird!` asks for `impl Migrate for {Self}`"
)]
pub trait Migrate: Bird {
    /// The state, as it travels: in named MessagePack, so that fields may be added with
    /// `#[serde(default)]` while builds old and new share a flock.
    type Snapshot: Serialize + DeserializeOwned;

    /// When another nest is given a copy of the state, from which the bird goes on if the process dies that
    /// runs it. By default never.
    ///
    /// Everything since the last copy is lost then, also what callers were told meanwhile; unless the bird
    /// waited for a copy before it answered: [`Checkpoints::checkpoint`](crate::Checkpoints::checkpoint).
    /// After a crash of the bird alone it begins afresh, as it does without.
    const STANDBY: Standby = Standby::OFF;

    /// The state as it is, when the life here ends: the bird is dropped soon after. With a
    /// [`STANDBY`](Self::STANDBY) also in between.
    fn snapshot(&mut self) -> Self::Snapshot;

    /// Goes on from a state: in place of [`hatch`](Bird::hatch), on the bird's own thread.
    ///
    /// `snapshot` is an error if it can't be read, as when another build wrote it: who knows how
    /// may still make something of its [`bytes`](SnapshotError::bytes). If this returns an error or
    /// panics, the bird is hatched afresh.
    fn restore(
        args: Self::Args,
        snapshot: Result<Self::Snapshot, SnapshotError>,
        bird: &Hatching,
    ) -> anyhow::Result<Self>;

    /// Takes in what another life of this name left, from beyond a cut of the network that has healed;
    /// before any further call, and once for each such life. Both may have gone on from one state,
    /// which must not count twice. By default the other's state is dropped.
    fn merge(&mut self, other: Self::Snapshot) {
        drop(other);
    }
}

/// A snapshot that can't be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a snapshot that can't be read: {why}")]
pub struct SnapshotError {
    why: String,
    bytes: Bytes,
}

impl SnapshotError {
    /// The snapshot as it came, in MessagePack if a build of this crate wrote it.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

/// How the state of a species is taken, restored and merged: written by [`bird!`](crate::bird!).
pub struct Migration<B> {
    take: fn(&mut B) -> Result<Bytes, String>,
    restore: fn(&Arc<Shared>, &Bytes, Bytes, &Hatching) -> Result<B, String>,
    merge: fn(&Arc<Shared>, &mut B, Bytes) -> Result<(), String>,
    standby: Standby,
}

// Not derived: that would ask it of `B`, too.
impl<B> Clone for Migration<B> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<B> Copy for Migration<B> {}

impl<B> fmt::Debug for Migration<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Migration")
    }
}

impl<B: Migrate> Migration<B> {
    /// That of a species that migrates.
    pub const fn new() -> Self {
        let standby = B::STANDBY;
        Self { take: take::<B>, restore: restore::<B>, merge: merge::<B>, standby }
    }
}

impl<B: Migrate> Default for Migration<B> {
    fn default() -> Self {
        Self::new()
    }
}

impl<B> Migration<B> {
    /// When another nest is given a copy of it.
    pub(crate) const fn standby(&self) -> Standby {
        self.standby
    }

    /// The state of a bird; no panic gets out.
    pub(crate) fn take(&self, bird: &mut B) -> Result<Bytes, String> {
        (self.take)(bird)
    }

    /// A bird from a state; no panic gets out.
    pub(crate) fn restore(
        &self,
        shared: &Arc<Shared>,
        args: &Bytes,
        state: Bytes,
        hatching: &Hatching,
    ) -> Result<B, String> {
        (self.restore)(shared, args, state, hatching)
    }

    /// Merges a state into a bird. A panic of the bird's own code is a crash of the bird.
    pub(crate) fn merge(
        &self,
        shared: &Arc<Shared>,
        bird: &mut B,
        state: Bytes,
    ) -> Result<(), String> {
        (self.merge)(shared, bird, state)
    }
}

fn take<B: Migrate>(bird: &mut B) -> Result<Bytes, String> {
    let taken = catch_unwind(AssertUnwindSafe(|| codec::encode(&bird.snapshot())));
    match taken {
        Ok(Ok(bytes)) => Ok(bytes.into()),
        Ok(Err(error)) => Err(format!("its snapshot is {error}")),
        Err(panic) => Err(format!("its snapshot {}", codec::panic_text(&*panic))),
    }
}

fn read<B: Migrate>(shared: &Arc<Shared>, bytes: Bytes) -> Result<B::Snapshot, SnapshotError> {
    codec::decode(shared, &bytes).map_err(|error| SnapshotError { why: error.to_string(), bytes })
}

fn restore<B: Migrate>(
    shared: &Arc<Shared>,
    args: &Bytes,
    state: Bytes,
    hatching: &Hatching,
) -> Result<B, String> {
    let args = codec::decode::<B::Args>(shared, args)
        .map_err(|error| format!("its arguments are {error}"))?;
    let snapshot = read::<B>(shared, state);
    // The error is the author's, too: so is what it says of itself.
    let restored = || B::restore(args, snapshot, hatching).map_err(|error| format!("{error:#}"));
    match catch_unwind(AssertUnwindSafe(restored)) {
        Ok(restored) => restored,
        Err(panic) => Err(format!("to restore it {}", codec::panic_text(&*panic))),
    }
}

fn merge<B: Migrate>(shared: &Arc<Shared>, bird: &mut B, state: Bytes) -> Result<(), String> {
    let other = read::<B>(shared, state).map_err(|error| error.to_string())?;
    bird.merge(other);
    Ok(())
}
