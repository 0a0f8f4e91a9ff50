//! Nests that stand still for a while, and then go on as if nothing had happened.

use std::time::Duration;

use flock_tests::{Nests, amiss, census, names, throughout};

const NEST: &str = env!("CARGO_BIN_EXE_nest-under-test");
const SOON: Duration = Duration::from_secs(10);

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
fn a_nest_that_is_frozen_for_long_is_given_up_and_merges_when_it_wakes() {
    let birds = names(200);
    let nests = Nests::of(NEST, 3);
    nests.start("nest-0", &birds);
    let homes = nests.one_life_each(&birds, SOON);
    let (frozen, awake) = (nests.nest("nest-2"), [nests.nest("nest-0"), nests.nest("nest-1")]);

    frozen.signal("STOP");
    let stopped = std::time::Instant::now();
    nests.answer_to(awake, &birds, Duration::from_secs(8));
    println!("all answer again after {:?}", stopped.elapsed());
    throughout(Duration::from_secs(8).saturating_sub(stopped.elapsed()), || {
        amiss(&census(awake), &birds)
    });
    frozen.signal("CONT");

    nests.agree();
    nests.all_answer(&birds, SOON);
    assert_eq!(nests.one_life_each(&birds, SOON), homes);
    assert_eq!(nests.doubled(), [""; 0]);
}
