//! A nest of the tour, as its own process: does what it is told on standard input.

use std::collections::BTreeMap;
use std::io::{BufRead as _, Write as _};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;
use flock_actix::{Flock, NestState};
use serde::Serialize;
use tokio::sync::mpsc;

use crate::calls;
use crate::options::{Misuse, Words};
use crate::protocol::{Answer, Command, Hello, NestSeen, Question, Reply};
use crate::store::Store;
use crate::ticker::Ticker;

/// The first word of the command line that turns the tour's program into one of its nests.
pub const SUBCOMMAND: &str = "serve-as-nest";

/// What a nest is told at its start.
#[derive(Clone, Debug)]
pub struct Orders {
    /// Its name.
    pub name: String,
    /// The folder of this run, which holds the store. It is the nest's to remove if the tour dies.
    pub folder: PathBuf,
    /// Where other nests listen.
    pub seeds: Vec<String>,
}

impl Orders {
    /// The store's file.
    pub fn store(&self) -> PathBuf {
        self.folder.join("positions.db")
    }

    /// As the words of a command line.
    pub fn to_words(&self) -> Vec<String> {
        let folder = self.folder.to_string_lossy().into_owned();
        let mut words = vec![SUBCOMMAND.into(), self.name.clone(), folder];
        words.extend(self.seeds.iter().cloned());
        words
    }

    /// From the words after [`SUBCOMMAND`].
    pub fn from_words(words: &mut Words) -> Result<Self, Misuse> {
        let name = words.value("the nest's name")?;
        let folder = words.value("the run's folder")?.into();
        Ok(Self { name, folder, seeds: words.collect() })
    }
}

/// Runs the nest until its standard input ends.
pub fn run(orders: Orders) -> anyhow::Result<()> {
    let questions = listen(&orders)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(serve(orders, questions))
}

/// Reads the questions on a thread of its own: whatever hangs elsewhere in this process, when the
/// tour is gone, so is the nest.
fn listen(orders: &Orders) -> anyhow::Result<mpsc::UnboundedReceiver<Question>> {
    let (tell, questions) = mpsc::unbounded_channel();
    let folder = orders.folder.clone();
    let listener = move || {
        for line in std::io::stdin().lock().lines().map_while(Result::ok) {
            match serde_json::from_str(&line) {
                Ok(question) => drop(tell.send(question)),
                Err(e) => eprintln!("not a question ({e}): {line}"),
            }
        }
        // A tour that ends in good order removes the folder itself; one that was killed can't.
        let _ = std::fs::remove_dir_all(&folder);
        std::process::exit(0);
    };
    std::thread::Builder::new().name("questions".into()).spawn(listener)?;
    Ok(questions)
}

async fn serve(
    orders: Orders,
    mut questions: mpsc::UnboundedReceiver<Question>,
) -> anyhow::Result<()> {
    Store::open_here(&orders.store())?;
    let flock = crate::builder()?
        .name(&orders.name)
        .bind("127.0.0.1:0")
        .seeds(orders.seeds.clone())
        .species::<Ticker>()
        .workers(1)
        // Nests are started one after the other, the first alone: it need not look for anybody.
        .form_after(Duration::from_millis(if orders.seeds.is_empty() { 0 } else { 10_000 }))
        .join()
        .await?;
    let address = flock.address().context("a nest that joined listens somewhere")?;
    say(&Hello { address: address.to_string() });
    while let Some(Question { id, command }) = questions.recv().await {
        let flock = flock.clone();
        tokio::spawn(async move {
            say(&Reply { id, answer: answer(&flock, command).await });
        });
    }
    Ok(())
}

async fn answer(flock: &Flock, command: Command) -> Answer {
    match command {
        Command::Each { names, deed } => Answer::Outcomes(calls::each(flock, names, deed).await),
        Command::Local => {
            Answer::Local(flock.local_birds().await.iter().map(ToString::to_string).collect())
        }
        Command::Whereis(names) => {
            let mut homes = BTreeMap::new();
            for name in names {
                let found = flock.whereis(&name).await.ok().flatten();
                if let Some(nest) = found.and_then(|whereabouts| whereabouts.nest) {
                    homes.insert(name, nest.to_string());
                }
            }
            Answer::Homes(homes)
        }
        Command::Nests => Answer::Nests(nests(flock).await),
        Command::Cut(names) => {
            flock.cut(names);
            Answer::Done
        }
        Command::Heal => {
            flock.heal();
            Answer::Done
        }
    }
}

async fn nests(flock: &Flock) -> Vec<NestSeen> {
    let seen = flock.nests().await.into_iter().map(|nest| NestSeen {
        name: nest.name.to_string(),
        up: nest.state == NestState::Up,
        birds: nest.birds,
        share: nest.share,
    });
    seen.collect()
}

/// Writes a line. When nobody reads any more, the tour is gone.
fn say(line: &impl Serialize) {
    let text = serde_json::to_string(line).unwrap_or_default();
    let mut out = std::io::stdout().lock();
    if writeln!(out, "{text}").and_then(|()| out.flush()).is_err() {
        std::process::exit(0);
    }
}
