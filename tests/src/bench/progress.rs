//! What the onlooker of a bench sees while it runs, on standard error.

use std::fmt;
use std::io::{IsTerminal as _, Write as _};
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// Between two lines of one bench where they can't be written over.
const PAUSE: Duration = Duration::from_secs(5);

/// Says what is being done while it is done. Whether anybody can read it is no matter of failure.
pub struct Progress {
    /// Standard error is a terminal, on which a line can be written over.
    terminal: bool,
    last: Mutex<Option<Instant>>,
}

impl Progress {
    pub(super) fn new() -> Self {
        Self { terminal: std::io::stderr().is_terminal(), last: Mutex::new(None) }
    }

    /// What is being done now; gives way to the next line. Where lines can't be written over, most
    /// are left out.
    pub fn now(&self, what: impl fmt::Display) {
        let mut last = self.last.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let pause = if self.terminal { Duration::from_millis(50) } else { PAUSE };
        if last.is_some_and(|last| last.elapsed() < pause) {
            return;
        }
        *last = Some(Instant::now());
        let mut err = std::io::stderr().lock();
        let _ = if self.terminal {
            write!(err, "\r\x1b[2K  … {what}").and_then(|()| err.flush())
        } else {
            writeln!(err, "  … {what}")
        };
    }

    /// A line that stays.
    pub fn note(&self, what: impl fmt::Display) {
        self.wipe();
        let _ = writeln!(std::io::stderr(), "{what}");
    }

    pub(super) fn wipe(&self) {
        if self.terminal {
            let _ = write!(std::io::stderr(), "\r\x1b[2K");
        }
    }
}

impl fmt::Debug for Progress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Progress").field("terminal", &self.terminal).finish_non_exhaustive()
    }
}
