//! Version vectors: what a nest knows of the operations of each incarnation.

use serde::{Deserialize, Serialize};

use crate::{Dot, NestId};

/// For each incarnation the number up to which all its operations are known, and a horizon: an
/// incarnation up to it that isn't named is *retired*. All that it did is known, or done anew by
/// others, and it does nothing more. So a vector names little more than the nests that live.
///
/// Source: Parker et al., "Detection of Mutual Inconsistency in Distributed Systems", 1983.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Vector {
    /// In order, and a plain list: vectors are copied, compared and thrown away by the hundred while a
    /// flock gathers, and hardly ever written to. On the wire it is a map.
    #[serde(with = "as_map")]
    seqs: Vec<(NestId, u64)>,
    #[serde(default)]
    horizon: NestId,
}

impl Vector {
    /// Knows nothing.
    pub const fn new() -> Self {
        Self { seqs: Vec::new(), horizon: NestId(0) }
    }

    /// The number up to which this incarnation's operations are known; 0 if none is, or it is retired.
    pub fn seq(&self, origin: NestId) -> u64 {
        self.find(origin).ok().and_then(|at| self.seqs.get(at)).map_or(0, |(_, seq)| *seq)
    }

    /// Is this operation known, or its incarnation retired?
    pub fn covers(&self, dot: Dot) -> bool {
        self.seq(dot.origin) >= dot.seq || self.is_retired(dot.origin)
    }

    /// Is all known that the other knows?
    pub fn covers_all(&self, other: &Self) -> bool {
        // Both are in order: one walk along the two.
        let mut mine = self.seqs.iter().peekable();
        other.iter().all(|dot| {
            while mine.next_if(|(origin, _)| *origin < dot.origin).is_some() {}
            match mine.peek() {
                Some(&&(origin, seq)) if origin == dot.origin => seq >= dot.seq,
                _ => dot.seq == 0 || dot.origin <= self.horizon,
            }
        })
    }

    /// The same of several incarnations, which are in order: none of those that aren't named.
    pub fn named<'a>(
        &'a self,
        ids: impl Iterator<Item = NestId> + Clone + 'a,
    ) -> impl Iterator<Item = (NestId, Option<u64>)> + Clone + 'a {
        // One walk along the two.
        let mut mine = self.seqs.iter().peekable();
        ids.map(move |id| {
            while mine.next_if(|(origin, _)| *origin < id).is_some() {}
            (id, mine.peek().filter(|(origin, _)| *origin == id).map(|(_, seq)| *seq))
        })
    }

    /// Where an incarnation stands, or would.
    fn find(&self, origin: NestId) -> Result<usize, usize> {
        self.seqs.binary_search_by_key(&origin, |(id, _)| *id)
    }

    /// Up to which incarnation those are retired that aren't named; 0: none is.
    pub const fn horizon(&self) -> NestId {
        self.horizon
    }

    /// Is this incarnation retired?
    pub fn is_retired(&self, origin: NestId) -> bool {
        origin <= self.horizon && self.find(origin).is_err()
    }

    /// Does the other name incarnations that are retired here?
    pub fn retires_of(&self, other: &Self) -> bool {
        let old = other.iter().take_while(|dot| dot.origin <= self.horizon);
        self.horizon > NestId(0) && old.into_iter().any(|dot| self.is_retired(dot.origin))
    }

    /// Learns of all operations of an incarnation up to this one.
    pub fn raise(&mut self, to: Dot) {
        if to.seq == 0 {
            return;
        }
        match self.find(to.origin) {
            Ok(at) => {
                if let Some((_, seq)) = self.seqs.get_mut(at) {
                    *seq = to.seq.max(*seq);
                }
            }
            Err(at) => self.seqs.insert(at, (to.origin, to.seq)),
        }
    }

    /// The same of one that stood at this place before. Says what was known of it, and where it stands
    /// now: a search through a hundred touches more memory than all else that an operation does here.
    pub(super) fn raise_near(&mut self, place: usize, to: Dot) -> (u64, usize) {
        if let Some((origin, seq)) = self.seqs.get_mut(place)
            && *origin == to.origin
        {
            let after = to.seq.max(*seq);
            return (std::mem::replace(seq, after), place);
        }
        let before = self.seq(to.origin);
        self.raise(to);
        (before, self.find(to.origin).unwrap_or_default())
    }

    /// Retires an incarnation: up to the horizon, and named no more.
    pub(super) fn retire(&mut self, origin: NestId) {
        if let Ok(at) = self.find(origin) {
            self.seqs.remove(at);
        }
    }

    /// The horizon never goes back.
    pub(super) fn raise_horizon(&mut self, horizon: NestId) {
        self.horizon = self.horizon.max(horizon);
    }

    /// The last known operation of each incarnation, in the order of the incarnations.
    pub fn iter(&self) -> impl Iterator<Item = Dot> + '_ {
        self.seqs.iter().map(|&(origin, seq)| Dot { origin, seq })
    }

    /// How many incarnations it names.
    pub fn len(&self) -> usize {
        self.seqs.len()
    }

    /// Does it know nothing?
    pub fn is_empty(&self) -> bool {
        self.seqs.is_empty()
    }
}

