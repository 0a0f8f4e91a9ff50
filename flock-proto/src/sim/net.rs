//! Links between hosts.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::Bytes;

use crate::{NestId, Time};

/// An end of a link: the host, and the incarnation that opened it.
pub(super) type End = (usize, NestId);

/// A control link between two hosts.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) ends: [End; 2],
    /// Frames under way, by receiving end.
    pub(super) queues: [VecDeque<(Time, Bytes)>; 2],
    /// Which end knows the link as open.
    pub(super) open: [bool; 2],
}

/// All links, and which pairs of hosts are cut off from each other.
#[derive(Debug, Default)]
pub(super) struct Net {
    pub(super) links: BTreeMap<u64, Link>,
    pub(super) cuts: BTreeSet<(usize, usize)>,
    next: u64,
}

impl Net {
    pub(super) fn is_cut(&self, a: usize, b: usize) -> bool {
        self.cuts.contains(&(a.min(b), a.max(b)))
    }

    pub(super) fn add(&mut self, ends: [End; 2]) -> u64 {
        self.next += 1;
        let link = Link { ends, queues: Default::default(), open: [true; 2] };
        self.links.insert(self.next, link);
        self.next
    }

    /// The link that this end knows as open, to that incarnation.
    pub(super) fn find(&self, from: usize, to: NestId) -> Option<(u64, usize)> {
        self.links.iter().find_map(|(id, link)| {
            let side = link.ends.iter().position(|end| end.0 == from)?;
            let other = link.ends.get(1 - side)?;
            (link.open[side] && other.1 == to).then_some((*id, side))
        })
    }

    /// The link between two hosts that either end knows as open.
    pub(super) fn between(&self, a: usize, b: usize) -> Option<u64> {
        self.links.iter().find_map(|(id, link)| {
            let hosts = link.ends.map(|end| end.0);
            ((hosts == [a, b] || hosts == [b, a]) && link.open.contains(&true)).then_some(*id)
        })
    }

    /// The next frame to arrive: when, on which link, at which end. Frames on a cut link wait.
    pub(super) fn next_arrival(&self) -> Option<(Time, u64, usize)> {
        self.links
            .iter()
            .filter(|(_, link)| !self.is_cut(link.ends[0].0, link.ends[1].0))
            .flat_map(|(id, link)| {
                [0, 1]
                    .into_iter()
                    .filter_map(|side| link.queues[side].front().map(|(at, _)| (*at, *id, side)))
            })
            .min()
    }
}
