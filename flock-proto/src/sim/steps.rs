//! Time: one event after the other, the earliest first.

use std::time::Duration;

use super::host::Later;
use super::net::{LinkId, LinkKind};
use super::queue::Happening;
use super::world::World;
use crate::{Input, Time};

impl World {
    pub(super) fn latency(&mut self) -> Duration {
        let (least, more) = self.latency;
        least + Duration::from_micros(self.rng.below(more.as_micros() as u64))
    }

    /// What a frame takes longer, as some do.
    pub(super) fn some_stall(&mut self) -> Duration {
        if self.stalls > 0 && self.rng.one_in(self.stalls) {
            Duration::from_millis(200 + self.rng.below(800))
        } else {
            Duration::ZERO
        }
    }

    /// Lets time pass.
    pub fn run(&mut self, span: Duration) {
        let end = self.now + span;
        while self.broken().is_none() && self.step(end) {}
        self.now = self.now.max(end);
        self.checks.on_time(self.now);
    }

    /// Lets time pass until something is so; false if it never was.
    pub fn run_until(&mut self, span: Duration, mut so: impl FnMut(&Self) -> bool) -> bool {
        let end = self.now + span;
        while !so(self) {
            if self.broken().is_some() || !self.step(end) {
                return so(self);
            }
        }
        true
    }

    /// One event; false if none is due before `end`.
    fn step(&mut self, end: Time) -> bool {
        if self.queue.next_at().is_none_or(|at| at > end) {
            return false;
        }
        let Some((at, what)) = self.queue.pop() else { return false };
        self.now = self.now.max(at);
        self.checks.on_time(self.now);
        match what {
            Happening::Timer { host, boot } => self.on_timer(at, host, boot),
            Happening::Arrival { link, side } => self.on_arrival(link, side),
            Happening::Later { host, boot, what } => self.on_later(host, boot, what),
        }
        self.checks.check_due();
        self.check_doubles();
        if self.now >= self.checks.minorities_at {
            self.checks.minorities_at = self.now + std::time::Duration::from_millis(250);
            self.check_minorities();
        }
        true
    }

    /// Plans the core's tick, unless one is planned that comes soon enough: it finds nothing to do
    /// then, and plans the next.
    pub(super) fn arm(&mut self, host: usize) {
        let it = &mut self.hosts[host];
        let Some(nest) = &it.nest else { return };
        let deadline = nest.deadline();
        let at = it.world(deadline);
        if at < it.armed {
            it.armed = at;
            self.plan_timer(host, at.max(self.now));
        }
    }

    /// One at a moment will do: a tick that was put forward leaves the later one planned, and each
    /// that comes too early plans the next.
    fn plan_timer(&mut self, host: usize, at: Time) {
        let it = &mut self.hosts[host];
        if it.timers.insert(at) {
            self.queue.plan(at, Happening::Timer { host, boot: it.boots });
        }
    }

    fn on_timer(&mut self, at: Time, host: usize, boot: u32) {
        let it = &mut self.hosts[host];
        if it.boots != boot || it.nest.is_none() {
            return;
        }
        it.timers.remove(&at);
        if it.frozen_until > self.now {
            let until = it.frozen_until;
            return self.plan_timer(host, until);
        }
        it.armed = Time::NEVER;
        let local = it.local(self.now);
        if it.nest.as_ref().is_some_and(|nest| nest.deadline() <= local) {
            self.feed(host, Input::Tick);
        } else {
            self.arm(host);
        }
    }

    fn on_later(&mut self, host: usize, boot: u32, what: Later) {
        let it = &self.hosts[host];
        if it.boots != boot {
            return;
        }
        if it.frozen_until > self.now {
            return self.queue.plan(it.frozen_until, Happening::Later { host, boot, what });
        }
        match what {
            Later::Hatched(name, fence, why, ok) => {
                self.on_hatch_done(host, name, fence, why, ok);
            }
            Later::Ended(name, fence, why) => self.on_ended(host, name, fence, why),
            Later::Departed(name, fence) => self.on_departed(host, name, fence),
            Later::Checkpoint(name, fence) => self.take_checkpoint(host, name, fence),
            Later::Resolve(parcel) => self.dispatch(host, parcel),
            Later::Sweep => self.sweep(host),
            Later::Dial(address, tries) => self.on_dial(host, address, tries),
            Later::DialData(link, tries) => self.on_data_dial(host, link, tries),
            Later::Welcome(link) => self.on_welcome(host, link),
            Later::LinkGone(link, side) => self.on_link_gone(link, side),
        }
    }

    fn on_arrival(&mut self, id: LinkId, side: usize) {
        let Some(link) = self.net.link(id) else { return };
        let (host, incarnation) = link.ends[side];
        let (sender, from) = link.ends[1 - side];
        let Some(&(at, _)) = link.lanes[side].frames.front() else { return };
        let frozen = self.hosts[host].frozen_until;
        // One that was stalled has another event later; on a cut link everything waits for the heal, on
        // one that is not open yet for its opening.
        let opening = link.greeting && link.kind == LinkKind::Data;
        if at > self.now || opening || self.net.is_cut(sender, host) {
            return;
        }
        if frozen > self.now {
            return self.queue.plan(frozen, Happening::Arrival { link: id, side });
        }
        let Some(link) = self.net.link_mut(id) else { return };
        let Some((_, frame)) = link.lanes[side].frames.pop_front() else { return };
        let (kind, open) = (link.kind, link.open[side]);
        if !open || !self.is_me(host, incarnation) {
            return;
        }
        match kind {
            LinkKind::Control => {
                self.see_frame(host, &frame);
                self.feed(host, Input::Frame { from, frame });
            }
            LinkKind::Data => self.on_data(host, id, &frame),
        }
    }
}
