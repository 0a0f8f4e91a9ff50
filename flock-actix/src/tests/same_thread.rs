//! Calls from the thread of the bird, which are handled in the caller's own turn where that can be.

use std::sync::Arc;
use std::sync::mpsc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use flock_proto::{CallId, EndWhy, Fence, MessageId, NestId, SpeciesId, Time};

use super::birds::*;
use super::fake::*;
use super::looks::{at_first_look, block_on};
use crate::call::CallError;
use crate::life::residents;
use crate::parcel::Parcel;
use crate::slot::Slot;
use crate::table::Phase;

const SOON: Duration = Duration::from_millis(30);

#[actix::test]
async fn one_to_a_bird_that_rests_is_answered_in_the_callers_turn_and_is_in_no_table() {
    let nest = alone();
    let wren = nest.start::<Probe>("near", Plan::default()).await;
    let shared = nest.shared.clone();
    let made = nest.beside_birds(async move {
        let first = at_first_look(wren.send(Add(1))).await;
        (first, shared.pending_calls(), wren.send(Add(1)).await, shared.pending_calls())
    });
    assert_eq!(made.await, (Poll::Ready(Ok(1)), 0, Ok(2), 0));
}

#[actix::test]
async fn a_reference_that_is_older_than_the_bird_serves_as_well_once_it_was_used() {
    let nest = alone();
    let wren = nest.bird::<Probe>("near-older");
    drop(nest.start::<Probe>("near-older", Plan::default()).await);
    let made = nest.beside_birds(async move {
        let used = (wren.send(Add(1)).await, wren.send(Add(1)).await);
        (used, at_first_look(wren.send(Add(1))).await)
    });
    assert_eq!(made.await, ((Ok(1), Ok(2)), Poll::Ready(Ok(3))));
}

#[actix::test]
async fn one_by_way_of_a_recipient_is_no_different() {
    let nest = alone();
    let wren = nest.start::<Probe>("near-heard", Plan::default()).await.recipient::<Add>();
    let later = nest.bird::<Probe>("near-heard").recipient::<Later>();
    let shared = nest.shared.clone();
    let made = nest.beside_birds(async move {
        let first = at_first_look(wren.send(Add(1))).await;
        wren.do_send(Add(1));
        let third = wren.send(Add(1)).at_once();
        let sums = (first, wren.send(Add(1)).await, third.await);
        let late = later.send(Later("near-heard".into()));
        gate("near-heard").notify_one();
        (sums, late.await, shared.pending_calls())
    });
    assert_eq!(made.await, ((Poll::Ready(Ok(1)), Ok(4), Ok(3)), Ok(4), 0));
}

#[actix::test]
async fn one_never_overtakes_what_was_sent_before() {
    let nest = alone();
    let wren = nest.start::<Probe>("near-order", Plan::default()).await;
    let made = nest.beside_birds(async move {
        wren.do_send(Note(1));
        let second = wren.send(Note(2)).at_once();
        let third = wren.send(Note(3)).await;
        (third, at_first_look(second).await)
    });
    assert_eq!(made.await, (Ok(()), Poll::Ready(Ok(()))));
    assert_eq!(diary("near-order")[1..], ["1", "2", "3"]);
}

#[actix::test]
async fn one_is_not_made_before_it_is_looked_at() {
    let nest = alone();
    let wren = nest.start::<Probe>("near-lazy", Plan::default()).await;
    let made = nest.beside_birds(async move {
        drop(wren.send(Add(9)).at_once());
        let later = wren.send(Add(1));
        (wren.send(Add(2)).await, later.await)
    });
    assert_eq!(made.await, (Ok(2), Ok(3)));
}

