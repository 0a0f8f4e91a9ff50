//! Several nests, and what must hold of them together.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use anyhow::Context as _;
use flock_actix::ClusterKey;

use crate::detour::Detour;
use crate::nest::Nest;
use crate::poll::eventually;
use crate::protocol::{Answered, Bulk, Command, Loaded, NestSeen, Orders, Raised, Travels, Voice};

/// The deadline of a single call, where calls are repeated until they are answered.
const DEADLINE: Duration = Duration::from_secs(1);

/// Bird → where it is: the nests whose processes each report a life of it.
pub type Census = BTreeMap<String, BTreeSet<String>>;

/// So many birds' names.
pub fn names(birds: usize) -> Vec<String> {
    (1..=birds).map(|n| format!("bird-{n:03}")).collect()
}

/// The nests of one flock, by name.
#[derive(Debug)]
pub struct Nests {
    program: &'static str,
    nests: BTreeMap<String, Nest>,
    /// What their environment holds; if nothing, that of this process counts.
    key: Option<String>,
}

impl Nests {
    /// So many nests on the loopback, `nest-0`, `nest-1`, …, once each sees all of them up.
    /// `program` is the child's: `env!("CARGO_BIN_EXE_nest-under-test")`.
    #[track_caller]
    pub fn of(program: &'static str, nests: usize) -> Self {
        let mut all = Self::none(program);
        for n in 0..nests {
            all.join(&format!("nest-{n}"));
        }
        all.agree();
        all
    }

    /// The same, and whoever hasn't got their key, which is made for them, stays out.
    #[track_caller]
    pub fn keyed(program: &'static str, nests: usize) -> Self {
        let key = ClusterKey::generate().expect("the system has randomness");
        let mut all = Self { key: Some(key.reveal()), ..Self::none(program) };
        for n in 0..nests {
            all.join(&format!("nest-{n}"));
        }
        all.agree();
        all
    }

    /// None yet.
    pub const fn none(program: &'static str) -> Self {
        Self { program, nests: BTreeMap::new(), key: None }
    }

    /// One more nest on the loopback, which is told where all the others are.
    #[track_caller]
    pub fn join(&mut self, name: &str) {
        self.join_as(name, |orders| orders);
    }

    /// One more nest on the loopback, which looks for the others at these seeds.
    #[track_caller]
    pub fn join_by(&mut self, name: &str, seeds: Vec<String>, weight: u32) {
        self.join_as(name, |orders| Orders { weight, seeds, ..orders });
    }

    /// One more nest on the loopback, which is told where all the others are, and more.
    #[track_caller]
    pub fn join_as(&mut self, name: &str, more: impl FnOnce(Orders) -> Orders) {
        let seeds = self.nests.values().map(|nest| nest.address().into()).collect();
        let orders = more(Orders::on_loopback(name, seeds));
        self.add(Nest::start_with(&[self.program], &orders, self.key.as_deref()));
    }

    /// One more nest on the loopback, which is told where all the others are, and to which all of
    /// them come by this detour.
    #[track_caller]
    pub fn join_by_detour(&mut self, name: &str, detour: &Detour) {
        let advertise = Some(detour.address().to_owned());
        self.join_as(name, |orders| Orders { advertise, ..orders });
        detour.lead_to(self.nest(name).listens_at());
    }

    /// One more nest.
    pub fn add(&mut self, nest: Nest) {
        self.nests.insert(nest.name().into(), nest);
    }

    /// The nest of this name.
    #[track_caller]
    pub fn nest(&self, name: &str) -> &Nest {
        self.nests.get(name).unwrap_or_else(|| panic!("there is no {name}"))
    }

    /// All of them.
    pub fn all(&self) -> impl Iterator<Item = &Nest> {
        self.nests.values()
    }

    /// Takes a nest out, to be seen to by itself.
    #[track_caller]
    pub fn take(&mut self, name: &str) -> Nest {
        self.nests.remove(name).unwrap_or_else(|| panic!("there is no {name}"))
    }

    /// Ends a nest as `kill -9` does.
    #[track_caller]
    pub fn kill(&mut self, name: &str) {
        self.take(name).kill();
    }

    /// Tells a nest's process to end, by SIGTERM, and waits until it has, of itself and in good order.
    pub fn terminate(&mut self, name: &str, within: Duration) -> anyhow::Result<()> {
        self.nests.remove(name).with_context(|| format!("there is no {name}"))?.terminate(within)
    }

    /// Has a nest leave; its process ends when it has.
    #[track_caller]
    pub fn leave(&mut self, name: &str) {
        let left: Result<(), String> = self.nest(name).ask(Command::Leave);
        assert_eq!(left, Ok(()), "{name} doesn't leave");
        self.nests.remove(name);
    }

