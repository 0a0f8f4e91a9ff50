//! A nest that is new gets the register as a stream, while the flock goes on.

use std::collections::BTreeSet;
use std::time::Duration;

use flock_proto::sim::World;
use flock_proto::{Answer, BirdName, Config, RegistryConfig, ReqId};

const BIRDS: usize = 3000;

/// A log that is no help, and messages so small that the stream takes over a hundred round trips.
fn slow_streams() -> Config {
    let registry = RegistryConfig {
        log_len: 32,
        message_bytes: 1024,
        window_bytes: 2048,
        ..RegistryConfig::default()
    };
    Config { registry, ..Config::default() }
}

fn count(world: &World, host: usize) -> usize {
    world.nest(host).map_or(0, |nest| nest.count())
}

fn all_equal(world: &World) -> bool {
    let mut digests = world.running().into_iter().filter_map(|host| world.nest(host));
    let first = digests.next().map(|nest| nest.registry_digest());
    digests.all(|nest| Some(nest.registry_digest()) == first)
}

fn known(world: &World, host: usize) -> BTreeSet<BirdName> {
    let all = world.nest(host).map(|nest| nest.page(None, usize::MAX)).unwrap_or_default();
    all.into_iter().map(|bird| bird.name).collect()
}

fn done(world: &World, asked: &[(ReqId, BirdName)]) -> BTreeSet<BirdName> {
    let is_done = |req: &ReqId| {
        matches!(world.answers.get(req), Some(Answer::Started { .. } | Answer::Stopped))
    };
    asked.iter().filter(|(req, _)| is_done(req)).map(|(_, name)| name.clone()).collect()
}

#[test]
fn a_fresh_nest_takes_a_register_that_changes_under_its_eyes() {
    for seed in 1..=5 {
        let mut world = World::with(seed, slow_streams());
        for _ in 0..2 {
            world.add_host();
            world.run(Duration::from_millis(3));
        }
        assert!(world.run_until(Duration::from_secs(10), |w| w.up().len() == 2));
        world.run(Duration::from_secs(2));
        for n in 0..BIRDS {
            world.start(0, &BirdName::new(&format!("bird-{n}")).expect("a name"));
        }
        world.run(Duration::from_secs(10));
        let before = known(&world, 0);
        assert!(before.len() > BIRDS * 9 / 10, "seed {seed}: some first hatches fail");

        let fresh = world.add_host();
        let (mut starts, mut stops) = (Vec::new(), Vec::new());
        let (mut amid, mut old) = (0, before.iter().cloned());
        for n in 0..1000 {
            world.run(Duration::from_millis(2));
            // While it takes the register, and while birds move to it.
            let half = (1..before.len() * 9 / 10).contains(&count(&world, fresh));
            amid += usize::from(half);
            let name = BirdName::new(&format!("late-{n}")).expect("a name");
            starts.push((world.start(n % 2, &name), name));
            if n % 2 == 0
                && let Some(name) = old.next()
            {
                stops.push((world.stop((n / 2) % 2, &name), name));
            }
        }
        assert!(amid >= 20, "seed {seed}: {amid} starts came amid the stream");
        world.run(Duration::from_secs(20));
        assert_eq!(world.broken(), None, "seed {seed}");
        assert!(all_equal(&world), "seed {seed}");

        let (started, stopped) = (done(&world, &starts), done(&world, &stops));
        assert!(started.len() > 900 && stopped.len() > 450, "seed {seed}");
        let now = known(&world, fresh);
        assert_eq!(started.difference(&now).count(), 0, "seed {seed}: a start was lost");
        assert_eq!(stopped.intersection(&now).count(), 0, "seed {seed}: a stop was lost");
        let asked: BTreeSet<_> = stops.into_iter().map(|(_, name)| name).collect();
        let kept = before.difference(&asked);
        assert_eq!(kept.filter(|name| !now.contains(*name)).count(), 0, "seed {seed}");
        let moved = world.perches().into_values().filter(|at| *at == [fresh]).count();
        assert!(moved > BIRDS / 6, "seed {seed}: {moved} birds moved meanwhile");
    }
}