impl FromIterator<Dot> for Vector {
    fn from_iter<I: IntoIterator<Item = Dot>>(dots: I) -> Self {
        // Put in order once: a peer's list in the opposite order, each put before all others, would take
        // hours.
        let known = dots.into_iter().filter(|dot| dot.seq > 0);
        let mut seqs: Vec<_> = known.map(|dot| (dot.origin, dot.seq)).collect();
        if !seqs.is_sorted_by(|(a, _), (b, _)| a < b) {
            // The greatest number of each comes first, and stays.
            seqs.sort_unstable_by_key(|&(id, seq)| (id, std::cmp::Reverse(seq)));
            seqs.dedup_by_key(|(id, _)| *id);
        }
        Self { seqs, horizon: NestId(0) }
    }
}

/// The list as a map, as it always was on the wire.
mod as_map {
    use std::fmt;

    use serde::de::{MapAccess, Visitor};
    use serde::{Deserializer, Serializer};

    use crate::NestId;

    /// What a count that nobody has checked may reserve.
    const ROOM: usize = 1024;

    pub(super) fn serialize<S: Serializer>(
        seqs: &[(NestId, u64)],
        to: S,
    ) -> Result<S::Ok, S::Error> {
        to.collect_map(seqs.iter().copied())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Vec<(NestId, u64)>, D::Error> {
        from.deserialize_map(Entries)
    }

    struct Entries;

    impl<'de> Visitor<'de> for Entries {
        type Value = Vec<(NestId, u64)>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("numbers by incarnation")
        }

        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
            let mut seqs = Vec::with_capacity(map.size_hint().unwrap_or(0).min(ROOM));
            while let Some(entry) = map.next_entry()? {
                if seqs.len() == seqs.capacity() {
                    // Not doubled: what was claimed beyond may be anything.
                    seqs.reserve_exact((seqs.len() / 4).max(8));
                }
                seqs.push(entry);
            }
            // Whoever wrote it may keep no order, or name one twice: then the last counts.
            if !seqs.is_sorted_by(|(a, _), (b, _)| a < b) {
                seqs.reverse();
                seqs.sort_by_key(|(id, _)| *id);
                seqs.dedup_by_key(|(id, _)| *id);
            }
            Ok(seqs)
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::Rng;

    fn random(rng: &mut Rng) -> Vector {
        let dot = |rng: &mut Rng| Dot { origin: NestId(1 + rng.below(12)), seq: rng.below(4) };
        let mut vector: Vector = (0..rng.below(10)).map(|_| dot(rng)).collect();
        vector.raise_horizon(NestId(rng.below(6)));
        vector
    }

    #[test]
    fn a_vector_covers_another_if_it_covers_each_of_its_operations() {
        let mut rng = Rng::new(3);
        let mut covered = 0;
        for _ in 0..2_000 {
            let (a, b) = (random(&mut rng), random(&mut rng));
            assert_eq!(a.covers_all(&b), b.iter().all(|dot| a.covers(dot)), "{a:?} {b:?}");
            let retires = a.horizon() > NestId(0) && b.iter().any(|dot| a.is_retired(dot.origin));
            assert_eq!(a.retires_of(&b), retires, "{a:?} {b:?}");
            let of = |id: NestId| a.iter().find(|dot| dot.origin == id).map(|dot| dot.seq);
            let ids: Vec<NestId> = b.iter().map(|dot| dot.origin).collect();
            let named: Vec<_> = a.named(ids.iter().copied()).collect();
            let found: Vec<_> = ids.iter().map(|&id| (id, of(id))).collect();
            assert_eq!(named, found, "{a:?} {b:?}");
            covered += usize::from(a.covers_all(&b) && !b.is_empty());
        }
        assert!(covered > 20, "{covered}");
    }

    #[test]
    #[allow(clippy::disallowed_methods, reason = "what is tested is how long it takes")]
    fn a_vector_is_the_same_in_whatever_order_it_is_told_and_takes_as_long() {
        let mut rng = Rng::new(11);
        for _ in 0..2_000 {
            let dot = |rng: &mut Rng| Dot { origin: NestId(rng.below(9)), seq: rng.below(4) };
            let dots: Vec<Dot> = (0..rng.below(12)).map(|_| dot(&mut rng)).collect();
            let mut raised = Vector::new();
            dots.iter().for_each(|&dot| raised.raise(dot));
            assert_eq!(dots.iter().copied().collect::<Vector>(), raised, "{dots:?}");
        }
        // Backwards these took half a minute once, and as many as fit into a frame an hour.
        let begun = std::time::Instant::now();
        let many = (1..=200_000).rev().map(|id| Dot { origin: NestId(id), seq: 1 });
        assert_eq!(many.collect::<Vector>().len(), 200_000);
        assert!(begun.elapsed().as_secs() < 5, "{:?}", begun.elapsed());
    }

    #[test]
    fn an_incarnation_is_raised_wherever_it_stood_before() {
        let mut rng = Rng::new(5);
        let mut hits = 0;
        for _ in 0..2_000 {
            let mut vector = random(&mut rng);
            let mut plain = vector.clone();
            let to = Dot { origin: NestId(1 + rng.below(12)), seq: 1 + rng.below(4) };
            let near = rng.below(12) as usize;
            let (before, place) = vector.raise_near(near, to);
            assert_eq!(before, plain.seq(to.origin));
            plain.raise(to);
            assert_eq!(vector, plain);
            assert_eq!(vector.seqs.get(place).map(|(origin, _)| *origin), Some(to.origin));
            hits += usize::from(place == near);
        }
        assert!(hits > 20, "{hits}");
    }

    #[test]
    fn a_vector_is_a_map_on_the_wire_whatever_its_order() -> Result<(), Box<dyn std::error::Error>>
    {
        #[derive(Serialize)]
        struct Map {
            seqs: BTreeMap<NestId, u64>,
            horizon: NestId,
        }
        let vector: Vector =
            [(7, 2), (3, 5)].map(|(id, seq)| Dot { origin: NestId(id), seq }).into_iter().collect();
        let seqs = BTreeMap::from([(NestId(3), 5), (NestId(7), 2)]);
        let bytes = rmp_serde::to_vec_named(&Map { seqs, horizon: NestId(0) })?;
        assert_eq!(rmp_serde::to_vec_named(&vector)?, bytes);
        assert_eq!(rmp_serde::from_slice::<Vector>(&bytes)?, vector);
        // {"seqs": {7: 1, 3: 5, 7: 2}}
        let odd = [&[0x81, 0xa4][..], b"seqs", &[0x83, 7, 1, 3, 5, 7, 2]].concat();
        assert_eq!(rmp_serde::from_slice::<Vector>(&odd)?, vector);
        Ok(())
    }
}
