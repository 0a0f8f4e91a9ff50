//! One story: everything that users, machines and networks do, in an order that a seed decides.

use std::time::{Duration, SystemTime};

use flock_actix::{ClusterKey, Flock, Reply};
use flock_proto::Rng;
use tokio::task::spawn_local;
use turmoil::Sim;

use super::birds::{self, Fussy, Message, Noted, Steady};
use super::certainty::Wish;
use super::panics::Watch;
use super::post::{Post, Refusal, Stage};
use super::weather::Weather;
use super::{Told, ledger};

/// A turmoil step, in milliseconds. Messages are delivered between steps.
const STEP: u64 = 1;

/// Names in a story: few, so that requests meet.
const NAMES: u64 = 20;

/// A handler that takes so long is still at it when its bird's life must end.
const LONG: u64 = 6_500;

/// So long after the last fault the flock may still be getting over it.
const AFTERMATH: u64 = 12_000;

/// So long after a nest came or went the others may still see the one or the other.
const MOVING: u64 = 1_500;

/// Tells one story, on this thread alone. The seed decides everything.
pub fn tell(seed: u64) -> Told {
    tell_with(seed, None)
}

/// The same by nests with a key. What their links carry is other bytes each time, and so many as the seed
/// decides: the trace tells how many, and no digest of them.
pub fn tell_keyed(seed: u64) -> Told {
    // Any will do.
    const KEY: &str = "9f2c0a71d4e85b36c7118fa2604de39b7c5512e0ad9846f3b1d70e6a28c4953f";
    tell_with(seed, KEY.parse().ok())
}

fn tell_with(seed: u64, key: Option<ClusterKey>) -> Told {
    let _watch = Watch::begin();
    ledger::begin(seed);
    let mut rng = Rng::new(seed);
    let mut builder = turmoil::Builder::new();
    builder
        .rng_seed(rng.next_u64())
        .epoch(SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000))
        .tick_duration(Duration::from_millis(STEP))
        .simulation_duration(Duration::from_secs(3_600))
        .min_message_latency(Duration::from_millis(1))
        .max_message_latency(Duration::from_millis(2))
        .repair_rate(0.5)
        .udp_capacity(1_000_000);
    let sim = builder.build();
    let mut teller = Teller::new(sim, rng, key);
    teller.tell();
    let millis = ledger::now();
    // Whatever is dropped here still writes into the ledger.
    drop(teller);
    let (did, broken, trace) = ledger::end();
    Told { did, broken, millis, trace }
}

pub(super) struct Teller<'a> {
    pub(super) sim: Sim<'a>,
    rng: Rng,
    pub(super) posts: Vec<Post>,
    /// Hosts without power.
    pub(super) dark: Vec<bool>,
    pub(super) weather: Weather,
    /// Until then something may be amiss.
    amiss: u64,
    /// Until then nests may still have different views.
    moved: u64,
    /// No faults in this chapter that would allow two lives.
    gentle: bool,
}

impl<'a> Teller<'a> {
    fn new(mut sim: Sim<'a>, mut rng: Rng, key: Option<ClusterKey>) -> Self {
        let names = &["anna", "bela", "cleo", "dora", "emil"][..3 + rng.below(3) as usize];
        let mut posts = Vec::new();
        for name in names {
            let others: Vec<&str> = names.iter().copied().filter(|n| n != name).collect();
            let ahead = Duration::from_millis(rng.below(1_500));
            let post = Post::new(name, &others, rng.next_u64(), ahead, key.clone());
            posts.push(post.clone());
            post.join();
            sim.host(*name, move || post.clone().run());
        }
        let hosts = names.iter().map(|name| (*name).to_owned()).collect();
        let weather = Weather::new(hosts, *rng.pick(&[2, 10, 40]).unwrap_or(&2), &sim);
        let dark = vec![false; posts.len()];
        Self { sim, rng, posts, dark, weather, amiss: 0, moved: 0, gentle: true }
    }

    fn tell(&mut self) {
        self.rest();
        let chapters = 3 + self.rng.below(2);
        for chapter in 0..chapters {
            if ledger::is_broken() {
                return;
            }
            // The first is always gentle, the last never: both kinds of rules are put to the test.
            self.gentle = chapter == 0 || (chapter + 1 < chapters && self.rng.one_in(2));
            ledger::note("chapter", if self.gentle { "gentle" } else { "rough" });
            ledger::set_strict(self.gentle);
            self.chapter();
            self.rest();
        }
    }

    /// Goes on for so long, or until something breaks.
    pub(super) fn run(&mut self, millis: u64) {
        let end = ledger::now() + millis;
        while ledger::now() < end && !ledger::is_broken() {
            self.weather.pass(&mut self.sim);
            self.judge_calm();
            if let Err(error) = self.sim.step() {
                ledger::broken("hosts run on", error.to_string());
            }
            ledger::set_now(self.sim.elapsed().as_millis() as u64);
        }
    }

