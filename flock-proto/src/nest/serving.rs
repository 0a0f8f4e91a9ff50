//! Starts, stops and revivals, as the owner of the name decides them.
//!
//! An answer goes out once the thing is done (the bird hatched, the life ended) and two nests hold
//! the operation: owner and asker, or owner and somebody else.

use std::collections::BTreeMap;

use super::Nest;
use super::birds::Phase;
use super::claims::Claim;
use super::served::{Key, Keys, Served, Stage};
use crate::bugs::{Bug, planted};
use crate::name_map::Hashed;
use crate::wire::{Listed, MAX_HOPS, Outcome, Request, Requests, Response, Wish};
use crate::{BirdName, Cause, Dot, Hlc, NestId, Time};

/// A nest whose users asked something of this one.
#[derive(Debug, Default)]
pub(super) struct Asker {
    /// It has its answers to all requests with lower numbers.
    pub(super) oldest: u64,
    /// What was answered lately, and until when that is worth knowing.
    answered: BTreeMap<u64, (Time, Response)>,
}

impl Asker {
    pub(super) fn remembered(&self) -> usize {
        self.answered.len()
    }
}

impl Nest {
    pub(super) fn on_requests(&mut self, from: NestId, stamp: Hlc, requests: Requests) {
        let Requests { origin, hops, known, oldest, requests } = requests;
        if from == origin && hops == 0 {
            self.on_acked(from, known);
        }
        let asker = self.askers.entry(origin).or_default();
        if asker.oldest < oldest {
            asker.oldest = oldest;
            asker.answered = asker.answered.split_off(&oldest);
        }
        let first = hops == 0 && self.now.since(stamp.time()) < self.config.retry_every;
        for request in requests {
            self.on_request(origin, hops, first, request);
        }
    }

    /// `first`: no copy of it can have come to another nest before, as far as its way tells.
    pub(super) fn on_request(&mut self, origin: NestId, hops: u8, first: bool, request: Request) {
        let key = (origin, request.id);
        if self.served.contains_key(&key) {
            return self.claim_anew(key);
        }
        // A copy that was held up on the way, or the answer was lost: it is not done twice.
        if origin == self.id {
            if !self.asks.contains(request.id) {
                return;
            }
        } else if let Some(asker) = self.askers.get(&origin)
            && !planted(Bug::RepeatedRequests)
        {
            if let Some((_, response)) = asker.answered.get(&request.id) {
                self.responses.entry(origin).or_default().push(response.clone());
                // It may have granted the request to another since, that doesn't own the name any more, and
                // would take no answer but that one's.
                return self.claims.entry(origin).or_default().push(request.id);
            }
            if request.id < asker.oldest {
                return;
            }
        }
        let hash = request.name.hash64();
        if !self.owns(hash) {
            return self.forward_request(origin, hops, request);
        }
        self.serve_new(key, hash, hops, first, request);
    }

    /// Takes up a request about a name of ours.
    pub(super) fn serve_new(
        &mut self,
        key: Key,
        hash: u64,
        hops: u8,
        first: bool,
        request: Request,
    ) {
        if self.served.len() >= self.config.served_cap {
            return;
        }
        let name = request.name.clone();
        // What an asker says of its patience must not keep an entry here for ever.
        let deadline = self.now + request.remaining.min(self.config.patience);
        let claim = if first && !request.again { Claim::Unneeded } else { Claim::Due };
        let served = Served { request, hash, hops, deadline, claim, stage: Stage::New };
        self.served.insert(key, served);
        match self.served_names.get_mut(&Hashed(hash, name.as_str())) {
            Some(keys) => keys.insert(key),
            None => drop(self.served_names.insert_at(hash, name.clone(), Keys::one(key))),
        }
        self.dirty.insert_at(hash, name);
    }

    fn forward_request(&mut self, origin: NestId, hops: u8, request: Request) {
        let Some(owner) = self.view.owner(request.name.hash64()) else { return };
        let hops = hops.saturating_add(1);
        if hops <= MAX_HOPS && origin != owner {
            self.forward(owner, origin, hops, request);
        }
    }

