//! The birds of these tests, with all their faults.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use actix::prelude::*;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use tokio::sync::Notify;

use crate::bird::{Bird, Hatching, SpeciesTable};
use crate::bird_ref::BirdRef;
use crate::{FenceHandle, HatchWhy, bird};

pub(super) fn add_all(species: &mut SpeciesTable) {
    species.add::<Probe>().expect("a free name");
    species.add::<Shy>().expect("a free name");
    species.add::<Prompt>().expect("a free name");
    species.add::<super::within::Runner>().expect("a free name");
}

/// What goes wrong in a life.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Fault {
    #[default]
    None,
    HatchError,
    HatchPanic,
    HatchForEver,
    StartedPanic,
    StoppedPanic,
    DropPanic,
    ArgsPanic,
    StoppingPanic,
    Stubborn,
}

/// The first `lives` lives of the bird have a fault.
#[derive(Debug, Default, Serialize)]
pub(super) struct Plan {
    pub(super) fault: Fault,
    pub(super) lives: usize,
}

impl<'de> Deserialize<'de> for Plan {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        struct Plain {
            fault: Fault,
            lives: usize,
        }
        let Plain { fault, lives } = Plain::deserialize(deserializer)?;
        assert_ne!(fault, Fault::ArgsPanic, "arguments that panic");
        Ok(Self { fault, lives })
    }
}

pub(super) fn plan(fault: Fault, lives: usize) -> Plan {
    Plan { fault, lives }
}

/// What became of birds, by their names, across lives and threads.
static DIARY: Mutex<Option<HashMap<String, Vec<String>>>> = Mutex::new(None);

pub(super) fn diary(name: &str) -> Vec<String> {
    let diary = DIARY.lock().unwrap_or_else(PoisonError::into_inner);
    diary.as_ref().and_then(|diary| diary.get(name).cloned()).unwrap_or_default()
}

fn note(name: &str, what: impl Into<String>) -> usize {
    let mut diary = DIARY.lock().unwrap_or_else(PoisonError::into_inner);
    let entries = diary.get_or_insert_default().entry(name.into()).or_default();
    entries.push(what.into());
    entries.len()
}

/// What handlers wait for, by name.
static GATES: Mutex<Option<HashMap<String, Arc<Notify>>>> = Mutex::new(None);

pub(super) fn gate(name: &str) -> Arc<Notify> {
    let mut gates = GATES.lock().unwrap_or_else(PoisonError::into_inner);
    gates.get_or_insert_default().entry(name.into()).or_default().clone()
}

pub(super) struct Probe {
    name: String,
    total: u64,
    fault: Fault,
    fence: Option<FenceHandle>,
}

impl Actor for Probe {
    type Context = Context<Self>;

    fn started(&mut self, _: &mut Context<Self>) {
        assert_ne!(self.fault, Fault::StartedPanic, "started");
    }

    fn stopping(&mut self, _: &mut Context<Self>) -> Running {
        assert_ne!(self.fault, Fault::StoppingPanic, "stopping");
        if self.fault == Fault::Stubborn { Running::Continue } else { Running::Stop }
    }

    fn stopped(&mut self, _: &mut Context<Self>) {
        note(&self.name, "stopped");
        assert_ne!(self.fault, Fault::StoppedPanic, "stopped");
    }
}

impl Drop for Probe {
    fn drop(&mut self) {
        assert_ne!(self.fault, Fault::DropPanic, "dropped");
    }
}

impl Bird for Probe {
    type Args = Plan;

    async fn hatch(plan: Plan, bird: &Hatching) -> anyhow::Result<Self> {
        let name = bird.name().as_str().to_owned();
        let lives = note(&name, format!("{:?} {}", bird.why(), bird.attempt()));
        let faulty = lives <= plan.lives;
        let fault = if faulty { plan.fault } else { Fault::None };
        match fault {
            Fault::HatchError => anyhow::bail!("no luck"),
            Fault::HatchPanic => panic!("hatch"),
            Fault::HatchForEver => std::future::pending().await,
            _ => {}
        }
        assert_eq!(bird.attempt() > 1, bird.why() == HatchWhy::Crash);
        tokio::task::yield_now().await;
        Ok(Self { name, total: 0, fault, fence: Some(bird.fence()) })
    }
}

