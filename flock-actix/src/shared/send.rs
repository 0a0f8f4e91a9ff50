//! The way of a call: into a bird's inbox here, or over a link to the nest that has it.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use flock_proto::{
    BirdName, CallHead, CallKind, Fingerprint, Input, Local, NestId, ReplyHead, Step, Via, pass_on,
    route,
};

use super::{MAX_WAITING, Parked, Shared};
use serde::Serialize;

use crate::call::CallError;
use crate::codec;
use crate::data_link::{DataLink, LinkError, LinkId};
use crate::parcel::{EncodedCall, Note, Parcel, ReplyTo};
use crate::slot::lock;
use crate::table::{Entry, Phase, Push};

/// How long a parcel waits that could go nowhere.
const PARK_FOR: Duration = Duration::from_millis(20);

/// Parcels that may wait so at one time.
const MAX_PARKED: usize = 16_384;

/// Room for any head: the fixed part and a name of 255 bytes.
pub(super) const HEAD: usize = 65 + 255;

/// What `write` puts into `room`, which is large enough for any head.
pub(super) fn written(room: &mut [u8; HEAD], write: impl FnOnce(&mut &mut [u8])) -> &[u8] {
    let mut rest = room.as_mut_slice();
    write(&mut rest);
    let length = HEAD - rest.len();
    room.get(..length).unwrap_or_default()
}

/// Puts a call or cast on a link, which leaves as its note says.
fn put(link: &dyn DataLink, note: &Note, head: &[u8], body: &[u8]) -> Result<(), LinkError> {
    match note.among {
        0 => link.append(head, body),
        among => link.append_one_of(among, head, body),
    }
}

/// Why a parcel comes back, and what to wait for before it is tried again.
pub(crate) enum Refused {
    /// The bird's inbox is full.
    Inbox(Parcel, Arc<Entry>),
    /// The buffer of the link is full.
    Link(Parcel, Arc<dyn DataLink>),
    /// Too many names, or too many parcels, wait for an answer of the core.
    Crowd(Parcel),
}

/// Where a call goes, and how.
pub(crate) struct Way {
    dest: NestId,
    link: Arc<dyn DataLink>,
    /// Of the view by which this was decided.
    fingerprint: Fingerprint,
}

impl Way {
    pub(crate) fn link(&self) -> LinkId {
        self.link.id()
    }
}

impl Refused {
    pub(crate) fn into_parcel(self) -> Parcel {
        match self {
            Self::Inbox(parcel, _) | Self::Link(parcel, _) | Self::Crowd(parcel) => parcel,
        }
    }
}

impl Shared {
    /// Sends a parcel on its way; one that finds no room fails.
    pub(crate) fn dispatch_or_fail(self: &Arc<Self>, name: &BirdName, parcel: Parcel) {
        if let Err(refused) = self.dispatch(name, name.hash64(), parcel) {
            self.lose(refused.into_parcel());
        }
    }

    /// Sends a parcel on its way; it comes back if there is no room.
    pub(crate) fn dispatch(
        self: &Arc<Self>,
        name: &BirdName,
        hash: u64,
        mut parcel: Parcel,
    ) -> Result<(), Refused> {
        if self.closed.load(Ordering::Acquire) {
            parcel.fail(CallError::Leaving);
            return Ok(());
        }
        if parcel.is_cancelled() {
            parcel.fail(CallError::TimedOut);
            return Ok(());
        }
        loop {
            let mut local = Local::Unknown;
            if let Some(entry) = self.table.find(name.as_str(), hash) {
                match entry.push(parcel, self.settings.inbox, || self.now()) {
                    Push::Taken => return Ok(()),
                    Push::Full(parcel) => return Err(Refused::Inbox(parcel, entry)),
                    Push::Grounded(parcel, reason) => {
                        parcel.fail(CallError::Grounded { reason });
                        return Ok(());
                    }
                    Push::Moved(back, to) if self.view.load().member(to).is_none() => {
                        // The nest it moved to is gone, and what we know with it.
                        parcel = back;
                        self.table.remove(&entry, |state| state.life.is_none());
                        continue;
                    }
                    Push::Moved(back, to) => {
                        parcel = back;
                        parcel.note_mut().redirected = true;
                        local = Local::Moved(to);
                    }
                    Push::Stale(back) => {
                        parcel = back;
                        self.table.remove(&entry, |state| state.life.is_none());
                        continue;
                    }
                }
            }
            let step = route(&self.view.load(), local, hash, parcel.note().hop);
            match step {
                Step::Want => match self.want(name, parcel) {
                    Ok(()) => return Ok(()),
                    Err(Push::Stale(back)) => parcel = back,
                    Err(Push::Full(back)) => return Err(Refused::Crowd(back)),
                    // It appeared, or moved on, since we looked.
                    Err(Push::Moved(back, _) | Push::Grounded(back, _)) => parcel = back,
                    Err(Push::Taken) => return Ok(()),
                },
                Step::Forward { dest, link } => {
                    return self.forward(name, hash, parcel, dest, link);
                }
                Step::Deliver | Step::Wait => return self.park(name, parcel),
                Step::Retry => return self.send_back(parcel, name),
            }
        }
    }

