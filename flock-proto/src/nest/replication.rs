//! Registry operations to and from the others.
//!
//! Own operations are pushed to every member in batches. Whatever is lost on the way is found by
//! looking: each second at somebody, and when a link opens. A look is two digests; only where they
//! differ vectors are told. Who lacks something gets it from the log, or, if that is too short, by a
//! comparison of registers, with one peer at a time.

use std::collections::BTreeMap;

use super::Nest;
use crate::registry::{
    Change, Compared, Delta, Joined, Ranges, RangesWanted, Standing, Status, Vector,
};
use crate::wire::{Acked, Frame, Ops, OpsWanted};
use crate::{Event, NestId, NestState, Time};

/// How far this nest is with what it lacks, and with what can't be.
#[derive(Debug, Default)]
pub(super) struct CatchUp {
    /// When somebody was asked last for what is lacking here. None: it came.
    asked: Option<Time>,
    /// When each nest was asked whose operations didn't follow those known.
    gaps: BTreeMap<NestId, Time>,
    /// When the comparison under way last went on, and when it was last asked to.
    went_on: Time,
    asked_on: Time,
    /// Nests whose register differed from ours at the last look, though both knew the same
    /// operations.
    diverged: BTreeMap<NestId, Divergence>,
}

/// What is made of a register that differs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Divergence {
    /// It was seen once: records known out of order may make the difference for a moment.
    Suspected,
    /// It was still there at the next look, told of, and is being repaired.
    Told,
}

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
        if self.registry.last_dot().seq >= self.pushed + self.config.push_ops {
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
        if self.view.others().next().is_none() {
            // Nobody is there to whom they could be told.
            self.pushed = upto;
            return;
        }
        let holder = self.next_holder();
        let members: Vec<NestId> = self.view.others().collect();
        while self.pushed < upto {
            // More than the log holds at once: the others find out, and compare.
            let Some(delta) = self.registry.delta_to_push(self.pushed) else { break };
            self.pushed = delta.upto(self.id);
            self.push(&members, holder, delta);
        }
        if holder.is_some() {
            self.expect_ack(self.pushed);
        }
        self.pushed = upto;
    }

    fn push(&mut self, members: &[NestId], holder: Option<NestId>, delta: Delta) {
        let upto = self.pushed;
        let (told, holder) = (&mut self.told, holder.filter(|to| members.contains(to)));
        let mut lacks = |&to: &NestId| {
            let told = told.get_or_default(to);
            // Whoever asked for them has them by the answer.
            std::mem::replace(told, upto.max(*told)) < upto
        };
        let lacking: Vec<NestId> =
            members.iter().copied().filter(|&to| lacks(&to) && holder != Some(to)).collect();
        if let Some(to) = holder {
            self.send(to, &Frame::Ops(Ops { delta: delta.clone(), ack: true }));
        }
        self.send_to_all(lacking, &Frame::Ops(Ops { delta, ack: false }));
    }

    /// Takes note of what another nest knows; `None`: all that we do.
    pub(super) fn note_known(&mut self, nest: NestId, vector: Option<&Vector>) {
        if let Some(leave) = &mut self.leave {
            leave.note_known(nest, vector);
        }
        self.note_horizon(nest, vector);
        let mine = vector.map_or(self.registry.last_dot().seq, |vector| vector.seq(self.id));
        self.on_acked(nest, mine);
    }

    /// Asks a nest for what is lacking here.
    pub(super) fn send_status(&mut self, to: NestId, answer: bool) {
        self.catch_up.asked = Some(self.now);
        let vector = Some(self.registry.vector().clone());
        self.tell_status(to, vector, answer, true);
    }

    /// Looks whether a nest's register is equal to ours.
    pub(super) fn look_at(&mut self, to: NestId) {
        let vector = self.registry.vector();
        let short = (vector.len() <= self.config.short_vector).then(|| vector.clone());
        let wants = !self.is_catching_up();
        if wants && vector.is_empty() {
            // Whatever there is, it is lacking here.
            self.catch_up.asked = Some(self.now);
        }
        self.tell_status(to, short, true, wants);
    }

    /// Says all that we know.
    fn tell_vector(&mut self, to: NestId, answer: bool) {
        let vector = Some(self.registry.vector().clone());
        let wants = !self.is_catching_up();
        if wants {
            self.catch_up.asked = Some(self.now);
        }
        self.tell_status(to, vector, answer, wants);
    }

    fn tell_status(&mut self, to: NestId, vector: Option<Vector>, answer: bool, wants: bool) {
        let (known, digest) = (self.registry.vector_digest(), self.registry.digest());
        self.send(to, &Frame::Status(Status { known, digest, vector, answer, wants }));
    }

    /// Whether what is lacking here is probably on its way.
    fn is_catching_up(&self) -> bool {
        self.registry.comparing_with().is_some()
            || self.catch_up.asked.is_some_and(|at| self.now < at + self.config.ask_every)
    }

    /// Looks at some member, and sees to it that a comparison goes on.
    pub(super) fn sync(&mut self) {
        if let Some(peer) = self.registry.comparing_with() {
            if self.now >= self.catch_up.went_on + self.config.compare_for {
                self.registry.forget_comparison(peer);
            } else if self.now >= self.catch_up.asked_on + self.config.sync_every {
                self.go_on_comparing(peer);
            }
        }
        let members: Vec<NestId> = self.view.others().collect();
        let suspect =
            self.catch_up.diverged.iter().find(|(_, seen)| **seen == Divergence::Suspected);
        let with = suspect.map(|(&id, _)| id).or_else(|| self.next_to_look_at(&members));
        if let Some(with) = with {
            self.look_at(with);
        }
        self.retire_dead();
    }

    /// Mostly the member to which nothing was said for longest, as that saves a heartbeat; now and
    /// then any, as there may be some without a link.
    fn next_to_look_at(&mut self, members: &[NestId]) -> Option<NestId> {
        if self.rng.one_in(4) {
            return self.rng.pick(members).copied();
        }
        // Both are in order: one walk along the two.
        let mut members = members.iter().peekable();
        let linked = self.links.iter().filter(|(id, _)| {
            while members.next_if(|member| *member < id).is_some() {}
            members.peek() == Some(&id)
        });
        linked.map(|(id, link)| (link.said, id)).min().map(|(_, id)| id)
    }

    pub(super) fn on_status(&mut self, from: NestId, status: Status) {
        self.knowledge.insert(from, status.known);
        let standing = self.registry.standing(&status);
        if standing != Some(Standing::Diverged) {
            self.catch_up.diverged.remove(&from);
        }
        match (&status.vector, standing) {
            (_, Some(Standing::Equal)) => self.note_known(from, None),
            (_, Some(Standing::Diverged)) => {
                self.note_known(from, None);
                self.on_divergence(from);
            }
            (Some(vector), Some(_)) => {
                self.note_known(from, Some(vector));
                self.even_out(from, vector, &status);
            }
            // The digests alone don't tell who lacks what.
            (None, _) | (_, None) => return self.tell_vector(from, true),
        }
        if status.answer && self.leave_is_asking(from) {
            match standing {
                Some(Standing::Equal | Standing::Diverged) => {
                    self.tell_status(from, None, false, false);
                }
                _ => self.tell_vector(from, false),
            }
        }
    }

    /// Sends a nest what it lacks, and asks it for what is lacking here.
    fn even_out(&mut self, with: NestId, vector: &Vector, status: &Status) {
        if status.wants && !vector.covers_all(self.registry.vector()) {
            let delta = self.registry.delta_since(vector);
            self.send_missing(with, delta);
        }
        let after = self.registry.lacking(vector);
        if status.answer && !after.is_empty() && !self.is_catching_up() {
            self.catch_up.asked = Some(self.now);
            self.send(with, &Frame::OpsWanted(OpsWanted { after }));
        }
    }

    /// A leaver that asks wants to hear that we lack nothing.
    fn leave_is_asking(&self, from: NestId) -> bool {
        self.view.member(from).is_some_and(|m| m.state == NestState::Leaving)
    }

    fn send_missing(&mut self, to: NestId, delta: Option<Delta>) {
        match delta {
            Some(delta) => self.send(to, &Frame::Ops(Ops { delta, ack: false })),
            None => self.send(to, &Frame::Ranges(self.registry.opening(false, false))),
        }
    }

    pub(super) fn on_ops_wanted(&mut self, from: NestId, wanted: &OpsWanted) {
        if let Some(&mine) = wanted.after.get(&self.id) {
            self.on_acked(from, mine);
        }
        let delta = self.registry.delta_after(&wanted.after);
        self.send_missing(from, delta);
    }

    pub(super) fn on_ops(&mut self, from: NestId, ops: Ops) {
        let more = ops.delta.more();
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
                self.catch_up.asked = None;
                self.catch_up.gaps.remove(&from);
                self.on_changes(changes);
                self.remove_outdone();
                self.finish_early_ends();
                true
            }
            Joined::Gap => {
                self.on_gap(from);
                false
            }
            Joined::Bad(error) => {
                self.on_bad_ops(from, &error.to_string());
                false
            }
        }
    }

    fn remove_outdone(&mut self) {
        for change in self.registry.remove_outdone() {
            // Not as our own: of a bird that ended of itself another life may be here.
            self.on_change(change, false);
        }
    }

    /// Some operations before those were lost. Until they come, nothing fits that this nest pushes:
    /// one question for all of it will do.
    fn on_gap(&mut self, from: NestId) {
        let asked = self.catch_up.gaps.get(&from);
        let again = asked.is_none_or(|&at| self.now >= at + self.config.ask_every);
        if again && self.registry.comparing_with().is_none() {
            self.catch_up.gaps.insert(from, self.now);
            self.send_status(from, true);
        }
    }

    pub(super) fn on_ranges(&mut self, from: NestId, told: &Ranges) {
        let repairs = told.opening.as_ref().filter(|opening| opening.repair);
        if let Some(opening) = repairs {
            if told.known != self.registry.vector_digest() {
                // One of the two has learnt something: that may be all the difference.
                return;
            }
            self.tell_divergence(from);
            if opening.wanted {
                self.send(from, &Frame::Ranges(self.registry.opening(true, false)));
            }
        }
        let is_repair = self.registry.is_repairing() || repairs.is_some();
        let (changes, wanted) = match self.registry.compare(from, told) {
            Compared::Going(changes, wanted) => (changes, Some(wanted)),
            Compared::Done(changes) => (changes, None),
            Compared::Stray => return,
            Compared::Bad(error) => return self.on_bad_ops(from, &error.to_string()),
        };
        let mut changes = changes.into_iter();
        while let Some(change) = self.next_news(&mut changes) {
            self.on_compared(change, is_repair);
        }
        self.catch_up.went_on = self.now;
        match wanted {
            Some(Some(wanted)) => {
                self.catch_up.asked_on = self.now;
                self.send(from, &Frame::RangesWanted(wanted));
            }
            Some(None) => {}
            None => self.on_comparison_done(from),
        }
        self.remove_outdone();
        self.finish_early_ends();
    }

    pub(super) fn on_ranges_wanted(&mut self, from: NestId, wanted: &RangesWanted) {
        match self.registry.ranges(wanted) {
            Ok(told) => {
                for ranges in told {
                    self.send(from, &Frame::Ranges(ranges));
                }
            }
            Err(error) => self.on_bad_ops(from, &error.to_string()),
        }
    }

    /// What the peer knew at the start is known. What came since, and what others are known to know
    /// beyond that, is asked for.
    fn on_comparison_done(&mut self, peer: NestId) {
        self.catch_up.asked = None;
        self.catch_up.gaps.clear();
        self.send_status(peer, true);
        let known = self.registry.vector();
        let seals = self.seals.iter().filter_map(|(id, seal)| Some((id, seal.vector.as_ref()?)));
        let held = self.held.iter().map(|(id, held)| (*id, &held.vector));
        let ahead =
            seals.chain(held).filter(|(id, vector)| *id != peer && !known.covers_all(vector));
        let ahead: std::collections::BTreeSet<NestId> = ahead.map(|(id, _)| id).collect();
        for id in ahead {
            self.send_status(id, true);
        }
    }

    /// Repeats what is still wanted, if it is from this nest.
    pub(super) fn go_on_comparing(&mut self, with: NestId) {
        if self.registry.comparing_with() == Some(with)
            && let Some((_, wanted)) = self.registry.ranges_wanted()
        {
            self.catch_up.asked_on = self.now;
            self.send(with, &Frame::RangesWanted(wanted));
        }
    }

    /// A nest is gone. What it was about to tell, another will.
    pub(super) fn forget_peer(&mut self, id: NestId) {
        self.catch_up.diverged.remove(&id);
        self.catch_up.gaps.remove(&id);
        if self.registry.comparing_with() == Some(id) {
            self.registry.forget_comparison(id);
            self.timers.sync = self.now;
        }
        self.catch_up.asked = None;
    }

    /// Both know the same operations, and hold different records.
    fn on_divergence(&mut self, with: NestId) {
        match self.catch_up.diverged.get(&with) {
            None => {
                self.catch_up.diverged.insert(with, Divergence::Suspected);
                return;
            }
            Some(Divergence::Suspected) => self.tell_divergence(with),
            // The repair may have got lost.
            Some(Divergence::Told) => {}
        }
        self.send(with, &Frame::Ranges(self.registry.opening(true, true)));
    }

    fn tell_divergence(&mut self, with: NestId) {
        let before = self.catch_up.diverged.insert(with, Divergence::Told);
        if before != Some(Divergence::Told) {
            self.counters.repairs += 1;
            if let Some(nest) = self.nest_name(with) {
                self.tell(Event::Diverged { nest });
            }
        }
    }

    /// What a comparison did to a name. In a repair no operation says that a record is gone: either
    /// side may have lost it, or its removal. A bird that runs shows which.
    fn on_compared(&mut self, change: Change, is_repair: bool) {
        let lost = change.before.filter(|_| is_repair && change.after.is_none());
        let bird = self.birds.get(&change.name).filter(|bird| bird.is_alive());
        if let Some((birth, _)) = lost
            && let Some(record) = bird.map(|bird| bird.record(&change.name))
            && record.birth == birth
        {
            let stamp = self.stamp();
            let change = self.registry.re_add(&record, stamp);
            self.dirty.insert(change.name);
            return;
        }
        self.on_change(change, false);
    }

    fn on_bad_ops(&mut self, from: NestId, why: &str) {
        self.counters.bad_frames += 1;
        let from = self.roster.card(from).map(|card| card.name.clone());
        self.tell(Event::BadFrame { from, why: why.to_owned() });
    }
}
