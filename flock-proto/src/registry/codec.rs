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

use std::collections::BTreeMap;

use xxhash_rust::xxh3::xxh3_64;

use super::Record;
use crate::{BirdName, Dot, Hlc, NameError, NestId, SpeciesId};

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

/// A blob with its tables read. Its items are read one by one, twice if need be: first to check
/// them all, then to take them in, so that a bad blob changes nothing and nothing is copied.
#[derive(Debug)]
pub(super) struct Blob<'a> {
    origins: Vec<u64>,
    species: Vec<u64>,
    items: Reader<'a>,
}

#[derive(Clone, Debug)]
pub(super) enum Item<'a> {
    /// An operation, in its place in the sequence of its origin.
    Op { dot: Dot, hash: u64, covers: Covers<'a>, body: Body<'a> },
    /// A live record out of sequence.
    Slot(Entry<'a>),
    /// A dot out of sequence whose record is dead.
    Seen(Dot),
}

#[derive(Clone, Debug)]
pub(super) enum Body<'a> {
    Void,
    Add(Entry<'a>),
    Remove(u8),
}

impl<'a> Blob<'a> {
    pub(super) fn parse(bytes: &'a [u8]) -> Result<Self, DecodeError> {
        let mut items = Reader::new(bytes);
        match items.u8()? {
            VERSION => {}
            other => return Err(DecodeError::Version(other)),
        }
        let origins = items.table()?;
        let species = items.table()?;
        Ok(Self { origins, species, items })
    }

    pub(super) fn items(&self) -> Items<'_> {
        Items { blob: self, rest: self.items.clone(), last: None, last_hlc: 0 }
    }
}

/// Reads one item after the other; ends after the first error.
#[derive(Debug)]
pub(super) struct Items<'a> {
    blob: &'a Blob<'a>,
    rest: Reader<'a>,
    last: Option<Dot>,
    last_hlc: u64,
}

impl<'a> Iterator for Items<'a> {
    type Item = Result<Item<'a>, DecodeError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.rest().is_empty() {
            return None;
        }
        let item = self.item();
        if item.is_err() {
            self.rest = Reader::new(&[]);
        }
        Some(item)
    }
}

impl<'a> Items<'a> {
    fn item(&mut self) -> Result<Item<'a>, DecodeError> {
        let head = self.rest.u8()?;
        let kind = head & KIND;
        let allowed = FOLLOWS
            | match kind {
                VOID | REMOVE => HAS_COVERS,
                ADD => HAS_COVERS | HAS_BIRTH | IS_GROUNDED,
                SLOT => HAS_BIRTH | IS_GROUNDED,
                _ => 0,
            };
        if kind > SEEN || head & (UNUSED | !(KIND | allowed)) != 0 {
            return Err(DecodeError::Kind(head));
        }
        let dot = match self.last {
            Some(last) if head & FOLLOWS != 0 => checked(Dot { seq: last.seq + 1, ..last })?,
            _ if head & FOLLOWS != 0 => return Err(DecodeError::Number),
            _ => self.rest.dot(&self.blob.origins)?,
        };
        self.last = Some(dot);
        Ok(match kind {
            SLOT => Item::Slot(self.entry(head, dot)?),
            SEEN => Item::Seen(dot),
            ADD => {
                let covers = self.covers(head)?;
                let entry = self.entry(head, dot)?;
                Item::Op { dot, hash: entry.hash(), covers, body: Body::Add(entry) }
            }
            _ => {
                let hash = self.rest.u64()?;
                let body = if kind == REMOVE { Body::Remove(self.rest.u8()?) } else { Body::Void };
                Item::Op { dot, hash, covers: self.covers(head)?, body }
            }
        })
    }

    fn covers(&mut self, head: u8) -> Result<Covers<'a>, DecodeError> {
        let count = if head & HAS_COVERS == 0 { 0 } else { self.rest.varint()? };
        let start = self.rest.clone();
        for _ in 0..count {
            self.rest.dot(&self.blob.origins)?;
        }
        Ok(Covers { count, rest: start, origins: &self.blob.origins })
    }

    fn entry(&mut self, head: u8, dot: Dot) -> Result<Entry<'a>, DecodeError> {
        let zigzag = self.rest.varint()?;
        let ahead = (zigzag >> 1) ^ (zigzag & 1).wrapping_neg();
        self.last_hlc = self.last_hlc.wrapping_add(ahead);
        let species = self.rest.index(&self.blob.species)?;
        let token = self.rest.u64()?;
        let birth = if head & HAS_BIRTH == 0 { dot } else { self.rest.dot(&self.blob.origins)? };
        let mut grounded = None;
        if head & IS_GROUNDED != 0 {
            let crashes = self.rest.varint()?.try_into().map_err(|_| DecodeError::Number)?;
            let len = self.rest.varint()?;
            grounded = Some((self.rest.text(len)?, crashes));
        }
        let len = self.rest.varint()?;
        let name = self.rest.text(len)?;
        BirdName::new(name)?;
        let len = self.rest.varint()?;
        let args = self.rest.take(len)?;
        let (hlc, species) = (Hlc(self.last_hlc), SpeciesId(species));
        Ok(Entry { dot, birth, hlc, species, token, grounded, name, args })
    }
}

