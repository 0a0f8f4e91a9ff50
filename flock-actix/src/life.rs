//! All lives of one bird on one nest: hatch, run, crash, hatch again, until it ends, departs or is
//! grounded.
//!
//! - `body`: one life's context, polled so that no panic gets out of it.
//! - `guard`: a future whose panics are errors.
//! - `crashes`: the restart limit and the back-off.

mod body;
mod crashes;
mod guard;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
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
    pub(crate) shared: Arc<Shared>,
    pub(crate) entry: Arc<Entry>,
    pub(crate) order: HatchOrder,
    pub(crate) fence: Arc<AtomicU64>,
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
pub(crate) fn live<B: Bird>(order: Box<LifeOrder>) -> LifeFuture {
    // Out here: within the future the emptied box would be kept for as long as the bird lives.
    let mut lives = Lives::new(*order);
    Box::pin(async move {
        let end = lives.run::<B>().await;
        lives.desk.iter().for_each(|desk| desk.close());
        let (shared, fence) = (lives.shared.clone(), lives.fence());
        shared.life_over(&lives.entry, fence, end, &mut lives.commands);
    })
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

struct Lives {
    shared: Arc<Shared>,
    entry: Arc<Entry>,
    args: Bytes,
    why: Why,
    fence: Arc<AtomicU64>,
    desk: Option<Arc<Desk>>,
    commands: Commands,
    /// Most birds never crash.
    crashes: Option<Box<CrashLog>>,
    /// The state that the first life is to go on from.
    snapshot: Option<Box<Bytes>>,
    /// States of other lives that are to be merged into the next one here.
    merges: Vec<Bytes>,
    /// The core knows that the bird hatched.
    told: bool,
    attempt: u32,
}

impl Lives {
    fn new(order: LifeOrder) -> Self {
        let LifeOrder { shared, entry, order, fence, desk, commands } = order;
        let HatchOrder { args, why, crashes, snapshot, merges, .. } = order;
        let log = || Box::new(crash_log(&shared, &entry, &crashes));
        Self {
            crashes: (!crashes.is_empty()).then(log),
            snapshot: snapshot.map(Box::new),
            shared,
            entry,
            args,
            why,
            fence,
            desk,
            commands,
            merges,
            told: false,
            attempt: 1,
        }
    }

    fn crashes(&mut self) -> &mut CrashLog {
        self.crashes.get_or_insert_with(|| Box::new(crash_log(&self.shared, &self.entry, &[])))
    }

    fn fence(&self) -> Fence {
        Fence(self.fence.load(Ordering::Acquire))
    }

    fn name(&self) -> &BirdName {
        &self.entry.name
    }

    async fn run<B: Bird>(&mut self) -> End {
        loop {
            let reason = match self.one_life::<B>().await {
                Over::Itself => return End::Itself,
                Over::Commanded(wind, state) => return self.obeyed(wind, state),
                Over::NotHatched(reason) if !self.told && self.why == Why::Start => {
                    return End::HatchFailed(reason);
                }
                Over::NotHatched(reason) | Over::Crashed(reason) => reason,
            };
            if let Some(end) = Box::pin(self.crashed(reason)).await {
                return end;
            }
            self.attempt += 1;
        }
    }

    fn obeyed(&mut self, wind: Wind, state: Option<Bytes>) -> End {
        // An end that was asked for during a departure wins: nobody wants the bird elsewhere now.
        let wind = self.commands.pending_end().map_or(wind, Wind::End);
        match wind {
            Wind::End(why) => End::Wanted(why, state),
            Wind::Depart => {
                let now = self.shared.now();
                let ages = self.crashes.as_ref().map(|log| log.ages(now)).unwrap_or_default();
                End::Departed(ages, state)
            }
        }
    }

    /// Counts a crash and waits out the back-off. `Some`: no further life.
    async fn crashed(&mut self, reason: String) -> Option<End> {
        let now = self.shared.now();
        self.entry.with(|state| state.phase = Phase::Hatching);
        let bird = self.name().clone();
        self.shared.nest.event(Event::Crashed { bird, reason: reason.clone() });
        if !self.crashes().survives(now) {
            let crashes = self.crashes().count();
            return Some(End::Grounded { reason, crashes });
        }
        let first = self.shared.settings.backoff;
        let backoff = self.crashes().backoff(first);
        tokio::select! {
            biased;
            wind = told_to_end(&mut self.commands, &mut self.merges) => {
                Some(self.obeyed(wind, None))
            }
            () = tokio::time::sleep(backoff) => None,
        }
    }

    /// The bird; else how it comes that there is none.
    async fn hatched<B: Bird>(&mut self) -> Result<B, Over> {
        let state = self.snapshot.take().map(|state| *state);
        let (shared, args) = (self.shared.clone(), self.args.clone());
        let hatch = hatch::<B>(shared, args, state, self.hatching());
        let limit = self.shared.settings.hatch_timeout;
        tokio::select! {
            biased;
            wind = told_to_end(&mut self.commands, &mut self.merges) => {
                Err(Over::Commanded(wind, None))
            }
            hatched = tokio::time::timeout(limit, hatch) => match hatched {
                Ok(hatched) => hatched.map_err(Over::NotHatched),
                Err(_) => Err(Over::NotHatched(format!("no hatch within {limit:?}"))),
            },
        }
    }

    // What hardly ever goes on is boxed here and above: this future is kept for as long as the bird lives,
    // and is as large as the largest of its parts.
    async fn one_life<B: Bird>(&mut self) -> Over {
        let bird = match Box::pin(self.hatched::<B>()).await {
            Ok(bird) => bird,
            Err(over) => return over,
        };
        let copies = Copies::new(&self.desk, &self.fence);
        let mut body = Body::new(bird, self.shared.clone(), self.entry.clone(), copies);
        body.merge(std::mem::take(&mut self.merges));
        // The pump starts no job before the phase says `Running`, so a panic in here is one of
        // `started()`.
        let first = body.first_poll().await;
        if let Some(Err(reason)) = first {
            return Over::NotHatched(reason);
        }
        let is_over = first.is_some();
        if !is_over {
            // Before the core hears of it: whoever is told that the bird runs shall see it run.
            self.entry.with(|state| state.phase = Phase::Running);
        }
        if !std::mem::replace(&mut self.told, true) {
            let input = Input::Hatched { name: self.name().clone(), fence: self.fence() };
            self.shared.nest.tell(input);
        }
        if is_over {
            return Over::Itself;
        }
        let wind = loop {
            let ended = tokio::select! {
                biased;
                command = self.commands.next() => match command.map_or(Err(LAST), Command::sort) {
                    Ok(state) => {
                        body.merge([state]);
                        continue;
                    }
                    Err(wind) => break wind,
                },
                ended = body.run() => ended,
            };
            return match ended {
                Ok(()) => Over::Itself,
                Err(reason) => Over::Crashed(reason),
            };
        };
        self.entry.with(|state| state.phase = Phase::Ending);
        let goes_on = !matches!(wind, Wind::End(EndWhy::Stopped));
        let patience = self.shared.settings.drain_timeout;
        let (stopped, state) = Box::pin(body.wind_down(patience, goes_on)).await;
        if let Stopped::Crashed(reason) = stopped {
            let now = self.shared.now();
            self.crashes().note(now);
            let bird = self.name().clone();
            self.shared.nest.event(Event::Crashed { bird, reason });
        }
        Over::Commanded(wind, self.fitting(state))
    }

    /// A state that is small enough to be taken along.
    fn fitting(&self, state: Option<Result<Bytes, String>>) -> Option<Bytes> {
        let most = self.shared.settings.snapshot_bytes;
        let fits = |state: Bytes| match state.len() {
            len if len > most => Err(format!("its snapshot has {len} bytes, of {most} at most")),
            _ => Ok(state),
        };
        match state?.and_then(fits) {
            Ok(state) => Some(state),
            Err(why) => {
                self.shared.nest.event(Event::StateLost { bird: self.name().clone(), why });
                None
            }
        }
    }

    fn hatching(&self) -> Hatching {
        let why = if self.attempt > 1 { HatchWhy::Crash } else { self.why.into() };
        Hatching {
            name: self.name().clone(),
            nest: self.shared.name.clone(),
            why,
            attempt: self.attempt,
            fence: FenceHandle(self.fence.clone()),
            desk: self.desk.clone(),
            shared: self.shared.clone(),
        }
    }
}

fn crash_log(shared: &Shared, entry: &Entry, ages: &[Duration]) -> CrashLog {
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
async fn told_to_end(commands: &mut Commands, merges: &mut Vec<Bytes>) -> Wind {
    loop {
        match commands.next().await.map_or(Err(LAST), Command::sort) {
            Ok(state) => merges.push(state),
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
        let LifeOrder { entry, order, fence, mut commands, .. } = order;
        let SpeciesId(id) = order.species;
        let reason = format!("species {id:x} is unknown here");
        let end = match order.why {
            Why::Start => End::HatchFailed(reason),
            _ => End::Grounded { reason, crashes: 0 },
        };
        let fence = Fence(fence.load(Ordering::Acquire));
        self.life_over(&entry, fence, end, &mut commands);
    }
}
