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
    /// What its weight will be once it takes its share: it is up and waits for that, with a weight of
    /// 0. 0: it has its share.
    pub due: u32,
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
    /// A view over these members; those that are `Up` and have a weight make the ring.
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

    /// The ring over the members that are `Up`, by their weights. As long as none of them has any, those
    /// that wait for their shares count as if they had them: somebody must own the names.
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

    /// Names the members that are `Up` or `Leaving`, with their states and weights in the ring.
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
    let weight = weight_in_ring(members);
    let up = members.iter().filter(|m| m.state == NestState::Up);
    up.map(move |m| (m.id, &m.name, weight(m)))
}

/// What each counts for. Where none that is up has taken its share, those that are about to do so
/// already: else the last one that has could hand its birds to nobody as it leaves.
fn weight_in_ring(members: &[Member]) -> impl Fn(&Member) -> u32 + use<> {
    let some = members.iter().any(|m| m.state == NestState::Up && m.weight > 0);
    move |m| if some || m.state != NestState::Up { m.weight } else { m.due }
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
    let weight = weight_in_ring(members);
    let mut hash = Xxh3::new();
    for member in members.iter().filter(|m| m.state != NestState::Joining) {
        hash.update(&member.id.0.to_le_bytes());
        hash.update(&[u8::from(member.state == NestState::Up)]);
        hash.update(&weight(member).to_le_bytes());
        hash.update(member.name.as_str().as_bytes());
        hash.update(&[0]);
    }
    Fingerprint(hash.digest())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(id: u64, state: NestState, weight: u32, due: u32) -> Member {
        let name = NestName::new(&format!("nest-{id}")).expect("a name");
        Member { id: NestId(id), name, address: "".into(), state, weight, due, via: Via::Link }
    }

    fn owners(view: &View) -> Vec<Option<NestId>> {
        (0..1000_u64).map(|i| view.owner(i.wrapping_mul(0x9e37_79b9_7f4a_7c15))).collect()
    }

    #[test]
    fn who_waits_for_its_share_owns_nothing_beside_one_that_has_its() {
        let up = NestState::Up;
        let waits = View::new(NestId(1), vec![member(1, up, 1, 0), member(2, up, 0, 1)]);
        assert!(owners(&waits).into_iter().all(|owner| owner == Some(NestId(1))));
        let took = waits.revised(vec![member(1, up, 1, 0), member(2, up, 1, 0)]);
        assert_ne!(took.fingerprint(), waits.fingerprint());
        assert!(owners(&took).contains(&Some(NestId(2))));
    }

    #[test]
    fn where_nobody_has_a_share_those_who_wait_own_what_they_will_own_once_they_have_theirs() {
        let (up, leaving) = (NestState::Up, NestState::Leaving);
        let leaver = member(1, leaving, 1, 0);
        let wait = vec![leaver.clone(), member(2, up, 0, 1), member(3, up, 0, 2)];
        let have = vec![leaver, member(2, up, 1, 0), member(3, up, 2, 0)];
        let (wait, have) = (View::new(NestId(1), wait), View::new(NestId(1), have));
        assert!(!wait.ring().is_empty());
        assert_eq!(owners(&wait), owners(&have));
        assert_eq!(wait.fingerprint(), have.fingerprint(), "nothing changes as they take them");
    }
}
