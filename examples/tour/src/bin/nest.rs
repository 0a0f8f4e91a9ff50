//! One nest, started by hand. See `--help`.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use flock_actix::{Event, Flock};
use tour::FLOCK;
use tour::options::{Misuse, Words, misused};
use tour::progress::thousands;
use tour::store::{self, Store};
use tour::ticker::Ticker;

const HELP: &str = "\
Run one nest of the flock of tickers, by hand.

usage: nest --listen HOST:PORT [--join HOST:PORT]... [--name NAME] [--weight N] [--store FILE]

  --listen    where to listen; port 0 picks a free one
  --join      where another nest listens; name several to be safe from one being down
  --name      who this nest is across restarts (default: where it listens)
  --weight    its share of the birds compared with the other nests' (default 1; 0 takes none)
  --store     the SQLite file in which tickers keep their positions, the same for all nests
              (default: flock-tickers.db in the system's temporary folder)
  --help      this text

With FLOCK_KEY in the environment (openssl rand -hex 32), the same for all nests, whoever hasn't got it stays
out, and --listen may be an address that other machines reach.

Ctrl-C leaves politely: the birds move to the other nests first. A second one ends it at once.";

#[derive(Debug)]
struct Options {
    listen: String,
    join: Vec<String>,
    name: Option<String>,
    weight: u32,
    store: PathBuf,
}

fn main() -> ExitCode {
    let options = match read(Words::of_this_process()) {
        Ok(Some(options)) => options,
        Ok(None) => {
            println!("{HELP}");
            return ExitCode::SUCCESS;
        }
        Err(misuse) => return misused("nest", &misuse),
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let done = runtime.map_err(Into::into).and_then(|runtime| runtime.block_on(run(options)));
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("nest: {e:#}");
            ExitCode::FAILURE
        }
    }
}

/// `None`: help was asked for.
fn read(mut words: Words) -> Result<Option<Options>, Misuse> {
    let (mut listen, mut join, mut name) = (None, Vec::new(), None);
    let (mut weight, mut store) = (1, store::default_path());
    while let Some(word) = words.next() {
        match word.as_str() {
            "--listen" => listen = Some(words.value("--listen")?),
            "--join" => join.push(words.value("--join")?),
            "--name" => name = Some(words.value("--name")?),
            "--weight" => weight = words.parse("--weight")?,
            "--store" => store = words.value("--store")?.into(),
            "--help" | "-h" => return Ok(None),
            other => return Err(Misuse(format!("{other} is no option of mine"))),
        }
    }
    let listen = listen.ok_or_else(|| Misuse("--listen HOST:PORT is missing".into()))?;
    Ok(Some(Options { listen, join, name, weight, store }))
}

async fn run(options: Options) -> anyhow::Result<()> {
    Store::open_here(&options.store)?;
    let mut builder = tour::builder()?
        .bind(&options.listen)
        .seeds(options.join.clone())
        .species::<Ticker>()
        .weight(options.weight);
    if let Some(name) = &options.name {
        builder = builder.name(name);
    }
    if options.join.is_empty() {
        builder = builder.form_after(Duration::ZERO);
    } else {
        println!("looking for the flock at {}", options.join.join(", "));
    }
    let flock = tokio::select! {
        joined = builder.join() => joined?,
        interrupted = tokio::signal::ctrl_c() => return Ok(interrupted?),
    };
    let address = flock.address().context("a nest that joined listens somewhere")?;
    println!("{} of the flock {FLOCK} listens on {address}", flock.name());
    println!("positions are kept in {}", options.store.display());
    tokio::select! {
        () = watch(&flock) => println!("the nest has ended"),
        interrupted = tokio::signal::ctrl_c() => {
            interrupted?;
            leave(&flock).await?;
        }
    }
    Ok(())
}

async fn leave(flock: &Flock) -> anyhow::Result<()> {
    println!("leaving; Ctrl-C again ends at once");
    tokio::select! {
        left = flock.leave() => {
            left?;
            println!("left");
        }
        interrupted = tokio::signal::ctrl_c() => interrupted?,
    }
    Ok(())
}

/// Prints what happens, at most once a second, until the nest ends.
async fn watch(flock: &Flock) {
    let begun = Instant::now();
    let mut events = flock.events();
    let mut ticks = tokio::time::interval(Duration::from_secs(1));
    let mut digest = Digest::default();
    let mut shares = String::new();
    loop {
        tokio::select! {
            event = events.recv() => match event {
                Some(event) => digest.add(&event),
                None => return,
            },
            _ = ticks.tick() => {
                for line in digest.drain() {
                    println!("{:7.1} s  {line}", begun.elapsed().as_secs_f64());
                }
                let now = shares_of(flock).await;
                if now != shares {
                    print!("{now}");
                    shares = now;
                }
            }
        }
    }
}

async fn shares_of(flock: &Flock) -> String {
    flock.nests().await.iter().fold(String::new(), |mut text, nest| {
        let me = if nest.me { "  (this one)" } else { "" };
        text += &format!("           {nest}{me}\n");
        text
    })
}

/// What happened within a second. Of what happens to birds by the thousand, one is told in full,
/// many as a number.
#[derive(Debug, Default)]
struct Digest {
    lines: Vec<String>,
    many: BTreeMap<&'static str, (usize, String)>,
}

impl Digest {
    fn add(&mut self, event: &Event) {
        let kind = match event {
            Event::Started(..) => "birds were started",
            Event::Ended(..) => "birds ended",
            Event::Hatching { .. } => "birds hatched here",
            Event::Moved { .. } => "birds moved from here",
            Event::Merged(..) => "birds ran on both sides and go on at their owners",
            _ => return self.lines.push(event.to_string()),
        };
        let (count, text) = self.many.entry(kind).or_default();
        *count += 1;
        *text = event.to_string();
    }

    fn drain(&mut self) -> Vec<String> {
        let mut lines = std::mem::take(&mut self.lines);
        for (kind, (count, text)) in std::mem::take(&mut self.many) {
            lines.push(if count == 1 { text } else { format!("{} {kind}", thousands(count)) });
        }
        lines
    }
}
