//! The driver's part: inputs to the cores, and what becomes of their effects.

use std::collections::BTreeSet;
use std::time::Duration;

use bytes::Bytes;

use super::host::{CallEnd, Entry, Later, Parcel, State};
use super::world::World;
use crate::wire::Frame;
use crate::{
    Answer, BirdName, Dot, Effect, EndWhy, Event, Fence, Input, NestId, NestState, ReqId, Route,
    Time, Why,
};

/// Up to so many hosts every down is traced to its suspicion; in larger worlds that costs too much.
const FEW: usize = 8;

/// The kind of a frame that refuses a bird.
const REFUSED: u8 = 34;

impl World {
    pub(super) fn feed(&mut self, host: usize, input: Input) {
        let now = self.local(host);
        if !matches!(input, Input::Frame { .. }) {
            self.note(host, "<-", &input);
        }
        let few = self.hosts.len() <= FEW;
        let ticks = few && matches!(input, Input::Tick);
        let Some(nest) = &mut self.hosts[host].nest else { return };
        let before = ticks.then(|| (nest.alive().clone(), nest.suspects()));
        nest.handle(now, input);
        if nest.is_settled_everywhere() {
            let (id, view) = (nest.id(), nest.view().fingerprint());
            self.checks.on_settled(host, id, view);
        }
        self.carry_out(host);
        if let Some((alive, suspects)) = before {
            self.check_downs(host, &alive, &suspects);
        }
    }

    pub(super) fn carry_out(&mut self, host: usize) {
        let Some(nest) = &mut self.hosts[host].nest else { return };
        // The room of the last time. An effect may lead to others at once: those make their own.
        let mut effects = std::mem::take(&mut self.effects);
        effects.extend(nest.drain());
        for effect in effects.drain(..) {
            match &effect {
                Effect::Send { to, frame } => self.note_frame(host, format_args!("~> {to}"), frame),
                other => self.note(host, "->", other),
            }
            self.carry_out_one(host, effect);
        }
        self.effects = effects;
        self.arm(host);
    }

    fn carry_out_one(&mut self, host: usize, effect: Effect) {
        match effect {
            Effect::Send { to, frame } => self.send_frame(host, to, frame),
            Effect::Dial { address } => {
                let delay = self.latency();
                self.later(delay, host, Later::Dial(address, 0));
            }
            Effect::HangUp { peer, .. } => self.hang_up(host, peer, true),
            Effect::Release { peer } => self.hang_up(host, peer, false),
            Effect::Renamed { id } => self.on_renamed(host, id),
            Effect::Hatch { name, birth, fence, why, crashes, snapshot, merges, .. } => {
                let memory = self.on_inheritance(&name, ((host, fence), birth), snapshot, merges);
                self.on_hatch(host, name.clone(), birth, fence, why, &crashes);
                if let Some(entry) = self.hosts[host].body.table.get_mut(&name) {
                    entry.memory = memory;
                }
            }
            Effect::Merge { name, fence, state } => self.on_merge(host, &name, fence, &state),
            Effect::Checkpoint { name, .. } => {
                let entry = self.hosts[host].body.table.get(&name);
                if let Some(first) = entry.map(|entry| entry.first_fence) {
                    self.plan_checkpoint(host, name, first);
                }
            }
            Effect::Checkpointed { name, number, by, .. } => {
                self.on_checkpointed(host, &name, number, &by);
            }
            Effect::End { name, why, .. } => {
                if let Some(fence) = self.turn(host, &name, State::Ending) {
                    let delay = Duration::from_millis(1 + self.rng.below(20));
                    self.later(delay, host, Later::Ended(name, fence, why));
                }
            }
            Effect::Depart { name, .. } => {
                let stops = self.hosts[host].nest.as_ref().is_some_and(crate::Nest::is_stopped);
                if let Some(view) = self.hosts[host].body.view.clone().filter(|_| !stops) {
                    self.checks.on_depart(host, &name, &view);
                }
                if let Some(fence) = self.turn(host, &name, State::Departing) {
                    let delay = Duration::from_millis(1 + self.rng.below(50));
                    self.later(delay, host, Later::Departed(name, fence));
                }
            }
            Effect::SetFence { name, old, new } => {
                self.checks.on_merged_fence(&name, old, new);
                if let Some(entry) = self.hosts[host].body.table.get_mut(&name) {
                    entry.fence = new;
                }
            }
            Effect::Route { name, route } => self.on_route(host, &name, route),
            Effect::Answer { req, answer } => self.on_answer(host, req, answer),
            Effect::Publish(view) => {
                let before = self.hosts[host].body.view.clone();
                self.checks.on_view(host, before.as_deref(), &view);
                self.check_up(host, before.as_deref(), &view);
                self.check_share(host, before.as_deref(), &view);
                self.on_met(host, before.as_deref(), &view);
                // In larger worlds hundreds of views differ in joiners only, which aren't counted.
                let same = before.as_ref().is_some_and(|it| it.fingerprint() == view.fingerprint());
                if !same || self.hosts.len() <= FEW {
                    let seen = self.hosts_seen_by(host);
                    self.checks.on_seen(host, &seen);
                }
                self.hosts[host].body.enter(view);
            }
            Effect::Tell(event) => self.on_event(host, &event),
            Effect::Stamp(_) => {}
        }
    }

