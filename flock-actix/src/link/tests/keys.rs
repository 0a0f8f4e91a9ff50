//! Nests with a key: who comes in, and what becomes of those who haven't got it.

use std::sync::atomic::Ordering;
use std::time::Duration;

use flock_proto::Event;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::fixture::{Body, body, body_with, control, data, overheard, until};
use crate::data_link::{LinkError, Links as _};
use crate::link::frame::MAX_HELLO;
use crate::link::hello::{LinkKind, Word};
use crate::link::knock::{Bar, Knock};
use crate::link::noise::Session;
use crate::link::noise::tests::ring;
use crate::link::{Plan, lock};

async fn locked_of(flock: &str, name: &str, id: u64, keys: &[u8]) -> Body {
    let plan = Plan {
        keys: Some(ring(keys)),
        handshake: Duration::from_millis(1500),
        data_limit: 64 * 1024,
        ..Plan::default()
    };
    body_with(flock, name, id, plan).await
}

async fn locked(name: &str, id: u64, keys: &[u8]) -> Body {
    locked_of("canaries", name, id, keys).await
}

fn refusals(of: &Body) -> Vec<String> {
    let why = |event| match event {
        Event::Refused { why, .. } => Some(why),
        _ => None,
    };
    of.events().into_iter().filter_map(why).collect()
}

async fn frame_of(stream: &mut TcpStream) -> Vec<u8> {
    let length = stream.read_u32_le().await.unwrap();
    let mut frame = vec![0; length as usize];
    stream.read_exact(&mut frame).await.unwrap();
    frame
}

/// What comes until the connection ends, which it does soon.
async fn rest_of(stream: &mut TcpStream) -> Vec<u8> {
    let mut rest = Vec::new();
    let end = tokio::time::timeout(Duration::from_secs(5), stream.read_to_end(&mut rest)).await;
    // Whoever hangs up in the middle of a word may do so by a reset.
    let _ = end.expect("it is left open");
    rest
}

async fn still_links(a: &Body) {
    let b = locked("honest", 77, &[1]).await;
    b.is_linked_to(a).await;
    b.links.send(a.id, &control("hello"));
    until(|| a.frames().contains(&control("hello"))).await;
}

/// A stranger that gets as far as one can with this key, or with what it overheard.
async fn session(at: &Body, key: u8) -> (TcpStream, Session) {
    let mut stream = TcpStream::connect(&at.address).await.unwrap();
    let (call, first) = ring(&[key]).call("canaries").unwrap();
    stream.write_all(&Knock::Lock(&first).encode()).await.unwrap();
    let answer = frame_of(&mut stream).await;
    let Some(Knock::Unlock(second)) = Knock::decode(&answer) else { panic!("{answer:?}") };
    (stream, call.finish(second).unwrap())
}

fn sealed(session: &mut Session, bytes: &[u8]) -> Vec<u8> {
    let wire = std::cell::RefCell::new(Vec::new());
    let write = |some: &[u8]| {
        wire.borrow_mut().extend_from_slice(some);
        Ok(some.len())
    };
    assert_eq!(session.sealer.try_write(bytes, write).unwrap(), bytes.len());
    wire.into_inner()
}

fn hello(of: &Body) -> Vec<u8> {
    Word::Hello(of.links.hello(LinkKind::Control, 1)).encode().to_vec()
}

#[tokio::test]
async fn nests_with_one_key_link_and_frames_of_all_sizes_pass_both_ways() {
    let (a, b) = (locked("a", 1, &[1]).await, locked("b", 2, &[1]).await);
    a.is_linked_to(&b).await;
    let large = control(&"x".repeat(3 << 20));
    a.links.send(b.id, &large);
    b.links.send(a.id, &control("to a"));
    until(|| b.frames() == [large.clone()] && a.frames() == [control("to a")]).await;
    a.knows(&[&a, &b]);
    let link = a.links.data(b.id, None).unwrap();
    for len in [1, 1000, 16 * 1024 + 1, 65_519 - 6, 65_520 - 6, 1 << 20, 16 << 20] {
        let body: Vec<u8> = (0..len).map(|i| (i * 31 % 251) as u8).collect();
        while link.append(&data("")[..], &body) == Err(LinkError::Full) {
            link.drained().await;
        }
        until(|| lock(&b.heard.frames).last().is_some_and(|f| f[2..] == body)).await;
    }
    let back = lock(&b.heard.links)[0].clone();
    back.append(&data("reply"), &[]).unwrap();
    until(|| *lock(&a.heard.frames) == [data("reply")]).await;
    assert_eq!(a.closed() + b.closed(), 0);
}

