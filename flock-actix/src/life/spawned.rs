//! Where tasks go that a bird spawns while it handles what it was handed.
//!
//! Whoever hands it a job may be a task of any kind, and only some may spawn what stays on the thread, as birds do. So
//! these tasks have a set of their own, which one task of the thread's sees to.

use std::cell::RefCell;
use std::future::{Future, pending};
use std::pin::pin;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Wake, Waker};

use tokio::sync::Notify;
use tokio::task::{LocalEnterGuard, LocalSet};

thread_local! {
    /// Owned by the task that sees to it: so it ends with the other tasks of the thread, and not after them.
    static SPAWNED: RefCell<Weak<LocalSet>> = const { RefCell::new(Weak::new()) };
}

/// Has the birds of this thread be handed jobs from now on.
pub(crate) fn welcome_jobs() {
    let spawned = Rc::new(LocalSet::new());
    SPAWNED.set(Rc::downgrade(&spawned));
    actix_rt::spawn(see_to(spawned));
}

/// What is spawned until the guard is dropped stays on this thread. `None`: this thread has no birds that can be
/// handed jobs.
pub(super) fn enter() -> Option<LocalEnterGuard> {
    let spawned = SPAWNED.try_with(|spawned| spawned.borrow().upgrade()).ok()??;
    Some(spawned.enter())
}

/// Runs them, a few at a time: between times all others of the thread have their turns.
async fn see_to(spawned: Rc<LocalSet>) {
    let told = Arc::new(Told::default());
    told.news.notify_one();
    let waker = Waker::from(told.clone());
    let mut run = pin!(spawned.run_until(pending::<()>()));
    loop {
        told.news.notified().await;
        told.again.store(false, Ordering::Relaxed);
        let _never = run.as_mut().poll(&mut Context::from_waker(&waker));
        if told.again.load(Ordering::Relaxed) {
            tokio::task::yield_now().await;
        }
    }
}

/// One of them can go on.
#[derive(Default)]
struct Told {
    news: Notify,
    /// Since they were looked at.
    again: AtomicBool,
}

impl Wake for Told {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.again.store(true, Ordering::Relaxed);
        self.news.notify_one();
    }
}
