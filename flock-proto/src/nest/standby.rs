//! Warm standby: of a bird's state another nest holds a copy, should this one die.
//!
//! A life's *checkpoint* is its state as it was at some moment while it went on. It goes to the nest that
//! would own the name next if this one were gone, so that the bird then goes on from it where it lies.
//! There it is *held*: for nothing, as long as the nest lives that runs the bird. If that one dies and
//! somebody else becomes the owner, whoever holds the copy hands it over as what it is from then on, the
//! last there is of a life: it is listed and departs as any snap does.
//!
//! A life that moves leaves its last state with the nest that gave it, until its first checkpoint is
//! held elsewhere: there is no moment without a copy.
//!
//! Here is the nest that runs the bird; in `copies.rs` the one that holds the copy.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::Bytes;

use super::Nest;
use super::birds::Phase;
use super::states::snapshot_of;
use crate::bugs::{Bug, planted};
use crate::name_map::NameMap;
use crate::name_sets::NameSet;
use crate::wire::{Checkpoint, Checkpointed, Forget, Frame, Life};
use crate::{BirdName, Effect, Event, Fence, NestId, Time, Unheld};

/// So many birds are asked for a checkpoint at once: after a change of the ring half of all may need a
/// new holder, and each answer is a state that waits here.
const ASKED_AT_ONCE: usize = 256;

/// A bird that was asked and says nothing is asked again after so long; it may have crashed over it.
const ASK_FOR: Duration = Duration::from_secs(5);

/// A checkpoint that isn't answered is sent again after so long: a frame may be lost at a relay.
const ANSWER_WITHIN: Duration = Duration::from_secs(2);

/// What a nest knows of copies of its own birds at others.
#[derive(Debug, Default)]
pub(super) struct Standby {
    /// Of birds here: who holds what.
    kept: NameMap<Kept>,
    lanes: BTreeMap<NestId, Lane>,
    asked: NameMap<Time>,
    to_ask: NameSet,
}

/// A bird here of which others hold copies.
#[derive(Debug)]
struct Kept {
    life: Life,
    /// The last checkpoint, as long as nobody is known to hold it.
    latest: Option<Checkpoint>,
    /// Who holds a checkpoint of this life, of those that were next when they were sent it.
    holder: Option<NestId>,
    /// All that may hold something of the bird, and are to be told when that is of no more use.
    holders: BTreeSet<NestId>,
    /// Who had no room for it.
    refused_by: Option<NestId>,
    /// The bird has taken something in: what was sent before isn't all that it is.
    due: bool,
}

impl Kept {
    const fn new(life: Life) -> Self {
        let (latest, holder, refused_by) = (None, None, None);
        Self { life, latest, holder, holders: BTreeSet::new(), refused_by, due: false }
    }
}

/// Checkpoints on their way to one nest.
#[derive(Debug, Default)]
struct Lane {
    under_way: NameMap<Sent>,
    bytes: usize,
    /// They go when there is room.
    waiting: NameSet,
}

#[derive(Debug)]
struct Sent {
    number: u64,
    size: usize,
    at: Time,
}

impl Lane {
    fn take(&mut self, name: &BirdName) -> Option<Sent> {
        let sent = self.under_way.remove(name)?;
        self.bytes = self.bytes.saturating_sub(sent.size);
        Some(sent)
    }
}

impl Nest {
    /// Who owns the name next if this nest is gone.
    fn next_after_me(&self, name: &BirdName) -> Option<NestId> {
        self.view.ring().successors(name.hash64()).find(|&nest| nest != self.id)
    }

    /// Whether another nest is to hold a copy of the bird here.
    pub(super) fn is_kept(&self, name: &BirdName) -> bool {
        self.standby.kept.contains_key(name)
    }

    /// A life begins of which there were copies, at these nests: it is to have one of its own.
    pub(super) fn begin_keeping(&mut self, life: Life, holders: BTreeSet<NestId>) {
        self.withdraw(&life.name);
        let name = life.name.clone();
        let before = self.standby.kept.remove(&name);
        let mut kept = Kept::new(life);
        kept.holders = before.map_or_else(BTreeSet::new, |before| before.holders);
        kept.holders.extend(holders);
        self.standby.kept.insert(name, kept);
    }

    /// These nests gave a state to the life here, and keep it until another holds it.
    pub(super) fn note_givers(&mut self, name: &BirdName, givers: BTreeSet<NestId>) {
        let Some(bird) = self.birds.get(name).filter(|_| !givers.is_empty()) else { return };
        let life = Life { name: name.clone(), birth: bird.birth, fence: bird.fence };
        let kept = self.standby.kept.get_or_insert_with(name, || Kept::new(life));
        kept.holders.extend(givers);
        self.keep_anew(name);
    }

