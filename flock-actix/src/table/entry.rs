//! What stands behind one name, and its inbox.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Poll, Waker};

use flock_proto::{BirdName, EndWhy, Fence, NestId, Time};
use tokio::sync::Notify;

use super::inbox::Inbox;
use crate::bird::Desk;
use crate::commands::{self, Command};
use crate::parcel::Parcel;
use crate::shared::{HatchOrder, Shared};
use crate::slot::lock;

/// What stands behind a name at the moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Nothing yet: the core was asked, at this time.
    Waiting(Time),
    /// A hatch is under way, the first or one after a crash.
    Hatching,
    /// A life runs.
    Running,
    /// The life is ending.
    Ending,
    /// The life has ended, to go on elsewhere; calls wait to hear where.
    Departed,
    /// The bird went there; stragglers follow it until then. In a box, as the next: nearly all phases are of
    /// birds that run.
    Moved(Box<(NestId, Time)>),
    /// The bird is grounded, for this reason; asked again after that time.
    Grounded(Box<(String, Time)>),
    /// This entry is out of the table.
    Gone,
}

impl Phase {
    pub(crate) fn moved(to: NestId, until: Time) -> Self {
        Self::Moved(Box::new((to, until)))
    }

    pub(crate) fn grounded(reason: &str, until: Time) -> Self {
        Self::Grounded(Box::new((reason.to_owned(), until)))
    }
}

/// What became of a parcel that was pushed.
pub(crate) enum Push {
    Taken,
    /// The inbox is full.
    Full(Parcel),
    Moved(Parcel, NestId),
    Grounded(Parcel, String),
    /// The entry is no longer valid; look again.
    Stale(Parcel),
}

/// The life that is going on, or about to.
#[derive(Debug)]
pub(crate) struct Life {
    pub(crate) fence: Arc<AtomicU64>,
    /// Where checkpoints are asked for, if the species has any.
    pub(crate) desk: Option<Arc<Desk>>,
}

impl Life {
    pub(crate) fn fence(&self) -> Fence {
        Fence(self.fence.load(Ordering::Acquire))
    }
}

/// No thread's number.
const NOWHERE: u32 = u32::MAX;

/// One name. There is one for each bird, and each call looks at it: so it is small, what most birds never
/// have is kept apart, and what a call looks at lies together, at the front.
#[repr(C)]
pub(crate) struct Entry {
    /// The life may have been told something since it last looked, or isn't among those who are woken.
    news: AtomicBool,
    /// Out of the table, for good.
    gone: AtomicBool,
    /// The pump has found nothing and waits to be woken. Written under the lock.
    asleep: AtomicBool,
    /// What is in the inbox may have waited there when the pump comes to it. Written by the pump alone.
    behind: AtomicBool,
    /// The number of the thread on which it lives, or has lived. `NOWHERE`: on none so far.
    thread: AtomicU32,
    /// Its place there.
    place: AtomicU32,
    /// The data plane that it belongs to.
    pub(crate) home: Arc<Shared>,
    pub(crate) hash: u64,
    pub(crate) name: BirdName,
    state: Mutex<State>,
}

/// What an entry's lock guards.
#[repr(C)]
pub(crate) struct State {
    /// The life's task has ended: whatever it is told, it won't hear.
    deaf: bool,
    pub(crate) phase: Phase,
    /// Of the task of the life that is going on.
    waker: Option<Waker>,
    pub(crate) parcels: Inbox,
    pub(crate) life: Option<Life>,
    seldom: Option<Box<Seldom>>,
}

/// What most birds never have.
#[derive(Default)]
struct Seldom {
    /// What the life was told and hasn't heard.
    said: VecDeque<Command>,
    /// A hatch that must wait for the end of the present life.
    next: Option<HatchOrder>,
    /// Told when a full inbox has room again, or will never have.
    room: Option<Arc<Notify>>,
}

impl State {
    /// Tells the life of this fence something, whose task is woken as soon as the lock is let go. False:
    /// there is none, or it has ended.
    pub(crate) fn tell(&mut self, fence: Fence, command: Command) -> bool {
        match &self.life {
            Some(life) if life.fence() == fence && !self.deaf => {
                self.seldom().said.push_back(command);
                true
            }
            _ => false,
        }
    }

    /// A life's next phase; none follows the end of its entry.
    pub(crate) fn enter(&mut self, phase: Phase) -> bool {
        let goes_on = self.phase != Phase::Gone;
        if goes_on {
            self.phase = phase;
        }
        goes_on
    }

    /// A life, where there is none.
    pub(crate) fn begin(&mut self, life: Life) {
        self.life = Some(life);
        self.deaf = false;
        self.phase = Phase::Hatching;
    }

