//! The data plane: each body routes calls and casts by its own table and its own picture of the
//! flock, over data links, and keeps those that wait in the core crate's own table.

use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};

use super::check::Made;
use super::host::{CallEnd, Entry, Later, Parcel, State, Waiting};
use super::net::{LinkId, LinkKind};
use super::world::{SPECIES, World};
use crate::{
    BirdName, CallHead, CallId, CallKind, DataFrame, Fence, Fingerprint, Hlc, Input, Local,
    MessageId, NestId, ReplyHead, Step, View, pass_on, route,
};

/// How long a call may take.
pub(super) const DEADLINE: Duration = Duration::from_secs(5);

/// A parcel that can go nowhere waits so long.
const PARK: Duration = Duration::from_millis(20);

impl World {
    /// Somebody on that host calls a bird. Says the call's number.
    pub fn call(&mut self, host: usize, name: &BirdName) -> u64 {
        let number = self.number();
        let deadline = self.now + DEADLINE;
        let life = self.facts.certain_life(name);
        let made = Made { host, name: name.clone(), deadline, life };
        self.checks.on_call(number, made);
        let pending = &mut self.hosts[host].body.pending;
        let id = pending.insert(DEADLINE, Waiting { number, link: None });
        // Its time begins now, and not with some later sweep: the checks know to the moment when it is over.
        self.sweep(host);
        self.later(DEADLINE, host, Later::Sweep);
        self.send_out(host, number, CallKind::Call, id, name);
        number
    }

    /// Somebody on that host casts to a bird.
    pub fn cast(&mut self, host: usize, name: &BirdName) {
        let number = self.number();
        self.send_out(host, number, CallKind::Cast, CallId::default(), name);
    }

    const fn number(&mut self) -> u64 {
        self.next_number += 1;
        self.next_number
    }

    fn send_out(&mut self, host: usize, number: u64, kind: CallKind, id: CallId, name: &BirdName) {
        let Some(origin) = self.hosts[host].id() else { return };
        let parcel = Parcel {
            number,
            kind,
            redirected: false,
            hop: 0,
            id,
            origin,
            name: name.clone(),
            deadline: self.now + DEADLINE,
            back: None,
        };
        self.dispatch(host, parcel);
    }

    pub(super) fn end_call(&mut self, number: u64, end: CallEnd) {
        if let Some(made) = self.checks.on_call_end(number) {
            self.check_call_end(&made, end);
            self.ended.insert(number, end);
        }
    }

    /// Ends calls whose deadlines have passed.
    pub(super) fn sweep(&mut self, host: usize) {
        let now = self.local(host);
        for waiting in self.hosts[host].body.pending.expired(now) {
            self.end_call(waiting.number, CallEnd::TimedOut);
        }
    }

    pub(super) fn is_me(&self, host: usize, id: NestId) -> bool {
        let former = self.hosts[host].body.former.contains(&id) && !self.by_id.contains_key(&id);
        self.hosts[host].id() == Some(id) || former
    }

    /// What waited for a life that is over goes on its way again.
    pub(super) fn redispatch(&mut self, host: usize, mut parcel: Parcel) {
        parcel.redirected = true;
        self.dispatch(host, parcel);
    }

    /// Takes a parcel one step on its way from this host.
    pub(super) fn dispatch(&mut self, host: usize, mut parcel: Parcel) {
        self.note(host, "call", &parcel);
        if self.hosts[host].nest.is_none() || parcel.deadline < self.now {
            return;
        }
        let mut local = Local::Unknown;
        let Some(view) = self.hosts[host].body.view.clone() else {
            return self.park(host, parcel);
        };
        if let Some(entry) = self.hosts[host].body.table.get_mut(&parcel.name) {
            match entry.state {
                State::Running => {
                    let fence = entry.fence;
                    return self.handle_call(host, &parcel, fence);
                }
                State::Moved(to) if view.member(to).is_some() => {
                    parcel.redirected = true;
                    local = Local::Moved(to);
                }
                State::Moved(_) => {
                    self.hosts[host].body.table.remove(&parcel.name);
                }
                _ => return entry.queue.push_back(parcel),
            }
        }
        match route(&view, local, parcel.name.hash64(), parcel.hop) {
            Step::Deliver | Step::Wait => self.park(host, parcel),
            Step::Want => self.want(host, parcel),
            Step::Forward { dest, link } => self.forward(host, parcel, dest, link, &view),
            Step::Retry => self.send_back(host, parcel),
        }
    }

