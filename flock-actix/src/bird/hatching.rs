//! What a bird is told of itself when it hatches.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use flock_proto::{BirdName, Fence, NestName, Why};

use super::{Checkpoints, Desk};
use crate::flock::Flock;
use crate::table::Entry;

/// Why a bird hatches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum HatchWhy {
    /// It was just started.
    Start,
    /// It moved here from a nest that lives.
    Move,
    /// The nest it lived on is gone.
    NestLost,
    /// It was grounded and is to try again.
    Revive,
    /// Its last life crashed here.
    Crash,
}

impl From<Why> for HatchWhy {
    fn from(why: Why) -> Self {
        match why {
            Why::Start => Self::Start,
            Why::Move => Self::Move,
            Why::Revive => Self::Revive,
            _ => Self::NestLost,
        }
    }
}

/// What a bird is told of itself when it hatches.
pub struct Hatching {
    /// Where its name, its nest and its flock are found. Not each by itself: the counts of the owners of
    /// what all birds have in common would be written by all threads, for each bird that is started.
    pub(crate) entry: Arc<Entry>,
    pub(crate) why: HatchWhy,
    pub(crate) attempt: u32,
    pub(crate) fence: FenceHandle,
    pub(crate) desk: Option<Arc<Desk>>,
}

impl Hatching {
    /// The bird's name.
    pub fn name(&self) -> &BirdName {
        &self.entry.name
    }

    /// The nest it hatches on.
    pub fn nest(&self) -> &NestName {
        &self.entry.home.name
    }

    /// Why it hatches.
    pub const fn why(&self) -> HatchWhy {
        self.why
    }

    /// 1 for the first life on this nest, one more with each crash since.
    pub const fn attempt(&self) -> u32 {
        self.attempt
    }

    /// The flock. This handle doesn't keep the nest alive: it may be kept in the bird.
    pub fn flock(&self) -> Flock {
        Flock::within(self.entry.home.clone())
    }

    /// The fence of the bird on this nest, to be read anew before each write that it guards. A life
    /// after a crash on the same nest has the same. What it is good for, and what not: [`Fence`].
    pub fn fence(&self) -> FenceHandle {
        self.fence.clone()
    }

    /// Asks for copies of the bird's state at another nest, should this process die: see
    /// [`Migrate::STANDBY`](crate::Migrate::STANDBY). It may be kept in the bird.
    pub fn checkpoints(&self) -> Checkpoints {
        let patience = self.entry.home.settings.call_deadline;
        Checkpoints { desk: self.desk.clone(), patience }
    }
}

impl fmt::Debug for Hatching {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hatching")
            .field("name", self.name())
            .field("why", &self.why)
            .field("attempt", &self.attempt)
            .finish_non_exhaustive()
    }
}

/// The live fence of a bird. It grows when two lives of the bird have become one after a partition,
/// so read it at each use.
#[derive(Clone, Debug)]
pub struct FenceHandle(pub(crate) Arc<AtomicU64>);

impl FenceHandle {
    /// The fence as it is now.
    pub fn now(&self) -> Fence {
        Fence(self.0.load(Ordering::Acquire))
    }
}
