//! Crashes, restarts, groundings and ends.

use std::time::Duration;

use flock_proto::{EndWhy, Event, Fence, Input, Route, Why};

use super::birds::*;
use super::fake::*;
use crate::call::CallError;

#[actix::test]
async fn a_panic_in_a_handler_costs_one_life_and_one_call() {
    let nest = alone();
    let wren = nest.start::<Probe>("wren", Plan::default()).await;
    assert_eq!(wren.send(Add(5)).await, Ok(5));
    let (boom, after) = tokio::join!(wren.send(Boom::Handler), wren.send(Add(1)));
    assert_eq!(boom, Err(CallError::Crashed));
    assert_eq!(after, Ok(1), "the queued call is handled by a fresh life");
    assert_eq!(diary("wren"), ["Start 1", "Crash 2"], "no hook ran on the broken actor");
    assert_eq!(nest.count(|input| matches!(input, Input::Hatched { .. })), 1);
}

#[actix::test]
async fn a_panic_in_an_answer_that_holds_the_actor_costs_one_life() {
    let nest = alone();
    let wren = nest.start::<Probe>("wren-act", Plan::default()).await;
    assert_eq!(wren.send(ActBoom).await, Err(CallError::Crashed));
    assert_eq!(wren.send(AtomicBoom).await, Err(CallError::Crashed));
    assert_eq!(wren.send(Add(1)).await, Ok(1));
    assert_eq!(nest.crashes("wren-act"), 2);
}

#[actix::test]
async fn a_panic_in_a_future_of_its_own_costs_the_call_and_no_life() {
    let nest = alone();
    let wren = nest.start::<Probe>("wren-fut", Plan::default()).await;
    assert_eq!(wren.send(Add(5)).await, Ok(5));
    assert_eq!(wren.send(FutureBoom).await, Err(CallError::Crashed));
    assert_eq!(wren.send(Add(1)).await, Ok(6));
    assert_eq!(nest.crashes("wren-fut"), 0);
}

#[actix::test]
async fn a_panic_in_a_spawned_future_costs_one_life_and_no_call() {
    let nest = alone();
    let wren = nest.start::<Probe>("wren-spawn", Plan::default()).await;
    assert_eq!(wren.send(Boom::CtxSpawn).await, Ok(999));
    until("the life is over", || nest.crashes("wren-spawn") == 1).await;
    assert_eq!(wren.send(Add(1)).await, Ok(1));
}

#[actix::test]
async fn panics_in_hooks_and_drops_cost_no_more_than_the_life() {
    let nest = alone();
    for (name, fault) in [("stopped", Fault::StoppedPanic), ("dropped", Fault::DropPanic)] {
        let bird = nest.start::<Probe>(name, plan(fault, 9)).await;
        assert_eq!(bird.send(Boom::Handler).await, Err(CallError::Crashed));
        assert_eq!(bird.send(Add(2)).await, Ok(2));
        assert_eq!(bird.send(Stop).await, Ok(()));
        nest.ended(name).await;
        assert_eq!(bird.send(Add(2)).await, Err(CallError::NoSuchBird));
    }
    let bird = nest.start::<Probe>("flawed", Plan::default()).await;
    let outcome = bird.send(Flawed(Flaw::DropPanic, 0)).await;
    assert_eq!(outcome, Err(CallError::Crashed));
    assert_eq!(bird.send(Add(2)).await, Ok(2));
}

#[actix::test]
async fn a_first_hatch_that_fails_says_why_and_is_not_tried_again() {
    let nest = alone();
    for (name, fault, words) in [
        ("first-error", Fault::HatchError, "no luck"),
        ("first-panic", Fault::HatchPanic, "panicked: hatch"),
        ("first-args", Fault::ArgsPanic, "arguments that panic"),
        ("first-started", Fault::StartedPanic, "started"),
    ] {
        let plan = plan(fault, 9);
        nest.shared.hatch(nest.order::<Probe>(name, &plan, 1));
        let reason = nest
            .told(|input| match input {
                Input::HatchFailed { name: bird, reason, .. } if bird.as_str() == name => {
                    Some(reason.clone())
                }
                _ => None,
            })
            .await;
        assert!(reason.contains(words), "{reason}");
        assert_eq!(nest.bird::<Probe>(name).send(Add(1)).await, Err(CallError::NoSuchBird));
        assert!(diary(name).len() <= 1);
    }
}

#[actix::test]
async fn a_later_hatch_that_fails_is_a_crash_and_is_tried_again() {
    let nest = alone();
    for (name, fault) in [
        ("later-error", Fault::HatchError),
        ("later-panic", Fault::HatchPanic),
        ("later-started", Fault::StartedPanic),
    ] {
        let mut order = nest.order::<Probe>(name, &plan(fault, 1), 1);
        order.why = Why::NestLost;
        nest.shared.hatch(order);
        nest.hatched(name, 1).await;
        assert_eq!(nest.bird::<Probe>(name).send(Add(1)).await, Ok(1));
        assert_eq!(diary(name), ["NestLost 1", "Crash 2"]);
    }
}

