//! A host as the teller sees it, and the software that runs on it: a nest, and users who do what
//! they are told.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use flock_actix::turmoil::Host;
use flock_actix::{Builder, ClusterKey, Event, Flock, RequestError, StartError};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::{JoinHandle, spawn_local};

use super::birds::{Fussy, Steady};
use super::ledger;

/// Where every nest listens.
const PORT: u16 = 7400;

/// Between a refusal of the flock to take a nest in and the next try.
const TRY_AGAIN: Duration = Duration::from_millis(700);

/// A host. The teller and the software share it; what turmoil crashes is the software.
#[derive(Clone)]
pub(super) struct Post(Rc<Inner>);

struct Inner {
    name: String,
    /// Where the others listen.
    seeds: Vec<String>,
    chance: u64,
    /// Its clock is ahead by so much.
    ahead: Duration,
    /// Its nest has this key.
    key: Option<ClusterKey>,
    state: RefCell<State>,
}

#[derive(Default)]
struct State {
    stage: Stage,
    /// How often the software has started.
    boots: u64,
    orders: Option<UnboundedSender<Order>>,
    looked: Option<Look>,
    host: Option<Host>,
}

/// How far the nest has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Stage {
    /// There is none, and none is wanted.
    #[default]
    Out,
    Joining,
    Up,
    Leaving,
}

/// What a nest says of the flock.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Look {
    /// Every nest, in words.
    pub(super) nests: Vec<String>,
    /// Every bird: its owner, and why it is grounded.
    pub(super) birds: BTreeMap<String, (Option<String>, Option<String>)>,
    pub(super) pending_calls: u64,
    pub(super) repairs: u64,
}

/// What became of a request that wasn't granted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// Nothing changed.
    NothingDone,
    /// A bird of the name lives.
    Exists,
    NoSuchBird,
    /// The name is free.
    HatchFailed,
    /// It may still take effect.
    Unknown,
}

impl From<RequestError> for Refusal {
    fn from(error: RequestError) -> Self {
        match error {
            RequestError::AlreadyExists { .. } => Self::Exists,
            RequestError::NoSuchBird => Self::NoSuchBird,
            RequestError::HatchFailed(_) => Self::HatchFailed,
            RequestError::TimedOut | RequestError::Closed => Self::Unknown,
            _ => Self::NothingDone,
        }
    }
}

enum Order {
    Join,
    Do(Box<dyn FnOnce(&Flock)>),
    Leave,
    Kill,
}

impl Post {
    pub(super) fn new(
        name: &str,
        others: &[&str],
        chance: u64,
        ahead: Duration,
        key: Option<ClusterKey>,
    ) -> Self {
        let seeds = others.iter().map(|other| format!("{other}:{PORT}")).collect();
        let state = RefCell::default();
        Self(Rc::new(Inner { name: name.into(), seeds, chance, ahead, key, state }))
    }

    pub(super) fn name(&self) -> &str {
        &self.0.name
    }

    pub(super) fn stage(&self) -> Stage {
        self.0.state.borrow().stage
    }

    fn set_stage(&self, stage: Stage) {
        self.0.state.borrow_mut().stage = stage;
    }

    fn order(&self, order: Order) {
        if let Some(orders) = &self.0.state.borrow().orders {
            // Nobody is there to take it: the host is down, and the order with it.
            let _ = orders.send(order);
        }
    }

    /// Starts a nest, again and again until the flock takes it in. On a host that starts just now
    /// the software does it by itself.
    pub(super) fn join(&self) {
        self.set_stage(Stage::Joining);
        self.order(Order::Join);
    }

    pub(super) fn leave(&self) {
        self.set_stage(Stage::Leaving);
        self.order(Order::Leave);
    }

    /// Ends the nest as `kill -9` would. The host lives.
    pub(super) fn kill(&self) {
        self.set_stage(Stage::Out);
        self.order(Order::Kill);
    }

    /// The host has crashed.
    pub(super) fn crashed(&self) {
        let mut state = self.0.state.borrow_mut();
        (state.stage, state.orders, state.host) = (Stage::Out, None, None);
    }

    /// Does this on the host, with its nest; nothing, if there is none by then.
    pub(super) fn with_nest(&self, act: impl FnOnce(&Flock) + 'static) {
        self.order(Order::Do(Box::new(act)));
    }

    /// Asks the nest to look round. See [`Self::looked`].
    pub(super) fn look(&self) {
        let post = self.clone();
        self.0.state.borrow_mut().looked = None;
        self.with_nest(|nest| {
            let nest = nest.clone();
            spawn_local(async move {
                let look = look(&nest).await;
                post.0.state.borrow_mut().looked = Some(look);
            });
        });
    }

    /// What the nest saw when it was last asked to look; none, if it hasn't looked yet.
    pub(super) fn looked(&self) -> Option<Look> {
        self.0.state.borrow_mut().looked.take()
    }

    /// A digest of all that the host has sent since it started, and how many datagrams that were.
    pub(super) fn traffic(&self) -> String {
        let state = self.0.state.borrow();
        let traffic = state.host.as_ref().map(Host::traffic).unwrap_or_default();
        // With a key each link has others of its own, by the system's chance.
        let digest = if self.0.key.is_some() { 0 } else { traffic.digest };
        format!("sent {}, {} again, {digest:016x}", traffic.sent, traffic.again)
    }

