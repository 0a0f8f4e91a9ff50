//! Many questions to the core, so many at a time.
//!
//! What waits here costs what the caller gave; what is with the core costs it entries, timers and
//! frames. So the core has a bounded part of a large bulk at any time, and those who ask it single
//! questions meanwhile don't wait behind all of it.

use std::time::Duration;

use flock_proto::{Input, ReqId, Time};
use tokio::sync::mpsc;

use crate::core::{Answered, Answers, Ask, Core, Deadline, Reply};
use crate::flock::Flock;

/// What is with the core at one time: enough that its thread and those of birds never wait for the caller, and not
/// more than fits into a processor's caches beside all else.
const MOST: Load = Load { questions: 2048, bytes: 8 << 20 };

/// What is handed to it in one go.
const PIECE: Load = Load { questions: 512, bytes: 1 << 20 };

/// How a question ended.
pub(super) enum End {
    /// With this answer to the question of this number.
    Answered(ReqId, Reply),
    /// It wasn't asked: another's answer was bad.
    Unasked,
    /// The nest was shut down.
    Closed,
}

/// Where the questions go, and how long all of them may take.
pub(super) struct Course<'a> {
    pub(super) flock: &'a Flock,
    pub(super) within: Duration,
}

#[derive(Clone, Copy, Default)]
struct Load {
    questions: usize,
    bytes: usize,
}

impl Course<'_> {
    /// Asks all, and gives what `become_of` makes of the end of each, in their order. After an answer that isn't
    /// `good` no further question is asked.
    pub(super) async fn ask<Q: Send + 'static, E>(
        self,
        questions: Vec<Q>,
        bytes: impl Fn(&Q) -> usize,
        make: impl Fn(ReqId, Time, Q) -> Input + Clone + Send + 'static,
        good: impl Fn(&Reply) -> bool,
        become_of: impl Fn(usize, End) -> E,
    ) -> Vec<E> {
        let mut ends: Vec<Option<E>> = questions.iter().map(|_| None).collect();
        let Some(core) = self.flock.core() else {
            return all(ends, |at| become_of(at, End::Closed));
        };
        let deadline = self.flock.shared().now() + self.within;
        let sizes: Vec<usize> = questions.iter().map(bytes).collect();
        let mut rest = questions.into_iter().zip(sizes.iter().copied());
        let (answers, mut answered) = mpsc::unbounded_channel();
        let (mut asked, mut load, mut all_good) = (0, Load::default(), true);
        let mut heard: Vec<Answered> = Vec::new();
        loop {
            while all_good && load.has_room() && asked < ends.len() {
                let piece = Load::piece(&mut rest);
                load.add(piece.len(), piece.iter().map(|(_, bytes)| bytes).sum());
                let from = asked;
                asked += piece.len();
                say(core, piece, from, deadline, make.clone(), answers.clone());
            }
            if load.questions == 0 {
                return all(ends, |at| become_of(at, End::Unasked));
            }
            tokio::select! {
                biased;
                _ = answered.recv_many(&mut heard, PIECE.questions) => {}
                () = core.closed() => return all(ends, |at| become_of(at, End::Closed)),
            }
            // While the core sees to the others.
            for (at, req, reply) in heard.drain(..).flatten() {
                all_good &= good(&reply);
                load.take(sizes.get(at).copied().unwrap_or(0));
                if let Some(end) = ends.get_mut(at) {
                    *end = Some(become_of(at, End::Answered(req, reply)));
                }
            }
        }
    }
}

/// All ends; of those that haven't come by now, what `rest` says.
fn all<E>(ends: Vec<Option<E>>, rest: impl Fn(usize) -> E) -> Vec<E> {
    let end = |(at, end): (usize, Option<E>)| end.unwrap_or_else(|| rest(at));
    ends.into_iter().enumerate().map(end).collect()
}

fn say<Q: Send + 'static>(
    core: &Core,
    piece: Vec<(Q, usize)>,
    from: usize,
    deadline: Time,
    make: impl Fn(ReqId, Time, Q) -> Input + Send + 'static,
    answers: mpsc::UnboundedSender<Answered>,
) {
    core.ask_many(Ask {
        count: piece.len(),
        deadline: Deadline::At(deadline),
        make: Box::new(move |first, deadline, inputs| {
            let numbers = (first.0..).map(ReqId);
            let made = numbers.zip(piece).map(|(req, (question, _))| make(req, deadline, question));
            inputs.extend(made);
        }),
        answers: Answers::Many { answers, from },
    });
}

impl Load {
    /// The next piece. A question that is larger goes alone.
    fn piece<Q>(rest: &mut impl Iterator<Item = (Q, usize)>) -> Vec<(Q, usize)> {
        let mut piece = Self::default();
        let mut taken = Vec::new();
        while piece.questions < PIECE.questions && piece.bytes < PIECE.bytes {
            let Some((question, bytes)) = rest.next() else { break };
            piece.add(1, bytes);
            taken.push((question, bytes));
        }
        taken
    }

    /// Whether one more piece may go.
    const fn has_room(&self) -> bool {
        self.questions + PIECE.questions <= MOST.questions && self.bytes + PIECE.bytes <= MOST.bytes
    }

    const fn add(&mut self, questions: usize, bytes: usize) {
        self.questions += questions;
        self.bytes += bytes;
    }

    const fn take(&mut self, bytes: usize) {
        self.questions = self.questions.saturating_sub(1);
        self.bytes = self.bytes.saturating_sub(bytes);
    }
}
