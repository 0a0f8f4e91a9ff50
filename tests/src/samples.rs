//! Good frames, one of each kind at least: what bad ones are made from.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use flock_proto::wire::{
    Acked, Card, Carried, Checkpoint, Checkpointed, Claimed, Claims, Depart, Ended, Forget, Frame,
    Heartbeat, Held, Life, LifeId, Listed, Listing, Moment, Ops, OpsWanted, Outcome, Probe, Probed,
    Ready, Refused, Request, Requests, Response, Responses, Roster, Seal, Snapshot, Suspected,
    Swim, Wish,
};
use flock_proto::{
    BirdName, CallHead, CallId, CallKind, Cause, Compared, Dot, Fence, Fingerprint, Hlc, MessageId,
    NestId, NestName, NestState, Registry, RegistryConfig, ReplyHead, SpeciesId, Status, Vector,
};

/// The species of [`Tally`](crate::tally::Tally), by its wire name.
pub const TALLY: SpeciesId = SpeciesId::of("tally");

/// The message [`One`](crate::tally::One), by its wire name.
pub const ONE: MessageId = MessageId::of("One");

/// `One`, as it travels.
pub const ONE_BODY: &[u8] = b"\x90";

/// No call of an honest nest has this place in its table.
const NO_CALL: CallId = CallId { slot: 0x7fff_fff1, generation: 0x7fff_fff3 };

fn bird() -> BirdName {
    BirdName::new("robin").expect("a name")
}

fn dot(seq: u64) -> Dot {
    Dot { origin: NestId(0x0123_4567_89ab_cdef), seq }
}

fn life() -> Life {
    Life { name: bird(), birth: dot(3), fence: Fence(9) }
}

fn snapshot() -> Snapshot {
    let of = LifeId(NestId(5), Fence(8));
    Snapshot {
        species: TALLY,
        life: of,
        number: Some(2),
        past: vec![Moment(of, Some(1)), Moment(LifeId(NestId(6), Fence(7)), None)],
        state: Bytes::from_static(b"what it had in mind"),
    }
}

fn registry(id: u64, birds: u64) -> Registry {
    let mut registry = Registry::new(NestId(id), RegistryConfig::default());
    for n in 0..birds {
        let name = BirdName::new(&format!("sample-{n}")).expect("a name");
        registry.start(&name, TALLY, b"args", n, Hlc(4096 + n));
    }
    registry
}

/// A frame of the core of each kind, some kinds in several shapes.
pub fn control_frames() -> Vec<Frame> {
    let mut one = registry(0xaaaa, 3);
    let mut other = registry(0xbbbb, 2);
    let delta = one.take_delta().expect("three birds were started");
    let opening = one.opening(false, true);
    let wanted = match other.compare(NestId(0xaaaa), &opening) {
        Compared::Going(_, Some(wanted)) => wanted,
        odd => panic!("it lacks three birds: {odd:?}"),
    };
    let told = one.ranges(&wanted).expect("it can be read");
    one.remove(&BirdName::new("sample-1").expect("a name"), Cause::Stopped);
    let removed = one.take_delta().expect("one was stopped");
    let mut vector = Vector::new();
    vector.raise(dot(7));
    let listing = vec![Listed { name: bird(), birth: dot(3), fence: Fence(9) }];
    let carried =
        Carried { snapshot: Some(snapshot()), others: vec![snapshot()], standby: true, copy: true };
    let start = Wish::Start { species: TALLY, args: Bytes::from_static(b"\x07"), or_get: true };
    let request = |wish| Request {
        id: 8,
        name: bird(),
        wish,
        token: 9,
        again: true,
        remaining: Duration::from_millis(7003),
    };
    let wishes = [start, Wish::Stop, Wish::Revive, Wish::Undo { start: 5, token: 6 }];
    let outcomes = [
        Outcome::Started { fresh: true },
        Outcome::AlreadyExists { species: TALLY },
        Outcome::HatchFailed { reason: "no luck".into() },
        Outcome::UnknownSpecies,
        Outcome::NoSuchBird,
    ];
    let response = |outcome| Response { id: 8, outcome, op: Some(dot(2)) };
    let card = Card {
        id: NestId(7),
        name: NestName::new("sample").expect("a name"),
        address: "127.0.0.1:1".into(),
        state: NestState::Up,
        weight: 2,
        unlinked: vec![NestId(9)],
        left: false,
        renewed: true,
        due: 3,
        rebalances: 1,
        version: 3,
    };
    let status = |vector| Status { known: 1, digest: 2, vector, answer: true, wants: true };
    let mut frames = vec![
        Frame::Heartbeat(Heartbeat { cards: 0x1122_3344_5566_7788 }),
        Frame::Swim(Swim { packet: Bytes::from_static(b"\x01") }),
        Frame::Roster(Roster { cards: vec![card.clone(), card] }),
        Frame::Probe(Probe { target: NestId(7) }),
        Frame::Probed(Probed { target: NestId(7), refused: true }),
        Frame::Goodbye(()),
        Frame::Held(Held { vector: vector.clone(), up: vec![NestId(7)] }),
        Frame::Suspected(Suspected { incarnation: 300 }),
        Frame::Status(status(None)),
        Frame::Status(status(Some(vector.clone()))),
        Frame::Ops(Ops { delta: delta.clone(), ack: true }),
        Frame::Ops(Ops { delta: removed, ack: false }),
        Frame::Acked(Acked { seq: 7 }),
        Frame::Ranges(opening),
        Frame::RangesWanted(wanted),
        Frame::OpsWanted(OpsWanted {
            after: BTreeMap::from([(NestId(7), 1), (NestId(9), 70_000)]),
        }),
        Frame::Listing(Listing { seal: 5, part: 1, listing: listing.clone() }),
        Frame::Seal(Seal {
            view: Fingerprint(7),
            seq: 5,
            known: 6,
            vector: Some(vector),
            wanted: true,
            listing,
            parts: 1,
        }),
        Frame::Ready(Ready { view: Fingerprint(7), seal: 5 }),
        Frame::Depart(Depart { life: life(), crashes: vec![Duration::from_secs(3)], carried }),
        Frame::Hatched(life()),
        Frame::Refused(Refused { life: life(), view: Fingerprint(7) }),
        Frame::Gone(life()),
        Frame::Ended(Ended {
            name: bird(),
            birth: dot(3),
            fence: Fence(9),
            after: 7,
            left: Some(snapshot()),
        }),
        Frame::Checkpoint(Checkpoint { life: life(), number: 4, snapshot: snapshot() }),
        Frame::Checkpointed(Checkpointed { name: bird(), number: 4, refused: true }),
        Frame::Forget(Forget { life: life(), number: 4 }),
        Frame::Requests(Requests {
            origin: NestId(2),
            hops: 0,
            known: 1,
            oldest: 4,
            requests: wishes.map(request).into(),
        }),
        Frame::Responses(Responses {
            responses: outcomes.map(response).into(),
            delta: Some(delta),
        }),
        Frame::Claims(Claims { ids: vec![8, 70_000] }),
        Frame::Claimed(Claimed { granted: vec![8], closed: vec![9] }),
    ];
    frames.extend(told.into_iter().map(Frame::Ranges));
    frames
}

