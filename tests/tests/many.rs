//! Many starts by one call, by real processes.

use std::collections::BTreeSet;
use std::time::Duration;

use flock_tests::protocol::{Bulk, Command};
use flock_tests::{Nests, eventually, names};

const NEST: &str = env!("CARGO_BIN_EXE_nest-under-test");

/// Far more than it needs.
const PATIENCE: Duration = Duration::from_secs(30);

fn start(names: &[String], or_roll_back: bool) -> Command {
    Command::StartMany { names: names.to_vec(), deadline: PATIENCE, or_roll_back }
}

/// How many birds live, as this nest knows it.
fn known(nests: &Nests, nest: &str) -> usize {
    nests.nest(nest).ask::<std::collections::BTreeMap<String, String>>(Command::Birds).len()
}

#[test]
fn after_kill_9_of_an_owner_in_the_middle_every_name_that_was_acknowledged_lives() {
    let birds = names(8000);
    let mut nests = Nests::of(NEST, 3);
    let bulk = nests.nest("nest-0").begin::<Bulk>(start(&birds, false));
    nests.nest("nest-2").ask::<()>(Command::Await(500));
    nests.kill("nest-1");
    let by_then = known(&nests, "nest-2");
    let bulk = bulk.wait();
    println!("{by_then} lived when nest-1 was killed, {} were acknowledged", bulk.ok.len());
    assert!(by_then < birds.len(), "all lived before the kill");
    assert_eq!(bulk.failed, [], "whoever owns a name now starts it");
    nests.agree();
    let homes = nests.one_life_each(&birds, PATIENCE);
    assert_eq!(homes.into_values().collect::<BTreeSet<_>>().len(), 2);
}

#[test]
fn a_bulk_that_is_rolled_back_leaves_the_others_birds_alone_on_every_nest() {
    let (birds, others) = (names(1000), names(3));
    let nests = Nests::of(NEST, 3);
    nests.start("nest-1", &others);
    let before = nests.all_answer(&others, PATIENCE);
    let bulk: Bulk = nests.nest("nest-0").ask(start(&birds, true));
    assert_eq!(bulk.ok, [""; 0]);
    let rolled_back = bulk.failed.iter().filter(|(_, why)| why.contains("taken back"));
    assert_eq!(rolled_back.count(), 997);
    nests.one_life_each(&others, PATIENCE);
    assert_eq!(nests.all_answer(&others, PATIENCE), before, "the same lives as before");
    // The names are free, and a bulk of stops frees them again.
    let bulk: Bulk = nests.nest("nest-2").ask(start(&birds[3..], true));
    assert_eq!(bulk.failed, []);
    let bulk: Bulk = nests.nest("nest-1").ask(Command::StopMany(birds.clone()));
    assert_eq!(bulk.ok, birds);
    eventually(PATIENCE, || match known(&nests, "nest-0") {
        0 => Ok(()),
        left => Err(format!("{left} live")),
    });
}
