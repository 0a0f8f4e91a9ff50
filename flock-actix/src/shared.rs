//! The data plane's one handle: everything that a call touches hangs on [`Shared`].
//!
//! The driver of the core makes one per nest, tells it what the core wants done with birds
//! ([`Shared::hatch`], [`Shared::end`], …), and spawns [`Shared::sweep_forever`] on its own thread.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use actix_rt::ArbiterHandle;
use arc_swap::ArcSwap;
use bytes::Bytes;
use flock_proto::{BirdName, Dot, EndWhy, Fence, Hlc, NestId, Route, SpeciesId, View, Why};

use crate::bird::SpeciesTable;
use crate::data_link::{Links, NestHandle};
use crate::wall::Wall;

/// Knobs of the data plane.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    /// Calls and casts that may wait at one bird.
    pub(crate) inbox: usize,
    /// Crashes within `restart_window` that a bird survives; one more grounds it.
    pub(crate) restarts: u32,
    /// The window of the restart limit.
    pub(crate) restart_window: Duration,
    /// A hatch that takes longer has failed.
    pub(crate) hatch_timeout: Duration,
    /// How long the end of a life waits for the answers in flight.
    pub(crate) drain_timeout: Duration,
    /// How long stragglers are forwarded after a bird moved.
    pub(crate) forward_for: Duration,
    /// The deadline of a call that names none.
    pub(crate) call_deadline: Duration,
}

/// What [`flock_proto::Effect::Hatch`] says.
#[derive(Clone, Debug)]
pub(crate) struct HatchOrder {
    pub(crate) name: BirdName,
    pub(crate) birth: Dot,
    pub(crate) fence: Fence,
    pub(crate) species: SpeciesId,
    pub(crate) args: Bytes,
    pub(crate) why: Why,
    pub(crate) crashes: Vec<Duration>,
}

/// The data plane of one nest.
pub(crate) struct Shared {
}

impl Shared {
    /// A data plane that knows nobody yet. `wall` is the driver's own clock.
    pub(crate) fn new(
        view: Arc<View>,
        species: SpeciesTable,
        settings: Settings,
        wall: Wall,
        nest: Arc<dyn NestHandle>,
    ) -> Arc<Self>;

    /// The links, made after this because they need it as their sink (`Shared: DataSink`).
    pub(crate) fn set_links(&self, links: Arc<dyn Links>);

    /// Starts a `BirdSupervisor` on each of these threads. To be called once, before any hatch.
    pub(crate) fn start_workers(self: &Arc<Self>, workers: &[ArbiterHandle]);

    /// Deadlines, retries and ageing entries, every 20 ms until the data plane is dropped. The
    /// driver spawns it on the control thread, where no bird can hold it up.
    pub(crate) fn sweep_forever(self: &Arc<Self>) -> impl Future<Output = ()> + Send + 'static;

    /// `Effect::Hatch`.
    pub(crate) fn hatch(self: &Arc<Self>, order: HatchOrder);
    /// `Effect::End`.
    pub(crate) fn end(self: &Arc<Self>, name: &BirdName, fence: Fence, why: EndWhy);
    /// `Effect::Depart`.
    pub(crate) fn depart(self: &Arc<Self>, name: &BirdName, fence: Fence);
    /// `Effect::SetFence`.
    pub(crate) fn set_fence(&self, name: &BirdName, old: Fence, new: Fence);
    /// `Effect::Route`.
    pub(crate) fn route(self: &Arc<Self>, name: &BirdName, route: Route);
    /// `Effect::Publish`.
    pub(crate) fn publish(&self, view: Arc<View>);
    /// `Effect::Stamp`.
    pub(crate) fn stamp(&self, hlc: Hlc);
    /// `Effect::Renamed`.
    pub(crate) fn renamed(&self, id: NestId);
    /// The present view.
    pub(crate) fn view(&self) -> Arc<View>;
    /// Birds with a running life in this process.
    pub(crate) fn local_birds(&self) -> Vec<BirdName>;
    /// The nest is shut down: every waiting call ends as `Leaving`, every life is dropped.
    pub(crate) fn close(&self);
    /// The moment on the nest's clock.
    pub(crate) fn now(&self) -> flock_proto::Time;
}
