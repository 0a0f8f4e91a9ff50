//! What a bird's author writes against: the [`Bird`] trait, what a message must be, and the
//! [`bird!`](crate::bird!) macro that says which species hears what.
//!
//! - `hatching`: what a bird is told of itself when it hatches.
//! - `migrate`: birds that take their state along.
//! - `standby`: birds of whose state another nest holds a copy.
//! - `names`: wire names, checked at compile time.
//! - `species`: the table by which bytes find their bird's code.

mod hatching;
mod migrate;
mod names;
mod species;
mod standby;

use std::future::Future;

use actix::prelude::*;
use serde::Serialize;
use serde::de::DeserializeOwned;

use flock_proto::MessageId;

pub use hatching::{FenceHandle, HatchWhy, Hatching};
pub use migrate::{Migrate, Migration, SnapshotError};
pub use names::{all_distinct, last_segment};
pub(crate) use species::SpeciesTable;
pub use species::{Ear, Plumage};
pub(crate) use standby::Desk;
pub use standby::{CheckpointError, Checkpoints, Standby};

/// An actor that lives under a name, on whichever nest the ring gives it.
///
/// A panic in its code ends one life of one bird: the call that panicked gets
/// [`CallError::Crashed`](crate::CallError::Crashed), those that wait in the inbox are handled by
/// the next life, and other birds of the thread notice nothing. No hook of actix runs on an actor
/// that has panicked. Beyond that reach are `panic = "abort"`, a stack overflow, a message whose
/// `Drop` panics while its handler does (Rust then aborts the process), and a handler that blocks
/// its thread: other birds of that thread wait.
///
/// The context is actix's own, so `ctx.stop()` is a gentle end, after which the bird is gone and
/// its name free. Calls through a [`BirdRef`](crate::BirdRef) go through the bird's inbox, which
/// outlives its lives; messages sent to `ctx.address()` go through actix's mailbox, which doesn't.
/// Order holds within each, not across both.
///
/// Implement it beside [`Actor`] and [`Handler`], and say with [`bird!`](crate::bird!) under which
/// wire name the species goes and which messages it hears:
///
/// ```
/// use actix::prelude::*;
/// use flock_actix::{Bird, Hatching, bird};
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Message, Serialize, Deserialize)]
/// #[rtype(result = "u64")]
/// struct Add(u64);
///
/// struct Counter { total: u64 }
///
/// impl Actor for Counter {
///     type Context = Context<Self>;
/// }
///
/// impl Handler<Add> for Counter {
///     type Result = u64;
///     fn handle(&mut self, Add(n): Add, _: &mut Context<Self>) -> u64 {
///         self.total += n;
///         self.total
///     }
/// }
///
/// impl Bird for Counter {
///     type Args = u64;
///     async fn hatch(start: u64, _: &Hatching) -> anyhow::Result<Self> {
///         Ok(Counter { total: start })
///     }
/// }
/// bird!(Counter as "counter" { Add });
/// # fn main() {}
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a bird",
    label = "not a bird",
    note = "implement `Bird` for `{Self}`, and list what it hears: `bird!({Self} as \"…\" {{ … }})`"
)]
pub trait Bird: Actor<Context = Context<Self>> + Plumage {
    /// All that is needed to hatch the bird again, here or on another nest.
    type Args: Serialize + DeserializeOwned + Send + 'static;

    /// Makes the actor of one life: the first, or a later one after a crash or a move.
    ///
    /// It runs on the bird's own thread, so the future need not be `Send`. An error or a panic on
    /// the very first hatch makes `start` fail; later on it counts as a crash, as does taking
    /// longer than the hatch time-out. When the bird is stopped meanwhile, the future is dropped.
    fn hatch(args: Self::Args, bird: &Hatching) -> impl Future<Output = anyhow::Result<Self>>;
}

/// What a message needs so that it can cross the wire, and its answer can come back.
///
/// Implemented for all that qualifies.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot cross the wire",
    note = "a message derives `Message`, `Serialize` and `Deserialize`; its result is serialisable too"
)]
pub trait Wire:
    Message<Result: Serialize + DeserializeOwned + Send + 'static>
    + Serialize
    + DeserializeOwned
    + Send
    + 'static
{
}

impl<M> Wire for M where
    M: Message<Result: Serialize + DeserializeOwned + Send + 'static>
        + Serialize
        + DeserializeOwned
        + Send
        + 'static
{
}

/// "This species hears that message over the wire": written by [`bird!`](crate::bird!).
#[diagnostic::on_unimplemented(
    message = "`{Self}` does not hear `{M}` over the wire",
    label = "not in this bird's list",
    note = "add `{M}` to the list in `bird!({Self} as \"…\" {{ … }})`"
)]
pub trait Hears<M: Wire>: Bird + Handler<M> {
    /// The message's wire name.
    const NAME: &'static str;
    /// The id of that name.
    const ID: MessageId;
}

