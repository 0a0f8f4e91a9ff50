//! A nest that is new gets the register as a stream, while the flock goes on.

use std::collections::BTreeSet;
use std::time::Duration;

use flock_proto::sim::World;
use flock_proto::{Answer, BirdName, Bug, Config, RegistryConfig, ReqId, plant};

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

/// Tells a story: a nest joins two that have many birds, and goes on starting and stopping some. What
/// is wrong at the end. A mistake is made from the moment on when it joins.
fn tell(seed: u64, bug: Option<Bug>) -> Result<(), String> {
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
    assert!(before.len() > BIRDS * 9 / 10, "some first hatches fail");

    plant(bug);
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
    world.run(Duration::from_secs(20));
    plant(None);
    if let Some(broken) = world.broken() {
        return Err(format!("{broken:?}"));
    }
    if !all_equal(&world) {
        return Err("registers differ".into());
    }

    let (started, stopped) = (done(&world, &starts), done(&world, &stops));
    if started.len() <= 900 || stopped.len() <= 450 {
        return Err(format!("{} starts, {} stops were done", started.len(), stopped.len()));
    }
    let now = known(&world, fresh);
    let asked: BTreeSet<_> = stops.into_iter().map(|(_, name)| name).collect();
    let mut kept = before.difference(&asked);
    if started.difference(&now).next().is_some() || kept.any(|name| !now.contains(name)) {
        return Err("a start was lost".into());
    }
    if stopped.intersection(&now).next().is_some() {
        return Err("a stop was lost".into());
    }
    // Else it was no such story.
    assert!(amid >= 20, "{amid} starts came amid the stream");
    let moved = world.perches().into_values().filter(|at| *at == [fresh]).count();
    assert!(moved > BIRDS / 6, "{moved} birds moved meanwhile");
    Ok(())
}

#[test]
fn a_fresh_nest_takes_a_register_that_changes_under_its_eyes() {
    for seed in 1..=5 {
        assert_eq!(tell(seed, None), Ok(()), "seed {seed}");
    }
}

#[test]
fn a_fresh_nest_that_takes_it_wrongly_is_noticed() {
    for bug in [Bug::EarlyVector, Bug::DroppedRemove] {
        let told = tell(1, Some(bug));
        assert!(told.is_err(), "{} was not noticed", bug.name());
        println!("{}: {told:?}", bug.name());
    }
}