    /// The way to a bird of which nothing is known here, where all is as nearly always: it lives
    /// elsewhere, and there is room on the link.
    pub(crate) fn way(&self, hash: u64) -> Option<Way> {
        if self.is_closed() {
            return None;
        }
        let view = self.view.load();
        let Step::Forward { dest, link } = route(&view, Local::Unknown, hash, 0) else {
            return None;
        };
        let link = self.link(link, (link == dest).then_some(hash))?;
        let fingerprint = view.fingerprint();
        (!link.is_over_high_water()).then_some(Way { dest, link, fingerprint })
    }

    /// Puts a message of this nest's own right on the link. `None` if there is no room, and nothing has
    /// been done; then it becomes a parcel. The error is that of its own encoding.
    pub(crate) fn send_off<M: Serialize>(
        &self,
        Way { dest, link, fingerprint }: &Way,
        name: &BirdName,
        note: &Note,
        remaining: Duration,
        message: &M,
    ) -> Option<Result<(), CallError>> {
        let head = CallHead {
            kind: note.kind(),
            redirected: false,
            hop: 0,
            fingerprint: *fingerprint,
            hlc: self.hlc(),
            id: note.id,
            origin: note.origin,
            dest: *dest,
            remaining,
            species: note.species,
            message: note.message,
            name: name.as_str(),
        };
        let mut room = [0; HEAD];
        let bytes = written(&mut room, |out| head.write(out));
        let sent = codec::with_encoded(message, |body| put(&**link, note, bytes, body));
        match sent {
            Ok(Ok(())) => Some(Ok(())),
            Ok(Err(_)) => {
                if note.is_call {
                    self.sent_over(note.id, None);
                }
                None
            }
            Err(error) => Some(Err(error)),
        }
    }

    /// Has a parcel wait here for what the core says of its bird.
    fn want(self: &Arc<Self>, name: &BirdName, parcel: Parcel) -> Result<(), Push> {
        if self.waiting.load(Ordering::Relaxed) >= MAX_WAITING {
            return Err(Push::Full(parcel));
        }
        let now = self.now();
        let (entry, mut fresh) = self.table.find_or_insert(self, name, Phase::Waiting(now));
        entry.with(|state| {
            if matches!(state.phase, Phase::Moved(..)) && state.life.is_none() {
                // It moved away from here, and by the view it is to be here again.
                state.phase = Phase::Waiting(now);
                fresh = true;
            }
        });
        let pushed = entry.push(parcel, self.settings.inbox, || now);
        if fresh {
            self.waiting.fetch_add(1, Ordering::Relaxed);
            self.watch_age(&entry);
            self.nest.tell(Input::Wanted { name: name.clone() });
        }
        match pushed {
            Push::Taken => Ok(()),
            other => Err(other),
        }
    }

    /// Puts a parcel on a link.
    fn forward(
        self: &Arc<Self>,
        name: &BirdName,
        hash: u64,
        parcel: Parcel,
        dest: NestId,
        link: NestId,
    ) -> Result<(), Refused> {
        let bird = (link == dest).then_some(hash);
        let Some(link) = self.link(link, bird) else { return self.park(name, parcel) };
        let note = *parcel.note();
        let own = self.is_me(note.origin);
        if own && link.is_over_high_water() {
            return Err(Refused::Link(parcel, link));
        }
        let head = CallHead {
            kind: note.kind(),
            redirected: note.redirected,
            hop: note.hop.saturating_add(u8::from(!own)),
            fingerprint: self.view.load().fingerprint(),
            hlc: self.hlc(),
            id: note.id,
            origin: note.origin,
            dest,
            remaining: note.deadline.since(self.now()),
            species: note.species,
            message: note.message,
            name: name.as_str(),
        };
        let mut room = [0; HEAD];
        let bytes = written(&mut room, |out| head.write(out));
        if own && note.is_call {
            // Before the frame is on its way: it may break with the link at once.
            self.sent_over(note.id, Some(link.id()));
        }
        let sent = parcel.with_body(&mut |body| put(&*link, &note, bytes, body));
        match sent {
            Ok(Ok(())) => {
                if !own && note.is_call {
                    self.passed_on(link.id(), &head);
                    self.tell_passed(parcel.came_over(), &head);
                }
                parcel.let_go();
            }
            Ok(Err(refused)) => {
                if own && note.is_call {
                    self.sent_over(note.id, None);
                }
                return match refused {
                    LinkError::Full => Err(Refused::Link(parcel, link)),
                    LinkError::Closed => self.park(name, parcel),
                };
            }
            Err(error) => parcel.fail(error),
        }
        Ok(())
    }

