//! Hosts, time, and what may be done to them.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::Bytes;

use super::check::{Broken, Checks};
use super::host::{Body, CRASH_WINDOW, CallEnd, Data, Entry, Later, MAX_CRASHES, SimCall, State};
use super::net::Net;
use crate::{
    Answer, BirdName, Config, Effect, Event, Fence, Input, Me, Nest, NestId, NestName, NestState,
    Peer, ReqId, Rng, Route, SpeciesId, Time, Via, View, Why,
};

/// The species of all simulated birds.
pub(super) const SPECIES: SpeciesId = SpeciesId::of("sparrow");

/// Where simulated time begins: far from zero, as the epoch is.
const START: Time = Time::from_micros(1_700_000_000_000_000);

/// A host, whether or not a nest runs on it.
#[derive(Debug)]
pub(super) struct Host {
    pub(super) name: NestName,
    pub(super) nest: Option<Nest>,
    pub(super) body: Body,
    /// Its clock is ahead of the world's by so much.
    skew: Duration,
    frozen_until: Time,
}

/// A flock in one thread.
#[derive(Debug)]
pub struct World {
    pub(super) now: Time,
    pub(super) rng: Rng,
    pub(super) hosts: Vec<Host>,
    pub(super) net: Net,
    later: BTreeMap<(Time, u64), (usize, NestId, Later)>,
    seq: u64,
    /// When the last data frame from one host to another arrives: they keep their order.
    data_last: BTreeMap<(usize, usize), Time>,
    pub(super) calls: BTreeMap<u64, (usize, Time)>,
    next_call: u64,
    next_req: u64,
    pub(super) asked: BTreeMap<ReqId, (usize, BirdName, bool)>,
    /// How requests ended.
    pub answers: BTreeMap<ReqId, Answer>,
    /// How calls ended.
    pub ended: BTreeMap<u64, CallEnd>,
    pub(super) checks: Checks,
    /// Events by their debug names, counted.
    pub events: BTreeMap<&'static str, u64>,
    /// Everything whose debug form holds this text is printed.
    trace: Option<String>,
}

impl World {
    /// An empty sky.
    pub fn new(seed: u64) -> Self {
        Self {
            now: START,
            rng: Rng::new(seed),
            hosts: Vec::new(),
            net: Net::default(),
            later: BTreeMap::new(),
            seq: 0,
            data_last: BTreeMap::new(),
            calls: BTreeMap::new(),
            next_call: 0,
            next_req: 0,
            asked: BTreeMap::new(),
            answers: BTreeMap::new(),
            ended: BTreeMap::new(),
            checks: Checks::default(),
            events: BTreeMap::new(),
            trace: std::env::var("FLOCK_SIM_TRACE").ok(),
        }
    }

    /// Time since the beginning.
    pub fn elapsed(&self) -> Duration {
        self.now.since(START)
    }

    /// The first invariant that broke.
    pub fn broken(&self) -> Option<&Broken> {
        self.checks.broken()
    }

    fn address(host: usize) -> String {
        format!("10.0.0.{host}:7000")
    }

    /// Adds a host and starts a nest on it.
    pub fn add_host(&mut self) -> usize {
        self.add_host_with_skew(Duration::ZERO)
    }

    /// Adds a host whose clock is ahead by so much, and starts a nest on it.
    pub fn add_host_with_skew(&mut self, skew: Duration) -> usize {
        let index = self.hosts.len();
        let name = NestName::new(&format!("nest-{index}")).unwrap_or_else(|e| unreachable!("{e}"));
        self.hosts.push(Host {
            name,
            nest: None,
            body: Body::default(),
            skew,
            frozen_until: START,
        });
        self.boot(index);
        index
    }

    /// Starts a nest on a host that has none.
    pub fn boot(&mut self, host: usize) {
        if self.hosts[host].nest.is_some() {
            return;
        }
        let me = Me {
            name: self.hosts[host].name.clone(),
            address: Self::address(host),
            weight: 1,
            species: BTreeSet::from([SPECIES]),
            seeds: self.seeds_for(host),
        };
        let now = self.now + self.hosts[host].skew;
        let seed = self.rng.next_u64();
        let nest = Nest::new(me, Config::default(), seed, now);
        self.hosts[host].nest = Some(nest);
        self.carry_out(host);
    }