    /// The driver has taken a state; or it could not.
    pub(super) fn on_checkpoint_taken(
        &mut self,
        name: BirdName,
        fence: Fence,
        number: u64,
        state: Option<Bytes>,
    ) {
        self.standby.asked.remove(&name);
        let bird = self.birds.get(&name).filter(|bird| fence >= bird.first_fence());
        if let Some(bird) = bird
            && let Some(snapshot) = snapshot_of(bird, Some(number), state)
        {
            let life = Life { name: name.clone(), birth: bird.birth, fence: bird.fence };
            let checkpoint = Checkpoint { life: life.clone(), number, snapshot };
            let kept = self.standby.kept.get_or_insert_with(&name, || Kept::new(life.clone()));
            kept.life = life;
            kept.latest = Some(checkpoint);
            kept.due = false;
            self.see_to_copy(&name);
        }
        self.ask_more();
    }

    /// Does what is due so that the right nest holds the last checkpoint of a bird here; nothing, if
    /// that is so or under way.
    pub(super) fn see_to_copy(&mut self, name: &BirdName) {
        if !self.is_kept(name) {
            // As nearly always; to look for the next nest takes long in a small ring.
            return;
        }
        let next = self.next_after_me(name);
        let Some(kept) = self.standby.kept.get_mut(name) else { return };
        let Some(bird) = self.birds.get(name) else { return };
        let Some(next) = next else {
            kept.holder = None;
            if let Some(Checkpoint { number, .. }) = kept.latest.take() {
                let (fence, by) = (bird.fence, Err(Unheld::Alone));
                self.out.push(Effect::Checkpointed { name: name.clone(), fence, number, by });
            }
            return;
        };
        let lane = self.standby.lanes.get(&next);
        if lane.is_some_and(|lane| lane.under_way.contains_key(name)) {
            return;
        }
        let lacks = kept.due || (kept.holder != Some(next) && kept.refused_by != Some(next));
        if kept.latest.is_some() {
            self.send_checkpoint(name, next);
        } else if lacks && bird.phase == Phase::Running {
            if planted(Bug::EarlyForget) {
                let (life, holders) = (kept.life.clone(), std::mem::take(&mut kept.holders));
                self.send_to_all(holders, &Frame::Forget(Forget { life, number: u64::MAX }));
            }
            self.standby.to_ask.insert(name.clone());
            self.ask_more();
        }
    }

    fn ask_more(&mut self) {
        while self.standby.asked.len() < ASKED_AT_ONCE
            && let Some(name) = self.standby.to_ask.pop_first()
        {
            if let Some(bird) = self.birds.get(&name)
                && !self.standby.asked.contains_key(&name)
            {
                let fence = bird.fence;
                self.standby.asked.insert(name.clone(), self.now);
                self.out.push(Effect::Checkpoint { name, fence });
            }
        }
    }

    fn send_checkpoint(&mut self, name: &BirdName, to: NestId) {
        let Some(kept) = self.standby.kept.get_mut(name) else { return };
        let Some(checkpoint) = kept.latest.clone() else { return };
        let size = checkpoint.snapshot.state.len();
        let lane = self.standby.lanes.entry(to).or_default();
        if lane.bytes > 0 && lane.bytes + size > self.config.depart_bytes {
            lane.waiting.insert(name.clone());
            return;
        }
        lane.waiting.remove(name);
        lane.bytes += size;
        let sent = Sent { number: checkpoint.number, size, at: self.now };
        lane.under_way.insert(name.clone(), sent);
        kept.holders.insert(to);
        self.send(to, &Frame::Checkpoint(checkpoint));
    }

    pub(super) fn on_checkpointed(&mut self, from: NestId, answer: Checkpointed) {
        let Checkpointed { name, number, refused } = answer;
        let Some(lane) = self.standby.lanes.get_mut(&from) else { return };
        if lane.under_way.get(&name).is_none_or(|sent| sent.number != number) {
            return;
        }
        lane.take(&name);
        let is_next = self.next_after_me(&name) == Some(from);
        if let Some(kept) = self.standby.kept.get_mut(&name) {
            kept.latest.take_if(|latest| latest.number <= number);
            let first = refused && kept.refused_by.replace(from) != Some(from);
            if !refused {
                kept.refused_by = None;
            }
            let mut outdated = BTreeSet::new();
            if !refused && is_next && !kept.due {
                kept.holder = Some(from);
                outdated = std::mem::replace(&mut kept.holders, BTreeSet::from([from]));
            }
            outdated.remove(&from);
            let life = kept.life.clone();
            let by = self.nest_name(from).filter(|_| !refused).ok_or(Unheld::Full);
            if first {
                let why = Unheld::Full.to_string();
                self.tell(Event::NotCheckpointed { bird: name.clone(), why });
            }
            if let Some(fence) = self.birds.get(&name).map(|bird| bird.fence) {
                self.out.push(Effect::Checkpointed { name: name.clone(), fence, number, by });
            }
            self.send_to_all(outdated, &Frame::Forget(Forget { life, number }));
            self.see_to_copy(&name);
        }
        self.fill(from);
    }

