//! Which birds would move, if something happened.
//!
//! A million names are looked at in half a second, and the core has other things to do: so they are
//! counted a piece at a time.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use super::Nest;
use crate::{MAX_WEIGHT, Member, NestId, NestName, NestState, Via, View};

/// Something that may be about to happen to a flock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WhatIf {
    /// A nest of this name and weight joins, and takes its share.
    Join {
        /// Its name.
        name: NestName,
        /// Its weight.
        weight: u32,
    },
    /// This nest leaves or dies; those that wait for their shares take them.
    Leave(NestName),
    /// This nest is given another weight.
    Weigh {
        /// Its name.
        nest: NestName,
        /// The weight that it will have.
        weight: u32,
    },
    /// Those that wait for their shares take them.
    Rebalance,
}

/// Why something can't happen.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WhatIfError {
    /// No such nest is alive, as far as this one knows.
    #[error("there is no nest {0}")]
    NoSuchNest(NestName),
    /// A nest of this name is alive, and no other can join.
    #[error("a nest named {0} lives in the flock")]
    NameTaken(NestName),
    /// The weight is beyond the ring's largest.
    #[error("a weight of {0} is too large, the largest is {MAX_WEIGHT}")]
    BadWeight(u32),
}

/// How many birds would move from one nest to another.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Moves {
    /// The nest that owns them.
    pub from: NestName,
    /// The nest that would.
    pub to: NestName,
    /// How many they are.
    pub birds: usize,
}

/// What a nest would own.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Share {
    /// The nest.
    pub nest: NestName,
    /// How many birds it would own.
    pub birds: usize,
    /// The same as a part of all birds, 0 to 1.
    pub share: f64,
}

/// What would come of a change: by the names that one nest knows, and the ring as it sees it.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Plan {
    /// Which birds would move, by the names of the nests.
    pub moves: Vec<Moves>,
    /// What each nest that is up, or would be, would own then, by name.
    pub shares: Vec<Share>,
    /// How many birds there are.
    pub birds: usize,
}

impl Plan {
    /// How many birds would move.
    pub fn total(&self) -> usize {
        self.moves.iter().map(|moves| moves.birds).sum()
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {} birds move", self.total(), self.birds)?;
        for Moves { from, to, birds } in &self.moves {
            write!(f, "\n{birds} from {from} to {to}")?;
        }
        for Share { nest, birds, share } in &self.shares {
            write!(f, "\nthen {nest} has {birds}, {:.1} %", share * 100.0)?;
        }
        Ok(())
    }
}

/// A plan in the making. See [`Nest::forecast`].
#[derive(Clone, Debug)]
pub struct Forecast {
    now: Arc<View>,
    then: View,
    /// Birds, by their owners now and then.
    birds: BTreeMap<(Option<NestId>, Option<NestId>), usize>,
    /// The hash from which on names are still to be counted.
    next: Option<u64>,
}

/// The number of a nest that hasn't joined. None that lives has it.
const NEWCOMER: NestId = NestId(u64::MAX);

impl Nest {
    /// Begins to find out which birds would move. Count them with [`Nest::count_moves`].
    pub fn forecast(&self, what: &WhatIf) -> Result<Forecast, WhatIfError> {
        let now = self.view.clone();
        let then = View::new(self.id, members_after(now.members(), what)?);
        Ok(Forecast { now, then, birds: BTreeMap::new(), next: Some(0) })
    }

    /// Counts about so many names more. True: all are counted. `None`: the view has changed meanwhile,
    /// and it must be begun anew.
    pub fn count_moves(&self, forecast: &mut Forecast, names: usize) -> Option<bool> {
        if forecast.now.fingerprint() != self.view.fingerprint() {
            return None;
        }
        let Some(first) = forecast.next.take() else { return Some(true) };
        let (mut room, mut last) = (names.max(1), first);
        for hash in self.registry.hashes_in(first..=u64::MAX) {
            // Names that share a hash are counted together.
            if room == 0 && hash != last {
                forecast.next = Some(hash);
                return Some(false);
            }
            (room, last) = (room.saturating_sub(1), hash);
            let owners = (forecast.now.owner(hash), forecast.then.owner(hash));
            *forecast.birds.entry(owners).or_default() += 1;
        }
        Some(true)
    }
}

impl Forecast {
    /// What was counted.
    pub fn plan(&self) -> Plan {
        let name = |id: NestId| {
            let member = self.then.member(id).or_else(|| self.now.member(id));
            member.map(|member| member.name.clone())
        };
        let counted = self.birds.iter().filter(|((from, to), _)| from != to);
        // What nobody owns stays where it is, or nowhere.
        let moves = counted.filter_map(|(&(from, to), &birds)| {
            Some(Moves { from: name(from?)?, to: name(to?)?, birds })
        });
        let mut moves: Vec<Moves> = moves.collect();
        moves.sort_by(|a, b| (&a.from, &a.to).cmp(&(&b.from, &b.to)));
        let all: usize = self.birds.values().sum();
        let up = self.then.members().iter().filter(|m| m.state == NestState::Up);
        let mut shares: Vec<Share> = up
            .map(|member| {
                let its = self.birds.iter().filter(|((_, to), _)| *to == Some(member.id));
                let birds: usize = its.map(|(_, birds)| birds).sum();
                let share = if all == 0 { 0.0 } else { birds as f64 / all as f64 };
                Share { nest: member.name.clone(), birds, share }
            })
            .collect();
        shares.sort_by(|a, b| a.nest.cmp(&b.nest));
        Plan { moves, shares, birds: all }
    }
}

/// Who would be there.
fn members_after(members: &[Member], what: &WhatIf) -> Result<Vec<Member>, WhatIfError> {
    let mut members = members.to_vec();
    let at = |members: &[Member], nest: &NestName| {
        let at = members.iter().position(|member| member.name == *nest);
        at.ok_or_else(|| WhatIfError::NoSuchNest(nest.clone()))
    };
    match what {
        WhatIf::Join { weight, .. } | WhatIf::Weigh { weight, .. } if *weight > MAX_WEIGHT => {
            return Err(WhatIfError::BadWeight(*weight));
        }
        WhatIf::Join { name, .. } if at(&members, name).is_ok() => {
            return Err(WhatIfError::NameTaken(name.clone()));
        }
        WhatIf::Join { name, weight } => members.push(Member {
            id: NEWCOMER,
            name: name.clone(),
            address: "".into(),
            state: NestState::Up,
            weight: *weight,
            due: 0,
            via: Via::Nothing,
        }),
        WhatIf::Leave(nest) => {
            let gone = members.remove(at(&members, nest)?);
            if gone.state == NestState::Up && gone.weight > 0 {
                take_shares(&mut members);
            }
        }
        WhatIf::Weigh { nest, weight } => {
            let at = at(&members, nest)?;
            if let Some(member) = members.get_mut(at) {
                let waits = member.due > 0 && *weight > 0;
                (member.weight, member.due) = if waits { (0, *weight) } else { (*weight, 0) };
            }
        }
        WhatIf::Rebalance => take_shares(&mut members),
    }
    Ok(members)
}

fn take_shares(members: &mut [Member]) {
    for member in members.iter_mut().filter(|m| m.state == NestState::Up && m.due > 0) {
        (member.weight, member.due) = (member.due, 0);
    }
}
