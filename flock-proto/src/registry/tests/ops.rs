//! Single operations, and what they say they did.

use super::*;

#[test]
fn a_started_bird_is_found() {
    let mut nest = registry(1);
    let change = start(&mut nest, "robin", 5);
    let dot = Dot { origin: NestId(1), seq: 1 };
    assert_eq!((change.before, change.after), (None, Some((dot, false))));
    let record = nest.winner(&name("robin")).unwrap();
    assert_eq!((record.dot, record.birth, record.hlc), (dot, dot, Hlc(5)));
    assert_eq!((&record.args[..], record.token), (&b"args"[..], 7));
    assert_eq!((nest.len(), nest.last_dot()), (1, dot));
    assert!(nest.covers(dot) && nest.is_alive(&name("robin"), dot));
    assert_eq!(nest.winner(&name("wren")), None);
}

#[test]
fn a_removed_bird_is_gone_and_may_start_again() {
    let mut nest = registry(1);
    let first = start(&mut nest, "robin", 1).after;
    let change = nest.remove(&name("robin"), Cause::Stopped).unwrap();
    assert_eq!((change.before, change.after), (first, None));
    assert_eq!(change.cause, Some(Cause::Stopped));
    assert_eq!((nest.len(), nest.digest()), (0, 0));
    let again = start(&mut nest, "robin", 2);
    assert_eq!(again.after, Some((Dot { origin: NestId(1), seq: 3 }, false)));
}

#[test]
fn removing_an_absent_bird_does_nothing() {
    let mut nest = registry(1);
    assert_eq!(nest.remove(&name("robin"), Cause::Stopped), None);
    assert_eq!(nest.overwrite(&name("robin"), Hlc(1), None), None);
    assert_eq!(nest.last_dot().seq, 0);
}

#[test]
fn an_overwrite_keeps_birth_and_arguments_and_grounds() {
    let mut nest = registry(1);
    let birth = start(&mut nest, "robin", 1).after.unwrap().0;
    let grounding = Grounding { reason: "boom".into(), crashes: 5 };
    let change = nest.overwrite(&name("robin"), Hlc(2), Some(grounding.clone())).unwrap();
    assert_eq!((change.before, change.after), (Some((birth, false)), Some((birth, true))));
    assert_eq!(change.conflict, None);
    let record = nest.winner(&name("robin")).unwrap();
    assert_eq!((record.birth, record.dot.seq, &record.args[..]), (birth, 2, &b"args"[..]));
    assert_eq!(record.grounded, Some(grounding));
    let mut peer = registry(2);
    sync(&nest, &mut peer);
    assert_eq!(peer.winner(&name("robin")), Some(record));
    nest.overwrite(&name("robin"), Hlc(3), None).unwrap();
    assert_eq!(nest.winner_birth(&name("robin")), Some((birth, false)));
}

#[test]
fn of_two_births_the_later_is_read_everywhere_until_the_owner_collapses_them() {
    let (mut a, mut b, mut late) = (registry(1), registry(2), registry(3));
    let loser = start(&mut a, "robin", 1).after.unwrap().0;
    sync(&a, &mut late);
    let winner = start(&mut b, "robin", 2).after.unwrap().0;
    let change = sync(&a, &mut b).pop().unwrap();
    assert_eq!(change.conflict, Some((winner, loser)));
    assert_eq!(change.after, Some((winner, false)));
    let change = sync(&b, &mut a).pop().unwrap();
    assert_eq!(change.conflict, Some((winner, loser)));
    assert_eq!((change.before, change.after), (Some((loser, false)), Some((winner, false))));
    assert!(a.is_alive(&name("robin"), loser));
    assert_eq!((a.len(), a.siblings(&name("robin")).len()), (1, 2));
    a.overwrite(&name("robin"), Hlc(3), None).unwrap();
    assert!(!a.is_alive(&name("robin"), loser));
    assert_eq!(a.siblings(&name("robin")).len(), 1);
    // One that never saw the two beside each other hears of the conflict all the same.
    let change = sync(&a, &mut late).pop().unwrap();
    assert_eq!(change.conflict, Some((winner, loser)));
    assert_eq!(change.cause, None);
}

#[test]
fn a_nest_that_knew_the_winner_alone_hears_of_the_conflict_that_was_settled_elsewhere() {
    let (mut owner, mut other) = (registry(1), registry(2));
    let (mut pushed, mut synced) = (registry(3), registry(4));
    let winner = start(&mut owner, "robin", 2).after.unwrap().0;
    sync(&owner, &mut pushed);
    sync(&owner, &mut synced);
    let loser = start(&mut other, "robin", 1).after.unwrap().0;
    assert_eq!(sync(&other, &mut owner).pop().unwrap().conflict, Some((winner, loser)));
    owner.overwrite(&name("robin"), Hlc(3), None).unwrap();
    let own = owner.delta_of_mine(1).unwrap();
    let change = applied(pushed.join(&own)).pop().unwrap();
    assert_eq!(change.conflict, Some((winner, loser)), "by the owner's own operations");
    assert_eq!(sync(&owner, &mut pushed), [], "and hears of it once");
    let change = sync(&owner, &mut synced).pop().unwrap();
    assert_eq!(change.conflict, Some((winner, loser)), "by all operations together");
    assert_eq!(pushed.digest(), synced.digest());
}

