//! Two nests, joined by links made of buffers.

use std::task::{Context, Waker};
use std::time::Duration;

use flock_proto::{NestId, Route, Via};

use super::birds::*;
use super::fake::*;
use crate::bird_ref::BirdRef;
use crate::call::CallError;

/// Two nests, and a bird on the second as the first sees it.
async fn pair(stem: &str) -> (Vec<Plane>, BirdRef<Probe>) {
    let nests = planes(2, settings());
    let bird = name_of(&nests[0], 2, stem);
    nests[1].start::<Probe>(bird.as_str(), Plan::default()).await;
    let bird = nests[0].bird(bird.as_str());
    (nests, bird)
}

#[actix::test]
async fn calls_and_casts_reach_a_bird_on_another_nest_in_order() {
    let (nests, far) = pair("far").await;
    for n in 0..200 {
        far.do_send(Note(n));
    }
    let calls: Vec<_> = (0..50).map(|_| far.send(Add(1)).at_once()).collect();
    for (call, total) in calls.into_iter().zip(1..) {
        assert_eq!(call.await, Ok(total));
    }
    let diary = diary(far.name().as_str());
    let numbers: Vec<u64> = diary.iter().filter_map(|entry| entry.parse().ok()).collect();
    assert_eq!(numbers, (0..200).collect::<Vec<_>>());
    assert_eq!(nests[0].shared.pending_calls(), 0);
}

#[actix::test]
async fn every_kind_of_answer_comes_back() {
    let (_nests, far) = pair("far-kinds").await;
    let later = far.send(Later("far-later".into())).at_once();
    let act = far.send(ActLater("far-act".into())).at_once();
    let atomic = far.send(Atomic("far-atomic".into())).at_once();
    for key in ["far-later", "far-act", "far-atomic"] {
        gate(key).notify_one();
    }
    assert_eq!(later.await, Ok(0));
    assert!(act.await.is_ok());
    assert!(atomic.await.is_ok());
}

#[actix::test]
async fn a_reference_that_looked_here_in_vain_finds_what_arrives() {
    let (nests, far) = pair("far-home").await;
    for total in 1..=3 {
        assert_eq!(far.send(Add(1)).await, Ok(total));
    }
    nests[0].start::<Probe>(far.name().as_str(), Plan::default()).await;
    assert_eq!(far.send(Add(1)).await, Ok(1), "the one that lives here now");
}

