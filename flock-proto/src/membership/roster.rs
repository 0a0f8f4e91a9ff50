//! Cards: what each nest says of itself. A small CRDT in which only the nest itself writes its
//! entry, and the later version wins.

use std::collections::BTreeMap;

use crate::wire::Card;
use crate::{NestId, NestName};

/// The last card known of each nest's name. "Down" is derived from SWIM and never written.
#[derive(Debug, Default)]
pub(crate) struct Roster {
    cards: BTreeMap<NestName, Card>,
    /// Changed since the last [`Roster::take_news`], and so to be passed on.
    news: BTreeMap<NestName, ()>,
}

impl Roster {
    /// Takes a card; true if it was new.
    pub(crate) fn put(&mut self, card: Card) -> bool {
        let age = |card: &Card| (card.id, card.version);
        if self.cards.get(&card.name).is_some_and(|known| age(known) >= age(&card)) {
            return false;
        }
        self.news.insert(card.name.clone(), ());
        self.cards.insert(card.name.clone(), card);
        true
    }

    /// The card of this incarnation, if it is the latest of its name.
    pub(crate) fn card(&self, id: NestId) -> Option<&Card> {
        self.cards.values().find(|card| card.id == id)
    }

    /// The latest card of this name.
    pub(crate) fn named(&self, name: &NestName) -> Option<&Card> {
        self.cards.get(name)
    }

    /// All cards, by name.
    pub(crate) fn cards(&self) -> impl Iterator<Item = &Card> {
        self.cards.values()
    }

    /// The cards that changed since the last time.
    pub(crate) fn take_news(&mut self) -> Vec<Card> {
        let names = std::mem::take(&mut self.news);
        names.keys().filter_map(|name| self.cards.get(name).cloned()).collect()
    }

    pub(crate) fn has_news(&self) -> bool {
        !self.news.is_empty()
    }

    /// Takes a card back that nothing came of: an incarnation that was renewed before it was known.
    pub(crate) fn forget(&mut self, name: &NestName) {
        self.cards.remove(name);
        self.news.remove(name);
    }
}
