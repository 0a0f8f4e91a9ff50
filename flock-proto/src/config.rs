//! The core's knobs, each with its default and the reason for it.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::{NestName, Policy, SpeciesId};

/// Who a nest is and what it can do. Fixed for the life of the process.
#[derive(Clone, Debug)]
pub struct Me {
    /// Its name.
    pub name: NestName,
    /// What peers dial, as `host:port`.
    pub address: String,
    /// Its share of the ring; 0 owns nothing.
    pub weight: u32,
    /// The species that it can hatch.
    pub species: BTreeSet<SpeciesId>,
    /// Those of them whose lives must have fences above all before, also after a crash: they are hatched
    /// anew only when this nest's clock is surely beyond the clock of the one that is gone.
    pub fenced: BTreeSet<SpeciesId>,
    /// Where to look for the flock, as `host:port` each.
    pub seeds: Vec<String>,
}

/// Whether a nest that comes up takes over birds of those that are up already.
///
/// Each nest goes by its own: where some are configured otherwise, those that are active take their
/// shares as they come up, and the others wait.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Rebalancing {
    /// It takes its share of the names as it comes up.
    #[default]
    Active,
    /// It owns nothing until somebody asks for it ([`Input::Rebalance`](crate::Input::Rebalance)), or
    /// a nest that has a share dies or leaves, or none has one. While no bird lives nothing would
    /// move: then it takes its share, too.
    Passive,
}

