//! Comparing with a peer that knows more than its log can tell: what is taken in, and what is still
//! to be asked.
//!
//! The peer tells ([`Ranges`]), this nest compares, at once and range by range: with the peer's
//! digest of a range, which is equal or not; or with its records. Where the digests differ it asks
//! for those of the range's parts, or, where little is in it, for the records. What this nest has in
//! a range and the peer lacks was removed, if the peer knew it; what it lacks and the peer has is
//! new, unless this nest knew it once.
//!
//! Both registers change meanwhile. So each range is compared as the peer saw it at one moment, and
//! only when *every* range was compared this nest takes over the vector, namely that of the opening:
//! of what the peer learnt later, part may lie in ranges that were compared before. (Taking it over
//! any earlier loses operations for ever: nobody would send them again.) Until then this nest keeps
//! in mind what was compared, lest a third nest's delta bring back a record that the peer knew to be
//! dead.
//!
//! An answer says at its head how far it reaches, and what lies beyond is asked for while it is taken in:
//! of two nests that stream, neither waits for the other.
//!
//! How much differs isn't asked beforehand; it shows in each range. Where this nest holds (nearly)
//! nothing of what the peer holds, digests would be a detour: it wants the records, all of them. So
//! a nest that is new gets the register as a stream, and one that was away for long gets a stream of
//! just the ranges in which much was started.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;

use super::changes::{Killer, Touched};
use super::codec::{Blob, Covers, Item, Items, MAX_SEQ, Writer};
use super::ranges::{Opening, Ranges, RangesWanted, parts};
use super::slots::Sum;
use super::{Changes, DecodeError, Registry, Vector};
use crate::bugs::{Bug, planted};
use crate::{Dot, NestId};

/// What became of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub enum Compared {
    /// It was taken in; these names' records changed. If there is something to ask, it is due.
    Going(Changes, Option<RangesWanted>),
    /// The same, and it was the last one: what the peer knew when it opened is known here.
    Done(Changes),
    /// It belongs to no comparison under way, or is older than it. Nothing was changed.
    Stray,
    /// It can't be read. Nothing was changed.
    Bad(DecodeError),
}

/// A comparison under way.
#[derive(Clone, Debug)]
pub(super) struct Comparison {
    peer: NestId,
    /// What the peer knew when it opened, in order and out of it.
    vector: Vector,
    cloud: BTreeSet<Dot>,
    /// When that was. What it told before doesn't hold what the vector promises.
    revision: u64,
    repair: bool,
    /// The ranges that are still to be compared, by their first hashes.
    open: BTreeMap<u64, Open>,
    /// The last request.
    number: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Open {
    last: u64,
    wants: Wants,
}

/// What is wanted of a range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wants {
    /// The digests of its parts.
    Parts,
    /// The records that aren't here; the peer is told which are.
    Missing,
    /// All records.
    All,
}

impl Comparison {
    /// Does the peer know this dot, and was its place compared? Then we have it, or it is dead.
    pub(super) fn compared(&self, hash: u64, dot: Dot) -> bool {
        self.knew(dot) && !self.is_open(hash)
    }

    fn knew(&self, dot: Dot) -> bool {
        // Not what is merely retired there: that never kills.
        self.vector.seq(dot.origin) >= dot.seq || self.cloud.contains(&dot)
    }

    fn is_open(&self, hash: u64) -> bool {
        self.open.range(..=hash).next_back().is_some_and(|(_, open)| open.last >= hash)
    }

    /// Is something at or behind this hash still to be compared?
    fn is_open_from(&self, hash: u64) -> bool {
        self.open.last_key_value().is_some_and(|(_, open)| open.last >= hash)
    }

    /// Those parts of a range that are still to be compared.
    fn open_in(&self, range: &RangeInclusive<u64>) -> Vec<(RangeInclusive<u64>, Wants)> {
        let (first, last) = (*range.start(), *range.end());
        let before = self.open.range(..first).next_back();
        let inside = self.open.range(first..=last);
        let parts = before.into_iter().chain(inside).filter(|(_, open)| open.last >= first);
        parts.map(|(&at, open)| (at.max(first)..=open.last.min(last), open.wants)).collect()
    }

    /// This range was compared.
    fn close(&mut self, range: &RangeInclusive<u64>) {
        let (first, last) = (*range.start(), *range.end());
        let before = self.open.range(..first).next_back().map(|(&at, &open)| (at, open));
        let mut cut: Vec<_> =
            self.open.range(first..=last).map(|(&at, &open)| (at, open)).collect();
        cut.extend(before.filter(|(_, open)| open.last >= first));
        for (at, open) in cut {
            self.open.remove(&at);
            if at < first {
                self.open.insert(at, Open { last: first - 1, ..open });
            }
            if open.last > last {
                self.open.insert(last + 1, open);
            }
        }
    }
}

