//! The view: the members that a nest holds to be alive, with the ring over them.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::Xxh3;

use crate::bugs::{Bug, planted};
use crate::{Fingerprint, NestId, NestName, Ring};

/// What a nest says of its own life. That it is down is for the others to find.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub enum NestState {
    /// Catching up; it owns nothing yet.
    Joining,
    /// In the ring.
    Up,
    /// Out of the ring; it serves its birds until they have moved.
    Leaving,
}

/// How frames reach a nest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Via {
    /// It is this nest itself.
    Me,
    /// Over a link of our own.
    Link,
    /// Over this common neighbour.
    Relay(NestId),
    /// Not at the moment.
    Nothing,
}

/// One nest of a view.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Its incarnation.
    pub id: NestId,
    /// Its name.
    pub name: NestName,
    /// Where it listens, as `host:port`.
    pub address: Arc<str>,
    /// What it says of itself.
    pub state: NestState,
    /// Its share of the ring in units; 0 owns nothing.
    pub weight: u32,
    /// How frames reach it from here.
    pub via: Via,
}

/// An immutable picture of the flock, for routing without asking anybody.
#[derive(Clone, Debug)]
pub struct View {
    me: NestId,
    /// Of the members, in order: to find one among them alone touches less memory.
    ids: Vec<NestId>,
    members: Vec<Member>,
    joining: Vec<NestId>,
    ring: Arc<Ring>,
    fingerprint: Fingerprint,
}

impl View {
    /// A view over these members; those that are `Up` make the ring.
    pub fn new(me: NestId, mut members: Vec<Member>) -> Self {
        members.sort_unstable_by_key(|m| m.id);
        members.dedup_by_key(|m| m.id);
        let fingerprint = fingerprint(&members);
        let ring = shared(fingerprint, || Ring::new(up(&members)));
        Self::with(me, members, ring, fingerprint)
    }

    fn with(me: NestId, members: Vec<Member>, ring: Arc<Ring>, fingerprint: Fingerprint) -> Self {
        let ids = members.iter().map(|m| m.id).collect();
        let joining = members.iter().filter(|m| m.state == NestState::Joining);
        let joining = joining.map(|m| m.id).collect();
        Self { me, ids, members, joining, ring, fingerprint }
    }

    /// The same nest's next view. Its ring is another only if it can differ, and is made from this
    /// one's: from the beginning it costs milliseconds where there are many nests.
    #[must_use]
    pub fn revised(&self, mut members: Vec<Member>) -> Self {
        members.sort_unstable_by_key(|m| m.id);
        members.dedup_by_key(|m| m.id);
        let fingerprint = fingerprint(&members);
        let ring = if fingerprint == self.fingerprint {
            self.ring.clone()
        } else {
            shared(fingerprint, || self.ring.revised(up(&members)))
        };
        Self::with(self.me, members, ring, fingerprint)
    }

    /// The nest whose view this is.
    pub const fn me(&self) -> NestId {
        self.me
    }

    /// All members held to be alive, by incarnation, this nest included.
    pub fn members(&self) -> &[Member] {
        &self.members
    }

    /// Their incarnations, in order.
    pub(crate) fn ids(&self) -> impl Iterator<Item = NestId> + '_ {
        self.ids.iter().copied()
    }

    /// The same of all but this nest.
    pub(crate) fn others(&self) -> impl Iterator<Item = NestId> + '_ {
        self.ids().filter(|&id| id != self.me)
    }

    /// Those that join.
    pub(crate) fn joining(&self) -> &[NestId] {
        &self.joining
    }

    /// The member of this incarnation.
    pub fn member(&self, id: NestId) -> Option<&Member> {
        let at = self.ids.binary_search(&id).ok()?;
        self.members.get(at)
    }

    /// The ring over the members that are `Up`.
    pub fn ring(&self) -> &Ring {
        &self.ring
    }

    /// The nest that owns a name of this hash.
    pub fn owner(&self, hash: u64) -> Option<NestId> {
        if planted(Bug::SelfishRing) && hash.is_multiple_of(4) {
            return Some(self.me);
        }
        if planted(Bug::CountedRing) {
            let ups = self.members.iter().filter(|m| m.state == NestState::Up).map(|m| m.id);
            let count = ups.clone().count().max(1) as u64;
            return ups.clone().nth((hash % count) as usize);
        }
        self.ring.owner(hash)
    }

    /// Names the members that are `Up` or `Leaving`, with their states and weights.
    pub const fn fingerprint(&self) -> Fingerprint {
        self.fingerprint
    }

    /// How frames reach a nest.
    pub fn via(&self, id: NestId) -> Via {
        self.member(id).map_or(Via::Nothing, |m| m.via)
    }
}

/// Those of which the ring is made.
fn up(members: &[Member]) -> impl Iterator<Item = (NestId, &NestName, u32)> {
    let up = members.iter().filter(|m| m.state == NestState::Up);
    up.map(|m| (m.id, &m.name, m.weight))
}

/// The ring of this view. In a simulation a hundred nests enter one view, one after the other: there
/// one ring serves them all. Everywhere else each nest builds its own.
#[cfg(feature = "sim")]
fn shared(view: Fingerprint, make: impl FnOnce() -> Ring) -> Arc<Ring> {
    crate::sim::ring(view).unwrap_or_else(|| {
        let ring = Arc::new(make());
        crate::sim::keep_ring(view, &ring);
        ring
    })
}

#[cfg(not(feature = "sim"))]
fn shared(_: Fingerprint, make: impl FnOnce() -> Ring) -> Arc<Ring> {
    Arc::new(make())
}

/// Joining nests are left out: they own nothing and run nothing, and whether one is seen yet must
/// not keep the others from agreeing.
fn fingerprint(members: &[Member]) -> Fingerprint {
    let mut hash = Xxh3::new();
    for member in members.iter().filter(|m| m.state != NestState::Joining) {
        hash.update(&member.id.0.to_le_bytes());
        hash.update(&[u8::from(member.state == NestState::Up)]);
        hash.update(&member.weight.to_le_bytes());
        hash.update(member.name.as_str().as_bytes());
        hash.update(&[0]);
    }
    Fingerprint(hash.digest())
}
