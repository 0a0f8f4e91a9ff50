//! Random stories of many nests, with the invariants checked after every event.

use flock_proto::sim::{Deeds, Story, tell};

fn env(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

fn tell_all(test: &str, rough: bool) {
    let first = env("FLOCK_SIM_SEED", 1);
    let seeds =
        if std::env::var("FLOCK_SIM_SEED").is_ok() { 1 } else { env("FLOCK_SIM_SEEDS", 200) };
    let mut deeds = Deeds::default();
    for seed in first..first + seeds {
        let story = Story { seed, nests: 2 + (seed % 4) as usize, chapters: 2, rough };
        let (done, broken) = tell(story);
        deeds.add(&done);
        assert!(
            broken.is_none(),
            "seed {seed}: {broken:?}\nreplay: FLOCK_SIM_SEED={seed} cargo test -p flock-proto \
             --test simulator {test}"
        );
    }
    if seeds >= 50 {
        let mut missing = deeds.missing();
        missing.retain(|deed| rough || !["crashes", "cuts", "heals", "conflicts"].contains(deed));
        assert!(missing.is_empty(), "these stories had no {missing:?}: {deeds:?}");
    }
    println!("{deeds:?}");
}

#[test]
fn with_joins_leaves_and_broken_links_two_lives_never_coexist() {
    tell_all("with_joins", false);
}

#[test]
fn through_crashes_cuts_and_heals_the_flock_comes_to_rest_with_one_life_each() {
    tell_all("through_crashes", true);
}
