//! Deltas: the operations that a peer lacks, from the log; and joining them.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::changes::Touched;
use super::codec::{Blob, Body, Covers, Item, Writer};
use super::origins::Logged;
use super::{Change, DecodeError, Op, Registry, Vector};
use crate::{Dot, NestId};

/// A delta for a peer that lacks much is cut after about so many bytes.
const DELTA_BYTES: usize = 256 * 1024;
/// One with our own operations, after so many: it must hold the last of them wherever it can, as
/// answers rely on that, and yet fit in a frame.
const OWN_BYTES: usize = 8 * 1024 * 1024;

/// Operations: of each origin named in `to` all those after `from` up to `to`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Delta {
    /// What a replica must know to join it.
    pub from: Vector,
    /// What it knows, of these origins, afterwards.
    pub to: Vector,
    /// The operations, in the registry's compact form.
    pub ops: Bytes,
    /// It was cut for its length; there are more to ask for after joining it.
    #[serde(default)]
    pub more: bool,
}

impl Delta {
    /// Does it hold no operation?
    pub fn is_empty(&self) -> bool {
        self.to.is_empty()
    }
}

/// What became of a delta.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub enum Joined {
    /// It was joined; these names' records changed.
    Applied(Vec<Change>),
    /// It starts beyond what this replica knows. Nothing was changed: joining it would leave a
    /// gap under the vector that no peer would ever fill. Ask for what is missing by telling the
    /// vector.
    Gap,
    /// It can't be read. Nothing was changed.
    Bad(DecodeError),
}

impl Registry {
    /// The operations that a peer with this vector lacks, of all origins. `None`: the log doesn't
    /// reach back so far, send a snapshot.
    pub fn delta_since(&self, peer: &Vector) -> Option<Delta> {
        self.encode(peer, None, DELTA_BYTES)
    }

    /// Our own operations after number `seq`, up to the last one, without a gap. `None`: the log
    /// doesn't reach back so far. (Above 8 MiB it is cut and says so.)
    pub fn delta_of_mine(&self, seq: u64) -> Option<Delta> {
        let known = [Dot { origin: self.me, seq }].into_iter().collect();
        self.encode(&known, Some(self.me), OWN_BYTES)
    }

    /// Our own operations since the last call, to be pushed to all. `None`: there is none, or
    /// more than the log holds; then peers notice by the vector.
    pub fn take_delta(&mut self) -> Option<Delta> {
        let last = self.last_dot();
        if self.taken >= last.seq {
            return None;
        }
        let delta = self.delta_of_mine(self.taken);
        self.taken = delta.as_ref().map_or(last.seq, |delta| delta.to.seq(self.me));
        delta
    }

    /// Joins what a peer sent.
    pub fn join(&mut self, delta: &Delta) -> Joined {
        if !self.vector().covers_all(&delta.from) {
            return Joined::Gap;
        }
        let blob = match Blob::parse(&delta.ops) {
            Ok(blob) => blob,
            Err(error) => return Joined::Bad(error),
        };
        if let Err(error) = self.check(delta, &blob) {
            return Joined::Bad(error);
        }
        let mut touched = Touched::default();
        for item in blob.items().flatten() {
            match item {
                Item::Op { dot, hash, covers, body } if !self.covers(dot) => {
                    let op = match body {
                        Body::Void => Op::Void,
                        Body::Add(entry) => Op::Add(entry),
                        Body::Remove(cause) => Op::Remove(cause),
                    };
                    let covers: Vec<_> = covers.collect();
                    self.apply(dot, hash, &covers, op, &mut touched);
                }
                Item::Slot(entry) => self.put(entry.hash(), &entry, &mut touched),
                Item::Op { .. } | Item::Seen(_) => {}
            }
        }
        Joined::Applied(self.finish(touched))
    }

