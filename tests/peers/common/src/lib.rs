//! What the programs that stand for flock's peers have in common: each is started twice by `bench peers`,
//! once to be called and once to call, and is told by lines on its standard input what to do.
//!
//! | started as | says first | then |
//! |---|---|---|
//! | `callee` | where it can be called | serves until its standard input ends |
//! | `caller ADDRESS` | `ready`, once a call was answered | for each [`Order`], a line of JSON, it makes calls and answers with one [`Found`] |
//!
//! - `round`: the callers, and what is measured of them.
//! - `usage`: the CPU time of a process.

mod round;
mod usage;

use std::future::Future;
use std::io::{BufRead as _, Write as _};
use std::net::SocketAddr;
use std::pin::Pin;

use anyhow::{Context as _, bail, ensure};
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;

pub use round::WARM;

/// A round of calls, as the bench orders it.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Order {
    /// So many callers, each of which waits for its answer before it calls again.
    pub in_flight: usize,
    /// Of each body.
    pub bytes: usize,
    /// How long it is measured, after both ends were given [`WARM`].
    pub seconds: f64,
    /// The process that is called, whose CPU time counts, too.
    pub callee: u32,
}

/// What came of a round.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub struct Found {
    /// Calls answered per second.
    pub rate: f64,
    /// In microseconds: exact, nothing is put into classes.
    pub p50_us: f64,
    pub p99_us: f64,
    pub p999_us: f64,
    /// Of the process that calls, and of the one that is called, for each call that was answered.
    pub caller_cpu_us: f64,
    pub callee_cpu_us: f64,
    /// Calls that failed, were answered wrongly, or not at all.
    pub failed: u64,
}

/// What this process is started as.
#[derive(Debug)]
pub enum Role {
    Callee,
    /// Calls the one that said this of itself.
    Caller(String),
}

/// The words of the command line.
pub fn role() -> anyhow::Result<Role> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    match words.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["callee"] => Ok(Role::Callee),
        ["caller", address] => Ok(Role::Caller((*address).to_owned())),
        _ => bail!("callee, or caller ADDRESS"),
    }
}

/// A way to call the other process, which all callers share.
pub trait Call: Clone + Send + Sync + 'static {
    /// Has the number and the bytes sent back.
    fn call(
        &self,
        n: u64,
        data: Vec<u8>,
    ) -> impl Future<Output = anyhow::Result<(u64, Vec<u8>)>> + Send;
}

/// A task, for whatever runs tasks here.
pub type Task = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Says where it can be called, and ends the process once its parent is gone.
pub fn serving(address: &str) -> anyhow::Result<()> {
    say(address)?;
    std::thread::spawn(|| {
        for _ in std::io::stdin().lock().lines().map_while(Result::ok) {}
        std::process::exit(0);
    });
    Ok(())
}

/// Carries out what is ordered on standard input until that ends.
pub async fn calling(way: impl Call, spawn: impl Fn(Task)) -> anyhow::Result<()> {
    let answer = way.call(1, vec![7; 64]).await.context("the first call")?;
    ensure!(answer == (1, vec![7; 64]), "the first call has another's answer");
    say("ready")?;
    let (order, mut orders) = mpsc::unbounded_channel();
    std::thread::spawn(move || {
        for line in std::io::stdin().lock().lines().map_while(Result::ok) {
            if order.send(line).is_err() {
                return;
            }
        }
    });
    while let Some(line) = orders.recv().await {
        let order = serde_json::from_str(&line).with_context(|| format!("no order: {line}"))?;
        let found = round::run(&way, &order, &spawn).await?;
        say(&serde_json::to_string(&found)?)?;
    }
    Ok(())
}

/// A runtime, with as many threads as `PEER_THREADS` says: to try out what suits a library best. Without it, all
/// is done by one thread, which is what suited those best that were tried.
pub fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    let threads = std::env::var("PEER_THREADS").ok().and_then(|threads| threads.parse().ok());
    match threads {
        Some(threads) => {
            tokio::runtime::Builder::new_multi_thread().worker_threads(threads).enable_all().build()
        }
        None => tokio::runtime::Builder::new_current_thread().enable_all().build(),
    }
}

/// A port that nobody had a moment ago, for libraries that must be told one.
pub fn free_address() -> anyhow::Result<SocketAddr> {
    Ok(std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?)
}

fn say(line: &str) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}")?;
    Ok(out.flush()?)
}
