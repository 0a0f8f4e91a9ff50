//! Who takes its share of the names, and when; how many birds move at a time.
//!
//! A nest that is up and has not taken its share says on its card that its weight is 0, and what it is
//! *due*. So it is no part of the ring, and does all else that a nest does. Each nest decides by itself
//! when it takes its share; the others see it by its card, as they see that a nest came up.

use std::time::Duration;

use super::Nest;
use crate::bugs::{Bug, planted};
use crate::name_sets::NameSet;
use crate::{
    Answer, Config, Effect, Event, Member, NestId, NestState, Rebalancing, ReqId, Time, View,
};

/// What a nest has still to do about its share, and about those of others.
#[derive(Debug)]
pub(super) struct Balance {
    /// What this nest's weight is, or will be when it takes its share.
    weight: u32,
    /// It has yet to take its share.
    waits: bool,
    /// Since it came up something happened for which those that wait take their shares.
    called: bool,
    /// How often users of this nest have asked for that.
    calls: u64,
    /// When the ring last changed in the view of this nest.
    changed: Time,
    /// A partition ended, and some birds may have two lives until they have moved.
    reunited: bool,
    /// When the next bird may depart.
    next: Time,
    /// To which nest the last one was called up that had waited.
    turn: NestId,
}

/// So much of the time in which no bird departed may be made up for: a timer is late now and then.
const LATE: Duration = Duration::from_millis(10);

impl Balance {
    pub(super) const fn new(weight: u32, config: &Config) -> Self {
        Self {
            weight,
            waits: weight > 0 && waits(config),
            called: false,
            calls: 0,
            changed: Time::NEVER,
            reunited: false,
            next: Time::from_micros(0),
            turn: NestId(0),
        }
    }

    /// What the card says: the weight now, the one that is due, and how often all were asked to take
    /// theirs.
    pub(super) const fn on_card(&self) -> (u32, u32, u64) {
        if self.waits { (0, self.weight, self.calls) } else { (self.weight, 0, self.calls) }
    }
}

/// Whether a nest that comes up waits before it takes its share.
const fn waits(config: &Config) -> bool {
    matches!(config.rebalancing, Rebalancing::Passive) || !config.cool_down.is_zero()
}

impl Nest {
    /// Takes this nest's share, if it waits for that and has a reason. True: the members have changed.
    pub(super) fn take_share(&mut self) -> bool {
        let takes = self.balance.waits && self.state == NestState::Up && self.may_take_share();
        if takes {
            self.balance.waits = false;
            self.write_card();
        }
        takes
    }

    /// This nest is about to be up, and has no share yet: what happened before is no reason to take it.
    pub(super) fn begin_to_wait(&mut self) {
        self.balance.called = false;
        self.balance.waits = self.balance.weight > 0
            && waits(&self.config)
            && !planted(Bug::HastyShares)
            && !self.may_take_share();
    }

    fn may_take_share(&self) -> bool {
        self.balance.called
            // Nothing would move.
            || self.registry.records() == 0
            || !self.has_another_a_share()
            || (self.config.rebalancing == Rebalancing::Active && self.now >= self.cooled_at())
    }

    fn cooled_at(&self) -> Time {
        self.balance.changed + self.config.cool_down
    }

    /// By their cards, not by the view, in which nests that came up may still be held back.
    fn has_another_a_share(&self) -> bool {
        self.swim.alive().iter().any(|&id| {
            let card = self.roster.card(id);
            card.is_some_and(|card| card.state == NestState::Up && card.weight > 0 && !card.left)
        })
    }

    /// When this nest is to look again whether it may take its share.
    pub(super) fn share_at(&self) -> Time {
        let by_time = self.config.rebalancing == Rebalancing::Active;
        if self.balance.waits && self.state == NestState::Up && by_time {
            self.cooled_at()
        } else {
            Time::NEVER
        }
    }

    /// This nest joins as another one, and has seen no ring yet.
    pub(super) const fn forget_ring(&mut self) {
        self.balance.changed = Time::NEVER;
    }

    /// The view is another. Where a nest goes that has a share, birds move in any case: those that wait
    /// take theirs.
    pub(super) fn note_shares(&mut self, before: &View, view: &View) {
        if !before.ring().is_same(view.ring()) {
            self.balance.changed = self.now;
        }
        let is_up = |view: &View, id| view.member(id).is_some_and(|m| m.state == NestState::Up);
        let have = before.members().iter().filter(|m| m.state == NestState::Up && m.weight > 0);
        let mut others = have.filter(|m| m.id != self.id);
        if self.balance.waits
            && is_up(before, self.id)
            && others.any(|m| !is_up(view, m.id))
            && !planted(Bug::ForgottenShares)
        {
            self.balance.called = true;
        }
        for member in view.members().iter().filter(|m| m.state != NestState::Joining) {
            let changed = before
                .member(member.id)
                .is_some_and(|old| old.state != NestState::Joining && old.weight != member.weight);
            if changed {
                let (nest, weight) = (member.name.clone(), member.weight);
                self.tell(Event::ShareChanged { nest, weight });
            }
        }
    }

    /// A nest's card says that its users have asked so many times that all take their shares: whether
    /// that is once more than was known. A nest that is up has met all others that are; what one says of
    /// which it never heard was said on the other side of a cut, perhaps long ago.
    pub(super) fn is_called_by(&self, id: NestId, calls: u64) -> bool {
        self.balance.waits
            && self.roster.card(id).is_some_and(|card| calls > card.rebalances)
            && !planted(Bug::DeafShares)
    }

