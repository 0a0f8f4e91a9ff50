//! Starts, stops and revivals, as the owner of the name decides them.
//!
//! An answer goes out once the thing is done (the bird hatched, the life ended) and two nests hold
//! the operation: owner and asker, or owner and somebody else.

use std::time::Duration;

use super::Nest;
use super::birds::Phase;
use crate::wire::{Frame, Listed, MAX_HOPS, Outcome, Request, Response, Wish};
use crate::{BirdName, Cause, Dot, NestId, Time};

/// Requests that one nest keeps at a time for all askers; more are left to the askers' retries.
const SERVED_CAP: usize = 1 << 20;

/// How long after its deadline a request's answer is remembered: copies may be that late.
const LATE: Duration = Duration::from_secs(5);

/// No asker waits longer.
const PATIENCE: Duration = Duration::from_secs(3600);

/// A request under way at the owner.
#[derive(Debug)]
pub(super) struct Served {
    request: Request,
    deadline: Time,
    stage: Stage,
}

#[derive(Debug)]
enum Stage {
    /// Not decided: the arc isn't settled yet.
    New,
    /// The record is written; the bird of this birth is to hatch.
    Hatching(Dot, Dot),
    /// The record is removed, by this operation or by that of an earlier owner; the life is to end.
    Ending(Option<Dot>),
    /// Done; another nest is to hold the operation.
    Holding(Dot, Outcome),
}

impl Nest {
    pub(super) fn on_request(&mut self, request: Request) {
        let key = (request.origin, request.id);
        if let Some(known) = self.served.get_mut(&key) {
            known.request.known = request.known;
            return;
        }
        if let Some((_, response)) = self.answered_late.get(&key) {
            // A copy that was held up on the way, or the answer was lost: it is not done twice.
            let response = response.clone();
            return self.send_response(key.0, response);
        }
        let hash = request.name.hash64();
        if !self.owns(hash) {
            return self.forward_request(request);
        }
        if self.served.len() >= SERVED_CAP {
            return;
        }
        let name = request.name.clone();
        // What an asker says of its patience must not keep an entry here for ever.
        let deadline = self.now + request.remaining.min(PATIENCE);
        self.served.insert(key, Served { request, deadline, stage: Stage::New });
        self.served_names.entry(name.clone()).or_default().insert(key);
        self.dirty.insert(name);
    }

    fn forward_request(&mut self, mut request: Request) {
        let Some(owner) = self.view.owner(request.name.hash64()) else { return };
        request.hops = request.hops.saturating_add(1);
        // What it holds of the owner's operations only the asker knows: it gets all there is.
        request.known = 0;
        if request.hops <= MAX_HOPS && request.origin != owner {
            self.send(owner, &Frame::Request(request));
        }
    }

    /// Takes each request about a name one step further, if it can be.
    pub(super) fn serve_name(&mut self, name: &BirdName) {
        let Some(keys) = self.served_names.get(name) else { return };
        for key in keys.clone() {
            self.serve(name, key);
        }
    }

    fn serve(&mut self, name: &BirdName, key: (NestId, u64)) {
        let Some(served) = self.served.get(&key) else { return };
        if served.deadline <= self.now || self.view.member(key.0).is_none() {
            return self.forget_request(name, key);
        }
        let hash = name.hash64();
        match served.stage {
            Stage::New if !self.owns(hash) => {
                if let Some(served) = self.served.remove(&key) {
                    self.unindex(name, key);
                    self.forward_request(served.request);
                }
            }
            Stage::New if self.is_settled(hash) && self.knows_listed(name) => {
                self.decide(name, key);
            }
            Stage::New => {}
            Stage::Hatching(op, birth) => self.check_hatched(name, key, op, birth),
            // Its new owner hears of lives elsewhere, which this nest doesn't any more, and answers the
            // asker's next try.
            Stage::Ending(_) if !self.owns(hash) => self.forget_request(name, key),
            Stage::Ending(op) => {
                let over = !self.birds.contains_key(name)
                    && !self.snaps.contains_key(name)
                    && !self.listed.contains_key(name);
                match op {
                    _ if !over => {}
                    Some(op) => self.hold(name, key, op, Outcome::Stopped),
                    None => self.respond(name, key, Outcome::Stopped, None),
                }
            }
            Stage::Holding(..) => {}
        }
    }

    /// Whether the births that others run under this name are known here. Where one isn't, its
    /// operations are still on the way, and to decide now would be to deny a living bird.
    fn knows_listed(&self, name: &BirdName) -> bool {
        let known = |listed: &Listed| self.registry.vector().covers(listed.birth);
        self.listed.get(name).is_none_or(|by| by.values().all(known))
    }

