//! Looks over MessagePack before it is decoded: a decoder reserves room for what a count claims.

/// How deep values may nest. rmp-serde's own limit of 1024 lets a few kilobytes reserve a gigabyte.
pub const MAX_DEPTH: usize = 32;

/// How many values a user's payload may hold, each element of an array counting as one. A nil of one
/// byte may decode to a large struct, so bytes alone are no bound on memory.
const MAX_VALUES: usize = 4 << 20;

/// A body of the core may hold so many values whatever its length, and one more for so many bytes: its
/// numbers take nine bytes each, so none of ours comes near. (Names of fields don't count.)
const FEW: usize = 2048;
const BYTES_EACH: usize = 5;

/// Whether bytes are one MessagePack value, which a user's payload may be: nothing may be cut off, follow
/// it, nest too deep or claim more elements than there are bytes.
pub fn check_payload(bytes: &[u8]) -> Result<(), &'static str> {
    walk(bytes, MAX_VALUES, false)
}

/// The same of the body of a control frame, which may not hold more values than ours do, either: a number
/// of one byte takes eight when it is read.
pub(super) fn check_body(bytes: &[u8]) -> Result<(), &'static str> {
    walk(bytes, FEW + bytes.len() / BYTES_EACH, true)
}

/// Walks over one value without building anything.
fn walk(bytes: &[u8], most: usize, free_keys: bool) -> Result<(), &'static str> {
    let mut at = Walk(bytes);
    // Levels are kept as twice the values still to come, and 1 if it is a map. Most payloads have one or two:
    // the innermost is at hand.
    let mut level = 2;
    let mut around = [0_usize; MAX_DEPTH];
    let mut depth = 0_usize;
    let mut values = 0;
    loop {
        let mark = at.0.first().copied().unwrap_or_default();
        let is_key = level % 4 == 1;
        if !(free_keys && is_key && matches!(mark, 0xa0..=0xbf | 0xd9..=0xdb)) {
            values += 1;
        }
        if values > most {
            return Err("the payload holds too many values");
        }
        let inner = at.value().ok_or("the payload is cut off or malformed")?;
        if inner > at.0.len() {
            return Err("the payload claims more elements than it has bytes");
        }
        level -= 2;
        if inner > 0 {
            *around.get_mut(depth).ok_or("the payload nests too deep")? = level;
            depth += 1;
            level = inner * 2 + usize::from(matches!(mark, 0x80..=0x8f | 0xde | 0xdf));
            continue;
        }
        while level < 2 {
            let Some(outer) = depth.checked_sub(1).and_then(|top| around.get(top)) else {
                return if at.0.is_empty() { Ok(()) } else { Err("bytes follow the payload") };
            };
            depth -= 1;
            level = *outer;
        }
    }
}

struct Walk<'a>(&'a [u8]);

impl Walk<'_> {
    /// Reads one value's head and flat body; gives the number of values inside it.
    #[inline]
    fn value(&mut self) -> Option<usize> {
        let mark = self.number::<1>()?;
        let (skip, inner) = match mark {
            0x00..=0x7f | 0xe0..=0xff | 0xc0 | 0xc2 | 0xc3 => (0, 0),
            0x80..=0x8f => (0, (mark & 0xf) * 2),
            0x90..=0x9f => (0, mark & 0xf),
            0xa0..=0xbf => (mark & 0x1f, 0),
            0xc4 | 0xd9 => (self.number::<1>()?, 0),
            0xc5 | 0xda => (self.number::<2>()?, 0),
            0xc6 | 0xdb => (self.number::<4>()?, 0),
            0xc7 => (self.number::<1>()? + 1, 0),
            0xc8 => (self.number::<2>()? + 1, 0),
            0xc9 => (self.number::<4>()? + 1, 0),
            0xcc | 0xd0 => (1, 0),
            0xcd | 0xd1 => (2, 0),
            0xca | 0xce | 0xd2 => (4, 0),
            0xcb | 0xcf | 0xd3 => (8, 0),
            0xd4..=0xd8 => ((1 << (mark - 0xd4)) + 1, 0),
            0xdc => (0, self.number::<2>()?),
            0xdd => (0, self.number::<4>()?),
            0xde => (0, self.number::<2>()? * 2),
            0xdf => (0, self.number::<4>()?.checked_mul(2)?),
            _ => return None,
        };
        self.0 = self.0.get(skip..)?;
        Some(inner)
    }

    #[inline]
    fn number<const BYTES: usize>(&mut self) -> Option<usize> {
        let (head, rest) = self.0.split_first_chunk::<BYTES>()?;
        self.0 = rest;
        Some(head.iter().fold(0, |number, &byte| number << 8 | usize::from(byte)))
    }
}

/// Lists in frames: `#[serde(deserialize_with = "sparing")]`. serde's own reserve what was claimed, up to a
/// megabyte, before a single element was read; here room grows with those that were.
pub(super) fn sparing<'de, T, D>(from: D) -> Result<Vec<T>, D::Error>
where
    T: serde::Deserialize<'de>,
    D: serde::Deserializer<'de>,
{
    from.deserialize_seq(Sparing(std::marker::PhantomData))
}

