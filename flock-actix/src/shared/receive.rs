//! What comes over the links.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use flock_proto::{
    BirdName, CallHead, CallId, CallKind, DataFrame, NestId, ReplyHead, Step, hash64, pass_on,
};

use super::Shared;
use super::send::{HEAD, written};
use crate::call::CallError;
use crate::data_link::{DataLink, DataSink, LinkId};
use crate::parcel::{EncodedCall, Note, Parcel, ReplyTo};
use crate::payload::Payload;
use crate::table::{Entry, Push};

impl DataSink for Arc<Shared> {
    fn on_frame(&self, link: &Arc<dyn DataLink>, frame: &[u8]) {
        match DataFrame::read(frame) {
            Ok(DataFrame::Call(head, body)) => {
                self.hear(head.hlc);
                self.on_call(Some(link), &head, body);
            }
            Ok(DataFrame::Reply(head, body)) => {
                self.hear(head.hlc);
                self.on_reply(&head, body);
            }
            Ok(DataFrame::Passed(head, to)) => self.on_passed(&head, to),
            Err(_) => {
                self.bad_frames.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    fn on_closed(&self, link: &Arc<dyn DataLink>, unwritten: &[u8]) {
        let mut again: Vec<DataFrame<'_>> = Vec::new();
        let mut rest = unwritten;
        while let Some((frame, after)) = split_frame(rest) {
            again.extend(DataFrame::read(frame));
            rest = after;
        }
        let kept: Vec<(NestId, CallId)> = again.iter().filter_map(call_of).collect();
        self.link_lost(link.id(), &kept);
        self.tell_callers(link.id(), &kept);
        for frame in again {
            match frame {
                DataFrame::Call(head, body) => self.on_unwritten(&head, body),
                DataFrame::Reply(head, body) => self.on_reply(&head, body),
                DataFrame::Passed(head, to) => self.on_passed(&head, to),
            }
        }
    }

    fn on_parted(&self, link: &Arc<dyn DataLink>) {
        self.await_word(link.id());
        self.forget_passed(link.id());
    }
}

impl Shared {
    fn on_call(
        self: &Arc<Self>,
        link: Option<&Arc<dyn DataLink>>,
        head: &CallHead<'_>,
        body: &[u8],
    ) {
        if let CallKind::Retry { call } = head.kind
            && self.is_me(head.dest)
        {
            return self.on_retry(head, call, body);
        }
        if !self.is_me(head.dest) {
            return self.on_transit(link, head, body);
        }
        let hash = hash64(head.name);
        let mut parcel = self.encoded(link, head, body);
        if !self.closed.load(Ordering::Acquire) {
            // As nearly always: there is a bird of this name.
            let push =
                |entry: &Arc<Entry>, parcel| entry.push(parcel, self.settings.inbox, || self.now());
            match self.table.find_for(parcel, head.name, hash, push) {
                Ok(Push::Taken) => return,
                Ok(Push::Full(parcel)) => return self.lose(parcel),
                Ok(Push::Grounded(parcel, reason)) => {
                    return parcel.fail(CallError::Grounded { reason });
                }
                Ok(Push::Moved(back, _) | Push::Stale(back)) | Err(back) => parcel = back,
            }
        }
        if let Some((name, parcel)) = self.named(head, parcel) {
            self.dispatch_or_fail(&name, parcel);
        }
    }

    /// A frame for another nest, which this one relays, or whose sender knows this one by an
    /// incarnation that is no more.
    fn on_transit(
        self: &Arc<Self>,
        link: Option<&Arc<dyn DataLink>>,
        head: &CallHead<'_>,
        body: &[u8],
    ) {
        let step = pass_on(&self.view.load(), head.dest, head.hop);
        if let Step::Forward { link: next, .. } = step
            && let Some(next) = self.link(next, None)
        {
            let onward = CallHead { hop: head.hop + 1, hlc: self.hlc(), ..*head };
            let mut room = [0; HEAD];
            if next.append(written(&mut room, |out| onward.write(out)), body).is_ok() {
                if head.kind == CallKind::Call {
                    self.passed_on(next.id(), &onward);
                    self.tell_passed(link, &onward);
                }
                return;
            }
        }
        if !matches!(head.kind, CallKind::Retry { .. })
            && let Some((name, parcel)) = self.parcel(link, head, body)
        {
            let _ = self.send_back(parcel, &name);
        }
    }

    /// Our own call comes back undelivered: look anew where it belongs.
    fn on_retry(self: &Arc<Self>, head: &CallHead<'_>, call: bool, body: &[u8]) {
        let kind = if call { CallKind::Call } else { CallKind::Cast };
        if call {
            if !self.is_expected(head.id) {
                return;
            }
            self.sent_over(head.id, None);
        }
        let head = CallHead { kind, hop: 0, redirected: true, ..*head };
        if let Some((name, parcel)) = self.parcel(None, &head, body)
            && let Err(refused) = self.park(&name, parcel)
        {
            self.lose(refused.into_parcel());
        }
    }

    /// A call frame that never left: route it as if it had just come.
    fn on_unwritten(self: &Arc<Self>, head: &CallHead<'_>, body: &[u8]) {
        match head.kind {
            CallKind::Retry { .. } => self.on_transit(None, head, body),
            kind if self.is_me(head.origin) => {
                self.on_retry(head, kind == CallKind::Call, body);
            }
            _ => {
                if let Some((name, parcel)) = self.parcel(None, head, body)
                    && let Err(refused) = self.park(&name, parcel)
                {
                    self.lose(refused.into_parcel());
                }
            }
        }
    }

    fn on_reply(self: &Arc<Self>, head: &ReplyHead, body: &[u8]) {
        if !self.is_me(head.dest) {
            let onward = ReplyHead { hop: head.hop.saturating_add(1), ..*head };
            let mut room = [0; HEAD];
            let bytes = written(&mut room, |out| onward.write(out));
            // A reply that can't go on is lost; its call ends by its deadline.
            let _ = self.append_toward(None, head.dest, head.hop, bytes, body);
            return;
        }
        let text;
        let outcome = if head.code == 0 {
            Ok(body)
        } else {
            text = String::from_utf8_lossy(body);
            Err(CallError::from_code(head.code, &text))
        };
        self.settle(head.id, outcome);
    }

    /// A call as it waits in inboxes. None if its name is no name: answered, and counted.
    fn parcel(
        self: &Arc<Self>,
        link: Option<&Arc<dyn DataLink>>,
        head: &CallHead<'_>,
        body: &[u8],
    ) -> Option<(BirdName, Parcel)> {
        self.named(head, self.encoded(link, head, body))
    }

    fn named(&self, head: &CallHead<'_>, parcel: Parcel) -> Option<(BirdName, Parcel)> {
        if let Ok(name) = BirdName::new(head.name) {
            return Some((name, parcel));
        }
        self.bad_frames.fetch_add(1, Ordering::Relaxed);
        parcel.fail(CallError::NoSuchBird);
        None
    }

    fn encoded(
        self: &Arc<Self>,
        link: Option<&Arc<dyn DataLink>>,
        head: &CallHead<'_>,
        body: &[u8],
    ) -> Parcel {
        let is_call = head.kind == CallKind::Call;
        let (shared, back) = (self.clone(), link.cloned());
        let alone = link.is_some_and(|link| link.came_alone());
        let now = link.and_then(|link| link.heard_at()).unwrap_or_else(|| self.now());
        // The room first: then it is put together there, and not moved.
        let room = Box::<EncodedCall>::new_uninit();
        let mut call = Box::write(
            room,
            EncodedCall {
                note: Note {
                    id: head.id,
                    deadline: now + head.remaining,
                    species: head.species,
                    message: head.message,
                    origin: head.origin,
                    is_call,
                    hop: head.hop,
                    redirected: head.redirected,
                    among: 0,
                },
                body: Payload::EMPTY,
                reply: ReplyTo {
                    shared,
                    link: back,
                    origin: head.origin,
                    id: head.id,
                    redirected: head.redirected,
                    alone,
                    armed: is_call,
                },
            },
        );
        call.body.fill(body);
        Parcel::Encoded(call)
    }

    /// Calls that went over a link now lost end as `OutcomeUnknown`, but for these.
    fn link_lost(&self, lost: LinkId, kept: &[(NestId, CallId)]) {
        self.fail_calls(&CallError::OutcomeUnknown, |id, link| {
            let stays = |call: &(NestId, CallId)| call.1 == id && self.is_me(call.0);
            link == Some(lost) && !kept.iter().any(stays)
        });
    }
}

/// The call that a frame carries.
fn call_of(frame: &DataFrame<'_>) -> Option<(NestId, CallId)> {
    match frame {
        DataFrame::Call(head, _) if head.kind == CallKind::Call => Some((head.origin, head.id)),
        _ => None,
    }
}

/// The first frame of a buffer of frames with length prefixes, and what follows it.
fn split_frame(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_first_chunk()?;
    rest.split_at_checked(u32::from_le_bytes(*length) as usize)
}
