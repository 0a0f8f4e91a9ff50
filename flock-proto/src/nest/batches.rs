//! Requests and answers on their way to other nests. What one round has for the same nest travels
//! together, in frames of a bounded size; and what is asked of one nest at a time has bounds, too.

use std::collections::{BTreeMap, VecDeque};

use super::Nest;
use super::asking::Ask;
use crate::wire::{Frame, Request, Requests, Response, Responses};
use crate::{NestId, ReqId};

/// Requests for one other nest.
#[derive(Debug, Default)]
pub(super) struct Lane {
    /// Bytes of those that were sent and aren't answered.
    taken: usize,
    /// Never sent yet: they wait for room.
    fresh: VecDeque<ReqId>,
    /// To be sent once more.
    again: Vec<ReqId>,
}

/// Requests that belong to another nest, with what is said of them together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Forward {
    to: NestId,
    pub(super) origin: NestId,
    pub(super) hops: u8,
}

impl Ask {
    /// It takes no room any more at the nest to which it went.
    pub(super) fn leave(&mut self, lanes: &mut BTreeMap<NestId, Lane>) {
        if std::mem::take(&mut self.has_room)
            && let Some(lane) = self.to.and_then(|to| lanes.get_mut(&to))
        {
            lane.taken = lane.taken.saturating_sub(self.size());
        }
    }
}

impl Nest {
    /// Has an open request sent to this nest as soon as there is room.
    pub(super) fn enter_lane(&mut self, req: ReqId, to: NestId) {
        if self.asks.get(req.0).is_some_and(|ask| ask.to != Some(to)) {
            self.leave_lane(req);
        }
        let Some(ask) = self.asks.get_mut(req.0) else { return };
        let lane = self.lanes.entry(to).or_default();
        if ask.has_room {
            lane.again.push(req);
        } else if ask.to != Some(to) {
            ask.to = Some(to);
            lane.fresh.push_back(req);
        }
    }

    /// A request is answered, given up, or goes elsewhere.
    pub(super) fn leave_lane(&mut self, req: ReqId) {
        if let Some(ask) = self.asks.get_mut(req.0) {
            ask.leave(&mut self.lanes);
        }
    }

    /// Sends all that has gathered.
    pub(super) fn flush_batches(&mut self) {
        if !self.lanes.is_empty() {
            let mut lanes = std::mem::take(&mut self.lanes);
            for (&to, lane) in &mut lanes {
                let reqs = self.next_of(to, lane);
                self.send_asks(to, reqs);
            }
            lanes.retain(|_, lane| lane.taken > 0 || !lane.fresh.is_empty());
            self.lanes = lanes;
        }
        for (to, requests) in std::mem::take(&mut self.forwards) {
            let Forward { to, origin, hops } = to;
            // What it holds of the owner's operations only the asker knows: it gets all there is.
            self.send_requests(to, origin, hops, 0, requests);
        }
        self.send_claims();
        for (to, responses) in std::mem::take(&mut self.responses) {
            self.send_responses(to, responses);
        }
    }

    /// What goes now: whatever goes again, and as much as there is room for of what is new.
    fn next_of(&mut self, to: NestId, lane: &mut Lane) -> Vec<ReqId> {
        let waits = |ask: &Ask| ask.to == Some(to) && ask.pending.is_none();
        let mut reqs = std::mem::take(&mut lane.again);
        reqs.retain(|req| self.asks.get(req.0).is_some_and(|ask| waits(ask) && ask.has_room));
        while let Some(&req) = lane.fresh.front() {
            if let Some(ask) = self.asks.get_mut(req.0).filter(|ask| waits(ask) && !ask.has_room) {
                // One that is larger than all the room goes alone.
                if lane.taken > 0 && lane.taken + ask.size() > self.config.request_room {
                    break;
                }
                lane.taken += ask.size();
                ask.has_room = true;
                reqs.push(req);
            }
            lane.fresh.pop_front();
        }
        reqs
    }

    fn send_asks(&mut self, to: NestId, reqs: Vec<ReqId>) {
        let requests: Vec<Request> =
            reqs.into_iter().filter_map(|req| self.request(req, to)).collect();
        let known = self.registry.vector().seq(to);
        self.send_requests(to, self.id, 0, known, requests);
    }

    fn send_requests(
        &mut self,
        to: NestId,
        origin: NestId,
        hops: u8,
        known: u64,
        requests: Vec<Request>,
    ) {
        let oldest = if origin == self.id {
            self.asks.first().unwrap_or(0)
        } else {
            self.askers.get(&origin).map_or(0, |asker| asker.oldest)
        };
        for requests in in_frames(requests, self.config.request_frame, Request::size) {
            let requests = Requests { origin, hops, known, oldest, requests };
            self.send(to, &Frame::Requests(requests));
        }
    }

    /// Has a request passed on to the nest that owns the name as this one sees it.
    pub(super) fn forward(&mut self, to: NestId, origin: NestId, hops: u8, request: Request) {
        self.forwards.entry(Forward { to, origin, hops }).or_default().push(request);
    }

    fn send_responses(&mut self, to: NestId, responses: Vec<Response>) {
        let mine = responses.iter().filter_map(|r| r.op).filter(|op| op.origin == self.id);
        let last = mine.map(|op| op.seq).max().unwrap_or(0);
        let told = self.told.get(to).copied().unwrap_or(0);
        let known = self.acked_by(to).max(told);
        let mut delta = if last > known { self.registry.delta_of_mine(known) } else { None };
        if let Some(delta) = &delta {
            self.told.insert(to, delta.upto(self.id));
        }
        for responses in in_frames(responses, self.config.request_frame, Response::size) {
            // Operations go before the first of the answers that rest on them.
            let responses = Responses { responses, delta: delta.take() };
            self.send(to, &Frame::Responses(responses));
        }
    }
}

/// Parts a list so that each part fits into a frame.
fn in_frames<T>(all: Vec<T>, frame: usize, size: impl Fn(&T) -> usize) -> Vec<Vec<T>> {
    let mut parts = Vec::new();
    let mut bytes = 0;
    for one in all {
        bytes += size(&one);
        match parts.last_mut() {
            Some(part) if bytes <= frame => Vec::push(part, one),
            _ => {
                bytes = size(&one);
                parts.push(vec![one]);
            }
        }
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    const FRAME: usize = 256 << 10;

    #[test]
    fn a_list_is_parted_into_frames_in_order_and_one_that_is_too_large_goes_alone() {
        let sizes = vec![FRAME / 2, FRAME / 2, 1, FRAME * 3, FRAME, 7, 8];
        let parts = in_frames(sizes.clone(), FRAME, |size| *size);
        let half = FRAME / 2;
        let expected = [&[half, half][..], &[1], &[FRAME * 3], &[FRAME], &[7, 8]];
        assert_eq!(parts, expected);
        assert_eq!(parts.concat(), sizes);
        assert_eq!(in_frames(Vec::<usize>::new(), FRAME, |size| *size), Vec::<Vec<usize>>::new());
    }
}
