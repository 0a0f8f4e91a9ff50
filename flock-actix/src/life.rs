//! All lives of one bird on one nest: hatch, run, crash, hatch again, until it ends, departs or is
//! grounded.
//!
//! - `body`: one life's context, polled so that no panic gets out of it.
//! - `guard`: a future whose panics are errors.
//! - `crashes`: the restart limit and the back-off.

mod body;
mod crashes;
mod guard;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use flock_proto::{BirdName, EndWhy, Event, Fence, Input, SpeciesId, Why};

use crate::bird::{Bird, Desk, FenceHandle, HatchWhy, Hatching, LifeFuture};
use crate::codec;
use crate::commands::{Command, Commands};
use crate::copies::Copies;
use crate::shared::{HatchOrder, Shared};
use crate::table::{Entry, Phase};
use body::{Body, Stopped};
use crashes::CrashLog;
use guard::Guarded;

/// Everything a bird's lives start from.
pub(crate) struct LifeOrder {
    pub(crate) order: HatchOrder,
    pub(crate) desk: Option<Arc<Desk>>,
    pub(crate) commands: Commands,
}

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

/// All lives of a bird of species `B`.
#[expect(clippy::boxed_local, reason = "one signature for all species, whose table calls it")]
pub(crate) fn live<B: Bird>(order: Box<LifeOrder>) -> LifeFuture {
    let lives = Lives::new(*order);
    Box::pin(Course::<B>::Between(Box::pin(lives.until_one_lives())))
}

/// The course of a bird's lives on this nest.
///
/// By hand, and not an `async fn`, because it is kept for as long as the bird is here: an idle bird shall
/// have no room for what hardly ever goes on, and all that a call looks at shall lie together.
#[expect(clippy::large_enum_variant, reason = "it is nearly always the large one")]
enum Course<B: Bird> {
    /// It hatches, ends, or waits out a crash: until a life goes on, if one does.
    Between(Pin<Box<dyn Future<Output = Option<Living<B>>>>>),
    Living(Living<B>),
    Over,
}

impl<B: Bird> Future for Course<B> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<()> {
        loop {
            *self = match &mut *self {
                Self::Between(next) => match ready!(next.as_mut().poll(cx)) {
                    Some(living) => Self::Living(living),
                    None => Self::Over,
                },
                Self::Living(living) => {
                    let turn = ready!(living.poll(cx));
                    let Self::Living(living) = std::mem::replace(&mut *self, Self::Over) else {
                        return Poll::Ready(());
                    };
                    Self::Between(Box::pin(living.turned(turn)))
                }
                Self::Over => return Poll::Ready(()),
            };
        }
    }
}

/// A life that goes on.
struct Living<B: Bird> {
    body: Body<B>,
    lives: Lives,
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
            match command.map_or(Err(LAST), Command::sort) {
                Ok(state) => self.body.merge([state]),
                Err(wind) => return Poll::Ready(Turn::Told(wind)),
            }
        }
        let ended = self.body.poll(cx).map(Turn::Ended);
        self.lives.entry().note_waiting();
        ended
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
        if lives.are_over(over).await { None } else { lives.until_one_lives().await }
    }
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

/// How a life is told to end.
#[derive(Clone, Copy, Debug)]
enum Wind {
    End(EndWhy),
    Depart,
}

/// What all lives of a bird here have in common.
struct Lives {
    args: Bytes,
    desk: Option<Arc<Desk>>,
    commands: Commands,
    why: Why,
    /// The core knows that the bird hatched.
    told: bool,
    attempt: u32,
    seldom: Option<Box<Seldom>>,
}

/// What most birds never have.
#[derive(Default)]
struct Seldom {
    crashes: Option<CrashLog>,
    /// The state that the first life is to go on from.
    snapshot: Option<Bytes>,
    /// States of other lives that are to be merged into the next one here.
    merges: Vec<Bytes>,
}

