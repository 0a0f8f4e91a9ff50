//! How a nest starts.

mod door;

use std::net::SocketAddr;
use std::sync::{Arc, Weak};
use std::time::Duration;

use actix::{Actor, AsyncContext, Context};
use flock_proto::{Config, MAX_WEIGHT, Me, Nest, NestName, Policy, Rebalancing};
use tokio::sync::oneshot;

use crate::bird::{Bird, SpeciesTable};
use crate::core::{Core, Rest};
use crate::data_link::{DataLink, DataSink};
use crate::error::StartError;
use crate::events::{Events, Hub};
use crate::flock::Flock;
use crate::host::Host;
#[cfg(feature = "noise")]
use crate::key::ClusterKey;
#[cfg(feature = "noise")]
use crate::link::Keyring;
use crate::link::{Identity, Links, Plan};
use crate::nest_actor::{NestActor, Parts};
use crate::net::Door;
use crate::router::Router;
use crate::rt::{Crew, Threads, Worker};
use crate::shared::{Settings, Shared};
#[cfg(feature = "tls")]
use crate::tls::Tls;
use crate::wall::Wall;

/// With its own state and those of some lives that it has yet to merge, a bird fits into one frame.
const MAX_SNAPSHOT: usize = 4 << 20;

/// How a nest starts. See [`Flock::builder`].
#[derive(Debug)]
#[must_use = "a builder does nothing until `.join()` or `.local()`"]
pub struct Builder {
    flock: String,
    name: Option<String>,
    bind: String,
    advertise: Option<String>,
    seeds: Vec<String>,
    species: SpeciesTable,
    twice: Option<&'static str>,
    weight: u32,
    workers: usize,
    insecure: bool,
    #[cfg(feature = "noise")]
    keys: Option<Vec<ClusterKey>>,
    #[cfg(feature = "tls")]
    tls: Option<Tls>,
    config: Config,
    settings: Settings,
    clock_ahead: Duration,
    host: Host,
    events: Arc<Hub>,
}

impl Builder {
    pub(crate) fn new(flock: &str) -> Self {
        Self {
            flock: flock.into(),
            name: None,
            bind: "127.0.0.1:0".into(),
            advertise: None,
            seeds: Vec::new(),
            species: SpeciesTable::default(),
            twice: None,
            weight: 1,
            workers: 1,
            insecure: false,
            #[cfg(feature = "noise")]
            keys: None,
            #[cfg(feature = "tls")]
            tls: None,
            config: Config::default(),
            settings: Settings::default(),
            clock_ahead: Duration::ZERO,
            host: Host::default(),
            events: Arc::default(),
        }
    }

    /// The nest's name: its identity across restarts. Default: the address that it advertises.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// Where to listen, as `host:port`; port 0 is any free one. Default: `127.0.0.1:0`.
    pub fn bind(mut self, address: impl Into<String>) -> Self {
        self.bind = address.into();
        self
    }

    /// What peers dial, as `host:port`. Default: the address that is listened on.
    pub fn advertise(mut self, address: impl Into<String>) -> Self {
        self.advertise = Some(address.into());
        self
    }

    /// Where to look for the flock, as `host:port` each. Their names are looked up with every
    /// dial, and they are dialled for as long as nobody answers.
    pub fn seeds<S: Into<String>>(mut self, seeds: impl IntoIterator<Item = S>) -> Self {
        self.seeds.extend(seeds.into_iter().map(Into::into));
        self
    }

    /// A species that this nest can hatch.
    pub fn species<B: Bird>(mut self) -> Self {
        if let Err(name) = self.species.add::<B>() {
            self.twice = Some(name);
        }
        self
    }

    /// The nest's share of the birds, in proportion to the others'. 0 owns none. Default: 1.
    pub const fn weight(mut self, weight: u32) -> Self {
        self.weight = weight;
        self
    }

