//! Act three: the killed nest comes back under its name.

use std::collections::BTreeMap;

use super::kill::VICTIM;
use super::{PATIENCE, Stage};
use crate::calls::Deed;
use crate::census::settle;
use crate::figures::Join;

/// Starts the nest and compares where the birds live before and after.
pub async fn play(stage: &mut Stage) -> anyhow::Result<Join> {
    let before = std::mem::take(&mut stage.homes);
    stage.show.now(&format!("starting {VICTIM} again"));
    stage.start_nest(VICTIM).await?;
    stage.show.now("waiting until the birds have moved");
    let settled = settle(&stage.all(), &stage.names, PATIENCE).await?;
    stage.complain(settled.missing);
    stage.homes = settled.homes;
    let answers = stage.call(&["nest-1", "nest-2", "nest-3"], Deed::Call).await?;
    stage.complain(answers.complaint("after the join"));
    let moves = moves(&before, &stage.homes);
    let join = Join {
        moved: moves.len(),
        moved_between_old_nests: moves.values().filter(|to| **to != VICTIM).count(),
        lost: stage.names.len() - answers.positions.len(),
        doubled: settled.doubled.len(),
    };
    let line = format!(
        "{VICTIM} is back; {} tickers moved to it{}, {} between the others; {} lost, {} doubled",
        join.moved - join.moved_between_old_nests,
        examples(&moves),
        join.moved_between_old_nests,
        join.lost,
        join.doubled,
    );
    stage.show.act("3 join", &line);
    Ok(join)
}

/// The birds that live elsewhere than before, and where.
fn moves<'a>(
    before: &'a BTreeMap<String, String>,
    after: &'a BTreeMap<String, String>,
) -> BTreeMap<&'a str, &'a str> {
    let moved = after.iter().filter(|(name, home)| before.get(*name) != Some(home));
    moved.map(|(name, home)| (name.as_str(), home.as_str())).collect()
}

fn examples(moves: &BTreeMap<&str, &str>) -> String {
    let names: Vec<_> = moves.keys().take(3).copied().collect();
    match (names.len(), moves.len()) {
        (0, _) => String::new(),
        (some, all) if some < all => format!(" ({}, …)", names.join(", ")),
        _ => format!(" ({})", names.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_birds_that_live_elsewhere_have_moved() {
        let homes = |pairs: &[(&str, &str)]| -> BTreeMap<String, String> {
            pairs.iter().map(|(a, b)| ((*a).into(), (*b).into())).collect()
        };
        let before = homes(&[("a", "nest-1"), ("b", "nest-1")]);
        let after = homes(&[("a", "nest-1"), ("b", "nest-2")]);
        assert_eq!(moves(&before, &after), [("b", "nest-2")].into());
    }
}
