//! What membership adds to SWIM, one story for each rule: it ends well, and with the rule left out it
//! breaks the condition that is named for that.

mod common;

use std::collections::BTreeSet;
use std::time::Duration;

use flock_proto::sim::World;
use flock_proto::{Answer, Bug, plant};

use common::{flock, names};

/// What a story shows: nothing, or the condition that it broke.
type Shown = Result<(), &'static str>;

/// Tells a story with several seeds: all end well, and one of them doesn't with the mistake.
fn without(bug: Bug, seeds: std::ops::RangeInclusive<u64>, story: impl Fn(u64) -> bool) {
    let tell = |seed, bug: Option<Bug>| -> Shown {
        plant(bug);
        let good = story(seed);
        plant(None);
        if good { Ok(()) } else { Err(bug.map_or("no mistake", Bug::invariant)) }
    };
    for seed in seeds.clone() {
        assert_eq!(tell(seed, None), Ok(()), "seed {seed}: {}", bug.invariant());
    }
    let mut shown = seeds.map(|seed| tell(seed, Some(bug)));
    assert!(shown.any(|shown| shown == Err(bug.invariant())), "{} goes unnoticed", bug.name());
}

/// So many nests that start at once.
fn crowd(seed: u64, nests: usize, stalls: u64) -> World {
    let mut world = World::new(seed);
    world.set_stalls(stalls);
    for _ in 0..nests {
        world.add_empty_host(0);
    }
    for host in 0..nests {
        world.run(Duration::from_micros(100));
        world.boot(host);
    }
    let all = |world: &World| sees_all(world, nests);
    assert!(world.run_until(Duration::from_secs(20), all), "seed {seed}: not joined");
    world
}

fn sees_all(world: &World, nests: usize) -> bool {
    world.up().len() == nests
        && world
            .running()
            .iter()
            .all(|&host| world.nest(host).is_some_and(|nest| nest.view().members().len() == nests))
}

/// All but that host hold so many nests for alive.
fn know(world: &World, but: usize, members: usize) -> bool {
    let others = world.running().into_iter().filter(|host| *host != but);
    let mut views = others.filter_map(|host| world.nest(host)).map(|nest| nest.view());
    views.all(|view| view.members().len() == members)
}

fn frames(world: &World, kind: u8) -> (u64, u64) {
    world.kinds.get(&kind).copied().unwrap_or_default()
}

const SEAL: u8 = 30;
const ROSTER: u8 = 12;

#[test]
fn a_closed_link_is_probed_so_that_a_death_is_known_within_a_second() {
    without(Bug::NoProbes, 1..=5, |seed| {
        let mut world = flock(seed, 5, &[]);
        world.kill(4);
        world.run_until(Duration::from_secs(1), |world| know(world, 4, 4))
    });
}

#[test]
fn a_goodbye_lets_a_leave_be_known_at_once() {
    without(Bug::NoGoodbye, 1..=5, |seed| {
        let mut world = flock(seed, 8, &[]);
        let req = world.leave(7);
        let left = |world: &World| matches!(world.answers.get(&req), Some(Answer::Left { .. }));
        assert!(world.run_until(Duration::from_secs(10), left), "seed {seed}");
        // Its links close ten milliseconds later.
        world.run_until(Duration::from_millis(8), |world| {
            world
                .running()
                .iter()
                .all(|&host| world.nest(host).is_some_and(|nest| nest.alive().len() == 6))
        })
    });
}

#[test]
fn joins_are_gathered_so_that_many_change_the_ring_a_few_times() {
    // How many seals it costs that ten nests join one soon after the other.
    let seals = |bug| {
        let mut world = crowd(1, 20, 0);
        world.run(Duration::from_secs(5));
        let before = frames(&world, SEAL).0;
        plant(bug);
        for _ in 0..10 {
            world.add_host();
            world.run(Duration::from_millis(40));
        }
        let joined = world.run_until(Duration::from_secs(10), |world| sees_all(world, 30));
        plant(None);
        assert!(joined, "not joined");
        frames(&world, SEAL).0 - before
    };
    let (gathered, single) = (seals(None), seals(Some(Bug::SingleJoins)));
    assert!(gathered * 3 < single * 2, "{gathered} seals, {single} without the rule");
}

#[test]
fn news_is_passed_on_so_often_that_all_know_of_a_silent_host_within_seven_seconds() {
    without(Bug::FewTransmissions, 1..=3, |seed| {
        let mut world = crowd(seed, 60, 100);
        world.run(Duration::from_secs(10));
        let others: Vec<usize> = (0..59).collect();
        world.cut(&[59], &others);
        world.run_until(Duration::from_secs(7), |world| know(world, 59, 59))
    });
}

#[test]
fn a_nest_that_others_hear_is_not_suspected() {
    without(Bug::NoIndirectPings, 1..=5, |seed| {
        let mut world = flock(seed, 5, &[]);
        world.cut_pair(0, 1);
        let suspected = |world: &World| {
            (0..5).any(|host| world.nest(host).is_some_and(|nest| !nest.suspects().is_empty()))
        };
        !world.run_until(Duration::from_secs(20), suspected)
    });
}

#[test]
fn peace_costs_no_more_in_a_large_flock_than_in_a_small_one() {
    without(Bug::BusyHeartbeats, 1..=1, |seed| {
        [3, 5, 20, 40].into_iter().all(|nests| {
            let mut world = crowd(seed, nests, 100);
            world.run(Duration::from_secs(10));
            let before = world.frames;
            world.run(Duration::from_secs(20));
            let each = 20 * nests as u64;
            world.frames.0 - before.0 <= 10 * each && world.frames.1 - before.1 <= 1000 * each
        })
    });
}

