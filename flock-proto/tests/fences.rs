//! Fences across a crash, where clocks differ.

mod direct;

use std::time::Duration;

use flock_proto::{BirdName, Config, Fence, Input, Me};

use direct::{Direct, SPECIES};

/// By how much the clock of the nest that dies is ahead.
const AHEAD: Duration = Duration::from_secs(3);

/// A bird hatches on a nest whose clock is ahead, which dies before anybody hears of it. The fence that it
/// had there, and the one that it has after that.
fn fences_before_and_after_a_crash(fenced: bool) -> (Fence, Fence) {
    let tune = move |me: &mut Me, config: &mut Config| {
        me.fenced.extend(fenced.then_some(SPECIES));
        config.clock_skew = AHEAD + Duration::from_secs(1);
    };
    let mut flock = Direct::none();
    flock.add(Duration::ZERO, tune);
    flock.add(Duration::ZERO, tune);
    flock.come_up();
    let names = (0..40).map(|n| BirdName::new(&format!("bird-{n}")).expect("a name"));
    let starts = names.map(|name| flock.start(&name, 1)).collect();
    flock.feed(0, Input::Many(starts));
    flock.pass(Duration::from_millis(100));
    flock.hatch();
    flock.pass(Duration::from_secs(1));
    let ahead = flock.add(AHEAD, tune);
    while flock.departing.is_empty() {
        flock.pass(Duration::from_millis(1));
    }
    let (from, name, fence) = flock.departing.remove(0);
    let departed =
        Input::Departed { name: name.clone(), fence, crashes: Vec::new(), snapshot: None };
    flock.feed(from, departed);
    flock.now += Duration::from_millis(100);
    while !flock.hatching.iter().any(|(at, it, _)| (*at, it) == (ahead, &name)) {
        assert!(flock.bring_one(), "it moves");
    }
    let hatched = |flock: &Direct| {
        flock.hatching.iter().find(|(_, it, _)| *it == name).map(|(_, _, fence)| *fence)
    };
    let before = hatched(&flock).expect("it hatches");
    flock.kill(ahead);
    assert_eq!(hatched(&flock), None);
    for _ in 0..1000 {
        flock.pass(Duration::from_millis(10));
        if let Some(after) = hatched(&flock) {
            return (before, after);
        }
    }
    panic!("it doesn't hatch again");
}

#[test]
fn a_fenced_bird_has_a_greater_fence_after_a_crash_though_its_clock_was_ahead() {
    let (before, after) = fences_before_and_after_a_crash(true);
    assert!(after > before, "{after:?} after {before:?}");
}

/// What the flag is for; and that the test above could fail.
#[test]
fn another_bird_may_have_a_lower_one() {
    let (before, after) = fences_before_and_after_a_crash(false);
    assert!(after < before, "{after:?} after {before:?}");
}
