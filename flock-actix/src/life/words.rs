//! What a life is told, as the lives take it.

use std::future::poll_fn;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use flock_proto::EndWhy;

use super::order::Seldom;
use crate::commands::{Command, Commands};

/// How a life is told to end.
#[derive(Clone, Copy, Debug)]
pub(super) enum Wind {
    End(EndWhy),
    Depart,
}

/// The commands' other end is dropped only when the nest shuts down.
pub(super) const LAST: Wind = Wind::End(EndWhy::Stopped);

impl Command {
    /// A state to merge, or the word to end.
    pub(super) fn sort(self) -> Result<Bytes, Wind> {
        match self {
            Self::Merge(state) => Ok(state),
            Self::End(why) => Err(Wind::End(why)),
            Self::Depart => Err(Wind::Depart),
        }
    }
}

/// Waits for the word to end, and keeps what is to be merged.
pub(super) async fn told_to_end(commands: &mut Commands, seldom: &mut Option<Box<Seldom>>) -> Wind {
    poll_fn(|cx| told(commands, seldom, cx)).await
}

pub(super) fn told(
    commands: &mut Commands,
    seldom: &mut Option<Box<Seldom>>,
    cx: &Context<'_>,
) -> Poll<Wind> {
    loop {
        match ready!(commands.poll(cx)).map_or(Err(LAST), Command::sort) {
            Ok(state) => seldom.get_or_insert_default().merges.push(state),
            Err(wind) => return Poll::Ready(wind),
        }
    }
}
