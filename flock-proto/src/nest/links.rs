//! Links between nests: dialled, lost, silent; and how a dead process is told from a lost link.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use super::Nest;
use crate::bugs::{Bug, planted};
use crate::nest_map::without;
use crate::wire::{Frame, Probe, Probed};
use crate::{Config, Effect, Event, NestId, NestName, NestState, Peer, Time};

/// An open control link.
#[derive(Debug)]
pub(super) struct Link {
    /// Apart from the times, which are looked through again and again.
    pub(super) peer: Box<Peer>,
    /// When the last frame came.
    pub(super) heard: Time,
    /// When the last frame went.
    pub(super) said: Time,
    /// When all cards went.
    pub(super) cards_at: Option<Time>,
}

/// A nest whose link broke, and what is known of its fate.
#[derive(Debug)]
pub(super) struct Death {
    since: Time,
    next: Time,
    refusals: u32,
    asked: BTreeSet<NestId>,
    refused_to: BTreeSet<NestId>,
}

impl Nest {
    pub(super) fn dial_seeds(&mut self) {
        self.unheard = self.me.seeds.iter().cloned().collect();
        self.unheard.remove(&self.me.address);
        for address in self.me.seeds.clone() {
            self.dial(&address);
        }
    }

    pub(super) fn dial(&mut self, address: &str) {
        if address == self.me.address || address.is_empty() {
            return;
        }
        if self.dialing.get(address).is_some_and(|&until| until > self.now) {
            return;
        }
        self.dialing.insert(address.to_owned(), self.now + self.config.dial_for);
        self.out.push(Effect::Dial { address: address.to_owned() });
    }

    pub(super) fn on_link_opened(&mut self, peer: Peer, dialled: Option<String>) {
        let Peer { id, name, address } = peer.clone();
        if id == self.id {
            // Two nests drew one number at the same moment: whoever still can draws anew.
            if name != self.me.name {
                self.out.push(Effect::HangUp { peer: id, why: "it has our number".to_owned() });
                self.on_outdated(id);
            }
            return;
        }
        self.dialing.remove(&address);
        self.unheard.remove(&address);
        if let Some(dialled) = dialled {
            self.dialing.remove(&dialled);
            self.unheard.remove(&dialled);
            if self.me.seeds.contains(&dialled) {
                self.found_at.insert(dialled, name.clone());
            }
        }
        self.first_contact.get_or_insert(self.now);
        self.links_changed = true;
        self.all_known = false;
        self.deaths.remove(&id);
        self.told.remove(id);
        for asker in self.probing.remove(&id).unwrap_or_default() {
            self.send(asker, &Frame::Probed(Probed { target: id, refused: false }));
        }
        self.drop_earlier_incarnations(id, &name);
        let (heard, said) = (self.now, self.now);
        self.links.insert(id, Link { peer: Box::new(peer), heard, said, cards_at: None });
        self.greet(id);
        if !self.swim.alive().contains(&id) {
            self.with_swim(|swim, now, out| swim.announce(now, id, &name, out));
        }
        self.tell_if_suspected(id);
        self.look_at(id);
        self.go_on_comparing(id);
        self.send_held(id);
        let seals = self.view.member(id).is_some_and(|m| m.state != NestState::Joining);
        if seals && !planted(Bug::UnsealedLinks) {
            self.send_seal(id);
        }
        self.resend_departs(id);
        self.resend_checkpoints(id);
        self.tell_lost_to(id);
        self.resend_asks(id);
    }

    /// A nest's name was taken over by a later run of it: the earlier one is dead.
    fn drop_earlier_incarnations(&mut self, id: NestId, name: &NestName) {
        let earlier: Vec<_> = self
            .links
            .iter()
            .take_while(|(other, _)| *other < id)
            .filter(|(_, link)| link.peer.name == *name)
            .map(|(other, _)| other)
            .collect();
        for old in earlier {
            self.links.remove(old);
            let why = format!("{name} runs anew");
            self.out.push(Effect::HangUp { peer: old, why });
            self.declare_down(old);
        }
    }

    pub(super) fn on_link_closed(&mut self, id: NestId) {
        let Some(link) = self.links.remove(id) else { return };
        self.links_changed = true;
        if self.view.member(id).is_none() {
            self.parts.remove(&id);
        }
        if self.swim.alive().contains(&id) && !planted(Bug::NoProbes) {
            self.deaths.insert(
                id,
                Death {
                    since: self.now,
                    next: self.now + self.config.probe_every,
                    refusals: 0,
                    asked: BTreeSet::new(),
                    refused_to: BTreeSet::new(),
                },
            );
            self.timers.death = self.timers.death.min(self.now + self.config.probe_every);
            self.dial(&link.peer.address);
        }
    }

