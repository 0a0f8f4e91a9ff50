//! The program `bench`: figures, each from one command.
//!
//! A bench is a function from [`Options`] to a [`Report`]. It shows its progress on standard error;
//! the report becomes a table for people or, with `--json`, one object on one line.
//!
//! - `options`: the command line.
//! - `report`: the table, the JSON, and whether the figures are as promised.
//! - `progress`: what is being done while it is done.
//! - `talk`: processes that are told things by lines.
//!
//! The benches themselves:
//!
//! - `registry`: the registry with a million names.
//! - `simulate`: stories of simulated nests.
//! - `turmoil`: stories of the real nests on simulated hosts.
//! - `membership`: a hundred simulated nests: deaths, joins, a heal, and what that costs.
//! - `bulk`: many starts by one call, in real processes.
//! - `rolling`: real processes are restarted one after the other, under load.
//! - `model`: a model of ownership, state by state.
//! - `kill`: real processes are killed, and their birds live on.
//! - `moves`: real processes join one that has all birds, whose states move with them.
//! - `split`: a network of real processes is cut in two, and heals.
//! - `attack`: real nests under the fire of strangers, and of peers that send nothing but bad frames.
//! - `calls`: calls and casts between two processes, beside plain connections.
//! - `peers`: the same calls, beside other libraries.
//! - `soak`: calls for minutes on end.
//! - `calls::keyed`: the same by nests with a key, and without.
//! - `local`: calls within a thread, beside actix's own.
//! - `idle`: birds that do nothing, and how fast they are started.

mod attack;
pub mod bulk;
mod calls;
mod idle;
mod kill;
mod local;
mod membership;
mod model;
mod moves;
mod options;
mod peers;
mod progress;
mod registry;
mod report;
mod rolling;
mod simulate;
mod soak;
mod split;
mod talk;
mod turmoil;

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;

use crate::nest::Nest;
use crate::nests::Nests;
use crate::protocol::Orders;

pub use options::{Misuse, Options};
pub use progress::Progress;
pub use report::{Report, thousands};

/// What can be measured.
struct Bench {
    name: &'static str,
    /// In a few words, for the help.
    what: &'static str,
    /// Its options, each with its default.
    options: &'static [(&'static str, &'static str)],
    run: fn(&Options, &Progress) -> anyhow::Result<Report>,
}

/// In the order of the help.
const BENCHES: &[Bench] = &[
    registry::BENCH,
    membership::BENCH,
    simulate::BENCH,
    turmoil::BENCH,
    model::BENCH,
    bulk::BENCH,
    kill::BENCH,
    moves::BENCH,
    rolling::BENCH,
    split::BENCH,
    attack::BENCH,
    calls::BENCH,
    peers::BENCH,
    soak::BENCH,
    calls::keyed::BENCH,
    local::BENCH,
    idle::BENCH,
];

/// The word behind which this program is a nest, for its own benches.
pub const AS_NEST: &str = "nest-under-test";

/// Plays a part in one of its own benches, if this word is the name of one.
pub fn play(word: &str) -> Option<anyhow::Result<()>> {
    calls::play(word).or_else(|| soak::play(word))
}

/// So many nests on the loopback, each this very program in a process of its own, once each sees
/// all of them up.
///
/// # Panics
/// If they don't come up.
pub fn nests(count: usize) -> anyhow::Result<Nests> {
    let mut nests = Nests::none(AS_NEST);
    for _ in 0..count {
        join(&mut nests)?;
    }
    nests.agree();
    Ok(nests)
}

/// One more of them. Its name.
///
/// # Panics
/// If it doesn't come up.
fn join(nests: &mut Nests) -> anyhow::Result<String> {
    let seeds: Vec<_> = nests.all().map(|nest| nest.address().into()).collect();
    let name = format!("nest-{}", seeds.len());
    nests.add(nest(name.clone(), seeds)?);
    Ok(name)
}

/// One of them.
fn nest(name: String, seeds: Vec<String>) -> anyhow::Result<Nest> {
    let program = std::env::current_exe().context("which program is this?")?;
    let program = program.to_str().context("the program's path isn't UTF-8")?;
    Ok(Nest::start(&[program, AS_NEST], &Orders::on_loopback(name, seeds)))
}

fn median(times: impl Iterator<Item = Duration>) -> Duration {
    let mut times: Vec<_> = times.collect();
    times.sort();
    times.get(times.len() / 2).copied().unwrap_or_default()
}

/// Runs what the words of a command line ask for. The exit status is 0 if all figures are as
/// promised, 1 if one isn't or the run failed, 2 if the words make no sense.
pub fn run(words: Vec<String>) -> ExitCode {
    let mut words = words.into_iter();
    let name = match words.next().as_deref() {
        None | Some("--help" | "-h" | "help") => {
            print!("{}", help());
            return ExitCode::SUCCESS;
        }
        Some(name) => name.to_owned(),
    };
    let Some(bench) = BENCHES.iter().find(|bench| bench.name == name) else {
        return misused(&Misuse(format!("there is no {name} to measure")));
    };
    let words: Vec<String> = words.collect();
    if words.iter().any(|word| word == "--help" || word == "-h") {
        print!("{}", usage(bench));
        return ExitCode::SUCCESS;
    }
    let options = match Options::parse(bench.options, words) {
        Ok(options) => options,
        Err(misuse) => return misused(&misuse),
    };
    let progress = Progress::new();
    let report = match (bench.run)(&options, &progress) {
        Ok(report) => report,
        Err(e) => match e.downcast::<Misuse>() {
            Ok(misuse) => return misused(&misuse),
            Err(e) => {
                progress.note(format_args!("{name}: {e:#}"));
                return ExitCode::FAILURE;
            }
        },
    };
    progress.wipe();
    report.print(bench.name, options.json());
    if report.is_as_promised() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn misused(misuse: &Misuse) -> ExitCode {
    eprintln!("bench: {misuse}\nTry --help.");
    ExitCode::from(2)
}

fn help() -> String {
    let mut text = "\
Measures flock and prints a table; with --json the figures, as one line.

  cargo run --release -p flock-tests --bin bench -- WHAT [--json] [options]

"
    .to_owned();
    BENCHES.iter().for_each(|bench| text.push_str(&usage(bench)));
    text
}

/// One bench, its options with their defaults, and what it measures.
fn usage(bench: &Bench) -> String {
    let options = bench.options.iter().map(|(name, default)| match *default {
        "" => format!(" [{name}]"),
        default => format!(" [{name} {default}]"),
    });
    format!("  {}{}\n      {}\n", bench.name, options.collect::<String>(), bench.what)
}
