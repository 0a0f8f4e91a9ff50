//! Starts, stops and revivals, as the nest whose user asked sees them.

use std::ops::Bound;
use std::time::Duration;

use bytes::Bytes;

use super::Nest;
use crate::bugs::{Bug, planted};
use crate::wire::{Outcome, Request, Response, Responses, Wish};
use crate::{
    Answer, BirdName, Dot, Effect, NestId, NestName, NestState, ReqId, Rng, SpeciesId, Time,
};

/// A user's request without an answer yet.
#[derive(Debug)]
pub(super) struct Ask {
    name: BirdName,
    wish: Wish,
    deadline: Time,
    /// When it is sent again, or given up.
    due: Time,
    /// Whom it goes to; none while no nest owns anything.
    pub(super) to: Option<NestId>,
    /// It takes its part of the room at that nest: see [`Lane`](super::batches::Lane).
    pub(super) has_room: bool,
    again: bool,
    /// The nest that decides, of several that may have copies: no other's answer counts.
    pub(super) decider: Option<NestId>,
    /// The answer is here; the operation behind it is not.
    pub(super) pending: Option<(NestId, Response)>,
}

impl Ask {
    /// Bytes that it takes on its way.
    pub(super) fn size(&self) -> usize {
        self.name.as_str().len() + self.wish.size()
    }

    /// The request as it goes to that nest now.
    fn request(&mut self, req: ReqId, token: u64, to: NestId, now: Time) -> Request {
        self.to = Some(to);
        let again = std::mem::replace(&mut self.again, true);
        let remaining = self.deadline.since(now);
        let (name, wish) = (self.name.clone(), self.wish.clone());
        Request { id: req.0, name, wish, token, again, remaining }
    }
}

impl Nest {
    /// Something of the request as it was asked for, if a user here did, for the sake of looking there.
    pub(super) fn look_at_ask(&self, (asker, number): &(NestId, u64)) -> u64 {
        let ask = if *asker == self.id { self.asks.get(*number) } else { None };
        // It is larger than a line of memory: something of two places in it.
        ask.map_or(0, |ask| ask.deadline.as_micros() ^ u64::from(ask.pending.is_some()))
    }

    pub(super) fn on_start(
        &mut self,
        req: ReqId,
        name: BirdName,
        species: SpeciesId,
        args: Bytes,
        or_get: bool,
        deadline: Time,
    ) {
        self.ask(req, name, Wish::Start { species, args, or_get }, deadline);
    }

    pub(super) fn on_stop(&mut self, req: ReqId, name: BirdName, deadline: Time) {
        self.ask(req, name, Wish::Stop, deadline);
    }

    pub(super) fn on_revive(&mut self, req: ReqId, name: BirdName, deadline: Time) {
        self.ask(req, name, Wish::Revive, deadline);
    }

    pub(super) fn on_undo(&mut self, req: ReqId, start: ReqId, name: BirdName, deadline: Time) {
        let token = self.token(start);
        self.ask(req, name, Wish::Undo { start: start.0, token }, deadline);
    }

    fn ask(&mut self, req: ReqId, name: BirdName, wish: Wish, deadline: Time) {
        if self.state == NestState::Leaving {
            return self.out.push(Effect::Answer { req, answer: Answer::Leaving });
        }
        let due = self.due_of(deadline, &wish);
        let (hash, token) = (name.hash64(), self.token(req));
        let mut ask = Ask {
            name,
            wish,
            deadline,
            due,
            to: None,
            has_room: false,
            again: false,
            decider: None,
            pending: None,
        };
        let request = self.owns(hash).then(|| ask.request(req, token, self.id, self.now));
        self.asks.insert(req.0, ask);
        self.ask_times.insert(due, req);
        match request {
            Some(request) => self.serve_new((self.id, req.0), hash, 0, true, request),
            None => self.send_ask(req),
        }
    }