    /// Two fixed seeds, as people configure them, and one nest that runs: with all seeds down and
    /// everybody else gone in good order, nobody could know where to look.
    fn seeds_for(&mut self, host: usize) -> Vec<String> {
        let mut seeds: BTreeSet<usize> = (0..self.hosts.len().min(2)).collect();
        let running = self.running();
        seeds.extend(self.rng.pick(&running));
        seeds.into_iter().filter(|&seed| seed != host).map(Self::address).collect()
    }

    /// The process dies: no goodbye, its state is lost.
    pub fn kill(&mut self, host: usize) {
        if self.hosts[host].nest.take().is_none() {
            return;
        }
        self.hosts[host].body = Body::default();
        self.calls_of(host, CallEnd::CallerGone);
        let links: Vec<_> = self.net.links.iter().map(|(id, link)| (*id, link.ends)).collect();
        for (id, ends) in links {
            if let Some(side) = ends.iter().position(|end| end.0 == host) {
                if let Some(link) = self.net.links.get_mut(&id) {
                    link.open[side] = false;
                    link.queues[side].clear();
                }
                self.close_other_end(id, 1 - side);
            }
        }
        self.checks.on_death(host);
    }

    fn calls_of(&mut self, host: usize, end: CallEnd) {
        let lost: Vec<u64> =
            self.calls.iter().filter(|(_, call)| call.0 == host).map(|(id, _)| *id).collect();
        for id in lost {
            self.end_call(id, end);
        }
    }

    /// Tells the other end of a link that it is gone, unless the two are cut off.
    fn close_other_end(&mut self, link: u64, side: usize) {
        let Some(end) = self.net.links.get(&link).map(|l| l.ends[side]) else { return };
        let delay = self.latency();
        self.at(delay, end.0, end.1, Later::LinkGone(link, side));
    }

    /// Cuts every path between two groups of hosts, or heals all cuts.
    pub fn cut(&mut self, left: &[usize], right: &[usize]) {
        for &a in left {
            for &b in right {
                self.net.cuts.insert((a.min(b), a.max(b)));
            }
        }
        self.checks.on_cut();
    }

    /// Cuts the path between two hosts that others still see round: no partition, so everything
    /// must go on as before.
    pub fn cut_pair(&mut self, a: usize, b: usize) {
        self.net.cuts.insert((a.min(b), a.max(b)));
    }

    /// Heals all cuts.
    pub fn heal(&mut self) {
        self.net.cuts.clear();
    }

    /// Breaks the link between two hosts; both ends notice.
    pub fn break_link(&mut self, a: usize, b: usize) {
        if let Some(id) = self.net.between(a, b) {
            if let Some(link) = self.net.links.get_mut(&id) {
                link.queues[0].clear();
                link.queues[1].clear();
            }
            self.close_other_end(id, 0);
            self.close_other_end(id, 1);
        }
    }

    /// Holds up everything on the link between two hosts.
    pub fn stall(&mut self, a: usize, b: usize, span: Duration) {
        if let Some(link) = self.net.between(a, b).and_then(|id| self.net.links.get_mut(&id)) {
            for queue in &mut link.queues {
                for (at, _) in queue.iter_mut() {
                    *at += span;
                }
            }
        }
    }

    /// The process stands still for a while. Not again soon after: several freezes in a row are
    /// one long one, and a nest that is frozen for longer than SWIM suspects is rightly held dead.
    pub fn freeze(&mut self, host: usize, span: Duration) {
        if self.now.since(self.hosts[host].frozen_until) > Duration::from_secs(6) {
            self.hosts[host].frozen_until = self.now + span;
        }
    }

    /// The nest leaves in good order.
    pub fn leave(&mut self, host: usize) -> ReqId {
        let req = self.req(host, None);
        self.feed(host, Input::Leave { req });
        req
    }

    fn req(&mut self, host: usize, name: Option<(&BirdName, bool)>) -> ReqId {
        self.next_req += 1;
        let req = ReqId(self.next_req);
        if let Some((name, start)) = name {
            self.asked.insert(req, (host, name.clone(), start));
        }
        req
    }

    /// A user on that host starts a bird.
    pub fn start(&mut self, host: usize, name: &BirdName) -> ReqId {
        let req = self.req(host, Some((name, true)));
        let deadline = self.local(host) + Duration::from_secs(5);
        let args = Bytes::copy_from_slice(name.as_str().as_bytes());
        let (name, species) = (name.clone(), SPECIES);
        self.feed(host, Input::Start { req, name, species, args, or_get: false, deadline });
        req
    }

