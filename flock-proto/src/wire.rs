//! What travels between nests, byte by byte. Frames open with the wire version and a kind, one byte
//! each.
//!
//! - `control`: the frames of the core.
//! - `data`: the headers of calls, casts and their replies, laid out by hand.

mod control;
mod data;

pub use control::{
    Acked, Card, Depart, EncodedBody, Ended, Frame, FrameError, HEADER, Header, Held, Life, Listed,
    MAX_HOPS, Ops, OpsWanted, Outcome, Probe, Probed, Ready, Refused, Request, Response, Roster,
    Seal, Suspected, Swim, WIRE_VERSION, Wish,
};
pub use data::{CallHead, CallId, CallKind, DataFrame, HeadError, ReplyHead};
