//! Figures, each from one command: `cargo run --release -p flock-tests --bin bench -- WHAT`.

use std::process::ExitCode;

#[path = "nest-under-test.rs"]
mod nest_under_test;

#[global_allocator]
static HEAP: flock_tests::heap::Counted = flock_tests::heap::Counted;

fn main() -> ExitCode {
    // A word that is not UTF-8 is no option; it will be shown in the message.
    let words: Vec<_> =
        std::env::args_os().skip(1).map(|w| w.to_string_lossy().into_owned()).collect();
    // `cargo run --bin bench` builds this program alone: so it is its own children, too.
    if words.first().is_some_and(|word| word == flock_tests::bench::AS_NEST) {
        return match nest_under_test::main() {
            Ok(()) => ExitCode::SUCCESS,
            Err(e) => {
                eprintln!("nest-under-test: {e:#}");
                ExitCode::FAILURE
            }
        };
    }
    if let Some(played) = words.first().and_then(|word| flock_tests::bench::play(word)) {
        return match played {
            Ok(()) => ExitCode::SUCCESS,
            Err(e) => {
                eprintln!("{}: {e:#}", words.concat());
                ExitCode::FAILURE
            }
        };
    }
    flock_tests::bench::run(words)
}
