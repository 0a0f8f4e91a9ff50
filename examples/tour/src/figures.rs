//! What the tour measured, and whether it is what Flock promises.

use std::collections::BTreeMap;

use serde::Serialize;

/// How soon all birds must answer again after a nest was killed.
const RECOVERY_MS: u64 = 3_000;

/// All figures, in the order of the acts.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Figures {
    /// Nests at the start.
    pub nests: usize,
    /// Birds.
    pub birds: usize,
    /// From the first request to start a bird to the last acknowledgement.
    pub started_ms: u64,
    /// Birds that answered the first call.
    pub calls_ok: usize,
    /// Each nest's share of the birds, 0 to 1.
    pub share: BTreeMap<String, f64>,
    /// The act in which a nest is killed.
    pub kill: Kill,
    /// The act in which it comes back.
    pub join: Join,
    /// The act in which the flock is cut in two, and healed.
    pub partition: Partition,
}

/// A nest ends without a goodbye.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Kill {
    /// From the SIGKILL until every name had answered a fresh call.
    pub recovered_ms: u64,
    /// Names that don't answer at the end of the act.
    pub lost: usize,
    /// Names with two lives.
    pub doubled: usize,
    /// Birds of the killed nest whose first answer was at or past the last position that they had
    /// acknowledged.
    pub resumed: usize,
    /// Birds of the killed nest.
    #[serde(skip)]
    pub orphaned: usize,
}

/// A nest joins.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Join {
    /// Birds that live elsewhere than before.
    pub moved: usize,
    /// Those of them that didn't move to the newcomer.
    pub moved_between_old_nests: usize,
    /// Names that don't answer at the end of the act.
    pub lost: usize,
    /// Names that had two lives at any time.
    pub doubled: usize,
}

/// The flock is cut in two, and healed.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Partition {
    /// Names that answered on one side of the cut.
    pub side_a: usize,
    /// Names that answered on the other.
    pub side_b: usize,
    /// Names that answered after it was healed.
    pub after_heal: usize,
    /// Names with two lives inside one side, or after the heal.
    pub doubled: usize,
}

impl Figures {
    /// What isn't as promised, a line each.
    pub fn broken_promises(&self) -> Vec<String> {
        let Self { kill, join, partition, birds, .. } = self;
        let shares: f64 = self.share.values().sum();
        // A newcomer gets nothing only where there is next to nothing to share.
        let moved_to_newcomer = join.moved > 0 || *birds < 30;
        let promises = [
            (self.calls_ok == *birds, "not every ticker answered its first call"),
            (self.share.len() == self.nests, "not every nest has a share"),
            ((shares - 1.0).abs() < 0.001, "the shares don't add up to one"),
            (kill.recovered_ms <= RECOVERY_MS, "the recovery took longer than 3 s"),
            (kill.lost == 0, "tickers were lost with the killed nest"),
            (kill.doubled == 0, "tickers had two lives after the kill"),
            (kill.resumed == kill.orphaned, "tickers forgot their position"),
            (moved_to_newcomer, "no ticker moved to the newcomer"),
            (join.moved_between_old_nests == 0, "tickers moved between old nests"),
            (join.lost == 0, "tickers were lost in the join"),
            (join.doubled == 0, "tickers had two lives during the join"),
            (partition.side_a == *birds, "tickers didn't answer on the smaller side of the cut"),
            (partition.side_b == *birds, "tickers didn't answer on the larger side of the cut"),
            (partition.after_heal == *birds, "tickers didn't answer after the heal"),
            (partition.doubled == 0, "tickers had two lives in one side, or after the heal"),
        ];
        promises.iter().filter(|(kept, _)| !kept).map(|(_, what)| (*what).into()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn as_promised() -> Figures {
        Figures {
            nests: 2,
            birds: 60,
            started_ms: 5,
            calls_ok: 60,
            share: [("nest-1".into(), 0.4), ("nest-2".into(), 0.6)].into(),
            kill: Kill { recovered_ms: 100, resumed: 24, orphaned: 24, ..Kill::default() },
            join: Join { moved: 24, ..Join::default() },
            partition: Partition { side_a: 60, side_b: 60, after_heal: 60, doubled: 0 },
        }
    }

    #[test]
    fn figures_as_promised_break_no_promise() {
        assert_eq!(as_promised().broken_promises(), Vec::<String>::new());
    }

    #[test]
    fn a_lost_bird_breaks_a_promise() {
        let mut figures = as_promised();
        figures.kill.lost = 1;
        assert_eq!(figures.broken_promises(), ["tickers were lost with the killed nest"]);
    }

    #[test]
    fn the_object_has_the_documented_keys_in_their_order() {
        let text = serde_json::to_string(&as_promised()).unwrap_or_default();
        let expected = concat!(
            r#"{"nests":2,"birds":60,"started_ms":5,"calls_ok":60,"#,
            r#""share":{"nest-1":0.4,"nest-2":0.6},"#,
            r#""kill":{"recovered_ms":100,"lost":0,"doubled":0,"resumed":24},"#,
            r#""join":{"moved":24,"moved_between_old_nests":0,"lost":0,"doubled":0},"#,
            r#""partition":{"side_a":60,"side_b":60,"after_heal":60,"doubled":0}}"#,
        );
        assert_eq!(text, expected);
    }
}