/// A frame of each kind that goes over data links, to this nest from that one, about this bird.
pub fn data_frames(dest: NestId, origin: NestId, bird: &str) -> Vec<Vec<u8>> {
    let retries = [CallKind::Retry { call: true }, CallKind::Retry { call: false }];
    let calls = [CallKind::Call, CallKind::Cast].into_iter().chain(retries).map(|kind| {
        let head = CallHead {
            kind,
            redirected: false,
            hop: 0,
            fingerprint: Fingerprint(7),
            hlc: Hlc(4096),
            id: NO_CALL,
            origin,
            dest,
            remaining: Duration::from_secs(5),
            species: TALLY,
            message: ONE,
            name: bird,
        };
        let mut frame = Vec::new();
        head.write(&mut frame);
        frame.extend_from_slice(ONE_BODY);
        frame
    });
    let reply =
        |code| ReplyHead { redirected: false, hop: 0, code, hlc: Hlc(4096), id: NO_CALL, dest };
    let replies = [(0, ONE_BODY), (4, b"the panic, in words")].map(|(code, body)| {
        let mut frame = Vec::new();
        reply(code).write(&mut frame);
        frame.extend_from_slice(body);
        frame
    });
    let mut passed = Vec::new();
    reply(2).write_passed(NestId(9), &mut passed);
    calls.chain(replies).chain([passed]).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use flock_proto::DataFrame;
    use flock_proto::wire::{FrameError, HEADER, Header};

    use super::*;

    #[test]
    fn there_is_a_good_frame_of_each_kind() {
        let header = Header { hops: 0, stamp: Hlc(1), author: NestId(2), dest: NestId(3) };
        let frames = control_frames();
        let encoded: Vec<_> = frames.iter().map(|frame| frame.encode(header)).collect();
        for (frame, bytes) in frames.iter().zip(&encoded) {
            assert_eq!(Frame::decode(bytes).as_ref(), Ok(frame));
        }
        let has: BTreeSet<u8> = encoded.iter().map(|bytes| bytes[1]).collect();
        let known = |kind: &u8| {
            let mut bytes = [0; HEADER];
            bytes[1] = *kind;
            Frame::decode(&bytes) != Err(FrameError::Kind(*kind))
        };
        assert_eq!(has, (0..=255).filter(known).collect());
        for frame in data_frames(NestId(1), NestId(2), "robin") {
            assert!(DataFrame::read(&frame).is_ok());
        }
    }

    #[test]
    fn a_tally_understands_the_call() {
        use crate::tally::{One, Tally};
        use flock_actix::__private::Plumage;
        use flock_actix::Hears;

        assert_eq!(rmp_serde::to_vec_named(&One).expect("a unit"), ONE_BODY);
        assert_eq!(SpeciesId::of(<Tally as Plumage>::SPECIES), TALLY);
        assert_eq!(<Tally as Hears<One>>::ID, ONE);
    }
}
