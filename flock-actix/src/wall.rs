//! The wall clock, read once; from then on time is counted.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use flock_proto::Time;

/// Microseconds since the Unix epoch as they were at start, plus what a monotonic clock has counted
/// since. So time never runs backwards within a nest, whatever is done to the machine's clock.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wall {
    epoch: Time,
    start: Instant,
}

impl Wall {
    /// A clock that starts now.
    #[cfg(test)]
    pub(crate) fn new() -> Self {
        Self::ahead_by(Duration::ZERO)
    }

    /// A clock that starts now and is wrong by so much: for tests.
    pub(crate) fn ahead_by(wrong: Duration) -> Self {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self { epoch: Time::default() + since + wrong, start: Instant::now() }
    }

    /// The present moment.
    pub(crate) fn now(&self) -> Time {
        self.epoch + self.start.elapsed()
    }
}
