//! Calls passed on for other nests: when the link that took one breaks, its caller is told that the
//! outcome is unknown, and needn't wait for its deadline.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use flock_proto::{CallHead, CallId, NestId, ReplyHead, Time};

use super::{Shared, send};
use crate::call::CallError;
use crate::data_link::{DataLink, LinkId};
use crate::slot::lock;

/// Calls remembered for each link; beyond that the oldest, which is likely answered, is forgotten.
const KEPT: usize = 16_384;

/// A nest that has left says within this time to whom it passed a call on: it is there for a second
/// more, and its word may take a detour.
const WORD_WITHIN: Duration = Duration::from_secs(5);

/// Said for the nest to which a call was passed on: with the link there, its track is lost.
const NOBODY: NestId = NestId(0);

/// A call passed on, which may have been answered since: replies take their own way.
#[derive(Clone, Copy, Debug)]
struct PassedCall {
    deadline: Time,
    origin: NestId,
    id: CallId,
    /// How often it had been passed on, this time included.
    step: u8,
}

/// What was passed on, by link.
#[derive(Debug, Default)]
pub(super) struct Passed(Mutex<BTreeMap<LinkId, VecDeque<PassedCall>>>);

impl Passed {
    fn note(&self, link: LinkId, call: PassedCall, now: Time) {
        let mut links = lock(&self.0);
        let calls = links.entry(link).or_default();
        while calls.front().is_some_and(|old| old.deadline < now) || calls.len() >= KEPT {
            calls.pop_front();
        }
        calls.push_back(call);
    }

    fn take(&self, link: LinkId) -> VecDeque<PassedCall> {
        lock(&self.0).remove(&link).unwrap_or_default()
    }
}

impl Shared {
    /// A call of another nest's went over this link.
    pub(super) fn passed_on(&self, link: LinkId, call: &CallHead<'_>) {
        let now = self.now();
        let deadline = now + call.remaining;
        let call = PassedCall { deadline, origin: call.origin, id: call.id, step: call.hop };
        self.passed.note(link, call, now);
    }

    /// Tells a call's origin to whom it went on: from now on that nest's link stands for it, and
    /// the one it came over may close. A nest that leaves passes calls on to the last.
    pub(super) fn tell_passed(&self, back: Option<&Arc<dyn DataLink>>, call: &CallHead<'_>) {
        // Lost, it leaves the call to the link it came over, as if nobody had passed it on.
        self.say_passed(back, call.origin, call.id, call.hop, call.dest);
    }

    fn say_passed(
        &self,
        back: Option<&Arc<dyn DataLink>>,
        origin: NestId,
        id: CallId,
        step: u8,
        to: NestId,
    ) {
        let hlc = self.hlc();
        let head = ReplyHead { redirected: false, hop: 0, code: step, hlc, id, dest: origin };
        let mut room = [0; send::HEAD];
        let bytes = send::written(&mut room, |out| head.write_passed(to, out));
        // On each of the origin's own links, which it sees end when this nest goes: whichever the call
        // hangs on, it must hear this first.
        let own = self.links.get().map(|links| links.dialled_by(origin)).unwrap_or_default();
        let said = own.iter().filter(|link| link.append(bytes, &[]).is_ok()).count();
        if said == 0 {
            let _ = self.append_toward(back, origin, 0, bytes, &[]);
        }
    }

    /// A call was passed on: this nest's own, or one whose origin this nest relays to.
    pub(super) fn on_passed(self: &Arc<Self>, head: &ReplyHead, to: NestId) {
        if !self.is_me(head.dest) {
            let onward = ReplyHead { hop: head.hop.saturating_add(1), ..*head };
            let mut room = [0; send::HEAD];
            let bytes = send::written(&mut room, |out| onward.write_passed(to, out));
            let _ = self.append_toward(None, head.dest, head.hop, bytes, &[]);
            return;
        }
        // None is dialled for it: a nest that only a relay reaches, or that has just died, would fail
        // the dial, and the call with it, though it goes its way elsewhere.
        let link = self.links.get().and_then(|links| links.dialled_to(to)).map(|link| link.id());
        let lost = self.in_shard(head.id, |pending, id| {
            let Some(call) = pending.call_mut(id) else { return false };
            if head.code > call.step && to != NOBODY {
                (call.step, call.link, call.word_by) = (head.code, link, None);
            }
            // Whoever took it at that step may have passed it on since, and said so.
            to == NOBODY && head.code >= call.step
        });
        if lost == Some(true) {
            self.settle(head.id, Err(CallError::OutcomeUnknown));
        }
    }

    /// The nest at the other end of a link has left. Its word of whom it passed a call on to may come
    /// later than the end of the link, so calls no longer hang on that. But of one whose bird it had to
    /// leave behind it has nothing to say, and nobody will ever answer.
    pub(super) fn await_word(&self, link: LinkId) {
        let by = self.now() + WORD_WITHIN;
        for shard in &self.pending {
            for call in lock(&shard.calls).calls_mut() {
                if call.link.take_if(|of| *of == link).is_some() {
                    call.word_by = Some(by);
                    self.word_due.fetch_min(by.as_micros(), Ordering::AcqRel);
                }
            }
        }
    }

    /// Ends calls of which no word came in time.
    pub(super) fn give_up_unheard(&self, now: Time) {
        if now.as_micros() < self.word_due.load(Ordering::Acquire) {
            return;
        }
        self.word_due.store(u64::MAX, Ordering::Release);
        for shard in &self.pending {
            let mut next = u64::MAX;
            let given_up = lock(&shard.calls).take_where(|_, call| {
                let due = call.word_by.is_some_and(|by| by <= now);
                let by = call.word_by.filter(|_| !due);
                next = by.map_or(next, |by| next.min(by.as_micros()));
                due
            });
            self.word_due.fetch_min(next, Ordering::AcqRel);
            for (_, call) in given_up {
                call.slot.fail(CallError::OutcomeUnknown);
            }
        }
    }

    /// The nest at the other end has left, and sees to what was passed on to it.
    pub(super) fn forget_passed(&self, link: LinkId) {
        self.passed.take(link);
    }

    /// A link is lost: tells those whose calls went over it, but for those in `kept`, which never
    /// left.
    pub(super) fn tell_callers(self: &Arc<Self>, link: LinkId, kept: &[(NestId, CallId)]) {
        if self.closed.load(Ordering::Acquire) {
            // It is this nest that goes; those who took the calls still answer them.
            return;
        }
        let now = self.now();
        for call in self.passed.take(link) {
            if call.deadline < now || kept.contains(&(call.origin, call.id)) {
                continue;
            }
            // If this doesn't arrive either, the caller's deadline ends the call.
            self.say_passed(None, call.origin, call.id, call.step, NOBODY);
        }
    }
}
