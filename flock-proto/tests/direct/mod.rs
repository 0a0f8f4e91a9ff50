//! Nests that a test drives by hand: no time passes, no frame travels unless the test says so.
#![allow(dead_code, reason = "each test file uses its own part of it")]

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use bytes::Bytes;
use flock_proto::wire::{Frame, Header};
use flock_proto::{
    Answer, BirdName, Config, Effect, Event, Fence, Input, Me, Nest, NestId, NestName, NestState,
    Peer, ReqId, SpeciesId, Time,
};

pub(crate) const SPECIES: SpeciesId = SpeciesId::of("sparrow");

/// Nests with perfect links.
pub(crate) struct Direct {
    pub(crate) now: Time,
    nests: Vec<Nest>,
    /// Frames on their way: from, to, bytes.
    pub(crate) wire: VecDeque<(usize, usize, Bytes)>,
    /// Lives that are to hatch, or to end, as soon as the test says so.
    pub(crate) hatching: Vec<(usize, BirdName, Fence)>,
    pub(crate) ending: Vec<(usize, BirdName, Fence)>,
    pub(crate) answers: BTreeMap<(usize, ReqId), Answer>,
    last_req: u64,
    links: BTreeSet<(usize, usize)>,
    /// Parts of comparisons of registers that were sent.
    pub(crate) comparisons: usize,
    /// What each told of starts.
    pub(crate) started: Vec<(usize, BirdName)>,
    /// Lives that are to leave.
    pub(crate) departing: Vec<(usize, BirdName, Fence)>,
    /// States that lives took in from others.
    pub(crate) merged: Vec<(usize, BirdName, Bytes)>,
    /// By how much each nest's clock is ahead.
    ahead: Vec<Duration>,
    dead: BTreeSet<usize>,
}

impl Direct {
    /// So many nests, all up and at rest.
    pub(crate) fn of(nests: usize) -> Self {
        let mut all = Self::none();
        for _ in 0..nests {
            all.add(Duration::ZERO, |_, _| {});
        }
        all.come_up();
        all.pass(Duration::from_secs(2));
        all
    }

    /// No nest yet.
    pub(crate) fn none() -> Self {
        let now = Time::from_micros(1_700_000_000_000_000);
        Self {
            now,
            nests: Vec::new(),
            wire: VecDeque::new(),
            hatching: Vec::new(),
            ending: Vec::new(),
            answers: BTreeMap::new(),
            last_req: 0,
            links: BTreeSet::new(),
            comparisons: 0,
            started: Vec::new(),
            departing: Vec::new(),
            merged: Vec::new(),
            ahead: Vec::new(),
            dead: BTreeSet::new(),
        }
    }

    /// One more nest.
    pub(crate) fn add(
        &mut self,
        ahead: Duration,
        tune: impl FnOnce(&mut Me, &mut Config),
    ) -> usize {
        let n = self.nests.len();
        let mut config = Config::default();
        let mut me = Me {
            name: NestName::new(&format!("nest-{n}")).expect("a name"),
            address: n.to_string(),
            weight: 1,
            species: [SPECIES].into(),
            fenced: BTreeSet::new(),
            seeds: (0..n).map(|seed| seed.to_string()).collect(),
        };
        tune(&mut me, &mut config);
        self.ahead.push(ahead);
        self.nests.push(Nest::new(me, config, n as u64, self.now + ahead));
        self.carry_out(n);
        n
    }

    /// Until all see each other.
    pub(crate) fn come_up(&mut self) {
        let up = |direct: &Self| {
            direct.nests.iter().all(|nest| {
                let view = nest.view();
                view.members().len() == direct.nests.len()
                    && view.members().iter().all(|m| m.state == NestState::Up)
                    && nest.is_settled_everywhere()
            })
        };
        for _ in 0..10_000 {
            if up(self) {
                return;
            }
            self.pass(Duration::from_millis(1));
        }
        panic!("they never came up");
    }

    /// A nest dies; its address refuses whoever dials it.
    pub(crate) fn kill(&mut self, at: usize) {
        self.dead.insert(at);
        self.wire.retain(|(from, to, _)| *from != at && *to != at);
        self.hatching.retain(|(on, ..)| *on != at);
        self.links.retain(|(a, b)| *a != at && *b != at);
        let peer = self.nests[at].id();
        for other in (0..self.nests.len()).filter(|other| *other != at) {
            self.feed(other, Input::LinkClosed { peer });
        }
    }

    pub(crate) fn nest(&self, at: usize) -> &Nest {
        &self.nests[at]
    }

    pub(crate) fn feed(&mut self, at: usize, input: Input) {
        if self.dead.contains(&at) {
            return;
        }
        self.nests[at].handle(self.now + self.ahead[at], input);
        self.carry_out(at);
    }

    pub(crate) fn req(&mut self) -> ReqId {
        self.last_req += 1;
        ReqId(self.last_req)
    }

    /// A start with so many bytes of arguments.
    pub(crate) fn start(&mut self, name: &BirdName, args: usize) -> Input {
        let (req, deadline) = (self.req(), self.now + Duration::from_secs(5));
        let args = Bytes::from(vec![7; args]);
        Input::Start { req, name: name.clone(), species: SPECIES, args, or_get: false, deadline }
    }

    /// Names that this nest owns.
    pub(crate) fn names_of(&self, at: usize, prefix: &str, count: usize) -> Vec<BirdName> {
        let view = self.nests[at].view();
        let all = (0..).map(|n| BirdName::new(&format!("{prefix}-{n}")).expect("a name"));
        all.filter(|name| view.owner(name.hash64()) == Some(view.me())).take(count).collect()
    }

