//! Departures, fences, and what becomes of calls meanwhile.

use flock_proto::{EndWhy, Fence, Input, NestId, Route, Why};

use super::birds::*;
use super::fake::*;
use crate::call::CallError;

async fn departed(nest: &Plane, bird: &str) -> usize {
    nest.told(|input| match input {
        Input::Departed { name, crashes, .. } if name.as_str() == bird => Some(crashes.len()),
        _ => None,
    })
    .await
}

#[actix::test]
async fn a_departure_lets_answers_finish_and_keeps_what_was_not_begun() {
    let nests = planes(2, settings());
    let bird = name_of(&nests[0], 1, "leaver");
    let leaver = nests[0].start::<Probe>(bird.as_str(), Plan::default()).await;
    let _ = leaver.send(Boom::Handler).await;
    let slow = leaver.send(ActLater("leaver-slow".into())).at_once();
    let stuck = leaver.send(Later("leaver-stuck".into())).at_once();
    until("both are begun", || diary(bird.as_str()).len() == 4).await;
    nests[0].shared.depart(&bird, Fence(1));
    let queued: Vec<_> = (0..3).map(|n| leaver.send(Add(n)).at_once()).collect();
    gate("leaver-slow").notify_one();
    assert_eq!(slow.await, Ok(1));
    assert_eq!(departed(&nests[0], bird.as_str()).await, 1, "its crash goes along");
    assert_eq!(stuck.await, Err(CallError::Interrupted));

    nests[1].start::<Probe>(bird.as_str(), Plan::default()).await;
    nests[0].shared.route(&bird, Route::To(NestId(2)));
    for (call, total) in queued.into_iter().zip([0, 1, 3]) {
        assert_eq!(call.await, Ok(total), "redirected once, in order");
    }
    assert_eq!(leaver.send(Add(1)).await, Ok(4), "stragglers follow");
    assert!(nests[0].shared.local_birds().is_empty());
    assert_eq!(nests[1].shared.local_birds(), [bird]);
}

#[actix::test]
async fn a_departed_bird_may_hatch_again_on_its_old_inbox() {
    let nest = alone();
    let bird = nest.start::<Probe>("returner", Plan::default()).await;
    nest.shared.depart(&name("returner"), Fence(1));
    departed(&nest, "returner").await;
    let waiting = bird.send(Add(2)).at_once();
    let mut order = nest.order::<Probe>("returner", &Plan::default(), 5);
    order.why = Why::Move;
    nest.shared.hatch(order);
    assert_eq!(waiting.await, Ok(2));
}

#[actix::test]
async fn an_end_after_a_departure_ends_what_waits() {
    let nest = alone();
    let bird = nest.start::<Probe>("ended-away", Plan::default()).await;
    nest.shared.depart(&name("ended-away"), Fence(1));
    departed(&nest, "ended-away").await;
    let waiting = bird.send(Add(2)).at_once();
    nest.shared.end(&name("ended-away"), Fence(1), EndWhy::Stopped);
    assert_eq!(waiting.await, Err(CallError::NoSuchBird));
    nest.ended("ended-away").await;
}

#[actix::test]
async fn calls_of_a_duplicate_that_ends_go_to_the_life_that_stays() {
    let nests = planes(2, settings());
    let bird = name_of(&nests[0], 2, "twin");
    let twin = nests[0].start::<Probe>(bird.as_str(), Plan::default()).await;
    nests[1].start::<Probe>(bird.as_str(), Plan::default()).await;
    let holding = twin.send(Atomic("twin".into())).at_once();
    until("it is begun", || diary(bird.as_str()).contains(&"begun twin".into())).await;
    let waiting = twin.send(Add(7)).at_once();
    nests[0].shared.end(&bird, Fence(1), EndWhy::Duplicate);
    assert_eq!(holding.await, Err(CallError::Interrupted));
    assert_eq!(waiting.await, Ok(7));
}

#[actix::test]
async fn the_fence_of_a_running_life_can_be_raised() {
    let nest = alone();
    let bird = nest.start::<Probe>("fenced", Plan::default()).await;
    nest.shared.set_fence(&name("fenced"), Fence(9), Fence(10));
    nest.shared.set_fence(&name("fenced"), Fence(1), Fence(11));
    assert_eq!(bird.send(ReadFence).await, Ok(Some(11)), "the bird sees it, too");
    assert_eq!(bird.send(Stop).await, Ok(()));
    let fence = nest
        .told(|input| match input {
            Input::Ended { fence, .. } => Some(*fence),
            _ => None,
        })
        .await;
    assert_eq!(fence, Fence(11));
}

#[actix::test]
async fn a_bird_departs_from_its_back_off_and_from_its_hatch() {
    let nest = with_settings(crate::shared::Settings {
        backoff: std::time::Duration::from_secs(600),
        ..settings()
    });
    let bird = nest.start::<Probe>("backing-off", Plan::default()).await;
    assert_eq!(bird.send(Boom::Handler).await, Err(CallError::Crashed));
    nest.shared.depart(&name("backing-off"), Fence(1));
    assert_eq!(departed(&nest, "backing-off").await, 1);

    nest.shared.hatch(nest.order::<Probe>("hatching", &plan(Fault::HatchForEver, 9), 1));
    until("it hatches", || diary("hatching").len() == 1).await;
    nest.shared.depart(&name("hatching"), Fence(1));
    assert_eq!(departed(&nest, "hatching").await, 0);
}

#[actix::test]
async fn a_bird_that_crashes_while_it_departs_has_departed_and_takes_the_crash_along() {
    let nest = alone();
    let bird = nest.start::<Probe>("crash-away", Plan::default()).await;
    let slow = bird.send(Later("crash-away".into())).at_once();
    until("it is begun", || diary("crash-away").len() == 2).await;
    nest.shared.depart(&name("crash-away"), Fence(1));
    assert_eq!(slow.await, Err(CallError::Interrupted), "nobody opened its gate in time");
    assert_eq!(departed(&nest, "crash-away").await, 0);
    let faulty = nest.start::<Probe>("crash-stopping", plan(Fault::StoppingPanic, 9)).await;
    assert_eq!(faulty.send(Add(1)).await, Ok(1));
    nest.shared.depart(&name("crash-stopping"), Fence(1));
    assert_eq!(departed(&nest, "crash-stopping").await, 1);
}

#[actix::test]
async fn calls_that_wait_for_the_core_follow_a_new_view() {
    use flock_proto::Via;
    let nests = planes(2, settings());
    nests[0].answer_wanted(|_| None);
    let bird = name_of(&nests[0], 2, "follower");
    nests[1].start::<Probe>(bird.as_str(), Plan::default()).await;
    nests[0].shared.publish(view(NestId(1), &[NestId(1)], |_| Via::Link));
    let waiting = nests[0].bird::<Probe>(bird.as_str()).send(Add(3)).at_once();
    nests[0].told(|input| matches!(input, Input::Wanted { .. }).then_some(())).await;
    nests[0].shared.publish(view(NestId(1), &[NestId(1), NestId(2)], |_| Via::Link));
    assert_eq!(waiting.await, Ok(3));
}
