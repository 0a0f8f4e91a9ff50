//! What is known of each incarnation's operations: the vector, the few dots known out of order,
//! and a bounded log, from which peers get what they lack.

use std::collections::{BTreeSet, VecDeque};

use super::Vector;
use super::codec::Removal;
use super::slots::mix;
use crate::nest_map::Places;
use crate::{Dot, NestId};

/// All incarnations, by a small number that slots and logs use in place of the id.
#[derive(Clone, Debug)]
pub(super) struct Origins {
    list: Vec<Origin>,
    /// Their numbers, in the order of their ids.
    index: Vec<(NestId, u32)>,
    /// To find them by their ids.
    places: Places,
    /// Numbers of incarnations that are retired, and that nothing refers to any more.
    free: Vec<u32>,
    /// The last one that was looked up: operations come by the hundred from one incarnation.
    last: Option<(NestId, u32)>,
    vector: Vector,
    vector_digest: u64,
    /// Those of which the vector doesn't know the last operations yet.
    raised: Vec<u32>,
    /// Whose operations stand in the logs, in the order in which they came.
    arrivals: VecDeque<u32>,
    log_len: usize,
}

/// One incarnation.
#[derive(Clone, Debug)]
pub(super) struct Origin {
    pub(super) id: NestId,
    /// All its operations up to this one are known.
    pub(super) seq: u64,
    /// Its live slots: it can be retired only when there is none.
    pub(super) live: u64,
    /// Operations above `seq` whose records are known to be dead.
    cloud: BTreeSet<u64>,
    /// Its last operations, up to `seq`, without a gap.
    log: VecDeque<Logged>,
    /// Where it stood in the vector when that was last raised.
    place: usize,
}

/// An operation in the log. The record of an addition isn't kept twice: it is in its slot, and
/// if that is gone nobody needs it.
#[derive(Clone, Debug)]
pub(super) struct Logged {
    pub(super) hash: u64,
    covers: Covered,
    /// The byte of a removal's cause, as it came: a newer nest's causes are passed on unread.
    cause: Option<u8>,
}

/// The records that an operation superseded, by the numbers of their incarnations. Most supersede
/// none or one and name no fence, which then costs no allocation.
#[derive(Clone, Debug)]
enum Covered {
    None,
    One(u32, u64),
    Many(Box<Many>),
}

#[derive(Clone, Debug)]
struct Many {
    covers: Vec<(u32, u64)>,
    /// Of the life that a removal ended; else 0.
    fence: u64,
}

impl Logged {
    pub(super) fn new(hash: u64, covers: Vec<(u32, u64)>, removal: Option<Removal>) -> Self {
        let fence = removal.map_or(0, |removal| removal.fence);
        let covers = match *covers {
            [] if fence == 0 => Covered::None,
            [(number, seq)] if fence == 0 => Covered::One(number, seq),
            _ => Covered::Many(Box::new(Many { covers, fence })),
        };
        Self { hash, covers, cause: removal.map(|removal| removal.cause) }
    }

    pub(super) fn removal(&self) -> Option<Removal> {
        let fence = if let Covered::Many(many) = &self.covers { many.fence } else { 0 };
        self.cause.map(|cause| Removal { cause, fence })
    }

    pub(super) fn covers(&self) -> impl Iterator<Item = (u32, u64)> + '_ {
        let (one, many) = match &self.covers {
            Covered::None => (None, &[][..]),
            Covered::One(number, seq) => (Some((*number, *seq)), &[][..]),
            Covered::Many(many) => (None, many.covers.as_slice()),
        };
        one.into_iter().chain(many.iter().copied())
    }
}

impl Origins {
    pub(super) const fn new(log_len: usize) -> Self {
        Self {
            list: Vec::new(),
            index: Vec::new(),
            places: Places::new(),
            free: Vec::new(),
            last: None,
            vector: Vector::new(),
            vector_digest: 0,
            raised: Vec::new(),
            arrivals: VecDeque::new(),
            log_len,
        }
    }

    pub(super) const fn vector(&self) -> &Vector {
        &self.vector
    }

    /// A digest of the vector: a sum over its entries, kept up to date with each.
    pub(super) const fn vector_digest(&self) -> u64 {
        self.vector_digest
    }

    /// All incarnations with their numbers, in the order of their ids.
    pub(super) fn iter(&self) -> impl Iterator<Item = (u32, &Origin)> {
        self.index.iter().filter_map(|&(_, at)| Some((at, self.list.get(at as usize)?)))
    }

