//! Many starts, or many stops, by one call: an outcome for each name.
//!
//! - here: what the user describes, and what becomes of it.
//! - `list`: the names given, and where the outcome of each comes from.
//! - `outcomes`: an outcome for each name.
//! - `course`: many questions to the core, so many at a time.

mod course;
mod list;
mod outcomes;

use std::fmt;
use std::future::IntoFuture;
use std::marker::PhantomData;
use std::time::Duration;

use bytes::Bytes;
use flock_proto::{Answer, BirdName, Input, NestName, ReqId, SpeciesId};

use crate::bird::Bird;
use crate::bird_ref::BirdRef;
use crate::codec;
use crate::error::RequestError;
use crate::flock::Flock;
use crate::request::{DEADLINE, Pending};
use course::{Course, End};
use list::List;
pub use outcomes::{Outcomes, SomeFailed};

/// Birds to be started together. Does nothing until it is awaited. See [`Flock::start_many`].
#[must_use = "a request does nothing until it is awaited"]
pub struct StartMany<B: Bird> {
    flock: Flock,
    list: List<Bytes>,
    within: Duration,
    roll_back: bool,
    species: PhantomData<fn() -> B>,
}

/// Birds to be stopped together. Does nothing until it is awaited. See [`Flock::stop_many`].
#[must_use = "a request does nothing until it is awaited"]
pub struct StopMany {
    flock: Flock,
    list: List<()>,
    within: Duration,
}

impl<B: Bird> StartMany<B> {
    pub(crate) fn new(
        flock: Flock,
        birds: impl IntoIterator<Item = (impl Into<String>, B::Args)>,
    ) -> Self {
        let mut list = List::new();
        for (name, args) in birds {
            let args = codec::encode(&args).map(Bytes::from);
            list.push(name.into(), args.map_err(|e| RequestError::NotEncodable(e.to_string())));
        }
        Self { flock, list, within: DEADLINE, roll_back: false, species: PhantomData }
    }

    /// Waits no longer than this for all of them. Default: 10 s.
    pub const fn deadline(mut self, within: Duration) -> Self {
        self.within = within;
        self
    }

    /// If any of them fails, takes the others back: what this call has started is stopped again,
    /// and what it hasn't begun is not begun. That may take the deadline's time once more.
    ///
    /// The outcomes say what became of each. [`RequestError::RolledBack`]: nothing of it lives.
    /// [`RequestError::Withdrawn`]: it timed out, and nothing of it lives.
    /// [`RequestError::NotRolledBack`]: the attempt to stop it failed, and it may live. All others
    /// are the causes.
    ///
    /// A start is taken back by its own number, not by the bird's name. So a bird that lived before
    /// is never stopped; nor is one that somebody else started meanwhile under a name that this
    /// call had started and that was stopped again.
    ///
    /// It is a best effort, no transaction. Others see the birds live, and may call them, until
    /// they are stopped. Nothing is taken back if this nest dies, or if the future is dropped; and
    /// what can't be reached, beyond a partition or on a nest that is frozen, stays.
    pub const fn or_roll_back(mut self) -> Self {
        self.roll_back = true;
        self
    }

    async fn run(self) -> Outcomes<BirdRef<B>> {
        let Self { flock, list, within, roll_back, .. } = self;
        let (names, questions) = list.split();
        let birds: Vec<BirdName> = questions.iter().map(|(name, _)| name.clone()).collect();
        let ends = if roll_back && names.any_bad() {
            birds.iter().map(|_| End::Unasked).collect()
        } else {
            let species = SpeciesId::of(B::SPECIES);
            let make = move |req, deadline, (name, args)| Input::Start {
                req,
                name,
                species,
                args,
                or_get: false,
                deadline,
            };
            let good = |answer: &Answer| !roll_back || matches!(answer, Answer::Started { .. });
            Course { flock: &flock, within }.ask(questions, |q| q.1.len(), make, good).await
        };
        let mut starts: Vec<_> = ends.into_iter().map(|end| Begun::new(&flock, end)).collect();
        let failed = starts.iter().any(|start| start.outcome.is_err());
        if roll_back && (failed || names.any_twin()) {
            take_back(&flock, within, &mut starts, &birds).await;
        }
        let bird = |(start, name): (&Begun, BirdName)| {
            start.outcome.clone().map(|()| flock.bird_named(name))
        };
        let firsts = starts.iter().zip(birds).map(bird);
        names.outcomes(firsts, |at| starts.get(at).map(Begun::twin::<B>))
    }
}

/// A start, and what came of it.
struct Begun {
    req: Option<ReqId>,
    /// The nest on which it runs.
    nest: Option<NestName>,
    outcome: Result<(), RequestError>,
}

