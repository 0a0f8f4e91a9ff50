//! From args, or from a state, to a bird.

use std::future::ready;

use bytes::Bytes;
use flock_proto::Event;

use super::Lives;
use super::guard::Guarded;
use crate::bird::{Bird, FenceHandle, HatchWhy, Hatching};
use crate::codec;

/// The author's `hatch`, or what came of it already. All that can go wrong in it is a text.
pub(super) type Hatch<B> = Guarded<Result<B, String>>;

impl Lives {
    /// Runs the author's `restore`, if there is a state to go on from; else, once it is polled, `hatch`.
    pub(super) fn hatch<B: Bird>(&mut self) -> Hatch<B> {
        let state = self.seldom.as_mut().and_then(|seldom| seldom.snapshot.take());
        let hatching = self.hatching();
        if let Some(bird) = state.and_then(|state| self.restored(state, &hatching)) {
            return Guarded::new(ready(Ok(bird)));
        }
        match codec::decode::<B::Args>(self.shared(), &self.args) {
            Ok(args) => Guarded::new(async move {
                B::hatch(args, &hatching).await.map_err(|error| format!("{error:#}"))
            }),
            Err(error) => Guarded::new(ready(Err(format!("its arguments are {error}")))),
        }
    }

    fn restored<B: Bird>(&self, state: Bytes, hatching: &Hatching) -> Option<B> {
        let shared = self.shared();
        let restored = match &B::MIGRATION {
            Some(migration) => migration.restore(shared, &self.args, state, hatching),
            None => Err("this build's species doesn't take its state along".to_owned()),
        };
        restored
            .map_err(|why| shared.nest.event(Event::StateLost { bird: self.name().clone(), why }))
            .ok()
    }

    fn hatching(&self) -> Hatching {
        let why = if self.attempt > 1 { HatchWhy::Crash } else { self.why.into() };
        Hatching {
            entry: self.entry().clone(),
            why,
            attempt: self.attempt,
            fence: FenceHandle(self.commands.fence.clone()),
            desk: self.desk.clone(),
        }
    }
}
