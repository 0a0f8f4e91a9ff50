//! What nests tell each other of their registers: operations, digests and records of ranges, requests for
//! these, and registers in short.
#![no_main]

use bytes::Bytes;
use flock_fuzz::{Feed, within};
use flock_proto::{
    BirdName, Cause, Compared, Delta, Dot, Hlc, Joined, NestId, Opening, Ranges, RangesWanted,
    Registry, RegistryConfig, SpeciesId, Status, Vector,
};
use libfuzzer_sys::fuzz_target;
use serde::Deserialize;
use serde::de::value::{BytesDeserializer, Error};

const ME: NestId = NestId(0xdddd);
const PEER: NestId = NestId(0xaaaa);
/// In whose name nothing is told.
const NEUTRAL: NestId = NestId(0xeeee_0123_4567_89ab);

fuzz_target!(|bytes: &[u8]| {
    let mut feed = Feed(bytes);
    let mut registry = registry(ME);
    for name in ["bird-0", "bird-1", "wren"] {
        registry.start(&name_of(name), SpeciesId(5), b"abc", 7, Hlc(4096));
    }
    registry.remove(&name_of("wren"), Cause::Stopped);
    let begun = state(&registry);
    for _ in 0..8 {
        if feed.is_empty() {
            break;
        }
        let (what, how) = (feed.byte(), feed.byte());
        take_in(&mut registry, what, how, feed.block());
    }
    if state(&registry) != begun || registry.comparing_with().is_some() {
        goes_on(registry);
    }
});

fn take_in(registry: &mut Registry, what: u8, how: u8, bytes: &[u8]) {
    let before = state(registry);
    // A thousand operations are kept as they were read; a record in memory takes some hundred bytes.
    let room = 256 * bytes.len() + (512 << 10);
    let refused = match what % 4 {
        0 => {
            let delta = delta(bytes);
            let _ = (delta.more(), delta.is_empty(), delta.upto(PEER) <= 1 << 62);
            matches!(within(room, || registry.join(&delta)), Joined::Bad(_) | Joined::Gap)
        }
        1 => {
            let told = told(how, registry.vector_digest(), bytes);
            matches!(
                within(room, || registry.compare(PEER, &told)),
                Compared::Bad(_) | Compared::Stray
            )
        }
        2 => {
            let wanted = RangesWanted { number: 1, items: Bytes::copy_from_slice(bytes) };
            // An answer is as large as its window.
            let answer = within((8 << 20) + room, || registry.ranges(&wanted));
            for told in answer.into_iter().flatten() {
                assert!(!matches!(self::registry(NEUTRAL).compare(ME, &told), Compared::Bad(_)));
            }
            true
        }
        _ => {
            let read = within(room, || Status::deserialize(from(bytes)));
            if let Ok(status) = read {
                let written = rmp_serde::to_vec_named(&status).expect("it is written");
                assert_eq!(rmp_serde::from_slice::<Status>(&written).ok(), Some(status.clone()));
                let _ = registry.standing(&status);
                let _ = status.vector.map(|vector| registry.lacking(&vector));
            }
            true
        }
    };
    assert!(!refused || state(registry) == before, "what is refused changes nothing");
}

/// A message of a comparison, an opening or one that follows.
fn told(how: u8, known: u64, bytes: &[u8]) -> Ranges {
    let vector: Vector = [Dot { origin: PEER, seq: u64::from(how >> 4) }].into_iter().collect();
    Ranges {
        revision: u64::from(how >> 6),
        known: if how & 4 == 0 { known } else { 1 },
        opening: (how & 1 == 0).then_some(Opening { vector, repair: how & 8 != 0, wanted: false }),
        number: u64::from(how & 1),
        last: how & 2 == 0,
        upto: if how & 2 == 0 { u64::MAX } else { 1 << 63 },
        items: Bytes::copy_from_slice(bytes),
    }
}

/// Whatever came in: the register takes up more, and tells all that it holds so that it can be read.
fn goes_on(mut registry: Registry) {
    if registry.ranges_wanted().is_some() {
        registry.forget_comparison(PEER);
    }
    let hunted = name_of("robin");
    registry.start(&hunted, SpeciesId(5), b"", 9, Hlc(9000));
    assert!(registry.winner(&hunted).is_some());
    let opening = registry.opening(false, false);
    let mut other = self::registry(NEUTRAL);
    assert!(!matches!(other.compare(ME, &opening), Compared::Bad(_)));
    let mut other = self::registry(NEUTRAL);
    let Some(all) = registry.delta_since(&Vector::new()) else { return };
    let joined = other.join(&all);
    assert!(!matches!(joined, Joined::Bad(_)), "{joined:?}");
}

fn registry(me: NestId) -> Registry {
    Registry::new(me, RegistryConfig::default())
}

fn state(registry: &Registry) -> (u64, u64, usize, usize) {
    (registry.digest(), registry.vector_digest(), registry.len(), registry.records())
}

fn name_of(text: &str) -> BirdName {
    BirdName::new(text).expect("a name")
}

fn from(bytes: &[u8]) -> BytesDeserializer<'_, Error> {
    BytesDeserializer::new(bytes)
}

fn delta(bytes: &[u8]) -> Delta {
    Delta::deserialize(from(bytes)).expect("bytes")
}
