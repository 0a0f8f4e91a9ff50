//! What fuzzing needs of the links: bytes in, and out comes what was read of them.

use std::cell::RefCell;
use std::io;

use bytes::BytesMut;

use super::frame::{Cut, MAX_FRAME, MAX_HELLO, PREFIX};
use super::hello::Word;
use super::knock::Knock;
use super::noise::{Broken, Keyring, Session};
use crate::key::ClusterKey;

/// A hello, a welcome or a refusal, read and written again; without the length prefix, as the other one.
pub fn word(frame: &[u8]) -> Option<Vec<u8>> {
    without_prefix(&Word::decode(frame).ok()?.encode())
}

/// What is said before the hello, read and written again.
pub fn knock(frame: &[u8]) -> Option<Vec<u8>> {
    without_prefix(&Knock::decode(frame)?.encode())
}

fn without_prefix(frame: &[u8]) -> Option<Vec<u8>> {
    frame.get(PREFIX..).map(<[u8]>::to_vec)
}

/// How long frames may be, before the hello and after.
pub const LIMITS: [usize; 2] = [MAX_HELLO, MAX_FRAME];

/// The frames that are cut from these pieces of a stream, one after the other, up to what is too long.
pub fn frames<'a>(
    limit: usize,
    pieces: impl Iterator<Item = &'a [u8]>,
) -> (Vec<Vec<u8>>, Option<usize>) {
    let (mut cut, mut frames) = (Cut::new(limit), Vec::new());
    for piece in pieces {
        cut.room().extend_from_slice(piece);
        loop {
            match cut.next(<[u8]>::to_vec) {
                Ok(Some(frame)) => frames.push(frame),
                Ok(None) => break,
                Err(too_long) => return (frames, Some(too_long.0)),
            }
        }
    }
    (frames, None)
}

/// A link between two nests with a key, which can be had from its start again and again.
#[derive(Debug)]
pub struct SealedLink {
    keys: Keyring,
    caller: Session,
    answerer: Session,
}

impl SealedLink {
    /// Two nests with this key. None, if the operating system has no randomness.
    pub fn new(key: ClusterKey) -> Option<Self> {
        let keys = Keyring::new(vec![key])?;
        let met = || -> Result<(Session, Session), Broken> {
            let (call, first) = keys.call(FLOCK)?;
            let (answerer, second) = keys.answer(FLOCK, &first)?;
            Ok((call.finish(&second)?, answerer))
        };
        let (caller, answerer) = met().ok()?;
        Some(Self { keys, caller, answerer })
    }

    /// Whether a first message was made with the key.
    pub fn opens(&self, first: &[u8]) -> bool {
        self.keys.answer(FLOCK, first).is_ok()
    }

    /// What the caller writes for these, a record each.
    ///
    /// # Errors
    /// They can't be sealed.
    pub fn seal<'a>(&self, flushes: impl Iterator<Item = &'a [u8]>) -> io::Result<Vec<u8>> {
        let (mut sealer, wire) = (self.caller.sealer.afresh(), RefCell::new(Vec::new()));
        for flush in flushes {
            sealer.try_write(flush, |some| {
                wire.borrow_mut().extend_from_slice(some);
                Ok(some.len())
            })?;
        }
        Ok(wire.into_inner())
    }

    /// What the other opens of pieces of a stream, up to the first record that doesn't; and how it ended.
    pub fn open<'a>(
        &self,
        trusted: bool,
        pieces: impl Iterator<Item = &'a [u8]>,
    ) -> (BytesMut, io::Result<()>) {
        let (mut opener, mut plain) = (self.answerer.opener.afresh(), BytesMut::new());
        if trusted {
            opener.trust();
        }
        let pieces = RefCell::new(pieces);
        let read = |into: &mut BytesMut| {
            let piece = pieces.borrow_mut().next().unwrap_or_default();
            into.extend_from_slice(piece);
            Ok(piece.len())
        };
        loop {
            match opener.try_read(&mut plain, read) {
                Ok(0) => return (plain, Ok(())),
                Ok(_) => {}
                Err(e) => return (plain, Err(e)),
            }
        }
    }
}

const FLOCK: &str = "canaries";