    /// Prints what a trace asks for.
    pub(super) fn note(&self, host: usize, arrow: &str, what: &dyn std::fmt::Debug) {
        if let Some(wanted) = &self.trace {
            self.print(host, arrow, wanted, &format!("{what:?}"));
        }
    }

    /// Prints a frame, if a trace asks for it.
    pub(super) fn note_frame(&self, host: usize, arrow: std::fmt::Arguments<'_>, frame: &[u8]) {
        if let Some(wanted) = &self.trace
            && let Ok(frame) = Frame::decode(frame)
        {
            self.print(host, &arrow.to_string(), wanted, &format!("{frame:?}"));
        }
    }

    fn print(&self, host: usize, arrow: &str, wanted: &str, text: &str) {
        if wanted.split('|').any(|wanted| text.contains(wanted)) {
            eprintln!("{:>14?} host {host} {arrow} {text:.2000}", self.elapsed());
        }
    }

    fn on_event(&mut self, host: usize, event: &Event) {
        let kind = match event {
            Event::Conflict { .. } => "conflict",
            Event::Moved { .. } => "moved",
            Event::Merged(name) => {
                self.checks.check_merged(name);
                "merged"
            }
            Event::Started(name) => return self.check_denied(host, name),
            Event::Renewed => {
                self.checks.on_renewed();
                self.facts.on_renewed();
                "renewed"
            }
            Event::NestDown(name) => {
                self.downs.push((host, name.clone()));
                "down"
            }
            Event::BadFrame { why, .. } => {
                let what = format!("a nest wrote a frame that can't be read: {why}");
                self.checks.fail("I4", what);
                "bad frame"
            }
            _ => return,
        };
        *self.events.entry(kind).or_default() += 1;
    }

    fn on_answer(&mut self, host: usize, req: ReqId, answer: Answer) {
        let (nest, checks) = (self.hosts[host].nest.as_ref(), &self.checks);
        let heard = |name: &BirdName| {
            nest.is_some_and(|nest| checks.births_of(name).all(|birth| nest.has_heard_of(birth)))
        };
        if let Some(verdict) = self.facts.on_answer(req, &answer, heard) {
            self.check_answer(&verdict, &answer);
        }
        if matches!(answer, Answer::Left { .. }) {
            self.on_left(host);
        }
        self.answers.insert(req, answer);
    }

    fn on_left(&mut self, host: usize) {
        let still_here = self.hosts[host].body.table.values().any(|entry| entry.state.lives());
        let others = self.running().len() > 1;
        self.check_left(host);
        self.close_links_of(host, Duration::from_millis(10));
        if still_here && others {
            self.checks.on_host_gone(host);
        }
        // Beyond a cut there may be nobody to hand them to.
        if self.checks.is_rough() {
            self.forget_states_of(host);
        }
        self.checks.on_silence(host);
        self.vacate(host);
    }

