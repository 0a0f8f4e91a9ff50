//! Nests far from each other: everything between them is late.

use std::time::Duration;

use flock_tests::{Detour, Nests, names};

const NEST: &str = env!("CARGO_BIN_EXE_nest-under-test");
const SOON: Duration = Duration::from_secs(20);

/// Three nests; the delay is that of one way, and there and back it is twice as long.
fn a_flock_with_delays_of(delay: Duration) {
    let birds = names(100);
    let mut detours = Vec::new();
    let mut nests = Nests::none(NEST);
    for n in 0..3 {
        detours.push(join(&mut nests, n, delay));
    }
    nests.agree();
    nests.start("nest-0", &birds);
    let before = nests.one_life_each(&birds, SOON);
    let callers = ["nest-0", "nest-1", "nest-2"];

    nests.load(&callers, &birds);
    let took = nests.all_answer(&birds, SOON);
    assert_eq!(took.len(), birds.len());
    detours.push(join(&mut nests, 3, delay));
    nests.agree();
    let joined = nests.one_life_each(&birds, SOON);
    let moved: Vec<_> = birds.iter().filter(|bird| joined[*bird] != before[*bird]).collect();
    assert!(!moved.is_empty());
    assert!(moved.iter().all(|bird| joined[*bird] == "nest-3"), "moved between old nests");

    nests.leave("nest-3");
    nests.agree();
    assert_eq!(nests.one_life_each(&birds, SOON), before);
    let load = nests.quiet(&callers);
    println!("{delay:?}: {} calls answered", load.answered);
    assert_eq!(load.failed, [""; 0], "of {} calls", load.answered);
    assert!(load.answered > birds.len(), "only {} calls were answered", load.answered);
    assert_eq!(nests.downs(), [""; 0]);
    assert!(detours.iter().all(|detour| detour.carried() > 0), "{detours:?}");
}

fn join(nests: &mut Nests, n: usize, delay: Duration) -> Detour {
    let detour = Detour::of(delay);
    nests.join_by_detour(&format!("nest-{n}"), &detour);
    detour
}

#[test]
fn thirty_milliseconds_apart_calls_joins_and_moves_go_on_and_nobody_is_held_for_dead() {
    a_flock_with_delays_of(Duration::from_millis(30));
}

#[test]
fn two_hundred_milliseconds_apart_calls_joins_and_moves_go_on_and_nobody_is_held_for_dead() {
    a_flock_with_delays_of(Duration::from_millis(200));
}
