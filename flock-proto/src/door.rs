//! The door of the core: everything that can happen to a nest, and everything it may ask of the
//! world. These two enums are the whole contract with a driver.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::{BirdName, Dot, Event, Fence, Hlc, NestId, NestName, ReqId, SpeciesId, Time, View};

/// Who is at the other end of a link, as its hello said and the driver checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Its incarnation.
    pub id: NestId,
    /// Its name.
    pub name: NestName,
    /// Where it listens, as `host:port`.
    pub address: String,
}

/// Everything that can happen to a nest.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Input {
    /// All this, in this order, as if one came right after the other. Requests and reports about
    /// single birds cost less so, and what they have for the same nest travels together.
    Many(Vec<Input>),
    /// A control frame came over the link to `from`.
    Frame {
        /// The neighbour whose link brought it (not always its author: frames may be relayed).
        from: NestId,
        /// The frame, without its length prefix.
        frame: Bytes,
    },
    /// A control link is open, for the first time or anew. One replaced by a later one counts as
    /// opened again, without a `LinkClosed` between.
    LinkOpened {
        /// Who is at its other end.
        peer: Peer,
        /// The address of the [`Effect::Dial`] that opened it; none if the peer dialled.
        dialled: Option<String>,
    },
    /// The control link to this nest is gone.
    LinkClosed {
        /// Who was at its other end.
        peer: NestId,
    },
    /// A dial asked for by [`Effect::Dial`] came to nothing.
    DialFailed {
        /// The address that was dialled.
        address: String,
        /// The host answered and nobody listens there.
        refused: bool,
        /// In words.
        why: String,
    },
    /// A handshake showed that this nest's incarnation is not above one already known of its name.
    Outdated {
        /// The incarnation that must be surpassed.
        above: NestId,
    },
    /// A user starts a bird. Answered by [`Effect::Answer`], as are the others with a `req`. Each
    /// has a greater one than all before.
    Start {
        /// Names the question.
        req: ReqId,
        /// The bird's name.
        name: BirdName,
        /// Its species.
        species: SpeciesId,
        /// What to hatch it from, encoded.
        args: Bytes,
        /// A living bird of the same species is an answer, too.
        or_get: bool,
        /// When the asker stops waiting.
        deadline: Time,
    },
    /// A user stops a bird.
    Stop {
        /// Names the question.
        req: ReqId,
        /// The bird's name.
        name: BirdName,
        /// When the asker stops waiting.
        deadline: Time,
    },
    /// A user wants a grounded bird to try again.
    Revive {
        /// Names the question.
        req: ReqId,
        /// The bird's name.
        name: BirdName,
        /// When the asker stops waiting.
        deadline: Time,
    },
    /// A user takes a start back, whatever became of it: the bird is stopped if that very start
    /// made it, and not if it lived before, or was stopped and started anew by somebody else.
    /// [`Answer::Stopped`] or [`Answer::NoSuchBird`]: nothing of that start lives, or will.
    Undo {
        /// Names the question.
        req: ReqId,
        /// The start's own `req`.
        start: ReqId,
        /// The bird's name.
        name: BirdName,
        /// When the asker stops waiting.
        deadline: Time,
    },
    /// This nest shall leave: hand over its birds, then say so by an answer.
    Leave {
        /// Names the question.
        req: ReqId,
    },
    /// All nests that wait for it shall take their shares of the names.
    Rebalance {
        /// Names the question.
        req: ReqId,
    },
    /// This nest shall have another weight from now on. With 0 its birds move to others, and it stays.
    Weigh {
        /// Names the question.
        req: ReqId,
        /// The weight; [`MAX_WEIGHT`](crate::MAX_WEIGHT) is the greatest that counts.
        weight: u32,
    },
    /// Somebody knows that this nest is dead for good: it is no longer counted for a
    /// [majority](crate::Policy::Majority), and not looked for.
    Forget {
        /// Names the question.
        req: ReqId,
        /// The dead nest.
        nest: NestName,
    },
    /// A call or cast waits here for a bird that isn't in the driver's table.
    Wanted {
        /// The bird's name.
        name: BirdName,
    },
    /// A life that [`Effect::Hatch`] asked for is running. Told of the first success only: restarts
    /// after a crash are the driver's own affair.
    Hatched {
        /// The bird's name.
        name: BirdName,
        /// The fence of the hatch.
        fence: Fence,
    },
    /// The first hatch that [`Effect::Hatch`] asked for failed, with `why` being [`Why::Start`].
    HatchFailed {
        /// The bird's name.
        name: BirdName,
        /// The fence of the hatch.
        fence: Fence,
        /// What its author's code said.
        reason: String,
    },
    /// A life is over: the bird ended of itself, or [`Effect::End`] was carried out.
    Ended {
        /// The bird's name.
        name: BirdName,
        /// The fence of the life.
        fence: Fence,
        /// Its state, if it was told to end because another life goes on ([`EndWhy::LostConflict`]).
        snapshot: Option<Bytes>,
    },
    /// A bird crashed past its restart limit; its life is over and not restarted.
    Grounded {
        /// The bird's name.
        name: BirdName,
        /// The fence of the life.
        fence: Fence,
        /// The last crash, in words.
        reason: String,
        /// How often it crashed within the limit's window.
        crashes: u32,
    },
    /// [`Effect::Depart`] was carried out: the jobs in flight are done, the life is over, the inbox
    /// waits.
    Departed {
        /// The bird's name.
        name: BirdName,
        /// The fence of the life.
        fence: Fence,
        /// How long ago each crash within the limit's window was.
        crashes: Vec<Duration>,
        /// Its state, if it has one to take along.
        snapshot: Option<Bytes>,
    },
    /// The state of a life that goes on: to be held by another nest, should this one die.
    Checkpoint {
        /// The bird's name.
        name: BirdName,
        /// The fence of the life.
        fence: Fence,
        /// Counts the checkpoints of the life, over all restarts, from 1 on.
        number: u64,
        /// The state; none if it could not be taken.
        snapshot: Option<Bytes>,
    },
    /// A frame of the data plane carried this stamp.
    Observed {
        /// The clock of its sender.
        stamp: Hlc,
    },
    /// Somebody listens to [`Event::Started`] and [`Event::Hatching`], or nobody does any more. (At first the
    /// nest holds that somebody does.) One that joins a flock of a million names would tell a million times.
    Audience(bool),
    /// The deadline passed.
    Tick,
}