    /// Whether this nest takes its share of the birds as it comes up, or waits until it is asked to:
    /// see [`Flock::rebalance`]. Default: [`Rebalancing::Active`].
    ///
    /// Each nest goes by its own setting: give all nests of a flock the same.
    pub const fn rebalancing(mut self, when: Rebalancing) -> Self {
        self.config.rebalancing = when;
        self
    }

    /// This nest takes its share of the birds only when no share has changed for so long, as far as it
    /// has seen: so it waits that long at least, and of several that come one after the other many take
    /// theirs together. Nests that die or leave are replaced at once, and where no bird lives there is
    /// nothing to wait for. Default: 0.
    pub const fn cool_down(mut self, span: Duration) -> Self {
        self.config.cool_down = span;
        self
    }

    /// So many birds, at least one, are under way from this nest at once, because others took shares or
    /// weights changed. A bird that waits for its turn is called where it is. One that leaves, and one
    /// that comes back from a partition, doesn't wait. Default: 256 to each nest, and no more than that
    /// in any case.
    pub const fn moves_at_once(mut self, most: usize) -> Self {
        self.config.moves_at_once = most;
        self
    }

    /// So many birds, at least one, depart from this nest in a second, evenly (but what a late timer
    /// missed in 10 ms is made up for): as for [`moves_at_once`](Self::moves_at_once). Default: as many
    /// as can.
    pub const fn moves_per_second(mut self, most: u32) -> Self {
        self.config.moves_per_second = Some(most);
        self
    }

    /// Threads for birds; at least one. Default: 1.
    pub const fn workers(mut self, workers: usize) -> Self {
        self.workers = workers;
        self
    }

    /// How long to look for the flock before forming one alone. Default: 2 s.
    pub const fn form_after(mut self, wait: Duration) -> Self {
        self.config.form_after = wait;
        self
    }

    /// A bird is restarted so many times `within` this span; one crash more grounds it. Default: 5
    /// in 30 s.
    pub const fn restarts(mut self, restarts: u32, within: Duration) -> Self {
        self.settings.restarts = restarts;
        self.settings.restart_window = within;
        self
    }

    /// The largest state that a bird takes along when it moves: see [`Migrate`](crate::Migrate). A
    /// larger one is lost. Default: 1 MiB; 4 MiB are the most.
    pub const fn snapshot_bytes(mut self, most: usize) -> Self {
        self.settings.snapshot_bytes = if most < MAX_SNAPSHOT { most } else { MAX_SNAPSHOT };
        self
    }

    /// How many bytes of copies this nest holds of birds that run on others, should those die: see
    /// [`Standby`](crate::Standby). Beyond that new ones are refused, and their birds told. Default: 256 MiB.
    pub const fn standby_bytes(mut self, most: usize) -> Self {
        self.config.standby_bytes = most;
        self
    }

    /// How long a nest that [leaves](crate::Flock::leave) may take to hand its birds over. Default: 30 s.
    pub const fn leave_timeout(mut self, wait: Duration) -> Self {
        self.config.leave_for = wait;
        self
    }

    /// How long a bird that ends or moves may take to finish the calls that it has begun; then those end
    /// as [`CallError::Interrupted`](crate::CallError::Interrupted). Default: 5 s.
    pub const fn drain_timeout(mut self, wait: Duration) -> Self {
        self.settings.drain_timeout = wait;
        self
    }

    /// Which side of a partition goes on. The same on all nests. Default: [`Policy::Available`], each
    /// does. On a side that doesn't, starts, stops and calls get `NoQuorum`, and birds stop once it has
    /// lasted for [`stable_after`](Self::stable_after); the other side hatches them eight seconds after that.
    ///
    /// Counted are all nests that this one has heard of, but for those that [left](crate::Flock::leave), or
    /// that somebody [forgot](crate::Flock::forget).
    pub const fn policy(mut self, policy: Policy) -> Self {
        self.config.policy = policy;
        self
    }

