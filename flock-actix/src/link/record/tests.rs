use std::cell::{Cell, RefCell};

use super::*;
use crate::link::noise::tests::sessions;

/// What the sealer writes for these bytes, record by record.
fn sealed(sealer: &mut Sealer, mut bytes: &[u8]) -> Vec<Vec<u8>> {
    let mut records = Vec::new();
    while !bytes.is_empty() {
        let wire = RefCell::new(Vec::new());
        let n = sealer.try_write(bytes, |some| {
            wire.borrow_mut().extend_from_slice(some);
            Ok(some.len())
        });
        bytes = &bytes[n.unwrap()..];
        records.push(wire.into_inner());
    }
    records
}

/// Opens what lies on the wire, in pieces of so many bytes, and says how it ended.
fn opened(opener: &mut Opener, wire: &[u8], piece: usize) -> (Vec<u8>, io::Result<()>) {
    let (wire, mut plain) = (Cell::new(wire), BytesMut::new());
    let read = |into: &mut BytesMut| {
        let (now, later) = wire.get().split_at(piece.min(wire.get().len()));
        into.extend_from_slice(now);
        wire.set(later);
        Ok(now.len())
    };
    loop {
        match opener.try_read(&mut plain, read) {
            Ok(0) => return (plain.to_vec(), Ok(())),
            Ok(_) => {}
            Err(e) => return (plain.to_vec(), Err(e)),
        }
    }
}

fn bytes(n: usize) -> Vec<u8> {
    (0..n).map(|i| (i * 31 % 251) as u8).collect()
}

#[test]
fn what_is_sealed_opens_whatever_the_pieces_and_nothing_of_it_can_be_read_before() {
    for piece in [1, 1000, 70_000, 1 << 20] {
        let (mut one, mut other) = sessions();
        other.opener.trust();
        let plain = if piece == 1 { bytes(5000) } else { bytes(300_000) };
        let wire = sealed(&mut one.sealer, &plain).concat();
        assert!(!wire.windows(8).any(|some| some == &plain[..8] || some == &plain[3000..3008]));
        let (came, end) = opened(&mut other.opener, &wire, piece);
        assert!(end.is_ok() && came == plain, "in pieces of {piece}");
        let back = sealed(&mut other.sealer, b"and back").concat();
        assert_eq!(opened(&mut one.opener, &back, piece).0, b"and back");
    }
}

#[test]
fn a_flush_is_one_record_and_a_large_one_as_few_as_can_be() {
    for (flush, records) in [(1, 1), (MAX_PLAIN, 1), (MAX_PLAIN + 1, 2), (10 * MAX_PLAIN, 10)] {
        let (mut one, _) = sessions();
        let wire = sealed(&mut one.sealer, &bytes(flush));
        assert_eq!(wire.len(), records);
        assert!(wire.iter().all(|record| record.len() <= HEAD + MAX_RECORD));
    }
}

#[test]
fn a_flipped_bit_anywhere_ends_it_and_lets_nothing_of_its_record_through() {
    let plain = bytes(40);
    for bit in HEAD * 8..(HEAD + plain.len() + TAG) * 8 {
        let (mut one, mut other) = sessions();
        let mut wire = sealed(&mut one.sealer, &plain).concat();
        wire[bit / 8] ^= 1 << (bit % 8);
        let (came, end) = opened(&mut other.opener, &wire, 1000);
        assert_eq!(end.unwrap_err().kind(), io::ErrorKind::InvalidData, "bit {bit}");
        assert!(came.is_empty(), "bit {bit}");
    }
}

#[test]
fn a_flipped_length_opens_nothing() {
    for bit in 0..HEAD * 8 {
        let (mut one, mut other) = sessions();
        other.opener.trust();
        let mut wire = sealed(&mut one.sealer, &bytes(40)).concat();
        wire[bit / 8] ^= 1 << (bit % 8);
        wire.extend(sealed(&mut one.sealer, &bytes(40)).concat());
        assert!(opened(&mut other.opener, &wire, 1000).0.is_empty(), "bit {bit}");
    }
}

