//! Lives that begin together.

use flock_proto::{EndWhy, Fence, Input};

use super::birds::*;
use super::fake::*;

impl Plane {
    /// Puts birds into the table, has this done, and then has their lives begin.
    fn raise(&self, birds: &[String], whim: Whim, before: impl FnOnce()) {
        let order = |name: &String| self.order::<Prompt>(name, &whim, 1);
        let lives = birds.iter().filter_map(|name| self.shared.found(order(name)));
        let lives: Vec<_> = lives.collect();
        before();
        self.shared.raise(lives);
    }

    /// What the core was told of this bird.
    fn told_of(&self, bird: &str) -> Vec<&'static str> {
        self.all(|input| match input {
            Input::Hatched { name, .. } if name.as_str() == bird => Some("hatched"),
            Input::HatchFailed { name, .. } if name.as_str() == bird => Some("not hatched"),
            Input::Ended { name, .. } if name.as_str() == bird => Some("ended"),
            _ => None,
        })
    }
}

fn names(stem: &str, count: usize) -> Vec<String> {
    (0..count).map(|n| format!("{stem}-{n}")).collect()
}

#[actix::test]
async fn the_core_is_told_of_many_birds_by_few_words() {
    let nest = alone();
    let birds = names("sparrow", 40);
    nest.raise(&birds, Whim::None, || ());
    for bird in &birds {
        nest.hatched(bird, 1).await;
        assert_eq!(nest.bird::<Prompt>(bird).send(Add(1)).await, Ok(1));
    }
    assert_eq!(nest.told_together(), [16, 16, 8]);
}

#[actix::test]
async fn a_hatch_that_takes_its_time_delays_no_other() {
    let nest = alone();
    let order = nest.order::<Probe>("sluggard", &plan(Fault::HatchForEver, 9), 1);
    let slow = nest.shared.found(order);
    let prompt = ["early-riser", "another"].map(|name| {
        let order = nest.order::<Prompt>(name, &Whim::None, 1);
        nest.shared.found(order)
    });
    nest.shared.raise([slow].into_iter().chain(prompt).flatten());
    nest.hatched("early-riser", 1).await;
    nest.hatched("another", 1).await;
    assert_eq!(nest.bird::<Prompt>("another").send(Add(1)).await, Ok(1));
    assert_eq!(nest.told_together(), [2]);
}

#[actix::test]
async fn the_core_hears_of_each_life_before_its_end_however_soon_that_comes() {
    let nest = alone();
    let birds = names("mayfly", 10);
    let mut stops = Vec::new();
    nest.raise(&birds, Whim::None, || {
        let stop = |name: &String| nest.bird::<Prompt>(name).send(Stop).at_once();
        stops.extend(birds.iter().map(stop));
    });
    for (bird, stop) in birds.iter().zip(stops) {
        assert_eq!(stop.await, Ok(()));
        nest.ended(bird).await;
        assert_eq!(nest.told_of(bird), ["hatched", "ended"], "{bird}");
    }
}

#[actix::test]
async fn what_waited_for_a_bird_is_seen_to_as_soon_as_it_lives() {
    let nest = alone();
    let birds = names("waited-for", 3);
    let mut calls = Vec::new();
    nest.raise(&birds, Whim::None, || {
        let call = |name: &String| nest.bird::<Prompt>(name).send(Add(7)).at_once();
        calls.extend(birds.iter().map(call));
    });
    for call in calls {
        assert_eq!(tokio::time::timeout(PATIENCE, call).await, Ok(Ok(7)));
    }
}

#[actix::test]
async fn one_that_stops_itself_or_panics_as_it_starts_is_told_of_at_once() {
    let nest = alone();
    let (stops, panics) = (names("stops", 3), names("panics", 3));
    nest.raise(&stops, Whim::Stops, || ());
    nest.raise(&panics, Whim::Panics, || ());
    for bird in &stops {
        nest.ended(bird).await;
        assert_eq!(nest.told_of(bird), ["hatched", "ended"], "{bird}");
    }
    for bird in &panics {
        let failed = |input: &Input| match input {
            Input::HatchFailed { name, reason, .. } if name.as_str() == bird => {
                Some(reason.clone())
            }
            _ => None,
        };
        assert!(nest.told(failed).await.contains("started"));
        assert_eq!(nest.told_of(bird), ["not hatched"], "{bird}");
    }
}

#[actix::test]
async fn one_that_is_told_to_end_before_it_begins_never_hatches() {
    let nest = alone();
    let birds = names("unwanted", 3);
    nest.raise(&birds, Whim::None, || {
        let end = |bird: &String| nest.shared.end(&name(bird), Fence(1), EndWhy::Stopped);
        birds.iter().for_each(end);
    });
    for bird in &birds {
        nest.ended(bird).await;
        assert_eq!(nest.told_of(bird), ["ended"], "{bird}");
        assert!(diary(bird).is_empty());
    }
}
