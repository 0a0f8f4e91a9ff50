//! A whole nest that hears frames of two others: what is read is also acted on.
#![no_main]

use std::collections::BTreeSet;
use std::time::Duration;

use bytes::Bytes;
use flock_fuzz::Feed;
use flock_proto::wire::{Frame, HEADER, Header, WIRE_VERSION};
use flock_proto::{Config, Effect, Input, Me, Nest, NestId, NestName, Peer, SpeciesId, Time};
use libfuzzer_sys::fuzz_target;

const PEERS: [NestId; 2] = [NestId(0xaaaa), NestId(0xbbbb)];

fuzz_target!(|bytes: &[u8]| {
    let mut feed = Feed(bytes);
    let mut now = Time::from_micros(1_700_000_000_000_000);
    let mut nest = nest(now);
    carry_out(&mut nest);
    for (n, id) in PEERS.into_iter().enumerate() {
        let (name, address) = (name_of(&format!("peer-{n}")), format!("{n}"));
        let peer = Peer { id, name, address };
        nest.handle(now, Input::LinkOpened { peer, dialled: None });
        carry_out(&mut nest);
    }
    for _ in 0..12 {
        if feed.is_empty() {
            break;
        }
        let (who, kind) = (feed.byte(), feed.byte());
        let (from, author) = (PEERS[usize::from(who & 1)], PEERS[usize::from(who >> 1 & 1)]);
        // The author may be another, if the frame was passed on.
        let hops = u8::from(from != author);
        let dest = if who & 0x20 == 0 { nest.id() } else { PEERS[1] };
        let stamp = now.as_micros() << 12;
        let mut frame = vec![WIRE_VERSION, kind, 0, hops];
        for word in [stamp, author.0, dest.0] {
            frame.extend_from_slice(&word.to_le_bytes());
        }
        assert_eq!(frame.len(), HEADER);
        frame.extend_from_slice(feed.block());
        nest.handle(now, Input::Frame { from, frame: Bytes::from(frame) });
        carry_out(&mut nest);
        if who & 0x40 != 0 {
            now = nest.deadline().max(now).min(now + Duration::from_secs(3600));
            nest.handle(now, Input::Tick);
            carry_out(&mut nest);
        }
    }
    for _ in 0..4 {
        now = nest.deadline().max(now).min(now + Duration::from_secs(3600));
        nest.handle(now, Input::Tick);
        carry_out(&mut nest);
    }
});

fn nest(now: Time) -> Nest {
    let me = Me {
        name: name_of("nest"),
        address: "here".into(),
        weight: 1,
        species: [SpeciesId(5)].into(),
        fenced: BTreeSet::new(),
        seeds: Vec::new(),
    };
    Nest::new(me, Config::default(), 7, now)
}

/// What it says can be read, whatever it heard.
fn carry_out(nest: &mut Nest) {
    for effect in nest.drain() {
        if let Effect::Send { frame, .. } = effect {
            let header = Header::decode(&frame).expect("a header");
            // What was passed on was written by others.
            assert!(header.hops > 0 || Frame::decode(&frame).is_ok());
        }
    }
}

fn name_of(text: &str) -> NestName {
    NestName::new(text).expect("a name")
}
