//! Starts and stops: as the nest whose user asks, and as the owner of the name, who decides.

use crate::config::Wish;
use crate::register::{Deed, Ops};
use crate::rules::Rule;
use crate::state::{Ask, Card, Claim, Cut, Frame, Id, NESTS, Name, Outcome, Phase, Served, Stage};
use crate::step::Step;

/// So often a request is passed on.
const MAX_HOPS: u8 = 3;

impl Step<'_> {
    fn asker(&self, request: usize) -> Id {
        self.config.requests[request].at
    }

    fn name_of(&self, request: usize) -> Name {
        self.config.requests[request].name
    }

    fn is_open(&self, request: usize) -> bool {
        let ask = &self.world.asks[request];
        ask.asked && ask.answer.is_none()
    }

    /// A user asks.
    pub(crate) fn ask(&mut self, request: usize) {
        self.world.asks[request].asked = true;
        self.send_ask(request);
        self.round(self.asker(request));
    }

    /// The answer is late: it is asked again, and copies that are under way are old from now on.
    pub(crate) fn repeat(&mut self, request: usize) {
        let me = self.asker(request);
        let view = self.nest(me).view;
        let ask = &mut self.world.asks[request];
        ask.repeated = true;
        // Nobody may hold that operation any more: whoever owns the name now answers anew.
        ask.pending.take_if(|(from, ..)| !view.has(usize::from(*from)));
        self.send_ask(request);
        self.round(me);
    }

    fn send_ask(&mut self, request: usize) {
        let me = self.asker(request);
        let Some(owner) = self.owner(me, self.name_of(request)) else { return };
        let ask = &mut self.world.asks[request];
        ask.to = Some(owner as u8);
        let again = std::mem::replace(&mut ask.again, true);
        if owner == me {
            self.on_request(me, request, 0, again, true);
        } else {
            self.send(me, owner, Frame::Request { request: request as u8, hops: 0, again });
        }
    }

    /// Asks anew what isn't answered.
    pub(crate) fn resend_asks(&mut self, me: Id, which: impl Fn(&Ask) -> bool) {
        for request in 0..self.config.requests.len() {
            let ask = self.world.asks[request];
            if self.asker(request) == me
                && self.is_open(request)
                && ask.pending.is_none()
                && which(&ask)
            {
                self.send_ask(request);
            }
        }
    }

    /// The ring changed: what was sent to a nest that no longer owns the name goes to the one that does.
    pub(crate) fn resend_asks_to_new_owners(&mut self, me: Id) {
        for request in 0..self.config.requests.len() {
            let owner = self.owner(me, self.name_of(request)).map(|owner| owner as u8);
            if self.asker(request) == me
                && self.is_open(request)
                && self.world.asks[request].to != owner
                && self.world.asks[request].pending.is_none()
            {
                self.send_ask(request);
            }
        }
    }

    /// A request comes to whoever is held for the owner of its name. `fresh`: it is the first copy and no
    /// other was sent for want of an answer.
    pub(crate) fn on_request(
        &mut self,
        me: Id,
        request: usize,
        hops: u8,
        again: bool,
        fresh: bool,
    ) {
        if let Some(served) = &mut self.nest_mut(me).served[request] {
            if served.stage == Stage::New {
                // The claim, or what was said to it, may be lost.
                served.claim = Claim::Due;
            }
            return;
        }
        let (asker, name) = (self.asker(request), self.name_of(request));
        if asker == me && !self.is_open(request) {
            return;
        }
        if let Some((outcome, op)) = self.nest(me).answered[request]
            && self.follows(Rule::RememberAnswers)
        {
            if asker != me && self.follows(Rule::ClaimAnswers) {
                self.send(me, asker, Frame::Claim { request: request as u8 });
            }
            return self.send_response(me, request, outcome, op);
        }
        if !self.owns(me, name) {
            return self.forward(me, request, hops, again);
        }
        let claim = if fresh && !again && hops == 0 { Claim::Unneeded } else { Claim::Due };
        self.nest_mut(me).served[request] = Some(Served { hops, again, claim, stage: Stage::New });
    }

    fn forward(&mut self, me: Id, request: usize, hops: u8, again: bool) {
        let Some(owner) = self.owner(me, self.name_of(request)) else { return };
        let hops = hops + 1;
        if hops <= MAX_HOPS && owner != self.asker(request) {
            self.send(me, owner, Frame::Request { request: request as u8, hops, again });
        }
    }

    /// Takes a request one step further, if it can be; false if not.
    pub(crate) fn serve(&mut self, me: Id, request: usize) -> bool {
        let Some(served) = self.nest(me).served[request] else { return false };
        let (asker, name) = (self.asker(request), self.name_of(request));
        if asker != me && !self.nest(me).alive.has(asker) {
            return self.forget(me, request);
        }
        match served.stage {
            Stage::New if !self.owns(me, name) => {
                self.forget(me, request);
                self.forward(me, request, served.hops, served.again);
                true
            }
            Stage::New if self.may_decide(me, name) => self.decide_if_granted(me, request, served),
            Stage::New => {
                // It may be answered elsewhere until it can be decided here.
                if let Some(served) = &mut self.nest_mut(me).served[request] {
                    served.claim = Claim::Due;
                }
                false
            }
            Stage::Hatching(op, birth) => self.check_hatched(me, request, op, birth),
            // Its new owner hears of lives elsewhere, which this nest doesn't any more, and answers the asker's
            // next try.
            Stage::Ending(_) if !self.owns(me, name) => self.forget(me, request),
            Stage::Ending(_) if !self.is_over(me, name) && self.follows(Rule::StopAfterEnd) => {
                false
            }
            Stage::Ending(Some(op)) => self.answer_held(me, request, op, Outcome::Stopped),
            Stage::Ending(None) => self.respond(me, request, Outcome::Stopped, None),
            Stage::Holding(op, outcome) => {
                let alone = self.nest(me).view.others(me).is_empty() && !self.begins_nothing(me);
                alone && self.respond(me, request, outcome, Some(op))
            }
        }
    }

    /// Whether all is known of a name that must be known to decide about it.
    fn may_decide(&self, me: Id, name: Name) -> bool {
        let listed = &self.here(me, name).listed;
        let known =
            |birth: u8| self.nest(me).known >> birth & 1 == 1 || !self.follows(Rule::KnowListed);
        let settled = self.is_settled(me, name) || !self.follows(Rule::ServeSettled);
        settled
            && listed.iter().flatten().all(|life| known(life.birth))
            && !self.begins_nothing(me)
            && !self.nest(me).stopped
    }

    /// Of several copies of a request one is carried out: whoever may not be the first with it claims it from
    /// the asker.
    fn decide_if_granted(&mut self, me: Id, request: usize, served: Served) -> bool {
        let asker = self.asker(request);
        if asker == me {
            if !self.is_open(request) {
                return self.forget(me, request);
            }
            self.world.asks[request].decider = Some(me as u8);
            return self.decide(me, request, served);
        }
        if served.claim == Claim::Unneeded || !self.follows(Rule::ClaimCopies) {
            return self.decide(me, request, served);
        }
        if served.claim == Claim::Due {
            self.nest_mut(me).served[request] = Some(Served { claim: Claim::Made, ..served });
            self.send(me, asker, Frame::Claim { request: request as u8 });
        }
        false
    }

    /// Another nest would decide.
    pub(crate) fn on_claim(&mut self, me: Id, from: Id, request: usize) {
        let ask = &mut self.world.asks[request];
        let other = Some(from as u8);
        let open = ask.answer.is_none() && ask.pending.is_none();
        if open && ask.to != other && ask.decider.is_some_and(|decider| Some(decider) != other) {
            // A former owner, too late.
            return;
        }
        if open {
            ask.decider = other;
        }
        self.send(me, from, Frame::Claimed { request: request as u8, granted: open });
    }

    /// What the asker said to a claim. It is used at once, or not at all.
    pub(crate) fn on_claimed(&mut self, me: Id, request: usize, granted: bool) {
        let Some(served) = self.nest(me).served[request] else { return };
        if served.stage != Stage::New || served.claim != Claim::Made {
            return;
        }
        let name = self.name_of(request);
        if !granted {
            self.forget(me, request);
        } else if self.owns(me, name) && self.may_decide(me, name) {
            self.decide(me, request, served);
        } else {
            self.nest_mut(me).served[request] = Some(Served { claim: Claim::Due, ..served });
        }
    }

    fn decide(&mut self, me: Id, request: usize, served: Served) -> bool {
        let name = self.name_of(request);
        let known = self.nest(me).known;
        self.check_decision(me, request);
        match self.config.requests[request].wish {
            Wish::Start => {
                if let Some(winner) = self.world.register.winner(known, name) {
                    let record = *self.world.register.op(winner);
                    let born = self.world.register.op(record.birth).request;
                    if born == Some(request as u8) && self.follows(Rule::KeepTokens) {
                        // The same request, whose answer was lost with a nest or a link.
                        return self.set_stage(me, request, Stage::Hatching(winner, record.birth));
                    }
                    self.check_refusal(request, born);
                    return self.respond(me, request, Outcome::AlreadyExists, None);
                }
                self.check_start(request);
                self.check_denial(me, name);
                let op = self.issue(me, Deed::Start, name, None, 0, Some(request as u8));
                self.set_stage(me, request, Stage::Hatching(op, op));
                while self.consider(me, name) {}
                true
            }
            Wish::Stop => {
                let records = self.world.register.records(known, name);
                if records != 0 {
                    let op = self.issue(me, Deed::Stop, name, None, records, Some(request as u8));
                    self.set_stage(me, request, Stage::Ending(Some(op)));
                    while self.consider(me, name) {}
                    true
                } else if served.again {
                    // The first try may have done it.
                    self.set_stage(me, request, Stage::Ending(None))
                } else {
                    self.check_denial(me, name);
                    self.respond(me, request, Outcome::NoSuchBird, None)
                }
            }
        }
    }

    fn check_hatched(&mut self, me: Id, request: usize, op: u8, birth: u8) -> bool {
        let name = self.name_of(request);
        let bird = self.here(me, name).bird;
        if bird.is_some_and(|bird| bird.life.birth == birth && bird.phase == Phase::Running) {
            return self.answer_held(me, request, op, Outcome::Started);
        }
        if !self.owns(me, name) {
            // Its new owner hatches it, and answers the asker's next try by the token.
            return self.forget(me, request);
        }
        let another = bird.is_none_or(|bird| bird.life.birth != birth);
        // Stopped by somebody else before it hatched: it did live, and is over.
        another
            && !self.is_alive(me, name, birth)
            && self.answer_held(me, request, op, Outcome::Started)
    }

    /// Whether no life of this name is left, here or listed, that was stopped.
    fn is_over(&self, me: Id, name: Name) -> bool {
        let here = self.here(me, name);
        let bird = here.bird.map(|bird| bird.life.birth);
        let snap = here.snap.as_ref().map(|snap| snap.life.birth);
        let listed = here.listed.iter().flatten().map(|life| life.birth);
        let births: Vec<u8> = bird.into_iter().chain(snap).chain(listed).collect();
        births.into_iter().all(|birth| self.is_alive(me, name, birth))
    }

    /// Answers, unless another nest must hold the operation first. An asker elsewhere does, by the answer.
    fn answer_held(&mut self, me: Id, request: usize, op: u8, outcome: Outcome) -> bool {
        let own = usize::from(self.world.register.op(op).origin) == me;
        if self.asker(request) != me || !own || !self.follows(Rule::TwoHolders) {
            return self.respond(me, request, outcome, Some(op));
        }
        self.set_stage(me, request, Stage::Holding(op, outcome))
    }

    /// Whether another nest, that doesn't leave, is known to hold the operation.
    pub(crate) fn may_release(&self, me: Id, request: usize) -> bool {
        let nest = self.nest(me);
        let holds = |op: u8, id: Id| {
            self.nest(id).known >> op & 1 == 1
                && self.world.is_running(id)
                && !self.is_parted(me, id)
        };
        match nest.served[request] {
            Some(Served { stage: Stage::Holding(op, _), .. }) => {
                nest.view.others(me).iter().any(|id| nest.view.is_up(id) && holds(op, id))
            }
            _ => false,
        }
    }

    pub(crate) fn release(&mut self, me: Id, request: usize) {
        if let Some(Served { stage: Stage::Holding(op, outcome), .. }) =
            self.nest(me).served[request]
        {
            self.respond(me, request, outcome, Some(op));
        }
        self.round(me);
    }

    fn set_stage(&mut self, me: Id, request: usize, stage: Stage) -> bool {
        if let Some(served) = &mut self.nest_mut(me).served[request] {
            served.stage = stage;
        }
        true
    }

    fn forget(&mut self, me: Id, request: usize) -> bool {
        self.nest_mut(me).served[request] = None;
        true
    }

    fn respond(&mut self, me: Id, request: usize, outcome: Outcome, op: Option<u8>) -> bool {
        self.forget(me, request);
        if self.asker(request) == me {
            self.on_response(me, me, request, outcome, op, 0);
        } else {
            self.nest_mut(me).answered[request] = Some((outcome, op));
            self.send_response(me, request, outcome, op);
        }
        true
    }

    /// An answer carries every operation of its origin up to the one that it is about.
    fn send_response(&mut self, me: Id, request: usize, outcome: Outcome, op: Option<u8>) {
        let own = op.filter(|op| usize::from(self.world.register.op(*op).origin) == me);
        let upto = |op: u8| {
            let prefix = if self.follows(Rule::WholePrefix) { (2 << op) - 1 } else { 1 << op };
            self.world.register.of(self.nest(me).known & prefix, me)
        };
        let ops = own.map_or(0, upto);
        self.send(
            me,
            self.asker(request),
            Frame::Response { request: request as u8, outcome, op, ops },
        );
    }

    /// An answer comes. It counts once its operation is known.
    pub(crate) fn on_response(
        &mut self,
        me: Id,
        from: Id,
        request: usize,
        outcome: Outcome,
        op: Option<u8>,
        ops: Ops,
    ) {
        self.learn(me, ops, from == me);
        let ask = self.world.asks[request];
        if !self.is_open(request) || ask.decider.is_some_and(|decider| usize::from(decider) != from)
        {
            return;
        }
        match op.filter(|op| self.nest(me).known >> op & 1 == 0) {
            None => self.finish(request, outcome, op),
            Some(op) => self.world.asks[request].pending = Some((from as u8, outcome, op)),
        }
    }

    /// Answers those whose operation has come by now.
    pub(crate) fn finish_responses(&mut self, me: Id) {
        for request in 0..self.config.requests.len() {
            if self.asker(request) == me
                && let Some((_, outcome, op)) = self.world.asks[request].pending
                && self.nest(me).known >> op & 1 == 1
            {
                self.finish(request, outcome, Some(op));
            }
        }
    }

    fn finish(&mut self, request: usize, outcome: Outcome, op: Option<u8>) {
        let asked = self.world.asks[request].asked;
        self.world.asks[request] = Ask { asked, answer: Some((outcome, op)), ..Ask::default() };
        self.check_answer(request, outcome, op);
    }

    /// Whether the network is cut between two nests.
    pub(crate) fn is_parted(&self, one: Id, other: Id) -> bool {
        self.world.cut == Cut::Now && self.config.side(one) != self.config.side(other)
    }

    /// Whether a nest stands still.
    pub(crate) fn is_frozen(&self, id: Id) -> bool {
        self.config.frozen && self.world.cut == Cut::Now && self.config.side(id) == 1
    }

    /// Whether a user may ask this now.
    pub(crate) fn may_ask(&self, request: usize) -> bool {
        let at = self.asker(request);
        let earlier = request == 0 || self.world.asks[request - 1].asked;
        let when = match self.config.requests[request].when {
            crate::config::When::Ever => true,
            crate::config::When::Cut => self.world.cut == Cut::Now,
        };
        !self.world.asks[request].asked
            && (earlier || self.world.cut == Cut::Now)
            && when
            && self.world.is_running(at)
            && self.nest(at).card(at) == Card::Up
            && !self.is_frozen(at)
    }

    /// All nests that take part.
    pub(crate) fn running(&self) -> impl Iterator<Item = Id> + '_ {
        (0..NESTS).filter(|&id| self.world.is_running(id))
    }
}
