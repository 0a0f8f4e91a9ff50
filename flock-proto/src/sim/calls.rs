//! Calls: each body routes by its own table and its own picture of the flock.

use std::time::Duration;

use super::host::{CallEnd, Data, Entry, Later, SimCall, State};
use super::world::{START, World};
use crate::{BirdName, Input, NestId, Via, View};

impl World {
    /// Somebody on that host calls a bird.
    pub fn call(&mut self, host: usize, name: &BirdName) -> u64 {
        self.next_call += 1;
        let id = self.next_call;
        let deadline = self.now + Duration::from_secs(5);
        self.calls.insert(id, (host, deadline));
        let call = SimCall { id, name: name.clone(), origin: host, hops: 0, deadline };
        self.resolve(host, call);
        id
    }

    pub(super) fn end_call(&mut self, id: u64, end: CallEnd) {
        // One that is gone was given up before; its answer is late, not double.
        if self.calls.remove(&id).is_some() {
            self.ended.insert(id, end);
        }
    }

    /// Takes a call one step on its way from this host.
    pub(super) fn resolve(&mut self, host: usize, call: SimCall) {
        self.note(host, "call", &call);
        let Some(nest) = &self.hosts[host].nest else { return };
        let me = nest.id();
        if let Some(entry) = self.hosts[host].body.table.get_mut(&call.name) {
            match entry.state {
                State::Running => {
                    let end = CallEnd::Answered(entry.fence);
                    return self.reply(host, &call, end);
                }
                State::Moved(to) => return self.forward(host, to, call),
                _ => return entry.queue.push_back(call),
            }
        }
        let view: Option<&View> = self.hosts[host].body.view.as_deref();
        match view.and_then(|view| view.owner(call.name.hash64())) {
            Some(owner) if owner == me => {
                let name = call.name.clone();
                let mut entry = Entry::waiting();
                entry.queue.push_back(call);
                self.hosts[host].body.table.insert(name.clone(), entry);
                self.feed(host, Input::Wanted { name });
            }
            Some(owner) => self.forward(host, owner, call),
            None => self.resolve_later(host, call),
        }
    }

    pub(super) fn resolve_later(&mut self, host: usize, call: SimCall) {
        if let Some(id) = self.id_of(host) {
            self.at(Duration::from_millis(50), host, id, Later::Resolve(call));
        }
    }

    pub(super) fn forward(&mut self, host: usize, to: NestId, mut call: SimCall) {
        if call.hops >= 3 {
            call.hops = 0;
            let origin = call.origin;
            return self.send_data(host, origin, Data::Retry(call));
        }
        call.hops += 1;
        match self.host_of(to) {
            Some(target) if self.has_path(host, to) => {
                self.send_data(host, target, Data::Call(call));
            }
            _ => {
                call.hops = 0;
                let origin = call.origin;
                if origin == host {
                    self.resolve_later(host, call);
                } else {
                    self.send_data(host, origin, Data::Retry(call));
                }
            }
        }
    }

    pub(super) fn reply(&mut self, host: usize, call: &SimCall, end: CallEnd) {
        self.checks.on_answer(&call.name, end);
        self.send_data(host, call.origin, Data::Reply(call.id, end));
    }

    /// Whether this host's view says that frames reach that nest.
    pub(super) fn has_path(&self, host: usize, to: NestId) -> bool {
        let via = self.hosts[host].body.view.as_ref().map(|view| view.via(to));
        !matches!(via, None | Some(Via::Nothing))
    }

    pub(super) fn send_data(&mut self, from: usize, to: usize, data: Data) {
        let delay = self.latency();
        let cut = self.net.is_cut(from, to);
        let relayed = (0..self.hosts.len()).any(|r| {
            self.hosts[r].nest.is_some() && !self.net.is_cut(from, r) && !self.net.is_cut(r, to)
        });
        if cut && !relayed {
            // The wire is mute. Whoever called runs into its deadline.
            return;
        }
        let Some(id) = self.id_of(to) else { return };
        let last = self.data_last.get(&(from, to)).copied().unwrap_or(START);
        let at = last.max(self.now + delay);
        self.data_last.insert((from, to), at);
        self.at(at.since(self.now), to, id, Later::Data(Box::new(data)));
    }

    pub(super) fn on_data(&mut self, host: usize, data: Data) {
        match data {
            Data::Reply(id, end) => self.on_reply(host, id, end),
            Data::Retry(call) => self.resolve_later(host, call),
            Data::Call(call) if call.deadline < self.now => {}
            Data::Call(call) => self.resolve(host, call),
        }
    }

    /// I8: a reply reaches its caller, and nobody else.
    pub(super) fn on_reply(&mut self, host: usize, id: u64, end: CallEnd) {
        if let Some((origin, _)) = self.calls.get(&id)
            && *origin != host
        {
            let what = format!("the reply to call {id} of host {origin} came to host {host}");
            self.checks.fail("I8", what);
        }
        self.end_call(id, end);
    }
}
