//! A map by nest, in order, for tables of which each frame needs an entry.
//!
//! A hundred frames go to other things between two that need the same entry, so whatever a search looks
//! at comes from memory again. In a tree that is node after node; here it is one place, and the entry.

use crate::NestId;

/// Where the entries of a list stand that are named by nests: a table of their numbers. It knows no ids:
/// whoever has the list says which entry is whose.
#[derive(Clone, Debug, Default)]
pub(crate) struct Places {
    /// One more than the number of the entry of which the id gives this place, or a place before it,
    /// where another was first; 0 where there is none. Their count is a power of two.
    table: Vec<u32>,
}

impl Places {
    pub(crate) const fn new() -> Self {
        Self { table: Vec::new() }
    }

    /// The place at which an id stands, if no other is there; else one of those behind it.
    const fn first(id: NestId) -> usize {
        // The low bits of an id are drawn at random; those of a test's may not be.
        (id.0.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32) as usize
    }

    /// The number of this nest's entry, among those that `is_its` says to be.
    pub(crate) fn find(&self, id: NestId, is_its: impl Fn(u32) -> bool) -> Option<u32> {
        let mask = self.table.len().wrapping_sub(1);
        let mut at = Self::first(id) & mask;
        // Of the places half are free, at least.
        loop {
            let number = self.table.get(at)?.checked_sub(1)?;
            if is_its(number) {
                return Some(number);
            }
            at = (at + 1) & mask;
        }
    }

    /// Gives a new entry its place. False, and nothing is done, if it is getting crowded: then all must
    /// be placed anew.
    pub(crate) fn add(&mut self, id: NestId, number: u32) -> bool {
        let fits = (number as usize + 1) * 2 <= self.table.len();
        if fits {
            let mask = self.table.len() - 1;
            let mut at = Self::first(id) & mask;
            while self.table[at] != 0 {
                at = (at + 1) & mask;
            }
            self.table[at] = number + 1;
        }
        fits
    }

    /// Gives all entries of a list of this length their places anew, with room for as many again.
    pub(crate) fn reset(&mut self, len: usize, all: impl Iterator<Item = (NestId, u32)>) {
        self.table.clear();
        self.table.resize((4 * len).next_power_of_two(), 0);
        for (id, number) in all {
            self.add(id, number);
        }
    }
}

/// See above. Members seldom change, so what a change costs counts for little.
#[derive(Clone, Debug)]
pub(crate) struct NestMap<T> {
    /// As they came.
    entries: Vec<(NestId, T)>,
    places: Places,
    /// The numbers of the entries, in the order of their ids.
    order: Vec<(NestId, u32)>,
}

impl<T> Default for NestMap<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> NestMap<T> {
    pub(crate) const fn new() -> Self {
        Self { entries: Vec::new(), places: Places::new(), order: Vec::new() }
    }

    fn find(&self, id: NestId) -> Option<usize> {
        let is_its = |number| self.entries.get(number as usize).is_some_and(|(of, _)| *of == id);
        self.places.find(id, is_its).map(|number| number as usize)
    }

    pub(crate) fn get(&self, id: NestId) -> Option<&T> {
        self.entries.get(self.find(id)?).map(|(_, value)| value)
    }

    pub(crate) fn get_mut(&mut self, id: NestId) -> Option<&mut T> {
        let entry = self.find(id)?;
        self.entries.get_mut(entry).map(|(_, value)| value)
    }

    pub(crate) fn contains(&self, id: NestId) -> bool {
        self.find(id).is_some()
    }

    /// The value before, if there was one.
    pub(crate) fn insert(&mut self, id: NestId, value: T) -> Option<T> {
        if let Some(old) = self.get_mut(id) {
            return Some(std::mem::replace(old, value));
        }
        let number = self.entries.len() as u32;
        self.entries.push((id, value));
        let at = self.order.partition_point(|(other, _)| *other < id);
        self.order.insert(at, (id, number));
        if !self.places.add(id, number) {
            self.place_all();
        }
        None
    }

    pub(crate) fn remove(&mut self, id: NestId) -> Option<T> {
        let entry = self.find(id)?;
        let (_, value) = self.entries.swap_remove(entry);
        self.order.retain(|(other, _)| *other != id);
        if let Some((moved, _)) = self.entries.get(entry) {
            let moved = self.order.binary_search_by_key(moved, |(id, _)| *id);
            if let Some((_, number)) = moved.ok().and_then(|at| self.order.get_mut(at)) {
                *number = entry as u32;
            }
        }
        self.place_all();
        Some(value)
    }

    fn place_all(&mut self) {
        self.places.reset(self.entries.len(), self.order.iter().copied());
    }

    pub(crate) fn clear(&mut self) {
        *self = Self::new();
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    pub(crate) const fn len(&self) -> usize {
        self.entries.len()
    }

    pub(crate) fn ids(&self) -> impl Iterator<Item = NestId> + '_ {
        self.order.iter().map(|(id, _)| *id)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (NestId, &T)> + '_ {
        let entry = |number: u32| self.entries.get(number as usize);
        self.order.iter().filter_map(move |&(id, number)| Some((id, &entry(number)?.1)))
    }

    pub(crate) fn values(&self) -> impl Iterator<Item = &T> + '_ {
        self.iter().map(|(_, value)| value)
    }
}

impl<T> NestMap<T> {
    /// In no order.
    pub(crate) fn values_mut(&mut self) -> impl Iterator<Item = &mut T> + '_ {
        self.entries.iter_mut().map(|(_, value)| value)
    }
}

impl<T: Default> NestMap<T> {
    /// What the entry holds; it is made if there is none.
    pub(crate) fn get_or_default(&mut self, id: NestId) -> &mut T {
        let entry = self.find(id).unwrap_or_else(|| {
            self.insert(id, T::default());
            self.entries.len() - 1
        });
        &mut self.entries[entry].1
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
                2 if rng.one_in(500) => {
                    map.clear();
                    tree.clear();
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
        assert!(map.is_empty() && !map.contains(NestId(1)) && map.iter().next().is_none());
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
