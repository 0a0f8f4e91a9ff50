//! Where calls of a name go, as far as this nest knows.

use super::Nest;
use crate::bugs::{Bug, planted};
use crate::registry::{Grounding, Record};
use crate::{BirdName, Effect, NestId, Route};

impl Nest {
    pub(super) fn on_wanted(&mut self, name: BirdName) {
        if self.wanted.len() < self.config.wanted_cap {
            self.dirty.insert(name.clone());
            self.wanted.insert(name);
        }
    }

    /// Says where calls go that wait for a name, as soon as it can be said.
    pub(super) fn route_name(&mut self, name: &BirdName, hash: u64) {
        let routed = self.routed.get(name).copied();
        if routed.is_none() && !self.wanted.contains(name) {
            return;
        }
        let Some(route) = self.route_of(name, hash) else { return };
        let asked = self.wanted.remove(name);
        match &route {
            Route::To(nest) if routed == Some(*nest) && !asked => return,
            Route::To(nest) if self.owns(hash) => {
                self.routed.insert(name.clone(), *nest);
            }
            _ => {
                self.routed.remove(name);
            }
        }
        self.out.push(Effect::Route { name: name.clone(), route });
    }

    fn route_of(&self, name: &BirdName, hash: u64) -> Option<Route> {
        if self.birds.contains_key(name) {
            return None;
        }
        match self.view.owner(hash) {
            Some(owner) if owner != self.id => return Some(Route::To(owner)),
            Some(_) => {}
            None => return None,
        }
        if self.is_stopped() {
            return Some(Route::NoQuorum);
        }
        // Who listed the bird serves it until it departs.
        let runs =
            |by: &NestId| !self.offers.get(name).is_some_and(|offers| offers.contains_key(by));
        if let Some(by) = self.listed.get(name).and_then(|by| by.keys().copied().find(runs)) {
            return Some(Route::To(by));
        }
        let settled = self.is_settled(hash) || planted(Bug::UnsettledDenial);
        if !settled || self.offers.contains_key(name) || self.snaps.contains_key(name) {
            return None;
        }
        match self.registry.winner(name) {
            None => Some(Route::NoSuchBird),
            Some(Record { grounded: Some(Grounding { reason, .. }), .. }) => {
                Some(Route::Grounded { reason })
            }
            Some(record) if !self.me.species.contains(&record.species) => {
                Some(Route::UnknownSpecies(record.species))
            }
            Some(_) => None,
        }
    }
}