    /// Waits until each nest sees exactly these nests, all of them up, and suspects none.
    #[track_caller]
    pub fn agree(&self) {
        let seen = |name: &String| NestSeen { name: name.clone(), up: true, suspected: false };
        let all: Vec<NestSeen> = self.nests.keys().map(seen).collect();
        eventually(Duration::from_secs(15), || {
            for nest in self.all() {
                let mut seen: Vec<NestSeen> = nest.ask(Command::Nests);
                seen.sort();
                if seen != all {
                    return Err(format!("{} sees {seen:?}", nest.name()));
                }
            }
            Ok(())
        });
    }

    /// Has a nest start these birds; all of them must start.
    #[track_caller]
    pub fn start(&self, nest: &str, names: &[String]) {
        let failed: Vec<String> = self.nest(nest).ask(Command::Start(names.to_vec()));
        assert_eq!(failed, [""; 0]);
    }

    /// Has a nest start tallies with states of so many bytes; all of them must start.
    #[track_caller]
    pub fn start_tallies(&self, nest: &str, names: &[String], bytes: usize) {
        let started: Bulk =
            self.nest(nest).ask(Command::StartTallies { names: names.to_vec(), bytes });
        assert!(started.failed.is_empty(), "{:?} and more failed", started.failed.first());
    }

    /// Has a nest have each tally count one more, once; what doesn't answer is left.
    #[track_caller]
    pub fn raise_once(&self, nest: &str, names: &[String], deadline: Duration) -> Vec<Raised> {
        let (names, patience) = (names.to_vec(), Duration::ZERO);
        self.nest(nest).ask(Command::Raise { names, deadline, patience })
    }

    /// Has a nest have each tally count one more, until it has said so. All must, within this time.
    #[track_caller]
    pub fn raise(&self, nest: &str, names: &[String], within: Duration) -> Vec<Raised> {
        let raise = Command::Raise { names: names.to_vec(), deadline: DEADLINE, patience: within };
        let raised: Vec<Raised> = self.nest(nest).ask(raise);
        let failed: Vec<_> = raised.iter().filter(|raised| raised.told.is_err()).collect();
        assert!(failed.is_empty(), "{} don't answer, such as {:?}", failed.len(), head(&failed));
        raised
    }

    /// Which nests were held to be dead so far, and by whom.
    #[track_caller]
    pub fn downs(&self) -> Vec<String> {
        let downs = |nest: &Nest| {
            let events: Vec<String> = nest.ask(Command::Events);
            let downs = events.into_iter().filter(|event| event.ends_with(" is down"));
            downs.map(|down| format!("to {} {}", nest.name(), down.trim())).collect::<Vec<_>>()
        };
        self.all().flat_map(downs).collect()
    }

    /// Has all nests forget which birds have moved so far.
    #[track_caller]
    pub fn forget_travels(&self) {
        self.all().for_each(|nest| nest.ask(Command::ForgetTravels));
    }

    /// The birds that this nest has given away, and knows to live elsewhere.
    #[track_caller]
    pub fn gone_from(&self, nest: &str) -> BTreeSet<String> {
        self.nest(nest).ask::<Travels>(Command::Travels).gone
    }

    /// The birds that have moved to this nest from one that lived.
    #[track_caller]
    pub fn come_to(&self, nest: &str) -> BTreeSet<String> {
        self.nest(nest).ask::<Travels>(Command::Travels).come
    }

    /// Asks each process which birds live in it.
    #[track_caller]
    pub fn census(&self) -> Census {
        census(self.all())
    }

    /// The birds that each of two processes reports at two times in a row: one that moved while
    /// the processes were asked, one after the other, is seen like that once at most.
    #[track_caller]
    pub fn doubled(&self) -> Vec<String> {
        let doubled = |census: Census| -> BTreeSet<_> {
            census.into_iter().filter(|(_, homes)| homes.len() > 1).collect()
        };
        let (first, second) = (doubled(self.census()), doubled(self.census()));
        first.intersection(&second).map(|(bird, homes)| format!("{bird} on {homes:?}")).collect()
    }

    /// Waits until each of these birds, and no other, has exactly one life, where every nest finds
    /// its owner to be. Says where.
    #[track_caller]
    pub fn one_life_each(&self, names: &[String], within: Duration) -> BTreeMap<String, String> {
        let mut homes = BTreeMap::new();
        eventually(within, || self.homes(names).map(|found| homes = found));
        homes
    }