/// Knobs of the core: all its intervals, bounds and limits, but those of SWIM, of the links and of the
/// wire, which stand where they are used.
#[derive(Clone, Debug)]
pub struct Config {
    /// How long a nest that finds nobody waits before it is a flock of its own.
    pub form_after: Duration,
    /// Nests that start together wait so long for each other before one of them forms the flock.
    pub gather_for: Duration,
    /// A leave that can't be completed is cut short after this.
    pub leave_for: Duration,
    /// How often a nest that misses a known address tries one of those again.
    pub redial_every: Duration,
    /// A dial that neither succeeded nor failed is forgotten after so long.
    pub dial_for: Duration,
    /// How often the address of a nest whose link broke is dialled again, to find out whether its
    /// process is dead. That takes a few tries, and shall be known within a second.
    pub probe_every: Duration,
    /// After so long that question is left to SWIM.
    pub probe_for: Duration,
    /// Refusals that make a death where nobody else can be asked: a process that restarts in place
    /// listens again within this many tries.
    pub lone_refusals: u32,
    /// So many others are asked about a nest whose address refuses us. One may be cut off from it as
    /// we are; that three are, while the rest isn't, is rare.
    pub witnesses: usize,
    /// How SWIM is played.
    pub swim: SwimConfig,
    /// Joins within this span change the ring once.
    pub coalesce_joins: Duration,
    /// A flock of more than [`Config::few_members`] looks through its members no more often than
    /// this. While a hundred join, each frame has news of some.
    pub refresh_every: Duration,
    /// So many are looked through in microseconds: nothing is gained by waiting.
    pub few_members: usize,
    /// A link that brought nothing for so long is broken, where there are few: see
    /// [`Config::heartbeats`].
    pub link_silence: Duration,
    /// A link over which nothing went for so long is given a heartbeat. A third of the above.
    pub heartbeat_every: Duration,
    /// Heartbeats a second over all links together. Where there are more links than that, each has
    /// fewer, and may be silent for longer: what a nest says in peace must not grow with the flock.
    /// Neither a dead process (its links close) nor a silent host (SWIM) is found by them, but a link
    /// that one end alone holds to be open.
    pub heartbeats: u32,
    /// New cards within this span are passed on together. A mass join costs a few frames for each
    /// nest then, and not one for each pair of nests and card.
    pub pass_cards_after: Duration,
    /// To so many neighbours, chosen by chance, and as many of those that the card's author says it
    /// doesn't reach. With four, news that misses its author's own frames is with a hundred nests in
    /// four steps; with three, one in twenty is missed, and waits for a heartbeat.
    pub pass_cards_to: usize,
    /// Cards a second in full rosters, which a nest sends to neighbours whose digest differs. A
    /// joiner has all of a hundred after 20 ms; a seed that a hundred dial at once isn't held up.
    pub cards_per_second: u32,
    /// How often a nest looks whether its register is equal to some other's. Whatever was lost is
    /// found so, at the cost of a hundred bytes.
    pub sync_every: Duration,
    /// Who was asked for operations has so long for the answer, before somebody else is asked. A few
    /// round trips: in between, every batch of operations that doesn't fit would ask anew.
    pub ask_every: Duration,
    /// A comparison of registers that hasn't gone on for so long is given up, and may begin with
    /// another peer. Long enough for a peer that is frozen for a moment, as what came would partly be
    /// told anew.
    pub compare_for: Duration,
    /// A vector of no more incarnations than this goes with each look, and saves a round trip where
    /// it differs. Eight are 110 bytes; a thousand, sent each second, would be more than all of
    /// membership.
    pub short_vector: usize,
    /// Registry operations within this span travel together.
    pub batch_ops: Duration,
    /// So many don't wait for more to travel with. The log must still hold them when they go, and a
    /// thousand are encoded in well under a millisecond.
    pub push_ops: u64,
    /// Bytes of requests that may wait for the answers of one other nest; the next one goes when
    /// there is room. A frame that finds no room on its link ends the link, and what is on its way
    /// may have to be sent more than once: so this is a small part of what a link buffers.
    pub request_room: usize,
    /// Bytes in one frame of requests or answers. A heartbeat doesn't wait long behind it.
    pub request_frame: usize,
    /// Bounds of the registry.
    pub registry: RegistryConfig,
    /// Requests that a nest keeps as owner, for all askers together; more are left to the askers'
    /// retries.
    pub served_cap: usize,
    /// How long after its deadline a request's answer is remembered: copies may be that late.
    pub late_for: Duration,
    /// No asker waits longer, whatever it says: what it says must not keep a request here for ever.
    pub patience: Duration,
    /// A longer reason why a hatch failed is cut: it is for people to read, and travels with many
    /// others.
    pub reason_bytes: usize,
    /// Names that calls may wait for at once; one more is a sign of an attack or a mistake.
    pub wanted_cap: usize,
    /// How long after a conflict lives of the loser may turn up, or the owner be found that must hear
    /// of one that ended: a heal is through by then.
    pub aftermath: Duration,
    /// A peer's stamp further ahead than this doesn't move our clock.
    pub max_clock_skew: Duration,
    /// How often an unanswered request is sent anew.
    pub retry_every: Duration,
    /// A nest that has been gone for so long is forgotten, and joins as a new one should it come back:
    /// longer than cuts last. Meanwhile each vector names it, and is 14 bytes longer.
    pub retire_after: Duration,
    /// Of nests that were forgotten and didn't leave, so many are still looked for: the last ones, by
    /// the addresses that they had.
    pub lost_nests: usize,
    /// Of records whose authors are to be forgotten, so many are looked at every
    /// [`sync_every`](Self::sync_every), and written anew where they are ours: a million in eight
    /// minutes, in a quarter of a millisecond each. No more at once than half a log holds.
    pub retire_looks: usize,
    /// Whether this nest takes its share of the names as it comes up, or waits.
    pub rebalancing: Rebalancing,
    /// A nest that comes up takes its share only when the ring, as it sees it, hasn't changed for so
    /// long: where many come one after the other, birds move once in this span and not with each.
    pub cool_down: Duration,
    /// Birds under way from this nest at once, to all others together. As the next one, it binds a
    /// nest that is up and stays: one that leaves has a deadline, and after a partition birds have two
    /// lives until they have moved.
    pub moves_at_once: usize,
    /// Birds that may depart in a second; none: as fast as they can. Those that wait for their turn
    /// are served meanwhile.
    pub moves_per_second: Option<u32>,
    /// Which side of a partition goes on. The same on all nests.
    pub policy: Policy,
    /// How many nests the flock has at least, whether or not they were ever seen: for a majority.
    pub expected_nests: u32,
    /// How long a nest may see too few others before its birds stop.
    pub stable_after: Duration,
    /// How long those who lost sight of a nest wait before they hatch its birds, where a policy asks for
    /// it: longer than the birds may take to stop, by what nests differ in noticing.
    pub take_over_after: Duration,
    /// The clocks of two nests differ by no more than this: so long do birds of fenced species wait after
    /// a death.
    pub clock_skew: Duration,
    /// Birds in flight to one nest in a hand-over.
    pub depart_window: usize,
    /// Bytes of state in flight to one nest: what the birds above carry, but at least one of them.
    pub depart_bytes: usize,
    /// Bytes that one bird may carry: its own state, and those that it has yet to merge. What is beyond
    /// is lost, and told of.
    pub carried_bytes: usize,
    /// Bytes of copies that a nest holds of birds that run elsewhere, should their nests die. Who has more
    /// is told that there is no room, and that their copies are as old as they are. What a nest runs
    /// itself is as much again, in a flock of equals.
    pub standby_bytes: usize,
    /// Birds that one frame lists for their new owner: of the longest names, two megabytes.
    pub listed_at_once: usize,
    /// Names of an arc gained that are looked at in one go. Half a million at once, as a joiner may
    /// gain, would be a second without a heartbeat; so many are some milliseconds.
    pub gained_at_once: usize,
    /// How long stragglers are forwarded after a bird moved.
    pub forward_for: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            form_after: Duration::from_secs(2),
            gather_for: Duration::from_millis(200),
            leave_for: Duration::from_secs(30),
            redial_every: Duration::from_secs(1),
            dial_for: Duration::from_secs(5),
            probe_every: Duration::from_millis(120),
            probe_for: Duration::from_secs(3),
            lone_refusals: 4,
            witnesses: 3,
            swim: SwimConfig::default(),
            coalesce_joins: Duration::from_millis(250),
            refresh_every: Duration::from_millis(20),
            few_members: 16,
            link_silence: Duration::from_millis(1500),
            heartbeat_every: Duration::from_millis(500),
            heartbeats: 3,
            pass_cards_after: Duration::from_millis(10),
            pass_cards_to: 4,
            cards_per_second: 5000,
            sync_every: Duration::from_secs(1),
            ask_every: Duration::from_millis(200),
            compare_for: Duration::from_secs(5),
            short_vector: 8,
            batch_ops: Duration::from_millis(2),
            push_ops: 1024,
            request_room: 1024 * 1024,
            request_frame: 256 * 1024,
            registry: RegistryConfig::default(),
            served_cap: 1 << 20,
            late_for: Duration::from_secs(5),
            patience: Duration::from_secs(3600),
            reason_bytes: 4096,
            wanted_cap: 65_536,
            aftermath: Duration::from_secs(60),
            max_clock_skew: Duration::from_secs(10),
            retry_every: Duration::from_millis(500),
            retire_after: Duration::from_secs(3600),
            lost_nests: 32,
            retire_looks: 2048,
            rebalancing: Rebalancing::Active,
            cool_down: Duration::ZERO,
            moves_at_once: usize::MAX,
            moves_per_second: None,
            policy: Policy::Available,
            expected_nests: 0,
            stable_after: Duration::from_secs(2),
            take_over_after: Duration::from_secs(10),
            clock_skew: Duration::from_millis(500),
            depart_window: 256,
            depart_bytes: 1 << 20,
            carried_bytes: 4 << 20,
            standby_bytes: 256 << 20,
            listed_at_once: 4096,
            gained_at_once: 4096,
            forward_for: Duration::from_secs(30),
        }
    }
}