impl Registry {
    /// Whether a comparison is under way, and with whom.
    pub fn comparing_with(&self) -> Option<NestId> {
        self.comparison.as_ref().map(|comparison| comparison.peer)
    }

    /// Whether the comparison under way is to repair what can't be.
    pub fn is_repairing(&self) -> bool {
        self.comparison.as_ref().is_some_and(|comparison| comparison.repair)
    }

    /// Gives up comparing with this peer, as it is gone. What came stays.
    pub fn forget_comparison(&mut self, peer: NestId) {
        if self.comparing_with() == Some(peer) {
            self.comparison = None;
        }
    }

    /// Takes in what a peer tells of its register. An opening begins a comparison, if none is under
    /// way.
    pub fn compare(&mut self, peer: NestId, told: &Ranges) -> Compared {
        let blob = match Blob::parse(&told.items) {
            Ok(blob) => blob,
            Err(error) => return Compared::Bad(error),
        };
        let hashes = match self.check_told(told, &blob) {
            Ok(hashes) => hashes,
            Err(error) => return Compared::Bad(error),
        };
        let fits = |comparison: &Comparison| {
            // Of two that know different things, one may know why it lacks a record.
            let comparable = !comparison.repair || told.known == self.origins.vector_digest();
            comparison.peer == peer && told.revision >= comparison.revision && comparable
        };
        let mut comparison = match (self.comparison.take(), &told.opening) {
            (None, Some(opening)) => begin(peer, told.revision, opening, &blob),
            (Some(comparison), None) if fits(&comparison) => comparison,
            (other, _) => {
                self.comparison = other;
                return Compared::Stray;
            }
        };
        self.slots.approach(hashes.iter().copied());
        let mut touched = Touched::with_room(hashes.len());
        let (mut items, mut hashes) = (blob.items(), hashes.into_iter());
        let mut next = items.next();
        while let Some(Ok(item)) = next {
            next = if let Item::Range { first, last, in_parts: false } = item {
                let inside = (&mut items, &mut hashes);
                self.compare_records(&mut comparison, &(first..=last), inside, &mut touched)
            } else {
                if let Item::Range { first, last, .. } = item {
                    self.compare_parts(&mut comparison, &(first..=last), items.clone());
                }
                items.next()
            };
        }
        if planted(Bug::EarlyVector) {
            self.adopt(&comparison);
        }
        if comparison.open.is_empty() {
            self.adopt(&comparison);
            return Compared::Done(self.finish(touched));
        }
        let wanted = if told.number != comparison.number {
            // More is asked for already.
            None
        } else if told.last {
            Some(self.next_request(&mut comparison, 0))
        } else {
            let beyond = told.upto.checked_add(1).filter(|&from| comparison.is_open_from(from));
            beyond.map(|from| self.next_request(&mut comparison, from))
        };
        self.comparison = Some(comparison);
        Compared::Going(self.finish(touched), wanted)
    }

    /// What is still to be asked, and whom, in case the last request or its answer got lost.
    pub fn ranges_wanted(&mut self) -> Option<(NestId, RangesWanted)> {
        let mut comparison = self.comparison.take()?;
        let wanted = self.next_request(&mut comparison, 0);
        let peer = comparison.peer;
        self.comparison = Some(comparison);
        Some((peer, wanted))
    }

    /// Asks for what is still to be compared, from this hash on.
    fn next_request(&self, comparison: &mut Comparison, from: u64) -> RangesWanted {
        comparison.number += 1;
        let mut blob = Writer::default();
        for (&first, open) in comparison.open.iter().filter(|(_, open)| open.last >= from) {
            let range = first.max(from)..=open.last;
            blob.range(&range, open.wants == Wants::Parts);
            if open.wants == Wants::Missing {
                self.slots.range(range).for_each(|slot| blob.have(self.dot(slot)));
            }
            if blob.len() >= self.config.message_bytes {
                break;
            }
        }
        RangesWanted { number: comparison.number, items: blob.finish(0).into() }
    }

    fn compare_parts(
        &self,
        comparison: &mut Comparison,
        range: &RangeInclusive<u64>,
        inside: Items<'_>,
    ) {
        let sums = inside.map_while(|item| match item {
            Ok(Item::Sum(sum)) => Some(sum),
            _ => None,
        });
        let sums: Vec<_> = sums.collect();
        for (part, theirs) in parts(range, sums.len() as u64).zip(sums) {
            let mine = self.slots.sum(&part, &self.origins);
            if mine == theirs {
                comparison.close(&part);
                continue;
            }
            // One that comes twice finds the range in other parts by now, and leaves it so.
            if let [(open, Wants::Parts)] = &*comparison.open_in(&part)
                && *open == part
            {
                comparison.close(&part);
                let (first, last) = part.into_inner();
                let wants = self.wants(first == last, mine, theirs);
                comparison.open.insert(first, Open { last, wants });
            }
        }
    }

