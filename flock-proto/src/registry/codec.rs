//! The blob of operations, records and digests that deltas and comparisons carry: hand-laid and
//! versioned, for a start of a bird shall cost little more than its name and arguments.
//!
//! Layout: version byte; flags byte; table of incarnations (count, 8 bytes each); table of species
//! (the same); a stamp of 8 bytes, near which those of the records lie; spans (count; of each the
//! incarnation's place in the table, the number before its first operation, the number of
//! operations); then items to the end. Numbers are LEB128 varints, fixed ones little-endian. An item
//! is a byte of kind and flags, its dot if it has one (left out when it follows the dot before it,
//! or the first span's start), and by kind:
//!
//! - void: hash, covers. An addition whose record is dead by now.
//! - add: covers, record.
//! - remove: hash, cause, fence if it has one (8 bytes), covers.
//! - slot: record. One that is known out of order, or belongs to the range before it.
//! - seen: nothing more. A dot known out of order whose record is dead.
//! - have: nothing more. A dot whose record belongs to the range before it, and isn't sent.
//! - range: no dot; its first and last hash. What follows belongs to it.
//! - sum: no dot; digest and number of records of the next part of the range before it.
//!
//! - this file: writing.
//! - `read`: reading.

mod read;

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use xxhash_rust::xxh3::xxh3_64;

pub(super) use read::{Blob, Body, Covers, Item, Items, Reader};

use super::Record;
use super::slots::Sum;
use crate::{Dot, Hlc, NameError, NestId, SpeciesId, ids};

const VERSION: u8 = 1;

/// A flag of the blob: there is more where it came from.
pub(super) const MORE: u8 = 1;

const KIND: u8 = 0b0111;
const VOID: u8 = 0;
const ADD: u8 = 1;
const REMOVE: u8 = 2;
const SLOT: u8 = 3;
const SEEN: u8 = 4;
const HAVE: u8 = 5;
const RANGE: u8 = 6;
const SUM: u8 = 7;

const HAS_COVERS: u8 = 0b0000_1000;
const HAS_BIRTH: u8 = 0b0001_0000;
/// Of a removal.
const HAS_FENCE: u8 = HAS_BIRTH;
const IS_GROUNDED: u8 = 0b0010_0000;
const FOLLOWS: u8 = 0b0100_0000;
/// Of a range: it is about digests, not about records.
const IN_PARTS: u8 = 0b0000_1000;
const IS_ANEW: u8 = 0b1000_0000;

/// Sequence numbers stay below this, so that counting on can't overflow.
pub(super) const MAX_SEQ: u64 = 1 << 62;

/// Why bytes are no blob. Nothing of it was taken in.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// The bytes end in the middle, or a length in them is greater than what remains.
    #[error("the bytes end too early")]
    Short,
    /// The version is unknown here.
    #[error("version {0} of the registry's blobs is unknown")]
    Version(u8),
    /// An item's kind or flags are unknown here.
    #[error("an item of unknown kind or flags, {0:#04x}")]
    Kind(u8),
    /// A number takes more than 64 bits, or counts what is not there.
    #[error("a number out of its range")]
    Number,
    /// A text isn't UTF-8.
    #[error("a text is not UTF-8")]
    Text,
    /// A text is no name.
    #[error("a bad name: {0}")]
    Name(#[from] NameError),
    /// Operations are missing, or come out of their order.
    #[error("the operations of {0} are not in sequence")]
    Sequence(NestId),
    /// It tells of operations of this nest that this nest has not issued.
    #[error("operations in our name that we have not issued")]
    Forged,
    /// A record lies outside the range of hashes that holds it, or is of another kind.
    #[error("an item that doesn't belong here")]
    Misplaced,
}

/// A record that borrows from a slot, a blob or the caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Entry<'a> {
    pub(super) dot: Dot,
    pub(super) birth: Dot,
    pub(super) hlc: Hlc,
    pub(super) species: SpeciesId,
    pub(super) token: u64,
    pub(super) grounded: Option<(&'a str, u32)>,
    /// It was written anew as it was before, in place of one of a dead incarnation.
    pub(super) anew: bool,
    /// In a blob from a peer it may be no name: see [`Entry::check`]. Everywhere else it is one.
    pub(super) name: &'a [u8],
    pub(super) args: &'a [u8],
}

