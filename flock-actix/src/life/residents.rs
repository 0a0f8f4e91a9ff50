//! The birds that live on this thread, by their places: so that one that rests can be handed a job, and runs it
//! there and then, without a turn of its task's.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::task::coop;

use super::spawned;
use crate::job::Job;
use crate::rt;
use crate::table::Entry;

/// A bird that lives on this thread.
pub(super) trait Resident {
    /// Has the bird do this job now, if it is the one behind this entry, and rests.
    fn hand(&self, entry: &Arc<Entry>, job: &mut Option<Box<dyn Job>>);
}

/// Jobs that may be run within one another: birds that call birds that call birds. Each takes its part of the
/// thread's stack.
const MOST_WITHIN: u32 = 8;

thread_local! {
    static RESIDENTS: RefCell<Residents> = const { RefCell::new(Residents::new()) };
    static WITHIN: Cell<u32> = const { Cell::new(0) };
}

struct Residents {
    at: Vec<Option<Rc<dyn Resident>>>,
    free: Vec<u32>,
}

impl Residents {
    const fn new() -> Self {
        Self { at: Vec::new(), free: Vec::new() }
    }
}

/// How many live on this thread.
#[cfg(test)]
pub(crate) fn residents() -> usize {
    RESIDENTS.with_borrow(|residents| residents.at.iter().flatten().count())
}

/// A place of this thread.
pub(super) struct Place(u32);

impl Place {
    /// A place for the bird behind this entry, which is told of it.
    pub(super) fn of(entry: &Entry, resident: Rc<dyn Resident>) -> Self {
        let place = RESIDENTS.with_borrow_mut(|residents| {
            if let Some(place) = residents.free.pop()
                && let Some(free) = residents.at.get_mut(place as usize)
            {
                *free = Some(resident);
                return place;
            }
            let place = residents.at.len() as u32;
            residents.at.push(Some(resident));
            place
        });
        entry.lives_at(rt::thread_number(), place);
        Self(place)
    }

    pub(super) fn clear(&self) {
        // At the thread's end there may be no places any more.
        let resident = RESIDENTS.try_with(|residents| {
            let mut residents = residents.borrow_mut();
            residents.free.push(self.0);
            residents.at.get_mut(self.0 as usize).and_then(Option::take)
        });
        drop(resident);
    }
}

/// Hands a job to the bird behind this entry, if it lives on this thread and rests: it does it here and now. The job
/// comes back with what came of it, or as it was, if something came before it after all; or not at all, if the bird
/// crashed of it. `None`: the bird can't be handed any, and none was made.
// Inlined, with all that it makes in places of its own: to move what was just put together is felt.
#[inline(always)]
pub(crate) fn hand(
    entry: &Arc<Entry>,
    cx: &mut Context<'_>,
    make: impl FnOnce() -> Option<Box<dyn Job>>,
) -> Option<Option<Box<dyn Job>>> {
    let place = entry.rests_on(rt::thread_number())?;
    let _within = Within::one_more()?;
    let at = |residents: &Residents| residents.at.get(place as usize).and_then(Option::clone);
    let resident = RESIDENTS.try_with(|residents| at(&residents.borrow())).ok()??;
    // Somebody who hands over one job after the other lets others have their turns, too.
    let Poll::Ready(turn) = coop::poll_proceed(cx) else { return None };
    let _spawned = spawned::enter()?;
    let mut job = Some(make()?);
    turn.made_progress();
    resident.hand(entry, &mut job);
    Some(job)
}

/// One more job is done within others, on this thread.
struct Within;

impl Within {
    fn one_more() -> Option<Self> {
        let within = WITHIN.get();
        (within < MOST_WITHIN).then(|| {
            WITHIN.set(within + 1);
            Self
        })
    }
}

impl Drop for Within {
    fn drop(&mut self) {
        WITHIN.set(WITHIN.get() - 1);
    }
}
