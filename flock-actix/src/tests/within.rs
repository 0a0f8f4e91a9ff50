//! Calls that are made while a bird handles another, on its thread; and what it spawns then.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Poll;
use std::time::Duration;

use actix::prelude::*;
use flock_proto::{EndWhy, Fence};
use serde::{Deserialize, Serialize};

use super::birds::*;
use super::fake::*;
use super::looks::{at_first_look, block_on};
use crate::bird;
use crate::bird::{Bird, Hatching};
use crate::bird_ref::BirdRef;
use crate::call::CallError;
use crate::rt;
use crate::shared::Settings;

const SOON: Duration = Duration::from_millis(30);

/// Passes on to the next one, and waits for it, with its own context polling. One may wait in `started()`.
pub(super) struct Runner(BirdRef<Self>, bool);

#[derive(Debug, Message, Serialize, Deserialize)]
#[rtype(result = "u64")]
struct Pass(u64);

/// Blocks its thread till the next one has answered: to the bird's own address, so that it is in its mailbox.
#[derive(Debug, Message)]
#[rtype(result = "()")]
struct Ask;

impl Handler<Ask> for Runner {
    type Result = ();

    fn handle(&mut self, Ask: Ask, _: &mut Self::Context) {
        assert_eq!(block_on(self.0.send(Peck)), Ok(1));
    }
}

/// Has a task be ready again and again, until all such tasks were so often.
#[derive(Debug, Message, Serialize, Deserialize)]
#[rtype(result = "()")]
struct Spin(u64);

thread_local! {
    /// Of the birds of this thread.
    static ADDRS: RefCell<Vec<Addr<Runner>>> = const { RefCell::new(Vec::new()) };
    static SPINS: RefCell<Option<Arc<AtomicU64>>> = const { RefCell::new(None) };
}

/// Answered at once.
#[derive(Debug, Message, Serialize, Deserialize)]
#[rtype(result = "u64")]
struct Peck;

/// Runs the first of this thread's [`HOOKS`].
#[derive(Debug, Message, Serialize, Deserialize)]
#[rtype(result = "()")]
struct Hook;

type Run = Box<dyn FnOnce(&mut Context<Runner>)>;

thread_local! {
    static HOOKS: RefCell<VecDeque<Run>> = const { RefCell::new(VecDeque::new()) };
}

fn hook(run: impl FnOnce(&mut Context<Runner>) + 'static) {
    HOOKS.with_borrow_mut(|hooks| hooks.push_back(Box::new(run)));
}

bird!(Runner { Pass, Spin, Peck, Hook });

impl Handler<Hook> for Runner {
    type Result = ();

    fn handle(&mut self, Hook: Hook, ctx: &mut Self::Context) {
        let hook = HOOKS.with_borrow_mut(VecDeque::pop_front);
        hook.expect("as many as are run")(ctx);
    }
}

impl Handler<Peck> for Runner {
    type Result = u64;

    fn handle(&mut self, Peck: Peck, _: &mut Self::Context) -> u64 {
        1
    }
}

impl Handler<Spin> for Runner {
    type Result = ResponseFuture<()>;

    fn handle(&mut self, Spin(most): Spin, _: &mut Self::Context) -> Self::Result {
        let spins = SPINS.with_borrow(|spins| spins.clone().unwrap_or_default());
        Box::pin(async move {
            std::future::poll_fn(|cx| {
                cx.waker().wake_by_ref();
                let is_over = spins.fetch_add(1, Ordering::Relaxed) >= most;
                if is_over { Poll::Ready(()) } else { Poll::Pending }
            })
            .await;
        })
    }
}

impl Actor for Runner {
    type Context = actix::Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ADDRS.with_borrow_mut(|addrs| addrs.push(ctx.address()));
        if self.1 {
            let opened = async { gate("near-waits").notified().await };
            ctx.wait(opened.into_actor(self));
        }
    }
}

impl Bird for Runner {
    type Args = String;

    async fn hatch(next: String, bird: &Hatching) -> anyhow::Result<Self> {
        let waits = bird.name().as_str() == "near-waits";
        Ok(Self(BirdRef::new(name(&next), Some(bird.entry.home.clone())), waits))
    }
}

impl Handler<Pass> for Runner {
    type Result = ResponseActFuture<Self, u64>;

    fn handle(&mut self, Pass(times): Pass, _: &mut Self::Context) -> Self::Result {
        let next = self.0.clone();
        let passed = async move {
            // Much of the stack, in each turn.
            std::hint::black_box([times; 4096]);
            match times {
                0 => 0,
                _ => next.send(Pass(times - 1)).await.map_or(0, |times| times + 1),
            }
        };
        Box::pin(passed.into_actor(self))
    }
}