#[derive(Debug, Message, Serialize, Deserialize)]
#[rtype(result = "u64")]
pub(super) struct Add(pub(super) u64);
/// Adds later, in a future of its own.
#[derive(Debug, Message, Serialize, Deserialize)]
#[rtype(result = "u64")]
pub(super) struct Later(pub(super) String);
/// Adds later, in a future that sees the actor.
#[derive(Debug, Message, Serialize, Deserialize)]
#[rtype(result = "u64")]
pub(super) struct ActLater(pub(super) String);
/// Adds later, with the actor for itself.
#[derive(Debug, Message, Serialize, Deserialize)]
#[rtype(result = "u64")]
pub(super) struct Atomic(pub(super) String);
/// Panics where it says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Message, Serialize, Deserialize)]
#[rtype(result = "u64")]
pub(super) enum Boom {
    Handler,
    CtxSpawn,
}
#[derive(Debug, Message, Serialize, Deserialize)]
#[rtype(result = "u64")]
pub(super) struct FutureBoom;
#[derive(Debug, Message, Serialize, Deserialize)]
#[rtype(result = "u64")]
pub(super) struct ActBoom;
#[derive(Debug, Message, Serialize, Deserialize)]
#[rtype(result = "u64")]
pub(super) struct AtomicBoom;
#[derive(Debug, Message, Serialize, Deserialize)]
#[rtype(result = "()")]
pub(super) struct Stop;
/// Asks for the fence that the bird sees.
#[derive(Debug, Message, Serialize, Deserialize)]
#[rtype(result = "Option<u64>")]
pub(super) struct ReadFence;
/// Notes its number in the bird's diary.
#[derive(Debug, Message, Serialize, Deserialize)]
#[rtype(result = "()")]
pub(super) struct Note(pub(super) u64);
/// Asks for the name behind a reference, called on by the bird itself.
#[derive(Debug, Message, Serialize, Deserialize)]
#[rtype(result = "BirdRef<Probe>")]
pub(super) struct Echo(pub(super) BirdRef<Probe>);

impl<A: Actor> actix::dev::MessageResponse<A, Echo> for BirdRef<Probe> {
    fn handle(self, _: &mut A::Context, tx: Option<actix::dev::OneshotSender<Self>>) {
        if let Some(tx) = tx {
            let _ = tx.send(self);
        }
    }
}

/// A value that fails where it says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flaw {
    None,
    Write,
    WritePanic,
    Read,
    ReadPanic,
    DropPanic,
}

impl Serialize for Flaw {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Write => Err(serde::ser::Error::custom("unwritable")),
            Self::WritePanic => panic!("unwritable"),
            other => serializer.serialize_u8(*other as u8),
        }
    }
}

impl<'de> Deserialize<'de> for Flaw {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let number = u8::deserialize(deserializer)?;
        if number == Self::Read as u8 {
            return Err(serde::de::Error::custom("unreadable"));
        }
        assert_ne!(number, Self::ReadPanic as u8, "unreadable");
        Ok(Self::None)
    }
}

/// A message of one flaw, to be answered by another.
#[derive(Debug, Message, Serialize, Deserialize)]
#[rtype(result = "Result<Flaw, ()>")]
pub(super) struct Flawed(pub(super) Flaw, pub(super) u8);

impl Drop for Flawed {
    fn drop(&mut self) {
        assert_ne!(self.0, Flaw::DropPanic, "dropped");
    }
}

bird!(Probe as "probe" {
    Add, Later, ActLater, Atomic, Boom, FutureBoom, ActBoom, AtomicBoom, Stop, ReadFence, Note, Echo, Flawed,
});

impl Handler<Add> for Probe {
    type Result = u64;
    fn handle(&mut self, Add(n): Add, _: &mut Context<Self>) -> u64 {
        self.total += n;
        self.total
    }
}

impl Handler<Later> for Probe {
    type Result = ResponseFuture<u64>;
    fn handle(&mut self, Later(key): Later, _: &mut Context<Self>) -> Self::Result {
        let total = self.total;
        note(&self.name, format!("begun {key}"));
        Box::pin(async move {
            gate(&key).notified().await;
            total
        })
    }
}

impl Handler<ActLater> for Probe {
    type Result = ResponseActFuture<Self, u64>;
    fn handle(&mut self, ActLater(key): ActLater, _: &mut Context<Self>) -> Self::Result {
        note(&self.name, format!("begun {key}"));
        let wait = async move { gate(&key).notified().await };
        Box::pin(wait.into_actor(self).map(|(), me, _| {
            me.total += 1;
            me.total
        }))
    }
}

impl Handler<Atomic> for Probe {
    type Result = AtomicResponse<Self, u64>;
    fn handle(&mut self, Atomic(key): Atomic, _: &mut Context<Self>) -> Self::Result {
        note(&self.name, format!("begun {key}"));
        let wait = async move { gate(&key).notified().await };
        AtomicResponse::new(Box::pin(wait.into_actor(self).map(|(), me, _| {
            me.total += 1;
            me.total
        })))
    }
}

impl Handler<Boom> for Probe {
    type Result = u64;
    fn handle(&mut self, boom: Boom, ctx: &mut Context<Self>) -> u64 {
        self.total = 999;
        assert_ne!(boom, Boom::Handler, "boom");
        ctx.spawn(async {}.into_actor(self).map(|(), _, _| panic!("boom later")));
        self.total
    }
}

async fn soon() {
    tokio::task::yield_now().await;
}

