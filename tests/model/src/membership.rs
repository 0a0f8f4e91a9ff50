//! Who is known, who is alive, and who may come and go.
//!
//! How nests learn of each other (SWIM, cards, heartbeats) is not in this model: a nest may learn at any moment
//! what is so, in any order, and sooner or later does.

use std::rc::Rc;

use crate::rules::Rule;
use crate::state::{Card, Cut, Held, Id, NESTS, Nest, Set, Snap};
use crate::step::Step;

impl Step<'_> {
    /// A nest starts, and meets one that is up.
    pub(crate) fn join(&mut self, me: Id, contact: Id) {
        self.world.budget.joins -= 1;
        let card = self.nest(contact).card(contact);
        let nest = self.nest_mut(me);
        nest.cards[me] = Card::Joining;
        nest.cards[contact] = card;
        nest.alive = [me, contact].into_iter().collect();
        self.learn_card(contact, me, Card::Joining);
        self.round(me);
    }

    /// A nest hears what another's card says.
    pub(crate) fn learn_card(&mut self, me: Id, other: Id, card: Card) {
        let nest = self.nest_mut(me);
        nest.cards[other] = card;
        nest.alive.insert(other);
        self.round(me);
    }

    /// Whether a nest may tell a joiner that it holds it in its view.
    pub(crate) fn may_hold(&self, me: Id, joiner: Id) -> bool {
        let (nest, joining) = (self.nest(me), self.nest(joiner));
        let sees = nest.alive.has(joiner) && nest.cards[joiner] == Card::Joining;
        sees && nest.card(me) >= Card::Up
            && joining.card(joiner) == Card::Joining
            && joining.held[me].is_none()
    }

    /// A nest tells a joiner that it holds it in its view, whom else it holds for up, and what it knows.
    pub(crate) fn hold(&mut self, me: Id, joiner: Id) {
        let nest = self.nest(me);
        let (ups, known, card) = (nest.view.ups(), nest.known, nest.card(me));
        let joining = self.nest_mut(joiner);
        joining.held[me] = Some(Held { ups, known });
        // They have greeted each other before.
        joining.cards[me] = card;
        joining.alive.insert(me);
        self.round(joiner);
    }

    /// Rule 5, of a joiner: it is up only once all that are up hold it in their views, as far as it knows and
    /// as far as those know, and it knows what they knew.
    pub(crate) fn may_come_up(&self, me: Id) -> bool {
        let nest = self.nest(me);
        if nest.card(me) != Card::Joining {
            return false;
        }
        let known = |card: Card| -> Set {
            (0..NESTS)
                .filter(|&id| id != me && nest.alive.has(id) && nest.cards[id] == card)
                .collect()
        };
        let ups = known(Card::Up);
        let mut asked = Set::default();
        if self.follows(Rule::JoinerHeld) {
            asked.0 |= if ups.is_empty() { known(Card::Leaving).0 } else { ups.0 };
        }
        if self.follows(Rule::JoinerHeldByAll) {
            let there = |&id: &Id| {
                id != me && self.world.nests[id].card(id) == Card::Up && self.world.is_running(id)
            };
            asked.0 |= nest
                .held
                .iter()
                .flatten()
                .flat_map(|held| held.ups.iter())
                .filter(there)
                .collect::<Set>()
                .0;
        }
        let earlier = ups.is_empty() && known(Card::Joining).iter().any(|id| id < me);
        let knows = |held: &Held| held.known & !nest.known == 0;
        let knows = nest.held.iter().flatten().all(knows) || !self.follows(Rule::JoinerKnows);
        asked.iter().all(|id| nest.held[id].is_some()) && knows && !earlier
    }

    /// A joiner comes up.
    pub(crate) fn come_up(&mut self, me: Id) {
        let nest = self.nest_mut(me);
        nest.cards[me] = Card::Up;
        nest.held = Default::default();
        self.round(me);
        let alone = self.nest(me).view.others(me).is_empty();
        let others = self.running().any(|id| id != me && self.seals(id));
        // It lost its only contact: as if the network had been cut until they meet.
        self.world.apart |= alone && others;
    }

    /// A nest begins to leave.
    pub(crate) fn leave(&mut self, me: Id) {
        self.world.budget.leaves -= 1;
        self.nest_mut(me).cards[me] = Card::Leaving;
        self.round(me);
    }

    /// Rule 5, of a leaver: it goes only when it has nothing left, every nest knows what it knows, and all
    /// seals that it holds name its own view.
    pub(crate) fn may_leave(&self, me: Id) -> bool {
        let nest = self.nest(me);
        if nest.card(me) != Card::Leaving {
            return false;
        }
        let joining = |id: Id| nest.alive.has(id) && nest.cards[id] == Card::Joining;
        if (0..NESTS).any(joining) {
            return false;
        }
        let others = nest.view.others(me);
        if nest.view.ups().is_empty() {
            return others.is_empty();
        }
        let idle = nest
            .names
            .iter()
            .all(|here| here.bird.is_none() && here.snap.is_none() && here.offers.is_empty())
            && nest.served.iter().all(Option::is_none);
        let agreed =
            others.iter().all(|id| nest.seals[id].is_some_and(|kept| kept.seal.view == nest.view));
        // What they said they know they still do, if they are there.
        let covers =
            |id: Id| nest.known & !self.world.nests[id].known == 0 && !self.world.nests[id].dead;
        (idle || !self.follows(Rule::LeaverIdle))
            && (agreed || !self.follows(Rule::LeaverAgreed))
            && (others.iter().all(covers) || !self.follows(Rule::LeaverCovered))
    }

    /// A leaver is gone.
    pub(crate) fn depart_for_good(&mut self, me: Id) {
        let cards = self.nest(me).cards;
        if self.nest(me).view.others(me).is_empty() {
            // Nobody can take it.
            self.world.excused |= self.memory_at(me);
        }
        let gone = Nest { cards, ..Nest::default() };
        self.world.nests[me] = Rc::new(gone.into());
        self.nest_mut(me).cards[me] = Card::Left;
        self.world.frames.retain(|(_, to, _)| usize::from(*to) != me);
    }

    /// A nest crashes, with all that it alone had.
    pub(crate) fn crash(&mut self, me: Id) {
        self.world.budget.crashes -= 1;
        // What others offered to it, it may have taken.
        let safe = |snap: &Snap| snap.sent_to != Some(me as u8);
        let others = self.running().filter(|&id| id != me);
        let elsewhere = others.fold(0, |all, id| all | self.memory_of(id, safe));
        self.world.excused |= self.memory_at(me) & !elsewhere;
        let cards = self.nest(me).cards;
        self.world.nests[me] = Rc::new(Nest { cards, dead: true, ..Nest::default() }.into());
        self.world.frames.retain(|(_, to, _)| usize::from(*to) != me);
    }

    /// A nest holds another for dead. What that one sent and hasn't come is lost with the link, if it is dead.
    pub(crate) fn lose_sight(&mut self, me: Id, other: Id) {
        let nest = self.nest_mut(me);
        nest.alive.remove(other);
        nest.held[other] = None;
        if !nest.view.has(other) {
            self.forget_member(me, other);
        }
        if self.world.nests[other].dead {
            let pair = (other as u8, me as u8);
            self.world.frames.retain(|(from, to, _)| (*from, *to) != pair);
        }
        let joined = |id: Id| self.config.up >> id & 1 == 0;
        let unknown = |id: Id| {
            id != me
                && joined(id)
                && joined(me)
                && self.seals(id)
                && self.nest(me).cards[id] < Card::Up
        };
        let unknown = self.seals(me) && self.running().any(unknown);
        self.world.apart |= unknown;
        self.round(me);
    }

    /// A nest sees that another is alive after all.
    pub(crate) fn see_again(&mut self, me: Id, other: Id) {
        let card = self.nest(other).card(other);
        let nest = self.nest_mut(me);
        nest.alive.insert(other);
        nest.cards[other] = card;
        self.round(me);
    }

    /// A link breaks: what was under way on it is lost.
    pub(crate) fn break_link(&mut self, one: Id, other: Id) {
        self.world.broken[one].insert(other);
        self.world.broken[other].insert(one);
        let pairs = [(one as u8, other as u8), (other as u8, one as u8)];
        self.world.frames.retain(|(from, to, _)| !pairs.contains(&(*from, *to)));
    }

    /// A link opens anew, and both ends say again what may have been lost.
    pub(crate) fn reopen(&mut self, one: Id, other: Id) {
        self.world.broken[one].remove(other);
        self.world.broken[other].remove(one);
        for (me, peer) in [(one, other), (other, one)] {
            if !self.world.is_running(me) {
                continue;
            }
            if self.nest(me).view.has(peer) && self.follows(Rule::SealLinks) {
                self.send_seal(me, peer);
            }
            if self.follows(Rule::RepeatDeparts) {
                self.resend_departs(me, peer);
            }
            self.tell_lost(me, Some(peer));
            self.resend_asks(me, |ask| ask.to == Some(peer as u8));
            self.round(me);
        }
    }

    /// The network is cut in two; links between the sides are gone with all that was on them.
    pub(crate) fn cut(&mut self) {
        self.world.cut = Cut::Now;
        for one in 0..NESTS {
            for other in 0..one {
                if self.config.side(one) != self.config.side(other) {
                    self.break_link(one, other);
                }
            }
        }
    }

    /// The network is whole again. Links open, and nests see each other again, one by one.
    pub(crate) fn heal(&mut self) {
        self.world.cut = Cut::Healed;
        self.world.fences = [self.world.fences[0].max(self.world.fences[1]); 2];
    }
}
