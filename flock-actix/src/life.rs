//! All lives of one bird on one nest: hatch, run, crash, hatch again, until it ends, departs or is
//! grounded.
//!
//! - `course`: the task of all lives of a bird.
//! - `residents`: the birds of a thread, to hand them jobs. `spawned`: what they spawn meanwhile.
//! - `hatch`: from args, or from a state, to a bird.
//! - `body`: one life's context, polled so that no panic gets out of it.
//! - `guard`: a future whose panics are errors.
//! - `brood`: lives that were raised together, and that the core hears of together.
//! - `crashes`: the restart limit and the back-off.
//! - `order`: what the lives start from.
//! - `words`: what a life is told, as the lives take it.

mod body;
mod brood;
mod course;
mod crashes;
mod guard;
mod hatch;
mod order;
mod residents;
mod spawned;
mod words;

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll};
use std::time::Duration;

use actix::Context;
use bytes::Bytes;
use flock_proto::{BirdName, EndWhy, Event, Fence, Input, Why};

use crate::bird::{Bird, Desk};
use crate::commands::Commands;
use crate::copies::Copies;
use crate::shared::Shared;
use crate::table::{Entry, Phase};
use body::{Body, Stopped};
pub(crate) use brood::Brood;
pub(crate) use course::live;
use course::{Course, Living};
use crashes::CrashLog;
use hatch::Hatch;
pub(crate) use order::LifeOrder;
use order::{Seldom, crash_log};
pub(crate) use residents::hand;
#[cfg(test)]
pub(crate) use residents::residents;
pub(crate) use spawned::welcome_jobs;
use words::{Wind, told, told_to_end};

/// How the last of the lives ended.
#[derive(Debug)]
pub(crate) enum End {
    /// The bird stopped itself.
    Itself,
    /// The core wanted it.
    Wanted(EndWhy, Option<Bytes>),
    /// The very first hatch failed.
    HatchFailed(String),
    /// The bird is to go on elsewhere.
    Departed(Vec<Duration>, Option<Bytes>),
    /// It crashed too often.
    Grounded { reason: String, crashes: u32 },
}

/// How one life ended.
enum Over {
    Itself,
    /// Told so; with the state that it left, if it was to leave one.
    Commanded(Wind, Option<Bytes>),
    Crashed(String),
    /// It never was one.
    NotHatched(String),
}

/// What all lives of a bird here have in common.
struct Lives {
    args: Bytes,
    desk: Option<Arc<Desk>>,
    commands: Commands,
    why: Why,
    /// The core knows that the bird hatched, or will be told so by the brood.
    told: bool,
    attempt: u32,
    seldom: Option<Box<Seldom>>,
}

impl Lives {
    fn new(order: LifeOrder) -> Self {
        let LifeOrder { args, why, desk, commands, seldom, .. } = order;
        Self { args, desk, commands, why, told: false, attempt: 1, seldom }
    }

    fn crashes(&mut self) -> &mut CrashLog {
        let log = || crash_log(&self.commands.entry, &[]);
        self.seldom.get_or_insert_default().crashes.get_or_insert_with(log)
    }

    fn entry(&self) -> &Arc<Entry> {
        &self.commands.entry
    }

    fn shared(&self) -> &Arc<Shared> {
        &self.entry().home
    }

    fn fence(&self) -> Fence {
        self.commands.fence()
    }

    fn name(&self) -> &BirdName {
        &self.entry().name
    }

