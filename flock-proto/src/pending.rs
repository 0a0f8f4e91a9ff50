//! The table of calls that wait for their reply.

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
    /// No deadline lies before this; so most sweeps look at nothing.
    earliest: Time,
}

#[derive(Debug)]
struct Slot<T> {
    generation: u32,
    call: Option<(Time, T)>,
}

impl<T> Default for Pending<T> {
    fn default() -> Self {
        Self { slots: Vec::new(), free: Vec::new(), earliest: Time::NEVER }
    }
}

impl<T> Pending<T> {
    /// Adds a call.
    pub fn insert(&mut self, deadline: Time, call: T) -> CallId {
        self.earliest = self.earliest.min(deadline);
        if let Some(slot) = self.free.pop()
            && let Some(entry) = self.slots.get_mut(slot as usize)
        {
            entry.call = Some((deadline, call));
            return CallId { slot, generation: entry.generation };
        }
        let slot = u32::try_from(self.slots.len()).unwrap_or(u32::MAX);
        // Generations begin at 1: the default id, which casts bear, names no call.
        self.slots.push(Slot { generation: 1, call: Some((deadline, call)) });
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

    /// The deadline of a call that still waits.
    pub fn deadline(&self, id: CallId) -> Option<Time> {
        let slot = self.slots.get(id.slot as usize)?;
        let (deadline, _) = slot.call.as_ref()?;
        (slot.generation == id.generation).then_some(*deadline)
    }

    /// All calls that still wait.
    pub fn calls_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.slots.iter_mut().filter_map(|slot| slot.call.as_mut().map(|(_, call)| call))
    }

    /// Ends a call: takes it out, if it still waits.
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

    /// Ends all calls whose deadline has passed.
    pub fn expired(&mut self, now: Time) -> Vec<T> {
        if now < self.earliest {
            return Vec::new();
        }
        let due = self.ids(|deadline, _, _| deadline <= now);
        let mut gone: Vec<T> = due.into_iter().filter_map(|id| self.take(id)).collect();
        if planted(Bug::ForgottenCalls) {
            gone.clear();
        }
        self.earliest = self
            .slots
            .iter()
            .filter_map(|slot| slot.call.as_ref().map(|(deadline, _)| *deadline))
            .min()
            .unwrap_or(Time::NEVER);
        gone
    }

    /// Ends all calls of which `which` is true.
    pub fn take_where(&mut self, mut which: impl FnMut(CallId, &T) -> bool) -> Vec<(CallId, T)> {
        let gone = self.ids(|_, id, call| which(id, call));
        gone.into_iter().filter_map(|id| Some((id, self.take(id)?))).collect()
    }

    fn ids(&self, mut which: impl FnMut(Time, CallId, &T) -> bool) -> Vec<CallId> {
        let waiting = (0..).zip(&self.slots).filter_map(|(slot, entry)| {
            let id = CallId { slot, generation: entry.generation };
            let (deadline, call) = entry.call.as_ref()?;
            which(*deadline, id, call).then_some(id)
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

    #[test]
    fn a_late_reply_never_ends_the_call_that_has_its_slot_now() {
        let mut pending = Pending::default();
        let first = pending.insert(at(9), "first");
        assert_eq!(pending.take(first), Some("first"));
        let second = pending.insert(at(9), "second");
        assert_eq!(second.slot, first.slot);
        assert_eq!(pending.take(first), None);
        assert_eq!(pending.call_mut(first), None);
        assert_eq!(pending.deadline(first), None);
        assert_eq!(pending.take(second), Some("second"));
        assert_eq!(pending.take(second), None);
    }

    #[test]
    fn a_generation_that_wraps_skips_that_of_casts() {
        let mut pending = Pending::default();
        let id = pending.insert(at(9), ());
        pending.slots[0].generation = u32::MAX;
        assert_eq!(pending.take(CallId { generation: u32::MAX, ..id }), Some(()));
        assert_eq!(pending.insert(at(9), ()).generation, 1);
        assert_eq!(pending.take(CallId::default()), None);
    }

    #[test]
    fn a_sweep_ends_what_is_due_and_nothing_else() {
        let mut pending = Pending::default();
        pending.insert(at(10), 'a');
        let later = pending.insert(at(20), 'b');
        assert!(pending.expired(at(9)).is_empty());
        assert_eq!(pending.expired(at(10)), ['a']);
        assert_eq!(pending.len(), 1);
        assert_eq!(pending.deadline(later), Some(at(20)));
        pending.insert(at(12), 'c');
        assert_eq!(pending.expired(at(30)).len(), 2);
        assert!(pending.is_empty());
    }

    #[test]
    fn slots_are_used_again_so_the_table_stays_as_small_as_its_fullest_hour() {
        let mut pending = Pending::default();
        for _ in 0..1000 {
            let ids: Vec<_> = (0..3).map(|n| pending.insert(at(n), n)).collect();
            for id in ids {
                pending.take(id);
            }
        }
        assert_eq!(pending.slots.len(), 3);
    }
}
