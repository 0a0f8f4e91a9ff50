//! What a life is told from outside, in order.
//!
//! Every bird has such a queue, it is nearly always empty, and it is looked at each time that the
//! bird is polled. A channel made for traffic would keep room for 32 commands, and be the largest part of
//! an idle bird.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use flock_proto::EndWhy;

use crate::slot::lock;

/// What a life is told.
#[derive(Clone, Debug)]
pub(crate) enum Command {
    /// For good, as far as this nest is concerned.
    End(EndWhy),
    /// To end, and to go on elsewhere.
    Depart,
    /// To take in what another life left.
    Merge(Bytes),
}

/// Where commands are given. Dropped, it says that no more will come.
#[derive(Debug)]
pub(crate) struct Teller(Arc<Queue>);

/// Where the life hears them.
#[derive(Debug)]
pub(crate) struct Commands {
    queue: Arc<Queue>,
    /// Who is woken by the next word: then there is nothing to be looked at before.
    waiting: Option<Waker>,
}

#[derive(Debug, Default)]
struct Queue {
    /// Something was said since the life last looked.
    news: AtomicBool,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    commands: VecDeque<Command>,
    waker: Option<Waker>,
    /// One of the two ends is gone.
    over: bool,
}

/// The two ends of a queue.
pub(crate) fn commands() -> (Teller, Commands) {
    let queue = Arc::default();
    (Teller(Arc::clone(&queue)), Commands { queue, waiting: None })
}

impl Teller {
    /// Gives a command. False: nobody hears it any more.
    pub(crate) fn tell(&self, command: Command) -> bool {
        let mut state = lock(&self.0.state);
        if state.over {
            return false;
        }
        state.commands.push_back(command);
        self.0.wake(state);
        true
    }
}

impl Drop for Teller {
    fn drop(&mut self) {
        let mut state = lock(&self.0.state);
        state.over = true;
        self.0.wake(state);
    }
}

impl Commands {
    /// The next command; `None` once no more will come.
    pub(crate) async fn next(&mut self) -> Option<Command> {
        std::future::poll_fn(|cx| self.poll(cx)).await
    }

    fn poll(&mut self, cx: &Context<'_>) -> Poll<Option<Command>> {
        let waits = self.waiting.as_ref().is_some_and(|waker| waker.will_wake(cx.waker()));
        if waits && !self.queue.news.load(Ordering::Acquire) {
            return Poll::Pending;
        }
        let mut state = lock(&self.queue.state);
        self.queue.news.store(false, Ordering::Relaxed);
        self.waiting = None;
        if let Some(command) = state.commands.pop_front() {
            return Poll::Ready(Some(command));
        }
        if state.over {
            return Poll::Ready(None);
        }
        state.waker = Some(cx.waker().clone());
        self.waiting = Some(cx.waker().clone());
        Poll::Pending
    }

    /// The end that was asked for, if it was, among commands not yet obeyed. The others are dropped.
    pub(crate) fn pending_end(&mut self) -> Option<EndWhy> {
        let commands = std::mem::take(&mut lock(&self.queue.state).commands);
        commands.into_iter().find_map(|command| match command {
            Command::End(why) => Some(why),
            Command::Depart | Command::Merge(_) => None,
        })
    }
}

impl Drop for Commands {
    fn drop(&mut self) {
        let mut state = lock(&self.queue.state);
        state.over = true;
        let unheard = std::mem::take(&mut state.commands);
        drop(state);
        drop(unheard);
    }
}

impl Queue {
    /// Wakes whoever waits, and not under the lock.
    fn wake(&self, mut state: MutexGuard<'_, State>) {
        self.news.store(true, Ordering::Release);
        let waker = state.waker.take();
        drop(state);
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn commands_come_in_order_and_then_their_end() {
        let (teller, mut heard) = commands();
        assert!(teller.tell(Command::Depart));
        assert!(teller.tell(Command::End(EndWhy::Stopped)));
        assert!(matches!(heard.next().await, Some(Command::Depart)));
        assert!(matches!(heard.next().await, Some(Command::End(EndWhy::Stopped))));
        drop(teller);
        assert!(heard.next().await.is_none());
    }

    #[tokio::test]
    async fn a_command_and_the_end_of_all_wake_who_waits() {
        let (teller, mut heard) = commands();
        let waits = tokio::spawn(async move { (heard.next().await, heard.next().await) });
        // It waits before it is told.
        tokio::task::yield_now().await;
        assert!(teller.tell(Command::Depart));
        tokio::task::yield_now().await;
        drop(teller);
        let heard = tokio::time::timeout(Duration::from_secs(5), waits).await;
        assert!(matches!(heard, Ok(Ok((Some(Command::Depart), None)))), "{heard:?}");
    }

    #[test]
    fn an_end_that_was_not_heard_is_found_and_one_after_the_life_is_refused() {
        let (teller, mut heard) = commands();
        assert_eq!(heard.pending_end(), None);
        teller.tell(Command::Merge(Bytes::new()));
        teller.tell(Command::End(EndWhy::Duplicate));
        assert_eq!(heard.pending_end(), Some(EndWhy::Duplicate));
        drop(heard);
        assert!(!teller.tell(Command::Depart));
    }
}