#[test]
fn a_grounding_and_a_revival_are_no_conflict_to_whoever_missed_them() {
    let (mut owner, mut late) = (registry(1), registry(2));
    start(&mut owner, "robin", 1);
    sync(&owner, &mut late);
    let grounding = Grounding { reason: "boom".into(), crashes: 6 };
    owner.overwrite(&name("robin"), Hlc(2), Some(grounding)).unwrap();
    owner.overwrite(&name("robin"), Hlc(3), None).unwrap();
    let change = sync(&owner, &mut late).pop().unwrap();
    assert_eq!((change.conflict, change.cause), (None, None));
}

#[test]
fn a_record_put_back_keeps_its_birth() {
    let (mut a, mut b) = (registry(1), registry(2));
    let birth = start(&mut a, "robin", 1).after;
    sync(&a, &mut b);
    let record = b.winner(&name("robin")).unwrap();
    b.remove(&name("robin"), Cause::Ended).unwrap();
    let change = sync(&b, &mut a).pop().unwrap();
    assert_eq!((change.after, change.cause), (None, Some(Cause::Ended)));
    let change = a.re_add(&record, Hlc(9));
    assert_eq!((change.before, change.after), (None, birth));
    assert_eq!(sync(&a, &mut b).pop().unwrap().after, birth);
}

#[test]
fn a_bird_s_own_end_names_its_fence_wherever_it_is_heard_of() {
    let (mut a, mut b, mut third) = (registry(1), registry(2), registry(3));
    start(&mut a, "robin", 1);
    start(&mut a, "wren", 1);
    sync(&a, &mut b);
    sync(&a, &mut third);
    b.end(&name("robin"), Fence(77)).unwrap();
    b.remove(&name("wren"), Cause::Stopped).unwrap();
    sync(&b, &mut a);
    let causes: Vec<_> = sync(&a, &mut third).into_iter().map(|c| (c.cause, c.fence)).collect();
    assert_eq!(causes, [(Some(Cause::Ended), Fence(77)), (Some(Cause::Stopped), Fence(0))]);
}

#[test]
fn a_stop_wins_over_what_it_saw_only() {
    let (mut a, mut b) = (registry(1), registry(2));
    let old = start(&mut a, "robin", 1).after;
    sync(&a, &mut b);
    let new = start(&mut a, "robin", 2).after;
    b.remove(&name("robin"), Cause::Stopped).unwrap();
    let change = sync(&b, &mut a);
    assert_eq!(change, [], "the stop had not seen the new birth");
    let change = sync(&a, &mut b).pop().unwrap();
    assert_eq!((change.before, change.after), (None, new));
    assert_ne!(old, new);
}

#[test]
fn names_and_pages_come_in_the_order_of_hashes() {
    let mut nest = registry(1);
    let mut other = registry(2);
    for i in 0..100 {
        start(&mut nest, &format!("bird-{i}"), i);
        start(&mut other, &format!("bird-{i}"), i);
    }
    sync(&other, &mut nest);
    let names: Vec<_> = nest.names_in(0..=u64::MAX).collect();
    assert_eq!((names.len(), nest.len()), (100, 100));
    assert!(names.is_sorted_by_key(BirdName::hash64));
    let some = nest.names_in(1 << 62..=1 << 63).count();
    let expect = names.iter().filter(|n| (1 << 62..=1 << 63).contains(&n.hash64())).count();
    assert_eq!(some, expect);
    #[expect(clippy::reversed_empty_ranges, reason = "an empty arc holds no name")]
    let none = nest.names_in(1 << 63..=1 << 62).count();
    assert_eq!(none, 0);
    let mut paged = Vec::new();
    while let records = nest.page(paged.last(), 7)
        && !records.is_empty()
    {
        paged.extend(records.into_iter().map(|record| record.name));
    }
    assert_eq!(paged, names);
}

#[test]
fn only_a_nest_without_operations_is_renamed() {
    let mut nest = registry(1);
    assert!(nest.rename(NestId(9)));
    start(&mut nest, "robin", 1);
    assert_eq!(nest.last_dot(), Dot { origin: NestId(9), seq: 1 });
    assert!(!nest.rename(NestId(10)));
}
