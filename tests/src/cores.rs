//! Nests of the core alone, within one process: links are perfect, unless a test has them lose
//! something, and time passes when it is told to.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::{Duration, Instant};

use bytes::Bytes;
use flock_proto::wire::{Frame, Header, Ops};
use flock_proto::{
    Answer, BirdName, Config, Delta, Effect, Fence, Fingerprint, Hlc, Input, Me, Nest, NestId,
    NestName, NestState, Peer, ReqId, SpeciesId, Time,
};

/// The species that all of them can hatch.
pub const SPECIES: SpeciesId = SpeciesId::of("sparrow");

/// The kinds of frames by which registers are kept equal.
const OF_REGISTERS: std::ops::RangeInclusive<u8> = 20..=29;

/// Nests, each with links to all others.
#[derive(Debug)]
pub struct Cores {
    now: Time,
    nests: Vec<Option<Nest>>,
    /// Frames on their way: from, to, bytes.
    wire: VecDeque<(usize, usize, Bytes)>,
    links: BTreeSet<(usize, usize)>,
    /// Nests whose registers neither hear nor are heard.
    deaf: BTreeSet<usize>,
    answers: BTreeMap<(usize, ReqId), Answer>,
    last_req: u64,
    /// Frames of registers that arrived, and their bytes with the length prefix.
    pub traffic: (u64, u64),
    /// How long each nest took for the input by which its ring changed last, and for the one by
    /// which it settled in it.
    pub decisions: BTreeMap<usize, Decision>,
}

/// What a change of the ring cost one nest.
#[derive(Clone, Copy, Debug, Default)]
pub struct Decision {
    view: Option<Fingerprint>,
    /// To enter it.
    pub entered: Duration,
    /// To go on from there, if there was something to wait for.
    pub settled: Option<Duration>,
}

impl Decision {
    /// All that the nest itself did.
    pub fn took(&self) -> Duration {
        self.entered + self.settled.unwrap_or_default()
    }
}

impl Cores {
    /// So many nests, all up and settled.
    ///
    /// # Panics
    /// If they don't come up.
    pub fn of(nests: usize, config: &Config) -> Self {
        let mut all = Self {
            now: Time::from_micros(1_700_000_000_000_000),
            nests: Vec::new(),
            wire: VecDeque::new(),
            links: BTreeSet::new(),
            deaf: BTreeSet::new(),
            answers: BTreeMap::new(),
            last_req: 0,
            traffic: (0, 0),
            decisions: BTreeMap::new(),
        };
        for n in 0..nests {
            all.add(n, config);
            // Of a hundred that drew their incarnations at one moment two might draw the same.
            all.pass(Duration::from_millis(1));
        }
        all.pass_until("all are up", Duration::from_secs(60), |all| all.are_up());
        all
    }

    fn add(&mut self, n: usize, config: &Config) {
        let me = Me {
            name: NestName::new(&format!("nest-{n}")).expect("a name"),
            address: n.to_string(),
            weight: 1,
            species: [SPECIES].into(),
            fenced: Default::default(),
            seeds: if n == 0 { Vec::new() } else { vec!["0".into()] },
        };
        self.nests.push(Some(Nest::new(me, config.clone(), n as u64, self.now)));
        self.carry_out(n);
    }

    /// One of them.
    ///
    /// # Panics
    /// If it was killed.
    pub fn nest(&self, at: usize) -> &Nest {
        self.nests.get(at).and_then(Option::as_ref).expect("it lives")
    }

    /// Those that live.
    pub fn living(&self) -> impl Iterator<Item = (usize, &Nest)> {
        self.nests.iter().enumerate().filter_map(|(at, nest)| Some((at, nest.as_ref()?)))
    }

    /// Whether each sees all others up, and is settled.
    pub fn are_up(&self) -> bool {
        let count = self.living().count();
        self.living().all(|(_, nest)| {
            let view = nest.view();
            view.members().len() == count
                && view.members().iter().all(|m| m.state == NestState::Up)
                && nest.is_settled_everywhere()
        })
    }

    /// Whether all hold the same records.
    pub fn are_equal(&self) -> bool {
        let digests: BTreeSet<_> = self.living().map(|(_, nest)| nest.registry_digest()).collect();
        digests.len() < 2
    }

    /// From now on no frame that keeps registers equal goes to or from this nest; or it does again.
    pub fn deafen(&mut self, at: usize, deaf: bool) {
        if deaf {
            self.deaf.insert(at);
        } else {
            self.deaf.remove(&at);
        }
    }

    /// Something happens to a nest.
    pub fn feed(&mut self, at: usize, input: Input) {
        let Some(nest) = self.nests.get_mut(at).and_then(Option::as_mut) else { return };
        let (view, settled) = (nest.view().fingerprint(), nest.is_settled_everywhere());
        let begun = Instant::now();
        nest.handle(self.now, input);
        let took = begun.elapsed();
        let (entered, settles) = (nest.view().fingerprint(), nest.is_settled_everywhere());
        let decision = self.decisions.entry(at).or_default();
        if entered != view {
            *decision = Decision { view: Some(entered), entered: took, settled: None };
        } else if decision.view == Some(entered) && !settled && settles {
            decision.settled = Some(took);
        }
        self.carry_out(at);
    }

    /// Asks a nest to start a bird.
    pub fn start(&mut self, at: usize, name: &BirdName, args: &[u8]) -> ReqId {
        let (req, deadline) = (self.req(), self.now + Duration::from_secs(5));
        let (name, args) = (name.clone(), Bytes::copy_from_slice(args));
        self.feed(at, Input::Start { req, name, species: SPECIES, args, or_get: false, deadline });
        req
    }

