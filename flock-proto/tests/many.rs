//! Requests by the thousand: each of many is as good as one alone.

mod common;
mod direct;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use flock_proto::sim::World;
use flock_proto::wire::{Frame, Requests};
use flock_proto::{Answer, BirdName, Input, ReqId};

use common::{flock, names};
use direct::Direct;

const SEEDS: u64 = 20;

/// How each request ended, by name.
fn ends(world: &World, reqs: &[ReqId], names: &[BirdName]) -> BTreeMap<BirdName, Option<Answer>> {
    let end = |(req, name): (&ReqId, &BirdName)| (name.clone(), world.answers.get(req).cloned());
    reqs.iter().zip(names).map(end).collect()
}

/// In the simulation a first hatch fails now and then.
fn started_or_unhatched(answer: Option<&Answer>) -> bool {
    matches!(answer, Some(Answer::Started { fresh: true, .. } | Answer::HatchFailed { .. }))
}

fn is_started(answer: Option<&Answer>) -> bool {
    matches!(answer, Some(Answer::Started { .. }))
}

/// Those acknowledged as started live, once each, and nobody else but `others`.
fn check_lives(
    world: &World,
    ends: &BTreeMap<BirdName, Option<Answer>>,
    others: &[BirdName],
    seed: u64,
) {
    let perches = world.perches();
    for (name, end) in ends {
        let lives = perches.get(name).map_or(0, Vec::len);
        if is_started(end.as_ref()) {
            assert_eq!(lives, 1, "seed {seed}: {name} was started, {end:?}");
        }
        if matches!(end, Some(Answer::HatchFailed { .. } | Answer::NoOwner)) {
            assert_eq!(lives, 0, "seed {seed}: {name}, {end:?}");
        }
    }
    let known: BTreeSet<_> = ends.keys().chain(others).collect();
    assert!(perches.keys().all(|name| known.contains(name)), "seed {seed}: strangers");
    for host in world.running() {
        let nest = world.nest(host).expect("it runs");
        assert_eq!(nest.count(), perches.len(), "seed {seed}: host {host} knows another number");
        assert_eq!(nest.open_questions(), (0, 0), "seed {seed}: host {host} isn't done");
    }
    assert_eq!(world.broken(), None, "seed {seed}");
}

#[test]
fn a_bulk_is_answered_name_by_name_whoever_owns_the_names() {
    for seed in 1..=5 {
        let mut world = flock(seed, 3, &[]);
        let birds = names(300);
        let reqs = world.start_many(0, &birds);
        assert!(world.run_until(Duration::from_secs(1), |w| w.answers.len() >= 300), "seed {seed}");
        let started = ends(&world, &reqs, &birds);
        assert!(started.values().all(|end| started_or_unhatched(end.as_ref())), "seed {seed}");
        let homes: BTreeSet<_> = world.perches().into_values().collect();
        assert_eq!(homes, [vec![0], vec![1], vec![2]].into(), "seed {seed}: all nests have some");
        world.run(Duration::from_secs(2));
        check_lives(&world, &started, &[], seed);

        let reqs = world.stop_many(1, &birds);
        assert!(world.run_until(Duration::from_secs(1), |w| w.answers.len() >= 600), "seed {seed}");
        for (name, end) in ends(&world, &reqs, &birds) {
            let lived = is_started(started[&name].as_ref());
            let expected = if lived { Answer::Stopped } else { Answer::NoSuchBird };
            assert_eq!(end, Some(expected), "seed {seed}: {name}");
        }
        world.run(Duration::from_secs(2));
        check_lives(&world, &BTreeMap::new(), &[], seed);
    }
}

#[test]
fn what_was_acknowledged_outlives_an_owner_that_dies_in_the_middle() {
    let mut cut_short = 0;
    for seed in 1..=SEEDS {
        let mut world = flock(seed, 3, &[]);
        let birds = names(200);
        let reqs = world.start_many(0, &birds);
        world.run(Duration::from_millis(1 + 2 * seed));
        cut_short += 200 - reqs.iter().filter(|req| world.answers.contains_key(req)).count();
        world.kill(1);
        world.run(Duration::from_secs(10));
        let ends = ends(&world, &reqs, &birds);
        let good = |end: &Option<Answer>| started_or_unhatched(end.as_ref());
        assert!(ends.values().all(good), "seed {seed}: {ends:?}");
        check_lives(&world, &ends, &[], seed);
    }
    assert!(cut_short > 1000, "only {cut_short} requests were under way when an owner died");
}

