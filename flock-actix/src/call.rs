//! Calls and casts as messages, and all the ways in which a call can fail.

use actix::Message;

use crate::bird::{Hears, Wire};
use crate::bird_ref::BirdRef;

/// Why a call brought no answer.
#[derive(Clone, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum CallError {
    /// No bird of this name lives. Nothing was handled.
    #[error("no bird of this name lives")]
    NoSuchBird,
    /// The bird is of another species. Nothing was handled.
    #[error("the bird is of another species{}", .actual.as_ref().map(|s| format!(", {s}")).unwrap_or_default())]
    WrongSpecies {
        /// Its species, if it is known where the call ended.
        actual: Option<String>,
    },
    /// The build that runs the bird doesn't know it to hear this message. Nothing was handled.
    #[error("the bird doesn't hear this message")]
    NotHeard,
    /// The bird crashed while it handled the call. Others that wait in its inbox don't suffer.
    #[error("the bird crashed while it handled the call")]
    Crashed,
    /// The bird crashed too often and isn't restarted until somebody revives it. Nothing was
    /// handled.
    #[error("the bird is grounded: {reason}")]
    Grounded {
        /// Its last crash, in words.
        reason: String,
    },
    /// The bird's life ended, by a stop or a move, before its answer was ready. What it did until
    /// then stands.
    #[error("the bird's life ended before its answer was ready")]
    Interrupted,
    /// The deadline passed. The bird may still handle the call, or have handled it.
    #[error("the deadline passed; the bird may have handled the call")]
    TimedOut,
    /// The link broke after the call was sent. The bird may have handled it. (One that breaks
    /// beyond a relay isn't seen here: then the call ends as `TimedOut`.)
    #[error("the link broke; the bird may have handled the call")]
    OutcomeUnknown,
    /// The bird's inbox, or the buffer on the way to it, is full: nothing was handled. Or, from
    /// another nest, the answer found no room on its way back: then the bird has handled the call.
    #[error("the bird's inbox, or the way to it, is full")]
    Overloaded,
    /// This nest is shut down. The call may have been handled, if it was made before.
    #[error("this nest is shut down")]
    Leaving,
    /// The message or the answer could not be read. If it was the answer, the bird has handled
    /// the call.
    #[error("not decodable: {0}")]
    NotDecodable(String),
    /// The message or the answer could not be written. If it was the answer, the bird has handled
    /// the call.
    #[error("not encodable: {0}")]
    NotEncodable(String),
    /// The reference was decoded outside a flock's dispatch and never bound. Nothing was sent.
    #[error("the reference is not bound to a flock")]
    Unbound,
    /// The nest that owns the name can't hatch this species. Nothing was handled.
    #[error("the nest that owns the name doesn't know the bird's species")]
    UnknownSpecies,
    /// The nest that owns the name sees too few others, by the flock's [policy](crate::Policy). Nothing was
    /// handled.
    #[error("too few nests are there")]
    NoQuorum,
}

impl CallError {
    /// The number by which it goes over the wire; 0 is no error.
    pub(crate) const fn code(&self) -> u8 {
        match self {
            Self::NoSuchBird => 1,
            Self::WrongSpecies { .. } => 2,
            Self::NotHeard => 3,
            Self::Crashed => 4,
            Self::Grounded { .. } => 5,
            Self::Interrupted => 6,
            Self::TimedOut => 7,
            Self::OutcomeUnknown => 8,
            Self::Overloaded => 9,
            Self::Leaving => 10,
            Self::NotDecodable(_) => 11,
            Self::NotEncodable(_) => 12,
            Self::Unbound => 13,
            Self::UnknownSpecies => 14,
            Self::NoQuorum => 15,
        }
    }

    /// The words that go with the number.
    pub(crate) fn text(&self) -> &str {
        match self {
            Self::WrongSpecies { actual } => actual.as_deref().unwrap_or_default(),
            Self::Grounded { reason } => reason,
            Self::NotDecodable(text) | Self::NotEncodable(text) => text,
            _ => "",
        }
    }

    /// From what came over the wire. A number from a later version says nothing of what became of
    /// the call, and neither does this.
    pub(crate) fn from_code(code: u8, text: &str) -> Self {
        match code {
            1 => Self::NoSuchBird,
            2 => Self::WrongSpecies { actual: (!text.is_empty()).then(|| text.into()) },
            3 => Self::NotHeard,
            4 => Self::Crashed,
            5 => Self::Grounded { reason: text.into() },
            6 => Self::Interrupted,
            7 => Self::TimedOut,
            9 => Self::Overloaded,
            10 => Self::Leaving,
            11 => Self::NotDecodable(text.into()),
            12 => Self::NotEncodable(text.into()),
            13 => Self::Unbound,
            14 => Self::UnknownSpecies,
            15 => Self::NoQuorum,
            _ => Self::OutcomeUnknown,
        }
    }
}

/// The message by which an actor has the [`Router`](crate::Router) call a bird.
#[derive(Debug)]
pub struct Call<B, M> {
    pub(crate) to: BirdRef<B>,
    pub(crate) message: M,
}

impl<B: Hears<M>, M: Wire> Call<B, M> {
    /// A call of this bird.
    pub fn new(to: &BirdRef<B>, message: M) -> Self {
        Self { to: to.clone(), message }
    }
}

impl<B: Hears<M>, M: Wire> Message for Call<B, M> {
    type Result = Result<M::Result, CallError>;
}

/// The message by which an actor has the [`Router`](crate::Router) tell a bird something, without
/// an answer.
#[derive(Debug)]
pub struct Cast<B, M> {
    pub(crate) to: BirdRef<B>,
    pub(crate) message: M,
}

impl<B: Hears<M>, M: Wire> Cast<B, M> {
    /// A cast to this bird.
    pub fn new(to: &BirdRef<B>, message: M) -> Self {
        Self { to: to.clone(), message }
    }
}

impl<B: Hears<M>, M: Wire> Message for Cast<B, M> {
    type Result = ();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_error_crosses_the_wire_unchanged() {
        let texts = ["", "why"];
        for (code, text) in (1..=14).flat_map(|code| texts.map(|text| (code, text))) {
            let error = CallError::from_code(code, text);
            assert_eq!(error.code(), code);
            assert_eq!(CallError::from_code(code, error.text()), error);
        }
        assert_eq!(CallError::from_code(200, ""), CallError::OutcomeUnknown);
    }
}
