//! The consistent hash ring: which nest owns a name.

use std::collections::BTreeMap;
use std::fmt;
use std::hash::{BuildHasher, Hash, Hasher};

use hashring::HashRing;
use xxhash_rust::xxh3::xxh3_64;

use crate::{NestId, NestName};

/// Points on the ring per unit of weight.
///
/// 256 keeps each of three equal nests within a few percent of a third of the names, at 2 to 3 ms
/// for a rebuild with a hundred nests.
pub const POINTS_PER_WEIGHT: u32 = 256;

/// The greatest weight a nest may have; the product with [`POINTS_PER_WEIGHT`] bounds the ring.
pub const MAX_WEIGHT: u32 = 64;

/// Which nest owns a name: the one whose point follows the name's hash on the circle.
///
/// The same members with the same weights give the same owners on every machine and in every
/// build: point positions are xxh3 of bytes, and golden vectors hold them still.
///
/// Source: Karger et al., "Consistent Hashing and Random Trees", 1997.
#[derive(Clone, Default)]
pub struct Ring {
    circle: Option<HashRing<Point, Xxh3V1>>,
    /// The same points, sorted: `hashring` keeps its own to itself, and [`gained`] compares arcs.
    points: Vec<(u64, NestId)>,
    /// The nests that have points, and how many.
    counts: BTreeMap<NestId, u32>,
    /// The nest that has all of them, if one has.
    only: Option<NestId>,
    /// Two points lay in one place, and one of them counts for nothing while the other is there.
    crowded: bool,
}

/// Where more nests come and go at once than this, a ring is built from the beginning.
const FEW: usize = 8;

