//! What may happen in a run of the model.

use crate::state::{Budget, Id, NAMES, Name};

/// Which side of a cut goes on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Policy {
    /// Each does.
    #[default]
    Available,
    /// The one with more than half of all nests.
    Majority,
}

/// What a user asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wish {
    /// A bird of that name.
    Start,
    /// No bird of that name.
    Stop,
}

/// When a user may ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// At any moment, but after those who come before.
    Ever,
    /// While the network is cut, at any moment of that.
    Cut,
}

/// A request that a user may make.
#[derive(Clone, Copy, Debug)]
pub struct Request {
    /// What for.
    pub wish: Wish,
    /// Of which name.
    pub name: Name,
    /// On which nest.
    pub at: Id,
    /// When.
    pub when: When,
}

/// What may happen, at most, in any order. What a user of the model chooses.
#[derive(Clone, Debug, Default)]
pub struct Config {
    /// What it is called.
    pub called: &'static str,
    /// In words.
    pub what: &'static str,
    /// So many nests.
    pub nests: usize,
    /// The nests that are up at first (a bit each).
    pub up: u8,
    /// So many names.
    pub names: usize,
    /// The names that have a bird at first (a bit each).
    pub birds: u8,
    /// How often what happens.
    pub budget: Budget,
    /// The nests on one side of a cut (a bit each). 0: there is no cut.
    pub side: u8,
    /// That side stands still for as long as it is cut off, as a process that is stopped does.
    pub frozen: bool,
    /// Which side goes on.
    pub policy: Policy,
    /// Whether birds take their states along.
    pub migrates: bool,
    /// What users ask for.
    pub requests: Vec<Request>,
}

impl Config {
    /// So many nests of which these are up, and the birds of these names, on whom nothing is inflicted yet.
    pub fn new(called: &'static str, nests: usize, up: u8, birds: u8) -> Self {
        let names = if birds > 1 { NAMES } else { 1 };
        Self { called, nests, up, names, birds, ..Self::default() }
    }

    /// In words.
    pub const fn about(mut self, what: &'static str) -> Self {
        self.what = what;
        self
    }

    /// So many nests join.
    pub const fn joins(mut self, joins: u8) -> Self {
        self.budget.joins = joins;
        self
    }

    /// So many nests leave.
    pub const fn leaves(mut self, leaves: u8) -> Self {
        self.budget.leaves = leaves;
        self
    }

    /// So many nests crash.
    pub const fn crashes(mut self, crashes: u8) -> Self {
        self.budget.crashes = crashes;
        self
    }

    /// So often a link breaks.
    pub const fn breaks(mut self, breaks: u8) -> Self {
        self.budget.breaks = breaks;
        self
    }

    /// So often a nest holds another for dead that is alive, while their link is open.
    pub const fn misjudged(mut self, misjudged: u8) -> Self {
        self.budget.misjudged = misjudged;
        self
    }

    /// So many birds end of themselves.
    pub const fn ends(mut self, ends: u8) -> Self {
        self.budget.ends = ends;
        self
    }

    /// So often a request is repeated though nothing is lost.
    pub const fn repeats(mut self, repeats: u8) -> Self {
        self.budget.repeats = repeats;
        self
    }

    /// Birds take their states along, and are told so many things.
    pub const fn told(mut self, told: u8) -> Self {
        self.budget.told = told;
        self.migrates = true;
        self
    }

    /// Once these nests may be cut off from the others.
    pub const fn cut(mut self, side: u8) -> Self {
        self.side = side;
        self
    }

    /// Those who are cut off stand still meanwhile.
    pub const fn frozen(mut self) -> Self {
        self.frozen = true;
        self
    }

    /// Only a majority goes on.
    pub const fn majority(mut self) -> Self {
        self.policy = Policy::Majority;
        self
    }

    fn with(mut self, wish: Wish, name: Name, at: Id, when: When) -> Self {
        self.names = self.names.max(name + 1);
        self.requests.push(Request { wish, name, at, when });
        self
    }

    /// A user of this nest asks for a start.
    pub fn start(self, name: Name, at: Id) -> Self {
        self.with(Wish::Start, name, at, When::Ever)
    }

    /// A user of this nest asks for a stop.
    pub fn stop(self, name: Name, at: Id) -> Self {
        self.with(Wish::Stop, name, at, When::Ever)
    }

    /// The same while the network is cut.
    pub fn start_in_cut(self, name: Name, at: Id) -> Self {
        self.with(Wish::Start, name, at, When::Cut)
    }

    /// The same while the network is cut.
    pub fn stop_in_cut(self, name: Name, at: Id) -> Self {
        self.with(Wish::Stop, name, at, When::Cut)
    }

    /// On which side of the cut a nest is.
    pub fn side(&self, id: Id) -> usize {
        usize::from(self.side >> id & 1)
    }

    /// Whether no nest ever has reason to hold another for dead, so that two lives may never coexist.
    pub const fn is_smooth(&self) -> bool {
        self.budget.crashes == 0 && self.budget.misjudged == 0 && self.side == 0
    }
}
