//! A table by bird's name, in an order that follows from the names: for the two maps that each start goes to
//! again and again, and of which one has an entry for each bird.
//!
//! A tree of a million names is six nodes deep, and the lower ones lie where the processor's caches don't
//! reach. Here a hash gives the place where its name is, or a little before it: the first bits of the hash, once
//! it is mixed, are the place. (As they are, the first bits are the place on the ring, and a nest has the names of
//! a few short arcs.) So the entries stand in the order of their mixed hashes, those that would share a place one
//! after the other, and all that follows from that order is the same in each run: the simulator replays it.
//!
//! Hashes of names have no key, so whoever likes can find names by the thousand that belong into one place.
//! Where a crowd comes, all go into a tree: no search goes past more than a thousand others, nor moves more.

use crate::BirdName;
use crate::name_map::{Hashed, NameMap, Named};

/// Any odd number makes another hash of each; with this one (2⁶⁴ divided by the golden ratio) those of an arc of
/// the ring are spread over all.
const MIXER: u64 = 0x9e37_79b9_7f4a_7c15;

const fn mix(hash: u64) -> u64 {
    hash.wrapping_mul(MIXER)
}

fn mixed(name: &impl Named) -> Hashed<'_> {
    Hashed(mix(name.hash()), name.text())
}

/// See above.
#[derive(Clone, Debug)]
pub(crate) struct NameTable<T> {
    /// No place is free between the one that a hash gives and the one where its name stands.
    places: Vec<Option<Entry<T>>>,
    /// So many of them are given by hashes; the others are for what finds no place before the end.
    homes: usize,
    len: usize,
    /// In place of the above, where too many names would stand too close.
    crowd: Option<Box<NameMap<T>>>,
}

#[derive(Clone, Debug)]
struct Entry<T> {
    /// Mixed, as all within this file.
    hash: u64,
    name: BirdName,
    value: T,
}

/// With fewer places than this nothing is saved.
const FEWEST: usize = 16;

/// One of so many places stays as large as it is, whatever leaves it: it may be filled again and again.
const SMALL: usize = 1 << 12;

/// One of so many places grows by half; a smaller one to twice its size.
const LARGE: usize = 1 << 14;

/// Where hashes are spread evenly, as those of names chosen for themselves are, of a hundred million no
/// one comes to stand a third as far from its place, nor has as many right behind it.
const FAR: usize = 1024;

impl<T> NameTable<T> {
    pub(crate) const fn new() -> Self {
        Self { places: Vec::new(), homes: 0, len: 0, crowd: None }
    }

