//! Random histories with loss, repetition, reordering, partitions and crashes. At every moment each
//! replica holds what the operations that it claims to know make of it; once the faults cease all
//! replicas are equal.
//!
//! - this file: the world and its faults.
//! - `truth`: what was issued, and what a replica may hold of it.

mod truth;

use std::collections::BTreeMap;

use super::*;
use crate::Rng;
use truth::Truth;

const NESTS: usize = 4;
/// A release build has the time for more.
const CASES: u64 = if cfg!(debug_assertions) { 2000 } else { 60_000 };

#[derive(Clone, Debug)]
enum Message {
    Delta(Delta),
    Status(Status),
    OpsWanted(BTreeMap<NestId, u64>),
    Ranges(Ranges),
    Wanted(RangesWanted),
}

struct World {
    rng: Rng,
    nests: Vec<Registry>,
    net: Vec<(usize, usize, Message)>,
    side: [bool; NESTS],
    hlc: u64,
    next_id: u64,
    log_len: usize,
    cut: usize,
    removed: Vec<Record>,
    truth: Truth,
}

impl World {
    fn new(seed: u64) -> Self {
        let mut rng = Rng::new(seed);
        let log_len = *rng.pick(&[0, 2, 8, 10_000]).unwrap();
        let cut = *rng.pick(&[1, 100, 1 << 20]).unwrap();
        let mut world = Self {
            rng,
            nests: Vec::new(),
            net: Vec::new(),
            side: [false; NESTS],
            hlc: 0,
            next_id: 0,
            log_len,
            cut,
            removed: Vec::new(),
            truth: Truth::default(),
        };
        world.nests = (0..NESTS).map(|_| world.new_nest()).collect();
        world
    }

    /// Each compares in its own way: in few large steps, or in many small ones; with few buckets or
    /// many.
    fn new_nest(&mut self) -> Registry {
        self.next_id += 1;
        let rng = &mut self.rng;
        let message_bytes = *rng.pick(&[1, 60, 1 << 20]).unwrap();
        let config = RegistryConfig {
            log_len: self.log_len,
            bucket_bits: *rng.pick(&[1, 3, 6]).unwrap(),
            message_bytes,
            window_bytes: message_bytes * *rng.pick(&[1, 3]).unwrap(),
            fan_out: *rng.pick(&[2, 5, 16]).unwrap(),
            leaf_records: *rng.pick(&[1, 3, 64]).unwrap(),
            ..RegistryConfig::default()
        };
        Registry::new(NestId(self.next_id), config)
    }

    fn nest(&mut self) -> usize {
        self.rng.below(NESTS as u64) as usize
    }

    fn step(&mut self) {
        match self.rng.below(32) {
            0..8 => self.operate(),
            8..19 => self.deliver(true),
            19..21 => self.lose(),
            21..25 => {
                let (from, to) = (self.nest(), self.nest());
                self.look(from, to);
            }
            25..28 => {
                let from = self.nest();
                self.push(from);
            }
            28 => {
                let mask = self.rng.next_u64();
                self.side = std::array::from_fn(|i| (mask >> i) & 1 == 1);
            }
            29 => self.side = [false; NESTS],
            30 => {
                let at = self.nest();
                self.ask_again(at);
            }
            _ => {
                let at = self.nest();
                match self.rng.below(6) {
                    0..2 => self.crash(at),
                    2 => self.give_up(at),
                    _ => {}
                }
            }
        }
    }

    fn operate(&mut self) {
        self.hlc += self.rng.below(2);
        let (at, hlc) = (self.nest(), Hlc(self.hlc));
        let name = name(&format!("bird-{}", self.rng.below(8)));
        let nest = &mut self.nests[at];
        let siblings = nest.siblings(&name);
        let (before, mut supersedes) = (nest.last_dot(), siblings.clone());
        let mut adds = true;
        match self.rng.below(10) {
            0..5 if siblings.is_empty() => {
                nest.start(&name, SpeciesId(1), b"args", 0, hlc);
            }
            0..6 => {
                nest.overwrite(&name, hlc, None);
            }
            6..9 => {
                self.removed.extend(nest.winner(&name));
                nest.remove(&name, Cause::Stopped);
                adds = false;
            }
            _ => {
                if let Some(record) = self.rng.pick(&self.removed) {
                    supersedes = nest.siblings(&record.name);
                    supersedes.retain(|sibling| sibling.birth == record.birth);
                    nest.re_add(record, hlc);
                }
            }
        }
        let dot = nest.last_dot();
        if dot != before {
            self.truth.issued(dot, adds, supersedes.iter().map(|record| record.dot));
        }
        self.truth.check(&self.nests[at]);
    }

