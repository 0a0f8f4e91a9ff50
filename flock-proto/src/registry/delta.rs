//! Deltas: the operations that a peer lacks, from the log; and joining them.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::changes::Touched;
use super::codec::{Blob, Body, Covers, Item, Items, MORE, Span, Writer};
use super::origins::Logged;
use super::slots::TOGETHER;
use super::{Changes, DecodeError, Op, Registry, Vector};
use crate::bugs::{Bug, planted};
use crate::{Dot, NestId};

/// From so many operations on their places are looked up together before they are joined: of fewer
/// nothing can be fetched side by side.
const MANY: usize = 8;

/// So many operations are kept as they were read to be checked; those of a longer delta are read twice.
/// Each takes some 200 bytes, and may have come as ten.
pub(super) const KEPT: usize = 1024;

/// Operations: of some incarnations all those after one number up to another, in the registry's
/// compact form.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Delta(pub(super) Bytes);

impl Delta {
    /// It was cut for its length; there are more to ask for after joining it.
    pub fn more(&self) -> bool {
        Blob::parse(&self.0).is_ok_and(|blob| blob.more())
    }

    /// The last operation of this incarnation that it holds, nor lacks any before it; 0 if none.
    pub fn upto(&self, origin: NestId) -> u64 {
        let Ok(blob) = Blob::parse(&self.0) else { return 0 };
        let tos = blob.spans().map(Span::to);
        tos.filter(|to| to.origin == origin).map(|to| to.seq).max().unwrap_or(0)
    }

    /// How many bytes it takes.
    pub const fn len(&self) -> usize {
        self.0.len()
    }

    /// Does it hold no operation?
    pub fn is_empty(&self) -> bool {
        Blob::parse(&self.0).is_ok_and(|blob| blob.spans().next().is_none())
    }
}

/// What became of a delta.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub enum Joined {
    /// It was joined; these names' records changed.
    Applied(Changes),
    /// It starts beyond what this replica knows. Nothing was changed: joining it would leave a
    /// gap under the vector that no peer would ever fill. Ask for what is missing by telling the
    /// vector.
    Gap,
    /// It can't be read. Nothing was changed.
    Bad(DecodeError),
}

/// What a blob holds, all of it checked.
struct Checked<'a> {
    /// The first items, each with the hash of its name.
    read: Vec<(u64, Item<'a>)>,
    /// Those that follow.
    rest: Items<'a>,
    /// How many there are of both.
    items: usize,
}

impl Registry {
    /// The operations that a peer with this vector lacks, of all origins. `None`: the log doesn't
    /// reach back so far; open a comparison.
    pub fn delta_since(&self, peer: &Vector) -> Option<Delta> {
        let lacks = |origin| (!peer.is_retired(origin)).then(|| peer.seq(origin));
        self.encode(lacks, self.config.delta_bytes)
    }

    /// The operations of these incarnations after these numbers. `None`: the log doesn't reach back
    /// so far; open a comparison.
    pub fn delta_after(&self, after: &BTreeMap<NestId, u64>) -> Option<Delta> {
        self.encode(|origin| after.get(&origin).copied(), self.config.delta_bytes)
    }

    /// What this replica lacks of what a peer knows, as [`Registry::delta_after`] takes it.
    pub fn lacking(&self, peer: &Vector) -> BTreeMap<NestId, u64> {
        let lacking = peer.iter().filter(|&dot| !self.covers(dot));
        lacking.map(|dot| (dot.origin, self.origins.seq(dot.origin))).collect()
    }

    /// Our own operations after number `seq`, up to the last one, without a gap. `None`: the log
    /// doesn't reach back so far. (One of many megabytes is cut and says so.)
    pub fn delta_of_mine(&self, seq: u64) -> Option<Delta> {
        self.encode(self.mine_after(seq), self.config.own_delta_bytes)
    }

