//! Writes the seeds: a frame of each kind, and what else is said, as this version writes it.

use std::collections::BTreeMap as Map;
use std::path::Path;
use std::time::Duration;
use std::{fs, io};

use bytes::Bytes;
use flock_actix::testing::decoders::encoded;
use flock_proto::wire::*;
use flock_proto::{
    BirdName, Cause, Dot, Fence, Fingerprint, Hlc, MessageId, NestId, NestName, NestState,
    RangesWanted, Registry, RegistryConfig, SpeciesId, Status, Vector,
};
use serde::Serialize;
use serde_bytes::ByteBuf;

const AT: Dot = Dot { origin: NestId(0xaaaa), seq: 2 };

fn main() -> io::Result<()> {
    let seeds = Path::new(env!("CARGO_MANIFEST_DIR")).join("seeds");
    write(&seeds.join("control"), frames().iter().map(|frame| frame.encode(header()).to_vec()))?;
    write(&seeds.join("data"), data())?;
    write(&seeds.join("registry"), registry_steps())?;
    let fed = frames().into_iter().map(|frame| step(0, frame.encode(header()))).chain(swim());
    write(&seeds.join("nest"), fed)?;
    write(&seeds.join("swim"), (0..11).map(|tag| packet(tag).to_vec()))?;
    write(&seeds.join("names"), names())?;
    write(&seeds.join("word"), words())?;
    write(&seeds.join("knock"), knocks())?;
    write(&seeds.join("record"), records())?;
    write(&seeds.join("frames"), streams())?;
    write(&seeds.join("payload"), payloads())
}

fn write(to: &Path, seeds: impl IntoIterator<Item = Vec<u8>>) -> io::Result<()> {
    let _ = fs::remove_dir_all(to);
    fs::create_dir_all(to)?;
    for (n, seed) in seeds.into_iter().enumerate() {
        fs::write(to.join(format!("{n:02}")), seed)?;
    }
    Ok(())
}

fn header() -> Header {
    Header { hops: 0, stamp: Hlc(1_700_000_000_000_000 << 12), author: AT.origin, dest: NestId(4) }
}

fn bird() -> BirdName {
    BirdName::new("robin").expect("a name")
}

fn life() -> Life {
    Life { name: bird(), birth: AT, fence: Fence(7) }
}

fn snapshot() -> Snapshot {
    let life = LifeId(NestId(9), Fence(7));
    let past = vec![Moment(LifeId(NestId(8), Fence(6)), Some(3)), Moment(life, None)];
    Snapshot {
        species: SpeciesId(5),
        life,
        number: Some(4),
        past,
        state: Bytes::from_static(b"state"),
    }
}

fn register(me: u64) -> Registry {
    Registry::new(NestId(me), RegistryConfig::default())
}

/// A register with all that can be in one.
fn full() -> Registry {
    let (mut a, mut b) = (register(0xaaaa), register(0xbbbb));
    for n in 0..4 {
        let name = BirdName::new(&format!("bird-{n}")).expect("a name");
        a.start(&name, SpeciesId(5), b"xyz", 300 + n, Hlc(4096 + n));
    }
    let named = |n: u8| BirdName::new(&format!("bird-{n}")).expect("a name");
    let _ = b.join(&a.delta_since(&Vector::new()).expect("all"));
    let grounding = flock_proto::Grounding { reason: "ow".into(), crashes: 3 };
    b.overwrite(&named(1), Hlc(9000), Some(grounding));
    b.end(&named(2), Fence(0x0102_0304));
    b.remove(&named(3), Cause::Stopped);
    let _ = a.join(&b.delta_since(&Vector::new()).expect("all"));
    a
}

fn status(vector: bool) -> Status {
    let all = full();
    let vector = vector.then(|| all.vector().clone());
    Status { known: all.vector_digest(), digest: all.digest(), vector, answer: true, wants: true }
}

fn wanted() -> RangesWanted {
    match register(3).compare(AT.origin, &full().opening(false, false)) {
        flock_proto::Compared::Going(_, Some(wanted)) => wanted,
        other => panic!("{other:?}"),
    }
}