struct Sparing<T>(std::marker::PhantomData<T>);

impl<'de, T: serde::Deserialize<'de>> serde::de::Visitor<'de> for Sparing<T> {
    type Value = Vec<T>;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a sequence")
    }

    fn visit_seq<A: serde::de::SeqAccess<'de>>(self, mut seq: A) -> Result<Vec<T>, A::Error> {
        let mut all = Vec::new();
        while let Some(next) = seq.next_element()? {
            if all.len() == all.capacity() {
                // By a quarter, and not doubled: half of it may never come.
                let more = seq.size_hint().map_or(usize::MAX, |more| more + 1);
                all.reserve_exact(more.min((all.len() / 4).max(8)));
            }
            all.push(next);
        }
        Ok(all)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cut_trailing_deep_and_boastful_payloads_are_refused() {
        let whole = rmp_serde::to_vec_named(&("some", vec![1_u16, 2, 3])).unwrap();
        for check in [check_payload, check_body] {
            assert_eq!(check(&whole), Ok(()));
            for cut in 0..whole.len() {
                assert!(check(&whole[..cut]).is_err(), "{cut}");
            }
            assert_eq!(check(&[&whole[..], &[0]].concat()), Err("bytes follow the payload"));
            assert_eq!(check(&[0x91; 64]), Err("the payload nests too deep"));
            let boast = [0xdd, 0x7f, 0xff, 0xff, 0xff, 0xc0];
            assert_eq!(check(&boast), Err("the payload claims more elements than it has bytes"));
            assert!(check(&[0xc1]).is_err());
        }
    }

    /// The same rules, told level by level: what is left behind one value, and how many there were.
    fn told(bytes: &[u8], depth: usize, is_free: bool, free_keys: bool) -> Option<(&[u8], usize)> {
        let mut at = Walk(bytes);
        let mark = *bytes.first()?;
        let inner = at.value().filter(|inner| *inner <= at.0.len())?;
        let is_map = matches!(mark, 0x80..=0x8f | 0xde | 0xdf);
        let is_free = is_free && matches!(mark, 0xa0..=0xbf | 0xd9..=0xdb);
        let begun = (inner == 0 || depth < MAX_DEPTH).then_some((at.0, usize::from(!is_free)));
        (0..inner).try_fold(begun?, |(rest, count), n| {
            let is_free = free_keys && is_map && n % 2 == 0;
            let (rest, more) = told(rest, depth + 1, is_free, free_keys)?;
            Some((rest, count + more))
        })
    }

    #[test]
    fn what_passes_is_what_the_rules_say() {
        let mut rng = crate::Rng::new(3);
        // Mostly heads of small lists and maps, so that many are whole.
        let marks = [0x81, 0x82, 0x91, 0x92, 0xa1, 0xc0, 0xc4, 0xdc, 0xde, 0xd4, 0xcd, 0, 1, 2];
        let (mut whole, mut too_many) = (0, 0);
        for _ in 0..100_000 {
            let (len, deep) = (1 + rng.below(90), rng.below(40));
            let some = (0..len).map(|at| match rng.below(8) {
                _ if at < deep => 0x91,
                0 => rng.next_u64() as u8,
                _ => marks[rng.below(marks.len() as u64) as usize],
            });
            let mut bytes: Vec<u8> = some.collect();
            if let Some((rest, _)) = told(&bytes, 0, false, false).filter(|_| rng.one_in(2)) {
                bytes.truncate(bytes.len() - rest.len());
            }
            for (most, free_keys) in [(usize::MAX, false), (4, false), (4, true)] {
                let all = told(&bytes, 0, false, free_keys).filter(|(rest, _)| rest.is_empty());
                let passes = all.is_some_and(|(_, values)| values <= most);
                assert_eq!(walk(&bytes, most, free_keys).is_ok(), passes, "{bytes:x?}");
                whole += usize::from(passes);
                too_many += usize::from(all.is_some() && !passes);
            }
        }
        assert!(whole > 10_000 && too_many > 1000, "{whole}, {too_many}");
    }

    #[test]
    fn a_body_of_small_numbers_is_refused_when_it_is_long_and_names_of_fields_cost_nothing() {
        let list = |n: u32| [&[0xdd][..], &n.to_be_bytes(), &vec![1; n as usize]].concat();
        assert_eq!(check_body(&list(2000)), Ok(()));
        assert_eq!(check_body(&list(3000)), Err("the payload holds too many values"));
        assert_eq!(check_payload(&list(3000)), Ok(()));
        let fields = |n: u32| {
            let fields = b"\xa4name\xcd\x01\x00".repeat(n as usize);
            [&[0xdf][..], &n.to_be_bytes(), &fields].concat()
        };
        assert_eq!(check_body(&fields(100_000)), Ok(()));
    }
}