/// Why a removal removes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Removal {
    /// The byte of its cause, as it came.
    pub(super) cause: u8,
    /// The fence of the life that ended of itself; 0 where there is none to name.
    pub(super) fence: u64,
}

impl Entry<'_> {
    pub(super) fn hash(&self) -> u64 {
        xxh3_64(self.name)
    }

    /// Checks what reading leaves unchecked, as blobs are read twice and names checked once.
    pub(super) fn check(&self) -> Result<(), DecodeError> {
        if ids::is_plain(self.name) {
            return Ok(());
        }
        let name = std::str::from_utf8(self.name).map_err(|_| DecodeError::Text)?;
        Ok(ids::check(name)?)
    }
}

impl Record {
    pub(super) fn entry(&self) -> Entry<'_> {
        Entry {
            dot: self.dot,
            birth: self.birth,
            hlc: self.hlc,
            species: self.species,
            token: self.token,
            grounded: self.grounded.as_ref().map(|g| (g.reason.as_str(), g.crashes)),
            anew: self.anew,
            name: self.name.as_str().as_bytes(),
            args: &self.args,
        }
    }
}

/// Some of the operations of one incarnation: those after `from`, without a gap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Span {
    pub(super) from: Dot,
    pub(super) len: u64,
}

impl Span {
    /// The last of them.
    pub(super) const fn to(self) -> Dot {
        Dot { origin: self.from.origin, seq: self.from.seq + self.len }
    }
}

/// Lays a blob.
#[derive(Debug, Default)]
pub(super) struct Writer {
    origins: Table,
    species: Table,
    spans: Vec<u8>,
    span_count: u64,
    body: Vec<u8>,
    last: Option<Dot>,
    first_hlc: Option<u64>,
    last_hlc: u64,
}

#[derive(Debug, Default)]
struct Table {
    ids: Vec<u64>,
    index: BTreeMap<u64, u64>,
    /// The last one that was asked for: mostly it is asked for again.
    last: Option<(u64, u64)>,
}

impl Writer {
    /// Bytes of items so far.
    pub(super) const fn len(&self) -> usize {
        self.body.len()
    }

    /// What comes first are the operations after this one.
    pub(super) fn start(&mut self, from: Dot) {
        self.last.get_or_insert(from);
    }

    /// Says of which operations the blob holds all, in the order of the items.
    pub(super) fn span(&mut self, span: Span) {
        let origin = self.origins.index(span.from.origin.0);
        put(&mut self.spans, origin);
        put(&mut self.spans, span.from.seq);
        put(&mut self.spans, span.len);
        self.span_count += 1;
    }

    pub(super) fn void(&mut self, dot: Dot, hash: u64, covers: &[Dot]) {
        self.head(VOID, dot, covers);
        self.body.extend_from_slice(&hash.to_le_bytes());
        self.covers(covers);
    }

    pub(super) fn add(&mut self, entry: &Entry<'_>, covers: &[Dot]) {
        self.head(ADD | flags(entry), entry.dot, covers);
        self.covers(covers);
        self.entry(entry);
    }

    pub(super) fn remove(&mut self, dot: Dot, hash: u64, removal: Removal, covers: &[Dot]) {
        let Removal { cause, fence } = removal;
        self.head(REMOVE | if fence == 0 { 0 } else { HAS_FENCE }, dot, covers);
        self.body.extend_from_slice(&hash.to_le_bytes());
        self.body.push(cause);
        if fence != 0 {
            self.body.extend_from_slice(&fence.to_le_bytes());
        }
        self.covers(covers);
    }

    pub(super) fn slot(&mut self, entry: &Entry<'_>) {
        self.head(SLOT | flags(entry), entry.dot, &[]);
        self.entry(entry);
    }

    pub(super) fn seen(&mut self, dot: Dot) {
        self.head(SEEN, dot, &[]);
    }

    pub(super) fn have(&mut self, dot: Dot) {
        self.head(HAVE, dot, &[]);
    }

    /// Opens a range. Its end may be drawn in later, by what this returns.
    pub(super) fn range(&mut self, hashes: &RangeInclusive<u64>, in_parts: bool) -> RangeEnd {
        self.body.push(RANGE | if in_parts { IN_PARTS } else { 0 });
        self.body.extend_from_slice(&hashes.start().to_le_bytes());
        let at = self.body.len();
        self.body.extend_from_slice(&hashes.end().to_le_bytes());
        RangeEnd(at)
    }

