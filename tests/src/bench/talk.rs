//! A process that is told things by lines on its standard input, and answers by lines.

use std::ffi::OsStr;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;

use anyhow::{Context as _, anyhow, bail};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// It ends with this; and by itself, once its standard input does, should this process be killed.
#[derive(Debug)]
pub(super) struct Talk {
    process: Child,
    orders: ChildStdin,
    lines: Receiver<String>,
}

impl Talk {
    pub(super) fn start(
        program: &Path,
        words: impl IntoIterator<Item = impl AsRef<OsStr>>,
    ) -> anyhow::Result<Self> {
        let mut process = Command::new(program)
            .args(words)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("{} doesn't start", program.display()))?;
        let pipes = process.stdin.take().zip(process.stdout.take());
        let (tell, lines) = channel();
        let Some((orders, says)) = pipes else { bail!("a process without the pipes asked for") };
        std::thread::spawn(move || {
            for line in BufReader::new(says).lines().map_while(Result::ok) {
                if tell.send(line).is_err() {
                    return;
                }
            }
        });
        Ok(Self { process, orders, lines })
    }

    pub(super) fn pid(&self) -> u32 {
        self.process.id()
    }

    pub(super) fn tell(&mut self, order: &impl Serialize) -> anyhow::Result<()> {
        let line = serde_json::to_string(order)?;
        writeln!(self.orders, "{line}").context("it is gone")
    }

    /// The next line. Fails if none comes in time, or the process has ended.
    pub(super) fn hear(&mut self, patience: Duration) -> anyhow::Result<String> {
        self.lines.recv_timeout(patience).map_err(|e| match e {
            RecvTimeoutError::Timeout => anyhow!("it says nothing for {patience:?}"),
            RecvTimeoutError::Disconnected => match self.process.wait() {
                Ok(status) => anyhow!("it ended with {status}"),
                Err(e) => e.into(),
            },
        })
    }

    /// The next line, which is JSON.
    pub(super) fn hear_of<T: DeserializeOwned>(&mut self, patience: Duration) -> anyhow::Result<T> {
        let line = self.hear(patience)?;
        serde_json::from_str(&line).with_context(|| format!("it says {}", brief(&line)))
    }
}

impl Drop for Talk {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Of so many words something is told, at most.
const WORDS: usize = 40;

/// On one line, and not too much of it.
pub(super) fn brief(text: &str) -> String {
    text.split_whitespace().take(WORDS).collect::<Vec<_>>().join(" ")
}
