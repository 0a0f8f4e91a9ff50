//! Cards: what each nest says of itself. A small CRDT in which only the nest itself writes its
//! entry, and the later version wins.

use std::collections::BTreeMap;

use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::bugs::{Bug, planted};
use crate::wire::Card;
use crate::{NestId, NestName};

/// The last card known of each nest's name. "Down" is derived from SWIM and never written.
#[derive(Debug, Default)]
pub(crate) struct Roster {
    cards: BTreeMap<NestName, Card>,
    /// The names of those incarnations.
    names: BTreeMap<NestId, NestName>,
    /// Changed since the last [`Roster::take_news`], and so to be passed on.
    news: BTreeMap<NestName, ()>,
    /// Of all cards, whatever their order.
    digest: u64,
}

/// A later version of a card has another one.
fn digest(card: &Card) -> u64 {
    xxh3_64_with_seed(&card.id.0.to_le_bytes(), card.version)
}

impl Roster {
    /// Takes a card; true if it was new. Of two nests that drew one number the first one has it:
    /// the other must draw again.
    pub(crate) fn put(&mut self, card: Card) -> bool {
        let age = |card: &Card| {
            let older = planted(Bug::OlderIncarnations);
            (if older { u64::MAX - card.id.0 } else { card.id.0 }, card.version)
        };
        let known = self.cards.get(&card.name);
        if known.is_some_and(|known| age(known) >= age(&card)) || self.is_taken(&card) {
            return false;
        }
        if let Some(known) = known {
            self.digest ^= digest(known);
            self.names.remove(&known.id);
        }
        self.digest ^= digest(&card);
        self.names.insert(card.id, card.name.clone());
        self.news.insert(card.name.clone(), ());
        self.cards.insert(card.name.clone(), card);
        true
    }

    fn is_taken(&self, card: &Card) -> bool {
        self.names.get(&card.id).is_some_and(|name| *name != card.name)
    }

    /// The card of this incarnation, if it is the latest of its name.
    pub(crate) fn card(&self, id: NestId) -> Option<&Card> {
        self.cards.get(self.names.get(&id)?)
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

    /// The card of this name, if it is news.
    pub(crate) fn take_news_of(&mut self, name: &NestName) -> Option<Card> {
        self.news.remove(name)?;
        self.cards.get(name).cloned()
    }

    /// The same for two nests that hold the same cards.
    pub(crate) const fn digest(&self) -> u64 {
        self.digest
    }

    /// Takes a card back that nothing came of: an incarnation that was renewed before it was known.
    pub(crate) fn forget(&mut self, name: &NestName) {
        if let Some(card) = self.cards.remove(name) {
            self.digest ^= digest(&card);
            self.names.remove(&card.id);
        }
        self.news.remove(name);
    }
}
