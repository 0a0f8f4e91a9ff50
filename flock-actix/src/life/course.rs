//! The course of a bird's lives on this nest: one task of the thread that it is on.

use std::cell::{OnceCell, RefCell};
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll, Waker, ready};

use actix::Context;

use super::body::Body;
use super::order::LifeOrder;
use super::residents::{Place, Resident};
use super::words::{self, Wind};
use super::{Lives, Over};
use crate::bird::Bird;
use crate::commands::Command;
use crate::job::Job;
use crate::table::Entry;

/// Has all lives of a bird of species `B` begin, in a task of this thread.
pub(crate) fn live<B: Bird>(order: LifeOrder) {
    let entry = order.commands.entry.clone();
    let house = Rc::new(House {
        place: OnceCell::new(),
        waker: OnceCell::new(),
        course: RefCell::new(Course::<B>::Laid(Lives::new(order), Context::new())),
    });
    let _ = house.place.set(Place::of(&entry, house.clone()));
    actix_rt::spawn(Task(house));
}

/// What the task of a bird's lives consists of. In a room of its own: tokio's, with this in it, would take more
/// than both.
struct House<B: Bird> {
    /// Where it is found by what is handed to the bird on its thread.
    place: OnceCell<Place>,
    /// Of the task.
    waker: OnceCell<Waker>,
    course: RefCell<Course<B>>,
}

/// The task.
struct Task<B: Bird>(Rc<House<B>>);

impl<B: Bird> Future for Task<B> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<()> {
        let house = &self.0;
        house.waker.get_or_init(|| cx.waker().clone());
        house.course.borrow_mut().poll(cx)
    }
}

impl<B: Bird> Drop for Task<B> {
    fn drop(&mut self) {
        if let Some(place) = self.0.place.get() {
            place.clear();
        }
    }
}

impl<B: Bird> Resident for House<B> {
    fn hand(&self, entry: &Arc<Entry>, job: &mut Option<Box<dyn Job>>) {
        // Else it is at work, or makes this call itself.
        let (Ok(mut course), Some(waker)) = (self.course.try_borrow_mut(), self.waker.get()) else {
            return;
        };
        let Course::Living(living) = &mut *course else { return };
        // The entry may tell of a place that it had, and that is another's by now.
        if !Arc::ptr_eq(living.lives.entry(), entry) {
            return;
        }
        if let Poll::Ready(ended) = living.body.poll(job, &mut TaskContext::from_waker(waker)) {
            course.turn(Turn::Ended(ended));
            // Which sees the life off.
            waker.wake_by_ref();
        }
    }
}

/// The course of a bird's lives on this nest.
///
/// By hand, and not an `async fn`, because it is kept for as long as the bird is here: an idle bird shall
/// have no room for what hardly ever goes on, and all that a call looks at shall lie together.
pub(super) enum Course<B: Bird> {
    /// Nothing was done about it yet. The context is there already: so its parts lie beside this, and whoever
    /// calls the bird finds them on one page.
    Laid(Lives, Context<B>),
    /// It hatches, ends, or waits out a crash: until a life goes on, if one does.
    Between(Pin<Box<dyn Future<Output = Option<Living<B>>>>>),
    Living(Living<B>),
    Over,
}

impl<B: Bird> Course<B> {
    fn poll(&mut self, cx: &mut TaskContext<'_>) -> Poll<()> {
        loop {
            match self {
                Self::Laid(..) => {
                    let Self::Laid(lives, ctx) = std::mem::replace(self, Self::Over) else {
                        return Poll::Ready(());
                    };
                    let (next, rests) = lives.hatched_at_once(ctx, cx);
                    *self = next;
                    if rests {
                        return Poll::Pending;
                    }
                }
                Self::Between(next) => {
                    *self = match ready!(next.as_mut().poll(cx)) {
                        Some(living) => Self::Living(living),
                        None => Self::Over,
                    };
                }
                Self::Living(living) => {
                    let turn = ready!(living.poll(cx));
                    self.turn(turn);
                }
                Self::Over => return Poll::Ready(()),
            }
        }
    }

    /// The life that goes on has come to this.
    fn turn(&mut self, turn: Turn) {
        if let Self::Living(living) = std::mem::replace(self, Self::Over) {
            *self = Self::Between(Box::pin(living.turned(turn)));
        }
    }
}

/// A life that goes on.
pub(super) struct Living<B: Bird> {
    pub(super) body: Body<B>,
    pub(super) lives: Lives,
}

/// What ends a life that went on.
enum Turn {
    Told(Wind),
    /// By itself, or by a panic.
    Ended(Result<(), String>),
}

impl<B: Bird> Living<B> {
    fn poll(&mut self, cx: &mut TaskContext<'_>) -> Poll<Turn> {
        while let Poll::Ready(command) = self.lives.commands.poll(cx) {
            match command.map_or(Err(words::LAST), Command::sort) {
                Ok(state) => self.body.merge([state]),
                Err(wind) => return Poll::Ready(Turn::Told(wind)),
            }
        }
        self.body.poll(&mut None, cx).map(Turn::Ended)
    }

    /// Sees the life off, and to the next one, if there is to be one.
    async fn turned(self, turn: Turn) -> Option<Self> {
        let Self { body, mut lives } = self;
        let over = match turn {
            Turn::Told(wind) => lives.wind_down(body, wind).await,
            Turn::Ended(ended) => {
                drop(body);
                ended.map_or_else(Over::Crashed, |()| Over::Itself)
            }
        };
        lives.until_one_lives(over).await
    }
}
