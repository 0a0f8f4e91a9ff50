//! What travels between nests. Frames open with the wire version and a kind, one byte each.
//!
//! - `data`: the headers of calls, casts and their replies, laid out by hand.

mod data;

pub use data::{CallHead, CallId, CallKind, DataFrame, HeadError, ReplyHead};
