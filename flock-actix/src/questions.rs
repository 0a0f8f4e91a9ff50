//! Who asked the core what, until it is answered.

use std::collections::BTreeMap;
use std::time::Duration;

use flock_proto::{Answer, NestName, ReqId, Time};
use tokio::sync::oneshot;

use crate::core::{Answered, Answers, Reply};

/// How long after its deadline a question ends that the core has forgotten.
const GRACE: Duration = Duration::from_secs(2);

/// Open questions. Those that were asked together are noted together, by the number of the first, and
/// what is answered together is handed out together: of a hundred thousand starts each would else cost
/// an entry and a message.
#[derive(Debug)]
pub(crate) struct Questions {
    /// The name of this nest.
    here: NestName,
    asked: BTreeMap<ReqId, Asked>,
    /// Those for which answers have gathered.
    answered: Vec<ReqId>,
}

/// Questions that were asked together.
#[derive(Debug)]
struct Asked {
    deadline: Time,
    asker: Asker,
}

#[derive(Debug)]
enum Asker {
    One(oneshot::Sender<Answer>),
    Many(Many),
}

#[derive(Debug)]
struct Many {
    answers: tokio::sync::mpsc::UnboundedSender<Answered>,
    /// The place of the first.
    from: usize,
    /// Of each, whether it waits for its answer; and how many do.
    open: Vec<bool>,
    left: usize,
    gathered: Answered,
}

impl Questions {
    pub(crate) const fn new(here: NestName) -> Self {
        Self { here, asked: BTreeMap::new(), answered: Vec::new() }
    }

    /// So many were asked, with numbers from this one on.
    pub(crate) fn note(&mut self, first: ReqId, count: usize, deadline: Time, answers: Answers) {
        let asker = match answers {
            Answers::One(answer) => Asker::One(answer),
            Answers::Many { answers, from } => {
                let (open, gathered) = (vec![true; count], Vec::new());
                Asker::Many(Many { answers, from, open, left: count, gathered })
            }
        };
        self.asked.insert(first, Asked { deadline, asker });
    }

    /// The core's answer to one of them.
    pub(crate) fn answer(&mut self, req: ReqId, answer: Answer) {
        let Some((&first, asked)) = self.asked.range_mut(..=req).next_back() else { return };
        let Asker::Many(many) = &mut asked.asker else {
            if first == req
                && let Some(Asked { asker: Asker::One(asker), .. }) = self.asked.remove(&req)
            {
                // Whoever asked may have gone; then nobody wants the answer.
                let _ = asker.send(answer);
            }
            return;
        };
        let was_empty = many.gathered.is_empty();
        many.take(first, req, Reply::new(answer, &self.here));
        if was_empty && !many.gathered.is_empty() {
            self.answered.push(first);
        }
    }

    /// Hands out what has gathered.
    pub(crate) fn hand_out(&mut self) {
        for first in self.answered.drain(..) {
            let Some(Asked { asker: Asker::Many(many), .. }) = self.asked.get_mut(&first) else {
                continue;
            };
            many.hand_out();
            if many.left == 0 {
                self.asked.remove(&first);
            }
        }
    }

    /// The core answers every question in time. Should it not, the asker shall not wait for ever.
    pub(crate) fn give_up(&mut self, now: Time) {
        let late = self.asked.extract_if(.., |_, asked| asked.deadline + GRACE < now);
        for (first, Asked { asker, .. }) in late {
            match asker {
                Asker::One(asker) => drop(asker.send(Answer::TimedOut)),
                Asker::Many(mut many) => {
                    for at in 0..many.open.len() as u64 {
                        many.take(first, ReqId(first.0 + at), Reply::Other(Answer::TimedOut));
                    }
                    many.hand_out();
                }
            }
        }
    }
}

impl Many {
    /// Gathers an answer, if it is the first to this question.
    fn take(&mut self, first: ReqId, req: ReqId, reply: Reply) {
        let at = usize::try_from(req.0 - first.0).unwrap_or(usize::MAX);
        if let Some(open) = self.open.get_mut(at)
            && std::mem::take(open)
        {
            self.left -= 1;
            self.gathered.push((self.from + at, req, reply));
        }
    }

    fn hand_out(&mut self) {
        // As above.
        let _ = self.answers.send(std::mem::take(&mut self.gathered));
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::mpsc;

    use super::*;

    const THEN: Time = Time::from_micros(1_800_000_000_000_000);

    #[test]
    fn each_of_many_questions_is_answered_once_and_those_without_an_answer_in_the_end() {
        let here = NestName::new("here").unwrap();
        let mut questions = Questions::new(here.clone());
        let (answers, mut answered) = mpsc::unbounded_channel();
        questions.note(ReqId(5), 4, THEN, Answers::Many { answers, from: 20 });
        let (one, mut only) = oneshot::channel();
        questions.note(ReqId(9), 1, THEN + GRACE, Answers::One(one));

        questions.answer(ReqId(6), Answer::Stopped);
        questions.answer(ReqId(8), Answer::Revived);
        questions.answer(ReqId(6), Answer::NoSuchBird);
        questions.answer(ReqId(4), Answer::Stopped);
        questions.answer(ReqId(10), Answer::Stopped);
        assert!(answered.try_recv().is_err(), "not before all are there that come together");
        questions.hand_out();
        let other = Reply::Other;
        let both =
            vec![(21, ReqId(6), other(Answer::Stopped)), (23, ReqId(8), other(Answer::Revived))];
        assert_eq!(answered.try_recv(), Ok(both));

        let late = Duration::from_micros(1);
        questions.give_up(THEN + GRACE);
        assert!(answered.try_recv().is_err(), "the core has its time");
        questions.give_up(THEN + GRACE + late);
        let rest =
            [(20, ReqId(5)), (22, ReqId(7))].map(|(at, req)| (at, req, other(Answer::TimedOut)));
        assert_eq!(answered.try_recv(), Ok(rest.into()));
        assert!(answered.is_closed(), "nothing is left of them");

        questions.answer(ReqId(9), Answer::Stopped);
        assert_eq!(only.try_recv(), Ok(Answer::Stopped));
        assert!(questions.asked.is_empty());
    }
}
