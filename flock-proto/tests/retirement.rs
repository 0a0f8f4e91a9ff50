//! Dead incarnations are forgotten, and nothing that lives is forgotten with them.

mod common;

use std::time::Duration;

use flock_proto::sim::World;
use flock_proto::{Answer, BirdName, Config, ReqId};

use common::{flock_on, names};

/// The kind of frame that brings cards.
const ROSTER: u8 = 12;

const AFTER: Duration = Duration::from_secs(12);

fn world(seed: u64, hosts: usize) -> World {
    flock_on(World::with(seed, Config { retire_after: AFTER, ..Config::default() }), hosts, &[])
}

/// Starts birds; as a first hatch fails now and then in the simulation, some of them again.
fn start_all(world: &mut World, host: usize, birds: &[BirdName]) {
    let mut left = birds.to_vec();
    while !left.is_empty() {
        let reqs = world.start_many(host, &left);
        world.run(Duration::from_secs(1));
        let failed = |(_, req): &(BirdName, ReqId)| {
            !matches!(world.answers.get(req), Some(Answer::Started { .. }))
        };
        left = left.into_iter().zip(reqs).filter(failed).map(|(name, _)| name).collect();
    }
}

fn incarnations(world: &World) -> Vec<usize> {
    let nests = world.running().into_iter().filter_map(|host| world.nest(host));
    nests.map(flock_proto::Nest::incarnations).collect()
}

/// Runs until every nest's register tells no more incarnations apart than this.
fn run_until_few(world: &mut World, most: usize, seed: u64) {
    for _ in 0..120 {
        if incarnations(world).into_iter().all(|count| count <= most) {
            return;
        }
        world.run(Duration::from_secs(1));
    }
    panic!("seed {seed}: the registers tell {:?} incarnations apart", incarnations(world));
}

#[test]
fn vectors_stay_small_however_often_nests_start_anew() {
    let birds = names(60);
    for seed in 1..=5 {
        let mut world = world(seed, 3);
        start_all(&mut world, 0, &birds);
        world.run(Duration::from_secs(2));
        // A rolling restart, many times over.
        for turn in 0..30 {
            let host = turn % 3;
            let req = world.leave(host);
            world.run(Duration::from_secs(3));
            let left = world.answers.get(&req);
            assert!(
                matches!(left, Some(Answer::Left { left_behind }) if left_behind.is_empty()),
                "seed {seed}: {left:?}"
            );
            world.boot(host);
            world.run(Duration::from_secs(2));
        }
        run_until_few(&mut world, 3, seed);
        assert_eq!(world.perches().len(), birds.len(), "seed {seed}");
        assert_eq!(world.broken(), None, "seed {seed}");
    }
}

#[test]
fn a_nest_that_crashed_for_good_is_forgotten_after_its_time_and_its_birds_are_not() {
    let birds = names(60);
    for seed in 1..=5 {
        let mut world = world(seed, 4);
        start_all(&mut world, 0, &birds);
        world.run(Duration::from_secs(2));
        world.kill(3);
        world.run(AFTER / 2);
        assert!(incarnations(&world).contains(&4), "seed {seed}: it may yet come back");
        run_until_few(&mut world, 3, seed);
        assert_eq!(world.perches().len(), birds.len(), "seed {seed}");
        assert_eq!(world.broken(), None, "seed {seed}");
    }
}

#[test]
fn of_nests_that_never_come_back_the_last_few_are_looked_for() {
    for seed in 1..=5 {
        let config = Config { retire_after: AFTER, lost_nests: 2, ..Config::default() };
        let mut world = flock_on(World::with(seed, config), 10, &[]);
        for host in 4..7 {
            world.leave(host);
        }
        (7..10).for_each(|host| world.kill(host));
        let acquaintances = |world: &World| -> Vec<usize> {
            let nests = world.running().into_iter().filter_map(|host| world.nest(host));
            nests.map(flock_proto::Nest::acquaintances).collect()
        };
        world.run(AFTER - Duration::from_secs(4));
        assert_eq!(acquaintances(&world), [10; 4], "seed {seed}: they may yet come back");
        // One stands still while the others forget, and then tells of what it knows.
        world.freeze_long(3, Duration::from_secs(9));
        run_until_few(&mut world, 4, seed);
        world.run(Duration::from_secs(20));
        assert_eq!(acquaintances(&world), [6; 4], "seed {seed}");
        // All agree on which they are: nobody sends cards to and fro.
        let rosters = |world: &World| world.kinds.get(&ROSTER).map(|(frames, _)| *frames);
        let before = rosters(&world);
        world.run(Duration::from_secs(20));
        assert_eq!(rosters(&world), before, "seed {seed}");
        assert_eq!(world.broken(), None, "seed {seed}");
    }
}

#[test]
fn a_nest_that_is_said_to_be_dead_and_lives_joins_anew_whatever_it_said_of_itself_meanwhile() {
    let birds = names(30);
    for seed in 1..=20 {
        let mut world = world(seed, 3);
        start_all(&mut world, 0, &birds);
        world.run(Duration::from_secs(2));
        world.cut(&[2], &[0, 1]);
        // It writes cards of its own in there, of whom it has lost sight.
        world.run(Duration::from_secs(7));
        let req = world.forget(0, 2);
        assert_eq!(world.answers.get(&req), Some(&Answer::Forgotten), "seed {seed}");
        world.run(Duration::from_millis(seed * 20));
        world.heal();
        let renewed = |world: &World| world.events.contains_key("renewed");
        assert!(world.run_until(Duration::from_secs(20), renewed), "seed {seed}");
        world.run(Duration::from_secs(10));
        assert_eq!(world.up().len(), 3, "seed {seed}");
        assert_eq!(world.perches().len(), birds.len(), "seed {seed}");
        assert_eq!(world.broken(), None, "seed {seed}");
    }
}

#[test]
fn a_cut_longer_than_retirement_with_births_on_both_sides_loses_none() {
    let (before, left, right) = (names(90), 60..75, 75..90);
    for seed in 1..=10 {
        let mut world = world(seed, 5);
        start_all(&mut world, 0, &before[..60]);
        world.run(Duration::from_secs(2));
        world.cut(&[0, 1], &[2, 3, 4]);
        world.run(Duration::from_secs(8));
        start_all(&mut world, 1, &before[left.clone()]);
        start_all(&mut world, 3, &before[right.clone()]);
        world.run(3 * AFTER);
        let here = |world: &World, host: usize| world.nest(host).map(flock_proto::Nest::count);
        assert_eq!((here(&world, 0), here(&world, 4)), (Some(75), Some(75)), "seed {seed}");
        assert_eq!(world.nest(0).map(flock_proto::Nest::incarnations), Some(2), "seed {seed}");
        world.heal();
        world.run(Duration::from_secs(20));
        assert!(world.events.get("renewed").is_some_and(|&count| count > 0), "seed {seed}");
        for host in 0..5 {
            assert_eq!(here(&world, host), Some(90), "seed {seed}: host {host}");
        }
        run_until_few(&mut world, 5, seed);
        let perches = world.perches();
        assert_eq!(perches.len(), 90, "seed {seed}");
        assert!(perches.values().all(|at| at.len() == 1), "seed {seed}: {perches:?}");
        assert_eq!(world.broken(), None, "seed {seed}");
    }
}