    /// Lets go of the life, and says whether its end had been asked for without its having heard so.
    pub(crate) fn let_go(&mut self) -> Option<EndWhy> {
        self.life = None;
        self.pending_end()
    }

    fn pending_end(&mut self) -> Option<EndWhy> {
        commands::end_among(std::mem::take(&mut self.seldom.as_mut()?.said))
    }

    /// A hatch that must wait for the end of the present life.
    pub(crate) fn set_next(&mut self, order: HatchOrder) {
        self.seldom().next = Some(order);
    }

    /// Whether a hatch waits.
    pub(crate) fn has_next(&self) -> bool {
        self.seldom.as_ref().is_some_and(|seldom| seldom.next.is_some())
    }

    /// The hatch that waited.
    pub(crate) fn take_next(&mut self) -> Option<HatchOrder> {
        self.seldom.as_mut()?.next.take()
    }

    fn seldom(&mut self) -> &mut Seldom {
        self.seldom.get_or_insert_default()
    }

    fn has_news(&self) -> bool {
        self.life.is_none() || self.seldom.as_ref().is_some_and(|seldom| !seldom.said.is_empty())
    }

    fn tell_of_room(&self) {
        if let Some(room) = self.seldom.as_ref().and_then(|seldom| seldom.room.as_ref()) {
            room.notify_waiters();
        }
    }

    /// Has this one woken from now on.
    #[inline]
    fn wake_next(&mut self, waker: &Waker) {
        if !self.waker.as_ref().is_some_and(|old| old.will_wake(waker)) {
            self.waker = Some(waker.clone());
        }
    }
}

impl Entry {
    pub(crate) fn new(home: &Arc<Shared>, name: BirdName, phase: Phase) -> Arc<Self> {
        Arc::new(Self {
            news: AtomicBool::new(false),
            gone: AtomicBool::new(false),
            asleep: AtomicBool::new(false),
            behind: AtomicBool::new(true),
            thread: AtomicU32::new(NOWHERE),
            place: AtomicU32::new(0),
            state: Mutex::new(State {
                deaf: false,
                phase,
                parcels: Inbox::default(),
                waker: None,
                life: None,
                seldom: None,
            }),
            home: home.clone(),
            hash: name.hash64(),
            name,
        })
    }

    /// Whether it is out of the table, and with it all that it knows.
    #[inline]
    pub(crate) fn is_gone(&self) -> bool {
        self.gone.load(Ordering::Acquire)
    }

    /// Runs `change` under the entry's lock, then wakes whoever may care. It must run no foreign
    /// code: parcels are dropped outside.
    pub(crate) fn with<R>(&self, change: impl FnOnce(&mut State) -> R) -> R {
        let (result, waker) = {
            let mut state = lock(&self.state);
            let before = state.phase.clone();
            let result = change(&mut state);
            let changed = state.phase != before;
            if changed {
                state.tell_of_room();
                self.gone.store(state.phase == Phase::Gone, Ordering::Release);
            }
            let waker = if changed || state.has_news() {
                // Whoever is woken is no longer among those who are, and has to look.
                self.news.store(true, Ordering::Release);
                self.asleep.store(false, Ordering::Relaxed);
                state.waker.take()
            } else {
                None
            };
            (result, waker)
        };
        if let Some(waker) = waker {
            waker.wake();
        }
        result
    }

    /// The life, which was polled and waits, runs from now on. True: something waits for it, so that it is to
    /// be polled once more. Nearly always nothing does: then it is woken by what comes, and not by this.
    pub(crate) fn run(&self) -> bool {
        let mut state = lock(&self.state);
        if state.enter(Phase::Running) {
            state.tell_of_room();
        }
        // Unless it is asleep there: it waits for something else before it looks.
        !self.is_asleep() || !state.parcels.is_empty() || state.has_news()
    }

    /// A life is about to listen, and has to look first.
    pub(crate) fn has_listener(&self) {
        self.news.store(true, Ordering::Release);
    }

    /// Something may have been said to the life since it last looked.
    #[inline]
    pub(crate) fn has_news(&self) -> bool {
        self.news.load(Ordering::Acquire)
    }

    /// What the life with this fence was told; `None` once nothing more will come. If nothing was, its task
    /// is woken by the next word.
    pub(crate) fn hear(&self, fence: &Arc<AtomicU64>, waker: &Waker) -> Poll<Option<Command>> {
        let mut state = lock(&self.state);
        if !state.life.as_ref().is_some_and(|life| Arc::ptr_eq(&life.fence, fence)) {
            return Poll::Ready(None);
        }
        if let Some(command) = state.seldom.as_mut().and_then(|seldom| seldom.said.pop_front()) {
            return Poll::Ready(Some(command));
        }
        // Under the lock, as all that is news. From now on the task is woken by it.
        self.news.store(false, Ordering::Relaxed);
        state.wake_next(waker);
        Poll::Pending
    }