    fn push(&mut self, from: usize) {
        if let Some(delta) = self.nests[from].take_delta() {
            for to in (0..NESTS).filter(|&to| to != from) {
                self.send(from, to, Message::Delta(delta.clone()));
            }
        }
    }

    /// Looks whether two are equal, by the digests alone or with the vector.
    fn look(&mut self, from: usize, to: usize) {
        let short = self.rng.one_in(2);
        self.tell(from, to, short, true);
    }

    fn tell(&mut self, from: usize, to: usize, short: bool, answer: bool) {
        let status = Status { answer, ..status(&self.nests[from], short) };
        self.send(from, to, Message::Status(status));
    }

    fn send(&mut self, from: usize, to: usize, message: Message) {
        if from != to && self.side[from] == self.side[to] {
            self.net.push((from, to, message));
        }
    }

    fn lose(&mut self) {
        if !self.net.is_empty() {
            let at = self.rng.below(self.net.len() as u64) as usize;
            self.net.swap_remove(at);
        }
    }

    fn crash(&mut self, at: usize) {
        let old = self.nests[at].me;
        self.nests[at] = self.new_nest();
        self.net.retain(|&(from, to, _)| from != at && to != at);
        self.nests.iter_mut().for_each(|nest| nest.forget_comparison(old));
    }

    fn give_up(&mut self, at: usize) {
        if let Some(peer) = self.nests[at].comparing_with() {
            self.nests[at].forget_comparison(peer);
        }
    }

    fn ask_again(&mut self, at: usize) {
        if let Some((peer, wanted)) = self.nests[at].ranges_wanted() {
            let to = self.nests.iter().position(|nest| nest.me == peer).expect("it was forgotten");
            self.send(at, to, Message::Wanted(wanted));
        }
    }

    fn deliver(&mut self, twice: bool) {
        if self.net.is_empty() {
            return;
        }
        let at = self.rng.below(self.net.len() as u64) as usize;
        let (from, to, message) = if twice && self.rng.one_in(7) {
            self.net[at].clone()
        } else {
            self.net.swap_remove(at)
        };
        if self.side[from] != self.side[to] {
            return;
        }
        match message {
            Message::Delta(delta) => match self.nests[to].join(&delta) {
                Joined::Applied(changes) => self.check(to, changes),
                Joined::Gap => self.tell(to, from, false, true),
                Joined::Bad(error) => panic!("{error}"),
            },
            Message::Status(status) => self.on_status(from, to, &status),
            Message::OpsWanted(after) => {
                let delta = self.nests[to].encode(|origin| after.get(&origin).copied(), self.cut);
                self.send_missing(to, from, delta);
            }
            Message::Ranges(told) => self.on_ranges(from, to, &told),
            Message::Wanted(wanted) => {
                for told in self.nests[to].ranges(&wanted).unwrap() {
                    self.send(to, from, Message::Ranges(told));
                }
            }
        }
    }

    fn on_status(&mut self, from: usize, to: usize, status: &Status) {
        let nest = &mut self.nests[to];
        let standing = nest.standing(status);
        let Some(vector) = &status.vector else {
            match standing {
                None => self.tell(to, from, false, true),
                Some(Standing::Diverged) => self.repair(to, from),
                Some(_) => {}
            }
            return;
        };
        if let Some(Standing::PeerLacks | Standing::BothLack) = standing {
            let delta = nest.encode(|origin| Some(vector.seq(origin)), self.cut);
            self.send_missing(to, from, delta);
        }
        let lacking = self.nests[to].lacking(vector);
        match standing {
            Some(Standing::WeLack | Standing::BothLack) if status.answer && self.rng.one_in(2) => {
                self.tell(to, from, false, false);
            }
            Some(Standing::WeLack | Standing::BothLack) if status.answer => {
                self.send(to, from, Message::OpsWanted(lacking));
            }
            Some(Standing::Diverged) => self.repair(to, from),
            _ => {}
        }
    }

    fn send_missing(&mut self, from: usize, to: usize, delta: Option<Delta>) {
        let opening = || Message::Ranges(self.nests[from].opening(false, false));
        let missing = delta.map_or_else(opening, Message::Delta);
        self.send(from, to, missing);
    }

    fn repair(&mut self, from: usize, to: usize) {
        let opening = self.nests[from].opening(true, true);
        self.send(from, to, Message::Ranges(opening));
    }