    fn want(&mut self, host: usize, parcel: Parcel) {
        let name = parcel.name.clone();
        let table = &mut self.hosts[host].body.table;
        let entry = table.entry(name.clone()).or_insert_with(Entry::waiting);
        entry.state = State::Waiting;
        entry.queue.push_back(parcel);
        self.feed(host, Input::Wanted { name });
    }

    pub(super) fn park(&mut self, host: usize, mut parcel: Parcel) {
        // Others may overtake it.
        parcel.redirected = true;
        self.later(PARK, host, Later::Resolve(parcel));
    }

    fn handle_call(&mut self, host: usize, parcel: &Parcel, fence: Fence) {
        let origin = self.by_id.get(&parcel.origin).copied();
        // One that another nest passed on may have been overtaken.
        let redirected = parcel.redirected || parcel.hop > 0;
        self.checks.on_handled(host, parcel.number, origin, &parcel.name, redirected);
        if let Some(entry) = self.hosts[host].body.table.get_mut(&parcel.name) {
            entry.memory.note(parcel.number);
            let birth = entry.birth;
            birth.into_iter().for_each(|b| self.checks.remembered.note(b, parcel.number));
        }
        let first = self.hosts[host].body.table.get(&parcel.name).map(|entry| entry.first_fence);
        first.into_iter().for_each(|first| self.perhaps_checkpoint(host, &parcel.name, first));
        self.reply(host, parcel, CallEnd::Answered(fence));
    }

    pub(super) fn reply(&mut self, host: usize, parcel: &Parcel, end: CallEnd) {
        if parcel.kind != CallKind::Call {
            return;
        }
        if self.is_me(host, parcel.origin) {
            return self.settle(host, parcel.id, parcel.number, end);
        }
        let (code, fence) = code_of(end);
        let head = ReplyHead {
            redirected: parcel.redirected,
            hop: 0,
            code,
            hlc: Hlc(0),
            id: parcel.id,
            dest: parcel.origin,
        };
        let mut frame = BytesMut::with_capacity(48);
        head.write(&mut frame);
        frame.put_u64_le(parcel.number);
        frame.put_u64_le(fence.0);
        self.send_toward(host, parcel.back, parcel.origin, 0, frame.freeze());
    }

    fn settle(&mut self, host: usize, id: CallId, number: u64, end: CallEnd) {
        if let Some(waiting) = self.hosts[host].body.pending.take(id) {
            self.checks.on_reply(host, waiting.number, number);
            self.end_call(waiting.number, end);
        }
    }

    fn forward(
        &mut self,
        host: usize,
        mut parcel: Parcel,
        dest: NestId,
        link: NestId,
        view: &View,
    ) {
        let own = self.is_me(host, parcel.origin);
        let Some(link) = self.data_link(host, link, view) else {
            return self.park(host, parcel);
        };
        if own {
            if let Some(waiting) = self.hosts[host].body.pending.call_mut(parcel.id) {
                waiting.link = Some(link);
            }
        } else {
            parcel.hop += 1;
        }
        self.checks.on_hop(parcel.hop, "a call");
        let frame = self.frame_of(&parcel, dest, view.fingerprint());
        self.send_on(host, link, frame);
    }

