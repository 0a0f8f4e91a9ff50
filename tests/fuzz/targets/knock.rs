//! What is said before the hello where the flock has a key.
#![no_main]

use std::sync::OnceLock;

use flock_actix::testing::decoders::{SealedLink, knock};
use flock_fuzz::{key, within};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    static LINK: OnceLock<SealedLink> = OnceLock::new();
    let link = LINK.get_or_init(|| SealedLink::new(key()).expect("randomness"));
    let Some(written) = within(bytes.len() * 2 + 1024, || knock(bytes)) else { return };
    assert_eq!(written, bytes, "there is one way to say it");
    if let [_, 4, first @ ..] = bytes {
        let room = 16 << 10;
        assert!(
            !within(room, || link.opens(first)),
            "nobody makes a first message without the key"
        );
    }
});
