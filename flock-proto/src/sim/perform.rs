//! A script, carried out: what happened, and what broke first.

use std::collections::BTreeSet;
use std::time::Duration;

use super::check::Broken;
use super::host::CallEnd;
use super::script::{Deed, Script};
use super::world::World;
use crate::{Answer, BirdName, Config, Rebalancing, RegistryConfig};

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
    /// Cuts that made a partition.
    pub partitions: u64,
    /// Heals of such.
    pub heals: u64,
    /// Nests that left.
    pub leaves: u64,
    /// Nests that joined.
    pub joins: u64,
    /// Birds that crashed.
    pub falls: u64,
    /// Nests that stood still.
    pub freezes: u64,
    /// Links that broke, stalled, flapped, or went one way only.
    pub breaks: u64,
    /// Nests that found themselves retired, and came back under another incarnation.
    pub renewals: u64,
    /// Times that all nests were asked to take their shares.
    pub rebalances: u64,
    /// Nests that were given another weight.
    pub weighings: u64,
    /// Checkpoints that another nest held.
    pub checkpoints: u64,
    /// Birds that went on from one.
    pub restored: u64,
}

impl Deeds {
    /// All counts, by name.
    pub const fn all(&self) -> [(&'static str, u64); 18] {
        [
            ("starts", self.starts),
            ("stops", self.stops),
            ("calls", self.calls),
            ("moves", self.moves),
            ("conflicts", self.conflicts),
            ("crashes", self.crashes),
            ("partitions", self.partitions),
            ("heals", self.heals),
            ("leaves", self.leaves),
            ("joins", self.joins),
            ("falls", self.falls),
            ("freezes", self.freezes),
            ("breaks", self.breaks),
            ("renewals", self.renewals),
            ("rebalances", self.rebalances),
            ("weighings", self.weighings),
            ("checkpoints", self.checkpoints),
            ("restored", self.restored),
        ]
    }

    /// Adds what happened in another story.
    pub const fn add(&mut self, other: &Self) {
        self.starts += other.starts;
        self.stops += other.stops;
        self.calls += other.calls;
        self.moves += other.moves;
        self.conflicts += other.conflicts;
        self.crashes += other.crashes;
        self.partitions += other.partitions;
        self.heals += other.heals;
        self.leaves += other.leaves;
        self.joins += other.joins;
        self.falls += other.falls;
        self.freezes += other.freezes;
        self.breaks += other.breaks;
        self.renewals += other.renewals;
        self.rebalances += other.rebalances;
        self.weighings += other.weighings;
        self.checkpoints += other.checkpoints;
        self.restored += other.restored;
    }
}

/// A story that was told.
#[derive(Clone, Debug)]
pub struct Told {
    /// What happened.
    pub deeds: Deeds,
    /// What broke first.
    pub broken: Option<Broken>,
    /// For how long nests ran, in all.
    pub nest_seconds: f64,
    /// How many lines of the script were carried out.
    pub lines: usize,
}

/// A leaver is gone by then.
const LEAVE_FOR: Duration = Duration::from_secs(31);

/// More hosts than the story begins with, and so many, make it slow without making it richer.
const MORE_HOSTS: usize = 4;

/// Carries a script out, until it ends or at least so much time has passed and the flock is at rest;
/// or until an invariant breaks.
pub fn perform(script: &Script, at_least: Option<Duration>) -> Told {
    let mut teller = Teller::new(script);
    let mut lines = 0;
    for line in &script.lines {
        teller.perform(line.deed);
        teller.wait(line.then);
        lines += 1;
        let rests = line.deed == (Deed::Rest {});
        let over = at_least.is_some_and(|least| rests && teller.world.elapsed() >= least);
        if over || teller.world.broken().is_some() {
            break;
        }
    }
    teller.finish(lines)
}

/// Whether joiners look for the flock there. One of them stays, unless both die: a joiner that finds
/// none may form a second flock, which is a partition, and nobody may ever know of both.
const fn is_seed(host: usize) -> bool {
    host < 2
}

/// Where the log is short, whoever was away for a while compares registers, and then in messages of
/// a few records each, lest two dozen names be told in one; and names gained are listed and looked
/// at a few at a time, as they are where there are many.
fn config(script: &Script) -> Config {
    let log_len = script.log_len;
    let mut config = Config::default();
    config.registry.log_len = log_len;
    if log_len < 1000 {
        config.registry = RegistryConfig {
            log_len,
            message_bytes: 300,
            window_bytes: 900,
            fan_out: 4,
            leaf_records: 3,
            ..RegistryConfig::default()
        };
        config.gained_at_once = 2;
        config.listed_at_once = 1;
    }
    if script.passive > 0 {
        config.rebalancing = Rebalancing::Passive;
    }
    config.cool_down = Duration::from_millis(script.cool_ms);
    if script.pace > 0 {
        config.moves_per_second = Some(script.pace);
        config.moves_at_once = 2;
    }
    if script.majority {
        config.policy = crate::Policy::Majority;
    }
    if script.retire_ms > 0 {
        config.retire_after = Duration::from_millis(script.retire_ms);
    }
    config
}

struct Teller<'a> {
    script: &'a Script,
    world: World,
    deeds: Deeds,
    leaving: BTreeSet<usize>,
    /// Nests that are to start again, and when.
    restarts: BTreeSet<(Duration, usize)>,
    split: bool,
    max_hosts: usize,
    nest_seconds: f64,
}

