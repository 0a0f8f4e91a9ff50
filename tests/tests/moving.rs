//! Nests that come and go in good order, under a load of calls.

use std::net::TcpListener;
use std::time::Duration;

use flock_tests::{Nests, names};

const NEST: &str = env!("CARGO_BIN_EXE_nest-under-test");
const SOON: Duration = Duration::from_secs(10);

#[test]
fn no_call_fails_while_a_nest_joins_and_leaves_again_and_again() {
    let birds = names(300);
    let mut nests = Nests::of(NEST, 2);
    nests.start("nest-0", &birds);
    let before = nests.one_life_each(&birds, SOON);
    let callers = ["nest-0", "nest-1"];

    for _ in 0..5 {
        nests.load(&callers, &birds);
        nests.join("nest-2");
        nests.agree();
        let joined = nests.one_life_each(&birds, SOON);
        let load = nests.quiet(&callers);
        println!("{} calls answered during the join", load.answered);
        assert_eq!(load.failed, [""; 0], "of {} calls during the join", load.answered);
        let moved: Vec<_> = birds.iter().filter(|bird| joined[*bird] != before[*bird]).collect();
        assert!(!moved.is_empty());
        assert!(moved.iter().all(|bird| joined[*bird] == "nest-2"), "moved between old nests");

        nests.load(&callers, &birds);
        nests.leave("nest-2");
        nests.agree();
        assert_eq!(nests.one_life_each(&birds, SOON), before);
        let load = nests.quiet(&callers);
        println!("{} calls answered during the leave", load.answered);
        assert_eq!(load.failed, [""; 0], "of {} calls during the leave", load.answered);
    }
}

#[test]
fn a_process_that_is_told_to_end_hands_its_birds_over_and_fails_no_call() {
    let birds = names(300);
    let mut nests = Nests::of(NEST, 3);
    nests.start("nest-0", &birds);
    nests.one_life_each(&birds, SOON);
    let callers = ["nest-0", "nest-1"];
    nests.load(&callers, &birds);
    nests.terminate("nest-2", SOON).expect("it ends by itself, and with success");
    nests.agree();
    nests.one_life_each(&birds, SOON);
    let load = nests.quiet(&callers);
    assert_eq!(load.failed, [""; 0], "of {} calls", load.answered);
    assert_eq!(nests.downs(), [""; 0], "it has left, and didn't die");
}

#[test]
fn a_nest_joins_through_any_seed() {
    let birds = names(60);
    let mut nests = Nests::of(NEST, 2);
    nests.start("nest-0", &birds);
    let seeds = [nests.nest("nest-0").address(), nests.nest("nest-1").address()];
    let seeds = seeds.map(String::from);
    // An address at which nobody listens, and nobody will as long as this lives.
    let mute = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let mute = mute.local_addr().expect("its address").to_string();
    let lists = [
        vec![seeds[0].clone()],
        vec![seeds[1].clone()],
        vec!["nobody.invalid:7101".into(), mute, seeds[0].clone()],
    ];
    for (n, seeds) in lists.into_iter().enumerate() {
        nests.join_by(&format!("guest-{n}"), seeds, 1);
        nests.agree();
    }
    nests.one_life_each(&birds, SOON);
    nests.all_answer(&birds, SOON);
}

#[test]
fn when_all_nests_but_one_leave_the_last_keeps_all_birds() {
    let birds = names(100);
    let mut nests = Nests::of(NEST, 4);
    nests.start("nest-0", &birds);
    for nest in ["nest-0", "nest-2", "nest-1"] {
        nests.leave(nest);
        nests.agree();
        nests.one_life_each(&birds, SOON);
        nests.all_answer(&birds, SOON);
    }
    let homes = nests.one_life_each(&birds, SOON);
    assert!(homes.values().all(|home| home == "nest-3"));
}
