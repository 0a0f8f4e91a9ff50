//! Records that are written anew in place of those of the dead, and what removes them.

use super::*;

/// Four replicas: the first knows that one bird lives, started by the second, which is gone; so do the
/// third and the fourth.
fn after_a_death() -> [Registry; 3] {
    let [mut one, mut gone, mut three, mut four] = [1, 2, 3, 4].map(registry);
    let _change = start(&mut gone, "robin", 5);
    for registry in [&mut one, &mut three, &mut four] {
        assert_eq!(sync(&gone, registry).len(), 1);
    }
    [one, three, four]
}

fn write_anew(registry: &mut Registry) -> Record {
    let (written, _) = registry.written_by(|id| id == NestId(2), 0, usize::MAX);
    for (name, dot) in written {
        assert!(registry.rewrite(&name, dot).is_some());
    }
    assert_eq!(registry.live_of(NestId(2)), 0);
    let record = registry.winner(&name("robin")).unwrap();
    assert!(record.anew && record.birth == Dot { origin: NestId(2), seq: 1 });
    record
}

/// Hands everything to everybody until nobody learns anything, and says who still has the bird.
fn meet(registries: &mut [Registry]) -> Vec<bool> {
    for _ in 0..4 {
        for at in 0..registries.len() {
            for from in 0..registries.len() {
                let delta = registries[from].delta_since(registries[at].vector()).unwrap();
                let _changes = applied(registries[at].join(&delta));
                let _changes = registries[at].remove_outdone();
            }
        }
    }
    let digests: BTreeSet<_> = registries.iter().map(Registry::digest).collect();
    assert_eq!(digests.len(), 1, "they differ");
    registries.iter().map(|registry| registry.winner(&name("robin")).is_some()).collect()
}

#[test]
fn a_removal_is_one_of_what_was_written_anew_meanwhile_too() {
    let [mut one, mut three, mut four] = after_a_death();
    write_anew(&mut one);
    assert!(three.remove(&name("robin"), Cause::Stopped).is_some());
    // The fourth hears of the new record before the removal, and knows both dots for dead or alive.
    sync(&one, &mut four);
    assert_eq!(meet(&mut [one, three, four]), [false; 3]);
}

#[test]
fn it_is_found_in_the_log_where_the_removal_came_first() {
    let [mut one, mut three, _] = after_a_death();
    write_anew(&mut one);
    assert!(three.remove(&name("robin"), Cause::Stopped).is_some());
    assert_eq!(sync(&one, &mut three).len(), 1, "another record of it");
    let removed = three.remove_outdone();
    assert_eq!(removed.len(), 1);
    assert_eq!((removed[0].after, &removed[0].cause), (None, &Some(Cause::Stopped)));
    sync(&three, &mut one);
    assert!(one.is_empty() && three.is_empty());
    assert_eq!((one.remove_outdone(), three.remove_outdone()), (vec![], vec![]), "once is enough");
}

#[test]
fn a_removal_of_one_that_was_written_anew_is_one_of_another_that_was() {
    let [mut one, mut three, four] = after_a_death();
    let [left, right] = [&mut one, &mut three].map(write_anew);
    assert_ne!(left.dot, right.dot);
    assert!(one.remove(&name("robin"), Cause::Stopped).is_some());
    assert_eq!(meet(&mut [one, three, four]), [false; 3]);
}

#[test]
fn a_bird_that_ended_keeps_the_fence_of_its_end() {
    let [mut one, mut three, _] = after_a_death();
    write_anew(&mut one);
    assert!(three.end(&name("robin"), Fence(9)).is_some());
    sync(&three, &mut one);
    let removed = one.remove_outdone();
    assert_eq!((&removed[0].cause, removed[0].fence), (&Some(Cause::Ended), Fence(9)));
}

#[test]
fn what_was_written_for_another_reason_stays() {
    let [mut one, mut three, mut four] = after_a_death();
    assert!(three.remove(&name("robin"), Cause::Ended).is_some());
    // Another life of it runs here.
    let record = one.winner(&name("robin")).unwrap();
    let _change = one.re_add(&record, Hlc(7));
    assert!(!one.winner(&name("robin")).unwrap().anew);
    sync(&one, &mut four);
    assert_eq!(meet(&mut [one, three, four]), [true; 3]);
}

#[test]
fn a_record_that_comes_late_but_was_never_removed_stays() {
    let [_, _, mut four] = after_a_death();
    let mut late = registry(5);
    write_anew(&mut four);
    // It learns of the start as one whose record is dead by now, and then of the record.
    sync(&four, &mut late);
    assert_eq!(late.remove_outdone(), vec![]);
    assert!(late.winner(&name("robin")).is_some());
}

#[test]
fn two_that_are_made_one_are_removed_as_one() {
    let [mut one, mut three, mut four] = after_a_death();
    write_anew(&mut one);
    write_anew(&mut four);
    sync(&one, &mut four);
    assert_eq!(four.records(), 2);
    assert!(
        four.overwrite(&name("robin"), Hlc(8), None).is_some_and(|change| change.after.is_some())
    );
    assert!(three.remove(&name("robin"), Cause::Stopped).is_some());
    assert_eq!(meet(&mut [one, three, four]), [false; 3]);
}

#[test]
fn one_that_was_put_back_outlives_the_removal_before_that_in_whatever_hand() {
    let [mut one, mut three, mut four] = after_a_death();
    let record = one.winner(&name("robin")).unwrap();
    assert!(three.end(&name("robin"), Fence(9)).is_some());
    sync(&three, &mut one);
    let _change = one.re_add(&record, Hlc(7));
    // The fourth knows neither the end nor who put the bird back; then its author is gone, too.
    let mut five = registry(5);
    sync(&one, &mut five);
    let (written, _) = five.written_by(|id| id == NestId(1), 0, usize::MAX);
    assert_eq!(written.len(), 1);
    for (name, dot) in written {
        assert!(five.rewrite(&name, dot).is_some());
    }
    sync(&five, &mut four);
    assert_eq!(meet(&mut [three, four, five]), [true; 3]);
}
