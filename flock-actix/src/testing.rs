//! Several nests in one process, cut and healed at will. Panics where a test should fail.

use std::fmt;
use std::time::{Duration, Instant};

use flock_proto::{NestName, NestState};

use crate::builder::Builder;
use crate::flock::Flock;

#[cfg(feature = "noise")]
#[doc(hidden)]
pub mod decoders;

/// How long the nests of a test may take to agree.
const PATIENCE: Duration = Duration::from_secs(20);

impl Flock {
    /// Cuts this nest off from these, as when the network loses every packet between them: links
    /// stay open and are mute, dials don't get through.
    pub fn cut<S: AsRef<str>>(&self, names: impl IntoIterator<Item = S>) {
        let Some(links) = self.core().and_then(|c| c.rest()).and_then(|r| r.links.upgrade()) else {
            return;
        };
        let names: Vec<NestName> =
            names.into_iter().filter_map(|name| NestName::new(name.as_ref()).ok()).collect();
        let view = self.shared().view();
        let members = view.members().iter().filter(|m| names.contains(&m.name));
        let addresses: Vec<String> = members.map(|m| m.address.to_string()).collect();
        links.cutter().cut(names, addresses);
    }

    /// Makes a link for data to the nest that listens there, and lets go of it: to see what a handshake takes.
    ///
    /// # Errors
    /// There is no such nest, or it doesn't let this one in. In words.
    pub async fn handshake(&self, address: &str) -> Result<(), String> {
        match self.core().and_then(|c| c.rest()).and_then(|r| r.links.upgrade()) {
            Some(links) => links.handshake(address.into()).await,
            None => Err("the nest has ended".into()),
        }
    }

    /// Undoes every [cut](Flock::cut) of this nest.
    pub fn heal(&self) {
        if let Some(links) = self.core().and_then(|c| c.rest()).and_then(|r| r.links.upgrade()) {
            links.cutter().heal();
        }
    }
}

impl Builder {
    /// A nest whose clock is ahead of the machine's by this much.
    pub const fn clock_ahead(self, ahead: Duration) -> Self {
        self.wrong_clock(ahead)
    }
}

type Describe = Box<dyn Fn(Builder) -> Builder + Send + Sync>;

/// Several nests in one process, named `nest-0`, `nest-1`, …
pub struct TestFlock {
    flock: String,
    nests: Vec<Option<Flock>>,
    describe: Describe,
}

impl TestFlock {
    /// So many nests without species, once each sees all of them up.
    pub async fn new(nests: usize) -> Self {
        Self::with(nests, |nest| nest).await
    }

    /// The same, with each nest's builder passed through `describe`, which adds species.
    pub async fn with(
        nests: usize,
        describe: impl Fn(Builder) -> Builder + Send + Sync + 'static,
    ) -> Self {
        let describe = Box::new(describe);
        let mut flock = Self { flock: "test".into(), nests: Vec::new(), describe };
        for i in 0..nests {
            flock.start_nest(&format!("nest-{i}")).await;
        }
        flock.agree().await;
        flock
    }

    /// A nest by its number.
    ///
    /// # Panics
    /// If there never was such a nest, or it was killed.
    #[track_caller]
    pub fn nest(&self, i: usize) -> &Flock {
        match self.nests.get(i) {
            Some(Some(nest)) => nest,
            Some(None) => panic!("nest {i} was killed"),
            None => panic!("there is no nest {i}"),
        }
    }

    /// The nests that weren't killed.
    pub fn nests(&self) -> impl Iterator<Item = &Flock> {
        self.nests.iter().flatten()
    }

    /// Starts one more nest and says its number. It is up when this resolves.
    ///
    /// # Panics
    /// If it doesn't start.
    pub async fn start_nest(&mut self, name: &str) -> usize {
        let seeds: Vec<String> =
            self.nests().filter_map(Flock::address).map(|a| a.to_string()).collect();
        // The first one has nobody to wait for.
        let wait = if seeds.is_empty() { Duration::from_millis(20) } else { PATIENCE };
        let builder = Flock::builder(&self.flock).name(name).seeds(seeds).form_after(wait);
        match tokio::time::timeout(PATIENCE, (self.describe)(builder).join()).await {
            Ok(Ok(nest)) => self.nests.push(Some(nest)),
            Ok(Err(e)) => panic!("{name} doesn't start: {e}"),
            Err(_) => panic!("{name} isn't up after {PATIENCE:?}"),
        }
        self.nests.len() - 1
    }

    /// Cuts the nests of one side off from those of the other.
    pub fn partition(&self, one: &[usize], other: &[usize]) {
        for (side, beyond) in [(one, other), (other, one)] {
            for &i in side {
                self.nest(i).cut(beyond.iter().map(|&j| self.nest(j).name()));
            }
        }
    }

    /// Undoes every cut.
    pub fn heal(&self) {
        self.nests().for_each(Flock::heal);
    }

    /// Ends a nest as if its process had been killed: sockets close at once, no goodbye. Resolves
    /// when its threads have ended.
    ///
    /// # Panics
    /// If there is no such nest.
    pub async fn kill(&mut self, i: usize) {
        let Some(nest) = self.nests.get_mut(i).and_then(Option::take) else {
            panic!("there is no nest {i} to kill");
        };
        if let Some(core) = nest.core() {
            core.shut();
            core.ended().await;
        }
    }

    /// Resolves when each nest sees exactly the nests that weren't killed, all of them up.
    ///
    /// # Panics
    /// If that takes too long.
    pub async fn agree(&self) {
        let all = self.nests().count();
        let agreed = || async {
            for nest in self.nests() {
                let seen = nest.nests().await;
                if seen.len() != all || seen.iter().any(|n| n.state != NestState::Up) {
                    return false;
                }
            }
            true
        };
        self.eventually(PATIENCE, agreed).await;
    }

    /// Resolves when so many birds live, and each has one life.
    ///
    /// # Panics
    /// If that takes too long.
    pub async fn one_life_each(&self, birds: usize, deadline: Duration) {
        let one_each = || async {
            let mut all = Vec::new();
            for nest in self.nests() {
                all.extend(nest.local_birds().await);
            }
            all.sort();
            let lives = all.len();
            all.dedup();
            lives == birds && all.len() == birds
        };
        self.eventually(deadline, one_each).await;
    }

    /// Resolves when `true_at_last` says so.
    ///
    /// # Panics
    /// If it doesn't within `deadline`.
    pub async fn eventually<F: Future<Output = bool>>(
        &self,
        deadline: Duration,
        mut true_at_last: impl FnMut() -> F,
    ) {
        let start = Instant::now();
        while !true_at_last().await {
            assert!(start.elapsed() < deadline, "not even after {deadline:?}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

impl fmt::Debug for TestFlock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TestFlock").field("nests", &self.nests).finish_non_exhaustive()
    }
}
