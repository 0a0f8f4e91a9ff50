//! The driver of the core: words → inputs → handle → effects → timer. Nothing else happens here.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use actix::fut;
use actix::prelude::*;
use flock_proto::{BirdName, Cause, Effect, Event, Input, Nest, NestState, ReqId, Time, View};
use tokio::sync::oneshot;

use crate::core::{Ask, Core, Deadline, Word};
use crate::heap;
use crate::life::LifeOrder;
use crate::link::Links;
use crate::questions::Questions;
use crate::shared::{HatchOrder, Shared};
use crate::wall::Wall;

/// So many lives are raised by one message.
const RAISED_AT_ONCE: usize = 64;

/// About what a bird takes of this thread's heap: its entry in the register and in the table.
const ROOM: usize = 900;

/// A nest that lives no more may look alive for a moment, to those who haven't heard yet. So the
/// first word that the name is taken is doubted for so long.
const DOUBT: Duration = Duration::from_millis(400);

/// Drives the core. Lives on the control thread.
pub(crate) struct NestActor {
    nest: Nest,
    wall: Wall,
    core: Arc<Core>,
    links: Arc<Links>,
    shared: Arc<Shared>,
    seeds: Vec<String>,
    asked: Questions,
    last_req: u64,
    /// Lives that are about to be raised.
    raised: Vec<LifeOrder>,
    /// Empty, but has room.
    effects: Vec<Effect>,
    watchers: BTreeMap<BirdName, Vec<oneshot::Sender<Cause>>>,
    joining: Option<oneshot::Sender<bool>>,
    taken_at: Option<Time>,
    timer: Option<(Time, SpawnHandle)>,
    /// What the core was told of who listens.
    audience: bool,
}

/// All that the driver stands between.
pub(crate) struct Parts {
    pub(crate) nest: Nest,
    pub(crate) wall: Wall,
    pub(crate) core: Arc<Core>,
    pub(crate) links: Arc<Links>,
    pub(crate) shared: Arc<Shared>,
    pub(crate) seeds: Vec<String>,
    /// Told `true` when the nest is up, `false` when its name is taken.
    pub(crate) joining: oneshot::Sender<bool>,
}

impl NestActor {
    pub(crate) fn new(parts: Parts) -> Self {
        let Parts { nest, wall, core, links, shared, seeds, joining } = parts;
        let asked = Questions::new(shared.name.clone());
        Self {
            nest,
            wall,
            core,
            links,
            shared,
            seeds,
            asked,
            last_req: 0,
            raised: Vec::new(),
            effects: Vec::new(),
            watchers: BTreeMap::new(),
            joining: Some(joining),
            taken_at: None,
            timer: None,
            audience: true,
        }
    }

    /// The core, to look at.
    pub(crate) const fn nest(&self) -> &Nest {
        &self.nest
    }

    /// Told when this bird ends for good; `None` if no such bird lives.
    pub(crate) fn watch(&mut self, name: BirdName) -> Option<oneshot::Receiver<Cause>> {
        self.nest.find(&name)?;
        let (watcher, watch) = oneshot::channel();
        let watchers = self.watchers.entry(name).or_default();
        watchers.retain(|w| !w.is_closed());
        watchers.push(watcher);
        Some(watch)
    }

    /// Hears a piece of what waits for the core.
    fn hear(&mut self, ctx: &mut Context<Self>) {
        let (words, more) = self.core.hear();
        let mut inputs = Vec::with_capacity(words.len());
        for word in words {
            match word {
                Word::Tell(input) => inputs.push(input),
                Word::TellAll(all) => inputs.extend(all),
                Word::Ask(ask) => self.note(ask, &mut inputs),
                // It sees what was said before, and nothing of what was said later.
                Word::Look(look) => {
                    self.on_inputs(std::mem::take(&mut inputs), ctx);
                    look(self);
                }
            }
        }
        self.on_inputs(inputs, ctx);
        if more {
            // Links, handshakes and deadlines share this thread.
            let turn = fut::wrap_future::<_, Self>(tokio::task::yield_now());
            ctx.spawn(turn.map(|(), actor, ctx| actor.hear(ctx)));
        }
    }

    fn note(&mut self, ask: Ask, inputs: &mut Vec<Input>) {
        let deadline = match ask.deadline {
            Deadline::Within(span) => self.wall.now() + span,
            Deadline::At(time) => time,
        };
        let first = self.last_req + 1;
        self.last_req += ask.count as u64;
        self.asked.note(ReqId(first), ask.count, deadline, ask.answers);
        (ask.make)(ReqId(first), deadline, inputs);
    }

    fn on_inputs(&mut self, inputs: Vec<Input>, ctx: &mut Context<Self>) {
        if !inputs.is_empty() {
            self.on_input(Input::Many(inputs), ctx);
        }
    }

    fn on_input(&mut self, input: Input, ctx: &mut Context<Self>) {
        let audience = self.core.events.has_audience();
        if std::mem::replace(&mut self.audience, audience) != audience {
            self.nest.handle(self.core.time(), Input::Audience(audience));
        }
        self.nest.handle(self.core.time(), input);
        self.carry_out_all(ctx);
    }