    /// Frames of requests or answers that are on their way now, decoded.
    pub(crate) fn under_way(&self) -> Vec<Frame> {
        let frames = self.wire.iter().filter_map(|(_, _, bytes)| Frame::decode(bytes).ok());
        frames.filter(|f| matches!(f, Frame::Requests(_) | Frame::Responses(_))).collect()
    }

    /// Brings all frames over, and whatever they cause.
    pub(crate) fn bring(&mut self) {
        while self.bring_one() {}
    }

    /// Opens the link of two nests.
    pub(crate) fn meet(&mut self, a: usize, b: usize) {
        self.dial(a, b.to_string());
    }

    /// Brings one frame over; false if none is on its way.
    pub(crate) fn bring_one(&mut self) -> bool {
        self.bring_one_but(|_| false)
    }

    /// The same, but for frames that are held up.
    pub(crate) fn bring_one_but(&mut self, is_held: impl Fn(&Frame) -> bool) -> bool {
        let decode = |bytes: &Bytes| Frame::decode(bytes).expect("nests write what can be read");
        let next = self.wire.iter().position(|(_, _, bytes)| !is_held(&decode(bytes)));
        let Some((from, to, frame)) = next.and_then(|at| self.wire.remove(at)) else {
            return false;
        };
        assert!(Header::decode(&frame).is_ok());
        let decoded = Frame::decode(&frame).expect("nests write what can be read");
        self.comparisons += usize::from(matches!(decoded, Frame::Ranges(_)));
        let from = self.nests[from].id();
        self.feed(to, Input::Frame { from, frame });
        true
    }

    /// Lets time pass; frames arrive at once, lives wait for the test.
    pub(crate) fn pass(&mut self, span: Duration) {
        let end = self.now + span;
        loop {
            self.bring();
            let living = (0..self.nests.len()).filter(|n| !self.dead.contains(n));
            let due = living.map(|n| (self.nests[n].deadline(), n));
            let here = |at: Time, n: usize| {
                if at == Time::NEVER {
                    return at;
                }
                Time::from_micros(at.as_micros() - self.ahead[n].as_micros() as u64)
            };
            let due = due.map(|(at, n)| (here(at, n), n)).min();
            match due {
                Some((at, n)) if at <= end => {
                    self.now = self.now.max(at);
                    self.feed(n, Input::Tick);
                }
                _ => break,
            }
        }
        self.now = end;
    }

    /// All lives that are to hatch do, those of one nest at once.
    pub(crate) fn hatch(&mut self) {
        for at in 0..self.nests.len() {
            let here = self.hatching.extract_if(.., |(on, ..)| *on == at);
            let all = here.map(|(_, name, fence)| Input::Hatched { name, fence }).collect();
            self.feed(at, Input::Many(all));
        }
    }

    /// All lives that are to end do.
    pub(crate) fn end(&mut self) {
        for at in 0..self.nests.len() {
            let here = self.ending.extract_if(.., |(on, ..)| *on == at);
            let all =
                here.map(|(_, name, fence)| Input::Ended { name, fence, snapshot: None }).collect();
            self.feed(at, Input::Many(all));
        }
    }

    /// Cuts the link of two nests and opens it anew: what was on its way is lost.
    pub(crate) fn break_link(&mut self, a: usize, b: usize) {
        self.wire.retain(|(from, to, _)| ![(a, b), (b, a)].contains(&(*from, *to)));
        self.links.remove(&(a.min(b), a.max(b)));
        for (at, other) in [(a, b), (b, a)] {
            let peer = self.nests[other].id();
            self.nests[at].handle(self.now + self.ahead[at], Input::LinkClosed { peer });
        }
        // Only now: else one would dial while the other still holds the link to be open.
        [a, b].into_iter().for_each(|at| self.carry_out(at));
    }

    fn at(&self, id: NestId) -> Option<usize> {
        self.nests.iter().position(|nest| nest.id() == id)
    }

    fn carry_out(&mut self, at: usize) {
        let effects: Vec<Effect> = self.nests[at].drain().collect();
        for effect in effects {
            match effect {
                Effect::Send { to, frame } => {
                    if let Some(to) = self.at(to) {
                        self.wire.push_back((at, to, frame));
                    }
                }
                Effect::Dial { address } => self.dial(at, address),
                Effect::Hatch { name, fence, .. } => self.hatching.push((at, name, fence)),
                Effect::End { name, fence, .. } => {
                    self.hatching.retain(|(_, other, _)| *other != name);
                    self.ending.push((at, name, fence));
                }
                Effect::Depart { name, fence } => self.departing.push((at, name, fence)),
                Effect::Merge { name, state, .. } => self.merged.push((at, name, state)),
                Effect::Answer { req, answer } => drop(self.answers.insert((at, req), answer)),
                Effect::Tell(Event::Started(name)) => self.started.push((at, name)),
                _ => {}
            }
        }
    }

    fn dial(&mut self, at: usize, address: String) {
        let other: usize = address.parse().expect("a number");
        if self.dead.contains(&other) {
            let why = "nobody is there".into();
            return self.feed(at, Input::DialFailed { address, refused: true, why });
        }
        if !self.links.insert((at.min(other), at.max(other))) {
            return;
        }
        let peer = |n: &Nest, address: String| Peer {
            id: n.id(),
            name: n.view().member(n.id()).expect("itself").name.clone(),
            address,
        };
        let (here, there) =
            (peer(&self.nests[at], at.to_string()), peer(&self.nests[other], address.clone()));
        self.feed(other, Input::LinkOpened { peer: here, dialled: None });
        self.feed(at, Input::LinkOpened { peer: there, dialled: Some(address) });
    }
}
