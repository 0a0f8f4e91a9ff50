//! What travels between nests, byte by byte.

mod control;

pub use control::{
    Acked, Card, Depart, Ended, Frame, FrameError, HEADER, Header, Held, Life, Listed, MAX_HOPS,
    Ops, Outcome, Probe, Probed, Ready, Refused, Request, Response, Roster, Seal, SnapshotWanted,
    Status, Swim, WIRE_VERSION, Wish,
};
