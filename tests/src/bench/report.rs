//! What a bench found: a table for people, JSON for programs, and whether it is as promised.

use std::fmt::Write as _;

use serde::Serialize;

/// What a bench found.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// As JSON, in the order in which they were given.
    figures: String,
    rows: Vec<Row>,
    notes: Vec<String>,
}

#[derive(Clone, Debug)]
struct Row {
    what: String,
    found: String,
    /// What was promised, in words, and whether it is so.
    promise: Option<(String, bool)>,
}

impl Report {
    /// A report whose JSON is this.
    ///
    /// # Panics
    /// If the figures can't be written as JSON.
    pub fn new(figures: &impl Serialize) -> Self {
        let figures = serde_json::to_string(figures).expect("figures are plain data");
        Self { figures, ..Self::default() }
    }

    /// A row of which nothing was promised.
    pub fn row(&mut self, what: impl Into<String>, found: impl Into<String>) {
        self.rows.push(Row { what: what.into(), found: found.into(), promise: None });
    }

    /// A row with what was promised, in words, and whether it is so. If it isn't, the bench fails.
    pub fn promise(
        &mut self,
        what: impl Into<String>,
        found: impl Into<String>,
        must: impl Into<String>,
        kept: bool,
    ) {
        let promise = Some((must.into(), kept));
        self.rows.push(Row { what: what.into(), found: found.into(), promise });
    }

    /// A line below the table.
    pub fn note(&mut self, text: impl Into<String>) {
        self.notes.push(text.into());
    }

    /// Whether all that was promised is so.
    pub fn is_as_promised(&self) -> bool {
        self.rows.iter().all(|row| row.promise.as_ref().is_none_or(|(_, kept)| *kept))
    }

    /// Writes the table, or the figures as the last line on standard output, where they stand
    /// alone: the table goes to standard error then.
    pub(super) fn print(&self, title: &str, json: bool) {
        let table = self.table(title);
        if json {
            eprint!("{table}");
            println!("{}", self.figures);
        } else {
            print!("{table}");
        }
    }

    fn table(&self, title: &str) -> String {
        let wide = |column: fn(&Row) -> &str| {
            self.rows.iter().map(|row| column(row).chars().count()).max().unwrap_or(0)
        };
        let (what, found) = (wide(|row| &row.what), wide(|row| &row.found));
        let mut text = format!("{title}\n");
        for row in &self.rows {
            let promise = match &row.promise {
                None => String::new(),
                Some((must, true)) => format!("  {must}"),
                Some((must, false)) => format!("  {must}  MISSED"),
            };
            // Writing into a text has no way to fail.
            let _ = writeln!(text, "  {:<what$}  {:>found$}{promise}", row.what, row.found);
        }
        for note in &self.notes {
            let _ = writeln!(text, "  {note}");
        }
        text
    }
}

/// 12345 → "12,345".
pub fn thousands(number: u64) -> String {
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
    use super::*;

    #[test]
    fn a_promise_that_is_not_kept_is_shown_and_fails() {
        let mut report = Report::new(&[1]);
        report.row("seeds", "300");
        report.promise("violations", "0", "0", true);
        assert!(report.is_as_promised());
        report.promise("time", "31 s", "≤ 30 s", false);
        assert!(!report.is_as_promised());
        let table = report.table("simulate");
        assert_eq!(
            table,
            "simulate\n  seeds        300\n  violations     0  0\n  time        31 s  ≤ 30 s  MISSED\n"
        );
    }

    #[test]
    fn thousands_are_parted_by_commas() {
        assert_eq!([0, 999, 12345].map(thousands), ["0", "999", "12,345"]);
    }
}