    /// The first step of all. Nearly every hatch is over as soon as it is looked at; so it is done here, and
    /// only one that isn't, or that goes wrong, gets a timer and a room of its own. True: a life has begun, and
    /// nothing waits for it.
    fn hatched_at_once<B: Bird>(
        mut self,
        ctx: Context<B>,
        cx: &mut TaskContext<'_>,
    ) -> (Course<B>, bool) {
        if let Some(wind) = self.told_by_now(cx) {
            let over = Over::Commanded(wind, None);
            return (Course::Between(Box::pin(self.until_one_lives(over))), false);
        }
        let mut hatch = self.hatch::<B>();
        let bird = match Pin::new(&mut hatch).poll(cx) {
            Poll::Pending => {
                return (Course::Between(Box::pin(self.once_hatched(hatch))), false);
            }
            Poll::Ready(hatched) => hatched.flatten().map_err(Over::NotHatched),
        };
        match bird.and_then(|bird| self.begun(bird, ctx, cx)) {
            Ok((body, rests)) => (Course::Living(Living { body, lives: self }), rests),
            Err(over) => (Course::Between(Box::pin(self.until_one_lives(over))), false),
        }
    }

    /// The life that goes on from a hatch that was begun, or one after it. `None`: none does.
    async fn once_hatched<B: Bird>(mut self, hatch: Hatch<B>) -> Option<Living<B>> {
        match self.goes_on(hatch).await {
            Ok(body) => Some(Living { body, lives: self }),
            Err(over) => self.until_one_lives(over).await,
        }
    }

    /// After a life that ended so: hatches until one goes on. `None`: none will.
    async fn until_one_lives<B: Bird>(mut self, mut over: Over) -> Option<Living<B>> {
        while !self.are_over(over).await {
            let told = poll_fn(|cx| Poll::Ready(self.told_by_now(cx))).await;
            let begun = match told {
                Some(wind) => Err(Over::Commanded(wind, None)),
                None => {
                    let hatch = self.hatch();
                    self.goes_on(hatch).await
                }
            };
            match begun {
                Ok(body) => return Some(Living { body, lives: self }),
                Err(how) => over = how,
            }
        }
        None
    }

    /// Whether a life that ended so was the last one; then all is told.
    async fn are_over(&mut self, over: Over) -> bool {
        let end = match over {
            Over::Itself => Some(End::Itself),
            Over::Commanded(wind, state) => Some(self.obeyed(wind, state)),
            Over::NotHatched(reason) if !self.told && self.why == Why::Start => {
                Some(End::HatchFailed(reason))
            }
            Over::NotHatched(reason) | Over::Crashed(reason) => self.crashed(reason).await,
        };
        let Some(end) = end else {
            self.attempt += 1;
            return false;
        };
        self.desk.iter().for_each(|desk| desk.close());
        // The core shall have heard of a life before it hears of its end.
        Brood::tell();
        self.shared().life_over(self.entry(), self.fence(), end);
        true
    }

    fn obeyed(&mut self, wind: Wind, state: Option<Bytes>) -> End {
        // An end that was asked for during a departure wins: nobody wants the bird elsewhere now.
        let wind = self.commands.pending_end().map_or(wind, Wind::End);
        match wind {
            Wind::End(why) => End::Wanted(why, state),
            Wind::Depart => {
                let now = self.shared().now();
                let log = self.seldom.as_ref().and_then(|seldom| seldom.crashes.as_ref());
                End::Departed(log.map(|log| log.ages(now)).unwrap_or_default(), state)
            }
        }
    }

    /// Counts a crash and waits out the back-off. `Some`: no further life.
    async fn crashed(&mut self, reason: String) -> Option<End> {
        let now = self.shared().now();
        self.entry().with(|state| state.enter(Phase::Hatching));
        let bird = self.name().clone();
        self.shared().nest.event(Event::Crashed { bird, reason: reason.clone() });
        if !self.crashes().survives(now) {
            let crashes = self.crashes().count();
            return Some(End::Grounded { reason, crashes });
        }
        let first = self.shared().settings.backoff;
        let backoff = self.crashes().backoff(first);
        tokio::select! {
            biased;
            wind = told_to_end(&mut self.commands, &mut self.seldom) => {
                Some(self.obeyed(wind, None))
            }
            () = tokio::time::sleep(backoff) => None,
        }
    }

