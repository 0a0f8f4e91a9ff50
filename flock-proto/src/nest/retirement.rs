//! Dead incarnations are retired, and a nest that was held for dead so long comes back as a new one.
//!
//! Each nest judges by itself which are due: those that have been gone for
//! [`retire_after`](crate::Config::retire_after), and at once those of which nobody can come back,
//! if no other might. It waits until their last records are written anew by whoever owns the names,
//! and until all members know all their operations. The others follow its horizon as soon as they
//! know what it knows.

use std::collections::{BTreeMap, BTreeSet};

use super::Nest;
use crate::bugs::{Bug, planted};
use crate::membership::Swim;
use crate::nest_map::{NestMap, without};
use crate::registry::Vector;
use crate::{BirdName, Dot, Effect, Event, NestId, NestName, NestState, Time, View};

/// What is known of incarnations that are gone.
#[derive(Debug, Default)]
pub(super) struct Retirement {
    /// Those that vectors still name.
    gone: BTreeMap<NestId, Gone>,
    /// What each member knew of their operations when it last said so, in the order of those.
    agreed: NestMap<Vec<(NestId, u64)>>,
    /// What a nest knew whose horizon is beyond ours.
    theirs: Option<(NestId, Vector)>,
    /// Members that name incarnations which are retired here, and will write anew what those wrote.
    behind: BTreeSet<NestId>,
    /// Members that have retired incarnations which are named here.
    ahead: BTreeSet<NestId>,
    /// At which hash the search for records of dead incarnations goes on.
    next: u64,
}

#[derive(Debug)]
struct Gone {
    since: Time,
    name: Option<NestName>,
}

/// Mostly nothing is.
fn note_if_new(known: &mut Vec<(NestId, u64)>, now: impl Iterator<Item = (NestId, u64)> + Clone) {
    if !now.clone().eq(known.iter().copied()) {
        known.clear();
        known.extend(now);
    }
}

impl Nest {
    /// Takes note of what another nest knows of the dead, and of its horizon.
    pub(super) fn note_horizon(&mut self, nest: NestId, vector: Option<&Vector>) {
        let mine = self.registry.vector();
        let theirs = vector.unwrap_or(mine);
        let retirement = &mut self.retirement;
        let agreed = retirement.agreed.get_or_default(nest);
        note_if_new(
            agreed,
            theirs.named(retirement.gone.keys().copied()).map(|(id, seq)| match seq {
                Some(seq) => (id, seq),
                // Retired there.
                None if id <= theirs.horizon() => (id, mine.seq(id)),
                None => (id, 0),
            }),
        );
        let mark = |set: &mut BTreeSet<NestId>, is_in| {
            if is_in {
                set.insert(nest)
            } else {
                set.remove(&nest)
            };
        };
        let was_behind = retirement.behind.contains(&nest);
        let is_behind = vector.is_some_and(|vector| mine.retires_of(vector));
        mark(&mut retirement.behind, is_behind);
        if is_behind != was_behind {
            // Arcs may be settled for which its seal alone was not enough.
            self.seal_changes += 1;
        }
        mark(&mut retirement.ahead, vector.is_some_and(|vector| vector.retires_of(mine)));
        if let Some(vector) = vector
            && (vector.horizon() > mine.horizon() || vector.retires_of(mine))
        {
            self.retirement.theirs = Some((nest, vector.clone()));
        }
    }

    /// Whether this member may still hold live records of incarnations that are retired here.
    pub(super) fn is_behind(&self, member: NestId) -> bool {
        self.retirement.behind.contains(&member)
    }

    /// Whether this member has retired incarnations that are named here: it can be handed nothing that
    /// those began before their records are written anew.
    pub(super) fn is_ahead(&self, member: NestId) -> bool {
        self.retirement.ahead.contains(&member)
    }

    /// Follows another nest's horizon, once all is known that it knows.
    pub(super) fn follow_horizon(&mut self) {
        self.forget_lost_horizon();
        let Some((_, theirs)) = &self.retirement.theirs else { return };
        let (horizon, mine) = (theirs.horizon(), self.registry.vector());
        if theirs.is_retired(self.id) {
            self.renew(horizon.max(mine.horizon()));
        } else if horizon <= mine.horizon() && !theirs.retires_of(mine) {
            self.retirement.theirs = None;
        } else if self.state != NestState::Joining {
            self.try_follow();
        }
    }