/// How SWIM is played.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SwimConfig {
    /// How often a nest pings another, and so what a silent one costs the flock in peace.
    pub ping_every: Duration,
    /// One that hasn't answered after so long is pinged through others. Far more than a round trip:
    /// a process may be busy for a moment.
    pub ping_for: Duration,
    /// How long a nest is suspected before it is held to be dead, at least. A process may stand still
    /// for five seconds (its machine swaps, or is moved) and be back then. A ping fails half a second
    /// after the freeze at the earliest; so at least a fifth of a second is left to say that it lives,
    /// which it does as soon as a link opens. A longer time would tell better, and leave the birds of a
    /// silent host without a life for longer: with this, a hundred nests know of it within seven
    /// seconds. A process that is killed isn't waited for: its address refuses connections.
    pub suspect_for: Duration,
    /// The same for each tenfold of the flock's size, where that is more: from 225 nests on.
    pub suspect_for_tenfold: Duration,
    /// How often each update is passed on. foca's default of 10 leaves some nests of a hundred unaware
    /// when frames stall.
    pub transmissions: u8,
    /// How often a nest announces itself to another, which answers with all members that it knows:
    /// so one that missed news hears of them.
    pub announce_every: Duration,
    /// Where there are more members the answers are longer, so announcements are made less often: the
    /// answers are two hundred bytes a second, however large the flock.
    pub announce_for_each: Duration,
    /// A nest that knows us by a former identity is told of the present one so often.
    pub introduce_every: Duration,
}

