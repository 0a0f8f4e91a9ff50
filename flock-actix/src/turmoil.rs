//! Nests on the simulated hosts of [turmoil](https://docs.rs/turmoil): one thread, one seed, virtual
//! time. For this project's own tests; it may change at any time.
//!
//! ```
//! use std::time::Duration;
//! use flock_actix::{Builder, Flock, turmoil::Host};
//!
//! async fn nest(name: &'static str, seed: u64) -> turmoil::Result<Flock> {
//!     let host = Host::boot(seed).await?;
//!     let nest = Flock::builder("canaries").in_turmoil(&host).name(name).insecure();
//!     let nest = nest.bind("0.0.0.0:7400").advertise(format!("{name}:7400"));
//!     Ok(nest.seeds(["robin:7400", "wren:7400"]).join().await?)
//! }
//!
//! let mut sim = turmoil::Builder::new().rng_seed(1).udp_capacity(100_000).build();
//! sim.host("robin", || async {
//!     let _nest = nest("robin", 1).await?;
//!     std::future::pending().await
//! });
//! sim.client("wren", async {
//!     let nest = nest("wren", 2).await?;
//!     while nest.nests().await.len() < 2 {
//!         tokio::time::sleep(Duration::from_millis(10)).await;
//!     }
//!     Ok(())
//! });
//! sim.run().expect("both are up before turmoil's ten seconds are over");
//! ```
//!
//! What is the same code as in a real nest, and what is not, says `docs/testing.md`.

pub use crate::net::turmoil::{Host, Traffic};
