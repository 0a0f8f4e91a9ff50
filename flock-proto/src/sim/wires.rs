//! Links: how they come to be, carry frames, and come to an end.

use std::time::Duration;

use bytes::Bytes;

use super::host::Later;
use super::net::{LinkId, LinkKind};
use super::queue::Happening;
use super::world::World;
use crate::{Input, NestId, Peer};

/// A connection that doesn't come through is tried again after so long, as TCP does.
const SYN_AGAIN: Duration = Duration::from_secs(1);

/// So often.
const TRIES: u8 = 3;

impl World {
    /// Puts a frame on a control link; without one it is dropped.
    pub(super) fn send_frame(&mut self, host: usize, to: NestId, frame: Bytes) {
        if let Some(&link) = self.hosts[host].control.get(to) {
            self.send_on(host, link, frame);
        }
    }

    /// Puts a frame on a link.
    pub(super) fn send_on(&mut self, host: usize, id: LinkId, frame: Bytes) {
        let delay = self.latency() + self.some_stall();
        let at = self.now + delay;
        let Some(link) = self.net.link_mut(id) else { return };
        let Some(side) = link.side_of(host) else { return };
        let lane = &mut link.lanes[1 - side];
        let at = lane.from.max(at + lane.slow);
        lane.from = at;
        lane.frames.push_back((at, frame));
        self.queue.plan(at, Happening::Arrival { link: id, side: 1 - side });
    }

    /// Whether a connection comes through at this moment; `None`: not yet.
    fn reaches(&self, host: usize, target: usize) -> Option<bool> {
        if self.net.is_torn(host, target) {
            return None;
        }
        let it = &self.hosts[target];
        if it.nest.is_none() || self.net.is_walled(host, target) {
            return Some(false);
        }
        // The system accepts for a frozen process, which doesn't say hello.
        (it.frozen_until <= self.now).then_some(true)
    }

    pub(super) fn on_dial(&mut self, host: usize, address: String, tries: u8) {
        let fail = |refused: bool, why: &str, address: String| Input::DialFailed {
            address,
            refused,
            why: why.to_owned(),
        };
        let Some(target) = self.host_at(&address) else {
            return self.feed(host, fail(true, "nobody there", address));
        };
        match self.reaches(host, target) {
            Some(true) => {}
            Some(false) => return self.feed(host, fail(true, "refused", address)),
            None if tries < TRIES => {
                return self.later(SYN_AGAIN, host, Later::Dial(address, tries + 1));
            }
            None => return self.feed(host, fail(false, "timed out", address)),
        }
        let (Some(id), Some(other)) = (self.hosts[host].id(), self.hosts[target].id()) else {
            return;
        };
        let known = self.hosts[target].control.get(id).and_then(|&link| self.net.link(link));
        let taken = known.is_some_and(|link| link.ends.iter().all(|end| end.0 != host));
        if id == other || taken {
            // Two nests drew one number at the same moment.
            self.feed(host, fail(false, "it has our number", address));
            return self.feed(host, Input::Outdated { above: id });
        }
        if let Some(&above) = self.hosts[target].known.get(&host).filter(|&&known| known > id) {
            self.feed(host, fail(false, "a later incarnation is known", address));
            return self.feed(host, Input::Outdated { above });
        }
        for known in self.net.between(LinkKind::Control, host, target) {
            let Some(link) = self.net.link(known) else { continue };
            let same = link.ends.iter().all(|end| end.1 == id || end.1 == other);
            if same && (link.greeting || link.open == [true; 2]) {
                return self.feed(host, fail(false, "linked already", address));
            }
            // One end knows the old link as open: the new one replaces it, without a word.
            self.net.remove(known);
        }
        // The dialled end opens first; the other hears of the welcome a moment later.
        let delay = self.latency();
        let link = self.net.add(LinkKind::Control, [(host, id), (target, other)], self.now + delay);
        if let Some(link) = self.net.link_mut(link) {
            link.open[1] = true;
        }
        self.hosts[target].control.insert(id, link);
        self.hosts[target].known.insert(host, id);
        self.later(delay, host, Later::Welcome(link));
        let peer = self.peer(host, id);
        self.feed(target, Input::LinkOpened { peer, dialled: None });
    }

