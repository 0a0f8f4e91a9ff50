//! Rings that simulated nests share: the same members make the same ring, and it takes longer to build
//! than all else that an event costs.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::sync::Arc;

use crate::{Fingerprint, Ring};

/// Views that nests of one flock are in at a time, and some more.
const KEPT: usize = 64;

/// The last ones first.
type Rings = VecDeque<(Fingerprint, Arc<Ring>)>;

thread_local! {
    /// None: no world was made in this thread, and whoever uses the core here is a nest by itself.
    static RINGS: RefCell<Option<Rings>> = const { RefCell::new(None) };
}

/// From now on rings are shared in this thread; none of those from before.
pub(super) fn share() {
    RINGS.set(Some(VecDeque::new()));
}

/// The ring of this view, if a nest has built it.
pub(crate) fn ring(view: Fingerprint) -> Option<Arc<Ring>> {
    RINGS.with_borrow(|rings| {
        let known = rings.iter().flatten().find(|(of, _)| *of == view);
        known.map(|(_, ring)| ring.clone())
    })
}

/// Keeps a ring for the next nest that enters its view.
pub(crate) fn keep_ring(view: Fingerprint, ring: &Arc<Ring>) {
    RINGS.with_borrow_mut(|rings| {
        if let Some(rings) = rings {
            rings.truncate(KEPT - 1);
            rings.push_front((view, ring.clone()));
        }
    });
}