#[actix::test]
async fn a_hatch_that_takes_too_long_has_failed() {
    let nest = with_settings(crate::shared::Settings {
        hatch_timeout: Duration::from_millis(30),
        ..settings()
    });
    let plan = plan(Fault::HatchForEver, 9);
    nest.shared.hatch(nest.order::<Probe>("slow-egg", &plan, 1));
    nest.told(|input| matches!(input, Input::HatchFailed { .. }).then_some(())).await;
}

#[actix::test]
async fn an_end_gives_up_a_hatch_in_progress() {
    let nest = alone();
    let plan = plan(Fault::HatchForEver, 9);
    nest.shared.hatch(nest.order::<Probe>("egg", &plan, 4));
    let call = nest.bird::<Probe>("egg").send(Add(1)).at_once();
    nest.shared.end(&name("egg"), Fence(4), EndWhy::Stopped);
    nest.ended("egg").await;
    assert_eq!(call.await, Err(CallError::NoSuchBird));
}

#[actix::test]
async fn a_bird_past_its_own_limit_is_grounded_and_its_neighbours_notice_nothing() {
    let nest = alone();
    let mut neighbours = Vec::new();
    for n in 0..20 {
        neighbours.push(nest.start::<Probe>(&format!("neighbour-{n}"), Plan::default()).await);
    }
    let crow = nest.start::<Probe>("crow", Plan::default()).await;
    let crashes = async {
        for _ in 0..3 {
            assert_eq!(crow.send(Boom::Handler).await, Err(CallError::Crashed));
        }
    };
    let calls = async {
        for count in 1..=50 {
            for neighbour in &neighbours {
                assert_eq!(neighbour.send(Add(1)).await, Ok(count));
            }
        }
    };
    tokio::join!(crashes, calls);
    let count = nest
        .told(|input| match input {
            Input::Grounded { crashes, reason, .. } if reason.contains("boom") => Some(*crashes),
            _ => None,
        })
        .await;
    assert_eq!(count, 3);
    let Err(CallError::Grounded { reason }) = crow.send(Add(1)).await else {
        panic!("it is grounded")
    };
    assert!(reason.contains("boom"));
    assert_eq!(nest.shared.local_birds().len(), 20);
}

#[actix::test]
async fn calls_that_wait_at_a_bird_that_gets_grounded_are_told_so() {
    let nest = alone();
    let crow = nest.start::<Probe>("crow-queue", Plan::default()).await;
    let booms: Vec<_> = (0..3).map(|_| crow.send(Boom::Handler).at_once()).collect();
    let waiting = crow.send(Add(1)).at_once();
    for boom in booms {
        assert_eq!(boom.await, Err(CallError::Crashed));
    }
    assert!(matches!(waiting.await, Err(CallError::Grounded { .. })));
}

#[actix::test]
async fn a_grounded_bird_can_be_revived() {
    let nest = alone();
    let crow = nest.start::<Probe>("phoenix", Plan::default()).await;
    for _ in 0..3 {
        assert_eq!(crow.send(Boom::Handler).await, Err(CallError::Crashed));
    }
    nest.told(|input| matches!(input, Input::Grounded { .. }).then_some(())).await;
    let mut order = nest.order::<Probe>("phoenix", &Plan::default(), 2);
    order.why = Why::Revive;
    nest.shared.hatch(order);
    nest.hatched("phoenix", 2).await;
    assert_eq!(crow.send(Add(1)).await, Ok(1));
    assert_eq!(diary("phoenix").last().map(String::as_str), Some("Revive 1"));
}

#[actix::test]
async fn earlier_crashes_count_where_the_bird_goes_on() {
    let nest = alone();
    let mut order = nest.order::<Probe>("marked", &Plan::default(), 1);
    order.why = Why::Move;
    order.crashes = vec![Duration::from_secs(3), Duration::from_secs(1)];
    nest.shared.hatch(order);
    nest.hatched("marked", 1).await;
    let bird = nest.bird::<Probe>("marked");
    assert_eq!(bird.send(Boom::Handler).await, Err(CallError::Crashed));
    nest.told(|input| matches!(input, Input::Grounded { crashes: 3, .. }).then_some(())).await;
}

#[actix::test]
async fn a_crash_is_told_with_its_words() {
    let nest = alone();
    let wren = nest.start::<Probe>("teller", Plan::default()).await;
    let _ = wren.send(ActBoom).await;
    let words = nest
        .event(|event| match event {
            Event::Crashed { bird, reason } if bird.as_str() == "teller" => Some(reason.clone()),
            _ => None,
        })
        .await;
    assert_eq!(words, "panicked: boom");
}