#[tokio::test]
async fn frames_keep_their_order_whoever_writes_them() {
    let (a, b) = (locked("a", 1, &[1]).await, locked("b", 2, &[1]).await);
    a.knows(&[&a, &b]);
    let link = a.links.data(b.id, None).unwrap();
    let frames: Vec<_> = (0..2000).map(|n| data(&n.to_string().repeat(n % 90))).collect();
    for frame in &frames {
        while link.append(frame, &[]) == Err(LinkError::Full) {
            link.drained().await;
        }
    }
    until(|| lock(&b.heard.frames).len() == frames.len()).await;
    assert_eq!(*lock(&b.heard.frames), frames);
}

#[tokio::test]
async fn a_new_key_comes_in_beside_the_old_one_and_the_old_one_goes() {
    let (old, both) = (locked("old", 1, &[1]).await, locked("both", 2, &[1, 2]).await);
    let (turned, new) = (locked("turned", 3, &[2, 1]).await, locked("new", 4, &[2]).await);
    for (dials, to) in [(&old, &both), (&both, &old), (&old, &turned), (&both, &turned)] {
        dials.links.dial(to.address.clone());
    }
    for (dials, to) in [(&turned, &both), (&turned, &new), (&new, &turned), (&new, &both)] {
        dials.links.dial(to.address.clone());
    }
    let heard =
        |of: &Body, from: &[&str]| from.iter().all(|text| of.frames().contains(&control(text)));
    until(|| {
        old.links.send(both.id, &control("old"));
        new.links.send(both.id, &control("new"));
        turned.links.send(both.id, &control("turned"));
        new.links.send(turned.id, &control("new"));
        heard(&both, &["old", "new", "turned"]) && heard(&turned, &["new"])
    })
    .await;
    assert_eq!(refusals(&both).len() + refusals(&turned).len(), 0);
    new.links.dial(old.address.clone());
    until(|| refusals(&old).len() == 1 && refusals(&new).len() == 1).await;
}

#[tokio::test]
async fn another_key_another_flock_and_none_at_all_are_told_at_both_ends() {
    let a = locked("a", 1, &[1]).await;
    let others = [
        (locked("b", 2, &[2]).await, "another key"),
        (locked_of("sparrows", "c", 3, &[1]).await, "another flock"),
        (body("d", 4).await, "no key"),
    ];
    for (n, (other, why)) in others.iter().enumerate() {
        other.links.dial(a.address.clone());
        until(|| other.failed().is_some() && refusals(&a).len() == 2 * n + 1).await;
        a.links.dial(other.address.clone());
        until(|| refusals(other).len() == 2 && refusals(&a).len() == 2 * n + 2).await;
        let told = [refusals(&a), refusals(other)].concat().join("\n");
        // Who has the other key, and who is of the other flock, can't be known.
        assert!(told.contains(why) || told.contains("another flock"), "{told}");
        assert_eq!(a.opened() + other.opened(), 0);
    }
    let bare = refusals(&others[2].0);
    assert!(
        bare.iter().any(|why| why.contains("it has a key, and this nest has none")),
        "{bare:?}"
    );
    still_links(&a).await;
}

#[tokio::test]
async fn whoever_says_an_overheard_first_message_again_gets_no_further() {
    let (a, b) = (locked("a", 1, &[1]).await, locked("b", 2, &[1]).await);
    // The stranger sits on the way, and hears all of an honest handshake.
    let ear = TcpListener::bind("127.0.0.1:0").await.unwrap();
    b.links.dial(ear.local_addr().unwrap().to_string());
    let (mut caller, _) = ear.accept().await.unwrap();
    let first = frame_of(&mut caller).await;
    let Some(Knock::Lock(message)) = Knock::decode(&first) else { panic!("{first:?}") };

    let mut replay = TcpStream::connect(&a.address).await.unwrap();
    replay.write_all(&Knock::Lock(message).encode()).await.unwrap();
    let answer = frame_of(&mut replay).await;
    assert!(matches!(Knock::decode(&answer), Some(Knock::Unlock(_))), "it can't be told yet");
    // Without the key no record can be made; this one is of another link.
    let (mut elsewhere, mut honest) = session(&a, 1).await;
    let record = sealed(&mut honest, &hello(&b));
    replay.write_all(&record).await.unwrap();
    until(|| refusals(&a).iter().any(|why| why.contains("doesn't open"))).await;
    assert_eq!(rest_of(&mut replay).await, [], "not a word comes back");
    assert_eq!(a.opened(), 0);
    // Where it belongs, it opens the link.
    elsewhere.write_all(&record).await.unwrap();
    until(|| a.opened() == 1).await;
}