    /// Nothing runs on this host any more.
    pub(super) fn vacate(&mut self, host: usize) {
        let it = &mut self.hosts[host];
        if let Some(nest) = it.nest.take() {
            self.by_id.remove(&nest.id());
        }
        it.boots += 1;
        it.armed = Time::NEVER;
        it.timers.clear();
        it.control.clear();
        it.known.clear();
        let body = std::mem::take(&mut it.body);
        for (name, entry) in &body.table {
            if entry.state.lives() {
                self.checks.on_life_over(name, host);
            }
        }
        for number in self.checks.calls_of(host) {
            self.end_call(number, CallEnd::CallerGone);
        }
        let nests = &self.hosts;
        self.facts.on_gone(host, |name, alive| {
            let mut others = nests.iter().filter_map(|host| host.nest.as_ref());
            let known = others.any(|nest| nest.find(name).is_some());
            // Somebody knows that it lives; or nobody has yet to hear that it doesn't.
            known == alive
        });
    }

    fn on_renamed(&mut self, host: usize, id: NestId) {
        let former = self.by_id.iter().filter(|(_, at)| **at == host).map(|(id, _)| *id);
        self.hosts[host].body.former.extend(former);
        // Anew: two nests may have drawn one number.
        let ids = self.hosts.iter().zip(0..).filter_map(|(host, at)| Some((host.id()?, at)));
        self.by_id = ids.collect();
        debug_assert_eq!(self.hosts[host].id(), Some(id));
        self.checks.on_disturbance();
        self.close_links_of(host, Duration::ZERO);
    }

    /// A life goes into another phase; says by which fence the driver knows it.
    fn turn(&mut self, host: usize, name: &BirdName, state: State) -> Option<Fence> {
        let entry = self.hosts[host].body.table.get_mut(name)?;
        entry.state = state;
        Some(entry.first_fence)
    }

    fn on_hatch(
        &mut self,
        host: usize,
        name: BirdName,
        birth: Dot,
        fence: Fence,
        why: Why,
        crashes: &[Duration],
    ) {
        let whole = self.net.is_whole();
        if whole && self.checks.lives_of(&name) > 0 {
            let mut others = self.hosts_seen_by(host);
            others.retain(|other| self.hosts_seen_by(*other).contains(&host));
            self.checks.check_meeting(&name, host, &others);
        }
        self.checks.check_ended(&name, birth);
        self.checks.check_heritage(&name, birth, why, crashes);
        self.check_majority((&name, birth), host, why);
        self.checks.on_life(&name, birth, fence, host, whole);
        let now = self.now;
        let entry = self.hosts[host].body.table.entry(name.clone()).or_insert_with(Entry::waiting);
        entry.state = State::Hatching;
        entry.birth = Some(birth);
        entry.fence = fence;
        entry.first_fence = fence;
        entry.ran = false;
        entry.checkpoints = 0;
        entry.taken.clear();
        let at = |ago: &Duration| {
            Time::from_micros(now.as_micros().saturating_sub(ago.as_micros() as u64))
        };
        entry.crashes = crashes.iter().map(at).collect();
        let ok = why != Why::Start || !self.rng.one_in(50);
        let mut delay = Duration::from_millis(1 + self.rng.below(30));
        if self.slow_hatches > 0 && self.whims.one_in(self.slow_hatches) {
            delay += Duration::from_millis(self.whims.below(2_000));
            self.checks.on_slow_hatch(&name, self.now);
        }
        self.later(delay, host, Later::Hatched(name, fence, why, ok));
    }

    /// The hosts whose nests this one has in its view as up or leaving, and itself not.
    pub(super) fn hosts_seen_by(&self, host: usize) -> BTreeSet<usize> {
        let view = self.hosts[host].nest.as_ref().map(|nest| nest.view());
        let members = view.iter().flat_map(|view| view.members());
        let members = members.filter(|member| member.state != NestState::Joining);
        let hosts = members.filter_map(|member| self.by_id.get(&member.id).copied());
        hosts.filter(|other| *other != host).collect()
    }

    fn on_route(&mut self, host: usize, name: &BirdName, route: Route) {
        let Some(entry) = self.hosts[host].body.table.get_mut(name) else { return };
        if entry.state.lives() {
            return self.checks.fail("I1", format!("{name} was routed away while it lives here"));
        }
        let waiting: Vec<Parcel> = entry.queue.drain(..).collect();
        let end = match route {
            Route::To(to) => {
                let view = self.hosts[host].body.view.as_ref();
                if view.is_some_and(|view| view.owner(name.hash64()) == Some(view.me())) {
                    self.turn(host, name, State::Moved(to));
                } else {
                    self.hosts[host].body.table.remove(name);
                }
                for parcel in waiting {
                    self.redispatch(host, parcel);
                }
                return;
            }
            Route::NoSuchBird => CallEnd::NoSuchBird,
            Route::NoQuorum => CallEnd::NoQuorum,
            _ => CallEnd::Grounded,
        };
        self.hosts[host].body.table.remove(name);
        for parcel in waiting {
            self.reply(host, &parcel, end);
        }
    }

