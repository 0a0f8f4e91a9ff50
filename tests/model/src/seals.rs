//! Seals, and who is settled: rules 1, 2 and 4.

use crate::register::Ops;
use crate::rules::Rule;
use crate::state::{Ended, Frame, Id, Kept, NAMES, Seal, View};
use crate::step::Step;

impl Step<'_> {
    /// Rule 1: "this is what I know, and this is what I have of the names that are yours now".
    pub(crate) fn send_seal(&mut self, me: Id, to: Id) {
        if to == me || !self.seals(me) {
            return;
        }
        let nest = self.nest(me);
        let fits = nest.seals[to].is_some_and(|kept| kept.seal.view == nest.view);
        let seal = Seal {
            view: nest.view,
            entered: nest.entered,
            wanted: !fits && self.follows(Rule::AskForSeals),
            known: nest.known,
            missing: nest.missing,
            listing: self.listing_for(me, to),
        };
        self.send(me, to, Frame::Seal(seal));
    }

    /// A seal comes. The last one of each nest is kept, also one for a view that isn't reached yet.
    pub(crate) fn on_seal(&mut self, me: Id, from: Id, mut seal: Seal) {
        let fits = seal.view == self.nest(me).view;
        if !fits && !self.follows(Rule::KeepSeals) {
            return;
        }
        let wanted = std::mem::take(&mut seal.wanted);
        let keep = self.follows(Rule::SealsKeepStates);
        let nest = self.nest_mut(me);
        nest.seals[from] = Some(Kept { seal, readied: false });
        // It says what is listed, and what must be known before that counts; of states it says nothing.
        nest.early_ends
            .retain(|(by, ended)| usize::from(*by) != from || (keep && ended.left.is_some()));
        if fits {
            self.apply_seal(me, from);
            if wanted {
                self.send_seal(me, from);
            }
        }
    }

    /// Takes what a seal for our view lists instead of what its author listed before.
    pub(crate) fn apply_seal(&mut self, me: Id, from: Id) {
        let Some(Kept { seal, .. }) = self.nest(me).seals[from] else { return };
        self.miss_too(me, seal.missing);
        let behind = self.lacks(me, seal.known);
        for name in 0..NAMES {
            let (before, now) = (self.here(me, name).listed[from], seal.listing[name]);
            match (before, now) {
                (_, Some(life)) => {
                    let taken = self.was_accepted(me, name, from, life.fence);
                    if self.owns(me, name) && !taken {
                        self.here_mut(me, name).listed[from] = Some(life);
                    }
                }
                // What became of it may not be known here yet: as with an end that comes too early.
                (Some(life), None) if behind && self.follows(Rule::EndsInOrder) => {
                    let after = self.world.register.of(seal.known, from);
                    let ended = Ended { name: name as u8, life, after, left: None };
                    self.nest_mut(me).early_ends.push((from as u8, ended));
                }
                (Some(_), None) => self.unlist(me, name, from),
                (None, None) => {}
            }
        }
    }

    fn lacks(&self, me: Id, ops: Ops) -> bool {
        ops & !self.nest(me).known != 0
    }

    /// Whether this nest's seal for the view is missing, or requires what isn't known here.
    fn is_waited_for(&self, me: Id, id: Id) -> bool {
        let nest = self.nest(me);
        nest.seals[id].is_none_or(|Kept { seal, .. }| {
            (seal.view != nest.view && self.follows(Rule::SealsNameViews))
                || (self.lacks(me, seal.known) && self.follows(Rule::CoverSeals))
        })
    }

    /// Those that are new in the view and have sealed it aren't waited for, in later views either.
    pub(crate) fn drop_sealed_newcomers(&mut self, me: Id) {
        for id in self.nest(me).newcomers.iter() {
            if !self.is_waited_for(me, id) {
                self.nest_mut(me).newcomers.remove(id);
            }
        }
    }

    /// Rule 2: a nest is settled once it has the seals of all others for its own view, and knows what they know.
    pub(crate) fn check_settled(&mut self, me: Id) {
        self.drop_covered(me);
        self.drop_sealed_newcomers(me);
        let nest = self.nest(me);
        if nest.gained != 0 && nest.newcomers.is_empty() {
            let mut others = nest.view.others(me).iter();
            if others.all(|id| !self.is_waited_for(me, id)) {
                self.nest_mut(me).gained = 0;
            }
        }
        let nest = self.nest(me);
        if nest.gained == 0 && nest.newcomers.is_empty() {
            self.tell_ready(me);
        }
    }

    /// What is known stays known.
    fn drop_covered(&mut self, me: Id) {
        let nest = self.nest(me);
        let covered = |kept: &Kept| kept.seal.known != 0 && kept.seal.known & !nest.known == 0;
        if nest.seals.iter().flatten().any(covered) {
            let nest = self.nest_mut(me);
            for kept in nest.seals.iter_mut().flatten() {
                if kept.seal.known & !nest.known == 0 {
                    kept.seal.known = 0;
                }
            }
        }
    }

    /// Whether this nest may decide about a name.
    pub(crate) fn is_settled(&self, me: Id, name: usize) -> bool {
        let nest = self.nest(me);
        nest.newcomers.is_empty() && nest.gained >> name & 1 == 0 && nest.awaited >> name & 1 == 0
    }

    /// Rule 4: a settled nest tells those who listed for it to let go.
    fn tell_ready(&mut self, me: Id) {
        let view = self.nest(me).view;
        for id in view.others(me).iter() {
            let due = self.nest(me).seals[id].filter(|Kept { seal, readied }| {
                let covered = seal.known == 0 || !self.follows(Rule::CoverSeals);
                seal.view == view && !readied && covered && seal.listing.iter().any(Option::is_some)
            });
            if let Some(mut kept) = due {
                kept.readied = true;
                self.nest_mut(me).seals[id] = Some(kept);
                self.send(me, id, Frame::Ready { view, entered: kept.seal.entered });
            }
        }
    }

    /// Another nest is ready. It counts if it answers a seal of the view that this nest is in since.
    pub(crate) fn on_ready(&mut self, me: Id, from: Id, view: View, entered: u8) {
        if entered == self.nest(me).entered || !self.follows(Rule::FreshReady) {
            self.nest_mut(me).ready[from] = view;
        }
    }
}