impl Default for SwimConfig {
    fn default() -> Self {
        Self {
            ping_every: Duration::from_millis(500),
            ping_for: Duration::from_millis(200),
            suspect_for: Duration::from_millis(4700),
            suspect_for_tenfold: Duration::from_secs(2),
            transmissions: 20,
            announce_every: Duration::from_secs(5),
            announce_for_each: Duration::from_millis(150),
            introduce_every: Duration::from_millis(500),
        }
    }
}

/// Bounds of the registry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RegistryConfig {
    /// Operations kept in the log, of all incarnations together, the latest to come. A peer that
    /// lacks older ones compares registers instead. One bound for all, as a peer that was away for a
    /// minute lacks what *everybody* did in it; a bound for each would grow with their number.
    /// 65,536 take 3 MiB at most, and are a minute of a thousand operations a second.
    pub log_len: usize,
    /// A delta for a peer that lacks much is cut after about so many bytes, and the rest asked for.
    /// 256 KiB are joined in some three milliseconds, for which all else on the core's thread waits.
    pub delta_bytes: usize,
    /// One with a nest's own operations, after so many: it must hold the last of them wherever it can,
    /// as answers to requests rely on that, and yet stay well within the 16 MiB of a frame.
    pub own_delta_bytes: usize,
    /// A message of a comparison is full after about so many bytes (one record may reach beyond). Of
    /// records it is joined within a millisecond; of digests it holds those of six thousand ranges.
    pub message_bytes: usize,
    /// So many bytes answer one request of a comparison. A peer sends the next when it has them all,
    /// so this over the time of a round trip is the speed of a stream: at 1 MiB and a millisecond
    /// nothing waits; at 50 milliseconds a million names take five seconds.
    pub window_bytes: usize,
    /// Where two registers differ in a range, the digests of so many parts of it are told. More makes
    /// fewer round trips, fewer makes fewer bytes: with 16, ten names of a million are found in five
    /// round trips and 7 KB.
    pub fan_out: u32,
    /// Where a range has no more records than this, it is compared record by record. (Digests of 16
    /// parts cost 160 bytes, dots of 64 records 250, and a round trip less.)
    pub leaf_records: u32,
    /// Of a range in which the peer holds so many times more, all records are wanted, and the dots of
    /// those at hand aren't told: each costs some 4 bytes, and the record that it saves 75.
    pub far_more: u64,
    /// Buckets of an empty register, as a power of two: few, so that the register of a small flock
    /// stays small. Their number follows that of the records.
    pub bucket_bits: u32,
    /// The greatest number of buckets, as a power of two: 16 Mi, for 400 million records.
    pub max_bucket_bits: u32,
    /// Buckets are halved when they hold more than this on average: a search stays within a
    /// few lines of memory, and what a bucket costs is spread over half a dozen records at least.
    pub bucket_full: usize,
    /// Pairs of buckets are merged when they hold less than this on average. Far below half of
    /// `bucket_full`, so that a register that shrinks and grows about one size doesn't do both again
    /// and again.
    pub bucket_sparse: usize,
}

impl Default for RegistryConfig {
    fn default() -> Self {
        Self {
            log_len: 65_536,
            delta_bytes: 256 * 1024,
            own_delta_bytes: 8 * 1024 * 1024,
            message_bytes: 64 * 1024,
            window_bytes: 1024 * 1024,
            fan_out: 16,
            leaf_records: 64,
            far_more: 8,
            bucket_bits: 4,
            max_bucket_bits: 24,
            bucket_full: 12,
            bucket_sparse: 2,
        }
    }
}
