//! Frames of the control plane, all kinds.
#![no_main]

use flock_fuzz::within;
use flock_proto::wire::{Frame, HEADER, Header, MAX_HOPS};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let passed = Header::pass_on(bytes);
    assert!(passed.is_none_or(|frame| frame[3] <= MAX_HOPS && frame[4..] == bytes[4..]));
    // The reader of lists reserves up to 1 MiB by a count that it has only read, for each of the three that
    // may be open at once; and what is one byte may be a number of eight.
    let read = within(64 * bytes.len() + (3 << 20) + (64 << 10), || Frame::decode(bytes));
    let (Ok(header), Ok(frame)) = (Header::decode(bytes), read) else { return };
    let written = frame.encode(header);
    assert_eq!(written[..2], bytes[..2]);
    assert_eq!(Header::decode(&written), Ok(header));
    assert_eq!(Frame::decode(&written), Ok(frame.clone()));
    let several = frame.encode_body().frames([header, header].into_iter());
    assert!(several.iter().all(|one| *one == written) && written.len() >= HEADER);
});