    fn decide(&mut self, name: &BirdName, key: (NestId, u64)) {
        let Some(served) = self.served.get(&key) else { return };
        let (wish, token, again) =
            (served.request.wish.clone(), served.request.token, served.request.again);
        match wish {
            Wish::Start { species, args, or_get } => {
                if let Some(record) = self.registry.winner(name) {
                    if record.token == token {
                        // The same request, whose answer was lost with a nest or a link.
                        return self.wait_for_hatch(name, key, record.dot, record.birth);
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
                let stamp = self.stamp();
                let change = self.registry.start(name, species, &args, token, stamp);
                self.on_own_change([change]);
                let dot = self.registry.last_dot();
                self.wait_for_hatch(name, key, dot, dot);
            }
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
        }
    }

    fn decide_revive(&mut self, name: &BirdName, key: (NestId, u64), again: bool) {
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

    fn wait_for_hatch(&mut self, name: &BirdName, key: (NestId, u64), op: Dot, birth: Dot) {
        self.set_stage(key, Stage::Hatching(op, birth));
        self.dirty.insert(name.clone());
    }

    fn check_hatched(&mut self, name: &BirdName, key: (NestId, u64), op: Dot, birth: Dot) {
        let bird = self.birds.get(name);
        let runs = bird.is_some_and(|b| b.record.birth == birth && b.phase == Phase::Running);
        if runs {
            return self.hold(name, key, op, Outcome::Started { fresh: true });
        }
        if !self.owns(name.hash64()) {
            // Its new owner hatches it, and answers the asker's next try by the token.
            return self.forget_request(name, key);
        }
        if bird.is_none() && !self.registry.is_alive(name, birth) {
            // Stopped by somebody else before it hatched: it did live, and is over.
            self.hold(name, key, op, Outcome::Started { fresh: true });
        }
    }

    /// The first hatch of a started bird failed.
    pub(super) fn fail_start(&mut self, name: &BirdName, birth: Dot, reason: &str) {
        let Some(keys) = self.served_names.get(name).cloned() else { return };
        for key in keys {
            let waits = self
                .served
                .get(&key)
                .is_some_and(|s| matches!(s.stage, Stage::Hatching(_, b) if b == birth));
            if waits {
                let outcome = Outcome::HatchFailed { reason: reason.to_owned() };
                self.respond(name, key, outcome, None);
            }
        }
    }

    pub(super) fn is_being_started(&self, name: &BirdName, birth: Dot) -> bool {
        let Some(keys) = self.served_names.get(name) else { return false };
        keys.iter().filter_map(|key| self.served.get(key)).any(|served| {
            matches!(served.stage, Stage::Hatching(op, b) if b == birth && op.origin == self.id)
        })
    }

    pub(super) fn is_being_revived(&mut self, name: &BirdName) -> bool {
        self.reviving.remove(name)
    }

    /// Answers, unless another nest must first hold the operation: an asker from elsewhere will,
    /// by the answer itself.
    fn hold(&mut self, name: &BirdName, key: (NestId, u64), op: Dot, outcome: Outcome) {
        if key.0 != self.id || op.origin != self.id || self.is_held(op.seq) {
            return self.respond(name, key, outcome, Some(op));
        }
        self.set_stage(key, Stage::Holding(op, outcome));
        // Not at once: of many that wait, each would have the unconfirmed operations sent anew.
        self.timers.ack = self.timers.ack.min(self.now + self.config.batch_ops);
    }

    pub(super) fn is_holding(&self) -> bool {
        self.served.values().any(|served| matches!(served.stage, Stage::Holding(..)))
    }

    /// Answers those whose operation is held by now.
    pub(super) fn release_held(&mut self) {
        let held: Vec<_> = self
            .served
            .iter()
            .filter_map(|(key, served)| match &served.stage {
                Stage::Holding(op, outcome) if self.is_held(op.seq) => {
                    Some((*key, served.request.name.clone(), *op, outcome.clone()))
                }
                _ => None,
            })
            .collect();
        for (key, name, op, outcome) in held {
            self.respond(&name, key, outcome, Some(op));
        }
    }

    fn respond(&mut self, name: &BirdName, key: (NestId, u64), outcome: Outcome, op: Option<Dot>) {
        let Some(served) = self.served.get(&key) else { return };
        let known = served.request.known.max(self.told.get(&key.0).copied().unwrap_or(0));
        let delta = op
            .filter(|op| op.origin == self.id && op.seq > known && key.0 != self.id)
            .and_then(|_| self.registry.delta_of_mine(known));
        if delta.is_some() {
            self.told.insert(key.0, self.registry.last_dot().seq);
        }
        let until = served.deadline + LATE;
        self.forget_request(name, key);
        let response = Response { id: key.1, outcome, op, delta };
        let kept = Response { delta: None, ..response.clone() };
        self.answered_late.insert(key, (until, kept));
        self.send_response(key.0, response);
    }

    fn send_response(&mut self, to: NestId, response: Response) {
        if to == self.id {
            self.on_response(self.id, response);
        } else {
            self.send(to, &Frame::Response(response));
        }
    }

    /// Forgets requests whose askers have given up.
    pub(super) fn forget_late_requests(&mut self) {
        let now = self.now;
        self.answered_late.retain(|_, (until, _)| *until > now);
        let late: Vec<_> = self
            .served
            .iter()
            .filter(|(_, served)| served.deadline <= now)
            .map(|(key, served)| (*key, served.request.name.clone()))
            .collect();
        for (key, name) in late {
            self.forget_request(&name, key);
        }
    }

    fn set_stage(&mut self, key: (NestId, u64), stage: Stage) {
        if let Some(served) = self.served.get_mut(&key) {
            served.stage = stage;
        }
    }

    fn forget_request(&mut self, name: &BirdName, key: (NestId, u64)) {
        self.served.remove(&key);
        self.unindex(name, key);
    }

    fn unindex(&mut self, name: &BirdName, key: (NestId, u64)) {
        if let Some(keys) = self.served_names.get_mut(name) {
            keys.remove(&key);
            if keys.is_empty() {
                self.served_names.remove(name);
            }
        }
    }
}
