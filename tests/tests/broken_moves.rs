//! Moves that are broken off: by the death of either nest, by a stop, by a state that nobody can read.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use flock_tests::protocol::{Command, Orders};
use flock_tests::tally::Told;
use flock_tests::{Accounts, Nests, amiss, eventually};

const NEST: &str = env!("CARGO_BIN_EXE_nest-under-test");
const SOON: Duration = Duration::from_secs(15);
/// A moment in a move is hit in most rounds, not in all.
const ROUNDS: usize = 4;
/// Large states, so that a move takes a while: four are under way at a time.
const BYTES: usize = 256 << 10;

fn tallies(count: usize) -> Vec<String> {
    (0..count).map(|n| format!("tally-{n:03}")).collect()
}

/// Two nests with tallies, each of which has acknowledged a call.
fn two(birds: &[String], bytes: usize) -> (Nests, Accounts) {
    let nests = Nests::of(NEST, 2);
    nests.start_tallies("nest-0", birds, bytes);
    let mut accounts = Accounts::default();
    accounts.note(nests.raise("nest-0", birds, SOON));
    (nests, accounts)
}

/// The others agree, each bird has one life, and all count on. How many of those that may have forgotten
/// what they told did.
fn all_count_on(
    nests: &Nests,
    birds: &[String],
    accounts: &mut Accounts,
    may_forget: &BTreeSet<String>,
) -> usize {
    nests.agree();
    nests.one_life_each(birds, SOON);
    for _ in 0..2 {
        accounts.note(nests.raise("nest-0", birds, SOON));
    }
    accounts.settle(|name| may_forget.contains(name))
}

/// Those of the one that aren't in the other.
fn without(all: &BTreeSet<String>, some: &BTreeSet<String>) -> BTreeSet<String> {
    all.difference(some).cloned().collect()
}

