//! Strangers at the door: whatever they do, nests come in and their links go on.

use std::sync::atomic::Ordering;
use std::time::Duration;

use flock_proto::Event;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::fixture::{Body, body, body_with, control, until};
use crate::link::Plan;

async fn still_links(a: &Body) {
    let b = body("b", 2).await;
    b.is_linked_to(a).await;
    b.links.send(a.id, &control("hello"));
    until(|| a.frames().contains(&control("hello"))).await;
}

/// Says these bytes and waits for the connection's end.
async fn annoy(address: &str, bytes: &[u8]) {
    let mut stream = TcpStream::connect(address).await.unwrap();
    // The other end may close before all is said.
    let _ = stream.write_all(bytes).await;
    let _ = stream.read_to_end(&mut Vec::new()).await;
}

#[tokio::test]
async fn garbage_is_counted_and_told_and_harms_nobody() {
    let a = body("a", 1).await;
    annoy(&a.address, b"GET / HTTP/1.1\r\n\r\n").await;
    annoy(&a.address, &[2, 0, 0, 0, 1, 1]).await;
    annoy(&a.address, &[3, 0, 0, 0, 9, 9, 9]).await;
    until(|| a.events().iter().filter(|e| matches!(e, Event::Refused { .. })).count() == 3).await;
    assert_eq!(a.links.counts.bad.load(Ordering::Relaxed), 3);
    still_links(&a).await;
}

#[tokio::test]
async fn a_hello_of_more_than_1_kib_is_refused_before_it_is_read() {
    let a = body("a", 1).await;
    annoy(&a.address, &1025u32.to_le_bytes()).await;
    until(|| a.links.counts.bad.load(Ordering::Relaxed) == 1).await;
    still_links(&a).await;
}

#[tokio::test]
async fn a_stranger_who_says_nothing_is_sent_away_in_time() {
    let a = body("a", 1).await;
    annoy(&a.address, &[]).await;
    until(|| a.links.counts.refused.load(Ordering::Relaxed) == 1).await;
    still_links(&a).await;
}

#[tokio::test]
async fn a_crowd_of_silent_strangers_doesn_t_keep_nests_out() {
    let patience = Duration::from_secs(30);
    let plan = Plan { handshake: patience, half_open: 8, ..Plan::default() };
    let a = body_with("canaries", "a", 1, plan).await;
    let mut crowd = Vec::new();
    for _ in 0..50 {
        crowd.push(TcpStream::connect(&a.address).await.unwrap());
    }
    until(|| a.links.counts.crowded.load(Ordering::Relaxed) >= 42).await;
    still_links(&a).await;
}

#[tokio::test]
async fn a_frame_that_is_too_long_closes_its_link_and_no_other() {
    let a = body("a", 1).await;
    let b = body("b", 2).await;
    b.is_linked_to(&a).await;
    let hello = a.links.hello(crate::link::hello::LinkKind::Control, 1);
    let mut hello = hello;
    hello.nest = flock_proto::NestName::new("c").unwrap();
    hello.id = flock_proto::NestId(3);
    let mut words = crate::link::hello::Word::Hello(hello).encode().to_vec();
    words.extend(u32::MAX.to_le_bytes());
    annoy(&a.address, &words).await;
    until(|| a.closed() == 1).await;
    assert!(a.events().iter().any(|e| matches!(e, Event::BadFrame { from: Some(_), .. })));
    b.links.send(a.id, &control("still here"));
    until(|| a.frames() == [control("still here")]).await;
}

#[tokio::test]
async fn frames_of_unknown_kinds_are_skipped_and_counted() {
    let (a, b) = (body("a", 1).await, body("b", 2).await);
    b.is_linked_to(&a).await;
    b.links.send(a.id, &[1, 250, 0]);
    b.links.send(a.id, &[2, 10, 0]);
    b.links.send(a.id, &[]);
    b.links.send(a.id, &control("known"));
    until(|| a.frames() == [control("known")]).await;
    assert_eq!(a.links.counts.skipped.load(Ordering::Relaxed), 3);
}