    /// Takes each request about a name one step further, if it can be.
    pub(super) fn serve_name(&mut self, name: &BirdName, hash: u64) {
        let Some(keys) = self.served_names.get(&Hashed(hash, name.as_str())) else { return };
        // A copy: each may be answered, and be here no more.
        let keys = keys.clone();
        for key in keys.iter() {
            self.serve(name, hash, key);
        }
    }

    fn serve(&mut self, name: &BirdName, hash: u64, key: Key) {
        let Some(served) = self.served.get(&key) else { return };
        if served.deadline <= self.now || self.view.member(key.0).is_none() {
            return self.forget_request(name, key);
        }
        match served.stage {
            Stage::New if !self.owns(hash) => {
                if let Some(served) = self.served.remove(&key) {
                    self.unindex(name, hash, key);
                    self.forward_request(key.0, served.hops, served.request);
                }
            }
            Stage::New if self.may_decide(name, hash) => {
                self.decide_if_granted(name, hash, key);
            }
            Stage::New => self.claim_later(key),
            Stage::Hatching(op, birth) => self.check_hatched(name, hash, key, op, birth),
            // Its new owner hears of lives elsewhere, which this nest doesn't any more, and answers the
            // asker's next try.
            Stage::Ending(_) if !self.owns(hash) => self.forget_request(name, key),
            Stage::Ending(op) => {
                let over = self.is_over(name);
                match op {
                    _ if !over && !planted(Bug::EarlyStopped) => {}
                    Some(op) => self.hold(name, key, op, Outcome::Stopped),
                    None => self.respond(name, key, Outcome::Stopped, None),
                }
            }
            Stage::Holding(..) => {}
        }
    }

    /// Whether all is known of this name that must be known to decide about it.
    pub(super) fn may_decide(&self, name: &BirdName, hash: u64) -> bool {
        planted(Bug::UnsettledAnswers) || (self.is_settled(hash) && self.knows_listed(name))
    }

    /// Whether no life of this name is left that was stopped. One that was started since isn't.
    fn is_over(&self, name: &BirdName) -> bool {
        let bird = self.birds.get(name).map(|bird| bird.birth);
        let snap = self.snaps.get(name).map(|snap| snap.birth);
        let listed = self.listed.get(name).into_iter().flatten().map(|(_, listed)| listed.birth);
        let mut births = bird.into_iter().chain(snap).chain(listed);
        births.all(|birth| self.registry.is_alive(name, birth))
    }

    /// Whether the births that others run under this name are known here. Where one isn't, its
    /// operations are still on the way, and to decide now would be to deny a living bird.
    fn knows_listed(&self, name: &BirdName) -> bool {
        let known = |(&by, listed): (&NestId, &Listed)| {
            self.is_known(name, listed.birth, by) || planted(Bug::DeniedBirths)
        };
        self.listed.get(name).is_none_or(|by| by.iter().all(known))
    }

    pub(super) fn decide(&mut self, name: &BirdName, hash: u64, key: Key) {
        let Some(served) = self.served.get(&key) else { return };
        let request = &served.request;
        let undoes = matches!(request.wish, Wish::Undo { .. });
        if self.lacks_quorum() && !undoes {
            return self.respond(name, key, Outcome::NoQuorum, None);
        }
        let again = request.again;
        match request.wish {
            Wish::Start { .. } => self.decide_start(name, hash, key),
            Wish::Stop => match self.registry.remove(name, Cause::Stopped) {
                Some(change) => {
                    self.on_own_change([change]);
                    let op = self.registry.last_dot();
                    self.set_stage(key, Stage::Ending(Some(op)));
                }
                // The first try may have done it; what was asked for is true once no life is left, here
                // or on the nest that owned the name before.
                None if again => {
                    self.set_stage(key, Stage::Ending(None));
                    self.dirty.insert(name.clone());
                }
                None => self.respond(name, key, Outcome::NoSuchBird, None),
            },
            Wish::Revive => self.decide_revive(name, key, again),
            Wish::Undo { start, token } => self.decide_undo(name, key, (start, token), again),
        }
    }

