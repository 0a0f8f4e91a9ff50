//! A flock to begin a scenario with.

// Each test program takes what it needs.
#![allow(dead_code)]

use std::time::Duration;

use flock_proto::sim::World;
use flock_proto::{Answer, BirdName};

/// `bird-0`, `bird-1`, …
pub(crate) fn names(n: usize) -> Vec<BirdName> {
    (0..n).map(|i| BirdName::new(&format!("bird-{i}")).expect("a name")).collect()
}

/// So many nests, all up, with so many birds.
pub(crate) fn flock(seed: u64, nests: usize, birds: &[BirdName]) -> World {
    flock_on(World::new(seed), nests, birds)
}

/// The same in this world.
pub(crate) fn flock_on(mut world: World, nests: usize, birds: &[BirdName]) -> World {
    for _ in 0..nests {
        world.add_host();
        world.run(Duration::from_millis(3));
    }
    assert!(world.run_until(Duration::from_secs(10), |w| w.up().len() == nests));
    world.run(Duration::from_secs(2));
    for name in birds {
        // A first hatch fails now and then in the simulation: as a user would, try again.
        loop {
            let req = world.start(0, name);
            assert!(world.run_until(Duration::from_secs(5), |w| w.answers.contains_key(&req)));
            if matches!(world.answers.get(&req), Some(Answer::Started { .. })) {
                break;
            }
        }
    }
    world
}
