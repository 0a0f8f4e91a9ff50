//! Packets of SWIM, as they lie in frames.
#![no_main]

use flock_fuzz::within;
use flock_proto::sim::reread_swim;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let room = 4 * bytes.len() + (64 << 10);
    // There is one way to write each.
    assert!(within(room, || reread_swim(bytes)).is_none_or(|again| again == bytes));
});
