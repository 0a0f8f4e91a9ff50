//! What a flock is asked to do: start, stop, revive.

use std::fmt;
use std::future::{Future, IntoFuture};
use std::marker::PhantomData;
use std::pin::Pin;
use std::time::Duration;

use bytes::Bytes;
use flock_proto::{Answer, BirdName, Input, NameError, SpeciesId};

use crate::bird::Bird;
use crate::bird_ref::BirdRef;
use crate::call::CallError;
use crate::codec;
use crate::error::RequestError;
use crate::flock::Flock;

/// The deadline of a request that names none.
pub(crate) const DEADLINE: Duration = Duration::from_secs(10);

pub(crate) type Pending<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// A bird to be started. Does nothing until it is awaited. See [`Flock::start`].
#[must_use = "a request does nothing until it is awaited"]
pub struct Start<B: Bird> {
    order: Order<B>,
}

/// A bird to be started or found. See [`Flock::start_or_get`].
#[must_use = "a request does nothing until it is awaited"]
pub struct StartOrGet<B: Bird> {
    order: Order<B>,
}

struct Order<B> {
    flock: Flock,
    name: Result<BirdName, NameError>,
    args: Result<Bytes, CallError>,
    within: Duration,
    species: PhantomData<fn() -> B>,
}

impl<B: Bird> Order<B> {
    fn new(flock: Flock, name: &str, args: &B::Args) -> Self {
        let args = codec::encode_args(args);
        let name = BirdName::new(name);
        Self { flock, name, args, within: DEADLINE, species: PhantomData }
    }

    async fn run(self, or_get: bool) -> Result<(BirdRef<B>, bool), RequestError> {
        let name = self.name?;
        let args = self.args.map_err(|e| RequestError::NotEncodable(e.to_string()))?;
        let bird = self.flock.bird_named::<B>(name.clone());
        let species = SpeciesId::of(B::SPECIES);
        let make = move |req, deadline| Input::Start { req, name, species, args, or_get, deadline };
        match self.flock.ask(self.within, make).await? {
            Answer::Started { fresh, .. } => Ok((bird, fresh)),
            other => Err(self.flock.refusal(other)),
        }
    }
}

impl<B: Bird> Start<B> {
    pub(crate) fn new(flock: Flock, name: &str, args: &B::Args) -> Self {
        Self { order: Order::new(flock, name, args) }
    }

    /// Waits no longer than this. Default: 10 s.
    pub const fn deadline(mut self, within: Duration) -> Self {
        self.order.within = within;
        self
    }
}

impl<B: Bird> IntoFuture for Start<B> {
    type Output = Result<BirdRef<B>, RequestError>;
    type IntoFuture = Pending<Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move { self.order.run(false).await.map(|(bird, _)| bird) })
    }
}

impl<B: Bird> StartOrGet<B> {
    pub(crate) fn new(flock: Flock, name: &str, args: &B::Args) -> Self {
        Self { order: Order::new(flock, name, args) }
    }

    /// Waits no longer than this. Default: 10 s.
    pub const fn deadline(mut self, within: Duration) -> Self {
        self.order.within = within;
        self
    }
}

impl<B: Bird> IntoFuture for StartOrGet<B> {
    type Output = Result<(BirdRef<B>, bool), RequestError>;
    type IntoFuture = Pending<Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.order.run(true))
    }
}

/// A bird to be stopped or revived. See [`Flock::stop`] and [`Flock::revive`].
#[must_use = "a request does nothing until it is awaited"]
pub struct Request {
    flock: Flock,
    name: Result<BirdName, NameError>,
    wish: Wish,
    within: Duration,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Wish {
    Stop,
    Revive,
}

impl Request {
    pub(crate) fn new(flock: Flock, name: &str, wish: Wish) -> Self {
        Self { flock, name: BirdName::new(name), wish, within: DEADLINE }
    }

    /// Waits no longer than this. Default: 10 s.
    pub const fn deadline(mut self, within: Duration) -> Self {
        self.within = within;
        self
    }

    async fn run(self) -> Result<(), RequestError> {
        let (name, wish) = (self.name?, self.wish);
        let make = move |req, deadline| match wish {
            Wish::Stop => Input::Stop { req, name, deadline },
            Wish::Revive => Input::Revive { req, name, deadline },
        };
        match self.flock.ask(self.within, make).await? {
            Answer::Stopped | Answer::Revived => Ok(()),
            other => Err(self.flock.refusal(other)),
        }
    }
}

impl IntoFuture for Request {
    type Output = Result<(), RequestError>;
    type IntoFuture = Pending<Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.run())
    }
}

impl<B: Bird> fmt::Debug for Start<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Start").field("name", &self.order.name).finish_non_exhaustive()
    }
}

impl<B: Bird> fmt::Debug for StartOrGet<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StartOrGet").field("name", &self.order.name).finish_non_exhaustive()
    }
}

impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Request").field("name", &self.name).field("wish", &self.wish).finish()
    }
}