    fn on_ranges(&mut self, from: usize, to: usize, told: &Ranges) {
        let nest = &mut self.nests[to];
        if let Some(opening) = &told.opening
            && opening.repair
        {
            if told.known != nest.vector_digest() {
                return;
            }
            if opening.wanted {
                let opening = nest.opening(true, false);
                self.send(to, from, Message::Ranges(opening));
            }
        }
        let peer = self.nests[from].me;
        match self.nests[to].compare(peer, told) {
            Compared::Going(changes, wanted) => {
                self.check(to, changes);
                if let Some(wanted) = wanted {
                    self.send(to, from, Message::Wanted(wanted));
                }
            }
            Compared::Done(changes) => self.check(to, changes),
            Compared::Stray => {}
            Compared::Bad(error) => panic!("{error}"),
        }
    }

    /// What is told of a name's winner is so, and so is what the replica holds.
    fn check(&self, at: usize, changes: Changes) {
        let nest = &self.nests[at];
        assert!(changes.into_iter().all(|c| c.after == nest.winner_birth(&c.name)));
        self.truth.check(nest);
    }

    /// A record lives if some replica holds it and none knew it, or compared its place with one
    /// that did, and holds it no more.
    fn joined(&self) -> BTreeSet<(BirdName, Dot)> {
        let lives: Vec<_> = self.nests.iter().map(live).collect();
        let lost = |record: &(BirdName, Dot)| {
            self.nests.iter().zip(&lives).any(|(nest, live)| {
                let (hash, dot) = (record.0.hash64(), record.1);
                let number = nest.origins.number(dot.origin);
                let known = number.is_some_and(|number| nest.origins.knows(number, dot.seq));
                let compared = nest.comparison.as_ref().is_some_and(|c| c.compared(hash, dot));
                (known || compared) && !live.contains(record)
            })
        };
        lives.iter().flatten().filter(|record| !lost(record)).cloned().collect()
    }

    fn settle(&mut self) -> bool {
        self.side = [false; NESTS];
        for round in 0..60 {
            for at in 0..NESTS {
                // As a nest does after a while, where a comparison gets no further.
                if round % 4 == 3 { self.give_up(at) } else { self.ask_again(at) }
            }
            for (from, to) in (0..NESTS).flat_map(|a| (0..NESTS).map(move |b| (a, b))) {
                self.look(from, to);
            }
            for _ in 0..20_000 {
                self.deliver(false);
            }
            assert!(self.net.is_empty(), "a storm of messages");
            let first = state(&self.nests[0]);
            if self.nests.iter().all(|nest| state(nest) == first) {
                return true;
            }
        }
        false
    }
}

fn run(seed: u64) -> Result<(), String> {
    let mut world = World::new(seed);
    for _ in 0..world.rng.below(200) {
        world.step();
    }
    world.net.clear();
    let expect = world.joined();
    if !world.settle() {
        return Err("the replicas stay unequal".into());
    }
    let first = &world.nests[0];
    if live(first) != expect {
        return Err(format!("they hold {:?}, not {expect:?}", live(first)));
    }
    let names = first.names_in(0..=u64::MAX).count();
    for nest in &world.nests {
        if nest.page(None, usize::MAX) != first.page(None, usize::MAX) || nest.len() != names {
            return Err("the same records are read in different ways".into());
        }
    }
    Ok(())
}

#[test]
fn replicas_converge_whatever_happens() {
    let env = |key| std::env::var(key).ok().and_then(|value| value.parse::<u64>().ok());
    let (seed, cases) = (env("SEED"), env("CASES").unwrap_or(CASES));
    let threads = std::thread::available_parallelism().map_or(1, |threads| threads.get() as u64);
    std::thread::scope(|scope| {
        for thread in 0..threads {
            scope.spawn(move || match seed {
                Some(seed) if thread == 0 => run_and_tell(seed),
                Some(_) => {}
                None => (thread..cases).step_by(threads as usize).for_each(run_and_tell),
            });
        }
    });
}

fn run_and_tell(seed: u64) {
    // So that a broken rule, which shows as a panic somewhere below, says how to see it again.
    let replay = format!("replay: SEED={seed} cargo test -p flock-proto replicas_converge");
    match std::panic::catch_unwind(|| run(seed)) {
        Ok(Ok(())) => {}
        Ok(Err(why)) => panic!("{why}; {replay}"),
        Err(_) => panic!("seed {seed}; {replay}"),
    }
}
