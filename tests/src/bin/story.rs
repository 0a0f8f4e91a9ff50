//! Tells one story of real nests on simulated hosts: `story SEED` prints its trace, `story SEED --json`
//! what came of it and a digest of the trace, on one line. The exit status is 1 where an invariant broke.

use std::io::Write as _;
use std::process::ExitCode;

use flock_tests::turmoil::{Told, replay, tell};
use serde_json::json;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let (seed, in_json) = match words.as_slice() {
        [seed] => (seed.parse().ok(), false),
        [seed, json] if json == "--json" => (seed.parse().ok(), true),
        _ => (None, false),
    };
    let Some(seed) = seed else {
        eprintln!("story SEED [--json]");
        return ExitCode::from(2);
    };
    let told = tell(seed);
    if in_json {
        let Told { did, broken, millis, .. } = &told;
        let trace = format!("{:016x}", told.digest());
        println!("{}", json!({ "did": did, "broken": broken, "millis": millis, "trace": trace }));
    } else {
        // Whoever reads no further has seen enough.
        let _ = std::io::stdout().write_all(told.trace.as_bytes());
    }
    match told.broken {
        None => ExitCode::SUCCESS,
        Some(broken) => {
            eprintln!("seed {seed}: {broken}\n  {}", replay(seed));
            ExitCode::FAILURE
        }
    }
}
