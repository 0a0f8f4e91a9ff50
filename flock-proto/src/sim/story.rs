//! Random stories: everything that users and networks do, in an order that a seed decides.

use std::collections::BTreeSet;
use std::time::Duration;

use super::check::Broken;
use super::host::CallEnd;
use super::world::World;
use crate::{Answer, BirdName};

/// What happened in a story, counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Deeds {
    /// Birds that were started.
    pub starts: u64,
    /// Birds that were stopped.
    pub stops: u64,
    /// Calls that were answered by a bird.
    pub calls: u64,
    /// Birds that moved between living nests.
    pub moves: u64,
    /// Names that were started on both sides of a cut.
    pub conflicts: u64,
    /// Nests that died.
    pub crashes: u64,
    /// Cuts.
    pub cuts: u64,
    /// Heals.
    pub heals: u64,
    /// Nests that left.
    pub leaves: u64,
    /// Nests that joined.
    pub joins: u64,
    /// Birds that crashed.
    pub falls: u64,
}

impl Deeds {
    /// Adds what happened in another story.
    pub const fn add(&mut self, other: &Self) {
        self.starts += other.starts;
        self.stops += other.stops;
        self.calls += other.calls;
        self.moves += other.moves;
        self.conflicts += other.conflicts;
        self.crashes += other.crashes;
        self.cuts += other.cuts;
        self.heals += other.heals;
        self.leaves += other.leaves;
        self.joins += other.joins;
        self.falls += other.falls;
    }

    /// The kinds of deeds that never happened.
    pub fn missing(&self) -> Vec<&'static str> {
        [
            ("starts", self.starts),
            ("stops", self.stops),
            ("calls", self.calls),
            ("moves", self.moves),
            ("conflicts", self.conflicts),
            ("crashes", self.crashes),
            ("cuts", self.cuts),
            ("heals", self.heals),
            ("leaves", self.leaves),
            ("joins", self.joins),
            ("falls", self.falls),
        ]
        .into_iter()
        .filter(|(_, n)| *n == 0)
        .map(|(name, _)| name)
        .collect()
    }
}

/// What kind of story to tell.
#[derive(Clone, Copy, Debug)]
pub struct Story {
    /// Decides everything.
    pub seed: u64,
    /// Nests at the beginning.
    pub nests: usize,
    /// Chapters; each ends in quiet and a full check.
    pub chapters: usize,
    /// Crashes and cuts may happen. Without them, two lives of a bird may never coexist, not even
    /// for a moment.
    pub rough: bool,
}

/// Tells one story: what happened, and what broke first.
pub fn tell(story: Story) -> (Deeds, Option<Broken>) {
    let mut teller = Teller::new(story);
    teller.gather();
    for _ in 0..story.chapters {
        if teller.world.broken().is_some() {
            break;
        }
        teller.chapter();
        teller.quiet();
    }
    teller.finish()
}

/// More hosts than this make a story slow without making it richer.
const MAX_HOSTS: usize = 7;

/// Names in a story: few, so that requests meet.
const NAMES: u64 = 24;

struct Teller {
    story: Story,
    world: World,
    deeds: Deeds,
    leaving: BTreeSet<usize>,
    cut: bool,
}

impl Teller {
    fn new(story: Story) -> Self {
        let world = World::new(story.seed);
        Self { story, world, deeds: Deeds::default(), leaving: BTreeSet::new(), cut: false }
    }

    fn gather(&mut self) {
        for _ in 0..self.story.nests {
            self.world.add_host();
            let pause = Duration::from_micros(1 + self.world.rng.below(20_000));
            self.world.run(pause);
        }
        let nests = self.story.nests;
        let gathered = self.world.run_until(Duration::from_secs(15), |w| w.up().len() == nests);
        if !gathered {
            let up = self.world.up();
            self.world.checks.fail("L1", format!("only {up:?} of {nests} nests came up"));
        }
    }

    fn name(&mut self) -> BirdName {
        let n = self.world.rng.below(NAMES);
        BirdName::new(&format!("bird-{n}")).unwrap_or_else(|e| unreachable!("{e}"))
    }