    /// The host's software.
    pub(super) async fn run(self) -> turmoil::Result {
        let (orders, to_do) = unbounded_channel();
        let wants_nest = {
            let mut state = self.0.state.borrow_mut();
            state.boots += 1;
            state.orders = Some(orders.clone());
            state.stage == Stage::Joining
        };
        let seed = self.0.chance ^ self.0.state.borrow().boots.rotate_right(8);
        let host = Host::boot(seed).await?;
        self.0.state.borrow_mut().host = Some(host.clone());
        if wants_nest {
            // The receiver is here.
            let _ = orders.send(Order::Join);
        }
        Users { post: self, host, nest: Rc::default(), task: None }.serve(to_do).await;
        Ok(())
    }
}

/// Those who use the nest.
struct Users {
    post: Post,
    host: Host,
    nest: Rc<RefCell<Option<Flock>>>,
    /// Joining or leaving.
    task: Option<JoinHandle<()>>,
}

impl Users {
    async fn serve(&mut self, mut to_do: UnboundedReceiver<Order>) {
        while let Some(order) = to_do.recv().await {
            match order {
                Order::Join => self.join(),
                Order::Do(act) => {
                    if let Some(nest) = &*self.nest.borrow() {
                        act(nest);
                    }
                }
                Order::Leave => self.leave(),
                Order::Kill => {
                    self.task.take().inspect(JoinHandle::abort);
                    // Its calls end in here, and those who wait for them hear of it.
                    let nest = self.nest.take();
                    drop(nest);
                    ledger::note(self.post.name(), "is killed");
                }
            }
        }
    }

    fn builder(&self) -> Builder {
        let (name, seeds) = (self.post.name(), self.post.0.seeds.clone());
        let nest = Flock::builder("canaries");
        let nest = match &self.post.0.key {
            Some(key) => nest.key(key.clone()),
            None => nest.insecure(),
        };
        nest.in_turmoil(&self.host)
            .name(name)
            .bind(format!("0.0.0.0:{PORT}"))
            .advertise(format!("{name}:{PORT}"))
            .seeds(seeds)
            .clock_ahead(self.post.0.ahead)
            .species::<Steady>()
            .species::<Fussy>()
    }

    fn join(&mut self) {
        let (builder, post, nest) = (self.builder(), self.post.clone(), self.nest.clone());
        let again = post.0.state.borrow().orders.clone();
        listen(&builder, &post);
        self.task = Some(spawn_local(async move {
            match builder.join().await {
                Ok(flock) => {
                    *nest.borrow_mut() = Some(flock);
                    post.set_stage(Stage::Up);
                    ledger::note(post.name(), "is up");
                }
                Err(error) => {
                    ledger::note(post.name(), format_args!("did not start: {error}"));
                    if !matches!(error, StartError::NameTaken(_) | StartError::Bind { .. }) {
                        ledger::broken("a nest starts", format!("{}: {error}", post.name()));
                    }
                    tokio::time::sleep(TRY_AGAIN).await;
                    if let Some(orders) = again {
                        let _ = orders.send(Order::Join);
                    }
                }
            }
        }));
    }

    fn leave(&mut self) {
        let (post, nest) = (self.post.clone(), self.nest.clone());
        self.task = Some(spawn_local(async move {
            let Some(leaver) = nest.borrow().clone() else { return };
            match leaver.leave().await {
                Ok(_) => {
                    *nest.borrow_mut() = None;
                    post.set_stage(Stage::Out);
                    ledger::did(|did| did.leaves += 1);
                    ledger::note(post.name(), "has left");
                }
                Err(error) => {
                    ledger::broken("a nest leaves", format!("{}: {error}", post.name()));
                }
            }
        }));
    }
}

/// Writes down all that the nest tells.
fn listen(nest: &Builder, post: &Post) {
    let (mut events, post) = (nest.events(), post.clone());
    spawn_local(async move {
        while let Some(event) = events.recv().await {
            match &event {
                Event::Grounded { bird, .. } | Event::Revived(bird) => {
                    ledger::grounded(bird.as_str());
                }
                Event::Conflict { .. } | Event::Merged(_) => {
                    ledger::did(|did| did.conflicts += 1);
                }
                _ => {}
            }
            ledger::note(post.name(), event);
        }
        if events.lost() > 0 {
            ledger::broken("the trace is whole", format!("{} events lost", events.lost()));
        }
    });
}

async fn look(nest: &Flock) -> Look {
    let nests = nest.nests().await;
    let birds = nest.birds(None, usize::MAX).await;
    let counters = nest.counters().await;
    Look {
        nests: nests.iter().map(|nest| format!("{} {:?}", nest.name, nest.state)).collect(),
        birds: birds
            .into_iter()
            .map(|bird| {
                let owner = bird.nest.map(|nest| nest.as_str().to_owned());
                (bird.name.as_str().to_owned(), (owner, bird.grounded))
            })
            .collect(),
        pending_calls: counters.pending_calls,
        repairs: counters.repairs,
    }
}
