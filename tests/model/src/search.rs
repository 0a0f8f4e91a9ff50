//! Looking for a state that must not be: through all of them, or along random ways.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, VecDeque};
use std::hash::BuildHasherDefault;
use std::rc::Rc;

use crate::actions::{Action, Next};
use crate::config::Config;
use crate::mix::Mix;
use crate::register::{Deed, Op, Register};
use crate::rules::Rules;
use crate::state::{Bird, Card, Cut, Kept, Life, NESTS, Nest, Phase, Seal, Set, View, World};
use crate::step::{Step, Violation};

/// The protocol, in a configuration, by all or most of its rules.
#[derive(Clone, Debug)]
pub struct Model {
    /// What may happen.
    pub config: Config,
    /// Which rules are followed.
    pub rules: Rules,
}

/// What must not be, and how it came to be: the shortest way, where all were looked at.
#[derive(Clone, Debug)]
pub struct Broken {
    /// What must not be.
    pub violation: Violation,
    /// What happened before, in order.
    pub way: Vec<Action>,
}

/// What a search found.
#[derive(Clone, Debug, Default)]
pub struct Found {
    /// So many different states.
    pub states: usize,
    /// So many steps away from the first one is the last.
    pub depth: usize,
    /// In so many the flock was at rest.
    pub at_rest: usize,
    /// Whether there are no more.
    pub complete: bool,
    /// What must not be.
    pub broken: Option<Broken>,
}

/// What random ways found.
#[derive(Clone, Debug, Default)]
pub struct Walked {
    /// So many ways.
    pub ways: u64,
    /// So many steps.
    pub steps: u64,
    /// On so many the flock came to rest.
    pub at_rest: u64,
    /// What must not be.
    pub broken: Option<Broken>,
}

impl Model {
    /// By all rules.
    pub const fn new(config: Config) -> Self {
        Self { config, rules: Rules::all() }
    }

    /// Settled, and at rest.
    pub(crate) fn first(&self) -> World {
        let config = &self.config;
        let up = (0..NESTS).filter(|id| config.up >> id & 1 == 1);
        let view = up.clone().fold(View::default(), |view, id| view.with(id, Card::Up));
        let mut register = Register::default();
        let mut nest = Nest { view, entered: 1, ..Nest::default() };
        for id in up.clone() {
            nest.cards[id] = Card::Up;
            nest.alive.insert(id);
        }
        for name in (0..config.names).filter(|name| config.birds >> name & 1 == 1) {
            let (birth, origin) =
                (register.len() as u8, view.owner(name).unwrap_or_default() as u8);
            register.push(Op {
                deed: Deed::Start,
                name: name as u8,
                origin,
                birth,
                covers: 0,
                request: None,
            });
            nest.known |= 1 << birth;
        }
        let seal = Seal {
            view,
            entered: 1,
            wanted: false,
            known: 0,
            missing: Set::default(),
            listing: Default::default(),
        };
        let mut fence = 0;
        let nests = std::array::from_fn(|id| {
            if !view.has(id) {
                return Rc::default();
            }
            let mut nest = nest.clone();
            for other in view.others(id).iter() {
                nest.seals[other] = Some(Kept { seal, readied: false });
            }
            for (birth, op) in register.each(nest.known) {
                let name = usize::from(op.name);
                if view.owner(name) == Some(id) {
                    fence += 1;
                    let life = Life { birth, fence };
                    let bird =
                        Bird { life, phase: Phase::Running, past: 0, memory: 0, ends_here: false };
                    nest.names[name].bird = Some(bird);
                }
            }
            Rc::new(nest.into())
        });
        World {
            nests,
            register: Rc::new(register),
            frames: Vec::new(),
            broken: Default::default(),
            apart: false,
            cut: Cut::Not,
            fences: [fence; 2],
            asks: Default::default(),
            budget: config.budget,
            were_ready: Default::default(),
            excused: 0,
            told: Default::default(),
        }
    }