    pub(super) fn on_dial_failed(&mut self, address: &str, refused: bool, why: String) {
        self.dialing.remove(address);
        if refused {
            self.unheard.remove(address);
        }
        let at_address: Vec<NestId> = self
            .roster
            .cards()
            .filter(|card| &*card.address == address)
            .map(|card| card.id)
            .collect();
        for id in at_address {
            if !refused {
                continue;
            }
            for asker in self.probing.remove(&id).unwrap_or_default() {
                self.send(asker, &Frame::Probed(Probed { target: id, refused: true }));
            }
            self.on_refusal(id);
        }
        let lonely = self.links.is_empty() && self.me.seeds.iter().any(|seed| seed == address);
        let told = self.told_alone.is_some_and(|at| self.now < at + Duration::from_secs(5));
        if lonely && !told {
            self.told_alone = Some(self.now);
            self.tell(Event::Alone { why: format!("{address}: {why}") });
        }
    }

    /// A nest's address refuses us. That alone is no verdict: its listener may be out of reach for
    /// us only. Others are asked; where all see the same, the process is dead.
    fn on_refusal(&mut self, id: NestId) {
        let witnesses: Vec<NestId> = self
            .links
            .ids()
            .filter(|&other| other != id && self.swim.alive().contains(&other))
            .collect();
        let Some(death) = self.deaths.get_mut(&id) else { return };
        death.refusals += 1;
        if witnesses.is_empty() || planted(Bug::HastyVerdicts) {
            if death.refusals >= self.config.lone_refusals {
                self.declare_down(id);
            }
            return;
        }
        let start = self.rng.below(witnesses.len() as u64) as usize;
        let asked: BTreeSet<NestId> = witnesses
            .iter()
            .cycle()
            .skip(start)
            .take(self.config.witnesses.min(witnesses.len()))
            .copied()
            .collect();
        death.asked.clone_from(&asked);
        death.refused_to.clear();
        for witness in asked {
            self.send(witness, &Frame::Probe(Probe { target: id }));
        }
    }

    pub(super) fn on_probe(&mut self, from: NestId, target: NestId) {
        let answer = if self.links.contains(target) {
            Some(false)
        } else if self.roster.card(target).is_none() {
            // Never heard of: that is no word on its death.
            return;
        } else if !self.swim.alive().contains(&target)
            || self.deaths.get(&target).is_some_and(|death| death.refusals > 0)
        {
            Some(true)
        } else {
            None
        };
        if let Some(refused) = answer {
            return self.send(from, &Frame::Probed(Probed { target, refused }));
        }
        if let Some(address) = self.roster.card(target).map(|card| card.address.clone()) {
            self.probing.entry(target).or_default().insert(from);
            self.dialing.remove(&*address);
            self.dial(&address);
        }
    }

    pub(super) fn on_probed(&mut self, from: NestId, target: NestId, refused: bool) {
        let Some(death) = self.deaths.get_mut(&target) else { return };
        if !refused {
            // It lives for somebody: ask again at the next refusal, or leave it to SWIM.
            death.refused_to.clear();
            return;
        }
        if death.asked.contains(&from) {
            death.refused_to.insert(from);
        }
        if death.refused_to.len() == death.asked.len() {
            self.declare_down(target);
        }
    }

    pub(super) fn declare_down(&mut self, id: NestId) {
        self.deaths.remove(&id);
        self.members_changed = true;
        self.with_swim(|swim, now, out| swim.declare_down(now, id, out));
    }

    /// Dials those again whose links broke lately.
    pub(super) fn redial_dead(&mut self) {
        let (now, alive) = (self.now, self.swim.alive());
        let Config { probe_for, probe_every, .. } = self.config;
        self.deaths.retain(|id, death| now < death.since + probe_for && alive.contains(id));
        let due: Vec<NestId> =
            self.deaths.iter().filter(|(_, d)| d.next <= now).map(|(id, _)| *id).collect();
        for id in due {
            if let Some(death) = self.deaths.get_mut(&id) {
                death.next = now + probe_every;
            }
            if let Some(address) = self.roster.card(id).map(|card| card.address.clone()) {
                self.dial(&address);
            }
        }
        self.timers.death =
            self.deaths.values().map(|death| death.next).min().unwrap_or(Time::NEVER);
    }