    /// A user on that host stops a bird.
    pub fn stop(&mut self, host: usize, name: &BirdName) -> ReqId {
        let req = self.req(host, Some((name, false)));
        let deadline = self.local(host) + Duration::from_secs(5);
        self.feed(host, Input::Stop { req, name: name.clone(), deadline });
        req
    }

    fn local(&self, host: usize) -> Time {
        self.now + self.hosts[host].skew
    }

    /// A bird on that host is done and ends of itself; `None` if none runs there.
    pub fn end_some_bird(&mut self, host: usize) -> Option<BirdName> {
        let (name, fence) = self.some_running(host)?;
        self.drop_life(host, &name);
        self.feed(host, Input::Ended { name: name.clone(), fence });
        Some(name)
    }

    /// A bird on that host crashes; `None` if none runs there.
    pub fn crash_some_bird(&mut self, host: usize) -> Option<BirdName> {
        let (name, fence) = self.some_running(host)?;
        let now = self.now;
        let entry = self.hosts[host].body.table.get_mut(&name)?;
        entry.crashes.retain(|&at| now.since(at) <= CRASH_WINDOW);
        entry.crashes.push(now);
        let crashes = entry.crashes.len();
        self.checks.on_crash(&name, now);
        if crashes > MAX_CRASHES {
            self.checks.on_grounded(&name);
            self.drop_life(host, &name);
            let reason = "it fell".to_owned();
            let crashes = crashes as u32;
            self.feed(host, Input::Grounded { name: name.clone(), fence, reason, crashes });
        }
        Some(name)
    }

    fn some_running(&mut self, host: usize) -> Option<(BirdName, Fence)> {
        let running: Vec<_> = self.hosts[host]
            .body
            .table
            .iter()
            .filter(|(_, entry)| entry.state == State::Running)
            .map(|(name, entry)| (name.clone(), entry.fence))
            .collect();
        self.rng.pick(&running).cloned()
    }

    /// A life is over: what waits for it asks anew where to go.
    fn drop_life(&mut self, host: usize, name: &BirdName) {
        let Some(entry) = self.hosts[host].body.table.remove(name) else { return };
        for call in entry.queue {
            self.resolve(host, call);
        }
    }

    // ---- calls ------------------------------------------------------------------------------

    /// Somebody on that host calls a bird.
    pub fn call(&mut self, host: usize, name: &BirdName) -> u64 {
        self.next_call += 1;
        let id = self.next_call;
        let deadline = self.now + Duration::from_secs(5);
        self.calls.insert(id, (host, deadline));
        let call = SimCall { id, name: name.clone(), origin: host, hops: 0, deadline };
        self.resolve(host, call);
        id
    }

    fn end_call(&mut self, id: u64, end: CallEnd) {
        // One that is gone was given up before; its answer is late, not double.
        if self.calls.remove(&id).is_some() {
            self.ended.insert(id, end);
        }
    }

    /// Takes a call one step on its way from this host.
    fn resolve(&mut self, host: usize, call: SimCall) {
        self.note(host, "call", &call);
        let Some(nest) = &self.hosts[host].nest else { return };
        let me = nest.id();
        if let Some(entry) = self.hosts[host].body.table.get_mut(&call.name) {
            match entry.state {
                State::Running => {
                    let end = CallEnd::Answered(entry.fence);
                    return self.reply(host, &call, end);
                }
                State::Moved(to) => return self.forward(host, to, call),
                _ => return entry.queue.push_back(call),
            }
        }
        let view: Option<&View> = self.hosts[host].body.view.as_deref();
        match view.and_then(|view| view.owner(call.name.hash64())) {
            Some(owner) if owner == me => {
                let name = call.name.clone();
                let mut entry = Entry::waiting();
                entry.queue.push_back(call);
                self.hosts[host].body.table.insert(name.clone(), entry);
                self.feed(host, Input::Wanted { name });
            }
            Some(owner) => self.forward(host, owner, call),
            None => self.resolve_later(host, call),
        }
    }

    fn resolve_later(&mut self, host: usize, call: SimCall) {
        if let Some(id) = self.id_of(host) {
            self.at(Duration::from_millis(50), host, id, Later::Resolve(call));
        }
    }

