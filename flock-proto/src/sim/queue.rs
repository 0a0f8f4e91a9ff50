//! What is to happen, the earliest first; of one moment, what was planned first.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use slab::Slab;

use super::host::Later;
use super::net::LinkId;
use crate::Time;

/// What happens.
#[derive(Debug)]
pub(super) enum Happening {
    /// A host's core asked for a tick.
    Timer {
        host: usize,
        /// Which boot of the host asked.
        boot: u32,
    },
    /// A frame reaches an end of a link.
    Arrival { link: LinkId, side: usize },
    /// A host's body does what it put off, unless it was booted anew since.
    Later { host: usize, boot: u32, what: Later },
}

/// The plan.
#[derive(Debug, Default)]
pub(super) struct Queue {
    near: Wheel,
    /// What is too far off for the wheel.
    far: BinaryHeap<Reverse<(Time, u64, Place)>>,
    /// Kept aside, so that small things are moved.
    later: Slab<(usize, u32, Later)>,
    planned: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Place {
    Timer(u32, u32),
    Arrival(u32, u8),
    Later(u32),
}

impl Queue {
    pub(super) fn plan(&mut self, at: Time, what: Happening) {
        self.planned += 1;
        let place = match what {
            Happening::Timer { host, boot } => Place::Timer(host as u32, boot),
            Happening::Arrival { link, side } => Place::Arrival(link.0, side as u8),
            Happening::Later { host, boot, what } => {
                Place::Later(self.later.insert((host, boot, what)) as u32)
            }
        };
        if !self.near.plan(at, self.planned, place) {
            self.far.push(Reverse((at, self.planned, place)));
        }
    }

    /// When the next thing happens, and whether it is in the wheel.
    fn next(&self) -> Option<(Time, bool)> {
        let far = self.far.peek().map(|Reverse((at, planned, _))| (*at, *planned, false));
        let near = self.near.next().map(|(at, planned)| (at, planned, true));
        let next = far.into_iter().chain(near).min();
        next.map(|(at, _, near)| (at, near))
    }

    /// When the next thing happens.
    pub(super) fn next_at(&self) -> Option<Time> {
        self.next().map(|(at, _)| at)
    }

    pub(super) fn pop(&mut self) -> Option<(Time, Happening)> {
        let (at, near) = self.next()?;
        let place = if near {
            self.near.take(at)?
        } else {
            let Reverse((.., place)) = self.far.pop()?;
            place
        };
        self.near.turn(at);
        let what = match place {
            Place::Timer(host, boot) => Happening::Timer { host: host as usize, boot },
            Place::Arrival(link, side) => {
                Happening::Arrival { link: LinkId(link), side: side.into() }
            }
            Place::Later(place) => {
                let (host, boot, what) = self.later.try_remove(place as usize)?;
                Happening::Later { host, boot, what }
            }
        };
        Some((at, what))
    }
}

/// What happens within the next milliseconds, as most does: a list for each microsecond. In a heap
/// of ten thousand each thing would pass by a dozen others.
#[derive(Debug)]
struct Wheel {
    /// Nothing is planned before; the lists are those of the microseconds that follow.
    from: Time,
    /// The first and the last of each microsecond's list, where there is one.
    lists: Vec<(u32, u32)>,
    /// Which of them have something, bit by bit.
    full: [u64; SPAN / 64],
    things: Slab<Thing>,
}

#[derive(Debug)]
struct Thing {
    planned: u64,
    place: Place,
    /// The one behind it in its list.
    next: u32,
}

/// How many microseconds the wheel spans: most frames take less.
const SPAN: usize = 4096;

impl Default for Wheel {
    fn default() -> Self {
        let (lists, things) = (vec![(0, 0); SPAN], Slab::new());
        Self { from: Time::default(), lists, full: [0; SPAN / 64], things }
    }
}

impl Wheel {
    const fn list(at: Time) -> usize {
        at.as_micros() as usize % SPAN
    }

    /// False if that is too far off, or past.
    fn plan(&mut self, at: Time, planned: u64, place: Place) -> bool {
        let ahead = at.as_micros().checked_sub(self.from.as_micros());
        if ahead.is_none_or(|ahead| ahead >= SPAN as u64) {
            return false;
        }
        let list = Self::list(at);
        let new = self.things.insert(Thing { planned, place, next: 0 }) as u32;
        let bit = 1 << (list % 64);
        let (first, last) = &mut self.lists[list];
        if self.full[list / 64] & bit == 0 {
            self.full[list / 64] |= bit;
            *first = new;
        } else {
            self.things[*last as usize].next = new;
        }
        *last = new;
        true
    }

    /// When the next thing in the wheel happens, and as the how many-th it was planned.
    fn next(&self) -> Option<(Time, u64)> {
        if self.things.is_empty() {
            return None;
        }
        let start = Self::list(self.from);
        let (word, bit) = (start / 64, start % 64);
        // Round the wheel; the word where it starts comes last again, with what is before.
        let words = (0..=self.full.len()).map(|i| {
            let at = (word + i) % self.full.len();
            let seen = match i {
                0 => self.full[at] & (u64::MAX << bit),
                _ => self.full[at],
            };
            (at, seen)
        });
        let (at, seen) = words.into_iter().find(|(_, seen)| *seen != 0)?;
        let list = at * 64 + seen.trailing_zeros() as usize;
        let ahead = (list + SPAN - start) % SPAN;
        let thing = self.things.get(self.lists[list].0 as usize)?;
        Some((Time::from_micros(self.from.as_micros() + ahead as u64), thing.planned))
    }

    /// Takes the first thing of that moment.
    fn take(&mut self, at: Time) -> Option<Place> {
        let list = Self::list(at);
        let (first, last) = self.lists[list];
        let thing = self.things.try_remove(first as usize)?;
        if first == last {
            self.full[list / 64] &= !(1 << (list % 64));
        } else {
            self.lists[list].0 = thing.next;
        }
        Some(thing.place)
    }

    /// Everything before that moment has happened.
    fn turn(&mut self, to: Time) {
        self.from = self.from.max(to);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Rng;

    #[test]
    fn things_happen_in_the_order_of_their_times_and_of_planning() {
        let mut rng = Rng::new(11);
        let (mut queue, mut plain) = (Queue::default(), Vec::new());
        let (mut now, mut popped) = (1_700_000_000_000_000, 0);
        for number in 0..50_000_u32 {
            let ahead = [0, rng.below(40), rng.below(2_000), rng.below(100_000)];
            let at = Time::from_micros(now + ahead[rng.below(4) as usize]);
            let what = Happening::Arrival { link: LinkId(number), side: 1 };
            queue.plan(at, what);
            plain.push((at, number));
            // It fills up, and empties itself.
            let busy = number % 10_000 < 6_000;
            while !busy && !plain.is_empty() || rng.one_in(3) {
                let first = plain.iter().min().copied();
                assert_eq!(queue.next_at(), first.map(|(at, _)| at));
                let found = queue.pop();
                let Some((at, Happening::Arrival { link, .. })) = found else {
                    assert!(found.is_none() && first.is_none(), "{found:?} {first:?}");
                    break;
                };
                assert_eq!(Some((at, link.0)), first);
                plain.retain(|thing| Some(*thing) != first);
                (now, popped) = (now.max(at.as_micros()), popped + 1);
                if !busy && rng.one_in(3) {
                    break;
                }
            }
        }
        assert!(popped > 20_000, "{popped}");
    }
}
