//! Who is alive: SWIM by foca, cards by which nests tell of themselves, and links.

mod packet;
mod roster;
mod swim;

pub(crate) use packet::asks_for_a_ping;
#[cfg(feature = "sim")]
pub(crate) use packet::reread;
pub(crate) use roster::Roster;
pub(crate) use swim::{Swim, SwimOut};
