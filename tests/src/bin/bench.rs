//! Figures, each from one command: `cargo run --release -p flock-tests --bin bench -- WHAT`.

use std::process::ExitCode;

fn main() -> ExitCode {
    // A word that is not UTF-8 is no option; it will be shown in the message.
    let words = std::env::args_os().skip(1).map(|w| w.to_string_lossy().into_owned());
    flock_tests::bench::run(words.collect())
}
