//! What `bench simulate --bug` hands over to: the same program, with mistakes to plant.

use std::process::ExitCode;

fn main() -> ExitCode {
    let words = std::env::args_os().skip(1).map(|word| word.to_string_lossy().into_owned());
    flock_tests::bench::run(words.collect())
}