    /// For [`Policy::Majority`]: how many nests the flock has at least, whether or not they were ever
    /// seen. Without it, nests that start while cut off from each other are a majority each. Default: 0.
    pub const fn expect(mut self, nests: u32) -> Self {
        self.config.expected_nests = nests;
        self
    }

    /// How long a nest may see too few others, by the [policy](Self::policy), before its birds stop. Default:
    /// 2 s.
    pub const fn stable_after(mut self, wait: Duration) -> Self {
        self.config.stable_after = wait;
        // The two sides may notice a cut by so much apart.
        self.config.take_over_after = wait.saturating_add(Duration::from_secs(8));
        self
    }

    /// By how much the clocks of two nests may differ. After a death, birds of [fenced](crate::bird!) species
    /// wait so long before they hatch anew, so that their fences grow. Default: 500 ms.
    pub const fn clock_skew(mut self, most: Duration) -> Self {
        self.config.clock_skew = most;
        self
    }

    /// Events from the very start, those on the way to the flock included: seeds that don't answer,
    /// peers that refuse this nest.
    pub fn events(&self) -> Events {
        self.events.listen()
    }

    /// Runs on a simulated host: see [`turmoil`](crate::turmoil).
    #[cfg(feature = "turmoil")]
    pub fn in_turmoil(mut self, host: &crate::turmoil::Host) -> Self {
        self.host = Host::Turmoil(host.clone());
        self
    }

    #[cfg(feature = "testing")]
    pub(crate) const fn wrong_clock(mut self, ahead: Duration) -> Self {
        self.clock_ahead = ahead;
        self
    }

    /// Starts the nest and joins the flock; resolves when the nest is up, and owns its share of the
    /// names unless it [waits for that](Self::rebalancing). While no seed answers it keeps trying, and after [`form_after`](Self::form_after) it
    /// is a flock by itself (without seeds, at once); the two join when they meet. Dropping the
    /// future, or later the last [`Flock`], shuts the nest down.
    pub async fn join(self) -> Result<Flock, StartError> {
        self.start(true).await
    }

    /// Starts a flock of this nest alone, which opens no socket.
    pub async fn local(mut self) -> Result<Flock, StartError> {
        self.seeds.clear();
        self.config.form_after = Duration::ZERO;
        self.start(false).await
    }

    async fn start(mut self, networked: bool) -> Result<Flock, StartError> {
        self.check_keys()?;
        self.check_certificate()?;
        if let Some(name) = self.twice {
            return Err(StartError::DuplicateSpecies(name));
        }
        if self.weight > MAX_WEIGHT {
            return Err(StartError::BadWeight(self.weight));
        }
        NestName::new(&self.flock)?;
        if let Some(name) = &self.name {
            NestName::new(name)?;
        }
        let thread = self.name.as_deref().unwrap_or(&self.flock);
        let threads = Threads::start(&self.host, thread, self.workers).await;
        let threads = threads.map_err(StartError::Thread)?;
        let door = if networked { Some(self.open_door(threads.crew()).await?) } else { None };
        let address = match &door {
            Some(door) => Some(door.address().map_err(|source| self.cant_bind(source))?),
            None => None,
        };
        let shown = match (&self.advertise, address) {
            (Some(advertise), _) => advertise.clone(),
            (None, Some(address)) => address.to_string(),
            (None, None) => "local".into(),
        };
        let name = NestName::new(self.name.as_ref().unwrap_or(&shown))?;
        NestName::new(&shown)?;
        self.raise(threads, door, address, name, shown).await
    }