    pub(super) fn is_life(&self, host: usize, name: &BirdName, fence: Fence, state: State) -> bool {
        let entry = self.hosts[host].body.table.get(name);
        entry.is_some_and(|entry| entry.state == state && entry.first_fence == fence)
    }

    /// A life that goes on takes in what another left.
    fn on_merge(&mut self, host: usize, name: &BirdName, fence: Fence, state: &[u8]) {
        let Some(entry) = self.hosts[host].body.table.get_mut(name) else { return };
        if !entry.state.lives() || entry.fence != fence {
            let what = format!("a state of {name} came for no life");
            return self.checks.fail("I17", what);
        }
        let mut memory = std::mem::take(&mut entry.memory);
        self.take_in(name, &mut memory, state);
        if let Some(entry) = self.hosts[host].body.table.get_mut(name) {
            entry.memory = memory;
        }
    }

    pub(super) fn on_hatch_done(
        &mut self,
        host: usize,
        name: BirdName,
        fence: Fence,
        why: Why,
        ok: bool,
    ) {
        if !self.is_life(host, &name, fence, State::Hatching) {
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
            entry.ran = true;
            waiting.extend(entry.queue.drain(..));
        }
        self.check_memory(host, &name, why);
        for parcel in waiting {
            self.dispatch(host, parcel);
        }
        self.feed(host, Input::Hatched { name, fence });
    }

    pub(super) fn on_ended(&mut self, host: usize, name: BirdName, fence: Fence, why: EndWhy) {
        if self.is_life(host, &name, fence, State::Ending) {
            let entry = self.hosts[host].body.table.get(&name);
            let lost = entry.filter(|entry| entry.ran && why == EndWhy::LostConflict);
            let snapshot = lost.map(|entry| entry.memory.encode(None));
            self.drop_life(host, &name);
            self.feed(host, Input::Ended { name, fence, snapshot });
        }
    }

    pub(super) fn on_departed(&mut self, host: usize, name: BirdName, fence: Fence) {
        if !self.is_life(host, &name, fence, State::Departing) {
            return;
        }
        let now = self.now;
        let mut crashes = Vec::new();
        // A state may be too large, or take too long.
        let forgets = self.whims.one_in(32);
        let mut snapshot = None;
        if let Some(entry) = self.hosts[host].body.table.get_mut(&name) {
            entry.state = State::Kept;
            crashes.extend(entry.crashes.iter().map(|&at| now.since(at)));
            let memory = std::mem::take(&mut entry.memory);
            let birth = entry.birth;
            birth.into_iter().for_each(|b| self.checks.remembered.on_life_over(b, host));
            match entry.birth.filter(|_| forgets && entry.ran) {
                Some(birth) => self.checks.remembered.forget(birth, &memory),
                None => snapshot = entry.ran.then(|| memory.encode(None)),
            }
        }
        self.checks.on_life_over(&name, host);
        self.feed(host, Input::Departed { name, fence, crashes, snapshot });
    }

    /// Counts a control frame, and looks at what only frames tell.
    pub(super) fn see_frame(&mut self, host: usize, frame: &Bytes) {
        self.note_frame(host, format_args!("<~"), frame);
        self.frames.0 += 1;
        self.frames.1 += frame.len() as u64;
        let of_kind = self.kinds.entry(frame.get(1).copied().unwrap_or(0)).or_default();
        of_kind.0 += 1;
        of_kind.1 += frame.len() as u64;
        if frame.get(1) == Some(&REFUSED)
            && let Ok(Frame::Refused(refused)) = Frame::decode(frame)
        {
            self.checks.on_refused(&refused.life.name, refused.life.fence);
        }
        if let Some(&hops) = frame.get(3)
            && hops > crate::wire::MAX_HOPS
        {
            self.checks.fail("I13", format!("a frame was passed on {hops} times"));
        }
    }
}
