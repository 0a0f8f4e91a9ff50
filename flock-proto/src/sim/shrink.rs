//! The shortest script that still breaks the same invariant.
//!
//! Source: Zeller, Hildebrandt, "Simplifying and Isolating Failure-Inducing Input", 2002.

use std::time::Duration;

use super::perform::perform;
use super::script::{Line, Script};

/// Cuts a script that breaks an invariant down: to the deeds without which it doesn't break, each
/// with a pause that is needed. `look` is told, after each try, how many lines are left; `false`
/// ends the search.
///
/// A script that breaks nothing comes back as it was.
pub fn shrink(script: &Script, mut look: impl FnMut(usize) -> bool) -> Script {
    let Some(broken) = perform(script, None).broken else { return script.clone() };
    let breaks = |lines: &[Line]| {
        let tried = Script { lines: lines.to_vec(), ..script.clone() };
        perform(&tried, None).broken.is_some_and(|other| other.invariant == broken.invariant)
    };
    let told = perform(script, None).lines;
    let mut lines: Vec<Line> = script.lines.iter().take(told).copied().collect();
    let mut part = lines.len().div_ceil(2);
    while part > 0 {
        let mut at = 0;
        let before = lines.len();
        while at < lines.len() {
            let end = (at + part).min(lines.len());
            let without = [lines.get(..at), lines.get(end..)].into_iter().flatten();
            let without: Vec<Line> = without.flatten().copied().collect();
            if breaks(&without) {
                lines = without;
            } else {
                at = end;
            }
            if !look(lines.len()) {
                return Script { lines, ..script.clone() };
            }
        }
        // With single lines again and again, until none can go.
        if part > 1 {
            part = part.div_ceil(2);
        } else if lines.len() == before {
            part = 0;
        }
    }
    for at in 0..lines.len() {
        let mut shorter = lines.clone();
        if let Some(line) = shorter.get_mut(at) {
            line.then = Duration::ZERO;
        }
        if breaks(&shorter) {
            lines = shorter;
        }
    }
    Script { lines, ..script.clone() }
}
