//! Reading blobs: every length is checked against what remains, and nothing is reserved by a
//! count that was merely read.

use super::{
    ADD, DecodeError, Entry, FOLLOWS, HAS_BIRTH, HAS_COVERS, HAS_FENCE, HAVE, IN_PARTS, IS_ANEW,
    IS_GROUNDED, KIND, MAX_SEQ, MORE, RANGE, REMOVE, Removal, SEEN, SLOT, SUM, Span, VERSION, VOID,
};
use crate::registry::slots::Sum;
use crate::{Dot, Hlc, NestId, SpeciesId};

/// A blob with its head read. Its items are read one by one, twice if need be: first to check them
/// all, then to take them in, so that a bad blob changes nothing and nothing is copied.
#[derive(Clone, Debug)]
pub(in crate::registry) struct Blob<'a> {
    flags: u8,
    spans: Spans<'a>,
    items: Items<'a>,
}

/// Ids, read where they lie: most blobs are small, and a copy would cost more than the rest.
#[derive(Clone, Copy, Debug, Default)]
struct Table<'a>(&'a [u8]);

#[derive(Clone, Debug)]
pub(in crate::registry) enum Item<'a> {
    /// An operation, in its place in the sequence of its origin.
    Op { dot: Dot, covers: Covers<'a>, body: Body<'a> },
    /// A live record out of sequence.
    Slot(Entry<'a>),
    /// A dot out of sequence whose record is dead.
    Seen(Dot),
    /// A dot whose record the reader has, or the writer wants not to be sent.
    Have(Dot),
    /// What follows is about these hashes: digests of their parts, or records.
    Range { first: u64, last: u64, in_parts: bool },
    /// The next part of the last range.
    Sum(Sum),
}

#[derive(Clone, Copy, Debug)]
pub(in crate::registry) enum Body<'a> {
    Void { hash: u64 },
    Add(Entry<'a>),
    Remove { hash: u64, removal: Removal },
}

impl Item<'_> {
    /// The hash of the name that it is about, where it is about one.
    pub(in crate::registry) fn hash(&self) -> u64 {
        match self {
            Self::Op { body: Body::Add(entry), .. } | Self::Slot(entry) => entry.hash(),
            Self::Op { body: Body::Void { hash } | Body::Remove { hash, .. }, .. } => *hash,
            _ => 0,
        }
    }

    /// Is it an addition in place of no other record?
    pub(in crate::registry) const fn is_start(&self) -> bool {
        matches!(self, Self::Op { body: Body::Add(_), covers: Covers { count: 0, .. }, .. })
    }
}

impl<'a> Blob<'a> {
    /// Reads the head. Spans are checked here: the items are, as they are read.
    pub(in crate::registry) fn parse(bytes: &'a [u8]) -> Result<Self, DecodeError> {
        let mut rest = Reader::new(bytes);
        match rest.u8()? {
            VERSION => {}
            other => return Err(DecodeError::Version(other)),
        }
        let flags = rest.u8()?;
        if flags & !MORE != 0 {
            return Err(DecodeError::Kind(flags));
        }
        let origins = rest.table()?;
        let species = rest.table()?;
        let last_hlc = rest.u64()?;
        let spans = Spans { left: rest.varint()?, origins, rest };
        let mut past = spans.clone();
        let first = past.next().transpose()?;
        for span in past.by_ref() {
            span?;
        }
        let last = first.map(|span| span.from);
        let items = Items { origins, species, rest: past.rest, last, last_hlc };
        Ok(Self { flags, spans, items })
    }

    /// Is there more where it came from?
    pub(in crate::registry) const fn more(&self) -> bool {
        self.flags & MORE != 0
    }

    /// The spans; they were read already, and have no errors.
    pub(in crate::registry) fn spans(&self) -> impl Iterator<Item = Span> + use<'a> {
        self.spans.clone().flatten()
    }

    pub(in crate::registry) fn items(&self) -> Items<'a> {
        self.items.clone()
    }
}

/// Reads one span after the other; ends after the first error.
#[derive(Clone, Debug)]
struct Spans<'a> {
    left: u64,
    origins: Table<'a>,
    rest: Reader<'a>,
}

impl Iterator for Spans<'_> {
    type Item = Result<Span, DecodeError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.left = self.left.checked_sub(1)?;
        let span = self.span();
        if span.is_err() {
            self.left = 0;
        }
        Some(span)
    }
}