fn frames() -> Vec<Frame> {
    let name = NestName::new("peer-0").expect("a name");
    let card = |due| Card {
        id: AT.origin,
        name: name.clone(),
        address: "0".into(),
        state: NestState::Up,
        weight: 2,
        unlinked: vec![NestId(9)],
        left: false,
        renewed: true,
        due,
        rebalances: due.into(),
        version: 3,
    };
    let view = Fingerprint(7);
    let listed = vec![Listed { name: bird(), birth: AT, fence: Fence(7) }];
    let request = |id, wish| {
        let remaining = Duration::from_secs(5);
        Request { id, name: bird(), wish, token: 9, again: false, remaining }
    };
    let start =
        Wish::Start { species: SpeciesId(5), args: Bytes::from_static(b"abc"), or_get: true };
    let undo = Wish::Undo { start: 5, token: 6 };
    let wishes = [start, Wish::Stop, Wish::Revive, undo].into_iter().zip(1..);
    let requests = wishes.map(|(wish, id)| request(id, wish)).collect();
    let outcomes = [
        Outcome::Started { fresh: true },
        Outcome::AlreadyExists { species: SpeciesId(5) },
        Outcome::HatchFailed { reason: "ow".into() },
        Outcome::Stopped,
    ];
    let responses = outcomes.map(|outcome| Response { id: 8, outcome, op: Some(AT) }).into();
    let delta = full().delta_since(&Vector::new()).expect("all");
    let carried =
        Carried { snapshot: Some(snapshot()), others: vec![snapshot()], standby: true, copy: true };
    vec![
        Frame::Heartbeat(Heartbeat { cards: 5 }),
        Frame::Swim(Swim { packet: packet(0) }),
        Frame::Roster(Roster { cards: vec![card(0), card(2)] }),
        Frame::Probe(Probe { target: NestId(9) }),
        Frame::Probed(Probed { target: NestId(9), refused: true }),
        Frame::Goodbye(()),
        Frame::Held(Held { vector: full().vector().clone(), up: vec![AT.origin] }),
        Frame::Suspected(Suspected { incarnation: 3 }),
        Frame::Status(status(true)),
        Frame::Status(status(false)),
        Frame::Ops(Ops { delta: delta.clone(), ack: true }),
        Frame::Acked(Acked { seq: 2 }),
        Frame::Ranges(full().opening(false, true)),
        Frame::RangesWanted(wanted()),
        Frame::OpsWanted(OpsWanted { after: [(AT.origin, 2)].into() }),
        Frame::Listing(Listing { seal: 1, part: 0, listing: listed.clone() }),
        Frame::Seal(Seal {
            view,
            seq: 1,
            known: 2,
            vector: Some(full().vector().clone()),
            wanted: true,
            listing: listed,
            parts: 0,
        }),
        Frame::Ready(Ready { view, seal: 5 }),
        Frame::Depart(Depart { life: life(), crashes: vec![Duration::from_millis(7)], carried }),
        Frame::Hatched(life()),
        Frame::Refused(Refused { life: life(), view }),
        Frame::Gone(life()),
        Frame::Ended(Ended {
            name: bird(),
            birth: AT,
            fence: Fence(7),
            after: 2,
            left: Some(snapshot()),
        }),
        Frame::Checkpoint(Checkpoint { life: life(), number: 4, snapshot: snapshot() }),
        Frame::Checkpointed(Checkpointed { name: bird(), number: 4, refused: true }),
        Frame::Forget(Forget { life: life(), number: 4 }),
        Frame::Requests(Requests { origin: AT.origin, hops: 0, known: 1, oldest: 1, requests }),
        Frame::Responses(Responses { responses, delta: Some(delta) }),
        Frame::Claims(Claims { ids: vec![8] }),
        Frame::Claimed(Claimed { granted: vec![8], closed: vec![9] }),
    ]
}

/// As foca's packets are laid by hand: who, to whom, what, and members.
fn packet(tag: u8) -> Bytes {
    let put = |to: &mut Vec<u8>, id: u64, name: &str| {
        to.extend_from_slice(&id.to_le_bytes());
        to.extend_from_slice(&[0, 0, 0, 0, name.len() as u8]);
        to.extend_from_slice(name.as_bytes());
    };
    let mut bytes = Vec::new();
    put(&mut bytes, AT.origin.0, "peer-0");
    bytes.extend_from_slice(&[1, 0]);
    put(&mut bytes, 4, "nest");
    bytes.push(tag);
    if (2..6).contains(&tag) {
        put(&mut bytes, 0xbbbb, "peer-1");
    }
    if tag < 6 {
        bytes.push(1);
    }
    bytes.extend_from_slice(&[0, 1]);
    put(&mut bytes, 0xbbbb, "peer-1");
    bytes.extend_from_slice(&[0, 0, 1]);
    bytes.into()
}