#[actix::test]
async fn a_call_wakes_whoever_polled_it_last() {
    let (_nests, far) = pair("far-handed").await;
    let mut call = Box::pin(far.send(Later("far-handed".into())));
    assert!(call.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
    let awaits = actix::spawn(call);
    // It has its turn before the answer comes.
    assert!(far.send(Add(1)).await.is_ok());
    gate("far-handed").notify_one();
    assert!(awaits.await.is_ok_and(|outcome| outcome.is_ok()));
}

#[actix::test]
async fn a_crash_comes_back_as_such() {
    let (_nests, far) = pair("far-crash").await;
    assert_eq!(far.send(Boom::Handler).await, Err(CallError::Crashed));
    assert_eq!(far.send(FutureBoom).await, Err(CallError::Crashed));
    assert_eq!(far.send(ActBoom).await, Err(CallError::Crashed));
    assert_eq!(far.send(Add(1)).await, Ok(1));
}

#[actix::test]
async fn what_cannot_be_written_or_read_is_told_and_harms_nobody() {
    let (nests, far) = pair("far-flaws").await;
    for flaw in [Flaw::Write, Flaw::WritePanic] {
        let outcome = far.send(Flawed(flaw, 0)).await;
        assert!(matches!(outcome, Err(CallError::NotEncodable(_))), "{outcome:?}");
        let outcome = far.send(Flawed(Flaw::None, flaw as u8)).await;
        assert!(matches!(outcome, Err(CallError::NotEncodable(_))), "{outcome:?}");
    }
    for flaw in [Flaw::Read, Flaw::ReadPanic] {
        let outcome = far.send(Flawed(flaw, 0)).await;
        assert!(matches!(outcome, Err(CallError::NotDecodable(_))), "{outcome:?}");
        let outcome = far.send(Flawed(Flaw::None, flaw as u8)).await;
        assert!(matches!(outcome, Err(CallError::NotDecodable(_))), "{outcome:?}");
    }
    assert_eq!(far.send(Flawed(Flaw::None, 0)).await, Ok(Ok(Flaw::None)));
    assert_eq!(nests[1].crashes(far.name().as_str()), 0);
}

#[actix::test]
async fn messages_that_this_build_of_the_bird_does_not_know_are_refused() {
    let (nests, far) = pair("far-newer").await;
    let newer: BirdRef<Newer> = nests[0].bird(far.name().as_str());
    assert_eq!(newer.send(Novelty).await, Err(CallError::NotHeard));
    let outcome = newer.send(AddText("seven".into())).await;
    assert!(matches!(outcome, Err(CallError::NotDecodable(_))), "{outcome:?}");
    let other: BirdRef<Shy> = nests[0].bird(far.name().as_str());
    let refusal = CallError::WrongSpecies { actual: Some("probe".into()) };
    assert_eq!(other.send(Add(1)).await, Err(refusal));
}

#[actix::test]
async fn an_owner_that_knows_no_such_bird_says_so() {
    let nests = planes(2, settings());
    let ghost: BirdRef<Probe> = nests[0].bird(name_of(&nests[0], 2, "far-ghost").as_str());
    assert_eq!(ghost.send(Add(1)).await, Err(CallError::NoSuchBird));
    nests[1].answer_wanted(|_| Some(Route::Grounded { reason: "tired".into() }));
    let outcome = ghost.send(Add(1)).await;
    assert_eq!(outcome, Err(CallError::Grounded { reason: "tired".into() }));
}

#[actix::test]
async fn a_full_inbox_on_another_nest_refuses() {
    let nests = planes(2, crate::shared::Settings { inbox: 2, ..settings() });
    let bird = name_of(&nests[0], 2, "far-full");
    nests[1].start::<Probe>(bird.as_str(), Plan::default()).await;
    let far: BirdRef<Probe> = nests[0].bird(bird.as_str());
    let holding = far.send(Atomic("far-full".into())).at_once();
    until("it is begun", || diary(bird.as_str()).len() == 2).await;
    let fitting: Vec<_> = (0..2).map(|_| far.send(Add(1)).at_once()).collect();
    assert_eq!(far.send(Add(1)).await, Err(CallError::Overloaded));
    gate("far-full").notify_one();
    assert_eq!(holding.await, Ok(1));
    for call in fitting {
        assert!(call.await.is_ok());
    }
}

#[actix::test]
async fn a_full_link_refuses_or_makes_wait() {
    let (nests, far) = pair("far-link").await;
    let link = nests[0].links.to(2);
    link.set(Mode::Full);
    assert_eq!(far.send(Add(1)).await, Err(CallError::Overloaded));
    let patient = tokio::spawn(far.send(Add(1)).wait_when_full().at_once());
    tokio::task::yield_now().await;
    link.set(Mode::Open);
    assert_eq!(patient.await.expect("no panic"), Ok(1));
}

#[actix::test]
async fn a_deadline_ends_a_call_whose_answer_comes_too_late() {
    let (nests, far) = pair("far-late").await;
    let soon = Duration::from_millis(30);
    let slow = far.send(Later("far-late".into())).deadline(soon).await;
    assert_eq!(slow, Err(CallError::TimedOut));
    let next = far.send(Later("far-late-next".into())).at_once();
    gate("far-late").notify_one();
    assert_eq!(far.send(Add(7)).await, Ok(7));
    gate("far-late-next").notify_one();
    assert_eq!(next.await, Ok(0), "the late answer went to nobody else");
    assert_eq!(nests[0].shared.pending_calls(), 0);
}

#[actix::test]
async fn a_lost_link_leaves_the_outcome_unknown_but_what_never_left_is_sent_anew() {
    let (nests, far) = pair("far-lost").await;
    let sent = far.send(Later("far-lost".into())).at_once();
    until("it is begun", || diary(far.name().as_str()).len() == 2).await;
    let link = nests[0].links.to(2);
    link.set(Mode::Held);
    let unsent = far.send(Add(5)).at_once();
    far.do_send(Add(10));
    assert_eq!(link.held(), 2);
    nests[0].links.cut(&nests[0], 2);
    assert_eq!(sent.await, Err(CallError::OutcomeUnknown));
    assert_eq!(unsent.await, Ok(5));
    until("the cast came, too", || nests[0].shared.pending_calls() == 0).await;
    assert_eq!(far.send(Add(0)).await, Ok(15));
}

#[actix::test]
async fn a_call_sent_to_the_wrong_nest_is_passed_on() {
    let nests = planes(3, settings());
    // The first nest doesn't know of the third yet, so it takes the second for the owner.
    let two = view(NestId(1), &[NestId(1), NestId(2)], |_| Via::Link);
    let bird = (0..)
        .map(|n| name_of(&nests[0], 3, &format!("far-passed-{n}")))
        .find(|bird| two.owner(bird.hash64()) == Some(NestId(2)))
        .expect("some name goes from the second nest to the third");
    nests[2].start::<Probe>(bird.as_str(), Plan::default()).await;
    nests[0].shared.publish(two);
    let far: BirdRef<Probe> = nests[0].bird(bird.as_str());
    assert_eq!(far.send(Add(1)).await, Ok(1));
}

#[actix::test]
async fn a_nest_without_a_link_is_reached_over_a_relay() {
    let nests = planes(3, settings());
    let bird = name_of(&nests[0], 3, "far-relayed");
    nests[2].start::<Probe>(bird.as_str(), Plan::default()).await;
    let all = [NestId(1), NestId(2), NestId(3)];
    let over = |far| move |id| if id == far { Via::Relay(NestId(2)) } else { Via::Link };
    nests[0].shared.publish(view(NestId(1), &all, over(NestId(3))));
    nests[2].shared.publish(view(NestId(3), &all, over(NestId(1))));
    let far: BirdRef<Probe> = nests[0].bird(bird.as_str());
    for total in 1..20 {
        assert_eq!(far.send(Add(1)).await, Ok(total));
    }
}

#[actix::test]
async fn views_that_disagree_send_a_call_back_until_they_agree() {
    let nests = planes(2, settings());
    let bird = name_of(&nests[0], 2, "far-circle");
    // Each takes the other for the owner.
    nests[1].shared.publish(view(NestId(2), &[NestId(1)], |_| Via::Link));
    let far: BirdRef<Probe> = nests[0].bird(bird.as_str());
    let quick = far.send(Add(1)).deadline(Duration::from_millis(80)).await;
    assert_eq!(quick, Err(CallError::TimedOut));
    let patient = far.send(Add(1)).at_once();
    far.do_send(Add(1));
    nests[1].start::<Probe>(bird.as_str(), Plan::default()).await;
    assert!(patient.await.is_ok());
    let all = far.clone();
    tokio::time::timeout(PATIENCE, async { while all.send(Add(0)).await != Ok(2) {} })
        .await
        .expect("the cast comes, too, and once");
}

#[actix::test]
async fn a_call_that_came_back_often_still_arrives_once_views_agree() {
    let nests = planes(2, settings());
    let ours = view(NestId(1), &[NestId(1), NestId(2)], |_| Via::Link);
    // The second nest takes a third for the owner, to be reached over the first, which knows of none.
    let all = [NestId(1), NestId(2), NestId(3)];
    let over = |id| if id == NestId(3) { Via::Relay(NestId(1)) } else { Via::Link };
    let theirs = view(NestId(2), &all, over);
    let bird = (0..)
        .map(|n| name_of(&nests[0], 2, &format!("far-back-{n}")))
        .find(|bird| theirs.owner(bird.hash64()) == Some(NestId(3)))
        .expect("some name goes from the second nest to the third");
    let agreed = nests[1].shared.view();
    nests[0].shared.publish(ours);
    nests[1].shared.publish(theirs);
    let far: BirdRef<Probe> = nests[0].bird(bird.as_str());
    let call = far.send(Add(1)).deadline(Duration::from_secs(10)).at_once();
    let begun = nests[0].shared.now();
    let long = || nests[0].shared.now().since(begun) > Duration::from_millis(500);
    until("it has come back more often than a call is passed on", long).await;
    nests[1].shared.publish(agreed);
    nests[1].start::<Probe>(bird.as_str(), Plan::default()).await;
    assert_eq!(call.await, Ok(1));
}

#[actix::test]
async fn a_call_waits_until_its_owner_can_be_reached() {
    let (nests, far) = pair("far-cut").await;
    let all = [NestId(1), NestId(2)];
    nests[0].shared.publish(view(NestId(1), &all, |_| Via::Nothing));
    let soon = Duration::from_millis(50);
    assert_eq!(far.send(Add(1)).deadline(soon).await, Err(CallError::TimedOut));
    let patient = far.send(Add(1)).at_once();
    nests[0].shared.publish(view(NestId(1), &all, |_| Via::Link));
    assert_eq!(patient.await, Ok(1));
}

#[actix::test]
async fn references_in_messages_and_answers_work_on_either_side() {
    let (nests, far) = pair("far-echo").await;
    let own = name_of(&nests[0], 1, "far-echo-own");
    let own = nests[0].start::<Probe>(own.as_str(), Plan::default()).await;
    let echoed = far.send(Echo(own.clone())).await.expect("an answer");
    until("the far bird called ours", || diary(own.name().as_str()).len() == 1).await;
    assert!(echoed.send(Add(1)).await.is_ok());
    tokio::time::timeout(PATIENCE, async { while own.send(Add(0)).await != Ok(2) {} })
        .await
        .expect("both additions arrive");
}

#[actix::test]
async fn bytes_that_are_no_frame_are_counted_and_dropped() {
    use crate::data_link::DataSink;
    let (nests, far) = pair("far-noise").await;
    let link: std::sync::Arc<dyn crate::data_link::DataLink> = nests[0].links.to(2);
    for noise in [&b""[..], b"\x01\x64", b"\x09\x64\0\0", &[1; 70]] {
        nests[0].shared.on_frame(&link, noise);
    }
    assert_eq!(nests[0].shared.bad_frames(), 4);
    assert_eq!(far.send(Add(1)).await, Ok(1));
}

#[actix::test]
async fn a_call_outlives_the_renaming_of_the_nest_that_made_it() {
    let (nests, far) = pair("far-renamed").await;
    let slow = far.send(Later("far-renamed".into())).at_once();
    until("it is begun", || diary(far.name().as_str()).len() == 2).await;
    nests[0].shared.renamed(NestId(77));
    gate("far-renamed").notify_one();
    assert_eq!(slow.await, Ok(0));
}
