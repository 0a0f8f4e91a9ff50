//! All links of this nest: which of two stays, who is hung up.
//!
//! What is read from them is in `reading`, which of them a call takes in `seats`.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use arc_swap::ArcSwap;
use flock_proto::{Hlc, Input, NestId, NestName, Peer, Time, View};
use tokio::task::AbortHandle;

use super::alarm::Alarm;
use super::frame::Cut;
use super::hello::{Hello, Identity, LinkKind};
use super::lane::{Incoming, Outgoing};
use super::out::{NotTaken, Out, Written};
use super::pipe::Pipe;
use super::plan::Plan;
use super::seats::Dialled;
use super::{ControlSink, Counts, Cutter, lock};
use crate::data_link::{DataLink, DataSink, LinkId};
use crate::rt::Crew;

/// A nest that leaves waits for so many milliseconds without a peer: a link may have been on its
/// way to it.
const QUIET_MS: u32 = 20;

/// Names whose latest incarnation is remembered.
const MAX_KNOWN: usize = 10_000;

/// All links of this nest.
pub(crate) struct Links {
    pub(super) me: Mutex<Identity>,
    pub(super) plan: Plan,
    pub(super) crew: Crew,
    pub(super) cutter: Arc<Cutter>,
    pub(super) control: Arc<dyn ControlSink>,
    pub(super) data: Arc<dyn DataSink>,
    pub(super) view: ArcSwap<View>,
    /// Data links for this nest's own calls. Read with every call, written with every dial.
    pub(super) outgoing: ArcSwap<Dialled>,
    pub(super) open: Mutex<Open>,
    pub(crate) counts: Counts,
    /// What went over data links.
    pub(crate) written: Arc<Written>,
    /// Who was refused here, and by whom this nest was.
    pub(super) strangers: Alarm,
    pub(super) refusals: Alarm,
    next: AtomicU64,
    this: std::sync::Weak<Self>,
}

#[derive(Default)]
pub(super) struct Open {
    pub(super) control: BTreeMap<NestId, Arc<Pipe>>,
    /// Replaced control links that still write what they have, and data links that peers dialled.
    pub(super) others: Vec<Arc<Pipe>>,
    pub(super) dialling: BTreeSet<String>,
    /// The latest incarnation known of each name.
    pub(super) known: BTreeMap<NestName, NestId>,
    pub(super) failed: BTreeMap<NestId, Time>,
    tasks: Vec<AbortHandle>,
    pub(super) closed: bool,
}

impl Open {
    /// Links of all kinds that peers have something to do with.
    pub(super) fn count(&self) -> usize {
        self.control.len() + self.others.len()
    }
}

impl Links {
    pub(crate) fn new(
        me: Identity,
        plan: Plan,
        crew: Crew,
        control: Arc<dyn ControlSink>,
        data: Arc<dyn DataSink>,
    ) -> Arc<Self> {
        let now = plan.wall.now();
        let nobody = Arc::new(View::new(me.id, Vec::new()));
        Arc::new_cyclic(|this| Self {
            me: Mutex::new(me),
            plan,
            crew,
            cutter: Arc::default(),
            control,
            data,
            view: ArcSwap::new(nobody),
            outgoing: ArcSwap::default(),
            open: Mutex::default(),
            counts: Counts::default(),
            written: Arc::default(),
            strangers: Alarm::new(now),
            refusals: Alarm::new(now),
            next: AtomicU64::new(1),
            this: this.clone(),
        })
    }

    /// Puts a control frame on its way; without a link it is dropped.
    pub(crate) fn send(&self, to: NestId, frame: &[u8]) {
        let link = lock(&self.open).control.get(&to).cloned();
        let Some(link) = link else { return };
        if link.put(frame, &[]) == Err(NotTaken::Full) {
            // The core can't go on as if the frame had been sent: the link starts anew.
            self.on_end(&link);
        }
    }

    /// Closes all links to this nest, and tells the core nothing.
    pub(crate) fn hang_up(&self, peer: NestId) {
        let mut open = lock(&self.open);
        let mut ended: Vec<_> = open.control.remove(&peer).into_iter().collect();
        ended.extend(open.others.extract_if(.., |l| l.peer.id == peer));
        ended.extend(self.take_outgoing(|link| link.peer.id == peer));
        drop(open);
        ended.iter().for_each(|link| self.bury(link));
    }

    /// Says nothing more to this nest, which has left, and hears it out: calls that it took may
    /// still be answered, or passed on.
    pub(crate) fn release(&self, peer: NestId) {
        let mut open = lock(&self.open);
        let mut parting: Vec<_> = open.control.remove(&peer).into_iter().collect();
        parting.extend(self.take_outgoing(|link| link.peer.id == peer));
        open.others.extend(parting.iter().cloned());
        drop(open);
        for link in parting {
            self.drain(link.clone());
            if link.kind == LinkKind::Data {
                let as_data: Arc<dyn DataLink> = link;
                self.data.on_parted(&as_data);
            }
        }
    }

