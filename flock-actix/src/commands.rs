//! What a life is told from outside, in order.
//!
//! Every bird can be told something, hardly any ever is, and it is looked for each time that the bird is
//! polled. So what is said waits in the bird's [`Entry`], which is looked at anyway, and takes no room until then.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};

use bytes::Bytes;
use flock_proto::{EndWhy, Fence};

use crate::table::Entry;

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

/// The end that was asked for, if it was, among commands not yet obeyed.
pub(crate) fn end_among(commands: impl IntoIterator<Item = Command>) -> Option<EndWhy> {
    commands.into_iter().find_map(|command| match command {
        Command::End(why) => Some(why),
        Command::Depart | Command::Merge(_) => None,
    })
}

/// Where a life hears what it is told. Dropped, it says that nobody listens any more.
pub(crate) struct Commands {
    pub(crate) entry: Arc<Entry>,
    /// The life's, by which its entry knows it.
    pub(crate) fence: Arc<AtomicU64>,
}

impl Commands {
    pub(crate) fn new(entry: Arc<Entry>, fence: Arc<AtomicU64>) -> Self {
        entry.has_listener();
        Self { entry, fence }
    }

    /// The life's fence at this moment.
    pub(crate) fn fence(&self) -> Fence {
        Fence(self.fence.load(Ordering::Acquire))
    }

    /// The next command; `None` once no more will come.
    // Always polled by the one task that is the bird's, so the waker that the entry has stays right.
    pub(crate) fn poll(&mut self, cx: &Context<'_>) -> Poll<Option<Command>> {
        if !self.entry.has_news() {
            return Poll::Pending;
        }
        self.entry.hear(&self.fence, cx.waker())
    }

    /// The end that was asked for, if it was, among commands not yet obeyed. The others are dropped.
    pub(crate) fn pending_end(&self) -> Option<EndWhy> {
        self.entry.pending_end(&self.fence)
    }
}

impl Drop for Commands {
    fn drop(&mut self) {
        self.entry.deafen(&self.fence);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::table::{Life, Phase};
    use crate::tests::fake::{alone, name};

    const FENCE: Fence = Fence(7);

    fn life() -> (Arc<Entry>, Commands) {
        let entry = Entry::new(&alone().shared, name("robin"), Phase::Hatching);
        let fence = Arc::new(AtomicU64::new(FENCE.0));
        entry.with(|state| state.begin(Life { fence: fence.clone(), desk: None }));
        (entry.clone(), Commands::new(entry, fence))
    }

    impl Commands {
        async fn next(&mut self) -> Option<Command> {
            std::future::poll_fn(|cx| self.poll(cx)).await
        }
    }

    fn tell(entry: &Entry, command: Command) -> bool {
        entry.with(|state| state.tell(FENCE, command))
    }

    #[actix::test]
    async fn commands_come_in_order_and_then_their_end() {
        let (entry, mut heard) = life();
        assert!(tell(&entry, Command::Depart));
        assert!(tell(&entry, Command::End(EndWhy::Stopped)));
        assert!(matches!(heard.next().await, Some(Command::Depart)));
        assert!(matches!(heard.next().await, Some(Command::End(EndWhy::Stopped))));
        entry.with(|state| state.let_go());
        assert!(heard.next().await.is_none());
    }

    #[actix::test]
    async fn a_command_and_the_end_of_all_wake_who_waits() {
        let (entry, mut heard) = life();
        let waits = actix_rt::spawn(async move { (heard.next().await, heard.next().await) });
        // It waits before it is told.
        tokio::task::yield_now().await;
        assert!(tell(&entry, Command::Depart));
        tokio::task::yield_now().await;
        entry.with(|state| state.let_go());
        let heard = tokio::time::timeout(Duration::from_secs(5), waits).await;
        assert!(matches!(heard, Ok(Ok((Some(Command::Depart), None)))), "{heard:?}");
    }

    #[actix::test]
    async fn who_was_woken_for_another_reason_still_hears() {
        let (entry, mut heard) = life();
        let waits = actix_rt::spawn(async move { heard.next().await });
        tokio::task::yield_now().await;
        entry.with(|state| state.phase = Phase::Running);
        tokio::task::yield_now().await;
        assert!(tell(&entry, Command::Depart));
        let heard = tokio::time::timeout(Duration::from_secs(5), waits).await;
        assert!(matches!(heard, Ok(Ok(Some(Command::Depart)))), "{heard:?}");
    }

    #[actix::test]
    async fn an_end_that_was_not_heard_is_found_and_one_after_the_life_is_refused() {
        let (entry, heard) = life();
        assert_eq!(heard.pending_end(), None);
        tell(&entry, Command::Merge(Bytes::new()));
        tell(&entry, Command::End(EndWhy::Duplicate));
        assert_eq!(heard.pending_end(), Some(EndWhy::Duplicate));
        drop(heard);
        assert!(!tell(&entry, Command::Depart));
    }

    #[actix::test]
    async fn a_life_is_told_nothing_that_is_meant_for_another() {
        let (entry, heard) = life();
        assert!(!entry.with(|state| state.tell(Fence(8), Command::Depart)));
        let other = Arc::new(AtomicU64::new(FENCE.0));
        entry.with(|state| state.let_go());
        entry.with(|state| state.begin(Life { fence: other, desk: None }));
        assert!(tell(&entry, Command::End(EndWhy::Stopped)));
        assert_eq!(heard.pending_end(), None);
        drop(heard);
        assert!(tell(&entry, Command::Depart), "the later life still listens");
    }
}
