//! The links of a nest that leaves in good order.
//!
//! When it says goodbye, calls are still on their way to it, and it passes them on. So it goes only
//! when every peer has said that no more will come, and all that waits has left. A peer that
//! doesn't say so doesn't keep it for long.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::hello::LinkKind;
use super::links::Links;
use super::lock;
use super::pipe::Pipe;

/// How long a nest that has said goodbye waits for its peers.
const PATIENCE: Duration = Duration::from_secs(3);

/// How often it looks whether they are done.
const LOOK_EVERY: Duration = Duration::from_millis(5);

impl Links {
    /// The nest says goodbye: nobody is dialled any more, and links stay open for writing though
    /// their peers have ended.
    pub(crate) fn begin_to_leave(&self) {
        lock(&self.open).leaving = true;
    }

    pub(super) fn is_leaving(&self) -> bool {
        lock(&self.open).leaving
    }

    /// Resolves when everything that peers sent has been passed on, as `passed_on` says, and has
    /// left; or when that takes too long.
    pub(crate) async fn part(&self, passed_on: impl Fn() -> bool) {
        let begun = Instant::now();
        let heard_all = || self.peers().iter().all(|link| link.heard_all.load(Ordering::Acquire));
        let written = || self.everything().iter().all(|link| link.is_idle());
        while begun.elapsed() < PATIENCE && !(heard_all() && passed_on() && written()) {
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// Links over which peers send of themselves, rather than answer.
    fn peers(&self) -> Vec<Arc<Pipe>> {
        let mut links = self.everything();
        links.retain(|link| link.kind == LinkKind::Control || !link.dialled);
        links
    }
}
