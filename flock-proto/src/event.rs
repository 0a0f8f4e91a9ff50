//! What happened in the flock, and why, as people want to read it.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::shown::Shown;
use crate::{BirdName, NestName};

/// Why a bird ended for good.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Cause {
    /// Somebody stopped it.
    Stopped,
    /// It ended of itself.
    Ended,
    /// Its first hatch failed.
    HatchFailed,
    /// A record of the same name from the other side of a partition won.
    LostConflict,
}

/// Something that happened. Told on the nest that sees it; what concerns the registry or the
/// members is seen, and so told, on every nest.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// A nest is alive and in contact.
    NestSeen(NestName),
    /// A nest is up: in the ring, unless it waits for its share of it.
    NestUp(NestName),
    /// A nest says that it is leaving.
    NestLeaving(NestName),
    /// A nest left in good order.
    NestLeft(NestName),
    /// A nest is held to be dead.
    NestDown(NestName),
    /// A nest that is up, or leaves, has another weight: it took its share, or was given another one.
    ShareChanged {
        /// The nest.
        nest: NestName,
        /// Its weight now.
        weight: u32,
    },
    /// A bird's name is known here.
    Started(BirdName),
    /// A bird ended for good.
    Ended(BirdName, Cause),
    /// A bird hatches on this nest.
    Hatching {
        /// The bird.
        bird: BirdName,
        /// The reason, in a word.
        why: crate::Why,
    },
    /// A bird has moved from this nest to another.
    Moved {
        /// The bird.
        bird: BirdName,
        /// Where it lives now.
        to: NestName,
    },
    /// A bird crashed and is restarted (told where it lives).
    Crashed {
        /// The bird.
        bird: BirdName,
        /// The panic or error, in words.
        reason: String,
    },
    /// A bird crashed too often and is not restarted.
    Grounded {
        /// The bird.
        bird: BirdName,
        /// The last crash, in words.
        reason: String,
        /// How often it crashed.
        crashes: u32,
    },
    /// A grounded bird may try again.
    Revived(BirdName),
    /// One name was started on both sides of a partition; one record wins.
    Conflict {
        /// The name.
        bird: BirdName,
        /// The nest that issued the winning record, if it is known.
        winner: Option<NestName>,
        /// The nest that issued the losing record, if it is known.
        loser: Option<NestName>,
    },
    /// A bird goes on without its state, or without that of another life of it.
    StateLost {
        /// The bird.
        bird: BirdName,
        /// Why, in words.
        why: String,
    },
    /// No other nest holds the last checkpoint of a bird: should this nest die now, the bird goes on from an
    /// older one, or afresh.
    NotCheckpointed {
        /// The bird.
        bird: BirdName,
        /// Why, in words.
        why: String,
    },
    /// Both sides of a partition ran the bird; the life on this nest ends.
    Merged(BirdName),
    /// This nest owns a bird of a species that it doesn't know, so the bird doesn't live.
    UnknownSpecies(BirdName),
    /// Two living nests bear one name; the newcomer is refused.
    NameTaken(NestName),
    /// A peer was refused.
    Refused {
        /// Who or where, in words.
        peer: String,
        /// Why, in words.
        why: String,
    },
    /// No seed answers; dialling goes on.
    Alone {
        /// The last failure, in words.
        why: String,
    },
    /// A peer's clock is far from ours; its stamps don't move our clock.
    ClockSkew {
        /// The peer.
        nest: NestName,
        /// By how much it is ahead, in milliseconds.
        ahead_ms: i64,
    },
    /// The registers of this nest and another differ, though both know the same operations: a fault
    /// of this program or of the machine. It is repaired: a record that only one of them holds goes,
    /// unless its bird runs.
    Diverged {
        /// The other nest.
        nest: NestName,
    },
    /// This nest sees too few others, by the flock's policy: its birds are taken out of service.
    QuorumLost,
    /// It sees enough of them again.
    QuorumFound,
    /// The others had held this nest for dead for so long that they forgot it: it joins anew, as a later
    /// run of itself. Its birds live on.
    Renewed,
    /// A frame could not be read; it was counted and dropped.
    BadFrame {
        /// Whose link it came over, if it is known.
        from: Option<NestName>,
        /// What is wrong with it.
        why: String,
    },
}

