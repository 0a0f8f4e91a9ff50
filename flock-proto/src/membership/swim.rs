//! SWIM, as foca plays it, with its timers kept and its notices gathered.
//!
//! Source: Das et al., "SWIM: Scalable Weakly-consistent Infection-style Process Group Membership
//! Protocol", 2002; <https://docs.rs/foca>.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::fmt;
use std::num::{NonZeroU8, NonZeroU32, NonZeroUsize};
use std::time::Duration;

use bytes::Bytes;
use foca::{Foca, Identity, NoCustomBroadcast, Notification, PeriodicParams, Runtime};

use super::packet::{Codec, SwimId, TURN_UNDEAD, dest_of, id, id_len, put_id};
use crate::bugs::{Bug, planted};
use crate::{NestId, NestName, Rng, SwimConfig, Time};

/// Room for every member of a large flock in one answer to a joiner: foca's packets travel on a
/// stream, so nothing holds them to a datagram's size.
const MAX_PACKET: usize = 60 * 1024;

/// What foca asked for while it handled something.
#[derive(Debug, Default)]
pub(crate) struct SwimOut {
    /// Packets to pass to nests.
    pub(crate) packets: Vec<(NestId, Bytes)>,
}

/// foca with its timers.
pub(crate) struct Swim {
    foca: Foca<SwimId, Codec, SwimRng, NoCustomBroadcast>,
    config: SwimConfig,
    /// Keyed by when, then by the order of asking.
    timers: BTreeMap<(Time, u64), foca::Timer<SwimId>>,
    asked: u64,
    /// When the first timer is due: asked for after all that happens.
    due: Time,
    alive: BTreeSet<NestId>,
    changed: bool,
    /// This nest heard that it was declared down, since that was last asked.
    held_dead: bool,
    /// When each nest was last told of our renewed identity.
    introduced: BTreeMap<NestId, Time>,
}

impl Swim {
    pub(crate) fn new(id: NestId, name: NestName, config: SwimConfig, seed: u64) -> Self {
        let identity = SwimId::new(id, name, 0);
        let foca = Foca::new(identity, for_foca(&config, 8), SwimRng(Rng::new(seed)), Codec);
        Self {
            foca,
            config,
            timers: BTreeMap::new(),
            asked: 0,
            due: Time::NEVER,
            alive: BTreeSet::new(),
            changed: false,
            held_dead: false,
            introduced: BTreeMap::new(),
        }
    }

    /// The nests held to be alive or merely suspected, this one not included.
    pub(crate) const fn alive(&self) -> &BTreeSet<NestId> {
        &self.alive
    }

    /// Whether the set of the living changed since this was last asked.
    pub(crate) const fn take_changed(&mut self) -> bool {
        std::mem::replace(&mut self.changed, false)
    }

    /// Whether this nest heard since this was last asked that others held it for dead.
    pub(crate) const fn take_held_dead(&mut self) -> bool {
        std::mem::replace(&mut self.held_dead, false)
    }

    /// When to call [`Swim::on_time`].
    pub(crate) const fn deadline(&self) -> Time {
        self.due
    }

    fn note_due(&mut self) {
        self.due = self.timers.keys().next().map_or(Time::NEVER, |&(at, _)| at);
    }

    /// Lets foca's due timers run.
    pub(crate) fn on_time(&mut self, now: Time, out: &mut SwimOut) {
        while let Some(due) = self.timers.first_entry().filter(|e| e.key().0 <= now) {
            let timer = due.remove();
            // An error here says that the timer came late or its member is gone; foca has moved on.
            self.with(now, out, |foca, run| drop(foca.handle_timer(timer, run)));
        }
    }

    /// Hands foca a packet. An error says what is wrong with it.
    pub(crate) fn on_packet(
        &mut self,
        now: Time,
        packet: &[u8],
        out: &mut SwimOut,
    ) -> Result<(), String> {
        let mut result = Ok(());
        if planted(Bug::UnansweredSuspicion) && self.is_suspected_by(packet) {
            return result;
        }
        self.introduce(now, packet, out);
        self.with(now, out, |foca, run| {
            result = foca.handle_data(packet, run).map_err(|e| e.to_string());
        });
        result
    }

