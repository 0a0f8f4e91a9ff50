//! Time: one event after the other, the earliest first.

use std::time::Duration;

use super::host::{CallEnd, Later, State};
use super::world::World;
use crate::{Input, Nest, NestId, Time};

impl World {
    pub(super) fn latency(&mut self) -> Duration {
        Duration::from_micros(100 + self.rng.below(2_000))
    }

    pub(super) fn at(&mut self, delay: Duration, host: usize, id: NestId, what: Later) {
        self.seq += 1;
        self.later.insert((self.now + delay, self.seq), (host, id, what));
    }

    pub(super) fn id_of(&self, host: usize) -> Option<NestId> {
        self.hosts.get(host)?.nest.as_ref().map(Nest::id)
    }

    pub(super) fn host_of(&self, id: NestId) -> Option<usize> {
        self.hosts.iter().position(|h| h.nest.as_ref().is_some_and(|n| n.id() == id))
    }

    /// Lets time pass.
    pub fn run(&mut self, span: Duration) {
        let end = self.now + span;
        while self.broken().is_none() && self.step(end) {}
        self.now = self.now.max(end);
        self.expire_calls();
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

    pub(super) fn expire_calls(&mut self) {
        let now = self.now;
        let late: Vec<u64> =
            self.calls.iter().filter(|(_, call)| call.1 < now).map(|(id, _)| *id).collect();
        for id in late {
            self.end_call(id, CallEnd::TimedOut);
        }
    }

    /// One event; false if none is due before `end`.
    pub(super) fn step(&mut self, end: Time) -> bool {
        let timer = self
            .hosts
            .iter()
            .enumerate()
            .filter_map(|(i, h)| {
                let at = h.nest.as_ref()?.deadline();
                let back = Duration::from_micros(h.skew.as_micros() as u64);
                let at = if at == Time::NEVER {
                    at
                } else {
                    Time::from_micros(at.as_micros().saturating_sub(back.as_micros() as u64))
                };
                Some((at.max(self.now).max(h.frozen_until), i))
            })
            .min();
        let frame = self.net.next_arrival().map(|(at, id, side)| {
            let host = self.net.links.get(&id).map_or(0, |l| l.ends[side].0);
            (at.max(self.now).max(self.hosts[host].frozen_until), id, side)
        });
        let later = self.later.keys().next().copied();
        let times = [
            timer.map_or(Time::NEVER, |t| t.0),
            frame.map_or(Time::NEVER, |f| f.0),
            later.map_or(Time::NEVER, |l| l.0),
        ];
        let at = times.into_iter().min().unwrap_or(Time::NEVER);
        if at > end {
            return false;
        }
        self.now = self.now.max(at);
        match (timer, frame, later) {
            (_, Some((when, id, side)), _) if when == at => self.deliver(id, side),
            (_, _, Some(key)) if key.0 == at => self.do_later(key),
            (Some((_, host)), ..) => self.feed(host, Input::Tick),
            _ => {}
        }
        self.check_now();
        true
    }

    pub(super) fn deliver(&mut self, id: u64, side: usize) {
        let Some(link) = self.net.links.get_mut(&id) else { return };
        let Some((_, frame)) = link.queues[side].pop_front() else { return };
        let (host, incarnation) = link.ends[side];
        let from = link.ends[1 - side].1;
        if link.open[side] && self.id_of(host) == Some(incarnation) {
            self.note_frame(host, &frame);
            self.feed(host, Input::Frame { from, frame });
        }
    }

    pub(super) fn do_later(&mut self, key: (Time, u64)) {
        let Some((host, id, what)) = self.later.remove(&key) else { return };
        if self.hosts[host].frozen_until > self.now {
            let thaw = self.hosts[host].frozen_until.since(self.now);
            return self.at(thaw, host, id, what);
        }
        if self.id_of(host) != Some(id) {
            return;
        }
        match what {
            Later::Hatched(name, fence, ok) => self.on_hatch_done(host, name, fence, ok),
            Later::Ended(name, fence) => {
                if self.is_life(host, &name, fence, &State::Ending) {
                    self.drop_life(host, &name);
                    self.feed(host, Input::Ended { name, fence });
                }
            }
            Later::Departed(name, fence) => self.on_departed(host, name, fence),
            Later::Data(data) => self.on_data(host, *data),
            Later::Resolve(call) => {
                if call.deadline >= self.now {
                    self.resolve(host, call);
                }
            }
            Later::DialDone(address) => self.finish_dial(host, address),
            Later::LinkGone(link, side) => self.on_link_gone(link, side),
        }
    }
}