/// A frame for the nest under test, as its target takes it.
fn step(who: u8, frame: Bytes) -> Vec<u8> {
    let body = &frame[HEADER..];
    let len = (body.len() as u16).to_le_bytes();
    [&[who, frame[1]], &len[..], body].concat()
}

/// Packets of SWIM, and what two nests say that come together.
fn swim() -> Vec<Vec<u8>> {
    let swim = |tag| step(0, Frame::Swim(Swim { packet: packet(tag) }).encode(header()));
    let mut all: Vec<_> = (0..11).map(swim).collect();
    let frames = frames().into_iter().map(|frame| step(0x40, frame.encode(header())));
    all.push([vec![swim(6)], frames.take(12).collect()].concat().concat());
    all
}

fn data() -> Vec<Vec<u8>> {
    let id = CallId { slot: 7, generation: 8 };
    let retries = [CallKind::Retry { call: true }, CallKind::Retry { call: false }];
    let calls = [CallKind::Call, CallKind::Cast].into_iter().chain(retries);
    let mut all: Vec<_> = calls
        .map(|kind| {
            let mut out = Vec::new();
            let head = CallHead {
                kind,
                redirected: true,
                hop: 2,
                fingerprint: Fingerprint(1),
                hlc: Hlc(2),
                id,
                origin: NestId(3),
                dest: NestId(4),
                remaining: Duration::from_secs(5),
                species: SpeciesId(6),
                message: MessageId(7),
                name: "robin",
            };
            head.write(&mut out);
            [&out, &b"pay"[..]].concat()
        })
        .collect();
    let head = ReplyHead { redirected: false, hop: 1, code: 9, hlc: Hlc(1), id, dest: NestId(2) };
    let (mut reply, mut passed) = (Vec::new(), Vec::new());
    head.write(&mut reply);
    head.write_passed(NestId(3), &mut passed);
    all.extend([[&reply, &b"why"[..]].concat(), passed]);
    all
}

/// What the registry's target takes in, one after the other.
fn registry_steps() -> Vec<Vec<u8>> {
    let step = |what: u8, how: u8, bytes: &[u8]| {
        [&[what, how], &(bytes.len() as u16).to_le_bytes()[..], bytes].concat()
    };
    let flat =
        |value: &dyn Fn() -> Vec<u8>| rmp_serde::from_slice::<ByteBuf>(&value()).expect("bytes");
    let named = |vector| flat(&|| named(&status(vector)));
    let (full, wanted) = (full(), wanted());
    let delta = flat(&|| self::named(&full.delta_since(&Vector::new())));
    let own = flat(&|| self::named(&full.delta_of_mine(0)));
    let opening = full.opening(false, false);
    let told = full.ranges(&wanted).expect("an answer");
    let records = &told.first().expect("one").items;
    let all = [
        step(0, 0, &delta),
        step(0, 0, &own),
        step(1, 0x20, &opening.items),
        [step(1, 0x20, &opening.items), step(1, 0x23, records)].concat(),
        step(2, 0, &wanted.items),
        step(3, 0, &named(true)),
        step(3, 0, &named(false)),
        [step(0, 0, &delta), step(2, 0, &wanted.items), step(0, 0, &own)].concat(),
    ];
    all.into()
}

fn named(value: &impl Serialize) -> Vec<u8> {
    rmp_serde::to_vec_named(value).expect("it is written")
}

fn names() -> Vec<Vec<u8>> {
    let key = flock_fuzz::key().reveal();
    ["robin", "Zaunkönig", "bird/7", "\u{85}", &key, "XCwKcdToWzbHEY+iYE3jm3xVEuCtmEbzsdcOaijElT8="]
        .map(|text| text.as_bytes().to_vec())
        .into_iter()
        .chain([named(&"robin"), named(&"x".repeat(255))])
        .collect()
}

