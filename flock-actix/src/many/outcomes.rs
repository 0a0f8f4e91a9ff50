//! An outcome for each name.

use std::fmt;

use crate::error::RequestError;

/// What became of each name of a bulk request, in the order in which they were given. From
/// [`Flock::start_many`](crate::Flock::start_many) and [`Flock::stop_many`](crate::Flock::stop_many).
#[derive(Clone, Debug)]
#[must_use = "some of them may have failed"]
pub struct Outcomes<T> {
    each: Vec<(String, Result<T, RequestError>)>,
}

impl<T> Outcomes<T> {
    pub(super) const fn new(each: Vec<(String, Result<T, RequestError>)>) -> Self {
        Self { each }
    }

    /// How many names were given.
    pub const fn len(&self) -> usize {
        self.each.len()
    }

    /// Was no name given?
    pub const fn is_empty(&self) -> bool {
        self.each.is_empty()
    }

    /// Whether all went well; so it did if there were none.
    pub fn all_ok(&self) -> bool {
        self.each.iter().all(|(_, outcome)| outcome.is_ok())
    }

    /// What all came to, or what failed: for `?`.
    pub fn into_result(self) -> Result<Vec<T>, SomeFailed> {
        let of = self.each.len();
        let (mut all, mut failed) = (Vec::with_capacity(of), Vec::new());
        for (name, outcome) in self.each {
            match outcome {
                Ok(one) => all.push(one),
                Err(error) => failed.push((name, error)),
            }
        }
        if failed.is_empty() { Ok(all) } else { Err(SomeFailed { failed, of }) }
    }

    /// Each name with its outcome.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, &Result<T, RequestError>)> {
        self.each.iter().map(|(name, outcome)| (name.as_str(), outcome))
    }

    /// What went well.
    pub fn ok(&self) -> impl Iterator<Item = (&str, &T)> {
        self.iter().filter_map(|(name, outcome)| Some((name, outcome.as_ref().ok()?)))
    }

    /// What failed.
    pub fn failed(&self) -> impl Iterator<Item = (&str, &RequestError)> {
        self.iter().filter_map(|(name, outcome)| Some((name, outcome.as_ref().err()?)))
    }
}

impl<T> IntoIterator for Outcomes<T> {
    type Item = (String, Result<T, RequestError>);
    type IntoIter = std::vec::IntoIter<Self::Item>;

    fn into_iter(self) -> Self::IntoIter {
        self.each.into_iter()
    }
}

/// Some names of a bulk request failed.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct SomeFailed {
    /// Which, and why, in the order in which they were given.
    pub failed: Vec<(String, RequestError)>,
    /// How many names there were.
    pub of: usize,
}

impl std::error::Error for SomeFailed {}

// By hand, for it is what `unwrap` and `main` show, and there may be thousands.
impl fmt::Debug for SomeFailed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for SomeFailed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {} failed", self.failed.len(), self.of)?;
        // What was rolled back is no cause.
        let is_cause = |e: &RequestError| {
            !matches!(e, RequestError::RolledBack | RequestError::NotRolledBack(_))
        };
        let cause = self.failed.iter().find(|(_, error)| is_cause(error));
        match cause.or_else(|| self.failed.first()) {
            Some((name, error)) => write!(f, ", {name:?} because {error}"),
            None => Ok(()),
        }
    }
}
