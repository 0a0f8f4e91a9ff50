//! Which of the links to a nest a call takes.
//!
//! A call is read by the worker whose bird it is for, and its answer by the worker that called, so
//! that it crosses no thread at either end. Each pair of such threads has a link of its own, dialled
//! at first use: a bird that blocks its worker holds up none but the calls to that worker and from it.
//! Calls from other threads are answered by way of the data thread, and what a nest is only a relay
//! for goes between data threads.

use std::collections::BTreeMap;
use std::sync::Arc;

use flock_proto::NestId;

use super::pipe::Pipe;
use crate::rt::Seat;

/// With so many links no nest gets a second one: many workers on many nests are more than a process
/// may have open.
const MANY: usize = 256;

/// The threads at the ends of a data link.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Seats {
    pub(super) here: Seat,
    pub(super) there: Seat,
}

/// The links for this nest's own calls.
#[derive(Clone, Debug, Default)]
pub(super) struct Dialled(BTreeMap<NestId, To>);

/// Those to one nest.
#[derive(Clone, Debug, Default)]
struct To {
    /// Workers there that have seats.
    workers: u8,
    /// One link may stand for several pairs.
    links: Vec<(Seats, Arc<Pipe>)>,
}

impl Dialled {
    /// The link for a call of a bird with this hash, or of none, made by this thread. Else between
    /// which threads it is to be, if there is any link to this nest.
    pub(super) fn pick(
        &self,
        to: NestId,
        here: Seat,
        bird: Option<u64>,
    ) -> Result<&Arc<Pipe>, Option<Seats>> {
        let to = self.0.get(&to).ok_or(None)?;
        let wanted = seats(to.workers, here, bird);
        to.links.iter().find(|(at, _)| *at == wanted).map(|(_, link)| link).ok_or(Some(wanted))
    }

    /// Any link to this nest.
    pub(super) fn any(&self, to: NestId) -> Option<&Arc<Pipe>> {
        self.0.get(&to)?.links.first().map(|(_, link)| link)
    }

    /// The link that this pair has to share with another, if there are so many.
    pub(super) fn shared(&self, to: NestId) -> Option<&Arc<Pipe>> {
        let all: usize = self.0.values().map(|to| to.links.len()).sum();
        self.any(to).filter(|_| all >= MANY)
    }

    pub(super) fn add(&mut self, seats: Seats, workers: u8, link: Arc<Pipe>) {
        let to = self.0.entry(link.peer.id).or_default();
        to.workers = workers;
        to.links.push((seats, link));
    }

    /// Takes links out, each once.
    pub(super) fn take(&mut self, which: impl Fn(&Arc<Pipe>) -> bool) -> Vec<Arc<Pipe>> {
        let mut taken: Vec<Arc<Pipe>> = Vec::new();
        self.0.retain(|_, to| {
            let gone = to.links.extract_if(.., |(_, link)| which(link)).map(|(_, link)| link);
            for link in gone {
                if !taken.iter().any(|other| Arc::ptr_eq(other, &link)) {
                    taken.push(link);
                }
            }
            !to.links.is_empty()
        });
        taken
    }

    pub(super) fn all(&self) -> impl Iterator<Item = &Arc<Pipe>> {
        self.0.values().flat_map(|to| to.links.iter().map(|(_, link)| link))
    }
}

/// The threads that a call of a bird with this hash, or of none, goes between, where so many workers
/// at the other end have seats.
pub(super) fn seats(workers: u8, here: Seat, bird: Option<u64>) -> Seats {
    let there = bird.and_then(|hash| hash.checked_rem(u64::from(workers))).map(|seat| seat as u8);
    // Not for a bird: the peer is to pass it on, whatever its birds do.
    Seats { here: here.filter(|_| bird.is_some()), there }
}