    /// The same for one that comes up, which writes what it brings under its new name only when it
    /// can list the lives that belong to it. False: not yet.
    pub(super) fn try_follow(&mut self) -> bool {
        self.forget_lost_horizon();
        let Some((_, theirs)) = &self.retirement.theirs else { return true };
        let mine = self.registry.vector();
        if !mine.covers_all(theirs) {
            return false;
        }
        let retired = mine.iter().map(|dot| dot.origin).filter(|&id| theirs.is_retired(id));
        let retired: Vec<NestId> = retired.collect();
        // One that lives will find itself retired, and tell what it has told us under a new name.
        if retired.iter().any(|&id| self.view.member(id).is_some()) {
            return false;
        }
        let horizon = theirs.horizon();
        if !planted(Bug::UnwrittenHorizon) {
            let (orphans, _) = self.registry.written_by(|id| retired.contains(&id), 0, usize::MAX);
            for (name, dot) in orphans {
                let change = self.registry.rewrite(&name, dot);
                self.on_own_change(change);
            }
        }
        self.registry.remove_anew(&retired);
        self.retire(horizon, &retired);
        self.retirement.theirs = None;
        true
    }

    /// What a nest knew that is gone, perhaps nobody else ever will. Whoever does will say so.
    fn forget_lost_horizon(&mut self) {
        let (links, view) = (&self.links, &self.view);
        let is_lost = |id: NestId| !links.contains(id) && view.member(id).is_none();
        self.retirement.theirs.take_if(|(from, _)| is_lost(*from));
    }

    fn retire(&mut self, horizon: NestId, gone: &[NestId]) {
        if !self.registry.retire(horizon, gone) {
            return;
        }
        self.counters.retired += gone.len() as u64;
        self.forget_lost_cards();
        let retirement = &mut self.retirement;
        retirement.gone.retain(|id, _| !gone.contains(id));
        retirement.ahead.clear();
        // Until they say otherwise.
        retirement.behind = self.view.others().collect();
        for agreed in retirement.agreed.values_mut() {
            agreed.retain(|(id, _)| !gone.contains(id));
        }
        // What waited for this nest to follow; and what was handed to those that were ahead, and that
        // didn't take what they couldn't know.
        self.dirty.extend(self.birds.keys().cloned());
        self.dirty.extend(self.snaps.keys().cloned());
        for to in self.offered_to() {
            self.send_seal(to);
            self.resend_departs(to);
        }
    }

    /// Of a birth of a retired incarnation that has no record here: whether the nest that speaks of it
    /// has written its records anew, so that this one is dead.
    pub(super) fn is_known(&self, name: &BirdName, birth: Dot, from: NestId) -> bool {
        self.registry.remembers(birth)
            || self.registry.is_alive(name, birth)
            || (self.registry.covers(birth) && !self.is_behind(from))
    }

    /// Looks for incarnations that are due, and takes the next step with them.
    pub(super) fn retire_dead(&mut self) {
        // Whom a minority forgot, it would no longer count.
        if self.state != NestState::Up || self.lacks_quorum() {
            return;
        }
        self.find_gone();
        let due = self.due();
        if due.is_empty() {
            return;
        }
        if due.iter().any(|&id| self.registry.live_of(id) > 0) {
            self.write_anew(&due);
        }
        let vector = self.registry.vector();
        let members = || self.view.ids().chain(self.swim.alive().iter().copied());
        // A nest that nobody has heard of yet must not fall under it.
        let unheard = members().filter(|&id| vector.seq(id) == 0).min();
        let agree = |id: NestId| {
            let knows = |member: NestId| {
                let agreed = self.retirement.agreed.get(member);
                agreed.is_some_and(|agreed| agreed.binary_search(&(id, vector.seq(id))).is_ok())
            };
            members().all(|member| member == self.id || knows(member))
        };
        let ready = |&id: &NestId| {
            unheard.is_none_or(|unheard| id < unheard)
                && self.registry.live_of(id) == 0
                && agree(id)
        };
        let retired: Vec<NestId> = due.into_iter().filter(ready).collect();
        if let Some(&last) = retired.iter().max() {
            self.retire(last, &retired);
        }
    }

    /// A member is gone.
    pub(super) fn note_gone(&mut self, id: NestId, name: &NestName) {
        self.retirement.agreed.remove(id);
        self.retirement.behind.remove(&id);
        self.retirement.ahead.remove(&id);
        let gone = Gone { since: self.now, name: Some(name.clone()) };
        self.retirement.gone.entry(id).or_insert(gone);
    }