#[tokio::test]
async fn a_hello_is_not_read_before_its_record_opens() {
    let (a, b) = (locked("a", 1, &[1]).await, body("b", 2).await);
    let (mut stream, _) = session(&a, 1).await;
    stream.write_all(&hello(&b)).await.unwrap();
    assert_eq!(rest_of(&mut stream).await, []);
    until(|| refusals(&a).len() == 1).await;
    assert_eq!(a.opened(), 0);
}

#[tokio::test]
async fn before_it_has_shown_the_key_nobody_may_say_more_than_1_kib() {
    let a = locked("a", 1, &[1]).await;
    for long in [1025, 1 << 24, u32::MAX] {
        let mut stream = TcpStream::connect(&a.address).await.unwrap();
        stream.write_all(&long.to_le_bytes()).await.unwrap();
        assert_eq!(rest_of(&mut stream).await, []);
    }
    assert_eq!(a.links.counts.bad.load(Ordering::Relaxed), 3);
    let (mut stream, mut session) = session(&a, 1).await;
    let record = sealed(&mut session, &[0; MAX_HELLO + 5]);
    // By its length alone.
    stream.write_all(&record[..2]).await.unwrap();
    assert_eq!(rest_of(&mut stream).await, []);
    until(|| refusals(&a).iter().filter(|why| why.contains("too long")).count() == 4).await;
    still_links(&a).await;
}

#[tokio::test]
async fn whoever_falls_silent_on_the_way_is_sent_away_in_time() {
    let a = locked("a", 1, &[1]).await;
    let silent = TcpStream::connect(&a.address).await.unwrap();
    let (half, _) = session(&a, 1).await;
    for mut stream in [silent, half] {
        assert_eq!(rest_of(&mut stream).await, []);
    }
    until(|| refusals(&a).iter().filter(|why| why.contains("in time")).count() == 2).await;
    still_links(&a).await;
}

#[tokio::test]
async fn a_word_from_somebody_without_the_key_moves_nobody() {
    // `NameTaken` would end a nest that joins, were it believed.
    let b = locked("b", 2, &[1]).await;
    let liar = TcpListener::bind("127.0.0.1:0").await.unwrap();
    b.links.dial(liar.local_addr().unwrap().to_string());
    let (mut stream, _) = liar.accept().await.unwrap();
    frame_of(&mut stream).await;
    let taken = crate::link::hello::Refuse::new(crate::link::hello::Reason::NameTaken, "a lie");
    stream.write_all(&Word::Refuse(taken).encode()).await.unwrap();
    until(|| b.failed().is_some()).await;
    assert!(!b.heard.taken.load(Ordering::Acquire));
}

#[tokio::test]
async fn garbage_gets_no_answer_and_a_flood_of_it_is_told_a_few_times_only() {
    let a = locked("a", 1, &[1]).await;
    for n in 0..100 {
        let mut stream = TcpStream::connect(&a.address).await.unwrap();
        let garbage = if n % 2 == 0 { &b"GET / HTTP/1.1\r\n\r\n"[..] } else { &[2, 0, 0, 0, 7, 7] };
        let _ = stream.write_all(garbage).await;
        assert_eq!(rest_of(&mut stream).await, []);
    }
    until(|| a.links.counts.refused.load(Ordering::Relaxed) == 100).await;
    assert!((16..40).contains(&refusals(&a).len()), "{}", refusals(&a).len());
    still_links(&a).await;
}

#[tokio::test]
async fn whoever_sits_on_the_way_reads_nothing_and_changes_nothing() {
    for meddle in [None, Some(4000)] {
        let (a, b) = (locked("a", 1, &[1]).await, locked("b", 2, &[1]).await);
        overheard(a, b, 200, meddle, 4000).await;
    }
}

#[tokio::test]
async fn what_a_nest_without_a_key_hears_of_one_with_a_key_is_one_byte() {
    let (a, b) = (locked("a", 1, &[1]).await, body("b", 2).await);
    let mut stream = TcpStream::connect(&a.address).await.unwrap();
    stream.write_all(&hello(&b)).await.unwrap();
    assert_eq!(rest_of(&mut stream).await, Knock::Barred(Bar::KeyNeeded).encode());
}

#[tokio::test]
async fn a_hello_in_pieces_is_heard_though_all_came_at_once() {
    let (a, b) = (locked("a", 1, &[1]).await, locked("b", 2, &[1]).await);
    let (mut stream, mut session) = session(&a, 1).await;
    let hello = hello(&b);
    let pieces: Vec<_> = hello.chunks(50).flat_map(|some| sealed(&mut session, some)).collect();
    stream.write_all(&pieces).await.unwrap();
    until(|| a.opened() == 1).await;
}
