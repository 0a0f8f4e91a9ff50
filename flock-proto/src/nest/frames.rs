//! Control frames in and out.

use bytes::Bytes;

use super::Nest;
use crate::bugs::{Bug, planted};
use crate::membership::{self, SwimOut};
use crate::time::Time;
use crate::wire::{
    Card, EncodedBody, Frame, FrameError, Header, Roster, Suspected, Swim, unknown_cards,
};
use crate::{Effect, Event, Hlc, NestId};

impl Nest {
    /// Sends a frame to a nest: over its link, else over a common neighbour, else not at all.
    /// Whatever must arrive is sent again when a link opens, or by its own timer.
    pub(super) fn send(&mut self, to: NestId, frame: &Frame) {
        if let Some((over, header)) = self.way_to(to) {
            self.out.push(Effect::Send { to: over, frame: frame.encode(header) });
        }
    }

    /// The same of a body that was encoded already.
    pub(super) fn send_body(&mut self, to: NestId, body: EncodedBody) {
        if let Some((over, header)) = self.way_to(to) {
            self.out.push(Effect::Send { to: over, frame: body.encode(header) });
        }
    }

    /// The same to several nests: the body is encoded once, however many there are.
    pub(super) fn send_to_all(&mut self, to: impl IntoIterator<Item = NestId>, frame: &Frame) {
        let ways: Vec<_> = to.into_iter().filter_map(|to| self.way_to(to)).collect();
        if !ways.is_empty() {
            let frames = frame.encode_body().frames(ways.iter().map(|(_, header)| *header));
            let sends = ways.iter().zip(frames);
            self.out.extend(sends.map(|(&(to, _), frame)| Effect::Send { to, frame }));
        }
    }

    /// Over which link a frame goes there, and what its header says.
    fn way_to(&mut self, dest: NestId) -> Option<(NestId, Header)> {
        if dest == self.id {
            return None;
        }
        let over = if self.note_said(dest) { dest } else { self.relay_to(dest)? };
        if over != dest {
            self.note_said(over);
        }
        Some((over, Header { hops: 0, stamp: self.stamp(), author: self.id, dest }))
    }

    /// Something goes over this link, if there is one: it needs no heartbeat for a while.
    fn note_said(&mut self, over: NestId) -> bool {
        let link = self.links.get_mut(over);
        link.map(|link| link.said = self.now).is_some()
    }

    /// The neighbour that passes frames on to a nest without a link: the first one, so that frames
    /// stay in order, that doesn't say that it has no link there either.
    pub(super) fn relay_to(&self, to: NestId) -> Option<NestId> {
        if !self.swim.alive().contains(&to) {
            return None;
        }
        self.links.ids().find(|&over| {
            over != to
                && self.swim.alive().contains(&over)
                && self.roster.card(over).is_some_and(|card| !card.unlinked.contains(&to))
        })
    }

    /// Has SWIM do something, and carries out what it asks for.
    pub(super) fn with_swim<R>(
        &mut self,
        act: impl FnOnce(&mut membership::Swim, Time, &mut SwimOut) -> R,
    ) -> R {
        let mut out = SwimOut::default();
        let result = act(&mut self.swim, self.now, &mut out);
        if self.swim.take_changed() {
            self.members_changed = true;
            // A nest may be alive now that is up by its card.
            self.look_who_is_up();
            self.all_known = false;
            self.look_who_is_up();
        }
        if self.swim.take_held_dead() {
            self.on_held_dead();
        }
        if planted(Bug::NoIndirectPings) {
            out.packets.retain(|(_, packet)| !membership::asks_for_a_ping(packet));
        }
        for (to, packet) in out.packets {
            self.send(to, &Frame::Swim(Swim { packet }));
        }
        result
    }

    pub(super) fn on_frame(&mut self, from: NestId, bytes: &Bytes) {
        let Some(link) = self.links.get_mut(from) else { return };
        link.heard = self.now;
        let header = match Header::decode(bytes) {
            Ok(header) => header,
            Err(error) => return self.on_bad_frame(from, &error),
        };
        if header.hops == 0 && header.author != from {
            // Nobody speaks in another's name over a link of his own.
            self.counters.bad_frames += 1;
            return;
        }
        if header.dest != self.id {
            return self.pass_on(from, header.dest, bytes);
        }
        self.observe(header.author, header.stamp);
        let roster = &self.roster;
        if let Some(cards) = unknown_cards(bytes, |id, name, version| {
            let card = roster.card(id);
            let same = |card: &Card| card.name.as_str().as_bytes() == name;
            card.is_some_and(|card| card.version >= version && same(card))
        }) {
            return self.on_roster(Roster { cards });
        }
        match Frame::decode(bytes) {
            Ok(frame) => self.on_good_frame(header.author, header.stamp, frame),
            Err(FrameError::Kind(_)) => self.counters.unknown_frames += 1,
            Err(error) => self.on_bad_frame(from, &error),
        }
    }