impl<'a> Teller<'a> {
    fn new(script: &'a Script) -> Self {
        let mut world = World::with(script.seed, config(script));
        world.set_slow_hatches(script.slow_hatches);
        world.set_passive_by_halves(script.passive == 2);
        world.set_standby(script.standby);
        let at_first = |line: &super::script::Line| match line.deed {
            Deed::Boot { .. } => 1,
            Deed::BootMany { count } => count as usize,
            _ => 0,
        };
        let gathering = script.lines.iter().take_while(|line| line.deed != (Deed::Rest {}));
        let first: usize = gathering.map(at_first).sum();
        Self {
            script,
            world,
            deeds: Deeds::default(),
            leaving: BTreeSet::new(),
            restarts: BTreeSet::new(),
            split: false,
            max_hosts: first + MORE_HOSTS,
            nest_seconds: 0.0,
        }
    }

    /// Lets time pass, and starts those again on the way that are to start.
    fn wait(&mut self, span: Duration) {
        let begun = self.world.elapsed();
        let end = begun + span;
        let nests = self.world.running().len();
        while let Some(&(at, host)) = self.restarts.first()
            && at <= end
        {
            self.restarts.pop_first();
            self.world.run(at.saturating_sub(self.world.elapsed()));
            self.boot(host);
        }
        self.world.run(end.saturating_sub(self.world.elapsed()));
        self.nest_seconds += nests as f64 * (self.world.elapsed() - begun).as_secs_f64();
    }

    fn name(number: u32) -> BirdName {
        BirdName::new(&format!("bird-{number}")).unwrap_or_else(|e| unreachable!("{e}"))
    }

    /// A host whose users can ask for something: of this number, or the next that is up.
    fn user(&self, host: u32) -> Option<usize> {
        let up = self.world.up();
        let may: Vec<usize> = up.into_iter().filter(|h| !self.leaving.contains(h)).collect();
        let exact = may.contains(&(host as usize)).then_some(host as usize);
        exact.or_else(|| may.get(host as usize % may.len().max(1)).copied())
    }

    /// Two hosts with nests, not the same.
    fn pair(&self, a: u32, b: u32) -> Option<(usize, usize)> {
        let running = self.world.running();
        let a = *running.get(a as usize % running.len().max(1))?;
        let b = *running.get(b as usize % running.len().max(1))?;
        (a != b).then_some((a, b))
    }

    fn perform(&mut self, deed: Deed) {
        match deed {
            Deed::Start { host, name } => self.request(host, name, World::start),
            Deed::Stop { host, name } => self.request(host, name, World::stop),
            Deed::Revive { host, name } => self.request(host, name, World::revive),
            Deed::Call { host, name } => {
                if let Some(host) = self.user(host) {
                    self.world.call(host, &Self::name(name));
                }
            }
            Deed::Cast { host, name } => {
                if let Some(host) = self.user(host) {
                    self.world.cast(host, &Self::name(name));
                }
            }
            Deed::Burst { host, name } => self.burst(host, name),
            Deed::Fall { host } => {
                let fell = self.user(host).and_then(|host| self.world.crash_some_bird(host));
                self.deeds.falls += u64::from(fell.is_some());
            }
            Deed::End { host } => {
                if let Some(host) = self.user(host) {
                    self.world.end_some_bird(host);
                }
            }
            Deed::EndAny { host } => {
                let running = self.world.running();
                if let Some(&host) = running.get(host as usize % running.len().max(1)) {
                    self.world.end_some_bird(host);
                }
            }
            Deed::Rest {} => self.rest(),
            other => self.change(other),
        }
    }

    fn request(
        &mut self,
        host: u32,
        name: u32,
        ask: impl FnOnce(&mut World, usize, &BirdName) -> crate::ReqId,
    ) {
        if let Some(host) = self.user(host) {
            ask(&mut self.world, host, &Self::name(name));
        }
    }

    /// Many requests at once, some about one name from several nests.
    fn burst(&mut self, host: u32, name: u32) {
        let Some(host) = self.user(host) else { return };
        for other in self.world.up().into_iter().take(8) {
            if !self.leaving.contains(&other) {
                self.world.start(other, &Self::name(name));
            }
        }
        for i in 1..=5 {
            let name = Self::name((name + i) % self.script.names.max(1));
            self.world.start(host, &name);
            self.world.call(host, &name);
        }
    }

