//! Texts from elsewhere, as they may be shown: on one line, and not without end.

use std::fmt::{self, Write as _};

/// Longer texts are cut. A name has 255 bytes at most.
const MOST: usize = 1000;

/// A text that somebody else chose: a reason, an error that quotes what was sent, an address. Whatever would
/// move a cursor, begin a line, or turn the text that follows around is written as an escape.
pub(crate) struct Shown<'a>(pub(crate) &'a str);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, c) in self.0.chars().enumerate() {
            if n == MOST {
                return f.write_char('…');
            }
            if is_treacherous(c) {
                write!(f, "{}", c.escape_unicode())?;
            } else {
                f.write_char(c)?;
            }
        }
        Ok(())
    }
}

/// Control characters, ends of lines and paragraphs, and marks by which text runs the other way.
fn is_treacherous(c: char) -> bool {
    let turns = matches!(c, '\u{61c}' | '\u{200e}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    c.is_control() || matches!(c, '\u{2028}' | '\u{2029}' | '\u{feff}') || turns
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_would_do_harm_is_escaped_and_what_is_long_is_cut() {
        let shown = |text: &str| Shown(text).to_string();
        assert_eq!(shown("ein Rotkehlchen 🐦 <b>"), "ein Rotkehlchen 🐦 <b>");
        assert_eq!(shown("a\nb\u{1b}[2J\u{9b}"), "a\\u{a}b\\u{1b}[2J\\u{9b}");
        assert_eq!(shown("\u{202e}txt\u{2028}"), "\\u{202e}txt\\u{2028}");
        assert_eq!(shown(&"x".repeat(5000)).chars().count(), MOST + 1);
    }
}
