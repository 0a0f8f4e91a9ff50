//! The register, in short: operations, of which each nest knows some.
//!
//! An operation writes a record, or removes; either way it covers the records that its issuer saw. Which
//! records live for a nest follows from what it knows. How operations travel, and how a register is compared
//! with another, is not in this model: any nest may learn all that another knows at any moment.

use crate::state::{Birth, Id, Name};

/// A set of operations.
pub(crate) type Ops = u16;

/// So many operations at most.
pub(crate) const MOST: usize = 15;

/// What an operation is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Deed {
    /// Writes the record of a new bird.
    Start,
    /// Writes one record over several.
    Overwrite,
    /// Writes the record of a bird anew that ended on another nest, and lives on here.
    ReAdd,
    /// Removes, because a user said so.
    Stop,
    /// Removes, because the bird ended of itself.
    End,
}

/// An operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Op {
    /// What it is.
    pub(crate) deed: Deed,
    /// Whose.
    pub(crate) name: u8,
    /// Who issued it.
    pub(crate) origin: u8,
    /// The bird that the record is of, if it writes one.
    pub(crate) birth: Birth,
    /// The records that it takes the place of.
    pub(crate) covers: Ops,
    /// The request that it follows.
    pub(crate) request: Option<u8>,
}

impl Op {
    /// Whether it writes a record.
    pub(crate) const fn writes(&self) -> bool {
        matches!(self.deed, Deed::Start | Deed::Overwrite | Deed::ReAdd)
    }
}

/// All operations, in the order of their clocks.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Register {
    ops: Vec<Op>,
}

impl Register {
    /// How many there are.
    pub(crate) const fn len(&self) -> usize {
        self.ops.len()
    }

    /// One of them.
    pub(crate) fn op(&self, op: u8) -> &Op {
        &self.ops[usize::from(op)]
    }

    /// One more. Its number.
    ///
    /// # Panics
    /// If there are too many: the configuration asks for too much.
    pub(crate) fn push(&mut self, op: Op) -> u8 {
        assert!(self.ops.len() < MOST, "a configuration may have {MOST} operations at most");
        self.ops.push(op);
        (self.ops.len() - 1) as u8
    }

    /// Those of a set, in order.
    pub(crate) fn each(&self, ops: Ops) -> impl Iterator<Item = (u8, &Op)> {
        self.ops
            .iter()
            .enumerate()
            .map(|(at, op)| (at as u8, op))
            .filter(move |(at, _)| ops >> at & 1 == 1)
    }

    /// The living records of a name, to whoever knows these operations.
    pub(crate) fn records(&self, known: Ops, name: Name) -> Ops {
        let (mut live, mut covered) = (0, 0);
        for (at, op) in self.each(known).filter(|(_, op)| usize::from(op.name) == name) {
            covered |= op.covers;
            live |= Ops::from(op.writes()) << at;
        }
        live & !covered
    }

    /// Of several records the latest wins.
    pub(crate) fn winner(&self, known: Ops, name: Name) -> Option<u8> {
        let records = self.records(known, name);
        (records != 0).then(|| (Ops::BITS - 1 - records.leading_zeros()) as u8)
    }

    /// The bird of the winning record.
    pub(crate) fn winner_birth(&self, known: Ops, name: Name) -> Option<Birth> {
        self.winner(known, name).map(|op| self.op(op).birth)
    }

    /// Whether a bird of this birth has a living record.
    pub(crate) fn is_alive(&self, known: Ops, name: Name, birth: Birth) -> bool {
        self.each(self.records(known, name)).any(|(_, op)| op.birth == birth)
    }

    /// Those of a set that this nest issued.
    pub(crate) fn of(&self, known: Ops, origin: Id) -> Ops {
        self.each(known)
            .filter(|(_, op)| usize::from(op.origin) == origin)
            .fold(0, |ops, (at, _)| ops | 1 << at)
    }

    /// Whether a user stopped the bird of this birth, or it ended of itself, anywhere.
    pub(crate) fn is_over(&self, birth: Birth) -> bool {
        self.ops
            .iter()
            .filter(|op| !op.writes())
            .any(|op| self.each(op.covers).any(|(_, it)| it.birth == birth))
    }
}
