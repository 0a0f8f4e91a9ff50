//! Nests that see different members for seconds, while birds are to move: no bird answers from two lives.

use std::thread;
use std::time::{Duration, Instant};

use flock_tests::{Accounts, Nests, Network, allowed, throughout};

const NEST: &str = env!("CARGO_BIN_EXE_nest-under-test");
const SOON: Duration = Duration::from_secs(15);
/// Of calls that may have to wait for a nest that can't be reached.
const SHORT: Duration = Duration::from_millis(500);

fn tallies() -> Vec<String> {
    (0..150).map(|n| format!("tally-{n:03}")).collect()
}

/// All agree at last, each bird has one life, all count on and have forgotten nothing.
fn all_count_on(nests: &Nests, birds: &[String], mut accounts: Accounts) {
    nests.agree();
    nests.one_life_each(birds, SOON);
    let names: Vec<&str> = nests.all().map(flock_tests::Nest::name).collect();
    for nest in names {
        accounts.note(nests.raise(nest, birds, SOON));
    }
    assert_eq!(accounts.settle(|_| false), 0);
    let (acknowledged, open) = (accounts.acknowledged(), accounts.open());
    println!("{acknowledged} calls were acknowledged, {open} failed");
    assert_eq!(nests.doubled(), [""; 0]);
    assert_eq!(nests.downs(), [""; 0]);
}

#[test]
fn a_frozen_nest_holds_up_moves_and_doubles_nothing_while_others_come_and_go() {
    let birds = tallies();
    let mut nests = Nests::of(NEST, 3);
    nests.start_tallies("nest-0", &birds, 1024);
    let mut accounts = Accounts::default();
    accounts.note(nests.raise("nest-0", &birds, SOON));

    // It knows of neither the newcomer nor the leaver. Shorter than it takes to be held for dead.
    nests.nest("nest-2").signal("STOP");
    let leaver = nests.take("nest-1");
    leaver.signal("TERM");
    let stopped = Instant::now();
    let newcomer = thread::scope(|scope| {
        let seeds = vec![nests.nest("nest-0").address().to_owned()];
        let orders = flock_tests::protocol::Orders::on_loopback("nest-3", seeds);
        let newcomer = scope.spawn(move || flock_tests::Nest::start(&[NEST], &orders));
        throughout(Duration::from_secs(4), || {
            accounts.note(nests.raise_once("nest-0", &birds, SHORT));
            Ok::<_, String>(())
        });
        assert!(stopped.elapsed() < Duration::from_secs(6), "it is late: {:?}", stopped.elapsed());
        nests.nest("nest-2").signal("CONT");
        newcomer.join().expect("it is up")
    });
    nests.add(newcomer);
    leaver.ends(2 * SOON).expect("it ends by itself, and with success");
    all_count_on(&nests, &birds, accounts);
}

#[test]
fn nests_that_hear_each_other_one_way_only_double_nothing_while_another_comes_and_goes() {
    if !allowed() {
        return;
    }
    let birds = tallies();
    let network = Network::of(NEST, 4);
    let mut nests = Nests::none(NEST);
    for host in 0..3 {
        nests.add(network.nest(host, host == 0));
    }
    nests.agree();
    nests.start_tallies("nest-0", &birds, 1024);
    let mut accounts = Accounts::default();
    accounts.note(nests.raise("nest-0", &birds, SOON));

    network.deafen(0, 1);
    let newcomer = thread::scope(|scope| {
        let newcomer = scope.spawn(|| network.nest(3, false));
        throughout(Duration::from_secs(8), || {
            for nest in ["nest-0", "nest-1", "nest-2"] {
                accounts.note(nests.raise_once(nest, &birds, SHORT));
            }
            Ok::<_, String>(())
        });
        newcomer.join().expect("it is up")
    });
    nests.add(newcomer);
    nests.agree();
    nests.leave("nest-3");
    throughout(Duration::from_secs(4), || {
        for nest in ["nest-0", "nest-1", "nest-2"] {
            accounts.note(nests.raise_once(nest, &birds, SHORT));
        }
        Ok::<_, String>(())
    });
    assert!(network.lost() > 0);
    network.heal();
    all_count_on(&nests, &birds, accounts);
    drop(nests);
}
