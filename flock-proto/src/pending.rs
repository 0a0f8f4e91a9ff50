//! The table of calls that wait for their reply.

use std::time::Duration;

use crate::bugs::{Bug, planted};
use crate::{CallId, Time};

/// Calls that wait for their reply, each with a deadline.
///
/// An id names a slot *and* which use of it, so a reply that comes after its call is over finds
/// nothing, though the slot may be in use again.
#[derive(Debug)]
pub struct Pending<T> {
    slots: Vec<Slot<T>>,
    /// Slots free for use, the last freed first.
    free: Vec<u32>,
    /// Slots whose call has no moment yet by which it ends, and maybe others.
    fresh: Vec<u32>,
    /// No deadline lies before this; so most sweeps look at nothing.
    earliest: Time,
}

/// When a call ends.
#[derive(Clone, Copy, Debug)]
enum Due {
    At(Time),
    /// So long after the next sweep: who made it didn't look at a clock.
    After(Duration),
}

impl Due {
    fn has_passed(self, now: Time) -> bool {
        matches!(self, Self::At(deadline) if deadline <= now)
    }
}

#[derive(Debug)]
struct Slot<T> {
    generation: u32,
    /// It is among the fresh ones.
    is_fresh: bool,
    call: Option<(Due, T)>,
}

impl<T> Default for Pending<T> {
    fn default() -> Self {
        Self { slots: Vec::new(), free: Vec::new(), fresh: Vec::new(), earliest: Time::NEVER }
    }
}

impl<T> Pending<T> {
    /// Adds a call that has so much time. It is counted from the next sweep on: whoever makes calls looks at
    /// no clock for that.
    #[inline]
    pub fn insert(&mut self, within: Duration, call: T) -> CallId {
        let call = Some((Due::After(within), call));
        if let Some(slot) = self.free.pop()
            && let Some(entry) = self.slots.get_mut(slot as usize)
        {
            entry.call = call;
            if !entry.is_fresh {
                entry.is_fresh = true;
                self.fresh.push(slot);
            }
            return CallId { slot, generation: entry.generation };
        }
        let slot = u32::try_from(self.slots.len()).unwrap_or(u32::MAX);
        // Generations begin at 1: the default id, which casts bear, names no call.
        self.slots.push(Slot { generation: 1, is_fresh: true, call });
        self.fresh.push(slot);
        CallId { slot, generation: 1 }
    }

    /// The call of this id, if it still waits.
    pub fn call_mut(&mut self, id: CallId) -> Option<&mut T> {
        let slot = self.slots.get_mut(id.slot as usize)?;
        if slot.generation != id.generation {
            return None;
        }
        slot.call.as_mut().map(|(_, call)| call)
    }

    /// Whether this call still waits.
    pub fn holds(&self, id: CallId) -> bool {
        let slot = self.slots.get(id.slot as usize);
        slot.is_some_and(|slot| slot.generation == id.generation && slot.call.is_some())
    }

