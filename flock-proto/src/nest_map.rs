//! A map by nest, in order, for tables of which each frame needs an entry.
//!
//! Flocks have hundreds of members, not millions, and members seldom change. So ids lie side by side,
//! where a search touches a few cache lines; in a tree it goes from node to node, each of which is read
//! anew from memory, because a hundred frames went to other things in between.

use crate::NestId;

/// See above.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct NestMap<T> {
    /// In order.
    ids: Vec<NestId>,
    /// Of each id, at the same place.
    values: Vec<T>,
}

impl<T> Default for NestMap<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> NestMap<T> {
    pub(crate) const fn new() -> Self {
        Self { ids: Vec::new(), values: Vec::new() }
    }

    fn find(&self, id: NestId) -> Result<usize, usize> {
        self.ids.binary_search(&id)
    }

    pub(crate) fn get(&self, id: NestId) -> Option<&T> {
        self.values.get(self.find(id).ok()?)
    }

    pub(crate) fn get_mut(&mut self, id: NestId) -> Option<&mut T> {
        let at = self.find(id).ok()?;
        self.values.get_mut(at)
    }

    pub(crate) fn contains(&self, id: NestId) -> bool {
        self.find(id).is_ok()
    }

    /// The value before, if there was one.
    pub(crate) fn insert(&mut self, id: NestId, value: T) -> Option<T> {
        match self.find(id) {
            Ok(at) => self.values.get_mut(at).map(|old| std::mem::replace(old, value)),
            Err(at) => {
                self.ids.insert(at, id);
                self.values.insert(at, value);
                None
            }
        }
    }

    pub(crate) fn remove(&mut self, id: NestId) -> Option<T> {
        let at = self.find(id).ok()?;
        self.ids.remove(at);
        Some(self.values.remove(at))
    }

    pub(crate) fn clear(&mut self) {
        self.ids.clear();
        self.values.clear();
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }

    pub(crate) const fn len(&self) -> usize {
        self.ids.len()
    }

    pub(crate) fn ids(&self) -> impl Iterator<Item = NestId> + '_ {
        self.ids.iter().copied()
    }

    pub(crate) fn values(&self) -> impl Iterator<Item = &T> + '_ {
        self.values.iter()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (NestId, &T)> + '_ {
        self.ids().zip(&self.values)
    }

    pub(crate) fn retain(&mut self, mut keep: impl FnMut(NestId, &mut T) -> bool) {
        let mut ids = self.ids.iter();
        let mut kept = Vec::with_capacity(self.ids.len());
        self.values.retain_mut(|value| {
            let keeps = ids.next().filter(|id| keep(**id, value));
            kept.extend(keeps.copied());
            keeps.is_some()
        });
        self.ids = kept;
    }
}

impl<T: Default> NestMap<T> {
    pub(crate) fn get_or_default(&mut self, id: NestId) -> &mut T {
        let at = self.find(id).unwrap_or_else(|at| {
            self.ids.insert(at, id);
            self.values.insert(at, T::default());
            at
        });
        &mut self.values[at]
    }
}

/// Of ids in order those that the others, which are in order too, don't name: one walk along the two.
pub(crate) fn without<'a>(
    ids: impl Iterator<Item = NestId> + 'a,
    others: impl Iterator<Item = NestId> + 'a,
) -> impl Iterator<Item = NestId> + 'a {
    let mut others = others.peekable();
    ids.filter(move |id| {
        while others.next_if(|other| other < id).is_some() {}
        others.peek() != Some(id)
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::Rng;

    #[test]
    fn it_does_what_a_tree_does() {
        let mut rng = Rng::new(7);
        let (mut map, mut tree) = (NestMap::<u64>::new(), BTreeMap::<NestId, u64>::new());
        for _ in 0..20_000 {
            let (id, value) = (NestId(rng.below(60)), rng.next_u64());
            match rng.below(5) {
                0 => assert_eq!(map.remove(id), tree.remove(&id)),
                1 => {
                    *map.get_or_default(id) ^= value;
                    *tree.entry(id).or_default() ^= value;
                }
                2 if rng.one_in(20) => {
                    map.retain(|id, value| (id.0 ^ *value) % 3 > 0);
                    tree.retain(|id, value| (id.0 ^ *value) % 3 > 0);
                }
                _ => assert_eq!(map.insert(id, value), tree.insert(id, value)),
            }
            assert_eq!(map.get(id), tree.get(&id));
            assert_eq!(map.get_mut(id), tree.get_mut(&id));
            assert_eq!(map.contains(id), tree.contains_key(&id));
            assert_eq!((map.len(), map.is_empty()), (tree.len(), tree.is_empty()));
            assert!(map.iter().eq(tree.iter().map(|(id, value)| (*id, value))));
            assert!(map.ids().eq(tree.keys().copied()) && map.values().eq(tree.values()));
        }
        map.clear();
        assert_eq!(map, NestMap::new());
    }

    #[test]
    fn what_is_without_others_is_what_they_do_not_name() {
        let mut rng = Rng::new(8);
        for _ in 0..2_000 {
            let mut some = || {
                let set: std::collections::BTreeSet<_> =
                    (0..rng.below(12)).map(|_| NestId(rng.below(12))).collect();
                set
            };
            let (all, others) = (some(), some());
            let found = without(all.iter().copied(), others.iter().copied());
            assert!(found.eq(all.difference(&others).copied()), "{all:?} {others:?}");
        }
    }
}
