//! One nest's mind: membership, registry, ownership and requests behind one door.
//!
//! In reading order:
//!
//! - this file: the state, and the door.
//! - `nest/founding.rs`: the state as a nest begins.
//! - `nest/turns.rs`: the round that follows each input, and what is due by the clock.
//! - `nest/frames.rs`: control frames in and out, relaying.
//! - `nest/links.rs`: links, dials, deaths noticed.
//! - `nest/cards.rs`: what nests say of themselves, passed on.
//! - `nest/joining.rs`: the way from `Joining` to `Up`, leaving.
//! - `nest/views.rs`: from members to views.
//! - `nest/balance.rs`: who takes its share of the names, and when; how many birds move at a time.
//! - `nest/quorum.rs`: whether enough nests are there.
//! - `nest/missing.rs`: nests out of sight that may live on.
//! - `nest/seals.rs`: seals, and who is settled.
//! - `nest/replication.rs`: registry operations to and from the others.
//! - `nest/retirement.rs`: how the dead are forgotten, and come back if they weren't.
//! - `nest/birds.rs`: what is to happen with one name; hatching, ending.
//! - `nest/changes.rs`: what changes of its records mean for that.
//! - `nest/ends.rs`: ends of lives, as nests tell each other.
//! - `nest/routes.rs`: where calls of a name go.
//! - `nest/conflicts.rs`: fences, where one life goes on for two.
//! - `nest/moving.rs`: hand-over of birds between nests.
//! - `nest/standby.rs`: copies of birds' states at other nests, should this one die.
//! - `nest/copies.rs`: those of others' birds here.
//! - `nest/serving.rs`: starts, stops and revivals, as their owner.
//! - `nest/served.rs`: those under way.
//! - `nest/claims.rs`: that of several copies of a request one is carried out.
//! - `nest/asking.rs`: the same, as the nest whose user asked.
//! - `nest/dues.rs`: when they are asked anew, or given up.
//! - `nest/rising.rs`: requests by their numbers.
//! - `nest/batches.rs`: how both travel, many to a frame.
//! - `nest/holding.rs`: when an operation is held by two nests.
//! - `nest/looks.rs`: what people may look at.
//! - `nest/forecast.rs`: which birds would move, if something happened.

mod asking;
mod balance;
mod batches;
mod birds;
mod cards;
mod changes;
mod claims;
mod conflicts;
mod copies;
mod dues;
mod ends;
mod forecast;
mod founding;
mod frames;
mod holding;
mod joining;
mod links;
mod looks;
mod missing;
mod moving;
mod quorum;
mod replication;
mod retirement;
mod rising;
mod routes;
mod seals;
mod served;
mod serving;
mod standby;
mod states;
mod turns;
mod views;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use crate::membership::{Roster, Swim};
use crate::name_map::NameMap;
use crate::name_sets::{NameList, NameSet};
use crate::name_table::NameTable;
use crate::nest_map::NestMap;
use crate::registry::Registry;
use crate::ring;
use crate::wire::{Ended, LifeId, Listed, Request, Response, Seal};
use crate::{
    Clock, Config, Dot, Effect, Event, Fingerprint, Hlc, Input, Me, NestId, NestName, NestState,
    ReqId, Rng, Time, View,
};

use asking::Ask;
use balance::Balance;
use batches::{Forward, Lane};
use birds::Bird;
use cards::Owed;
use conflicts::Lost;
use copies::Copies;
use dues::Dues;
pub use forecast::{Forecast, Moves, Plan, Share, WhatIf, WhatIfError};
use joining::{Holder, Leave};
use links::{Death, Link};
pub use looks::{BirdInfo, Counters, Sizes};
use missing::Missing;
use moving::{Offer, Snap};
pub use quorum::Policy;
use quorum::Quorum;
use replication::CatchUp;
use retirement::Retirement;
use rising::Rising;
use seals::Parts;
use served::{AllServed, Keys};
use serving::Asker;
use standby::Standby;
use states::Leftover;
use turns::Timers;

