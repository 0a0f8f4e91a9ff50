//! Times, in classes: what a run of minutes must not do is grow by what it notes.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Classes between a power of two and the next: none is wider than a sixteenth of what is in it.
const PARTS: u64 = 16;

/// Up to an hour, in nanoseconds.
const CLASSES: usize = 42 * PARTS as usize;

/// How many took how long.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Histogram(Vec<u64>);

impl Histogram {
    pub(super) fn new() -> Self {
        Self(vec![0; CLASSES])
    }

    pub(super) fn add(&mut self, took: Duration) {
        let nanos = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX).max(PARTS);
        let power = u64::from(nanos.ilog2());
        let class = (power - PARTS.ilog2() as u64) * PARTS + (nanos >> (power - 4)) - PARTS;
        let last = self.0.len().saturating_sub(1);
        if let Some(count) = self.0.get_mut((class as usize).min(last)) {
            *count += 1;
        }
    }

    pub(super) fn add_all(&mut self, other: &Self) {
        self.0.iter_mut().zip(&other.0).for_each(|(count, more)| *count += more);
    }

    /// In microseconds: the upper end of the class in which this part of all ends.
    pub(super) fn quantile(&self, part: f64) -> f64 {
        let all: u64 = self.0.iter().sum();
        let wanted = (all as f64 * part).ceil() as u64;
        let mut so_far = 0;
        for (class, count) in (0u64..).zip(&self.0) {
            so_far += count;
            if so_far >= wanted && so_far > 0 {
                let (power, within) = (class / PARTS, class % PARTS);
                return ((PARTS + within + 1) << power) as f64 / 1000.0;
            }
        }
        0.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_right_to_a_sixteenth() {
        let mut times = Histogram::new();
        (1..=1000).for_each(|n| times.add(Duration::from_micros(n)));
        for (part, right) in [(0.5, 500.0), (0.99, 990.0), (0.001, 1.0)] {
            let found = times.quantile(part);
            assert!(found >= right && found <= right * 1.07, "{part}: {found}");
        }
        assert_eq!(Histogram::new().quantile(0.5), 0.0);
    }

    #[test]
    fn what_takes_no_time_or_for_ever_has_a_class_too() {
        let mut times = Histogram::new();
        times.add(Duration::ZERO);
        times.add(Duration::MAX);
        assert_eq!(times.0.iter().sum::<u64>(), 2);
        let mut twice = times.clone();
        twice.add_all(&times);
        assert_eq!(twice.0.iter().sum::<u64>(), 4);
    }
}