    /// From now on hellos name this incarnation; links of the former one are closed.
    pub(crate) fn rename(&self, id: NestId) {
        lock(&self.me).id = id;
        self.bury_all(false);
    }

    /// Closes all links and the door, for ever.
    pub(crate) fn close(&self) {
        self.bury_all(true);
    }

    /// Resolves when all that was put on links has been written, no peer has calls to send any more
    /// and this nest isn't `busy` with some, or `within` has passed. A nest that leaves waits for
    /// this: its goodbye is the last thing that it writes, and calls that were under way to it are
    /// passed on.
    pub(crate) async fn parted(&self, within: Duration, busy: impl Fn() -> bool + Send + 'static) {
        let Some(links) = self.this() else { return };
        let waits = self.crew.control().spawn(async move {
            let end = links.now() + within;
            let mut quiet = 0;
            while quiet < QUIET_MS && links.now() < end {
                tokio::time::sleep(Duration::from_millis(1)).await;
                let quiet_now = links.have_parted() && !busy();
                quiet = if quiet_now { quiet + 1 } else { 0 };
            }
        });
        // An error says that the control thread has ended, and the links with it.
        let _ = waits.await;
    }

    fn have_parted(&self) -> bool {
        let open = lock(&self.open);
        // Peers close their ends once they have heard the goodbye.
        let calls = |link: &Arc<Pipe>| link.kind == LinkKind::Data && !link.dialled;
        if !open.control.is_empty() || open.others.iter().any(calls) {
            return false;
        }
        let outgoing = self.outgoing.load();
        let mut all = open.control.values().chain(&open.others).chain(outgoing.all());
        all.all(|link| link.is_idle())
    }

    /// Where nests listen, for data links.
    pub(crate) fn publish(&self, view: Arc<View>) {
        self.view.store(view);
    }

    /// For partitions at will.
    #[cfg(any(test, feature = "testing"))]
    pub(crate) const fn cutter(&self) -> &Arc<Cutter> {
        &self.cutter
    }

    /// The incarnation that hellos name.
    pub(super) fn id(&self) -> NestId {
        lock(&self.me).id
    }

    pub(super) fn this(&self) -> Option<Arc<Self>> {
        self.this.upgrade()
    }

    pub(super) fn hello(&self, link: LinkKind, nonce: u64) -> Hello {
        let clock = Hlc::at(self.plan.wall.now());
        lock(&self.me).hello(link, clock, nonce)
    }

