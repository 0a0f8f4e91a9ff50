//! What the onlooker sees: what is being done while it is done, and a line for each act at its end.

use std::io::{IsTerminal as _, Write as _};

/// Where the lines go.
#[derive(Clone, Copy, Debug)]
pub struct Progress {
    /// Standard output belongs to the figures; the acts go to standard error too.
    json: bool,
    /// Standard error is a terminal, on which a line can be written over.
    terminal: bool,
}

impl Progress {
    /// With `json`, nothing but the figures goes to standard output.
    pub fn new(json: bool) -> Self {
        Self { json, terminal: std::io::stderr().is_terminal() }
    }

    /// What is being done now; gives way to the next line.
    pub fn now(&self, what: &str) {
        let mut err = std::io::stderr().lock();
        // Progress that nobody can read is no reason to fail.
        let _ = if self.terminal {
            write!(err, "\r\x1b[2K  … {what}").and_then(|()| err.flush())
        } else {
            writeln!(err, "  … {what}")
        };
    }

    /// A line that stays, on standard error.
    pub fn note(&self, what: &str) {
        self.wipe();
        let _ = writeln!(std::io::stderr(), "{what}");
    }

    /// The line at the end of an act.
    pub fn act(&self, title: &str, what: &str) {
        self.wipe();
        let line = format!("{title:<13} {what}");
        let _ = if self.json {
            writeln!(std::io::stderr(), "{line}")
        } else {
            writeln!(std::io::stdout(), "{line}")
        };
    }

    fn wipe(&self) {
        if self.terminal {
            let _ = write!(std::io::stderr(), "\r\x1b[2K");
        }
    }
}

/// 12345 → "12,345".
pub fn thousands(number: usize) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::thousands;

    #[test]
    fn thousands_are_parted_by_commas() {
        let texts = [0, 999, 1000, 12345, 1_234_567].map(thousands);
        assert_eq!(texts, ["0", "999", "1,000", "12,345", "1,234,567"]);
    }
}
