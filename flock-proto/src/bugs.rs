//! Mistakes that can be planted, each named with the invariant that must fail because of it.
//!
//! A simulator that has never failed proves nothing. Each mistake leaves out one rule that the rest
//! of this crate follows; where it is asked for, [`planted`] stands. Without the feature
//! `planted-bugs` that is `false` for the compiler, and nothing is left of it in the program.

#![cfg_attr(
    not(feature = "planted-bugs"),
    allow(unreachable_pub, dead_code, reason = "nobody plants")
)]

/// Which mistake it is, by a name that people can type.
macro_rules! bugs {
    ($($(#[doc = $what:literal])+ $bug:ident $name:literal $invariant:literal,)+ ;
        $($(#[doc = $wrong:literal])+ $other:ident $called:literal $condition:literal,)+) => {
        /// A mistake that can be planted.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Bug {
            $($(#[doc = $what])+ $bug,)+
            $($(#[doc = $wrong])+ $other,)+
        }

        impl Bug {
            /// All that random stories tell of.
            pub const ALL: &[Self] = &[$(Self::$bug,)+];

            /// Those that make membership slower or dearer, and break no law: stories made for each
            /// show them, in `tests/membership.rs`.
            pub const MEMBERSHIP: &[Self] = &[$(Self::$other,)+];

            /// Its name.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$bug => $name,)+ $(Self::$other => $called,)+ }
            }

            /// The invariant that fails because of it; of those in `MEMBERSHIP`, the condition.
            pub const fn invariant(self) -> &'static str {
                match self { $(Self::$bug => $invariant,)+ $(Self::$other => $condition,)+ }
            }
        }
    };
}

bugs! {
    /// An operation that removes a record is taken for one that does nothing.
    DroppedRemove "dropped-remove" "I6",
    /// Of two records of a name that meet, the loser is dropped at once and without an operation.
    DroppedLoser "dropped-loser" "I4",
    /// Overwriting a record makes a new bird of it.
    NewBirth "new-birth" "I6",
    /// A delta is joined though operations before it are lacking.
    NoMergeGuard "no-merge-guard" "I4",
    /// A horizon is followed without writing anew what it makes an orphan of.
    UnwrittenHorizon "unwritten-horizon" "I4",
    /// A removal does not reach what was written anew on the other side of a cut.
    OutdoneRemovals "outdone-removals" "I6",
    /// What the peer of a comparison knew counts as known before the comparison is complete.
    EarlyVector "early-vector" "I4",
    /// A nest is settled though it lacks operations that the seals name.
    BlindSettling "blind-settling" "I15",
    /// A seal counts in a view that it does not name.
    ForeignSeals "foreign-seals" "I1",
    /// A seal names what its author knows by a digest alone, and is taken though ours is another.
    BelievedSeals "believed-seals" "I15",
    /// A nest that is new in the view needs no seal for arcs whose owner stays.
    UnsealedNewcomers "unsealed-newcomers" "I1",
    /// A seal does not list what its author holds for moving on.
    UnlistedSnaps "unlisted-snaps" "I15",
    /// Of a listing that comes in parts only the last one is taken.
    LostListings "lost-listings" "I15",
    /// A link that opens anew brings no seal.
    UnsealedLinks "unsealed-links" "L4",
    /// A bird leaves service before its new owner is ready.
    EarlyDeparts "early-departs" "I15",
    /// What a nest was ready for in a view before counts in the next.
    StaleReady "stale-ready" "I15",
    /// A bird hatches though another nest has listed it.
    IgnoredListings "ignored-listings" "I1",
    /// Nobody hears that a bird that was listed has ended.
    UntoldEnds "untold-ends" "L3",
    /// The end of a listed bird counts before the operation that tells why.
    EarlyEnds "early-ends" "I5",
    /// What is left of a bird that was offered to another nest is forgotten before that has answered.
    ForgottenSnaps "forgotten-snaps" "I15",
    /// A bird that was refused is offered again at once, whatever its owner has sealed.
    EagerOffers "eager-offers" "I13",
    /// An offer that comes a second time is taken a second time.
    OffersTakenTwice "offers-taken-twice" "I15",
    /// A bird that moves leaves its crashes behind.
    ForgottenCrashes "forgotten-crashes" "I12",
    /// A bird that moved hatches without regard to the fence that it had.
    LowFences "low-fences" "I11",
    /// The life that goes on after a conflict keeps its fence.
    EqualFences "equal-fences" "I11",
    /// A bird whose record lost a conflict lives on.
    LivingLosers "living-losers" "L3",
    /// A bird that has moved still counts as being on its way.
    LeakingWindow "leaking-window" "I13",
    /// A joiner is up though not every nest holds it in its view.
    UnheldJoiner "unheld-joiner" "I16",
    /// Too few nests are held for enough.
    NoQuorum "no-quorum" "I19",
    /// A nest takes birds over before those that have them may have stopped.
    HastyTakeOver "hasty-take-over" "I19",
    /// A nest that finds enough others again takes over at once.
    HastyReturn "hasty-return" "I19",
    /// A bird that moves leaves its state behind.
    ForgottenStates "forgotten-states" "I17",
    /// A bird that moves on before it hatched has lost what it was to go on from.
    ForgottenUnborn "forgotten-unborn" "I17",
    /// A state that is in a bird's already is merged into it once more.
    MergedTwice "merged-twice" "I17",
    /// Of two lives that were beyond a cut from each other, one's state is dropped.
    LostMerges "lost-merges" "I17",
    /// Of several checkpoints of a bird the first one is kept.
    OldCopies "old-copies" "I17",
    /// The copy of a bird whose nest died is thrown away with all else of that nest.
    ForgottenCopies "forgotten-copies" "I17",
    /// Whoever holds a copy forgets it before the next one has it.
    EarlyForget "early-forget" "I17",
    /// With a checkpoint of a life all is known that the life ever was.
    CheckpointsAsEnds "checkpoints-as-ends" "I17",
    /// The copy of a bird that was stopped is restored as the next of that name.
    StoppedCopies "stopped-copies" "I17",
    /// A nest leaves before the others know what it knows.
    UntoldLeave "untold-leave" "I6",
    /// A nest leaves while it has birds to hand over.
    HastyLeave "hasty-leave" "I6",
    /// A request is answered though no second nest holds what came of it.
    OneHolder "one-holder" "I6",
    /// A start is answered before the bird has hatched.
    EarlyStarted "early-started" "I6",
    /// A request whose deadline passes gets no answer.
    UnansweredUsers "unanswered-users" "I7",
    /// A start that is repeated is taken for another one.
    IgnoredToken "ignored-token" "I6",
    /// A stop is answered before the life has ended.
    EarlyStopped "early-stopped" "I6",
    /// Of two copies of a request that went to two nests both are carried out.
    UnclaimedCopies "unclaimed-copies" "I6",
    /// An owner decides requests before it is settled.
    UnsettledAnswers "unsettled-answers" "I6",
    /// An owner decides about a name though it does not know yet what others run under it.
    DeniedBirths "denied-births" "I6",
    /// An owner that is not settled says that there is no such bird.
    UnsettledDenial "unsettled-denial" "I6",
    /// A copy of a request that was held up on its way is carried out once more.
    RepeatedRequests "repeated-requests" "I6",
    /// A nest takes some names for its own, whatever the ring says.
    SelfishRing "selfish-ring" "I3",
    /// Names are dealt out by the number of nests, not by a circle.
    CountedRing "counted-ring" "I2",
    /// Of two incarnations of a nest the older one is held for the later.
    OlderIncarnations "older-incarnations" "L1",
    /// Nobody goes back to the addresses where a lost part of the flock may be.
    LostNests "lost-nests" "L1",
    /// A nest passes no frames on between two that have no link.
    NoRelays "no-relays" "L4",
    /// A nest that hears that it is suspected says nothing.
    UnansweredSuspicion "unanswered-suspicion" "I14",
    /// A nest that comes up takes its share, though it is to wait for that.
    HastyShares "hasty-shares" "I18",
    /// A nest that waits for its share doesn't take it as one that has a share goes.
    ForgottenShares "forgotten-shares" "L6",
    /// A nest that waits takes no notice where users of other nests ask for it.
    DeafShares "deaf-shares" "L6",
    /// The number of a call that has ended is given to the next.
    ReusedCallIds "reused-call-ids" "I8",
    /// A call whose deadline passes is forgotten without an answer.
    ForgottenCalls "forgotten-calls" "I7",
    /// A call is passed on as often as nests disagree about its owner.
    NoHopLimit "no-hop-limit" "I13",
    ;
    /// Nobody dials a nest whose link closed, nor asks others whether it refuses them.
    NoProbes "no-probes" "a death is known within a second",
    /// A nest leaves without a word to its neighbours.
    NoGoodbye "no-goodbye" "a leave is known at once",
    /// Each nest that comes up changes the ring by itself.
    SingleJoins "single-joins" "a mass join changes the ring a few times",
    /// News of members is passed on twice.
    FewTransmissions "few-transmissions" "a silent host is known to all within seven seconds",
    /// Who is refused asks nobody else, and holds the nest for dead.
    HastyVerdicts "hasty-verdicts" "a nest that others reach is not declared dead",
    /// Nobody asks others to ping a nest that doesn't answer.
    NoIndirectPings "no-indirect-pings" "a nest that others hear is not suspected",
    /// A neighbour whose cards differ is sent none.
    NoFullExchange "no-full-exchange" "cards that were missed are found",
    /// Heartbeats go over busy links, too, and are as frequent in a large flock as in a small one.
    BusyHeartbeats "busy-heartbeats" "peace costs ten frames a second at most",
    /// Every nest tells every neighbour of each card that is new to it.
    FloodedCards "flooded-cards" "a mass join costs each nest a few hundred cards",
}

impl Bug {
    /// The mistake of that name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.iter().chain(Self::MEMBERSHIP).copied().find(|bug| bug.name() == name)
    }
}

#[cfg(feature = "planted-bugs")]
thread_local! {
    static PLANTED: std::cell::Cell<Option<Bug>> = const { std::cell::Cell::new(None) };
}

/// Plants a mistake in all that this thread does from now on; `None` mends it.
#[cfg(feature = "planted-bugs")]
pub fn plant(bug: Option<Bug>) {
    PLANTED.set(bug);
}

/// Whether this mistake is to be made.
#[cfg(feature = "planted-bugs")]
pub(crate) fn planted(bug: Bug) -> bool {
    PLANTED.get() == Some(bug)
}

/// Whether this mistake is to be made: never.
#[cfg(not(feature = "planted-bugs"))]
pub(crate) const fn planted(_: Bug) -> bool {
    false
}