    fn step(&self, world: World) -> Step<'_> {
        Step::new(&self.config, self.rules, world)
    }

    /// One step further, and what was wrong with it.
    fn after(&self, world: &World, action: Action) -> (World, Option<Violation>) {
        let mut step = self.step(world.clone());
        step.take(action);
        step.check();
        (step.world, step.violation)
    }

    /// What may happen next, and what is wrong if nothing is due.
    fn next(&self, world: World) -> (World, Next, Option<Violation>) {
        let mut step = self.step(world);
        let next = step.next();
        if next.due.is_empty() {
            step.check_rest();
        }
        (step.world, next, step.violation)
    }

    /// Looks at all states, those nearest to the first one first, until one must not be or there are too many.
    pub fn explore(&self, most: usize) -> Found {
        let mut search = Search::default();
        let first = self.first();
        search.add(0, Action::Begin, Mix::of(&first));
        let mut found = Found::default();
        let mut open = VecDeque::from([(first, 0_u32, 0_usize)]);
        while let Some((world, at, depth)) = open.pop_front() {
            found.depth = depth;
            let (world, next, violation) = self.next(world);
            found.at_rest += usize::from(next.due.is_empty());
            if let Some(violation) = violation {
                return search.broken(found, violation, at, None);
            }
            let due = next.due.iter().map(|action| (*action, true));
            for (action, due) in due.chain(next.chance.iter().map(|action| (*action, false))) {
                let (after, violation) = self.after(&world, action);
                if let Some(violation) = violation {
                    return search.broken(found, violation, at, Some(action));
                }
                let (to, new) = search.add(at, action, Mix::of(&after));
                if due {
                    search.edges.push((at, to));
                }
                if new {
                    open.push_back((after, to, depth + 1));
                }
            }
            if search.ways.len() >= most {
                found.states = search.ways.len();
                return found;
            }
        }
        if let Some(at) = search.on_a_round() {
            let what = "what is due goes round for ever".to_owned();
            return search.broken(found, Violation { invariant: "no livelock", what }, at, None);
        }
        found.states = search.ways.len();
        found.complete = true;
        found
    }

    /// Goes so many steps along random ways, each until the flock is at rest and no chance is left.
    pub fn walk(&self, seed: u64, steps: u64) -> Walked {
        /// Of what may and needn't happen, only so much at a time, lest all of it happen at once.
        const CHANCES: u64 = 6;
        /// No way to a rest is as long as this.
        const LONGEST: usize = 2000;
        let mut walked = Walked::default();
        let mut chance = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
        let mut draw = move |below: usize| {
            chance ^= chance << 13;
            chance ^= chance >> 7;
            chance ^= chance << 17;
            (chance >> 11) as usize % below.max(1)
        };
        while walked.steps < steps {
            walked.ways += 1;
            let (mut world, mut way) = (self.first(), Vec::new());
            loop {
                let (now, next, violation) = self.next(world);
                walked.at_rest += u64::from(next.due.is_empty());
                if let Some(violation) = violation {
                    walked.broken = Some(Broken { violation, way });
                    return walked;
                }
                let by_chance = next.due.is_empty() || draw(CHANCES as usize) == 0;
                let from =
                    if by_chance && !next.chance.is_empty() { &next.chance } else { &next.due };
                let Some(&action) = from.get(draw(from.len())) else { break };
                walked.steps += 1;
                way.push(action);
                if way.len() == LONGEST {
                    let what = format!("the flock isn't at rest after {LONGEST} steps");
                    walked.broken = Some(Broken {
                        violation: Violation { invariant: "no livelock", what },
                        way,
                    });
                    return walked;
                }
                let (after, violation) = self.after(&now, action);
                if let Some(violation) = violation {
                    walked.broken = Some(Broken { violation, way });
                    return walked;
                }
                world = after;
            }
        }
        walked
    }

    /// The states along a way, the first one among them.
    pub(crate) fn replay<'a>(
        &'a self,
        way: &'a [Action],
    ) -> impl Iterator<Item = (Action, World)> + 'a {
        let first = self.first();
        let begin = (Action::Begin, first.clone());
        let rest = way.iter().scan(first, |world, &action| {
            *world = self.after(world, action).0;
            Some((action, world.clone()))
        });
        std::iter::once(begin).chain(rest)
    }
}

/// What was seen.
#[derive(Default)]
struct Search {
    /// Of each state, by its fingerprint, the number.
    seen: HashMap<u64, u32, BuildHasherDefault<Mix>>,
    /// Of each state, by its number, which state it was reached from, and how.
    ways: Vec<(u32, Action)>,
    /// From which state to which something due leads.
    edges: Vec<(u32, u32)>,
}

impl Search {
    /// A state's number, and whether it is new.
    fn add(&mut self, from: u32, action: Action, fingerprint: u64) -> (u32, bool) {
        let next = self.ways.len() as u32;
        match self.seen.entry(fingerprint) {
            Entry::Occupied(seen) => (*seen.get(), false),
            Entry::Vacant(vacant) => {
                vacant.insert(next);
                self.ways.push((from, action));
                (next, true)
            }
        }
    }

    fn broken(
        &self,
        mut found: Found,
        violation: Violation,
        mut at: u32,
        last: Option<Action>,
    ) -> Found {
        let mut way: Vec<Action> = last.into_iter().collect();
        while at != 0 {
            let (from, action) = self.ways[at as usize];
            way.push(action);
            at = from;
        }
        way.reverse();
        found.states = self.ways.len();
        found.broken = Some(Broken { violation, way });
        found
    }

    /// A state from which what is due may lead back to itself. What is left when those are taken away, again and
    /// again, that nothing leads to.
    fn on_a_round(&self) -> Option<u32> {
        let states = self.ways.len();
        let mut to_here = vec![0_u32; states];
        let mut starts = vec![0_u32; states + 1];
        for &(from, to) in &self.edges {
            to_here[to as usize] += 1;
            starts[from as usize + 1] += 1;
        }
        for at in 0..states {
            starts[at + 1] += starts[at];
        }
        let mut targets = vec![0_u32; self.edges.len()];
        let mut next = starts.clone();
        for &(from, to) in &self.edges {
            targets[next[from as usize] as usize] = to;
            next[from as usize] += 1;
        }
        let mut free: Vec<u32> =
            (0..states as u32).filter(|&at| to_here[at as usize] == 0).collect();
        while let Some(at) = free.pop() {
            let range = starts[at as usize] as usize..starts[at as usize + 1] as usize;
            for &to in &targets[range] {
                to_here[to as usize] -= 1;
                if to_here[to as usize] == 0 {
                    free.push(to);
                }
            }
        }
        to_here.iter().position(|&left| left > 0).map(|at| at as u32)
    }
}