#[actix::test]
async fn one_that_is_answered_later_is_in_the_table_till_then_and_has_its_deadline() {
    let nest = alone();
    let wren = nest.start::<Probe>("near-later", Plan::default()).await;
    let shared = nest.shared.clone();
    let made = nest.beside_birds(async move {
        let call = wren.send(Later("near-later".into())).deadline(SOON).await;
        (call, shared.pending_calls())
    });
    assert_eq!(made.await, (Err(CallError::TimedOut), 0));
    gate("near-later").notify_waiters();
    let wren = nest.bird::<Probe>("near-later");
    let shared = nest.shared.clone();
    let made = nest.beside_birds(async move {
        let mut call = wren.send(Later("near-later-2".into()));
        let first = at_first_look(&mut call).await;
        let waiting = shared.pending_calls();
        gate("near-later-2").notify_one();
        (first, waiting, call.await, shared.pending_calls())
    });
    assert_eq!(made.await, (Poll::Pending, 1, Ok(0), 0));
    let wren = nest.bird::<Probe>("near-later");
    let shared = nest.shared.clone();
    let made = nest.beside_birds(async move {
        let dropped = at_first_look(wren.send(Later("near-later-3".into()))).await;
        (dropped, shared.pending_calls())
    });
    assert_eq!(made.await, (Poll::Pending, 0), "whoever has gone is in no table");
}

#[actix::test]
async fn one_to_a_bird_that_is_taken_up_has_its_deadline_and_is_not_run_past_it() {
    let nest = alone();
    let wren = nest.start::<Probe>("near-taken", Plan::default()).await;
    let made = nest.beside_birds(async move {
        let mut holding = wren.send(Atomic("near-taken".into()));
        let held = at_first_look(&mut holding).await;
        let overdue = wren.send(Add(9)).deadline(SOON).await;
        gate("near-taken").notify_one();
        (held, overdue, holding.await, wren.send(Add(0)).await)
    });
    assert_eq!(made.await, (Poll::Pending, Err(CallError::TimedOut), Ok(1), Ok(1)));
    assert_eq!(nest.shared.pending_calls(), 0);
}

#[actix::test]
async fn one_is_answered_while_the_thread_is_blocked_for_it() {
    let nest = alone();
    let wren = nest.start::<Probe>("near-blocked", Plan::default()).await;
    let made = nest.beside_birds(async move {
        let handled = block_on(wren.send(Add(9)));
        wren.do_send(Note(1));
        // The bird doesn't rest now, and won't have a turn.
        let blocked = block_on(wren.send(Add(9)).deadline(SOON));
        (handled, blocked, wren.send(Add(1)).await)
    });
    assert_eq!(made.await, (Ok(9), Err(CallError::TimedOut), Ok(10)), "and isn't run late");
    assert_eq!(nest.shared.pending_calls(), 0);
}

#[actix::test]
async fn a_bird_that_no_longer_lives_here_handles_none() {
    let nest = alone();
    let wren = nest.start::<Probe>("near-gone", Plan::default()).await;
    let shared = nest.shared.clone();
    let made = nest.beside_birds(async move {
        let entry = shared.entry("near-gone", name("near-gone").hash64()).expect("it lives");
        // Before its task hears of it.
        entry.with(|state| state.phase = Phase::Departed);
        at_first_look(wren.send(Add(9))).await
    });
    assert_eq!(made.await, Poll::Pending);
}

#[actix::test]
async fn one_to_a_bird_that_is_told_to_end_is_not_handled_before_it_hears_that() {
    let nest = alone();
    let wren = nest.start::<Probe>("near-told", Plan::default()).await;
    let shared = nest.shared.clone();
    let made = nest.beside_birds(async move {
        shared.end(&name("near-told"), Fence(1), EndWhy::Stopped);
        wren.send(Add(9)).await
    });
    assert_eq!(made.await, Err(CallError::NoSuchBird));
}

#[actix::test]
async fn one_to_a_nest_that_is_shut_down_fails() {
    let nest = alone();
    let wren = nest.start::<Probe>("near-closed", Plan::default()).await;
    let shared = nest.shared.clone();
    let made = nest.beside_birds(async move {
        shared.close();
        wren.send(Add(9)).await
    });
    assert_eq!(made.await, Err(CallError::Leaving));
}

#[actix::test]
async fn one_whose_answer_will_come_when_its_nest_is_shut_down_hears_so() {
    let nest = alone();
    nest.shared.close();
    let slot = Slot::<u64>::new();
    nest.shared.expect_late(PATIENCE, slot.clone());
    let outcome = slot.poll(&Context::from_waker(Waker::noop()));
    assert_eq!(outcome, Poll::Ready(Err(Box::new(CallError::Leaving))));
    assert_eq!(nest.shared.pending_calls(), 0);
}