/// Passes from each to the next of these, and from the last to the first.
async fn passed(birds: u64, times: u64) -> Result<u64, CallError> {
    let nest = alone();
    // Each after the next one, to which its reference leads at once.
    for number in (0..birds).rev() {
        let next = format!("near-runner-{}", (number + 1) % birds);
        drop(nest.start::<Runner>(&format!("near-runner-{number}"), next).await);
    }
    let first = nest.bird::<Runner>("near-runner-0");
    nest.beside_birds(async move { first.send(Pass(times)).await }).await
}

#[actix::test]
async fn one_that_another_is_made_within_is_handled_none_the_less() {
    let nest = alone();
    drop(nest.start::<Runner>("near-asked", "near-asked".into()).await);
    let asks = nest.start::<Runner>("near-asks", "near-asked".into()).await;
    let made = nest.beside_birds(async move {
        let addr = ADDRS.with_borrow(|addrs| addrs.last().cloned()).expect("a bird");
        // In the mailbox, to which the context looks before it comes to the call.
        addr.do_send(Ask);
        at_first_look(asks.send(Peck)).await
    });
    assert_eq!(made.await, Poll::Ready(Ok(1)));
    assert_eq!((nest.crashes("near-asks"), nest.crashes("near-asked")), (0, 0));
}

#[actix::test]
async fn birds_that_call_birds_that_call_birds_need_no_more_of_the_stack() {
    assert_eq!(passed(200, 199).await, Ok(199));
}

#[actix::test]
async fn birds_that_call_each_other_in_circles_are_answered() {
    for birds in 1..=3 {
        assert_eq!(passed(birds, 20).await, Ok(20));
    }
}

#[actix::test]
async fn a_caller_that_is_no_local_task_has_it_handled_as_well() {
    let nest = alone();
    let wren = nest.start::<Probe>("near-spawned", Plan::default()).await;
    let made = nest.beside_birds(async move {
        // On this thread, but not one that may spawn what stays on it.
        let caller = tokio::spawn(async move {
            let first = at_first_look(wren.send(Add(1))).await;
            gate("near-spawned").notify_one();
            (first, wren.send(Later("near-spawned".into())).await)
        });
        caller.await.expect("no panic")
    });
    assert_eq!(made.await, (Poll::Ready(Ok(1)), Ok(1)));
    assert_eq!(nest.crashes("near-spawned"), 0);
}

#[actix::test]
async fn what_a_handler_spawns_leaves_others_their_turns() {
    const MOST: u64 = 20_000;
    let nest = alone();
    let runner = nest.start::<Runner>("near-spinner", "near-spinner".into()).await;
    let made = nest.beside_birds(async move {
        let spins = Arc::new(AtomicU64::new(0));
        SPINS.set(Some(spins.clone()));
        // Each has its handler spawn a task, which is ready again and again.
        let mut spinning: Vec<_> = (0..20).map(|_| runner.send(Spin(MOST))).collect();
        for call in &mut spinning {
            assert!(at_first_look(call).await.is_pending());
        }
        let others = tokio::spawn(async move {
            let mut turns = 0;
            while spins.load(Ordering::Relaxed) < MOST {
                tokio::task::yield_now().await;
                turns += 1;
            }
            turns
        });
        let turns = others.await.expect("no panic");
        for call in spinning {
            assert_eq!(call.await, Ok(()));
        }
        turns
    });
    let turns = made.await;
    assert!(turns > 100, "{turns} turns of another task");
}

