//! Random histories with loss, repetition, reordering, partitions and crashes: once the faults
//! cease all replicas are equal, and hold what the joined states hold.

use super::*;
use crate::Rng;

const NESTS: usize = 4;
const CASES: u64 = 2000;

#[derive(Clone, Debug)]
enum Message {
    Delta(Delta),
    Status(Vector, u64),
    Ask(u64),
    Chunk(SnapshotChunk),
}

struct World {
    rng: Rng,
    nests: Vec<Registry>,
    net: Vec<(usize, usize, Message)>,
    side: [bool; NESTS],
    hlc: u64,
    next_id: u64,
    log_len: usize,
    cut: usize,
    removed: Vec<Record>,
}

impl World {
    fn new(seed: u64) -> Self {
        let mut rng = Rng::new(seed);
        let log_len = *rng.pick(&[0, 2, 8, 10_000]).unwrap();
        let cut = *rng.pick(&[1, 100, 1 << 20]).unwrap();
        let nests = (1..=NESTS as u64).map(|id| logging(id, log_len)).collect();
        let (net, side, removed) = (Vec::new(), [false; NESTS], Vec::new());
        Self { rng, nests, net, side, hlc: 0, next_id: 100, log_len, cut, removed }
    }

    fn nest(&mut self) -> usize {
        self.rng.below(NESTS as u64) as usize
    }

    fn step(&mut self) {
        match self.rng.below(30) {
            0..8 => self.operate(),
            8..18 => self.deliver(true),
            18..20 => self.lose(),
            20..24 => {
                let (from, to) = (self.nest(), self.nest());
                self.tell(from, to);
            }
            24..27 => {
                let from = self.nest();
                self.push(from);
            }
            27 => {
                let mask = self.rng.next_u64();
                self.side = std::array::from_fn(|i| (mask >> i) & 1 == 1);
            }
            28 => self.side = [false; NESTS],
            _ if self.rng.one_in(3) => self.crash(),
            _ => {}
        }
    }

    fn operate(&mut self) {
        self.hlc += self.rng.below(2);
        let (at, hlc) = (self.nest(), Hlc(self.hlc));
        let name = name(&format!("bird-{}", self.rng.below(8)));
        let nest = &mut self.nests[at];
        match self.rng.below(10) {
            0..5 if nest.winner(&name).is_none() => {
                nest.start(&name, SpeciesId(1), b"args", 0, hlc);
            }
            0..6 => {
                nest.overwrite(&name, hlc, None);
            }
            6..9 => {
                self.removed.extend(nest.winner(&name));
                nest.remove(&name, Cause::Stopped);
            }
            _ => {
                if let Some(record) = self.rng.pick(&self.removed) {
                    nest.re_add(record, hlc);
                }
            }
        }
    }

    fn push(&mut self, from: usize) {
        if let Some(delta) = self.nests[from].take_delta() {
            for to in (0..NESTS).filter(|&to| to != from) {
                self.send(from, to, Message::Delta(delta.clone()));
            }
        }
    }

    fn tell(&mut self, from: usize, to: usize) {
        let nest = &self.nests[from];
        let status = Message::Status(nest.vector().clone(), nest.digest());
        self.send(from, to, status);
    }

    fn send(&mut self, from: usize, to: usize, message: Message) {
        if from != to && self.side[from] == self.side[to] {
            self.net.push((from, to, message));
        }
    }

    fn lose(&mut self) {
        if !self.net.is_empty() {
            let at = self.rng.below(self.net.len() as u64) as usize;
            self.net.swap_remove(at);
        }
    }

    fn crash(&mut self) {
        let at = self.nest();
        let old = self.nests[at].me;
        self.next_id += 1;
        self.nests[at] = logging(self.next_id, self.log_len);
        self.net.retain(|&(from, to, _)| from != at && to != at);
        self.nests.iter_mut().for_each(|nest| nest.forget_snapshot(old));
    }

