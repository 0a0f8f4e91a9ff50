//! The driver's part: inputs to the cores, and what becomes of their effects.

use std::time::Duration;

use bytes::Bytes;

use super::host::{Body, CallEnd, Entry, Later, SimCall, State};
use super::world::World;
use crate::{Answer, BirdName, Dot, Effect, Event, Fence, Input, NestId, ReqId, Route, Time, Why};

impl World {
    pub(super) fn feed(&mut self, host: usize, input: Input) {
        let now = self.local(host);
        self.note(host, "<-", &input);
        if let Some(nest) = &mut self.hosts[host].nest {
            nest.handle(now, input);
            self.carry_out(host);
        }
    }

    pub(super) fn carry_out(&mut self, host: usize) {
        let Some(nest) = &mut self.hosts[host].nest else { return };
        let id = nest.id();
        let effects: Vec<Effect> = nest.drain().collect();
        for effect in effects {
            self.note(host, "->", &effect);
            match effect {
                Effect::Send { to, frame } => self.send_frame(host, to, frame),
                Effect::Dial { address } => {
                    let delay = self.latency();
                    self.at(delay, host, id, Later::DialDone(address));
                }
                Effect::HangUp { peer, .. } | Effect::Release { peer } => self.hang_up(host, peer),
                Effect::Hatch { name, birth, fence, why, crashes, .. } => {
                    self.on_hatch(host, id, name, birth, fence, why, &crashes);
                }
                Effect::End { name, fence, .. } => {
                    self.set_state(host, &name, State::Ending);
                    let fence = self.first_fence(host, &name).unwrap_or(fence);
                    let delay = Duration::from_millis(1 + self.rng.below(20));
                    self.at(delay, host, id, Later::Ended(name, fence));
                }
                Effect::Depart { name, fence } => {
                    self.set_state(host, &name, State::Departing);
                    let fence = self.first_fence(host, &name).unwrap_or(fence);
                    let delay = Duration::from_millis(1 + self.rng.below(50));
                    self.at(delay, host, id, Later::Departed(name, fence));
                }
                Effect::SetFence { name, new, .. } => {
                    self.checks.on_fence(&name, new);
                    if let Some(entry) = self.hosts[host].body.table.get_mut(&name) {
                        entry.fence = new;
                    }
                }
                Effect::Route { name, route } => self.on_route(host, &name, route),
                Effect::Answer { req, answer } => self.on_answer(host, req, answer),
                Effect::Publish(view) => self.hosts[host].body.enter(view),
                Effect::Tell(event) => self.on_event(&event),
                Effect::Renamed { .. } | Effect::Stamp(_) => {}
            }
        }
    }

    /// Prints what a trace asks for.
    pub(super) fn note(&self, host: usize, arrow: &str, what: &dyn std::fmt::Debug) {
        if let Some(wanted) = &self.trace {
            let text = format!("{what:?}");
            self.print(host, arrow, wanted, &text);
        }
    }

    /// Prints a frame, if a trace asks for it.
    pub(super) fn note_frame(&self, host: usize, frame: &[u8]) {
        if let (Some(wanted), Ok(frame)) = (&self.trace, crate::wire::Frame::decode(frame)) {
            let text = format!("{frame:?}");
            self.print(host, "<~", wanted, &text);
        }
    }

    pub(super) fn print(&self, host: usize, arrow: &str, wanted: &str, text: &str) {
        if text.contains(wanted) {
            let at = self.elapsed();
            eprintln!("{at:>14?} host {host} {arrow} {text:.300}");
        }
    }

    pub(super) fn on_event(&mut self, event: &Event) {
        let kind = match event {
            Event::Conflict { .. } => "conflict",
            Event::Moved { .. } => "moved",
            Event::Merged(_) => "merged",
            Event::NestDown(_) => "down",
            Event::BadFrame { .. } => "bad frame",
            _ => "other",
        };
        *self.events.entry(kind).or_default() += 1;
        if let Event::BadFrame { why, .. } = event {
            self.checks.fail("I4", format!("a nest wrote a frame that can't be read: {why}"));
        }
    }

    pub(super) fn on_answer(&mut self, host: usize, req: ReqId, answer: Answer) {
        if let Some((_, name, start)) = self.asked.remove(&req) {
            self.checks.on_request_end(&name, start, &answer);
        }
        if answer == Answer::Left {
            let still_here = self.hosts[host].body.table.values().any(Entry::lives);
            let others = self.hosts.iter().filter(|h| h.nest.is_some()).count();
            self.hosts[host].nest = None;
            self.hosts[host].body = Body::default();
            self.calls_of(host, CallEnd::CallerGone);
            if still_here && others > 1 {
                self.checks.on_hasty_leave();
            }
            let gone: Vec<_> = self
                .net
                .links
                .iter()
                .filter_map(|(id, l)| Some((*id, l.ends.iter().position(|e| e.0 == host)?)))
                .collect();
            for (id, side) in gone {
                if let Some(link) = self.net.links.get_mut(&id) {
                    link.open[side] = false;
                }
                // After what it still wrote.
                let end = self.net.links.get(&id).map(|l| l.ends[1 - side]);
                if let Some(end) = end {
                    self.at(Duration::from_millis(10), end.0, end.1, Later::LinkGone(id, 1 - side));
                }
            }
        }
        self.answers.insert(req, answer);
    }