    pub(crate) fn len(&self) -> usize {
        self.crowd.as_ref().map_or(self.len, |crowd| crowd.len())
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub(crate) fn clear(&mut self) {
        *self = Self::new();
    }

    /// Where a name of this hash stands, if no other is in its place.
    const fn home(&self, hash: u64) -> usize {
        ((hash as u128 * self.homes as u128) >> u64::BITS) as usize
    }

    /// Where a name stands; else where it would have to, and whatever stands there would give way.
    #[inline]
    fn find(&self, hash: u64, text: &str) -> Result<usize, usize> {
        let mut at = self.home(hash);
        for place in self.places.get(at..).unwrap_or_default() {
            match place {
                Some(entry) if entry.hash < hash => {}
                Some(entry) if entry.hash == hash => {
                    let name = entry.name.as_str();
                    if name == text {
                        return Ok(at);
                    }
                    if name > text {
                        break;
                    }
                }
                _ => break,
            }
            at += 1;
        }
        Err(at)
    }

    #[inline]
    pub(crate) fn get(&self, name: &impl Named) -> Option<&T> {
        if let Some(crowd) = &self.crowd {
            return crowd.get(&mixed(name));
        }
        if self.len == 0 {
            return None;
        }
        let at = self.find(mix(name.hash()), name.text()).ok()?;
        Some(&self.places.get(at)?.as_ref()?.value)
    }

    #[inline]
    pub(crate) fn get_mut(&mut self, name: &impl Named) -> Option<&mut T> {
        if self.crowd.is_some() {
            return self.crowd.as_mut()?.get_mut(&mixed(name));
        }
        if self.len == 0 {
            return None;
        }
        let at = self.find(mix(name.hash()), name.text()).ok()?;
        Some(&mut self.places.get_mut(at)?.as_mut()?.value)
    }

    #[inline]
    pub(crate) fn contains_key(&self, name: &impl Named) -> bool {
        self.get(name).is_some()
    }

    /// Looks at the places of these hashes, one right after the other: in a large table each lies where the
    /// processor's caches don't reach, and asked for together they are fetched side by side. Then at what
    /// stands there.
    pub(crate) fn approach(
        &self,
        hashes: impl Iterator<Item = u64> + Clone,
        look: impl Fn(&T) -> u64,
    ) {
        let entries = hashes.map(mix).map(|hash| (hash, self.places.get(self.home(hash))));
        let is_there = |entry: &Option<&Option<Entry<T>>>| matches!(entry, Some(Some(_)));
        let first = entries.clone().filter(|(_, entry)| is_there(entry)).count();
        let found = entries.filter_map(|(hash, entry)| {
            entry?.as_ref().filter(|entry| entry.hash == hash).map(|entry| look(&entry.value))
        });
        std::hint::black_box((first, found.fold(0, |sum, look| sum ^ look)));
    }

    /// Takes in the value of a name whose hash is known. Says what was there before.
    pub(crate) fn insert_at(&mut self, hash: u64, name: BirdName, value: T) -> Option<T> {
        let hash = mix(hash);
        self.make_room();
        if let Some(crowd) = &mut self.crowd {
            return crowd.insert_at(hash, name, value);
        }
        let at = match self.find(hash, name.as_str()) {
            Ok(at) => {
                let entry = self.places.get_mut(at)?.as_mut()?;
                return Some(std::mem::replace(&mut entry.value, value));
            }
            Err(at) => at,
        };
        let behind = self.places.get(at..).unwrap_or_default();
        let free = at + behind.iter().take_while(|place| place.is_some()).count();
        if free - self.home(hash) >= FAR {
            return self.crowded().insert_at(hash, name, value);
        }
        if free >= self.places.len() {
            if self.places.len() == self.places.capacity() {
                self.places.reserve_exact(FAR);
            }
            self.places.resize_with(free + 1, || None);
        }
        // All from there on move by one, into the free place.
        let moving = self.places.get_mut(at..=free)?;
        moving.rotate_right(1);
        *moving.first_mut()? = Some(Entry { hash, name, value });
        self.len += 1;
        None
    }

    pub(crate) fn remove(&mut self, name: &impl Named) -> Option<T> {
        if let Some(crowd) = &mut self.crowd {
            let removed = crowd.remove(&mixed(name));
            if crowd.is_empty() {
                self.crowd = None;
            }
            return removed;
        }
        if self.len == 0 {
            return None;
        }
        let at = self.find(mix(name.hash()), name.text()).ok()?;
        let removed = self.places.get_mut(at)?.take()?;
        self.len -= 1;
        // All behind it that don't stand in their own places move by one.
        let behind = self.places.get(at + 1..).unwrap_or_default();
        let is_moved = |(entry, place): &(&Option<Entry<T>>, usize)| {
            entry.as_ref().is_some_and(|entry| self.home(entry.hash) < *place)
        };
        let moved = behind.iter().zip(at + 1..).take_while(is_moved).count();
        if moved >= FAR {
            self.crowded();
            return Some(removed.value);
        }
        if let Some(moving) = self.places.get_mut(at..=at + moved) {
            moving.rotate_left(1);
        }
        if self.len < self.homes / 16 && self.homes > SMALL {
            self.resize((2 * self.len).max(SMALL));
        }
        Some(removed.value)
    }

    /// Has room for one more.
    fn make_room(&mut self) {
        if self.crowd.is_none() && self.len >= self.homes / 4 * 3 {
            // What a large one has to spare is memory that each bird would be said to take.
            let more = if self.homes < LARGE { self.homes } else { self.homes / 2 };
            self.resize(self.homes + more);
        }
    }

    fn resize(&mut self, homes: usize) {
        let before = std::mem::take(&mut self.places);
        self.homes = homes.max(FEWEST);
        self.places.reserve_exact(self.homes + FEWEST);
        let mut farthest = 0;
        for entry in before.into_iter().flatten() {
            // They come in order: each stands in its place, or behind the one before.
            let home = self.home(entry.hash);
            if self.places.len() < home {
                self.places.resize_with(home, || None);
            }
            farthest = farthest.max(self.places.len() - home);
            self.places.push(Some(entry));
        }
        self.places.resize_with(self.homes.max(self.places.len()), || None);
        if farthest >= FAR {
            self.crowded();
        }
    }

    /// Too many names stand too close: from now on all are in a tree.
    #[cold]
    fn crowded(&mut self) -> &mut NameMap<T> {
        let mut crowd = NameMap::new();
        for entry in std::mem::replace(self, Self::new()).places.into_iter().flatten() {
            crowd.insert_at(entry.hash, entry.name, entry.value);
        }
        self.crowd.insert(Box::new(crowd))
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&BirdName, &T)> + Clone {
        let places = self.places.iter().flatten().map(|entry| (&entry.name, &entry.value));
        places.chain(self.crowd.iter().flat_map(|crowd| crowd.iter()))
    }

    pub(crate) fn keys(&self) -> impl Iterator<Item = &BirdName> + Clone {
        self.iter().map(|(name, _)| name)
    }

    #[cfg(feature = "sim")]
    pub(crate) fn values(&self) -> impl Iterator<Item = &T> + Clone {
        self.iter().map(|(_, value)| value)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::{NestId, NestName, Ring, Rng};

    fn name(number: u64) -> BirdName {
        BirdName::new(&format!("bird-{number}")).expect("a name")
    }

    /// The hash that is this one once it is mixed.
    fn unmixed(hash: u64) -> u64 {
        // Newton's way to the inverse, of which the number itself has the first three bits right.
        let inverse = (0..5).fold(MIXER, |inverse, _| {
            inverse.wrapping_mul(2_u64.wrapping_sub(MIXER.wrapping_mul(inverse)))
        });
        hash.wrapping_mul(inverse)
    }

    /// A table beside a tree, to which all is done alike.
    #[derive(Default)]
    struct Both {
        table: Option<NameTable<u64>>,
        tree: BTreeMap<(u64, BirdName), u64>,
    }

    impl Both {
        fn table(&mut self) -> &mut NameTable<u64> {
            self.table.get_or_insert_with(NameTable::new)
        }

        fn put(&mut self, hash: u64, number: u64, value: u64) {
            let name = name(number);
            let before = self.tree.insert((mix(hash), name.clone()), value);
            assert_eq!(self.table().insert_at(hash, name, value), before);
        }

        fn take(&mut self, hash: u64, number: u64) {
            let name = name(number);
            let removed = self.table().remove(&Hashed(hash, name.as_str()));
            assert_eq!(removed, self.tree.remove(&(mix(hash), name)));
        }

        fn look(&mut self, hash: u64, number: u64) {
            let (name, tree) = (name(number), &mut self.tree);
            let table = self.table.get_or_insert_with(NameTable::new);
            let (at, key) = (Hashed(hash, name.as_str()), (mix(hash), name.clone()));
            assert_eq!(table.get(&at), tree.get(&key));
            assert_eq!(table.get_mut(&at), tree.get_mut(&key));
            assert_eq!(table.contains_key(&at), tree.contains_key(&key));
            assert_eq!((table.len(), table.is_empty()), (tree.len(), tree.is_empty()));
        }

        fn compare(&mut self) {
            let (table, tree) = (self.table.get_or_insert_with(NameTable::new), &self.tree);
            assert!(table.iter().eq(tree.iter().map(|((_, name), value)| (name, value))));
            assert!(table.keys().eq(tree.keys().map(|(_, name)| name)));
            assert!(table.values().eq(tree.values()));
        }
    }

    #[test]
    fn a_table_does_what_a_tree_does_whatever_the_hashes_are() {
        // Spread evenly; few and alike; all in few places; near the end.
        let hashes: [fn(u64) -> u64; 4] = [
            |n| n.wrapping_mul(0x9e37_79b9_7f4a_7c15),
            |n| n / 3,
            |n| (n % 5) << 60 | n,
            |n| u64::MAX - n.wrapping_mul(0x9e37_79b9_7f4a_7c15) / 1000,
        ];
        for mixed_of in hashes {
            let hash_of = |number| unmixed(mixed_of(number));
            let (mut rng, mut both) = (Rng::new(7), Both::default());
            for round in 0..40_000 {
                // It grows and shrinks in turns.
                let number = rng.below(if round / 10_000 % 2 == 0 { 700 } else { 3000 });
                let (hash, value) = (hash_of(number), rng.next_u64());
                match rng.below(if round / 5000 % 2 == 0 { 3 } else { 9 }) {
                    0 | 1 => both.put(hash, number, value),
                    _ => both.take(hash, number),
                }
                both.look(hash, number);
                both.look(hash_of(number + 1), number + 1);
                if round % 500 == 0 {
                    both.compare();
                }
            }
            both.compare();
            for number in 0..3000 {
                both.take(hash_of(number), number);
            }
            assert!(both.table().is_empty() && both.table().crowd.is_none());
        }
    }

    #[test]
    fn names_of_one_place_come_into_a_tree_before_they_are_too_many_and_leave_it_when_all_are_gone()
    {
        let mut table = NameTable::new();
        for number in 0..20_000 {
            table.insert_at(unmixed(1 << 63 | number), name(number), number);
            if table.crowd.is_none() {
                let taken = table.places.iter().filter(|place| place.is_some()).count();
                assert!(taken <= FAR, "they all stand one behind the other");
            }
        }
        assert!(table.crowd.is_some() && table.len() == 20_000);
        assert!(table.values().copied().eq(0..20_000));
        for number in 0..20_000 {
            let name = name(number);
            let hash = unmixed(1 << 63 | number);
            assert_eq!(table.remove(&Hashed(hash, name.as_str())), Some(number));
        }
        table.insert_at(7, name(7), 7);
        assert!(table.crowd.is_none() && table.len() == 1);
    }

    #[test]
    fn a_row_of_names_that_all_would_move_is_no_row_for_long() {
        let mut table = NameTable::new();
        for number in 0..20_000_u64 {
            let hash = number.wrapping_mul(0x9e37_79b9_7f4a_7c15) / 8 * 7;
            table.insert_at(unmixed(hash), name(10_000 + number), number);
        }
        let homes = table.homes;
        // Two in one place, and then one in each place behind: all of them stand one too far.
        let row = (0..4000).map(|number: u64| {
            let home = homes as u128 / 8 * 7 + u128::from(number.saturating_sub(1));
            (unmixed((((2 * home + 1) << u64::BITS) / (2 * homes as u128)) as u64), number)
        });
        for (hash, number) in row.clone() {
            table.insert_at(hash, name(number), number);
        }
        assert!(table.crowd.is_none(), "no one stands far off");
        assert_eq!(table.homes, homes);
        let mut row = row.map(|(hash, number)| (Hashed(hash, ""), name(number)));
        let Some((Hashed(hash, _), first)) = row.next() else { return };
        assert_eq!(table.remove(&Hashed(hash, first.as_str())), Some(0));
        assert!(table.crowd.is_some() && table.len() == 23_999);
    }

    #[test]
    fn names_of_any_kind_stand_near_their_places_also_where_a_nest_has_but_its_share() {
        for nests in [1, 2, 10, 100] {
            let nest = |id| NestName::new(&format!("nest-{id}")).expect("a name");
            let nests: Vec<_> = (1..=nests).map(|id| (NestId(id), nest(id))).collect();
            let ring = Ring::new(nests.iter().map(|(id, name)| (*id, name, 1)));
            let mut table = NameTable::new();
            let own = (0..).map(name).filter(|name| ring.owner(name.hash64()) == Some(NestId(1)));
            for name in own.take(30_000) {
                table.insert_at(name.hash64(), name, ());
            }
            assert!(table.crowd.is_none());
            let homes = table.places.iter().flatten().map(|entry| table.home(entry.hash));
            let stand = table.places.iter().enumerate().filter(|(_, place)| place.is_some());
            let farthest = stand.zip(homes).map(|((at, _), home)| at - home).max();
            assert!(farthest < Some(FAR / 8), "of {} nests: {farthest:?}", nests.len());
            assert!(table.places.len() < 60_000, "{}", table.places.len());
        }
    }
}