    /// The same, cut like any other delta: for pushing, where the rest follows at once.
    pub fn delta_to_push(&self, seq: u64) -> Option<Delta> {
        self.encode(self.mine_after(seq), self.config.delta_bytes)
    }

    fn mine_after(&self, seq: u64) -> impl Fn(NestId) -> Option<u64> {
        let me = self.me;
        move |origin| (origin == me).then_some(seq)
    }

    /// Our own operations since the last call, to be pushed to all. `None`: there is none, or
    /// more than the log holds; then peers notice by the vector.
    pub fn take_delta(&mut self) -> Option<Delta> {
        let last = self.last_dot();
        if self.taken >= last.seq {
            return None;
        }
        let delta = self.delta_of_mine(self.taken);
        self.taken = delta.as_ref().map_or(last.seq, |delta| delta.upto(self.me));
        delta
    }

    /// Joins what a peer sent.
    pub fn join(&mut self, delta: &Delta) -> Joined {
        let blob = match Blob::parse(&delta.0) {
            Ok(blob) => blob,
            Err(error) => return Joined::Bad(error),
        };
        if planted(Bug::NoMergeGuard) {
            self.origins.adopt(&blob.spans().map(|span| span.from).collect());
        }
        if blob.spans().any(|span| !self.covers(span.from)) {
            return Joined::Gap;
        }
        let Checked { mut read, mut rest, items } = match self.check(&blob) {
            Ok(checked) => checked,
            Err(error) => return Joined::Bad(error),
        };
        let mut touched = Touched::with_room(items);
        while !read.is_empty() {
            for items in read.chunks(TOGETHER) {
                self.join_items(items, &mut touched);
            }
            read.clear();
            read.extend(rest.by_ref().take(TOGETHER).map_while(Result::ok).map(hashed));
        }
        Joined::Applied(self.finish(touched))
    }

    fn join_items(&mut self, items: &[(u64, Item<'_>)], touched: &mut Touched) {
        if items.len() >= MANY {
            self.slots.approach(items.iter().map(|(hash, _)| *hash));
            // Of a name that is new there is no record to be looked at.
            let others = items.iter().filter(|(_, item)| !item.is_start());
            self.slots.fetch(others.map(|(hash, _)| *hash));
        }
        for (hash, item) in items {
            match item {
                Item::Op { dot, covers, body } if !self.covers(*dot) => {
                    let op = match *body {
                        Body::Void { .. } => Op::Void,
                        Body::Add(entry) => Op::Add(entry),
                        Body::Remove { removal, .. } => Op::Remove(removal),
                    };
                    self.apply(*dot, *hash, covers.clone(), op, touched);
                }
                Item::Slot(entry) => {
                    self.note_late(*hash, entry);
                    self.put(*hash, entry, touched);
                }
                _ => {}
            }
        }
    }

    /// Checks all before anything is taken in: that it can be read, holds just the operations that
    /// its spans say, in their order, and tells of none that we have not issued though it bears our
    /// name.
    fn check<'a>(&self, blob: &Blob<'a>) -> Result<Checked<'a>, DecodeError> {
        let said = blob.spans().fold(0, |sum: u64, span| sum.saturating_add(span.len));
        let mut read = Vec::with_capacity(KEPT.min(usize::try_from(said).unwrap_or(KEPT)));
        let (mut all, mut items) = (blob.items(), 0);
        let mut rest = all.clone();
        let mut spans = blob.spans();
        let (mut last, mut end) = (Dot { origin: NestId(0), seq: 0 }, 0);
        while let Some(item) = all.next() {
            let item = item?;
            match &item {
                &Item::Op { dot, ref covers, ref body } => {
                    if last.seq == end {
                        let span = spans.next().ok_or(DecodeError::Sequence(dot.origin))?;
                        (last, end) = (span.from, span.to().seq);
                    }
                    last.seq += 1;
                    if dot != last {
                        return Err(DecodeError::Sequence(dot.origin));
                    }
                    self.check_own(covers.clone(), dot)?;
                    if let Body::Add(entry) = body {
                        entry.check()?;
                    }
                }
                Item::Slot(entry) => {
                    self.check_own(Covers::default(), entry.dot)?;
                    entry.check()?;
                }
                _ => return Err(DecodeError::Misplaced),
            }
            items += 1;
            if items <= KEPT {
                read.push(hashed(item));
                rest = all.clone();
            }
        }
        if last.seq < end {
            return Err(DecodeError::Sequence(last.origin));
        }
        let checked = Checked { read, rest, items };
        spans.next().map_or(Ok(checked), |span| Err(DecodeError::Sequence(span.from.origin)))
    }