#[actix::test]
async fn a_bird_that_stops_itself_ends_gently() {
    let nest = alone();
    let wren = nest.start::<Probe>("gentle", Plan::default()).await;
    let pending = wren.send(ActLater("gentle".into())).at_once();
    let (stop, late) = tokio::join!(wren.send(Stop), wren.send(Add(1)));
    assert_eq!(stop, Ok(()));
    assert_eq!(late, Err(CallError::NoSuchBird), "what waited behind the stop was not begun");
    assert_eq!(pending.await, Err(CallError::Interrupted));
    nest.ended("gentle").await;
    assert_eq!(diary("gentle").last().map(String::as_str), Some("stopped"));
    assert_eq!(nest.crashes("gentle"), 0);
}

#[actix::test]
async fn an_end_waits_for_answers_in_flight_and_no_longer_than_its_patience() {
    let nest = alone();
    let wren = nest.start::<Probe>("patient", Plan::default()).await;
    let quick = wren.send(Later("patient-quick".into())).at_once();
    let stuck = wren.send(Later("patient-stuck".into())).at_once();
    until("both are begun", || diary("patient").len() == 3).await;
    nest.shared.end(&name("patient"), Fence(1), EndWhy::Stopped);
    gate("patient-quick").notify_one();
    assert_eq!(quick.await, Ok(0));
    assert_eq!(stuck.await, Err(CallError::Interrupted));
    nest.ended("patient").await;
}

#[actix::test]
async fn an_end_overrules_a_bird_that_will_not_stop() {
    let nest = alone();
    let mule = nest.start::<Probe>("mule", plan(Fault::Stubborn, 9)).await;
    assert_eq!(mule.send(Stop).await, Ok(()));
    assert_eq!(mule.send(Add(3)).await, Ok(3), "it answered `Running::Continue` and hears on");
    nest.shared.end(&name("mule"), Fence(1), EndWhy::Stopped);
    nest.ended("mule").await;
    assert_eq!(mule.send(Add(3)).await, Err(CallError::NoSuchBird));
}

#[actix::test]
async fn an_end_for_a_life_that_is_not_there_is_answered_too() {
    let nest = alone();
    nest.shared.end(&name("nobody"), Fence(7), EndWhy::Stopped);
    nest.ended("nobody").await;
    let wren = nest.start::<Probe>("other-fence", Plan::default()).await;
    nest.shared.end(&name("other-fence"), Fence(7), EndWhy::Stopped);
    nest.ended("other-fence").await;
    assert_eq!(wren.send(Add(1)).await, Ok(1));
}

#[actix::test]
async fn a_second_life_waits_for_the_end_of_the_first() {
    let nest = alone();
    let wren = nest.start::<Probe>("second", Plan::default()).await;
    assert_eq!(wren.send(Add(5)).await, Ok(5));
    nest.shared.hatch(nest.order::<Probe>("second", &Plan::default(), 1));
    assert_eq!(wren.send(Add(5)).await, Ok(10), "the same order again changes nothing");
    nest.shared.hatch(nest.order::<Probe>("second", &Plan::default(), 2));
    nest.hatched("second", 2).await;
    assert_eq!(wren.send(Add(5)).await, Ok(5));
    assert_eq!(diary("second"), ["Start 1", "stopped", "Start 1"]);
}

#[actix::test]
async fn an_unknown_species_grounds_or_fails_the_hatch() {
    let nest = alone();
    let mut order = nest.order::<Probe>("alien", &Plan::default(), 1);
    order.species = flock_proto::SpeciesId(7);
    nest.shared.hatch(order);
    nest.told(|input| matches!(input, Input::HatchFailed { .. }).then_some(())).await;
    nest.answer_wanted(|_| Some(Route::UnknownSpecies(flock_proto::SpeciesId(7))));
    let alien = nest.bird::<Probe>("alien");
    assert_eq!(alien.send(Add(1)).await, Err(CallError::UnknownSpecies));
}

#[actix::test]
async fn a_thousand_panics_lose_no_call_and_disturb_no_neighbour() {
    let nest = with_settings(crate::shared::Settings {
        restarts: u32::MAX,
        backoff: Duration::from_micros(1),
        ..settings()
    });
    let mut mad = Vec::new();
    for n in 0..25 {
        let fault = if n % 2 == 0 { Fault::StoppedPanic } else { Fault::DropPanic };
        mad.push(nest.start::<Probe>(&format!("mad-{n}"), plan(fault, usize::MAX)).await);
    }
    let calm = nest.start::<Probe>("calm", Plan::default()).await;
    let mut calls = Vec::new();
    for _ in 0..20 {
        for bird in &mad {
            calls.push((bird.send(Boom::Handler).at_once(), false));
            calls.push((bird.send(Add(1)).at_once(), true));
            calls.push((bird.send(AtomicBoom).at_once(), false));
        }
    }
    for total in 1..=500 {
        assert_eq!(calm.send(Add(1)).await, Ok(total));
    }
    for (call, sane) in calls {
        assert_eq!(call.await, if sane { Ok(1) } else { Err(CallError::Crashed) });
    }
    assert_eq!(nest.shared.pending_calls(), 0);
}