    /// The end that was asked for, if it was, among what this life wasn't told yet. The rest is dropped.
    pub(crate) fn pending_end(&self, fence: &Arc<AtomicU64>) -> Option<EndWhy> {
        let mut state = lock(&self.state);
        let later = state.life.as_ref().is_some_and(|life| !Arc::ptr_eq(&life.fence, fence));
        if later { None } else { state.pending_end() }
    }

    /// The task of the life with this fence is no more.
    pub(crate) fn deafen(&self, fence: &Arc<AtomicU64>) {
        let mut state = lock(&self.state);
        if state.life.as_ref().is_some_and(|life| Arc::ptr_eq(&life.fence, fence)) {
            state.deaf = true;
            self.asleep.store(false, Ordering::Relaxed);
            let unheard = state.seldom.as_mut().map(|seldom| std::mem::take(&mut seldom.said));
            let waker = state.waker.take();
            drop(state);
            drop((unheard, waker));
        }
    }

    /// What is told when a full inbox has room again, or will never have.
    pub(crate) fn room(&self) -> Arc<Notify> {
        lock(&self.state).seldom().room.get_or_insert_default().clone()
    }

    /// Puts a parcel at the end of the queue. `now` is seldom asked for.
    pub(crate) fn push(&self, parcel: Parcel, room: usize, now: impl Fn() -> Time) -> Push {
        let mut state = lock(&self.state);
        match &state.phase {
            Phase::Gone => return Push::Stale(parcel),
            Phase::Moved(moved) if now() < moved.1 => return Push::Moved(parcel, moved.0),
            Phase::Grounded(why) if now() < why.1 => {
                return Push::Grounded(parcel, why.0.clone());
            }
            Phase::Moved(_) | Phase::Grounded(_) => return Push::Stale(parcel),
            _ => {}
        }
        if state.parcels.len() >= room {
            return Push::Full(parcel);
        }
        state.parcels.push(parcel);
        if self.is_asleep() {
            self.asleep.store(false, Ordering::Relaxed);
            // Under the lock: it is a task's, and nothing foreign runs in it. It stays for the next time.
            state.waker.iter().for_each(Waker::wake_by_ref);
        }
        Push::Taken
    }

    /// A life of it begins at this place of the present thread.
    pub(crate) fn lives_at(&self, thread: u32, place: u32) {
        self.place.store(place, Ordering::Relaxed);
        self.thread.store(thread, Ordering::Relaxed);
    }

    /// The pump waits to be woken: nothing has come since it looked.
    #[inline]
    pub(crate) fn is_asleep(&self) -> bool {
        self.asleep.load(Ordering::Relaxed)
    }

    /// Its place, if a life goes on on this thread and has nothing else to do, as it seems. Nothing waits in the
    /// inbox then, as far as this thread knows: so whoever sends his messages on it may have the next one handled
    /// at once.
    #[inline]
    pub(crate) fn rests_on(&self, thread: u32) -> Option<u32> {
        // (One that is behind but sleeps has something that has it for itself: it would give back what it is handed.)
        let rests = self.thread.load(Ordering::Relaxed) == thread
            && self.is_asleep()
            && !self.is_behind()
            && !self.news.load(Ordering::Relaxed);
        rests.then(|| self.place.load(Ordering::Relaxed))
    }

    #[inline]
    pub(crate) fn is_behind(&self) -> bool {
        self.behind.load(Ordering::Relaxed)
    }

    /// Whether what the inbox has next may have waited there.
    #[inline]
    pub(crate) fn leave_behind(&self, maybe: bool) {
        self.behind.store(maybe, Ordering::Relaxed);
    }

    /// Takes the next parcel for a running life, and says whether others wait. The pump is woken by the next one,
    /// if none waits behind this.
    #[inline(always)]
    pub(crate) fn pop(&self, waker: &Waker, room: usize) -> (Option<Parcel>, bool) {
        let mut state = lock(&self.state);
        let parcel = if state.phase == Phase::Running { state.parcels.pop() } else { None };
        let others = !state.parcels.is_empty();
        if parcel.is_some() && state.parcels.len() == room / 2 {
            state.tell_of_room();
        }
        if parcel.is_none() || !others {
            self.asleep.store(true, Ordering::Relaxed);
            state.wake_next(waker);
        }
        (parcel, others)
    }

    /// The phase at this moment.
    pub(crate) fn phase(&self) -> Phase {
        lock(&self.state).phase.clone()
    }
}
