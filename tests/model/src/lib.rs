//! A model of how nests agree who runs a bird: small enough for every state to be looked at.
//!
//! The nests of this model do what `flock-proto/src/nest` does with seals, hand-overs, starts and stops, and
//! nothing else: no bytes, no clock, no ring with points on it. What is left has so few states that all of them
//! can be looked at, with every order of events, for two or three nests and a few events. `docs/testing.md` says
//! how to run it and what it has found.
//!
//! - `rules`: the rules by name. Each can be left out; then the model must find what goes wrong.
//! - `config`: what may happen in a run: who joins, leaves, crashes; what users ask.
//! - `scenes`: configurations that are looked at in every test run, and larger ones.
//! - `proofs`: in which of them each rule is shown to be needed.
//! - `mix`: a hash of states.
//! - `state`: what a state is made of.
//! - `register`: operations, and which records live.
//! - `step`: one step; the rules are methods of it, each in the file of its topic:
//!   `membership`, `views`, `seals`, `birds`, `moving`, `states`, `requests`, `quorum`.
//! - `actions`: everything that may happen next.
//! - `check`: what must hold.
//! - `search`: through all states, or along random ways.
//! - `show`: the way to a state, for people.

mod actions;
mod birds;
mod check;
mod config;
mod membership;
mod mix;
mod moving;
mod proofs;
mod quorum;
mod register;
mod requests;
mod rules;
mod scenes;
mod seals;
mod search;
mod show;
mod state;
mod states;
mod step;
mod views;

pub use actions::Action;
pub use config::{Config, Policy, Request, When, Wish};
pub use proofs::Proof;
pub use rules::{Rule, Rules};
pub use scenes::{large, scene, small, vast};
pub use search::{Broken, Found, Model, Walked};
pub use state::{Budget, Card};
pub use step::Violation;
