//! One nest's mind: the state machines of membership, registry and ownership behind one door.

use std::sync::Arc;

use crate::{Config, Effect, Input, Me, NestId, Time, View};

/// The whole mind of one nest.
#[derive(Debug)]
pub struct Nest {
    id: NestId,
    view: Arc<View>,
    effects: Vec<Effect>,
}

impl Nest {
    /// A nest that starts now. The same seed and the same inputs give the same effects.
    pub fn new(me: Me, config: Config, seed: u64, now: Time) -> Self {
        let _ = (me, config, seed);
        let id = NestId(now.as_micros() << 12);
        Self { id, view: Arc::new(View::new(id, Vec::new())), effects: Vec::new() }
    }

    /// The one door in. Time may stand still between calls; it never goes back.
    pub fn handle(&mut self, now: Time, input: Input) {
        let _ = (now, input);
    }

    /// The one door out. Empty it after every `handle`.
    pub fn drain(&mut self) -> impl Iterator<Item = Effect> + '_ {
        self.effects.drain(..)
    }

    /// When to send [`Input::Tick`], if nothing else comes before.
    pub fn deadline(&self) -> Time {
        Time::NEVER
    }

    /// This nest's incarnation.
    pub const fn id(&self) -> NestId {
        self.id
    }

    /// The present view.
    pub fn view(&self) -> Arc<View> {
        self.view.clone()
    }
}
