//! Who may join: nests that have the flock's key, and nobody else.
#![cfg(feature = "noise")]

mod common;

use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use common::*;
use flock_actix::testing::TestFlock;
use flock_actix::{Builder, ClusterKey, Flock, KeyError, StartError};

fn new_key() -> ClusterKey {
    ClusterKey::generate().expect("the system has randomness")
}

#[tokio::test]
async fn nests_with_one_key_are_one_flock() {
    let key = new_key();
    let keyed = move |nest: Builder| nest.key(key.clone()).species::<Counter>();
    let mut flock = TestFlock::with(3, keyed).await;
    start_all(flock.nest(0), &names("bird", 30)).await;
    for nest in flock.nests() {
        for name in names("bird", 30) {
            assert!(counter(nest, &name).send(Add(1)).await.is_ok());
        }
    }
    assert_eq!(counter(flock.nest(1), "bird-7").send(Add(0)).await, Ok(3));
    flock.kill(2).await;
    flock.agree().await;
    for name in names("bird", 30) {
        assert!(counter(flock.nest(1), &name).send(Add(1)).deadline(PATIENCE).await.is_ok());
    }
}

#[tokio::test]
async fn a_nest_with_another_key_and_one_without_stay_out_and_both_ends_say_so() {
    let inside = lone("keys").name("inside").key(new_key()).join().await.expect("up");
    let mut told = inside.events();
    let stranger = |name: &str| lone("keys").name(name).seeds([seed(&inside)]);
    for (stranger, here, there) in [
        (stranger("other").key(new_key()), "another key", "another key"),
        (
            stranger("none"),
            "has no key, and this nest has one",
            "has a key, and this nest has none",
        ),
    ] {
        let mut heard = stranger.events();
        let stranger = stranger.join().await.expect("a flock of its own");
        let refused = until(&mut told, why).await;
        assert!(refused.contains(here), "{refused}");
        let refused = until(&mut heard, why).await;
        assert!(refused.contains(there) && refused.contains("this nest was refused"), "{refused}");
        for nest in [&inside, &stranger] {
            assert_eq!(nest.nests().await.len(), 1);
        }
    }
}

#[tokio::test]
async fn a_nest_with_a_key_does_not_join_a_flock_without_one() {
    let open = lone("keys").name("open").join().await.expect("up");
    let mut told = open.events();
    let keyed = lone("keys").name("keyed").key(new_key()).seeds([seed(&open)]);
    let mut heard = keyed.events();
    let keyed = keyed.join().await.expect("a flock of its own");
    assert!(until(&mut told, why).await.contains("it has a key, and this nest has none"));
    assert!(until(&mut heard, why).await.contains("it has no key, and this nest has one"));
    assert_eq!((open.nests().await.len(), keyed.nests().await.len()), (1, 1));
}

/// The nests of a flock that is restarted piece by piece, and somebody who calls its birds all the time.
struct House {
    nests: Vec<Flock>,
    /// The nest that is called from.
    calls_from: Arc<Mutex<Flock>>,
    answered: Arc<AtomicU64>,
    failed: Arc<Mutex<Vec<String>>>,
    caller: tokio::task::JoinHandle<()>,
}

impl House {
    async fn of(nests: usize, key: &ClusterKey) -> Self {
        let mut up: Vec<Flock> = Vec::new();
        for n in 0..nests {
            up.push(Self::nest(n, vec![key.clone()], up.iter().map(seed).collect()).await);
        }
        let birds = names("bird", 24);
        start_all(&up[0], &birds).await;
        let calls_from = Arc::new(Mutex::new(up[0].clone()));
        let (answered, failed) = (Arc::new(AtomicU64::new(0)), Arc::new(Mutex::new(Vec::new())));
        let (from, count, errors) = (calls_from.clone(), answered.clone(), failed.clone());
        let caller = tokio::spawn(async move {
            for bird in birds.iter().cycle() {
                let nest = from.lock().unwrap_or_else(PoisonError::into_inner).clone();
                match counter(&nest, bird).send(Tell).deadline(PATIENCE).await {
                    Ok(_) => count.fetch_add(1, Ordering::Relaxed),
                    Err(e) => {
                        let error = format!("{bird} called from {}: {e}", nest.name());
                        errors.lock().unwrap_or_else(PoisonError::into_inner).push(error);
                        continue;
                    }
                };
            }
        });
        Self { nests: up, calls_from, answered, failed, caller }
    }

