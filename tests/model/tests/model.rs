//! Every state of small flocks; and that each rule is needed for that.

use flock_model::{Config, Model, Proof, Rule, small, vast};

fn stays_whole(config: Config) {
    let model = Model::new(config);
    let found = model.explore(2_000_000);
    if let Some(broken) = &found.broken {
        panic!("{}\n{}", model.config.called, model.tell(broken));
    }
    assert!(found.complete, "{} has too many states for a test", model.config.called);
    assert!(found.at_rest > 0, "{} never comes to rest", model.config.called);
}

/// All small configurations, or those with this many nests.
fn all_stay_whole(nests: usize) {
    small().into_iter().filter(|config| config.nests == nests).for_each(stays_whole);
}

#[test]
fn nothing_goes_wrong_with_two_nests() {
    all_stay_whole(2);
}

#[test]
fn nothing_goes_wrong_with_three_nests() {
    all_stay_whole(3);
}

#[test]
fn nothing_goes_wrong_on_random_ways_of_four_nests() {
    for config in vast() {
        let model = Model::new(config);
        let walked = model.walk(7, 200_000);
        if let Some(broken) = &walked.broken {
            panic!("{}\n{}", model.config.called, model.tell(broken));
        }
        assert!(walked.at_rest > 1000, "{} hardly ever comes to rest", model.config.called);
    }
}

#[test]
fn each_rule_is_needed() {
    for &rule in Rule::ALL.iter().filter(|rule| rule.proof() != Proof::None) {
        let (model, broken) =
            rule.left_out().unwrap_or_else(|| panic!("{rule:?}: there is no such configuration"));
        let broken = broken.unwrap_or_else(|| {
            panic!("without {rule:?} nothing goes wrong in {}", model.config.called)
        });
        let told = model.tell(&broken);
        assert!(
            told.contains(&broken.violation.what) && told.lines().count() > broken.way.len(),
            "{told}"
        );
    }
}

#[test]
fn names_are_told_apart() {
    for rule in Rule::ALL {
        assert_eq!(Rule::named(rule.name()), Some(*rule));
    }
    let mut names: Vec<&str> =
        small().iter().chain(&flock_model::large()).chain(&vast()).map(|it| it.called).collect();
    let all = names.len();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), all);
}