    /// What is wanted of a range in which the two differ.
    fn wants(&self, is_single: bool, mine: Sum, theirs: Sum) -> Wants {
        let far_more = mine.records.saturating_mul(self.config.far_more) <= theirs.records;
        if far_more || theirs.records == 0 {
            Wants::All
        } else if is_single || mine.records.max(theirs.records) <= self.config.leaf_records.into() {
            Wants::Missing
        } else {
            Wants::Parts
        }
    }

    /// Gives what follows the range. `hashes` are those of the records to come.
    fn compare_records<'a>(
        &mut self,
        comparison: &mut Comparison,
        range: &RangeInclusive<u64>,
        (inside, hashes): (&mut Items<'a>, &mut impl Iterator<Item = u64>),
        touched: &mut Touched,
    ) -> Option<Result<Item<'a>, DecodeError>> {
        let open = comparison.open_in(range);
        for (open, _) in &open {
            self.drop_missing(comparison, open, inside.clone(), touched);
        }
        let next = loop {
            match inside.next() {
                Some(Ok(Item::Slot(entry))) => {
                    let Some(hash) = hashes.next() else { break None };
                    if open.iter().any(|(open, _)| open.contains(&hash)) {
                        self.note_late(hash, &entry);
                        self.put(hash, &entry, touched);
                    }
                }
                Some(Ok(Item::Have(_))) => {}
                next => break next,
            }
        };
        open.iter().for_each(|(open, _)| comparison.close(open));
        next
    }

    /// Drops what the peer knew and holds no more.
    fn drop_missing(
        &mut self,
        comparison: &Comparison,
        range: &RangeInclusive<u64>,
        inside: Items<'_>,
        touched: &mut Touched,
    ) {
        let slots = self.slots.range(range.clone()).map(|slot| (slot.hash, self.dot(slot)));
        let mut known: Vec<_> = slots.filter(|&(_, dot)| comparison.knew(dot)).collect();
        if known.is_empty() {
            return;
        }
        let held: BTreeSet<_> = inside
            .map_while(record)
            .filter_map(|item| match item {
                Item::Slot(entry) => Some(entry.dot),
                Item::Have(dot) => Some(dot),
                _ => None,
            })
            .collect();
        known.retain(|(_, dot)| !held.contains(dot));
        for (hash, dot) in known {
            self.kill(hash, dot, &Killer::Comparison, touched);
        }
    }

    /// The comparison is complete: all is known that the peer knew when it began.
    fn adopt(&mut self, comparison: &Comparison) {
        self.revision += 1;
        self.origins.adopt(&comparison.vector);
        for dot in &comparison.cloud {
            let number = self.origins.number_or_new(dot.origin);
            self.origins.note_dead(number, dot.seq);
        }
    }

    /// Checks all before anything is taken in. Gives the hashes of the records.
    fn check_told(&self, told: &Ranges, blob: &Blob<'_>) -> Result<Vec<u64>, DecodeError> {
        if let Some(Opening { vector, .. }) = &told.opening {
            if vector.seq(self.me) > self.last_dot().seq {
                return Err(DecodeError::Forged);
            }
            if vector.iter().any(|dot| dot.seq > MAX_SEQ) {
                return Err(DecodeError::Number);
            }
        }
        let mut hashes = Vec::new();
        let mut within: Option<(RangeInclusive<u64>, bool)> = None;
        for item in blob.items() {
            match (item?, &within) {
                (Item::Range { first, last, in_parts }, _) => {
                    within = Some((first..=last, in_parts))
                }
                (Item::Sum(_), Some((_, true))) => {}
                (Item::Seen(dot), None) if told.opening.is_some() => {
                    self.check_own(Covers::default(), dot)?;
                }
                (Item::Have(dot), Some((_, false))) => self.check_own(Covers::default(), dot)?,
                (Item::Slot(entry), Some((range, false))) => {
                    let hash = entry.hash();
                    entry.check()?;
                    self.check_own(Covers::default(), entry.dot)?;
                    if !range.contains(&hash) {
                        return Err(DecodeError::Misplaced);
                    }
                    hashes.push(hash);
                }
                _ => return Err(DecodeError::Misplaced),
            }
        }
        Ok(hashes)
    }
}

fn begin(peer: NestId, revision: u64, opening: &Opening, blob: &Blob<'_>) -> Comparison {
    let seen = blob.items().map_while(|item| match item {
        Ok(Item::Seen(dot)) => Some(dot),
        _ => None,
    });
    let all = Open { last: u64::MAX, wants: Wants::Parts };
    Comparison {
        peer,
        vector: opening.vector.clone(),
        cloud: seen.collect(),
        revision,
        repair: opening.repair,
        open: [(0, all)].into_iter().collect(),
        number: 0,
    }
}

/// An item of the range that is being read, up to the next range.
fn record(item: Result<Item<'_>, DecodeError>) -> Option<Item<'_>> {
    match item {
        Ok(Item::Range { .. }) | Err(_) => None,
        Ok(item) => Some(item),
    }
}
