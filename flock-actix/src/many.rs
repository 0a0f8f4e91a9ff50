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
use crate::core::Reply;
use crate::error::RequestError;
use crate::flock::Flock;
use crate::request::{DEADLINE, Pending};
use course::{Course, End};
use list::{List, Names};
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
        let birds = birds.into_iter();
        let mut list = List::new(birds.size_hint().0);
        for (name, args) in birds {
            let args = codec::encode_args(&args);
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
        let begun = |at, end| Begun::new(&flock, names.of(at), end);
        let mut starts: Vec<Begun<B>> = if roll_back && names.any_bad() {
            (0..questions.len()).map(|at| begun(at, End::Unasked)).collect()
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
            let good = |reply: &Reply| !roll_back || reply.is_start();
            Course { flock: &flock, within }.ask(questions, |q| q.1.len(), make, good, begun).await
        };
        if roll_back && (names.any_twin() || starts.iter().any(|start| start.outcome.is_err())) {
            take_back(&flock, within, &mut starts, &names).await;
        }
        names.outcomes(starts, |start| start.twin(&flock), |start| start.outcome)
    }
}

/// A start, and what came of it.
struct Begun<B> {
    req: Option<ReqId>,
    /// Where it was started, if it was.
    on: Option<Place>,
    outcome: Result<BirdRef<B>, RequestError>,
}

/// A nest on which a bird was started.
enum Place {
    Here,
    At(NestName),
}

impl<B: Bird> Begun<B> {
    fn new(flock: &Flock, name: &str, end: End) -> Self {
        let (req, on) = match end {
            End::Answered(req, Reply::StartedHere) => (req, Place::Here),
            End::Answered(req, Reply::Other(Answer::Started { nest, .. })) => {
                (req, Place::At(nest))
            }
            End::Answered(req, Reply::Other(answer)) => {
                return Self { req: Some(req), on: None, outcome: Err(flock.refusal(answer)) };
            }
            End::Unasked => return Self::unasked(RequestError::RolledBack),
            End::Closed => return Self::unasked(RequestError::Closed),
        };
        let bird = BirdRef::find(name, flock.shared());
        Self { req: Some(req), on: Some(on), outcome: bird.map_err(RequestError::from) }
    }

    const fn unasked(why: RequestError) -> Self {
        Self { req: None, on: None, outcome: Err(why) }
    }

    /// What a second start of the same name, by the same call, comes to.
    fn twin(&self, flock: &Flock) -> RequestError {
        match (&self.outcome, &self.on) {
            (Err(RequestError::RolledBack) | Ok(_), Some(on)) => {
                let nest = match on {
                    Place::Here => flock.shared().name.clone(),
                    Place::At(nest) => nest.clone(),
                };
                RequestError::AlreadyExists { species: Some(B::SPECIES.into()), nest }
            }
            (Err(error), _) => error.clone(),
            (Ok(_), None) => RequestError::Closed,
        }
    }

    /// What there is to take back, by the number of the start.
    fn effect(&self) -> Option<ReqId> {
        let effect = matches!(self.outcome, Ok(_) | Err(RequestError::TimedOut));
        self.req.filter(|_| effect)
    }
}

async fn take_back<B: Bird>(
    flock: &Flock,
    within: Duration,
    starts: &mut [Begun<B>],
    names: &Names,
) {
    let (starts, questions): (Vec<_>, Vec<_>) = starts
        .iter_mut()
        .enumerate()
        .filter_map(|(at, start)| {
            let req = start.effect()?;
            // It was a name before.
            let name = BirdName::new(names.of(at)).ok()?;
            Some((start, (name, req)))
        })
        .unzip();
    let make = |req, deadline, (name, start)| Input::Undo { req, start, name, deadline };
    let course = Course { flock, within };
    let ends = course.ask(questions, |_| 0, make, |_| true, |_, end| end).await;
    for (start, end) in starts.into_iter().zip(ends) {
        let lived = start.outcome.is_ok();
        start.outcome = Err(match end {
            End::Answered(_, Reply::Other(Answer::Stopped | Answer::NoSuchBird)) if lived => {
                RequestError::RolledBack
            }
            End::Answered(_, Reply::Other(Answer::Stopped | Answer::NoSuchBird)) => {
                RequestError::Withdrawn
            }
            // "It may still take effect" is true of it as before.
            _ if !lived => RequestError::TimedOut,
            End::Answered(_, Reply::Other(answer)) => {
                RequestError::NotRolledBack(Box::new(flock.refusal(answer)))
            }
            End::Answered(_, Reply::StartedHere) | End::Unasked | End::Closed => {
                RequestError::NotRolledBack(Box::new(RequestError::Closed))
            }
        });
    }
}

impl StopMany {
    pub(crate) fn new(flock: Flock, names: impl IntoIterator<Item = impl Into<String>>) -> Self {
        let names = names.into_iter();
        let mut list = List::new(names.size_hint().0);
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
        let stopped = |_, end| match end {
            End::Answered(_, Reply::Other(Answer::Stopped)) => Ok(()),
            End::Answered(_, Reply::Other(other)) => Err(flock.refusal(other)),
            End::Answered(_, Reply::StartedHere) | End::Unasked | End::Closed => {
                Err(RequestError::Closed)
            }
        };
        let course = Course { flock: &flock, within };
        let ends = course.ask(questions, |_| 0, make, |_| true, stopped).await;
        // Once the first has stopped it, there is none.
        let twin = |end: &Result<_, _>| end.clone().err().unwrap_or(RequestError::NoSuchBird);
        names.outcomes(ends, twin, |end| end)
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
