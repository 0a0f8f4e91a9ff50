//! Waiting for something to come true.

use std::fmt::Display;
use std::thread;
use std::time::{Duration, Instant};

/// Between two looks.
const PAUSE: Duration = Duration::from_millis(20);

/// Looks until the look finds nothing amiss, and says how long that took.
///
/// # Panics
/// If something is still amiss after `within`.
#[track_caller]
pub fn eventually<E: Display>(
    within: Duration,
    mut look: impl FnMut() -> Result<(), E>,
) -> Duration {
    let start = Instant::now();
    loop {
        match look() {
            Ok(()) => return start.elapsed(),
            Err(amiss) if start.elapsed() >= within => panic!("after {within:?} still: {amiss}"),
            Err(_) => thread::sleep(PAUSE),
        }
    }
}

/// Looks again and again for this long, at least once.
///
/// # Panics
/// If a look finds something amiss.
#[track_caller]
pub fn throughout<E: Display>(span: Duration, mut look: impl FnMut() -> Result<(), E>) {
    let start = Instant::now();
    loop {
        if let Err(amiss) = look() {
            panic!("after {:?}: {amiss}", start.elapsed());
        }
        if start.elapsed() >= span {
            return;
        }
        thread::sleep(PAUSE);
    }
}
