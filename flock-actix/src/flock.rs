//! The handle on a nest, and through it on the flock.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use actix::{Addr, AsyncContext, Context};
use actix_rt::ArbiterHandle;
use flock_proto::{Answer, BirdName, Input, NameError, ReqId, Time};

use crate::bird::Bird;
use crate::bird_ref::BirdRef;
use crate::builder::Builder;
use crate::core::Core;
use crate::error::RequestError;
use crate::events::{Events, Hub};
use crate::many::{StartMany, StopMany};
use crate::request::{Request, Start, StartOrGet, Wish};
use crate::router::Router;
use crate::shared::Shared;

/// How long a nest that has left waits for its goodbyes to be written, and for calls that were on
/// their way to it.
const GOODBYE: Duration = Duration::from_secs(1);

/// The handle on a nest, and through it on the flock: cheap to clone, usable from any thread and
/// under any runtime.
///
/// When the last handle is dropped, the nest is shut down as if it had been killed: sockets close,
/// lives end, and the other nests take the birds over. [`Flock::leave`] is the polite way.
#[derive(Clone)]
pub struct Flock {
    shared: Arc<Shared>,
    /// None in the handles that birds get: a bird must not keep its own nest alive.
    keeper: Option<Arc<Keeper>>,
}

/// Shuts the nest down when nobody holds it any more.
struct Keeper(Arc<Core>);

impl Drop for Keeper {
    fn drop(&mut self) {
        self.0.shut();
    }
}

impl Flock {
    /// Begins to describe a nest of the flock of this name.
    pub fn builder(flock: &str) -> Builder {
        Builder::new(flock)
    }

    pub(crate) fn new(shared: Arc<Shared>, core: Arc<Core>) -> Self {
        Self { shared, keeper: Some(Arc::new(Keeper(core))) }
    }

    /// A handle that doesn't keep the nest alive.
    pub(crate) const fn within(shared: Arc<Shared>) -> Self {
        Self { shared, keeper: None }
    }

    pub(crate) const fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    pub(crate) fn core(&self) -> Option<&Arc<Core>> {
        self.shared.core()
    }

    /// The name of this nest.
    pub fn name(&self) -> &str {
        self.shared.name.as_str()
    }

    /// Where this nest listens; none if it is [local](Builder::local).
    pub fn address(&self) -> Option<SocketAddr> {
        self.core()?.rest()?.address
    }

    /// The threads that the birds of this nest live on, as [`Builder::workers`] says. Whatever makes
    /// many calls makes them for less from there: answers come in on the thread that waits for them.
    /// Birds share these threads, so nothing that blocks belongs on them. Empty once the nest is shut
    /// down.
    pub fn arbiters(&self) -> Vec<ArbiterHandle> {
        let rest = self.core().and_then(|core| core.rest());
        rest.map(|rest| rest.threads.arbiters()).unwrap_or_default()
    }

    /// Starts a bird on the nest that owns the name. Resolves after its first hatch, when two nests
    /// hold its record (or the one that there is): from then on every nest in contact can call it.
    ///
    /// Fails with [`RequestError::AlreadyExists`] if a bird of this name lives, whatever its species;
    /// with [`RequestError::HatchFailed`] if its first hatch fails, and then the name is free; with
    /// [`RequestError::TimedOut`] after ten seconds unless set, and then it may still take effect.
    /// Every nest keeps `args` for as long as the bird lives: keep them small.
    pub fn start<B: Bird>(&self, name: &str, args: B::Args) -> Start<B> {
        Start::new(self.clone(), name, &args)
    }

    /// Starts a bird as [`start`](Self::start) does, or finds one of the same name and species;
    /// says whether it is new. A bird that is found keeps its own args.
    pub fn start_or_get<B: Bird>(&self, name: &str, args: B::Args) -> StartOrGet<B> {
        StartOrGet::new(self.clone(), name, &args)
    }

    /// Starts many birds, and says what became of each. Every one is started as by
    /// [`start`](Self::start), with all that is promised there; but they travel together, and ten
    /// thousand take a fraction of a second.
    ///
    /// ```
    /// # use actix::prelude::*;
    /// # use flock_actix::{Bird, Flock, Hatching, bird};
    /// # struct Ticker;
    /// # impl Actor for Ticker { type Context = Context<Self>; }
    /// # impl Bird for Ticker {
    /// #     type Args = u32;
    /// #     async fn hatch(_: u32, _: &Hatching) -> anyhow::Result<Self> { Ok(Ticker) }
    /// # }
    /// # bird!(Ticker as "ticker" {});
    /// # #[actix::main]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let flock = Flock::builder("zoo").species::<Ticker>().local().await?;
    /// // All or an error that says which failed, and why.
    /// let users = (1..=1000).map(|n| (format!("user-{n}"), n));
    /// let tickers = flock.start_many::<Ticker>(users).await.into_result()?;
    /// assert_eq!(tickers.len(), 1000);
    ///
    /// // Or one by one.
    /// let outcomes = flock.start_many::<Ticker>([("user-1000", 1000), ("user-1001", 1001)]).await;
    /// for (name, why) in outcomes.failed() {
    ///     println!("{name}: {why}"); // user-1000 lives already
    /// }
    /// assert_eq!(outcomes.ok().count(), 1);
    ///
    /// // Or all or none, as far as that can be had.
    /// let more = [("user-1001", 1001), ("user-1002", 1002)];
    /// assert!(!flock.start_many::<Ticker>(more).or_roll_back().await.all_ok());
    /// assert!(!flock.alive("user-1002").await?);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// A name that is none, or args that can't be encoded, fail alone. A name given twice is
    /// started once, with its first args; the second is [`RequestError::AlreadyExists`], or has the
    /// error of the first. Of a very large bulk a part at a time is with the core. The deadline is
    /// for all: give more than ten seconds to hundreds of thousands of names, or to slow hatches.
    /// Dropping the future stops no bird that was started, and those under way may still start.
    pub fn start_many<B: Bird>(
        &self,
        birds: impl IntoIterator<Item = (impl Into<String>, B::Args)>,
    ) -> StartMany<B> {
        StartMany::new(self.clone(), birds)
    }

