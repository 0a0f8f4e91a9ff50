//! Bad frames, made from good ones: what no nest says, and no nest may act on.
//!
//! Where strangers can speak the protocol, because the flock has no key or they have it, a frame with a
//! bit flipped may be as good as any other: it says something else. Such frames are left out here, for
//! no nest could tell; all others are in.

use flock_proto::wire::{Frame, Header, Ops, WIRE_VERSION, check_payload};
use flock_proto::{
    BirdName, CallKind, DataFrame, Hlc, Joined, NestId, Registry, RegistryConfig, Rng, Time,
};

use super::peer::{
    BARRED, FLOCK, HELLO, Hello, Key, LOCK, REFUSE, UNLOCK, WELCOME, WIRE, framed, lock,
};
use crate::samples::{ONE, ONE_BODY, TALLY, control_frames, data_frames};
use crate::tally::One;

/// The longest frame, as the book says.
const MAX_FRAME: u32 = 16 * 1024 * 1024 + 64 * 1024;

/// Lengths that end a connection at once, wherever they come.
pub(super) const BAD_LENGTHS: [u32; 3] = [MAX_FRAME + 1, 1 << 31, u32::MAX];

/// Every prefix of a frame, but the whole, and the whole with each of its bits flipped.
fn spoilt(frame: &[u8]) -> impl Iterator<Item = Vec<u8>> + '_ {
    let prefixes = (0..frame.len()).filter_map(|end| frame.get(..end).map(<[u8]>::to_vec));
    let flips = (0..frame.len() * 8).map(|bit| {
        let mut flipped = frame.to_vec();
        flipped[bit / 8] ^= 1 << (bit % 8);
        flipped
    });
    prefixes.chain(flips)
}

/// Bodies of MessagePack that claim more than they hold, nest without end, or hold more than they may.
pub(crate) fn bombs() -> Vec<Vec<u8>> {
    let many = |mark: &[u8], inner: &[u8]| [mark, inner].concat();
    let mut bombs = vec![
        vec![0x91; 5000],
        [&[0x81, 0xa5][..], b"cards", &[0x91; 900]].concat(),
        many(&[0xdd, 0xff, 0xff, 0xff, 0xff], &[]),
        many(&[0xdf, 0xff, 0xff, 0xff, 0xff], &[]),
        many(&[0xdb, 0xff, 0xff, 0xff, 0xff], b"x"),
        many(&[0xc6, 0xff, 0xff, 0xff, 0xff], b"x"),
        many(&[0xc9, 0xff, 0xff, 0xff, 0xff, 1], b"x"),
        many(&[0xdd, 0, 0, 0x13, 0x88], &[0xc0; 5000]),
        [0xdd, 0, 0, 0x10, 0].repeat(1000),
        vec![0xc1; 64],
    ];
    // Every list and map that a frame has, with a count that isn't true.
    for field in ["cards", "listing", "requests", "responses", "crashes", "ids", "granted", "up"] {
        for count in [&[0xdd, 0xff, 0xff, 0xff, 0xff][..], &[0xdd, 0, 1, 0, 0], &[0xdc, 0x20, 0]] {
            let name = [&[0xa0 | field.len() as u8], field.as_bytes()].concat();
            bombs.push([&[0x81][..], &name, count, &[0xc0; 600]].concat());
        }
    }
    for field in ["after", "vector", "seqs"] {
        let name = [&[0xa0 | field.len() as u8], field.as_bytes()].concat();
        bombs.push([&[0x81][..], &name, &[0xdf, 0xff, 0xff, 0xff, 0xff], &[1; 600]].concat());
    }
    bombs
}

/// Texts that would do harm where they are shown, and are no names.
fn nasty_names() -> Vec<Vec<u8>> {
    let texts =
        ["", "\n", "two\nlines", "\u{1b}[2J\u{1b}[31mred", "\r\u{7}bell", "\u{9b}31m", "\u{0}"];
    let mut names: Vec<_> = texts.map(|text| text.as_bytes().to_vec()).into();
    names.extend([vec![b'x'; 256], vec![b'<'; 300], vec![0xff, 0xfe], vec![0xed, 0xa0, 0x80]]);
    names
}

