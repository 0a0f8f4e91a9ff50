//! The rules, one by one. Each can be left out, and then something must not be as it is.

/// Names each rule, and says what it is.
macro_rules! rules {
    ($($(#[doc = $what:literal])+ $rule:ident,)+) => {
        /// A rule of the protocol.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Rule {
            $($(#[doc = $what])+ $rule,)+
        }

        impl Rule {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$rule,)+];

            /// Its name.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$rule => stringify!($rule),)+ }
            }

            /// What it says.
            pub const fn what(self) -> &'static str {
                match self { $(Self::$rule => concat!($($what,)+),)+ }
            }
        }
    };
}

rules! {
    // Rule 1: seals.
    /// On entering a view whose ring is new a nest seals it towards every other nest in it.
    SealViews,
    /// Each time a link opens a nest seals its view anew: what was under way is lost.
    SealLinks,
    /// A seal of a view that isn't reached yet is kept, and counts when it is.
    KeepSeals,
    /// A seal asks for the receiver's, if that is missing.
    AskForSeals,
    /// A seal lists what is held to be moved on, not only what runs.
    ListSnaps,

    // Rule 2: who is settled.
    /// A seal counts for the view that it names only.
    SealsNameViews,
    /// A seal counts for one stay in the view that it names: who comes back to that view asks for another. (Its
    /// author may have been in other views meanwhile.)
    /// (The core doesn't follow this one: see `docs/testing.md`.)
    SealsOnce,
    /// A seal counts once all is known that its author knew.
    CoverSeals,
    /// A nest that is new in the view must seal it before anything is decided, also where no arc was gained.
    NewcomersSeal,
    /// A bird hatches, and a depart is taken, only by a nest that is settled.
    DecideSettled,
    /// Starts and stops are decided only by a nest that is settled.
    ServeSettled,

    // Rule 3: what is listed.
    /// A listed name waits until its listing is accounted for.
    AwaitListed,
    /// It waits whatever bird is listed, not only for that of the winning record.
    AwaitEveryBirth,
    /// It waits for every nest that listed it, not only for the first one that offers.
    AwaitEveryListing,
    /// A depart that is refused ends no wait.
    RefusalsEndNoWait,
    /// Whoever ends a life tells the owner so.
    TellEnds,
    /// Whoever drops a snap tells the owner so: it may be another owner than the one that took it.
    TellEndedSnaps,
    /// That a life is over counts after what its author did before it was.
    EndsInOrder,
    /// The end of a life also strikes it from a seal that is kept for a view to come.
    EndsReachSeals,

    // Rule 4: the hand-over.
    /// The old owner serves until the new one says that it is ready.
    AwaitReady,
    /// A `Ready` counts in the view in which it was asked for, and no longer.
    FreshReady,
    /// A bird departs only to an owner whose last seal names the giver's own view.
    DepartToSealed,
    /// A nest that refuses isn't where its seal says: it must seal anew.
    /// (Not shown to be needed in any configuration that was tried: see `docs/testing.md`.)
    RefusalsUnseal,
    /// A snap is kept until its depart is answered.
    KeepSnaps,
    /// When a link opens, departs without an answer are sent again.
    RepeatDeparts,
    /// What was offered to a nest that is gone may be offered to another.
    FreeSnaps,
    /// What was offered to a nest that isn't gone isn't hatched before that one has answered.
    /// (Not shown to be needed in any configuration that was tried: see `docs/testing.md`.)
    SentSnapsWait,
    /// An offer that can't be taken, and whose giver is gone, is kept and moved on.
    /// (Not shown to be needed in any configuration that was tried: see `docs/testing.md`.)
    KeepOrphans,
    /// An offer that can't be taken is refused also where its giver isn't in the view: it may live, and wait.
    RefuseAll,
    /// What was accepted is remembered: an offer that comes again gets the same answer.
    /// (Not shown to be needed in any configuration that was tried: see `docs/testing.md`.)
    RememberAccepted,
    /// What was accepted is known by its nest and its fence, and so is what a state is made of: two nests may
    /// have given one fence.
    LivesByNest,

    // Rule 5: who comes and goes.
    /// A joiner is up only once every nest that it knows to be up holds it in its view.
    JoinerHeld,
    /// And every nest that those know to be up.
    JoinerHeldByAll,
    /// And it knows what those know.
    /// (Not shown to be needed in any configuration that was tried: see `docs/testing.md`.)
    JoinerKnows,
    /// A leaver goes only when it has nothing left to hand over, or to answer.
    LeaverIdle,
    /// A leaver goes only when all seals that it holds name its own view.
    /// (Not shown to be needed in any configuration that was tried: see `docs/testing.md`.)
    LeaverAgreed,
    /// A leaver goes only when every nest knows what it knows.
    LeaverCovered,

    // Starts and stops.
    /// An answer goes out only once two nests hold the operation.
    TwoHolders,
    /// An answer carries every operation of its origin up to its own.
    /// (Not shown to be needed in any configuration that was tried: see `docs/testing.md`.)
    WholePrefix,
    /// A start is known by its token, which the record keeps.
    KeepTokens,
    /// Of several copies of a request one is carried out: the asker says which.
    ClaimCopies,
    /// An answer that is given again is claimed again: the asker may have granted another nest to decide, which
    /// then didn't own the name any more.
    ClaimAnswers,
    /// What was answered is remembered, and not done again.
    RememberAnswers,
    /// Nothing is decided about a name while a bird is listed under it whose birth isn't known.
    KnowListed,
    /// A stop is answered once the life has ended.
    StopAfterEnd,

    // The heal.
    /// A bird whose record lost against another ends.
    LosersEnd,
    /// A bird that ended of itself on one side lives on if it does on the other.
    LivesOutlive,
    /// Which life gave way is told again when a link opens or others are met: whoever was told may not be
    /// the owner.
    RepeatLost,

    // States.
    /// A bird that moves takes its state along.
    CarryStates,
    /// A bird that gives way to another of its name leaves its state to that one.
    LeaveStates,
    /// A seal takes the place of ends that came before it and don't count yet, but not of states that came
    /// with them.
    SealsKeepStates,
    /// What another life left is merged into the one that goes on.
    MergeStates,
    /// What is in a state already isn't merged into it again.
    MergeOnce,

    // The policy `Majority`.
    /// A nest that counts too few stops its birds after a while.
    MinorityStops,
    /// A nest that counts too few begins nothing.
    MinorityIdle,
    /// A nest hatches what it lost sight of only after those who may run it have had the time to stop.
    MajorityWaits,
    /// A nest that stopped its birds has let go of all its arcs, and must be settled in them anew: another may
    /// have lost sight of it, and not the other way round.
    SettleAnew,
    /// Whom a nest waits for so it tells in its seals, and whoever is told waits, too: it may be new.
    TellMissing,
}

impl Rule {
    /// The rule of that name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|rule| rule.name().eq_ignore_ascii_case(name))
    }
}

/// Which rules are followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rules(u64);

impl Rules {
    /// All of them.
    pub const fn all() -> Self {
        Self(u64::MAX)
    }

    /// All of these but one.
    #[must_use]
    pub const fn without(self, rule: Rule) -> Self {
        Self(self.0 & !(1 << rule as u8))
    }

    /// Whether this one is.
    pub const fn has(self, rule: Rule) -> bool {
        self.0 >> rule as u8 & 1 == 1
    }
}
