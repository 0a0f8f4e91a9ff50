//! An operation counts once a second nest holds it. An asker elsewhere does, by the answer itself;
//! for one here, another member has to say so.

use super::Nest;
use super::served::Stage;
use crate::bugs::{Bug, planted};
use crate::wire::{Frame, Ops, Outcome};
use crate::{BirdName, Dot, NestId, NestState, ReqId, Time};

impl Nest {
    /// Answers, unless another nest must first hold the operation.
    pub(super) fn hold(&mut self, name: &BirdName, key: (NestId, u64), op: Dot, outcome: Outcome) {
        if key.0 != self.id || op.origin != self.id || planted(Bug::OneHolder) {
            return self.respond(name, key, outcome, Some(op));
        }
        if self.holders().next().is_none() {
            // A nest that is alone holds for all.
            return self.respond(name, key, outcome, Some(op));
        }
        self.set_stage(key, Stage::Holding(op, outcome));
        self.holding.insert((op.seq, ReqId(key.1)));
        let asked = op.seq <= self.confirming && self.timers.ack != Time::NEVER;
        if op.seq <= self.pushed && !asked {
            // Not at once: of many that wait, each would have the unconfirmed operations sent anew.
            self.timers.ack = self.timers.ack.min(self.now + self.config.batch_ops);
        }
    }

    /// Answers those whose operation is held by now.
    pub(super) fn release_held(&mut self) {
        let Some(&(first, _)) = self.holding.first() else { return };
        let held = self.held_upto();
        if held < first {
            return;
        }
        let rest = held.checked_add(1).map(|next| self.holding.split_off(&(next, ReqId(0))));
        let done = std::mem::replace(&mut self.holding, rest.unwrap_or_default());
        for (_, ReqId(id)) in done {
            self.release((self.id, id));
        }
    }

    /// The last of our operations that another member is known to hold. A nest that is alone holds
    /// for all.
    fn held_upto(&self) -> u64 {
        self.holders().map(|id| self.acked_by(id)).max().unwrap_or(u64::MAX)
    }

    /// The last of our operations that this nest is known to hold.
    pub(super) fn acked_by(&self, id: NestId) -> u64 {
        self.acked.get(id).copied().unwrap_or(0)
    }

    /// Members that may hold for us. One that leaves takes what it holds along.
    fn holders(&self) -> impl Iterator<Item = NestId> {
        let others = self.view.members().iter().filter(|m| m.id != self.id);
        others.filter(|m| m.state != NestState::Leaving).map(|m| m.id)
    }

    /// The member that is to confirm the operations pushed now, if a user here waits, or is about
    /// to, for one to be held; another one each time.
    pub(super) fn next_holder(&mut self) -> Option<NestId> {
        if !self.served.has_own() {
            return None;
        }
        let holders: Vec<NestId> = self.holders().collect();
        self.ack_turn += 1;
        let turn = usize::try_from(self.ack_turn).unwrap_or(0) % holders.len().max(1);
        holders.get(turn).copied()
    }

    /// Our operations up to this one were sent with the word to confirm them. If that was lost,
    /// somebody else is asked.
    pub(super) fn expect_ack(&mut self, upto: u64) {
        self.confirming = upto;
        self.timers.ack = self.now + self.config.retry_every / 2;
    }

    /// Asks one member to confirm that it holds our operations.
    pub(super) fn ask_acks(&mut self) {
        self.timers.ack = Time::NEVER;
        if self.holding.is_empty() {
            return;
        }
        let Some(to) = self.next_holder() else { return };
        let last = self.registry.last_dot().seq;
        let delta = self.registry.delta_of_mine(self.acked_by(to)).or_else(|| {
            // What the log holds no more a look will bring; none at all asks how far it is.
            self.look_at(to);
            self.registry.delta_of_mine(last)
        });
        if let Some(delta) = delta {
            self.send(to, &Frame::Ops(Ops { delta, ack: true }));
        }
        self.expect_ack(last);
    }

    pub(super) fn on_acked(&mut self, from: NestId, seq: u64) {
        let acked = self.acked.get_or_default(from);
        *acked = seq.max(*acked);
    }
}
