//! Nests in networks of their own, which are cut, healed and made to lose packets.

use std::time::Duration;

use flock_tests::protocol::Command;
use flock_tests::{Nests, Network, allowed, amiss, census, eventually, names, throughout};

const NEST: &str = env!("CARGO_BIN_EXE_nest-under-test");
const SOON: Duration = Duration::from_secs(15);

/// Three nests that agree, and their network: in this order, so that the nests are dropped first.
fn three() -> (Network, Nests) {
    let network = Network::of(NEST, 3);
    let mut nests = Nests::none(NEST);
    for host in 0..3 {
        nests.add(network.nest(host, host == 0));
    }
    nests.agree();
    (network, nests)
}

#[test]
fn both_sides_of_a_cut_network_run_all_birds_and_one_life_of_each_is_left_after_the_heal() {
    if !allowed() {
        return;
    }
    let mut birds = names(120);
    let (network, nests) = three();
    nests.start("nest-0", &birds);
    let alone = [nests.nest("nest-0")];
    let others = [nests.nest("nest-1"), nests.nest("nest-2")];

    network.cut(0, 1);
    network.cut(0, 2);
    let took = eventually(SOON, || {
        amiss(&census(alone), &birds).and_then(|()| amiss(&census(others), &birds))
    });
    println!("each side runs all birds after {took:?}");
    nests.answer_to(alone, &birds, SOON);
    nests.answer_to(others, &birds, SOON);
    nests.start("nest-0", &["born-alone".into()]);
    nests.start("nest-1", &["born-elsewhere".into()]);
    nests.start("nest-0", &["born-on-both-sides".into()]);
    nests.start("nest-2", &["born-on-both-sides".into()]);
    for (nest, bird) in [("nest-0", &birds[3]), ("nest-2", &birds[4])] {
        let stopped: Result<(), String> = nests.nest(nest).ask(Command::Stop(bird.clone()));
        assert_eq!(stopped, Ok(()));
    }
    birds.drain(3..5);
    birds.extend(["born-alone", "born-elsewhere", "born-on-both-sides"].map(String::from));

    network.heal();
    nests.agree();
    nests.one_life_each(&birds, SOON);
    nests.all_answer(&birds, SOON);
    assert_eq!(nests.doubled(), [""; 0]);
}

#[test]
fn two_nests_that_only_a_third_still_sees_go_on_over_it() {
    if !allowed() {
        return;
    }
    let birds = names(120);
    let (network, nests) = three();
    nests.start("nest-0", &birds);
    let before = nests.all_answer(&birds, SOON);

    network.cut(0, 1);
    // Long enough for suspicions to ripen, were there any.
    throughout(Duration::from_secs(12), || {
        let voices = nests.all_answer(&birds, SOON);
        if voices == before { Ok(()) } else { Err("a bird has moved") }
    });
    nests.agree();
    nests.start("nest-1", &["born-while-cut".into()]);
    assert!(network.lost() > 0);

    network.heal();
    nests.agree();
    let birds = [birds, vec!["born-while-cut".into()]].concat();
    nests.all_answer(&birds, SOON);
    nests.one_life_each(&birds, SOON);
}

#[test]
fn a_network_that_loses_every_twentieth_packet_loses_no_bird() {
    if !allowed() {
        return;
    }
    let birds = names(120);
    let (network, nests) = three();
    nests.start("nest-0", &birds);
    let callers = ["nest-0", "nest-1", "nest-2"];

    network.lose(0.05);
    nests.load(&callers, &birds);
    throughout(Duration::from_secs(5), || match nests.doubled() {
        doubled if doubled.is_empty() => Ok(()),
        doubled => Err(format!("{doubled:?}")),
    });
    let load = nests.quiet(&callers);
    nests.all_answer(&birds, SOON);
    let lost = network.lost();
    println!("{} calls answered while {lost} packets were lost", load.answered);
    assert!(lost > 100, "only {lost} packets were lost");

    network.heal();
    nests.agree();
    nests.one_life_each(&birds, SOON);
    nests.all_answer(&birds, SOON);
    // A connection that loses one packet several times over stands still for seconds. So a call may
    // end by its deadline or with its link, and say so; few do, and none in another way.
    let (honest, other): (Vec<_>, Vec<_>) =
        load.failed.iter().partition(|why| why.ends_with("the bird may have handled the call"));
    assert!(other.is_empty(), "{other:?}");
    let few = honest.len() * 100 <= load.answered;
    assert!(few, "of {} calls these failed: {honest:?}", load.answered);
}
