//! The names given, and where the outcome of each comes from. Each is asked about once.

use std::collections::{BTreeMap, HashMap};
use std::hash::BuildHasherDefault;

use flock_proto::BirdName;

use super::Outcomes;
use crate::error::RequestError;
use crate::table::AsIs;

/// Names as they are given, with what else there is to say of each.
pub(super) struct List<T> {
    names: Names,
    questions: Vec<(BirdName, T)>,
    /// The first question about a name of this hash. No name as the key: its count of owners would be
    /// written once more for each.
    seen: HashMap<u64, usize, BuildHasherDefault<AsIs>>,
    /// Questions about names of whose hash another was there before.
    unlikely: BTreeMap<BirdName, usize>,
}

/// The names, in the order in which they were given.
#[derive(Default)]
pub(super) struct Names {
    given: Vec<(String, Place)>,
    /// Which of them each question is about.
    asked: Vec<usize>,
}

/// Where the outcome of a name comes from.
enum Place {
    /// Nothing is asked.
    Bad(RequestError),
    /// The next question.
    First,
    /// The question of this number, which the same name, given before, has asked.
    Twin(usize),
}

impl<T> List<T> {
    /// With room for so many.
    pub(super) fn new(room: usize) -> Self {
        let names = Names { given: Vec::with_capacity(room), asked: Vec::with_capacity(room) };
        let seen = HashMap::with_capacity_and_hasher(room, BuildHasherDefault::default());
        let questions = Vec::with_capacity(room);
        Self { names, questions, seen, unlikely: BTreeMap::new() }
    }

    pub(super) const fn len(&self) -> usize {
        self.names.given.len()
    }

    pub(super) fn push(&mut self, name: String, rest: Result<T, RequestError>) {
        let checked = BirdName::new(&name).map_err(RequestError::from);
        let place = match checked.and_then(|name| Ok((name, rest?))) {
            Err(error) => Place::Bad(error),
            Ok((name, rest)) => match self.before(name.hash64(), &name) {
                Some(first) => Place::Twin(first),
                None => {
                    self.names.asked.push(self.len());
                    self.questions.push((name, rest));
                    Place::First
                }
            },
        };
        self.names.given.push((name, place));
    }

    /// The question that was asked about this name before; else the next is noted to be about it.
    fn before(&mut self, hash: u64, name: &BirdName) -> Option<usize> {
        let next = self.questions.len();
        let first = *self.seen.entry(hash).or_insert(next);
        if first == next {
            return None;
        }
        if self.questions.get(first).is_some_and(|(other, _)| other == name) {
            return Some(first);
        }
        let before = self.unlikely.get(name).copied();
        if before.is_none() {
            self.unlikely.insert(name.clone(), next);
        }
        before
    }

    /// The names, and the questions in their order.
    pub(super) fn split(self) -> (Names, Vec<(BirdName, T)>) {
        (self.names, self.questions)
    }
}

impl Names {
    /// Is there one about which nothing can be asked?
    pub(super) fn any_bad(&self) -> bool {
        self.given.iter().any(|(_, place)| matches!(place, Place::Bad(_)))
    }

    /// Was one given twice?
    pub(super) fn any_twin(&self) -> bool {
        self.given.iter().any(|(_, place)| matches!(place, Place::Twin(_)))
    }

    /// What the question of this number is about.
    pub(super) fn of(&self, question: usize) -> &str {
        let given = self.asked.get(question).and_then(|at| self.given.get(*at));
        given.map_or("", |(name, _)| name)
    }

    /// The outcomes in the order of the names: what came of each question in turn; and for a name
    /// that was given before, what its `twin`, the second request, comes to.
    pub(super) fn outcomes<E, U>(
        self,
        ends: Vec<E>,
        twin: impl Fn(&E) -> RequestError,
        outcome: impl Fn(E) -> Result<U, RequestError>,
    ) -> Outcomes<U> {
        let of_twin = |(_, place): &(String, Place)| match place {
            Place::Twin(at) => Some((*at, twin(ends.get(*at)?))),
            _ => None,
        };
        let twins: BTreeMap<usize, RequestError> = self.given.iter().filter_map(of_twin).collect();
        // There is an answer to each question, and a question for each of these.
        let none = RequestError::Closed;
        let mut ends = ends.into_iter();
        let outcome = |(name, place)| {
            let outcome = match place {
                Place::Bad(error) => Err(error),
                Place::First => ends.next().map_or_else(|| Err(none.clone()), &outcome),
                Place::Twin(at) => Err(twins.get(&at).unwrap_or(&none).clone()),
            };
            (name, outcome)
        };
        Outcomes::new(self.given.into_iter().map(outcome).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_share_a_hash_are_not_taken_for_each_other() {
        let mut list = List::new(0);
        let before = ["robin", "wren", "crow", "wren", "robin", "crow"].map(|name| {
            let name = BirdName::new(name).unwrap();
            let before = list.before(7, &name);
            if before.is_none() {
                list.questions.push((name, ()));
            }
            before
        });
        assert_eq!(before, [None, None, None, Some(1), Some(0), Some(2)]);
    }
}