    pub(super) fn send_frame(&mut self, host: usize, to: NestId, frame: Bytes) {
        let delay = self.latency();
        let Some((id, side)) = self.net.find(host, to) else { return };
        let at = self.now + delay;
        if let Some(link) = self.net.links.get_mut(&id) {
            let queue = &mut link.queues[1 - side];
            let at = queue.back().map_or(at, |(last, _)| at.max(*last));
            queue.push_back((at, frame));
        }
    }

    pub(super) fn set_state(&mut self, host: usize, name: &BirdName, state: State) {
        if let Some(entry) = self.hosts[host].body.table.get_mut(name) {
            entry.state = state;
        }
    }

    #[expect(clippy::too_many_arguments, reason = "the fields of one effect")]
    pub(super) fn on_hatch(
        &mut self,
        host: usize,
        id: NestId,
        name: BirdName,
        birth: Dot,
        fence: Fence,
        why: Why,
        crashes: &[Duration],
    ) {
        self.checks.on_fence(&name, fence);
        let now = self.now;
        let entry = self.hosts[host].body.table.entry(name.clone()).or_insert_with(Entry::waiting);
        entry.state = State::Hatching;
        entry.birth = Some(birth);
        entry.fence = fence;
        entry.first_fence = fence;
        entry.first_fence = fence;
        entry.crashes = crashes
            .iter()
            .map(|ago| Time::from_micros(now.as_micros().saturating_sub(ago.as_micros() as u64)))
            .collect();
        let ok = why != Why::Start || !self.rng.one_in(50);
        let delay = Duration::from_millis(1 + self.rng.below(30));
        self.at(delay, host, id, Later::Hatched(name, fence, ok));
    }

    pub(super) fn on_route(&mut self, host: usize, name: &BirdName, route: Route) {
        let Some(entry) = self.hosts[host].body.table.get_mut(name) else { return };
        if entry.lives() {
            return self.checks.fail("I1", format!("{name} was routed away while it lives here"));
        }
        let waiting: Vec<SimCall> = entry.queue.drain(..).collect();
        match route {
            Route::To(to) => {
                let me = self.hosts[host].body.view.as_ref().map(|view| view.me());
                let owner =
                    self.hosts[host].body.view.as_ref().and_then(|view| view.owner(name.hash64()));
                if owner == me {
                    self.set_state(host, name, State::Moved(to));
                } else {
                    self.hosts[host].body.table.remove(name);
                }
                for call in waiting {
                    self.forward(host, to, call);
                }
            }
            Route::NoSuchBird | Route::Grounded { .. } | Route::UnknownSpecies(_) => {
                self.hosts[host].body.table.remove(name);
                let end = if route == Route::NoSuchBird {
                    CallEnd::NoSuchBird
                } else {
                    CallEnd::Grounded
                };
                for call in waiting {
                    self.reply(host, &call, end);
                }
            }
        }
    }

    pub(super) fn first_fence(&self, host: usize, name: &BirdName) -> Option<Fence> {
        self.hosts[host].body.table.get(name).map(|entry| entry.first_fence)
    }

    pub(super) fn is_life(
        &self,
        host: usize,
        name: &BirdName,
        fence: Fence,
        state: &State,
    ) -> bool {
        let entry = self.hosts[host].body.table.get(name);
        entry.is_some_and(|entry| entry.state == *state && entry.first_fence == fence)
    }

    pub(super) fn on_hatch_done(&mut self, host: usize, name: BirdName, fence: Fence, ok: bool) {
        if !self.is_life(host, &name, fence, &State::Hatching) {
            return;
        }
        if !ok {
            self.drop_life(host, &name);
            let reason = "no egg".to_owned();
            return self.feed(host, Input::HatchFailed { name, fence, reason });
        }
        let mut waiting = Vec::new();
        if let Some(entry) = self.hosts[host].body.table.get_mut(&name) {
            entry.state = State::Running;
            waiting.extend(entry.queue.drain(..));
        }
        for call in waiting {
            self.resolve(host, call);
        }
        self.feed(host, Input::Hatched { name, fence });
    }

    pub(super) fn on_departed(&mut self, host: usize, name: BirdName, fence: Fence) {
        if !self.is_life(host, &name, fence, &State::Departing) {
            return;
        }
        let now = self.now;
        let mut crashes = Vec::new();
        if let Some(entry) = self.hosts[host].body.table.get_mut(&name) {
            entry.state = State::Kept;
            crashes.extend(entry.crashes.iter().map(|&at| now.since(at)));
        }
        self.feed(host, Input::Departed { name, fence, crashes });
    }
}
