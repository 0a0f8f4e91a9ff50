//! The table of names known to this nest's data plane, each with the inbox that outlives its lives.
//!
//! - `entry`: what stands behind one name.
//! - `inbox`: parcels that wait.

mod entry;
mod inbox;

use std::borrow::Borrow;
use std::collections::HashSet;
use std::hash::{BuildHasherDefault, Hash, Hasher};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use flock_proto::BirdName;

pub(crate) use self::entry::{Entry, Life, Phase, Push, State};
use crate::parcel::Parcel;
use crate::shared::Shared;
use crate::slot::lock;

/// A name's hash, already well mixed, is the key's hash.
#[derive(Default)]
pub(crate) struct AsIs(u64);

impl Hasher for AsIs {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, _: &[u8]) {}

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }
}

/// An entry, found by its name. No key beside it: an entry is looked at anyway once it is found.
struct Named(Arc<Entry>);

impl PartialEq for Named {
    fn eq(&self, other: &Self) -> bool {
        self.0.hash == other.0.hash && self.0.name == other.0.name
    }
}

impl Eq for Named {}

impl Hash for Named {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.0.hash);
    }
}

/// An entry as it is looked for: without a name of its own, whose count of owners all threads would write.
trait Sought {
    fn hash(&self) -> u64;
    fn name(&self) -> &str;
}

impl Sought for Named {
    fn hash(&self) -> u64 {
        self.0.hash
    }

    fn name(&self) -> &str {
        self.0.name.as_str()
    }
}

impl Sought for (u64, &str) {
    fn hash(&self) -> u64 {
        self.0
    }

    fn name(&self) -> &str {
        self.1
    }
}

impl Hash for dyn Sought + '_ {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(Sought::hash(self));
    }
}

impl PartialEq for dyn Sought + '_ {
    fn eq(&self, other: &Self) -> bool {
        Sought::hash(self) == Sought::hash(other) && self.name() == other.name()
    }
}

impl Eq for dyn Sought + '_ {}

impl<'a> Borrow<dyn Sought + 'a> for Named {
    fn borrow(&self) -> &(dyn Sought + 'a) {
        self
    }
}

/// A part of the table.
#[derive(Default)]
struct Shard {
    entries: Mutex<HashSet<Named, BuildHasherDefault<AsIs>>>,
    /// How many were ever put in; written under the lock.
    arrivals: AtomicU64,
}

const SHARDS: usize = 64;

/// All entries, sharded so that threads seldom meet.
pub(crate) struct Table(Vec<Shard>);

impl Table {
    pub(crate) fn new() -> Self {
        Self((0..SHARDS).map(|_| Shard::default()).collect())
    }

    // Bits from the middle choose the shard: the maps take the low and the top ones.
    fn shard(&self, hash: u64) -> Option<&Shard> {
        self.0.get((hash >> 32) as usize % SHARDS)
    }

    /// How many names came into the part of the table where this hash belongs.
    #[inline]
    pub(crate) fn arrivals(&self, hash: u64) -> u64 {
        self.shard(hash).map_or(0, |shard| shard.arrivals.load(Ordering::Acquire))
    }

    pub(crate) fn find(&self, name: &str, hash: u64) -> Option<Arc<Entry>> {
        let key = (hash, name);
        lock(&self.shard(hash)?.entries).get(&key as &dyn Sought).map(|found| found.0.clone())
    }

    /// Hands this to the entry of a name, under the lock of a part of the table: `then` may take that of the entry,
    /// and no other. `Err`: there is none.
    pub(crate) fn find_for<T, R>(
        &self,
        what: T,
        name: &str,
        hash: u64,
        then: impl FnOnce(&Arc<Entry>, T) -> R,
    ) -> Result<R, T> {
        let Some(shard) = self.shard(hash) else { return Err(what) };
        let key = (hash, name);
        match lock(&shard.entries).get(&key as &dyn Sought) {
            Some(found) => Ok(then(&found.0, what)),
            None => Err(what),
        }
    }

    /// The entry of a name; if there is none, a new one in this phase, and `true`.
    pub(crate) fn find_or_insert(
        &self,
        home: &Arc<Shared>,
        name: &BirdName,
        phase: Phase,
    ) -> (Arc<Entry>, bool) {
        let entry = Entry::new(home, name.clone(), phase);
        let Some(shard) = self.shard(entry.hash) else { return (entry, true) };
        let mut entries = lock(&shard.entries);
        // Tried without looking before: there hardly ever is one, and a look costs as much as this.
        if entries.insert(Named(entry.clone())) {
            let arrivals = shard.arrivals.load(Ordering::Relaxed);
            shard.arrivals.store(arrivals.wrapping_add(1), Ordering::Release);
            return (entry, true);
        }
        let key = (entry.hash, name.as_str());
        let found = entries.get(&key as &dyn Sought).map(|found| found.0.clone());
        drop(entries);
        found.map_or((entry, true), |found| (found, false))
    }

    /// Takes an entry out if `gone` says so, under both locks; gives the parcels that waited.
    pub(crate) fn remove(
        &self,
        entry: &Arc<Entry>,
        gone: impl FnOnce(&State) -> bool,
    ) -> Vec<Parcel> {
        let Some(shard) = self.shard(entry.hash) else { return Vec::new() };
        let mut entries = lock(&shard.entries);
        entry.with(|state| {
            if state.phase == Phase::Gone || !gone(state) {
                return Vec::new();
            }
            state.phase = Phase::Gone;
            state.life = None;
            let sought = (entry.hash, entry.name.as_str());
            entries.remove(&sought as &dyn Sought);
            state.parcels.take()
        })
    }

    /// All entries at this moment.
    pub(crate) fn entries(&self) -> Vec<Arc<Entry>> {
        self.0
            .iter()
            .flat_map(|shard| {
                lock(&shard.entries).iter().map(|named| named.0.clone()).collect::<Vec<_>>()
            })
            .collect()
    }
}
