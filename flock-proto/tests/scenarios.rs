//! Single scenarios in the simulator, each named after what must hold.

mod common;

use std::collections::BTreeMap;
use std::time::Duration;

use flock_proto::sim::{CallEnd, World};
use flock_proto::{Answer, BirdName, Config};

use common::{flock, flock_on, names};

const SEEDS: u64 = 20;

/// For an invariant that random stories can't check, as several nests come and go at once there.
const MANY: u64 = 200;

fn homes(world: &World) -> BTreeMap<BirdName, Vec<usize>> {
    world.perches()
}

fn call_all(world: &mut World, birds: &[BirdName], from: &[usize], seed: u64) {
    let mut calls = Vec::new();
    for &host in from {
        calls.extend(birds.iter().map(|name| world.call(host, name)));
    }
    world.run(Duration::from_secs(5));
    for call in calls {
        let end = world.ended.get(&call);
        assert!(matches!(end, Some(CallEnd::Answered(_))), "seed {seed}: {end:?}");
    }
}

#[test]
fn i2_a_join_moves_birds_to_the_newcomer_only() {
    let birds = names(60);
    for seed in 1..=MANY {
        let mut world = flock(seed, 3, &birds);
        let before = homes(&world);
        let newcomer = world.add_host();
        world.run(Duration::from_secs(10));
        assert_eq!(world.broken(), None, "seed {seed}");
        let after = homes(&world);
        let moved: Vec<_> =
            after.iter().filter(|(name, at)| before.get(*name) != Some(*at)).collect();
        assert!(!moved.is_empty(), "seed {seed}");
        assert!(moved.iter().all(|(_, at)| **at == [newcomer]), "seed {seed}: {moved:?}");
    }
}

/// A nest leaves, and has handed over all that it had.
fn leave_with_all(world: &mut World, host: usize, seed: u64) {
    let req = world.leave(host);
    world.run(Duration::from_secs(10));
    let left = world.answers.get(&req);
    assert!(
        matches!(left, Some(Answer::Left { left_behind }) if left_behind.is_empty()),
        "seed {seed}: {left:?}"
    );
}

#[test]
fn i2_a_leave_moves_the_leavers_birds_only() {
    let birds = names(60);
    for seed in 1..=MANY {
        let mut world = flock(seed, 4, &birds);
        let before = homes(&world);
        leave_with_all(&mut world, 2, seed);
        assert_eq!(world.broken(), None, "seed {seed}");
        let after = homes(&world);
        assert_eq!(after.len(), birds.len(), "seed {seed}");
        for (name, at) in &before {
            if *at != [2] {
                assert_eq!(after.get(name), Some(at), "seed {seed}: {name} had no need to move");
            }
        }
    }
}

#[test]
fn states_that_wait_for_their_way_to_one_nest_hold_up_no_bird_that_goes_to_another() {
    let birds = names(90);
    for seed in 1..=60 {
        // One state at a time to each nest.
        let config = Config { depart_bytes: 1, ..Config::default() };
        let mut world = flock_on(World::with(seed, config), 4, &birds);
        call_all(&mut world, &birds, &[0], seed);
        leave_with_all(&mut world, 2, seed);
        assert_eq!(world.broken(), None, "seed {seed}");
        assert_eq!(homes(&world).len(), birds.len(), "seed {seed}");
    }
}

#[test]
fn a_cut_that_a_third_nest_sees_round_is_no_partition() {
    let birds = names(40);
    for seed in 1..=SEEDS {
        let mut world = flock(seed, 3, &birds);
        let before = homes(&world);
        world.cut_pair(0, 1);
        world.run(Duration::from_secs(10));
        call_all(&mut world, &birds, &[0, 1, 2], seed);
        world.run(Duration::from_secs(30));
        call_all(&mut world, &birds, &[0, 1, 2], seed);
        assert_eq!(homes(&world), before, "seed {seed}: nothing had to move");
        let req = world.start(0, &BirdName::new("born-behind-the-cut").expect("a name"));
        world.run(Duration::from_secs(3));
        let answer = world.answers.get(&req);
        assert!(
            matches!(answer, Some(Answer::Started { .. } | Answer::HatchFailed { .. })),
            "seed {seed}: {answer:?}"
        );
        world.heal();
        world.run(Duration::from_secs(10));
        assert_eq!(world.broken(), None, "seed {seed}");
    }
}

