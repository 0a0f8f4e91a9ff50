//! The tour's end of a nest: one child process, asked directly.

use std::collections::{BTreeMap, HashMap};
use std::process::Stdio;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, bail};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::process::{ChildStdin, ChildStdout};
use tokio::sync::oneshot;

use crate::calls::{Deed, Outcome};
use crate::protocol::{Answer, Command, Hello, NestSeen, Question, Reply};
use crate::serve::Orders;

/// How long a nest may take to come up, and to answer: far more than it needs, so that a nest that
/// hangs ends the tour with an error instead of for ever.
const PATIENCE: Duration = Duration::from_secs(120);

/// A nest that runs as a child process, and is killed when this is dropped.
#[derive(Debug)]
pub struct Nest {
    /// Its name.
    pub name: String,
    /// Where it listens.
    pub address: String,
    /// Its process.
    pub pid: u32,
    process: tokio::process::Child,
    questions: tokio::sync::Mutex<ChildStdin>,
    open: Open,
    next: AtomicU64,
}

/// Who waits for which answer; `None` once the nest is gone and none will come.
type Open = Arc<Mutex<Option<HashMap<u64, oneshot::Sender<Answer>>>>>;

impl Nest {
    /// Starts this very program once more, as a nest, and waits until it is up.
    pub async fn start(orders: &Orders) -> anyhow::Result<Self> {
        let program = std::env::current_exe().context("where is this program?")?;
        let mut process = tokio::process::Command::new(program)
            .args(orders.to_words())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            // Out of the terminal's reach: a Ctrl-C is the tour's to hear, and the tour's to pass on.
            .process_group(0)
            .spawn()
            .context("cannot start a nest")?;
        let pid = process.id().context("the nest ended at once")?;
        let (stdin, stdout) =
            process.stdin.take().zip(process.stdout.take()).context("no pipes")?;
        let mut lines = BufReader::new(stdout).lines();
        let hello = tokio::time::timeout(PATIENCE, lines.next_line()).await;
        let hello = hello.with_context(|| format!("{} doesn't come up", orders.name))??;
        let hello = hello.with_context(|| format!("{} ended before it was up", orders.name))?;
        let Hello { address } = serde_json::from_str(&hello)?;
        let open = Open::new(Mutex::new(Some(HashMap::new())));
        tokio::spawn(hear(lines, Arc::clone(&open)));
        Ok(Self {
            name: orders.name.clone(),
            address,
            pid,
            process,
            questions: stdin.into(),
            open,
            next: AtomicU64::new(0),
        })
    }

    /// Ends the process as `kill -9` does: it is given no chance to say goodbye.
    pub async fn kill(mut self) -> anyhow::Result<()> {
        Ok(self.process.kill().await?)
    }

    /// Does the same with each of these birds.
    pub async fn each(&self, names: Vec<String>, deed: Deed) -> anyhow::Result<Vec<Outcome>> {
        match self.ask(Command::Each { names, deed }).await? {
            Answer::Outcomes(outcomes) => Ok(outcomes),
            _ => self.puzzled(),
        }
    }

    /// The birds that live in this very process.
    pub async fn local(&self) -> anyhow::Result<Vec<String>> {
        match self.ask(Command::Local).await? {
            Answer::Local(names) => Ok(names),
            _ => self.puzzled(),
        }
    }

    /// Where this nest believes these birds to live.
    pub async fn whereis(&self, names: Vec<String>) -> anyhow::Result<BTreeMap<String, String>> {
        match self.ask(Command::Whereis(names)).await? {
            Answer::Homes(homes) => Ok(homes),
            _ => self.puzzled(),
        }
    }

    /// The nests that this one sees.
    pub async fn nests(&self) -> anyhow::Result<Vec<NestSeen>> {
        match self.ask(Command::Nests).await? {
            Answer::Nests(nests) => Ok(nests),
            _ => self.puzzled(),
        }
    }

    /// A command whose answer says no more than that it was done.
    pub async fn done(&self, command: Command) -> anyhow::Result<()> {
        match self.ask(command).await? {
            Answer::Done => Ok(()),
            _ => self.puzzled(),
        }
    }

    fn puzzled<T>(&self) -> anyhow::Result<T> {
        bail!("{} answered another question", self.name)
    }

    async fn ask(&self, command: Command) -> anyhow::Result<Answer> {
        let gone = || format!("{} is gone", self.name);
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let (tell, answer) = oneshot::channel();
        lock(&self.open).as_mut().with_context(gone)?.insert(id, tell);
        let mut line = serde_json::to_vec(&Question { id, command })?;
        line.push(b'\n');
        self.questions.lock().await.write_all(&line).await.with_context(gone)?;
        let answer = tokio::time::timeout(PATIENCE, answer).await;
        answer.with_context(|| format!("{} doesn't answer", self.name))?.with_context(gone)
    }
}

/// Hands each answer to whoever waits for it, until the nest is gone.
async fn hear(mut lines: Lines<BufReader<ChildStdout>>, open: Open) {
    while let Ok(Some(line)) = lines.next_line().await {
        let Ok(Reply { id, answer }) = serde_json::from_str(&line) else { continue };
        if let Some(waiting) = lock(&open).as_mut().and_then(|open| open.remove(&id)) {
            let _ = waiting.send(answer);
        }
    }
    *lock(&open) = None;
}

fn lock(open: &Open) -> std::sync::MutexGuard<'_, Option<HashMap<u64, oneshot::Sender<Answer>>>> {
    open.lock().unwrap_or_else(PoisonError::into_inner)
}
