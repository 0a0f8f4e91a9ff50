//! The blob of operations and records that deltas and snapshots carry: hand-laid and versioned,
//! for a start of a bird shall cost little more than its name and arguments.
//!
//! Layout: version byte; table of incarnations (count, 8 bytes each); table of species (the
//! same); then items to the end. Numbers are LEB128 varints, fixed ones little-endian. An item is
//! a byte of kind and flags, its dot (left out when it follows the item before it), and by kind:
//!
//! - void: hash, covers. An addition whose record is dead by now.
//! - add: covers, record.
//! - remove: hash, cause, covers.
//! - slot: record. One that is known out of order, or a part of a snapshot.
//! - seen: nothing more. A dot known out of order whose record is dead.

mod read;

use std::collections::BTreeMap;

use xxhash_rust::xxh3::xxh3_64;

pub(super) use read::{Blob, Body, Covers, Item, Reader};

use super::Record;
use crate::{Dot, Hlc, NameError, NestId, SpeciesId};

const VERSION: u8 = 1;

const KIND: u8 = 0b0111;
const VOID: u8 = 0;
const ADD: u8 = 1;
const REMOVE: u8 = 2;
const SLOT: u8 = 3;
const SEEN: u8 = 4;

const HAS_COVERS: u8 = 0b0000_1000;
const HAS_BIRTH: u8 = 0b0001_0000;
const IS_GROUNDED: u8 = 0b0010_0000;
const FOLLOWS: u8 = 0b0100_0000;
const UNUSED: u8 = 0b1000_0000;

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
    /// A record lies outside the range of hashes that the chunk claims, or is of another kind.
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
    pub(super) name: &'a str,
    pub(super) args: &'a [u8],
}

impl Entry<'_> {
    pub(super) fn hash(&self) -> u64 {
        xxh3_64(self.name.as_bytes())
    }

    pub(super) fn packed_len(&self) -> usize {
        let birth = if self.birth == self.dot { 0 } else { 16 };
        let grounded = self.grounded.map_or(0, |(reason, _)| 8 + reason.len());
        self.name.len() + 16 + birth + grounded + self.args.len()
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
            name: self.name.as_str(),
            args: &self.args,
        }
    }
}

/// Lays a blob.
#[derive(Debug, Default)]
pub(super) struct Writer {
    origins: Table,
    species: Table,
    body: Vec<u8>,
    last: Option<Dot>,
    last_hlc: u64,
}

#[derive(Debug, Default)]
struct Table {
    ids: Vec<u64>,
    index: BTreeMap<u64, u64>,
}

impl Writer {
    /// Bytes of items so far.
    pub(super) const fn len(&self) -> usize {
        self.body.len()
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

    pub(super) fn remove(&mut self, dot: Dot, hash: u64, cause: u8, covers: &[Dot]) {
        self.head(REMOVE, dot, covers);
        self.body.extend_from_slice(&hash.to_le_bytes());
        self.body.push(cause);
        self.covers(covers);
    }

    pub(super) fn slot(&mut self, entry: &Entry<'_>) {
        self.head(SLOT | flags(entry), entry.dot, &[]);
        self.entry(entry);
    }

    pub(super) fn seen(&mut self, dot: Dot) {
        self.head(SEEN, dot, &[]);
    }

    pub(super) fn finish(self) -> Vec<u8> {
        let tables = 8 * (self.origins.ids.len() + self.species.ids.len());
        let mut blob = Vec::with_capacity(1 + 10 + tables + self.body.len());
        blob.push(VERSION);
        for table in [&self.origins, &self.species] {
            put(&mut blob, table.ids.len() as u64);
            for id in &table.ids {
                blob.extend_from_slice(&id.to_le_bytes());
            }
        }
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
        self.bytes(entry.name.as_bytes());
        self.bytes(entry.args);
    }

    fn bytes(&mut self, bytes: &[u8]) {
        put(&mut self.body, bytes.len() as u64);
        self.body.extend_from_slice(bytes);
    }
}

impl Table {
    fn index(&mut self, id: u64) -> u64 {
        *self.index.entry(id).or_insert_with(|| {
            self.ids.push(id);
            self.ids.len() as u64 - 1
        })
    }
}

fn flags(entry: &Entry<'_>) -> u8 {
    let birth = if entry.birth == entry.dot { 0 } else { HAS_BIRTH };
    birth | if entry.grounded.is_some() { IS_GROUNDED } else { 0 }
}

fn put(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}
