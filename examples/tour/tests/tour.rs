//! The main job, run as a user runs it.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

const TOUR: &str = env!("CARGO_BIN_EXE_tour");

#[test]
fn the_tour_keeps_every_promise_and_leaves_nothing_behind() {
    let temp = TempFolder::new("whole");
    let mut tour = Command::new(TOUR);
    tour.args(["--once", "--json", "--birds", "60"]).env("TMPDIR", &temp.0);
    let Output { status, stdout, stderr } = tour.output().unwrap();
    let (told, figures) = (String::from_utf8(stderr).unwrap(), String::from_utf8(stdout).unwrap());
    assert!(status.success(), "{status}\n{told}\n{figures}");
    let figures: Value = serde_json::from_str(figures.lines().last().unwrap()).unwrap();
    for (path, expected) in [
        ("/nests", 3),
        ("/birds", 60),
        ("/calls_ok", 60),
        ("/kill/lost", 0),
        ("/kill/doubled", 0),
        ("/join/moved_between_old_nests", 0),
        ("/join/lost", 0),
        ("/join/doubled", 0),
        ("/partition/side_a", 60),
        ("/partition/side_b", 60),
        ("/partition/after_heal", 60),
        ("/partition/doubled", 0),
    ] {
        assert_eq!(figures.pointer(path), Some(&Value::from(expected)), "{path} in {figures}");
    }
    for path in ["/started_ms", "/kill/recovered_ms", "/kill/resumed", "/join/moved"] {
        assert!(figures.pointer(path).is_some_and(Value::is_u64), "{path} in {figures}");
    }
    assert_eq!(figures.pointer("/share").and_then(Value::as_object).map(|s| s.len()), Some(3));
    wait_until("all nests to end", || !pids(&told).iter().any(|pid| runs(*pid)));
    assert_eq!(temp.entries(), Vec::<PathBuf>::new());
}

#[test]
fn no_nest_survives_a_killed_tour() {
    let temp = TempFolder::new("killed");
    let (mut tour, nests) = tour_with_three_nests(&temp.0);
    assert!(nests.iter().all(|pid| runs(*pid)));
    // SIGKILL: the tour has no chance to tidy up.
    tour.kill().unwrap();
    tour.wait().unwrap();
    wait_until("all nests to end", || !nests.iter().any(|pid| runs(*pid)));
    wait_until("the folder to be removed", || temp.entries().is_empty());
}

#[test]
fn an_interrupted_tour_ends_its_nests() {
    let temp = TempFolder::new("interrupted");
    let (mut tour, nests) = tour_with_three_nests(&temp.0);
    let interrupt = Command::new("kill").args(["-INT", &tour.id().to_string()]).status().unwrap();
    assert!(interrupt.success());
    assert_eq!(tour.wait().unwrap().code(), Some(130));
    wait_until("all nests to end", || !nests.iter().any(|pid| runs(*pid)));
    assert_eq!(temp.entries(), Vec::<PathBuf>::new());
}

#[test]
fn a_wrong_command_line_is_refused_with_a_hint() {
    for program in [TOUR, env!("CARGO_BIN_EXE_nest"), env!("CARGO_BIN_EXE_birds")] {
        let refused = Command::new(program).arg("--nonsense").output().unwrap();
        assert_eq!(refused.status.code(), Some(2), "{program}");
        let told = String::from_utf8(refused.stderr).unwrap();
        assert!(told.contains("--nonsense") && told.contains("--help"), "{told}");
        let help = Command::new(program).arg("--help").output().unwrap();
        assert_eq!(help.status.code(), Some(0), "{program}");
        assert!(String::from_utf8(help.stdout).unwrap().contains("usage:"), "{program}");
    }
}

#[test]
fn with_a_key_in_its_environment_a_nest_lets_in_only_birds_that_have_it() {
    let temp = TempFolder::new("keyed");
    let store = temp.0.join("store.db");
    let key = flock_actix::ClusterKey::generate().unwrap().reveal();
    let mut nest = Command::new(env!("CARGO_BIN_EXE_nest"));
    nest.args(["--listen", "127.0.0.1:0", "--store"]).arg(&store).env("FLOCK_KEY", &key);
    let mut nest = Ended(nest.stdout(Stdio::piped()).spawn().unwrap());
    let (mut line, mut told) = (String::new(), BufReader::new(nest.0.stdout.take().unwrap()));
    told.read_line(&mut line).unwrap();
    let address = line.trim().rsplit(' ').next().unwrap().to_owned();
    std::thread::spawn(move || std::io::copy(&mut told, &mut std::io::sink()));
    let start = || {
        let mut birds = Command::new(env!("CARGO_BIN_EXE_birds"));
        birds.args(["--join", &address, "start", "5"]).env_remove("FLOCK_KEY");
        birds
    };
    let Output { status, stderr, .. } = start().output().unwrap();
    let told = String::from_utf8(stderr).unwrap();
    assert!(!status.success(), "{told}");
    assert!(told.contains("it has a key, and this nest has none"), "{told}");
    let Output { status, stdout, stderr } = start().env("FLOCK_KEY", &key).output().unwrap();
    let told = String::from_utf8(stdout).unwrap() + &String::from_utf8(stderr).unwrap();
    assert!(status.success() && told.contains('5'), "{told}");
}

/// A process that goes with the test.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A tour that has started all its nests, and their processes.
fn tour_with_three_nests(temp: &Path) -> (Child, Vec<u32>) {
    let mut tour = Command::new(TOUR);
    tour.args(["--once", "--json", "--birds", "60"]).env("TMPDIR", temp);
    tour.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut tour = tour.spawn().unwrap();
    let mut told = BufReader::new(tour.stderr.take().unwrap());
    let mut text = String::new();
    while pids(&text).len() < 3 {
        assert!(told.read_line(&mut text).unwrap() > 0, "the tour ended early:\n{text}");
    }
    // Somebody must go on reading, else the tour stands still when the pipe is full.
    std::thread::spawn(move || std::io::copy(&mut told, &mut std::io::sink()));
    (tour, pids(&text))
}

/// The processes that the tour named: "nest-1: process 123 listens on …".
fn pids(told: &str) -> Vec<u32> {
    let after = told.lines().filter_map(|line| line.split_once(": process "));
    after.filter_map(|(_, rest)| rest.split(' ').next()?.parse().ok()).collect()
}

/// A zombie whose new parent has not fetched it yet runs no more.
fn runs(pid: u32) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    status.lines().any(|line| line.starts_with("State:") && !line.contains('Z'))
}

fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(20);
    while !holds() {
        assert!(Instant::now() < end, "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// A folder that stands in for the system's temporary one.
struct TempFolder(PathBuf);

impl TempFolder {
    fn new(name: &str) -> Self {
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn entries(&self) -> Vec<PathBuf> {
        std::fs::read_dir(&self.0).unwrap().map(|entry| entry.unwrap().path()).collect()
    }
}
