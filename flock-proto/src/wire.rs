//! What travels between nests, byte by byte. Frames open with the wire version and a kind, one byte
//! each.
//!
//! - `control`: the frames of the core.
//! - `carried`: what some of them hold, the states of birds.
//! - `requests`: what two kinds of them hold, users' requests and the answers.
//! - `roster`: what of a roster needs to be read.
//! - `walk`: a look over bytes before they are decoded.
//! - `data`: the headers of calls, casts and their replies, laid out by hand.

mod carried;
mod control;
mod data;
mod requests;
mod roster;
mod walk;

pub use carried::{Carried, LifeId, Moment, Snapshot};
pub use control::{
    Acked, Card, Checkpoint, Checkpointed, Depart, EncodedBody, Ended, Forget, Frame, FrameError,
    HEADER, Header, Heartbeat, Held, Life, Listed, Listing, MAX_HOPS, Ops, OpsWanted, Probe,
    Probed, Ready, Refused, Roster, Seal, Suspected, Swim, WIRE_VERSION,
};
pub use data::{CallHead, CallId, CallKind, DataFrame, HeadError, ReplyHead};
pub use requests::{Claimed, Claims, Outcome, Request, Requests, Response, Responses, Wish};
pub(crate) use roster::unknown_cards;
pub use walk::{MAX_DEPTH, check_payload};
