//! Corners that random stories seldom reach, each named after what must hold.

mod common;

use std::time::Duration;

use flock_proto::sim::World;
use flock_proto::{Answer, BirdName};

use common::{flock, names};

/// Names that don't live where they belong, as some nest sees it.
fn misplaced(world: &World) -> Vec<(BirdName, Option<usize>, Vec<usize>)> {
    let perches = world.perches();
    let Some(nest) = world.running().into_iter().find_map(|host| world.nest(host)) else {
        return Vec::new();
    };
    let host_of =
        |id| world.running().into_iter().find(|h| world.nest(*h).is_some_and(|n| n.id() == id));
    let place = |info: flock_proto::BirdInfo| {
        let owner = info.owner.and_then(host_of);
        let at = perches.get(&info.name).cloned().unwrap_or_default();
        (info.name, owner, at)
    };
    let all = nest.page(None, usize::MAX).into_iter().map(place);
    all.filter(|(_, owner, at)| at.as_slice() != owner.as_slice()).collect()
}

#[test]
fn a_bird_that_was_grounded_beyond_a_cut_lives_on_if_it_lives_on_this_side() {
    let birds = names(30);
    for seed in 1..=10 {
        let mut world = flock(seed, 3, &birds);
        world.cut(&[0], &[1, 2]);
        world.run(Duration::from_secs(10));
        while world.crash_some_bird(0).is_some() {
            world.run(Duration::from_millis(20));
        }
        let grounded = |world: &World, host: usize| {
            let all = world.nest(host).map(|nest| nest.page(None, usize::MAX)).unwrap_or_default();
            all.iter().filter(|bird| bird.grounded.is_some()).count()
        };
        assert_eq!((grounded(&world, 0), grounded(&world, 1)), (birds.len(), 0), "seed {seed}");
        world.heal();
        world.run(Duration::from_secs(20));
        assert_eq!((grounded(&world, 0), grounded(&world, 1)), (0, 0), "seed {seed}");
        assert_eq!(misplaced(&world), [], "seed {seed}");
    }
}

#[test]
fn a_hand_over_that_a_relay_loses_goes_on_all_the_same() {
    let birds = names(60);
    for seed in 1..=20 {
        let mut world = flock(seed, 2, &birds);
        world.cut_pair(0, 2);
        let newcomer = world.add_host();
        for i in 0..80 {
            world.run(Duration::from_millis(50));
            let end = if i % 2 == 0 { 0 } else { newcomer };
            world.break_link(1, end);
        }
        world.run(Duration::from_secs(20));
        assert_eq!(world.up().len(), 3, "seed {seed}");
        assert_eq!(misplaced(&world), [], "seed {seed}");
    }
}

#[test]
fn the_last_nest_leaves_only_when_a_joiner_has_taken_over() {
    let birds = names(30);
    for seed in 1..=20 {
        let mut world = flock(seed, 1, &birds);
        let newcomer = world.add_host();
        // Late enough to have been seen, too early to be up.
        assert!(world.run_until(Duration::from_secs(1), |w| {
            w.nest(0).is_some_and(|nest| nest.view().members().len() == 2)
        }));
        world.run(Duration::from_micros(seed * 200));
        let req = world.leave(0);
        world.run(Duration::from_secs(10));
        let left = world.answers.get(&req);
        assert!(
            matches!(left, Some(Answer::Left { left_behind }) if left_behind.is_empty()),
            "seed {seed}: {left:?}"
        );
        assert_eq!(world.perches().len(), birds.len(), "seed {seed}: {:?}", world.up());
        assert!(world.perches().values().all(|at| *at == [newcomer]), "seed {seed}");
        assert!(world.events.contains_key("moved"), "seed {seed}: nothing was handed over");
    }
}

#[test]
fn a_start_whose_second_holder_dies_is_answered_all_the_same() {
    for seed in 1..=40 {
        let mut world = flock(seed, 2, &[]);
        let mut reqs = Vec::new();
        for name in names(20) {
            reqs.push(world.start(0, &name));
        }
        world.run(Duration::from_micros(seed * 500));
        world.kill(1);
        world.run(Duration::from_secs(8));
        for req in reqs {
            let answer = world.answers.get(&req);
            assert!(
                matches!(answer, Some(Answer::Started { .. } | Answer::HatchFailed { .. })),
                "seed {seed}: {answer:?}"
            );
        }
    }
}

#[test]
fn a_nest_leaves_soon_though_others_write_all_the_time() {
    for seed in 1..=5 {
        let mut world = flock(seed, 4, &names(20));
        let req = world.leave(3);
        let mut waited = 0;
        let many = names(20_000);
        for name in &many[20..] {
            if world.answers.contains_key(&req) {
                break;
            }
            world.start((waited % 3) as usize, name);
            world.run(Duration::from_millis(2));
            waited += 1;
        }
        assert!(waited < 400, "seed {seed}: {waited} writes before it left");
    }
}

#[test]
fn fences_grow_though_the_clock_of_the_nest_before_was_far_ahead() {
    let birds = names(20);
    for seed in 1..=5 {
        let mut world = flock(seed, 2, &birds);
        let late = world.add_host_with_skew(3_600_000_000);
        world.run(Duration::from_secs(10));
        world.leave(late);
        world.run(Duration::from_secs(10));
        assert_eq!(world.broken(), None, "seed {seed}");
    }
}