/// The whole mind of one nest.
///
/// Its fields lie in memory as they stand here: what a frame looks at side by side. Where many nests
/// share a processor all of it comes from memory, frame after frame.
#[derive(Debug)]
#[repr(C)]
pub struct Nest {
    // What nearly each frame looks at.
    id: NestId,
    now: Time,
    clock: Clock,
    /// The last stamp that the driver was told.
    shown: Hlc,
    out: Vec<Effect>,
    leave: Option<Box<Leave>>,
    links: NestMap<Link>,
    view: Arc<View>,
    view_at: Time,
    /// Counts changes of `seals` and `newcomers`.
    seal_changes: u64,
    /// View, vector and seals by which it was last looked who is settled.
    checked_by: Option<(Fingerprint, u64, u64)>,
    state: NestState,
    /// Somebody listens to starts.
    audience: bool,
    members_changed: bool,
    links_changed: bool,
    /// Nests whose seal names operations that are not known here, and the digest of the vector by which
    /// that was last seen.
    demanding: BTreeMap<NestId, Option<u64>>,
    /// Nests new in the view that have not sealed it yet.
    newcomers: BTreeSet<NestId>,
    /// Arcs gained and not yet settled.
    gained: Vec<ring::Arc>,
    /// Hashes of arcs that are settled, and whose names are still to be looked at.
    unseen: VecDeque<(u64, u64)>,
    /// Names about which something changed in this round.
    dirty: NameList,
    /// Ends of listed lives that came before the operations behind them.
    early_ends: BTreeMap<NestId, Vec<Ended>>,
    /// Requests of users here that wait for another nest to hold our operation of this number.
    holding: BTreeSet<(u64, ReqId)>,
    pushed: u64,
    lanes: BTreeMap<NestId, Lane>,
    /// What this round has for other nests: requests that belong there, and answers.
    forwards: BTreeMap<Forward, Vec<Request>>,
    /// Requests that this round claims, by their askers.
    claims: BTreeMap<NestId, Vec<u64>>,
    responses: BTreeMap<NestId, Vec<Response>>,
    timers: Timers,
    ask_times: Dues,
    // Boxed: a third of a table's room is empty.
    birds: NameTable<Box<Bird>>,
    snaps: NameMap<Snap>,
    /// Snaps that wait until their new owner, by which they are listed, has taken in what is under way.
    held_back: BTreeMap<NestId, NameSet>,
    leftovers: NameMap<Vec<Leftover>>,
    quorum: Quorum,
    missing: Missing,
    standby: Standby,
    copies: Copies,
    offers: NameMap<BTreeMap<NestId, Offer>>,
    /// Names that calls wait for here.
    wanted: NameSet,
    /// Names that are ours and whose calls were sent to the nest that still runs the bird.
    routed: NameMap<NestId>,
    served_names: NameTable<Keys>,
    /// Lives that ended here because another goes on.
    lost: NameMap<Lost>,
    catch_up: CatchUp,
    retirement: Retirement,
    registry: Registry,
    roster: Roster,
    swim: Swim,
    balance: Balance,

    // Membership.
    me: Me,
    config: Config,
    rng: Rng,
    counters: Counters,
    born: Time,
    first_contact: Option<Time>,
    card_version: u64,
    owed: Owed,
    dialing: BTreeMap<String, Time>,
    /// The nest that was found at an address. A seed may be written otherwise than its nest
    /// advertises itself.
    found_at: BTreeMap<String, NestName>,
    /// Seeds of which it isn't known yet whether a nest is there.
    unheard: BTreeSet<String>,
    /// A nest to which a link leads and of which nothing else was known, when that was last looked at.
    unknown: Option<NestId>,
    /// There was none, and nothing has changed since that could make one.
    all_known: bool,
    /// Whether joiners may form a flock with this one, as it was when last looked at.
    may_form_before: bool,
    /// Members to which there was no link when they were last looked for, in order.
    unlinked: Vec<NestId>,
    deaths: BTreeMap<NestId, Death>,
    /// Who wants to know whether a nest's address is refused.
    probing: BTreeMap<NestId, BTreeSet<NestId>>,
    held: BTreeMap<NestId, Holder>,
    skewed: BTreeSet<NestId>,
    told_alone: Option<Time>,
    /// A nest that keeps this one from coming up, or did when last looked at.
    waits_for: Option<NestId>,

    // What the others have sealed for the view.
    /// When the members were last looked through.
    refreshed_at: Time,
    seals: NestMap<Seal>,
    /// Parts of listings whose seal is still to come.
    parts: BTreeMap<NestId, Parts>,
    seal_seq: u64,
    /// A digest of what each nest knew when it last said so.
    knowledge: NestMap<u64>,
    /// View and seals in which none was missing when last looked for.
    all_sealed: Option<(Fingerprint, u64)>,
    /// A nest without whose seal nothing is settled, as it was when last looked at.
    settles_after: Option<NestId>,
    /// The last seal before this nest entered the view.
    entered: u64,
    /// Nests that were part of a flock already when this one first saw them, and are not in its ring
    /// yet: a partition ends.
    strangers: BTreeSet<NestId>,
    /// The view in which each nest told that it takes over.
    ready: BTreeMap<NestId, Fingerprint>,
    /// The last seal of each nest that was answered with `Ready`.
    readied: BTreeMap<NestId, u64>,

    // The registry.
    /// The last of our operations that each nest is known to hold.
    acked: NestMap<u64>,
    /// The last of our operations sent to each nest since its link opened.
    told: NestMap<u64>,
    ack_turn: u64,

