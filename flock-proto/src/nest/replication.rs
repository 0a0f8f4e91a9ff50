//! Registry operations to and from the others.
//!
//! Own operations are pushed to every member in batches. Whatever is lost on the way is found by
//! comparing vectors: when a link opens, and with somebody every second.

use super::Nest;
use crate::registry::{Delta, Joined, SnapshotChunk, SnapshotJoined, Standing, Vector};
use crate::wire::{Acked, Frame, Ops, SnapshotWanted, Status};
use crate::{NestId, NestState, Time};

/// Bytes of records in one part of a snapshot.
const CHUNK: usize = 256 * 1024;

/// So many new operations don't wait for more to travel with: a quarter of what the log holds.
const PUSH: u64 = 1024;

impl Nest {
    /// Has own operations pushed soon, if there are new ones.
    pub(super) fn schedule_flush(&mut self) {
        if self.registry.last_dot().seq > self.pushed {
            self.timers.flush = self.timers.flush.min(self.now + self.config.batch_ops);
        }
    }

    /// Pushes new own operations at once where there are many: the log must still hold them when
    /// they go.
    pub(super) fn flush_many(&mut self) {
        if self.registry.last_dot().seq >= self.pushed + PUSH {
            self.flush();
        }
    }

    /// Pushes new own operations to every member.
    pub(super) fn flush(&mut self) {
        self.timers.flush = Time::NEVER;
        let upto = self.registry.last_dot().seq;
        if upto <= self.pushed {
            return;
        }
        let members: Vec<NestId> =
            self.view.members().iter().map(|m| m.id).filter(|&id| id != self.id).collect();
        if let Some(delta) = self.registry.delta_of_mine(self.pushed) {
            let holder = self.next_holder();
            for to in members {
                let ack = holder == Some(to);
                let told = self.told.entry(to).or_default();
                // Whoever asked for them has them by the answer.
                if *told < upto || ack {
                    *told = upto.max(*told);
                    self.send(to, &Frame::Ops(Ops { delta: delta.clone(), ack }));
                }
            }
            if holder.is_some() {
                self.expect_ack(upto);
            }
        }
        self.pushed = upto;
    }

    pub(super) fn send_status(&mut self, to: NestId, answer: bool) {
        let vector = self.registry.vector().clone();
        let digest = self.registry.digest();
        self.send(to, &Frame::Status(Status { vector, digest, answer }));
    }

    /// Compares with a random member.
    pub(super) fn sync(&mut self) {
        let members: Vec<NestId> =
            self.view.members().iter().map(|m| m.id).filter(|&id| id != self.id).collect();
        let Some(&with) = self.rng.pick(&members) else { return };
        match self.registry.snapshot_wanted(with) {
            // A snapshot is on its way, or was when the link broke: it goes on where it was.
            Some(cursor) => self.send(with, &Frame::SnapshotWanted(SnapshotWanted { cursor })),
            None => self.send_status(with, true),
        }
    }

    pub(super) fn on_status(&mut self, from: NestId, status: Status) {
        let Status { vector, digest, answer } = status;
        let standing = self.registry.compare(&vector, digest);
        match standing {
            Standing::Equal | Standing::WeLack => {}
            Standing::PeerLacks | Standing::BothLack => self.send_missing(from, &vector),
            // Records known out of order may make the difference for a moment: only one that is
            // still there at the next comparison is repaired.
            Standing::Diverged if self.diverged.insert(from) => {}
            Standing::Diverged => {
                self.counters.repairs += 1;
                self.send_snapshot(from, 0);
            }
        }
        if standing != Standing::Diverged {
            self.diverged.remove(&from);
        }
        let we_lack = matches!(standing, Standing::WeLack | Standing::BothLack);
        if answer && (we_lack || self.leave_is_asking(from)) {
            self.send_status(from, false);
        }
        self.vectors.insert(from, vector);
    }

    /// A leaver that asks wants to hear that we lack nothing.
    fn leave_is_asking(&self, from: NestId) -> bool {
        self.view.member(from).is_some_and(|m| m.state == NestState::Leaving)
    }

    fn send_missing(&mut self, to: NestId, vector: &Vector) {
        match self.registry.delta_since(vector) {
            Some(delta) => self.send(to, &Frame::Ops(Ops { delta, ack: false })),
            None => self.send_snapshot(to, 0),
        }
    }

    fn send_snapshot(&mut self, to: NestId, cursor: u64) {
        let chunk = self.registry.snapshot(cursor, CHUNK);
        self.send(to, &Frame::Snapshot(chunk));
    }

    pub(super) fn on_snapshot(&mut self, from: NestId, chunk: &SnapshotChunk) {
        let (changes, next) = match self.registry.join_snapshot(from, chunk) {
            SnapshotJoined::Next(cursor, changes) => (changes, Some(cursor)),
            SnapshotJoined::Done(changes) => (changes, None),
            SnapshotJoined::OutOfStep(cursor) => (Vec::new(), cursor),
            SnapshotJoined::Bad(error) => return self.on_bad_ops(from, &error.to_string()),
        };
        for change in changes {
            self.on_change(change, false);
        }
        match next {
            Some(cursor) => self.send(from, &Frame::SnapshotWanted(SnapshotWanted { cursor })),
            None => self.send_status(from, true),
        }
        self.finish_early_ends();
    }

    pub(super) fn on_snapshot_wanted(&mut self, from: NestId, cursor: u64) {
        self.send_snapshot(from, cursor);
    }

    pub(super) fn on_ops(&mut self, from: NestId, ops: Ops) {
        let more = ops.delta.more;
        if !self.join(from, &ops.delta) {
            return;
        }
        if ops.ack {
            let seq = self.registry.vector().seq(from);
            self.send(from, &Frame::Acked(Acked { seq }));
        }
        if more {
            self.send_status(from, true);
        }
    }

    /// Joins operations; false if they start beyond what is known here, or are no operations.
    pub(super) fn join(&mut self, from: NestId, delta: &Delta) -> bool {
        match self.registry.join(delta) {
            Joined::Applied(changes) => {
                for change in changes {
                    self.on_change(change, false);
                }
                self.finish_early_ends();
                true
            }
            Joined::Gap => {
                self.send_status(from, true);
                false
            }
            Joined::Bad(error) => {
                self.on_bad_ops(from, &error.to_string());
                false
            }
        }
    }

    fn on_bad_ops(&mut self, from: NestId, why: &str) {
        self.counters.bad_frames += 1;
        let from = self.roster.card(from).map(|card| card.name.clone());
        self.tell(crate::Event::BadFrame { from, why: why.to_owned() });
    }
}