    pub(super) fn on_welcome(&mut self, host: usize, id: LinkId) {
        let Some(link) = self.net.link_mut(id) else { return };
        link.greeting = false;
        let (me, (target, other)) = (link.ends[0].1, link.ends[1]);
        if !link.open[1] {
            return self.net.remove(id);
        }
        if self.hosts[host].id() != Some(me) {
            // Said in the name of a former incarnation.
            return self.break_end(id, 1);
        }
        link.open[0] = true;
        self.hosts[host].control.insert(other, id);
        self.hosts[host].known.insert(target, other);
        let peer = self.peer(target, other);
        self.feed(host, Input::LinkOpened { peer, dialled: Some(Self::address(target)) });
    }

    fn peer(&self, host: usize, id: NestId) -> Peer {
        Peer { id, name: self.hosts[host].name.clone(), address: Self::address(host) }
    }

    pub(super) fn on_data_dial(&mut self, host: usize, id: LinkId, tries: u8) {
        let Some(link) = self.net.link(id) else { return };
        let (target, other) = link.ends[1];
        let reached = match self.reaches(host, target) {
            Some(reached) => reached && self.is_me(target, other),
            None if tries < TRIES => {
                return self.later(SYN_AGAIN, host, Later::DialData(id, tries + 1));
            }
            None => false,
        };
        let Some(link) = self.net.link_mut(id) else { return };
        link.greeting = false;
        if reached {
            link.open[1] = true;
            let due: Vec<_> = link.lanes[1].frames.iter().map(|(at, _)| *at).collect();
            for at in due {
                self.queue.plan(at.max(self.now), Happening::Arrival { link: id, side: 1 });
            }
            return;
        }
        let frames = link.lanes[1].frames.drain(..).map(|(_, frame)| frame).collect();
        self.net.remove(id);
        self.on_no_data(host, id, frames);
    }

    /// An end of a link sees that it is gone.
    pub(super) fn on_link_gone(&mut self, id: LinkId, side: usize) {
        let Some(link) = self.net.link_mut(id) else { return };
        let was_open = std::mem::replace(&mut link.open[side], false);
        let (kind, (host, me), (_, peer)) = (link.kind, link.ends[side], link.ends[1 - side]);
        if link.is_dead() {
            self.net.remove(id);
        }
        if !was_open || !self.is_me(host, me) {
            return;
        }
        match kind {
            LinkKind::Control if self.hosts[host].control.get(peer) == Some(&id) => {
                self.hosts[host].control.remove(peer);
                self.feed(host, Input::LinkClosed { peer });
            }
            LinkKind::Data if side == 0 => self.on_data_closed(host, id),
            LinkKind::Control | LinkKind::Data => {}
        }
    }

    /// The core wants no link to that nest: the control link closes, and the data links with it, now
    /// or once they are empty.
    pub(super) fn hang_up(&mut self, host: usize, peer: NestId, now: bool) {
        let control = self.hosts[host].control.remove(peer);
        let data = self.hosts[host].body.data.get(&peer).copied();
        let others = self.net.links_of(host).into_iter().filter(|id| {
            let link = self.net.link(*id);
            link.is_some_and(|link| {
                link.kind == LinkKind::Data && link.ends[1].0 == host && link.ends[0].1 == peer
            })
        });
        let others: Vec<LinkId> = others.collect();
        for id in control.into_iter().chain(data).chain(others) {
            let Some(link) = self.net.link_mut(id) else { continue };
            let Some(side) = link.side_of(host) else { continue };
            if now {
                link.lanes[side].frames.clear();
            }
            link.open[side] = false;
            let dialled = link.kind == LinkKind::Data && side == 0;
            self.break_end(id, 1 - side);
            if dialled {
                self.on_data_closed(host, id);
            }
        }
    }

    /// Tells an end of a link that it is gone, behind all frames that are under way to it.
    pub(super) fn break_end(&mut self, id: LinkId, side: usize) {
        let delay = self.latency();
        let Some(link) = self.net.link(id) else { return };
        let behind = link.lanes[side].frames.back().map_or(self.now, |(at, _)| *at);
        let delay = delay.max(behind.since(self.now));
        let (host, sender) = (link.ends[side].0, link.ends[1 - side].0);
        if self.net.is_cut(sender, host) {
            // The news doesn't get through: the end finds out by silence, or after the heal.
            return self.later(Duration::from_secs(1), host, Later::LinkGone(id, side));
        }
        self.later(delay, host, Later::LinkGone(id, side));
    }
}