impl Input {
    /// Whether it concerns a single bird, and no nest.
    pub(crate) const fn is_about_a_bird(&self) -> bool {
        matches!(
            self,
            Self::Start { .. }
                | Self::Stop { .. }
                | Self::Revive { .. }
                | Self::Undo { .. }
                | Self::Wanted { .. }
                | Self::Hatched { .. }
                | Self::HatchFailed { .. }
                | Self::Ended { .. }
                | Self::Grounded { .. }
                | Self::Departed { .. }
                | Self::Checkpoint { .. }
        )
    }
}

/// Why no other nest holds a checkpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Unheld {
    /// There is no other nest in the ring.
    Alone,
    /// The next nest holds as many bytes for others as it may.
    Full,
}

impl fmt::Display for Unheld {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Alone => "there is no other nest",
            Self::Full => "the next nest holds as much for others as it may",
        })
    }
}

/// Why a bird hatches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Why {
    /// It was just started.
    Start,
    /// It moved here from a nest that lives.
    Move,
    /// The nest it lived on is gone.
    NestLost,
    /// It was grounded and is to try again.
    Revive,
}

/// Why a life must end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum EndWhy {
    /// Somebody stopped the bird.
    Stopped,
    /// After a conflict, another record of the same name won.
    LostConflict,
    /// The nest that owns the name runs it already (after a heal).
    Duplicate,
}

/// Where a call goes that found nobody in the driver's table.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Route {
    /// To this nest, which runs or will run the bird.
    To(NestId),
    /// Nowhere: no bird of this name lives.
    NoSuchBird,
    /// The bird is grounded.
    Grounded {
        /// The last crash, in words.
        reason: String,
    },
    /// No hatch here: this nest doesn't know the species.
    UnknownSpecies(SpeciesId),
    /// Nowhere: too few nests are there, by the flock's [`Policy`](crate::Policy).
    NoQuorum,
}

/// What became of a question.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Answer {
    /// The bird runs. Two nests hold its record (one, if there is just one).
    Started {
        /// Where it runs.
        nest: NestName,
        /// False: it lived already, and `or_get` was set.
        fresh: bool,
    },
    /// A bird of this name lives already; nothing changed.
    AlreadyExists {
        /// Its species.
        species: SpeciesId,
        /// The nest that owns it.
        nest: NestName,
    },
    /// The first hatch failed; the name is free.
    HatchFailed {
        /// What its author's code said.
        reason: String,
    },
    /// The owner doesn't know the species; nothing changed.
    UnknownSpecies {
        /// The nest that owns the name.
        nest: NestName,
    },
    /// The bird's life has ended, its name is free.
    Stopped,
    /// No bird of this name lives; nothing changed.
    NoSuchBird,
    /// The bird is no longer grounded.
    Revived,
    /// The bird isn't grounded; nothing changed.
    NotGrounded,
    /// The nest has left and may be shut down.
    Left {
        /// Birds that it could not hand over in time, or for which there was no other nest.
        left_behind: Vec<BirdName>,
    },
    /// All nests that wait for their shares are being told to take them.
    Rebalancing {
        /// Those that wait, as far as this nest knows.
        waiting: Vec<NestName>,
    },
    /// This nest has the weight, and says so to the others.
    Weighed,
    /// Too few nests are there, by the flock's [`Policy`](crate::Policy); nothing changed.
    NoQuorum,
    /// The nest is forgotten, here now and elsewhere soon.
    Forgotten,
    /// No nest of this name is known; nothing changed.
    NoSuchNest,
    /// The nest is alive, as this one sees it; nothing changed.
    NestAlive,
    /// The deadline passed. The request may still take effect.
    TimedOut,
    /// This nest is leaving and takes no requests.
    Leaving,
    /// No nest in the view owns anything (all have weight 0).
    NoOwner,
}