    /// A task of the control thread that ends with the links.
    pub(super) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) -> AbortHandle {
        let handle = self.crew.control().spawn(task).abort_handle();
        let mut open = lock(&self.open);
        if open.closed {
            handle.abort();
        }
        open.tasks.retain(|t| !t.is_finished());
        open.tasks.push(handle.clone());
        handle
    }

    /// False: somebody dials there already.
    pub(super) fn begin_dial(&self, address: &str) -> bool {
        let mut open = lock(&self.open);
        !open.closed && open.dialling.insert(address.to_owned())
    }

    pub(super) fn end_dial(&self, address: &str) {
        lock(&self.open).dialling.remove(address);
    }

    /// A pipe to whoever said this hello.
    pub(super) fn pipe(&self, hello: &Hello, dialled: bool) -> Arc<Pipe> {
        let peer = Peer { id: hello.id, name: hello.nest.clone(), address: hello.address.clone() };
        self.pipe_to(peer, hello.link, dialled, hello.seats)
    }

    pub(super) fn pipe_to(
        &self,
        peer: Peer,
        kind: LinkKind,
        dialled: bool,
        seats: u8,
    ) -> Arc<Pipe> {
        let out = match kind {
            LinkKind::Control => Out::new(self.plan.control_limit, Arc::default()),
            LinkKind::Data => Out::new(self.plan.data_limit, self.written.clone()),
        };
        let (id, cutter) = (LinkId(self.fresh_number()), self.cutter.clone());
        Pipe::new(id, peer, (kind, seats), dialled, out, cutter, self.plan.wall)
    }

    /// A number that this nest has not used before.
    pub(super) fn fresh_number(&self) -> u64 {
        self.next.fetch_add(1, Ordering::Relaxed)
    }

    pub(super) fn now(&self) -> Time {
        self.plan.wall.now()
    }

    /// Opens a control link whose handshake is done, unless one that was dialled at the same time
    /// from the other end is to stay. The one that it replaces writes what it has, and ends.
    pub(super) fn open_control(
        &self,
        pipe: &Arc<Pipe>,
        dialled: Option<String>,
        lanes: (Incoming, Outgoing),
        cut: Cut,
    ) {
        let me = lock(&self.me).id;
        let peer = &pipe.peer;
        let mut open = lock(&self.open);
        let stays = open.control.get(&peer.id).is_some_and(|old| {
            // Both ends see both links, but not in the same order: "the later one" would be
            // another one for each, and both would go.
            old.dialled != pipe.dialled
                && self.now().since(old.opened) < self.plan.handshake
                && old.dialled == (me < peer.id)
        });
        if open.closed || stays {
            return;
        }
        if open.known.len() < MAX_KNOWN || open.known.contains_key(&peer.name) {
            let known = open.known.entry(peer.name.clone()).or_default();
            *known = peer.id.max(*known);
        }
        let former: Vec<NestId> = open
            .control
            .values()
            .filter(|old| old.peer.name == peer.name && old.peer.id != peer.id)
            .map(|old| old.peer.id)
            .collect();
        let former: Vec<_> = former.iter().filter_map(|id| open.control.remove(id)).collect();
        let replaced = open.control.insert(peer.id, pipe.clone());
        open.others.extend(replaced.clone());
        drop(open);
        for old in former {
            self.bury(&old);
            self.control.on_input(Input::LinkClosed { peer: old.peer.id });
        }
        self.control.on_input(Input::LinkOpened { peer: peer.clone(), dialled });
        self.run(pipe, lanes, cut);
        if let Some(replaced) = replaced {
            self.drain(replaced);
        }
    }

    /// Opens a data link that a peer dialled, on the runtime that calls this.
    pub(super) fn open_incoming(&self, pipe: &Arc<Pipe>, lanes: (Incoming, Outgoing), cut: Cut) {
        let mut open = lock(&self.open);
        if open.closed {
            return;
        }
        let theirs = |link: &&Arc<Pipe>| {
            link.kind == LinkKind::Data && !link.dialled && link.peer.id == pipe.peer.id
        };
        let too_many = open.others.iter().filter(theirs).count() >= self.plan.data_links_each;
        let oldest = open.others.iter().find(theirs).filter(|_| too_many).cloned();
        open.others.push(pipe.clone());
        drop(open);
        if let Some(oldest) = oldest {
            self.on_end(&oldest);
        }
        self.run(pipe, lanes, cut);
    }

    /// A link has ended of itself.
    pub(super) fn on_end(&self, link: &Arc<Pipe>) {
        let mut open = lock(&self.open);
        let id = link.peer.id;
        let current = open.control.get(&id).is_some_and(|open| Arc::ptr_eq(open, link));
        if current {
            open.control.remove(&id);
        }
        open.others.retain(|other| !Arc::ptr_eq(other, link));
        if link.kind == LinkKind::Data && link.dialled {
            self.take_outgoing(|other| Arc::ptr_eq(other, link));
        }
        drop(open);
        self.bury(link);
        if current {
            self.control.on_input(Input::LinkClosed { peer: id });
        }
    }

    /// A data link could not be dialled.
    pub(super) fn on_no_data(&self, link: &Arc<Pipe>) {
        lock(&self.open).failed.insert(link.peer.id, self.now());
        self.on_end(link);
    }

    /// What is left to do for a link that is in no table any more.
    fn bury(&self, link: &Arc<Pipe>) {
        let Some(unwritten) = link.end() else { return };
        if link.kind == LinkKind::Data {
            let as_data: Arc<dyn DataLink> = link.clone();
            self.data.on_closed(&as_data, &unwritten);
        }
    }

    fn bury_all(&self, for_ever: bool) {
        let mut open = lock(&self.open);
        open.closed |= for_ever;
        open.dialling.clear();
        let mut ended: Vec<_> = std::mem::take(&mut open.control).into_values().collect();
        ended.append(&mut open.others);
        ended.extend(self.take_outgoing(|_| true));
        let tasks = if for_ever { std::mem::take(&mut open.tasks) } else { Vec::new() };
        drop(open);
        tasks.iter().for_each(AbortHandle::abort);
        ended.iter().for_each(|link| self.bury(link));
    }

    /// To be called under the lock of `open`, which orders the writers.
    fn take_outgoing(&self, which: impl Fn(&Arc<Pipe>) -> bool) -> Vec<Arc<Pipe>> {
        let mut left = Dialled::clone(&self.outgoing.load());
        let taken = left.take(which);
        self.outgoing.store(Arc::new(left));
        taken
    }

    /// Lets a replaced link write what it has, and read what its peer still had.
    fn drain(&self, link: Arc<Pipe>) {
        link.finish();
        let Some(links) = self.this() else { return };
        let patience = self.plan.handshake;
        self.spawn(async move {
            tokio::time::sleep(patience).await;
            links.on_end(&link);
        });
    }
}

impl fmt::Debug for Links {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Links").field("plan", &self.plan).field("counts", &self.counts).finish()
    }
}
