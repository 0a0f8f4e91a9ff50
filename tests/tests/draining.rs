//! Processes that are told to end while a bird of theirs won't.

use std::time::{Duration, Instant};

use flock_tests::protocol::{Command, NestSeen, Orders};
use flock_tests::{Nest, Nests, eventually};

const NEST: &str = env!("CARGO_BIN_EXE_nest-under-test");
const SOON: Duration = Duration::from_secs(10);
/// Far longer than any test waits.
const LONG: Duration = Duration::from_secs(3600);

fn tallies() -> Vec<String> {
    (0..60).map(|n| format!("tally-{n:02}")).collect()
}

/// Two nests with tallies, each raised once; the second may take so long to finish calls and to leave.
/// One of its birds is stuck, in a call or with its whole thread.
fn with_a_stuck_bird(finish: Duration, leave: Duration, block: bool) -> (Nests, Vec<String>) {
    let mut nests = Nests::of(NEST, 1);
    nests.join_as("nest-1", |orders| Orders {
        drain_timeout: Some(finish),
        leave_timeout: Some(leave),
        ..orders
    });
    nests.agree();
    let names = tallies();
    nests.start_tallies("nest-0", &names, 1024);
    assert!(raise(&nests, &names).iter().all(|count| *count == 1));
    let theirs: Vec<String> = nests.nest("nest-1").ask(Command::Local);
    let name = theirs.first().expect("nest-1 owns some").clone();
    nests.nest("nest-1").ask::<()>(Command::Stick { name, block });
    (nests, theirs)
}

/// Has each count one more; says what they count.
fn raise(nests: &Nests, names: &[String]) -> Vec<u64> {
    let raised = nests.raise("nest-0", names, SOON).into_iter();
    raised.filter_map(|raised| raised.told.ok()).map(|told| told.count).collect()
}

/// Tells a nest to end, and waits until nest-0 has heard that it leaves.
fn begin_to_leave(nests: &mut Nests, name: &str) -> Nest {
    let leaver = nests.take(name);
    leaver.signal("TERM");
    eventually(SOON, || {
        let seen: Vec<NestSeen> = nests.nest("nest-0").ask(Command::Nests);
        match seen.iter().find(|seen| seen.name == name) {
            Some(seen) if seen.up => Err(format!("{seen:?}")),
            _ => Ok(()),
        }
    });
    leaver
}

/// All live on nest-0 and count on. Says how many begin anew.
fn all_live(nests: &Nests) -> usize {
    let names = tallies();
    let counts = raise(nests, &names);
    assert!(counts.iter().all(|count| [1, 2].contains(count)), "{counts:?}");
    nests.one_life_each(&names, SOON);
    counts.iter().filter(|count| **count == 1).count()
}

fn a_second_signal_ends_it(block: bool) {
    let (mut nests, _) = with_a_stuck_bird(LONG, LONG, block);
    let leaver = begin_to_leave(&mut nests, "nest-1");
    // It isn't gone: without a second one it would wait for an hour.
    leaver.signal("0");
    leaver.signal("TERM");
    let told = Instant::now();
    leaver.ends(SOON).expect("it ends by itself, and with success");
    let took = told.elapsed();
    println!("it ended after {took:?}");
    assert!(took < Duration::from_secs(3), "{took:?}");
    nests.agree();
    assert!(all_live(&nests) >= 1, "what was stuck has begun anew");
}

#[test]
fn a_second_signal_ends_a_process_at_once_though_a_call_is_not_finished() {
    a_second_signal_ends_it(false);
}

#[test]
fn a_second_signal_ends_a_process_at_once_though_a_bird_blocks_its_thread() {
    a_second_signal_ends_it(true);
}

#[test]
fn a_process_ends_at_its_deadline_though_a_bird_blocks_its_thread() {
    let leave = Duration::from_secs(2);
    let (mut nests, theirs) = with_a_stuck_bird(LONG, leave, true);
    nests.terminate("nest-1", 5 * leave).expect("it ends by itself, and with success");
    nests.agree();
    // Those of the same thread are lost with the one that holds it.
    assert!((1..=theirs.len()).contains(&all_live(&nests)));
}

#[test]
fn a_process_that_is_told_to_end_waits_for_a_stuck_call_as_long_as_it_may_and_hands_over_all() {
    let finish = Duration::from_secs(1);
    let (mut nests, _) = with_a_stuck_bird(finish, LONG, false);
    nests.terminate("nest-1", SOON).expect("it ends by itself, and with success");
    nests.agree();
    assert_eq!(all_live(&nests), 0, "nothing is forgotten");
    assert_eq!(nests.downs(), [""; 0], "it has left, and didn't die");
}
