//! What a state of the model is made of.
//!
//! All is small and plain: millions of states are kept, compared and hashed. What the rules leave alone is
//! shared between states (`Rc`).

use std::cell::OnceCell;
use std::hash::{Hash, Hasher};
use std::ops::Deref;
use std::rc::Rc;

use crate::mix::Mix;
use crate::register::{Ops, Register};

/// So many nests at most.
pub(crate) const NESTS: usize = 4;
/// So many names at most.
pub(crate) const NAMES: usize = 2;
/// So many requests at most.
pub(crate) const REQUESTS: usize = 3;

/// A nest, by its number.
pub(crate) type Id = usize;
/// A name, by its number.
pub(crate) type Name = usize;
/// A bird's birth: the number of the operation that started it.
pub(crate) type Birth = u8;

/// A set of nests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Set(pub u8);

impl Set {
    /// Whether this nest is in it.
    pub(crate) const fn has(self, id: Id) -> bool {
        self.0 >> id & 1 == 1
    }

    /// With this nest.
    pub(crate) const fn insert(&mut self, id: Id) {
        self.0 |= 1 << id;
    }

    /// Without this nest.
    pub(crate) const fn remove(&mut self, id: Id) {
        self.0 &= !(1 << id);
    }

    /// Whether there is nobody in it.
    pub(crate) const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// All in it, in order.
    pub(crate) fn iter(self) -> impl Iterator<Item = Id> {
        (0..NESTS).filter(move |&id| self.has(id))
    }
}

impl FromIterator<Id> for Set {
    fn from_iter<I: IntoIterator<Item = Id>>(ids: I) -> Self {
        ids.into_iter().fold(Self(0), |mut set, id| {
            set.insert(id);
            set
        })
    }
}

/// What a nest's card says of it. Only the nest itself writes it, and it only ever advances.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Card {
    /// Nobody has heard of it.
    #[default]
    Unknown,
    /// It is not in the ring yet.
    Joining,
    /// It is in the ring.
    Up,
    /// It is out of the ring, and hands over.
    Leaving,
    /// It is gone in good order.
    Left,
}

/// The members of a ring and who of them is leaving, as a number: it is its own fingerprint.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct View(pub u8);

impl View {
    /// With this nest in it, if its card puts it there.
    pub(crate) const fn with(self, id: Id, card: Card) -> Self {
        match card {
            Card::Up => Self(self.0 | 1 << (2 * id)),
            Card::Leaving => Self(self.0 | 2 << (2 * id)),
            _ => self,
        }
    }

    /// Whether it has this nest.
    pub(crate) const fn has(self, id: Id) -> bool {
        self.0 >> (2 * id) & 3 != 0
    }

    /// Whether this nest is in the ring.
    pub(crate) const fn is_up(self, id: Id) -> bool {
        self.0 >> (2 * id) & 3 == 1
    }

    /// All that it has.
    pub(crate) fn members(self) -> Set {
        (0..NESTS).filter(|&id| self.has(id)).collect()
    }

    /// All that it has but this one.
    pub(crate) fn others(self, me: Id) -> Set {
        let mut others = self.members();
        others.remove(me);
        others
    }

    /// All that are in the ring.
    pub(crate) fn ups(self) -> Set {
        (0..NESTS).filter(|&id| self.is_up(id)).collect()
    }

    /// Whose a name is. Two orders stand for the ring: a change moves one name and not the other.
    pub(crate) fn owner(self, name: Name) -> Option<Id> {
        const ORDERS: [[Id; NESTS]; NAMES] = [[0, 1, 2, 3], [1, 2, 0, 3]];
        ORDERS[name].into_iter().find(|&id| self.is_up(id))
    }
}

/// A life, as seals, departs and ends name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Life {
    /// Its bird.
    pub(crate) birth: Birth,
    /// Its fence. Two nests that haven't heard of each other may give the same one.
    pub(crate) fence: u8,
}

/// Lives, each by its nest and its fence.
pub(crate) type Lives = u64;

/// The state that a life left, with what it is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Snapshot {
    /// The life, as one of [`Lives`].
    pub(crate) life: Lives,
    /// Lives whose states are in it.
    pub(crate) past: Lives,
    /// What it remembers: one bit for each thing that a bird was told.
    pub(crate) memory: u8,
}

/// What a bird carries from nest to nest.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Carried {
    /// To go on from.
    pub(crate) snapshot: Option<Snapshot>,
    /// To be merged into that.
    pub(crate) others: Vec<Snapshot>,
}

impl Carried {
    /// All of it.
    pub(crate) fn into_all(self) -> impl Iterator<Item = Snapshot> {
        self.snapshot.into_iter().chain(self.others)
    }
}

/// How far a life is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Phase {
    /// It serves.
    Running,
    /// It was told to end.
    Ending,
    /// It was told to go out of service, for another nest.
    Departing,
}

