//! What is to happen, the earliest first; of one moment, what was planned first.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use slab::Slab;

use super::host::Later;
use super::net::LinkId;
use crate::Time;

/// What happens.
#[derive(Debug)]
pub(super) enum Happening {
    /// A host's core asked for a tick.
    Timer {
        host: usize,
        /// Which boot of the host asked.
        boot: u32,
    },
    /// A frame reaches an end of a link.
    Arrival { link: LinkId, side: usize },
    /// A host's body does what it put off, unless it was booted anew since.
    Later { host: usize, boot: u32, what: Later },
}

/// The plan.
#[derive(Debug, Default)]
pub(super) struct Queue {
    heap: BinaryHeap<Reverse<(Time, u64, Place)>>,
    /// Kept aside, so that the heap moves small things.
    later: Slab<(usize, u32, Later)>,
    planned: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Place {
    Timer(u32, u32),
    Arrival(u32, u8),
    Later(u32),
}

impl Queue {
    pub(super) fn plan(&mut self, at: Time, what: Happening) {
        self.planned += 1;
        let place = match what {
            Happening::Timer { host, boot } => Place::Timer(host as u32, boot),
            Happening::Arrival { link, side } => Place::Arrival(link.0, side as u8),
            Happening::Later { host, boot, what } => {
                Place::Later(self.later.insert((host, boot, what)) as u32)
            }
        };
        self.heap.push(Reverse((at, self.planned, place)));
    }

    /// When the next thing happens.
    pub(super) fn next_at(&self) -> Option<Time> {
        self.heap.peek().map(|Reverse((at, ..))| *at)
    }

    pub(super) fn pop(&mut self) -> Option<(Time, Happening)> {
        let Reverse((at, _, place)) = self.heap.pop()?;
        let what = match place {
            Place::Timer(host, boot) => Happening::Timer { host: host as usize, boot },
            Place::Arrival(link, side) => {
                Happening::Arrival { link: LinkId(link), side: side.into() }
            }
            Place::Later(place) => {
                let (host, boot, what) = self.later.try_remove(place as usize)?;
                Happening::Later { host, boot, what }
            }
        };
        Some((at, what))
    }
}
