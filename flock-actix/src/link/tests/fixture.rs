//! A body without a mind: links on a real socket, and sinks that write down what they hear.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use flock_proto::{Event, Input, Member, NestId, NestName, NestState, Via, View};

use crate::data_link::{DataLink, DataSink};
use crate::host::Host;
use crate::link::{ControlSink, Identity, Links, Plan, lock};
use crate::net::Door;
use crate::rt::Crew;

#[derive(Debug, Default)]
pub(super) struct Heard {
    pub(super) inputs: Mutex<Vec<Input>>,
    pub(super) events: Mutex<Vec<Event>>,
    pub(super) frames: Mutex<Vec<Vec<u8>>>,
    pub(super) closed: Mutex<Vec<Vec<u8>>>,
    /// Data links that brought a frame.
    pub(super) links: Mutex<Vec<Arc<dyn DataLink>>>,
    pub(super) taken: AtomicBool,
}

impl ControlSink for Heard {
    fn on_input(&self, input: Input) {
        lock(&self.inputs).push(input);
    }

    fn on_event(&self, event: Event) {
        lock(&self.events).push(event);
    }

    fn on_name_taken(&self) {
        self.taken.store(true, Ordering::Release);
    }

    fn is_full(&self) -> bool {
        false
    }
}

impl DataSink for Heard {
    fn on_frame(&self, link: &Arc<dyn DataLink>, frame: &[u8]) {
        lock(&self.frames).push(frame.to_vec());
        lock(&self.links).push(link.clone());
    }

    fn on_closed(&self, _: &Arc<dyn DataLink>, unwritten: &[u8]) {
        lock(&self.closed).push(unwritten.to_vec());
    }
}

pub(super) struct Body {
    pub(super) id: NestId,
    pub(super) name: NestName,
    pub(super) address: String,
    pub(super) links: Arc<Links>,
    pub(super) heard: Arc<Heard>,
}

impl Drop for Body {
    fn drop(&mut self) {
        self.links.close();
    }
}

pub(super) async fn body(name: &str, id: u64) -> Body {
    body_of("canaries", name, id).await
}

pub(super) async fn body_of(flock: &str, name: &str, id: u64) -> Body {
    let plan =
        Plan { handshake: Duration::from_millis(500), data_limit: 64 * 1024, ..Plan::default() };
    body_with(flock, name, id, plan).await
}

pub(super) async fn body_with(flock: &str, name: &str, id: u64, plan: Plan) -> Body {
    let door = Door::open(&Host::Machine, &["127.0.0.1:0".parse().unwrap()]).await.unwrap();
    let (id, name) = (NestId(id), NestName::new(name).unwrap());
    let address = door.address().unwrap().to_string();
    let me = Identity {
        flock: flock.into(),
        nest: name.clone(),
        id,
        address: address.clone(),
        seats: 0,
    };
    let heard = Arc::new(Heard::default());
    let links = Links::new(me, plan, Crew::here(), heard.clone(), heard.clone());
    links.accept(door);
    Body { id, name, address, links, heard }
}

impl Body {
    pub(super) fn inputs(&self, which: impl Fn(&Input) -> bool) -> usize {
        lock(&self.heard.inputs).iter().filter(|i| which(i)).count()
    }

    pub(super) fn opened(&self) -> usize {
        self.inputs(|i| matches!(i, Input::LinkOpened { .. }))
    }

    pub(super) fn closed(&self) -> usize {
        self.inputs(|i| matches!(i, Input::LinkClosed { .. }))
    }

    pub(super) fn frames(&self) -> Vec<Vec<u8>> {
        let frame = |input: &Input| match input {
            Input::Frame { frame, .. } => Some(frame.to_vec()),
            _ => None,
        };
        lock(&self.heard.inputs).iter().filter_map(frame).collect()
    }

    pub(super) fn failed(&self) -> Option<String> {
        lock(&self.heard.inputs).iter().find_map(|input| match input {
            Input::DialFailed { why, .. } => Some(why.clone()),
            _ => None,
        })
    }

    pub(super) fn events(&self) -> Vec<Event> {
        lock(&self.heard.events).clone()
    }

    /// Makes these known, as a view would.
    pub(super) fn knows(&self, others: &[&Body]) {
        let member = |of: &&Body| Member {
            id: of.id,
            name: of.name.clone(),
            address: of.address.as_str().into(),
            state: NestState::Up,
            weight: 1,
            due: 0,
            via: Via::Link,
        };
        let view = View::new(self.id, others.iter().map(member).collect());
        self.links.publish(Arc::new(view));
    }

    pub(super) async fn is_linked_to(&self, other: &Body) {
        self.links.dial(other.address.clone());
        until(|| self.opened() > 0 && other.opened() > 0).await;
    }
}

pub(super) fn control(text: &str) -> Vec<u8> {
    [&[1, 10], text.as_bytes()].concat()
}

pub(super) fn data(text: &str) -> Vec<u8> {
    [&[1, 100], text.as_bytes()].concat()
}

#[track_caller]
pub(super) fn until(mut done: impl FnMut() -> bool) -> impl Future<Output = ()> {
    let asked = std::panic::Location::caller();
    async move {
        let start = Instant::now();
        while !done() {
            assert!(start.elapsed() < Duration::from_secs(5), "not even after 5 s: {asked}");
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }
}

/// Links `a` to `b` by way of somebody who hears all that is sent, at least `least` bytes for so many
/// secrets, and changes the byte at `meddle`. Nothing is to be read there, and a change is to be noticed.
#[cfg(any(feature = "noise", feature = "tls"))]
pub(super) async fn overheard(a: Body, b: Body, count: usize, meddle: Option<usize>, least: usize) {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    let ear = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (way, to) = (ear.local_addr().unwrap().to_string(), b.address.clone());
    let relay = tokio::spawn(async move {
        let (mut near, _) = ear.accept().await.unwrap();
        let mut far = tokio::net::TcpStream::connect(to).await.unwrap();
        let (mut heard, mut some, mut more) = (Vec::new(), vec![0; 5000], vec![0; 5000]);
        loop {
            tokio::select! {
                n = near.read(&mut some) => {
                    let Ok(n @ 1..) = n else { return heard };
                    let at = heard.len();
                    heard.extend_from_slice(&some[..n]);
                    if let Some(byte) = meddle.filter(|byte| (at..at + n).contains(byte)) {
                        some[byte - at] ^= 1;
                    }
                    let _ = far.write_all(&some[..n]).await;
                }
                n = far.read(&mut more) => {
                    let Ok(n @ 1..) = n else { return heard };
                    let _ = near.write_all(&more[..n]).await;
                }
            }
        }
    });
    a.links.dial(way);
    until(|| a.opened() == 1 && b.opened() == 1).await;
    let secrets: Vec<_> = (0..count).map(|n| control(&format!("a secret of birds {n}"))).collect();
    secrets.iter().for_each(|secret| a.links.send(b.id, secret));
    if meddle.is_some() {
        until(|| b.closed() == 1).await;
        let bad = |e: &Event| matches!(e, Event::BadFrame { from: Some(_), .. });
        assert!(b.events().iter().any(bad), "{:?}", b.events());
        assert!(secrets.starts_with(&b.frames()) && b.frames().len() < count);
    } else {
        until(|| b.frames() == secrets).await;
    }
    drop((a, b));
    let heard = relay.await.unwrap();
    assert!(heard.len() > least);
    for secret in [&b"secret"[..], b"canaries", b"magic"] {
        assert!(!heard.windows(secret.len()).any(|some| some == secret), "it is hidden");
    }
}