#[actix::test]
async fn one_by_a_reference_to_another_species_is_refused() {
    let nest = alone();
    drop(nest.start::<Probe>("near-wrong", Plan::default()).await);
    let wrong = nest.bird::<Shy>("near-wrong");
    let made = nest.beside_birds(async move { at_first_look(wrong.send(Add(1))).await });
    let actual = Some("probe".to_owned());
    assert_eq!(made.await, Poll::Ready(Err(CallError::WrongSpecies { actual })));
}

#[actix::test]
async fn one_that_crashes_the_bird_hears_so_and_the_next_life_has_its_turn() {
    let nest = alone();
    let wren = nest.start::<Probe>("near-crash", Plan::default()).await;
    let shared = nest.shared.clone();
    let made = nest.beside_birds(async move {
        let crashed = at_first_look(wren.send(Boom::Handler)).await;
        (crashed, wren.send(Add(1)).await, shared.pending_calls())
    });
    assert_eq!(made.await, (Poll::Ready(Err(CallError::Crashed)), Ok(1), 0));
    assert_eq!(nest.crashes("near-crash"), 1);
    // Answered, before something else of the same turn panics.
    let wren = nest.bird::<Probe>("near-crash");
    let made = nest
        .beside_birds(async move { (wren.send(Boom::CtxSpawn).await, wren.send(Add(1)).await) });
    assert_eq!(made.await, (Ok(999), Ok(1)));
    assert_eq!(nest.crashes("near-crash"), 2);
}

#[actix::test]
async fn one_that_stops_a_bird_with_a_fault_is_answered_all_the_same() {
    let nest = alone();
    let faults = [Fault::Stubborn, Fault::StoppingPanic, Fault::StoppedPanic, Fault::DropPanic];
    for (number, fault) in faults.into_iter().enumerate() {
        let name = format!("near-fault-{number}");
        let wren = nest.start::<Probe>(&name, plan(fault, 1)).await;
        let made = nest.beside_birds(async move {
            let stopped = at_first_look(wren.send(Stop)).await;
            (stopped, wren.send(Add(1)).await)
        });
        let (stopped, next) = made.await;
        assert_eq!(stopped, Poll::Ready(Ok(())), "{fault:?}");
        // One goes on as it was; of one that panics before its end is settled there is a next life.
        let lives_on = matches!(fault, Fault::Stubborn | Fault::StoppingPanic);
        let expected = if lives_on { Ok(1) } else { Err(CallError::NoSuchBird) };
        assert_eq!(next, expected, "{fault:?}");
    }
}

#[actix::test]
async fn one_that_is_over_says_so_when_it_is_looked_at_again() {
    let nest = alone();
    let wren = nest.start::<Probe>("near-over", Plan::default()).await;
    let made = nest.beside_birds(async move {
        let mut call = wren.send(Add(1));
        let looks = (at_first_look(&mut call).await, at_first_look(&mut call).await);
        (looks, call.at_once().await, wren.send(Add(1)).await)
    });
    let over = Err(CallError::Interrupted);
    assert_eq!(made.await, ((Poll::Ready(Ok(1)), Poll::Ready(over.clone())), over, Ok(2)));
}

#[actix::test]
async fn one_that_was_begun_here_may_be_awaited_on_another_thread() {
    let nest = alone();
    let wren = nest.start::<Probe>("near-handed-on", Plan::default()).await;
    let made = nest.beside_birds(async move {
        let mut call = wren.send(Later("near-handed-on".into()));
        assert!(at_first_look(&mut call).await.is_pending());
        Some(call)
    });
    let call = made.await.expect("the call");
    gate("near-handed-on").notify_one();
    assert_eq!(call.await, Ok(0));
    assert_eq!(nest.shared.pending_calls(), 0);
}

#[actix::test]
async fn one_that_stops_the_bird_is_answered_and_the_bird_ends() {
    let nest = alone();
    let wren = nest.start::<Probe>("near-stop", Plan::default()).await;
    let made =
        nest.beside_birds(async move { (residents(), at_first_look(wren.send(Stop)).await) });
    assert_eq!(made.await, (1, Poll::Ready(Ok(()))));
    nest.ended("near-stop").await;
    assert_eq!(diary("near-stop").last().map(String::as_str), Some("stopped"));
    let wren = nest.bird::<Probe>("near-stop");
    let left = nest.beside_birds(async move { (wren.send(Add(1)).await, residents()) });
    assert_eq!(left.await, (Err(CallError::NoSuchBird), 0), "its place is free");
}

