//! What tallies told those who had them count, and what of that can't be if nothing is lost or doubled.

use std::collections::BTreeMap;

use crate::protocol::Raised;

/// One bird's.
#[derive(Debug, Default)]
struct Account {
    /// The lives that began to count, in the order in which they were heard, each with how many calls it
    /// has acknowledged. A life that goes on elsewhere with its state is the same one here.
    lives: Vec<(u64, u64)>,
    /// Calls that failed, each of which may have been counted.
    open: u64,
}

/// All birds'.
#[derive(Debug, Default)]
pub struct Accounts {
    birds: BTreeMap<String, Account>,
    amiss: Vec<String>,
}

impl Accounts {
    /// What came of calls.
    pub fn note(&mut self, raised: impl IntoIterator<Item = Raised>) {
        for Raised { name, told, open } in raised {
            let account = self.birds.entry(name.clone()).or_default();
            account.open += open;
            let Ok(told) = told else { continue };
            match account.lives.iter().position(|(begun, _)| *begun == told.begun) {
                None => account.lives.push((told.begun, 1)),
                Some(at) if at + 1 < account.lives.len() => {
                    self.amiss.push(format!("{name} has two lives: one that was over answers"));
                }
                Some(at) => account.lives[at].1 += 1,
            }
            let acknowledged = account.lives.last().map_or(0, |(_, acknowledged)| *acknowledged);
            let most = acknowledged + account.open;
            if !(acknowledged..=most).contains(&told.count) {
                let bounds = format!("{acknowledged} to {most}");
                self.amiss.push(format!("{name} has counted {}, and not {bounds}", told.count));
            }
        }
    }

    /// How many calls were acknowledged.
    pub fn acknowledged(&self) -> u64 {
        self.birds.values().flat_map(|bird| &bird.lives).map(|(_, count)| count).sum()
    }

    /// How many calls failed, or have to be taken for failed.
    pub fn open(&self) -> u64 {
        self.birds.values().map(|bird| bird.open).sum()
    }

    /// The birds that began anew, so that what they had acknowledged before is lost.
    pub fn forgetful(&self) -> impl Iterator<Item = &str> {
        let forgetful = self.birds.iter().filter(|(_, bird)| bird.lives.len() > 1);
        forgetful.map(|(name, _)| name.as_str())
    }

    /// Forgives those that began anew, and begins anew with them. How many they are.
    ///
    /// # Panics
    /// If one began anew that must not, or anything else is amiss.
    #[track_caller]
    pub fn settle(&mut self, may_forget: impl Fn(&str) -> bool) -> usize {
        assert!(self.amiss.is_empty(), "{} amiss: {:?}", self.amiss.len(), self.amiss.first());
        let wrong: Vec<_> = self.forgetful().filter(|name| !may_forget(name)).collect();
        assert!(
            wrong.is_empty(),
            "{} have forgotten what they told, as {:?}",
            wrong.len(),
            wrong[0]
        );
        let forgetful = self.forgetful().count();
        for bird in self.birds.values_mut() {
            let over = bird.lives.len().saturating_sub(1);
            bird.lives.drain(..over);
        }
        forgetful
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tally::Told;

    fn accounts(heard: &[(u64, u64, u64)]) -> Accounts {
        let mut accounts = Accounts::default();
        for &(begun, count, open) in heard {
            let told = Ok(Told { count, begun, nest: "nest".into() });
            accounts.note([Raised { name: "robin".into(), told, open }]);
        }
        accounts
    }

    #[test]
    fn what_cannot_be_is_amiss() {
        for good in [&[(7, 1, 0), (7, 2, 0)][..], &[(7, 1, 0), (7, 3, 1)], &[(7, 1, 0), (7, 2, 1)]]
        {
            assert_eq!(accounts(good).settle(|_| false), 0);
        }
        for (bad, what) in [
            (&[(7, 1, 0), (7, 1, 0)][..], "lost"),
            (&[(7, 1, 0), (7, 3, 0)], "doubled"),
            (&[(7, 1, 0), (8, 1, 0), (7, 2, 0)], "two lives"),
        ] {
            assert!(!accounts(bad).amiss.is_empty(), "{what}");
        }
        let mut begun_anew = accounts(&[(7, 5, 4), (8, 1, 0)]);
        assert_eq!(begun_anew.forgetful().collect::<Vec<_>>(), ["robin"]);
        assert_eq!(begun_anew.settle(|name| name == "robin"), 1);
        assert_eq!(begun_anew.settle(|_| false), 0);
    }
}
