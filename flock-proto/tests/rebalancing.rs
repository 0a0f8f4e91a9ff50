//! Who takes its share of the names, when, and how many birds move at a time.

mod common;

use std::collections::BTreeMap;
use std::time::Duration;

use flock_proto::sim::World;
use flock_proto::{Answer, BirdName, Config, Member, NestName, Rebalancing, WhatIf};

use common::{flock_on, names};

const SEEDS: u64 = 20;

fn passive(seed: u64) -> World {
    World::with(seed, Config { rebalancing: Rebalancing::Passive, ..Config::default() })
}

fn paced(seed: u64, config: Config) -> World {
    World::with(seed, Config { moves_at_once: 2, ..config })
}

/// What this nest sees of the nest of that host.
fn member(world: &World, seen_by: usize, host: usize) -> Member {
    let view = world.nest(seen_by).expect("a nest").view();
    let id = world.nest(host).expect("a nest").id();
    view.member(id).expect("it is seen").clone()
}

fn waits(world: &World, host: usize) -> bool {
    world.running().into_iter().all(|other| member(world, other, host).due > 0)
}

fn has_share(world: &World, host: usize) -> bool {
    world.running().into_iter().all(|other| member(world, other, host).weight > 0)
}

fn moved(world: &World) -> u64 {
    world.events.get("moved").copied().unwrap_or(0)
}

/// Where each name lives, once each lives where it belongs.
fn homes(world: &mut World, seed: u64) -> BTreeMap<BirdName, usize> {
    world.come_to_rest(Duration::from_secs(2));
    assert_eq!(world.broken(), None, "seed {seed}");
    world.perches().into_iter().map(|(name, at)| (name, at[0])).collect()
}

/// What would move, by the numbers of the hosts.
fn plan(world: &World, host: usize, what: &WhatIf) -> BTreeMap<(usize, usize), usize> {
    let nest = world.nest(host).expect("a nest");
    let mut forecast = nest.forecast(what).expect("it may happen");
    while !nest.count_moves(&mut forecast, 7).expect("the view stays") {}
    let number = |name: &NestName| name.as_str()[5..].parse().expect("nest-N");
    let moves = forecast.plan().moves;
    moves.iter().map(|m| ((number(&m.from), number(&m.to)), m.birds)).collect()
}

fn difference(
    before: &BTreeMap<BirdName, usize>,
    after: &BTreeMap<BirdName, usize>,
) -> BTreeMap<(usize, usize), usize> {
    let mut moved = BTreeMap::new();
    for (name, from) in before.iter().filter(|(name, from)| after[*name] != **from) {
        *moved.entry((*from, after[name])).or_default() += 1;
    }
    moved
}

#[test]
fn a_passive_join_moves_no_bird_and_a_call_for_shares_moves_as_many_as_planned() {
    let birds = names(60);
    for seed in 1..=SEEDS {
        let mut world = flock_on(passive(seed), 3, &birds);
        let before = homes(&mut world, seed);
        let (a, b) = (world.add_host(), world.add_host());
        assert_eq!(homes(&mut world, seed), before, "seed {seed}");
        assert!(waits(&world, a) && waits(&world, b), "seed {seed}");
        assert_eq!(moved(&world), 0, "seed {seed}");
        let planned = plan(&world, b, &WhatIf::Rebalance);
        let req = world.rebalance(1);
        let answer = world.answers.get(&req);
        assert!(matches!(answer, Some(Answer::Rebalancing { waiting }) if waiting.len() == 2));
        let after = homes(&mut world, seed);
        assert!(has_share(&world, a) && has_share(&world, b), "seed {seed}");
        assert_eq!(difference(&before, &after), planned, "seed {seed}");
        let all: usize = planned.values().sum();
        assert_eq!(moved(&world), all as u64, "seed {seed}: none moved twice");
    }
}

#[test]
fn those_who_wait_take_their_shares_as_one_that_has_a_share_goes() {
    let birds = names(40);
    for seed in 1..=SEEDS {
        for dies in [true, false] {
            let mut world = flock_on(passive(seed), 3, &birds);
            let joiner = world.add_host();
            let before = homes(&mut world, seed);
            let name = NestName::new("nest-1").expect("a name");
            let planned = plan(&world, 0, &WhatIf::Leave(name));
            if dies {
                world.kill(1);
            } else {
                world.leave(1);
            }
            let after = homes(&mut world, seed);
            assert!(has_share(&world, joiner), "seed {seed}");
            assert_eq!(difference(&before, &after), planned, "seed {seed}");
        }
    }
}