fn text(bytes: &[u8]) -> Vec<u8> {
    let length = u16::try_from(bytes.len()).unwrap_or(u16::MAX).to_be_bytes();
    [&[0xda][..], &length, bytes].concat()
}

/// Bad frames for a control link of this attacker to this nest.
pub(super) fn control(me: NestId, victim: NestId, seed: u64) -> Vec<Vec<u8>> {
    let header = Header { hops: 0, stamp: Hlc::at(Time::from_micros(1)), author: me, dest: victim };
    let good: Vec<_> = control_frames().iter().map(|frame| frame.encode(header)).collect();
    let mut frames: Vec<_> = good.iter().flat_map(|frame| spoilt(frame)).collect();
    let with_body = |kind: u8, body: &[u8]| {
        let mut frame = Frame::Goodbye(()).encode(header).to_vec();
        frame.truncate(flock_proto::wire::HEADER);
        frame[1] = kind;
        frame.extend_from_slice(body);
        frame
    };
    let kinds: Vec<u8> = good.iter().filter_map(|frame| frame.get(1).copied()).collect();
    for bomb in bombs() {
        frames.extend(kinds.iter().map(|kind| with_body(*kind, &bomb)));
    }
    // Unknown kinds, and those of other links.
    frames.extend((0..=255).map(|kind| with_body(kind, &[0xc0])));
    for kind in 0..=255 {
        frames.push(vec![WIRE, kind]);
    }
    // A key twice, a byte too many, nothing at all.
    frames.push(with_body(22, b"\x82\xa3seq\x07\xa3seq\x08"));
    frames.push(with_body(22, b"\x81\xa3seq\x07\x00"));
    frames.push(with_body(15, b"\xc0\xc0"));
    frames.push(Vec::new());
    for name in nasty_names() {
        let life = [b"\x83\xa4name", &text(&name)[..], b"\xa5birth\x82\xa6origin\x07\xa3seq\x01"];
        frames.push(with_body(33, &[&life.concat(), &b"\xa5fence\x09"[..]].concat()));
    }
    frames.extend(noise(seed, 2000));
    frames.retain(|frame| is_bad_control(frame, me, victim));
    frames
}

/// Whether no nest may act on this, if it comes over the link of `me`.
fn is_bad_control(frame: &[u8], me: NestId, victim: NestId) -> bool {
    if !matches!(frame, [WIRE_VERSION, 10..=99, ..]) {
        return true;
    }
    let Ok(header) = Header::decode(frame) else { return true };
    if header.hops == 0 && header.author != me {
        return true;
    }
    if header.dest != victim {
        // Nobody's number: there is nobody to pass it on to.
        return true;
    }
    match Frame::decode(frame) {
        Err(_) => true,
        Ok(Frame::Ops(Ops { delta, .. })) => {
            let mut scratch = Registry::new(NestId(1), RegistryConfig::default());
            matches!(scratch.join(&delta), Joined::Bad(_))
        }
        Ok(_) => false,
    }
}

/// Bad frames for a data link of this attacker to this nest, about a bird that lives.
pub(super) fn data(me: NestId, victim: NestId, bird: &str, seed: u64) -> Vec<Vec<u8>> {
    let good = data_frames(victim, me, bird);
    let mut frames: Vec<_> = good.iter().flat_map(|frame| spoilt(frame)).collect();
    for frame in &good {
        let Ok(DataFrame::Call(..)) = DataFrame::read(frame) else { continue };
        let head = frame.len() - ONE_BODY.len();
        let head = frame.get(..head).unwrap_or_default();
        frames.extend(bombs().iter().map(|bomb| [head, bomb].concat()));
        // What stands in front of the name is 65 bytes.
        for name in nasty_names() {
            let fixed = head.get(..64).unwrap_or_default();
            let length = u8::try_from(name.len()).unwrap_or(u8::MAX);
            frames.push([fixed, &[length], &name, ONE_BODY].concat());
        }
    }
    frames.extend((0..=255).map(|kind| vec![WIRE, kind]));
    frames.push(Vec::new());
    frames.extend(noise(seed, 2000));
    frames.retain(|frame| is_bad_data(frame, victim));
    frames
}

