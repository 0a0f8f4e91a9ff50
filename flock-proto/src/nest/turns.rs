//! What follows each input: the round, and each name's turn in it; and what is due by the clock.

use std::time::Duration;

use super::Nest;
use crate::membership::Swim;
use crate::{BirdName, Input, Time};

/// So many names' birds and records are fetched side by side: where there are many they lie where the processor's
/// caches don't reach.
const FETCHED_TOGETHER: usize = 16;

/// When each regular duty is due.
#[derive(Debug)]
pub(super) struct Timers {
    pub(super) redial: Time,
    pub(super) heartbeat: Time,
    pub(super) news: Time,
    pub(super) owed: Time,
    pub(super) refresh: Time,
    pub(super) sync: Time,
    pub(super) flush: Time,
    pub(super) ack: Time,
    pub(super) death: Time,
    pub(super) join: Time,
}

impl Nest {
    /// What concerns single birds has one round together: that is what makes many cheap. All else
    /// may change members and views, and is dealt with by itself.
    pub(super) fn take_many(&mut self, inputs: Vec<Input>) {
        let mut behind = false;
        let (mut inputs, mut near) = (inputs.into_iter(), 0);
        loop {
            if near == 0 {
                near = self.approach(inputs.as_slice());
            }
            let Some(input) = inputs.next() else { break };
            near -= 1;
            let alone = !input.is_about_a_bird();
            if alone && behind {
                self.round();
            }
            if self.has_left() {
                return;
            }
            self.take(input);
            behind = !alone;
            if alone {
                self.round();
            }
        }
        if behind {
            self.round();
        }
    }

    /// Looks at the birds of the next inputs, one right after the other, and says how many inputs those are. Each
    /// input comes from another thread, and each bird lies where the processor's caches don't reach: so they
    /// are fetched side by side.
    fn approach(&self, inputs: &[Input]) -> usize {
        let next = inputs.get(..FETCHED_TOGETHER).unwrap_or(inputs);
        let mut hashes = [0; FETCHED_TOGETHER];
        let hatched = next.iter().filter_map(|input| match input {
            Input::Hatched { name, .. } => Some(name.hash64()),
            _ => None,
        });
        let count = hashes.iter_mut().zip(hatched).map(|(hash, of)| *hash = of).count();
        if count > 1 {
            let hashes = hashes.iter().take(count).copied();
            self.birds.approach(hashes, |bird| bird.fence.0);
        }
        next.len()
    }

    pub(super) fn on_tick(&mut self) {
        let now = self.now;
        self.with_swim(Swim::on_time);
        if self.timers.redial <= now {
            let jitter = self.rng.below(self.config.redial_every.as_micros() as u64 / 4);
            self.timers.redial = now + self.config.redial_every + Duration::from_micros(jitter);
            self.redial();
        }
        if self.timers.heartbeat <= now {
            self.heartbeat();
        }
        if self.timers.news <= now {
            self.pass_news_on();
        }
        if self.timers.owed <= now {
            self.ask_owed();
        }
        if self.timers.sync <= now {
            self.timers.sync = now + self.config.sync_every;
            self.sync();
            self.retry_checkpoints();
        }
        if self.timers.flush <= now {
            self.flush();
        }
        if self.timers.ack <= now {
            self.ask_acks();
        }
        if self.timers.death <= now {
            self.redial_dead();
        }
        if self.timers.join <= now {
            self.timers.join = Time::NEVER;
        }
        self.on_ask_times();
    }

    /// What follows every input: views, then seals, then names, then answers. Each step looks at
    /// the state as it is, not at what happened; so none can be forgotten in some handler.
    pub(super) fn round(&mut self) {
        self.follow_horizon();
        self.try_up();
        self.refresh_view();
        if self.take_share() {
            self.refresh_view();
        }
        self.check_quorum();
        self.check_missing();
        self.check_settled();
        self.look_at_gained();
        self.call_up();
        // A name's turn may touch its own record, not others: each runs once, and again only if
        // its own turn changed it.
        for _ in 0..4 {
            if self.dirty.is_empty() {
                break;
            }
            let due = self.dirty.take();
            for names in due.chunks(FETCHED_TOGETHER) {
                if names.len() > 1 {
                    let hashes = names.iter().map(|(hash, _)| *hash);
                    self.birds.approach(hashes.clone(), |bird| bird.fence.0);
                    self.registry.approach(hashes.clone());
                    self.served_names.approach(hashes, |keys| {
                        self.served.look(keys.first()) ^ self.look_at_ask(keys.first())
                    });
                }
                for (hash, name) in names {
                    self.take_turn(name, *hash);
                }
            }
            self.dirty.reuse(due);
        }
        self.release_held();
        self.finish_responses();
        self.flush_batches();
        self.schedule_flush();
        self.show_stamp();
        self.try_leave();
        if self.roster.has_news() {
            self.tell_news();
        }
    }

    /// One name's turn. Where that changed it the next follows at once, while all of it is near: what
    /// was asked for is decided, and then done. What that leads to waits for the others' turns.
    fn take_turn(&mut self, name: &BirdName, hash: u64) {
        let others = self.dirty.len();
        self.look_after(name, hash);
        if self.dirty.take_after(others, hash, name) {
            self.look_after(name, hash);
        }
    }

    fn look_after(&mut self, name: &BirdName, hash: u64) {
        self.consider(name, hash);
        self.serve_name(name, hash);
        self.route_name(name, hash);
    }

    /// When to send [`Input::Tick`], if nothing else comes before.
    pub fn deadline(&self) -> Time {
        if self.has_left() {
            return Time::NEVER;
        }
        if !self.unseen.is_empty() {
            return self.now;
        }
        let timers = &self.timers;
        [
            timers.redial,
            timers.heartbeat,
            timers.news,
            timers.owed,
            timers.refresh,
            timers.sync,
            timers.flush,
            timers.ack,
            timers.death,
            timers.join,
            self.view_at,
            self.share_at(),
            self.call_up_at(),
            self.swim.deadline(),
            self.quorum_deadline(),
            self.ask_times.first().unwrap_or(Time::NEVER),
            self.leave.as_ref().map_or(Time::NEVER, |leave| leave.deadline),
        ]
        .into_iter()
        .min()
        .unwrap_or(Time::NEVER)
    }
}