#[actix::test]
async fn others_have_their_turns_while_somebody_calls_on_and_on() {
    let nest = alone();
    let wren = nest.start::<Probe>("near-busy", Plan::default()).await;
    let made = nest.beside_birds(async move {
        let (done, mut told) = tokio::sync::oneshot::channel();
        actix_rt::spawn(async move { done.send(()) });
        let mut calls = 0_u64;
        while told.try_recv().is_err() && calls < 1_000_000 {
            calls = wren.send(Add(1)).await.expect("an answer");
        }
        calls
    });
    let calls = made.await;
    assert!(calls < 1_000, "{calls} calls before the other's turn");
}

#[actix::test]
async fn one_that_is_dropped_is_not_sent_on_either() {
    let nests = planes(2, settings());
    let there = name_of(&nests[0], 2, "near-sent-on");
    let link = nests[0].links.to(2);
    link.set(Mode::Held);
    let send = |slot: &Arc<Slot<u64>>| {
        let note = crate::parcel::Note {
            id: CallId::default(),
            deadline: Time::NEVER,
            species: SpeciesId::of("probe"),
            message: MessageId::of("add"),
            origin: NestId(1),
            is_call: true,
            hop: 0,
            redirected: true,
            among: 0,
        };
        let call = Parcel::typed::<Probe, Add>(note, Add(9), Some(slot.clone()));
        nests[0].shared.dispatch_or_fail(&there, call);
    };
    let dropped = Slot::<u64>::new();
    dropped.abandon();
    send(&dropped);
    assert_eq!(link.held(), 0);
    let waiting = Slot::<u64>::new();
    send(&waiting);
    assert_eq!(link.held(), 1);
}

#[actix::test]
async fn one_that_is_looked_for_again_and_again_times_out() {
    let nest = alone();
    let wren = nest.start::<Probe>("near-spun", Plan::default()).await;
    let made = nest.beside_birds(async move {
        let mut call = std::pin::pin!(wren.send(Add(9)).deadline(SOON).at_once());
        // By the task's own waker, in one and the same turn of it.
        std::future::poll_fn(|cx| {
            loop {
                if let Poll::Ready(outcome) = call.as_mut().poll(cx) {
                    return Poll::Ready(outcome);
                }
                std::thread::yield_now();
            }
        })
        .await
    });
    assert_eq!(made.await, Err(CallError::TimedOut));
}

#[actix::test]
async fn one_that_is_awaited_on_another_thread_times_out_while_the_birds_is_blocked() {
    let nest = alone();
    let wren = nest.start::<Probe>("near-moved", Plan::default()).await;
    let (give, given) = tokio::sync::oneshot::channel();
    let (release, released) = mpsc::channel::<()>();
    let made = nest.beside_birds(async move {
        let call = wren.send(Add(9)).deadline(SOON).at_once();
        assert!(give.send(call).is_ok());
        // The bird's turn doesn't come before this.
        released.recv_timeout(PATIENCE).is_ok()
    });
    let elsewhere = async move {
        let outcome = given.await.expect("the call").await;
        assert!(release.send(()).is_ok());
        outcome
    };
    let (held, outcome) = tokio::join!(made, elsewhere);
    assert!(held);
    assert_eq!(outcome, Err(CallError::TimedOut));
    assert_eq!(nest.bird::<Probe>("near-moved").send(Add(1)).await, Ok(1), "it wasn't run");
    assert_eq!(nest.shared.pending_calls(), 0);
}

#[actix::test]
async fn one_that_is_dropped_harms_nobody_by_the_panic_of_its_message() {
    let nest = alone();
    let wren = nest.start::<Probe>("near-dropped-flaw", Plan::default()).await;
    let made = nest.beside_birds(async move {
        drop(wren.send(Flawed(Flaw::DropPanic, 0)).at_once());
        // The bird finds it alone.
        tokio::task::yield_now().await;
        tokio::task::yield_now().await;
        wren.send(Add(1)).await
    });
    assert_eq!(made.await, Ok(1));
    assert_eq!(nest.crashes("near-dropped-flaw"), 0);
}
