//! Data links: order, bounds, and what becomes of frames when they end.

use std::sync::Arc;

use flock_proto::{Hlc, Input, NestId, NestName};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use super::fixture::{body, body_of, body_with, data, until};
use crate::data_link::{DataLink, LinkError, Links};
use crate::link::hello::{LinkKind, Word};
use crate::link::{Identity, Plan, lock};

#[tokio::test]
async fn frames_come_in_the_order_they_were_put_even_before_the_link_is_open() {
    let (a, b) = (body("a", 1).await, body("b", 2).await);
    a.knows(&[&a, &b]);
    let link = a.links.data(b.id, None).unwrap();
    let frames: Vec<_> = (0..2000).map(|n| data(&n.to_string())).collect();
    for frame in &frames {
        let (head, body) = frame.split_at(2);
        while link.append(head, body) == Err(LinkError::Full) {
            link.drained().await;
        }
    }
    until(|| lock(&b.heard.frames).len() == frames.len()).await;
    assert_eq!(*lock(&b.heard.frames), frames);
}

#[tokio::test]
async fn replies_go_back_on_the_link_the_call_came_on() {
    let (a, b) = (body("a", 1).await, body("b", 2).await);
    a.knows(&[&a, &b]);
    a.links.data(b.id, None).unwrap().append(&data("call"), &[]).unwrap();
    until(|| !lock(&b.heard.links).is_empty()).await;
    let back: Arc<dyn DataLink> = lock(&b.heard.links)[0].clone();
    assert_eq!(back.peer(), a.id);
    back.append(&data("reply"), &[]).unwrap();
    until(|| *lock(&a.heard.frames) == [data("reply")]).await;
}

#[tokio::test]
async fn frames_of_16_kib_and_more_and_of_16_mib_pass() {
    let (a, b) = (body("a", 1).await, body("b", 2).await);
    a.knows(&[&a, &b]);
    let link = a.links.data(b.id, None).unwrap();
    for len in [16 * 1024, 16 * 1024 + 1, 1 << 20, (1 << 20) + 7, 16 << 20] {
        let body: Vec<u8> = (0..len).map(|i| (i * 31 % 251) as u8).collect();
        while link.append(&data("")[..], &body) == Err(LinkError::Full) {
            link.drained().await;
        }
        until(|| lock(&b.heard.frames).last().is_some_and(|f| f[2..] == body)).await;
    }
    let beyond = vec![0; crate::link::frame::MAX_FRAME];
    assert_eq!(link.append(&data(""), &beyond), Err(LinkError::Full));
}

/// The writer is a task of this very thread, and has no turn before the test awaits something.
#[tokio::test]
async fn the_last_frame_for_a_while_is_written_at_once_and_others_are_not() {
    let (a, b) = (body("a", 1).await, body("b", 2).await);
    a.knows(&[&a, &b]);
    let link = a.links.data(b.id, None).unwrap();
    link.append(&data("opens the link"), &[]).unwrap();
    until(|| lock(&b.heard.frames).len() == 1 && a.links.written.read()[0] == 1).await;
    link.append(&data("waits"), &[]).unwrap();
    assert_eq!(a.links.written.read()[0], 1);
    link.append_one_of(1, &data("leaves, and takes along what waits"), &[]).unwrap();
    assert_eq!(a.links.written.read()[0], 2);
    until(|| lock(&b.heard.frames).len() == 3).await;
    assert_eq!(lock(&b.heard.frames)[2], data("leaves, and takes along what waits"));
    assert_eq!(a.links.written.read()[0], 2, "nothing was left to write");
}

/// Frames of 104 bytes with their prefixes.
fn hundred() -> Vec<u8> {
    data(&"x".repeat(98))
}

#[tokio::test]
async fn two_fifths_of_the_frames_that_a_sender_has_on_the_way_leave_without_the_others() {
    let (a, b) = (body("a", 1).await, body("b", 2).await);
    a.knows(&[&a, &b]);
    let link = a.links.data(b.id, None).unwrap();
    link.append(&data("opens the link"), &[]).unwrap();
    until(|| lock(&b.heard.frames).len() == 1 && a.links.written.read()[0] == 1).await;
    for n in 1..=50 {
        link.append_one_of(50, &hundred(), &[]).unwrap();
        let writes = 1 + u64::from(n >= 20) + u64::from(n >= 40);
        assert_eq!(a.links.written.read()[0], writes, "with {n} of 50");
    }
    // As many again, not known to be of so many, leave together, and with the rest.
    (0..50).for_each(|_| link.append(&hundred(), &[]).unwrap());
    assert_eq!(a.links.written.read()[0], 3);
    until(|| lock(&b.heard.frames).len() == 101).await;
    assert_eq!(a.links.written.read()[0], 4);
}

#[tokio::test]
async fn answers_leave_with_two_thirds_of_as_many_as_calls_came_together() {
    let (a, b) = (body("a", 1).await, body("b", 2).await);
    a.knows(&[&a, &b]);
    let link = a.links.data(b.id, None).unwrap();
    // Until it is forgotten that more came together, or fewer.
    for n in 1..=12 {
        (0..30).for_each(|_| link.append(&hundred(), &[]).unwrap());
        until(|| lock(&b.heard.frames).len() == n * 30).await;
    }
    let back: Arc<dyn DataLink> = lock(&b.heard.links)[0].clone();
    let before = b.links.written.read()[0];
    (0..19).for_each(|_| back.append(&hundred(), &[]).unwrap());
    assert_eq!(b.links.written.read()[0], before);
    (0..3).for_each(|_| back.append(&hundred(), &[]).unwrap());
    assert_eq!(b.links.written.read()[0], before + 1);
    until(|| lock(&a.heard.frames).len() == 22).await;
    // Those who call have no such habit: theirs is to say of how many each is.
    let before = a.links.written.read()[0];
    (0..100).for_each(|_| link.append(&hundred(), &[]).unwrap());
    assert_eq!(a.links.written.read()[0], before);
}