#[test]
fn one_that_waits_takes_no_share_as_another_goes_that_waited() {
    let birds = names(40);
    for seed in 1..=SEEDS {
        let mut world = flock_on(passive(seed), 2, &birds);
        let (a, b) = (world.add_host(), world.add_host());
        let before = homes(&mut world, seed);
        world.kill(a);
        assert_eq!(homes(&mut world, seed), before, "seed {seed}");
        assert!(waits(&world, b), "seed {seed}");
    }
}

#[test]
fn the_last_that_has_a_share_hands_its_birds_to_those_who_wait() {
    let birds = names(40);
    for seed in 1..=SEEDS {
        let mut world = flock_on(passive(seed), 1, &birds);
        let (a, b) = (world.add_host(), world.add_host());
        homes(&mut world, seed);
        let req = world.leave(0);
        assert_eq!(homes(&mut world, seed).len(), 40, "seed {seed}");
        let left = world.answers.get(&req);
        assert!(
            matches!(left, Some(Answer::Left { left_behind }) if left_behind.is_empty()),
            "seed {seed}: {left:?}"
        );
        assert!(has_share(&world, a) && has_share(&world, b), "seed {seed}");
        assert_eq!(moved(&world), 40, "seed {seed}: once each");
    }
}

#[test]
fn where_no_bird_lives_nobody_waits() {
    for seed in 1..=SEEDS {
        let world = flock_on(passive(seed), 4, &[]);
        assert!((0..4).all(|host| has_share(&world, host)), "seed {seed}");
    }
}

#[test]
fn a_call_for_shares_reaches_a_nest_behind_a_relay_though_the_caller_leaves_at_once() {
    let birds = names(30);
    for seed in 1..=SEEDS {
        for leaves in [false, true] {
            let mut world = flock_on(passive(seed), 3, &birds);
            let joiner = world.add_host();
            homes(&mut world, seed);
            world.wall_pair(0, joiner);
            world.run(Duration::from_secs(5));
            assert!(waits(&world, joiner), "seed {seed}");
            world.rebalance(0);
            if leaves {
                world.leave(0);
            }
            let took = |w: &World| has_share(w, joiner);
            assert!(world.run_until(Duration::from_secs(5), took), "seed {seed}");
        }
    }
}

#[test]
fn many_that_take_their_shares_together_change_the_ring_once_or_twice() {
    let birds = names(30);
    for seed in 1..=5 {
        let mut world = flock_on(passive(seed), 2, &birds);
        let joiners: Vec<usize> = (0..6).map(|_| world.add_host()).collect();
        homes(&mut world, seed);
        world.rebalance(0);
        let mut rings = vec![world.nest(0).expect("a nest").view().fingerprint()];
        for _ in 0..3_000 {
            world.run(Duration::from_millis(1));
            let ring = world.nest(0).expect("a nest").view().fingerprint();
            if rings.last() != Some(&ring) {
                rings.push(ring);
            }
        }
        assert!(joiners.iter().all(|host| has_share(&world, *host)), "seed {seed}");
        assert!(rings.len() <= 3, "seed {seed}: {} rings", rings.len());
    }
}

#[test]
fn with_a_cool_down_nests_that_come_one_by_one_take_their_shares_together() {
    const COOL: Duration = Duration::from_secs(5);
    let birds = names(30);
    for seed in 1..=SEEDS {
        let config = Config { cool_down: COOL, ..Config::default() };
        let mut world = flock_on(World::with(seed, config), 2, &birds);
        let weights = |w: &World| {
            let view = w.nest(0).expect("a nest").view();
            view.members().iter().map(|m| view.ring().weight(m.id)).sum::<u32>()
        };
        let mut rings = vec![(world.elapsed(), weights(&world))];
        for tick in 0..20_000 {
            if tick % 1_000 == 0 && tick < 6_000 {
                world.add_host();
            }
            world.run(Duration::from_millis(1));
            if rings.last().is_some_and(|(_, last)| *last != weights(&world)) {
                rings.push((world.elapsed(), weights(&world)));
            }
        }
        assert_eq!(weights(&world), 8, "seed {seed}");
        // Each takes a round trip to be told of, and joins are gathered.
        let rushed = rings.windows(2).skip(1).find(|w| w[1].0 - w[0].0 < COOL / 2);
        assert_eq!(rushed, None, "seed {seed}: {rings:?}");
        assert!(rings.len() <= 4, "seed {seed}: {rings:?}");
    }
}