#[derive(Clone, Serialize)]
struct Hello {
    magic: &'static str,
    flock: &'static str,
    min: u8,
    max: u8,
    nest: &'static str,
    id: u64,
    address: &'static str,
    clock: u64,
    link: &'static str,
    nonce: u64,
    seats: u8,
    seat: Option<u8>,
}

#[derive(Serialize)]
struct Refuse {
    code: u8,
    why: &'static str,
    above: u64,
}

fn words() -> Vec<Vec<u8>> {
    let hello = Hello {
        magic: "flock",
        flock: "canaries",
        min: 1,
        max: 1,
        nest: "nest-1",
        id: 7,
        address: "127.0.0.1:7101",
        clock: 9,
        link: "Control",
        nonce: 11,
        seats: 2,
        seat: None,
    };
    let welcome = Hello { link: "Data", seat: Some(1), ..hello.clone() };
    let refuse = Refuse { code: 4, why: "no", above: 8 };
    let word = |kind, body: Vec<u8>| [&[WIRE_VERSION, kind], &body[..]].concat();
    vec![word(1, named(&hello)), word(2, named(&welcome)), word(3, named(&refuse)), vec![1, 6, 2]]
}

fn knocks() -> Vec<Vec<u8>> {
    let message: Vec<u8> = (0..48).collect();
    vec![[&[1, 4], &message[..]].concat(), [&[1, 5], &message[..]].concat(), vec![1, 6, 2]]
}

fn records() -> Vec<Vec<u8>> {
    let flushes =
        |how| [&[how, 3, 5, 0][..], b"first", &[6, 0], b"second", &[5, 0], b"third"].concat();
    let edit = |what: u8, at: u8, byte| [&flushes(0x43)[..], &[what, at, 0, byte]].concat();
    let made_up = [&[1, 0, 30, 0][..], &[7; 40]].concat();
    vec![
        made_up,
        flushes(2),
        edit(0, 9, 1),
        edit(1, 30, 0),
        edit(2, 23, 9),
        edit(3, 0, 23),
        edit(4, 0, 10),
    ]
}

fn streams() -> Vec<Vec<u8>> {
    let frames = |how| [&[how, 5, 3, 0, 0, 0][..], b"abc", &[0; 4], &[1, 0, 0, 0], b"x"].concat();
    let large = |how| [&[how, 5, 3, 0, 0, 0][..], b"abc", &[0x20, 0x4e, 0, 0]].concat();
    let too_long = vec![0, 5, 1, 4, 0, 0];
    vec![frames(0), frames(1), frames(5), large(3), large(7), too_long]
}

fn payloads() -> Vec<Vec<u8>> {
    let shape =
        |shape: u8, bytes: Option<Vec<u8>>| [&[shape], &bytes.expect("encodable")[..]].concat();
    let order = Order {
        id: 300,
        note: Some("quick"),
        lines: (Line::Nothing, [("Price", Price { of: 'x', cents: -300, rate: 0.5 })].into()),
        blob: ByteBuf::from(vec![7; 20]),
        bird: Some("robin"),
        at: 4096,
    };
    vec![
        shape(0, encoded(&ByteBuf::from(vec![7; 40]))),
        shape(1, encoded(&"some text")),
        shape(2, encoded(&vec![1u64, 300, 70_000, 1 << 40])),
        shape(3, encoded(&vec![vec![Some("a"), None], vec![]])),
        shape(4, encoded(&vec![Map::from([("a", Some(ByteBuf::from(vec![7; 3]))), ("b", None)])])),
        shape(5, encoded(&Map::from([("a", Map::from([(1u8, vec!["x", "y"])]))]))),
        shape(6, encoded(&order)),
        shape(7, encoded(&Some(vec![(-100i8, Some(0.5f32), 'x', ())]))),
    ]
}

#[derive(Serialize)]
struct Order {
    id: u64,
    note: Option<&'static str>,
    lines: (Line, Map<&'static str, Price>),
    blob: ByteBuf,
    bird: Option<&'static str>,
    at: u64,
}

#[derive(Serialize)]
enum Line {
    Nothing,
}

#[derive(Serialize)]
struct Price {
    of: char,
    cents: i32,
    rate: f64,
}