    // Birds.
    listed: NameMap<BTreeMap<NestId, Listed>>,
    accepted: NameMap<Vec<(LifeId, Time)>>,
    /// Fences that lives here had, or were told of, and that are ahead of our clock.
    fences: NameMap<crate::Fence>,
    /// Birds here whose record won a conflict, and until when lives of the loser may turn up.
    contested: NameMap<Time>,
    /// Its incarnation before was forgotten while it lived.
    renewed: bool,
    /// Birds that may depart as soon as the window to their owner has room.
    queue: BTreeMap<NestId, NameSet>,
    in_flight: BTreeMap<NestId, NameSet>,
    /// Names that are ours, as soon as their arc is settled.
    on_hold: NameSet,
    /// Birds, snaps and offers here whose names the view gives to others, by owner: gathered as it is
    /// entered. Nothing is added in between: lives begin, and offers are taken, for own names only.
    away: BTreeMap<NestId, NameSet>,
    /// Names that hatch next because somebody revived them.
    reviving: NameSet,

    // Requests.
    /// Makes the tokens of this nest's requests.
    token_key: u64,
    asks: Rising<Ask>,
    /// Asks whose answer is here, but not the operation behind it.
    answered: BTreeSet<(Dot, ReqId)>,
    served: AllServed,
    askers: BTreeMap<NestId, Asker>,
    /// The last of our operations that some member was asked to confirm.
    confirming: u64,
}

impl Nest {
    /// The one door in. Time may stand still between calls; it never goes back.
    pub fn handle(&mut self, now: Time, input: Input) {
        self.now = self.now.max(now);
        if self.has_left() {
            return;
        }
        match input {
            Input::Many(inputs) => self.take_many(inputs),
            input => {
                self.take(input);
                self.round();
            }
        }
    }

    fn take(&mut self, input: Input) {
        match input {
            Input::Many(inputs) => self.take_many(inputs),
            Input::Frame { from, frame } => self.on_frame(from, &frame),
            Input::LinkOpened { peer, dialled } => self.on_link_opened(peer, dialled),
            Input::LinkClosed { peer } => self.on_link_closed(peer),
            Input::DialFailed { address, refused, why } => {
                self.on_dial_failed(&address, refused, why);
            }
            Input::Outdated { above } => self.on_outdated(above),
            Input::Start { req, name, species, args, or_get, deadline } => {
                self.on_start(req, name, species, args, or_get, deadline);
            }
            Input::Stop { req, name, deadline } => self.on_stop(req, name, deadline),
            Input::Revive { req, name, deadline } => self.on_revive(req, name, deadline),
            Input::Undo { req, start, name, deadline } => {
                self.on_undo(req, start, name, deadline);
            }
            Input::Leave { req } => self.on_leave(req),
            Input::Rebalance { req } => self.on_rebalance(req),
            Input::Weigh { req, weight } => self.on_weigh(req, weight),
            Input::Forget { req, nest } => self.on_give_up(req, &nest),
            Input::Wanted { name } => self.on_wanted(name),
            Input::Hatched { name, fence } => self.on_hatched(name, fence),
            Input::HatchFailed { name, fence, reason } => {
                self.on_hatch_failed(name, fence, reason);
            }
            Input::Ended { name, fence, snapshot } => self.on_ended(name, fence, snapshot),
            Input::Grounded { name, fence, reason, crashes } => {
                self.on_grounded(name, fence, reason, crashes);
            }
            Input::Departed { name, fence, crashes, snapshot } => {
                self.on_departed(name, fence, crashes, snapshot);
            }
            Input::Checkpoint { name, fence, number, snapshot } => {
                self.on_checkpoint_taken(name, fence, number, snapshot);
            }
            // One from too far ahead is not taken over, and not told of: its nest's control frames
            // say the same, and say whose it is.
            Input::Observed { stamp } => drop(self.clock.observe(self.now, stamp)),
            Input::Audience(audience) => self.audience = audience,
            Input::Tick => self.on_tick(),
        }
    }

    /// The one door out. Empty it after every `handle`.
    pub fn drain(&mut self) -> impl Iterator<Item = Effect> + '_ {
        self.out.drain(..)
    }

    /// The same, into a list that is empty. It leaves the list to the nest to be filled next, so that the two
    /// take turns and nothing is copied.
    pub fn drain_into(&mut self, effects: &mut Vec<Effect>) {
        if effects.is_empty() {
            std::mem::swap(&mut self.out, effects);
        } else {
            effects.append(&mut self.out);
        }
    }

    fn tell(&mut self, event: Event) {
        self.out.push(Effect::Tell(event));
    }

    /// Lets the data plane carry the clock, too, wherever it has moved on.
    fn show_stamp(&mut self) {
        let last = self.clock.last();
        if last > self.shown {
            self.shown = last;
            self.out.push(Effect::Stamp(last));
        }
    }

    fn stamp(&mut self) -> Hlc {
        self.clock.tick(self.now)
    }
}