    /// Names a request in the whole flock. Not drawn but made from its number, so that a start can
    /// be told from others long after it was answered. Two numbers never make the same.
    const fn token(&self, req: ReqId) -> u64 {
        Rng::new(self.token_key.wrapping_add(req.0)).next_u64()
    }

    /// When to see to it again. A large one may take its time, and isn't sent again meanwhile: no
    /// more than a megabyte a second.
    fn due_of(&self, deadline: Time, wish: &Wish) -> Time {
        let patience = self.config.retry_every + Duration::from_micros(wish.size() as u64);
        deadline.min(self.now + patience)
    }

    fn wait_for(&mut self, req: ReqId) {
        let Some(ask) = self.asks.get(req.0) else { return };
        let due = self.due_of(ask.deadline, &ask.wish);
        self.ask_times.insert(due, req);
        if let Some(ask) = self.asks.get_mut(req.0) {
            ask.due = due;
        }
    }

    /// Sends a request to the owner of the name, for the first time or anew.
    fn send_ask(&mut self, req: ReqId) {
        let Some(ask) = self.asks.get(req.0) else { return };
        let Some(owner) = self.view.owner(ask.name.hash64()) else { return };
        if owner == self.id {
            self.leave_lane(req);
            if let Some(request) = self.request(req, owner) {
                self.on_request(self.id, 0, true, request);
            }
        } else {
            self.enter_lane(req, owner);
        }
    }

    /// The request as it goes to that nest now.
    pub(super) fn request(&mut self, req: ReqId, to: NestId) -> Option<Request> {
        let token = self.token(req);
        Some(self.asks.get_mut(req.0)?.request(req, token, to, self.now))
    }

    pub(super) fn resend_asks(&mut self, to: NestId) {
        let reqs: Vec<ReqId> = self
            .asks
            .iter()
            .filter(|(_, ask)| ask.to == Some(to) && ask.pending.is_none())
            .map(|(req, _)| ReqId(req))
            .collect();
        for req in reqs {
            self.send_ask(req);
        }
    }

    /// The ring changed: what was sent to a nest that no longer owns the name goes to the one that
    /// does.
    pub(super) fn resend_all_asks(&mut self) {
        let reqs: Vec<ReqId> = self
            .asks
            .iter()
            .filter(|(_, ask)| {
                ask.pending.is_none() && self.view.owner(ask.name.hash64()) != ask.to
            })
            .map(|(req, _)| ReqId(req))
            .collect();
        for req in reqs {
            self.send_ask(req);
        }
    }

    /// This nest goes on as another: what its users asked is asked anew, and what others asked of it
    /// they ask others.
    pub(super) fn forget_requests(&mut self) {
        let reqs: Vec<ReqId> = self.asks.iter().map(|(req, _)| ReqId(req)).collect();
        for req in reqs {
            self.leave_lane(req);
            self.take_pending(req);
            if let Some(ask) = self.asks.get_mut(req.0) {
                (ask.to, ask.decider) = (None, None);
            }
        }
        self.lanes.clear();
        self.served.clear();
        self.served_names.clear();
        self.askers.clear();
        self.claims.clear();
        self.forwards.clear();
        self.responses.clear();
        self.holding.clear();
        (self.pushed, self.confirming) = (0, 0);
        self.timers.ack = Time::NEVER;
    }

    /// Repeats what wasn't answered, and gives up what is past its deadline.
    pub(super) fn on_ask_times(&mut self) {
        while let Some((at, reqs)) = self.ask_times.pop(self.now) {
            for req in reqs {
                // Others were answered meanwhile.
                if self.asks.get(req.0).is_some_and(|ask| ask.due == at) {
                    self.on_due(req);
                }
            }
        }
    }

