//! The birds and the helpers that these tests share.
#![allow(dead_code, reason = "each test file uses its own part of it")]

use std::collections::BTreeMap;
use std::fmt::{Debug, Write};
use std::future::Future;
use std::pin::pin;
use std::sync::{Mutex, PoisonError};
use std::task::{Context as TaskContext, Poll, Waker};
use std::time::Duration;

use actix::prelude::*;
use flock_actix::testing::TestFlock;
use flock_actix::{Bird, BirdRef, Builder, Event, Events, FenceHandle, Flock, Hatching, bird};
use serde::{Deserialize, Serialize};

/// Long enough for whatever must happen, on a machine that is busy with something else.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

#[derive(Debug, Message, Serialize, Deserialize)]
#[rtype(result = "u64")]
pub(crate) struct Add(pub(crate) u64);

/// Asks a bird about its life.
#[derive(Debug, Message, Serialize, Deserialize)]
#[rtype(result = "Result<Life, ()>")]
pub(crate) struct Tell;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Life {
    pub(crate) name: String,
    pub(crate) nest: String,
    pub(crate) why: String,
    pub(crate) attempt: u32,
    pub(crate) fence: u64,
}

/// Panics.
#[derive(Debug, Message, Serialize, Deserialize)]
#[rtype(result = "()")]
pub(crate) struct Boom;

/// Has the bird stop itself.
#[derive(Debug, Message, Serialize, Deserialize)]
#[rtype(result = "()")]
pub(crate) struct Retire;

/// Is never answered.
#[derive(Debug, Message, Serialize, Deserialize)]
#[rtype(result = "()")]
pub(crate) struct Ponder;

pub(crate) struct Counter {
    pub(crate) total: u64,
    life: Life,
    fence: FenceHandle,
}

impl Actor for Counter {
    type Context = Context<Self>;
}

impl Bird for Counter {
    type Args = u64;

    async fn hatch(start: u64, bird: &Hatching) -> anyhow::Result<Self> {
        let life = Life {
            name: bird.name().to_string(),
            nest: bird.nest().to_string(),
            why: format!("{:?}", bird.why()),
            attempt: bird.attempt(),
            fence: 0,
        };
        Ok(Self { total: start, life, fence: bird.fence() })
    }
}

bird!(Counter as "counter" { Add, Tell, Boom, Retire, Ponder });

impl Handler<Add> for Counter {
    type Result = u64;

    fn handle(&mut self, Add(n): Add, _: &mut Context<Self>) -> u64 {
        self.total += n;
        self.total
    }
}

impl Handler<Tell> for Counter {
    type Result = Result<Life, ()>;

    fn handle(&mut self, _: Tell, _: &mut Context<Self>) -> Result<Life, ()> {
        Ok(Life { fence: self.fence.now().0, ..self.life.clone() })
    }
}

impl Handler<Boom> for Counter {
    type Result = ();

    fn handle(&mut self, _: Boom, _: &mut Context<Self>) {
        self.total = 666;
        panic!("boom")
    }
}

impl Handler<Retire> for Counter {
    type Result = ();

    fn handle(&mut self, _: Retire, ctx: &mut Context<Self>) {
        ctx.stop();
    }
}

impl Handler<Ponder> for Counter {
    type Result = ResponseActFuture<Self, ()>;

    fn handle(&mut self, _: Ponder, _: &mut Context<Self>) -> Self::Result {
        Box::pin(std::future::pending().into_actor(self))
    }
}

/// Another species, which nests of [`counters`] know as well.
pub(crate) struct Parrot(String);

#[derive(Debug, Message, Serialize, Deserialize)]
#[rtype(result = "String")]
pub(crate) struct Say(pub(crate) String);

impl Actor for Parrot {
    type Context = Context<Self>;
}

impl Bird for Parrot {
    type Args = String;

    async fn hatch(word: String, _: &Hatching) -> anyhow::Result<Self> {
        Ok(Self(word))
    }
}

bird!(Parrot as "parrot" { Say });

impl Handler<Say> for Parrot {
    type Result = String;

    fn handle(&mut self, Say(what): Say, _: &mut Context<Self>) -> String {
        format!("{}: {what}", self.0)
    }
}

/// So many nests that know counters and parrots.
pub(crate) async fn counters(nests: usize) -> TestFlock {
    TestFlock::with(nests, |nest| nest.species::<Counter>().species::<Parrot>()).await
}

pub(crate) fn counter(nest: &Flock, name: &str) -> BirdRef<Counter> {
    nest.bird(name).expect("a name")
}

