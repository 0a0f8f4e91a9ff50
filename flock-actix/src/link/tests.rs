//! Links between nests without minds: what the core and the birds would hear is written down.

mod data;
mod doors;
mod fixture;
mod handshakes;
#[cfg(feature = "noise")]
mod keys;
#[cfg(feature = "tls")]
mod tls;
