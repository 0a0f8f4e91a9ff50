//! The names given, and where the outcome of each comes from. Each is asked about once.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use flock_proto::BirdName;

use super::Outcomes;
use crate::error::RequestError;

/// Names as they are given, with what else there is to say of each.
pub(super) struct List<T> {
    names: Vec<(String, Place)>,
    questions: Vec<(BirdName, T)>,
    seen: HashMap<BirdName, usize>,
}

/// The names, once the questions are taken out.
pub(super) struct Names(Vec<(String, Place)>);

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
    pub(super) fn new() -> Self {
        Self { names: Vec::new(), questions: Vec::new(), seen: HashMap::new() }
    }

    pub(super) const fn len(&self) -> usize {
        self.names.len()
    }

    pub(super) fn push(&mut self, name: String, rest: Result<T, RequestError>) {
        let checked = BirdName::new(&name).map_err(RequestError::from);
        let place = match checked.and_then(|name| Ok((name, rest?))) {
            Err(error) => Place::Bad(error),
            Ok((name, rest)) => match self.seen.entry(name) {
                Entry::Occupied(first) => Place::Twin(*first.get()),
                Entry::Vacant(entry) => {
                    let name = entry.key().clone();
                    entry.insert(self.questions.len());
                    self.questions.push((name, rest));
                    Place::First
                }
            },
        };
        self.names.push((name, place));
    }

    /// The names, and the questions in their order.
    pub(super) fn split(self) -> (Names, Vec<(BirdName, T)>) {
        (Names(self.names), self.questions)
    }
}

impl Names {
    /// Is there one about which nothing can be asked?
    pub(super) fn any_bad(&self) -> bool {
        self.0.iter().any(|(_, place)| matches!(place, Place::Bad(_)))
    }

    /// Was one given twice?
    pub(super) fn any_twin(&self) -> bool {
        self.0.iter().any(|(_, place)| matches!(place, Place::Twin(_)))
    }

    /// The outcomes in the order of the names, from what came of each question in turn; and for a
    /// name that was given before, from what its second request comes to.
    pub(super) fn outcomes<U>(
        self,
        mut firsts: impl Iterator<Item = Result<U, RequestError>>,
        twin: impl Fn(usize) -> Option<RequestError>,
    ) -> Outcomes<U> {
        // There is an answer to each question, and a question for each of these.
        let none = RequestError::Closed;
        let outcome = |(name, place)| {
            let outcome = match place {
                Place::Bad(error) => Err(error),
                Place::First => firsts.next().unwrap_or_else(|| Err(none.clone())),
                Place::Twin(at) => Err(twin(at).unwrap_or_else(|| none.clone())),
            };
            (name, outcome)
        };
        Outcomes::new(self.0.into_iter().map(outcome).collect())
    }
}
