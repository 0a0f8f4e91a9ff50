//! Links between hosts, and which of them don't hear each other.

use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

use bytes::Bytes;

use crate::{NestId, Time};

/// Names one link; never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct LinkId(pub(super) u32);

/// What a link is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LinkKind {
    Control,
    Data,
}

/// An end of a link: the host, and the incarnation that opened it.
pub(super) type End = (usize, NestId);

/// A link between two hosts. Its first end is the one that dialled.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) kind: LinkKind,
    pub(super) ends: [End; 2],
    /// Which end knows the link as open.
    pub(super) open: [bool; 2],
    /// The first end hears of the welcome only after a while.
    pub(super) greeting: bool,
    /// Frames under way, by receiving end.
    pub(super) lanes: [Lane; 2],
}

/// One direction of a link: first in, first out.
#[derive(Debug, Default)]
pub(super) struct Lane {
    pub(super) frames: VecDeque<(Time, Bytes)>,
    /// No frame arrives before this.
    pub(super) from: Time,
    /// Every frame takes so much longer.
    pub(super) slow: Duration,
}

impl Link {
    pub(super) fn side_of(&self, host: usize) -> Option<usize> {
        self.ends.iter().position(|end| end.0 == host)
    }

    pub(super) const fn is_dead(&self) -> bool {
        !self.open[0] && !self.open[1] && !self.greeting
    }
}

/// All links, and which hosts are cut off from which.
#[derive(Debug, Default)]
pub(super) struct Net {
    links: Vec<Option<Link>>,
    /// Links of each host that may be alive.
    by_host: Vec<Vec<LinkId>>,
    /// From, to: nothing arrives in this direction.
    cuts: BTreeSet<(usize, usize)>,
    /// Pairs of which neither lets the other connect.
    walls: BTreeSet<[usize; 2]>,
}

impl Net {
    pub(super) fn add_host(&mut self) {
        self.by_host.push(Vec::new());
    }

    /// Does nothing arrive there that this host sends?
    pub(super) fn is_cut(&self, from: usize, to: usize) -> bool {
        !self.cuts.is_empty() && self.cuts.contains(&(from, to))
    }

    /// A connection needs both directions.
    pub(super) fn is_torn(&self, a: usize, b: usize) -> bool {
        self.is_cut(a, b) || self.is_cut(b, a)
    }

    pub(super) fn is_whole(&self) -> bool {
        self.cuts.is_empty() && self.walls.is_empty()
    }

    /// Are connections between these two refused, though both are there?
    pub(super) fn is_walled(&self, a: usize, b: usize) -> bool {
        self.walls.contains(&[a.min(b), a.max(b)])
    }

    pub(super) fn wall(&mut self, a: usize, b: usize) {
        self.walls.insert([a.min(b), a.max(b)]);
    }

    pub(super) fn cut(&mut self, from: usize, to: usize) {
        if from != to {
            self.cuts.insert((from, to));
        }
    }

    pub(super) fn mend(&mut self, a: usize, b: usize) {
        self.cuts.remove(&(a, b));
        self.cuts.remove(&(b, a));
        self.walls.remove(&[a.min(b), a.max(b)]);
    }

    pub(super) fn heal(&mut self) {
        self.cuts.clear();
        self.walls.clear();
    }

    pub(super) fn add(&mut self, kind: LinkKind, ends: [End; 2], from: Time) -> LinkId {
        let id = LinkId(self.links.len() as u32);
        let lane = || Lane { from, ..Lane::default() };
        let lanes = [lane(), lane()];
        self.links.push(Some(Link { kind, ends, open: [false; 2], greeting: true, lanes }));
        for (host, _) in ends {
            if let Some(links) = self.by_host.get_mut(host) {
                links.push(id);
            }
        }
        id
    }

    pub(super) fn link(&self, id: LinkId) -> Option<&Link> {
        self.links.get(id.0 as usize)?.as_ref()
    }

    pub(super) fn link_mut(&mut self, id: LinkId) -> Option<&mut Link> {
        self.links.get_mut(id.0 as usize)?.as_mut()
    }

    pub(super) fn remove(&mut self, id: LinkId) {
        let Some(link) = self.links.get_mut(id.0 as usize).and_then(Option::take) else { return };
        for (host, _) in link.ends {
            if let Some(links) = self.by_host.get_mut(host) {
                links.retain(|other| *other != id);
            }
        }
    }

    /// The links of a host that may be alive.
    pub(super) fn links_of(&self, host: usize) -> Vec<LinkId> {
        self.by_host.get(host).cloned().unwrap_or_default()
    }

    /// The links of one kind between two hosts that may be alive.
    pub(super) fn between(&self, kind: LinkKind, a: usize, b: usize) -> Vec<LinkId> {
        let joins = |link: &Link| {
            let hosts = link.ends.map(|end| end.0);
            link.kind == kind && (hosts == [a, b] || hosts == [b, a])
        };
        self.links_of(a).into_iter().filter(|id| self.link(*id).is_some_and(joins)).collect()
    }

    pub(super) fn ids(&self) -> Vec<LinkId> {
        let ids = (0..).map(LinkId).zip(&self.links);
        ids.filter(|(_, link)| link.is_some()).map(|(id, _)| id).collect()
    }
}
