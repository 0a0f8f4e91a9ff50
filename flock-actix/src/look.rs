//! What people may look at: birds and nests.

use std::fmt;

use flock_proto::{BirdName, Cause, NameError, Nest, NestName, NestState};

use crate::bird::SpeciesTable;
use crate::error::RequestError;
use crate::flock::Flock;

/// What this nest knows of a bird.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct BirdInfo {
    /// Its name.
    pub name: BirdName,
    /// The nest that owns it; none while no nest owns anything.
    pub nest: Option<NestName>,
    /// The wire name of its species; none if this nest doesn't know the species.
    pub species: Option<String>,
    /// Why it is grounded, if it is.
    pub grounded: Option<String>,
}

/// Where a bird is.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Whereabouts {
    /// The nest that owns it; none while no nest owns anything.
    pub nest: Option<NestName>,
    /// The wire name of its species; none if this nest doesn't know the species.
    pub species: Option<String>,
    /// The dot of its start: another start of the same name has another.
    pub birth: flock_proto::Dot,
    /// Why it is grounded, if it is.
    pub grounded: Option<String>,
}

/// What this nest knows of a nest that is alive, itself included.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct NestInfo {
    /// Its name.
    pub name: NestName,
    /// Where it listens, as `host:port`.
    pub address: String,
    /// What it says of itself.
    pub state: NestState,
    /// It hasn't answered lately. It has some seconds to show that it lives; then it is down.
    pub suspected: bool,
    /// Its share of the ring, in units.
    pub weight: u32,
    /// What its weight will be when it takes its share, for which it waits: see
    /// [`Rebalancing`](crate::Rebalancing). 0: it has its share.
    pub due: u32,
    /// How many birds it owns.
    pub birds: usize,
    /// The same as a part of all birds, 0 to 1.
    pub share: f64,
    /// It is the nest that was asked.
    pub me: bool,
}

/// What a nest counts: nothing is dropped uncounted. All but `pending_calls` only grow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Counters {
    /// Frames that broke the rules or could not be read.
    pub bad_frames: u64,
    /// Frames of a kind that this version doesn't know, skipped.
    pub unknown_frames: u64,
    /// Handshakes that this nest refused.
    pub refused: u64,
    /// Strangers sent away because too many stood in the door.
    pub crowded: u64,
    /// Casts that found no room.
    pub lost_casts: u64,
    /// Calls made here that wait for their outcome at this moment. (One that a bird has just made to another of
    /// its thread isn't counted yet.)
    pub pending_calls: u64,
    /// Lives begun here; a restart after a crash doesn't count.
    pub hatches: u64,
    /// Birds handed over to other nests.
    pub moves: u64,
    /// Times that this nest's registry differed from another's though both knew the same
    /// operations; each was repaired.
    pub repairs: u64,
    /// Copies that this nest holds, at this moment, of the states of birds on others: see
    /// [`Standby`](crate::Standby).
    pub copies: u64,
    /// How many bytes they have.
    pub copy_bytes: u64,
    /// How often something was written to the links for calls, casts and answers.
    pub call_writes: u64,
    /// The bytes of these writes. Under load a write takes many frames along.
    pub call_bytes: u64,
}

impl fmt::Display for NestInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all = if self.share > 0.0 { (self.birds as f64 / self.share).round() } else { 0.0 };
        let (name, percent, birds) = (&self.name, self.share * 100.0, self.birds);
        if birds == 0 {
            return write!(f, "{name} has none of the load");
        }
        write!(f, "{name} has {percent:.1} % of the load, {birds} of {all}")
    }
}

impl Flock {
    /// Whether a bird of this name lives, as far as this nest knows.
    pub async fn alive(&self, name: &str) -> Result<bool, NameError> {
        Ok(self.whereis(name).await?.is_some())
    }

    /// Where a bird is, as far as this nest knows; `None` if no such bird lives.
    pub async fn whereis(&self, name: &str) -> Result<Option<Whereabouts>, NameError> {
        let name = BirdName::new(name)?;
        let species = self.shared().species.clone();
        let look = move |nest: &Nest| {
            nest.find(&name).map(|bird| Whereabouts {
                nest: owner(nest, &bird),
                species: species.name(bird.species).map(Into::into),
                birth: bird.birth,
                grounded: bird.grounded,
            })
        };
        Ok(self.look(look).await.flatten())
    }