    fn judge_calm(&mut self) {
        let now = ledger::now();
        if self.weather.is_rough() || self.dark.contains(&true) {
            self.amiss = now + AFTERMATH;
        }
        ledger::set_calm(now >= self.amiss);
        let stages = |post: &Post| matches!(post.stage(), Stage::Joining | Stage::Leaving);
        if self.posts.iter().any(stages) {
            self.moved = now + MOVING;
        }
        ledger::set_steady(now >= self.moved);
    }

    fn chapter(&mut self) {
        let deeds = 20 + self.rng.below(80);
        for _ in 0..deeds {
            self.deed();
            let pause = match self.rng.below(10) {
                0 => 2_500,
                1..=3 => 300,
                _ => 20,
            };
            let pause = self.rng.below(pause);
            self.run(pause);
            if ledger::is_broken() {
                return;
            }
        }
    }

    fn deed(&mut self) {
        let Some(user) = self.some_up() else { return self.run(100) };
        match self.rng.below(100) {
            0..=21 => self.request(user, Wish::Start),
            22..=30 => self.request(user, Wish::Stop),
            31..=33 => self.request(user, Wish::Revive),
            34..=55 => self.call(user),
            56..=58 => self.give_up(user),
            59..=64 => self.cast(user),
            65..=68 => self.burst(user),
            69 => self.flood(user),
            70..=75 => self.panic(user),
            76..=79 => self.leave(user),
            80..=83 => self.come_back(),
            84..=91 => self.fault(),
            92..=96 if !self.gentle => self.crash(user),
            _ => self.crowd(),
        }
    }

    pub(super) fn up(&self) -> Vec<usize> {
        let posts = self.posts.iter().enumerate();
        posts.filter(|(_, post)| post.stage() == Stage::Up).map(|(host, _)| host).collect()
    }

    fn some_up(&mut self) -> Option<usize> {
        let up = self.up();
        self.rng.pick(&up).copied()
    }

    fn some_bird(&mut self) -> String {
        let number = self.rng.below(NAMES);
        let species = if number.is_multiple_of(5) { "fussy" } else { "steady" };
        format!("{species}-{number}")
    }

    fn request(&mut self, user: usize, wish: Wish) {
        let bird = self.some_bird();
        self.request_of(user, bird, wish);
    }

    fn request_of(&mut self, user: usize, bird: String, wish: Wish) {
        let host = self.posts[user].name().to_owned();
        let number = ledger::requested(&host, &bird, wish);
        self.posts[user].with_nest(move |nest| {
            let nest = nest.clone();
            spawn_local(async move {
                let outcome = ask(&nest, &bird, wish).await;
                ledger::request_ended(number, &host, outcome);
            });
        });
    }

    fn call(&mut self, user: usize) {
        let (bird, message) = (self.some_bird(), self.some_message());
        let within = match message {
            Message::Ponder(LONG) => 2 * LONG,
            _ => *self.rng.pick(&[300, 1_000, 5_000]).unwrap_or(&1_000),
        };
        self.call_of(user, &bird, message, within);
    }

    fn some_message(&mut self) -> Message {
        match self.rng.below(10) {
            0 => Message::Note(self.rng.below(100_000) as usize),
            1..=6 => Message::Note(0),
            // Longer than the end of a life waits for.
            7 if self.rng.one_in(4) => Message::Ponder(LONG),
            7..=8 => Message::Ponder(self.rng.below(400)),
            _ => Message::Brood(self.rng.below(150)),
        }
    }

    pub(super) fn call_of(
        &mut self,
        user: usize,
        bird: &str,
        message: Message,
        within: u64,
    ) -> u64 {
        let number = ledger::called(self.posts[user].name(), bird, true, within);
        // Now and then somebody takes the bird for one of the other species.
        let fussy = bird.starts_with("fussy") != (within == 300 && self.rng.one_in(10));
        let (bird, within) = (bird.to_owned(), Duration::from_millis(within));
        self.posts[user].with_nest(move |nest| {
            let reply = reply(nest, &bird, fussy, number, message, within);
            spawn_local(async move { ledger::call_ended(number, reply.await) });
        });
        number
    }

    /// Makes a call and doesn't wait for its end.
    fn give_up(&mut self, user: usize) {
        let (bird, message) = (self.some_bird(), self.some_message());
        let number = ledger::called(self.posts[user].name(), &bird, true, 5_000);
        let patience = Duration::from_millis(self.rng.below(200));
        self.posts[user].with_nest(move |nest| {
            let (fussy, within) = (bird.starts_with("fussy"), Duration::from_secs(5));
            let reply = reply(nest, &bird, fussy, number, message, within);
            spawn_local(async move {
                match tokio::time::timeout(patience, reply).await {
                    Ok(outcome) => ledger::call_ended(number, outcome),
                    Err(_) => ledger::call_given_up(number),
                }
            });
        });
    }

    fn cast(&mut self, user: usize) {
        let (bird, message) = (self.some_bird(), self.some_message());
        self.cast_of(user, &bird, message);
    }