impl Ring {
    /// A ring over these nests. The order in which they are given doesn't matter; a weight of 0
    /// gives a nest no points.
    pub fn new<'a>(nests: impl IntoIterator<Item = (NestId, &'a NestName, u32)>) -> Self {
        Self::of(&counted(nests))
    }

    /// The ring over other nests, most of which are the same: made from this one. What it is like
    /// doesn't depend on what there was before.
    #[must_use]
    pub fn revised<'a>(
        &self,
        nests: impl IntoIterator<Item = (NestId, &'a NestName, u32)>,
    ) -> Self {
        let nests = counted(nests);
        let counts: BTreeMap<_, _> = nests.iter().map(|&(nest, _, count)| (nest, count)).collect();
        let gone = self.counts.iter().filter(|(nest, count)| counts.get(nest) != Some(count));
        let gone: Vec<NestId> = gone.map(|(nest, _)| *nest).collect();
        let came = nests.iter().filter(|(nest, _, count)| self.counts.get(nest) != Some(count));
        let came: Vec<_> = came.copied().collect();
        if self.crowded || gone.len() + came.len() > FEW {
            return Self::of(&nests);
        }
        let new = points_of(&came);
        let mut new = new.into_iter().peekable();
        let mut points = Vec::with_capacity(self.points.len() + new.len());
        for &point in self.points.iter().filter(|(_, nest)| !gone.contains(nest)) {
            while let Some(before) = new.next_if(|new| new.0 < point.0) {
                points.push(before);
            }
            points.push(point);
        }
        points.extend(new);
        if points.windows(2).any(|pair| matches!(pair, [a, b] if a.0 >= b.0)) {
            return Self::of(&nests);
        }
        Self::with(points, counts, false)
    }

    /// A ring over nests in the order of their names.
    fn of(nests: &[(NestId, &NestName, u32)]) -> Self {
        let mut points = points_of(nests);
        let all = points.len();
        // Of two points in one place the first by name counts, whatever the order in which they came.
        points.dedup_by_key(|(at, _)| *at);
        let crowded = points.len() < all;
        let counts = nests.iter().map(|&(nest, _, count)| (nest, count)).collect();
        Self::with(points, counts, crowded)
    }

    fn with(points: Vec<(u64, NestId)>, counts: BTreeMap<NestId, u32>, crowded: bool) -> Self {
        let circle = (!points.is_empty()).then(|| {
            let mut circle = HashRing::with_hasher(Xxh3V1);
            circle.batch_add(points.iter().map(|&(at, nest)| Point { at, nest }).collect());
            circle
        });
        let first = points.first().map(|(_, nest)| *nest);
        let only = first.filter(|only| points.iter().all(|(_, nest)| nest == only));
        Self { circle, points, counts, only, crowded }
    }

    /// The owner of a name with this hash; none on an empty ring.
    pub fn owner(&self, hash: u64) -> Option<NestId> {
        self.only.or_else(|| self.circle.as_ref()?.get(&Place(hash)).map(|point| point.nest))
    }

    /// The nests that follow a place on the circle, each once, the owner first.
    pub fn successors(&self, hash: u64) -> impl Iterator<Item = NestId> + '_ {
        let start = self.points.partition_point(|&(at, _)| at < hash);
        let (before, after) = self.points.split_at(start);
        let mut seen = Vec::new();
        after.iter().chain(before).filter_map(move |&(_, nest)| {
            let new = !seen.contains(&nest);
            if new {
                seen.push(nest);
            }
            new.then_some(nest)
        })
    }

    /// True if no nest has a point here.
    pub fn is_empty(&self) -> bool {
        self.points.is_empty()
    }

    /// The weight with which a nest is in the ring; 0 if it isn't.
    pub fn weight(&self, nest: NestId) -> u32 {
        self.counts.get(&nest).map_or(0, |count| count / POINTS_PER_WEIGHT)
    }

    /// Whether each name has the same owner in both.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        self.points == other.points
    }

    /// The share of the circle that a nest owns, from 0 to 1.
    pub fn share(&self, nest: NestId) -> f64 {
        let owned: u128 = self.arcs(nest).map(|arc| arc.len()).sum();
        owned as f64 / (1u128 << 64) as f64
    }

    /// The arcs that a nest owns, in order.
    pub fn arcs(&self, nest: NestId) -> impl Iterator<Item = Arc> + '_ {
        let last = self.points.last().map_or(0, |&(at, _)| at);
        let mut from = last;
        self.points.iter().filter_map(move |&(at, owner)| {
            let arc = Arc { after: from, to: at };
            from = at;
            (owner == nest).then_some(arc)
        })
    }

    /// The arcs that `nest` owns here and did not own in `before`.
    pub fn gained(&self, before: &Self, nest: NestId) -> Vec<Arc> {
        let Some(&(first, owner)) = self.points.first() else { return Vec::new() };
        if before.is_empty() {
            return self.arcs(nest).collect();
        }
        // Only own arcs can be gained. Between two points of the earlier ring it had one owner: that of
        // the point behind. So each own arc is cut where that ring had points.
        let then = &before.points;
        let first_then = then.first().map_or(owner, |&(_, owner)| owner);
        let [last, last_then] =
            [&self.points, then].map(|points| points.last().map_or(first, |p| p.0));
        let mut gained: Vec<Arc> = Vec::new();
        let mut take = |from: u64, to: u64, owner_then: NestId| {
            if owner_then != nest {
                match gained.last_mut() {
                    Some(open) if open.to == from => open.to = to,
                    _ => gained.push(Arc { after: from, to }),
                }
            }
        };
        // Where the search for a cut begins: as many points on in both rings.
        let mut near = (0, 0);
        for (at, &(to, _)) in self.points.iter().enumerate().filter(|(_, (_, own))| *own == nest) {
            let before = at.checked_sub(1).and_then(|at| self.points.get(at));
            // The first arc comes round the end of the circle, from where both rings end.
            let (mut from, cut) = before.map_or((last.max(last_then), 0), |&(from, _)| {
                (from, first_after(then, from, near.1 + at - near.0))
            });
            near = (at, cut);
            let mut cuts = then.get(cut..).unwrap_or_default().iter();
            let behind = loop {
                match cuts.next() {
                    Some(&(at, owner)) if at < to => {
                        take(from, at, owner);
                        from = at;
                    }
                    point => break point.map_or(first_then, |&(_, owner)| owner),
                }
            };
            take(from, to, behind);
        }
        if owner == nest {
            // What lies behind this ring's last point and before the other's belongs to the first.
            let mut from = last;
            let cut = then.partition_point(|&(at, _)| at <= last);
            for &(at, owner) in then.get(cut..).unwrap_or_default() {
                take(from, at, owner);
                from = at;
            }
        }
        gained
    }
}

