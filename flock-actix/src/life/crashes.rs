//! The restart limit and the back-off, counted for each bird by itself.

use std::collections::VecDeque;
use std::time::Duration;

use flock_proto::{Rng, Time};

/// The longest wait, as a multiple of the first.
const LAST_BACKOFF: u32 = 200;

/// A bird's crashes within the window of its limit.
#[derive(Debug)]
pub(super) struct CrashLog {
    limit: usize,
    window: Duration,
    times: VecDeque<Time>,
    rng: Rng,
}

impl CrashLog {
    /// Starts from the crashes the bird had before it came here. `limit` restarts within `window`
    /// are allowed: one crash more is too many.
    pub(super) fn new(
        limit: u32,
        window: Duration,
        now: Time,
        ages: &[Duration],
        seed: u64,
    ) -> Self {
        let before = ages.iter().filter(|age| **age < window);
        let mut times: Vec<_> = before
            .map(|age| {
                let micros = u64::try_from(age.as_micros()).unwrap_or(u64::MAX);
                Time::from_micros(now.as_micros().saturating_sub(micros))
            })
            .collect();
        times.sort_unstable();
        let rng = Rng::new(seed ^ now.as_micros());
        Self { limit: limit as usize, window, times: times.into(), rng }
    }

    /// Counts a crash.
    pub(super) fn note(&mut self, now: Time) {
        self.times.push_back(now);
        // No more than the one too many is ever of interest.
        while self.times.len() > self.limit.saturating_add(1)
            || self.times.front().is_some_and(|&first| now.since(first) >= self.window)
        {
            self.times.pop_front();
        }
    }

    /// Counts a crash; `false` if it is one too many.
    pub(super) fn survives(&mut self, now: Time) -> bool {
        self.note(now);
        self.times.len() <= self.limit
    }

    /// Crashes within the window, as of the last one.
    pub(super) fn count(&self) -> u32 {
        self.times.len() as u32
    }

    /// How long ago each was.
    pub(super) fn ages(&self, now: Time) -> Vec<Duration> {
        self.times.iter().map(|&at| now.since(at)).filter(|age| *age < self.window).collect()
    }

    /// How long to wait before the next life: twice as long with each crash in the window, give
    /// or take a quarter, so that birds that crashed together don't come back together.
    pub(super) fn backoff(&mut self, first: Duration) -> Duration {
        let doublings = self.count().saturating_sub(1).min(16);
        let whole = first.saturating_mul((1 << doublings).min(LAST_BACKOFF));
        let percent = 75 + self.rng.below(51) as u32;
        whole * percent / 100
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn at(seconds: u64) -> Time {
        Time::default() + Duration::from_secs(seconds)
    }

    #[test]
    fn the_limit_counts_crashes_within_its_window_only() {
        let mut log = CrashLog::new(2, 10 * SECOND, at(100), &[], 1);
        assert!(log.survives(at(100)));
        assert!(log.survives(at(101)));
        assert!(log.survives(at(112)), "the first two are forgotten");
        assert!(log.survives(at(113)));
        assert!(!log.survives(at(114)));
        assert_eq!(log.count(), 3);
    }

    #[test]
    fn a_limit_of_five_allows_five_restarts_and_none_allows_none() {
        let mut log = CrashLog::new(5, 30 * SECOND, at(100), &[], 1);
        let survived = (0..6).map(|n| log.survives(at(100 + n))).collect::<Vec<_>>();
        assert_eq!(survived, [true, true, true, true, true, false]);
        assert!(!CrashLog::new(0, 30 * SECOND, at(100), &[], 1).survives(at(100)));
    }

    #[test]
    fn a_bird_that_moves_takes_its_crashes_along() {
        let mut log = CrashLog::new(2, 10 * SECOND, at(100), &[9 * SECOND, 2 * SECOND], 1);
        assert_eq!(log.ages(at(100)), [9 * SECOND, 2 * SECOND]);
        assert!(!log.survives(at(100)));
        let mut late = CrashLog::new(2, 10 * SECOND, at(100), &[11 * SECOND, 2 * SECOND], 1);
        assert!(late.survives(at(100)));
    }

    #[test]
    fn the_back_off_doubles_up_to_ten_seconds_give_or_take_a_quarter() {
        let mut log = CrashLog::new(100, 1000 * SECOND, at(0), &[], 7);
        for crash in 0..20u32 {
            log.note(at(0));
            let whole = (50u128 << crash).min(10_000);
            let backoff = log.backoff(Duration::from_millis(50)).as_millis();
            assert!((whole * 3 / 4..=whole * 5 / 4).contains(&backoff), "{crash}: {backoff}");
        }
    }
}
