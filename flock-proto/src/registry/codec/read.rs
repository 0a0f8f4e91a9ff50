//! Reading blobs: every length is checked against what remains, and nothing is reserved by a
//! count that was merely read.

use super::{
    ADD, DecodeError, Entry, FOLLOWS, HAS_BIRTH, HAS_COVERS, IS_GROUNDED, KIND, MAX_SEQ, REMOVE,
    SEEN, SLOT, UNUSED, VERSION, VOID,
};
use crate::{BirdName, Dot, Hlc, NestId, SpeciesId};

/// A blob with its tables read. Its items are read one by one, twice if need be: first to check
/// them all, then to take them in, so that a bad blob changes nothing and nothing is copied.
#[derive(Debug)]
pub(in crate::registry) struct Blob<'a> {
    origins: Vec<u64>,
    species: Vec<u64>,
    items: Reader<'a>,
}

#[derive(Clone, Debug)]
pub(in crate::registry) enum Item<'a> {
    /// An operation, in its place in the sequence of its origin.
    Op { dot: Dot, hash: u64, covers: Covers<'a>, body: Body<'a> },
    /// A live record out of sequence.
    Slot(Entry<'a>),
    /// A dot out of sequence whose record is dead.
    Seen(Dot),
}

#[derive(Clone, Debug)]
pub(in crate::registry) enum Body<'a> {
    Void,
    Add(Entry<'a>),
    Remove(u8),
}

impl<'a> Blob<'a> {
    pub(in crate::registry) fn parse(bytes: &'a [u8]) -> Result<Self, DecodeError> {
        let mut items = Reader::new(bytes);
        match items.u8()? {
            VERSION => {}
            other => return Err(DecodeError::Version(other)),
        }
        let origins = items.table()?;
        let species = items.table()?;
        Ok(Self { origins, species, items })
    }

    pub(in crate::registry) fn items(&self) -> Items<'_> {
        Items { blob: self, rest: self.items.clone(), last: None, last_hlc: 0 }
    }
}

/// Reads one item after the other; ends after the first error.
#[derive(Debug)]
pub(in crate::registry) struct Items<'a> {
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
pub(in crate::registry) struct Covers<'a> {
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
pub(in crate::registry) struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    pub(in crate::registry) const fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    pub(in crate::registry) const fn rest(&self) -> &'a [u8] {
        self.0
    }

    pub(in crate::registry) fn take(&mut self, len: u64) -> Result<&'a [u8], DecodeError> {
        let len = usize::try_from(len).map_err(|_| DecodeError::Short)?;
        let (taken, rest) = self.0.split_at_checked(len).ok_or(DecodeError::Short)?;
        self.0 = rest;
        Ok(taken)
    }

    pub(in crate::registry) fn text(&mut self, len: u64) -> Result<&'a str, DecodeError> {
        std::str::from_utf8(self.take(len)?).map_err(|_| DecodeError::Text)
    }

    pub(in crate::registry) fn u64(&mut self) -> Result<u64, DecodeError> {
        self.array().map(u64::from_le_bytes)
    }

    pub(in crate::registry) fn u32(&mut self) -> Result<u32, DecodeError> {
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