    async fn nest(n: usize, keys: Vec<ClusterKey>, seeds: Vec<String>) -> Flock {
        let form_after = if seeds.is_empty() { Duration::ZERO } else { PATIENCE };
        let nest = Flock::builder("house").name(format!("nest-{n}")).keys(keys).seeds(seeds);
        nest.species::<Counter>().form_after(form_after).join().await.expect("up")
    }

    /// Waits until so many more calls are answered.
    async fn hears(&self, more: u64) {
        let (start, from) = (Instant::now(), self.answered.load(Ordering::Relaxed));
        while self.answered.load(Ordering::Relaxed) < from + more {
            assert!(start.elapsed() < PATIENCE, "calls stand still");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Restarts one nest after the other with these keys.
    async fn restart(&mut self, keys: &[&ClusterKey]) {
        for n in 0..self.nests.len() {
            let other = self.nests[(n + 1) % self.nests.len()].clone();
            *self.calls_from.lock().unwrap_or_else(PoisonError::into_inner) = other;
            self.hears(2).await;
            self.nests[n].leave().await.expect("it leaves");
            let others = self.nests.iter().enumerate().filter(|(i, _)| *i != n);
            let seeds = others.map(|(_, nest)| seed(nest)).collect();
            self.nests[n] =
                Self::nest(n, keys.iter().map(|&key| key.clone()).collect(), seeds).await;
            self.hears(48).await;
            let failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
            assert!(failed.is_empty(), "{failed:?}");
        }
        for nest in &self.nests {
            let seen = nest.nests().await;
            assert_eq!(seen.len(), self.nests.len(), "{seen:?}");
        }
    }
}

impl Drop for House {
    fn drop(&mut self) {
        self.caller.abort();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_is_replaced_nest_by_nest_and_no_call_fails() {
    let (old, new) = (new_key(), new_key());
    let mut house = House::of(3, &old).await;
    house.restart(&[&old, &new]).await;
    house.restart(&[&new, &old]).await;
    house.restart(&[&new]).await;
    // The old key opens nothing any more.
    let mut told = house.nests[0].events();
    let late = lone("house").name("late").key(old).seeds([seed(&house.nests[0])]);
    let late = late.join().await.expect("a flock of its own");
    assert!(until(&mut told, why).await.contains("another key"));
    assert_eq!(late.nests().await.len(), 1);
}

#[tokio::test]
async fn without_a_key_an_address_that_others_can_reach_is_an_error_with_two_ways_out() {
    let error = lone("open").bind("192.0.2.1:0").join().await.expect_err("no");
    assert!(matches!(error, StartError::NotLoopback { .. }), "{error}");
    let text = error.to_string();
    assert!(text.contains(".key(") && text.contains(".insecure()"), "{text}");
}

#[tokio::test]
async fn insecure_warns_at_every_start_and_a_key_never() {
    let warnings = Warnings::install();
    let warned = |of: &str| {
        let lines = warnings.lines();
        lines.iter().filter(|line| line.contains("may join") && line.contains(of)).count()
    };
    let everywhere =
        |flock: &str| lone(flock).bind("0.0.0.0:0").advertise("127.0.0.1:1").name("everywhere");
    for starts in 1..=2 {
        everywhere("warned").insecure().join().await.expect("up");
        assert_eq!(warned("0.0.0.0:0"), starts);
    }
    everywhere("keyed").key(new_key()).join().await.expect("a key is enough");
    everywhere("keyed").key(new_key()).insecure().join().await.expect("up");
    assert_eq!(warned("0.0.0.0:0"), 2);
}

#[tokio::test]
async fn a_keyring_of_no_key_or_of_nine_is_a_start_up_error() {
    for count in [0, 9] {
        let keys = std::iter::repeat_with(new_key).take(count);
        let error = lone("ring").keys(keys).join().await.expect_err("no");
        assert!(matches!(error, StartError::BadKeyring(n) if n == count), "{error}");
    }
    lone("ring").keys(std::iter::repeat_with(new_key).take(8)).join().await.expect("up");
}

#[tokio::test]
async fn nothing_that_is_printed_of_a_nest_shows_its_key() {
    let key = new_key();
    let builder = lone("quiet").key(key.clone());
    let shown = format!("{builder:?}");
    let shown = format!("{shown} {:?}", builder.join().await.expect("up"));
    assert!(shown.contains("ClusterKey(..)"));
    assert!(!shown.contains(&key.reveal()) && !shown.contains(&key.reveal()[..8]));
}

#[test]
fn a_key_is_read_from_a_file_and_a_bad_one_is_told_without_showing_it() {
    let path = std::env::temp_dir().join(format!("flock-key-{}", std::process::id()));
    let key = new_key();
    for (text, good) in [(format!("{}\n", key.reveal()), true), ("hunter2hunter2".into(), false)] {
        std::fs::write(&path, text).expect("it is written");
        set_mode(&path, 0o600);
        match ClusterKey::from_file(&path) {
            Ok(read) => assert!(good && read.reveal() == key.reveal()),
            Err(e) => assert!(!good && !format!("{e} {e:?}").contains("hunter"), "{e}"),
        }
    }
    std::fs::remove_file(&path).expect("it was there");
    assert!(matches!(ClusterKey::from_file(&path), Err(KeyError::File { .. })));
}

#[cfg(unix)]
#[test]
fn a_key_in_a_file_that_others_can_read_is_refused_with_what_to_do() {
    let path = std::env::temp_dir().join(format!("flock-open-key-{}", std::process::id()));
    std::fs::write(&path, new_key().reveal()).expect("it is written");
    for (mode, good) in [(0o400, true), (0o600, true), (0o644, false), (0o660, false)] {
        set_mode(&path, mode);
        match ClusterKey::from_file(&path) {
            Ok(_) => assert!(good, "{mode:o}"),
            Err(e) => {
                assert!(!good && matches!(e, KeyError::OpenToOthers { .. }), "{mode:o}: {e}");
                assert!(e.to_string().contains(&format!("{mode:o}): `chmod 600`")), "{e}");
            }
        }
    }
    std::fs::remove_file(&path).expect("it was there");
}

fn set_mode(path: &std::path::Path, mode: u32) {
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let permissions = std::fs::Permissions::from_mode(mode);
        std::fs::set_permissions(path, permissions).expect("its mode is set");
    }
}

#[test]
fn a_key_is_read_from_the_environment() {
    let (good, weak) = (new_key().reveal(), "ab".repeat(32));
    for (text, reads) in [(&good, true), (&weak, false)] {
        let this = std::env::current_exe().expect("a program");
        let mut child = Command::new(this);
        child.args(["--exact", "a_process_whose_environment_holds_a_key", "--ignored"]);
        let output = child.env("FLOCK_KEY_HERE", text).output().expect("it runs");
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(said.contains("running 1 test"), "{said}");
        assert_eq!(output.status.success(), reads, "{said}");
        assert!(!said.contains(text), "{said}");
    }
}

#[test]
#[ignore = "runs as a child of the test above"]
fn a_process_whose_environment_holds_a_key() {
    ClusterKey::from_env("FLOCK_KEY_HERE").expect("a key");
}
