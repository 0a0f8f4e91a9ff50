//! Stand-ins for the core and for the links.

use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, Weak};
use std::time::Duration;

use actix_rt::Arbiter;
use bytes::Bytes;
use flock_proto::{
    BirdName, Event, Fence, Input, Member, NestId, NestName, NestState, Route, SpeciesId, Via,
    View, Why,
};
use tokio::sync::{Notify, mpsc, oneshot};

use super::birds;
use crate::bird::{Bird, SpeciesTable};
use crate::bird_ref::BirdRef;
use crate::codec;
use crate::data_link::{DataLink, DataSink, LinkError, LinkId, Links, NestHandle};
use crate::rt::Worker;
use crate::shared::{HatchOrder, Settings, Shared};
use crate::slot::lock;
use crate::wall::Wall;

/// Long enough that only a hang reaches it.
pub(super) const PATIENCE: Duration = Duration::from_secs(20);

/// What the stand-in for the core says of names that are wanted.
pub(super) type Answers = Box<dyn Fn(&BirdName) -> Option<Route> + Send>;

/// Notes what it is told, and answers `Wanted` at once.
pub(super) struct FakeCore {
    inputs: Mutex<Vec<Input>>,
    /// How many came together, where several did.
    together: Mutex<Vec<usize>>,
    events: Mutex<Vec<Event>>,
    told: Notify,
    shared: OnceLock<Weak<Shared>>,
    answers: Mutex<Answers>,
}

impl NestHandle for FakeCore {
    fn tell(&self, input: Input) {
        if let Input::Wanted { name } = &input {
            let answer = (lock(&self.answers))(name);
            if let (Some(route), Some(shared)) = (answer, self.shared.get().and_then(Weak::upgrade))
            {
                shared.route(name, route);
            }
        }
        lock(&self.inputs).push(input);
        self.told.notify_waiters();
    }

    fn tell_all(&self, inputs: Vec<Input>) {
        lock(&self.together).push(inputs.len());
        inputs.into_iter().for_each(|input| self.tell(input));
    }

    fn event(&self, event: Event) {
        lock(&self.events).push(event);
        self.told.notify_waiters();
    }
}

/// One data plane with a worker thread of its own.
pub(crate) struct Plane {
    pub(crate) shared: Arc<Shared>,
    pub(super) core: Arc<FakeCore>,
    pub(super) links: Arc<MemLinks>,
    worker: Arbiter,
}

impl Drop for Plane {
    fn drop(&mut self) {
        self.shared.close();
        self.worker.stop();
    }
}

pub(super) fn settings() -> Settings {
    Settings {
        restarts: 2,
        drain_timeout: Duration::from_millis(300),
        // A machine that stands still for seconds is no failure.
        call_deadline: PATIENCE,
        ..Settings::default()
    }
}

pub(crate) fn alone() -> Plane {
    with_settings(settings())
}

pub(super) fn with_settings(settings: Settings) -> Plane {
    planes(1, settings).remove(0)
}

/// Nests 1 to `count`, all linked with each other.
pub(super) fn planes(count: u64, settings: Settings) -> Vec<Plane> {
    let net = Arc::new(MemNet::default());
    let ids: Vec<_> = (1..=count).map(NestId).collect();
    ids.iter().map(|&me| plane(me, &ids, &net, settings.clone())).collect()
}

pub(super) fn view(me: NestId, nests: &[NestId], via: impl Fn(NestId) -> Via) -> Arc<View> {
    let members = nests.iter().map(|&id| Member {
        id,
        name: nest_name(id),
        address: "".into(),
        state: NestState::Up,
        weight: 1,
        due: 0,
        via: if id == me { Via::Me } else { via(id) },
    });
    Arc::new(View::new(me, members.collect()))
}

fn nest_name(id: NestId) -> NestName {
    NestName::new(&format!("nest-{}", id.0)).expect("a name")
}

fn plane(me: NestId, nests: &[NestId], net: &Arc<MemNet>, settings: Settings) -> Plane {
    let core = Arc::new(FakeCore {
        inputs: Mutex::default(),
        together: Mutex::default(),
        events: Mutex::default(),
        told: Notify::new(),
        shared: OnceLock::new(),
        answers: Mutex::new(Box::new(|_| Some(Route::NoSuchBird))),
    });
    let mut species = SpeciesTable::default();
    birds::add_all(&mut species);
    let view = view(me, nests, |_| Via::Link);
    let shared = Shared::new(nest_name(me), view, species, settings, Wall::new(), core.clone());
    let _ = core.shared.set(Arc::downgrade(&shared));
    let worker = Arbiter::new();
    shared.start_workers(&[Worker::Arbiter(worker.handle())]);
    let links = Arc::new(MemLinks { me, net: net.clone(), links: Mutex::default() });
    shared.set_links(links.clone());
    let (to, mut from) = mpsc::unbounded_channel::<(Arc<dyn DataLink>, Vec<u8>)>();
    lock(&net.readers).insert(me, to);
    let sink = shared.clone();
    actix_rt::spawn(async move {
        while let Some((link, frame)) = from.recv().await {
            sink.on_frame(&link, &frame);
        }
    });
    actix_rt::spawn(shared.sweep_forever());
    Plane { shared, core, links, worker }
}

