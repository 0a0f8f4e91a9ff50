//! What happens to the network between the hosts, and when it is over.

use std::fmt;
use std::time::Duration;

use flock_proto::Rng;
use turmoil::Sim;

use super::ledger;

/// How often a link breaks at random that repairs itself at once, for each message, at most.
const MAX_LOSS: u64 = 20;

/// One fault between two hosts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// Nothing passes either way.
    Cut,
    /// Nothing passes from the first to the second.
    OneWay,
    /// Nothing passes, and all of it comes when this is over.
    Hold,
    /// Of so many messages in a thousand each takes all others under way with it.
    Loss(u64),
    /// Messages take up to so many milliseconds.
    Slow(u64),
}

/// The network: which hosts are there, and what is wrong between them.
pub(super) struct Weather {
    hosts: Vec<String>,
    /// In good weather messages take so many milliseconds at most.
    latency: u64,
    spells: Vec<Spell>,
}

/// Faults that began together and end together.
struct Spell {
    fault: Fault,
    pairs: Vec<(usize, usize)>,
    until: u64,
    /// It counts as one of the story's faults: strict rules don't hold meanwhile.
    rough: bool,
}

impl Weather {
    pub(super) fn new(hosts: Vec<String>, latency: u64, sim: &Sim<'_>) -> Self {
        let weather = Self { hosts, latency, spells: Vec::new() };
        for (a, b) in weather.all_pairs() {
            weather.set_latency(sim, a, b, latency);
        }
        weather
    }

    /// A fault that its rules bear: short, or one that others see round.
    pub(super) fn light(&mut self, sim: &mut Sim<'_>, rng: &mut Rng, hosts: &[usize]) {
        let (fault, millis) = match rng.below(4) {
            0 => (Fault::Hold, 100 + rng.below(700)),
            1 => (Fault::Slow(40 + rng.below(60)), 3_000),
            2 => (Fault::Loss(1 + rng.below(MAX_LOSS)), 500 + rng.below(3_000)),
            _ if hosts.len() > 2 => (Fault::Cut, 500 + rng.below(8_000)),
            _ => return,
        };
        // One at a time: two cuts at once may part the flock.
        if self.spells.is_empty()
            && let Some(pair) = pick_pair(rng, hosts)
        {
            self.begin(sim, Spell { fault, pairs: vec![pair], until: millis, rough: false });
        }
    }

    /// A fault that may part the flock.
    pub(super) fn rough(&mut self, sim: &mut Sim<'_>, rng: &mut Rng, hosts: &[usize]) {
        let millis = match rng.below(3) {
            0 => 100 + rng.below(1_500),
            _ => 1_500 + rng.below(11_000),
        };
        let fault = match rng.below(8) {
            0..=2 => Fault::Cut,
            3..=4 => Fault::Hold,
            5 => Fault::OneWay,
            6 => Fault::Loss(1 + rng.below(5 * MAX_LOSS)),
            _ => Fault::Slow(200 + rng.below(800)),
        };
        let pairs = match rng.below(3) {
            0 => pick_pair(rng, hosts).into_iter().collect(),
            1 => one_against_all(rng, hosts),
            _ => halves(rng, hosts),
        };
        self.begin(sim, Spell { fault, pairs, until: millis, rough: true });
    }

    fn begin(&mut self, sim: &mut Sim<'_>, spell: Spell) {
        let Spell { fault, mut pairs, until: millis, rough } = spell;
        // Each pair has one fault at most: what ends the one would end the other.
        pairs.retain(|&(a, b)| {
            !self.spells.iter().any(|s| s.pairs.contains(&(a, b)) || s.pairs.contains(&(b, a)))
        });
        if pairs.is_empty() {
            return;
        }
        let spell = Spell { fault, pairs, until: ledger::now() + millis, rough };
        ledger::note("weather", format_args!("{} for {millis} ms", spell.words(&self.hosts)));
        for &(a, b) in &spell.pairs {
            self.strike(sim, fault, a, b);
        }
        if !matches!(fault, Fault::Slow(_)) {
            ledger::did(|did| did.partitions += 1);
        }
        self.spells.push(spell);
    }

    /// Ends what is over by now.
    pub(super) fn pass(&mut self, sim: &mut Sim<'_>) {
        self.end_where(sim, |spell| spell.until <= ledger::now());
    }