    /// Asks a nest to stop a bird.
    pub fn stop(&mut self, at: usize, name: &BirdName) -> ReqId {
        let (req, deadline) = (self.req(), self.now + Duration::from_secs(5));
        self.feed(at, Input::Stop { req, name: name.clone(), deadline });
        req
    }

    fn req(&mut self) -> ReqId {
        self.last_req += 1;
        ReqId(self.last_req)
    }

    /// What came of a question, told once.
    pub fn answer(&mut self, at: usize, req: ReqId) -> Option<Answer> {
        self.answers.remove(&(at, req))
    }

    /// Tells a nest of operations, as somebody would who then goes away. How long it took for that.
    pub fn teach(&mut self, at: usize, deltas: &[Delta]) -> Duration {
        let from = NestId(Hlc::at(self.now).0);
        let name = NestName::new("stranger").expect("a name");
        let peer = Peer { id: from, name, address: "stranger".into() };
        self.feed(at, Input::LinkOpened { peer, dialled: None });
        let mut took = Duration::ZERO;
        for delta in deltas {
            let dest = self.nest(at).id();
            let header = Header { hops: 0, stamp: Hlc::at(self.now), author: from, dest };
            let frame = Frame::Ops(Ops { delta: delta.clone(), ack: false }).encode(header);
            let begun = Instant::now();
            self.feed(at, Input::Frame { from, frame });
            took += begun.elapsed();
        }
        self.feed(at, Input::LinkClosed { peer: from });
        took
    }

    /// Ends a nest: its links close, its address is refused.
    pub fn kill(&mut self, at: usize) {
        let Some(nest) = self.nests.get_mut(at).and_then(Option::take) else { return };
        self.wire.retain(|(from, to, _)| *from != at && *to != at);
        self.links.retain(|(a, b)| *a != at && *b != at);
        for other in 0..self.nests.len() {
            self.feed(other, Input::LinkClosed { peer: nest.id() });
        }
    }

    /// Lets time pass. Frames arrive at once.
    pub fn pass(&mut self, span: Duration) {
        let end = self.now + span;
        loop {
            self.bring();
            let due = self.living().map(|(at, nest)| (nest.deadline(), at)).min();
            match due {
                Some((time, at)) if time <= end => {
                    self.now = self.now.max(time);
                    self.feed(at, Input::Tick);
                }
                _ => break,
            }
        }
        self.now = end;
    }

    /// Lets time pass until something is so. How much did.
    ///
    /// # Panics
    /// If it isn't so within this time.
    #[track_caller]
    pub fn pass_until(
        &mut self,
        what: &str,
        within: Duration,
        so: impl Fn(&Self) -> bool,
    ) -> Duration {
        let begun = self.now;
        while !so(self) {
            assert!(self.now.since(begun) <= within, "not within {within:?}: {what}");
            self.pass(Duration::from_millis(10));
        }
        self.now.since(begun)
    }

    fn bring(&mut self) {
        while let Some((from, to, frame)) = self.wire.pop_front() {
            let of_registers = frame.get(1).is_some_and(|kind| OF_REGISTERS.contains(kind));
            if of_registers && (self.deaf.contains(&from) || self.deaf.contains(&to)) {
                continue;
            }
            if of_registers {
                self.traffic.0 += 1;
                self.traffic.1 += frame.len() as u64 + 4;
            }
            let Some(from) = self.nests.get(from).and_then(Option::as_ref) else { continue };
            let from = from.id();
            self.feed(to, Input::Frame { from, frame });
        }
    }

    fn carry_out(&mut self, at: usize) {
        let Some(nest) = self.nests.get_mut(at).and_then(Option::as_mut) else { return };
        let effects: Vec<Effect> = nest.drain().collect();
        let mut inputs = Vec::new();
        for effect in effects {
            match effect {
                Effect::Send { to, frame } => {
                    let to = self.living().find(|(_, nest)| nest.id() == to).map(|(to, _)| to);
                    self.wire.extend(to.map(|to| (at, to, frame)));
                }
                Effect::Dial { address } => self.dial(at, address),
                Effect::Hatch { name, fence, .. } => inputs.push(Input::Hatched { name, fence }),
                Effect::End { name, fence, .. } => {
                    inputs.push(Input::Ended { name, fence, snapshot: None });
                }
                Effect::Depart { name, fence } => {
                    inputs.push(Input::Departed {
                        name,
                        fence,
                        crashes: Vec::new(),
                        snapshot: None,
                    });
                }
                Effect::Answer { req, answer } => drop(self.answers.insert((at, req), answer)),
                _ => {}
            }
        }
        inputs.into_iter().for_each(|input| self.feed(at, input));
    }

    fn dial(&mut self, at: usize, address: String) {
        let other: Option<usize> = address.parse().ok();
        let Some(other) = other.filter(|&other| self.nests.get(other).is_some_and(Option::is_some))
        else {
            let why = "nobody listens there".to_owned();
            return self.feed(at, Input::DialFailed { address, refused: true, why });
        };
        if !self.links.insert((at.min(other), at.max(other))) {
            return;
        }
        let peer = |at: usize| Peer {
            id: self.nest(at).id(),
            name: NestName::new(&format!("nest-{at}")).expect("a name"),
            address: at.to_string(),
        };
        let (here, there) = (peer(at), peer(other));
        self.feed(other, Input::LinkOpened { peer: here, dialled: None });
        self.feed(at, Input::LinkOpened { peer: there, dialled: Some(address) });
    }

    /// The fence of the life that a nest runs under this name.
    pub fn fence(&self, at: usize, name: &BirdName) -> Option<Fence> {
        self.nest(at).lives().find(|(other, ..)| *other == name).map(|(.., fence)| fence)
    }
}
