//! Snapshots: all live records, in chunks by ranges of hashes, for a peer that lacks more than
//! the log holds. The sender keeps nothing between two chunks; the receiver asks for the next.
//!
//! A chunk compares a range. What the receiver has in it and the chunk lacks was removed, if the
//! sender's vector covers it; what it has not and the chunk holds is new, unless the receiver
//! knew it once. Only after the last chunk it takes over the vector, and that of the *first*
//! chunk: later operations may lie in ranges that were compared before they came. Until then it
//! keeps in mind what was compared, lest a third nest's delta bring back a record that the sender
//! knew to be dead.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::changes::{Killer, Touched};
use super::codec::{Blob, Covers, Item, MAX_SEQ, Writer};
use super::{Change, DecodeError, Registry, Vector};
use crate::{Dot, NestId};

/// All of the sender's live records whose hashes lie in a range.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SnapshotChunk {
    /// What the sender knew when it took this chunk.
    pub vector: Vector,
    /// When that was: a number that grows with every change of the sender's registry.
    pub revision: u64,
    /// The first hash of the range; a snapshot starts with 0.
    pub first: u64,
    /// The last hash of the range; it ends with the greatest of all.
    pub last: u64,
    /// The records, in the registry's compact form.
    pub slots: Bytes,
}

impl SnapshotChunk {
    /// Where the next chunk starts; `None` after the last one.
    pub const fn next(&self) -> Option<u64> {
        self.last.checked_add(1)
    }
}

/// What became of a chunk.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub enum SnapshotJoined {
    /// It was joined; ask for the chunk that starts here.
    Next(u64, Vec<Change>),
    /// It was the last one; the sender's vector is ours now.
    Done(Vec<Change>),
    /// It doesn't follow the last one. Nothing was changed; the one that starts here is wanted.
    /// `None`: no snapshot of this peer is being taken in, so none is.
    OutOfStep(Option<u64>),
    /// It can't be read. Nothing was changed.
    Bad(DecodeError),
}

/// A snapshot that is being taken in.
#[derive(Clone, Debug)]
pub(super) struct Inbound {
    /// The vector of the first chunk, and what the sender knew out of order.
    vector: Vector,
    cloud: BTreeSet<Dot>,
    /// That of the first chunk. An older chunk, come late, doesn't hold what the vector promises.
    revision: u64,
    /// Hashes below this were compared.
    next: u64,
}

impl Inbound {
    /// Does the sender know this dot, and was its place compared? Then we have it, or it is dead.
    pub(super) fn compared(&self, hash: u64, dot: Dot) -> bool {
        hash < self.next && (self.vector.covers(dot) || self.cloud.contains(&dot))
    }
}

impl Registry {
    /// The chunk that starts at this hash (0 for the first), of about this many bytes.
    pub fn snapshot(&self, first: u64, max_bytes: usize) -> SnapshotChunk {
        let mut blob = Writer::default();
        if first == 0 {
            self.origins.cloud().for_each(|dot| blob.seen(dot));
        }
        let start = blob.len();
        let (mut at, mut last) = (first, u64::MAX);
        for slot in self.slots.range(first..=u64::MAX) {
            // Cut between two hashes only, so that a range holds all or nothing of a name.
            if blob.len() - start >= max_bytes.max(1) && slot.hash != at {
                last = at;
                break;
            }
            at = slot.hash;
            blob.slot(&self.entry(slot));
        }
        let vector = self.vector().clone();
        let (revision, slots) = (self.revision, blob.finish().into());
        SnapshotChunk { vector, revision, first, last, slots }
    }

