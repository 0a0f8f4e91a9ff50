//! Everything that may happen next.
//!
//! What is *due* happens sooner or later, in any order: frames come, nests learn, drivers report. What is left
//! to *chance* needn't happen, and at most as often as the configuration says. Where nothing is due any more
//! the flock is at rest.

use crate::config::Policy;
use crate::register::Ops;
use crate::state::{Card, Cut, Frame, Id, NESTS, Name, Phase, Stage};
use crate::step::Step;

/// Something that happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "who, to whom, and what of")]
pub enum Action {
    /// The first state.
    Begin,
    /// The oldest frame from one nest comes to another.
    Deliver { from: u8, to: u8 },
    /// All operations that one nest knows come to another.
    Gossip { from: u8, to: u8 },
    /// A nest hears what another's card says.
    Learn { me: u8, other: u8, card: Card },
    /// A nest that is up tells a joiner that it holds it in its view.
    Hold { me: u8, joiner: u8 },
    /// A nest holds another for dead, as it is, or as the network is cut.
    LoseSight { me: u8, other: u8 },
    /// A nest sees another again.
    SeeAgain { me: u8, other: u8 },
    /// A joiner comes up.
    ComeUp { me: u8 },
    /// A leaver is gone.
    Leave { me: u8 },
    /// A life that was told to end has ended.
    Over { me: u8, name: u8 },
    /// A life that was to go out of service has, and its snapshot is taken.
    Departed { me: u8, name: u8 },
    /// A link opens anew.
    Reopen { one: u8, other: u8 },
    /// The network is whole again.
    Heal,
    /// Another nest has confirmed that it holds an operation that an answer waited for.
    Release { me: u8, request: u8 },
    /// A request is repeated, as no answer came.
    Repeat { request: u8 },
    /// A nest has had too few others for so long that it stops its birds.
    StopBirds { me: u8 },
    /// Those that a nest lost sight of have had the time to stop their birds.
    CeaseWaiting { me: u8 },
    /// A nest joins, and meets another.
    Join { me: u8, contact: u8 },
    /// A nest is told to leave.
    BeginLeave { me: u8 },
    /// A nest crashes.
    Crash { me: u8 },
    /// A link breaks.
    Break { one: u8, other: u8 },
    /// A nest holds another for dead, wrongly.
    Misjudge { me: u8, other: u8 },
    /// A bird ends of itself.
    EndItself { me: u8, name: u8 },
    /// A bird is told something to remember.
    Tell { me: u8, name: u8 },
    /// A user asks.
    Ask { request: u8 },
    /// A request is repeated though its answer may be under way.
    RepeatEarly { request: u8 },
    /// The network is cut.
    Cut,
}

/// What may happen next.
#[derive(Debug, Default)]
pub(crate) struct Next {
    /// What does sooner or later.
    pub(crate) due: Vec<Action>,
    /// What may.
    pub(crate) chance: Vec<Action>,
}