    /// Looks for those that should be linked and aren't: every member, and one or two of the
    /// addresses where a lost part of the flock may be. Stock SWIM never goes back to those.
    pub(super) fn redial(&mut self) {
        let alive = self.swim.alive();
        let mut wanted: Vec<Arc<str>> = Vec::new();
        let mut missing: Vec<&str> = Vec::new();
        let unlinked = without(self.roster.ids(), self.links.ids()).filter(|&id| id != self.id);
        for card in unlinked.filter_map(|id| self.roster.card(id)).filter(|card| !card.left) {
            if alive.contains(&card.id) {
                wanted.push(card.address.clone());
            } else {
                missing.push(&card.address);
            }
        }
        let is_linked = |seed: &str| {
            let found = self.found_at.get(seed);
            let card = found.and_then(|name| self.roster.named(name));
            let link = card.and_then(|card| self.links.get(card.id));
            // Mostly it is where it was. Else all links are looked at: of seeds there are few.
            link.is_some_and(|link| Some(&link.peer.name) == found)
                || self
                    .links
                    .values()
                    .any(|link| link.peer.address == seed || Some(&link.peer.name) == found)
        };
        let seeds = self.me.seeds.iter().map(String::as_str);
        let seeds: Vec<&str> = seeds.filter(|seed| !is_linked(seed)).collect();
        let joins = self.state == NestState::Joining;
        if joins && self.links.is_empty() && !planted(Bug::LostNests) {
            // A joiner whose first link broke at once must not become a flock of its own because the
            // dice chose another seed.
            wanted.extend(seeds.iter().map(|&seed| Arc::from(seed)));
        }
        missing.extend(seeds);
        for _ in 0..2 {
            let missing = self.rng.pick(&missing).filter(|_| !planted(Bug::LostNests));
            wanted.extend(missing.map(|&address| address.into()));
        }
        for address in wanted {
            self.dial(&address);
        }
        let strangers: Vec<_> = without(self.links.ids(), self.swim.alive().iter().copied())
            .filter_map(|id| Some((id, self.links.get(id)?.peer.name.clone())))
            .collect();
        for (id, name) in strangers {
            self.with_swim(|swim, now, out| swim.announce(now, id, &name, out));
        }
        self.note_unlinked();
        self.tell_suspects();
        self.forget_late_requests();
        self.ask_missing_seals();
        self.repeat_over_relays();
        self.send_held_to_joiners();
        let now = self.now;
        self.forget_aftermath();
        self.accepted.retain(|_, fences| {
            fences.retain(|&(_, at)| now < at + Duration::from_secs(60));
            !fences.is_empty()
        });
    }

    /// A link that breaks opens anew, and what was lost with it is sent again. On the way over a
    /// relay a frame is lost without a word: whatever must arrive is repeated while there is no
    /// link. A new seal stands for the `Ended` and the `Ready` that were lost.
    fn repeat_over_relays(&mut self) {
        let view = self.view.clone();
        let apart = without(view.others(), self.links.ids());
        for id in apart.collect::<Vec<_>>() {
            if view.member(id).is_some_and(|m| m.state != NestState::Joining) {
                self.send_seal(id);
            }
            self.resend_departs(id);
        }
    }

    /// Says over idle links that this nest lives, and hangs up on links that say nothing.
    pub(super) fn heartbeat(&mut self) {
        let times = self.heartbeat_times();
        let (idle, next) = self.idle_links(times).unwrap_or_else(|silent| {
            for peer in silent {
                let why = "it has been silent for too long".to_owned();
                self.out.push(Effect::HangUp { peer, why });
                self.on_link_closed(peer);
            }
            self.idle_links(times).unwrap_or_default()
        });
        let beat = self.beat();
        self.send_to_all(idle, &beat);
        // The flock may shrink meanwhile, and heartbeats be due sooner.
        self.timers.heartbeat = next.min(self.now + self.config.link_silence / 2);
    }

    /// The links over which something must be said now, and when it is time to look again. An error
    /// names those that say nothing themselves.
    fn idle_links(
        &self,
        (every, silence): (Duration, Duration),
    ) -> Result<(Vec<NestId>, Time), Vec<NestId>> {
        let (mut idle, mut next) = (Vec::new(), Time::NEVER);
        for (id, link) in self.links.iter() {
            if link.heard + silence <= self.now {
                let silent = self.links.iter().filter(|(_, link)| link.heard + silence <= self.now);
                return Err(silent.map(|(id, _)| id).collect());
            }
            let mut due = link.said + every;
            if due <= self.now {
                idle.push(id);
                due = self.now + every;
            }
            next = next.min(due).min(link.heard + silence);
        }
        Ok((idle, next))
    }

    /// How long a link may be idle, and how long it may bring nothing. Both ends must go by the same
    /// number, so it is the members that count: of links one may have few and the other many.
    fn heartbeat_times(&self) -> (Duration, Duration) {
        let nests = self.links.len().max(self.swim.alive().len()) as u32;
        let busy = planted(Bug::BusyHeartbeats);
        let nests = if busy { nests.min(1) } else { nests };
        let fewer = Duration::from_secs(1) * nests / self.config.heartbeats.max(1);
        let every = fewer.max(self.config.heartbeat_every);
        // Half of it for a peer that counts more members than we do, and for one that is held up.
        let silence = every + every / 2 + self.config.link_silence / 2;
        (every, silence.max(self.config.link_silence))
    }
}
