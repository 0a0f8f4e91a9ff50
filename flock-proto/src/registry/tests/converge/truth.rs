//! Every operation that was ever issued. No replica knows them all; the test does, and so it can
//! tell what each may hold.

use std::collections::{BTreeMap, BTreeSet};

use super::*;

#[derive(Default)]
pub(super) struct Truth {
    additions: BTreeSet<Dot>,
    /// By whom each record was superseded.
    superseders: BTreeMap<Dot, Vec<Dot>>,
}

impl Truth {
    pub(super) fn issued(
        &mut self,
        dot: Dot,
        adds: bool,
        supersedes: impl IntoIterator<Item = Dot>,
    ) {
        if adds {
            self.additions.insert(dot);
        }
        for superseded in supersedes {
            self.superseders.entry(superseded).or_default().push(dot);
        }
    }

    /// A replica that claims to know an operation has done what it says; and it holds nothing for
    /// dead that nobody superseded.
    pub(super) fn check(&self, nest: &Registry) {
        let live: BTreeSet<Dot> = live(nest).into_iter().map(|(_, dot)| dot).collect();
        for dot in &live {
            assert!(self.additions.contains(dot), "{dot:?} was never added");
            let known =
                self.superseders.get(dot).into_iter().flatten().find(|by| nest.covers(**by));
            assert_eq!(known, None, "{:?} knows it, and still holds {dot:?}", nest.me);
        }
        for dot in self.additions.iter().filter(|dot| nest.covers(**dot)) {
            let gone = !live.contains(dot);
            let superseded = self.superseders.contains_key(dot);
            assert!(!gone || superseded, "{:?} lost {dot:?}, which nobody superseded", nest.me);
        }
    }
}