    /// A life that goes on; else how it comes that there is none.
    async fn goes_on<B: Bird>(&mut self, hatch: Hatch<B>) -> Result<Body<B>, Over> {
        let limit = self.shared().settings.hatch_timeout;
        let bird = tokio::select! {
            biased;
            wind = told_to_end(&mut self.commands, &mut self.seldom) => {
                Err(Over::Commanded(wind, None))
            }
            hatched = tokio::time::timeout(limit, hatch) => match hatched {
                Ok(hatched) => hatched.flatten().map_err(Over::NotHatched),
                Err(_) => Err(Over::NotHatched(format!("no hatch within {limit:?}"))),
            },
        };
        let mut bird = Some(bird?);
        poll_fn(|cx| match bird.take() {
            Some(bird) => {
                let begun = self.begun(bird, Context::new(), cx);
                Poll::Ready(begun.map(|(body, _)| body))
            }
            None => Poll::Pending,
        })
        .await
    }

    /// The same, of a bird that has hatched; and whether nothing waits for it.
    fn begun<B: Bird>(
        &mut self,
        bird: B,
        ctx: Context<B>,
        cx: &mut TaskContext<'_>,
    ) -> Result<(Body<B>, bool), Over> {
        let copies = Copies::new(&self.desk, &self.commands.fence);
        let mut body = Body::new(bird, ctx, self.entry().clone(), copies);
        if let Some(seldom) = &mut self.seldom {
            body.merge(std::mem::take(&mut seldom.merges));
        }
        // This runs `started()`. The pump starts no job before the phase says `Running`, so a panic in
        // here is one of `started()`.
        let is_over = match body.poll(&mut None, cx) {
            Poll::Ready(Err(reason)) => return Err(Over::NotHatched(reason)),
            Poll::Ready(Ok(())) => true,
            Poll::Pending => false,
        };
        // Before the core hears of it: whoever is told that the bird runs shall see it run.
        let rests = !is_over && !self.entry().run();
        if !std::mem::replace(&mut self.told, true) {
            self.tell_hatched(is_over, rests);
        }
        if is_over { Err(Over::Itself) } else { Ok((body, rests)) }
    }

    fn tell_hatched(&self, is_over: bool, rests: bool) {
        let input = Input::Hatched { name: self.name().clone(), fence: self.fence() };
        // One that has copies tells the core of those too; and the end of another comes right after this.
        if is_over || self.desk.is_some() {
            self.shared().nest.tell(input);
        } else {
            Brood::add(self.shared(), input);
            if !rests {
                // Before the jobs that wait, however long those take.
                Brood::tell();
            }
        }
    }

    /// Whether it is told to end, without waiting for it. What is to be merged is kept.
    fn told_by_now(&mut self, cx: &TaskContext<'_>) -> Option<Wind> {
        match told(&mut self.commands, &mut self.seldom, cx) {
            Poll::Ready(wind) => Some(wind),
            Poll::Pending => None,
        }
    }

    async fn wind_down<B: Bird>(&mut self, mut body: Body<B>, wind: Wind) -> Over {
        self.entry().with(|state| state.enter(Phase::Ending));
        let goes_on = !matches!(wind, Wind::End(EndWhy::Stopped));
        let patience = self.shared().settings.drain_timeout;
        let (stopped, state) = body.wind_down(patience, goes_on).await;
        if let Stopped::Crashed(reason) = stopped {
            let now = self.shared().now();
            self.crashes().note(now);
            let bird = self.name().clone();
            self.shared().nest.event(Event::Crashed { bird, reason });
        }
        Over::Commanded(wind, self.fitting(state))
    }

    /// A state that is small enough to be taken along.
    fn fitting(&self, state: Option<Result<Bytes, String>>) -> Option<Bytes> {
        let most = self.shared().settings.snapshot_bytes;
        let fits = |state: Bytes| match state.len() {
            len if len > most => Err(format!("its snapshot has {len} bytes, of {most} at most")),
            _ => Ok(state),
        };
        match state?.and_then(fits) {
            Ok(state) => Some(state),
            Err(why) => {
                self.shared().nest.event(Event::StateLost { bird: self.name().clone(), why });
                None
            }
        }
    }
}
