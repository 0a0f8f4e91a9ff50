//! The wall clock, read once; from then on time is counted. The only place that knows a clock.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use flock_proto::Time;

use crate::host::Host;

/// Microseconds since the Unix epoch as they were at start, plus what a monotonic clock has counted
/// since. So time never runs backwards within a nest, whatever is done to the machine's clock.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wall {
    epoch: Time,
    start: Start,
}

/// When it was started, on a clock that only counts.
#[derive(Clone, Copy, Debug)]
enum Start {
    Machine(Instant),
    #[cfg(feature = "turmoil")]
    Turmoil(tokio::time::Instant),
}

impl Wall {
    /// A clock of this machine that starts now.
    pub(crate) fn new() -> Self {
        Self::ahead_by(&Host::Machine, Duration::ZERO)
    }

    /// A clock that starts now and is wrong by so much: for tests.
    pub(crate) fn ahead_by(host: &Host, wrong: Duration) -> Self {
        let (since, start) = match host {
            Host::Machine => {
                let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
                (since, Start::Machine(Instant::now()))
            }
            #[cfg(feature = "turmoil")]
            Host::Turmoil(_) => {
                let since = turmoil::since_epoch().unwrap_or_default();
                (since, Start::Turmoil(tokio::time::Instant::now()))
            }
        };
        Self { epoch: Time::default() + since + wrong, start }
    }

    /// The present moment.
    pub(crate) fn now(&self) -> Time {
        let elapsed = match self.start {
            Start::Machine(start) => start.elapsed(),
            #[cfg(feature = "turmoil")]
            Start::Turmoil(start) => start.elapsed(),
        };
        self.epoch + elapsed
    }
}