/// The message that every bird hears unasked. Its answer says that the bird takes messages.
#[derive(Clone, Copy, Debug, Message, serde::Serialize, serde::Deserialize)]
#[rtype(result = "()")]
pub struct Chirp;

/// Names a species and lists what it hears over the wire.
///
/// `bird!(Counter as "counter" { Add, Take as "take.v2" });`
///
/// `bird!(Counter as "counter", migrates { Add });` says that the species takes its state along when it
/// moves: see [`Migrate`].
///
/// `bird!(Ledger as "ledger", fenced { Post });` says that the [fence](Hatching::fence) of each life must be
/// above those of all before, also after a crash of a nest whose clock is ahead. It costs time: after a death
/// such birds hatch [a clock skew](crate::Builder::clock_skew) later than others.
///
/// Wire names must never change while nests of different builds share a flock. Without `as "…"`
/// the last segment of the type's path is taken. Two messages of one species under the same wire
/// name (or under names of the same hash) don't compile:
///
/// ```compile_fail,E0080
/// # use actix::prelude::*; use flock_actix::{Bird, Hatching, bird}; use serde::*;
/// # #[derive(Message, Serialize, Deserialize)] #[rtype(result = "()")] struct Add;
/// # #[derive(Message, Serialize, Deserialize)] #[rtype(result = "()")] struct Sub;
/// # struct Counter;
/// # impl Actor for Counter { type Context = Context<Self>; }
/// # impl Handler<Add> for Counter { type Result = (); fn handle(&mut self, _: Add, _: &mut Context<Self>) {} }
/// # impl Handler<Sub> for Counter { type Result = (); fn handle(&mut self, _: Sub, _: &mut Context<Self>) {} }
/// # impl Bird for Counter {
/// #     type Args = ();
/// #     async fn hatch(_: (), _: &Hatching) -> anyhow::Result<Self> { Ok(Counter) }
/// # }
/// bird!(Counter as "counter" { Add, Sub as "Add" });
/// # fn main() {}
/// ```
///
/// A message without a handler doesn't either:
///
/// ```compile_fail,E0277
/// # use actix::prelude::*; use flock_actix::{Bird, Hatching, bird}; use serde::*;
/// # #[derive(Message, Serialize, Deserialize)] #[rtype(result = "()")] struct Add;
/// # struct Counter;
/// # impl Actor for Counter { type Context = Context<Self>; }
/// # impl Bird for Counter {
/// #     type Args = ();
/// #     async fn hatch(_: (), _: &Hatching) -> anyhow::Result<Self> { Ok(Counter) }
/// # }
/// bird!(Counter as "counter" { Add });
/// # fn main() {}
/// ```
#[macro_export]
macro_rules! bird {
    (@name $m:ty, $name:literal) => { $name };
    (@name $m:ty,) => { $crate::__private::last_segment(stringify!($m)) };
    (@habit migrates) => {
        const MIGRATION: Option<$crate::__private::Migration<Self>> =
            Some($crate::__private::Migration::new());
    };
    (@habit fenced) => {
        const FENCED: bool = true;
    };
    ($b:ty $(, $habit:ident)* { $($rest:tt)* }) => {
        $crate::bird!(@bird $b, $crate::__private::last_segment(stringify!($b)), [$($habit)*],
            { $($rest)* });
    };
    ($b:ty as $species:literal $(, $habit:ident)* { $($rest:tt)* }) => {
        $crate::bird!(@bird $b, $species, [$($habit)*], { $($rest)* });
    };
    (@bird $b:ty, $species:expr, [$($habit:ident)*],
        { $($m:ty $(as $name:literal)?),* $(,)? }) => {
        impl $crate::__private::Plumage for $b {
            const SPECIES: &'static str = $species;
            $($crate::bird!(@habit $habit);)*
            const EARS: &'static [$crate::__private::Ear<Self>] = &[
                $crate::__private::Ear::new::<$crate::Chirp>(),
                $($crate::__private::Ear::new::<$m>()),*
            ];
        }
        impl $crate::Hears<$crate::Chirp> for $b {
            const NAME: &'static str = "flock.chirp";
            const ID: $crate::__private::MessageId =
                $crate::__private::MessageId::of("flock.chirp");
        }
        impl ::actix::Handler<$crate::Chirp> for $b {
            type Result = ();
            fn handle(&mut self, _: $crate::Chirp, _: &mut ::actix::Context<Self>) {}
        }
        $(
            impl $crate::Hears<$m> for $b {
                const NAME: &'static str = $crate::bird!(@name $m, $($name)?);
                const ID: $crate::__private::MessageId =
                    $crate::__private::MessageId::of(<$b as $crate::Hears<$m>>::NAME);
            }
        )*
        const _: () = assert!(
            $crate::__private::all_distinct(<$b as $crate::__private::Plumage>::EARS),
            "two messages of this bird share a wire name, or their wire names share a hash"
        );
    };
}
