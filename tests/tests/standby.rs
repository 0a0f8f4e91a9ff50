//! What birds were told to be kept outlives `kill -9`.

use std::collections::BTreeMap;
use std::time::Duration;

use flock_tests::Nests;
use flock_tests::protocol::{Command, Kept};

const NEST: &str = env!("CARGO_BIN_EXE_nest-under-test");

fn add_up(all: &mut BTreeMap<String, Kept>, round: BTreeMap<String, Kept>) {
    for (name, Kept { told, asked, last }) in round {
        let sum = all.entry(name).or_default();
        *sum = Kept { told: sum.told + told, asked: sum.asked + asked, last };
    }
}

#[test]
fn what_was_answered_after_a_checkpoint_is_there_after_kill_9_and_counted_once() {
    let names: Vec<String> = (0..40).map(|n| format!("keeper-{n}")).collect();
    let keep = |span| Command::Keep { names: names.clone(), span };
    let mut nests = Nests::of(NEST, 3);
    let mut all = BTreeMap::new();
    add_up(&mut all, nests.nest("nest-0").ask(keep(Duration::ZERO)));
    assert!(all.values().all(|kept| kept.told == 1), "{all:?}");
    for victim in ["nest-2", "nest-1", "nest-2"] {
        let load = nests.nest("nest-0").begin(keep(Duration::from_secs(3)));
        nests.kill(victim);
        add_up(&mut all, load.wait());
        nests.agree();
        // One more each: it says how many there are now.
        add_up(&mut all, nests.nest("nest-0").ask(keep(Duration::ZERO)));
        for (name, Kept { told, asked, last }) in &all {
            let range = *told..=*asked;
            assert!(range.contains(last), "{name} was told {range:?}, and has {last}");
        }
        nests.join(victim);
        nests.agree();
    }
    let told: u64 = all.values().map(|kept| kept.told).sum();
    println!("{told} were kept");
    assert!(told > 1000, "{told}");
}
