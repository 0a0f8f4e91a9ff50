//! The bird that is called, and the process that it lives in.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child as Process, Command, Stdio};

use actix::{Actor, Context, Handler, Message, MessageResult};
use anyhow::{Context as _, ensure};
use flock_actix::{Bird, Hatching};
use serde::{Deserialize, Serialize};

/// Send this back.
#[derive(Clone, Debug, Message, Serialize, Deserialize)]
#[rtype(result = "Pong")]
pub(crate) struct Ping {
    pub(crate) n: u64,
    #[serde(with = "serde_bytes")]
    pub(crate) data: Vec<u8>,
}

/// What came.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Pong {
    pub(crate) n: u64,
    #[serde(with = "serde_bytes")]
    pub(crate) data: Vec<u8>,
}

/// Count this.
#[derive(Clone, Debug, Message, Serialize, Deserialize)]
#[rtype(result = "()")]
pub(crate) struct Note {
    #[serde(with = "serde_bytes")]
    pub(crate) data: Vec<u8>,
}

/// How many notes came since the last time?
#[derive(Clone, Copy, Debug, Message, Serialize, Deserialize)]
#[rtype(result = "u64")]
pub(crate) struct Heard;

/// Sends back what it is sent.
#[derive(Debug, Default)]
pub(crate) struct Echo {
    heard: u64,
}

impl Actor for Echo {
    type Context = Context<Self>;
}

impl Bird for Echo {
    type Args = ();

    async fn hatch((): (), _: &Hatching) -> anyhow::Result<Self> {
        Ok(Self::default())
    }
}

impl Handler<Ping> for Echo {
    type Result = MessageResult<Ping>;

    fn handle(&mut self, Ping { n, data }: Ping, _: &mut Context<Self>) -> Self::Result {
        MessageResult(Pong { n, data })
    }
}

impl Handler<Note> for Echo {
    type Result = ();

    fn handle(&mut self, note: Note, _: &mut Context<Self>) {
        drop(note);
        self.heard += 1;
    }
}

impl Handler<Heard> for Echo {
    type Result = MessageResult<Heard>;

    fn handle(&mut self, Heard: Heard, _: &mut Context<Self>) -> Self::Result {
        MessageResult(std::mem::take(&mut self.heard))
    }
}

flock_actix::bird!(Echo as "echo" { Ping, Note, Heard });

/// Of all nests of this bench.
pub(crate) const FLOCK: &str = "flock-bench";

/// How many threads its birds live on; one, if it isn't there.
pub(super) const WORKERS: &str = "FLOCK_BENCH_WORKERS";

/// A nest with such birds, for as long as this process lives.
pub(crate) fn serve() -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let workers = std::env::var(WORKERS).ok().and_then(|workers| workers.parse().ok());
        let nest = crate::builder(FLOCK)?.workers(workers.unwrap_or(1));
        let nest = nest.name("callee").species::<Echo>();
        let flock = nest.join().await?;
        println!("{}", flock.address().context("a nest that joined listens somewhere")?);
        std::io::stdout().flush()?;
        std::future::pending().await
    })
}

/// This very program in another role. It ends when this is dropped, or its parent has ended.
#[derive(Debug)]
pub(crate) struct Child {
    process: Process,
    /// Its first line: where it listens.
    pub(crate) says: String,
}

impl Child {
    pub(crate) fn start(role: &str) -> anyhow::Result<Self> {
        Self::start_by(role, |_| {})
    }

    /// With these in its environment, too.
    pub(super) fn start_with(role: &str, vars: &[(&str, &str)]) -> anyhow::Result<Self> {
        Self::start_by(role, |process| {
            process.envs(vars.iter().copied());
        })
    }

    /// With this key in its environment, or with none.
    pub(super) fn start_keyed(role: &str, key: Option<&str>) -> anyhow::Result<Self> {
        Self::start_by(role, |process| {
            match key {
                Some(key) => process.env(crate::KEY, key),
                None => process.env_remove(crate::KEY),
            };
        })
    }

    fn start_by(role: &str, change: impl FnOnce(&mut Command)) -> anyhow::Result<Self> {
        let program = std::env::current_exe().context("which program is this?")?;
        let mut process = Command::new(program);
        change(process.arg(role).stdin(Stdio::piped()).stdout(Stdio::piped()));
        let mut process = process.spawn().with_context(|| format!("{role} doesn't start"))?;
        let stdout = process.stdout.take().context("the pipe that was asked for")?;
        // From here on it is killed if anything goes wrong.
        let mut child = Self { process, says: String::new() };
        BufReader::new(stdout).read_line(&mut child.says)?;
        child.says.truncate(child.says.trim_end().len());
        ensure!(!child.says.is_empty(), "{role} doesn't come up");
        Ok(child)
    }

    pub(crate) fn pid(&self) -> u32 {
        self.process.id()
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Ends this process once its parent is gone: its standard input ends with it.
pub(crate) fn end_with_the_parent() -> anyhow::Result<()> {
    let wait = || {
        for _ in std::io::stdin().lock().lines().map_while(Result::ok) {}
        std::process::exit(0);
    };
    std::thread::Builder::new().name("parent".into()).spawn(wait)?;
    Ok(())
}
