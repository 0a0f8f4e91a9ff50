//! Sealed records: made up, and real ones that were meddled with.
#![no_main]

use std::io;
use std::sync::OnceLock;

use flock_actix::testing::decoders::SealedLink;
use flock_fuzz::{Feed, key, within};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    // Of the one nothing is ever sealed: what is compared here the fuzzer sees, and says again.
    static LINKS: OnceLock<[SealedLink; 2]> = OnceLock::new();
    let link = || SealedLink::new(key()).expect("randomness");
    let [silent, link] = LINKS.get_or_init(|| [link(), link()]);
    let mut feed = Feed(bytes);
    let (how, seed) = (feed.byte(), feed.byte());
    let (trusted, most) = (how & 1 != 0, 1 + usize::from(how >> 4) * 40);
    if how & 2 == 0 {
        made_up(silent, trusted, feed.pieces(seed, most), bytes.len());
    } else {
        meddled_with(link, trusted, feed, (seed, most));
    }
});

fn made_up<'a>(
    link: &SealedLink,
    trusted: bool,
    pieces: impl Iterator<Item = &'a [u8]>,
    len: usize,
) {
    // A length of two bytes may reserve what it says, and the record is opened in a room as large.
    let longest = if trusted { 65_537 } else { 1100 };
    let (plain, end) = within(4 * longest + 2 * len, || link.open(trusted, pieces));
    assert!(plain.is_empty(), "only the key makes records");
    assert!(end.is_ok() || is_refused(&end));
}

fn meddled_with(link: &SealedLink, trusted: bool, mut feed: Feed<'_>, pieces: (u8, usize)) {
    let flushes =
        [feed.block(), feed.block(), feed.block()].map(|some| &some[..some.len().min(900)]);
    let real = link.seal(flushes.into_iter()).expect("it is sealed");
    let mut wire = real.clone();
    while !feed.is_empty() {
        let (what, at, byte) = (feed.byte(), usize::from(feed.half()), feed.byte());
        let len = wire.len();
        match what % 5 {
            _ if at >= len => {}
            0 => wire[at] ^= byte,
            1 => wire.truncate(at),
            2 => wire.insert(at, byte),
            3 => drop(wire.drain(at..len.min(at + usize::from(byte)))),
            // What was said is said again.
            _ => wire.extend_from_within(at..len.min(at + usize::from(byte) * 4)),
        }
    }
    let (plain, end) = link.open(trusted, Feed(&wire).pieces(pieces.0, pieces.1));
    assert!(end.is_ok() || is_refused(&end));
    // All or nothing of each record, in their order.
    let mut whole = flushes.concat();
    let starts: Vec<usize> = flushes
        .iter()
        .scan(0, |end, some| Some(std::mem::replace(end, *end + some.len())))
        .collect();
    assert!(plain.len() == whole.len() || starts.contains(&plain.len()));
    whole.truncate(plain.len());
    assert!(plain[..] == whole[..], "nothing comes through that wasn't sent");
    if wire == real {
        assert_eq!((end.is_ok(), plain.len()), (true, flushes.concat().len()));
    }
}

fn is_refused(end: &io::Result<()>) -> bool {
    end.as_ref().is_err_and(|e| e.kind() == io::ErrorKind::InvalidData)
}
