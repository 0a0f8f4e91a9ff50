//! Cards: what each nest says of itself. A small CRDT in which only the nest itself writes its
//! entry, and the later version wins.

use std::collections::{BTreeMap, BTreeSet};

use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::bugs::{Bug, planted};
use crate::nest_map::NestMap;
use crate::wire::Card;
use crate::{NestId, NestName};

/// The last card known of each nest's name. "Down" is derived from SWIM and never written.
#[derive(Debug, Default)]
pub(crate) struct Roster {
    cards: NestMap<Card>,
    /// The last incarnation of each name.
    ids: BTreeMap<NestName, NestId>,
    /// Changed since the last [`Roster::take_news`], and so to be passed on.
    news: BTreeSet<NestId>,
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
    pub(crate) fn put(&mut self, mut card: Card) -> bool {
        let age = |card: &Card| {
            let older = planted(Bug::OlderIncarnations);
            (if older { u64::MAX - card.id.0 } else { card.id.0 }, card.version)
        };
        // The same incarnation, mostly: found without comparing names. And mostly no later card of it.
        let same = self.cards.get(card.id);
        if same.is_some_and(|known| known.version >= card.version) {
            return false;
        }
        if same.is_some_and(|known| known.name != card.name) {
            return false;
        }
        let known = same.or_else(|| self.named(&card.name));
        if known.is_some_and(|known| age(known) >= age(&card)) {
            return false;
        }
        if let Some(known) = known {
            let (id, was) = (known.id, digest(known));
            self.digest ^= was;
            if id != card.id {
                self.cards.remove(id);
            }
            self.news.remove(&id);
        }
        if let Some(same) = self.cards.get(card.id) {
            // The texts that views hold, too: what is the same is seen without a look at it.
            card.name = same.name.clone();
            if card.address == same.address {
                card.address = same.address.clone();
            }
        }
        self.digest ^= digest(&card);
        self.ids.insert(card.name.clone(), card.id);
        self.news.insert(card.id);
        self.cards.insert(card.id, card);
        true
    }

    /// The card of this incarnation, if it is the latest of its name.
    pub(crate) fn card(&self, id: NestId) -> Option<&Card> {
        self.cards.get(id)
    }

    /// The latest card of this name.
    pub(crate) fn named(&self, name: &NestName) -> Option<&Card> {
        self.cards.get(*self.ids.get(name)?)
    }

    /// The incarnations of all cards, in order.
    pub(crate) fn ids(&self) -> impl Iterator<Item = NestId> + '_ {
        self.cards.ids()
    }

    /// The same with the cards.
    pub(crate) fn entries(&self) -> impl Iterator<Item = (NestId, &Card)> + '_ {
        self.cards.iter()
    }

    /// All cards, by incarnation.
    pub(crate) fn cards(&self) -> impl Iterator<Item = &Card> {
        self.cards.values()
    }

    /// The cards that changed since the last time.
    pub(crate) fn take_news(&mut self) -> Vec<Card> {
        let news = std::mem::take(&mut self.news);
        news.iter().filter_map(|id| self.cards.get(*id).cloned()).collect()
    }

    pub(crate) fn has_news(&self) -> bool {
        !self.news.is_empty()
    }

    /// The card of this incarnation, if it is news.
    pub(crate) fn take_news_of(&mut self, id: NestId) -> Option<Card> {
        self.news.take(&id)?;
        self.cards.get(id).cloned()
    }

    /// The same for two nests that hold the same cards.
    pub(crate) const fn digest(&self) -> u64 {
        self.digest
    }

    /// Takes a card back that nothing came of: an incarnation that was renewed before it was known.
    pub(crate) fn forget(&mut self, name: &NestName) {
        if let Some(&id) = self.ids.get(name) {
            self.remove(id);
        }
    }

    /// Of nests that are no part of the flock any more, keeps the cards of the last few: they may come
    /// back, and it takes their addresses to look for them. Those that left won't.
    pub(crate) fn forget_lost(&mut self, keep: usize, is_lost: impl Fn(NestId) -> bool) {
        let lost = self.cards.values().filter(|card| is_lost(card.id));
        let (left, lost): (Vec<_>, Vec<_>) = lost.partition(|card| card.left);
        let too_many = lost.len().saturating_sub(keep);
        let over = left.iter().chain(lost.iter().take(too_many)).map(|card| card.id);
        for id in over.collect::<Vec<_>>() {
            self.remove(id);
        }
    }

    fn remove(&mut self, id: NestId) {
        let Some(card) = self.cards.remove(id) else { return };
        self.digest ^= digest(&card);
        self.ids.remove(&card.name);
        self.news.remove(&id);
    }
}