    fn frame_of(&self, parcel: &Parcel, dest: NestId, fingerprint: Fingerprint) -> Bytes {
        let head = CallHead {
            kind: parcel.kind,
            redirected: parcel.redirected,
            hop: parcel.hop,
            fingerprint,
            hlc: Hlc(0),
            id: parcel.id,
            origin: parcel.origin,
            dest,
            remaining: parcel.deadline.since(self.now),
            species: SPECIES,
            message: MessageId(0),
            name: parcel.name.as_str(),
        };
        let mut frame = BytesMut::with_capacity(96);
        head.write(&mut frame);
        frame.put_u64_le(parcel.number);
        frame.freeze()
    }

    /// A call that surely wasn't delivered goes back to its origin, which looks anew.
    fn send_back(&mut self, host: usize, mut parcel: Parcel) {
        parcel.hop = 0;
        parcel.redirected = true;
        if self.is_me(host, parcel.origin) {
            return self.park(host, parcel);
        }
        let (back, origin) = (parcel.back, parcel.origin);
        parcel.kind = CallKind::Retry { call: parcel.kind == CallKind::Call };
        let frame = self.frame_of(&parcel, origin, Fingerprint(0));
        self.send_toward(host, back, origin, 0, frame);
    }

    /// Puts a frame on the link that it answers, if that leads to its destination; else on whichever
    /// leads there. One that can't go on is lost, and its call ends by its deadline.
    fn send_toward(
        &mut self,
        host: usize,
        back: Option<LinkId>,
        dest: NestId,
        hop: u8,
        frame: Bytes,
    ) {
        if let Some(link) = back
            && let Some(open) = self.net.link(link)
            && let Some(side) = open.side_of(host)
            && open.open[side]
            && open.ends[1 - side].1 == dest
        {
            return self.send_on(host, link, frame);
        }
        let Some(view) = self.hosts[host].body.view.clone() else { return };
        if let Step::Forward { link, .. } = pass_on(&view, dest, hop)
            && let Some(link) = self.data_link(host, link, &view)
        {
            self.send_on(host, link, frame);
        }
    }

    /// The data link to a neighbour, dialled at first use.
    fn data_link(&mut self, host: usize, to: NestId, view: &View) -> Option<LinkId> {
        if let Some(&link) = self.hosts[host].body.data.get(&to) {
            return Some(link);
        }
        let member = view.member(to)?;
        let target = self.host_at(&member.address)?;
        let me = self.hosts[host].id()?;
        let open = self.now + self.latency();
        let link = self.net.add(LinkKind::Data, [(host, me), (target, to)], open);
        if let Some(it) = self.net.link_mut(link) {
            it.open = [true, false];
        }
        self.hosts[host].body.data.insert(to, link);
        self.later(open.since(self.now), host, Later::DialData(link, 0));
        Some(link)
    }

    /// A frame came over a data link.
    pub(super) fn on_data(&mut self, host: usize, link: LinkId, frame: &Bytes) {
        match DataFrame::read(frame) {
            Ok(DataFrame::Call(head, body)) => self.on_call(host, link, &head, body, frame),
            Ok(DataFrame::Reply(head, body)) => self.on_reply(host, &head, body),
            Ok(DataFrame::Passed(..)) => {}
            Err(e) => self.checks.fail("I4", format!("a data frame can't be read: {e}")),
        }
    }

    fn on_call(
        &mut self,
        host: usize,
        link: LinkId,
        head: &CallHead<'_>,
        mut body: &[u8],
        frame: &Bytes,
    ) {
        let number = bytes::Buf::try_get_u64_le(&mut body).unwrap_or_default();
        let Ok(name) = BirdName::new(head.name) else { return };
        let mut parcel = Parcel {
            number,
            kind: head.kind,
            redirected: head.redirected,
            hop: head.hop,
            id: head.id,
            origin: head.origin,
            name,
            deadline: self.now + head.remaining,
            back: Some(link),
        };
        if !self.is_me(host, head.dest) {
            return self.on_transit(host, head, parcel, frame);
        }
        if let CallKind::Retry { call } = head.kind {
            parcel.kind = if call { CallKind::Call } else { CallKind::Cast };
            parcel.back = None;
            if call && !self.hosts[host].body.pending.holds(parcel.id) {
                return;
            }
            return self.park(host, parcel);
        }
        self.dispatch(host, parcel);
    }