    /// Joins a chunk of this peer's snapshot. After a pause it goes on where it was, until the
    /// last chunk came or [`Registry::forget_snapshot`].
    pub fn join_snapshot(&mut self, peer: NestId, chunk: &SnapshotChunk) -> SnapshotJoined {
        match self.inbound.get(&peer) {
            Some(inbound) if chunk.first != inbound.next || chunk.revision < inbound.revision => {
                return SnapshotJoined::OutOfStep(Some(inbound.next));
            }
            None if chunk.first != 0 => return SnapshotJoined::OutOfStep(None),
            _ => {}
        }
        let range = chunk.first..=chunk.last;
        let blob = match Blob::parse(&chunk.slots) {
            Ok(blob) => blob,
            Err(error) => return SnapshotJoined::Bad(error),
        };
        let (there, cloud) = match self.check_chunk(chunk, &range, &blob) {
            Ok(dots) => dots,
            Err(error) => return SnapshotJoined::Bad(error),
        };
        let mut inbound = self.inbound.remove(&peer).unwrap_or_else(|| Inbound {
            vector: chunk.vector.clone(),
            cloud,
            revision: chunk.revision,
            next: 0,
        });
        let mut touched = Touched::default();
        self.drop_missing(
            range,
            |dot| {
                !there.contains(&dot) && (chunk.vector.covers(dot) || inbound.cloud.contains(&dot))
            },
            &mut touched,
        );
        for item in blob.items().flatten() {
            if let Item::Slot(entry) = item {
                self.put(entry.hash(), &entry, &mut touched);
            }
        }
        let changes = self.finish(touched);
        match chunk.next() {
            Some(next) => {
                inbound.next = next;
                self.inbound.insert(peer, inbound);
                SnapshotJoined::Next(next, changes)
            }
            None => {
                self.adopt(&inbound);
                SnapshotJoined::Done(changes)
            }
        }
    }

    /// Where the next chunk of this peer's snapshot starts; `None` if none is being taken in.
    pub fn snapshot_wanted(&self, peer: NestId) -> Option<u64> {
        self.inbound.get(&peer).map(|inbound| inbound.next)
    }

    /// How many snapshots are being taken in.
    pub fn inbound(&self) -> usize {
        self.inbound.len()
    }

    /// Gives up a snapshot that is being taken in, as its sender is gone. What came stays.
    pub fn forget_snapshot(&mut self, peer: NestId) {
        self.inbound.remove(&peer);
    }

    /// The live dots and those known out of order that a chunk names.
    fn check_chunk(
        &self,
        chunk: &SnapshotChunk,
        range: &RangeInclusive<u64>,
        blob: &Blob<'_>,
    ) -> Result<(BTreeSet<Dot>, BTreeSet<Dot>), DecodeError> {
        if chunk.vector.seq(self.me) > self.last_dot().seq {
            return Err(DecodeError::Forged);
        }
        if chunk.vector.iter().any(|dot| dot.seq > MAX_SEQ) {
            return Err(DecodeError::Number);
        }
        let (mut live, mut cloud) = (BTreeSet::new(), BTreeSet::new());
        for item in blob.items() {
            let (dot, fits, into) = match item? {
                Item::Slot(entry) => (entry.dot, range.contains(&entry.hash()), &mut live),
                Item::Seen(dot) => (dot, chunk.first == 0, &mut cloud),
                Item::Op { dot, .. } => (dot, false, &mut live),
            };
            if !fits {
                return Err(DecodeError::Misplaced);
            }
            self.check_own(Covers::default(), dot)?;
            into.insert(dot);
        }
        Ok((live, cloud))
    }

    fn drop_missing(
        &mut self,
        hashes: RangeInclusive<u64>,
        missing: impl Fn(Dot) -> bool,
        touched: &mut Touched,
    ) {
        let slots = self.slots.range(hashes).map(|slot| (slot.hash, self.dot(slot)));
        let dead: Vec<_> = slots.filter(|&(_, dot)| missing(dot)).collect();
        for (hash, dot) in dead {
            self.kill(hash, dot, &Killer::Snapshot, touched);
        }
    }

    /// The comparison is complete: all is known that the sender knew when it began.
    fn adopt(&mut self, inbound: &Inbound) {
        self.revision += 1;
        self.origins.adopt(&inbound.vector);
        for dot in &inbound.cloud {
            let number = self.origins.number_or_new(dot.origin);
            self.origins.note_dead(number, dot.seq);
        }
    }
}