/// The birds whose home this nest is.
fn at<'a>(homes: &'a BTreeMap<String, String>, nest: &str) -> BTreeSet<String> {
    let there = homes.iter().filter(|(_, home)| *home == nest);
    there.map(|(bird, _): (&'a String, _)| bird.clone()).collect()
}

/// What the two nests that were there first have given away.
fn given_away(nests: &Nests) -> BTreeSet<String> {
    let gone = ["nest-0", "nest-1"].map(|nest| nests.gone_from(nest));
    gone.into_iter().flatten().collect()
}

/// Where birds go once nest-2 has joined, which leaves again.
fn share_of_nest_2(nests: &mut Nests, birds: &[String]) -> BTreeSet<String> {
    nests.join("nest-2");
    nests.agree();
    let share = at(&nests.one_life_each(birds, SOON), "nest-2");
    nests.leave("nest-2");
    nests.agree();
    nests.one_life_each(birds, SOON);
    share
}

#[test]
fn what_was_not_given_away_yet_is_not_forgotten_when_the_nest_that_takes_it_is_killed() {
    let birds = tallies(240);
    let (mut nests, mut accounts) = two(&birds, BYTES);
    let share = share_of_nest_2(&mut nests, &birds);
    let mut hit = 0;
    for round in 0..ROUNDS {
        nests.forget_travels();
        nests.join("nest-2");
        // Each round a little later.
        nests.nest("nest-0").ask::<()>(Command::AwaitMoved(1 + 8 * round));
        nests.kill("nest-2");
        nests.agree();
        nests.one_life_each(&birds, SOON);
        let gone = given_away(&nests);
        let forgot = all_count_on(&nests, &birds, &mut accounts, &gone);
        println!("{} of {} had moved, {forgot} forgot", gone.len(), share.len());
        hit += usize::from(gone.len() < share.len());
    }
    assert!(hit > 0, "each time all had moved before the nest was killed");
    assert_eq!(nests.doubled(), [""; 0]);
}

#[test]
fn what_was_taken_over_is_not_forgotten_when_the_nest_that_gave_it_away_is_killed() {
    let birds = tallies(240);
    let (mut nests, mut accounts) = two(&birds, BYTES);
    let mut hit = 0;
    for round in 0..ROUNDS {
        let homes = nests.one_life_each(&birds, SOON);
        nests.forget_travels();
        nests.join("nest-2");
        nests.nest("nest-1").ask::<()>(Command::AwaitMoved(1 + 8 * round));
        nests.kill("nest-1");
        nests.agree();
        let homes_now = nests.one_life_each(&birds, SOON);
        let come = nests.come_to("nest-2");
        let killed = at(&homes, "nest-1");
        let left = without(&killed, &come);
        let forgot = all_count_on(&nests, &birds, &mut accounts, &left);
        println!("{} of {} were not taken over, {forgot} forgot", left.len(), killed.len());
        let to_go = left.iter().filter(|bird| homes_now[*bird] == "nest-2").count();
        hit += usize::from(to_go > 0);
        nests.join("nest-1");
        nests.agree();
        nests.one_life_each(&birds, SOON);
        nests.leave("nest-2");
        nests.agree();
    }
    assert!(hit > 0, "each time all had moved before the nest was killed");
    assert_eq!(nests.doubled(), [""; 0]);
}

#[test]
fn a_bird_that_is_stopped_in_the_middle_of_its_move_lives_nowhere_after_it() {
    let mut birds = tallies(120);
    let (mut nests, mut accounts) = two(&birds, 1024);
    let share = share_of_nest_2(&mut nests, &birds);
    let held: Vec<String> = share.iter().take(6).cloned().collect();
    nests.forget_travels();
    // They can't go before this call is finished, for which they have 5 s.
    let late = |name: &String| Command::RaiseLate(name.clone(), Duration::from_secs(4));
    let late: Vec<_> = held
        .iter()
        .map(|name| nests.nest("nest-0").begin::<Result<Told, String>>(late(name)))
        .collect();
    nests.join("nest-2");
    // All others have gone: now these are on their way, and are waited for.
    let others = share.len() - held.len();
    eventually(SOON, || match given_away(&nests).len() {
        all if all == others => Ok(()),
        some => Err(format!("{some} of {others} have moved")),
    });
    let come = nests.come_to("nest-2");
    assert!(held.iter().all(|name| !come.contains(name)), "the moment has passed");
    let stops: Vec<_> = held
        .iter()
        .zip(["nest-0", "nest-1", "nest-2"].iter().cycle())
        .map(|(name, nest)| {
            nests.nest(nest).begin::<Result<(), String>>(Command::Stop(name.clone()))
        })
        .collect();
    for (name, stopped) in held.iter().zip(stops) {
        assert_eq!(stopped.wait(), Ok(()), "{name}");
    }
    for (name, told) in held.iter().zip(late) {
        assert_eq!(told.wait().map(|told| told.count), Ok(2), "{name} had begun that");
    }
    birds.retain(|name| !held.contains(name));
    assert_eq!(all_count_on(&nests, &birds, &mut accounts, &BTreeSet::new()), 0);
    for nest in ["nest-0", "nest-1", "nest-2"] {
        for gone in nests.raise_once(nest, &held, SOON) {
            assert_eq!(gone.told, Err("no bird of this name lives".into()), "{}", gone.name);
        }
    }
}

#[test]
fn a_state_that_the_next_build_cannot_read_is_shown_to_it_and_else_told_to_be_lost() {
    let mut nests = Nests::of(NEST, 1);
    let (dear, plain) = ("dear-diary".to_owned(), "plain-diary".to_owned());
    for name in [&dear, &plain] {
        let write = Command::Write(name.clone(), "it rained".into());
        assert_eq!(nests.nest("nest-0").ask::<Result<(), String>>(write), Ok(()));
    }
    nests.join_as("nest-1", |orders| Orders { is_later: true, ..orders });
    nests.agree();
    nests.terminate("nest-0", SOON).expect("it ends by itself, and with success");
    nests.agree();
    eventually(SOON, || amiss(&nests.census(), &[dear.clone(), plain.clone()]));
    let read = |name: &str| -> Result<String, String> {
        nests.nest("nest-1").ask(Command::Read(name.into()))
    };
    let told = read(&dear).expect("it lives");
    assert!(told.starts_with("it rained|a snapshot that can't be read: "), "{told}");
    assert_eq!(read(&plain), Ok(String::new()), "it has begun anew");
    let events: Vec<String> = nests.nest("nest-1").ask(Command::Events);
    let lost: Vec<_> = events.iter().filter(|event| event.contains("without a state")).collect();
    assert!(matches!(lost[..], [lost] if lost.contains(&plain)), "{lost:?}");
}