impl fmt::Display for Event {
    /// On one line and of bounded length, whatever peers chose for names and reasons.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = String::new();
        self.say(&mut text)?;
        Shown(&text).fmt(f)
    }
}

impl Event {
    fn say(&self, f: &mut impl fmt::Write) -> fmt::Result {
        match self {
            Self::NestSeen(n) => write!(f, "{n} is in contact"),
            Self::NestUp(n) => write!(f, "{n} is up"),
            Self::NestLeaving(n) => write!(f, "{n} is leaving"),
            Self::NestLeft(n) => write!(f, "{n} has left"),
            Self::NestDown(n) => write!(f, "{n} is down"),
            Self::ShareChanged { nest, weight } => write!(f, "{nest} has a weight of {weight} now"),
            Self::Started(b) => write!(f, "{b} was started"),
            Self::Ended(b, cause) => write!(f, "{b} ended: {cause:?}"),
            Self::Hatching { bird, why } => write!(f, "{bird} hatches here: {why:?}"),
            Self::Moved { bird, to } => write!(f, "{bird} moved to {to}"),
            Self::Crashed { bird, reason } => write!(f, "{bird} crashed: {reason}"),
            Self::Grounded { bird, reason, crashes } => {
                write!(f, "{bird} is grounded after {crashes} crashes, the last: {reason}")
            }
            Self::Revived(b) => write!(f, "{b} may try again"),
            Self::Conflict { bird, winner, loser } => write!(
                f,
                "{bird} was started twice; the record of {} wins over that of {}",
                winner.as_ref().map_or("a past nest", NestName::as_str),
                loser.as_ref().map_or("a past nest", NestName::as_str),
            ),
            Self::StateLost { bird, why } => write!(f, "{bird} goes on without a state: {why}"),
            Self::NotCheckpointed { bird, why } => {
                write!(f, "no other nest holds the last state of {bird}: {why}")
            }
            Self::Merged(b) => write!(f, "{b} ran on both sides; it goes on at its owner"),
            Self::UnknownSpecies(b) => write!(f, "{b} is of a species unknown here"),
            Self::NameTaken(n) => write!(f, "a second nest named {n} was refused"),
            Self::Refused { peer, why } => write!(f, "{peer} was refused: {why}"),
            Self::Alone { why } => write!(f, "no seed answers ({why}); trying on"),
            Self::ClockSkew { nest, ahead_ms } => {
                write!(f, "the clock of {nest} is off by {ahead_ms} ms")
            }
            Self::Diverged { nest } => {
                write!(f, "the register differs from that of {nest} for no reason; repairing it")
            }
            Self::QuorumLost => write!(f, "too few nests are there: birds here stop"),
            Self::QuorumFound => write!(f, "enough nests are there: birds go on"),
            Self::Renewed => write!(f, "this nest was forgotten, and joins anew"),
            Self::BadFrame { from, why } => write!(
                f,
                "a bad frame from {}: {why}",
                from.as_ref().map_or("a stranger", NestName::as_str)
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_a_peer_chose_breaks_the_line_or_reaches_the_terminal() {
        let nasty = || format!("\u{1b}[2J\r\n2026 WARN all is well \u{9b}31m{}", "x".repeat(9000));
        let bird =
            || BirdName::new("\u{202e}nibor\u{2028}").expect("no control character is in it");
        let nest = || NestName::new("\u{202e}tsen\u{2029}").expect("the same");
        let events = [
            Event::Refused { peer: nasty(), why: nasty() },
            Event::BadFrame { from: Some(nest()), why: nasty() },
            Event::Alone { why: nasty() },
            Event::Crashed { bird: bird(), reason: nasty() },
            Event::Grounded { bird: bird(), reason: nasty(), crashes: 3 },
            Event::StateLost { bird: bird(), why: nasty() },
            Event::NotCheckpointed { bird: bird(), why: nasty() },
            Event::NameTaken(nest()),
            Event::Moved { bird: bird(), to: nest() },
        ];
        for event in events {
            let text = event.to_string();
            let is_plain = |c: char| !c.is_control() && !matches!(c, '\u{2028}'..='\u{202e}');
            assert!(text.chars().all(is_plain), "{text}");
            assert!(text.len() < 2000, "{} bytes", text.len());
        }
    }
}