    fn on_due(&mut self, req: ReqId) {
        let Some(ask) = self.asks.get(req.0) else { return };
        if ask.deadline <= self.now {
            let answer = if ask.to.is_none() { Answer::NoOwner } else { Answer::TimedOut };
            self.forget_ask(req);
            if !planted(Bug::UnansweredUsers) {
                self.out.push(Effect::Answer { req, answer });
            }
            return;
        }
        self.wait_for(req);
        match self.asks.get(req.0).and_then(|ask| ask.pending.as_ref()) {
            // Nobody may hold the operation any more: whoever owns the name now answers anew.
            Some((owner, _)) if self.view.member(*owner).is_none() => {
                self.take_pending(req);
                self.send_ask(req);
            }
            Some((owner, _)) => {
                let owner = *owner;
                self.send_status(owner, true);
            }
            None => self.send_ask(req),
        }
    }

    pub(super) fn on_responses(&mut self, from: NestId, responses: Responses) {
        if let Some(delta) = &responses.delta {
            self.join(from, delta);
        }
        let mut lacking = false;
        for response in responses.responses {
            lacking |= !self.on_response(from, response);
        }
        if lacking {
            self.send_status(from, true);
        }
    }

    /// Takes an answer in; false if the operation behind it isn't here yet.
    pub(super) fn on_response(&mut self, from: NestId, response: Response) -> bool {
        let req = ReqId(response.id);
        let Some(ask) = self.asks.get(req.0) else { return true };
        if ask.decider.is_some_and(|decider| decider != from) {
            return true;
        }
        let Some(op) = response.op.filter(|op| !self.registry.vector().covers(*op)) else {
            self.finish_ask(req, from, response.outcome);
            return true;
        };
        self.take_pending(req);
        if let Some(ask) = self.asks.get_mut(req.0) {
            ask.pending = Some((from, response));
            self.answered.insert((op, req));
        }
        false
    }

    fn take_pending(&mut self, req: ReqId) -> Option<(NestId, Response)> {
        let pending = self.asks.get_mut(req.0)?.pending.take()?;
        if let Some(op) = pending.1.op {
            self.answered.remove(&(op, req));
        }
        Some(pending)
    }

    /// Answers those whose operation has arrived by now.
    pub(super) fn finish_responses(&mut self) {
        let mut next = self.answered.first().copied();
        while let Some((op, req)) = next {
            let after = if self.registry.vector().covers(op) {
                if let Some((from, response)) = self.take_pending(req) {
                    self.finish_ask(req, from, response.outcome);
                }
                (op, req)
            } else {
                // Nor are the later ones of the same nest.
                (Dot { seq: u64::MAX, ..op }, ReqId(u64::MAX))
            };
            let rest = self.answered.range((Bound::Excluded(after), Bound::Unbounded));
            next = rest.copied().next();
        }
    }

    fn finish_ask(&mut self, req: ReqId, from: NestId, outcome: Outcome) {
        self.forget_ask(req);
        let nest = self.name_of(from);
        let answer = match outcome {
            Outcome::Started { fresh } => Answer::Started { nest, fresh },
            Outcome::AlreadyExists { species } => Answer::AlreadyExists { species, nest },
            Outcome::HatchFailed { reason } => Answer::HatchFailed { reason },
            Outcome::UnknownSpecies => Answer::UnknownSpecies { nest },
            Outcome::Stopped => Answer::Stopped,
            Outcome::NoSuchBird => Answer::NoSuchBird,
            Outcome::Revived => Answer::Revived,
            Outcome::NotGrounded => Answer::NotGrounded,
            Outcome::NoQuorum => Answer::NoQuorum,
        };
        self.out.push(Effect::Answer { req, answer });
    }

    fn forget_ask(&mut self, req: ReqId) {
        let Some(mut ask) = self.asks.remove(req.0) else { return };
        ask.leave(&mut self.lanes);
        if let Some(op) = ask.pending.and_then(|(_, response)| response.op) {
            self.answered.remove(&(op, req));
        }
        self.ask_times.remove(ask.due);
    }

    /// The name of a nest that answered; it may be gone by now.
    fn name_of(&self, id: NestId) -> NestName {
        let member = self.view.member(id).map(|member| &member.name);
        let name = member.or_else(|| self.roster.card(id).map(|card| &card.name));
        name.unwrap_or(&self.me.name).clone()
    }
}