impl Spans<'_> {
    fn span(&mut self) -> Result<Span, DecodeError> {
        let origin = NestId(self.rest.index(self.origins)?);
        let (seq, len) = (self.rest.varint()?, self.rest.varint()?);
        match seq.checked_add(len) {
            Some(to) if len > 0 && to <= MAX_SEQ => Ok(Span { from: Dot { origin, seq }, len }),
            _ => Err(DecodeError::Number),
        }
    }
}

impl Table<'_> {
    fn get(self, index: usize) -> Option<u64> {
        let (ids, _) = self.0.as_chunks();
        ids.get(index).copied().map(u64::from_le_bytes)
    }
}

/// Reads one item after the other; ends after the first error.
#[derive(Clone, Debug)]
pub(in crate::registry) struct Items<'a> {
    origins: Table<'a>,
    species: Table<'a>,
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
    #[inline(always)]
    fn item(&mut self) -> Result<Item<'a>, DecodeError> {
        let head = self.rest.u8()?;
        let kind = head & KIND;
        let allowed = match kind {
            VOID => FOLLOWS | HAS_COVERS,
            REMOVE => FOLLOWS | HAS_COVERS | HAS_FENCE,
            ADD => FOLLOWS | HAS_COVERS | HAS_BIRTH | IS_GROUNDED | IS_ANEW,
            SLOT => FOLLOWS | HAS_BIRTH | IS_GROUNDED | IS_ANEW,
            SEEN | HAVE => FOLLOWS,
            RANGE => IN_PARTS,
            _ => 0,
        };
        if head & !(KIND | allowed) != 0 {
            return Err(DecodeError::Kind(head));
        }
        match kind {
            RANGE => return self.range(head & IN_PARTS != 0),
            SUM => {
                let (digest, records) = (self.rest.u64()?, self.rest.varint()?);
                return Ok(Item::Sum(Sum { digest, records }));
            }
            _ => {}
        }
        let dot = match self.last {
            Some(last) if head & FOLLOWS != 0 => checked(Dot { seq: last.seq + 1, ..last })?,
            _ if head & FOLLOWS != 0 => return Err(DecodeError::Number),
            _ => self.rest.dot(self.origins)?,
        };
        self.last = Some(dot);
        Ok(match kind {
            SLOT => Item::Slot(self.entry(head, dot)?),
            SEEN => Item::Seen(dot),
            HAVE => Item::Have(dot),
            ADD => {
                let covers = self.covers(head)?;
                Item::Op { dot, covers, body: Body::Add(self.entry(head, dot)?) }
            }
            _ => {
                let hash = self.rest.u64()?;
                let body = if kind == REMOVE {
                    let cause = self.rest.u8()?;
                    let fence = if head & HAS_FENCE == 0 { 0 } else { self.rest.u64()? };
                    Body::Remove { hash, removal: Removal { cause, fence } }
                } else {
                    Body::Void { hash }
                };
                Item::Op { dot, covers: self.covers(head)?, body }
            }
        })
    }

    fn range(&mut self, in_parts: bool) -> Result<Item<'a>, DecodeError> {
        let (first, last) = (self.rest.u64()?, self.rest.u64()?);
        if first > last {
            return Err(DecodeError::Number);
        }
        Ok(Item::Range { first, last, in_parts })
    }

    fn covers(&mut self, head: u8) -> Result<Covers<'a>, DecodeError> {
        let count = if head & HAS_COVERS == 0 { 0 } else { self.rest.varint()? };
        let start = self.rest.clone();
        for _ in 0..count {
            self.rest.dot(self.origins)?;
        }
        Ok(Covers { count, rest: start, origins: self.origins })
    }

    fn entry(&mut self, head: u8, dot: Dot) -> Result<Entry<'a>, DecodeError> {
        let zigzag = self.rest.varint()?;
        let ahead = (zigzag >> 1) ^ (zigzag & 1).wrapping_neg();
        self.last_hlc = self.last_hlc.wrapping_add(ahead);
        let species = self.rest.index(self.species)?;
        let token = self.rest.u64()?;
        let birth = if head & HAS_BIRTH == 0 { dot } else { self.rest.dot(self.origins)? };
        let mut grounded = None;
        if head & IS_GROUNDED != 0 {
            let crashes = self.rest.varint()?.try_into().map_err(|_| DecodeError::Number)?;
            let len = self.rest.varint()?;
            grounded = Some((self.rest.text(len)?, crashes));
        }
        let len = self.rest.varint()?;
        let name = self.rest.take(len)?;
        let len = self.rest.varint()?;
        let args = self.rest.take(len)?;
        let (hlc, species) = (Hlc(self.last_hlc), SpeciesId(species));
        let anew = head & IS_ANEW != 0;
        Ok(Entry { dot, birth, hlc, species, token, grounded, anew, name, args })
    }
}