    pub(super) fn on_called(&mut self) {
        // One that joins has yet to begin to wait.
        self.balance.called |= self.state == NestState::Up;
    }

    /// A user asks all that wait to take their shares. By the card it reaches every nest, over however
    /// many others.
    pub(super) fn on_rebalance(&mut self, req: ReqId) {
        if self.leave.is_some() {
            return self.out.push(Effect::Answer { req, answer: Answer::Leaving });
        }
        let waits = |m: &&Member| m.state == NestState::Up && m.due > 0;
        let waiting = self.view.members().iter().filter(waits).map(|m| m.name.clone()).collect();
        self.balance.calls += 1;
        self.on_called();
        self.write_card();
        self.out.push(Effect::Answer { req, answer: Answer::Rebalancing { waiting } });
    }

    /// A user gives this nest another weight.
    pub(super) fn on_weigh(&mut self, req: ReqId, weight: u32) {
        if self.leave.is_some() {
            return self.out.push(Effect::Answer { req, answer: Answer::Leaving });
        }
        self.balance.weight = weight;
        // Nothing to wait for; should it be given a weight again, that counts at once.
        self.balance.waits &= weight > 0;
        self.write_card();
        self.out.push(Effect::Answer { req, answer: Answer::Weighed });
    }

    /// A partition ended: until its birds have moved, they live twice.
    pub(super) const fn on_lives_doubled(&mut self) {
        self.balance.reunited = true;
    }

    /// A view was entered whose birds are gathered that belong elsewhere.
    pub(super) fn note_away(&mut self) {
        self.balance.reunited &= !self.away.is_empty();
    }

    /// Whether birds move only because the ring is another: these can wait.
    fn is_unhurried(&self) -> bool {
        self.state == NestState::Up && !self.balance.reunited
    }

    /// How many birds may depart at this moment to all other nests together.
    fn room_for_all(&self) -> usize {
        if !self.is_unhurried() {
            return usize::MAX;
        }
        let under_way: usize = self.in_flight.values().map(|window| window.len()).sum();
        let room = self.config.moves_at_once.max(1).saturating_sub(under_way);
        let Some(gap) = self.gap() else { return room };
        let next = self.next_departure();
        if next > self.now {
            return 0;
        }
        let due = 1 + self.now.since(next).as_micros() / gap.as_micros().max(1);
        room.min(usize::try_from(due).unwrap_or(usize::MAX))
    }

    /// The time between two departures.
    fn gap(&self) -> Option<Duration> {
        let most = self.config.moves_per_second?.max(1);
        Some(Duration::from_secs(1) / most)
    }

    fn next_departure(&self) -> Time {
        let late = self.now.as_micros().saturating_sub(LATE.as_micros() as u64);
        self.balance.next.max(Time::from_micros(late))
    }

    fn room_for(&self, owner: NestId) -> usize {
        // Those that have departed come first. What waits for its way to another nest is no reason to wait.
        if self.held_back.contains_key(&owner) {
            return 0;
        }
        let window = self.in_flight.get(&owner).map_or(0, |window| window.len());
        self.config.depart_window.saturating_sub(window)
    }

    /// Whether a bird may depart to that nest now. If not, it waits to be called up.
    pub(super) fn may_depart(&self, owner: NestId) -> bool {
        self.room_for(owner) > 0 && self.room_for_all() > 0
    }

    /// A bird departs now.
    pub(super) fn note_departure(&mut self) {
        if let Some(gap) = self.gap() {
            self.balance.next = self.next_departure() + gap;
        }
    }

    /// Calls up birds that waited for others to be gone: as many as there is room for, to each owner in
    /// turn.
    pub(super) fn call_up(&mut self) {
        if self.queue.is_empty() {
            return;
        }
        let mut room = self.room_for_all();
        let mut owners: Vec<(NestId, usize)> =
            self.queue.keys().map(|&owner| (owner, self.room_for(owner))).collect();
        let after = owners.partition_point(|(owner, _)| *owner <= self.balance.turn);
        owners.rotate_left(after);
        while room > 0 && !owners.is_empty() {
            owners.retain_mut(|(owner, its)| {
                if room == 0 || *its == 0 {
                    return false;
                }
                let next = self.queue.get_mut(owner).and_then(NameSet::pop_first);
                let Some(name) = next else { return false };
                self.dirty.insert(name);
                self.balance.turn = *owner;
                (room, *its) = (room - 1, *its - 1);
                true
            });
        }
        self.queue.retain(|_, names| !names.is_empty());
    }

    /// When birds may be called up, if nothing happens before.
    pub(super) fn call_up_at(&self) -> Time {
        let waits =
            |(owner, names): (&NestId, &NameSet)| !names.is_empty() && self.room_for(*owner) > 0;
        if self.queue.is_empty() || !self.queue.iter().any(waits) {
            return Time::NEVER;
        }
        if !self.is_unhurried() {
            return self.now;
        }
        let under_way: usize = self.in_flight.values().map(|window| window.len()).sum();
        match self.gap() {
            _ if under_way >= self.config.moves_at_once.max(1) => Time::NEVER,
            Some(_) => self.next_departure().max(self.now),
            None => self.now,
        }
    }
}
