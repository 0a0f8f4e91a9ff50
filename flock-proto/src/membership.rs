//! Who is alive: SWIM by foca, cards by which nests tell of themselves, and links.

mod roster;
mod swim;

pub(crate) use roster::Roster;
pub(crate) use swim::{Swim, SwimOut, asks_for_a_ping};
