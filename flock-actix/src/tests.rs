//! Tests of the data plane against a stand-in for the core and links made of buffers.
//!
//! - `fake`: the stand-ins. `birds`: the birds of these tests. `looks`: ways to look at a future.
//! - `lives`: crashes, restarts, ends. `raising`: lives that begin together. `moves`: departures,
//!   fences, routes.
//! - `calls`: calls within one nest. `same_thread`: calls within one thread, handled in the caller's turn.
//!   `within`: calls made within such calls.
//! - `responses`: inbox and mailbox alike. `remote`: two nests.

mod birds;
mod calls;
pub(crate) mod fake;
mod lives;
mod looks;
mod moves;
mod raising;
mod remote;
mod responses;
mod same_thread;
mod within;
