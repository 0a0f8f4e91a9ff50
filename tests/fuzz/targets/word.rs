//! Hello, welcome and refusal.
#![no_main]

use flock_actix::testing::decoders::word;
use flock_fuzz::within;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    // 1 KiB at most is read, but whoever speaks may have named what can't be read in an error.
    let Some(written) = within(8 * bytes.len().min(1024) + (4 << 10), || word(bytes)) else {
        return;
    };
    assert_eq!(written[..2], bytes[..2]);
    assert!(bytes.len() <= 1024, "no word is that long");
    assert_eq!(word(&written), Some(written));
});
