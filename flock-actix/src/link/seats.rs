//! Which of the links to a nest a call takes.
//!
//! A call is read by the worker whose bird it is for, and its answer by the worker that called, so
//! that it crosses no thread at either end. Each pair of such threads has a link of its own, dialled
//! at first use: a bird that blocks its worker holds up none but the calls to that worker and from it.
//! Calls from other threads are answered by way of the data thread, and what a nest is only a relay
//! for goes between data threads.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use flock_proto::{NestId, Peer};

use super::hello::LinkKind;
use super::links::Links;
use super::lock;
use super::pipe::Pipe;
use crate::data_link::{self, DataLink};
use crate::rt::Seat;

/// After a dial for data failed, the next one waits for so long.
const REST: Duration = Duration::from_millis(50);

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

impl data_link::Links for Links {
    fn dialled_to(&self, to: NestId) -> Option<Arc<dyn DataLink>> {
        let outgoing = self.outgoing.load();
        let link = outgoing.any(to)?.clone();
        Some(link)
    }

    fn dialled_by(&self, peer: NestId) -> Vec<Arc<dyn DataLink>> {
        let open = lock(&self.open);
        let theirs = |link: &&Arc<Pipe>| {
            link.kind == LinkKind::Data && !link.dialled && link.peer.id == peer
        };
        open.others.iter().filter(theirs).map(|link| link.clone() as Arc<dyn DataLink>).collect()
    }

    fn data(&self, to: NestId, bird: Option<u64>) -> Option<Arc<dyn DataLink>> {
        let here = self.crew.seat();
        if let Ok(link) = self.outgoing.load().pick(to, here, bird) {
            return Some(link.clone());
        }
        let view = self.view.load();
        let member = view.member(to).filter(|_| to != view.me())?;
        let mut open = lock(&self.open);
        let outgoing = self.outgoing.load();
        let wanted = match outgoing.pick(to, here, bird) {
            Ok(link) => return Some(link.clone()),
            Err(wanted) => wanted,
        };
        let now = self.now();
        open.failed.retain(|_, at| now.since(*at) < REST);
        if open.closed || open.failed.contains_key(&to) {
            return None;
        }
        let peer = Peer { id: to, name: member.name.clone(), address: member.address.to_string() };
        let workers = open.control.get(&to).map_or(0, |link| link.seats);
        let seats = wanted.unwrap_or_else(|| seats(workers, here, bird));
        let shared = outgoing.shared(to).cloned();
        let fresh = shared.is_none();
        let link = shared.unwrap_or_else(|| self.pipe_to(peer, LinkKind::Data, true, workers));
        let mut more = Dialled::clone(&outgoing);
        more.add(seats, workers, link.clone());
        self.outgoing.store(Arc::new(more));
        drop(open);
        if fresh {
            self.dial_data(link.clone(), seats);
        }
        Some(link)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use flock_proto::{NestName, Peer};

    use super::*;
    use crate::data_link::LinkId;
    use crate::link::hello::LinkKind;
    use crate::link::out::Out;
    use crate::wall::Wall;

    fn link(number: u64, to: NestId) -> Arc<Pipe> {
        let name = NestName::new("robin").expect("a name");
        let peer = Peer { id: to, name, address: "127.0.0.1:1".into() };
        let out = Out::new(100, Arc::default());
        let kind = (LinkKind::Data, 2);
        Pipe::new(LinkId(number), peer, kind, true, out, Arc::default(), Wall::new())
    }

    #[test]
    fn a_call_of_a_bird_goes_between_its_thread_and_the_callers() {
        let at = |here, there| Seats { here, there };
        assert_eq!(seats(2, Some(1), Some(6)), at(Some(1), Some(0)));
        assert_eq!(seats(2, Some(0), Some(7)), at(Some(0), Some(1)));
        assert_eq!(seats(2, None, Some(7)), at(None, Some(1)));
        assert_eq!(seats(0, Some(1), Some(7)), at(Some(1), None));
        // For others, by way of this peer.
        assert_eq!(seats(2, Some(1), None), at(None, None));
    }

    #[test]
    fn each_pair_of_threads_has_its_link() {
        let to = NestId(7);
        let mut dialled = Dialled::default();
        assert_eq!(dialled.pick(to, None, Some(5)).err(), Some(None));
        dialled.add(seats(2, None, Some(5)), 2, link(1, to));
        assert!(dialled.pick(to, None, Some(5)).is_ok_and(|link| link.id() == LinkId(1)));
        assert_eq!(
            dialled.pick(to, Some(0), Some(5)).err(),
            Some(Some(seats(2, Some(0), Some(1))))
        );
        assert!(dialled.pick(to, None, Some(4)).is_err());
        assert!(dialled.pick(NestId(8), None, Some(5)).is_err());
        assert!(dialled.shared(to).is_none());
    }

    #[test]
    fn with_many_links_no_nest_gets_a_second_one_and_each_gets_one() {
        let mut dialled = Dialled::default();
        for n in 0..MANY as u64 {
            assert!(dialled.shared(NestId(n)).is_none());
            dialled.add(seats(1, None, Some(0)), 1, link(n, NestId(n)));
        }
        assert!(dialled.shared(NestId(1000)).is_none());
        let shared = dialled.shared(NestId(3)).cloned().expect("there are many");
        // It stands for two pairs, and goes once.
        dialled.add(seats(1, Some(0), Some(0)), 1, shared.clone());
        assert!(dialled.pick(NestId(3), Some(0), Some(0)).is_ok());
        let taken = dialled.take(|link| Arc::ptr_eq(link, &shared));
        assert_eq!(taken.len(), 1);
        assert!(dialled.any(NestId(3)).is_none());
    }
}
