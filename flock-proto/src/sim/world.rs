//! Hosts, and what users do on them.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::Bytes;

use super::check::{Broken, Checks};
use super::facts::Facts;
use super::host::{CRASH_WINDOW, CallEnd, Host, MAX_CRASHES, State};
use super::memory::Memory;
use super::net::Net;
use super::queue::{Happening, Queue};
use crate::{
    Answer, BirdName, Config, Dot, Effect, Fence, Input, Me, Nest, NestId, NestName, NestState,
    Rebalancing, ReqId, Rng, SpeciesId, Time,
};

/// The species of all simulated birds.
pub(super) const SPECIES: SpeciesId = SpeciesId::of("sparrow");

/// Where simulated time begins: far from zero, as the epoch is.
pub(super) const START: Time = Time::from_micros(1_700_000_000_000_000);

/// A flock in one thread.
#[derive(Debug)]
pub struct World {
    pub(super) now: Time,
    pub(super) rng: Rng,
    pub(super) config: Config,
    pub(super) hosts: Vec<Host>,
    pub(super) by_id: BTreeMap<NestId, usize>,
    pub(super) net: Net,
    pub(super) queue: Queue,
    /// Room for what a core wants done.
    pub(super) effects: Vec<Effect>,
    /// How long a frame takes: at least the first, and up to the second more.
    pub(super) latency: (Duration, Duration),
    /// One frame in so many stalls for 200 to 1,000 ms, and all behind it on its link; 0: none.
    pub(super) stalls: u64,
    /// One hatch in so many takes up to two seconds; 0: none.
    pub(super) slow_hatches: u64,
    /// Birds take a checkpoint after one in so many calls; 0: never.
    pub(super) standby: u64,
    /// What was thought of later draws from here, lest the stories told before become others.
    pub(super) whims: Rng,
    /// Where nests are to wait for their shares, those on every other host don't.
    pub(super) passive_by_halves: bool,
    /// Where new nests look for the flock beside the first two hosts; none: at one that runs.
    pub(super) seeds: Option<Vec<usize>>,
    pub(super) next_number: u64,
    pub(super) next_req: u64,
    pub(super) facts: Facts,
    /// How requests ended.
    pub answers: BTreeMap<ReqId, Answer>,
    /// How calls ended.
    pub ended: BTreeMap<u64, CallEnd>,
    pub(super) checks: Checks,
    /// Events by their debug names, counted.
    pub events: BTreeMap<&'static str, u64>,
    /// Deaths told of: by the nest on which host, and of which.
    pub downs: Vec<(usize, NestName)>,
    /// Frames that went over control links, and their bytes.
    pub frames: (u64, u64),
    /// The same for each kind of frame, as the book numbers them.
    pub kinds: BTreeMap<u8, (u64, u64)>,
    /// Everything whose debug form holds this text is printed.
    pub(super) trace: Option<String>,
}

impl World {
    /// An empty sky, with nests of the default configuration.
    pub fn new(seed: u64) -> Self {
        Self::with(seed, Config::default())
    }

    /// An empty sky.
    pub fn with(seed: u64, config: Config) -> Self {
        super::rings::share();
        Self {
            now: START,
            rng: Rng::new(seed),
            config,
            hosts: Vec::new(),
            by_id: BTreeMap::new(),
            net: Net::default(),
            queue: Queue::default(),
            effects: Vec::new(),
            latency: (Duration::from_micros(100), Duration::from_micros(2_000)),
            stalls: 0,
            slow_hatches: 0,
            standby: 0,
            whims: Rng::new(seed ^ 0x0057_a7e5),
            passive_by_halves: false,
            seeds: None,
            next_number: 0,
            next_req: 0,
            facts: Facts::default(),
            answers: BTreeMap::new(),
            ended: BTreeMap::new(),
            checks: Checks::default(),
            events: BTreeMap::new(),
            downs: Vec::new(),
            frames: (0, 0),
            kinds: BTreeMap::new(),
            trace: std::env::var("FLOCK_SIM_TRACE").ok(),
        }
    }

    /// Time since the beginning.
    pub fn elapsed(&self) -> Duration {
        self.now.since(START)
    }

    /// The first invariant that broke.
    pub const fn broken(&self) -> Option<&Broken> {
        self.checks.broken()
    }

    pub(super) fn address(host: usize) -> String {
        format!("10.0.0.{host}:7000")
    }

    /// The host that listens at an address.
    pub(super) fn host_at(&self, address: &str) -> Option<usize> {
        let host = address.strip_prefix("10.0.0.")?.strip_suffix(":7000")?.parse().ok()?;
        (host < self.hosts.len()).then_some(host)
    }

    /// Adds a host and starts a nest on it.
    pub fn add_host(&mut self) -> usize {
        self.add_host_with_skew(0)
    }

    /// Adds a host whose clock is ahead by so many microseconds (or behind), and starts a nest on
    /// it.
    pub fn add_host_with_skew(&mut self, skew: i64) -> usize {
        let host = self.add_empty_host(skew);
        self.boot(host);
        host
    }