    /// A page of the birds that live in the flock, in an order that every nest shares: up to
    /// `limit` of them, from behind the bird named `after`. Empty behind the last.
    pub async fn birds(&self, after: Option<&str>, limit: usize) -> Vec<BirdInfo> {
        // A text that is no name is no bird's, so nothing lies behind it.
        let Ok(after) = after.map(BirdName::new).transpose() else { return Vec::new() };
        let species = self.shared().species.clone();
        let look = move |nest: &Nest| {
            let page = nest.page(after.as_ref(), limit.min(10_000));
            page.into_iter().map(|bird| info(nest, &species, bird)).collect()
        };
        self.look(look).await.unwrap_or_default()
    }

    /// How many birds live in the flock, as far as this nest knows.
    pub async fn count(&self) -> usize {
        self.look(Nest::count).await.unwrap_or_default()
    }

    /// The nests that this one holds to be alive, itself included, by name. Empty once this nest is
    /// shut down. Looks at every name.
    pub async fn nests(&self) -> Vec<NestInfo> {
        self.look(nests).await.unwrap_or_default()
    }

    /// What this nest has counted. All zero once it is shut down.
    pub async fn counters(&self) -> Counters {
        let look = self.look(|nest| (nest.counters(), nest.copies())).await;
        let Some((mind, (copies, copy_bytes))) = look else { return Counters::default() };
        let links = self.core().and_then(|c| c.rest()).and_then(|rest| rest.links.upgrade());
        let links = links.map(|links| (links.counts.read(), links.written.read()));
        let ([skipped, bad, refused, crowded], [call_writes, call_bytes]) =
            links.unwrap_or_default();
        let shared = self.shared();
        Counters {
            bad_frames: bad + mind.bad_frames + shared.bad_frames(),
            unknown_frames: skipped + mind.unknown_frames,
            refused,
            crowded,
            lost_casts: shared.lost_casts(),
            pending_calls: shared.pending_calls() as u64,
            hatches: mind.hatches,
            moves: mind.moves,
            repairs: mind.repairs,
            copies: copies as u64,
            copy_bytes: copy_bytes as u64,
            call_writes,
            call_bytes,
        }
    }

    /// Resolves when the bird ends for good, with the reason. `NoSuchBird` if none lives as far as
    /// this nest knows; `Closed` once this nest is shut down.
    pub async fn watch(&self, name: &str) -> Result<Cause, RequestError> {
        let name = BirdName::new(name)?;
        let core = self.core().ok_or(RequestError::Closed)?;
        let watch = core.visit(|actor| actor.watch(name)).await.ok_or(RequestError::Closed)?;
        watch.ok_or(RequestError::NoSuchBird)?.await.map_err(|_| RequestError::Closed)
    }

    /// Birds with a running life in this very process.
    pub async fn local_birds(&self) -> Vec<BirdName> {
        self.shared().local_birds()
    }

    pub(crate) async fn look<T: Send + 'static>(
        &self,
        look: impl FnOnce(&Nest) -> T + Send + 'static,
    ) -> Option<T> {
        self.core()?.look(look).await
    }
}

fn owner(nest: &Nest, bird: &flock_proto::BirdInfo) -> Option<NestName> {
    bird.owner.and_then(|id| nest.view().member(id).map(|m| m.name.clone()))
}

fn info(nest: &Nest, species: &SpeciesTable, bird: flock_proto::BirdInfo) -> BirdInfo {
    BirdInfo {
        nest: owner(nest, &bird),
        species: species.name(bird.species).map(Into::into),
        name: bird.name,
        grounded: bird.grounded,
    }
}

fn nests(nest: &Nest) -> Vec<NestInfo> {
    let (view, shares) = (nest.view(), nest.shares());
    let all: usize = shares.values().sum();
    let suspects: Vec<_> = nest.suspects().into_iter().map(|(id, _)| id).collect();
    let info = |member: &flock_proto::Member| {
        let birds = shares.get(&member.id).copied().unwrap_or_default();
        NestInfo {
            name: member.name.clone(),
            address: member.address.to_string(),
            state: member.state,
            suspected: suspects.contains(&member.id),
            weight: member.weight,
            due: member.due,
            birds,
            share: if all == 0 { 0.0 } else { birds as f64 / all as f64 },
            me: member.id == view.me(),
        }
    };
    let mut nests: Vec<_> = view.members().iter().map(info).collect();
    nests.sort_by(|a, b| a.name.cmp(&b.name));
    nests
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_nest_shows_its_share_of_the_load() {
        let info = NestInfo {
            name: NestName::new("nest-3").unwrap(),
            address: "127.0.0.1:7103".into(),
            state: NestState::Up,
            suspected: false,
            weight: 1,
            due: 0,
            birds: 331,
            share: 0.331,
            me: false,
        };
        assert_eq!(info.to_string(), "nest-3 has 33.1 % of the load, 331 of 1000");
    }
}
