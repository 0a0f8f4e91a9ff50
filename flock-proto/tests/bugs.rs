//! Mistakes planted on purpose: stories must tell of them. A sample, of those that show soon; all
//! are hunted by `bench simulate --bug all`.

use std::time::Duration;

use flock_proto::sim::{Kind, Script, Story, Told, perform, plan};
use flock_proto::{Bug, plant};

fn tell(seed: u64, bug: Option<Bug>) -> Told {
    let kind = if seed.is_multiple_of(2) { Kind::Rough } else { Kind::Smooth };
    let script = plan(Story { seed, kind, nests: 5, names: 24, seconds: 60 });
    plant(bug);
    let told = perform(&script, Some(Duration::from_secs(60)));
    plant(None);
    told
}

/// The first story in which the mistake breaks the invariant that is named for it.
fn hunt(bug: Bug, stories: u64) -> Option<u64> {
    let breaks = |seed: &u64| {
        tell(*seed, Some(bug)).broken.is_some_and(|broken| broken.invariant == bug.invariant())
    };
    (1..=stories).find(breaks)
}

#[test]
fn mistakes_are_noticed_by_the_invariants_named_for_them() {
    let soon = [
        Bug::DroppedLoser,
        Bug::ForeignSeals,
        Bug::EarlyDeparts,
        Bug::IgnoredListings,
        Bug::OneHolder,
        Bug::EarlyStopped,
        Bug::OlderIncarnations,
        Bug::SelfishRing,
        Bug::CountedRing,
        Bug::HastyShares,
    ];
    for bug in soon {
        let seed = hunt(bug, 30).unwrap_or_else(|| panic!("{} was not noticed", bug.name()));
        let told = tell(seed, None);
        assert!(told.broken.is_none(), "seed {seed} without {}: {:?}", bug.name(), told.broken);
    }
}

#[test]
fn every_mistake_has_a_name_of_its_own() {
    for &bug in Bug::ALL {
        assert_eq!(Bug::named(bug.name()), Some(bug));
    }
}

/// A story that showed a mistake before it was mended shows it still when it is planted: so the story
/// goes on guarding the rule, though the code beneath it changes.
#[test]
fn stories_that_were_mended_still_need_their_rules() {
    let stories = [(
        Bug::UnclaimedCopies,
        include_str!("stories/a-stop-of-which-two-owners-have-copies.txt"),
    )];
    for (bug, text) in stories {
        let script: Script = text.parse().expect("a script");
        plant(Some(bug));
        let broken = perform(&script, None).broken;
        plant(None);
        let invariant = broken.as_ref().map(|broken| broken.invariant);
        assert_eq!(invariant, Some(bug.invariant()), "{}: {broken:?}", bug.name());
    }
}