    /// Sends what waits for that nest, as far as there is room.
    fn fill(&mut self, to: NestId) {
        let lane = self.standby.lanes.get_mut(&to);
        let waiting = lane.map(|lane| std::mem::take(&mut lane.waiting)).unwrap_or_default();
        let mut waiting = waiting.into_names();
        for name in waiting.by_ref() {
            self.see_to_copy(&name);
            let lane = self.standby.lanes.entry(to).or_default();
            if lane.waiting.contains(&name) {
                // There is no room for this one, nor for those behind it.
                lane.waiting.extend(waiting);
                break;
            }
        }
        self.standby.lanes.retain(|_, lane| !lane.under_way.is_empty() || !lane.waiting.is_empty());
    }

    /// What is under way to others, of this bird, is of no interest any more.
    fn withdraw(&mut self, name: &BirdName) {
        for lane in self.standby.lanes.values_mut() {
            lane.take(name);
            lane.waiting.remove(name);
        }
        self.standby.to_ask.remove(name);
    }

    /// A life is over, and no copy of it is needed any more.
    pub(super) fn stop_keeping(&mut self, name: &BirdName) {
        let Some(Kept { life, holders, .. }) = self.standby.kept.remove(name) else { return };
        self.withdraw(name);
        self.standby.asked.remove(name);
        self.send_to_all(holders, &Frame::Forget(Forget { life, number: u64::MAX }));
        self.ask_more();
    }

    /// The ring is another: copies of birds here may have to be held by others now.
    pub(super) fn keep_all(&mut self) {
        let view = self.view.clone();
        self.standby.lanes.retain(|to, _| view.member(*to).is_some());
        for name in self.standby.kept.keys().cloned().collect::<Vec<_>>() {
            self.see_to_copy(&name);
        }
    }

    /// The bird here has changed otherwise than by calls, or whoever holds copies may have dropped them.
    pub(super) fn keep_anew(&mut self, name: &BirdName) {
        if let Some(kept) = self.standby.kept.get_mut(name) {
            kept.holder = None;
            kept.due = true;
            self.see_to_copy(name);
        }
    }

    /// The link opened anew: what was sent may never have arrived.
    pub(super) fn resend_checkpoints(&mut self, to: NestId) {
        let lane = self.standby.lanes.get_mut(&to);
        let names: Vec<_> =
            lane.map(|lane| lane.under_way.keys().cloned().collect()).unwrap_or_default();
        self.send_anew(to, names);
    }

    fn send_anew(&mut self, to: NestId, names: Vec<BirdName>) {
        for name in names {
            if let Some(lane) = self.standby.lanes.get_mut(&to) {
                lane.take(&name);
            }
            self.see_to_copy(&name);
        }
        self.fill(to);
    }

    /// Looks whether anything was lost on its way.
    pub(super) fn retry_checkpoints(&mut self) {
        let now = self.now;
        let late = |lane: &Lane| {
            let late = lane.under_way.iter().filter(|(_, sent)| sent.at + ANSWER_WITHIN <= now);
            late.map(|(name, _)| name.clone()).collect::<Vec<_>>()
        };
        let late: Vec<_> = self.standby.lanes.iter().map(|(to, lane)| (*to, late(lane))).collect();
        for (to, names) in late {
            self.send_anew(to, names);
        }
        self.forget_given();
        let silent = self.standby.asked.iter().filter(|(_, at)| **at + ASK_FOR <= now);
        for name in silent.map(|(name, _)| name.clone()).collect::<Vec<_>>() {
            self.standby.asked.remove(&name);
            self.see_to_copy(&name);
        }
    }

    /// This nest belongs to no view for now.
    pub(super) fn forget_lanes(&mut self) {
        self.standby.lanes.clear();
        for kept in self.standby.kept.values_mut() {
            kept.holder = None;
        }
    }
}