    /// Whether a packet tells a suspicion against this nest.
    fn is_suspected_by(&self, mut packet: &[u8]) -> bool {
        let mut me = Vec::new();
        put_id(&mut me, self.foca.identity());
        let told = foca::Codec::<SwimId>::decode_header(&mut Codec, &mut packet).is_ok();
        let after_me =
            |at: &[u8]| at.strip_prefix(me.as_slice()).is_some_and(|at| at.get(2) == Some(&1));
        told && (0..packet.len()).any(|at| packet.get(at..).is_some_and(after_me))
    }

    /// Answers a packet that is meant for a former identity of ours. foca drops those, and two nests
    /// that have both renewed theirs would not hear each other until one held the other for dead. An
    /// announcement is taken whatever identity it is meant for.
    fn introduce(&mut self, now: Time, packet: &[u8], out: &mut SwimOut) {
        let me = self.foca.identity();
        if dest_of(packet).is_none_or(|(dest, bump)| dest != me.id || bump == me.bump) {
            return;
        }
        let Ok(from) = id(packet) else { return };
        if from.addr() == me.addr() {
            return;
        }
        let last = self.introduced.get(&from.id);
        if last.is_none_or(|last| now >= *last + self.config.introduce_every) {
            self.introduced.insert(from.id, now);
            self.with(now, out, |foca, run| drop(foca.announce(from, run)));
        }
    }

    /// Says hello to a nest that a link was opened to.
    pub(crate) fn announce(&mut self, now: Time, id: NestId, name: &NestName, out: &mut SwimOut) {
        let to = SwimId::new(id, name.clone(), 0);
        self.with(now, out, |foca, run| drop(foca.announce(to, run)));
    }

    /// Declares a nest down, and has that passed on.
    pub(crate) fn declare_down(&mut self, now: Time, id: NestId, out: &mut SwimOut) {
        let known = self.foca.iter_members().find(|m| m.id().id == id).cloned();
        let Some(member) = known else { return };
        let down = foca::Member::new(member.id().clone(), member.incarnation(), foca::State::Down);
        self.with(now, out, |foca, run| {
            drop(foca.apply_many([down].into_iter(), true, run));
            // At once, not with the next probe: each nest that learns of it saves its callers time.
        });
        self.with(now, out, |foca, run| drop(foca.gossip(run)));
    }

    /// The members that are suspected, each with the incarnation that it must surpass.
    pub(crate) fn suspects(&self) -> Vec<(NestId, u16)> {
        let suspects = self.foca.iter_members().filter(|m| m.state() == foca::State::Suspect);
        suspects.map(|m| (m.id().id, m.incarnation())).collect()
    }

    /// Answers a suspicion against this nest.
    pub(crate) fn refute(&mut self, now: Time, incarnation: u16, out: &mut SwimOut) {
        let me = self.foca.identity().clone();
        let suspicion = foca::Member::new(me, incarnation, foca::State::Suspect);
        self.with(now, out, |foca, run| drop(foca.apply_many([suspicion].into_iter(), true, run)));
    }

    /// Tells some members that this nest leaves; foca is of no use afterwards.
    pub(crate) fn leave(&mut self, now: Time, out: &mut SwimOut) {
        self.with(now, out, |foca, run| drop(foca.leave_cluster(run)));
        self.timers.clear();
        self.note_due();
    }