impl Lives {
    fn new(order: LifeOrder) -> Self {
        let LifeOrder { order, desk, commands } = order;
        let HatchOrder { args, why, crashes, snapshot, merges, .. } = order;
        let mut seldom = Seldom { crashes: None, snapshot, merges };
        if !crashes.is_empty() {
            seldom.crashes = Some(crash_log(&commands.entry, &crashes));
        }
        let any =
            seldom.crashes.is_some() || seldom.snapshot.is_some() || !seldom.merges.is_empty();
        let seldom = any.then(|| Box::new(seldom));
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

    /// Hatches until a life goes on. `None`: none will.
    async fn until_one_lives<B: Bird>(mut self) -> Option<Living<B>> {
        loop {
            match self.begun().await {
                Ok(body) => return Some(Living { body, lives: self }),
                Err(over) => {
                    if self.are_over(over).await {
                        return None;
                    }
                }
            }
        }
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
        self.entry().with(|state| state.phase = Phase::Hatching);
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

    /// The bird; else how it comes that there is none.
    async fn hatched<B: Bird>(&mut self) -> Result<B, Over> {
        let state = self.seldom.as_mut().and_then(|seldom| seldom.snapshot.take());
        let (shared, args) = (self.shared().clone(), self.args.clone());
        let hatch = hatch::<B>(shared, args, state, self.hatching());
        let limit = self.shared().settings.hatch_timeout;
        tokio::select! {
            biased;
            wind = told_to_end(&mut self.commands, &mut self.seldom) => {
                Err(Over::Commanded(wind, None))
            }
            hatched = tokio::time::timeout(limit, hatch) => match hatched {
                Ok(hatched) => hatched.map_err(Over::NotHatched),
                Err(_) => Err(Over::NotHatched(format!("no hatch within {limit:?}"))),
            },
        }
    }

    /// A life that goes on; else how it comes that there is none.
    async fn begun<B: Bird>(&mut self) -> Result<Body<B>, Over> {
        let bird = self.hatched().await?;
        let copies = Copies::new(&self.desk, &self.commands.fence);
        let mut body = Body::new(bird, self.entry().clone(), copies);
        if let Some(seldom) = &mut self.seldom {
            body.merge(std::mem::take(&mut seldom.merges));
        }
        // The pump starts no job before the phase says `Running`, so a panic in here is one of
        // `started()`.
        let first = body.first_poll().await;
        if let Some(Err(reason)) = first {
            return Err(Over::NotHatched(reason));
        }
        let is_over = first.is_some();
        if !is_over {
            // Before the core hears of it: whoever is told that the bird runs shall see it run.
            self.entry().with(|state| state.phase = Phase::Running);
        }
        if !std::mem::replace(&mut self.told, true) {
            let input = Input::Hatched { name: self.name().clone(), fence: self.fence() };
            self.shared().nest.tell(input);
        }
        if is_over { Err(Over::Itself) } else { Ok(body) }
    }

    async fn wind_down<B: Bird>(&mut self, mut body: Body<B>, wind: Wind) -> Over {
        self.entry().with(|state| state.phase = Phase::Ending);
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

    fn hatching(&self) -> Hatching {
        let why = if self.attempt > 1 { HatchWhy::Crash } else { self.why.into() };
        Hatching {
            name: self.name().clone(),
            nest: self.shared().name.clone(),
            why,
            attempt: self.attempt,
            fence: FenceHandle(self.commands.fence.clone()),
            desk: self.desk.clone(),
            shared: self.shared().clone(),
        }
    }
}

fn crash_log(entry: &Entry, ages: &[Duration]) -> CrashLog {
    let shared = &entry.home;
    let (limit, window) = (shared.settings.restarts, shared.settings.restart_window);
    CrashLog::new(limit, window, shared.now(), ages, entry.hash)
}

/// The commands' other end is dropped only when the nest shuts down.
const LAST: Wind = Wind::End(EndWhy::Stopped);

impl Command {
    /// A state to merge, or the word to end.
    fn sort(self) -> Result<Bytes, Wind> {
        match self {
            Self::Merge(state) => Ok(state),
            Self::End(why) => Err(Wind::End(why)),
            Self::Depart => Err(Wind::Depart),
        }
    }
}

/// Waits for the word to end, and keeps what is to be merged.
async fn told_to_end(commands: &mut Commands, seldom: &mut Option<Box<Seldom>>) -> Wind {
    loop {
        match commands.next().await.map_or(Err(LAST), Command::sort) {
            Ok(state) => seldom.get_or_insert_default().merges.push(state),
            Err(wind) => return wind,
        }
    }
}

/// Runs the author's `restore`, if there is a state to go on from, or else `hatch`; all that can go
/// wrong in it is a text.
async fn hatch<B: Bird>(
    shared: Arc<Shared>,
    args: Bytes,
    state: Option<Bytes>,
    hatching: Hatching,
) -> Result<B, String> {
    if let Some(state) = state {
        let restored = match &B::MIGRATION {
            Some(migration) => migration.restore(&shared, &args, state, &hatching),
            None => Err("this build's species doesn't take its state along".to_owned()),
        };
        match restored {
            Ok(bird) => return Ok(bird),
            Err(why) => {
                shared.nest.event(Event::StateLost { bird: hatching.name.clone(), why });
            }
        }
    }
    let hatched = Guarded::new(async move {
        let args = codec::decode::<B::Args>(&shared, &args)
            .map_err(|error| format!("its arguments are {error}"))?;
        B::hatch(args, &hatching).await.map_err(|error| format!("{error:#}"))
    });
    hatched.await.and_then(|result| result)
}

impl Shared {
    /// A bird of a species that this build doesn't know can't hatch.
    pub(crate) fn cannot_live(self: &Arc<Self>, order: LifeOrder) {
        let LifeOrder { order, commands, .. } = order;
        let SpeciesId(id) = order.species;
        let reason = format!("species {id:x} is unknown here");
        let end = match order.why {
            Why::Start => End::HatchFailed(reason),
            _ => End::Grounded { reason, crashes: 0 },
        };
        self.life_over(&commands.entry, commands.fence(), end);
    }
}
