//! What operations on the register, others' and our own, mean for the names that they are of.

use super::Nest;
use crate::name_map::Hashed;
use crate::registry::{Change, Changes, Grounding, IntoChanges};
use crate::{BirdName, Cause, Event, Fence};

impl Nest {
    /// What operations of others did.
    pub(super) fn on_changes(&mut self, changes: Changes) {
        let mut changes = changes.into_iter();
        while let Some(change) = self.next_news(&mut changes) {
            self.on_change(change, false);
        }
    }

    /// The next change that anybody here wants to know of. Starts of birds that live elsewhere come by
    /// the million, and mostly nobody does.
    pub(super) fn next_news(&self, changes: &mut IntoChanges) -> Option<Change> {
        changes.next_but_starts(|hash, name| !self.audience && !self.concerns(name, hash))
    }

    /// What an operation did to a name, whoever issued it.
    pub(super) fn on_change(&mut self, change: Change, own: bool) {
        let Change { name, hash, before, after, cause, fence, conflict } = change;
        if let Some((birth, _)) = before.filter(|_| cause.is_some()) {
            if let Some(bird) = self.birds.get_mut(&name).filter(|bird| bird.birth == birth) {
                bird.ends_here = true;
            }
            if let Some(snap) = self.snaps.get_mut(&name).filter(|snap| snap.birth == birth) {
                snap.ends_here = true;
            }
        }
        self.forget_stopped(&name);
        match (before, after) {
            (None, Some(_)) => {
                if self.audience {
                    self.tell(Event::Started(name.clone()));
                }
                if !own {
                    self.tell_lost_life(&name);
                }
            }
            (Some((birth, _)), None) => {
                if cause == Some(Cause::HatchFailed) && !own {
                    // Its start may have been asked here since: the name was another's until now.
                    self.fail_start(&name, birth, None, "it failed to hatch where it was first");
                }
                // A comparison doesn't say why a record is gone.
                let cause = cause.unwrap_or(Cause::Stopped);
                if own || !self.outlives(&name, &cause, fence) {
                    if !own {
                        self.on_removed(&name, birth);
                    }
                    self.tell(Event::Ended(name.clone(), cause));
                }
            }
            (Some((_, false)), Some((_, true))) => {
                let grounding = self.registry.winner(&name).and_then(|record| record.grounded);
                if let Some(Grounding { reason, crashes }) = grounding {
                    self.tell(Event::Grounded { bird: name.clone(), reason, crashes });
                }
            }
            (Some((_, true)), Some((_, false))) => self.tell(Event::Revived(name.clone())),
            _ => {}
        }
        if let Some((winner, loser)) = conflict {
            self.on_conflict(&name, winner);
            let (winner, loser) = (self.nest_name(winner.origin), self.nest_name(loser.origin));
            self.tell(Event::Conflict { bird: name.clone(), winner, loser });
        }
        // Of a million names that come, most are others'.
        if self.concerns(name.as_str(), hash) {
            self.dirty.insert_at(hash, name);
        }
    }

    /// Whether a change of this name may be followed by anything here. A view that gives the name to
    /// this nest has it looked at in any case.
    fn concerns(&self, name: &str, hash: u64) -> bool {
        let name = &Hashed(hash, name);
        self.owns(hash)
            || self.birds.contains_key(name)
            || self.snaps.contains_key(name)
            || self.offers.contains_key(name)
            || self.wanted.contains(name)
            || self.routed.contains_key(name)
            || self.served_names.contains_key(name)
            || self.lost.contains_key(name)
    }

    /// The bird ended of itself on another nest, but another life of it runs here: after a
    /// partition, the idle copy must not end the busy one. Its record comes back.
    fn outlives(&mut self, name: &BirdName, cause: &Cause, fence: Fence) -> bool {
        if *cause != Cause::Ended {
            return false;
        }
        let bird = self.birds.get(name).filter(|bird| bird.is_alive());
        let Some(record) = bird.map(|bird| bird.record(name)) else { return false };
        let nest = self.nest_name(record.birth.origin);
        let stamp = self.stamp();
        let change = self.registry.re_add(&record, stamp);
        self.tell(Event::Conflict { bird: name.clone(), winner: nest.clone(), loser: nest });
        if let Some(bird) = self.birds.get_mut(name) {
            bird.ends_here = false;
        }
        self.keep_anew(name);
        self.raise_fence(name, fence);
        self.dirty.insert(change.name);
        true
    }

    pub(super) fn on_own_change(&mut self, change: impl IntoIterator<Item = Change>) {
        for change in change {
            self.on_change(change, true);
        }
        self.flush_many();
    }

    /// The same of one that certainly did something.
    pub(super) fn on_own_operation(&mut self, change: Change) {
        self.on_change(change, true);
        self.flush_many();
    }
}