    fn with(
        &mut self,
        now: Time,
        out: &mut SwimOut,
        act: impl FnOnce(&mut Foca<SwimId, Codec, SwimRng, NoCustomBroadcast>, &mut Run<'_>),
    ) {
        let (before, bump) = (out.packets.len(), self.foca.identity().bump);
        let mut run =
            Run { now, timers: &mut self.timers, asked: &mut self.asked, out, moved: false };
        act(&mut self.foca, &mut run);
        let moved = run.moved;
        self.held_dead |= self.foca.identity().bump > bump;
        self.note_due();
        self.drop_false_verdicts(before, out);
        if moved {
            let alive: BTreeSet<NestId> = self.foca.iter_members().map(|m| m.id().id).collect();
            let size = u32::try_from(alive.len() + 1).unwrap_or(u32::MAX);
            if alive.len() != self.alive.len() {
                drop(self.foca.set_config(for_foca(&self.config, size)));
            }
            if alive != self.alive {
                self.introduced.retain(|id, _| alive.contains(id));
                self.alive = alive;
                self.changed = true;
            }
        }
    }

    /// Takes back what foca 2.0 says when the time of a suspicion is up: that the nest is down, also
    /// if it has refuted the suspicion meanwhile. The nest would renew its identity, and not be heard
    /// until all have learnt it.
    fn drop_false_verdicts(&self, from: usize, out: &mut SwimOut) {
        let me = id_len(self.foca.identity());
        let mut at = from;
        while let Some((to, packet)) = out.packets.get(at) {
            // Tag and nothing more; the two identities stand before it.
            let is_verdict = packet.last() == Some(&TURN_UNDEAD)
                && dest_of(packet).is_some_and(|(dest, bump)| {
                    let mut members = self.foca.iter_members();
                    let known = members.find(|m| m.id().id == dest && m.id().bump == bump);
                    known.is_some_and(|m| packet.len() == me + 2 + id_len(m.id()) + 1)
                });
            if is_verdict && self.alive.contains(to) {
                out.packets.remove(at);
            } else {
                at += 1;
            }
        }
    }
}

impl fmt::Debug for Swim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Swim")
            .field("me", self.foca.identity())
            .field("members", &self.foca.iter_membership_state().collect::<Vec<_>>())
            .finish_non_exhaustive()
    }
}

/// foca's settings for a flock of this size.
fn for_foca(ours: &SwimConfig, size: u32) -> foca::Config {
    let size = size.max(8);
    let mut config = foca::Config::new_lan(NonZeroU32::new(size).unwrap_or(NonZeroU32::MIN));
    config.probe_period = ours.ping_every;
    config.probe_rtt = ours.ping_for;
    config.suspect_to_down_after = suspicion(ours, size);
    let transmissions = if planted(Bug::FewTransmissions) { 2 } else { ours.transmissions };
    config.max_transmissions = NonZeroU8::new(transmissions).unwrap_or(NonZeroU8::MIN);
    config.max_packet_size = NonZeroUsize::new(MAX_PACKET).unwrap_or(NonZeroUsize::MIN);
    config.notify_down_members = true;
    let every = |frequency, n| {
        let num_members = NonZeroUsize::new(n).unwrap_or(NonZeroUsize::MIN);
        Some(PeriodicParams { frequency, num_members })
    };
    let announce_every = ours.announce_every.max(ours.announce_for_each * size);
    config.periodic_announce = every(announce_every, 1);
    // The nest itself dials the dead again, and announces itself over a link to one that isn't.
    config.periodic_announce_to_down_members = None;
    config
}

/// How long a nest is suspected before it is held to be dead. In a flock of a thousand news takes more
/// rounds to get about than in one of a hundred.
fn suspicion(config: &SwimConfig, size: u32) -> Duration {
    let tenfolds = f64::from(size.max(1)).log10();
    config.suspect_for.max(config.suspect_for_tenfold.mul_f64(tenfolds))
}

/// Where foca's effects go while it handles one thing.
struct Run<'a> {
    now: Time,
    timers: &'a mut BTreeMap<(Time, u64), foca::Timer<SwimId>>,
    asked: &'a mut u64,
    out: &'a mut SwimOut,
    moved: bool,
}

impl Runtime<SwimId> for Run<'_> {
    fn notify(&mut self, _: Notification<'_, SwimId>) {
        // Whatever it is, the set of members is read anew: it can't be misunderstood.
        self.moved = true;
    }

    fn send_to(&mut self, to: SwimId, data: &[u8]) {
        self.out.packets.push((to.id, Bytes::copy_from_slice(data)));
    }

    fn submit_after(&mut self, event: foca::Timer<SwimId>, after: Duration) {
        *self.asked += 1;
        self.timers.insert((self.now + after, *self.asked), event);
    }
}

/// The core's own chance, in the shape that foca asks for.
struct SwimRng(Rng);

impl rand::TryRng for SwimRng {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        Ok((self.0.next_u64() >> 32) as u32)
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        Ok(self.0.next_u64())
    }

    fn try_fill_bytes(&mut self, to: &mut [u8]) -> Result<(), Infallible> {
        for part in to.chunks_mut(8) {
            let word = self.0.next_u64().to_le_bytes();
            part.copy_from_slice(&word[..part.len()]);
        }
        Ok(())
    }
}