    /// What machines and networks do.
    fn change(&mut self, deed: Deed) {
        match deed {
            Deed::Boot { host } => self.boot(host as usize),
            Deed::BootMany { count } => {
                for _ in 0..count {
                    self.boot(self.world.len());
                }
            }
            Deed::BootSkewed { seconds, early } => self.boot_skewed(seconds, early > 0),
            Deed::Leave { host } => self.leave(host),
            Deed::Rebalance { host } => {
                if let Some(host) = self.user(host) {
                    self.world.rebalance(host);
                    self.deeds.rebalances += 1;
                }
            }
            Deed::Weigh { host, weight } => {
                if let Some(host) = self.user(host) {
                    self.world.weigh(host, weight);
                    self.deeds.weighings += 1;
                }
            }
            Deed::LeaveAllBut { count } => self.leave_all_but(count as usize),
            Deed::Freeze { host, ms } => {
                if let Some(host) = self.user(host) {
                    self.world.freeze(host, Duration::from_millis(ms.into()));
                    self.deeds.freezes += 1;
                }
            }
            Deed::Break { a, b } => self.on_pair(a, b, World::break_link),
            Deed::BreakHalf { a, b } => self.on_pair(a, b, World::break_half),
            Deed::Stall { a, b, ms } => self.on_pair(a, b, |world, a, b| {
                world.stall(a, b, Duration::from_millis(ms.into()));
            }),
            Deed::Slow { a, b, ms } => self.on_pair(a, b, |world, a, b| {
                world.slow(a, b, Duration::from_millis(ms.into()));
            }),
            Deed::CutPair { a, b } => self.cut_pair(a, b),
            Deed::Heal {} => self.heal(),
            rough if !self.script.smooth => self.ruin(rough),
            _ => {}
        }
    }

    /// What only rough stories have.
    fn ruin(&mut self, deed: Deed) {
        match deed {
            Deed::Kill { host } => {
                let running = self.world.running();
                let host = running.get(host as usize % running.len().max(1)).copied();
                if let Some(host) = host.filter(|_| running.len() > 2) {
                    self.kill(host);
                }
            }
            Deed::Restart { host, ms } => {
                let running = self.world.running();
                if let Some(&host) = running.get(host as usize % running.len().max(1)) {
                    self.kill(host);
                    let at = self.world.elapsed() + Duration::from_millis(ms.into());
                    self.restarts.insert((at, host));
                }
            }
            Deed::KillSeeds {} => {
                for host in [0, 1] {
                    if self.world.running().iter().any(|other| *other > 1) {
                        self.kill(host);
                    }
                }
            }
            Deed::FreezeLong { host, ms } => {
                if let Some(host) = self.user(host) {
                    self.world.freeze_long(host, Duration::from_millis(ms.into()));
                    self.deeds.freezes += 1;
                }
            }
            Deed::CutOneWay { from, to } => {
                self.on_pair(from, to, |world, from, to| world.cut_one_way(from, to));
            }
            Deed::Flap { a, b, times, ms } => self.flap(a, b, times, ms),
            Deed::Split { mask } => self.split(mask),
            _ => {}
        }
    }

    fn on_pair(&mut self, a: u32, b: u32, act: impl FnOnce(&mut World, usize, usize)) {
        if let Some((a, b)) = self.pair(a, b) {
            act(&mut self.world, a, b);
            self.deeds.breaks += 1;
        }
    }

    fn boot(&mut self, host: usize) {
        // A joiner that is cut off from some of the others is a rough matter.
        if self.script.smooth && !self.world.is_whole() {
            return;
        }
        if host < self.world.len() {
            if self.world.nest(host).is_some() {
                return;
            }
            self.leaving.remove(&host);
            self.world.boot(host);
        } else if self.world.len() < self.max_hosts {
            self.world.add_host();
        } else {
            return;
        }
        self.deeds.joins += 1;
    }

    fn boot_skewed(&mut self, seconds: u32, early: bool) {
        if self.script.smooth || self.world.len() >= self.max_hosts {
            return;
        }
        let skew = i64::from(seconds) * 1_000_000;
        self.world.checks.skewed = true;
        self.world.add_host_with_skew(if early { -skew } else { skew });
        self.deeds.joins += 1;
    }

    fn leave(&mut self, host: u32) {
        let up = self.world.up();
        let staying: Vec<usize> = up.into_iter().filter(|h| !self.leaving.contains(h)).collect();
        let cut = self.script.smooth && !self.world.is_whole();
        if staying.len() > 2
            && !cut
            && let Some(&host) = staying.get(host as usize % staying.len())
            && (!self.script.smooth
                || staying.iter().any(|other| is_seed(*other) && *other != host))
        {
            self.leaving.insert(host);
            self.world.leave(host);
            self.deeds.leaves += 1;
        }
    }