    pub(super) fn check_own(&self, covers: Covers<'_>, dot: Dot) -> Result<(), DecodeError> {
        let forged = |dot: Dot| dot.origin == self.me && !self.covers(dot);
        let mut dots = covers.chain([dot]);
        if dots.any(forged) { Err(DecodeError::Forged) } else { Ok(()) }
    }

    /// The operations after those that `after` says, of the incarnations of which it says some, cut
    /// after `max_bytes`.
    pub(super) fn encode(
        &self,
        after: impl Fn(NestId) -> Option<u64>,
        max_bytes: usize,
    ) -> Option<Delta> {
        let (mut blob, mut more) = (Writer::default(), false);
        let mut told = BTreeMap::new();
        let mut dead = Vec::new();
        for (number, origin) in self.origins.iter() {
            let from = after(origin.id).map(|seq| Dot { origin: origin.id, seq });
            let Some(from) = from.filter(|from| from.seq < origin.seq) else { continue };
            // Asked of every origin though the delta be full: a peer that must compare for one need
            // not be sent the others first.
            let log = origin.since(from.seq)?;
            let mut len = 0;
            blob.start(from);
            for (seq, logged) in log {
                if blob.len() >= max_bytes {
                    more = true;
                    break;
                }
                let dot = Dot { seq, ..from };
                self.encode_op(dot, number, logged, &mut blob, &mut dead);
                len += 1;
            }
            if len > 0 {
                blob.span(Span { from, len });
                told.insert(origin.id, from.seq + len);
            }
        }
        let knows = |dot: Dot| {
            let told = told.get(&dot.origin).copied().unwrap_or(0);
            told.max(after(dot.origin).unwrap_or(0)) >= dot.seq
        };
        self.encode_heirs(&mut dead, knows, &mut blob);
        Some(Delta(blob.finish(if more { MORE } else { 0 }).into()))
    }

    fn encode_op(
        &self,
        dot: Dot,
        number: u32,
        logged: &Logged,
        blob: &mut Writer,
        dead: &mut Vec<u64>,
    ) {
        let covers = logged.covers().map(|(number, seq)| self.origins.dot(number, seq));
        let covers: Vec<_> = covers.collect();
        if let Some(removal) = logged.removal() {
            blob.remove(dot, logged.hash, removal, &covers);
        } else if let Some(slot) = self.slots.find(logged.hash, number, dot.seq) {
            blob.add(&self.entry(slot), &covers);
        } else {
            blob.void(dot, logged.hash, &covers);
            dead.push(logged.hash);
        }
    }

    /// The live records that superseded dead ones, where their own operations are not part of the
    /// delta. Else the receiver would cover the bird's birth, hold no record of it, and take it
    /// for dead until those come.
    fn encode_heirs(&self, dead: &mut Vec<u64>, knows: impl Fn(Dot) -> bool, blob: &mut Writer) {
        dead.sort_unstable();
        dead.dedup();
        for slot in dead.iter().flat_map(|&hash| self.slots.group(hash)) {
            if !knows(self.dot(slot)) {
                blob.slot(&self.entry(slot));
            }
        }
    }
}

fn hashed(item: Item<'_>) -> (u64, Item<'_>) {
    (item.hash(), item)
}