#[test]
fn broken_and_stalled_links_lose_no_request_and_double_none() {
    for seed in 1..=SEEDS {
        let mut world = flock(seed, 3, &[]);
        let birds = names(150);
        let reqs = world.start_many(0, &birds);
        for i in 0..10 {
            world.run(Duration::from_millis(1 + seed % 3));
            if i % 3 == 0 {
                world.stall(0, 1 + i % 2, Duration::from_millis(40));
            } else {
                world.break_link(0, 1 + i % 2);
            }
        }
        world.run(Duration::from_secs(10));
        let ends = ends(&world, &reqs, &birds);
        let good = |end: &Option<Answer>| started_or_unhatched(end.as_ref());
        assert!(ends.values().all(good), "seed {seed}: {ends:?}");
        check_lives(&world, &ends, &[], seed);
    }
}

#[test]
fn a_nest_that_joins_or_leaves_in_the_middle_disturbs_no_bulk() {
    for seed in 1..=SEEDS {
        let mut world = flock(seed, 3, &[]);
        let birds = names(200);
        world.add_host();
        world.run(Duration::from_millis(200 + 10 * seed));
        let first = world.start_many(0, &birds[..100]);
        world.run(Duration::from_millis(seed));
        world.leave(2);
        let second = world.start_many(1, &birds[100..]);
        world.run(Duration::from_secs(10));
        let ends = ends(&world, &[first, second].concat(), &birds);
        let good = |end: &Option<Answer>| started_or_unhatched(end.as_ref());
        assert!(ends.values().all(good), "seed {seed}: {ends:?}");
        check_lives(&world, &ends, &[], seed);
    }
}

#[test]
fn of_two_bulks_with_the_same_names_each_name_is_started_once() {
    for seed in 1..=SEEDS {
        let mut world = flock(seed, 3, &[]);
        let birds = names(150);
        let one = world.start_many(0, &birds[..100]);
        world.run(Duration::from_micros(seed * 300));
        let other = world.start_many(1, &birds[50..]);
        world.run(Duration::from_secs(8));
        let one = ends(&world, &one, &birds[..100]);
        let other = ends(&world, &other, &birds[50..]);
        let perches = world.perches();
        for name in &birds {
            let both = [one.get(name), other.get(name)].into_iter().flatten();
            let both: Vec<_> = both.map(Option::as_ref).collect();
            assert!(both.iter().all(Option::is_some), "seed {seed}: {name} {both:?}");
            let starts = both.iter().filter(|end| is_started(**end)).count();
            assert_eq!(starts, perches.get(name).map_or(0, Vec::len), "seed {seed}: {both:?}");
            let refused = |end: &Option<&Answer>| matches!(end, Some(Answer::AlreadyExists { .. }));
            if both.iter().any(refused) && starts == 0 {
                // The one that was first didn't hatch.
                let unhatched = both.iter().any(|e| matches!(e, Some(Answer::HatchFailed { .. })));
                assert!(unhatched, "seed {seed}: {name} {both:?}");
            }
        }
        assert_eq!(world.broken(), None, "seed {seed}");
    }
}

#[test]
fn an_undo_stops_what_that_start_made_and_nothing_else() {
    for seed in 1..=SEEDS {
        let birds = names(60);
        // The first third lived before; the second is stopped and started anew by somebody else.
        let mut world = flock(seed, 3, &birds[..20]);
        let reqs = world.start_many(0, &birds);
        world.run(Duration::from_secs(2));
        for name in &birds[20..40] {
            world.stop(1, name);
        }
        world.run(Duration::from_secs(2));
        let anew = world.start_many(2, &birds[20..40]);
        world.run(Duration::from_secs(2));
        let mut living: BTreeSet<BirdName> = birds[..20].iter().cloned().collect();
        let anew = birds[20..40].iter().zip(anew);
        let anew = anew.filter(|(_, req)| is_started(world.answers.get(req)));
        living.extend(anew.map(|(name, _)| name.clone()));
        let before = world.perches();

        let starts: Vec<_> = reqs.iter().copied().zip(birds.iter().cloned()).collect();
        let undone = world.undo_many(0, &starts);
        world.kill(1);
        world.run(Duration::from_secs(8));
        for (req, (_, name)) in undone.iter().zip(&starts) {
            let expected = if living.contains(name) {
                vec![Answer::NoSuchBird]
            } else {
                // One that was asked before, of the nest that died, may have been done there.
                vec![Answer::Stopped, Answer::NoSuchBird]
            };
            let answer = world.answers.get(req);
            assert!(answer.is_some_and(|a| expected.contains(a)), "seed {seed}: {name} {answer:?}");
        }
        let after: BTreeSet<BirdName> = world.perches().into_keys().collect();
        assert_eq!(after, living, "seed {seed}");
        let moved = world.perches().into_iter().filter(|(name, at)| before[name] != *at);
        assert!(moved.into_iter().all(|(name, _)| before[&name] == [1]), "seed {seed}");
        assert_eq!(world.broken(), None, "seed {seed}");
    }
}