#[tokio::test]
async fn a_bounded_buffer_says_full_and_then_drains() {
    let (a, b) = (body("a", 1).await, body("b", 2).await);
    a.knows(&[&a, &b]);
    let link = a.links.data(b.id, None).unwrap();
    link.append(&data("first"), &[]).unwrap();
    until(|| lock(&b.heard.frames).len() == 1).await;
    a.links.cutter().cut([b.name.clone()], []);
    let mut taken = 1;
    while link.append(&data(""), &[7; 1000]).is_ok() {
        taken += 1;
        tokio::task::yield_now().await;
    }
    assert!(taken < 80, "64 KiB took {taken} frames of 1 kB");
    assert_eq!(link.append(&data(""), &[7; 1000]), Err(LinkError::Full));
    assert!(link.is_over_high_water());
    a.links.cutter().heal();
    link.drained().await;
    assert!(!link.is_over_high_water());
    until(|| lock(&b.heard.frames).len() == taken).await;
}

#[tokio::test]
async fn a_dial_that_fails_hands_back_every_frame() {
    let (a, b) = (body("a", 1).await, body_of("sparrows", "b", 2).await);
    a.knows(&[&a, &b]);
    let link = a.links.data(b.id, None).unwrap();
    link.append(&data("one"), &[]).unwrap();
    link.append(&data("two"), &[]).unwrap();
    until(|| lock(&a.heard.closed).len() == 1).await;
    let unwritten = lock(&a.heard.closed)[0].clone();
    assert_eq!(unwritten, [&[5, 0, 0, 0], &data("one")[..], &[5, 0, 0, 0], &data("two")].concat());
    assert_eq!(link.append(&data("three"), &[]), Err(LinkError::Closed));
    // It rests for a moment, and then there is a new one.
    let mut next = None;
    until(|| {
        next = a.links.data(b.id, None);
        next.is_some()
    })
    .await;
    assert_ne!(next.map(|l| l.id()), Some(link.id()));
}

#[tokio::test]
async fn an_address_where_another_incarnation_lives_gets_no_frame() {
    let (a, mut b) = (body("a", 1).await, body("b", 2).await);
    b.id = NestId(9);
    a.knows(&[&a, &b]);
    a.links.data(NestId(9), None).unwrap().append(&data("x"), &[]).unwrap();
    until(|| lock(&a.heard.closed).len() == 1).await;
    assert!(lock(&b.heard.frames).is_empty());
}

#[tokio::test]
async fn hanging_up_closes_data_links_of_both_directions_once() {
    let (a, b) = (body("a", 1).await, body("b", 2).await);
    a.knows(&[&a, &b]);
    b.knows(&[&a, &b]);
    a.links.data(b.id, None).unwrap().append(&data("x"), &[]).unwrap();
    b.links.data(a.id, None).unwrap().append(&data("y"), &[]).unwrap();
    until(|| lock(&a.heard.frames).len() == 1 && lock(&b.heard.frames).len() == 1).await;
    a.links.hang_up(b.id);
    until(|| lock(&b.heard.closed).len() == 2).await;
    assert_eq!(lock(&a.heard.closed).len(), 2);
}

#[tokio::test]
async fn nobody_is_dialled_who_is_in_no_view() {
    let a = body("a", 1).await;
    a.knows(&[&a]);
    assert!(a.links.data(NestId(77), None).is_none());
    assert!(a.links.data(a.id, None).is_none());
}

#[tokio::test]
async fn one_peer_has_so_many_data_links_and_the_oldest_goes_for_another() {
    let plan = Plan { data_links_each: 8, ..Plan::default() };
    let a = body_with("canaries", "a", 1, plan).await;
    let hello = Identity {
        flock: "canaries".into(),
        nest: NestName::new("mallory").unwrap(),
        id: NestId(66),
        address: "127.0.0.1:1".into(),
        seats: 0,
    };
    let hello = hello.hello(LinkKind::Data, Hlc::at(a.links.now()), 1);
    let mut open = Vec::new();
    for n in 1..=20 {
        let mut stream = TcpStream::connect(&a.address).await.unwrap();
        stream.write_all(&Word::Hello(hello.clone()).encode()).await.unwrap();
        // Once it is welcome and was heard, it is among the links.
        stream.write_all(&[&[3, 0, 0, 0], &data("x")[..]].concat()).await.unwrap();
        until(|| lock(&a.heard.frames).len() == n).await;
        open.push(stream);
    }
    until(|| lock(&a.heard.closed).len() == 12).await;
    assert_eq!(lock(&a.links.open).count(), 8);
}

#[tokio::test]
async fn nobody_comes_in_beyond_the_most_links() {
    let plan = Plan { most_links: 2, ..Plan::default() };
    let a = body_with("canaries", "a", 1, plan).await;
    let (b, c) = (body("b", 2).await, body("c", 3).await);
    b.is_linked_to(&a).await;
    c.links.dial(a.address.clone());
    until(|| a.opened() == 2).await;
    let late = body("late", 9).await;
    late.links.dial(a.address.clone());
    let failed = |input: &Input| matches!(input, Input::DialFailed { why, .. } if why.contains("too many links"));
    until(|| lock(&late.heard.inputs).iter().any(failed)).await;
}