/// Starts birds of these names, and looks that each is new.
pub(crate) async fn start_all(nest: &Flock, names: &[String]) {
    for name in names {
        nest.start::<Counter>(name, 0).await.expect("it starts");
    }
}

pub(crate) fn names(prefix: &str, count: usize) -> Vec<String> {
    (0..count).map(|n| format!("{prefix}-{n}")).collect()
}

/// Starts a bird on this very nest, under some name.
pub(crate) async fn start_on<B: Bird>(
    flock: &TestFlock,
    nest: usize,
    args: impl Fn() -> B::Args,
) -> (String, BirdRef<B>) {
    let home = flock.nest(nest).name();
    for n in 0..1000 {
        let name = format!("on-{home}-{n}");
        let Ok(bird) = flock.nest(nest).start::<B>(&name, args()).await else { continue };
        if owner(flock.nest(nest), &name).await.as_deref() == Some(home) {
            return (name, bird);
        }
        flock.nest(nest).stop(&name).await.expect("it stops");
    }
    panic!("{home} owns nothing");
}

/// The nest that owns a living bird.
pub(crate) async fn owner(nest: &Flock, name: &str) -> Option<String> {
    let whereabouts = nest.whereis(name).await.expect("a name")?;
    whereabouts.nest.map(|nest| nest.to_string())
}

/// Where each bird lives, as its own process says; by name. Fails if one has two lives.
pub(crate) async fn lives(flock: &TestFlock) -> BTreeMap<String, String> {
    let mut lives = BTreeMap::new();
    for nest in flock.nests() {
        for bird in nest.local_birds().await {
            let before = lives.insert(bird.to_string(), nest.name().to_owned());
            assert_eq!(before, None, "{bird} lives on {} as well", nest.name());
        }
    }
    lives
}

/// Reads events until one is as wanted.
pub(crate) async fn until<T>(
    events: &mut Events,
    mut wanted: impl FnMut(&Event) -> Option<T>,
) -> T {
    let mut seen = Vec::new();
    let search = async {
        loop {
            let event = events.recv().await.expect("the nest lives");
            match wanted(&event) {
                Some(found) => return found,
                None => seen.push(event.to_string()),
            }
        }
    };
    match tokio::time::timeout(PATIENCE, search).await {
        Ok(found) => found,
        Err(_) => panic!("only these were told: {seen:#?}"),
    }
}

/// Polls once: what is ready then has asked nobody.
pub(crate) fn at_once<T>(future: impl Future<Output = T>) -> Option<T> {
    match pin!(future).poll(&mut TaskContext::from_waker(Waker::noop())) {
        Poll::Ready(value) => Some(value),
        Poll::Pending => None,
    }
}

/// The warnings of this process.
pub(crate) struct Warnings;

static WARNINGS: Mutex<Vec<String>> = Mutex::new(Vec::new());

impl Warnings {
    pub(crate) fn install() -> Self {
        tracing::subscriber::set_global_default(Self).expect("the first");
        Self
    }

    pub(crate) fn lines(&self) -> Vec<String> {
        WARNINGS.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl tracing::Subscriber for Warnings {
    fn enabled(&self, metadata: &tracing::Metadata<'_>) -> bool {
        *metadata.level() == tracing::Level::WARN
    }

    fn event(&self, event: &tracing::Event<'_>) {
        let mut line = Line(String::new());
        event.record(&mut line);
        WARNINGS.lock().unwrap_or_else(PoisonError::into_inner).push(line.0);
    }

    fn new_span(&self, _: &tracing::span::Attributes<'_>) -> tracing::span::Id {
        tracing::span::Id::from_u64(1)
    }
    fn record(&self, _: &tracing::span::Id, _: &tracing::span::Record<'_>) {}
    fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}
    fn enter(&self, _: &tracing::span::Id) {}
    fn exit(&self, _: &tracing::span::Id) {}
}

struct Line(String);

impl tracing::field::Visit for Line {
    fn record_debug(&mut self, field: &tracing::field::Field, value: &dyn Debug) {
        let _ = write!(self.0, "{field}={value:?} ");
    }
}

/// A nest that is a flock by itself as soon as it has found that nobody else is there.
pub(crate) fn lone(flock: &str) -> Builder {
    Flock::builder(flock).form_after(Duration::ZERO).species::<Counter>()
}

/// Where others find this nest.
pub(crate) fn seed(nest: &Flock) -> String {
    nest.address().expect("an address").to_string()
}

/// Why somebody was refused.
pub(crate) fn why(event: &Event) -> Option<String> {
    match event {
        Event::Refused { why, .. } => Some(why.clone()),
        _ => None,
    }
}
