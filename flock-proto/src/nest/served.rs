//! Requests under way at the owner: as they are asked for, and by name.

use std::collections::{BTreeMap, BTreeSet};

use super::claims::Claim;
use super::rising::Rising;
use crate::wire::{Outcome, Request};
use crate::{Dot, NestId, Time};

/// A request under way at the owner.
#[derive(Debug)]
pub(super) struct Served {
    pub(super) request: Request,
    /// That of its name.
    pub(super) hash: u64,
    pub(super) hops: u8,
    pub(super) deadline: Time,
    pub(super) claim: Claim,
    pub(super) stage: Stage,
}

#[derive(Debug)]
pub(super) enum Stage {
    /// Not decided: the arc isn't settled yet.
    New,
    /// The record is written; the bird of this birth is to hatch.
    Hatching(Dot, Dot),
    /// The record is removed, by this operation or by that of an earlier owner; the life is to end.
    Ending(Option<Dot>),
    /// Done; another nest is to hold the operation.
    Holding(Dot, Outcome),
}

/// Names a request: who asked, and by which number.
pub(super) type Key = (NestId, u64);

/// The requests about one name, in order. Mostly there is one.
#[derive(Clone, Debug)]
pub(super) struct Keys {
    first: Key,
    #[allow(
        clippy::box_collection,
        reason = "there hardly ever are, and each name's entry would be larger"
    )]
    more: Option<Box<BTreeSet<Key>>>,
}

impl Keys {
    pub(super) const fn one(key: Key) -> Self {
        Self { first: key, more: None }
    }

    pub(super) fn insert(&mut self, key: Key) {
        if key != self.first {
            self.more.get_or_insert_default().insert(key.max(self.first));
            self.first = key.min(self.first);
        }
    }

    /// False: there is no other.
    pub(super) fn remove(&mut self, key: Key) -> bool {
        if key != self.first {
            if let Some(more) = &mut self.more {
                more.remove(&key);
            }
            return true;
        }
        let next = self.more.as_mut().and_then(|more| more.pop_first());
        self.first = next.unwrap_or(key);
        next.is_some()
    }

    pub(super) const fn first(&self) -> &Key {
        &self.first
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = Key> + '_ {
        let more = self.more.iter().flat_map(|more| more.iter());
        std::iter::once(self.first).chain(more.copied())
    }
}

/// All requests under way. Those of users here come one after the other, by the hundred thousand.
#[derive(Debug)]
pub(super) struct AllServed {
    me: NestId,
    own: Rising<Served>,
    /// Boxed: a tree moves its entries whenever one comes or goes.
    others: BTreeMap<Key, Box<Served>>,
}

impl AllServed {
    pub(super) fn new(me: NestId) -> Self {
        Self { me, own: Rising::default(), others: BTreeMap::new() }
    }

    /// This nest goes on as another; what it was asked for as the former, another was.
    pub(super) fn rename(&mut self, me: NestId) {
        let own = std::mem::take(&mut self.own).into_entries();
        let own = own.map(|(number, served)| ((self.me, number), Box::new(served)));
        self.others.extend(own);
        self.me = me;
    }

    pub(super) fn len(&self) -> usize {
        self.own.len() + self.others.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub(super) fn clear(&mut self) {
        *self = Self::new(self.me);
    }

    #[inline]
    pub(super) fn get(&self, key: &Key) -> Option<&Served> {
        if key.0 == self.me {
            return self.own.get(key.1);
        }
        self.others.get(key).map(Box::as_ref)
    }

    /// Something of a request, for the sake of looking there.
    #[inline]
    pub(super) fn look(&self, key: &Key) -> u64 {
        self.get(key).map_or(0, |served| served.hash)
    }

    #[inline]
    pub(super) fn get_mut(&mut self, key: &Key) -> Option<&mut Served> {
        if key.0 == self.me {
            return self.own.get_mut(key.1);
        }
        self.others.get_mut(key).map(Box::as_mut)
    }

    pub(super) fn contains_key(&self, key: &Key) -> bool {
        self.get(key).is_some()
    }

    pub(super) fn insert(&mut self, key: Key, served: Served) {
        if key.0 == self.me {
            self.own.insert(key.1, served);
        } else {
            self.others.insert(key, Box::new(served));
        }
    }

    pub(super) fn remove(&mut self, key: &Key) -> Option<Served> {
        if key.0 == self.me {
            return self.own.remove(key.1);
        }
        self.others.remove(key).map(|served| *served)
    }

    /// Whether users here wait for some of them.
    pub(super) fn has_own(&self) -> bool {
        !self.own.is_empty()
    }

    /// Those of users here first.
    pub(super) fn iter(&self) -> impl Iterator<Item = (Key, &Served)> {
        let own = self.own.iter().map(|(number, served)| ((self.me, number), served));
        own.chain(self.others.iter().map(|(key, served)| (*key, served.as_ref())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Rng;

    #[test]
    fn requests_about_one_name_are_kept_as_a_set_keeps_them() {
        let mut rng = Rng::new(5);
        let mut kept: Option<Keys> = None;
        let mut set = BTreeSet::new();
        for _ in 0..5_000 {
            let key = (NestId(rng.below(2)), rng.below(4));
            if rng.one_in(2) {
                kept.get_or_insert_with(|| Keys::one(key)).insert(key);
                set.insert(key);
            } else {
                kept = kept.and_then(|mut keys| keys.remove(key).then_some(keys));
                set.remove(&key);
            }
            assert!(kept.iter().flat_map(Keys::iter).eq(set.iter().copied()));
        }
    }
}
