//! Ends of lives, as nests tell each other: until then others count with them.

use super::Nest;
use crate::bugs::{Bug, planted};
use crate::wire::{Ended, Frame, Listed, Snapshot};
use crate::{BirdName, Dot, Fence, NestId};

impl Nest {
    /// Follows a listing up: whoever owns the name now may go on.
    pub(super) fn tell_ended(
        &mut self,
        name: &BirdName,
        birth: Dot,
        fence: Fence,
        left: Option<Snapshot>,
    ) {
        if let Some(owner) = self.view.owner(name.hash64()).filter(|&owner| owner != self.id)
            && !planted(Bug::UntoldEnds)
        {
            // What became of the bird goes before: else the owner would have to ask for it.
            self.flush();
            let after = self.registry.last_dot().seq;
            let name = name.clone();
            self.send(owner, &Frame::Ended(Ended { name, birth, fence, after, left }));
        }
    }

    /// The same of a life that left these states.
    pub(super) fn tell_left(
        &mut self,
        name: &BirdName,
        birth: Dot,
        fence: Fence,
        left: Vec<Snapshot>,
    ) {
        if left.is_empty() {
            return self.tell_ended(name, birth, fence, None);
        }
        for state in left {
            self.tell_ended(name, birth, fence, Some(state));
        }
    }

    pub(super) fn on_listed_ended(&mut self, from: NestId, ended: Ended) {
        let known = self.registry.covers(Dot { origin: from, seq: ended.after });
        if known || planted(Bug::EarlyEnds) {
            return self.account_for_end(from, &ended);
        }
        self.early_ends.entry(from).or_default().push(ended);
        self.send_status(from, true);
    }

    /// Operations have come: ends that came before them may be accounted for now.
    pub(super) fn finish_early_ends(&mut self) {
        if self.early_ends.is_empty() {
            return;
        }
        for (from, ends) in std::mem::take(&mut self.early_ends) {
            for ended in ends {
                if self.registry.covers(Dot { origin: from, seq: ended.after }) {
                    self.account_for_end(from, &ended);
                } else {
                    self.early_ends.entry(from).or_default().push(ended);
                }
            }
        }
    }

    fn account_for_end(&mut self, from: NestId, ended: &Ended) {
        // A later life of the same bird may be listed by now.
        let is_that = |listed: &Listed| listed.birth == ended.birth && listed.fence <= ended.fence;
        if self.listed.get(&ended.name).and_then(|by| by.get(&from)).is_some_and(is_that) {
            self.unlist(&ended.name, from);
        }
        if let Some(seal) = self.seals.get_mut(from) {
            // The seal may be for a view that we enter later: its listing is outdated, too.
            seal.listing.retain(|listed| listed.name != ended.name || !is_that(listed));
        }
        self.surpass(&ended.name, ended.fence);
        let goes_on =
            self.owns(ended.name.hash64()) && self.registry.winner_birth(&ended.name).is_some();
        if let Some(left) = ended.left.clone().filter(|_| goes_on) {
            self.merge(&ended.name, left);
        }
    }

    /// Names that this nest has listed for us, and that are not accounted for.
    pub(super) fn listed_by(&self, from: NestId) -> Vec<BirdName> {
        let listed = self.listed.iter().filter(|(_, by)| by.contains_key(&from));
        listed.map(|(name, _)| name.clone()).collect()
    }

    /// One nest's listing of a name is accounted for.
    pub(super) fn unlist(&mut self, name: &BirdName, from: NestId) {
        if let Some(by) = self.listed.get_mut(name) {
            let listed = by.remove(&from);
            if by.is_empty() {
                self.listed.remove(name);
            }
            if let Some(listed) = listed {
                self.surpass(name, listed.fence);
            }
        }
        self.dirty.insert(name.clone());
    }
}