    pub(super) fn number(&self, id: NestId) -> Option<u32> {
        match self.last {
            Some((last, number)) if last == id => Some(number),
            _ => {
                let is_its = |at| self.list.get(at as usize).is_some_and(|origin| origin.id == id);
                self.places.find(id, is_its)
            }
        }
    }

    pub(super) fn number_or_new(&mut self, id: NestId) -> u32 {
        let number = self.number(id).unwrap_or_else(|| {
            let origin = Origin::new(id);
            let number = self.free.pop().unwrap_or(self.list.len() as u32);
            match self.list.get_mut(number as usize) {
                Some(free) => *free = origin,
                None => self.list.push(origin),
            }
            let at = self.index.partition_point(|(other, _)| *other < id);
            self.index.insert(at, (id, number));
            if !self.places.add(id, number) {
                self.places.reset(self.list.len(), self.index.iter().copied());
            }
            number
        });
        self.last = Some((id, number));
        number
    }

    pub(super) fn id(&self, number: u32) -> NestId {
        self.list.get(number as usize).map_or(NestId(0), |origin| origin.id)
    }

    pub(super) fn dot(&self, number: u32, seq: u64) -> Dot {
        Dot { origin: self.id(number), seq }
    }

    /// The number up to which this incarnation's operations are known; 0 if none is.
    pub(super) fn seq(&self, id: NestId) -> u64 {
        let number = self.number(id);
        number.and_then(|number| self.list.get(number as usize)).map_or(0, |origin| origin.seq)
    }

    /// The same, where it has this number, or else another one.
    pub(super) fn seq_near(&self, number: u32, id: NestId) -> u64 {
        match self.list.get(number as usize) {
            // A number that was freed has none.
            Some(origin) if origin.id == id && origin.seq > 0 => origin.seq,
            _ => self.seq(id),
        }
    }

    /// Are this operation and all before it of the same incarnation known, or that retired?
    pub(super) fn covers(&self, dot: Dot) -> bool {
        self.seq(dot.origin) >= dot.seq || self.is_retired(dot.origin)
    }

    /// Is this incarnation retired?
    pub(super) fn is_retired(&self, id: NestId) -> bool {
        // Asked for each operation that comes: mostly of incarnations beyond the horizon.
        id <= self.vector.horizon() && self.seq(id) == 0
    }

    /// Is this dot known, in order or out of it, or its incarnation retired? (Live slots out of order
    /// don't count.)
    pub(super) fn knows(&self, number: u32, seq: u64) -> bool {
        self.list.get(number as usize).is_some_and(|origin| {
            origin.seq >= seq || origin.cloud.contains(&seq) || self.is_retired(origin.id)
        })
    }

    /// Notes that the record of this dot is dead, though the operation may not have come yet.
    pub(super) fn note_dead(&mut self, number: u32, seq: u64) {
        let retired = self.is_retired(self.id(number));
        if let Some(origin) = self.list.get_mut(number as usize)
            && seq > origin.seq
            && !retired
        {
            origin.cloud.insert(seq);
        }
    }

    pub(super) fn count_live(&mut self, number: u32, more: bool) {
        if let Some(origin) = self.list.get_mut(number as usize) {
            origin.live = if more { origin.live + 1 } else { origin.live.saturating_sub(1) };
        }
    }

    /// Takes up the operation that follows the last known one of its incarnation. It stands in the
    /// vector after [`Origins::settle`].
    pub(super) fn append(&mut self, number: u32, logged: Logged) {
        if self.log_len > 0 {
            // Made room for first, lest a full log grow for a moment, which means to twice its size.
            if self.arrivals.len() >= self.log_len {
                self.drop_oldest();
            }
            let Some(origin) = self.list.get_mut(number as usize) else { return };
            origin.log.push_back(logged);
            self.arrivals.push_back(number);
        }
        let Some(origin) = self.list.get_mut(number as usize) else { return };
        origin.raise(origin.seq + 1);
        // Hundreds of one delta raise the same one, one after the other.
        if self.raised.last() != Some(&number) {
            self.raised.push(number);
        }
    }

    /// Brings the vector and its digest up to date.
    pub(super) fn settle(&mut self) {
        for number in self.raised.drain(..) {
            let Some(origin) = self.list.get_mut(number as usize) else { continue };
            let (before, after) = (origin.stand(&mut self.vector), origin.seq);
            self.vector_digest = (self.vector_digest)
                .wrapping_sub(digest(origin.id, before))
                .wrapping_add(digest(origin.id, after));
        }
    }