    async fn raise(
        self,
        threads: Threads,
        door: Option<Door>,
        address: Option<SocketAddr>,
        name: NestName,
        shown: String,
    ) -> Result<Flock, StartError> {
        let (joining, joined) = oneshot::channel();
        let crew = threads.crew().clone();
        let workers = threads.workers();
        let taken = name.clone();
        let raise = move || self.assemble(crew, &workers, door, name, shown, joining);
        let (shared, core, links, router) =
            threads.on_control(raise).await.map_err(StartError::Thread)?;
        let rest = Rest {
            links: Arc::downgrade(&links),
            shared: Arc::downgrade(&shared),
            threads,
            router,
            address,
        };
        core.complete(rest);
        drop(links);
        let flock = Flock::new(shared, core);
        match joined.await {
            Ok(true) => Ok(flock),
            Ok(false) => Err(StartError::NameTaken(taken)),
            Err(_) => Err(StartError::Closed),
        }
    }

    /// Puts the parts of a nest together. On the control thread.
    fn assemble(
        self,
        crew: Crew,
        workers: &[Worker],
        door: Option<Door>,
        name: NestName,
        shown: String,
        joining: oneshot::Sender<bool>,
    ) -> (Arc<Shared>, Arc<Core>, Arc<Links>, actix::Addr<Router>) {
        let loopback_only = !self.insecure && !self.keeps_strangers_out();
        let wall = Wall::ahead_by(&self.host, self.clock_ahead);
        let me = Me {
            name: name.clone(),
            address: shown.clone(),
            weight: self.weight,
            species: self.species.ids().collect(),
            fenced: self.species.fenced().collect(),
            seeds: self.seeds.clone(),
        };
        let seed = self.host.seed(&shown);
        let mut config = self.config.clone();
        config.carried_bytes = config.carried_bytes.max(3 * self.settings.snapshot_bytes);
        let nest = Nest::new(me, config, seed, wall.now());
        let context = Context::<NestActor>::new();
        let core = Arc::new(Core::new(context.address(), wall, self.events));
        let (view, settings) = (nest.view(), self.settings);
        let shared = Shared::new(name.clone(), view, self.species, settings, wall, core.clone());
        shared.set_core(core.clone());
        let (flock, id, seats) = (self.flock, nest.id(), crew.seats());
        let identity = Identity { flock, nest: name, id, address: shown, seats };
        let max_skew = self.config.max_clock_skew;
        let plan = Plan {
            #[cfg(feature = "noise")]
            keys: self.keys.clone().and_then(Keyring::new),
            #[cfg(feature = "tls")]
            tls: self.tls.clone(),
            loopback_only,
            wall,
            max_skew,
            ..Plan::default()
        };
        let sink = Arc::new(ToShared(Arc::downgrade(&shared)));
        let links = Links::new(identity, plan, crew.clone(), core.clone(), sink);
        shared.set_links(links.clone());
        shared.start_workers(workers);
        crew.control().spawn(shared.sweep_forever());
        if let Some(door) = door {
            links.accept(door);
        }
        let parts = Parts {
            nest,
            wall,
            core: core.clone(),
            links: links.clone(),
            shared: shared.clone(),
            seeds: self.seeds,
            joining,
        };
        context.run(NestActor::new(parts));
        (shared, core, links, Router::default().start())
    }
}

/// The links know the data plane weakly: it holds them, and both shall go.
struct ToShared(Weak<Shared>);

impl DataSink for ToShared {
    fn hold(&self) -> Option<Arc<dyn DataSink>> {
        self.0.upgrade().map(|shared| Arc::new(shared) as Arc<dyn DataSink>)
    }

    fn on_frame(&self, link: &Arc<dyn DataLink>, frame: &[u8]) {
        if let Some(shared) = self.0.upgrade() {
            shared.on_frame(link, frame);
        }
    }

    fn on_closed(&self, link: &Arc<dyn DataLink>, unwritten: &[u8]) {
        if let Some(shared) = self.0.upgrade() {
            shared.on_closed(link, unwritten);
        }
    }

    fn on_parted(&self, link: &Arc<dyn DataLink>) {
        if let Some(shared) = self.0.upgrade() {
            shared.on_parted(link);
        }
    }
}
