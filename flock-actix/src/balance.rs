//! Say over who owns how much: shares taken when somebody asks for it, weights, and what would move.

use flock_proto::{Answer, Input, MAX_WEIGHT, NameError, Nest, NestName, WhatIf, WhatIfError};

use crate::error::RequestError;
use crate::flock::Flock;
use crate::request::DEADLINE;

/// So many names are counted in one go, in a few milliseconds; then others have their turn with the
/// core.
const PIECE: usize = 4096;

/// Something that may be about to happen to a flock. See [`Flock::plan`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Change {
    /// A nest joins, and takes its share: one that is [passive](crate::Rebalancing::Passive) does so
    /// later.
    Join {
        /// Its name. Where a nest's points lie on the ring depends on that alone.
        name: String,
        /// Its weight.
        weight: u32,
    },
    /// This nest leaves or dies. If it has a share, nests that wait for theirs take them.
    Leave(String),
    /// This nest is given another weight.
    Weight {
        /// Its name.
        nest: String,
        /// The weight that it will have.
        weight: u32,
    },
    /// All nests that wait for their shares take them: [`Flock::rebalance`].
    Rebalance,
}

/// Why there is no plan. Nothing was changed, as ever.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PlanError {
    /// The text is no name.
    #[error("{0}")]
    BadName(#[from] NameError),
    /// No such nest is alive, as far as this one knows.
    #[error("there is no nest {0}")]
    NoSuchNest(NestName),
    /// A nest of this name is alive, and no other can join.
    #[error("a nest named {0} lives in the flock")]
    NameTaken(NestName),
    /// The weight is beyond the ring's largest.
    #[error("a weight of {0} is too large, the largest is {MAX_WEIGHT}")]
    BadWeight(u32),
    /// This nest is shut down.
    #[error("this nest is shut down")]
    Closed,
}

impl From<WhatIfError> for PlanError {
    fn from(error: WhatIfError) -> Self {
        match error {
            WhatIfError::NoSuchNest(nest) => Self::NoSuchNest(nest),
            WhatIfError::NameTaken(nest) => Self::NameTaken(nest),
            WhatIfError::BadWeight(weight) => Self::BadWeight(weight),
        }
    }
}

impl Change {
    fn parse(self) -> Result<WhatIf, NameError> {
        Ok(match self {
            Self::Join { name, weight } => WhatIf::Join { name: NestName::new(&name)?, weight },
            Self::Leave(nest) => WhatIf::Leave(NestName::new(&nest)?),
            Self::Weight { nest, weight } => WhatIf::Weigh { nest: NestName::new(&nest)?, weight },
            Self::Rebalance => WhatIf::Rebalance,
        })
    }
}

impl Flock {
    /// Has all nests of the flock that wait for it take their shares of the birds, and says which ones
    /// wait, as far as this nest knows. Resolves at once; the birds move afterwards. See [`Rebalancing`](crate::Rebalancing).
    ///
    /// It reaches every nest that is up and in contact, over whatever others, also if this nest leaves
    /// right away; one that comes up later waits for the next time.
    pub async fn rebalance(&self) -> Result<Vec<NestName>, RequestError> {
        match self.ask(DEADLINE, |req, _| Input::Rebalance { req }).await? {
            Answer::Rebalancing { waiting } => Ok(waiting),
            other => Err(self.refusal(other)),
        }
    }

    /// Gives this nest another [weight](crate::Builder::weight). Resolves at once; the birds move
    /// afterwards. With 0 all of them go to other nests, and this one stays: it calls birds, and knows
    /// all that the others know. (If no nest has a weight, birds stay where they are, and none can be
    /// started.) One that waits for its share waits on, for the new one.
    ///
    /// Weights above 64 are [`RequestError::BadWeight`].
    pub async fn set_weight(&self, weight: u32) -> Result<(), RequestError> {
        if weight > MAX_WEIGHT {
            return Err(RequestError::BadWeight(weight));
        }
        match self.ask(DEADLINE, move |req, _| Input::Weigh { req, weight }).await? {
            Answer::Weighed => Ok(()),
            other => Err(self.refusal(other)),
        }
    }

    /// Which birds would move, if something happened: from where to where, and what each nest would own
    /// then. Changes nothing.
    ///
    /// It goes by the names that this nest knows and the ring as it sees it: in a flock at rest, just
    /// these birds move if that happens, and nothing else. A bird that is on its way at the moment, or
    /// has yet to go, counts as where it belongs. So do grounded birds, which don't live anywhere.
    ///
    /// Every name is looked at, some thousands at a time, so that the nest does all else meanwhile. A
    /// ring that changes in between has it begin anew.
    pub async fn plan(&self, change: Change) -> Result<flock_proto::Plan, PlanError> {
        let what = change.parse()?;
        let core = self.core().ok_or(PlanError::Closed)?;
        loop {
            let what = what.clone();
            let begun = core.look(move |nest: &Nest| nest.forecast(&what)).await;
            let mut forecast = begun.ok_or(PlanError::Closed)??;
            loop {
                let count = move |nest: &Nest| {
                    let counted = nest.count_moves(&mut forecast, PIECE);
                    (counted, forecast)
                };
                let (counted, so_far) = core.look(count).await.ok_or(PlanError::Closed)?;
                match counted {
                    Some(true) => return Ok(so_far.plan()),
                    Some(false) => forecast = so_far,
                    None => break,
                }
            }
        }
    }
}
