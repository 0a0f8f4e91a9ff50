//! The `BirdSupervisor`: one actor on each worker thread, which brings birds to life there.
//!
//! Each bird's lives are one task of that thread, spawned here; the task sees to restarts by
//! itself, so that a bird that crashes for ever costs the supervisor nothing.

use std::sync::Arc;

use actix::prelude::*;

use crate::heap;
use crate::life::{self, Brood, LifeOrder};
use crate::shared::Shared;

/// About what an idle bird takes of its thread's heap.
const ROOM: usize = 1000;

/// Brings birds to life on its thread.
pub(crate) struct BirdSupervisor {
    shared: Arc<Shared>,
    /// The thread is this nest's alone.
    alone: bool,
}

impl BirdSupervisor {
    pub(crate) const fn new(shared: Arc<Shared>, alone: bool) -> Self {
        Self { shared, alone }
    }
}

impl Actor for BirdSupervisor {
    type Context = Context<Self>;

    fn started(&mut self, _: &mut Context<Self>) {
        if self.alone {
            life::welcome_jobs();
        }
    }
}

/// Bring these birds to life. Of thousands that are started together each would else be a message, and
/// wake a thread that has just gone to sleep.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct Raise(pub(crate) Vec<LifeOrder>);

impl Handler<Raise> for BirdSupervisor {
    type Result = ();

    fn handle(&mut self, Raise(orders): Raise, _: &mut Context<Self>) {
        heap::make_room(orders.len() * ROOM);
        // One alone has nobody to wait for.
        let brood = (orders.len() > 1).then(|| Brood::new(&self.shared));
        for order in orders {
            match self.shared.species.live(order.species) {
                Some(live) => live(order),
                None => self.shared.cannot_live(order),
            }
        }
        if let Some(brood) = brood {
            // Tasks have their first turns in the order in which they were spawned.
            actix_rt::spawn(async move { drop(brood) });
        }
    }
}