    fn some_host(&mut self) -> Option<usize> {
        let hosts: Vec<usize> =
            self.world.up().into_iter().filter(|h| !self.leaving.contains(h)).collect();
        self.world.rng.pick(&hosts).copied()
    }

    fn chapter(&mut self) {
        let deeds = 10 + self.world.rng.below(60);
        for _ in 0..deeds {
            self.deed();
            let pause = match self.world.rng.below(10) {
                0 => 3_000,
                1..=3 => 300,
                _ => 15,
            };
            let pause = Duration::from_millis(self.world.rng.below(pause));
            self.world.run(pause);
            if self.world.broken().is_some() {
                return;
            }
        }
    }

    fn deed(&mut self) {
        let Some(host) = self.some_host() else { return };
        match self.world.rng.below(100) {
            0..=27 => {
                let name = self.name();
                self.ask(host, &name, true);
            }
            28..=39 => {
                let name = self.name();
                self.ask(host, &name, false);
            }
            40..=69 => {
                let name = self.name();
                self.world.call(host, &name);
            }
            70..=75 => {
                if self.world.crash_some_bird(host).is_some() {
                    self.deeds.falls += 1;
                }
            }
            76..=78 => {
                if let Some(name) = self.world.end_some_bird(host) {
                    self.world.checks.on_own_end(&name);
                }
            }
            79..=82 => self.join(),
            83..=85 => self.leave(host),
            86..=88 => self.break_or_stall(host),
            89..=90 => {
                let span = Duration::from_millis(self.world.rng.below(1_000));
                self.world.freeze(host, span);
            }
            91..=93 if self.story.rough => self.crash(host),
            94..=97 if self.story.rough => self.cut_or_heal(),
            _ => self.burst(host),
        }
    }

    fn ask(&mut self, host: usize, name: &BirdName, start: bool) {
        // Two requests about one name at once: which comes last is for the flock to decide.
        if self.world.asked.values().any(|(_, other, _)| other == name) || self.cut {
            self.world.checks.on_request_sent(name);
        }
        self.world.checks.forget_certainty(name);
        if start {
            self.world.start(host, name);
        } else {
            self.world.stop(host, name);
        }
    }

    /// Many requests at once, some about one name from several nests.
    fn burst(&mut self, host: usize) {
        let name = self.name();
        for other in self.world.up() {
            if !self.leaving.contains(&other) {
                self.ask(other, &name, true);
            }
        }
        for _ in 0..5 {
            let name = self.name();
            self.ask(host, &name, true);
            self.world.call(host, &name);
        }
    }

    fn join(&mut self) {
        let down: Vec<usize> =
            (0..self.world.hosts.len()).filter(|i| self.world.hosts[*i].nest.is_none()).collect();
        if let Some(&host) = self.world.rng.pick(&down) {
            self.leaving.remove(&host);
            self.world.boot(host);
            self.deeds.joins += 1;
        } else if self.world.hosts.len() < MAX_HOSTS {
            self.world.add_host();
            self.deeds.joins += 1;
        }
    }

    fn leave(&mut self, host: usize) {
        let staying = self.world.up().len() - self.leaving.len();
        if staying > 2 {
            self.leaving.insert(host);
            self.world.leave(host);
            self.deeds.leaves += 1;
        }
    }

    fn break_or_stall(&mut self, host: usize) {
        let Some(other) = self.some_host() else { return };
        let all_up = self.world.up().len() == self.world.running().len();
        if self.world.rng.one_in(3) && all_up && self.leaving.is_empty() && !self.cut {
            self.cut_pair(host, other);
        } else if self.world.rng.one_in(2) {
            self.world.break_link(host, other);
        } else {
            let span = Duration::from_millis(self.world.rng.below(800));
            self.world.stall(host, other, span);
        }
    }