/// A name of which this nest is the owner.
pub(super) fn name_of(plane: &Plane, owner: u64, stem: &str) -> BirdName {
    let view = plane.shared.view();
    (0..)
        .map(|n| name(&format!("{stem}-{n}")))
        .find(|name| view.owner(name.hash64()) == Some(NestId(owner)))
        .expect("some name falls to every nest")
}

pub(crate) fn name(text: &str) -> BirdName {
    BirdName::new(text).expect("a name")
}

impl Plane {
    pub(super) fn order<B: Bird>(&self, name: &str, args: &B::Args, fence: u64) -> HatchOrder {
        HatchOrder {
            name: self::name(name),
            fence: Fence(fence),
            species: SpeciesId::of(B::SPECIES),
            args: Bytes::from(codec::encode(args).expect("encodable")),
            why: Why::Start,
            crashes: Vec::new(),
            snapshot: None,
            merges: Vec::new(),
        }
    }

    /// Hatches a bird with fence 1 and waits for what comes of it.
    pub(super) async fn start<B: Bird>(&self, name: &str, args: B::Args) -> BirdRef<B> {
        self.shared.hatch(self.order::<B>(name, &args, 1));
        self.hatched(name, 1).await;
        self.bird(name)
    }

    /// What comes of this on the thread of the birds.
    pub(super) async fn beside_birds<R: Send + 'static>(
        &self,
        task: impl Future<Output = R> + Send + 'static,
    ) -> R {
        let (done, told) = oneshot::channel();
        assert!(self.worker.spawn(async move { drop(done.send(task.await)) }));
        tokio::time::timeout(PATIENCE, told).await.expect("in time").expect("no panic")
    }

    pub(super) fn bird<B>(&self, name: &str) -> BirdRef<B> {
        BirdRef::new(self::name(name), Some(self.shared.clone()))
    }

    pub(super) fn answer_wanted(
        &self,
        answers: impl Fn(&BirdName) -> Option<Route> + Send + 'static,
    ) {
        *lock(&self.core.answers) = Box::new(answers);
    }

    pub(super) async fn hatched(&self, bird: &str, with: u64) {
        self.told(|input| match input {
            Input::Hatched { name, fence } if name.as_str() == bird && fence.0 == with => Some(()),
            _ => None,
        })
        .await;
    }

    pub(super) async fn ended(&self, bird: &str) {
        self.told(|input| match input {
            Input::Ended { name, .. } if name.as_str() == bird => Some(()),
            _ => None,
        })
        .await;
    }

    /// Waits until the core has been told something of which `pick` makes an answer.
    pub(super) async fn told<R>(&self, pick: impl FnMut(&Input) -> Option<R>) -> R {
        self.wait(|core| &core.inputs, pick).await
    }

    /// The same for events.
    pub(super) async fn event<R>(&self, pick: impl FnMut(&Event) -> Option<R>) -> R {
        self.wait(|core| &core.events, pick).await
    }

    async fn wait<T: 'static, R>(
        &self,
        list: fn(&FakeCore) -> &Mutex<Vec<T>>,
        mut pick: impl FnMut(&T) -> Option<R>,
    ) -> R {
        let look = async {
            loop {
                let told = self.core.told.notified();
                let mut told = std::pin::pin!(told);
                told.as_mut().enable();
                if let Some(found) = lock(list(&self.core)).iter().find_map(&mut pick) {
                    return found;
                }
                told.await;
            }
        };
        tokio::time::timeout(PATIENCE, look).await.expect("the core is told in time")
    }

    pub(super) fn count(&self, mut which: impl FnMut(&Input) -> bool) -> usize {
        lock(&self.core.inputs).iter().filter(|input| which(input)).count()
    }

    /// What `pick` makes of all that the core was told, in order.
    pub(super) fn all<R>(&self, pick: impl FnMut(&Input) -> Option<R>) -> Vec<R> {
        lock(&self.core.inputs).iter().filter_map(pick).collect()
    }

    /// How many inputs came together, where several did.
    pub(super) fn told_together(&self) -> Vec<usize> {
        lock(&self.core.together).clone()
    }

    pub(super) fn crashes(&self, name: &str) -> usize {
        let of =
            |event: &&Event| matches!(event, Event::Crashed { bird, .. } if bird.as_str() == name);
        lock(&self.core.events).iter().filter(of).count()
    }
}