#[test]
fn a_record_that_is_cut_short_opens_nothing() {
    let whole = HEAD + 40 + TAG;
    for length in 0..whole {
        let (mut one, mut other) = sessions();
        let wire = sealed(&mut one.sealer, &bytes(40)).concat();
        assert!(opened(&mut other.opener, &wire[..length], 1000).0.is_empty());
    }
}

#[test]
fn a_record_said_twice_left_out_or_out_of_order_ends_it() {
    for order in [&[0, 0][..], &[1], &[0, 2], &[1, 0], &[0, 1, 0]] {
        let (mut one, mut other) = sessions();
        let records: Vec<_> =
            [b"0", b"1", b"2"].map(|text| sealed(&mut one.sealer, text).concat()).into();
        let wire: Vec<u8> = order.iter().flat_map(|n| records[*n].clone()).collect();
        let (came, end) = opened(&mut other.opener, &wire, 1000);
        assert_eq!(end.unwrap_err().kind(), io::ErrorKind::InvalidData, "{order:?}");
        assert!(b"01".starts_with(&came), "{order:?}");
    }
}

#[test]
fn a_record_of_another_link_or_of_the_other_direction_opens_nothing() {
    let (mut one, mut other) = sessions();
    let (mut stranger, _) = sessions();
    let foreign = sealed(&mut stranger.sealer, b"hello").concat();
    assert!(opened(&mut other.opener, &foreign, 1000).1.is_err());
    let mirrored = sealed(&mut one.sealer, b"hello").concat();
    assert!(opened(&mut one.opener, &mirrored, 1000).1.is_err());
}

#[test]
fn before_the_other_end_is_trusted_a_long_record_is_refused_by_its_length_alone() {
    let (_, mut other) = sessions();
    let length = (PREFIX + MAX_HELLO + TAG + 1) as u16;
    let end = opened(&mut other.opener, &length.to_le_bytes(), 1000).1;
    assert_eq!(end.unwrap_err().kind(), io::ErrorKind::InvalidData);
    assert!(other.opener.sealed.capacity() < 4096);
}

#[test]
fn an_empty_record_is_no_end() {
    let (mut one, mut other) = sessions();
    one.sealer.seal(&[]).unwrap();
    let wire = one.sealer.record.clone();
    assert!(opened(&mut other.opener, &wire, 1000).1.is_err());
}

#[test]
fn bytes_have_left_when_their_record_has_and_not_before() {
    let (mut one, mut other) = sessions();
    let (room, wire) = (Cell::new(10), RefCell::new(Vec::new()));
    let write = |some: &[u8]| match room.replace(0) {
        0 => Err(io::Error::from(io::ErrorKind::WouldBlock)),
        n => {
            let n = n.min(some.len());
            wire.borrow_mut().extend_from_slice(&some[..n]);
            Ok(n)
        }
    };
    let blocked = one.sealer.try_write(b"some", write).unwrap_err();
    assert_eq!(blocked.kind(), io::ErrorKind::WouldBlock);
    // More has gathered meanwhile; it is not in the record that is leaving.
    room.set(1000);
    assert_eq!(one.sealer.try_write(b"some and more", write).unwrap(), 4);
    room.set(1000);
    assert_eq!(one.sealer.try_write(b" and more", write).unwrap(), 9);
    let wire = wire.borrow().clone();
    assert_eq!(opened(&mut other.opener, &wire, 7).0, b"some and more");
}

#[test]
fn what_came_whole_is_there_to_read_without_the_network() {
    let (mut one, mut other) = sessions();
    let wire = [sealed(&mut one.sealer, b"0"), sealed(&mut one.sealer, b"1")].concat().concat();
    for (comes, waits) in [(wire.len(), true), (wire.len() - 1, false)] {
        other.opener.sealed.clear();
        other.opener.number = 0;
        let mut plain = BytesMut::new();
        let read = |into: &mut BytesMut| {
            into.extend_from_slice(&wire[..comes]);
            Ok(comes)
        };
        assert_eq!(other.opener.try_read(&mut plain, read).unwrap(), 1);
        assert_eq!(other.opener.is_ready(), waits);
    }
}
