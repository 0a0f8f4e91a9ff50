//! Nests that die without a word.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::process::Stdio;
use std::time::{Duration, Instant};

use flock_tests::protocol::Orders;
use flock_tests::{Nests, eventually, names};

const NEST: &str = env!("CARGO_BIN_EXE_nest-under-test");
/// What the flock promises.
const RECOVERY: Duration = Duration::from_secs(3);

#[test]
fn after_kill_9_of_one_nest_of_three_all_birds_answer_again_and_a_restart_takes_only_its_share() {
    let birds = names(400);
    // With a key, as nests are run; the other tests run them without.
    let mut nests = Nests::keyed(NEST, 3);
    let nest = nests.nest("nest-1").address().to_owned();
    assert_eq!(hello_without_a_key(&nest), [3, 0, 0, 0, 1, 6, 1], "barred, for want of a key");
    nests.start("nest-0", &birds);
    let homes = nests.one_life_each(&birds, Duration::from_secs(5));
    let before = nests.all_answer(&birds, RECOVERY);

    nests.kill("nest-2");
    let killed = Instant::now();
    let after = nests.all_answer(&birds, RECOVERY);
    let took = killed.elapsed();
    println!("all {} answer again after {took:?}", birds.len());
    assert!(took < RECOVERY, "all answer again only after {took:?}");
    assert_eq!(nests.doubled(), [""; 0]);
    nests.one_life_each(&birds, RECOVERY);
    let stayed: BTreeMap<_, _> =
        before.iter().filter(|(bird, _)| homes[*bird] != "nest-2").collect();
    let moved = birds.len() - stayed.len();
    assert!(moved > birds.len() / 10, "nest-2 had only {moved}");
    assert!(stayed.iter().all(|(bird, voice)| after[*bird] == **voice), "a life was disturbed");

    nests.join("nest-2");
    nests.agree();
    assert_eq!(nests.doubled(), [""; 0]);
    assert_eq!(nests.one_life_each(&birds, Duration::from_secs(10)), homes);
    let again = nests.all_answer(&birds, RECOVERY);
    assert!(stayed.iter().all(|(bird, voice)| again[*bird] == **voice), "a life was disturbed");
}

/// What a nest answers to somebody who speaks as nests without a key do.
fn hello_without_a_key(nest: &str) -> Vec<u8> {
    let mut stream = TcpStream::connect(nest).expect("it listens");
    stream.write_all(&[2, 0, 0, 0, 1, 1]).expect("it reads");
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    answer
}

#[test]
fn a_kill_9_leaves_no_caller_waiting_for_its_deadline() {
    let birds = names(100);
    let mut nests = Nests::of(NEST, 3);
    nests.start("nest-0", &birds);
    let callers = ["nest-0", "nest-1"];
    for _ in 0..5 {
        nests.load(&callers, &birds);
        nests.kill("nest-2");
        nests.agree();
        nests.one_life_each(&birds, RECOVERY);
        let load = nests.quiet(&callers);
        println!("{} calls answered, {} failed", load.answered, load.failed.len());
        let broken = |failed: &&String| failed.contains("the link broke");
        assert_eq!(load.failed.iter().filter(broken).count(), load.failed.len(), "{load:?}");
        nests.join("nest-2");
        nests.agree();
        nests.one_life_each(&birds, RECOVERY);
    }
}

#[test]
fn after_kill_9_of_one_nest_of_two_the_last_one_runs_all_birds() {
    let birds = names(200);
    let mut nests = Nests::of(NEST, 2);
    nests.start("nest-1", &birds);
    nests.kill("nest-1");
    let killed = Instant::now();
    nests.all_answer(&birds, RECOVERY);
    println!("all {} answer again after {:?}", birds.len(), killed.elapsed());
    nests.one_life_each(&birds, RECOVERY);
    nests.agree();
}

#[test]
fn twenty_restarts_under_one_name_leave_one_member() {
    let birds = names(60);
    let mut nests = Nests::of(NEST, 3);
    nests.start("nest-0", &birds);
    for _ in 0..20 {
        nests.kill("nest-2");
        nests.join("nest-2");
    }
    nests.agree();
    nests.all_answer(&birds, RECOVERY);
    nests.one_life_each(&birds, RECOVERY);
}

#[test]
fn a_bird_outlives_the_process_that_started_it() {
    let birds = names(60);
    let mut nests = Nests::of(NEST, 2);
    // It owns nothing, so all birds live elsewhere from the beginning.
    let seeds = vec![nests.nest("nest-0").address().into()];
    nests.join_by("guest", seeds, 0);
    nests.agree();
    nests.start("guest", &birds);
    let before = nests.all_answer(&birds, RECOVERY);
    nests.kill("guest");
    assert_eq!(nests.all_answer(&birds, RECOVERY), before);
    nests.agree();
    assert_eq!(nests.all_answer(&birds, RECOVERY), before);
}

#[test]
fn a_nest_ends_with_the_test_that_started_it() {
    let orders = Orders::on_loopback("orphan", Vec::new());
    let mut nest = std::process::Command::new(NEST)
        .arg(serde_json::to_string(&orders).expect("orders are JSON"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("it starts");
    let mut hello = String::new();
    let stdout = nest.stdout.take().expect("a pipe");
    let read = BufReader::new(stdout).read_line(&mut hello);
    // As the system does for a test that is killed.
    drop(nest.stdin.take());
    let ended = || match nest.try_wait() {
        Ok(Some(_)) => Ok(()),
        other => Err(format!("{other:?}")),
    };
    eventually(RECOVERY, ended);
    assert!(read.is_ok_and(|read| read > 0), "it never was up");
}
