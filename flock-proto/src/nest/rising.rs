//! A map by numbers that come in rising order, nearly all, one after the other, and go in much the same
//! order: requests of users. A tree would be built at its end and taken down at its beginning all the time;
//! here both are a step along a list, and a number says where its entry is.

use std::collections::{BTreeMap, VecDeque};

/// See above. What comes too late for its place is kept in a tree.
#[derive(Debug)]
pub(super) struct Rising<T> {
    /// In the order of their numbers. What is gone leaves its number, so that the others stay in
    /// their places; but for the first and the last.
    entries: VecDeque<(u64, Option<T>)>,
    /// So many of them are there.
    len: usize,
    /// Came after others of higher numbers, as a dead nest's share of what users of another one asked for.
    late: BTreeMap<u64, T>,
}

/// So many may be gone, beside thrice as many as are there, before the others move together: from then on
/// a number doesn't say any more where its entry is.
const GONE: usize = 1024;

impl<T> Default for Rising<T> {
    fn default() -> Self {
        Self { entries: VecDeque::new(), len: 0, late: BTreeMap::new() }
    }
}

impl<T> Rising<T> {
    pub(super) fn len(&self) -> usize {
        self.len + self.late.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Where this number stands, or would.
    #[inline]
    fn find(&self, number: u64) -> Result<usize, usize> {
        let Some((first, _)) = self.entries.front() else { return Err(0) };
        // Where all that is asked for comes here none is left out: neither since the first, nor up to the last.
        let is_at = |at: usize| self.entries.get(at).is_some_and(|(at, _)| *at == number);
        let from_first = usize::try_from(number.wrapping_sub(*first)).unwrap_or(usize::MAX);
        if is_at(from_first) {
            return Ok(from_first);
        }
        let Some((last, _)) = self.entries.back() else { return Err(0) };
        if number > *last {
            return Err(self.entries.len());
        }
        let to_last = usize::try_from(*last - number).unwrap_or(usize::MAX);
        let from_last = self.entries.len().wrapping_sub(1).wrapping_sub(to_last);
        if is_at(from_last) {
            return Ok(from_last);
        }
        self.entries.binary_search_by_key(&number, |(number, _)| *number)
    }

    #[inline]
    pub(super) fn get(&self, number: u64) -> Option<&T> {
        if !self.late.is_empty()
            && let Some(late) = self.late.get(&number)
        {
            return Some(late);
        }
        self.entries.get(self.find(number).ok()?)?.1.as_ref()
    }

    #[inline]
    pub(super) fn get_mut(&mut self, number: u64) -> Option<&mut T> {
        if self.late.contains_key(&number) {
            return self.late.get_mut(&number);
        }
        let at = self.find(number).ok()?;
        self.entries.get_mut(at)?.1.as_mut()
    }

    pub(super) fn contains(&self, number: u64) -> bool {
        self.get(number).is_some()
    }

    /// The value before, if there was one.
    pub(super) fn insert(&mut self, number: u64, value: T) -> Option<T> {
        let before = match self.find(number) {
            _ if self.late.contains_key(&number) => return self.late.insert(number, value),
            Ok(at) => self.entries.get_mut(at)?.1.replace(value),
            Err(at) if at == self.entries.len() => {
                self.entries.push_back((number, Some(value)));
                None
            }
            Err(_) => return self.late.insert(number, value),
        };
        self.len += usize::from(before.is_none());
        before
    }

    pub(super) fn remove(&mut self, number: u64) -> Option<T> {
        if let Some(late) = self.late.remove(&number) {
            return Some(late);
        }
        let at = self.find(number).ok()?;
        let removed = self.entries.get_mut(at)?.1.take()?;
        self.len -= 1;
        while self.entries.front().is_some_and(|(_, value)| value.is_none()) {
            self.entries.pop_front();
        }
        while self.entries.back().is_some_and(|(_, value)| value.is_none()) {
            self.entries.pop_back();
        }
        if self.entries.len() > 4 * self.len + GONE {
            self.entries.retain(|(_, value)| value.is_some());
        }
        let capacity = self.entries.capacity();
        if capacity > 4 * GONE && self.entries.len() < capacity / 16 {
            // What came by the hundred thousand at once leaves no room behind.
            self.entries.shrink_to(2 * self.entries.len());
        }
        Some(removed)
    }

    /// In the order of their numbers.
    pub(super) fn iter(&self) -> impl Iterator<Item = (u64, &T)> {
        let entries = self.entries.iter().filter_map(|(at, value)| Some((*at, value.as_ref()?)));
        let (mut entries, mut late) = (entries.peekable(), self.late.iter().peekable());
        std::iter::from_fn(move || {
            let is_next = |late: &(&u64, &T)| entries.peek().is_none_or(|(at, _)| late.0 < at);
            match late.next_if(is_next) {
                Some((number, value)) => Some((*number, value)),
                None => entries.next(),
            }
        })
    }

    pub(super) fn into_entries(self) -> impl Iterator<Item = (u64, T)> {
        let entries = self.entries.into_iter().filter_map(|(at, value)| Some((at, value?)));
        self.late.into_iter().chain(entries)
    }

    pub(super) fn first(&self) -> Option<u64> {
        // What is gone stands between others.
        let first = self.entries.front().map(|(number, _)| *number);
        let late = self.late.first_key_value().map(|(number, _)| *number);
        first.into_iter().chain(late).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Rng;

    /// Does to both what is done to one, and compares them.
    fn compare(mut next: impl FnMut(&mut Rng, u64) -> (u64, bool)) -> usize {
        let (mut rng, mut rising, mut tree) = (Rng::new(5), Rising::default(), BTreeMap::new());
        let mut most = 0;
        for step in 0..20_000 {
            let (number, comes) = next(&mut rng, step);
            if comes {
                assert_eq!(rising.insert(number, step), tree.insert(number, step));
            } else {
                assert_eq!(rising.remove(number), tree.remove(&number));
            }
            for number in
                [number, number.saturating_sub(1), number.saturating_add(1), rng.below(500)]
            {
                assert_eq!(rising.get(number), tree.get(&number));
                assert_eq!(rising.get_mut(number), tree.get_mut(&number));
                assert_eq!(rising.contains(number), tree.contains_key(&number));
            }
            assert_eq!((rising.len(), rising.is_empty()), (tree.len(), tree.is_empty()));
            assert_eq!(rising.first(), tree.keys().next().copied());
            assert!(rising.entries.len() <= 4 * rising.len() + GONE);
            most = most.max(rising.len());
            if step % 100 == 0 {
                assert!(rising.iter().eq(tree.iter().map(|(number, step)| (*number, step))));
            }
        }
        // Nearly all go, and those that stay are found.
        let (stay, go): (Vec<_>, Vec<_>) = tree.into_keys().partition(|number| number % 9 == 0);
        for number in go {
            assert!(rising.remove(number).is_some());
            assert!(rising.entries.len() <= 4 * rising.len() + GONE);
        }
        assert!(rising.iter().map(|(number, _)| number).eq(stay.iter().copied()));
        for number in stay {
            assert!(rising.get(number).is_some() && rising.remove(number).is_some());
        }
        assert!(rising.entries.is_empty() && rising.entries.capacity() <= 4 * GONE);
        most
    }

    #[test]
    fn what_comes_and_goes_in_order_is_kept_as_a_tree_keeps_it() {
        // Each stays for some two thousand steps; few come late, and one in ten goes early.
        let most = compare(|rng, step| match step % 2 {
            0 => (step / 2 - if rng.one_in(20) { rng.below(9).min(step / 2) } else { 0 }, true),
            _ if rng.one_in(10) => (step / 2 - rng.below(900).min(step / 2), false),
            _ => ((step / 2).saturating_sub(1000), false),
        });
        assert!(most > 900, "{most}");
    }

    #[test]
    fn what_comes_in_any_order_is_too() {
        let ends = [0, u64::MAX - 1, u64::MAX];
        let most = compare(|rng, _| match rng.below(50) {
            0 => (ends[rng.below(3) as usize], rng.one_in(2)),
            _ => (rng.below(5000), rng.one_in(2)),
        });
        assert!(most > 2000, "{most}");
    }

    #[test]
    fn one_that_stays_for_long_keeps_no_room_for_all_that_went_since() {
        let mut rising = Rising::default();
        for number in 0..10_000 {
            rising.insert(number, ());
            if number > 1 {
                rising.remove(number - 1);
            }
            assert!(rising.entries.len() <= GONE + 4 * rising.len());
        }
        assert_eq!((rising.first(), rising.len()), (Some(0), 2));
    }
}
