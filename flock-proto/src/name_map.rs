//! Maps by bird's name, in the order of the names' hashes.
//!
//! A tree by text looks at some twenty names to find one among a million, and each lies in a line of memory of
//! its own, that comes from afar. Here the hashes are compared, which lie side by side in the tree; a name is
//! looked at only where the hash is the right one. The order is as fixed as that of the texts: what follows from
//! it reaches the wire, and the simulator replays it.
//!
//! Not a hash table: hashes of names have no key, so whoever likes can find names by the thousand that fall
//! into one place of a table, whereas a tree is as deep whatever they are. Names of one and the same hash, which
//! can be found too, are in a tree of their own.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use crate::BirdName;

/// A name to be looked for.
pub(crate) trait Named {
    fn hash(&self) -> u64;
    fn text(&self) -> &str;
}

impl Named for BirdName {
    fn hash(&self) -> u64 {
        self.hash64()
    }

    fn text(&self) -> &str {
        self.as_str()
    }
}

/// A name whose hash is known already.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Hashed<'a>(pub(crate) u64, pub(crate) &'a str);

impl Named for Hashed<'_> {
    fn hash(&self) -> u64 {
        self.0
    }

    fn text(&self) -> &str {
        self.1
    }
}

/// See above.
#[derive(Clone, Debug)]
pub(crate) struct NameMap<T> {
    groups: BTreeMap<u64, Group<T>>,
    len: usize,
}

/// The entries of one hash.
#[derive(Clone, Debug)]
enum Group<T> {
    One(BirdName, T),
    #[allow(
        clippy::box_collection,
        reason = "it hardly ever comes to be, and each entry would be larger"
    )]
    Many(Box<BTreeMap<BirdName, T>>),
}

impl<T> Default for NameMap<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> NameMap<T> {
    pub(crate) const fn new() -> Self {
        Self { groups: BTreeMap::new(), len: 0 }
    }

    pub(crate) const fn len(&self) -> usize {
        self.len
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.len == 0
    }

    pub(crate) fn clear(&mut self) {
        *self = Self::new();
    }

    #[inline]
    pub(crate) fn get(&self, name: &impl Named) -> Option<&T> {
        // Nearly all of these are empty nearly always: then no hash is made.
        if self.is_empty() {
            return None;
        }
        match self.groups.get(&name.hash())? {
            Group::One(only, value) => (only.as_str() == name.text()).then_some(value),
            Group::Many(many) => many.get(name.text()),
        }
    }

    #[inline]
    pub(crate) fn get_mut(&mut self, name: &impl Named) -> Option<&mut T> {
        if self.is_empty() {
            return None;
        }
        match self.groups.get_mut(&name.hash())? {
            Group::One(only, value) => (only.as_str() == name.text()).then_some(value),
            Group::Many(many) => many.get_mut(name.text()),
        }
    }

    #[inline]
    pub(crate) fn contains_key(&self, name: &impl Named) -> bool {
        self.get(name).is_some()
    }

    /// The value before, if there was one.
    pub(crate) fn insert(&mut self, name: BirdName, value: T) -> Option<T> {
        let hash = name.hash64();
        self.insert_at(hash, name, value)
    }

    /// The same of a name whose hash is known.
    pub(crate) fn insert_at(&mut self, hash: u64, name: BirdName, value: T) -> Option<T> {
        let old = match self.groups.entry(hash) {
            Entry::Vacant(entry) => {
                entry.insert(Group::One(name, value));
                None
            }
            Entry::Occupied(entry) => match entry.into_mut() {
                Group::One(only, old) if *only == name => Some(std::mem::replace(old, value)),
                group => group.many().insert(name, value),
            },
        };
        self.len += usize::from(old.is_none());
        old
    }

    /// The value of a name; it is made if there is none.
    pub(crate) fn get_or_insert_with(
        &mut self,
        name: &BirdName,
        make: impl FnOnce() -> T,
    ) -> &mut T {
        self.get_or_insert_at(name.hash64(), name, make)
    }

    /// The same of a name whose hash is known.
    pub(crate) fn get_or_insert_at(
        &mut self,
        hash: u64,
        name: &BirdName,
        make: impl FnOnce() -> T,
    ) -> &mut T {
        let Self { groups, len } = self;
        let make = || {
            *len += 1;
            make()
        };
        let group = match groups.entry(hash) {
            Entry::Vacant(entry) => entry.insert(Group::One(name.clone(), make())),
            Entry::Occupied(entry) => {
                let group = entry.into_mut();
                if !group.is_only(name.as_str()) {
                    return group.many().entry(name.clone()).or_insert_with(make);
                }
                group
            }
        };
        match group {
            Group::One(_, value) => value,
            Group::Many(_) => unreachable!("it is one of one name"),
        }
    }

    #[inline]
    pub(crate) fn remove(&mut self, name: &impl Named) -> Option<T> {
        if self.is_empty() { None } else { self.remove_some(name) }
    }

    fn remove_some(&mut self, name: &impl Named) -> Option<T> {
        let Entry::Occupied(mut entry) = self.groups.entry(name.hash()) else { return None };
        let value = if entry.get().is_only(name.text()) {
            entry.remove().into_entries().next().map(|(_, value)| value)
        } else if let Group::Many(many) = entry.get_mut() {
            let value = many.remove(name.text());
            if many.is_empty() {
                entry.remove();
            }
            value
        } else {
            None
        };
        self.len -= usize::from(value.is_some());
        value
    }

