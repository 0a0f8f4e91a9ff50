//! A bird that hears a message, whatever its species.

use std::fmt;
use std::sync::Arc;

use flock_proto::BirdName;

use super::{BirdRef, Reply};
use crate::bird::{Hears, Wire};

/// A bird that hears a message, whatever its species: what `Recipient` is to `Addr`.
pub struct BirdRecipient<M: Wire>(Arc<dyn Listen<M>>);

trait Listen<M: Wire>: Send + Sync {
    fn name(&self) -> &BirdName;
    fn call(&self, message: M) -> Reply<M::Result>;
    fn cast(&self, message: M);
}

impl<B: Hears<M>, M: Wire> Listen<M> for BirdRef<B> {
    fn name(&self) -> &BirdName {
        self.to.name()
    }

    fn call(&self, message: M) -> Reply<M::Result> {
        self.send(message).at_once()
    }

    fn cast(&self, message: M) {
        self.do_send(message);
    }
}

impl<M: Wire> BirdRecipient<M> {
    pub(super) fn new<B: Hears<M>>(bird: BirdRef<B>) -> Self {
        Self(Arc::new(bird))
    }

    /// The bird's name.
    pub fn name(&self) -> &BirdName {
        self.0.name()
    }

    /// Sends a message and waits for the answer. The call is on its way at once.
    pub fn send(&self, message: M) -> Reply<M::Result> {
        self.0.call(message)
    }

    /// Sends a message without asking for an answer.
    pub fn do_send(&self, message: M) {
        self.0.cast(message);
    }
}

impl<M: Wire> Clone for BirdRecipient<M> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<M: Wire> fmt::Debug for BirdRecipient<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BirdRecipient({:?})", self.0.name().as_str())
    }
}
