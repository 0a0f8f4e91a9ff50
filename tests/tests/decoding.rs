//! What decoding takes, at its worst: no frame makes a nest allocate much more than it is long.

use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use flock_proto::wire::{Frame, HEADER, Header, check_payload};
use flock_proto::{DataFrame, Hlc, NestId, Registry, RegistryConfig, Rng};
use flock_tests::heap::{Counted, peak};
use flock_tests::samples::{control_frames, data_frames};

#[global_allocator]
static HEAP: Counted = Counted;

/// What other tests allocate would count.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

const fn header() -> Header {
    Header { hops: 0, stamp: Hlc(1), author: NestId(0x0199_aaaa_bbbb_cccc), dest: NestId(3) }
}

/// What is promised of every frame, whatever is in it.
fn check(frame: &[u8], decode: impl FnOnce(&[u8]), what: &str) {
    let ((), bytes) = peak(|| decode(frame));
    let most = 4 * frame.len() as i64 + (64 << 10);
    let head = frame.get(..frame.len().min(80)).unwrap_or_default();
    assert!(bytes <= most, "{what}: {bytes} bytes for {}, {head:02x?}", frame.len());
}

/// As the core does: the body, and then what is kept in a form of its own.
fn decode_control(frame: &[u8]) {
    match Frame::decode(frame) {
        Ok(Frame::Ranges(told)) => {
            let mut registry = Registry::new(NestId(1), RegistryConfig::default());
            drop(registry.compare(NestId(2), &told));
        }
        decoded => drop(decoded),
    }
}

fn decode_data(frame: &[u8]) {
    // A payload is decoded only after this; what it is decoded to is the user's.
    if let Ok(DataFrame::Call(_, body) | DataFrame::Reply(_, body)) = DataFrame::read(frame) {
        let _ = check_payload(body);
    }
}

fn with_body(kind: u8, body: &[u8]) -> Vec<u8> {
    let mut frame = vec![1, kind];
    frame.resize(HEADER, 0);
    frame.extend_from_slice(body);
    frame
}

fn spoilt(frame: &[u8]) -> impl Iterator<Item = Vec<u8>> + '_ {
    let flips = (0..frame.len() * 8).map(|bit| {
        let mut flipped = frame.to_vec();
        flipped[bit / 8] ^= 1 << (bit % 8);
        flipped
    });
    flips.chain((0..=frame.len()).map(|end| frame[..end].to_vec()))
}

#[test]
fn good_frames_and_those_with_a_bit_flipped_or_cut_take_little() {
    let _alone = alone();
    for frame in control_frames() {
        for bad in spoilt(&frame.encode(header())) {
            check(&bad, decode_control, "a control frame");
        }
    }
    for frame in data_frames(NestId(1), NestId(2), "robin") {
        for bad in spoilt(&frame) {
            check(&bad, decode_data, "a data frame");
        }
    }
}

