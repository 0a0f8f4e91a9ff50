//! That of several copies of a request one is carried out, and none after its user has the answer.
//!
//! As views change, a request may have been sent to one nest, and again to another. Each decides by
//! what it knows, and neither knows of the other: a stop that is late would end the bird that somebody
//! started since. So whoever may not be the first with a copy claims it from the asker before he
//! decides; the asker grants it if it is open, and from then on takes no other nest's answer. A first
//! copy, straight from the asker and decided as it comes, needs no claim: that is nearly all of them.

use super::Nest;
use super::served::Stage;
use crate::bugs::{Bug, planted};
use crate::wire::{Claimed, Claims, Frame};
use crate::{BirdName, NestId};

/// Whether a request may be decided here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Claim {
    /// It is the first copy, and just came.
    Unneeded,
    /// The asker must be asked.
    Due,
    /// The asker was asked.
    Made,
}

impl Nest {
    /// Decides a request now, or when the asker has granted it.
    pub(super) fn decide_if_granted(&mut self, name: &BirdName, hash: u64, key: (NestId, u64)) {
        if key.0 == self.id {
            let id = self.id;
            return match self.open_ask(key.1) {
                Some(decider) => {
                    *decider = Some(id);
                    self.decide(name, hash, key);
                }
                None => self.forget_request(name, key),
            };
        }
        let Some(served) = self.served.get_mut(&key) else { return };
        match served.claim {
            _ if planted(Bug::UnclaimedCopies) => self.decide(name, hash, key),
            Claim::Unneeded => self.decide(name, hash, key),
            Claim::Due => {
                served.claim = Claim::Made;
                self.claims.entry(key.0).or_default().push(key.1);
            }
            Claim::Made => {}
        }
    }

    /// It can't be decided as it comes: until it can, it may be answered elsewhere.
    pub(super) fn claim_later(&mut self, key: (NestId, u64)) {
        if let Some(served) = self.served.get_mut(&key) {
            served.claim = Claim::Due;
        }
    }

    /// It was sent again: the claim, or what was said to it, may be lost.
    pub(super) fn claim_anew(&mut self, key: (NestId, u64)) {
        if let Some(served) = self.served.get_mut(&key)
            && matches!(served.stage, Stage::New)
        {
            served.claim = Claim::Due;
            self.dirty.insert(served.request.name.clone());
        }
    }

    pub(super) fn send_claims(&mut self) {
        // A number takes nine bytes at most.
        let most = (self.config.request_frame / 9).max(1);
        for (to, ids) in std::mem::take(&mut self.claims) {
            for ids in ids.chunks(most) {
                self.send(to, &Frame::Claims(Claims { ids: ids.to_vec() }));
            }
        }
    }

    pub(super) fn on_claims(&mut self, from: NestId, claims: Claims) {
        let (mut granted, mut closed) = (Vec::new(), Vec::new());
        for id in claims.ids {
            // A late claim, of a former owner: to grant it would be to wait for one that no longer
            // has the request, and to take no other's answer.
            let ask = self.asks.get(id);
            let late = ask.is_some_and(|ask| {
                ask.to != Some(from) && ask.decider.is_some_and(|decider| decider != from)
            });
            match self.open_ask(id) {
                Some(_) if late => {}
                Some(decider) => {
                    *decider = Some(from);
                    granted.push(id);
                }
                None => closed.push(id),
            }
        }
        self.send(from, &Frame::Claimed(Claimed { granted, closed }));
    }

    pub(super) fn on_claimed(&mut self, from: NestId, claimed: Claimed) {
        for id in claimed.granted {
            let key = (from, id);
            let Some(name) = self.claimed_name(key) else { continue };
            let hash = name.hash64();
            if self.owns(hash) && self.may_decide(&name, hash) {
                self.decide(&name, hash, key);
                self.dirty.insert_at(hash, name);
            } else {
                // Used at once, or not at all: it may be another's by the time that it can be.
                self.claim_later(key);
            }
        }
        for id in claimed.closed {
            let key = (from, id);
            if let Some(name) = self.claimed_name(key) {
                self.forget_request(&name, key);
            }
        }
    }

    fn claimed_name(&self, key: (NestId, u64)) -> Option<BirdName> {
        let served = self.served.get(&key)?;
        let waits = matches!(served.stage, Stage::New) && served.claim == Claim::Made;
        waits.then(|| served.request.name.clone())
    }

    /// Of a request without an answer: who decides.
    fn open_ask(&mut self, id: u64) -> Option<&mut Option<NestId>> {
        let ask = self.asks.get_mut(id).filter(|ask| ask.pending.is_none());
        ask.map(|ask| &mut ask.decider)
    }
}