    fn deliver(&mut self, twice: bool) {
        if self.net.is_empty() {
            return;
        }
        let at = self.rng.below(self.net.len() as u64) as usize;
        let (from, to, message) = if twice && self.rng.one_in(7) {
            self.net[at].clone()
        } else {
            self.net.swap_remove(at)
        };
        if self.side[from] != self.side[to] {
            return;
        }
        match message {
            Message::Delta(delta) => match self.nests[to].join(&delta) {
                Joined::Applied(changes) => self.check(to, &changes),
                Joined::Gap => self.tell(to, from),
                Joined::Bad(error) => panic!("{error}"),
            },
            Message::Status(vector, digest) => self.answer(from, to, &vector, digest),
            Message::Ask(first) => self.chunk(to, from, first),
            Message::Chunk(chunk) => {
                let peer = self.nests[from].me;
                match self.nests[to].join_snapshot(peer, &chunk) {
                    SnapshotJoined::Next(next, changes) => {
                        self.check(to, &changes);
                        self.send(to, from, Message::Ask(next));
                    }
                    SnapshotJoined::Done(changes) => self.check(to, &changes),
                    SnapshotJoined::OutOfStep(Some(next)) => {
                        self.send(to, from, Message::Ask(next));
                    }
                    SnapshotJoined::OutOfStep(None) => {}
                    SnapshotJoined::Bad(error) => panic!("{error}"),
                }
            }
        }
    }

    fn answer(&mut self, from: usize, to: usize, vector: &Vector, digest: u64) {
        let standing = self.nests[to].compare(vector, digest);
        if matches!(standing, Standing::PeerLacks | Standing::BothLack) {
            match self.nests[to].encode(|origin| vector.seq(origin), None, self.cut) {
                Some(delta) => self.send(to, from, Message::Delta(delta)),
                None => self.chunk(to, from, 0),
            }
        }
        match standing {
            Standing::WeLack | Standing::BothLack => self.tell(to, from),
            Standing::Diverged => {
                self.chunk(to, from, 0);
                self.send(to, from, Message::Ask(0));
            }
            _ => {}
        }
    }

    fn chunk(&mut self, from: usize, to: usize, first: u64) {
        let chunk = self.nests[from].snapshot(first, self.cut);
        self.send(from, to, Message::Chunk(chunk));
    }

    /// What is told of a name's winner is so.
    fn check(&self, at: usize, changes: &[Change]) {
        let nest = &self.nests[at];
        assert!(changes.iter().all(|c| c.after == nest.winner_birth(&c.name)));
    }

    /// A record lives if some replica holds it and none knew it, or compared its place with one
    /// that did, and holds it no more.
    fn joined(&self) -> BTreeSet<(BirdName, Dot)> {
        let lives: Vec<_> = self.nests.iter().map(live).collect();
        let lost = |record: &(BirdName, Dot)| {
            self.nests.iter().zip(&lives).any(|(nest, live)| {
                let (hash, dot) = (record.0.hash64(), record.1);
                let number = nest.origins.number(dot.origin);
                let known = number.is_some_and(|number| nest.origins.knows(number, dot.seq));
                let compared = nest.inbound.values().any(|inbound| inbound.compared(hash, dot));
                (known || compared) && !live.contains(record)
            })
        };
        lives.iter().flatten().filter(|record| !lost(record)).cloned().collect()
    }

    fn settle(&mut self) -> bool {
        self.side = [false; NESTS];
        for _ in 0..40 {
            for (from, to) in (0..NESTS).flat_map(|a| (0..NESTS).map(move |b| (a, b))) {
                self.tell(from, to);
            }
            for _ in 0..20_000 {
                self.deliver(false);
            }
            assert!(self.net.is_empty(), "a storm of messages");
            let first = state(&self.nests[0]);
            if self.nests.iter().all(|nest| state(nest) == first) {
                return true;
            }
        }
        false
    }
}

fn run(seed: u64) -> Result<(), String> {
    let mut world = World::new(seed);
    for _ in 0..world.rng.below(200) {
        world.step();
    }
    world.net.clear();
    let expect = world.joined();
    if !world.settle() {
        return Err("the replicas stay unequal".into());
    }
    let first = &world.nests[0];
    if live(first) != expect {
        return Err(format!("they hold {:?}, not {expect:?}", live(first)));
    }
    let names = first.names_in(0..=u64::MAX).count();
    for nest in &world.nests {
        if nest.page(None, usize::MAX) != first.page(None, usize::MAX) || nest.len() != names {
            return Err("the same records are read in different ways".into());
        }
    }
    Ok(())
}

#[test]
fn replicas_converge_whatever_happens() {
    let env = |key| std::env::var(key).ok().and_then(|value| value.parse::<u64>().ok());
    let seeds = env("SEED").map_or(0..env("CASES").unwrap_or(CASES), |seed| seed..seed + 1);
    for seed in seeds {
        if let Err(why) = run(seed) {
            panic!("{why}; replay: SEED={seed} cargo test -p flock-proto replicas_converge");
        }
    }
}