    pub(crate) fn pop_first(&mut self) -> Option<(BirdName, T)> {
        let mut first = self.groups.first_entry()?;
        let popped = match first.get_mut() {
            Group::Many(many) if many.len() > 1 => many.pop_first(),
            _ => first.remove().into_entries().next(),
        };
        self.len -= usize::from(popped.is_some());
        popped
    }

    pub(crate) fn retain(&mut self, mut keep: impl FnMut(&BirdName, &mut T) -> bool) {
        let mut left = 0;
        self.groups.retain(|_, group| match group {
            Group::One(name, value) => {
                let keep = keep(name, value);
                left += usize::from(keep);
                keep
            }
            Group::Many(many) => {
                many.retain(|name, value| keep(name, value));
                left += many.len();
                !many.is_empty()
            }
        });
        self.len = left;
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&BirdName, &T)> + Clone {
        self.groups.values().flat_map(Group::iter)
    }

    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = (&BirdName, &mut T)> {
        self.groups.values_mut().flat_map(Group::iter_mut)
    }

    pub(crate) fn keys(&self) -> impl Iterator<Item = &BirdName> + Clone {
        self.iter().map(|(name, _)| name)
    }

    pub(crate) fn values(&self) -> impl Iterator<Item = &T> + Clone {
        self.iter().map(|(_, value)| value)
    }

    pub(crate) fn values_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.iter_mut().map(|(_, value)| value)
    }

    pub(crate) fn into_entries(self) -> impl Iterator<Item = (BirdName, T)> {
        self.groups.into_values().flat_map(Group::into_entries)
    }
}

impl<T> Group<T> {
    /// Is it the entry of this name alone?
    fn is_only(&self, name: &str) -> bool {
        matches!(self, Self::One(only, _) if only.as_str() == name)
    }

    /// Makes room for a second name.
    #[cold]
    fn many(&mut self) -> &mut BTreeMap<BirdName, T> {
        if let Self::One(..) = self {
            let one = std::mem::replace(self, Self::Many(Box::default()));
            *self = Self::Many(Box::new(one.into_entries().collect()));
        }
        match self {
            Self::Many(many) => many,
            Self::One(..) => unreachable!("it was made many"),
        }
    }

    fn iter(&self) -> impl Iterator<Item = (&BirdName, &T)> + Clone {
        let (one, many) = match self {
            Self::One(name, value) => (Some((name, value)), None),
            Self::Many(many) => (None, Some(many.iter())),
        };
        one.into_iter().chain(many.into_iter().flatten())
    }

    fn iter_mut(&mut self) -> impl Iterator<Item = (&BirdName, &mut T)> {
        let (one, many) = match self {
            Self::One(name, value) => (Some((&*name, value)), None),
            Self::Many(many) => (None, Some(many.iter_mut())),
        };
        one.into_iter().chain(many.into_iter().flatten())
    }

    fn into_entries(self) -> impl Iterator<Item = (BirdName, T)> {
        let (one, many) = match self {
            Self::One(name, value) => (Some((name, value)), None),
            Self::Many(many) => (None, Some(many.into_iter())),
        };
        one.into_iter().chain(many.into_iter().flatten())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Rng;

    fn name(number: u64) -> BirdName {
        BirdName::new(&format!("bird-{number}")).expect("a name")
    }

    /// A name under a hash that isn't its own, so that some share one.
    struct Under(u64, BirdName);

    impl Named for Under {
        fn hash(&self) -> u64 {
            self.0
        }

        fn text(&self) -> &str {
            self.1.as_str()
        }
    }

    #[test]
    fn a_map_does_what_a_tree_by_hash_and_text_does_also_where_hashes_are_alike() {
        let mut rng = Rng::new(7);
        let mut map = NameMap::<u64>::new();
        let mut tree = BTreeMap::<(u64, BirdName), u64>::new();
        for _ in 0..20_000 {
            let number = rng.below(60);
            let (hash, value) = (number / 3, rng.next_u64());
            let (name, key) = (name(number), (hash, name(number)));
            let at = Under(hash, name.clone());
            match rng.below(6) {
                0 | 1 => assert_eq!(map.remove(&at), tree.remove(&key)),
                2 => {
                    *map.get_or_insert_at(hash, &name, || 5) ^= value;
                    *tree.entry(key.clone()).or_insert(5) ^= value;
                }
                3 if rng.one_in(50) => {
                    map.retain(|_, value| *value % 2 == 0);
                    tree.retain(|_, value| *value % 2 == 0);
                }
                3 if rng.one_in(3) => {
                    let popped = tree.pop_first().map(|((_, name), value)| (name, value));
                    assert_eq!(map.pop_first(), popped);
                }
                4 => map.values_mut().zip(tree.values_mut()).for_each(|(ours, theirs)| {
                    assert_eq!(ours, theirs);
                    (*ours, *theirs) = (*ours ^ 1, *theirs ^ 1);
                }),
                _ => assert_eq!(map.insert_at(hash, name, value), tree.insert(key.clone(), value)),
            }
            assert_eq!(map.get(&at), tree.get(&key));
            assert_eq!(map.get_mut(&at), tree.get_mut(&key));
            assert_eq!(map.contains_key(&at), tree.contains_key(&key));
            assert_eq!((map.len(), map.is_empty()), (tree.len(), tree.is_empty()));
            assert!(map.iter().eq(tree.iter().map(|((_, name), value)| (name, value))));
        }
        let all: Vec<_> = tree.into_iter().map(|((_, name), value)| (name, value)).collect();
        assert!(all.len() > 10 && map.into_entries().eq(all));
    }
}
