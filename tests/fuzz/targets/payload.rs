//! Messages and answers of users.
#![no_main]

use std::collections::{BTreeMap, HashMap};

use flock_actix::testing::decoders::{encoded, payload};
use flock_actix::{BirdName, Hlc};
use flock_fuzz::{Feed, within};
use libfuzzer_sys::fuzz_target;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;

#[derive(Serialize, Deserialize)]
struct Order {
    id: u64,
    #[serde(default)]
    note: Option<String>,
    lines: Vec<Line>,
    #[serde(with = "serde_bytes")]
    blob: Vec<u8>,
    bird: Option<BirdName>,
    at: Hlc,
}

#[derive(Serialize, Deserialize)]
enum Line {
    Nothing,
    Text(String),
    Price { of: char, cents: i32, rate: f64 },
    Nested(Box<Line>),
    Pair(u8, (i128, bool)),
}

fuzz_target!(|bytes: &[u8]| {
    let mut feed = Feed(bytes);
    let shape = feed.byte();
    let bytes = feed.0;
    // What a byte may become at most, beyond four: an element of its list, twice as the list grows; of a map
    // with one entry in three bytes a table or a node.
    match shape % 8 {
        0 => check::<ByteBuf>(bytes, 0),
        1 => check::<String>(bytes, 0),
        2 => check::<Vec<u64>>(bytes, 2 * 8),
        3 => check::<Vec<Vec<Option<String>>>>(bytes, 2 * 24),
        4 => check::<Vec<BTreeMap<String, Option<ByteBuf>>>>(bytes, 2 * 24 + (11 * 48 + 16) / 3),
        5 => check::<HashMap<String, HashMap<u8, Vec<String>>>>(bytes, 4 * (72 + 32 + 16)),
        6 => check::<Order>(bytes, 2 * size_of::<Line>()),
        _ => check::<Option<Vec<(i8, Option<f32>, char, ())>>>(bytes, 2 * 16),
    }
});

fn check<T: Serialize + DeserializeOwned>(bytes: &[u8], beyond: usize) {
    let room = (4 + beyond) * bytes.len() + (64 << 10);
    let Some(value) = within(room, || payload::<T>(bytes)) else { return };
    let written = encoded(&value).expect("what was read can be written");
    let again: T = payload(&written).expect("what was written can be read");
    // By their bytes, for some numbers aren't equal to themselves; and maps may change their order.
    assert_eq!(encoded(&again).map(|bytes| bytes.len()), Some(written.len()));
}