fn is_bad_data(frame: &[u8], victim: NestId) -> bool {
    let Ok(DataFrame::Call(head, body)) = DataFrame::read(frame) else { return true };
    let is_retry = matches!(head.kind, CallKind::Retry { .. });
    if head.dest != victim && is_retry {
        return true;
    }
    let is_call = head.species == TALLY && head.message == ONE && BirdName::new(head.name).is_ok();
    !is_call || check_payload(body).is_err() || rmp_serde::from_slice::<One>(body).is_err()
}

/// Bytes by chance, short and long, some of which begin as a frame does.
fn noise(seed: u64, pieces: usize) -> Vec<Vec<u8>> {
    let mut chance = Rng::new(seed);
    let mut piece = |n: usize| {
        let length = usize::try_from(chance.next_u64() % 200).unwrap_or(0);
        let bytes = std::iter::repeat_with(|| chance.next_u64().to_le_bytes()[0]).take(length);
        let mut bytes: Vec<u8> = bytes.collect();
        if n.is_multiple_of(2) && bytes.len() > 2 {
            bytes[0] = WIRE;
            bytes[1] = bytes[1] % 190 + 10;
        }
        bytes
    };
    (0..pieces).map(&mut piece).collect()
}

/// What somebody unknown may say first, each for a connection of its own; with the key, if the flock has
/// one, that only those use who change what they overheard.
pub(super) fn first_words(key: Option<&Key>, seed: u64) -> anyhow::Result<Vec<Vec<u8>>> {
    let hello = Hello::good(77, "Control");
    let body = hello.frame().split_off(6);
    let plain = |kind: u8, body: &[u8]| framed(&[&[WIRE, kind], body].concat());
    let mut words = Vec::new();
    // Every prefix and every flip, of the frame and of its length.
    let mut whole = vec![hello.frame()];
    let other = Key::from(std::array::from_fn(|n| (n as u8).wrapping_mul(91) ^ 0x5c));
    let with = key.unwrap_or(&other);
    whole.push(lock(FLOCK, WIRE, with)?);
    whole.push(plain(UNLOCK, &[7; 48]));
    whole.push(plain(BARRED, &[1]));
    whole.push(plain(WELCOME, &body));
    whole.push(plain(REFUSE, b"\x83\xa4code\x01\xa3why\xa2no\xa5above\x00"));
    for frame in &whole {
        words.extend(spoilt(frame));
    }
    for length in
        [0, 1, 1023, 1024, 1025, MAX_FRAME - 1, MAX_FRAME, MAX_FRAME + 1, 1 << 31, u32::MAX]
    {
        words.push(length.to_le_bytes().to_vec());
        words.push([&length.to_le_bytes()[..], &[WIRE; 1100]].concat());
    }
    // Out of order: what comes later comes first.
    words.extend((0..=255).map(|kind| plain(kind, &body)));
    words.extend(bombs().iter().map(|bomb| plain(HELLO, &bomb[..bomb.len().min(1000)])));
    words.push(plain(HELLO, &[&body[..], &[0]].concat()));
    words.push(plain(HELLO, &[&[0x8b][..], &body[1..], b"\xa5nonce\x07"].concat()));
    for bad in bad_hellos(&hello) {
        words.push(bad.frame());
    }
    for name in nasty_names() {
        let mut at = Vec::new();
        for field in [&b"\xa4nest"[..], b"\xa7address", b"\xa5flock", b"\xa4link"] {
            if let Some(found) = body.windows(field.len()).position(|window| window == field) {
                at.push(found + field.len());
            }
        }
        for at in at {
            let after = at + 1 + usize::from(body[at] & 0x1f);
            let changed = [&body[..at], &text(&name), body.get(after..).unwrap_or_default()];
            words.push(plain(HELLO, &changed.concat()));
        }
    }
    // Other keys, flocks and versions.
    words.push(lock(FLOCK, WIRE, &other)?);
    words.push(lock("sparrows", WIRE, with)?);
    words.push(lock(FLOCK, WIRE + 1, with)?);
    // The first message said again, and something behind it before the answer comes.
    let good = lock(FLOCK, WIRE, with)?;
    words.push([&good[..], &good].concat());
    words.push([&good[..], &hello.frame()].concat());
    words.extend(noise(seed, 500));
    // A hello that can be read is a good one, where nobody needs a key.
    words.retain(|word| key.is_some() || !is_good_hello(word));
    words.retain(|word| key.is_none() || *word != good);
    Ok(words)
}

