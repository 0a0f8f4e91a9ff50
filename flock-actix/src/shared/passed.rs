//! Calls passed on for other nests: when the link that took one breaks, its caller is told that the
//! outcome is unknown, and needn't wait for its deadline.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex};

use flock_proto::{CallId, NestId, ReplyHead, Time};

use super::{Shared, send};
use crate::call::CallError;
use crate::data_link::LinkId;
use crate::slot::lock;

/// Calls remembered for each link; beyond that the oldest, which is likely answered, is forgotten.
const KEPT: usize = 16_384;

/// A call passed on, which may have been answered since: replies take their own way.
#[derive(Clone, Copy, Debug)]
struct PassedCall {
    deadline: Time,
    origin: NestId,
    id: CallId,
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
    pub(super) fn passed_on(&self, link: LinkId, origin: NestId, id: CallId, deadline: Time) {
        let call = PassedCall { deadline, origin, id };
        self.passed.note(link, call, self.now());
    }

    /// The nest beyond this link has left, and sees to those calls itself.
    pub(super) fn forget_passed(&self, link: LinkId) {
        self.passed.take(link);
    }

    /// A link is lost: tells those whose calls went over it, but for those in `kept`, which never
    /// left.
    pub(super) fn tell_callers(self: &Arc<Self>, link: LinkId, kept: &[(NestId, CallId)]) {
        let now = self.now();
        for call in self.passed.take(link) {
            if call.deadline < now || kept.contains(&(call.origin, call.id)) {
                continue;
            }
            let head = ReplyHead {
                redirected: false,
                hop: 0,
                code: CallError::OutcomeUnknown.code(),
                hlc: self.hlc(),
                id: call.id,
                dest: call.origin,
            };
            let mut room = [0; send::HEAD];
            let bytes = send::written(&mut room, |out| head.write(out));
            // If this doesn't arrive either, the caller's deadline ends the call.
            let _ = self.append_toward(None, call.origin, 0, bytes, &[]);
        }
    }
}
