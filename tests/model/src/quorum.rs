//! The policy `Majority`: of two sides of a cut the one with more than half of all nests goes on.
//!
//! Time is an order here. A nest that counts too few begins nothing more, and *at some moment* stops its birds;
//! a nest that counts enough hatches what it lost sight of *only after* those who may run it have stopped, are
//! dead, stand still, or are seen again. That the times that both wait are so is the builder's promise.

use crate::config::Policy;
use crate::rules::Rule;
use crate::state::{Card, Id, NESTS, Name, Set, View};
use crate::step::Step;

impl Step<'_> {
    /// Whether this nest sees more than half of the nests that it knows and that haven't left.
    pub(crate) fn is_enough(&self, me: Id) -> bool {
        let nest = self.nest(me);
        let known = nest.cards.iter().filter(|card| **card == Card::Up).count();
        let present = nest.view.ups().iter().count();
        self.config.policy == Policy::Available || present * 2 > known || !self.seals(me)
    }

    /// Too few are there: nothing is begun.
    pub(crate) fn begins_nothing(&self, me: Id) -> bool {
        self.follows(Rule::MinorityIdle) && !self.is_enough(me)
    }

    /// Nests went out of the view that didn't leave.
    pub(crate) fn note_missing(&mut self, me: Id, before: View, gone: Set) {
        if self.config.policy == Policy::Available || !self.follows(Rule::MajorityWaits) {
            return;
        }
        for id in gone.iter().filter(|&id| id != me) {
            let nest = self.nest_mut(me);
            if nest.cards[id] != Card::Left {
                nest.missing.insert(id);
                for name in (0..crate::state::NAMES).filter(|&name| before.owner(name) == Some(id))
                {
                    nest.awaited |= 1 << name;
                }
            }
        }
    }

    /// Another nest misses these: so does this one, which may never have seen them.
    pub(crate) fn miss_too(&mut self, me: Id, missing: Set) {
        let missing = Set(missing.0 & !self.nest(me).view.members().0);
        if !missing.is_empty() && self.follows(Rule::TellMissing) {
            let nest = self.nest_mut(me);
            nest.missing.0 |= missing.0;
            nest.awaited = u8::MAX;
        }
    }

    /// Whether birds may be hatched whose last life may not be over.
    pub(crate) fn may_take_over(&self, me: Id) -> bool {
        self.nest(me).missing.is_empty() && !self.begins_nothing(me)
    }

    /// Follows every change of the view.
    pub(crate) fn check_quorum(&mut self, me: Id) {
        let nest = self.nest(me);
        let (view, missing) = (nest.view, nest.missing);
        let seen: Set = missing.iter().filter(|&id| view.has(id)).collect();
        if !seen.is_empty() {
            self.cease_waiting(me, seen);
        }
        if self.nest(me).stopped && self.is_enough(me) {
            self.nest_mut(me).stopped = false;
        }
    }

    fn cease_waiting(&mut self, me: Id, over: Set) {
        let nest = self.nest_mut(me);
        nest.missing.0 &= !over.0;
        if nest.missing.is_empty() {
            nest.awaited = 0;
        }
    }

    /// A nest has had too few others for long enough.
    pub(crate) fn may_stop(&self, me: Id) -> bool {
        !self.nest(me).stopped && !self.is_enough(me) && self.follows(Rule::MinorityStops)
    }

    /// It takes its birds out of service until enough are there.
    pub(crate) fn stop(&mut self, me: Id) {
        let all = u8::MAX >> (8 - self.config.names);
        let anew = self.follows(Rule::SettleAnew);
        let nest = self.nest_mut(me);
        nest.stopped = true;
        nest.gained |= if anew { all } else { 0 };
        self.round(me);
    }

    /// Whether those that this nest lost sight of have had the time to stop.
    pub(crate) fn may_cease_waiting(&self, me: Id) -> bool {
        let missing = self.nest(me).missing;
        let lives = |id: Id| self.nest(id).names.iter().any(|here| here.bird.is_some());
        let over = |id: Id| {
            let nest = self.nest(id);
            let waits = nest.stopped || !self.follows(Rule::MinorityStops);
            !self.world.is_running(id)
                || self.is_frozen(id)
                || (waits && !lives(id))
                || !self.follows(Rule::MinorityStops)
        };
        !missing.is_empty() && missing.iter().all(over)
    }

    pub(crate) fn stop_waiting(&mut self, me: Id) {
        self.cease_waiting(me, Set(u8::MAX >> (8 - NESTS)));
        self.round(me);
    }

    /// Whether a name may have a life on a nest that stood still and hasn't noticed yet what went on.
    pub(crate) fn may_live_on_frozen(&self, name: Name) -> bool {
        self.config.frozen
            && (0..NESTS)
                .any(|id| self.config.side(id) == 1 && self.nest(id).names[name].bird.is_some())
    }
}
