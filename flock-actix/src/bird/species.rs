//! The table by which bytes find their bird's code.

use std::collections::BTreeMap;
use std::fmt;

use actix::{Actor, Context};

use flock_proto::{MessageId, SpeciesId};

use super::{Bird, Hears, Migration, Wire};
use crate::life::{self, LifeOrder};
use crate::parcel::{EncodedCall, deliver};
use crate::pulse::LazyPulse;

/// Written by [`bird!`](crate::bird!), not by hand.
#[diagnostic::on_unimplemented(
    message = "`{Self}` has no list of what it hears",
    note = "write `bird!({Self} as \"…\" {{ … }})`"
)]
pub trait Plumage: Actor<Context = Context<Self>> {
    /// The species' wire name.
    const SPECIES: &'static str;
    /// What it hears.
    const EARS: &'static [Ear<Self>];
    /// How it takes its state along, if it does.
    const MIGRATION: Option<Migration<Self>> = None;
    /// Whether each life's fence must be above all before, also after a crash.
    const FENCED: bool = false;
}

/// One message that a species hears, and how it is decoded and handled.
pub struct Ear<B: Actor<Context = Context<B>>> {
    name: &'static str,
    id: MessageId,
    deliver: fn(&mut B, &mut Context<B>, &LazyPulse, Box<EncodedCall>),
}

impl<B: Actor<Context = Context<B>>> Ear<B> {
    /// The ear for one message.
    pub const fn new<M: Wire>() -> Self
    where
        B: Hears<M>,
    {
        Self { name: B::NAME, id: B::ID, deliver: deliver::<B, M> }
    }

    /// The message's wire name.
    pub const fn name(&self) -> &'static str {
        self.name
    }

    /// The id of that name.
    pub const fn id(&self) -> MessageId {
        self.id
    }

    pub(crate) fn hear(
        &self,
        bird: &mut B,
        ctx: &mut Context<B>,
        pulse: &LazyPulse,
        call: Box<EncodedCall>,
    ) {
        (self.deliver)(bird, ctx, pulse, call);
    }
}

impl<B: Actor<Context = Context<B>>> fmt::Debug for Ear<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Ear({})", self.name)
    }
}

/// Has all lives of one bird on one nest begin, from the first hatch to the last end, in a task of this thread.
pub(crate) type Live = fn(LifeOrder);

#[derive(Clone, Copy)]
struct Species {
    name: &'static str,
    fenced: bool,
    live: Live,
    stands_by: bool,
}

/// The species that a nest can hatch.
#[derive(Clone, Default)]
pub(crate) struct SpeciesTable(BTreeMap<SpeciesId, Species>);

impl SpeciesTable {
    /// Adds a species. `Err`: its wire name (or that name's hash) is taken by this one.
    pub(crate) fn add<B: Bird>(&mut self) -> Result<(), &'static str> {
        let (name, fenced) = (B::SPECIES, B::FENCED);
        let stands_by = B::MIGRATION.is_some_and(|migration| migration.standby().is_on());
        let species = Species { name, fenced, live: life::live::<B>, stands_by };
        match self.0.insert(SpeciesId::of(B::SPECIES), species) {
            // The same type twice is harmless; two types under one name are not. Function pointers
            // are no identity, so a species given twice is refused either way.
            Some(before) => Err(before.name),
            None => Ok(()),
        }
    }

    /// The wire name of a species.
    pub(crate) fn name(&self, id: SpeciesId) -> Option<&'static str> {
        self.0.get(&id).map(|species| species.name)
    }

    /// Whether another nest is given copies of its birds' states.
    pub(crate) fn stands_by(&self, id: SpeciesId) -> bool {
        self.0.get(&id).is_some_and(|species| species.stands_by)
    }

    /// All species.
    pub(crate) fn ids(&self) -> impl Iterator<Item = SpeciesId> {
        self.0.keys().copied()
    }

    /// Those whose fences must grow also after a crash.
    pub(crate) fn fenced(&self) -> impl Iterator<Item = SpeciesId> {
        self.0.iter().filter(|(_, species)| species.fenced).map(|(id, _)| *id)
    }

    /// How birds of this species live.
    pub(crate) fn live(&self, id: SpeciesId) -> Option<Live> {
        self.0.get(&id).map(|species| species.live)
    }
}

impl fmt::Debug for SpeciesTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.values().map(|species| species.name)).finish()
    }
}