/// A life on a nest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Bird {
    /// Which it is.
    pub(crate) life: Life,
    /// How far it is.
    pub(crate) phase: Phase,
    /// Lives whose states are in its own.
    pub(crate) past: Lives,
    /// What it remembers.
    pub(crate) memory: u8,
    /// Its bird was stopped, or ended: whoever has the name since is another.
    pub(crate) ends_here: bool,
}

/// What is left of a life that ended here to go on elsewhere.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Snap {
    /// The life.
    pub(crate) life: Life,
    /// Its state.
    pub(crate) carried: Carried,
    /// To whom it was offered, without an answer yet.
    pub(crate) sent_to: Option<u8>,
}

/// A bird that another nest hands over, and that isn't taken yet.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Offer {
    /// Who hands it over.
    pub(crate) from: u8,
    /// The life that it was.
    pub(crate) life: Life,
    /// Its state.
    pub(crate) carried: Carried,
}

/// A life that ended here because another goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Lost {
    /// The life.
    pub(crate) life: Life,
    /// Its state.
    pub(crate) left: Option<Snapshot>,
}

/// What a nest has of one name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Here {
    /// The life that runs here.
    pub(crate) bird: Option<Bird>,
    /// What is to go on elsewhere.
    pub(crate) snap: Option<Snap>,
    /// What others hand over.
    pub(crate) offers: Vec<Offer>,
    /// What each other nest has listed, and hasn't followed up.
    pub(crate) listed: [Option<Life>; NESTS],
    /// States that no life has taken in yet.
    pub(crate) leftovers: Vec<Snapshot>,
    /// Offers that were taken: by whom and which.
    pub(crate) accepted: Lives,
    /// The last life that ended here because another goes on.
    pub(crate) lost: Option<Lost>,
}

/// A seal, as it is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Seal {
    /// The view that it seals.
    pub(crate) view: View,
    /// When its author entered that view, on the author's own count. A `Ready` repeats it.
    pub(crate) entered: u8,
    /// Whether the receiver's own is wanted.
    pub(crate) wanted: bool,
    /// What its author knows; nothing, once the receiver knows all of that.
    pub(crate) known: Ops,
    /// Whom its author has lost sight of, and waits for.
    pub(crate) missing: Set,
    /// What its author has of the receiver's names.
    pub(crate) listing: [Option<Life>; NAMES],
}

/// The last seal of a nest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Kept {
    /// The seal.
    pub(crate) seal: Seal,
    /// It was answered with a `Ready`.
    pub(crate) readied: bool,
}

/// The news that a life that was listed, or ought to be, is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Ended {
    /// Whose.
    pub(crate) name: u8,
    /// Which.
    pub(crate) life: Life,
    /// It counts once these are known.
    pub(crate) after: Ops,
    /// What the life left for the one that goes on.
    pub(crate) left: Option<Snapshot>,
}

/// What came of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Outcome {
    /// The bird was started.
    Started,
    /// There was one already.
    AlreadyExists,
    /// The bird was stopped.
    Stopped,
    /// There was none.
    NoSuchBird,
}

/// How far a request is at the nest that serves it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Stage {
    /// Not decided.
    New,
    /// By this operation a bird of this birth is to hatch.
    Hatching(u8, Birth),
    /// By this operation, or that of an earlier owner, lives are to end.
    Ending(Option<u8>),
    /// Done; another nest is to hold the operation.
    Holding(u8, Outcome),
}

/// Whether a copy of a request may be decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Claim {
    /// It is the first copy and just came.
    Unneeded,
    /// The asker must be asked.
    Due,
    /// The asker was asked.
    Made,
}

/// A request at the nest that serves it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Served {
    /// How often it was passed on.
    pub(crate) hops: u8,
    /// It is not the first copy.
    pub(crate) again: bool,
    /// Whether it may be decided.
    pub(crate) claim: Claim,
    /// How far it is.
    pub(crate) stage: Stage,
}

/// What a nest says that holds a joiner in its view.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Held {
    /// Whom it holds for up.
    pub(crate) ups: Set,
    /// What it knows.
    pub(crate) known: Ops,
}

/// One nest.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Nest {
    /// It crashed.
    pub(crate) dead: bool,
    /// What it knows of each nest's card, its own among them.
    pub(crate) cards: [Card; NESTS],
    /// Whom it holds for alive, as far as it has their cards.
    pub(crate) alive: Set,
    /// Its view, with the ring over it.
    pub(crate) view: View,
    /// While it joins: what each said who holds it in its view.
    pub(crate) held: [Option<Held>; NESTS],
    /// Names of arcs that it gained and isn't settled in (a bit each).
    pub(crate) gained: u8,
    /// Nests that are new in the view and haven't sealed it.
    pub(crate) newcomers: Set,
    /// How often it entered a ring.
    pub(crate) entered: u8,
    /// The last seal of each.
    pub(crate) seals: [Option<Kept>; NESTS],
    /// For which view each is ready to take over.
    pub(crate) ready: [View; NESTS],
    /// Operations that it knows.
    pub(crate) known: Ops,
    /// Ends that came before what they follow, with whom they are from.
    pub(crate) early_ends: Vec<(u8, Ended)>,
    /// What it has of each name.
    pub(crate) names: [Here; NAMES],
    /// Requests that it serves.
    pub(crate) served: [Option<Served>; REQUESTS],
    /// What it answered.
    pub(crate) answered: [Option<(Outcome, Option<u8>)>; REQUESTS],
    /// Too few nests are there, and its birds are out of service.
    pub(crate) stopped: bool,
    /// Nests that it lost sight of, and that may not have stopped their birds yet.
    pub(crate) missing: Set,
    /// Names that were those nests' (a bit each).
    pub(crate) awaited: u8,
}