    fn on_good_frame(&mut self, from: NestId, stamp: Hlc, frame: Frame) {
        match frame {
            Frame::Heartbeat(heartbeat) => self.on_heartbeat(from, heartbeat),
            Frame::Swim(swim) => self.on_swim(&swim.packet),
            Frame::Roster(roster) => self.on_roster(roster),
            Frame::Probe(probe) => self.on_probe(from, probe.target),
            Frame::Probed(probed) => self.on_probed(from, probed.target, probed.refused),
            Frame::Goodbye(()) => self.on_goodbye(from),
            Frame::Suspected(suspected) => self.on_suspected(suspected.incarnation),
            Frame::Held(held) => self.on_held(from, held),
            Frame::Status(status) => self.on_status(from, status),
            Frame::Ops(ops) => self.on_ops(from, ops),
            Frame::Acked(acked) => self.on_acked(from, acked.seq),
            Frame::Ranges(ranges) => self.on_ranges(from, &ranges),
            Frame::RangesWanted(wanted) => self.on_ranges_wanted(from, &wanted),
            Frame::OpsWanted(wanted) => self.on_ops_wanted(from, &wanted),
            Frame::Listing(part) => self.on_listing(from, part),
            Frame::Seal(seal) => self.on_seal(from, seal),
            Frame::Ready(ready) => self.on_ready(from, ready),
            Frame::Depart(depart) => self.on_depart(from, depart),
            Frame::Hatched(life) => self.on_taken_over(from, life),
            Frame::Refused(refused) => self.on_refused(from, refused),
            Frame::Gone(life) => self.on_gone(from, life),
            Frame::Ended(ended) => self.on_listed_ended(from, ended),
            Frame::Checkpoint(checkpoint) => self.on_checkpoint(from, checkpoint),
            Frame::Checkpointed(answer) => self.on_checkpointed(from, answer),
            Frame::Forget(forget) => self.on_forget(from, &forget),
            Frame::Requests(requests) => self.on_requests(from, stamp, requests),
            Frame::Responses(responses) => self.on_responses(from, responses),
            Frame::Claims(claims) => self.on_claims(from, claims),
            Frame::Claimed(claimed) => self.on_claimed(from, claimed),
        }
    }

    fn on_swim(&mut self, packet: &[u8]) {
        if self.with_swim(|swim, now, out| swim.on_packet(now, packet, out)).is_err() {
            // foca also calls it an error when a message came late; only a count is worth keeping.
            self.counters.odd_swim_packets += 1;
        }
    }

    /// Somebody suspects this nest: it lives, and says so.
    fn on_suspected(&mut self, incarnation: u16) {
        if !planted(Bug::UnansweredSuspicion) {
            self.with_swim(|swim, now, out| swim.refute(now, incarnation, out));
        }
    }

    /// Tells those who are suspected. SWIM spreads a suspicion a number of times only, and foca
    /// does not start anew when one outlives its timer; without this, a nest suspected long ago
    /// would never hear of it, and be dead the next time a probe is late.
    pub(super) fn tell_suspects(&mut self) {
        for (id, incarnation) in self.swim.suspects() {
            self.send(id, &Frame::Suspected(Suspected { incarnation }));
        }
    }

    /// Tells a nest that a link was opened to: it may have been away for long, and has little time
    /// left to answer.
    pub(super) fn tell_if_suspected(&mut self, id: NestId) {
        let suspicion = self.swim.suspects().into_iter().find(|(suspect, _)| *suspect == id);
        if let Some((_, incarnation)) = suspicion {
            self.send(id, &Frame::Suspected(Suspected { incarnation }));
        }
    }

    fn pass_on(&mut self, from: NestId, dest: NestId, bytes: &[u8]) {
        if dest == from || !self.links.contains(dest) || planted(Bug::NoRelays) {
            self.counters.undeliverable_frames += 1;
            return;
        }
        match Header::pass_on(bytes) {
            Some(frame) => {
                self.note_said(dest);
                self.out.push(Effect::Send { to: dest, frame });
            }
            None => self.counters.undeliverable_frames += 1,
        }
    }

    fn observe(&mut self, author: NestId, stamp: Hlc) {
        if self.clock.observe(self.now, stamp) {
            return;
        }
        // Its first frames may come before its card.
        let card = self.roster.card(author).map(|card| card.name.clone());
        let nest = card.or_else(|| self.links.get(author).map(|link| link.peer.name.clone()));
        if let Some(nest) = nest
            && self.skewed.insert(author)
        {
            let ahead_ms = ahead_ms(stamp, self.now);
            self.tell(Event::ClockSkew { nest, ahead_ms });
        }
    }

    fn on_bad_frame(&mut self, from: NestId, error: &FrameError) {
        self.counters.bad_frames += 1;
        let name = self.links.get(from).map(|link| link.peer.name.clone());
        self.tell(Event::BadFrame { from: name, why: error.to_string() });
    }
}

fn ahead_ms(stamp: Hlc, now: Time) -> i64 {
    let micros = i128::from(stamp.time().as_micros()) - i128::from(now.as_micros());
    i64::try_from(micros / 1000).unwrap_or(i64::MAX)
}
