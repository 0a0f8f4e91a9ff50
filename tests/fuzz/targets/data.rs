//! Frames of the data plane: calls, casts, retries, replies.
#![no_main]

use flock_fuzz::within;
use flock_proto::DataFrame;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Ok(frame) = within(0, || DataFrame::read(bytes)) else { return };
    let mut written = Vec::new();
    match frame {
        DataFrame::Call(head, payload) => {
            head.write(&mut written);
            written.extend_from_slice(payload);
            // All but the flags that this version doesn't know.
            assert_eq!((&written[..2], &written[3..]), (&bytes[..2], &bytes[3..]));
        }
        DataFrame::Reply(head, payload) => {
            head.write(&mut written);
            written.extend_from_slice(payload);
            assert_eq!((&written[..2], &written[3..]), (&bytes[..2], &bytes[3..]));
        }
        DataFrame::Passed(head, to) => head.write_passed(to, &mut written),
    }
    assert_eq!(DataFrame::read(&written), Ok(frame));
});