impl Begun {
    fn new(flock: &Flock, end: End) -> Self {
        match end {
            End::Answered(req, Answer::Started { nest, .. }) => {
                Self { req: Some(req), nest: Some(nest), outcome: Ok(()) }
            }
            End::Answered(req, answer) => {
                Self { req: Some(req), nest: None, outcome: Err(flock.refusal(answer)) }
            }
            End::Unasked => Self { req: None, nest: None, outcome: Err(RequestError::RolledBack) },
            End::Closed => Self { req: None, nest: None, outcome: Err(RequestError::Closed) },
        }
    }

    /// What a second start of the same name, by the same call, comes to.
    fn twin<B: Bird>(&self) -> RequestError {
        match (&self.outcome, &self.nest) {
            (Err(RequestError::RolledBack) | Ok(()), Some(nest)) => {
                RequestError::AlreadyExists { species: Some(B::SPECIES.into()), nest: nest.clone() }
            }
            (Err(error), _) => error.clone(),
            (Ok(()), None) => RequestError::Closed,
        }
    }

    /// What there is to take back, by the number of the start.
    fn effect(&self) -> Option<ReqId> {
        let effect = matches!(self.outcome, Ok(()) | Err(RequestError::TimedOut));
        self.req.filter(|_| effect)
    }
}

async fn take_back(flock: &Flock, within: Duration, starts: &mut [Begun], birds: &[BirdName]) {
    let effects = starts.iter_mut().zip(birds);
    let (starts, questions): (Vec<_>, Vec<_>) = effects
        .filter_map(|(start, name)| {
            let req = start.effect()?;
            Some((start, (name.clone(), req)))
        })
        .unzip();
    let make = |req, deadline, (name, start)| Input::Undo { req, start, name, deadline };
    let ends = Course { flock, within }.ask(questions, |_| 0, make, |_| true).await;
    for (start, end) in starts.into_iter().zip(ends) {
        let lived = start.outcome.is_ok();
        start.outcome = Err(match end {
            End::Answered(_, Answer::Stopped | Answer::NoSuchBird) if lived => {
                RequestError::RolledBack
            }
            End::Answered(_, Answer::Stopped | Answer::NoSuchBird) => RequestError::Withdrawn,
            // "It may still take effect" is true of it as before.
            _ if !lived => RequestError::TimedOut,
            End::Answered(_, answer) => {
                RequestError::NotRolledBack(Box::new(flock.refusal(answer)))
            }
            End::Unasked | End::Closed => {
                RequestError::NotRolledBack(Box::new(RequestError::Closed))
            }
        });
    }
}

impl StopMany {
    pub(crate) fn new(flock: Flock, names: impl IntoIterator<Item = impl Into<String>>) -> Self {
        let mut list = List::new();
        for name in names {
            list.push(name.into(), Ok(()));
        }
        Self { flock, list, within: DEADLINE }
    }

    /// Waits no longer than this for all of them. Default: 10 s.
    pub const fn deadline(mut self, within: Duration) -> Self {
        self.within = within;
        self
    }

    async fn run(self) -> Outcomes<()> {
        let Self { flock, list, within } = self;
        let (names, questions) = list.split();
        let make = |req, deadline, (name, ())| Input::Stop { req, name, deadline };
        let ends = Course { flock: &flock, within }.ask(questions, |_| 0, make, |_| true).await;
        let stopped = |end| match end {
            End::Answered(_, Answer::Stopped) => Ok(()),
            End::Answered(_, other) => Err(flock.refusal(other)),
            End::Unasked | End::Closed => Err(RequestError::Closed),
        };
        let ends: Vec<Result<(), RequestError>> = ends.into_iter().map(stopped).collect();
        // Once the first has stopped it, there is none.
        let twin = |end: &Result<_, _>| end.clone().err().unwrap_or(RequestError::NoSuchBird);
        names.outcomes(ends.iter().cloned(), |at| ends.get(at).map(twin))
    }
}

impl<B: Bird> IntoFuture for StartMany<B> {
    type Output = Outcomes<BirdRef<B>>;
    type IntoFuture = Pending<Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.run())
    }
}

impl IntoFuture for StopMany {
    type Output = Outcomes<()>;
    type IntoFuture = Pending<Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.run())
    }
}

impl<B: Bird> fmt::Debug for StartMany<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = self.list.len();
        let roll_back = self.roll_back;
        f.debug_struct("StartMany").field("names", &names).field("roll_back", &roll_back).finish()
    }
}

impl fmt::Debug for StopMany {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StopMany").field("names", &self.list.len()).finish_non_exhaustive()
    }
}