    /// A start is taken back: of the bird that it made, if that lives, and of its copies that may
    /// still be on their way.
    fn decide_undo(&mut self, name: &BirdName, key: Key, (start, token): (u64, u64), again: bool) {
        let Some(served) = self.served.get(&key) else { return };
        let until = served.deadline + self.config.late_for;
        let start = (key.0, start);
        if self.served.get(&start).is_some_and(|served| served.request.name == *name) {
            self.forget_request(name, start);
        }
        let undone = Response { id: start.1, outcome: Outcome::NoSuchBird, op: None };
        self.askers.entry(start.0).or_default().answered.insert(start.1, (until, undone));
        let made = self.registry.winner(name).filter(|record| record.token == token);
        match made.and_then(|_| self.registry.remove(name, Cause::Stopped)) {
            Some(change) => {
                self.on_own_change([change]);
                let op = self.registry.last_dot();
                self.set_stage(key, Stage::Ending(Some(op)));
            }
            // As with a stop: the first try may have done it.
            None if again && self.registry.winner_birth(name).is_none() => {
                self.set_stage(key, Stage::Ending(None));
                self.dirty.insert(name.clone());
            }
            None => self.respond(name, key, Outcome::NoSuchBird, None),
        }
    }

    fn decide_revive(&mut self, name: &BirdName, key: Key, again: bool) {
        let outcome = match self.registry.winner(name) {
            None => Outcome::NoSuchBird,
            Some(record) if record.grounded.is_none() && again => Outcome::Revived,
            Some(record) if record.grounded.is_none() => Outcome::NotGrounded,
            Some(_) => {
                self.reviving.insert(name.clone());
                let stamp = self.stamp();
                let change = self.registry.overwrite(name, stamp, None);
                self.on_own_change(change);
                let op = self.registry.last_dot();
                return self.hold(name, key, op, Outcome::Revived);
            }
        };
        self.respond(name, key, outcome, None);
    }

    /// Decides about a start.
    fn decide_start(&mut self, name: &BirdName, hash: u64, key: Key) {
        let Some(served) = self.served.get(&key) else { return };
        let Request { token, wish: Wish::Start { species, args, or_get }, .. } = &served.request
        else {
            return;
        };
        let (token, species, or_get) = (*token, *species, *or_get);
        if let Some(record) = self.registry.winner_at(hash, name) {
            if record.token == token && !planted(Bug::IgnoredToken) {
                // The same request, whose answer was lost with a nest or a link.
                return self.wait_for_hatch(name, hash, key, (record.dot, record.birth));
            }
            if or_get && record.species == species {
                return self.respond(name, key, Outcome::Started { fresh: false }, None);
            }
            let outcome = Outcome::AlreadyExists { species: record.species };
            return self.respond(name, key, outcome, None);
        }
        if !self.me.species.contains(&species) {
            return self.respond(name, key, Outcome::UnknownSpecies, None);
        }
        let stamp = self.clock.tick(self.now);
        let change = self.registry.start_at(hash, name, species, args, token, stamp);
        self.on_own_operation(change);
        let dot = self.registry.last_dot();
        self.wait_for_hatch(name, hash, key, (dot, dot));
    }

    fn wait_for_hatch(&mut self, name: &BirdName, hash: u64, key: Key, (op, birth): (Dot, Dot)) {
        self.set_stage(key, Stage::Hatching(op, birth));
        self.dirty.insert_at(hash, name.clone());
    }

    fn check_hatched(&mut self, name: &BirdName, hash: u64, key: Key, op: Dot, birth: Dot) {
        let bird = self.birds.get(&Hashed(hash, name.as_str()));
        let runs = bird.is_some_and(|b| b.birth == birth && b.phase == Phase::Running);
        if runs || planted(Bug::EarlyStarted) {
            return self.hold(name, key, op, Outcome::Started { fresh: true });
        }
        if !self.owns(hash) {
            // Its new owner hatches it, and answers the asker's next try by the token.
            return self.forget_request(name, key);
        }
        let another = bird.is_none_or(|bird| bird.birth != birth);
        if another && !self.registry.is_alive(name, birth) {
            // Stopped by somebody else before it hatched: it did live, and is over.
            self.hold(name, key, op, Outcome::Started { fresh: true });
        }
    }