/// Lists and maps as long as they say, of elements that are as short as they can be and still take room.
#[test]
fn no_list_takes_more_than_its_frame_allows_whatever_it_is_a_list_of() {
    let _alone = alone();
    let id = b"\xcf\x01\x99\xaa\xaa\xbb\xbb\xcc\xcc";
    let dot = [&b"\x92"[..], id, b"\x01"].concat();
    let life = [&b"\x93\xa1a"[..], &dot, b"\x01"].concat();
    let snapshot =
        b"\x85\xa7species\x01\xa4life\x92\x01\x01\xa6number\xc0\xa4past\x90\xa5state\xc4\x00";
    let card = b"\x9b\x01\xa1a\xa1b\xa2Up\x01\x90\xc2\xc2\x00\x00\x01";
    let one_life = [b"\xa4life", &life[..]].concat();
    // Each kind, what stands before its list, and an element of it.
    let lists: &[(u8, Vec<u8>, &[u8])] = &[
        (12, b"\x81\xa5cards".to_vec(), card),
        (16, b"\x82\xa6vector\x81\xa4seqs\x80\xa2up".to_vec(), id),
        (16, b"\x82\xa6vector\x81\xa4seqs\x80\xa2up".to_vec(), b"\x07"),
        (29, b"\x83\xa4seal\x01\xa4part\x01\xa7listing".to_vec(), &life),
        (32, [b"\x82", &one_life[..], b"\xa7crashes"].concat(), b"\x92\x01\x01"),
        (
            32,
            [b"\x83", &one_life[..], b"\xa7crashes\x90\xa7carried\x81\xa6others"].concat(),
            snapshot,
        ),
        (
            37,
            [
                b"\x83",
                &one_life[..],
                b"\xa6number\x01\xa8snapshot\x84\xa7species\x01\xa4life\x92\x01\x01",
                b"\xa5state\xc4\x00\xa4past",
            ]
            .concat(),
            b"\x92\x92\x01\x01\xc0",
        ),
        (
            42,
            b"\x85\xa6origin\x01\xa4hops\x00\xa5known\x01\xa6oldest\x01\xa8requests".to_vec(),
            b"\x96\x01\xa1a\xa4Stop\x01\xc2\x92\x01\x01",
        ),
        (43, b"\x82\xa5delta\xc0\xa9responses".to_vec(), b"\x93\x01\xa7Stopped\xc0"),
        (44, b"\x81\xa3ids".to_vec(), b"\x07"),
        (44, b"\x81\xa3ids".to_vec(), id),
    ];
    for count in [1_u32, 100, 400, 2000, 10_000, 200_000] {
        for (kind, before, element) in lists {
            for missing in [0, 1, count / 2] {
                let whole = element.repeat((count - missing) as usize);
                // Those that are missing are there, and something else.
                let rest = vec![0xc0; missing as usize];
                let list = [&[0xdd][..], &count.to_be_bytes(), &whole, &rest].concat();
                let frame = with_body(*kind, &[before, &list[..]].concat());
                check(&frame, decode_control, "a list");
                let good = Frame::decode(&frame);
                assert!(count > 1 || missing > 0 || good.is_ok(), "{kind}: {good:?}");
            }
        }
        for pair in [b"\x07\x01".to_vec(), [id, &b"\x01"[..]].concat()] {
            // In order and without one twice, as it takes most.
            let pairs = (0..count).flat_map(|n| match pair.len() {
                2 => [&[0xce][..], &n.to_be_bytes(), &[1]].concat(),
                _ => [&[0xcf][..], &u64::from(n).to_be_bytes(), &[1]].concat(),
            });
            let map = [&[0xdf][..], &count.to_be_bytes(), &pairs.collect::<Vec<_>>()].concat();
            check(&with_body(25, &[b"\x81\xa5after", &map[..]].concat()), decode_control, "a map");
            let vector = [b"\x81\xa6vector\x81\xa4seqs", &map[..]].concat();
            let frame = with_body(16, &vector);
            check(&frame, decode_control, "a vector");
            assert!(count > 1 || Frame::decode(&frame).is_ok());
        }
    }
}

#[test]
fn bombs_and_noise_take_nothing() {
    let _alone = alone();
    let mut chance = Rng::new(7);
    let mut bodies = vec![
        vec![0x91; 5000],
        vec![0x81; 5000],
        [0xdd, 0, 0, 0x10, 0].repeat(1000),
        b"\xdd\xff\xff\xff\xff".to_vec(),
        b"\xdf\xff\xff\xff\xff".to_vec(),
        b"\xdb\xff\xff\xff\xffx".to_vec(),
        b"\xc6\xff\xff\xff\xffx".to_vec(),
        b"\x81\xa5cards\xdd\xff\xff\xff\xff".to_vec(),
        [&b"\x81\xa5cards\xdd\x00\x00\x22\x22"[..], &[0xc0; 0x2222]].concat(),
        [&b"\x81\xa7listing\xdd\x00\x01\x00\x00"[..], &[0xc0; 0x1_0000]].concat(),
        vec![0xc0; 1 << 20],
    ];
    for _ in 0..20_000 {
        let length = chance.below(300) as usize;
        bodies.push(std::iter::repeat_with(|| chance.next_u64() as u8).take(length).collect());
    }
    for body in bodies {
        for kind in [10, 12, 16, 20, 21, 23, 24, 25, 30, 32, 42, 43, 45] {
            check(&with_body(kind, &body), decode_control, "a bomb");
        }
        check(&body, |body| _ = check_payload(body), "a payload");
        let status = rmp_serde::to_vec(&serde_bytes::Bytes::new(&body)).expect("bytes");
        check(&with_body(20, &status), decode_control, "a status");
    }
}

/// Numbers of incarnations in the worst of orders: each one in its place by itself took hours.
#[test]
fn a_vector_of_a_million_in_any_order_is_read_in_no_time() {
    let _alone = alone();
    let begun = std::time::Instant::now();
    let count = 1_000_000_u64;
    let mut status = vec![4];
    status.extend_from_slice(&[0; 24]);
    status.extend_from_slice(&[0xc0, 0x84, 0x3d]);
    for id in (1..=count).rev() {
        status.extend_from_slice(&id.to_le_bytes());
        status.push(1);
    }
    let body = rmp_serde::to_vec(&serde_bytes::Bytes::new(&status)).expect("bytes");
    let frame = Bytes::from(with_body(20, &body));
    match Frame::decode(&frame) {
        Ok(Frame::Status(status)) => assert_eq!(status.vector.map(|v| v.len()), Some(1_000_000)),
        odd => panic!("{odd:.100?}"),
    }
    check(&frame, decode_control, "a vector");
    assert!(begun.elapsed().as_secs() < 5, "it took {:?}", begun.elapsed());
}
