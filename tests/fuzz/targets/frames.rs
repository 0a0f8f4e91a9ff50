//! How frames are cut from a stream: the same ones, whatever the pieces in which it comes.
#![no_main]

use flock_actix::testing::decoders::{LIMITS, frames};
use flock_fuzz::{Feed, within};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let mut feed = Feed(bytes);
    let (how, seed) = (feed.byte(), feed.byte());
    let limit = LIMITS[usize::from(how & 1)];
    let mut stream = feed.0.to_vec();
    if how & 2 != 0 {
        // So much that a frame may be too long for the common buffer.
        stream.resize(stream.len() + 40_000, how);
    }
    // A frame of nothing takes four bytes here and a vector there; each vector grows to twice its length.
    let room = 16 * stream.len() + (256 << 10);
    let most = if how & 4 == 0 { 1 + stream.len() / 8 } else { 70_000 };
    let cut = within(room, || frames(limit, Feed(&stream).pieces(seed, most)));
    assert!(cut == reference(limit, &stream), "in pieces of up to {most}, from {seed}");
});

/// The same by the book: a length, and so many bytes.
fn reference(limit: usize, mut stream: &[u8]) -> (Vec<Vec<u8>>, Option<usize>) {
    let mut frames = Vec::new();
    while let Some((prefix, rest)) = stream.split_first_chunk() {
        let len = u32::from_le_bytes(*prefix) as usize;
        if len > limit {
            return (frames, Some(len));
        }
        let Some((frame, rest)) = rest.split_at_checked(len) else { break };
        frames.push(frame.to_vec());
        stream = rest;
    }
    (frames, None)
}
