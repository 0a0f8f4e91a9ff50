//! Calls from the thread of the bird: they are in no table, unless they aren't answered as soon as was expected.

use std::sync::Arc;
use std::sync::mpsc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;
use std::time::Duration;

use flock_proto::{CallId, MessageId, NestId, SpeciesId, Time};

use super::birds::*;
use super::fake::*;
use crate::call::CallError;
use crate::parcel::{Note, Parcel};
use crate::slot::Slot;
use crate::table::Phase;

const SOON: Duration = Duration::from_millis(30);

/// Waits as `block_on` does: nothing else of this thread goes on meanwhile.
fn block_on<F: IntoFuture>(future: F) -> F::Output {
    struct Unpark(Thread);

    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }

    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    let mut future = std::pin::pin!(future.into_future());
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
            return output;
        }
        std::thread::park_timeout(PATIENCE);
    }
}

#[actix::test]
async fn one_that_is_answered_at_once_is_in_no_table() {
    let nest = alone();
    let wren = nest.start::<Probe>("near", Plan::default()).await;
    let shared = nest.shared.clone();
    let made = nest.beside_birds(async move {
        let call = wren.send(Add(1)).into_future();
        let waiting = shared.pending_calls();
        (waiting, call.await, wren.send(Add(1)).await, shared.pending_calls())
    });
    assert_eq!(made.await, (0, Ok(1), Ok(2), 0));
}

#[actix::test]
async fn all_that_are_made_before_the_bird_has_its_turn_are_answered_in_order() {
    let nest = alone();
    let wren = nest.start::<Probe>("near-many", Plan::default()).await;
    let shared = nest.shared.clone();
    let made = nest.beside_birds(async move {
        let calls: Vec<_> = (0..3).map(|_| wren.send(Add(1)).into_future()).collect();
        // The first one alone found the bird at rest.
        let waiting = shared.pending_calls();
        let mut sums = Vec::new();
        for call in calls {
            sums.push(call.await);
        }
        (waiting, sums, shared.pending_calls())
    });
    assert_eq!(made.await, (2, vec![Ok(1), Ok(2), Ok(3)], 0));
}

#[actix::test]
async fn one_that_is_answered_later_has_its_deadline() {
    let nest = alone();
    let wren = nest.start::<Probe>("near-later", Plan::default()).await;
    let shared = nest.shared.clone();
    let made = nest.beside_birds(async move {
        let call = wren.send(Later("near-later".into())).deadline(SOON).await;
        (call, shared.pending_calls())
    });
    assert_eq!(made.await, (Err(CallError::TimedOut), 0));
    let wren = nest.bird::<Probe>("near-later");
    let made = nest.beside_birds(async move {
        let call = wren.send(Later("near-later".into())).into_future();
        gate("near-later").notify_waiters();
        gate("near-later").notify_one();
        call.await
    });
    assert_eq!(made.await, Ok(0));
    assert_eq!(nest.shared.pending_calls(), 0);
}

#[actix::test]
async fn one_to_a_bird_that_is_taken_up_has_its_deadline_and_is_not_run_past_it() {
    let nest = alone();
    let wren = nest.start::<Probe>("near-taken", Plan::default()).await;
    let made = nest.beside_birds(async move {
        let holding = wren.send(Atomic("near-taken".into())).into_future();
        // Its pump waits, but the context doesn't get as far as to poll it.
        while diary("near-taken").len() < 2 {
            tokio::task::yield_now().await;
        }
        let overdue = wren.send(Add(9)).deadline(SOON).await;
        gate("near-taken").notify_one();
        (overdue, holding.await, wren.send(Add(0)).await)
    });
    assert_eq!(made.await, (Err(CallError::TimedOut), Ok(1), Ok(1)));
    assert_eq!(nest.shared.pending_calls(), 0);
}

#[actix::test]
async fn one_for_which_the_thread_itself_is_blocked_times_out() {
    let nest = alone();
    let wren = nest.start::<Probe>("near-blocked", Plan::default()).await;
    let made = nest.beside_birds(async move {
        let blocked = block_on(wren.send(Add(9)).deadline(SOON));
        (blocked, wren.send(Add(1)).await)
    });
    assert_eq!(made.await, (Err(CallError::TimedOut), Ok(1)), "and isn't run");
    assert_eq!(nest.shared.pending_calls(), 0);
}

