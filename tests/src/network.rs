//! A network of its own for the nests of one test: a network namespace for each, joined by a bridge
//! in one more. Nothing of it is seen outside, and it loses what a test wants lost.

use std::io::Write as _;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::nest::Nest;
use crate::protocol::Orders;

/// What the names of all namespaces begin with; the process that made them follows.
const PREFIX: &str = "flocktest";
const PORT: u16 = 7100;

/// Whether tests with network namespaces can run here. If not, says why, past the capture of tests'
/// output.
///
/// # Panics
/// If they can't run and `FLOCK_TESTS_REQUIRE` names `netns`.
#[track_caller]
pub fn allowed() -> bool {
    let Err(why) = possible() else { return true };
    let required = std::env::var("FLOCK_TESTS_REQUIRE").unwrap_or_default();
    let required = required.split([',', ' ']).any(|word| word == "netns");
    assert!(!required, "network namespaces are required, but {why}");
    let test = std::thread::current().name().unwrap_or("a test").to_owned();
    let _ = writeln!(std::io::stderr(), "SKIPPED {test}: {why}");
    false
}

/// Whether there can be networks with all that a test may need. If not, says why.
pub(crate) fn possible() -> Result<(), String> {
    Network::build(&[], 1)?.can_lose()
}

/// Network namespaces joined by a bridge, removed when this is dropped. The nests in them must be
/// gone by then.
#[derive(Debug)]
pub struct Network {
    /// The child's, behind the words that are to stand in front of it.
    program: Vec<String>,
    prefix: String,
    hosts: u8,
}

impl Network {
    /// A network of so many hosts, numbered from 0.
    #[track_caller]
    pub fn of(program: &str, hosts: u8) -> Self {
        Self::build(&[program], hosts).unwrap_or_else(|why| panic!("{why}"))
    }

    /// The same, if there can be one here; else why not. `program` is the child's program and the words
    /// that stand in front of its orders.
    pub fn build(program: &[&str], hosts: u8) -> Result<Self, String> {
        sweep();
        let prefix = format!("{PREFIX}-{}-{}", std::process::id(), serial());
        // From here on what there is of it is removed if anything goes wrong.
        let program = program.iter().map(|&word| word.into()).collect();
        let network = Self { program, prefix, hosts };
        let hub = network.hub();
        run(&format!("ip netns add {hub}"))?;
        run(&format!("ip -n {hub} link add hub type bridge"))?;
        run(&format!("ip -n {hub} link set hub up"))?;
        for host in 0..hosts {
            let (name, at) = (network.host(host), network.address(host));
            run(&format!("ip netns add {name}"))?;
            run(&format!("ip -n {hub} link add to{host} type veth peer name out netns {name}"))?;
            run(&format!("ip -n {hub} link set to{host} master hub up"))?;
            run(&format!("ip -n {name} addr add {at}/24 dev out"))?;
            run(&format!("ip -n {name} link set out up"))?;
            run(&format!("ip -n {name} link set lo up"))?;
        }
        Ok(network)
    }

    /// Whether packets can be lost here; if not, why.
    fn can_lose(&self) -> Result<(), String> {
        let host = self.host(0);
        let chance = "-m statistic --mode random --probability 0.5";
        run(&format!("ip netns exec {host} iptables -w -A INPUT {chance} -j DROP"))?;
        run(&format!("ip netns exec {host} iptables -w -F")).map(drop)
    }

    /// Starts `nest-0` on host 0, and so on. It looks for the others on all other hosts, unless it
    /// is the `first`.
    #[track_caller]
    pub fn nest(&self, host: u8, first: bool) -> Nest {
        let others = (0..self.hosts).filter(|&other| other != host && !first);
        let seeds = others.map(|other| format!("{}:{PORT}", self.address(other))).collect();
        let bind = format!("{}:{PORT}", self.address(host));
        let orders = Orders::on(format!("nest-{host}"), bind, seeds);
        let inside = self.host(host);
        let words = ["ip", "netns", "exec", &inside].into_iter();
        let words: Vec<&str> = words.chain(self.program.iter().map(String::as_str)).collect();
        Nest::start(&words, &orders)
    }