    /// The first hatch of a started bird failed; the operation is the one that freed its name.
    pub(super) fn fail_start(
        &mut self,
        name: &BirdName,
        birth: Dot,
        op: Option<Dot>,
        reason: &str,
    ) {
        for key in self.open_starts(name, birth) {
            let reason = cut(reason, self.config.reason_bytes).to_owned();
            let outcome = Outcome::HatchFailed { reason };
            match op {
                Some(op) => self.hold(name, key, op, outcome),
                None => self.respond(name, key, outcome, None),
            }
        }
    }

    /// Whether somebody waits for the first hatch of this bird.
    pub(super) fn is_start_open(&self, name: &BirdName, birth: Dot) -> bool {
        !self.open_starts(name, birth).is_empty()
    }

    fn open_starts(&self, name: &BirdName, birth: Dot) -> Vec<Key> {
        let waits = |key: &Key| {
            let served = self.served.get(key);
            served.is_some_and(|s| matches!(s.stage, Stage::Hatching(_, b) if b == birth))
        };
        let keys = self.served_names.get(name).into_iter().flat_map(Keys::iter);
        keys.filter(waits).collect()
    }

    pub(super) fn is_being_started(&self, name: &BirdName, birth: Dot) -> bool {
        let Some(keys) = self.served_names.get(name) else { return false };
        keys.iter().filter_map(|key| self.served.get(&key)).any(|served| {
            matches!(served.stage, Stage::Hatching(op, b) if b == birth && op.origin == self.id)
        })
    }

    pub(super) fn is_being_revived(&mut self, name: &BirdName) -> bool {
        self.reviving.remove(name)
    }

    /// The operation is held by another nest, too.
    pub(super) fn release(&mut self, key: Key) {
        let Some(Served { request, stage: Stage::Holding(op, outcome), .. }) =
            self.served.get(&key)
        else {
            return;
        };
        let (name, op, outcome) = (request.name.clone(), *op, outcome.clone());
        self.respond(&name, key, outcome, Some(op));
    }

    pub(super) fn respond(&mut self, name: &BirdName, key: Key, outcome: Outcome, op: Option<Dot>) {
        let Some(served) = self.served.remove(&key) else { return };
        let until = served.deadline + self.config.late_for;
        self.unindex(name, served.hash, key);
        let response = Response { id: key.1, outcome, op };
        if key.0 == self.id {
            // Its user has the answer; whether it was asked before, the open requests tell.
            self.on_response(self.id, response);
            return;
        }
        let asker = self.askers.entry(key.0).or_default();
        asker.answered.insert(key.1, (until, response.clone()));
        self.responses.entry(key.0).or_default().push(response);
    }

    /// Forgets requests whose askers have given up.
    pub(super) fn forget_late_requests(&mut self) {
        let (now, view) = (self.now, self.view.clone());
        // Both are in order: one walk along the two.
        let mut members = view.ids().peekable();
        self.askers.retain(|id, asker| {
            if !asker.answered.is_empty() {
                asker.answered.retain(|_, (until, _)| *until > now);
            }
            while members.next_if(|member| member < id).is_some() {}
            !asker.answered.is_empty() || members.peek() == Some(id)
        });
        let late: Vec<_> = self
            .served
            .iter()
            .filter(|(_, served)| served.deadline <= now)
            .map(|(key, served)| (key, served.request.name.clone()))
            .collect();
        for (key, name) in late {
            self.forget_request(&name, key);
        }
    }

    pub(super) fn set_stage(&mut self, key: Key, stage: Stage) {
        if let Some(served) = self.served.get_mut(&key) {
            served.stage = stage;
        }
    }

    pub(super) fn forget_request(&mut self, name: &BirdName, key: Key) {
        if let Some(served) = self.served.remove(&key) {
            self.unindex(name, served.hash, key);
        }
    }

    fn unindex(&mut self, name: &BirdName, hash: u64, key: Key) {
        let name = Hashed(hash, name.as_str());
        let Some(keys) = self.served_names.get_mut(&name) else { return };
        if !keys.remove(key) {
            self.served_names.remove(&name);
        }
    }
}

/// The beginning of a text, of so many bytes at most.
fn cut(text: &str, bytes: usize) -> &str {
    text.get(..text.floor_char_boundary(bytes)).unwrap_or(text)
}