    /// Sets a parcel aside, to be tried again in a moment.
    pub(super) fn park(&self, name: &BirdName, mut parcel: Parcel) -> Result<(), Refused> {
        let now = self.now();
        // Others may overtake it.
        parcel.note_mut().redirected = true;
        if parcel.is_over(now) {
            parcel.fail(CallError::TimedOut);
            return Ok(());
        }
        let mut parked = lock(&self.parked);
        if parked.len() >= MAX_PARKED {
            drop(parked);
            return Err(Refused::Crowd(parcel));
        }
        parked.push_back(Parked { due: now + PARK_FOR, name: name.clone(), parcel });
        Ok(())
    }

    /// Sends a call that surely wasn't delivered back to its origin, which looks anew.
    pub(super) fn send_back(
        self: &Arc<Self>,
        parcel: Parcel,
        name: &BirdName,
    ) -> Result<(), Refused> {
        let call = match parcel {
            Parcel::Encoded(call) if !self.is_me(call.note.origin) => call,
            mut own => {
                // It is back at its origin, which looks anew: else it would be sent back for ever.
                own.note_mut().hop = 0;
                return self.park(name, own);
            }
        };
        let head = CallHead {
            kind: CallKind::Retry { call: call.note.is_call },
            redirected: true,
            hop: 0,
            fingerprint: self.view.load().fingerprint(),
            hlc: self.hlc(),
            id: call.note.id,
            origin: call.note.origin,
            dest: call.note.origin,
            remaining: call.note.deadline.since(self.now()),
            species: call.note.species,
            message: call.note.message,
            name: name.as_str(),
        };
        let mut room = [0; HEAD];
        let bytes = written(&mut room, |out| head.write(out));
        let EncodedCall { body, reply, .. } = *call;
        // If even this can't be sent, the caller's own deadline ends the call.
        let _ = self.append_toward(reply.link.as_ref(), reply.origin, 0, bytes, &body);
        reply.disarm();
        Ok(())
    }

    /// Sends a reply, or gives it to a caller in this process.
    pub(crate) fn reply(self: &Arc<Self>, to: &ReplyTo, code: u8, payload: &[u8]) {
        if self.is_me(to.origin) {
            let text = String::from_utf8_lossy(payload);
            let outcome =
                if code == 0 { Ok(payload) } else { Err(CallError::from_code(code, &text)) };
            return self.settle(to.id, outcome);
        }
        if self.closed.load(Ordering::Acquire) {
            // The end of this nest is not for others to hear as an answer: they see the link end.
            return;
        }
        let head = |code| ReplyHead {
            redirected: to.redirected,
            hop: 0,
            code,
            hlc: self.hlc(),
            id: to.id,
            dest: to.origin,
        };
        let mut room = [0; HEAD];
        let send = |bytes: &[u8], payload: &[u8]| {
            let back = to.link.as_ref().filter(|link| to.alone && link.peer() == to.origin);
            if let Some(link) = back {
                return link.append_one_of(1, bytes, payload);
            }
            self.append_toward(to.link.as_ref(), to.origin, 0, bytes, payload)
        };
        let sent = send(written(&mut room, |out| head(code).write(out)), payload);
        if sent == Err(LinkError::Full) {
            let overloaded = head(CallError::Overloaded.code());
            let _ = send(written(&mut room, |out| overloaded.write(out)), &[]);
        }
    }

    /// Puts a frame on the link that it answers, if that leads to its destination; else on
    /// whichever leads there.
    pub(super) fn append_toward(
        &self,
        back: Option<&Arc<dyn DataLink>>,
        dest: NestId,
        hop: u8,
        head: &[u8],
        body: &[u8],
    ) -> Result<(), LinkError> {
        if let Some(link) = back
            && (link.peer() == dest || self.view.load().via(dest) == Via::Relay(link.peer()))
        {
            return link.append(head, body);
        }
        match pass_on(&self.view.load(), dest, hop) {
            Step::Forward { link, .. } => {
                self.link(link, None).ok_or(LinkError::Closed)?.append(head, body)
            }
            _ => Err(LinkError::Closed),
        }
    }
}
