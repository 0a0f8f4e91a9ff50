//! The peers' programs: each is a package of its own in `tests/peers`, built on demand. What they and the
//! bench say to each other is told there, in `common/src/lib.rs`.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use serde::{Deserialize, Serialize};

use super::super::talk::{Talk, brief};

/// A peer is up by then, its connection included, or doesn't come up.
const PATIENCE: Duration = Duration::from_secs(60);

/// What a round takes besides what is measured: warming up, and calls without an answer.
const BESIDES: Duration = Duration::from_secs(30);

/// A library that flock is measured beside. Its package has its name.
#[derive(Clone, Copy, Debug)]
pub(super) struct Peer(pub(super) &'static str);

pub(super) const PEERS: &[Peer] =
    &[Peer("actix-telepathy"), Peer("ractor_cluster"), Peer("tonic"), Peer("kameo")];

impl Peer {
    /// Where its package is.
    fn package(self) -> PathBuf {
        let all = Path::new(env!("CARGO_MANIFEST_DIR")).join("peers");
        all.join(self.0.replace('_', "-"))
    }

    /// Of the library, as its package's lock file has it.
    pub(super) fn version(self) -> anyhow::Result<String> {
        let lock = std::fs::read_to_string(self.package().join("Cargo.lock"))
            .with_context(|| format!("{} has no lock file", self.0))?;
        version_in(&lock, self.0).with_context(|| format!("the lock file has no {}", self.0))
    }

    /// Builds its program, and says where that is.
    pub(super) fn build(self) -> anyhow::Result<PathBuf> {
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let here = std::env::current_exe().context("which program is this?")?;
        let target = here.ancestors().nth(2).context("a program outside of a target directory")?;
        let built = Command::new(cargo)
            .args(["build", "--release", "--locked", "--message-format", "json", "--target-dir"])
            .arg(target.join("peers"))
            .current_dir(self.package())
            .output()
            .with_context(|| format!("{} can't be built", self.0))?;
        let (said, cried) =
            (String::from_utf8_lossy(&built.stdout), String::from_utf8_lossy(&built.stderr));
        if !built.status.success() {
            let complaints = messages(&said).chain(cried.lines().map(str::to_owned));
            let first = complaints.into_iter().find(|line| line.starts_with("error"));
            bail!("it can't be built: {}", brief(&first.unwrap_or_else(|| cried.into_owned())));
        }
        executable(&said).context("cargo doesn't say where it is built")
    }
}

/// What the compiler says, as it would show it.
fn messages(said: &str) -> impl Iterator<Item = String> {
    let lines = said.lines().filter_map(|line| serde_json::from_str(line).ok());
    lines.filter_map(|line: serde_json::Value| Some(line["message"]["rendered"].as_str()?.into()))
}

fn executable(said: &str) -> Option<PathBuf> {
    let lines = said.lines().filter_map(|line| serde_json::from_str(line).ok());
    lines
        .filter_map(|line: serde_json::Value| Some(PathBuf::from(line["executable"].as_str()?)))
        .next_back()
}

fn version_in(lock: &str, package: &str) -> Option<String> {
    let name = format!("name = \"{package}\"");
    let version = lock.lines().skip_while(|line| *line != name).nth(1)?;
    Some(version.strip_prefix("version = \"")?.strip_suffix('"')?.to_owned())
}

/// A round, as it is ordered.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct Order {
    pub(super) in_flight: usize,
    pub(super) bytes: usize,
    pub(super) seconds: f64,
    callee: u32,
}

/// What came of it.
#[derive(Clone, Copy, Debug, Deserialize)]
pub(super) struct Found {
    pub(super) rate: f64,
    pub(super) p50_us: f64,
    pub(super) p99_us: f64,
    pub(super) p999_us: f64,
    pub(super) caller_cpu_us: f64,
    pub(super) callee_cpu_us: f64,
    pub(super) failed: u64,
}

/// Two processes of a peer, connected.
#[derive(Debug)]
pub(super) struct Pair {
    callee: Talk,
    caller: Talk,
}

impl Pair {
    pub(super) fn start(program: &Path) -> anyhow::Result<Self> {
        let mut callee = Talk::start(program, ["callee"])?;
        let address = callee.hear(PATIENCE).context("the one to be called")?;
        let mut caller = Talk::start(program, ["caller", &address])?;
        let ready = caller.hear(PATIENCE).context("the one that calls")?;
        ensure!(ready == "ready", "the one that calls says {}", brief(&ready));
        Ok(Self { callee, caller })
    }

    /// Both processes.
    pub(super) fn pids(&self) -> [u32; 2] {
        [self.callee.pid(), self.caller.pid()]
    }

    pub(super) fn round(
        &mut self,
        in_flight: usize,
        bytes: usize,
        span: Duration,
    ) -> anyhow::Result<Found> {
        let callee = self.callee.pid();
        let order = Order { in_flight, bytes, seconds: span.as_secs_f64(), callee };
        self.caller.tell(&order)?;
        self.caller.hear_of(span + BESIDES)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_peer_has_a_package_with_a_lock_file_that_names_its_version() {
        for peer in PEERS {
            let version = peer.version().expect("a lock file");
            let parts: Vec<_> = version.split('.').filter_map(|part| part.parse().ok()).collect();
            assert_eq!(Vec::<u32>::len(&parts), 3, "{} {version}", peer.0);
        }
        assert_eq!(version_in("name = \"a\"\nversion = \"1.2.3\"\n", "b"), None);
    }

    #[test]
    fn a_package_that_is_not_there_can_not_be_built() {
        let error = Peer("no-such-library").build().expect_err("there is none").to_string();
        assert!(error.contains("can't be built"), "{error}");
    }

    #[test]
    fn a_program_that_does_not_come_up_says_how_it_ended() {
        let error = Pair::start(Path::new("false")).expect_err("it ends at once");
        assert!(format!("{error:#}").contains("ended with exit status: 1"), "{error:#}");
        assert!(Pair::start(Path::new("no-such-program")).is_err());
    }

    #[test]
    fn what_the_compiler_says_is_told_on_one_line() {
        let said = r#"{"message":{"rendered":"error[E1]: no\n --> here\n"}}
no json
{"executable":"/a/library"}
{"executable":"/a/program"}"#;
        assert_eq!(
            messages(said).map(|m| brief(&m)).collect::<Vec<_>>(),
            ["error[E1]: no --> here"]
        );
        assert_eq!(executable(said), Some("/a/program".into()));
    }
}
