//! One step of the flock: a nest is handed something, and follows it up.
//!
//! As in the core, whatever came is followed by one *round* at that nest, which looks at the state as it is:
//! it enters its view, sees whether it is settled, considers each name, serves each request. So of a nest's own
//! doing there are no steps to choose from: the choice is what comes to whom, and when.

use std::rc::Rc;

use crate::config::Config;
use crate::register::{Deed, Op, Ops};
use crate::rules::{Rule, Rules};
use crate::state::{Card, Cut, Frame, Here, Id, Life, Lives, NAMES, NESTS, Name, Nest, World};

/// What must not be, in words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Which invariant it breaks.
    pub invariant: &'static str,
    /// What was seen.
    pub what: String,
}

/// A state that is being changed, by the rules.
#[derive(Debug)]
pub(crate) struct Step<'m> {
    pub(crate) config: &'m Config,
    rules: Rules,
    pub(crate) world: World,
    /// The first thing that was wrong on the way.
    pub(crate) violation: Option<Violation>,
}

impl<'m> Step<'m> {
    pub(crate) const fn new(config: &'m Config, rules: Rules, world: World) -> Self {
        Self { config, rules, world, violation: None }
    }

    /// Whether a rule is followed.
    pub(crate) const fn follows(&self, rule: Rule) -> bool {
        self.rules.has(rule)
    }

    /// Something that must not be happened on the way.
    pub(crate) fn fail(&mut self, invariant: &'static str, what: String) {
        self.violation.get_or_insert(Violation { invariant, what });
    }

    pub(crate) fn nest(&self, me: Id) -> &Nest {
        &self.world.nests[me]
    }

    pub(crate) fn nest_mut(&mut self, me: Id) -> &mut Nest {
        Rc::make_mut(&mut self.world.nests[me]).change()
    }

    pub(crate) fn here(&self, me: Id, name: Name) -> &Here {
        &self.world.nests[me].names[name]
    }

    pub(crate) fn here_mut(&mut self, me: Id, name: Name) -> &mut Here {
        &mut self.nest_mut(me).names[name]
    }

    pub(crate) fn owner(&self, me: Id, name: Name) -> Option<Id> {
        self.nest(me).view.owner(name)
    }

    pub(crate) fn owns(&self, me: Id, name: Name) -> bool {
        self.owner(me, name) == Some(me)
    }

    /// What follows everything that comes to a nest.
    pub(crate) fn round(&mut self, me: Id) {
        if !self.world.is_running(me) {
            return;
        }
        self.finish_early_ends(me);
        self.refresh_view(me);
        self.check_quorum(me);
        self.check_settled(me);
        for name in 0..self.config.names {
            while self.consider(me, name) {}
        }
        for request in 0..self.config.requests.len() {
            while self.serve(me, request) {}
        }
        self.finish_responses(me);
    }

    /// A frame to another nest. Where there is no link it is lost: in the core it may find a way through a
    /// third nest, and may not.
    pub(crate) fn send(&mut self, me: Id, to: Id, frame: Frame) {
        if !self.world.is_running(to) || !self.world.is_linked(me, to) {
            return;
        }
        let pair = (me as u8, to as u8);
        let at = self.world.frames.partition_point(|(from, to, _)| (*from, *to) <= pair);
        self.world.frames.insert(at, (pair.0, pair.1, frame));
    }

    /// A fresh fence, above all that were given on this side.
    pub(crate) fn fresh_fence(&mut self, me: Id) -> u8 {
        let side = self.config.side(me);
        if self.world.cut == Cut::Now {
            self.world.fences[side] += 1;
        } else {
            let next = self.world.fences[0].max(self.world.fences[1]) + 1;
            self.world.fences = [next; 2];
        }
        assert!(self.world.fences[side] < 16, "a configuration may have 15 lives at most");
        self.world.fences[side]
    }

    /// A life by its nest and its fence.
    pub(crate) fn life_at(&self, nest: Id, fence: u8) -> Lives {
        let nest = if self.follows(Rule::LivesByNest) { nest } else { 0 };
        1 << (usize::from(fence) * NESTS + nest)
    }

    pub(crate) fn is_alive(&self, me: Id, name: Name, birth: u8) -> bool {
        self.world.register.is_alive(self.nest(me).known, name, birth)
    }

    pub(crate) fn winner_birth(&self, me: Id, name: Name) -> Option<u8> {
        self.world.register.winner_birth(self.nest(me).known, name)
    }

    /// This nest issues an operation.
    pub(crate) fn issue(
        &mut self,
        me: Id,
        deed: Deed,
        name: Name,
        birth: Option<u8>,
        covers: Ops,
        request: Option<u8>,
    ) -> u8 {
        let next = self.world.register.len() as u8;
        let birth = birth.unwrap_or(next);
        let op = Op { deed, name: name as u8, origin: me as u8, birth, covers, request };
        let op = Rc::make_mut(&mut self.world.register).push(op);
        self.learn(me, 1 << op, true);
        op
    }

    /// Takes operations in, one after the other.
    pub(crate) fn learn(&mut self, me: Id, ops: Ops, own: bool) {
        let fresh = ops & !self.nest(me).known;
        if fresh == 0 {
            return;
        }
        let register = self.world.register.clone();
        for (at, op) in register.each(fresh) {
            let name = usize::from(op.name);
            let before = self.winner_birth(me, name);
            self.nest_mut(me).known |= 1 << at;
            let after = self.winner_birth(me, name);
            self.on_change(me, name, before, after, op, own);
        }
    }

    /// What an operation did to a name.
    fn on_change(
        &mut self,
        me: Id,
        name: Name,
        before: Option<u8>,
        after: Option<u8>,
        op: &Op,
        own: bool,
    ) {
        if let Some(birth) = before
            && !op.writes()
            && let Some(bird) =
                self.here_mut(me, name).bird.as_mut().filter(|bird| bird.life.birth == birth)
        {
            bird.ends_here = true;
        }
        match (before, after) {
            (None, Some(_)) if !own => self.tell_lost_life(me, name),
            (Some(_), None) if !own && op.deed == Deed::End => self.outlive(me, name),
            _ => {}
        }
    }

    /// The listings for another nest, by [`Rule::ListSnaps`] and the view.
    pub(crate) fn listing_for(&self, me: Id, to: Id) -> [Option<Life>; NAMES] {
        let mut listing = [None; NAMES];
        for (name, listed) in listing.iter_mut().enumerate().take(self.config.names) {
            if self.owner(me, name) == Some(to) {
                let here = self.here(me, name);
                let snap = here.snap.as_ref().map(|snap| snap.life);
                let snap = snap.filter(|_| self.follows(Rule::ListSnaps));
                *listed = here.bird.map(|bird| bird.life).or(snap);
            }
        }
        listing
    }
}

impl World {
    /// Whether a nest takes part: it has begun, hasn't left, and didn't crash.
    pub(crate) fn is_running(&self, id: Id) -> bool {
        let nest = &self.nests[id];
        !nest.dead && !matches!(nest.cards[id], Card::Unknown | Card::Left)
    }

    /// Whether frames go from the one to the other.
    pub(crate) const fn is_linked(&self, one: Id, other: Id) -> bool {
        !self.broken[one].has(other)
    }
}