    /// A frame for another nest, which this one relays.
    fn on_transit(&mut self, host: usize, head: &CallHead<'_>, parcel: Parcel, frame: &Bytes) {
        let Some(view) = self.hosts[host].body.view.clone() else { return };
        if let Step::Forward { link, .. } = pass_on(&view, head.dest, head.hop)
            && let Some(link) = self.data_link(host, link, &view)
        {
            let onward = CallHead { hop: head.hop + 1, ..*head };
            self.checks.on_hop(onward.hop, "a relayed call");
            let mut copy = BytesMut::with_capacity(frame.len());
            onward.write(&mut copy);
            copy.put_u64_le(parcel.number);
            return self.send_on(host, link, copy.freeze());
        }
        if !matches!(head.kind, CallKind::Retry { .. }) {
            self.send_back(host, parcel);
        }
    }

    fn on_reply(&mut self, host: usize, head: &ReplyHead, mut body: &[u8]) {
        let number = bytes::Buf::try_get_u64_le(&mut body).unwrap_or_default();
        let fence = Fence(bytes::Buf::try_get_u64_le(&mut body).unwrap_or_default());
        if self.is_me(host, head.dest) {
            return self.settle(host, head.id, number, end_of(head.code, fence));
        }
        let onward = ReplyHead { hop: head.hop.saturating_add(1), ..*head };
        let mut frame = BytesMut::with_capacity(48);
        onward.write(&mut frame);
        frame.put_u64_le(number);
        frame.put_u64_le(fence.0);
        self.send_toward(host, None, head.dest, head.hop, frame.freeze());
    }

    /// A data link that this host dialled is gone. Calls sent over it may have been handled.
    pub(super) fn on_data_closed(&mut self, host: usize, link: LinkId) {
        let body = &mut self.hosts[host].body;
        body.data.retain(|_, of| *of != link);
        let lost = body.pending.take_where(|_, waiting| waiting.link == Some(link));
        for (_, waiting) in lost {
            self.end_call(waiting.number, CallEnd::OutcomeUnknown);
        }
    }

    /// A data link could not be dialled: what waited for it surely wasn't delivered.
    pub(super) fn on_no_data(&mut self, host: usize, link: LinkId, frames: Vec<Bytes>) {
        self.hosts[host].body.data.retain(|_, of| *of != link);
        for frame in frames {
            let Ok(DataFrame::Call(head, mut body)) = DataFrame::read(&frame) else { continue };
            let number = bytes::Buf::try_get_u64_le(&mut body).unwrap_or_default();
            let Ok(name) = BirdName::new(head.name) else { continue };
            let retry = matches!(head.kind, CallKind::Retry { .. });
            if retry {
                continue;
            }
            if let Some(waiting) = self.hosts[host].body.pending.call_mut(head.id)
                && waiting.link == Some(link)
            {
                waiting.link = None;
            }
            let parcel = Parcel {
                number,
                kind: head.kind,
                redirected: true,
                hop: if self.is_me(host, head.origin) { 0 } else { head.hop },
                id: head.id,
                origin: head.origin,
                name,
                deadline: self.now + head.remaining,
                back: None,
            };
            self.park(host, parcel);
        }
    }
}

/// An outcome as it goes over the wire: a code, and the fence of the life that answered.
const fn code_of(end: CallEnd) -> (u8, Fence) {
    match end {
        CallEnd::Answered(fence) => (0, fence),
        CallEnd::NoSuchBird => (1, Fence(0)),
        CallEnd::Grounded => (5, Fence(0)),
        CallEnd::NoQuorum => (6, Fence(0)),
        _ => (4, Fence(0)),
    }
}

const fn end_of(code: u8, fence: Fence) -> CallEnd {
    match code {
        0 => CallEnd::Answered(fence),
        1 => CallEnd::NoSuchBird,
        5 => CallEnd::Grounded,
        6 => CallEnd::NoQuorum,
        _ => CallEnd::Crashed,
    }
}
