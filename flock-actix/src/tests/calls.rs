//! Calls within one nest.

use std::time::Duration;

use flock_proto::{EndWhy, Fence, Input};

use super::birds::*;
use super::fake::*;
use crate::bird_ref::BirdRef;
use crate::call::{Call, CallError, Cast};
use crate::router::Router;
use crate::{Chirp, codec};

#[actix::test]
async fn every_bird_hears_a_chirp() {
    let nest = alone();
    let wren = nest.start::<Probe>("chirper", Plan::default()).await;
    assert_eq!(wren.send(Chirp).await, Ok(()));
}

#[actix::test]
async fn calls_and_casts_go_through_the_router_actor_in_order() {
    use actix::Actor;
    let nest = alone();
    let wren = nest.start::<Probe>("routed", Plan::default()).await;
    let router = Router::default().start();
    for _ in 0..20 {
        router.do_send(Cast::new(&wren, Add(1)));
    }
    assert_eq!(router.send(Call::new(&wren, Add(1))).await, Ok(Ok(21)));
}

#[actix::test]
async fn a_recipient_hides_the_species() {
    let nest = alone();
    let wren = nest.start::<Probe>("received", Plan::default()).await;
    let listener = wren.recipient::<Add>();
    listener.do_send(Add(1));
    assert_eq!(listener.send(Add(1)).await, Ok(2));
    assert_eq!(listener.name().as_str(), "received");
}

#[actix::test]
async fn a_call_of_nobody_asks_the_core_once_for_all_who_wait() {
    let nest = alone();
    nest.answer_wanted(|_| None);
    let ghost = nest.bird::<Probe>("ghost");
    let calls: Vec<_> = (0..5).map(|_| ghost.send(Add(1)).at_once()).collect();
    assert_eq!(nest.count(|input| matches!(input, Input::Wanted { .. })), 1);
    nest.shared.route(&name("ghost"), flock_proto::Route::NoSuchBird);
    for call in calls {
        assert_eq!(call.await, Err(CallError::NoSuchBird));
    }
}

#[actix::test]
async fn a_kept_reference_finds_whoever_has_the_name_now() {
    let nest = alone();
    nest.start::<Probe>("phoenix", Plan::default()).await;
    let kept = nest.bird::<Probe>("phoenix");
    assert_eq!(kept.send(Add(1)).await, Ok(1));
    nest.shared.end(&name("phoenix"), Fence(1), EndWhy::Stopped);
    nest.ended("phoenix").await;
    assert_eq!(kept.send(Add(1)).await, Err(CallError::NoSuchBird));
    nest.start::<Probe>("phoenix", Plan::default()).await;
    assert_eq!(kept.send(Add(2)).await, Ok(2));
}

#[actix::test]
async fn calls_that_come_before_the_hatch_wait_for_it() {
    let nest = alone();
    nest.answer_wanted(|_| None);
    let shy = nest.bird::<Shy>("early");
    let first = shy.send(Add(1)).at_once();
    nest.shared.hatch(nest.order::<Shy>("early", &"early".into(), 1));
    let second = shy.send(Add(2)).at_once();
    gate("early").notify_one();
    assert_eq!(first.await, Ok(1));
    assert_eq!(second.await, Ok(2));
}

#[actix::test]
async fn a_call_of_another_species_is_refused_though_it_was_made_before_the_hatch() {
    let nest = alone();
    nest.answer_wanted(|_| None);
    let wrong = nest.bird::<Shy>("mistaken");
    let early = wrong.send(Add(1)).at_once();
    nest.start::<Probe>("mistaken", Plan::default()).await;
    let refusal = Err(CallError::WrongSpecies { actual: Some("probe".into()) });
    assert_eq!(early.await, refusal);
    assert_eq!(wrong.send(Add(1)).await, refusal);
}

#[actix::test]
async fn a_full_inbox_refuses_or_makes_wait_as_the_caller_chose() {
    let nest = with_settings(crate::shared::Settings { inbox: 4, ..settings() });
    let wren = nest.start::<Probe>("full", Plan::default()).await;
    let holding = wren.send(Atomic("full".into())).at_once();
    until("the bird is busy", || diary("full").len() == 2).await;
    let fitting: Vec<_> = (0..4).map(|_| wren.send(Add(1)).at_once()).collect();
    assert_eq!(wren.send(Add(1)).await, Err(CallError::Overloaded));
    wren.do_send(Add(100));
    assert_eq!(nest.shared.lost_casts(), 1);
    let patient = tokio::spawn(wren.send(Add(1)).wait_when_full().at_once());
    let hasty = wren.send(Add(1)).wait_when_full().deadline(Duration::from_millis(30)).await;
    assert_eq!(hasty, Err(CallError::TimedOut));
    gate("full").notify_one();
    assert_eq!(holding.await, Ok(1));
    for call in fitting {
        assert!(call.await.is_ok());
    }
    assert_eq!(patient.await.expect("no panic"), Ok(6));
}