/// Polls until a condition holds.
pub(super) async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let look = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(PATIENCE, look).await.unwrap_or_else(|_| panic!("never: {what}"));
}

/// Where a nest takes frames from, each with the link it came over.
type Reader = mpsc::UnboundedSender<(Arc<dyn DataLink>, Vec<u8>)>;

/// Who reads at which nest.
#[derive(Default)]
pub(super) struct MemNet {
    readers: Mutex<HashMap<NestId, Reader>>,
}

/// One nest's links.
pub(super) struct MemLinks {
    me: NestId,
    net: Arc<MemNet>,
    links: Mutex<HashMap<NestId, Arc<MemLink>>>,
}

impl MemLinks {
    pub(super) fn to(&self, to: u64) -> Arc<MemLink> {
        lock(&self.links)
            .entry(NestId(to))
            .or_insert_with(|| MemLink::pair(self.me, NestId(to), &self.net))
            .clone()
    }

    /// Breaks the link to a nest; the next use opens another.
    pub(super) fn cut(&self, plane: &Plane, to: u64) {
        let Some(link) = lock(&self.links).remove(&NestId(to)) else { return };
        let held = link.close();
        let unwritten: Vec<u8> = held
            .iter()
            .flat_map(|frame| [&(frame.len() as u32).to_le_bytes()[..], frame].concat())
            .collect();
        let link: Arc<dyn DataLink> = link;
        plane.shared.on_closed(&link, &unwritten);
    }
}

impl Links for MemLinks {
    fn data(&self, to: NestId, _bird: Option<u64>) -> Option<Arc<dyn DataLink>> {
        Some(self.to(to.0))
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    Open,
    /// Frames are taken and never written.
    Held,
    Full,
    Closed,
}

/// One end of a link.
#[derive(Debug)]
pub(super) struct MemLink {
    id: LinkId,
    peer: NestId,
    state: Mutex<(Mode, Vec<Vec<u8>>)>,
    reader: Reader,
    other: OnceLock<Weak<Self>>,
    /// Keeps the far end alive; only the near end holds it.
    far: OnceLock<Arc<Self>>,
}

impl MemLink {
    fn pair(from: NestId, to: NestId, net: &MemNet) -> Arc<Self> {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let readers = lock(&net.readers);
        let end = |peer: NestId| {
            Arc::new(Self {
                id: LinkId(NEXT.fetch_add(1, Ordering::Relaxed)),
                peer,
                state: Mutex::new((Mode::Open, Vec::new())),
                reader: readers.get(&peer).cloned().unwrap_or_else(|| mpsc::unbounded_channel().0),
                other: OnceLock::new(),
                far: OnceLock::new(),
            })
        };
        let (near, far) = (end(to), end(from));
        let _ = near.other.set(Arc::downgrade(&far));
        let _ = far.other.set(Arc::downgrade(&near));
        let _ = near.far.set(far);
        near
    }

    pub(super) fn set(&self, mode: Mode) {
        let mut state = lock(&self.state);
        state.0 = mode;
        if mode == Mode::Open {
            for frame in std::mem::take(&mut state.1) {
                self.write(frame);
            }
        }
    }

    pub(super) fn held(&self) -> usize {
        lock(&self.state).1.len()
    }

    fn close(&self) -> Vec<Vec<u8>> {
        let mut state = lock(&self.state);
        state.0 = Mode::Closed;
        std::mem::take(&mut state.1)
    }

    fn write(&self, frame: Vec<u8>) {
        if let Some(other) = self.other.get().and_then(Weak::upgrade) {
            let _ = self.reader.send((other, frame));
        }
    }
}

impl DataLink for MemLink {
    fn id(&self) -> LinkId {
        self.id
    }

    fn peer(&self) -> NestId {
        self.peer
    }

    fn append(&self, head: &[u8], body: &[u8]) -> Result<(), LinkError> {
        let frame = [head, body].concat();
        let mut state = lock(&self.state);
        match state.0 {
            Mode::Open => self.write(frame),
            Mode::Held => state.1.push(frame),
            Mode::Full => return Err(LinkError::Full),
            Mode::Closed => return Err(LinkError::Closed),
        }
        Ok(())
    }

    fn is_over_high_water(&self) -> bool {
        lock(&self.state).0 == Mode::Full
    }

    fn drained(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(async {
            while self.is_over_high_water() {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        })
    }
}
