//! One nest, a child process of the test.

use std::collections::HashMap;
use std::io::{BufRead as _, BufReader, Lines, Write as _};
use std::marker::PhantomData;
use std::process::{Child, ChildStdin, ChildStdout, Command as Process, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::protocol::{Command, Hello, Orders, Question, Reply};

/// How long a nest may take to come up, and to answer: far more than it needs, so that a nest that
/// hangs fails its test instead of blocking it.
const PATIENCE: Duration = Duration::from_secs(40);

/// A nest that runs as a child process. It is killed when this is dropped, so also when a test
/// panics; and when the test itself is killed, the child's standard input ends, and so does it.
#[derive(Debug)]
pub struct Nest {
    name: String,
    address: String,
    listens_at: String,
    process: Child,
    questions: Mutex<ChildStdin>,
    open: Open,
    next: AtomicU64,
}

/// Who waits for which answer; `None` once the nest is gone and none will come.
type Open = Arc<Mutex<Option<HashMap<u64, Sender<Value>>>>>;

impl Nest {
    /// Starts a nest and waits until it is up. `program` is the child's program, behind the words
    /// that are to stand in front of it.
    ///
    /// # Panics
    /// If it doesn't come up.
    #[track_caller]
    pub fn start(program: &[&str], orders: &Orders) -> Self {
        Self::start_with(program, orders, None)
    }

    /// The same, with this key of its flock in the environment, if there is one.
    ///
    /// # Panics
    /// If it doesn't come up.
    #[track_caller]
    pub fn start_with(program: &[&str], orders: &Orders, key: Option<&str>) -> Self {
        let (name, advertise) = (orders.name.clone(), orders.advertise.clone());
        let orders = serde_json::to_string(orders).expect("orders are JSON");
        let (first, rest) = program.split_first().expect("a program");
        let mut process = Process::new(first)
            .args(rest)
            .arg(orders)
            .envs(key.map(|key| (crate::KEY, key)))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap_or_else(|e| panic!("{first} doesn't start: {e}"));
        let pipes = process.stdin.take().zip(process.stdout.take());
        let (questions, stdout) = pipes.expect("the pipes that were asked for");
        let (tell, hello) = channel();
        let open = Open::new(Mutex::new(Some(HashMap::new())));
        let answers = Arc::clone(&open);
        std::thread::spawn(move || hear(BufReader::new(stdout).lines(), &tell, &answers));
        // From here on it is killed if anything goes wrong.
        let mut nest = Self {
            name,
            address: String::new(),
            listens_at: String::new(),
            process,
            questions: questions.into(),
            open,
            next: AtomicU64::new(0),
        };
        match hello.recv_timeout(PATIENCE) {
            Ok(Hello { address }) => {
                nest.address = advertise.unwrap_or_else(|| address.clone());
                nest.listens_at = address;
            }
            Err(e) => panic!("{} doesn't come up: {e}", nest.name),
        }
        nest
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where its peers dial it, as `host:port`.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Where it listens, as `host:port`.
    pub fn listens_at(&self) -> &str {
        &self.listens_at
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.process.id()
    }

    /// Whether its process has ended.
    pub fn is_gone(&self) -> bool {
        lock(&self.open).is_none()
    }

    /// Tells it to do something, and waits until it is done.
    ///
    /// # Panics
    /// If the nest is gone or hangs.
    #[track_caller]
    pub fn ask<T: DeserializeOwned>(&self, command: Command) -> T {
        self.begin(command).wait()
    }

    /// Tells it to do something.
    ///
    /// # Panics
    /// If the nest is gone.
    #[track_caller]
    pub fn begin<T>(&self, command: Command) -> Pending<T> {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let (tell, answer) = channel();
        let asked = format!("{} was told to {command:.200?}", self.name);
        match &mut *lock(&self.open) {
            Some(open) => drop(open.insert(id, tell)),
            None => panic!("{asked}, but is gone"),
        }
        let mut line = serde_json::to_vec(&Question { id, command }).expect("questions are JSON");
        line.push(b'\n');
        if let Err(e) = lock(&self.questions).write_all(&line) {
            panic!("{asked}: {e}");
        }
        Pending { asked, answer, kind: PhantomData }
    }

    /// Sends its process a signal, by name, as `kill` does: `STOP`, `CONT`.
    ///
    /// # Panics
    /// If that doesn't work.
    #[track_caller]
    pub fn signal(&self, signal: &str) {
        let words = [format!("-{signal}"), self.pid().to_string()];
        let sent = Process::new("kill").args(words).status().expect("`kill` runs");
        assert!(sent.success(), "kill -{signal} {}: {sent}", self.pid());
    }

    /// Tells its process to end, by SIGTERM, and waits until it has, of itself and in good order.
    pub fn terminate(self, within: Duration) -> anyhow::Result<()> {
        self.signal("TERM");
        self.ends(within)
    }

    /// Waits until its process has ended, of itself and in good order.
    pub fn ends(mut self, within: Duration) -> anyhow::Result<()> {
        let begun = Instant::now();
        loop {
            match self.process.try_wait()? {
                Some(status) if status.success() => return Ok(()),
                Some(status) => bail!("it ended with {status}"),
                None if begun.elapsed() >= within => bail!("it runs on after {within:?}"),
                None => std::thread::sleep(Duration::from_millis(5)),
            }
        }
    }

    /// Ends its process as `kill -9` does: it is given no chance to say goodbye.
    pub fn kill(self) {
        drop(self);
    }

    /// What it saw happen, where a test fails. A nest that hangs has nothing to say.
    fn confess(&self) {
        let id = u64::MAX;
        let (tell, answer) = channel();
        match &mut *lock(&self.open) {
            Some(open) => drop(open.insert(id, tell)),
            None => return,
        }
        let mut line = serde_json::to_vec(&Question { id, command: Command::Events });
        let Ok(line) = &mut line else { return };
        line.push(b'\n');
        let _ = lock(&self.questions).write_all(line);
        let Ok(events) = answer.recv_timeout(Duration::from_secs(2)) else { return };
        for event in events.as_array().into_iter().flatten() {
            eprintln!("{}: {}", self.name, event.as_str().unwrap_or_default());
        }
    }
}

impl Drop for Nest {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.confess();
        }
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// An answer to come.
#[derive(Debug)]
#[must_use = "an answer that nobody waits for may be an error"]
pub struct Pending<T> {
    asked: String,
    answer: Receiver<Value>,
    kind: PhantomData<fn() -> T>,
}

impl<T: DeserializeOwned> Pending<T> {
    /// Waits for it.
    ///
    /// # Panics
    /// If the nest is gone or hangs.
    #[track_caller]
    pub fn wait(self) -> T {
        self.try_wait().unwrap_or_else(|e| panic!("{e:#}"))
    }

    /// Waits for it, where the nest may be gone by then.
    pub fn try_wait(self) -> anyhow::Result<T> {
        let answer = self.answer.recv_timeout(PATIENCE);
        let answer = answer.with_context(|| format!("{}, but", self.asked))?;
        serde_json::from_value(answer).context("an answer to another question")
    }
}

/// Hands each answer to whoever waits for it, until the nest is gone.
fn hear(lines: Lines<BufReader<ChildStdout>>, hello: &Sender<Hello>, open: &Open) {
    for line in lines.map_while(Result::ok) {
        if let Ok(Reply { id, answer }) = serde_json::from_str(&line) {
            if let Some(waiting) = lock(open).as_mut().and_then(|open| open.remove(&id)) {
                let _ = waiting.send(answer);
            }
        } else if let Ok(up) = serde_json::from_str(&line) {
            let _ = hello.send(up);
        }
    }
    // Whoever still waits finds its sender gone.
    *lock(open) = None;
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