    /// Leaves that many behind: among them a seed, if one is there.
    fn leave_all_but(&mut self, count: usize) {
        let up = self.world.up();
        let staying: Vec<usize> = up.into_iter().filter(|h| !self.leaving.contains(h)).collect();
        for host in staying.into_iter().skip(count.max(1)) {
            self.leaving.insert(host);
            self.world.leave(host);
            self.deeds.leaves += 1;
        }
    }

    fn kill(&mut self, host: usize) {
        if self.world.nest(host).is_some() {
            self.world.kill(host);
            self.leaving.remove(&host);
            self.deeds.crashes += 1;
        }
    }

    /// A cut that others see round: as long as they do, nothing may be amiss.
    fn cut_pair(&mut self, a: u32, b: u32) {
        let all_up = self.world.up().len() == self.world.running().len();
        let strict = self.script.smooth;
        if strict && (!all_up || !self.leaving_now().is_empty() || !self.world.is_whole()) {
            return;
        }
        if let Some((a, b)) = self.pair(a, b)
            && self.world.running().len() > 2
        {
            if strict {
                self.world.cut_pair(a, b);
            } else {
                self.world.cut(&[a], &[b]);
            }
            self.deeds.breaks += 1;
        }
    }

    fn leaving_now(&self) -> Vec<usize> {
        self.leaving.iter().copied().filter(|h| self.world.nest(*h).is_some()).collect()
    }

    fn flap(&mut self, a: u32, b: u32, times: u32, ms: u32) {
        let Some((a, b)) = self.pair(a, b) else { return };
        self.deeds.breaks += 1;
        for _ in 0..times {
            self.world.cut(&[a], &[b]);
            self.wait(Duration::from_millis(ms.into()));
            self.world.mend(a, b);
            self.wait(Duration::from_millis(ms.into()));
        }
    }

    fn split(&mut self, mask: u32) {
        let here = |host: &usize| mask >> (host % 32) & 1 == 1;
        // Also hosts on which no nest runs yet: two flocks may form that have never met.
        let (left, right): (Vec<_>, Vec<_>) = (0..self.max_hosts).partition(here);
        self.world.cut(&left, &right);
        self.split = true;
        self.deeds.partitions += 1;
    }

    fn heal(&mut self) {
        if !self.world.is_whole() {
            self.world.heal();
            if std::mem::replace(&mut self.split, false) {
                self.deeds.heals += 1;
            }
        }
    }

    /// Faults cease, time passes, and everything must be in order.
    fn rest(&mut self) {
        self.heal();
        while let Some((_, host)) = self.restarts.pop_first() {
            self.boot(host);
        }
        // With all seeds down and everybody else gone, nobody could know where to look. One that is
        // about to leave is as good as gone: on the other side of a cut nobody has found it yet.
        let stays = |host| self.world.nest(host).is_some() && !self.leaving.contains(&host);
        if !stays(0) && !stays(1) {
            let gone = |world: &World, host| world.nest(host).is_none();
            self.world.run_until(LEAVE_FOR, |world| gone(world, 0) || gone(world, 1));
            self.boot(usize::from(!gone(&self.world, 0)));
        }
        if self.world.running().len() < 2 {
            self.boot(1);
        }
        if self.script.majority {
            // The dead count, too: a few of many would wait for them for ever.
            for host in 0..self.world.len() {
                self.boot(host);
            }
        }
        let begun = self.world.elapsed();
        let nests = self.world.running().len();
        self.world.come_to_rest(Duration::from_secs(6));
        self.leaving.clear();
        self.world.call_everyone();
        self.nest_seconds += nests as f64 * (self.world.elapsed() - begun).as_secs_f64();
    }

    fn finish(mut self, lines: usize) -> Told {
        let count = |kind: &str| self.world.events.get(kind).copied().unwrap_or(0);
        self.deeds.moves = count("moved");
        self.deeds.conflicts = count("conflict");
        self.deeds.renewals = count("renewed");
        self.deeds.checkpoints = count("checkpointed");
        self.deeds.restored = count("restored");
        for answer in self.world.answers.values() {
            match answer {
                Answer::Started { .. } => self.deeds.starts += 1,
                Answer::Stopped => self.deeds.stops += 1,
                _ => {}
            }
        }
        let answered = |end: &&CallEnd| matches!(end, CallEnd::Answered(_));
        self.deeds.calls = self.world.ended.values().filter(answered).count() as u64;
        let (deeds, nest_seconds) = (self.deeds, self.nest_seconds);
        Told { deeds, broken: self.world.verdict(), nest_seconds, lines }
    }
}