#[test]
fn a_killed_process_is_known_and_replaced_within_a_second() {
    let birds = names(60);
    for seed in 1..=SEEDS {
        let mut world = flock(seed, 3, &birds);
        let lost: Vec<BirdName> =
            homes(&world).into_iter().filter(|(_, at)| *at == [1]).map(|(name, _)| name).collect();
        world.kill(1);
        let all_back = |w: &World| {
            let now = w.perches();
            lost.iter().all(|name| now.get(name).is_some_and(|at| at.len() == 1))
        };
        assert!(world.run_until(Duration::from_secs(1), all_back), "seed {seed}");
    }
}

#[test]
fn names_of_an_arc_that_is_gained_are_looked_at_a_few_at_a_time_and_all_of_them() {
    let birds = names(300);
    for seed in 1..=5 {
        let config = Config { gained_at_once: 3, ..Config::default() };
        let mut world = flock_on(World::with(seed, config), 3, &birds);
        world.kill(1);
        // As many rounds as it takes: time need not pass for that.
        let all_back =
            |w: &World| w.perches().len() == 300 && w.perches().values().all(|at| at.len() == 1);
        assert!(world.run_until(Duration::from_secs(2), all_back), "seed {seed}");
        world.add_host();
        world.run(Duration::from_secs(10));
        assert!(all_back(&world), "seed {seed}");
        assert_eq!(world.broken(), None, "seed {seed}");
    }
}

#[test]
fn a_listing_that_is_too_long_for_one_frame_goes_in_parts_and_all_of_it_counts() {
    const LISTING: u8 = 29;
    let birds = names(100);
    for seed in 1..=5 {
        let config = Config { listed_at_once: 7, ..Config::default() };
        let mut world = flock_on(World::with(seed, config), 2, &birds);
        world.add_host();
        world.run(Duration::from_secs(10));
        let parts = world.kinds.get(&LISTING).map_or(0, |(frames, _)| *frames);
        assert!(parts > 2, "seed {seed}: {parts} parts");
        let at_the_third = homes(&world).values().filter(|at| **at == [2]).count();
        assert!(at_the_third > 20, "seed {seed}: {at_the_third}");
        assert_eq!(world.broken(), None, "seed {seed}");
    }
}

#[test]
fn of_two_nests_the_other_replaces_a_killed_one() {
    let birds = names(30);
    for seed in 1..=SEEDS {
        let mut world = flock(seed, 2, &birds);
        world.kill(1);
        let all_here =
            |w: &World| w.perches().values().all(|at| *at == [0]) && w.perches().len() == 30;
        assert!(world.run_until(Duration::from_secs(3), all_here), "seed {seed}");
    }
}

#[test]
fn twenty_restarts_under_one_name_leave_one_member() {
    for seed in 1..=5 {
        let mut world = flock(seed, 3, &[]);
        for _ in 0..20 {
            world.kill(1);
            world.run(Duration::from_millis(30));
            world.boot(1);
            world.run(Duration::from_millis(400));
        }
        world.run(Duration::from_secs(10));
        for host in world.running() {
            let members = world.nest(host).map(|nest| nest.view().members().len());
            assert_eq!(members, Some(3), "seed {seed}");
        }
    }
}

#[test]
fn an_isolated_nest_finds_the_others_again_after_a_long_cut() {
    let birds = names(20);
    for seed in 1..=10 {
        let mut world = flock(seed, 3, &birds);
        world.cut(&[2], &[0, 1]);
        world.run(Duration::from_secs(60));
        assert_eq!(homes(&world).values().filter(|at| at.len() == 2).count(), 20, "seed {seed}");
        world.heal();
        let healed = |w: &World| w.perches().values().all(|at| at.len() == 1);
        assert!(world.run_until(Duration::from_secs(12), healed), "seed {seed}");
        world.run(Duration::from_secs(3));
        call_all(&mut world, &birds, &[0, 1, 2], seed);
    }
}