/// Lets the tasks of this thread that are ready have one turn each.
async fn one_turn() {
    let mut had = false;
    std::future::poll_fn(|cx| {
        cx.waker().wake_by_ref();
        if std::mem::replace(&mut had, true) { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
}

#[actix::test]
async fn one_to_a_bird_that_was_told_to_end_while_it_worked_is_not_handled_before_it_hears_that() {
    let nest = alone();
    let runner = nest.start::<Runner>("near-worked", "near-worked".into()).await;
    let shared = nest.shared.clone();
    let made = nest.beside_birds(async move {
        hook(move |_| shared.end(&name("near-worked"), Fence(1), EndWhy::Stopped));
        runner.do_send(Hook);
        let last = runner.send(Peck).at_once();
        one_turn().await;
        // It has done both, waits for more, and has its next turn after this.
        (at_first_look(last).await, runner.send(Peck).await)
    });
    assert_eq!(made.await, (Poll::Ready(Ok(1)), Err(CallError::NoSuchBird)));
}

#[actix::test]
async fn after_a_crash_of_one_the_next_life_still_leaves_out_what_is_past_its_deadline() {
    let backoff = Duration::from_millis(1);
    let settings = Settings { call_deadline: SOON, backoff, ..settings() };
    let nest = planes(1, settings).remove(0);
    gate("near-waits").notify_one();
    let runner = nest.start::<Runner>("near-waits", "near-waits".into()).await;
    let made = nest.beside_birds(async move {
        hook(|_| panic!("a job that was handed over"));
        let crashed = at_first_look(runner.send(Hook)).await;
        hook(|_| panic!("a cast past its deadline"));
        runner.do_send(Hook);
        tokio::time::sleep(2 * SOON).await;
        while ADDRS.with_borrow(Vec::len) < 2 {
            tokio::time::sleep(backoff).await;
        }
        gate("near-waits").notify_one();
        // The second life finds the cast alone.
        one_turn().await;
        (crashed, runner.send(Peck).deadline(PATIENCE).await)
    });
    assert_eq!(made.await, (Poll::Ready(Err(CallError::Crashed)), Ok(1)));
    assert_eq!(nest.crashes("near-waits"), 1);
}

#[actix::test]
async fn what_comes_during_a_long_job_is_left_out_past_its_deadline() {
    let nest = planes(1, Settings { call_deadline: SOON, ..settings() }).remove(0);
    let runner = nest.start::<Runner>("near-long", "near-long".into()).await;
    for handed in [true, false] {
        let runner = runner.clone();
        let made = nest.beside_birds(async move {
            let own = runner.clone();
            hook(move |_| {
                own.do_send(Hook);
                std::thread::sleep(2 * SOON);
            });
            if handed {
                assert_eq!(runner.send(Hook).await, Ok(()));
            } else {
                runner.do_send(Hook);
                one_turn().await;
            }
            hook(|_| panic!("a cast past its deadline"));
            // It finds the cast alone.
            one_turn().await;
            let answered = runner.send(Peck).deadline(PATIENCE).await;
            (HOOKS.take().len(), answered)
        });
        assert_eq!(made.await, (1, Ok(1)), "handed: {handed}");
    }
    assert_eq!(nest.crashes("near-long"), 0);
}

#[actix::test]
async fn one_to_a_bird_that_waits_unknown_to_its_pump_is_handled_later_and_once() {
    let nest = alone();
    let runner = nest.start::<Runner>("near-held", "near-held".into()).await;
    let shared = nest.shared.clone();
    let made = nest.beside_birds(async move {
        // In a future behind the pump, which isn't polled again before the wait is over.
        hook(|ctx| {
            let opened = async { gate("near-held").notified().await };
            let waits = actix::fut::wrap_future::<_, Runner>(async {}).map(|(), _, ctx| {
                ctx.wait(actix::fut::wrap_future::<_, Runner>(opened));
            });
            ctx.spawn(waits);
        });
        runner.send(Hook).await.expect("an answer");
        let entry = shared.entry("near-held", name("near-held").hash64()).expect("it lives");
        assert!(entry.rests_on(rt::thread_number()).is_some(), "as it seems");
        let mut held = runner.send(Peck);
        let looked = at_first_look(&mut held).await;
        gate("near-held").notify_one();
        (looked, held.await, runner.send(Peck).await)
    });
    assert_eq!(made.await, (Poll::Pending, Ok(1), Ok(1)));
}

#[actix::test]
async fn one_that_comes_with_the_crash_of_another_job_is_handled_by_the_next_life() {
    let nest = alone();
    let runner = nest.start::<Runner>("near-with", "near-with".into()).await;
    let made = nest.beside_birds(async move {
        hook(|_| panic!("from the mailbox"));
        let addr = ADDRS.with_borrow(|addrs| addrs.last().cloned()).expect("a bird");
        addr.do_send(Hook);
        // Its context looks into the mailbox first.
        runner.send(Peck).await
    });
    assert_eq!(made.await, Ok(1));
    assert_eq!(nest.crashes("near-with"), 1);
}

#[actix::test]
async fn an_actor_that_a_handler_starts_lives_on() {
    let nest = alone();
    let runner = nest.start::<Runner>("near-parent", "near-parent".into()).await;
    let made = nest.beside_birds(async move {
        let (give, take) = tokio::sync::oneshot::channel();
        hook(|_| drop(give.send(Probe::plain("near-child").start())));
        let child = tokio::spawn(async move {
            runner.send(Hook).await.expect("an answer");
            let child = take.await.expect("its address");
            tokio::task::yield_now().await;
            (child.send(Add(1)).await, child.send(Add(1)).await)
        });
        child.await.expect("no panic")
    });
    assert_eq!(made.await, (Ok(1), Ok(2)));
}
