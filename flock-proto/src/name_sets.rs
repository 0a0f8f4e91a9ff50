//! Sets and lists of birds' names, in the order of [`NameMap`].

use crate::BirdName;
use crate::name_map::{NameMap, Named};

/// Names that gather in any order, some of them several times, and are then looked at together: each once,
/// in the order of the maps. To sort a list takes a fraction of what it takes to keep a tree.
#[derive(Debug, Default)]
pub(crate) struct NameList(Vec<(u64, BirdName)>);

impl NameList {
    pub(crate) const fn new() -> Self {
        Self(Vec::new())
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn insert(&mut self, name: BirdName) {
        self.insert_at(name.hash64(), name);
    }

    /// The same of a name whose hash is known.
    pub(crate) fn insert_at(&mut self, hash: u64, name: BirdName) {
        self.0.push((hash, name));
    }

    /// How many have gathered, several times those that did.
    pub(crate) const fn len(&self) -> usize {
        self.0.len()
    }

    /// Takes out what came behind the first `others`, if something did, and all of it is this name.
    pub(crate) fn take_after(&mut self, others: usize, hash: u64, name: &BirdName) -> bool {
        let came = self.0.get(others..).unwrap_or_default();
        let alone = !came.is_empty() && came.iter().all(|(at, came)| *at == hash && came == name);
        if alone {
            self.0.truncate(others);
        }
        alone
    }

    pub(crate) fn append(&mut self, names: &mut NameSet) {
        self.extend(std::mem::take(names).into_names());
    }

    pub(crate) fn extend(&mut self, names: impl IntoIterator<Item = BirdName>) {
        names.into_iter().for_each(|name| self.insert(name));
    }

    /// Has its room back after what was taken is done with, and it is empty.
    pub(crate) fn reuse(&mut self, mut taken: Vec<(u64, BirdName)>) {
        if self.0.is_empty() && taken.capacity() <= Self::REUSED {
            taken.clear();
            self.0 = taken;
        }
    }

    /// A list for more names than this isn't kept.
    const REUSED: usize = 1 << 12;

    /// All of them, with their hashes.
    pub(crate) fn take(&mut self) -> Vec<(u64, BirdName)> {
        let mut names = std::mem::take(&mut self.0);
        names.sort_unstable();
        names.dedup();
        names
    }
}

/// Names, in the same order.
#[derive(Clone, Debug, Default)]
pub(crate) struct NameSet(NameMap<()>);

impl NameSet {
    pub(crate) const fn new() -> Self {
        Self(NameMap::new())
    }

    pub(crate) const fn len(&self) -> usize {
        self.0.len()
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn contains(&self, name: &impl Named) -> bool {
        self.0.contains_key(name)
    }

    /// True if it is new.
    pub(crate) fn insert(&mut self, name: BirdName) -> bool {
        self.0.insert(name, ()).is_none()
    }

    /// True if it was here.
    pub(crate) fn remove(&mut self, name: &impl Named) -> bool {
        self.0.remove(name).is_some()
    }

    pub(crate) fn pop_first(&mut self) -> Option<BirdName> {
        self.0.pop_first().map(|(name, ())| name)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &BirdName> + Clone {
        self.0.keys()
    }

    pub(crate) fn into_names(self) -> impl Iterator<Item = BirdName> {
        self.0.into_entries().map(|(name, ())| name)
    }

    pub(crate) fn extend(&mut self, names: impl IntoIterator<Item = BirdName>) {
        for name in names {
            self.insert(name);
        }
    }
}

impl FromIterator<BirdName> for NameSet {
    fn from_iter<I: IntoIterator<Item = BirdName>>(names: I) -> Self {
        let mut set = Self::new();
        set.extend(names);
        set
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Rng;

    fn name(number: u64) -> BirdName {
        BirdName::new(&format!("bird-{number}")).expect("a name")
    }

    #[test]
    fn a_name_is_taken_out_again_where_it_alone_came_since() {
        let mut list = NameList::new();
        let insert = |list: &mut NameList, number| list.insert(name(number));
        [1, 2].into_iter().for_each(|number| insert(&mut list, number));
        assert!(!list.take_after(2, name(2).hash64(), &name(2)), "nothing came");
        [3, 3].into_iter().for_each(|number| insert(&mut list, number));
        assert!(list.take_after(2, name(3).hash64(), &name(3)) && list.len() == 2);
        [3, 4].into_iter().for_each(|number| insert(&mut list, number));
        assert!(!list.take_after(2, name(3).hash64(), &name(3)) && list.len() == 4);
    }

    #[test]
    fn what_has_gathered_comes_once_each_in_the_order_of_a_set() {
        let mut rng = Rng::new(8);
        for _ in 0..200 {
            let (mut list, mut set) = (NameList::new(), NameSet::new());
            for _ in 0..rng.below(40) {
                let name = name(rng.below(20));
                list.insert(name.clone());
                set.insert(name);
            }
            assert_eq!(list.is_empty(), set.is_empty());
            assert!(list.take().into_iter().map(|(_, name)| name).eq(set.into_names()));
            assert!(list.is_empty());
        }
    }
}
