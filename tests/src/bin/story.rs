//! Tells one story of real nests on simulated hosts: `story SEED` prints its trace, `story SEED --json`
//! what came of it and a digest of the trace, on one line; `--keyed`: of nests with a key. The exit status is 1
//! where an invariant broke.

use std::io::Write as _;
use std::process::ExitCode;

use flock_tests::turmoil::{Told, replay, replay_keyed, tell, tell_keyed};
use serde_json::json;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let (options, seeds): (Vec<_>, Vec<_>) = words.iter().partition(|word| word.starts_with("--"));
    let given = |option: &str| options.iter().any(|it| *it == option);
    let (in_json, keyed) = (given("--json"), given("--keyed"));
    let known = options.iter().all(|it| ["--json", "--keyed"].contains(&it.as_str()));
    let Some(seed) =
        seeds.first().and_then(|seed| seed.parse().ok()).filter(|_| known && seeds.len() == 1)
    else {
        eprintln!("story SEED [--json] [--keyed]");
        return ExitCode::from(2);
    };
    let told = if keyed { tell_keyed(seed) } else { tell(seed) };
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
            let again = if keyed { replay_keyed(seed) } else { replay(seed) };
            eprintln!("seed {seed}: {broken}\n  {again}");
            ExitCode::FAILURE
        }
    }
}