fn requests(frames: Vec<Frame>) -> Vec<Requests> {
    let of = |frame| if let Frame::Requests(requests) = frame { Some(requests) } else { None };
    frames.into_iter().filter_map(of).collect()
}

#[test]
fn what_one_round_has_for_a_nest_travels_in_one_frame_and_one_delta() {
    let mut flock = Direct::of(2);
    let birds = flock.names_of(1, "bird", 100);
    let all = birds.iter().map(|name| flock.start(name, 8)).collect();
    flock.feed(0, Input::Many(all));
    let sent = requests(flock.under_way());
    assert_eq!(sent.iter().map(|r| r.requests.len()).collect::<Vec<_>>(), [100]);
    let order: Vec<_> = sent[0].requests.iter().map(|r| r.name.clone()).collect();
    assert_eq!(order, birds, "in the order in which they were made");
    flock.bring();
    assert_eq!(flock.hatching.len(), 100);
    flock.hatch();
    let answers = flock.under_way();
    let [Frame::Responses(answers)] = &answers[..] else { panic!("not one frame: {answers:?}") };
    assert_eq!(answers.responses.len(), 100);
    assert!(answers.delta.is_some(), "the asker is to hold the operations, too");
    flock.bring();
    assert_eq!(flock.answers.len(), 100);
    assert!(flock.answers.values().all(|answer| is_started(Some(answer))));
    assert_eq!(flock.nest(0).count(), 100);
}

#[test]
fn a_lost_batch_is_sent_again_and_what_was_answered_is_not() {
    let mut flock = Direct::of(2);
    let birds = flock.names_of(1, "bird", 30);
    let all = birds.iter().map(|name| flock.start(name, 8)).collect();
    flock.feed(0, Input::Many(all));
    flock.bring();
    // Ten hatch and are answered; then the link breaks with all that is on it.
    let rest = flock.hatching.split_off(10);
    flock.hatch();
    flock.bring();
    assert_eq!(flock.answers.len(), 10);
    flock.hatching = rest;
    flock.hatch();
    flock.break_link(0, 1);
    let again = requests(flock.under_way());
    assert_eq!(again.iter().map(|r| r.requests.len()).sum::<usize>(), 20);
    assert!(again.iter().flat_map(|r| &r.requests).all(|request| request.again));
    flock.bring();
    assert_eq!(flock.hatching, [], "nothing hatches a second time");
    assert!(flock.answers.values().all(|answer| is_started(Some(answer))), "{:?}", flock.answers);
    assert_eq!(flock.answers.len(), 30);
}

#[test]
fn a_stop_that_is_sent_again_waits_for_the_end_of_the_life_all_the_same() {
    let mut flock = Direct::of(2);
    let birds = flock.names_of(1, "bird", 20);
    let all = birds.iter().map(|name| flock.start(name, 0)).collect();
    flock.feed(0, Input::Many(all));
    flock.bring();
    flock.hatch();
    flock.bring();
    let deadline = flock.now + Duration::from_secs(5);
    let stop = |name: &BirdName| Input::Stop { req: flock.req(), name: name.clone(), deadline };
    let all = birds.iter().map(stop).collect();
    flock.feed(0, Input::Many(all));
    flock.bring();
    flock.break_link(0, 1);
    flock.pass(Duration::from_secs(1));
    assert_eq!(flock.answers.len(), 20, "the lives haven't ended yet");
    flock.end();
    flock.bring();
    let stopped = flock.answers.values().filter(|answer| **answer == Answer::Stopped);
    assert_eq!((stopped.count(), flock.answers.len()), (20, 40));
}

#[test]
fn large_arguments_go_a_few_at_a_time_and_all_arrive_though_links_break() {
    const MIB: usize = 1 << 20;
    let mut flock = Direct::of(2);
    let birds = flock.names_of(1, "bird", 50);
    let mut sizes: Vec<usize> = (0..50).map(|n| (n % 5) * MIB / 10).collect();
    sizes[20] = 15 * MIB;
    let all = birds.iter().zip(&sizes).map(|(name, size)| flock.start(name, *size)).collect();
    flock.feed(0, Input::Many(all));
    let mut most = 0;
    for turn in 0..100 {
        let frames = flock.wire.iter().map(|(_, _, bytes)| bytes.len());
        assert!(frames.clone().all(|len| len <= 16 * MIB), "a frame is too long");
        most = most.max(requests(flock.under_way()).iter().map(|r| r.requests.len()).sum());
        let waiting: usize = frames.sum();
        assert!(waiting <= 17 * MIB, "{waiting} bytes are under way at a time");
        if turn < 10 {
            flock.break_link(0, 1);
        }
        flock.bring();
        flock.hatch();
    }
    assert!(most < 25, "{most} were sent at a time");
    assert_eq!(flock.answers.len(), 50);
    assert!(flock.answers.values().all(|answer| is_started(Some(answer))));
}

