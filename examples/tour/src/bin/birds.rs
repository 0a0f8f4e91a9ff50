//! Starts, calls, finds and stops tickers, from outside. See `--help`.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use flock_actix::{Event, Events, Flock};
use tour::calls::{Deed, Outcome, each};
use tour::options::{Misuse, Words, misused};
use tour::progress::thousands;
use tour::ticker::{Ticker, names};

const HELP: &str = "\
Visit the flock of tickers as a nest that owns none.

usage: birds --join HOST:PORT [--join HOST:PORT]... COMMAND

  start N        start the tickers user-0001 to user-N
  call N         ask each of them for its next price
  whereis NAME   say at which nest it lives
  stop NAME      stop it

  --join         where a nest listens; name several to be safe from one being down
  --help         this text

Where the flock has a key, it must be in the environment, as FLOCK_KEY.

Exit status: 0 if all went well, 1 if not, 2 for a wrong command line.";

/// How long to look for the flock before giving up.
const PATIENCE: Duration = Duration::from_secs(15);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Command {
    Start(usize),
    Call(usize),
    Whereis(String),
    Stop(String),
}

fn main() -> ExitCode {
    let (join, command) = match read(Words::of_this_process()) {
        Ok(Some(order)) => order,
        Ok(None) => {
            println!("{HELP}");
            return ExitCode::SUCCESS;
        }
        Err(misuse) => return misused("birds", &misuse),
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let done = runtime.map_err(Into::into).and_then(|runtime| runtime.block_on(run(join, command)));
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(e) => {
            eprintln!("birds: {e:#}");
            ExitCode::FAILURE
        }
    }
}

/// `None`: help was asked for.
fn read(mut words: Words) -> Result<Option<(Vec<String>, Command)>, Misuse> {
    let (mut join, mut command) = (Vec::new(), None);
    while let Some(word) = words.next() {
        let read = match word.as_str() {
            "--join" => {
                join.push(words.value("--join")?);
                continue;
            }
            "--help" | "-h" => return Ok(None),
            "start" => Command::Start(words.parse("start")?),
            "call" => Command::Call(words.parse("call")?),
            "whereis" => Command::Whereis(words.value("whereis")?),
            "stop" => Command::Stop(words.value("stop")?),
            other => return Err(Misuse(format!("{other} is no command or option of mine"))),
        };
        if command.replace(read).is_some() {
            return Err(Misuse(format!("{word}: one command at a time")));
        }
    }
    if join.is_empty() {
        return Err(Misuse("--join HOST:PORT is missing".into()));
    }
    let command = command.ok_or_else(|| Misuse("what shall I do?".into()))?;
    Ok(Some((join, command)))
}

/// `false`: it was tried, and some of it failed.
async fn run(join: Vec<String>, command: Command) -> anyhow::Result<bool> {
    let seeds = join.join(", ");
    let visitor = tour::builder()?
        .name(format!("birds-{}", std::process::id()))
        .bind("127.0.0.1:0")
        .seeds(join)
        .species::<Ticker>()
        .weight(0)
        // A visitor without hosts shall not found a flock of its own.
        .form_after(PATIENCE * 2);
    let refused = refused(visitor.events());
    let flock = tokio::select! {
        flock = visitor.join() => flock?,
        why = refused => anyhow::bail!("{why}"),
        () = tokio::time::sleep(PATIENCE) => anyhow::bail!("no nest answers at {seeds}"),
    };
    let well = match command {
        Command::Start(users) => many(&flock, users, Deed::Start, "started").await,
        Command::Call(users) => many(&flock, users, Deed::Call, "answered").await,
        Command::Whereis(name) => whereis(&flock, &name).await?,
        Command::Stop(name) => stop(&flock, &name).await,
    };
    flock.leave().await?;
    Ok(well)
}

/// Why a nest doesn't let this one in: one of the two has a key that the other lacks, say.
async fn refused(mut events: Events) -> String {
    loop {
        match events.recv().await {
            Some(Event::Refused { peer, why }) => return format!("{peer}: {why}"),
            Some(_) => {}
            None => return std::future::pending().await,
        }
    }
}

async fn many(flock: &Flock, users: usize, deed: Deed, done: &str) -> bool {
    let begun = Instant::now();
    let mut outcomes = each(flock, names(users), deed).await;
    let millis = begun.elapsed().as_millis();
    outcomes.sort_by(|a, b| a.name.cmp(&b.name));
    let well = outcomes.iter().filter(|outcome| outcome.position.is_ok()).count();
    println!("{} of {} tickers {done} in {millis} ms", thousands(well), thousands(users));
    let reached = |o: &Outcome| Some((o.name.clone(), o.position.as_ref().ok().copied()?));
    if deed == Deed::Call {
        for (name, position) in outcomes.iter().filter_map(reached).take(3) {
            println!("  {name} is at price {position}");
        }
    }
    let failed = |o: &Outcome| Some((o.name.clone(), o.position.as_ref().err().cloned()?));
    for (name, why) in outcomes.iter().filter_map(failed).take(3) {
        println!("  {name}: {why}");
    }
    if users - well > 3 {
        println!("  and {} more failed", thousands(users - well - 3));
    }
    well == users
}

async fn whereis(flock: &Flock, name: &str) -> anyhow::Result<bool> {
    let found = flock.whereis(name).await?;
    match found.as_ref().map(|whereabouts| &whereabouts.nest) {
        Some(Some(nest)) => println!("{name} lives at {nest}"),
        Some(None) => println!("{name} waits for a nest that may own it"),
        None => println!("{name}: no such bird"),
    }
    Ok(found.is_some())
}

async fn stop(flock: &Flock, name: &str) -> bool {
    let stopped = flock.stop(name).await;
    match &stopped {
        Ok(()) => println!("{name} is stopped"),
        Err(e) => println!("{name}: {e}"),
    }
    stopped.is_ok()
}