    fn drop_oldest(&mut self) {
        let oldest = self.arrivals.pop_front();
        if let Some(origin) = oldest.and_then(|number| self.list.get_mut(number as usize)) {
            origin.log.pop_front();
            // One that once wrote much and now is silent, or gone, keeps no room for it.
            if origin.log.len() < origin.log.capacity() / 4 {
                origin.log.shrink_to(2 * origin.log.len());
            }
        }
    }

    /// Takes over a vector learnt from a complete comparison. What was skipped isn't in the logs.
    pub(super) fn adopt(&mut self, vector: &Vector) {
        let mut skipped = BTreeSet::new();
        for dot in vector.iter() {
            if self.covers(dot) {
                continue;
            }
            let number = self.number_or_new(dot.origin);
            if let Some(origin) = self.list.get_mut(number as usize) {
                origin.raise(dot.seq);
                origin.log = VecDeque::new();
            }
            self.raised.push(number);
            skipped.insert(number);
        }
        self.settle();
        if !skipped.is_empty() {
            self.arrivals.retain(|number| !skipped.contains(number));
        }
    }

    /// What the log holds of these incarnations that superseded records of others: of each operation
    /// the name's hash, those records, and what removed them.
    pub(super) fn logged(&self, ids: &[NestId]) -> Vec<(u64, Vec<Dot>, Option<Removal>)> {
        let numbers = ids.iter().filter_map(|&id| self.number(id));
        let origins = numbers.filter_map(|number| self.list.get(number as usize));
        let entries = origins.flat_map(|origin| origin.log.iter()).filter_map(|logged| {
            let covers = logged.covers().map(|(number, seq)| self.dot(number, seq));
            let others: Vec<Dot> = covers.filter(|dot| !ids.contains(&dot.origin)).collect();
            (!others.is_empty()).then(|| (logged.hash, others, logged.removal()))
        });
        entries.collect()
    }

    /// What the logs hold of records that were removed.
    pub(super) fn removals(&self) -> impl Iterator<Item = (Dot, Removal)> + '_ {
        let logged = self.list.iter().flat_map(|origin| &origin.log);
        let removals = logged.filter_map(|logged| Some((logged, logged.removal()?)));
        removals.flat_map(move |(logged, removal)| {
            logged.covers().map(move |(number, seq)| (self.dot(number, seq), removal))
        })
    }

    /// How many live slots this incarnation has.
    pub(super) fn live(&self, id: NestId) -> u64 {
        let number = self.number(id);
        number.and_then(|number| self.list.get(number as usize)).map_or(0, |origin| origin.live)
    }

    /// Retires incarnations that have no live record, and raises the horizon.
    pub(super) fn retire(&mut self, horizon: NestId, gone: &[NestId]) {
        let mut retired = BTreeSet::new();
        for &id in gone {
            let Some(number) = self.number(id) else { continue };
            let Some(origin) = self.list.get_mut(number as usize) else { continue };
            self.vector_digest = self.vector_digest.wrapping_sub(digest(id, origin.seq));
            self.vector.retire(id);
            *origin = Origin { live: origin.live, ..Origin::new(id) };
            retired.insert(number);
        }
        self.arrivals.retain(|number| !retired.contains(number));
        let horizon = self.vector.horizon().max(horizon);
        self.vector_digest = (self.vector_digest)
            .wrapping_sub(far(self.vector.horizon()))
            .wrapping_add(far(horizon));
        self.vector.raise_horizon(horizon);
        self.sweep();
    }

    /// Frees the numbers of incarnations of which nothing is left.
    fn sweep(&mut self) {
        let logs = self.list.iter().flat_map(|origin| &origin.log);
        let named: BTreeSet<u32> =
            logs.flat_map(Logged::covers).map(|(number, _)| number).collect();
        let (list, free) = (&mut self.list, &mut self.free);
        self.index.retain(|&(_, number)| {
            let Some(origin) = list.get(number as usize) else { return false };
            let is_used = origin.seq > 0 || origin.live > 0 || !origin.cloud.is_empty();
            if !is_used && !named.contains(&number) {
                free.push(number);
                return false;
            }
            true
        });
        self.places.reset(self.list.len(), self.index.iter().copied());
        self.last = None;
    }

    /// Dots known out of order whose records are dead.
    pub(super) fn cloud(&self) -> impl Iterator<Item = Dot> + '_ {
        self.iter()
            .flat_map(|(_, origin)| origin.cloud.iter().map(|&seq| Dot { origin: origin.id, seq }))
    }
}

