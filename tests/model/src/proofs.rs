//! What shows that each rule is needed: where something must not be as it is, once the rule is left out.

use crate::rules::{Rule, Rules};
use crate::scenes::scene;
use crate::search::{Broken, Model};

/// How a rule is shown to be needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Proof {
    /// By going through the states of this configuration, those nearest to the first one first: so the way to
    /// what must not be is the shortest.
    States(&'static str),
    /// By going so many steps along random ways through this one, from this seed on.
    Ways(&'static str, u64, u64),
    /// Not at all, in any configuration that was tried: see the rule.
    None,
}

impl Rule {
    /// What shows that this rule is needed.
    pub const fn proof(self) -> Proof {
        use Proof::{None, States, Ways};
        match self {
            Self::SealViews | Self::DecideSettled | Self::AwaitListed | Self::AwaitReady => {
                States("join")
            }
            Self::SealLinks | Self::RepeatDeparts => States("join-break"),
            Self::KeepSeals => States("misjudged-leave"),
            Self::AskForSeals => States("misjudged"),
            Self::ListSnaps | Self::DepartToSealed => States("join-leave"),
            Self::SealsNameViews => States("leave"),
            Self::SealsOnce => Ways("majority-4", 1, 2_000_000),
            Self::CoverSeals | Self::ServeSettled | Self::ClaimCopies => States("join-stop-3"),
            Self::NewcomersSeal | Self::MinorityStops | Self::MajorityWaits => States("majority-3"),
            Self::AwaitEveryBirth | Self::TellEnds | Self::TellEndedSnaps | Self::StopAfterEnd => {
                States("join-start")
            }
            Self::AwaitEveryListing | Self::TellMissing => Ways("majority-join-4", 1, 2_000_000),
            Self::RefusalsEndNoWait | Self::ClaimAnswers => Ways("smooth-4", 1, 2_000_000),
            Self::EndsInOrder => States("join-ends"),
            Self::EndsReachSeals => States("cut-requests"),
            Self::FreshReady => States("cut-leave"),
            Self::SettleAnew => Ways("majority-4", 2, 3_000_000),
            Self::KeepSnaps => States("join-told-break"),
            Self::FreeSnaps => States("join-crash"),
            Self::RefuseAll => Ways("cut-4", 1, 4_000_000),
            Self::LivesByNest | Self::RepeatLost | Self::LeaveStates | Self::SealsKeepStates => {
                States("cut-starts-told")
            }
            Self::JoinerHeld | Self::JoinerHeldByAll => States("join-crash-3"),
            Self::LeaverIdle => States("leave-told"),
            Self::LeaverCovered => States("leave-ends"),
            Self::TwoHolders => States("crash-start-3"),
            Self::KeepTokens => States("crash-token-3"),
            Self::RememberAnswers => Ways("requests-4", 1, 1_000_000),
            Self::KnowListed => States("cut-deny"),
            Self::LosersEnd => States("cut-starts"),
            Self::LivesOutlive => States("cut-ends"),
            Self::CarryStates | Self::MergeStates => States("cut-told"),
            Self::MergeOnce => Ways("misjudged-4", 1, 1_000_000),
            Self::MinorityIdle => States("majority-start-3"),
            Self::RefusalsUnseal
            | Self::SentSnapsWait
            | Self::KeepOrphans
            | Self::RememberAccepted
            | Self::JoinerKnows
            | Self::LeaverAgreed
            | Self::WholePrefix => None,
        }
    }

    /// Leaves this rule out where that must show. The model, and what it found.
    pub fn left_out(self) -> Option<(Model, Option<Broken>)> {
        /// Far more than it takes.
        const MOST: usize = 1_000_000;
        let model =
            |name| scene(name).map(|config| Model { config, rules: Rules::all().without(self) });
        match self.proof() {
            Proof::States(name) => model(name).map(|model| {
                let broken = model.explore(MOST).broken;
                (model, broken)
            }),
            Proof::Ways(name, seed, steps) => model(name).map(|model| {
                let broken = model.walk(seed, steps).broken;
                (model, broken)
            }),
            Proof::None => None,
        }
    }
}
