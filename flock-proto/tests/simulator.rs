//! Random stories of many nests, with the invariants checked as they happen.

use std::fmt::Write as _;
use std::time::Duration;

use flock_proto::sim::{Deeds, Kind, Script, Story, Told, perform, plan, shrink};

fn env(name: &str) -> Option<u64> {
    std::env::var(name).ok().and_then(|text| text.parse().ok())
}

fn story(seed: u64, kind: Kind) -> Story {
    Story { seed, kind, nests: 2 + (seed % 4) as u32, names: 24, seconds: 60 }
}

fn tell(story: Story) -> (Script, Told) {
    let script = plan(story);
    let told = perform(&script, Some(Duration::from_secs(story.seconds.into())));
    (script, told)
}

fn tell_all(test: &str, kind: Kind, needless: &[&str]) {
    let first = env("FLOCK_SIM_SEED").unwrap_or(1);
    let alone = env("FLOCK_SIM_SEED").is_some();
    let seeds = if alone { 1 } else { env("FLOCK_SIM_SEEDS").unwrap_or(200) };
    let mut deeds = Deeds::default();
    for seed in first..first + seeds {
        let (script, told) = tell(story(seed, kind));
        deeds.add(&told.deeds);
        if let Some(broken) = told.broken {
            let mut what = format!("seed {seed}: {broken:?}\n");
            let again = "FLOCK_SIM_SEED={seed} cargo test -p flock-proto --test simulator {test}";
            let again = again.replace("{seed}", &seed.to_string()).replace("{test}", test);
            let _ = writeln!(what, "replay: {again}");
            if std::env::var("FLOCK_SIM_SHRINK").is_ok() {
                let short = shrink(&script, |_| true);
                let _ = writeln!(what, "shrunk, for tests/stories:\n{short}");
            }
            panic!("{what}");
        }
    }
    if seeds >= 50 {
        let never = |(name, count): &(&str, u64)| *count == 0 && !needless.contains(name);
        let missing: Vec<_> = deeds.all().into_iter().filter(never).collect();
        assert!(missing.is_empty(), "these stories had no {missing:?}: {deeds:?}");
    }
    println!("{deeds:?}");
}

#[test]
fn with_joins_leaves_and_broken_links_two_lives_never_coexist() {
    tell_all(
        "with_joins",
        Kind::Smooth,
        &["crashes", "partitions", "heals", "conflicts", "renewals"],
    );
}

#[test]
fn through_crashes_cuts_and_heals_the_flock_comes_to_rest_with_one_life_each() {
    tell_all("through_crashes", Kind::Rough, &["renewals"]);
}