    /// Where these birds live, if each of them, and no other, has exactly one life, where every
    /// nest finds its owner to be.
    #[track_caller]
    pub fn homes(&self, names: &[String]) -> Result<BTreeMap<String, String>, String> {
        let census = self.census();
        amiss(&census, names)?;
        let homes = single(census);
        for nest in self.all() {
            let owned: BTreeMap<String, String> = nest.ask(Command::Birds);
            if owned != homes {
                let odd: Vec<_> = owned.iter().filter(|(b, o)| homes.get(*b) != Some(*o)).collect();
                let (name, many) = (nest.name(), odd.len());
                return Err(format!("to {name} {many} live elsewhere, {:?}", head(&odd)));
            }
        }
        Ok(homes)
    }

    /// Has every nest call each of these birds until it answers. All must, within this time, and
    /// all nests must hear the same life. Says who answered, and after how long.
    #[track_caller]
    pub fn all_answer(&self, names: &[String], within: Duration) -> BTreeMap<String, Voice> {
        self.answer_to(self.all(), names, within)
    }

    /// The same, but only these nests call.
    #[track_caller]
    pub fn answer_to<'a>(
        &self,
        nests: impl IntoIterator<Item = &'a Nest>,
        names: &[String],
        within: Duration,
    ) -> BTreeMap<String, Voice> {
        let call = || Command::Call { names: names.to_vec(), deadline: DEADLINE, patience: within };
        let asked: Vec<_> =
            nests.into_iter().map(|n| (n.name(), n.begin::<Vec<Answered>>(call()))).collect();
        let mut voices: BTreeMap<String, Voice> = BTreeMap::new();
        let mut amiss = Vec::new();
        for (nest, pending) in asked {
            for Answered { name, answer } in pending.wait() {
                match answer {
                    Ok(voice) => match voices.insert(name.clone(), voice.clone()) {
                        Some(other) if other != voice => {
                            amiss.push(format!("{name} is {voice:?} to {nest}, and {other:?}"));
                        }
                        _ => {}
                    },
                    Err(e) => amiss.push(format!("{name} to {nest}: {e}")),
                }
            }
        }
        assert!(amiss.is_empty(), "{} amiss, such as {:?}", amiss.len(), head(&amiss));
        voices
    }

    /// Has these nests call these birds all the time.
    #[track_caller]
    pub fn load(&self, nests: &[&str], names: &[String]) {
        for nest in nests {
            self.nest(nest).ask::<()>(Command::Load(names.to_vec()));
        }
    }

    /// Ends the load of these nests, and says what came of it.
    #[track_caller]
    pub fn quiet(&self, nests: &[&str]) -> Loaded {
        let ended: Vec<_> = nests
            .iter()
            .map(|nest| (nest, self.nest(nest).begin::<Loaded>(Command::Quiet)))
            .collect();
        let mut total = Loaded { answered: 0, failed: Vec::new() };
        for (nest, ended) in ended {
            let loaded = ended.wait();
            total.answered += loaded.answered;
            total.failed.extend(loaded.failed.iter().map(|failed| format!("{nest} to {failed}")));
        }
        total
    }
}

/// Asks these processes which birds live in them.
#[track_caller]
pub fn census<'a>(nests: impl IntoIterator<Item = &'a Nest>) -> Census {
    let asked: Vec<_> =
        nests.into_iter().map(|n| (n.name(), n.begin::<Vec<String>>(Command::Local))).collect();
    let mut homes = Census::new();
    for (nest, local) in asked {
        for bird in local.wait() {
            homes.entry(bird).or_default().insert(nest.into());
        }
    }
    homes
}

/// Whether each of these birds, and no other, has exactly one life.
pub fn amiss(census: &Census, names: &[String]) -> Result<(), String> {
    let want: BTreeSet<_> = names.iter().collect();
    let missing: Vec<_> = want.iter().filter(|name| !census.contains_key(**name)).collect();
    let strange: Vec<_> = census.keys().filter(|name| !want.contains(name)).collect();
    let doubled: Vec<_> = census.iter().filter(|(_, homes)| homes.len() > 1).collect();
    if missing.is_empty() && strange.is_empty() && doubled.is_empty() {
        return Ok(());
    }
    Err(format!(
        "{} without a life {:?}, {} strange {:?}, {} doubled {:?}",
        missing.len(),
        head(&missing),
        strange.len(),
        head(&strange),
        doubled.len(),
        head(&doubled)
    ))
}

pub(crate) fn single(census: Census) -> BTreeMap<String, String> {
    let home = |(bird, homes): (String, BTreeSet<String>)| Some((bird, homes.into_iter().next()?));
    census.into_iter().filter_map(home).collect()
}

fn head<T>(all: &[T]) -> &[T] {
    all.get(..3).unwrap_or(all)
}
