//! What is known of each incarnation's operations: the vector, the few dots known out of order,
//! and a bounded log, from which peers get what they lack.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::Vector;
use crate::{Dot, NestId};

/// All incarnations, by a small number that slots and logs use in place of the id.
#[derive(Clone, Debug)]
pub(super) struct Origins {
    list: Vec<Origin>,
    index: BTreeMap<NestId, u32>,
    vector: Vector,
    log_len: usize,
}

/// One incarnation.
#[derive(Clone, Debug)]
pub(super) struct Origin {
    pub(super) id: NestId,
    /// All its operations up to this one are known.
    pub(super) seq: u64,
    /// The log is complete above this one.
    pub(super) low: u64,
    /// Its live slots: it can be retired only when there is none.
    pub(super) live: u64,
    /// Operations above `seq` whose records are known to be dead.
    cloud: BTreeSet<u64>,
    log: VecDeque<Logged>,
}

/// An operation in the log. The record of an addition isn't kept twice: it is in its slot, and
/// if that is gone nobody needs it.
#[derive(Clone, Debug)]
pub(super) struct Logged {
    pub(super) seq: u64,
    pub(super) hash: u64,
    pub(super) covers: Box<[(u32, u64)]>,
    /// The byte of a removal's cause, as it came: a newer nest's causes are passed on unread.
    pub(super) removal: Option<u8>,
}

impl Origins {
    pub(super) const fn new(log_len: usize) -> Self {
        Self { list: Vec::new(), index: BTreeMap::new(), vector: Vector::new(), log_len }
    }

    pub(super) const fn vector(&self) -> &Vector {
        &self.vector
    }

    /// All incarnations with their numbers, in the order of their ids.
    pub(super) fn iter(&self) -> impl Iterator<Item = (u32, &Origin)> {
        self.index.values().filter_map(|&number| Some((number, self.list.get(number as usize)?)))
    }

    pub(super) fn number(&self, id: NestId) -> Option<u32> {
        self.index.get(&id).copied()
    }

    pub(super) fn number_or_new(&mut self, id: NestId) -> u32 {
        if let Some(number) = self.number(id) {
            return number;
        }
        let number = self.list.len() as u32;
        let (cloud, log) = (BTreeSet::new(), VecDeque::new());
        self.list.push(Origin { id, seq: 0, low: 0, live: 0, cloud, log });
        self.index.insert(id, number);
        number
    }

    pub(super) fn id(&self, number: u32) -> NestId {
        self.list.get(number as usize).map_or(NestId(0), |origin| origin.id)
    }

    pub(super) fn dot(&self, number: u32, seq: u64) -> Dot {
        Dot { origin: self.id(number), seq }
    }

    /// Is this dot known, in order or out of it? (Live slots out of order don't count.)
    pub(super) fn knows(&self, number: u32, seq: u64) -> bool {
        self.list
            .get(number as usize)
            .is_some_and(|origin| origin.seq >= seq || origin.cloud.contains(&seq))
    }

    /// Notes that the record of this dot is dead, though the operation may not have come yet.
    pub(super) fn note_dead(&mut self, number: u32, seq: u64) {
        if let Some(origin) = self.list.get_mut(number as usize)
            && seq > origin.seq
        {
            origin.cloud.insert(seq);
        }
    }

    pub(super) fn count_live(&mut self, number: u32, more: bool) {
        if let Some(origin) = self.list.get_mut(number as usize) {
            origin.live = if more { origin.live + 1 } else { origin.live.saturating_sub(1) };
        }
    }

    /// Takes up the operation that follows the last known one of its incarnation.
    pub(super) fn append(&mut self, number: u32, logged: Logged) {
        let (seq, log_len) = (logged.seq, self.log_len);
        let Some(origin) = self.list.get_mut(number as usize) else { return };
        origin.log.push_back(logged);
        if origin.log.len() > log_len
            && let Some(oldest) = origin.log.pop_front()
        {
            origin.low = oldest.seq;
        }
        self.raise(number, seq);
    }

    /// Takes over a vector learnt from a complete comparison. What was skipped isn't in the logs.
    pub(super) fn adopt(&mut self, vector: &Vector) {
        for dot in vector.iter() {
            if self.vector.covers(dot) {
                continue;
            }
            let number = self.number_or_new(dot.origin);
            self.raise(number, dot.seq);
            if let Some(origin) = self.list.get_mut(number as usize) {
                origin.log.clear();
                origin.low = dot.seq;
            }
        }
    }

    /// Dots known out of order whose records are dead.
    pub(super) fn cloud(&self) -> impl Iterator<Item = Dot> + '_ {
        self.iter()
            .flat_map(|(_, origin)| origin.cloud.iter().map(|&seq| Dot { origin: origin.id, seq }))
    }

    fn raise(&mut self, number: u32, seq: u64) {
        let Some(origin) = self.list.get_mut(number as usize) else { return };
        origin.seq = seq;
        // Dots up to `seq` are known in order from now on.
        if !origin.cloud.is_empty() {
            origin.cloud = origin.cloud.split_off(&(seq + 1));
        }
        self.vector.raise(Dot { origin: origin.id, seq });
    }
}

impl Origin {
    /// The operations after this one, oldest first; none if the log doesn't reach back so far.
    pub(super) fn since(&self, seq: u64) -> Option<impl Iterator<Item = &Logged>> {
        let start = self.log.partition_point(|logged| logged.seq <= seq);
        (seq >= self.low).then(|| self.log.range(start..))
    }
}