    /// Loses, without a word, all that goes from one host to another; not what comes back.
    #[track_caller]
    pub fn deafen(&self, from: u8, to: u8) {
        self.filter(to, &format!("-A INPUT -s {} -j DROP", self.address(from)));
    }

    /// Loses, without a word, all that goes between these two hosts.
    #[track_caller]
    pub fn cut(&self, one: u8, other: u8) {
        for (here, there) in [(one, other), (other, one)] {
            let there = self.address(there);
            self.filter(here, &format!("-A INPUT -s {there} -j DROP"));
            self.filter(here, &format!("-A OUTPUT -d {there} -j DROP"));
        }
    }

    /// Loses so large a part (0 to 1) of all that comes to any host.
    #[track_caller]
    pub fn lose(&self, part: f64) {
        for host in 0..self.hosts {
            let chance = format!("-m statistic --mode random --probability {part}");
            self.filter(host, &format!("-A INPUT {chance} -j DROP"));
        }
    }

    /// How many packets were lost since the last heal.
    #[track_caller]
    pub fn lost(&self) -> u64 {
        let of = |host| {
            let host = self.host(host);
            let counted = must(&format!("ip netns exec {host} iptables -w -L -n -v -x"));
            // The packets stand in front of what was done with them.
            let rules = counted.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
            let drops = rules.filter(|words| words.get(2) == Some(&"DROP"));
            drops.filter_map(|words| words.first()?.parse::<u64>().ok()).sum::<u64>()
        };
        (0..self.hosts).map(of).sum()
    }

    /// Loses nothing any more.
    #[track_caller]
    pub fn heal(&self) {
        for host in 0..self.hosts {
            self.filter(host, "-F");
        }
    }

    #[track_caller]
    fn filter(&self, host: u8, rule: &str) {
        must(&format!("ip netns exec {} iptables -w {rule}", self.host(host)));
    }

    fn host(&self, host: u8) -> String {
        format!("{}-{host}", self.prefix)
    }

    fn hub(&self) -> String {
        format!("{}-hub", self.prefix)
    }

    #[expect(clippy::unused_self, reason = "an address is of a network")]
    fn address(&self, host: u8) -> String {
        format!("10.77.0.{}", host + 1)
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        for host in 0..self.hosts {
            let _ = run(&format!("ip netns delete {}", self.host(host)));
        }
        let _ = run(&format!("ip netns delete {}", self.hub()));
    }
}

/// Removes what earlier runs left, if they were killed. Those that still run are left alone.
fn sweep() {
    let Ok(listed) = Command::new("ip").args(["netns", "list"]).output() else { return };
    for line in String::from_utf8_lossy(&listed.stdout).lines() {
        let name = line.split_whitespace().next().unwrap_or_default();
        let mut parts = name.split('-');
        let (Some(PREFIX), Some(process)) = (parts.next(), parts.next()) else { continue };
        if !Path::new("/proc").join(process).exists() {
            let _ = run(&format!("ip netns delete {name}"));
        }
    }
}

fn serial() -> u32 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

#[track_caller]
fn must(command: &str) -> String {
    run(command).unwrap_or_else(|why| panic!("{why}"))
}

/// Runs a command, and says what it printed.
fn run(command: &str) -> Result<String, String> {
    let mut words = command.split_whitespace();
    let program = words.next().unwrap_or_default();
    let done = Command::new(program).args(words).output();
    let done = done.map_err(|e| format!("`{program}` doesn't run: {e}"))?;
    if done.status.success() {
        return Ok(String::from_utf8_lossy(&done.stdout).into_owned());
    }
    let said = String::from_utf8_lossy(&done.stderr);
    Err(format!("`{command}` failed: {}", said.trim()))
}
