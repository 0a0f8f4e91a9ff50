//! How often strangers and broken peers may make themselves heard in a nest's events and log.

use std::sync::Mutex;
use std::time::Duration;

use flock_proto::Time;

use super::lock;

/// So many in a row are told.
const BURST: u32 = 16;

/// And then one in this span.
const EVERY: Duration = Duration::from_secs(1);

/// Lets some reports through and counts the rest.
#[derive(Debug)]
pub(crate) struct Alarm(Mutex<State>);

#[derive(Debug)]
struct State {
    /// Reports that may be told at once.
    left: u32,
    /// When one more was last allowed.
    since: Time,
    kept_back: u64,
}

impl Alarm {
    pub(crate) fn new(now: Time) -> Self {
        Self(Mutex::new(State { left: BURST, since: now, kept_back: 0 }))
    }

    /// The report as it is to be told, if it is: with how many were not since the last one.
    pub(crate) fn tell(&self, now: Time, why: String) -> Option<String> {
        Some(match self.may_tell(now)? {
            0 => why,
            n => format!("{why} (and {n} more, of which nothing was told)"),
        })
    }

    /// Whether a report may be told, and how many were not since the last one.
    pub(crate) fn may_tell(&self, now: Time) -> Option<u64> {
        let mut state = lock(&self.0);
        let more = now.since(state.since).as_millis() / EVERY.as_millis();
        if more > 0 {
            state.left = u32::try_from(more).unwrap_or(BURST).saturating_add(state.left).min(BURST);
            state.since = now;
        }
        if state.left == 0 {
            state.kept_back += 1;
            return None;
        }
        state.left -= 1;
        Some(std::mem::take(&mut state.kept_back))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sixteen_are_told_and_then_one_a_second_with_the_number_of_those_that_were_not() {
        let at = |ms: u64| Time::from_micros(ms * 1000);
        let alarm = Alarm::new(at(0));
        let told = |ms| alarm.tell(at(ms), "no".into());
        assert_eq!((0..100).filter_map(|_| told(1)).count(), 16);
        assert_eq!(told(999), None);
        let after = told(1001).unwrap();
        assert!(after.starts_with("no (and 85 more"), "{after}");
        assert_eq!(told(1500), None);
        assert_eq!((0..100).filter_map(|_| told(3_600_000)).count(), 16);
    }
}