    fn forward(&mut self, host: usize, to: NestId, mut call: SimCall) {
        if call.hops >= 3 {
            call.hops = 0;
            let origin = call.origin;
            return self.send_data(host, origin, Data::Retry(call));
        }
        call.hops += 1;
        match self.host_of(to) {
            Some(target) if self.has_path(host, to) => {
                self.send_data(host, target, Data::Call(call));
            }
            _ => {
                call.hops = 0;
                let origin = call.origin;
                if origin == host {
                    self.resolve_later(host, call);
                } else {
                    self.send_data(host, origin, Data::Retry(call));
                }
            }
        }
    }

    fn reply(&mut self, host: usize, call: &SimCall, end: CallEnd) {
        self.checks.on_answer(&call.name, end);
        self.send_data(host, call.origin, Data::Reply(call.id, end));
    }

    /// Whether this host's view says that frames reach that nest.
    fn has_path(&self, host: usize, to: NestId) -> bool {
        let via = self.hosts[host].body.view.as_ref().map(|view| view.via(to));
        !matches!(via, None | Some(Via::Nothing))
    }

    fn send_data(&mut self, from: usize, to: usize, data: Data) {
        let delay = self.latency();
        let cut = self.net.is_cut(from, to);
        let relayed = (0..self.hosts.len()).any(|r| {
            self.hosts[r].nest.is_some() && !self.net.is_cut(from, r) && !self.net.is_cut(r, to)
        });
        if cut && !relayed {
            // The wire is mute. Whoever called runs into its deadline.
            return;
        }
        let Some(id) = self.id_of(to) else { return };
        let last = self.data_last.get(&(from, to)).copied().unwrap_or(START);
        let at = last.max(self.now + delay);
        self.data_last.insert((from, to), at);
        self.at(at.since(self.now), to, id, Later::Data(Box::new(data)));
    }

    fn on_data(&mut self, host: usize, data: Data) {
        match data {
            Data::Reply(id, end) => self.on_reply(host, id, end),
            Data::Retry(call) => self.resolve_later(host, call),
            Data::Call(call) if call.deadline < self.now => {}
            Data::Call(call) => self.resolve(host, call),
        }
    }

    /// I8: a reply reaches its caller, and nobody else.
    fn on_reply(&mut self, host: usize, id: u64, end: CallEnd) {
        if let Some((origin, _)) = self.calls.get(&id)
            && *origin != host
        {
            let what = format!("the reply to call {id} of host {origin} came to host {host}");
            self.checks.fail("I8", what);
        }
        self.end_call(id, end);
    }

    // ---- time -------------------------------------------------------------------------------

    fn latency(&mut self) -> Duration {
        Duration::from_micros(100 + self.rng.below(2_000))
    }

