//! Calls that are made while a bird handles another, on its thread; and what it spawns then.

use std::cell::RefCell;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Poll;

use actix::prelude::*;
use serde::{Deserialize, Serialize};

use super::birds::*;
use super::fake::*;
use super::looks::{at_first_look, block_on};
use crate::bird;
use crate::bird::{Bird, Hatching};
use crate::bird_ref::BirdRef;
use crate::call::CallError;

/// Passes on to the next one, and waits for it, with its own context polling.
pub(super) struct Runner(BirdRef<Self>);

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

bird!(Runner { Pass, Spin, Peck });

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
    }
}

impl Bird for Runner {
    type Args = String;

    async fn hatch(next: String, bird: &Hatching) -> anyhow::Result<Self> {
        Ok(Self(BirdRef::new(name(&next), Some(bird.entry.home.clone()))))
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