/// The first point behind this place, which isn't far from that number.
fn first_after(points: &[(u64, NestId)], place: u64, near: usize) -> usize {
    let (before, after) = points.split_at(near.min(points.len()));
    let less = before.iter().rev().take_while(|(at, _)| *at > place).count();
    let more = after.iter().take_while(|(at, _)| *at <= place).count();
    before.len() - less + more
}

/// Nests with how many points each has, in the order of their names, the stable identity: incarnations
/// differ after every restart.
fn counted<'a>(
    nests: impl IntoIterator<Item = (NestId, &'a NestName, u32)>,
) -> Vec<(NestId, &'a NestName, u32)> {
    let count = |weight: u32| weight.min(MAX_WEIGHT) * POINTS_PER_WEIGHT;
    let nests = nests.into_iter().map(|(nest, name, weight)| (nest, name, count(weight)));
    let mut nests: Vec<_> = nests.collect();
    nests.sort_unstable_by(|a, b| a.1.cmp(b.1));
    nests.dedup_by(|a, b| a.1 == b.1);
    nests
}

/// The points of these nests, sorted; those of one place in the order of the nests.
fn points_of(nests: &[(NestId, &NestName, u32)]) -> Vec<(u64, NestId)> {
    let mut points = Vec::new();
    for &(nest, name, count) in nests {
        let mut position = Position::of(name);
        points.extend((0..count).map(|index| (position.at(index), nest)));
    }
    sorted(points)
}

/// Sorts points by place; those of one place stay in their order. Places are spread evenly, so as
/// many bins as points leave next to nothing to compare: three times as fast as a sort that compares,
/// and large flocks build rings often.
fn sorted(points: Vec<(u64, NestId)>) -> Vec<(u64, NestId)> {
    let bits = points.len().max(2).ilog2();
    let bin = |at: u64| (at >> (u64::BITS - bits)) as usize;
    // Where each bin begins, then where its next point belongs.
    let mut starts = vec![0_usize; (1 << bits) + 1];
    for (at, _) in &points {
        starts[bin(*at) + 1] += 1;
    }
    for bin in 1..starts.len() {
        starts[bin] += starts[bin - 1];
    }
    let mut sorted = vec![(0, NestId(0)); points.len()];
    for point in points {
        let next = &mut starts[bin(point.0)];
        sorted[*next] = point;
        *next += 1;
    }
    // Stable, and linear where all but neighbours are in order.
    sorted.sort_by_key(|(at, _)| *at);
    sorted
}

impl fmt::Debug for Ring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Ring({} points)", self.points.len())
    }
}

/// A stretch of the circle: the hashes above `after` up to and including `to`, round the end if
/// `to` is not above `after`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arc {
    /// The last hash before the arc.
    pub after: u64,
    /// The last hash of the arc.
    pub to: u64,
}

impl Arc {
    /// All of the circle.
    pub(crate) const fn whole() -> Self {
        Self { after: u64::MAX, to: u64::MAX }
    }

    /// Whether a hash lies on the arc.
    pub const fn contains(self, hash: u64) -> bool {
        if self.after < self.to {
            hash > self.after && hash <= self.to
        } else {
            hash > self.after || hash <= self.to
        }
    }

    /// The arc as one or two inclusive ranges of hashes that don't go round the end.
    pub fn ranges(self) -> impl Iterator<Item = (u64, u64)> {
        let above = self.after.checked_add(1);
        let parts = if self.after < self.to {
            [above.map(|from| (from, self.to)), None]
        } else {
            [above.map(|from| (from, u64::MAX)), Some((0, self.to))]
        };
        parts.into_iter().flatten()
    }

    fn len(self) -> u128 {
        if self.after < self.to {
            u128::from(self.to - self.after)
        } else {
            (1u128 << 64) - u128::from(self.after - self.to)
        }
    }
}

/// Where the points of a nest lie.
struct Position {
    /// The name, a zero byte, and room for the index.
    bytes: Vec<u8>,
}

impl Position {
    fn of(name: &NestName) -> Self {
        let mut bytes = Vec::with_capacity(name.as_str().len() + 5);
        bytes.extend_from_slice(name.as_str().as_bytes());
        bytes.extend_from_slice(&[0; 5]);
        Self { bytes }
    }

    /// Of point number `index`: xxh3 of name, a zero byte, and the index as four little-endian bytes.
    /// A name holds no zero byte, so no two points share their bytes.
    fn at(&mut self, index: u32) -> u64 {
        if let Some(room) = self.bytes.last_chunk_mut() {
            *room = index.to_le_bytes();
        }
        xxh3_64(&self.bytes)
    }
}