    /// Stops many birds, and says what became of each. Every one is stopped as by
    /// [`stop`](Self::stop), but they travel together. A name given twice is stopped once; the
    /// second is [`RequestError::NoSuchBird`], or has the error of the first.
    pub fn stop_many(&self, names: impl IntoIterator<Item = impl Into<String>>) -> StopMany {
        StopMany::new(self.clone(), names)
    }

    /// A reference to the bird of this name. Asks nobody: the bird need not live yet.
    pub fn bird<B: Bird>(&self, name: &str) -> Result<BirdRef<B>, NameError> {
        BirdRef::find(name, &self.shared)
    }

    pub(crate) fn bird_named<B>(&self, name: BirdName) -> BirdRef<B> {
        BirdRef::new(name, Some(self.shared.clone()))
    }

    /// Stops a bird, wherever it is. Resolves when its life has ended and its name is free;
    /// [`RequestError::NoSuchBird`] if none lives. Calls that wait for it end as `NoSuchBird`, those
    /// being handled have five seconds, then end as `Interrupted`.
    pub fn stop(&self, name: &str) -> Request {
        Request::new(self.clone(), name, Wish::Stop)
    }

    /// Lets a grounded bird try again. Resolves when that is written, before it hatches;
    /// [`RequestError::NotGrounded`] if it isn't grounded.
    pub fn revive(&self, name: &str) -> Request {
        Request::new(self.clone(), name, Wish::Revive)
    }

    /// Says goodbye to the others, who hear it out, and shuts this nest down.
    pub(crate) async fn part(&self) -> Result<(), RequestError> {
        let core = self.core().ok_or(RequestError::Closed)?;
        if let Some(links) = core.rest().and_then(|rest| rest.links.upgrade()) {
            let shared = self.shared().clone();
            links.parted(GOODBYE, move || shared.holds_parcels()).await;
        }
        self.shut().await;
        Ok(())
    }

    /// Ends this nest at once.
    pub(crate) async fn shut(&self) {
        let Some(core) = self.core() else { return };
        core.shut();
        if self.keeper.is_some() {
            // A bird that waited for its own thread to end would wait for ever.
            core.ended().await;
        }
    }

    /// What happens from now on, as this nest sees it.
    pub fn events(&self) -> Events {
        match self.core() {
            Some(core) => core.events.listen(),
            None => {
                let none = Arc::new(Hub::default());
                none.close();
                none.listen()
            }
        }
    }

    /// The actor that takes [`Call`](crate::Call) and [`Cast`](crate::Cast).
    pub fn router(&self) -> Addr<Router> {
        let router = self.core().and_then(|core| core.rest()).map(|rest| rest.router.clone());
        // Without a nest there is an address all the same, of a mailbox that is closed.
        router.unwrap_or_else(|| Context::<Router>::new().address())
    }

    pub(crate) async fn ask(
        &self,
        within: Duration,
        make: impl FnOnce(ReqId, Time) -> Input + Send + 'static,
    ) -> Result<Answer, RequestError> {
        self.core().ok_or(RequestError::Closed)?.ask(within, make).await
    }

    /// An answer that is none of those hoped for.
    pub(crate) fn refusal(&self, answer: Answer) -> RequestError {
        match answer {
            Answer::AlreadyExists { species, nest } => {
                let species = self.shared.species.name(species).map(Into::into);
                RequestError::AlreadyExists { species, nest }
            }
            Answer::HatchFailed { reason } => RequestError::HatchFailed(reason),
            Answer::UnknownSpecies { nest } => RequestError::UnknownSpecies { nest },
            Answer::NoSuchBird => RequestError::NoSuchBird,
            Answer::NotGrounded => RequestError::NotGrounded,
            Answer::TimedOut => RequestError::TimedOut,
            Answer::Leaving => RequestError::Leaving,
            Answer::NoOwner => RequestError::NoOwner,
            Answer::NoQuorum => RequestError::NoQuorum,
            Answer::NoSuchNest => RequestError::NoSuchNest,
            Answer::NestAlive => RequestError::NestAlive,
            other => {
                tracing::error!(?other, "an answer to another question");
                RequestError::Closed
            }
        }
    }
}

impl fmt::Debug for Flock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Flock").field("name", &self.name()).finish_non_exhaustive()
    }
}
