//! Many questions to the core, so many at a time.
//!
//! What waits here costs what the caller gave; what is with the core costs it entries, timers and
//! frames. So the core has a bounded part of a large bulk at any time, and those who ask it single
//! questions meanwhile don't wait behind all of it.

use std::time::Duration;

use flock_proto::{Answer, Input, ReqId, Time};
use tokio::sync::mpsc;

use crate::core::{Answered, Answers, Ask, Core, Deadline};
use crate::flock::Flock;

/// What is with the core at one time.
const MOST: Load = Load { questions: 16_384, bytes: 8 << 20 };

/// What is handed to it in one go.
const PIECE: Load = Load { questions: 1024, bytes: 1 << 20 };

/// How a question ended.
pub(super) enum End {
    /// With this answer to the question of this number.
    Answered(ReqId, Answer),
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
    /// Asks all, and says how each ended, in their order. After an answer that isn't `good` no
    /// further question is asked.
    pub(super) async fn ask<Q: Send + 'static>(
        self,
        questions: Vec<Q>,
        bytes: impl Fn(&Q) -> usize,
        make: impl Fn(ReqId, Time, Q) -> Input + Clone + Send + 'static,
        good: impl Fn(&Answer) -> bool,
    ) -> Vec<End> {
        let mut ends: Vec<End> = questions.iter().map(|_| End::Unasked).collect();
        let Some(core) = self.flock.core() else {
            ends.fill_with(|| End::Closed);
            return ends;
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
                for end in ends.get_mut(from..asked).unwrap_or_default() {
                    *end = End::Closed;
                }
                say(core, piece, from, deadline, make.clone(), answers.clone());
            }
            if load.questions == 0 {
                return ends;
            }
            tokio::select! {
                biased;
                _ = answered.recv_many(&mut heard, PIECE.questions) => {}
                () = core.closed() => {
                    let open = ends.iter_mut().filter(|end| matches!(end, End::Unasked));
                    open.for_each(|end| *end = End::Closed);
                    return ends;
                }
            }
            for (at, req, answer) in heard.drain(..).flatten() {
                all_good &= good(&answer);
                load.take(sizes.get(at).copied().unwrap_or(0));
                if let Some(end) = ends.get_mut(at) {
                    *end = End::Answered(req, answer);
                }
            }
        }
    }
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