fn bad_hellos(good: &Hello) -> Vec<Hello> {
    let and = |change: fn(&mut Hello)| {
        let mut bad = good.clone();
        change(&mut bad);
        bad
    };
    vec![
        and(|hello| hello.magic = "flick".into()),
        and(|hello| hello.flock = "sparrows".into()),
        and(|hello| hello.flock = "<b>sparrows</b>\n\u{1b}[2J".into()),
        and(|hello| (hello.min, hello.max) = (2, 9)),
        and(|hello| hello.clock = Hlc(0)),
        and(|hello| hello.clock = Hlc(u64::MAX)),
        and(|hello| hello.link = "\u{1b}]0;title\u{7}".into()),
        and(|hello| hello.nest = "x".repeat(300)),
        // The names of nests that live.
        and(|hello| hello.nest = "nest-0".into()),
        and(|hello| hello.nest = "nest-1".into()),
        and(|hello| hello.nest = "nest-2".into()),
    ]
}

/// Whether a nest without a key could welcome who says this.
fn is_good_hello(word: &[u8]) -> bool {
    let Some((length, frame)) = word.split_first_chunk() else { return false };
    let frame = frame.get(..u32::from_le_bytes(*length) as usize);
    let Some([WIRE, HELLO, body @ ..]) = frame else { return false };
    // rmp-serde alone descends until the stack ends.
    check_payload(body).is_ok()
        && rmp_serde::from_slice::<Hello>(body).is_ok_and(|hello| {
            hello.magic == "flock" && hello.flock == FLOCK && !hello.nest.starts_with("nest-")
        })
}

/// The first message of a handshake, as it can be overheard.
pub(super) const fn is_lock(bytes: &[u8]) -> bool {
    matches!(bytes, [50, 0, 0, 0, WIRE, LOCK, ..])
}

#[cfg(test)]
mod tests {
    use super::*;

    const ME: NestId = NestId(0x0666_0000_0000_0001);
    const VICTIM: NestId = NestId(0x0199_0000_1234_5678);

    #[test]
    fn the_good_ones_are_not_bad_and_there_are_bad_ones_of_each_kind() {
        let header = Header { hops: 0, stamp: Hlc(1), author: ME, dest: VICTIM };
        let bad = control(ME, VICTIM, 1);
        for frame in control_frames() {
            let good = frame.encode(header);
            assert!(!is_bad_control(&good, ME, VICTIM), "{frame:?}");
            assert!(bad.iter().filter(|bad| bad.get(1) == good.get(1)).count() > 100);
        }
        let bad = data(ME, VICTIM, "robin", 1);
        assert!(
            data_frames(VICTIM, ME, "robin").iter().take(2).all(|good| !is_bad_data(good, VICTIM))
        );
        for kind in 100..=105 {
            assert!(bad.iter().filter(|bad| bad.get(1) == Some(&kind)).count() > 100);
        }
    }

    #[test]
    fn among_the_first_words_is_nobody_who_would_be_welcome() {
        for key in [None, Some(&[0x5a; 32])] {
            let words = first_words(key, 1).expect("keys can be used");
            assert!(words.len() > 3000, "{}", words.len());
            assert!(key.is_some() || !words.contains(&Hello::good(77, "Control").frame()));
        }
    }
}