#[derive(Clone, Debug)]
struct Point {
    at: u64,
    nest: NestId,
}

impl Hash for Point {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write(&self.at.to_le_bytes());
    }
}

/// A name's hash, as a key to look up.
struct Place(u64);

impl Hash for Place {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write(&self.0.to_le_bytes());
    }
}

/// Version 1 of the ring's hash. Names and points are hashed once, by xxh3, before they come
/// here: `hashring` asks for a hasher all the same, and this one passes the eight bytes through.
#[derive(Clone, Copy, Debug)]
struct Xxh3V1;

impl BuildHasher for Xxh3V1 {
    type Hasher = PassThrough;

    fn build_hasher(&self) -> PassThrough {
        PassThrough(0)
    }
}

struct PassThrough(u64);

impl Hasher for PassThrough {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        let mut word = [0; 8];
        for (to, from) in word.iter_mut().zip(bytes) {
            *to = *from;
        }
        self.0 = u64::from_le_bytes(word);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::BirdName;

    fn names(n: u64) -> Vec<NestName> {
        (1..=n).filter_map(|i| NestName::new(&format!("nest-{i}")).ok()).collect()
    }

    fn ring(names: &[NestName]) -> Ring {
        Ring::new(names.iter().zip(1..).map(|(name, id)| (NestId(id), name, 1)))
    }

    fn hashes(n: u64) -> Vec<u64> {
        (0..n).map(|i| xxh3_64(format!("bird-{i}").as_bytes())).collect()
    }

    #[test]
    fn golden_vectors_hold_the_ring_still() {
        let names = names(3);
        assert_eq!(Position::of(&names[0]).at(0), 10_383_316_208_020_439_202);
        let ring = ring(&names);
        let robin = BirdName::new("robin").map(|n| n.hash64()).unwrap_or_default();
        let owners: Vec<_> = [robin, 0, 1 << 63, u64::MAX].map(|h| ring.owner(h)).into();
        assert_eq!(owners, [3, 2, 2, 2].map(|id| Some(NestId(id))));
    }

    #[test]
    fn the_order_of_the_members_does_not_matter() {
        let names = names(5);
        let there = ring(&names);
        let back = Ring::new(
            (1..6)
                .map(NestId)
                .zip(&names)
                .collect::<Vec<_>>()
                .into_iter()
                .rev()
                .map(|(id, name)| (id, name, 1)),
        );
        assert!(hashes(1000).into_iter().all(|h| there.owner(h) == back.owner(h)));
    }

    #[test]
    fn a_join_moves_names_only_to_the_newcomer_and_shares_are_fair() {
        let names = names(4);
        let (three, four) = (ring(&names[..3]), ring(&names));
        let moved: Vec<_> =
            hashes(10_000).into_iter().filter(|&h| three.owner(h) != four.owner(h)).collect();
        assert!(moved.iter().all(|&h| four.owner(h) == Some(NestId(4))));
        assert!((1_800..3_200).contains(&moved.len()), "{}", moved.len());
        let total: f64 = (1..=4).map(|id| four.share(NestId(id))).sum();
        assert!((total - 1.0).abs() < 1e-9);
    }

    #[test]
    fn the_gained_arcs_hold_just_the_names_that_change_hands() {
        let names = names(4);
        let (three, four) = (ring(&names[..3]), ring(&names));
        for (id, (before, now)) in
            (1..=4).flat_map(|id| [(id, (&three, &four)), (id, (&four, &three))])
        {
            let gained = now.gained(before, NestId(id));
            for h in hashes(3000) {
                let expect = now.owner(h) == Some(NestId(id)) && before.owner(h) != now.owner(h);
                assert_eq!(gained.iter().any(|arc| arc.contains(h)), expect);
                let ranged =
                    gained.iter().flat_map(|a| a.ranges()).any(|(lo, hi)| lo <= h && h <= hi);
                assert_eq!(ranged, expect);
            }
        }
        assert_eq!(four.gained(&four, NestId(1)), []);
        assert!(four.gained(&Ring::default(), NestId(1)).into_iter().eq(four.arcs(NestId(1))));
    }

