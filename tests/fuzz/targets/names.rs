//! Names of birds and nests, and the text of a key.
#![no_main]

use flock_actix::{BirdName, ClusterKey, NestName};
use flock_fuzz::within;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let room = 16 * bytes.len() + (64 << 10);
    // As it comes in a frame.
    let read = within(room, || rmp_serde::from_slice::<BirdName>(bytes));
    if let Ok(name) = read {
        let written = rmp_serde::to_vec_named(&name).expect("a text");
        assert_eq!(rmp_serde::from_slice::<BirdName>(&written).expect("a name"), name);
        assert!(is_name(name.as_str()));
    }
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let name = within(room, || BirdName::new(text));
    assert_eq!(name.is_ok(), is_name(text));
    assert_eq!(NestName::new(text).is_ok(), is_name(text));
    assert!(name.is_ok_and(|name| name.as_str() == text) || !is_name(text));
    if let Ok(key) = within(room, || text.parse::<ClusterKey>()) {
        let again: ClusterKey = key.reveal().parse().expect("what is shown is read");
        assert_eq!(again.reveal(), key.reveal());
    }
});

fn is_name(text: &str) -> bool {
    (1..=255).contains(&text.len()) && !text.chars().any(char::is_control)
}