#[actix::test]
async fn a_call_ends_by_its_deadline_and_a_job_past_it_is_not_run() {
    let nest = alone();
    let wren = nest.start::<Probe>("late", Plan::default()).await;
    let holding = wren.send(Atomic("late".into())).at_once();
    let soon = Duration::from_millis(30);
    assert_eq!(wren.send(Add(9)).deadline(soon).await, Err(CallError::TimedOut));
    assert_eq!(
        wren.send(Later("late-never".into())).deadline(soon).await,
        Err(CallError::TimedOut)
    );
    gate("late").notify_one();
    assert_eq!(holding.await, Ok(1));
    assert_eq!(wren.send(Add(0)).await, Ok(1), "the overdue job was skipped");
    assert_eq!(nest.shared.pending_calls(), 0);
}

#[actix::test]
async fn a_dropped_call_is_not_run() {
    let nest = alone();
    let wren = nest.start::<Probe>("dropped-call", Plan::default()).await;
    let holding = wren.send(Atomic("dropped-call".into())).at_once();
    drop(wren.send(Add(9)).at_once());
    gate("dropped-call").notify_one();
    assert_eq!(holding.await, Ok(1));
    assert_eq!(wren.send(Add(0)).await, Ok(1));
    assert_eq!(nest.shared.pending_calls(), 0);
}

#[actix::test]
async fn a_call_not_awaited_is_not_made() {
    let nest = alone();
    let wren = nest.start::<Probe>("unmade", Plan::default()).await;
    drop(wren.send(Add(9)));
    assert_eq!(wren.send(Add(0)).await, Ok(0));
}

#[actix::test]
async fn a_reference_is_bound_by_the_flock_that_decodes_it() {
    let nest = alone();
    let wren = nest.start::<Probe>("bound", Plan::default()).await;
    let bytes = codec::encode(&wren).expect("encodable");
    let stray: BirdRef<Probe> = rmp_serde::from_slice(&bytes).expect("decodable");
    assert_eq!(stray.name(), wren.name());
    assert_eq!(stray.send(Add(1)).await, Err(CallError::Unbound));
    let bound: BirdRef<Probe> = codec::decode(&nest.shared, &bytes).expect("decodable");
    assert_eq!(bound.send(Add(1)).await, Ok(1));
    assert!(!rmp_serde::from_slice::<BirdRef<Probe>>(&bytes).expect("decodable").is_bound());
}

#[actix::test]
async fn a_nest_that_is_shut_down_ends_all_its_calls() {
    let nest = alone();
    nest.answer_wanted(|_| None);
    let wren = nest.start::<Probe>("closing", Plan::default()).await;
    let running = wren.send(Later("closing".into())).at_once();
    until("it is begun", || diary("closing").len() == 2).await;
    let waiting = nest.bird::<Probe>("closing-ghost").send(Add(1)).at_once();
    nest.shared.close();
    assert_eq!(running.await, Err(CallError::Leaving));
    assert_eq!(waiting.await, Err(CallError::Leaving));
    assert_eq!(wren.send(Add(1)).await, Err(CallError::Leaving));
}

#[actix::test]
async fn futures_of_calls_may_cross_threads() {
    fn sendable<T: Send>(value: T) -> T {
        value
    }
    let nest = alone();
    let wren = nest.start::<Probe>("threads", Plan::default()).await;
    let calls = (sendable(wren.send(Add(1)).at_once()), sendable(wren.send(Add(1))));
    let heard = sendable(wren.recipient().send(Add(1)));
    let other = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().build();
        let all = async { (calls.0.await, calls.1.await, heard.await) };
        runtime.expect("a runtime").block_on(all)
    });
    until("the other thread is done", || other.is_finished()).await;
    assert_eq!(other.join().expect("no panic"), (Ok(1), Ok(2), Ok(3)));
}
