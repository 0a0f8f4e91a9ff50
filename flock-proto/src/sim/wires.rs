//! Links opened, broken and hung up.

use std::time::Duration;

use super::host::Later;
use super::world::World;
use crate::{Input, NestId, Peer};

impl World {
    pub(super) fn finish_dial(&mut self, host: usize, address: String) {
        let target = (0..self.hosts.len()).find(|&i| Self::address(i) == address);
        let at = address.clone();
        let fail = |refused: bool, why: &str| Input::DialFailed {
            address: at.clone(),
            refused,
            why: why.to_owned(),
        };
        let Some(target) = target else {
            return self.feed(host, fail(true, "nobody there"));
        };
        if self.net.is_cut(host, target) {
            return self.feed(host, fail(false, "timed out"));
        }
        let (Some(id), Some(other)) = (self.id_of(host), self.id_of(target)) else {
            return self.feed(host, fail(true, "refused"));
        };
        if let Some(known) = self.net.between(host, target) {
            let both = self.net.links.get(&known).is_some_and(|l| l.open == [true; 2]);
            if both {
                return self.feed(host, fail(false, "linked already"));
            }
            // One end knows the old link as open: the new one replaces it, without a word.
            self.net.links.remove(&known);
        }
        self.net.add([(host, id), (target, other)]);
        let (a, b) = (self.peer(host, id), self.peer(target, other));
        self.feed(host, Input::LinkOpened { peer: b, dialled: Some(address) });
        self.feed(target, Input::LinkOpened { peer: a, dialled: None });
    }

    pub(super) fn peer(&self, host: usize, id: NestId) -> Peer {
        Peer { id, name: self.hosts[host].name.clone(), address: Self::address(host) }
    }

    pub(super) fn on_link_gone(&mut self, id: u64, side: usize) {
        let Some(link) = self.net.links.get(&id) else { return };
        let (ends, open) = (link.ends, link.open);
        if self.net.is_cut(ends[0].0, ends[1].0) {
            // The news doesn't get through either; try when the cut is healed.
            let end = ends[side];
            return self.at(Duration::from_secs(1), end.0, end.1, Later::LinkGone(id, side));
        }
        if let Some(link) = self.net.links.get_mut(&id) {
            link.open[side] = false;
            if link.open == [false; 2] {
                self.net.links.remove(&id);
            }
        }
        if open[side] {
            self.feed(ends[side].0, Input::LinkClosed { peer: ends[1 - side].1 });
        }
    }

    pub(super) fn hang_up(&mut self, host: usize, peer: NestId) {
        if let Some((id, side)) = self.net.find(host, peer) {
            if let Some(link) = self.net.links.get_mut(&id) {
                link.open[side] = false;
                link.queues[side].clear();
            }
            self.close_other_end(id, 1 - side);
        }
    }
}
