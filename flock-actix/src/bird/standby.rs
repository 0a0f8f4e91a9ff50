//! Birds of whose state another nest holds a copy.

use std::fmt;
use std::future::Future;
use std::sync::{Arc, Mutex};
use std::task::Waker;
use std::time::Duration;

use flock_proto::{NestName, Unheld};
use tokio::sync::oneshot;

use crate::slot::lock;

/// When another nest is given a copy of a bird's state, so that the bird goes on from it should the
/// process die that runs it: see [`Migrate::STANDBY`](crate::Migrate::STANDBY).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standby(When);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum When {
    Never,
    Asked,
    Every(Duration),
}

impl Standby {
    /// Never: with the process the state is lost.
    pub const OFF: Self = Self(When::Never);

    /// When the bird asks for it: [`Checkpoints::checkpoint`].
    pub const WHEN_ASKED: Self = Self(When::Asked);

    /// When the bird asks for it; and unasked, at most once in this time, if a message was begun or an
    /// answer was given since the last time. So what a call did is in a copy after this time at the latest.
    ///
    /// What a bird does by itself, as with `run_interval`, is no reason for a copy: ask for one.
    pub const fn every(period: Duration) -> Self {
        Self(When::Every(period))
    }

    pub(crate) const fn is_on(self) -> bool {
        !matches!(self.0, When::Never)
    }

    pub(crate) const fn period(self) -> Option<Duration> {
        match self.0 {
            When::Every(period) => Some(period),
            When::Never | When::Asked => None,
        }
    }
}

/// Why no other nest holds the state that a bird had. An older one may be held.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CheckpointError {
    /// The species has no [`STANDBY`](crate::Migrate::STANDBY).
    #[error("the species has no standby")]
    Off,
    /// There is no other nest in the flock that owns anything.
    #[error("there is no other nest")]
    NoOtherNest,
    /// The next nest holds as many bytes for others as it may:
    /// [`Builder::standby_bytes`](crate::Builder::standby_bytes).
    #[error("the next nest holds as much for others as it may")]
    Full,
    /// The snapshot is larger than [`Builder::snapshot_bytes`](crate::Builder::snapshot_bytes) allows.
    #[error("the snapshot has {bytes} bytes, of {most} at most")]
    TooLarge {
        /// Its size.
        bytes: usize,
        /// The largest that is allowed.
        most: usize,
    },
    /// The snapshot can't be taken: it doesn't encode, or `snapshot` panicked.
    #[error("{0}")]
    NotTaken(String),
    /// No nest has said in time that it holds the state. One may.
    #[error("no nest has said in time that it holds the state")]
    TimedOut,
    /// The life is over, or its nest shuts down.
    #[error("the life is over")]
    Over,
}

impl From<Unheld> for CheckpointError {
    fn from(unheld: Unheld) -> Self {
        match unheld {
            Unheld::Full => Self::Full,
            _ => Self::NoOtherNest,
        }
    }
}

/// A bird's handle on the copies of its own state: [`Hatching::checkpoints`](crate::Hatching::checkpoints).
/// Keep it in the bird.
#[derive(Clone)]
pub struct Checkpoints {
    pub(crate) desk: Option<Arc<Desk>>,
    pub(crate) patience: Duration,
}

impl Checkpoints {
    /// Asks for a copy of the state as it will be when the bird has ended its turn, at the next nest of the
    /// ring. The request is made at once; several in one turn have one copy together.
    ///
    /// The future, which may be dropped, gives the name of the nest that holds the copy: an answer that is
    /// given after that survives the death of this process. It needs no runtime but that of the bird, and
    /// ends at the latest with the deadline that calls have by default.
    ///
    /// A handler that answers by an `AtomicResponse` must not wait for it within: as long as that has the
    /// bird for itself nobody else can look at its state, and the end is
    /// [`TimedOut`](CheckpointError::TimedOut).
    pub fn checkpoint(
        &self,
    ) -> impl Future<Output = Result<NestName, CheckpointError>> + Send + 'static + use<> {
        let asked = self.desk.as_ref().map(|desk| desk.ask());
        let patience = self.patience;
        async move {
            let held = asked.ok_or(CheckpointError::Off)?;
            match tokio::time::timeout(patience, held).await {
                Ok(Ok(held)) => held,
                Ok(Err(_)) => Err(CheckpointError::Over),
                Err(_) => Err(CheckpointError::TimedOut),
            }
        }
    }
}

impl fmt::Debug for Checkpoints {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Checkpoints")
    }
}

type Held = Result<NestName, CheckpointError>;

/// Where checkpoints of one bird on one nest are asked for, and those wait who asked. It outlives crashes.
#[derive(Default)]
pub(crate) struct Desk(Mutex<Asked>);

#[derive(Default)]
struct Asked {
    wanted: bool,
    over: bool,
    /// The number of the last one.
    taken: u64,
    pump: Option<Waker>,
    /// Each waits for that number, or a later one.
    waiting: Vec<(u64, oneshot::Sender<Held>)>,
}

impl Desk {
    fn ask(&self) -> oneshot::Receiver<Held> {
        let (tell, told) = oneshot::channel();
        let mut asked = lock(&self.0);
        if !asked.over {
            let number = asked.taken + 1;
            asked.waiting.retain(|(_, tell)| !tell.is_closed());
            asked.waiting.push((number, tell));
        }
        drop(asked);
        self.want();
        told
    }

    /// A checkpoint is wanted, as soon as may be.
    pub(crate) fn want(&self) {
        let mut asked = lock(&self.0);
        asked.wanted = true;
        let pump = asked.pump.take();
        drop(asked);
        if let Some(pump) = pump {
            pump.wake();
        }
    }

    /// Whether one is wanted. If not, the pump is woken when one is.
    pub(crate) fn is_wanted(&self, pump: &Waker) -> bool {
        let mut asked = lock(&self.0);
        if !asked.wanted && asked.pump.as_ref().is_none_or(|known| !known.will_wake(pump)) {
            asked.pump = Some(pump.clone());
        }
        asked.wanted
    }

    /// The number of the checkpoint that is taken now.
    pub(crate) fn begin(&self) -> u64 {
        let mut asked = lock(&self.0);
        asked.wanted = false;
        asked.taken += 1;
        asked.taken
    }

    /// What came of a checkpoint, and so of those before it.
    pub(crate) fn settle(&self, upto: u64, held: &Held) {
        let mut asked = lock(&self.0);
        let waiting = std::mem::take(&mut asked.waiting);
        let (due, rest): (Vec<_>, Vec<_>) =
            waiting.into_iter().partition(|(number, _)| *number <= upto);
        asked.waiting = rest;
        drop(asked);
        for (_, tell) in due {
            let _ = tell.send(held.clone());
        }
    }

    /// The bird is no longer here.
    pub(crate) fn close(&self) {
        let mut asked = lock(&self.0);
        asked.over = true;
        let waiting = std::mem::take(&mut asked.waiting);
        drop(asked);
        drop(waiting);
    }
}

impl fmt::Debug for Desk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Desk")
    }
}
