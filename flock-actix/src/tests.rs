//! Tests of the data plane against a stand-in for the core and links made of buffers.
//!
//! - `fake`: the stand-ins. `birds`: the birds of these tests.
//! - `lives`: crashes, restarts, ends. `raising`: lives that begin together. `moves`: departures,
//!   fences, routes.
//! - `calls`: calls within one nest. `same_thread`: calls within one thread, which are in no table at first.
//! - `responses`: inbox and mailbox alike. `remote`: two nests.

mod birds;
mod calls;
pub(crate) mod fake;
mod lives;
mod moves;
mod raising;
mod remote;
mod responses;
mod same_thread;