/// The dots that an operation supersedes. They were read once already: reading can't fail.
#[derive(Clone, Debug, Default)]
pub(in crate::registry) struct Covers<'a> {
    count: u64,
    rest: Reader<'a>,
    origins: Table<'a>,
}

impl Iterator for Covers<'_> {
    type Item = Dot;

    fn next(&mut self) -> Option<Dot> {
        self.count = self.count.checked_sub(1)?;
        self.rest.dot(self.origins).ok()
    }
}

/// Reads bytes from the front; every length is checked against what remains. (Inlined by hand: an
/// operation is some twenty reads, and as calls they cost more than all the rest of it.)
#[derive(Clone, Debug, Default)]
pub(in crate::registry) struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    pub(in crate::registry) const fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    pub(in crate::registry) const fn rest(&self) -> &'a [u8] {
        self.0
    }

    #[inline(always)]
    pub(in crate::registry) fn take(&mut self, len: u64) -> Result<&'a [u8], DecodeError> {
        let len = usize::try_from(len).map_err(|_| DecodeError::Short)?;
        let (taken, rest) = self.0.split_at_checked(len).ok_or(DecodeError::Short)?;
        self.0 = rest;
        Ok(taken)
    }

    pub(in crate::registry) fn text(&mut self, len: u64) -> Result<&'a str, DecodeError> {
        std::str::from_utf8(self.take(len)?).map_err(|_| DecodeError::Text)
    }

    #[inline(always)]
    pub(in crate::registry) fn u64(&mut self) -> Result<u64, DecodeError> {
        self.array().map(u64::from_le_bytes)
    }

    pub(in crate::registry) fn u32(&mut self) -> Result<u32, DecodeError> {
        self.array().map(u32::from_le_bytes)
    }

    #[inline(always)]
    pub(in crate::registry) fn u8(&mut self) -> Result<u8, DecodeError> {
        self.array().map(|[byte]| byte)
    }

    #[inline(always)]
    fn array<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        let (array, rest) = self.0.split_first_chunk().ok_or(DecodeError::Short)?;
        self.0 = rest;
        Ok(*array)
    }

    #[inline(always)]
    pub(in crate::registry) fn varint(&mut self) -> Result<u64, DecodeError> {
        match *self.0 {
            [byte, ref rest @ ..] if byte < 0x80 => {
                self.0 = rest;
                Ok(byte.into())
            }
            _ => self.long_varint(),
        }
    }

    #[inline(never)]
    fn long_varint(&mut self) -> Result<u64, DecodeError> {
        let mut number = 0;
        for (&byte, place) in self.0.iter().zip(0..) {
            let (bits, shift) = (u64::from(byte & 0x7f), 7 * place);
            if shift >= u64::BITS || bits << shift >> shift != bits {
                return Err(DecodeError::Number);
            }
            number |= bits << shift;
            if byte < 0x80 {
                self.0 = self.0.get(place as usize + 1..).unwrap_or_default();
                return Ok(number);
            }
        }
        Err(DecodeError::Short)
    }

    fn table(&mut self) -> Result<Table<'a>, DecodeError> {
        let count = self.varint()?;
        self.take(count.checked_mul(8).ok_or(DecodeError::Short)?).map(Table)
    }

    #[inline(always)]
    fn index(&mut self, table: Table<'_>) -> Result<u64, DecodeError> {
        let index = usize::try_from(self.varint()?).ok();
        index.and_then(|index| table.get(index)).ok_or(DecodeError::Number)
    }

    fn dot(&mut self, origins: Table<'_>) -> Result<Dot, DecodeError> {
        let origin = NestId(self.index(origins)?);
        checked(Dot { origin, seq: self.varint()? })
    }
}

#[inline(always)]
const fn checked(dot: Dot) -> Result<Dot, DecodeError> {
    if dot.seq == 0 || dot.seq > MAX_SEQ { Err(DecodeError::Number) } else { Ok(dot) }
}