    fn carry_out_all(&mut self, ctx: &mut Context<Self>) {
        let mut effects = std::mem::take(&mut self.effects);
        self.nest.drain_into(&mut effects);
        let mut events = Vec::new();
        for effect in effects.drain(..) {
            match effect {
                Effect::Tell(event) => {
                    self.tell_watchers(&event);
                    events.push(event);
                }
                effect => self.carry_out(effect),
            }
        }
        self.effects = effects;
        self.shared.raise(self.raised.drain(..));
        self.asked.hand_out();
        // Together: one that joins a flock of a million names has a million to tell.
        self.core.events.tell_all(self.wall.now(), events);
        self.rearm(ctx);
    }

    fn carry_out(&mut self, effect: Effect) {
        match effect {
            Effect::Send { to, frame } => self.links.send(to, &frame),
            Effect::Dial { address } => self.links.dial(address),
            Effect::HangUp { peer, why } => {
                // A name may be in it.
                tracing::info!(%peer, "hung up: {}", why.escape_debug());
                self.links.hang_up(peer);
            }
            Effect::Release { peer } => self.links.release(peer),
            Effect::Renamed { id } => {
                self.shared.renamed(id);
                self.links.rename(id);
            }
            Effect::Hatch {
                name, fence, species, args, why, crashes, snapshot, merges, ..
            } => {
                let order =
                    HatchOrder { name, fence, species, args, why, crashes, snapshot, merges };
                self.raised.extend(self.shared.found(order));
                if self.raised.len() >= RAISED_AT_ONCE {
                    // While others are seen to here, these begin there.
                    self.shared.raise(self.raised.drain(..));
                    heap::make_room(RAISED_AT_ONCE * ROOM);
                }
            }
            Effect::End { name, fence, why } => self.shared.end(&name, fence, why),
            Effect::Depart { name, fence } => self.shared.depart(&name, fence),
            Effect::Merge { name, fence, state } => self.shared.merge(&name, fence, state),
            Effect::Checkpoint { name, fence } => self.shared.want_checkpoint(&name, fence),
            Effect::Checkpointed { name, fence, number, by } => {
                self.shared.checkpointed(&name, fence, number, by);
            }
            Effect::SetFence { name, old, new } => self.shared.set_fence(&name, old, new),
            Effect::Route { name, route } => self.shared.route(&name, route),
            Effect::Answer { req, answer } => self.asked.answer(req, answer),
            Effect::Publish(view) => self.publish(view),
            Effect::Stamp(clock) => self.shared.stamp(clock),
            other => tracing::error!(?other, "an effect that this driver doesn't know"),
        }
    }

    fn publish(&mut self, view: Arc<View>) {
        let up = view.member(view.me()).is_some_and(|me| me.state == NestState::Up);
        self.links.publish(view.clone());
        self.shared.publish(view);
        if up && let Some(joining) = self.joining.take() {
            // Whoever joined may have given up.
            let _ = joining.send(true);
        }
    }

    fn tell_watchers(&mut self, event: &Event) {
        if let Event::Ended(name, cause) = event {
            for watcher in self.watchers.remove(name).unwrap_or_default() {
                // It may have stopped watching.
                let _ = watcher.send(cause.clone());
            }
        }
    }

    /// One timer. It is set anew only for an earlier deadline: one that comes too early finds
    /// nothing to do, and setting it with every input would cost more.
    fn rearm(&mut self, ctx: &mut Context<Self>) {
        let deadline = self.nest.deadline();
        if deadline == Time::NEVER || self.timer.is_some_and(|(at, _)| at <= deadline) {
            return;
        }
        if let Some((_, timer)) = self.timer.take() {
            ctx.cancel_future(timer);
        }
        let timer = ctx.run_later(deadline - self.wall.now(), |actor, ctx| {
            actor.timer = None;
            if actor.nest.deadline() <= actor.core.time() {
                actor.on_input(Input::Tick, ctx);
            } else {
                actor.rearm(ctx);
            }
        });
        self.timer = Some((deadline, timer));
    }

    /// The core answers every question in time. Should it not, the asker shall not wait for ever.
    fn give_up_old_questions(&mut self) {
        self.asked.give_up(self.wall.now());
    }
}

impl Actor for NestActor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        ctx.run_interval(Duration::from_secs(1), |actor, _| actor.give_up_old_questions());
        self.carry_out_all(ctx);
    }
}

impl Drop for NestActor {
    // Also when the core panicked: a nest without a mind must not look alive.
    fn drop(&mut self) {
        self.core.close_inbox();
        self.links.close();
        self.shared.close();
        self.core.events.close();
    }
}

impl fmt::Debug for NestActor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NestActor").field("id", &self.nest.id()).finish_non_exhaustive()
    }
}

/// Something waits to be heard by the core.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct Wake;

impl Handler<Wake> for NestActor {
    type Result = ();

    fn handle(&mut self, _: Wake, ctx: &mut Context<Self>) {
        self.hear(ctx);
    }
}

/// A peer says that a nest of our name lives.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct NameTaken;

impl Handler<NameTaken> for NestActor {
    type Result = ();

    fn handle(&mut self, _: NameTaken, ctx: &mut Context<Self>) {
        let now = self.wall.now();
        match self.taken_at {
            None => {
                self.taken_at = Some(now);
                // Asks again before the core might give up on the seeds and form a flock alone.
                ctx.run_later(DOUBT, |actor, _| {
                    actor.seeds.iter().for_each(|seed| actor.links.dial(seed.clone()));
                });
            }
            Some(at) if now - at < DOUBT => {}
            Some(_) => {
                if let Some(joining) = self.joining.take() {
                    let _ = joining.send(false);
                }
            }
        }
    }
}
