//! What becomes of birds that two flocks had both started, when these meet.

mod direct;

use std::time::Duration;

use bytes::Bytes;
use flock_proto::wire::Frame;
use flock_proto::{BirdName, Input, NestState};

use direct::Direct;

/// The states of the lives that gave way.
fn state_of(name: &BirdName) -> Bytes {
    Bytes::copy_from_slice(name.as_str().as_bytes())
}

/// A nest ends its lives that lost as it meets the other, whose register came first: by its view the names are
/// its own still.
#[test]
fn what_a_life_left_that_ended_while_its_nest_met_the_other_is_taken_in_there() {
    let mut flocks = Direct::none();
    for _ in 0..2 {
        flocks.add(Duration::ZERO, |me, _| me.seeds.clear());
    }
    flocks.pass(Duration::from_secs(2));
    let birds: Vec<_> =
        (0..40).map(|n| BirdName::new(&format!("twin-{n}")).expect("a name")).collect();
    for nest in [0, 1] {
        let starts = birds.iter().map(|name| flocks.start(name, 0)).collect();
        flocks.feed(nest, Input::Many(starts));
        flocks.pass(Duration::from_millis(100));
        flocks.hatch();
        flocks.pass(Duration::from_secs(1));
    }
    flocks.meet(0, 1);
    while flocks.ending.len() < birds.len() {
        let is_held = |frame: &Frame| matches!(frame, Frame::Swim(_));
        assert!(flocks.bring_one_but(is_held), "{} lives gave way", flocks.ending.len());
    }
    while flocks.nest(0).view().members().len() < 2 {
        assert!(flocks.bring_one(), "they meet");
    }
    let owned =
        |name: &BirdName| flocks.nest(0).view().owner(name.hash64()) == Some(flocks.nest(0).id());
    assert!(birds.iter().all(owned), "the other isn't up yet");
    for (nest, name, fence) in std::mem::take(&mut flocks.ending) {
        assert_eq!(nest, 0, "the later start wins");
        let snapshot = Some(state_of(&name));
        flocks.feed(nest, Input::Ended { name, fence, snapshot });
    }
    flocks.pass(Duration::from_secs(2));
    let both = flocks.nest(1).view().clone();
    assert!(both.members().iter().filter(|nest| nest.state == NestState::Up).count() == 2);
    let stay = |name: &&BirdName| both.owner(name.hash64()) == Some(both.me());
    let stay: Vec<_> = birds.iter().filter(stay).collect();
    assert!(!stay.is_empty());
    for name in stay {
        let taken: Vec<_> = flocks.merged.iter().filter(|(_, merged, _)| merged == name).collect();
        assert_eq!(taken, [&(1, name.clone(), state_of(name))], "{name:?}");
    }
}