    /// Adds a host without a nest.
    pub fn add_empty_host(&mut self, skew: i64) -> usize {
        let index = self.hosts.len();
        let name = NestName::new(&format!("nest-{index}")).unwrap_or_else(|e| unreachable!("{e}"));
        self.hosts.push(Host::new(name, skew, self.now));
        self.net.add_host();
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
            fenced: BTreeSet::new(),
            seeds: self.seeds_for(host),
        };
        let now = self.local(host);
        let seed = self.rng.next_u64();
        let mut config = self.config.clone();
        if !self.is_passive(host) {
            config.rebalancing = Rebalancing::Active;
        }
        let nest = Nest::new(me, config, seed, now);
        self.by_id.insert(nest.id(), host);
        let it = &mut self.hosts[host];
        it.boots += 1;
        it.armed = Time::NEVER;
        it.timers.clear();
        it.nest = Some(nest);
        self.checks.on_boot(host, self.now);
        self.carry_out(host);
    }

    /// Two fixed seeds, as people configure them, and one nest that runs: with all seeds down and
    /// everybody else gone in good order, nobody could know where to look.
    fn seeds_for(&mut self, host: usize) -> Vec<String> {
        let mut seeds: BTreeSet<usize> = (0..self.hosts.len().min(2)).collect();
        match &self.seeds {
            Some(more) => seeds.extend(more.iter().filter(|seed| **seed < self.hosts.len())),
            None => {
                let running = self.running();
                seeds.extend(self.rng.pick(&running));
            }
        }
        seeds.remove(&host);
        self.hosts[host].seeds.clone_from(&seeds);
        seeds.into_iter().map(Self::address).collect()
    }

    /// Where nests that start from now on look for the flock, beside the first two hosts.
    pub fn set_seeds(&mut self, seeds: Vec<usize>) {
        self.seeds = Some(seeds);
    }

    /// Has one frame in so many stall for 200 to 1,000 ms from now on; 0: none.
    pub const fn set_stalls(&mut self, one_in: u64) {
        self.stalls = one_in;
    }

    /// Has one hatch in so many take up to two seconds from now on; 0: none.
    pub const fn set_slow_hatches(&mut self, one_in: u64) {
        self.slow_hatches = one_in;
    }

    /// Has nests on every other host take their shares as they come up, whatever is configured.
    pub const fn set_passive_by_halves(&mut self, halves: bool) {
        self.passive_by_halves = halves;
    }

    /// The nest leaves in good order.
    pub fn leave(&mut self, host: usize) -> ReqId {
        let req = self.next_req();
        self.checks.on_leave(host, self.now);
        self.feed(host, Input::Leave { req });
        req
    }

    /// A user on that host says that the nest of another is dead for good.
    pub fn forget(&mut self, host: usize, dead: usize) -> ReqId {
        let req = self.next_req();
        self.checks.on_disturbance();
        let nest = self.hosts[dead].name.clone();
        self.feed(host, Input::Forget { req, nest });
        req
    }

    /// A user on that host asks all nests to take their shares.
    pub fn rebalance(&mut self, host: usize) -> ReqId {
        let req = self.next_req();
        let up = self.up();
        self.checks.on_call_for_shares(&up);
        self.checks.on_disturbance();
        self.feed(host, Input::Rebalance { req });
        req
    }

    /// A user gives the nest of that host another weight.
    pub fn weigh(&mut self, host: usize, weight: u32) -> ReqId {
        let req = self.next_req();
        self.checks.on_disturbance();
        self.feed(host, Input::Weigh { req, weight });
        req
    }

    pub(super) const fn next_req(&mut self) -> ReqId {
        self.next_req += 1;
        ReqId(self.next_req)
    }

    /// A user on that host starts a bird.
    pub fn start(&mut self, host: usize, name: &BirdName) -> ReqId {
        let req = self.ask(host, name);
        let deadline = self.local(host) + Duration::from_secs(5);
        let args = Bytes::copy_from_slice(name.as_str().as_bytes());
        let (name, species) = (name.clone(), SPECIES);
        self.feed(host, Input::Start { req, name, species, args, or_get: false, deadline });
        req
    }

    /// A user on that host stops a bird.
    pub fn stop(&mut self, host: usize, name: &BirdName) -> ReqId {
        let req = self.ask(host, name);
        let deadline = self.local(host) + Duration::from_secs(5);
        self.feed(host, Input::Stop { req, name: name.clone(), deadline });
        req
    }

    /// A user on that host wants a grounded bird to try again.
    pub fn revive(&mut self, host: usize, name: &BirdName) -> ReqId {
        let req = self.next_req();
        self.facts.on_ask(req, host, name, self.now);
        let deadline = self.local(host) + Duration::from_secs(5);
        self.feed(host, Input::Revive { req, name: name.clone(), deadline });
        req
    }

    pub(super) fn ask(&mut self, host: usize, name: &BirdName) -> ReqId {
        let req = self.next_req();
        self.facts.on_ask(req, host, name, self.now);
        self.checks.on_request(name);
        req
    }

    pub(super) fn local(&self, host: usize) -> Time {
        self.hosts[host].local(self.now)
    }

    /// A bird on that host is done and ends of itself; `None` if none runs there.
    pub fn end_some_bird(&mut self, host: usize) -> Option<BirdName> {
        let (name, birth, fence) = self.some_running(host)?;
        self.drop_life(host, &name);
        let at_home = self.is_home(host, &name);
        self.facts.on_own_end(&name, at_home, self.checks.is_rough(), self.now);
        self.checks.on_end_for_good(birth);
        self.checks.remembered.give_up(birth);
        self.feed(host, Input::Ended { name: name.clone(), fence, snapshot: None });
        Some(name)
    }

    /// Whether all nests hold that of this host for the owner of a name.
    fn is_home(&self, host: usize, name: &BirdName) -> bool {
        let id = self.hosts[host].id();
        let nests = self.hosts.iter().filter_map(|host| host.nest.as_ref());
        nests.map(Nest::view).all(|view| view.owner(name.hash64()) == id)
    }

    /// A bird on that host crashes; `None` if none runs there.
    pub fn crash_some_bird(&mut self, host: usize) -> Option<BirdName> {
        let (name, birth, fence) = self.some_running(host)?;
        let now = self.now;
        let entry = self.hosts[host].body.table.get_mut(&name)?;
        entry.crashes.retain(|&at| now.since(at) <= CRASH_WINDOW);
        entry.crashes.push(now);
        let crashes = entry.crashes.len();
        let memory = std::mem::replace(&mut entry.memory, Memory::of((host, entry.first_fence)));
        self.checks.remembered.forget(birth, &memory);
        self.checks.on_crash(&name, birth, now);
        if crashes > MAX_CRASHES {
            self.checks.on_grounded(&name);
            self.facts.on_grounded(&name);
            self.drop_life(host, &name);
            let reason = "it fell".to_owned();
            let crashes = crashes as u32;
            self.feed(host, Input::Grounded { name: name.clone(), fence, reason, crashes });
        }
        Some(name)
    }

    fn some_running(&mut self, host: usize) -> Option<(BirdName, Dot, Fence)> {
        let running: Vec<_> = self.hosts[host]
            .body
            .table
            .iter()
            .filter(|(_, entry)| entry.state == State::Running)
            .filter_map(|(name, entry)| Some((name.clone(), entry.birth?, entry.fence)))
            .collect();
        self.rng.pick(&running).cloned()
    }

    /// A life is over: what waits for it asks anew where to go.
    pub(super) fn drop_life(&mut self, host: usize, name: &BirdName) {
        let Some(entry) = self.hosts[host].body.table.remove(name) else { return };
        if entry.state.lives() {
            self.checks.on_life_over(name, host);
            if let Some(birth) = entry.birth {
                self.checks.remembered.forget(birth, &entry.memory);
                self.checks.remembered.on_life_over(birth, host);
            }
        }
        for parcel in entry.queue {
            self.redispatch(host, parcel);
        }
    }

    /// The hosts on which a nest runs.
    pub fn running(&self) -> Vec<usize> {
        (0..self.hosts.len()).filter(|&i| self.hosts[i].nest.is_some()).collect()
    }

    /// How many hosts there are, with or without a nest.
    pub const fn len(&self) -> usize {
        self.hosts.len()
    }

    /// Is there no host?
    pub const fn is_empty(&self) -> bool {
        self.hosts.is_empty()
    }

    /// Whether the nest on this host says that it is up.
    pub fn is_up(&self, host: usize) -> bool {
        let nest = self.hosts.get(host).and_then(|host| host.nest.as_ref());
        nest.is_some_and(|nest| {
            nest.view().member(nest.id()).is_some_and(|m| m.state == NestState::Up)
        })
    }

    /// The nests that say they are up.
    pub fn up(&self) -> Vec<usize> {
        (0..self.hosts.len()).filter(|&host| self.is_up(host)).collect()
    }

    /// The core of a host's nest.
    pub fn nest(&self, host: usize) -> Option<&Nest> {
        self.hosts.get(host)?.nest.as_ref()
    }

    /// Where each name has a life.
    pub fn perches(&self) -> BTreeMap<BirdName, Vec<usize>> {
        let mut all = BTreeMap::<BirdName, Vec<usize>>::new();
        for (i, host) in self.hosts.iter().enumerate() {
            for (name, _) in host.body.table.iter().filter(|(_, entry)| entry.state.lives()) {
                all.entry(name.clone()).or_default().push(i);
            }
        }
        all
    }

    /// Plans something that a host's body does after a while.
    pub(super) fn later(&mut self, delay: Duration, host: usize, what: super::host::Later) {
        let boot = self.hosts[host].boots;
        self.queue.plan(self.now + delay, Happening::Later { host, boot, what });
    }
}