#[test]
fn of_two_births_of_one_name_one_record_is_left_in_every_register() {
    let birds = names(20);
    for seed in 1..=SEEDS {
        let mut world = flock(seed, 4, &[]);
        world.cut(&[0, 1], &[2, 3]);
        world.run(Duration::from_secs(15));
        for (n, name) in birds.iter().enumerate() {
            world.start(n % 2, name);
            world.start(2 + n % 2, name);
        }
        world.run(Duration::from_secs(10));
        let records = |w: &World| {
            let nests = w.running().into_iter().filter_map(|host| w.nest(host));
            nests.map(|nest| (nest.count(), nest.records())).collect::<Vec<_>>()
        };
        let count = |host| world.nest(host).map_or(0, |nest| nest.count());
        // First hatches fail here and there.
        assert!(count(0) > 10 && count(2) > 10, "seed {seed}");
        world.heal();
        let met = |w: &World| records(w).iter().any(|(names, all)| all > names);
        assert!(world.run_until(Duration::from_secs(20), met), "seed {seed}: nothing met");
        world.run(Duration::from_secs(10));
        let left = records(&world);
        let all = left.first().is_some_and(|(names, _)| left == [(*names, *names); 4]);
        assert!(all, "seed {seed}: names and records {left:?}");
        assert_eq!(world.broken(), None, "seed {seed}");
    }
}

#[test]
fn the_same_seed_tells_the_same_story() {
    let run = |seed| {
        let mut world = flock(seed, 3, &names(10));
        world.kill(0);
        world.run(Duration::from_secs(10));
        (world.elapsed(), world.perches(), world.events.clone(), world.answers.len())
    };
    assert_eq!(run(7), run(7));
}

#[test]
fn a_clock_an_hour_ahead_harms_nobody() {
    for seed in 1..=5 {
        let birds = names(20);
        let mut world = flock(seed, 2, &birds);
        let late = world.add_host_with_skew(3_600_000_000);
        world.run(Duration::from_secs(10));
        call_all(&mut world, &birds, &[0, 1, late], seed);
        let name = BirdName::new("new").expect("a name");
        for step in 0..3 {
            let req = if step == 1 { world.stop(0, &name) } else { world.start(late, &name) };
            world.run(Duration::from_secs(6));
            assert!(world.answers.contains_key(&req), "seed {seed}");
        }
        assert_eq!(world.broken(), None, "seed {seed}");
    }
}

#[test]
fn a_nest_frozen_for_five_seconds_is_suspected_and_refutes_and_keeps_its_birds() {
    let birds = names(40);
    for seed in 1..=SEEDS {
        let mut world = flock(seed, 3, &birds);
        let before = homes(&world);
        let id = world.nest(2).expect("it runs").id();
        let suspects = |w: &World, by| {
            w.nest(by).is_some_and(|nest| nest.suspects().iter().any(|(who, _)| *who == id))
        };
        world.freeze_hard(2, Duration::from_secs(5));
        let by_both = |w: &World| suspects(w, 0) && suspects(w, 1);
        assert!(world.run_until(Duration::from_secs(3), by_both), "seed {seed}: not suspected");
        let gone = |w: &World| {
            [0, 1].iter().any(|&by| w.nest(by).is_none_or(|n| !n.alive().contains(&id)))
        };
        assert!(!world.run_until(Duration::from_secs(10), gone), "seed {seed}: given up");
        assert!(!suspects(&world, 0) && !suspects(&world, 1), "seed {seed}: still suspected");
        call_all(&mut world, &birds, &[0, 1, 2], seed);
        assert_eq!(homes(&world), before, "seed {seed}: nothing had to move");
        assert_eq!(world.broken(), None, "seed {seed}");
    }
}