    fn find_gone(&mut self) {
        let alive = self.swim.alive();
        let is_here = |id: NestId| id == self.id || self.view.member(id).is_some();
        let vector = self.registry.vector();
        let retirement = &mut self.retirement;
        retirement.gone.retain(|&id, _| vector.seq(id) > 0 && !alive.contains(&id) && !is_here(id));
        let origins = vector.iter().map(|dot| dot.origin);
        for id in without(origins, alive.iter().copied()).filter(|&id| !is_here(id)) {
            let name = || self.roster.card(id).map(|card| card.name.clone());
            let gone = || Gone { since: self.now, name: name() };
            retirement.gone.entry(id).or_insert_with(gone);
        }
    }

    /// It left, or was started anew.
    fn is_gone_for_good(&self, id: NestId, gone: &Gone) -> bool {
        let card = gone.name.as_ref().and_then(|name| self.roster.named(name));
        card.is_some_and(|card| card.id > id || (card.id == id && card.left))
    }

    /// Whether a nest is gone that may come back as what it was, with what it ran.
    pub(super) fn may_any_come_back(&self) -> bool {
        let mut gone = self.retirement.gone.iter();
        gone.any(|(id, gone)| !self.is_gone_for_good(*id, gone))
    }

    /// Those that have been gone for so long that they may be forgotten.
    fn due(&self) -> Vec<NestId> {
        let is_old = |gone: &Gone| self.now >= gone.since + self.config.retire_after;
        let for_good = |id: NestId, gone: &Gone| self.is_gone_for_good(id, gone);
        let gone = &self.retirement.gone;
        // One that may come back may hold records that only their authors' operations tell from dead
        // ones.
        let waits = gone.iter().any(|(&id, gone)| !is_old(gone) && !for_good(id, gone));
        let due = gone.iter().filter(|(id, gone)| is_old(gone) || (!waits && for_good(**id, gone)));
        due.map(|(id, _)| *id).collect()
    }

    /// Writes some records of the dead anew, of the names that this nest owns: in the background, so
    /// few at a time.
    fn write_anew(&mut self, dead: &[NestId]) {
        let from = self.retirement.next;
        // The log must hold them until the others have them: a record that fell out of it and is
        // removed at once would live on with those who have only its former author's.
        let looks = self.config.retire_looks.min(self.config.registry.log_len / 2).max(1);
        let (found, next) = self.registry.written_by(|id| dead.contains(&id), from, looks);
        self.retirement.next = next.unwrap_or(0);
        for (name, dot) in found {
            let hash = name.hash64();
            if self.owns(hash) && self.is_settled(hash) {
                let change = self.registry.rewrite(&name, dot);
                self.on_own_change(change);
            }
        }
    }

    /// The others have held this nest for dead for so long that they forgot it: it joins anew, as
    /// another one. Its birds live on meanwhile; what it knows it tells under its new name as it
    /// comes up.
    pub(super) fn renew(&mut self, above: NestId) {
        if self.state == NestState::Joining && self.registry.last_dot().seq == 0 {
            return self.on_outdated(above);
        }
        let id = self.draw_above(above);
        if !self.registry.renew(id) {
            return;
        }
        for name in self.offers.keys().cloned().collect::<Vec<_>>() {
            self.refuse_offers(&name);
        }
        let gone = Gone { since: self.now, name: Some(self.me.name.clone()) };
        self.retirement.gone.insert(self.id, gone);
        self.retirement.agreed.clear();
        self.tell(Event::Renewed);
        self.renewed = true;
        self.forget_view();
        self.forget_requests();
        self.state = NestState::Joining;
        self.born = self.now;
        self.first_contact = None;
        self.may_form_before = false;
        self.become_another(id);
        let others = self.roster.cards().filter(|card| card.id != id && !card.left);
        for address in others.map(|card| card.address.clone()).collect::<Vec<_>>() {
            self.dial(&address);
        }
    }

    /// Goes on under another incarnation, of which nobody knows yet.
    pub(super) fn become_another(&mut self, id: NestId) {
        self.id = id;
        self.served.rename(id);
        self.roster.forget(&self.me.name);
        self.view = std::sync::Arc::new(View::new(id, Vec::new()));
        self.forget_ring();
        self.swim = Swim::new(id, self.me.name.clone(), self.config.swim, self.rng.next_u64());
        self.links.clear();
        self.all_known = false;
        // Those who hold the former incarnation in their view don't hold this one.
        self.held.clear();
        self.out.push(Effect::Renamed { id });
        self.write_card();
        self.dialing.clear();
        self.dial_seeds();
    }
}
