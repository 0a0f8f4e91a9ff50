//! Real nests on simulated hosts.

use std::num::NonZero;
use std::process::Command;
use std::sync::Mutex;
use std::time::Duration;

use flock_tests::turmoil::{Broken, Deeds, Told, replay, replay_keyed, tell, tell_keyed};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{sleep, timeout};
use turmoil::net::{TcpListener, TcpStream};

/// Seeds whose stories broke once. Stories change with the teller, so such a seed may have lost its
/// meaning; it costs less to keep than to know.
const ONCE_BROKEN: &[u64] = &[2, 22, 23, 45, 84, 90, 161, 311, 342];

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().map(|n| n.parse().expect("a number"))
}

/// Tells all of these stories, on all cores; those that broke come with their seeds.
fn tell_all(seeds: impl Iterator<Item = u64> + Send) -> (Deeds, Vec<(u64, Broken)>) {
    let seeds = Mutex::new(seeds);
    let sum = Mutex::new((Deeds::default(), Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, NonZero::get) {
            scope.spawn(|| {
                while let Some(seed) = { seeds.lock().unwrap().next() } {
                    let Told { did, broken, .. } = tell(seed);
                    let mut sum = sum.lock().unwrap();
                    sum.0.add(&did);
                    sum.1.extend(broken.map(|broken| (seed, broken)));
                }
            });
        }
    });
    sum.into_inner().unwrap()
}

#[test]
fn every_story_comes_to_a_good_end() {
    let seeds = number("FLOCK_TURMOIL_SEEDS").unwrap_or(4);
    let (did, mut broken) = tell_all((1..=seeds).chain(ONCE_BROKEN.iter().copied()));
    broken.sort_by_key(|(seed, _)| *seed);
    if let Some((seed, broken)) = broken.first() {
        panic!("seed {seed}: {broken}\nreplay it:\n  {}", replay(*seed));
    }
    assert_eq!(did.missing(), [] as [&str; 0], "the stories never did one of these");
}

/// Sealed links meet the same weather: what is torn, held up and lost is records.
#[test]
fn stories_of_nests_with_a_key_come_to_a_good_end_and_one_seed_is_one_trace() {
    let seeds = number("FLOCK_TURMOIL_SEEDS").unwrap_or(3);
    let mut all = Deeds::default();
    for seed in 1..=seeds {
        let Told { did, broken, .. } = tell_keyed(seed);
        if let Some(broken) = broken {
            panic!("seed {seed}: {broken}\nreplay it:\n  {}", replay_keyed(seed));
        }
        all.add(&did);
    }
    assert!(all.calls > 0 && all.moves > 0 && all.recoveries > 0 && all.partitions > 0, "{all:?}");
    let (one, again) = (tell_keyed(2).trace, tell_keyed(2).trace);
    assert!(one == again, "{}", first_difference(&one, &again));
    let plain = tell(2).trace;
    let sent =
        |trace: &str| trace.lines().rev().find(|line| line.contains("sent ")).map(str::to_owned);
    assert_ne!(sent(&one), sent(&plain), "they aren't sealed");
}

#[test]
fn one_seed_is_one_trace_to_the_byte_and_another_seed_another() {
    let here = tell(3).trace;
    // After another story, on another thread.
    let again = std::thread::spawn(|| (tell(4).trace, tell(3).trace));
    let process = Command::new(env!("CARGO_BIN_EXE_story")).arg("3").output();
    let process = process.expect("the program that tells one story");
    let (other, again) = again.join().expect("it told");
    assert!(again == here, "{}", first_difference(&here, &again));
    let process = String::from_utf8_lossy(&process.stdout);
    assert!(process == here, "{}", first_difference(&here, &process));
    assert_ne!(other, here);
}

fn first_difference(one: &str, other: &str) -> String {
    let differ = one.lines().zip(other.lines()).enumerate().find(|(_, (one, other))| one != other);
    match differ {
        Some((line, (one, other))) => format!("line {}:\n  {one}\n  {other}", line + 1),
        None => {
            format!("one has {} lines, the other {}", one.lines().count(), other.lines().count())
        }
    }
}

const SECOND: Duration = Duration::from_secs(1);

/// A host that listens and, once somebody has dialled, reads for ever; and one that does `then`.
fn with_turmoils_own_streams(
    then: impl AsyncFn() -> turmoil::Result + 'static,
    mut at_one_second: impl FnMut(&mut turmoil::Sim<'_>),
) {
    let mut builder = turmoil::Builder::new();
    let mut sim = builder.simulation_duration(100 * SECOND).build();
    sim.host("server", || async {
        let door = TcpListener::bind("0.0.0.0:80").await?;
        let (mut stream, _) = door.accept().await?;
        while stream.read_u8().await.is_ok() {
            stream.write_u8(1).await?;
        }
        std::future::pending().await
    });
    sim.client("client", async move { then().await });
    while !sim.step().expect("the client succeeds") {
        if sim.elapsed() == SECOND {
            at_one_second(&mut sim);
        }
    }
}

/// Why `flock-actix` brings streams of its own. Where one of these fails, turmoil has got better, and
/// they may go.
#[test]
fn turmoils_own_streams_would_mislead() {
    let a_loss_is_for_ever = async || {
        let mut stream = TcpStream::connect("server:80").await?;
        stream.write_u8(1).await?;
        stream.read_u8().await?;
        turmoil::partition("client", "server");
        stream.write_u8(1).await?;
        turmoil::repair("client", "server");
        stream.write_u8(1).await?;
        assert!(timeout(60 * SECOND, stream.read_u8()).await.is_err(), "the loss was made good");
        Ok(())
    };
    with_turmoils_own_streams(a_loss_is_for_ever, |_| {});

    let who_is_out_of_reach_refuses = async || {
        turmoil::partition("client", "server");
        let refused = TcpStream::connect("server:80").await.expect_err("a stream");
        assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);
        Ok(())
    };
    with_turmoils_own_streams(who_is_out_of_reach_refuses, |_| {});

    let who_loses_power_says_goodbye = async || {
        let mut stream = TcpStream::connect("server:80").await?;
        sleep(2 * SECOND - turmoil::sim_elapsed().unwrap_or_default()).await;
        assert!(timeout(Duration::ZERO, stream.read_u8()).await.is_ok(), "silence");
        Ok(())
    };
    with_turmoils_own_streams(who_loses_power_says_goodbye, |sim| sim.crash("server"));
}