    /// A cut that others see round: as long as they do, nothing may be amiss.
    fn cut_pair(&mut self, a: usize, b: usize) {
        if a == b || self.world.running().len() < 3 {
            return;
        }
        self.world.cut_pair(a, b);
        let span = Duration::from_millis(self.world.rng.below(9_000));
        self.world.run(span / 2);
        let name = self.name();
        self.ask(a, &name, true);
        self.world.call(b, &name);
        self.world.run(span / 2);
        self.world.heal();
        self.world.run(Duration::from_secs(2));
    }

    fn crash(&mut self, host: usize) {
        if self.world.running().len() > 2 {
            self.unsure_all();
            self.world.kill(host);
            self.leaving.remove(&host);
            self.deeds.crashes += 1;
        }
    }

    fn cut_or_heal(&mut self) {
        self.unsure_all();
        if self.cut {
            self.heal();
            return;
        }
        let hosts = self.world.running();
        let (mut left, mut right) = (Vec::new(), Vec::new());
        for host in hosts {
            if self.world.rng.one_in(2) { &mut left } else { &mut right }.push(host);
        }
        self.world.cut(&left, &right);
        self.cut = true;
        self.deeds.cuts += 1;
        let span = Duration::from_millis(self.world.rng.below(12_000));
        self.world.run(span);
        // One name on both sides.
        let name = self.name();
        for side in [left.first(), right.first()].into_iter().flatten() {
            if self.world.up().contains(side) {
                self.ask(*side, &name, true);
            }
        }
    }

    fn heal(&mut self) {
        if self.cut {
            self.world.heal();
            self.cut = false;
            self.deeds.heals += 1;
        }
    }

    /// A crash or a cut may undo what one nest acknowledged alone.
    fn unsure_all(&mut self) {
        for n in 0..NAMES {
            if let Ok(name) = BirdName::new(&format!("bird-{n}")) {
                self.world.checks.on_request_sent(&name);
            }
        }
    }

    /// Faults cease, time passes, and everything must be in order.
    fn quiet(&mut self) {
        if self.cut {
            self.unsure_all();
            self.heal();
        }
        if self.world.running().len() < 2 {
            self.join();
        }
        self.world.run(Duration::from_secs(45));
        self.leaving.retain(|h| self.world.hosts[*h].nest.is_some());
        if !self.leaving.is_empty() {
            let stuck = self.leaving.clone();
            self.world.checks.fail("L1", format!("leavers never got away: {stuck:?}"));
        }
        self.world.check_quiet();
        self.call_everyone();
    }

    /// L4: every living name is callable from every nest.
    fn call_everyone(&mut self) {
        let Some(nest) = self.world.hosts.iter().find_map(|host| host.nest.as_ref()) else {
            return;
        };
        let names: Vec<_> = nest.page(None, usize::MAX);
        let mut open = Vec::new();
        for host in self.world.up() {
            for info in &names {
                open.push((self.world.call(host, &info.name), info.clone(), host));
            }
        }
        self.world.run(Duration::from_secs(3));
        for (id, info, host) in open {
            let end = self.world.ended.get(&id).copied();
            let good = match end {
                Some(CallEnd::Answered(_)) => info.grounded.is_none(),
                Some(CallEnd::Grounded) => info.grounded.is_some(),
                _ => false,
            };
            if !good && self.world.broken().is_none() {
                let what = format!("{} called from host {host}: {end:?}", info.name);
                self.world.checks.fail("L4", what);
            }
        }
        self.world.run(Duration::from_secs(3));
    }

    fn finish(mut self) -> (Deeds, Option<Broken>) {
        let count = |kind: &str| self.world.events.get(kind).copied().unwrap_or(0);
        self.deeds.moves = count("moved");
        self.deeds.conflicts = count("conflict");
        for answer in self.world.answers.values() {
            match answer {
                Answer::Started { .. } => self.deeds.starts += 1,
                Answer::Stopped => self.deeds.stops += 1,
                _ => {}
            }
        }
        let answered = |end: &&CallEnd| matches!(end, CallEnd::Answered(_));
        self.deeds.calls = self.world.ended.values().filter(answered).count() as u64;
        (self.deeds, self.world.broken().cloned())
    }
}
