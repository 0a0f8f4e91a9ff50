//! Hosts, time, and what may be done to them.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::Bytes;

use super::check::{Broken, Checks};
use super::host::{Body, CRASH_WINDOW, CallEnd, Later, MAX_CRASHES, State};
use super::net::Net;
use crate::{
    Answer, BirdName, Config, Fence, Input, Me, Nest, NestId, NestName, NestState, ReqId, Rng,
    SpeciesId, Time,
};

/// The species of all simulated birds.
pub(super) const SPECIES: SpeciesId = SpeciesId::of("sparrow");

/// Where simulated time begins: far from zero, as the epoch is.
pub(super) const START: Time = Time::from_micros(1_700_000_000_000_000);

/// A host, whether or not a nest runs on it.
#[derive(Debug)]
pub(super) struct Host {
    pub(super) name: NestName,
    pub(super) nest: Option<Nest>,
    pub(super) body: Body,
    /// Its clock is ahead of the world's by so much.
    pub(super) skew: Duration,
    pub(super) frozen_until: Time,
}

/// A flock in one thread.
#[derive(Debug)]
pub struct World {
    pub(super) now: Time,
    pub(super) rng: Rng,
    pub(super) hosts: Vec<Host>,
    pub(super) net: Net,
    pub(super) later: BTreeMap<(Time, u64), (usize, NestId, Later)>,
    pub(super) seq: u64,
    /// When the last data frame from one host to another arrives: they keep their order.
    pub(super) data_last: BTreeMap<(usize, usize), Time>,
    pub(super) calls: BTreeMap<u64, (usize, Time)>,
    pub(super) next_call: u64,
    pub(super) next_req: u64,
    pub(super) asked: BTreeMap<ReqId, (usize, BirdName, bool)>,
    /// How requests ended.
    pub answers: BTreeMap<ReqId, Answer>,
    /// How calls ended.
    pub ended: BTreeMap<u64, CallEnd>,
    pub(super) checks: Checks,
    /// Events by their debug names, counted.
    pub events: BTreeMap<&'static str, u64>,
    /// Everything whose debug form holds this text is printed.
    pub(super) trace: Option<String>,
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

    pub(super) fn address(host: usize) -> String {
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
    pub(super) fn seeds_for(&mut self, host: usize) -> Vec<String> {
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

    pub(super) fn calls_of(&mut self, host: usize, end: CallEnd) {
        let lost: Vec<u64> =
            self.calls.iter().filter(|(_, call)| call.0 == host).map(|(id, _)| *id).collect();
        for id in lost {
            self.end_call(id, end);
        }
    }

    /// Tells the other end of a link that it is gone, unless the two are cut off.
    pub(super) fn close_other_end(&mut self, link: u64, side: usize) {
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

    pub(super) fn req(&mut self, host: usize, name: Option<(&BirdName, bool)>) -> ReqId {
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

    pub(super) fn local(&self, host: usize) -> Time {
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

    pub(super) fn some_running(&mut self, host: usize) -> Option<(BirdName, Fence)> {
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
    pub(super) fn drop_life(&mut self, host: usize, name: &BirdName) {
        let Some(entry) = self.hosts[host].body.table.remove(name) else { return };
        for call in entry.queue {
            self.resolve(host, call);
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