/// Everything a nest may ask of the world.
#[derive(Clone, Debug)]
#[must_use = "an effect does nothing until the driver carries it out"]
#[non_exhaustive]
pub enum Effect {
    /// Put a frame on the control link to this neighbour; drop it if there is none.
    Send {
        /// The neighbour.
        to: NestId,
        /// The frame, without its length prefix.
        frame: Bytes,
    },
    /// Open a control link to whoever listens there. Ends in `LinkOpened` or `DialFailed`.
    Dial {
        /// As `host:port`.
        address: String,
    },
    /// Close all links to this nest. No `LinkClosed` follows.
    HangUp {
        /// The nest.
        peer: NestId,
        /// In words.
        why: String,
    },
    /// This nest has left in good order: write what waits for it, and hear it out until it closes
    /// its links. No `LinkClosed` follows.
    Release {
        /// The nest.
        peer: NestId,
    },
    /// From now on this nest is known by another incarnation; say so in every hello.
    Renamed {
        /// The new incarnation.
        id: NestId,
    },
    /// Hatch a bird, on the inbox of its name.
    Hatch {
        /// Its name.
        name: BirdName,
        /// The dot of its start.
        birth: Dot,
        /// The fence of this life.
        fence: Fence,
        /// Its species; one that the configuration lists.
        species: SpeciesId,
        /// What to hatch it from, encoded.
        args: Bytes,
        /// Why it hatches.
        why: Why,
        /// How long ago each earlier crash within the limit's window was.
        crashes: Vec<Duration>,
        /// The state that it goes on from.
        snapshot: Option<Bytes>,
        /// States of other lives, to be merged into it before anything else.
        merges: Vec<Bytes>,
    },
    /// Another life of this bird is over: merge its state into the one that runs, or that hatches.
    Merge {
        /// The bird's name.
        name: BirdName,
        /// The fence of the life that goes on.
        fence: Fence,
        /// The other's state.
        state: Bytes,
    },
    /// Take the state of a life that goes on, as soon as may be; then `Checkpoint`. A life that is over by
    /// then says nothing.
    Checkpoint {
        /// The bird's name.
        name: BirdName,
        /// The fence of the life.
        fence: Fence,
    },
    /// What came of a checkpoint, or of one after it.
    Checkpointed {
        /// The bird's name.
        name: BirdName,
        /// The fence of the life.
        fence: Fence,
        /// The number of the checkpoint: it stands for all before it.
        number: u64,
        /// The nest that holds it; or why none does, which may be better a moment later.
        by: Result<NestName, Unheld>,
    },
    /// End a life gracefully, or give up its hatch; then `Ended`.
    End {
        /// The bird's name.
        name: BirdName,
        /// The fence of the life.
        fence: Fence,
        /// Why.
        why: EndWhy,
    },
    /// Take a bird out of service, keeping its inbox; then `Departed` (or `Ended` or `Grounded`, if
    /// that came first).
    Depart {
        /// The bird's name.
        name: BirdName,
        /// The fence of the life.
        fence: Fence,
    },
    /// The running life has a new fence.
    SetFence {
        /// The bird's name.
        name: BirdName,
        /// The fence before.
        old: Fence,
        /// The fence from now on.
        new: Fence,
    },
    /// Where calls for this name go that wait here, and those that still come within a while.
    Route {
        /// The bird's name.
        name: BirdName,
        /// Where to.
        route: Route,
    },
    /// The answer to a question.
    Answer {
        /// The question.
        req: ReqId,
        /// What became of it.
        answer: Answer,
    },
    /// Route by this view from now on.
    Publish(Arc<View>),
    /// Something happened that people may want to know of.
    Tell(Event),
    /// The clock of this nest; put it into the frames of the data plane.
    Stamp(Hlc),
}