    /// All calls that still wait.
    pub fn calls_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.slots.iter_mut().filter_map(|slot| slot.call.as_mut().map(|(_, call)| call))
    }

    /// Ends a call: takes it out, if it still waits.
    #[inline]
    pub fn take(&mut self, id: CallId) -> Option<T> {
        let slot = self.slots.get_mut(id.slot as usize)?;
        if slot.generation != id.generation {
            return None;
        }
        let (_, call) = slot.call.take()?;
        if !planted(Bug::ReusedCallIds) {
            slot.generation = slot.generation.wrapping_add(1).max(1);
        }
        self.free.push(id.slot);
        Some(call)
    }

    /// Sweeps: ends all calls whose deadline has passed.
    pub fn expired(&mut self, now: Time) -> Vec<T> {
        self.begin_fresh(now);
        if now < self.earliest {
            return Vec::new();
        }
        let due = self.ids(|due, _, _| due.has_passed(now));
        let mut gone: Vec<T> = due.into_iter().filter_map(|id| self.take(id)).collect();
        if planted(Bug::ForgottenCalls) {
            gone.clear();
        }
        self.earliest = self
            .slots
            .iter()
            .filter_map(|slot| match slot.call {
                Some((Due::At(deadline), _)) => Some(deadline),
                _ => None,
            })
            .min()
            .unwrap_or(Time::NEVER);
        gone
    }

    /// The time of those that were added since the last sweep begins.
    fn begin_fresh(&mut self, now: Time) {
        for slot in self.fresh.drain(..) {
            let Some(entry) = self.slots.get_mut(slot as usize) else { continue };
            entry.is_fresh = false;
            if let Some((due, _)) = &mut entry.call
                && let Due::After(within) = *due
            {
                let deadline = now + within;
                *due = Due::At(deadline);
                self.earliest = self.earliest.min(deadline);
            }
        }
    }

    /// Ends all calls of which `which` is true.
    pub fn take_where(&mut self, mut which: impl FnMut(CallId, &T) -> bool) -> Vec<(CallId, T)> {
        let gone = self.ids(|_, id, call| which(id, call));
        gone.into_iter().filter_map(|id| Some((id, self.take(id)?))).collect()
    }

    fn ids(&self, mut which: impl FnMut(Due, CallId, &T) -> bool) -> Vec<CallId> {
        let waiting = (0..).zip(&self.slots).filter_map(|(slot, entry)| {
            let id = CallId { slot, generation: entry.generation };
            let (due, call) = entry.call.as_ref()?;
            which(*due, id, call).then_some(id)
        });
        waiting.collect()
    }

    /// How many calls wait.
    pub const fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    /// True if no call waits.
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(micros: u64) -> Time {
        Time::from_micros(micros)
    }

    const fn micros(micros: u64) -> Duration {
        Duration::from_micros(micros)
    }

    #[test]
    fn a_late_reply_never_ends_the_call_that_has_its_slot_now() {
        let mut pending = Pending::default();
        let first = pending.insert(micros(9), "first");
        assert_eq!(pending.take(first), Some("first"));
        let second = pending.insert(micros(9), "second");
        assert_eq!(second.slot, first.slot);
        assert_eq!(pending.take(first), None);
        assert_eq!(pending.call_mut(first), None);
        assert!(!pending.holds(first));
        assert!(pending.holds(second));
        assert_eq!(pending.take(second), Some("second"));
        assert!(!pending.holds(second));
        assert_eq!(pending.take(second), None);
    }

    #[test]
    fn a_generation_that_wraps_skips_that_of_casts() {
        let mut pending = Pending::default();
        let id = pending.insert(micros(9), ());
        pending.slots[0].generation = u32::MAX;
        assert_eq!(pending.take(CallId { generation: u32::MAX, ..id }), Some(()));
        assert_eq!(pending.insert(micros(9), ()).generation, 1);
        assert_eq!(pending.take(CallId::default()), None);
    }

    #[test]
    fn a_sweep_ends_what_is_due_and_nothing_else() {
        let mut pending = Pending::default();
        pending.insert(micros(10), 'a');
        let later = pending.insert(micros(20), 'b');
        assert!(pending.expired(at(100)).is_empty());
        assert!(pending.expired(at(109)).is_empty());
        assert_eq!(pending.expired(at(110)), ['a']);
        assert_eq!(pending.len(), 1);
        assert!(pending.holds(later));
        pending.insert(micros(1), 'c');
        assert!(pending.expired(at(111)).is_empty());
        assert_eq!(pending.expired(at(130)).len(), 2);
        assert!(pending.is_empty());
    }

    #[test]
    fn time_begins_with_a_sweep_so_that_it_is_never_too_short() {
        let mut pending = Pending::default();
        pending.insert(micros(10), 'a');
        assert!(pending.expired(at(100)).is_empty());
        // The next call of a slot between the same two sweeps has its own time, and not that of the one before.
        let gone = pending.insert(micros(1), 'b');
        assert_eq!(pending.take(gone), Some('b'));
        assert_eq!(pending.insert(micros(10), 'c').slot, gone.slot);
        assert!(pending.expired(at(105)).is_empty());
        assert!(pending.expired(at(109)).is_empty());
        assert_eq!(pending.expired(at(110)), ['a']);
        assert!(pending.expired(at(114)).is_empty());
        assert_eq!(pending.expired(at(115)), ['c']);
        assert!(pending.is_empty());
    }

    #[test]
    fn the_table_stays_as_small_as_its_fullest_hour() {
        let mut pending = Pending::default();
        for _ in 0..1000 {
            let ids: Vec<_> = (0..3).map(|n| pending.insert(Duration::MAX, n)).collect();
            for id in ids {
                pending.take(id);
            }
        }
        assert_eq!(pending.slots.len(), 3);
        assert_eq!(pending.fresh.len(), 3);
        assert!(pending.expired(at(9)).is_empty());
        assert!(pending.fresh.is_empty());
    }
}