impl Origin {
    const fn new(id: NestId) -> Self {
        Self { id, seq: 0, live: 0, cloud: BTreeSet::new(), log: VecDeque::new(), place: 0 }
    }

    /// Has the vector know what is known, and says what it knew before.
    fn stand(&mut self, vector: &mut Vector) -> u64 {
        let (before, place) = vector.raise_near(self.place, Dot { origin: self.id, seq: self.seq });
        self.place = place;
        before
    }

    /// The operations after this one, oldest first, each with its number; none if the log doesn't
    /// reach back so far.
    pub(super) fn since(&self, seq: u64) -> Option<impl Iterator<Item = (u64, &Logged)>> {
        let low = self.seq - self.log.len() as u64;
        let start = usize::try_from(seq.checked_sub(low)?).ok()?;
        let start = start.min(self.log.len());
        Some((low + start as u64 + 1..).zip(self.log.range(start..)))
    }

    fn raise(&mut self, seq: u64) {
        self.seq = seq;
        // Dots up to `seq` are known in order from now on.
        if !self.cloud.is_empty() {
            self.cloud = self.cloud.split_off(&(seq + 1));
        }
    }
}

/// What a horizon adds to the digest.
fn far(horizon: NestId) -> u64 {
    digest(horizon, u64::from(horizon.0 > 0))
}

/// An incarnation of which nothing is known adds nothing: it stands in no vector.
fn digest(origin: NestId, seq: u64) -> u64 {
    if seq == 0 { 0 } else { mix(origin.0 ^ mix(seq)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log(origins: &mut Origins, id: u64, count: u64) {
        for _ in 0..count {
            let number = origins.number_or_new(NestId(id));
            origins.append(number, Logged::new(7, Vec::new(), None));
        }
        origins.settle();
    }

    fn logged(origins: &Origins, id: u64, since: u64) -> Option<Vec<u64>> {
        let number = origins.number(NestId(id))?;
        let log = origins.list[number as usize].since(since)?;
        Some(log.map(|(seq, _)| seq).collect())
    }

    #[test]
    fn an_entry_of_the_log_takes_32_bytes() {
        assert_eq!(size_of::<Logged>(), 32);
    }

    #[test]
    fn the_log_keeps_what_came_last_whoever_wrote_it() {
        let mut origins = Origins::new(4);
        log(&mut origins, 1, 3);
        log(&mut origins, 2, 2);
        assert_eq!(logged(&origins, 1, 0), None);
        assert_eq!(logged(&origins, 1, 1), Some(vec![2, 3]));
        assert_eq!(logged(&origins, 2, 0), Some(vec![1, 2]));
        assert_eq!(logged(&origins, 2, 2), Some(vec![]));
        log(&mut origins, 2, 5);
        assert_eq!((logged(&origins, 1, 2), logged(&origins, 1, 3)), (None, Some(vec![])));
        assert_eq!(logged(&origins, 2, 3), Some(vec![4, 5, 6, 7]));
    }

    #[test]
    fn a_log_that_was_skipped_makes_room_and_leaves_the_others_theirs() {
        let mut origins = Origins::new(4);
        log(&mut origins, 1, 2);
        log(&mut origins, 2, 2);
        origins.adopt(&[Dot { origin: NestId(1), seq: 9 }].into_iter().collect());
        assert_eq!((logged(&origins, 1, 8), logged(&origins, 1, 9)), (None, Some(vec![])));
        log(&mut origins, 1, 2);
        assert_eq!(logged(&origins, 2, 0), Some(vec![1, 2]), "there was room");
        assert_eq!(logged(&origins, 1, 9), Some(vec![10, 11]));
    }

    #[test]
    fn the_digest_of_the_vector_tells_vectors_apart_however_they_came_about() {
        let (mut one, mut other) = (Origins::new(0), Origins::new(9));
        log(&mut one, 1, 3);
        log(&mut one, 2, 1);
        let vector = one.vector().clone();
        other.adopt(&vector);
        assert_eq!(one.vector_digest(), other.vector_digest());
        log(&mut other, 2, 1);
        assert_ne!(one.vector_digest(), other.vector_digest());
        // A number alone, known because a record bears it, is no knowledge.
        one.number_or_new(NestId(3));
        log(&mut one, 2, 1);
        assert_eq!(one.vector_digest(), other.vector_digest());
    }
}