#[test]
fn a_mass_join_costs_each_nest_a_bounded_number_of_rosters() {
    without(Bug::FloodedCards, 1..=2, |seed| {
        let world = crowd(seed, 40, 0);
        frames(&world, ROSTER).0 < 40 * 39 * 5
    });
}

#[test]
fn a_mass_join_tells_nobody_which_links_are_still_to_be_opened() {
    let world = crowd(1, 80, 0);
    // A card that says nothing of links is shorter than 120 bytes, and each nest is told of each other's
    // two dozen times.
    let each = frames(&world, ROSTER).1 / (80 * 79);
    assert!(each < 3000, "{each} bytes of cards for each pair");
}

#[test]
fn a_joiner_whose_first_link_breaks_at_once_is_no_flock_of_its_own() {
    for seed in 1..=40 {
        let mut world = flock(seed, 3, &[]);
        world.kill(0);
        world.run(Duration::from_secs(3));
        world.set_seeds(Vec::new());
        let host = world.add_host();
        let heard = |world: &World| world.nest(host).is_some_and(|nest| nest.acquaintances() > 1);
        assert!(world.run_until(Duration::from_secs(1), heard), "seed {seed}: it heard of nobody");
        world.break_link(host, 1);
        assert!(world.run_until(Duration::from_secs(5), |world| world.is_up(host)), "seed {seed}");
        let view = world.nest(host).map(|nest| nest.view().members().len());
        assert_eq!(view, Some(3), "seed {seed}");
    }
}

#[test]
fn a_joiner_is_sent_the_cards_that_are_no_news_any_more() {
    without(Bug::NoFullExchange, 1..=3, |seed| {
        let mut world = flock(seed, 5, &[]);
        world.kill(4);
        world.run(Duration::from_secs(3));
        world.add_host();
        world.run(Duration::from_secs(10));
        let nests = world.running().into_iter().filter_map(|host| world.nest(host));
        nests.map(|nest| nest.cards_digest()).collect::<BTreeSet<_>>().len() == 1
    });
}

/// Tells of five nests, two of which don't reach each other now and then; nothing may come of it.
fn flaps(seed: u64, apart: impl Fn(&mut World), span: Duration) -> bool {
    let mut world = flock(seed, 5, &names(20));
    let before = world.perches();
    for _ in 0..8 {
        apart(&mut world);
        world.run(span);
        world.mend(0, 1);
        world.run(Duration::from_millis(1500));
    }
    world.broken().is_none() && world.perches() == before && !world.events.contains_key("down")
}

#[test]
fn a_cut_that_flaps_for_two_nests_only_moves_nothing() {
    for seed in 1..=5 {
        for span in [Duration::from_millis(1500), Duration::from_secs(8)] {
            assert!(flaps(seed, |world| world.cut_pair(0, 1), span), "seed {seed}, {span:?}");
        }
    }
}

#[test]
fn a_refusal_that_two_nests_see_and_no_others_is_no_death() {
    without(Bug::HastyVerdicts, 1..=5, |seed| {
        flaps(seed, |world| world.wall_pair(0, 1), Duration::from_secs(3))
    });
}

#[test]
fn who_goes_back_to_lost_nests_heals_a_long_cut() {
    without(Bug::LostNests, 1..=3, |seed| {
        let mut world = flock(seed, 5, &[]);
        world.cut(&[3, 4], &[0, 1, 2]);
        world.run(Duration::from_secs(60));
        world.heal();
        world.run_until(Duration::from_secs(8), |world| sees_all(world, 5))
    });
}

#[test]
fn a_nest_that_starts_anew_takes_its_former_place_at_once() {
    without(Bug::OlderIncarnations, 1..=5, |seed| {
        let mut world = flock(seed, 4, &[]);
        // Its host loses power: nobody hears that its links closed.
        world.cut(&[3], &[0, 1, 2]);
        world.kill(3);
        world.heal();
        world.boot(3);
        let replaced = |world: &World| {
            let id = world.nest(3).map(flock_proto::Nest::id);
            know(world, 3, 4)
                && world.up().contains(&3)
                && (0..3).filter_map(|host| world.nest(host)).all(|nest| {
                    let named = nest.view();
                    named.members().iter().any(|member| Some(member.id) == id)
                })
        };
        world.run_until(Duration::from_secs(1), replaced)
    });
}

/// L5: on heal each name has a life too many, beyond the cut from its owner. That one moves, once.
#[test]
fn a_heal_moves_no_bird_twice() {
    let birds = names(300);
    for seed in 1..=5 {
        let mut world = flock(seed, 10, &birds);
        world.cut(&[0, 1, 2, 3, 4], &[5, 6, 7, 8, 9]);
        world.run(Duration::from_secs(60));
        let twice = world.perches().values().filter(|at| at.len() == 2).count();
        assert_eq!(twice, 300, "seed {seed}: each side runs one life");
        let before = world.events.get("moved").copied().unwrap_or_default();
        world.heal();
        let healed =
            |world: &World| sees_all(world, 10) && world.perches().values().all(|at| at.len() == 1);
        assert!(world.run_until(Duration::from_secs(12), healed), "seed {seed}: not healed");
        let moved = world.events.get("moved").copied().unwrap_or_default() - before;
        // Some may be under way still, as far as the nests know that they left.
        assert!((270..=330).contains(&moved), "seed {seed}: {moved} moves");
        assert_eq!(world.broken(), None, "seed {seed}");
    }
}

#[test]
fn every_mistake_of_membership_has_a_name_of_its_own() {
    for &bug in Bug::MEMBERSHIP {
        assert_eq!(Bug::named(bug.name()), Some(bug));
    }
}
