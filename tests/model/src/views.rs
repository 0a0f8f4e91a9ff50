//! From members to views.

use crate::rules::Rule;
use crate::state::{Card, Id, NAMES, NESTS, Set, View};
use crate::step::Step;

impl Step<'_> {
    /// Brings the view up to date. Where several joins are gathered for a while, or not, is left to when a
    /// nest learns of them.
    pub(crate) fn refresh_view(&mut self, me: Id) {
        let nest = self.nest(me);
        let present = (0..NESTS).filter(|&id| id == me || nest.alive.has(id));
        let view = present.fold(View::default(), |view, id| view.with(id, nest.cards[id]));
        if view != nest.view {
            self.enter(me, view);
        }
    }

    /// Enters a view whose ring is new.
    fn enter(&mut self, me: Id, view: View) {
        // What was sealed for the view before counts, also where it wasn't looked at yet.
        self.drop_sealed_newcomers(me);
        let before = self.nest(me).view;
        let gone = Set(before.members().0 & !view.members().0);
        self.note_missing(me, before, gone);
        self.nest_mut(me).view = view;
        for id in gone.iter() {
            self.forget_member(me, id);
        }
        let new = Set(view.others(me).0 & !before.members().0);
        let all_new = self.follows(Rule::NewcomersSeal);
        let nest = self.nest_mut(me);
        for name in 0..NAMES {
            if view.owner(name) == Some(me) && before.owner(name) != Some(me) {
                nest.gained |= 1 << name;
            }
        }
        nest.newcomers = if all_new {
            Set((nest.newcomers.0 | new.0) & view.others(me).0)
        } else {
            Set::default()
        };
        let reunion = !nest.newcomers.is_empty();
        for name in 0..self.config.names {
            if !self.owns(me, name) {
                // What others listed for arcs that are no longer ours is not ours to wait for; and what goes
                // back is listed by whom it goes to, so before the seals.
                self.here_mut(me, name).listed = [None; NESTS];
                self.return_offers(me, name);
            }
        }
        if self.follows(Rule::SealsOnce) {
            // What counted for the view that is left won't again, should the same members make it once more.
            for kept in
                self.nest_mut(me).seals.iter_mut().flatten().filter(|kept| kept.seal.view == before)
            {
                kept.seal.view = View::default();
            }
        }
        let forget = self.follows(Rule::FreshReady);
        let nest = self.nest_mut(me);
        nest.entered += 1;
        self.world.were_ready[me] = Set::default();
        let nest = self.nest_mut(me);
        if forget {
            nest.ready = [View::default(); NESTS];
        }
        if self.follows(Rule::SealViews) {
            for id in view.others(me).iter() {
                self.send_seal(me, id);
            }
        }
        for id in view.others(me).iter() {
            if self.nest(me).seals[id].is_some_and(|kept| kept.seal.view == view) {
                self.apply_seal(me, id);
            }
        }
        if reunion {
            self.tell_lost(me, None);
        }
        self.resend_asks_to_new_owners(me);
    }

    /// Forgets what a nest that is gone has sealed, listed and promised. What it sent for good stays.
    pub(crate) fn forget_member(&mut self, me: Id, gone: Id) {
        let nest = self.nest_mut(me);
        nest.seals[gone] = None;
        nest.ready[gone] = View::default();
        nest.newcomers.remove(gone);
        nest.early_ends.retain(|(from, _)| usize::from(*from) != gone);
        for here in &mut nest.names {
            here.listed[gone] = None;
        }
        if self.follows(Rule::FreeSnaps) {
            for here in &mut self.nest_mut(me).names {
                if let Some(snap) =
                    here.snap.as_mut().filter(|snap| snap.sent_to == Some(gone as u8))
                {
                    snap.sent_to = None;
                }
            }
        }
    }

    /// Whether this nest, being up or leaving, seals at all.
    pub(crate) fn seals(&self, me: Id) -> bool {
        self.nest(me).card(me) > Card::Joining
    }
}
