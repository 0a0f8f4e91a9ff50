//! Time as the core sees it: a number handed in, never read from a clock.

use std::fmt;
use std::ops::{Add, AddAssign, Sub};
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// A moment, in microseconds since the Unix epoch, that never runs backwards within one nest.
///
/// The driver takes the wall clock once, at start, and counts on from there with a monotonic
/// clock. So the same number serves the deadlines and, through [`Hlc`], the stamps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Time(u64);

impl Time {
    /// A moment that no deadline reaches.
    pub const NEVER: Self = Self(u64::MAX);

    /// From microseconds since the Unix epoch.
    pub const fn from_micros(micros: u64) -> Self {
        Self(micros)
    }

    /// Microseconds since the Unix epoch.
    pub const fn as_micros(self) -> u64 {
        self.0
    }

    /// The span from `earlier` to this moment; zero if `earlier` is later.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(self.0.saturating_sub(earlier.0))
    }
}

impl Add<Duration> for Time {
    type Output = Self;

    fn add(self, span: Duration) -> Self {
        // Not by way of 128 bits: each frame adds a few.
        let micros = span.as_secs().saturating_mul(1_000_000);
        Self(self.0.saturating_add(micros).saturating_add(span.subsec_micros().into()))
    }
}

impl AddAssign<Duration> for Time {
    fn add_assign(&mut self, span: Duration) {
        *self = *self + span;
    }
}

impl Sub for Time {
    type Output = Duration;

    fn sub(self, earlier: Self) -> Duration {
        self.since(earlier)
    }
}

/// A stamp of the hybrid logical clock: 52 bits of microseconds, 12 bits of counter.
///
/// Source: Kulkarni et al., "Logical Physical Clocks", 2014.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Hlc(pub u64);

const COUNTER_BITS: u32 = 12;

impl Hlc {
    /// The first stamp of a moment.
    pub const fn at(time: Time) -> Self {
        Self(time.0 << COUNTER_BITS)
    }

    /// The physical part.
    pub const fn time(self) -> Time {
        Time(self.0 >> COUNTER_BITS)
    }
}

impl fmt::Display for Hlc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:x}", self.0)
    }
}

/// A hybrid logical clock: its stamps grow, stay near the wall clock, and are above every stamp
/// that was observed.
#[derive(Clone, Debug)]
pub struct Clock {
    last: Hlc,
    max_ahead: Duration,
}

impl Clock {
    /// A clock that lets no observed stamp pull it further than `max_ahead` before its own time.
    pub const fn new(max_ahead: Duration) -> Self {
        Self { last: Hlc(0), max_ahead }
    }

    /// The next stamp: above all that this clock gave or observed.
    pub fn tick(&mut self, now: Time) -> Hlc {
        self.last = Hlc::at(now).max(Hlc(self.last.0 + 1));
        self.last
    }

    /// The greatest stamp given or observed.
    pub const fn last(&self) -> Hlc {
        self.last
    }

    /// Takes note of a peer's stamp. `false`: it lies too far ahead and was not taken over.
    pub fn observe(&mut self, now: Time, stamp: Hlc) -> bool {
        if stamp > Hlc::at(now + self.max_ahead) {
            return false;
        }
        self.last = self.last.max(stamp);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stamps_grow_though_time_stands_still() {
        let mut clock = Clock::new(Duration::from_secs(1));
        let now = Time::from_micros(77);
        let first = clock.tick(now);
        assert!(clock.tick(now) > first);
    }

    #[test]
    fn a_stamp_from_far_ahead_is_refused_a_near_one_taken_over() {
        let mut clock = Clock::new(Duration::from_secs(1));
        let now = Time::from_micros(1_000_000);
        assert!(!clock.observe(now, Hlc::at(now + Duration::from_secs(2))));
        assert!(clock.tick(now) < Hlc::at(now + Duration::from_millis(1)));
        assert!(clock.observe(now, Hlc::at(now + Duration::from_millis(500))));
        assert!(clock.tick(now) > Hlc::at(now + Duration::from_millis(500)));
    }
}