#[actix::test]
async fn one_that_is_looked_for_again_and_again_times_out() {
    let nest = alone();
    let wren = nest.start::<Probe>("near-spun", Plan::default()).await;
    let made = nest.beside_birds(async move {
        let mut call = std::pin::pin!(wren.send(Add(9)).deadline(SOON).into_future());
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
        let call = wren.send(Add(9)).deadline(SOON).into_future();
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
async fn one_to_a_bird_that_goes_elsewhere_meanwhile_has_its_deadline() {
    let nest = alone();
    let wren = nest.start::<Probe>("near-gone", Plan::default()).await;
    let shared = nest.shared.clone();
    let made = nest.beside_birds(async move {
        let call = wren.send(Add(9)).deadline(SOON).into_future();
        let before = shared.pending_calls();
        let entry = shared.entry("near-gone", name("near-gone").hash64()).expect("it lives");
        // Before the bird has its turn.
        entry.with(|state| state.phase = Phase::Departed);
        (before, shared.pending_calls(), call.await)
    });
    assert_eq!(made.await, (0, 1, Err(CallError::TimedOut)));
}

#[actix::test]
async fn one_that_is_dropped_is_not_run() {
    let nest = alone();
    let wren = nest.start::<Probe>("near-dropped", Plan::default()).await;
    let made = nest.beside_birds(async move {
        drop(wren.send(Add(9)).into_future());
        wren.send(Add(1)).await
    });
    assert_eq!(made.await, Ok(1));
}

#[actix::test]
async fn one_that_is_dropped_harms_nobody_by_the_panic_of_its_message() {
    let nest = alone();
    let wren = nest.start::<Probe>("near-dropped-flaw", Plan::default()).await;
    let made = nest.beside_birds(async move {
        drop(wren.send(Flawed(Flaw::DropPanic, 0)).into_future());
        // The bird finds it alone.
        tokio::task::yield_now().await;
        tokio::task::yield_now().await;
        wren.send(Add(1)).await
    });
    assert_eq!(made.await, Ok(1));
    assert_eq!(nest.crashes("near-dropped-flaw"), 0);
}

#[actix::test]
async fn one_that_is_dropped_is_not_sent_on_either() {
    let nests = planes(2, settings());
    let there = name_of(&nests[0], 2, "near-sent-on");
    let link = nests[0].links.to(2);
    link.set(Mode::Held);
    let send = |slot: &Arc<Slot<u64>>| {
        let note = || Note {
            id: CallId::default(),
            deadline: Time::NEVER,
            species: SpeciesId::of("probe"),
            message: MessageId::of("add"),
            origin: NestId(1),
            is_call: true,
            hop: 0,
            redirected: true,
            alone: false,
        };
        let call = Parcel::typed::<Probe, Add>(note, Add(9), Some(slot.clone()));
        nests[0].shared.dispatch_or_fail(&there, call);
    };
    let dropped = Slot::<u64>::new(PATIENCE);
    dropped.abandon();
    send(&dropped);
    assert_eq!(link.held(), 0);
    let waiting = Slot::<u64>::new(PATIENCE);
    send(&waiting);
    assert_eq!((link.held(), nests[0].shared.pending_calls()), (1, 1), "with a deadline now");
}

#[actix::test]
async fn one_that_is_noted_when_its_nest_is_shut_down_hears_so() {
    let nest = alone();
    nest.shared.close();
    let slot = Slot::<u64>::new(PATIENCE);
    slot.note_or_leave(&nest.shared);
    let outcome = slot.poll(&Context::from_waker(Waker::noop()));
    assert_eq!(outcome, Poll::Ready(Err(Box::new(CallError::Leaving))));
    assert_eq!(nest.shared.pending_calls(), 0);
}

#[actix::test]
async fn one_that_crashes_the_bird_hears_so_and_the_next_life_has_its_turn() {
    let nest = alone();
    let wren = nest.start::<Probe>("near-crash", Plan::default()).await;
    let shared = nest.shared.clone();
    let made = nest.beside_birds(async move {
        let crashed = wren.send(Boom::Handler).await;
        (crashed, wren.send(Add(1)).await, shared.pending_calls())
    });
    assert_eq!(made.await, (Err(CallError::Crashed), Ok(1), 0));
}
