//! Sealed records: what leaves in one write is encrypted as one, and opens as a whole or not at all.
//!
//! A record is a length of two bytes, so many bytes of ciphertext, and within these a tag. Records are
//! counted at both ends, and the count goes into each: none can be left out, doubled or put elsewhere.

use std::fmt;
use std::io;
use std::sync::Arc;

use bytes::{Buf, BytesMut};
use snow::StatelessTransportState;

use super::frame::{MAX_HELLO, PREFIX};
use super::lane::write_rest;

/// Bytes of the length.
const HEAD: usize = 2;

/// Bytes of the tag.
const TAG: usize = 16;

/// The longest record that Noise knows, without its length.
const MAX_RECORD: usize = 65_535;

/// The most that one record carries.
const MAX_PLAIN: usize = MAX_RECORD - TAG;

/// Seals what leaves.
pub(crate) struct Sealer {
    ciphers: Arc<StatelessTransportState>,
    /// The number of the next record.
    number: u64,
    /// The record that is leaving: from `sent` to `end`. Kept from one to the next.
    record: Vec<u8>,
    sent: usize,
    end: usize,
    /// The bytes that it stands for.
    holds: usize,
}

impl Sealer {
    pub(crate) fn new(ciphers: Arc<StatelessTransportState>) -> Self {
        Self { ciphers, number: 0, record: Vec::new(), sent: 0, end: 0, holds: 0 }
    }

    /// Another one, as this one was. Two that write to one link would give its secrets away.
    #[cfg(feature = "testing")]
    pub(super) fn afresh(&self) -> Self {
        Self::new(self.ciphers.clone())
    }

    /// Seals and writes the first of these bytes, and says how many of them have left: all of a record,
    /// for nobody can open a part. What was offered once and hasn't left must be offered again, with
    /// whatever behind it.
    pub(crate) fn try_write(
        &mut self,
        bytes: &[u8],
        write: impl Fn(&[u8]) -> io::Result<usize>,
    ) -> io::Result<usize> {
        if self.sent == self.end {
            if bytes.is_empty() {
                return Ok(0);
            }
            self.seal(bytes)?;
        }
        let record = self.record.get(..self.end).unwrap_or_default();
        write_rest(record, &mut self.sent, write)?;
        Ok(self.holds)
    }

    fn seal(&mut self, bytes: &[u8]) -> io::Result<()> {
        let plain = bytes.get(..MAX_PLAIN).unwrap_or(bytes);
        let end = HEAD + plain.len() + TAG;
        if self.record.len() < end {
            self.record.resize(end, 0);
        }
        let Some((head, body)) = self.record.split_first_chunk_mut::<HEAD>() else {
            return Err(io::ErrorKind::InvalidInput.into());
        };
        let sealed = self.ciphers.write_message(self.number, plain, body);
        let length = sealed.map_err(|e| io::Error::other(e.to_string()))?;
        *head = u16::try_from(length).map_err(io::Error::other)?.to_le_bytes();
        self.number += 1;
        (self.sent, self.end, self.holds) = (0, HEAD + length, plain.len());
        Ok(())
    }
}

/// Opens what comes.
pub(crate) struct Opener {
    ciphers: Arc<StatelessTransportState>,
    /// The number of the next record.
    number: u64,
    /// What came and is not opened.
    sealed: BytesMut,
    /// No record may be longer, without its length.
    limit: usize,
}

impl Opener {
    pub(crate) fn new(ciphers: Arc<StatelessTransportState>) -> Self {
        let limit = PREFIX + MAX_HELLO + TAG;
        Self { ciphers, number: 0, sealed: BytesMut::new(), limit }
    }

    /// Another one, as this one was.
    #[cfg(feature = "testing")]
    pub(super) fn afresh(&self) -> Self {
        Self::new(self.ciphers.clone())
    }

    /// The other end has shown that it has the key: its records may be as long as any.
    pub(crate) const fn trust(&mut self) {
        self.limit = MAX_RECORD;
    }

    /// There is something to read without waiting.
    pub(crate) fn is_ready(&self) -> bool {
        self.length().is_some_and(|length| self.sealed.len() >= HEAD + length)
    }

    /// Opens the next record, once it has been read whole. `Ok(0)` is the end.
    ///
    /// # Errors
    /// `InvalidData`: a record is too long, or doesn't open. Nothing of it is in `into`, and none after
    /// it will open.
    pub(crate) fn try_read(
        &mut self,
        into: &mut BytesMut,
        read: impl Fn(&mut BytesMut) -> io::Result<usize>,
    ) -> io::Result<usize> {
        loop {
            let missing = match self.length() {
                Some(length) if length > self.limit || length <= TAG => {
                    return Err(bad(format!(
                        "a record of {length} bytes is too long or too short"
                    )));
                }
                Some(length) if self.sealed.len() >= HEAD + length => {
                    return self.open(length, into);
                }
                _ => (HEAD + self.limit).saturating_sub(self.sealed.len()),
            };
            self.sealed.reserve(missing);
            if read(&mut self.sealed)? == 0 {
                return Ok(0);
            }
        }
    }

    fn length(&self) -> Option<usize> {
        let head = self.sealed.first_chunk::<HEAD>()?;
        Some(u16::from_le_bytes(*head).into())
    }

    fn open(&mut self, length: usize, into: &mut BytesMut) -> io::Result<usize> {
        let before = into.len();
        // With room for the tag: so it is opened there, and not first copied elsewhere.
        into.resize(before + length, 0);
        let record = self.sealed.get(HEAD..HEAD + length).unwrap_or_default();
        let room = into.get_mut(before..).unwrap_or_default();
        match self.ciphers.read_message(self.number, record, room) {
            Ok(n) => {
                self.number += 1;
                self.sealed.advance(HEAD + length);
                into.truncate(before + n);
                Ok(n)
            }
            Err(_) => {
                into.truncate(before);
                Err(
                    bad("a record doesn't open: the other end has no key, or it was changed".into()),
                )
            }
        }
    }
}

fn bad(why: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why)
}

impl fmt::Debug for Sealer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sealer").field("number", &self.number).finish_non_exhaustive()
    }
}

impl fmt::Debug for Opener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Opener").field("number", &self.number).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
