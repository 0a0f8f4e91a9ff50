//! A nest as it begins.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use super::Nest;
use super::balance::Balance;
use super::cards::Owed;
use super::copies::Copies;
use super::dues::Dues;
use super::looks::Counters;
use super::missing::Missing;
use super::quorum::Quorum;
use super::replication::CatchUp;
use super::retirement::Retirement;
use super::rising::Rising;
use super::served::AllServed;
use super::standby::Standby;
use super::turns::Timers;
use crate::membership::{Roster, Swim};
use crate::name_map::NameMap;
use crate::name_sets::{NameList, NameSet};
use crate::name_table::NameTable;
use crate::nest_map::NestMap;
use crate::registry::Registry;
use crate::{Clock, Config, Hlc, Me, NestId, NestState, Rng, Time, View};

impl Nest {
    /// A nest that starts now. The same seed and the same inputs give the same effects.
    pub fn new(me: Me, config: Config, seed: u64, now: Time) -> Self {
        let mut rng = Rng::new(seed);
        let id = incarnation(&mut rng, now);
        let swim = Swim::new(id, me.name.clone(), config.swim, rng.next_u64());
        let mut nest = Self {
            clock: Clock::new(config.max_clock_skew),
            registry: Registry::new(id, config.registry),
            id,
            now,
            shown: Hlc(0),
            out: Vec::new(),
            audience: true,
            counters: Counters::default(),
            state: NestState::Joining,
            born: now,
            first_contact: None,
            card_version: 0,
            swim,
            balance: Balance::new(me.weight, &config),
            roster: Roster::default(),
            owed: Owed::default(),
            links: NestMap::new(),
            dialing: BTreeMap::new(),
            found_at: BTreeMap::new(),
            unheard: BTreeSet::new(),
            unknown: None,
            all_known: false,
            may_form_before: false,
            unlinked: Vec::new(),
            deaths: BTreeMap::new(),
            probing: BTreeMap::new(),
            held: BTreeMap::new(),
            skewed: BTreeSet::new(),
            leave: None,
            told_alone: None,
            waits_for: None,
            view: Arc::new(View::new(id, Vec::new())),
            members_changed: true,
            links_changed: false,
            view_at: Time::NEVER,
            refreshed_at: Time::default(),
            seals: NestMap::new(),
            demanding: BTreeMap::new(),
            seal_seq: 0,
            knowledge: NestMap::new(),
            seal_changes: 0,
            all_sealed: None,
            checked_by: None,
            settles_after: None,
            entered: 0,
            gained: Vec::new(),
            unseen: VecDeque::new(),
            newcomers: BTreeSet::new(),
            strangers: BTreeSet::new(),
            ready: BTreeMap::new(),
            readied: BTreeMap::new(),
            catch_up: CatchUp::default(),
            retirement: Retirement::default(),
            pushed: 0,
            acked: NestMap::new(),
            told: NestMap::new(),
            ack_turn: 0,
            birds: NameTable::new(),
            snaps: NameMap::new(),
            held_back: BTreeMap::new(),
            leftovers: NameMap::new(),
            quorum: Quorum::default(),
            missing: Missing::default(),
            standby: Standby::default(),
            copies: Copies::default(),
            offers: NameMap::new(),
            listed: NameMap::new(),
            accepted: NameMap::new(),
            early_ends: BTreeMap::new(),
            parts: BTreeMap::new(),
            fences: NameMap::new(),
            contested: NameMap::new(),
            lost: NameMap::new(),
            renewed: false,
            queue: BTreeMap::new(),
            in_flight: BTreeMap::new(),
            wanted: NameSet::new(),
            routed: NameMap::new(),
            on_hold: NameSet::new(),
            away: BTreeMap::new(),
            dirty: NameList::new(),
            token_key: rng.next_u64(),
            asks: Rising::default(),
            ask_times: Dues::default(),
            answered: BTreeSet::new(),
            lanes: BTreeMap::new(),
            served: AllServed::new(id),
            served_names: NameTable::new(),
            claims: BTreeMap::new(),
            askers: BTreeMap::new(),
            holding: BTreeSet::new(),
            confirming: 0,
            forwards: BTreeMap::new(),
            responses: BTreeMap::new(),
            reviving: NameSet::new(),
            timers: Timers {
                redial: now + config.redial_every,
                heartbeat: now + config.heartbeat_every,
                news: Time::NEVER,
                owed: Time::NEVER,
                refresh: Time::NEVER,
                sync: now + config.sync_every,
                flush: Time::NEVER,
                ack: Time::NEVER,
                death: Time::NEVER,
                join: now,
            },
            me,
            config,
            rng,
        };
        nest.write_card();
        nest.dial_seeds();
        nest.round();
        nest
    }
}

/// A new incarnation: the millisecond, which lasts until the year 2109, and random low bits that tell
/// apart two nests of one moment. Of those there are many: two nests of one number on the two sides
/// of a partition could never be one flock again.
pub(super) fn incarnation(rng: &mut Rng, now: Time) -> NestId {
    NestId((now.as_micros() / 1000) << MOMENT_BITS | rng.below(1 << MOMENT_BITS))
}

/// How many of an incarnation's bits are random.
const MOMENT_BITS: u32 = 22;