    /// The same by the points of both rings, one after the other.
    fn gained_by_all_points(now: &Ring, before: &Ring, nest: NestId) -> Vec<Arc> {
        let mut places: Vec<u64> = now.points.iter().chain(&before.points).map(|p| p.0).collect();
        places.sort_unstable();
        places.dedup();
        let mut from = places.last().copied().unwrap_or_default();
        let mut gained: Vec<Arc> = Vec::new();
        for to in places {
            if now.owner(to) == Some(nest) && before.owner(to) != Some(nest) {
                match gained.last_mut() {
                    Some(open) if open.to == from => open.to = to,
                    _ => gained.push(Arc { after: from, to }),
                }
            }
            from = to;
        }
        gained
    }

    #[test]
    fn the_arcs_gained_are_those_that_a_look_at_every_point_finds() {
        let mut rng = crate::Rng::new(11);
        // Few points for few nests: so the ends of the circle are anybody's.
        let small = |rng: &mut crate::Rng, nests: u64| {
            let count = 1 + rng.below(12);
            let points: BTreeMap<u64, NestId> =
                (0..count).map(|_| (rng.below(40), NestId(1 + rng.below(nests)))).collect();
            let points: Vec<_> = points.into_iter().collect();
            let mut circle = HashRing::with_hasher(Xxh3V1);
            circle.batch_add(points.iter().map(|&(at, nest)| Point { at, nest }).collect());
            Ring { circle: Some(circle), points, ..Ring::default() }
        };
        let mut found = 0;
        for _ in 0..3_000 {
            let (now, before) = (small(&mut rng, 3), small(&mut rng, 3));
            let gained = now.gained(&before, NestId(1));
            assert_eq!(gained, gained_by_all_points(&now, &before, NestId(1)), "{:?}", now.points);
            found += gained.len();
        }
        assert!(found > 1_000, "{found}");
        let names = names(9);
        for (now, before) in [(5, 9), (9, 5), (8, 9)] {
            let (now, before) = (ring(&names[..now]), ring(&names[..before]));
            for nest in (1..=9).map(NestId) {
                assert_eq!(now.gained(&before, nest), gained_by_all_points(&now, &before, nest));
            }
        }
    }

    #[test]
    fn a_ring_made_from_another_is_as_if_made_from_nothing() {
        let names = names(14);
        let mut rng = crate::Rng::new(5);
        let mut last = Ring::default();
        let mut present: Vec<(u64, u32)> = (0..9).map(|at| (at, 1)).collect();
        for _ in 0..60 {
            for _ in 0..=rng.below(3) {
                let nest = rng.below(14);
                let weight = rng.below(3) as u32;
                present.retain(|(other, _)| *other != nest);
                present.push((nest, weight));
            }
            let nests = || {
                present.iter().map(|&(at, weight)| (NestId(at + 1), &names[at as usize], weight))
            };
            let (made, revised) = (Ring::new(nests()), last.revised(nests()));
            assert_eq!(revised.points, made.points);
            assert_eq!((&revised.counts, revised.crowded), (&made.counts, made.crowded));
            assert!(hashes(100).into_iter().all(|h| revised.owner(h) == made.owner(h)));
            last = revised;
        }
    }

    #[test]
    fn points_are_sorted_by_place_and_keep_their_order_within_one() {
        let mut rng = crate::Rng::new(7);
        for count in [0, 1, 2, 100, 1000] {
            // Some in one place, and many in one bin.
            let at =
                |rng: &mut crate::Rng| if rng.one_in(2) { rng.below(50) } else { rng.next_u64() };
            let points: Vec<_> = (0..count).map(|i| (at(&mut rng), NestId(i))).collect();
            let mut expect = points.clone();
            expect.sort_by_key(|(at, _)| *at);
            assert_eq!(sorted(points), expect);
        }
    }

    #[test]
    fn weight_zero_owns_nothing_and_an_empty_ring_has_no_owner() {
        let names = names(2);
        let ring = Ring::new([(NestId(1), &names[0], 0), (NestId(2), &names[1], 1)]);
        assert!(hashes(100).into_iter().all(|h| ring.owner(h) == Some(NestId(2))));
        assert_eq!(ring.successors(7).count(), 1);
        assert_eq!([1, 2, 3].map(|id| ring.weight(NestId(id))), [0, 1, 0]);
        assert_eq!(Ring::default().owner(7), None);
    }
}