    /// The range that was opened there ends here.
    pub(super) fn end_range(&mut self, end: RangeEnd, last: u64) {
        if let Some(place) = self.body.get_mut(end.0..end.0 + 8) {
            place.copy_from_slice(&last.to_le_bytes());
        }
    }

    pub(super) fn sum(&mut self, sum: Sum) {
        self.body.push(SUM);
        self.body.extend_from_slice(&sum.digest.to_le_bytes());
        put(&mut self.body, sum.records);
    }

    pub(super) fn finish(self, flags: u8) -> Vec<u8> {
        let tables = 8 * (self.origins.ids.len() + self.species.ids.len());
        let mut blob = Vec::with_capacity(2 + 20 + tables + self.spans.len() + self.body.len());
        blob.extend_from_slice(&[VERSION, flags]);
        for table in [&self.origins, &self.species] {
            put(&mut blob, table.ids.len() as u64);
            for id in &table.ids {
                blob.extend_from_slice(&id.to_le_bytes());
            }
        }
        blob.extend_from_slice(&self.first_hlc.unwrap_or_default().to_le_bytes());
        put(&mut blob, self.span_count);
        blob.extend_from_slice(&self.spans);
        blob.extend_from_slice(&self.body);
        blob
    }

    fn head(&mut self, kind: u8, dot: Dot, covers: &[Dot]) {
        let follows = self.last.is_some_and(|l| l.origin == dot.origin && l.seq + 1 == dot.seq);
        self.last = Some(dot);
        let covering = if covers.is_empty() { 0 } else { HAS_COVERS };
        self.body.push(kind | covering | if follows { FOLLOWS } else { 0 });
        if !follows {
            self.dot(dot);
        }
    }

    fn dot(&mut self, dot: Dot) {
        let origin = self.origins.index(dot.origin.0);
        put(&mut self.body, origin);
        put(&mut self.body, dot.seq);
    }

    fn covers(&mut self, covers: &[Dot]) {
        if !covers.is_empty() {
            put(&mut self.body, covers.len() as u64);
            for &dot in covers {
                self.dot(dot);
            }
        }
    }

    fn entry(&mut self, entry: &Entry<'_>) {
        // Stamps of one blob lie near each other: the zigzag of the difference is short.
        if self.first_hlc.is_none() {
            self.first_hlc = Some(entry.hlc.0);
            self.last_hlc = entry.hlc.0;
        }
        let ahead = entry.hlc.0.wrapping_sub(self.last_hlc) as i64;
        self.last_hlc = entry.hlc.0;
        put(&mut self.body, ((ahead << 1) ^ (ahead >> 63)) as u64);
        let species = self.species.index(entry.species.0);
        put(&mut self.body, species);
        self.body.extend_from_slice(&entry.token.to_le_bytes());
        if entry.birth != entry.dot {
            self.dot(entry.birth);
        }
        if let Some((reason, crashes)) = entry.grounded {
            put(&mut self.body, crashes.into());
            self.bytes(reason.as_bytes());
        }
        self.bytes(entry.name);
        self.bytes(entry.args);
    }

    fn bytes(&mut self, bytes: &[u8]) {
        put(&mut self.body, bytes.len() as u64);
        self.body.extend_from_slice(bytes);
    }
}

/// Where the end of a range is written.
#[derive(Debug)]
pub(super) struct RangeEnd(usize);

impl Table {
    fn index(&mut self, id: u64) -> u64 {
        if let Some((last, index)) = self.last
            && last == id
        {
            return index;
        }
        let index = *self.index.entry(id).or_insert_with(|| {
            self.ids.push(id);
            self.ids.len() as u64 - 1
        });
        self.last = Some((id, index));
        index
    }
}

fn flags(entry: &Entry<'_>) -> u8 {
    let birth = if entry.birth == entry.dot { 0 } else { HAS_BIRTH };
    let grounded = if entry.grounded.is_some() { IS_GROUNDED } else { 0 };
    birth | grounded | if entry.anew { IS_ANEW } else { 0 }
}

pub(super) fn put(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}