    fn at(&mut self, delay: Duration, host: usize, id: NestId, what: Later) {
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

    fn expire_calls(&mut self) {
        let now = self.now;
        let late: Vec<u64> =
            self.calls.iter().filter(|(_, call)| call.1 < now).map(|(id, _)| *id).collect();
        for id in late {
            self.end_call(id, CallEnd::TimedOut);
        }
    }

    /// One event; false if none is due before `end`.
    fn step(&mut self, end: Time) -> bool {
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

    fn deliver(&mut self, id: u64, side: usize) {
        let Some(link) = self.net.links.get_mut(&id) else { return };
        let Some((_, frame)) = link.queues[side].pop_front() else { return };
        let (host, incarnation) = link.ends[side];
        let from = link.ends[1 - side].1;
        if link.open[side] && self.id_of(host) == Some(incarnation) {
            self.note_frame(host, &frame);
            self.feed(host, Input::Frame { from, frame });
        }
    }

    fn do_later(&mut self, key: (Time, u64)) {
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

    fn first_fence(&self, host: usize, name: &BirdName) -> Option<Fence> {
        self.hosts[host].body.table.get(name).map(|entry| entry.first_fence)
    }

    fn is_life(&self, host: usize, name: &BirdName, fence: Fence, state: &State) -> bool {
        let entry = self.hosts[host].body.table.get(name);
        entry.is_some_and(|entry| entry.state == *state && entry.first_fence == fence)
    }

    fn on_hatch_done(&mut self, host: usize, name: BirdName, fence: Fence, ok: bool) {
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

    fn on_departed(&mut self, host: usize, name: BirdName, fence: Fence) {
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

    // ---- links ------------------------------------------------------------------------------

    fn finish_dial(&mut self, host: usize, address: String) {
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

    fn peer(&self, host: usize, id: NestId) -> Peer {
        Peer { id, name: self.hosts[host].name.clone(), address: Self::address(host) }
    }

    fn on_link_gone(&mut self, id: u64, side: usize) {
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

    fn hang_up(&mut self, host: usize, peer: NestId) {
        if let Some((id, side)) = self.net.find(host, peer) {
            if let Some(link) = self.net.links.get_mut(&id) {
                link.open[side] = false;
                link.queues[side].clear();
            }
            self.close_other_end(id, 1 - side);
        }
    }

    // ---- the driver's part ------------------------------------------------------------------

    pub(super) fn feed(&mut self, host: usize, input: Input) {
        let now = self.local(host);
        self.note(host, "<-", &input);
        if let Some(nest) = &mut self.hosts[host].nest {
            nest.handle(now, input);
            self.carry_out(host);
        }
    }

    fn carry_out(&mut self, host: usize) {
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
                Effect::HangUp { peer, .. } => self.hang_up(host, peer),
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
    fn note(&self, host: usize, arrow: &str, what: &dyn std::fmt::Debug) {
        if let Some(wanted) = &self.trace {
            let text = format!("{what:?}");
            self.print(host, arrow, wanted, &text);
        }
    }

    /// Prints a frame, if a trace asks for it.
    fn note_frame(&self, host: usize, frame: &[u8]) {
        if let (Some(wanted), Ok(frame)) = (&self.trace, crate::wire::Frame::decode(frame)) {
            let text = format!("{frame:?}");
            self.print(host, "<~", wanted, &text);
        }
    }

    fn print(&self, host: usize, arrow: &str, wanted: &str, text: &str) {
        if text.contains(wanted) {
            let at = self.elapsed();
            eprintln!("{at:>14?} host {host} {arrow} {text:.300}");
        }
    }

    fn on_event(&mut self, event: &Event) {
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

    fn on_answer(&mut self, host: usize, req: ReqId, answer: Answer) {
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

    fn send_frame(&mut self, host: usize, to: NestId, frame: Bytes) {
        let delay = self.latency();
        let Some((id, side)) = self.net.find(host, to) else { return };
        let at = self.now + delay;
        if let Some(link) = self.net.links.get_mut(&id) {
            let queue = &mut link.queues[1 - side];
            let at = queue.back().map_or(at, |(last, _)| at.max(*last));
            queue.push_back((at, frame));
        }
    }

    fn set_state(&mut self, host: usize, name: &BirdName, state: State) {
        if let Some(entry) = self.hosts[host].body.table.get_mut(name) {
            entry.state = state;
        }
    }

    #[expect(clippy::too_many_arguments, reason = "the fields of one effect")]
    fn on_hatch(
        &mut self,
        host: usize,
        id: NestId,
        name: BirdName,
        birth: crate::Dot,
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

    fn on_route(&mut self, host: usize, name: &BirdName, route: Route) {
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

    /// The hosts on which a nest runs.
    pub fn running(&self) -> Vec<usize> {
        (0..self.hosts.len()).filter(|&i| self.hosts[i].nest.is_some()).collect()
    }

    /// The nests that say they are up.
    pub fn up(&self) -> Vec<usize> {
        let is_up = |host: &Host| {
            host.nest.as_ref().is_some_and(|nest| {
                nest.view().member(nest.id()).is_some_and(|m| m.state == NestState::Up)
            })
        };
        (0..self.hosts.len()).filter(|&i| is_up(&self.hosts[i])).collect()
    }

    /// The core of a host's nest.
    pub fn nest(&self, host: usize) -> Option<&Nest> {
        self.hosts.get(host)?.nest.as_ref()
    }

    /// Where each name has a life.
    pub fn perches(&self) -> BTreeMap<BirdName, Vec<usize>> {
        let mut all = BTreeMap::<BirdName, Vec<usize>>::new();
        for (i, host) in self.hosts.iter().enumerate() {
            for (name, _) in host.body.table.iter().filter(|(_, entry)| entry.lives()) {
                all.entry(name.clone()).or_default().push(i);
            }
        }
        all
    }
}