impl Step<'_> {
    /// What may happen next.
    pub(crate) fn next(&self) -> Next {
        let mut next = Next::default();
        self.frames_due(&mut next.due);
        for me in self.running().filter(|&me| !self.is_frozen(me)) {
            self.news_due(me, &mut next.due);
            self.reports_due(me, &mut next.due);
        }
        self.links_due(&mut next.due);
        if next.due.is_empty() {
            self.repeats(&mut next.due, |request| Action::Repeat { request });
        }
        self.chance(&mut next.chance);
        next
    }

    fn frames_due(&self, due: &mut Vec<Action>) {
        let mut last = None;
        for (from, to, _) in &self.world.frames {
            if last.replace((*from, *to)) != Some((*from, *to)) {
                due.push(Action::Deliver { from: *from, to: *to });
            }
        }
    }

    fn news_due(&self, me: Id, due: &mut Vec<Action>) {
        let nest = self.nest(me);
        let id = me as u8;
        for other in (0..self.config.nests).filter(|&other| other != me) {
            let them = self.nest(other);
            let (card, truth, to) = (nest.cards[other], them.cards[other], other as u8);
            let parted = self.is_parted(me, other);
            let met = them.cards[me] != Card::Unknown;
            if self.world.is_running(other) && met && !parted && nest.known & !them.known != 0 {
                due.push(Action::Gossip { from: id, to });
            }
            let present = matches!(card, Card::Joining | Card::Up | Card::Leaving);
            if nest.alive.has(other) && present && (them.dead || parted) {
                due.push(Action::LoseSight { me: id, other: to });
            }
            if !parted && self.may_hold(me, other) {
                due.push(Action::Hold { me: id, joiner: to });
            }
            if parted || them.dead {
                continue;
            }
            if !nest.alive.has(other) && card != Card::Unknown && truth != Card::Left {
                due.push(Action::SeeAgain { me: id, other: to });
                continue;
            }
            for news in [Card::Joining, Card::Up, Card::Leaving, Card::Left] {
                let passed = news == Card::Joining && truth != Card::Joining;
                if news > card && news <= truth && !passed {
                    due.push(Action::Learn { me: id, other: to, card: news });
                }
            }
        }
    }

    fn reports_due(&self, me: Id, due: &mut Vec<Action>) {
        let (nest, id) = (self.nest(me), me as u8);
        for (name, here) in nest.names.iter().enumerate() {
            let name = name as u8;
            match here.bird.map(|bird| bird.phase) {
                Some(Phase::Ending) => due.push(Action::Over { me: id, name }),
                Some(Phase::Departing) => due.push(Action::Departed { me: id, name }),
                _ => {}
            }
        }
        for (request, served) in nest.served.iter().enumerate() {
            if served.is_some_and(|served| matches!(served.stage, Stage::Holding(..)))
                && self.may_release(me, request)
            {
                due.push(Action::Release { me: id, request: request as u8 });
            }
        }
        if self.may_come_up(me) {
            due.push(Action::ComeUp { me: id });
        }
        if self.may_leave(me) {
            due.push(Action::Leave { me: id });
        }
        if self.config.policy == Policy::Majority {
            if self.may_stop(me) {
                due.push(Action::StopBirds { me: id });
            }
            if self.may_cease_waiting(me) {
                due.push(Action::CeaseWaiting { me: id });
            }
        }
    }

    fn links_due(&self, due: &mut Vec<Action>) {
        for (one, other) in pairs(self.config.nests) {
            let both = self.world.is_running(one) && self.world.is_running(other);
            if both && !self.world.is_linked(one, other) && !self.is_parted(one, other) {
                due.push(Action::Reopen { one: one as u8, other: other as u8 });
            }
        }
        if self.world.cut == Cut::Now {
            due.push(Action::Heal);
        }
    }

    fn repeats(&self, into: &mut Vec<Action>, action: impl Fn(u8) -> Action) {
        for (request, it) in self.config.requests.iter().enumerate() {
            let ask = &self.world.asks[request];
            if ask.asked
                && ask.answer.is_none()
                && self.world.is_running(it.at)
                && !self.is_frozen(it.at)
            {
                into.push(action(request as u8));
            }
        }
    }

    fn chance(&self, chance: &mut Vec<Action>) {
        let budget = &self.world.budget;
        let ups = |but: Id| {
            (0..NESTS).any(|id| {
                id != but && self.world.is_running(id) && self.nest(id).card(id) == Card::Up
            })
        };
        for me in 0..self.config.nests {
            let (nest, id) = (self.nest(me), me as u8);
            if budget.joins > 0 && nest.card(me) == Card::Unknown && !nest.dead {
                for contact in
                    self.running().filter(|&contact| self.nest(contact).card(contact) == Card::Up)
                {
                    if !self.is_parted(me, contact) && !self.is_frozen(contact) {
                        chance.push(Action::Join { me: id, contact: contact as u8 });
                    }
                }
            }
            if !self.world.is_running(me) || self.is_frozen(me) {
                continue;
            }
            if budget.leaves > 0
                && nest.card(me) == Card::Up
                && nest.view.ups().iter().count() > 1
                && ups(me)
            {
                chance.push(Action::BeginLeave { me: id });
            }
            if budget.crashes > 0 && ups(me) {
                chance.push(Action::Crash { me: id });
            }
            for other in (0..self.config.nests).filter(|&other| other != me) {
                if budget.misjudged > 0 && nest.view.has(other) && self.world.is_running(other) {
                    chance.push(Action::Misjudge { me: id, other: other as u8 });
                }
            }
            for (name, here) in nest.names.iter().enumerate() {
                let name = name as u8;
                if here.bird.is_some_and(|bird| bird.phase == Phase::Running) {
                    if budget.ends > 0 {
                        chance.push(Action::EndItself { me: id, name });
                    }
                    if budget.told > 0 {
                        chance.push(Action::Tell { me: id, name });
                    }
                }
            }
        }
        for (one, other) in pairs(self.config.nests) {
            let under_way = |(from, to, _): &(u8, u8, Frame)| {
                let pair = (usize::from(*from), usize::from(*to));
                pair == (one, other) || pair == (other, one)
            };
            if budget.breaks > 0
                && self.world.is_linked(one, other)
                && self.world.frames.iter().any(under_way)
            {
                chance.push(Action::Break { one: one as u8, other: other as u8 });
            }
        }
        for request in (0..self.config.requests.len()).filter(|&request| self.may_ask(request)) {
            chance.push(Action::Ask { request: request as u8 });
        }
        if budget.repeats > 0 {
            self.repeats(chance, |request| Action::RepeatEarly { request });
        }
        if self.config.side != 0 && self.world.cut == Cut::Not {
            chance.push(Action::Cut);
        }
    }

    /// Makes it happen.
    pub(crate) fn take(&mut self, action: Action) {
        let id = usize::from;
        match action {
            Action::Begin => {}
            Action::Deliver { from, to } => self.deliver(from, to),
            Action::Gossip { from, to } => {
                let known: Ops = self.nest(id(from)).known;
                self.learn(id(to), known, false);
                self.round(id(to));
            }
            Action::Learn { me, other, card } => self.learn_card(id(me), id(other), card),
            Action::Hold { me, joiner } => self.hold(id(me), id(joiner)),
            Action::LoseSight { me, other } => self.lose_sight(id(me), id(other)),
            Action::SeeAgain { me, other } => self.see_again(id(me), id(other)),
            Action::ComeUp { me } => self.come_up(id(me)),
            Action::Leave { me } => self.depart_for_good(id(me)),
            Action::Over { me, name } => self.on_over(id(me), id(name)),
            Action::Departed { me, name } => self.on_departed(id(me), id(name)),
            Action::Reopen { one, other } => self.reopen(id(one), id(other)),
            Action::Heal => self.heal(),
            Action::Release { me, request } => self.release(id(me), id(request)),
            Action::Repeat { request } => self.repeat(id(request)),
            Action::StopBirds { me } => self.stop(id(me)),
            Action::CeaseWaiting { me } => self.stop_waiting(id(me)),
            Action::Join { me, contact } => self.join(id(me), id(contact)),
            Action::BeginLeave { me } => self.leave(id(me)),
            Action::Crash { me } => self.crash(id(me)),
            Action::Break { one, other } => {
                self.world.budget.breaks -= 1;
                self.break_link(id(one), id(other));
            }
            Action::Misjudge { me, other } => {
                self.world.budget.misjudged -= 1;
                self.lose_sight(id(me), id(other));
            }
            Action::EndItself { me, name } => self.on_end_of_itself(id(me), id(name)),
            Action::Tell { me, name } => self.tell_bird(id(me), id(name)),
            Action::Ask { request } => self.ask(id(request)),
            Action::RepeatEarly { request } => {
                self.world.budget.repeats -= 1;
                self.repeat(id(request));
            }
            Action::Cut => self.cut(),
        }
    }

    fn deliver(&mut self, from: u8, to: u8) {
        let pair = |(f, t, _): &(u8, u8, Frame)| (*f, *t) == (from, to);
        let Some(at) = self.world.frames.iter().position(pair) else { return };
        let (_, _, frame) = self.world.frames.remove(at);
        let (me, from) = (usize::from(to), usize::from(from));
        match frame {
            Frame::Seal(seal) => self.on_seal(me, from, seal),
            Frame::Ready { view, entered } => self.on_ready(me, from, view, entered),
            Frame::Depart { name, life, carried } => {
                self.on_depart(me, from, name.into(), life, carried)
            }
            Frame::Hatched { name, life } | Frame::Gone { name, life } => {
                self.on_taken(me, name.into(), life)
            }
            Frame::Refused { name, life, view } => {
                self.on_refused(me, from, name.into(), life, view)
            }
            Frame::Ended(ended) => self.on_ended(me, from, ended),
            Frame::Request { request, hops, again } => {
                let fresh = !self.world.asks[usize::from(request)].repeated;
                self.on_request(me, request.into(), hops, again, fresh);
            }
            Frame::Response { request, outcome, op, ops } => {
                self.on_response(me, from, request.into(), outcome, op, ops);
            }
            Frame::Claim { request } => self.on_claim(me, from, request.into()),
            Frame::Claimed { request, granted } => self.on_claimed(me, request.into(), granted),
        }
        self.round(me);
    }
}

fn pairs(nests: usize) -> impl Iterator<Item = (Id, Id)> {
    (0..nests).flat_map(move |one| (one + 1..nests).map(move |other| (one, other)))
}

/// A name, for people.
pub(crate) const fn letter(name: Name) -> char {
    (b'a' + name as u8) as char
}