/// The dots that an operation supersedes. They were read once already: reading can't fail.
#[derive(Clone, Debug, Default)]
pub(super) struct Covers<'a> {
    count: u64,
    rest: Reader<'a>,
    origins: &'a [u64],
}

impl Iterator for Covers<'_> {
    type Item = Dot;

    fn next(&mut self) -> Option<Dot> {
        self.count = self.count.checked_sub(1)?;
        self.rest.dot(self.origins).ok()
    }
}

/// Reads bytes from the front; every length is checked against what remains.
#[derive(Clone, Debug, Default)]
pub(super) struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    pub(super) const fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    pub(super) const fn rest(&self) -> &'a [u8] {
        self.0
    }

    pub(super) fn take(&mut self, len: u64) -> Result<&'a [u8], DecodeError> {
        let len = usize::try_from(len).map_err(|_| DecodeError::Short)?;
        let (taken, rest) = self.0.split_at_checked(len).ok_or(DecodeError::Short)?;
        self.0 = rest;
        Ok(taken)
    }

    pub(super) fn text(&mut self, len: u64) -> Result<&'a str, DecodeError> {
        std::str::from_utf8(self.take(len)?).map_err(|_| DecodeError::Text)
    }

    pub(super) fn u64(&mut self) -> Result<u64, DecodeError> {
        self.array().map(u64::from_le_bytes)
    }

    pub(super) fn u32(&mut self) -> Result<u32, DecodeError> {
        self.array().map(u32::from_le_bytes)
    }

    fn u8(&mut self) -> Result<u8, DecodeError> {
        self.array().map(|[byte]| byte)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        let (array, rest) = self.0.split_first_chunk().ok_or(DecodeError::Short)?;
        self.0 = rest;
        Ok(*array)
    }

    fn varint(&mut self) -> Result<u64, DecodeError> {
        let mut number = 0;
        for shift in (0..u64::BITS).step_by(7) {
            let byte = self.u8()?;
            let bits = u64::from(byte & 0x7f);
            if bits << shift >> shift != bits {
                return Err(DecodeError::Number);
            }
            number |= bits << shift;
            if byte < 0x80 {
                return Ok(number);
            }
        }
        Err(DecodeError::Number)
    }

    fn table(&mut self) -> Result<Vec<u64>, DecodeError> {
        let count = self.varint()?;
        let mut ids = Reader(self.take(count.checked_mul(8).ok_or(DecodeError::Short)?)?);
        (0..count).map(|_| ids.u64()).collect()
    }

    fn index(&mut self, table: &[u64]) -> Result<u64, DecodeError> {
        let index = usize::try_from(self.varint()?).map_err(|_| DecodeError::Number)?;
        table.get(index).copied().ok_or(DecodeError::Number)
    }

    fn dot(&mut self, origins: &[u64]) -> Result<Dot, DecodeError> {
        let origin = NestId(self.index(origins)?);
        checked(Dot { origin, seq: self.varint()? })
    }
}

const fn checked(dot: Dot) -> Result<Dot, DecodeError> {
    if dot.seq == 0 || dot.seq > MAX_SEQ { Err(DecodeError::Number) } else { Ok(dot) }
}