#[test]
fn a_copy_that_comes_late_starts_nothing() {
    let mut flock = Direct::of(2);
    let birds = flock.names_of(1, "bird", 3);
    let all = birds.iter().map(|name| flock.start(name, 8)).collect();
    flock.feed(0, Input::Many(all));
    let late = flock.wire.clone();
    flock.bring();
    flock.hatch();
    flock.bring();
    // One bird ends, one is stopped by the other nest, one lives on.
    let fence = flock.nest(1).lives().find(|(name, ..)| **name == birds[0]).expect("it lives").2;
    flock.feed(1, Input::Ended { name: birds[0].clone(), fence, snapshot: None });
    let (req, deadline) = (flock.req(), flock.now + Duration::from_secs(5));
    flock.feed(1, Input::Stop { req, name: birds[1].clone(), deadline });
    flock.end();
    flock.bring();
    assert_eq!(flock.nest(1).count(), 1);
    for round in 0..2 {
        flock.wire.extend(late.iter().cloned());
        flock.bring();
        assert_eq!(flock.hatching, [], "round {round}");
        assert_eq!(flock.nest(1).count(), 1, "round {round}");
        // By the next request the owner learns that the asker has all its answers: those are
        // forgotten, and the late copies known by their numbers.
        assert_eq!(flock.nest(1).remembered_answers(), if round == 0 { 3 } else { 1 });
        let next = flock.names_of(1, "next", 1);
        let start = flock.start(&next[0], 0);
        flock.feed(0, start);
        flock.bring();
        if round == 0 {
            flock.hatch();
            flock.bring();
            let (req, deadline) = (flock.req(), flock.now + Duration::from_secs(5));
            flock.feed(0, Input::Stop { req, name: next[0].clone(), deadline });
            flock.bring();
            flock.end();
            flock.bring();
        }
    }
}

#[test]
fn an_undo_that_overtakes_its_start_leaves_nothing_of_it() {
    let mut flock = Direct::of(2);
    let birds = flock.names_of(1, "bird", 2);
    // An older request stays open: so the numbers alone don't tell that the start is over.
    let older = flock.start(&birds[0], 0);
    flock.feed(0, older);
    flock.bring();
    let start = flock.start(&birds[1], 0);
    let Input::Start { req: made, .. } = start else { unreachable!() };
    flock.feed(0, start);
    let late = std::mem::take(&mut flock.wire);
    flock.pass(Duration::from_millis(1));
    let (req, deadline) = (flock.req(), flock.now + Duration::from_secs(5));
    flock.feed(0, Input::Undo { req, start: made, name: birds[1].clone(), deadline });
    flock.bring();
    assert_eq!(flock.answers.get(&(0, req)), Some(&Answer::NoSuchBird));
    flock.wire.extend(late);
    flock.bring();
    assert!(flock.hatching.iter().all(|(_, name, _)| *name == birds[0]), "{:?}", flock.hatching);
}

#[test]
fn more_starts_at_once_than_the_log_holds_reach_the_others_without_a_snapshot() {
    let mut flock = Direct::of(2);
    let birds = flock.names_of(0, "bird", 10_000);
    let all = birds.iter().map(|name| flock.start(name, 0)).collect();
    flock.feed(0, Input::Many(all));
    flock.hatch();
    assert!(flock.answers.is_empty(), "nobody else holds them yet");
    flock.pass(Duration::from_millis(5));
    assert_eq!(flock.nest(1).count(), 10_000);
    assert_eq!(flock.answers.len(), 10_000, "all are held by the other nest, too");
    assert_eq!(flock.comparisons, 0);
}

#[test]
fn starts_are_told_while_somebody_listens_and_birds_that_nobody_heard_of_live() {
    let mut nests = Direct::of(2);
    let names = nests.names_of(0, "bird", 3);
    let theirs = nests.names_of(1, "bird", 1);
    for (name, audience) in names.iter().zip([false, true, false]) {
        nests.feed(1, Input::Audience(audience));
        let start = nests.start(name, 4);
        nests.feed(0, start);
        nests.pass(Duration::from_millis(100));
        nests.hatch();
    }
    assert_eq!(nests.nest(1).count(), 3);
    // This one it is to hatch, told of or not.
    let start = nests.start(&theirs[0], 4);
    nests.feed(0, start);
    nests.pass(Duration::from_millis(100));
    nests.hatch();
    assert!(nests.nest(1).running().eq(&theirs));
    let told = |at| -> Vec<BirdName> {
        let by_it = nests.started.iter().filter(|(by, _)| *by == at);
        by_it.map(|(_, name)| name.clone()).collect()
    };
    assert_eq!(told(1), names[1..2]);
    assert_eq!(told(0), [&names[..], &theirs].concat(), "it never heard that nobody listens");
}