impl Nest {
    /// What its own card says.
    pub(crate) const fn card(&self, me: Id) -> Card {
        self.cards[me]
    }
}

/// A nest as states share it, with its hash, once that was asked for.
#[derive(Clone, Debug, Default)]
pub(crate) struct Shared {
    nest: Nest,
    hash: OnceCell<u64>,
}

impl Shared {
    /// To be changed.
    pub(crate) fn change(&mut self) -> &mut Nest {
        self.hash.take();
        &mut self.nest
    }
}

impl From<Nest> for Shared {
    fn from(nest: Nest) -> Self {
        Self { nest, hash: OnceCell::new() }
    }
}

impl Deref for Shared {
    type Target = Nest;

    fn deref(&self) -> &Nest {
        &self.nest
    }
}

impl Hash for Shared {
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        hasher.write_u64(*self.hash.get_or_init(|| Mix::of(&self.nest)));
    }
}

/// What one nest sends another.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "each is described where it is handled")]
pub(crate) enum Frame {
    Seal(Seal),
    Ready { view: View, entered: u8 },
    Depart { name: u8, life: Life, carried: Carried },
    Hatched { name: u8, life: Life },
    Refused { name: u8, life: Life, view: View },
    Gone { name: u8, life: Life },
    Ended(Ended),
    Request { request: u8, hops: u8, again: bool },
    Response { request: u8, outcome: Outcome, op: Option<u8>, ops: Ops },
    Claim { request: u8 },
    Claimed { request: u8, granted: bool },
}

/// A request, as its asker sees it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Ask {
    /// It was asked.
    pub(crate) asked: bool,
    /// To whom it was sent.
    pub(crate) to: Option<u8>,
    /// It was sent before.
    pub(crate) again: bool,
    /// It was repeated for want of an answer: copies under way are no longer fresh.
    pub(crate) repeated: bool,
    /// Who was granted to decide it.
    pub(crate) decider: Option<u8>,
    /// An answer whose operation isn't known yet, and whose it is.
    pub(crate) pending: Option<(u8, Outcome, u8)>,
    /// The answer.
    pub(crate) answer: Option<(Outcome, Option<u8>)>,
}

/// How far the one cut is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) enum Cut {
    /// The network is whole.
    #[default]
    Not,
    /// It is cut in two.
    Now,
    /// It was, and is whole again.
    Healed,
}

/// What may still happen of what needn't.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Budget {
    /// Nests that join.
    pub joins: u8,
    /// Nests that leave.
    pub leaves: u8,
    /// Nests that crash.
    pub crashes: u8,
    /// Links that break.
    pub breaks: u8,
    /// Nests that are held for dead by another, and aren't.
    pub misjudged: u8,
    /// Birds that end of themselves.
    pub ends: u8,
    /// Requests that are repeated though nothing is lost.
    pub repeats: u8,
    /// Things that birds are told.
    pub told: u8,
}

/// One state of the whole flock, and of what is under way in it.
#[derive(Clone, Debug, Hash)]
pub(crate) struct World {
    /// The nests.
    pub(crate) nests: [Rc<Shared>; NESTS],
    /// All operations ever issued: a nest knows some of them.
    pub(crate) register: Rc<Register>,
    /// Frames under way, by sender and receiver; those of a pair in their order.
    pub(crate) frames: Vec<(u8, u8, Frame)>,
    /// Pairs without a link: for each nest, with whom.
    pub(crate) broken: [Set; NESTS],
    /// A nest came up beside others that it didn't know: two flocks, until they meet.
    pub(crate) apart: bool,
    /// Whether the network is cut.
    pub(crate) cut: Cut,
    /// The last fence given, on each side of the cut.
    pub(crate) fences: [u8; 2],
    /// The requests.
    pub(crate) asks: [Ask; REQUESTS],
    /// What may still happen.
    pub(crate) budget: Budget,
    /// For each nest: who was settled in its view at some moment since it entered that.
    pub(crate) were_ready: [Set; NESTS],
    /// What birds were told, and may be lost by the rules: a crash took it, or its bird was stopped.
    pub(crate) excused: u8,
    /// Of each thing told: to a bird of which birth.
    pub(crate) told: [Birth; 4],
}