impl Handler<FutureBoom> for Probe {
    type Result = ResponseFuture<u64>;
    fn handle(&mut self, _: FutureBoom, _: &mut Context<Self>) -> Self::Result {
        Box::pin(async {
            soon().await;
            panic!("boom")
        })
    }
}

impl Handler<ActBoom> for Probe {
    type Result = ResponseActFuture<Self, u64>;
    fn handle(&mut self, _: ActBoom, _: &mut Context<Self>) -> Self::Result {
        Box::pin(soon().into_actor(self).map(|(), _, _| panic!("boom")))
    }
}

impl Handler<AtomicBoom> for Probe {
    type Result = AtomicResponse<Self, u64>;
    fn handle(&mut self, _: AtomicBoom, _: &mut Context<Self>) -> Self::Result {
        AtomicResponse::new(Box::pin(soon().into_actor(self).map(|(), _, _| panic!("boom"))))
    }
}

impl Handler<Stop> for Probe {
    type Result = ();
    fn handle(&mut self, _: Stop, ctx: &mut Context<Self>) {
        ctx.stop();
    }
}

impl Handler<ReadFence> for Probe {
    type Result = Option<u64>;
    fn handle(&mut self, _: ReadFence, _: &mut Context<Self>) -> Option<u64> {
        self.fence.as_ref().map(|fence| fence.now().0)
    }
}

impl Handler<Note> for Probe {
    type Result = ();
    fn handle(&mut self, Note(number): Note, _: &mut Context<Self>) {
        note(&self.name, number.to_string());
    }
}

impl Handler<Echo> for Probe {
    type Result = BirdRef<Self>;
    fn handle(&mut self, Echo(bird): Echo, _: &mut Context<Self>) -> BirdRef<Self> {
        bird.do_send(Add(1));
        bird
    }
}

impl Handler<Flawed> for Probe {
    type Result = Result<Flaw, ()>;
    fn handle(&mut self, flawed: Flawed, _: &mut Context<Self>) -> Result<Flaw, ()> {
        Ok([Flaw::None, Flaw::Write, Flaw::WritePanic, Flaw::Read, Flaw::ReadPanic]
            [usize::from(flawed.1)])
    }
}

/// The same species in another build: it hears what `Probe` doesn't, and takes `Add` otherwise.
pub(super) struct Newer;

impl Actor for Newer {
    type Context = Context<Self>;
}

impl Bird for Newer {
    type Args = ();
    async fn hatch((): (), _: &Hatching) -> anyhow::Result<Self> {
        Ok(Self)
    }
}

#[derive(Debug, Message, Serialize, Deserialize)]
#[rtype(result = "()")]
pub(super) struct Novelty;

#[derive(Debug, Message, Serialize, Deserialize)]
#[rtype(result = "()")]
pub(super) struct AddText(pub(super) String);

bird!(Newer as "probe" { Novelty, AddText as "Add" });

impl Handler<Novelty> for Newer {
    type Result = ();
    fn handle(&mut self, _: Novelty, _: &mut Context<Self>) {}
}

impl Handler<AddText> for Newer {
    type Result = ();
    fn handle(&mut self, _: AddText, _: &mut Context<Self>) {}
}

/// Hatches at the first look, as most birds do: [`Probe`] doesn't.
pub(super) struct Prompt(Whim);

/// What one does in `started()`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Whim {
    #[default]
    None,
    Stops,
    Panics,
}

impl Actor for Prompt {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        assert_ne!(self.0, Whim::Panics, "started");
        if self.0 == Whim::Stops {
            ctx.stop();
        }
    }
}

impl Bird for Prompt {
    type Args = Whim;

    async fn hatch(whim: Whim, bird: &Hatching) -> anyhow::Result<Self> {
        note(bird.name().as_str(), format!("{:?} {}", bird.why(), bird.attempt()));
        Ok(Self(whim))
    }
}

bird!(Prompt as "prompt" { Add, Stop });

impl Handler<Add> for Prompt {
    type Result = u64;
    fn handle(&mut self, Add(n): Add, _: &mut Context<Self>) -> u64 {
        n
    }
}

impl Handler<Stop> for Prompt {
    type Result = ();
    fn handle(&mut self, _: Stop, ctx: &mut Context<Self>) {
        ctx.stop();
    }
}

/// Another species. It hatches once its gate lets it.
pub(super) struct Shy;

impl Actor for Shy {
    type Context = Context<Self>;
}

impl Bird for Shy {
    type Args = String;
    async fn hatch(key: String, _: &Hatching) -> anyhow::Result<Self> {
        tokio::time::timeout(Duration::from_secs(20), gate(&key).notified()).await?;
        Ok(Self)
    }
}

bird!(Shy { Add });

impl Handler<Add> for Shy {
    type Result = u64;
    fn handle(&mut self, Add(n): Add, _: &mut Context<Self>) -> u64 {
        n
    }
}

impl Probe {
    /// Without a flock.
    pub(super) fn plain(name: &str) -> Self {
        Self { name: name.into(), total: 0, fault: Fault::None, fence: None }
    }
}