    /// Checks all before anything is taken in: that it can be read, leaves out no operation, and
    /// tells of none that we have not issued though it bears our name.
    fn check(&self, delta: &Delta, blob: &Blob<'_>) -> Result<(), DecodeError> {
        let mut last: BTreeMap<NestId, u64> =
            delta.to.iter().map(|dot| (dot.origin, delta.from.seq(dot.origin))).collect();
        for item in blob.items() {
            match item? {
                Item::Op { dot, covers, .. } => {
                    self.check_own(covers, dot)?;
                    let last = last.get_mut(&dot.origin);
                    let last = last.ok_or(DecodeError::Sequence(dot.origin))?;
                    if last.checked_add(1) != Some(dot.seq) {
                        return Err(DecodeError::Sequence(dot.origin));
                    }
                    *last = dot.seq;
                }
                Item::Slot(entry) => self.check_own(Covers::default(), entry.dot)?,
                Item::Seen(_) => return Err(DecodeError::Misplaced),
            }
        }
        match last.into_iter().find(|&(origin, seq)| seq != delta.to.seq(origin)) {
            Some((origin, _)) => Err(DecodeError::Sequence(origin)),
            None => Ok(()),
        }
    }

    pub(super) fn check_own(&self, covers: Covers<'_>, dot: Dot) -> Result<(), DecodeError> {
        let forged = |dot: Dot| dot.origin == self.me && !self.covers(dot);
        let mut dots = covers.chain([dot]);
        if dots.any(forged) { Err(DecodeError::Forged) } else { Ok(()) }
    }

    /// The operations after `known`, origin by origin, cut after `max_bytes`.
    pub(super) fn encode(
        &self,
        known: &Vector,
        only: Option<NestId>,
        max_bytes: usize,
    ) -> Option<Delta> {
        let (mut from, mut to) = (Vector::new(), Vector::new());
        let (mut blob, mut more) = (Writer::default(), false);
        let mut dead = Vec::new();
        for (number, origin) in self.origins.iter() {
            let start = Dot { origin: origin.id, seq: known.seq(origin.id) };
            if start.seq >= origin.seq || only.is_some_and(|only| only != origin.id) {
                continue;
            }
            // Asked of every origin though the delta be full: a peer that needs a snapshot for
            // one need not be sent the others first.
            let log = origin.since(start.seq)?;
            for logged in log {
                if blob.len() >= max_bytes {
                    more = true;
                    break;
                }
                self.encode_op(number, logged, &mut blob, &mut dead);
                from.raise(start);
                to.raise(Dot { seq: logged.seq, ..start });
            }
        }
        self.encode_heirs(&dead, |dot| known.covers(dot) || to.covers(dot), &mut blob);
        Some(Delta { from, to, ops: blob.finish().into(), more })
    }

    fn encode_op(&self, number: u32, logged: &Logged, blob: &mut Writer, dead: &mut Vec<u64>) {
        let dot = self.origins.dot(number, logged.seq);
        let covers: Vec<_> =
            logged.covers.iter().map(|&(number, seq)| self.origins.dot(number, seq)).collect();
        if let Some(cause) = logged.removal {
            blob.remove(dot, logged.hash, cause, &covers);
        } else if let Some(slot) = self.slots.find(logged.hash, number, logged.seq) {
            blob.add(&self.entry(slot), &covers);
        } else {
            blob.void(dot, logged.hash, &covers);
            dead.push(logged.hash);
        }
    }

    /// The live records that superseded dead ones, where their own operations are not part of the
    /// delta. Else the receiver would cover the bird's birth, hold no record of it, and take it
    /// for dead until those come.
    fn encode_heirs(&self, dead: &[u64], known: impl Fn(Dot) -> bool, blob: &mut Writer) {
        let mut dead = dead.to_vec();
        dead.sort_unstable();
        dead.dedup();
        for slot in dead.iter().flat_map(|&hash| self.slots.group(hash)) {
            if !known(self.dot(slot)) {
                blob.slot(&self.entry(slot));
            }
        }
    }
}
