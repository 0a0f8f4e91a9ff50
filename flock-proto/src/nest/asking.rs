//! Starts, stops and revivals, as the nest whose user asked sees them.

use bytes::Bytes;

use super::Nest;
use crate::wire::{Frame, Outcome, Request, Response, Wish};
use crate::{Answer, BirdName, Effect, NestId, NestName, NestState, ReqId, SpeciesId, Time};

/// A user's request without an answer yet.
#[derive(Debug)]
pub(super) struct Ask {
    name: BirdName,
    wish: Wish,
    token: u64,
    deadline: Time,
    /// When it is sent again, or given up.
    due: Time,
    sent_to: Option<NestId>,
    again: bool,
    /// The answer is here; the operation behind it is not.
    pending: Option<(NestId, Response)>,
}

impl Nest {
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

    fn ask(&mut self, req: ReqId, name: BirdName, wish: Wish, deadline: Time) {
        if self.state == NestState::Leaving {
            return self.out.push(Effect::Answer { req, answer: Answer::Leaving });
        }
        let token = self.rng.next_u64();
        let due = deadline.min(self.now + self.config.retry_every);
        let ask =
            Ask { name, wish, token, deadline, due, sent_to: None, again: false, pending: None };
        self.asks.insert(req, ask);
        self.ask_times.insert((due, req));
        self.send_ask(req);
    }

    fn send_ask(&mut self, req: ReqId) {
        let Some(ask) = self.asks.get_mut(&req) else { return };
        let Some(owner) = self.view.owner(ask.name.hash64()) else { return };
        ask.sent_to = Some(owner);
        let request = Request {
            origin: self.id,
            hops: 0,
            id: req.0,
            name: ask.name.clone(),
            wish: ask.wish.clone(),
            token: ask.token,
            again: ask.again,
            known: self.registry.vector().seq(owner),
            remaining: ask.deadline.since(self.now),
        };
        ask.again = true;
        if owner == self.id {
            self.on_request(request);
        } else {
            self.send(owner, &Frame::Request(request));
        }
    }

    pub(super) fn resend_asks(&mut self, to: NestId) {
        let reqs: Vec<ReqId> = self
            .asks
            .iter()
            .filter(|(_, ask)| ask.sent_to == Some(to) && ask.pending.is_none())
            .map(|(req, _)| *req)
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
                ask.pending.is_none() && self.view.owner(ask.name.hash64()) != ask.sent_to
            })
            .map(|(req, _)| *req)
            .collect();
        for req in reqs {
            self.send_ask(req);
        }
    }

    /// Repeats what wasn't answered, and gives up what is past its deadline.
    pub(super) fn on_ask_times(&mut self) {
        while let Some(&(due, req)) = self.ask_times.first() {
            if due > self.now {
                break;
            }
            self.ask_times.remove(&(due, req));
            let Some(ask) = self.asks.get_mut(&req) else { continue };
            if ask.deadline <= self.now {
                let answer = if ask.sent_to.is_none() { Answer::NoOwner } else { Answer::TimedOut };
                self.asks.remove(&req);
                self.answered.remove(&req);
                self.out.push(Effect::Answer { req, answer });
                continue;
            }
            ask.due = ask.deadline.min(self.now + self.config.retry_every);
            self.ask_times.insert((ask.due, req));
            match &ask.pending {
                // Nobody may hold the operation any more: whoever owns the name now answers anew.
                Some((owner, _)) if self.view.member(*owner).is_none() => {
                    ask.pending = None;
                    self.answered.remove(&req);
                    self.send_ask(req);
                }
                Some((owner, _)) => {
                    let owner = *owner;
                    self.send_status(owner, true);
                }
                None => self.send_ask(req),
            }
        }
    }

    pub(super) fn on_response(&mut self, from: NestId, response: Response) {
        let req = ReqId(response.id);
        if !self.asks.contains_key(&req) {
            return;
        }
        if let Some(delta) = &response.delta {
            self.join(from, delta);
        }
        let held = response.op.is_none_or(|op| self.registry.vector().covers(op));
        if held {
            self.finish_ask(req, from, response.outcome);
        } else if let Some(ask) = self.asks.get_mut(&req) {
            ask.pending = Some((from, response));
            self.answered.insert(req);
            self.send_status(from, true);
        }
    }

    /// Answers those whose operation has arrived by now.
    pub(super) fn finish_responses(&mut self) {
        let done: Vec<(ReqId, NestId, Outcome)> = self
            .answered
            .iter()
            .filter_map(|req| {
                let (from, response) = self.asks.get(req)?.pending.as_ref()?;
                let held = response.op.is_none_or(|op| self.registry.vector().covers(op));
                held.then(|| (*req, *from, response.outcome.clone()))
            })
            .collect();
        for (req, from, outcome) in done {
            self.finish_ask(req, from, outcome);
        }
    }

    fn finish_ask(&mut self, req: ReqId, from: NestId, outcome: Outcome) {
        let Some(ask) = self.asks.remove(&req) else { return };
        self.answered.remove(&req);
        self.ask_times.remove(&(ask.due, req));
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
        };
        self.out.push(Effect::Answer { req, answer });
    }

    /// The name of a nest that answered; it may be gone by now.
    fn name_of(&self, id: NestId) -> NestName {
        self.roster.card(id).map_or_else(|| self.me.name.clone(), |card| card.name.clone())
    }
}
