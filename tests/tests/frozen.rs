//! Nests that stand still for a while, and then go on as if nothing had happened.

use std::time::{Duration, Instant};

use flock_tests::protocol::{Command, NestSeen};
use flock_tests::{Nest, Nests, amiss, census, eventually, names, throughout};

const NEST: &str = env!("CARGO_BIN_EXE_nest-under-test");
const SOON: Duration = Duration::from_secs(10);
/// Nobody waits so long for a nest.
const LONG: Duration = Duration::from_secs(12);

#[test]
fn a_nest_that_is_frozen_for_a_second_loses_no_bird_for_good() {
    let birds = names(200);
    let nests = Nests::of(NEST, 3);
    nests.start("nest-0", &birds);
    let homes = nests.one_life_each(&birds, SOON);
    let frozen = nests.nest("nest-2");

    frozen.signal("STOP");
    throughout(Duration::from_secs(1), || {
        // The frozen one can't be asked; it runs what it ran.
        let awake = census([nests.nest("nest-0"), nests.nest("nest-1")]);
        match awake.values().find(|homes| homes.len() > 1) {
            Some(homes) => Err(format!("a bird lives on {homes:?}")),
            None => Ok(()),
        }
    });
    frozen.signal("CONT");

    nests.agree();
    nests.all_answer(&birds, SOON);
    assert_eq!(nests.one_life_each(&birds, SOON), homes);
    assert_eq!(nests.doubled(), [""; 0]);
}

#[test]
fn a_nest_that_is_frozen_for_five_seconds_is_suspected_and_refutes_and_no_life_is_disturbed() {
    let birds = names(200);
    let nests = Nests::of(NEST, 3);
    nests.start("nest-0", &birds);
    let homes = nests.one_life_each(&birds, SOON);
    let voices = nests.all_answer(&birds, SOON);
    let (frozen, awake) = (nests.nest("nest-2"), [nests.nest("nest-0"), nests.nest("nest-1")]);
    let seen = |by: &Nest| {
        let seen: Vec<NestSeen> = by.ask(Command::Nests);
        seen.into_iter().find(|seen| seen.name == "nest-2")
    };

    frozen.signal("STOP");
    let stopped = Instant::now();
    let suspected = eventually(Duration::from_secs(4), || {
        let suspects = |by: &&Nest| seen(by).is_some_and(|seen| seen.suspected);
        if awake.iter().all(suspects) { Ok(()) } else { Err("it isn't suspected") }
    });
    println!("suspected after {suspected:?}");
    throughout(Duration::from_secs(5).saturating_sub(stopped.elapsed()), || {
        let gone = awake.iter().find(|by| !seen(by).is_some_and(|seen| seen.up));
        gone.map_or(Ok(()), |by| Err(format!("{} has given it up", by.name())))
    });
    frozen.signal("CONT");

    nests.agree();
    assert_eq!(nests.all_answer(&birds, SOON), voices);
    assert_eq!(nests.one_life_each(&birds, SOON), homes);
    assert_eq!(nests.downs(), [""; 0]);
}

#[test]
fn a_nest_that_is_frozen_for_long_is_given_up_and_merges_when_it_wakes() {
    let birds = names(200);
    let nests = Nests::of(NEST, 3);
    nests.start("nest-0", &birds);
    let homes = nests.one_life_each(&birds, SOON);
    let (frozen, awake) = (nests.nest("nest-2"), [nests.nest("nest-0"), nests.nest("nest-1")]);

    frozen.signal("STOP");
    let stopped = Instant::now();
    nests.answer_to(awake, &birds, LONG);
    println!("all answer again after {:?}", stopped.elapsed());
    throughout(LONG.saturating_sub(stopped.elapsed()), || amiss(&census(awake), &birds));
    frozen.signal("CONT");

    nests.agree();
    nests.all_answer(&birds, SOON);
    assert_eq!(nests.one_life_each(&birds, SOON), homes);
    assert_eq!(nests.doubled(), [""; 0]);
}
