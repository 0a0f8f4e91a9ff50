//! What may go wrong: deaths, cuts, breaks, stalls, freezes.

use std::time::Duration;

use super::host::Later;
use super::net::{LinkId, LinkKind};
use super::queue::Happening;
use super::world::World;
use crate::{Input, Time};

impl World {
    /// The process dies: no goodbye, its state is lost.
    pub fn kill(&mut self, host: usize) {
        if self.hosts[host].nest.is_none() {
            return;
        }
        self.checks.on_host_gone(host);
        self.forget_states_of(host);
        self.close_links_of(host, Duration::ZERO);
        self.vacate(host);
    }

    /// The sockets of a host close; the others hear of it, unless they are cut off, after what was
    /// under way to them.
    pub(super) fn close_links_of(&mut self, host: usize, after: Duration) {
        for id in self.net.links_of(host) {
            let Some(link) = self.net.link_mut(id) else { continue };
            let Some(side) = link.side_of(host) else { continue };
            link.open[side] = false;
            link.greeting &= side != 0;
            link.lanes[side].frames.clear();
            let (other, dead) = (link.ends[1 - side].0, link.is_dead());
            if dead {
                self.net.remove(id);
            } else if after.is_zero() {
                self.break_end(id, 1 - side);
            } else {
                self.later(after, other, Later::LinkGone(id, 1 - side));
            }
        }
        self.hosts[host].control.clear();
        self.hosts[host].body.data.clear();
    }

    /// Cuts every path between two groups of hosts.
    pub fn cut(&mut self, left: &[usize], right: &[usize]) {
        for &a in left {
            for &b in right {
                self.net.cut(a, b);
                self.net.cut(b, a);
            }
        }
        self.facts.on_torn(self.now);
        self.checks.torn = true;
        self.checks.on_fault();
        self.checks.forget_crashes();
    }

    /// Cuts the path between two hosts that others still see round: no partition, so everything
    /// must go on as before.
    pub fn cut_pair(&mut self, a: usize, b: usize) {
        self.net.cut(a, b);
        self.net.cut(b, a);
        self.checks.on_mute(self.now);
    }

    /// A firewall that comes up between two hosts: it breaks their links and refuses new ones. Others
    /// reach both.
    pub fn wall_pair(&mut self, a: usize, b: usize) {
        self.net.wall(a, b);
        self.break_link(a, b);
    }

    /// Nothing arrives any more at `to` that `from` sends; the other way all does.
    pub fn cut_one_way(&mut self, from: usize, to: usize) {
        self.net.cut(from, to);
        self.facts.on_torn(self.now);
        self.checks.torn = true;
        self.checks.on_fault();
    }

    /// Mends what was cut between two hosts.
    pub fn mend(&mut self, a: usize, b: usize) {
        self.net.mend(a, b);
        self.flow_again();
    }

    /// Heals all cuts.
    pub fn heal(&mut self) {
        self.net.heal();
        self.flow_again();
    }

    /// Is nothing cut?
    pub fn is_whole(&self) -> bool {
        self.net.is_whole()
    }

    /// What waited at a cut arrives, in its order.
    fn flow_again(&mut self) {
        self.checks.on_disturbance();
        for id in self.net.ids() {
            for side in 0..2 {
                self.reschedule(id, side, Duration::ZERO);
            }
        }
    }

    /// Gives all frames under way to an end of a link new times: so much later than they had, and
    /// not in the past.
    fn reschedule(&mut self, id: LinkId, side: usize, span: Duration) {
        let delay = self.latency();
        let soonest = self.now + delay;
        let Some(link) = self.net.link_mut(id) else { return };
        let lane = &mut link.lanes[side];
        let mut last = soonest;
        let mut due: Vec<Time> = Vec::new();
        for (at, _) in &mut lane.frames {
            *at = last.max(*at + span);
            last = *at;
            due.push(*at);
        }
        lane.from = lane.from.max(last);
        for at in due {
            self.queue.plan(at, Happening::Arrival { link: id, side });
        }
    }

    /// Breaks the links between two hosts; both ends notice.
    pub fn break_link(&mut self, a: usize, b: usize) {
        for kind in [LinkKind::Control, LinkKind::Data] {
            for id in self.net.between(kind, a, b) {
                let Some(link) = self.net.link_mut(id) else { continue };
                if link.greeting {
                    continue;
                }
                link.lanes.iter_mut().for_each(|lane| lane.frames.clear());
                self.break_end(id, 0);
                self.break_end(id, 1);
            }
        }
        self.checks.on_disturbance();
    }

    /// Only `a` sees that its control link to `b` is gone; `b` speaks on into the void.
    pub fn break_half(&mut self, a: usize, b: usize) {
        for id in self.net.between(LinkKind::Control, a, b) {
            let Some(link) = self.net.link_mut(id) else { continue };
            let Some(side) = link.side_of(a).filter(|side| link.open[*side]) else { continue };
            link.lanes.iter_mut().for_each(|lane| lane.frames.clear());
            link.open[side] = false;
            let peer = link.ends[1 - side].1;
            if self.hosts[a].control.get(peer) == Some(&id) {
                self.hosts[a].control.remove(peer);
                self.feed(a, Input::LinkClosed { peer });
            }
        }
        self.checks.on_disturbance();
    }

    /// Holds up everything that is on the links between two hosts.
    pub fn stall(&mut self, a: usize, b: usize, span: Duration) {
        for kind in [LinkKind::Control, LinkKind::Data] {
            for id in self.net.between(kind, a, b) {
                for side in 0..2 {
                    self.reschedule(id, side, span);
                }
            }
        }
    }

    /// From now on every frame between two hosts takes so much longer.
    pub fn slow(&mut self, a: usize, b: usize, span: Duration) {
        for id in self.net.between(LinkKind::Control, a, b) {
            if let Some(link) = self.net.link_mut(id) {
                link.lanes.iter_mut().for_each(|lane| lane.slow = span);
            }
        }
    }

    /// The process stands still for a while. Not again soon after: several freezes in a row are
    /// one long one, and a nest that is frozen for longer than SWIM suspects is rightly held dead.
    pub fn freeze(&mut self, host: usize, span: Duration) {
        if self.now.since(self.hosts[host].frozen_until) > Duration::from_secs(6) {
            self.freeze_hard(host, span);
        }
    }

    /// The process stands still for a while, whatever happened before.
    pub fn freeze_hard(&mut self, host: usize, span: Duration) {
        let until = self.now + span;
        self.hosts[host].frozen_until = until;
        self.checks.on_freeze(host, until);
    }

    /// The process stands still for so long that the others may take it for dead.
    pub fn freeze_long(&mut self, host: usize, span: Duration) {
        self.facts.on_torn(self.now);
        self.checks.torn = true;
        self.checks.on_fault();
        self.checks.forget_crashes();
        self.freeze_hard(host, span);
    }

    /// Whether somebody is frozen at this moment.
    pub fn is_frozen(&self, host: usize) -> bool {
        self.hosts.get(host).is_some_and(|host| host.frozen_until > self.now)
    }
}
