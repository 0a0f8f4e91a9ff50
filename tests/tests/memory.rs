//! What a registry takes when much has come and gone.

use flock_proto::{
    BirdName, Cause, Hlc, Joined, NestId, Registry, RegistryConfig, SpeciesId, Vector,
};
use flock_tests::heap::{Counted, growth};

#[global_allocator]
static HEAP: Counted = Counted;

const LOG: usize = 256;
/// So many live at the same time.
const ALIVE: u64 = 1000;

/// Starts and stops so many birds on one replica, and tells another. None lives in the end.
fn come_and_go(birds: u64) -> [Registry; 2] {
    let config = RegistryConfig { log_len: LOG, ..RegistryConfig::default() };
    let [mut one, mut other] = [1, 2].map(|id| Registry::new(NestId(id), config));
    let name = |n: u64| BirdName::new(&format!("bird-{n:09}")).expect("a name");
    for n in 0..birds + ALIVE {
        if n < birds {
            one.start(&name(n), SpeciesId::of("dodo"), &[7; 32], n, Hlc(n));
        }
        if n >= ALIVE {
            one.remove(&name(n - ALIVE), Cause::Stopped).expect("it was started");
        }
        // Before the log forgets them.
        if n % 64 == 63 || n + 1 == birds + ALIVE {
            let delta = one.take_delta().expect("there is something new");
            assert!(matches!(other.join(&delta), Joined::Applied(_)));
        }
    }
    [one, other]
}

#[test]
fn a_registry_is_back_to_its_base_after_a_hundred_thousand_starts_and_stops() {
    let (few, base) = growth(|| come_and_go(2 * ALIVE));
    let (many, bytes) = growth(|| come_and_go(100_000));
    for registry in &many {
        assert_eq!((registry.len(), registry.vector().len(), registry.digest()), (0, 1, 0));
        assert_eq!(registry.delta_since(&Vector::new()), None, "the log is bounded");
    }
    assert!(base > 0 && bytes <= base, "{bytes} bytes after many, {base} after few");
    drop(few);
}
