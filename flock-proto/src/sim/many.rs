//! Requests that a user makes together.

use std::time::Duration;

use bytes::Bytes;

use super::world::{SPECIES, World};
use crate::{BirdName, Input, ReqId};

/// As for single requests.
const PATIENCE: Duration = Duration::from_secs(5);

impl World {
    /// A user on that host starts all these birds at once.
    pub fn start_many(&mut self, host: usize, names: &[BirdName]) -> Vec<ReqId> {
        let deadline = self.local(host) + PATIENCE;
        let mut reqs = Vec::new();
        let start = |name: &BirdName| {
            let req = self.ask(host, name);
            reqs.push(req);
            let args = Bytes::copy_from_slice(name.as_str().as_bytes());
            let name = name.clone();
            Input::Start { req, name, species: SPECIES, args, or_get: false, deadline }
        };
        let all = names.iter().map(start).collect();
        self.feed(host, Input::Many(all));
        reqs
    }

    /// A user on that host stops all these birds at once.
    pub fn stop_many(&mut self, host: usize, names: &[BirdName]) -> Vec<ReqId> {
        let deadline = self.local(host) + PATIENCE;
        let mut reqs = Vec::new();
        let stop = |name: &BirdName| {
            let req = self.ask(host, name);
            reqs.push(req);
            Input::Stop { req, name: name.clone(), deadline }
        };
        let all = names.iter().map(stop).collect();
        self.feed(host, Input::Many(all));
        reqs
    }

    /// A user on that host takes these starts of his back, all at once.
    pub fn undo_many(&mut self, host: usize, starts: &[(ReqId, BirdName)]) -> Vec<ReqId> {
        let deadline = self.local(host) + PATIENCE;
        let mut reqs = Vec::new();
        let undo = |(start, name): &(ReqId, BirdName)| {
            self.facts.on_undo(name);
            self.checks.on_request(name);
            let req = self.next_req();
            reqs.push(req);
            Input::Undo { req, start: *start, name: name.clone(), deadline }
        };
        let all = starts.iter().map(undo).collect();
        self.feed(host, Input::Many(all));
        reqs
    }
}