#[test]
fn a_pace_is_kept_and_birds_that_wait_are_called_where_they_are() {
    let birds = names(60);
    for seed in 1..=SEEDS {
        let config = Config { moves_per_second: Some(5), ..Config::default() };
        let mut world = flock_on(paced(seed, config), 1, &birds);
        let joiner = world.add_host();
        let (mut departed, mut most) = (Vec::new(), 0);
        let mut calls = Vec::new();
        for tick in 0..12_000_u32 {
            world.run(Duration::from_millis(1));
            let before = departed.last().copied().unwrap_or(0);
            departed.push(moved(&world).max(before));
            most = most.max(world.nest(0).expect("a nest").sizes().departing);
            if tick % 500 == 0 {
                calls.extend(birds.iter().map(|name| world.call(joiner, name)));
            }
        }
        assert!(most <= 2, "seed {seed}: {most} under way at once");
        let fastest = (1_000..departed.len()).map(|at| departed[at] - departed[at - 1_000]).max();
        // A bird takes a while to move, so one that departed before may arrive in the same second.
        assert!(fastest <= Some(5 + 2), "seed {seed}: {fastest:?} in a second");
        assert!(moved(&world) > 20, "seed {seed}: {}", moved(&world));
        world.run(Duration::from_secs(5));
        for call in calls {
            let end = world.ended.get(&call);
            let answered = matches!(end, Some(flock_proto::sim::CallEnd::Answered(_)));
            assert!(answered, "seed {seed}: {end:?}");
        }
        assert_eq!(homes(&mut world, seed).len(), 60, "seed {seed}");
    }
}

#[test]
fn so_many_birds_are_under_way_at_once_and_one_that_ends_as_it_waits_holds_up_no_other() {
    let birds = names(60);
    for seed in 1..=SEEDS {
        let mut world = flock_on(paced(seed, Config::default()), 1, &birds);
        world.add_host();
        let mut most = 0;
        for tick in 0..2_000 {
            world.run(Duration::from_millis(1));
            most = most.max(world.nest(0).expect("a nest").sizes().departing);
            if tick % 20 == 0 && tick < 800 {
                world.end_some_bird(0);
            }
        }
        assert_eq!(most, 2, "seed {seed}");
        assert!(!homes(&mut world, seed).is_empty(), "seed {seed}");
    }
}

#[test]
fn neither_a_leave_nor_a_heal_is_held_up_by_a_pace() {
    let birds = names(60);
    for seed in 1..=SEEDS {
        let config = Config { moves_per_second: Some(1), ..Config::default() };
        let mut world = flock_on(paced(seed, config), 2, &birds);
        world.leave(0);
        let gone = |w: &World| w.nest(0).is_none();
        assert!(world.run_until(Duration::from_secs(5), gone), "seed {seed}");
        assert_eq!(homes(&mut world, seed).len(), 60, "seed {seed}");
        let config = Config { moves_per_second: Some(1), ..Config::default() };
        let mut world = flock_on(paced(seed, config), 2, &birds);
        world.cut(&[0], &[1]);
        world.run(Duration::from_secs(12));
        world.heal();
        let single = |w: &World| {
            let perches = w.perches();
            perches.len() == 60 && perches.values().all(|at| at.len() == 1)
        };
        assert!(world.run_until(Duration::from_secs(10), single), "seed {seed}");
    }
}

#[test]
fn a_nest_of_weight_0_stays_and_its_birds_go() {
    let birds = names(40);
    for seed in 1..=SEEDS {
        let mut world = flock_on(World::new(seed), 3, &birds);
        let before = homes(&mut world, seed);
        for weight in [0, 2] {
            let nest = NestName::new("nest-1").expect("a name");
            let planned = plan(&world, 2, &WhatIf::Weigh { nest, weight });
            let was = homes(&mut world, seed);
            world.weigh(1, weight);
            let after = homes(&mut world, seed);
            assert!(!planned.is_empty());
            assert_eq!(difference(&was, &after), planned, "seed {seed}");
            let there = after.values().any(|at| *at == 1);
            assert_eq!((there, world.is_up(1)), (weight > 0, true), "seed {seed}");
        }
        assert_eq!(before.len(), homes(&mut world, seed).len());
    }
}