    /// Ends everything.
    pub(super) fn clear_up(&mut self, sim: &mut Sim<'_>) {
        self.end_where(sim, |_| true);
    }

    /// Some nest is seen by others only round a cut.
    pub(super) fn is_cut(&self) -> bool {
        self.spells.iter().any(|spell| spell.fault == Fault::Cut)
    }

    /// A fault is on that may part the flock.
    pub(super) fn is_rough(&self) -> bool {
        self.spells.iter().any(|spell| spell.rough)
    }

    fn end_where(&mut self, sim: &mut Sim<'_>, over: impl Fn(&Spell) -> bool) {
        let ended: Vec<Spell> = self.spells.extract_if(.., |spell| over(spell)).collect();
        for spell in ended {
            ledger::note("weather", format_args!("over: {}", spell.words(&self.hosts)));
            for &(a, b) in &spell.pairs {
                self.mend(sim, spell.fault, a, b);
            }
            if !matches!(spell.fault, Fault::Slow(_)) {
                ledger::did(|did| did.repairs += 1);
            }
        }
    }

    fn strike(&self, sim: &mut Sim<'_>, fault: Fault, a: usize, b: usize) {
        let (one, other) = (&*self.hosts[a], &*self.hosts[b]);
        match fault {
            Fault::Cut => sim.partition(one, other),
            Fault::OneWay => sim.partition_oneway(one, other),
            Fault::Hold => sim.hold(one, other),
            Fault::Loss(of_thousand) => {
                sim.set_link_fail_rate(one, other, of_thousand as f64 / 1000.0);
            }
            Fault::Slow(millis) => self.set_latency(sim, a, b, millis),
        }
    }

    fn mend(&self, sim: &mut Sim<'_>, fault: Fault, a: usize, b: usize) {
        let (one, other) = (&*self.hosts[a], &*self.hosts[b]);
        match fault {
            Fault::Cut => sim.repair(one, other),
            Fault::OneWay => sim.repair_oneway(one, other),
            Fault::Hold => sim.release(one, other),
            Fault::Loss(_) => {
                sim.set_link_fail_rate(one, other, 0.0);
                sim.repair(one, other);
            }
            Fault::Slow(_) => self.set_latency(sim, a, b, self.latency),
        }
    }

    fn set_latency(&self, sim: &Sim<'_>, a: usize, b: usize, millis: u64) {
        let (one, other) = (&*self.hosts[a], &*self.hosts[b]);
        sim.set_link_max_message_latency(one, other, Duration::from_millis(millis));
    }

    fn all_pairs(&self) -> Vec<(usize, usize)> {
        let hosts = 0..self.hosts.len();
        hosts.clone().flat_map(|a| hosts.clone().skip(a + 1).map(move |b| (a, b))).collect()
    }
}

impl Spell {
    fn words(&self, hosts: &[String]) -> String {
        let pairs: Vec<String> =
            self.pairs.iter().map(|(a, b)| format!("{}-{}", hosts[*a], hosts[*b])).collect();
        format!("{} {}", self.fault, pairs.join(" "))
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cut => f.write_str("cut"),
            Self::OneWay => f.write_str("cut one way"),
            Self::Hold => f.write_str("held up"),
            Self::Loss(of_thousand) => write!(f, "losses {of_thousand} ‰"),
            Self::Slow(millis) => write!(f, "slow, {millis} ms"),
        }
    }
}

fn pick_pair(rng: &mut Rng, hosts: &[usize]) -> Option<(usize, usize)> {
    let (a, b) = (*rng.pick(hosts)?, *rng.pick(hosts)?);
    (a != b).then_some((a, b))
}

fn one_against_all(rng: &mut Rng, hosts: &[usize]) -> Vec<(usize, usize)> {
    let Some(&one) = rng.pick(hosts) else { return Vec::new() };
    hosts.iter().filter(|other| **other != one).map(|other| (one, *other)).collect()
}

fn halves(rng: &mut Rng, hosts: &[usize]) -> Vec<(usize, usize)> {
    let (left, right): (Vec<usize>, Vec<usize>) = hosts.iter().partition(|_| rng.one_in(2));
    left.iter().flat_map(|a| right.iter().map(move |b| (*a, *b))).collect()
}
