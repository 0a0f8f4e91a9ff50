//! The main job, from the command line to the exit status.

use std::io::IsTerminal as _;
use std::process::ExitCode;

use crate::acts::{Stage, join, kill, partition, start};
use crate::figures::Figures;
use crate::options::{Misuse, Words, misused};
use crate::progress::Progress;
use crate::serve;

const HELP: &str = "\
Watch a flock at work: three nests (processes) on this machine share a thousand tickers, lose a
nest to kill -9, get it back, are cut in two and heal.

usage: cargo run --release -- [--once] [--json] [--birds N]

  --birds N   so many tickers (default 1000)
  --once      exit at the end, also on a terminal
  --json      write the figures as one line of JSON, the last thing on standard output
  --help      this text

Exit status: 0 if every figure is as promised, 1 if not, 2 for a wrong command line, 130 for
Ctrl-C before the end.";

/// How the tour is to go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Options {
    once: bool,
    json: bool,
    birds: usize,
}

enum Order {
    Tour(Options),
    Nest(serve::Orders),
    Help,
}

/// Runs the tour, or one of its nests if this process was started as such.
pub fn main() -> ExitCode {
    let done = match read(&mut Words::of_this_process()) {
        Ok(Order::Help) => {
            println!("{HELP}");
            Ok(ExitCode::SUCCESS)
        }
        Ok(Order::Nest(orders)) => serve::run(orders).map(|()| ExitCode::SUCCESS),
        Ok(Order::Tour(options)) => run(options),
        Err(misuse) => return misused("tour", &misuse),
    };
    done.unwrap_or_else(|e| {
        eprintln!("tour: {e:#}");
        ExitCode::FAILURE
    })
}

fn read(words: &mut Words) -> Result<Order, Misuse> {
    let mut options = Options { once: false, json: false, birds: 1000 };
    while let Some(word) = words.next() {
        match word.as_str() {
            serve::SUBCOMMAND => return Ok(Order::Nest(serve::Orders::from_words(words)?)),
            "--once" => options.once = true,
            "--json" => options.json = true,
            "--birds" => options.birds = words.parse("--birds")?,
            "--help" | "-h" => return Ok(Order::Help),
            other => return Err(Misuse(format!("{other} is no option of mine"))),
        }
    }
    if options.birds == 0 {
        return Err(Misuse("--birds 0: a tour without birds shows nothing".into()));
    }
    Ok(Order::Tour(options))
}

fn run(options: Options) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut stage = Stage::new(options.birds, Progress::new(options.json))?;
        let end = tokio::select! {
            end = show(&mut stage, options) => match end {
                Ok(status) => stay(&stage, options).await.map(|()| status),
                Err(e) => Err(e),
            },
            interrupted = tokio::signal::ctrl_c() => {
                interrupted?;
                stage.show.note("interrupted");
                Ok(ExitCode::from(130))
            }
        };
        stage.close().await?;
        end
    })
}

async fn show(stage: &mut Stage, options: Options) -> anyhow::Result<ExitCode> {
    let mut figures = start::play(stage).await?;
    figures.kill = kill::play(stage).await?;
    figures.join = join::play(stage).await?;
    figures.partition = partition::play(stage).await?;
    let status = judge(stage, &figures);
    if options.json {
        println!("{}", serde_json::to_string(&figures)?);
    }
    Ok(status)
}

fn judge(stage: &Stage, figures: &Figures) -> ExitCode {
    let mut wrong = figures.broken_promises();
    wrong.extend(stage.complaints.iter().cloned());
    if wrong.is_empty() {
        return ExitCode::SUCCESS;
    }
    stage.show.note("Not as promised:");
    for line in wrong {
        stage.show.note(&format!("  {line}"));
    }
    ExitCode::FAILURE
}

/// On a terminal the nests stay up, to be played with, until Ctrl-C.
async fn stay(stage: &Stage, options: Options) -> anyhow::Result<()> {
    let Some(nest) = stage.nests.first() else { return Ok(()) };
    if options.once || !std::io::stdout().is_terminal() {
        return Ok(());
    }
    let (address, store) = (&nest.address, stage.store());
    let hint = format!(
        "\nThe nests stay up until Ctrl-C. Visit them from another terminal:
  cargo run --release --bin birds -- --join {address} call {}
  cargo run --release --bin birds -- --join {address} whereis user-0001
  cargo run --release --bin nest -- --listen 127.0.0.1:0 --join {address} --store {}",
        stage.names.len(),
        store.display(),
    );
    stage.show.note(&hint);
    Ok(tokio::signal::ctrl_c().await?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(words: &[&str]) -> Result<Options, Misuse> {
        let words: Vec<String> = words.iter().map(ToString::to_string).collect();
        match read(&mut Words::from(words))? {
            Order::Tour(options) => Ok(options),
            Order::Nest(_) | Order::Help => Err(Misuse("no tour".into())),
        }
    }

    #[test]
    fn a_thousand_birds_unless_told_otherwise() {
        assert_eq!(options(&[]), Ok(Options { once: false, json: false, birds: 1000 }));
        let all = options(&["--once", "--json", "--birds", "60"]);
        assert_eq!(all, Ok(Options { once: true, json: true, birds: 60 }));
    }

    #[test]
    fn a_wrong_word_is_named() {
        let told = |words| options(words).err().map(|Misuse(text)| text).unwrap_or_default();
        assert!(told(&["--brids"]).contains("--brids"));
        assert!(told(&["--birds"]).contains("needs a value"));
        assert!(told(&["--birds", "many"]).contains("many"));
        assert!(told(&["--birds", "0"]).contains("--birds 0"));
    }
}