    pub(super) fn cast_of(&mut self, user: usize, bird: &str, message: Message) -> u64 {
        let (host, bird) = (self.posts[user].name().to_owned(), bird.to_owned());
        let number = ledger::called(&host, &bird, false, 0);
        self.posts[user].with_nest(move |nest| {
            let sent = if bird.starts_with("fussy") {
                nest.bird::<Fussy>(&bird).map(|bird| birds::cast(&bird, number, message))
            } else {
                nest.bird::<Steady>(&bird).map(|bird| birds::cast(&bird, number, message))
            };
            debug_assert!(sent.is_ok(), "every bird's name is one");
        });
        number
    }

    /// Many calls at once to one bird.
    fn burst(&mut self, user: usize) {
        let bird = self.some_bird();
        for _ in 0..5 + self.rng.below(30) {
            let message = self.some_message();
            self.call_of(user, &bird, message, 2_000);
        }
    }

    /// More calls than a bird has room for, while it hears nobody.
    fn flood(&mut self, user: usize) {
        let bird = self.some_bird();
        self.call_of(user, &bird, Message::Brood(500), 2_000);
        for _ in 0..1_100 {
            self.call_of(user, &bird, Message::Note(0), 1_000);
        }
    }

    /// Everybody starts the same bird, and calls it.
    fn crowd(&mut self) {
        let bird = self.some_bird();
        for user in self.up() {
            self.request_of(user, bird.clone(), Wish::Start);
            self.call_of(user, &bird, Message::Note(0), 1_000);
        }
    }

    /// A bird panics, and some do it so often that they are grounded.
    fn panic(&mut self, user: usize) {
        let bird = self.some_bird();
        let times = if self.rng.one_in(4) { 8 } else { 1 };
        for _ in 0..times {
            self.call_of(user, &bird, Message::Fall, 3_000);
        }
    }

    fn leave(&mut self, user: usize) {
        // In gentle times nobody leaves whom others need to see round a cut.
        let needed = self.gentle && self.weather.is_cut();
        if self.up().len() > 2 && !needed {
            ledger::note(self.posts[user].name(), "leaves");
            ledger::nest_leaves();
            self.posts[user].leave();
        }
    }

    /// Some host or nest that isn't there starts anew.
    fn come_back(&mut self) {
        let posts = self.posts.iter().enumerate();
        let out: Vec<usize> =
            posts.filter(|(_, post)| post.stage() == Stage::Out).map(|(host, _)| host).collect();
        if let Some(&host) = self.rng.pick(&out) {
            self.start(host);
        }
    }

    pub(super) fn start(&mut self, host: usize) {
        ledger::note(self.posts[host].name(), "starts");
        ledger::did(|did| did.bounces += 1);
        self.posts[host].join();
        if std::mem::take(&mut self.dark[host]) {
            self.sim.bounce(self.posts[host].name());
        }
    }

    fn fault(&mut self) {
        let (up, rng) = (self.up(), &mut self.rng);
        if self.gentle {
            // Others can see round a cut only if all of them are there.
            if up.len() == self.posts.len() {
                self.weather.light(&mut self.sim, rng, &up);
            }
        } else {
            self.weather.rough(&mut self.sim, rng, &up);
            self.judge_calm();
        }
    }

    /// A process is killed, or a host loses its power.
    fn crash(&mut self, user: usize) {
        if self.up().len() < 3 {
            return;
        }
        let name = self.posts[user].name().to_owned();
        self.amiss = ledger::now() + AFTERMATH;
        self.judge_calm();
        ledger::did(|did| did.crashes += 1);
        ledger::nest_died();
        if self.rng.one_in(2) {
            self.posts[user].kill();
        } else {
            ledger::note(&name, "has no power");
            ledger::note(&name, self.posts[user].traffic());
            self.sim.crash(name.as_str());
            self.posts[user].crashed();
            self.dark[user] = true;
            ledger::users_gone(&name);
        }
    }
}

fn reply(
    nest: &Flock,
    bird: &str,
    fussy: bool,
    number: u64,
    message: Message,
    within: Duration,
) -> Reply<Noted> {
    let sent = if fussy {
        nest.bird(bird).map(|bird| birds::send::<Fussy>(&bird, number, message, within))
    } else {
        nest.bird(bird).map(|bird| birds::send::<Steady>(&bird, number, message, within))
    };
    sent.expect("every bird's name is one")
}

async fn ask(nest: &Flock, bird: &str, wish: Wish) -> Result<(), Refusal> {
    let done = match wish {
        Wish::Start if bird.starts_with("fussy") => nest.start::<Fussy>(bird, 0).await.map(|_| ()),
        Wish::Start => nest.start::<Steady>(bird, 0).await.map(|_| ()),
        Wish::Stop => nest.stop(bird).await,
        Wish::Revive => nest.revive(bird).await,
    };
    done.map_err(Refusal::from)
}
