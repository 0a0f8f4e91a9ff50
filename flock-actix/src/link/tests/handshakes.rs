//! Who may come in, and which of two links stays.

use std::sync::atomic::Ordering;

use bytes::BytesMut;
use flock_proto::{Event, Hlc, Input, NestId, NestName, Time};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::fixture::{body, body_of, control, until};
use crate::link::hello::{Identity, LinkKind, Reason, Word};
use crate::wall::Wall;

/// Says one word to whoever listens there, and hears the answer.
async fn say(address: &str, words: &[u8]) -> Option<Word> {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(words).await.unwrap();
    let mut answer = BytesMut::new();
    while stream.read_buf(&mut answer).await.is_ok_and(|n| n > 0) {
        let len = answer.first_chunk().map_or(usize::MAX, |b| u32::from_le_bytes(*b) as usize);
        if answer.len() >= len.saturating_add(4) {
            return Word::decode(&answer[4..]).ok();
        }
    }
    None
}

async fn refusal(address: &str, word: &Word) -> Option<Reason> {
    match say(address, &word.encode()).await {
        Some(Word::Refuse(refuse)) => Some(refuse.code),
        _ => None,
    }
}

fn stranger(name: &str, id: u64) -> crate::link::hello::Hello {
    let nest = NestName::new(name).unwrap();
    let address = "127.0.0.1:1".to_owned();
    Identity { flock: "canaries".into(), nest, id: NestId(id), address, seats: 0 }.hello(
        LinkKind::Control,
        Hlc::at(Wall::new().now()),
        1,
    )
}

#[tokio::test]
async fn two_nests_of_one_flock_open_a_link_and_frames_pass_both_ways() {
    let (a, b) = (body("a", 1).await, body("b", 2).await);
    a.is_linked_to(&b).await;
    a.links.send(b.id, &control("to b"));
    b.links.send(a.id, &control("to a"));
    until(|| b.frames() == [control("to b")] && a.frames() == [control("to a")]).await;
}

#[tokio::test]
async fn a_nest_of_another_flock_is_refused() {
    let (a, b) = (body("a", 1).await, body_of("sparrows", "b", 2).await);
    b.links.dial(a.address.clone());
    until(|| b.failed().is_some()).await;
    assert_eq!(b.failed().as_deref(), Some("this is flock canaries"));
    assert!(a.events().iter().any(|e| matches!(e, Event::Refused { .. })));
    assert_eq!(a.opened() + b.opened(), 0);
}

#[tokio::test]
async fn a_nest_that_speaks_only_another_version_is_refused() {
    let a = body("a", 1).await;
    let mut hello = stranger("b", 2);
    (hello.min, hello.max) = (7, 9);
    assert_eq!(refusal(&a.address, &Word::Hello(hello)).await, Some(Reason::Version));
}

#[tokio::test]
async fn a_nest_whose_clock_is_far_off_is_refused_and_an_event_says_so() {
    let a = body("a", 1).await;
    for hour in [3_600_000_000, -3_600_000_000_i64] {
        let mut hello = stranger("b", 2);
        let wrong = Wall::new().now().as_micros().saturating_add_signed(hour);
        hello.clock = Hlc::at(Time::from_micros(wrong));
        assert_eq!(refusal(&a.address, &Word::Hello(hello)).await, Some(Reason::Clock));
        let told = |e: &Event| match e {
            Event::ClockSkew { ahead_ms, .. } => (*ahead_ms - hour / 1000).abs() < 5000,
            _ => false,
        };
        until(|| a.events().iter().any(told)).await;
    }
}

#[tokio::test]
async fn a_nest_that_also_speaks_this_version_is_welcome() {
    let a = body("a", 1).await;
    let mut hello = stranger("b", 2);
    hello.max = 9;
    let answer = say(&a.address, &Word::Hello(hello).encode()).await;
    assert!(matches!(answer, Some(Word::Welcome(_))));
}

#[tokio::test]
async fn a_second_nest_of_a_living_ones_name_is_refused() {
    let (a, b) = (body("a", 1).await, body("b", 2).await);
    a.is_linked_to(&b).await;
    let newcomer = body("b", 3).await;
    newcomer.links.dial(a.address.clone());
    until(|| newcomer.heard.taken.load(Ordering::Acquire)).await;
    assert_eq!(a.events(), [Event::NameTaken(b.name.clone())]);
    assert_eq!(newcomer.opened(), 0);
}

#[tokio::test]
async fn a_nest_with_the_name_of_the_one_it_dials_is_refused() {
    let (a, other) = (body("a", 1).await, body("a", 2).await);
    other.links.dial(a.address.clone());
    until(|| other.heard.taken.load(Ordering::Acquire)).await;
}

#[tokio::test]
async fn the_next_incarnation_comes_in_once_the_former_is_gone() {
    let (a, b) = (body("a", 1).await, body("b", 2).await);
    a.is_linked_to(&b).await;
    drop(b);
    until(|| a.closed() == 1).await;
    let b = body("b", 3).await;
    b.links.dial(a.address.clone());
    until(|| a.opened() == 2).await;
}

#[tokio::test]
async fn an_outdated_incarnation_is_told_what_to_surpass() {
    let (a, b) = (body("a", 1).await, body("b", 5).await);
    a.is_linked_to(&b).await;
    drop(b);
    until(|| a.closed() == 1).await;
    let b = body("b", 4).await;
    b.links.dial(a.address.clone());
    until(|| b.inputs(|i| matches!(i, Input::Outdated { above: NestId(5) })) == 1).await;
    b.links.rename(NestId(6));
    b.links.dial(a.address.clone());
    until(|| a.opened() == 2).await;
}

#[tokio::test]
async fn a_nest_that_dials_itself_is_told_so() {
    let a = body("a", 1).await;
    a.links.dial(a.address.clone());
    until(|| a.failed().is_some()).await;
    assert_eq!(a.failed().as_deref(), Some("this is the nest that dialled"));
    assert_eq!(a.opened(), 0);
}

#[tokio::test]
async fn simultaneous_dials_end_in_one_link() {
    for round in 0..20 {
        let (a, b) = (body("a", 1).await, body("b", 2).await);
        a.links.dial(b.address.clone());
        if round % 2 == 0 {
            tokio::task::yield_now().await;
        }
        b.links.dial(a.address.clone());
        until(|| a.opened() > 0 && b.opened() > 0).await;
        let mut n = 0;
        // Whatever was replaced, frames of both sides arrive in the end, over links that stay.
        until(|| {
            n += 1;
            a.links.send(b.id, &control(&n.to_string()));
            b.links.send(a.id, &control(&n.to_string()));
            a.frames().len() > 20 && b.frames().len() > 20
        })
        .await;
        assert_eq!(a.closed() + b.closed(), 0, "round {round}");
    }
}

#[tokio::test]
async fn a_link_that_is_replaced_drains_first() {
    let (a, b) = (body("a", 1).await, body("b", 2).await);
    a.is_linked_to(&b).await;
    let large = control(&"x".repeat(4 << 20));
    a.links.send(b.id, &large);
    a.links.send(b.id, &control("last"));
    a.links.dial(b.address.clone());
    until(|| a.opened() == 2 && b.opened() == 2).await;
    a.links.send(b.id, &control("on the new link"));
    until(|| b.frames().len() == 3).await;
    assert!(b.frames().contains(&large) && b.frames().contains(&control("last")));
    assert_eq!(a.closed() + b.closed(), 0);
}

#[tokio::test]
async fn a_link_that_breaks_is_told_and_one_that_is_hung_up_is_not() {
    let (a, b) = (body("a", 1).await, body("b", 2).await);
    a.is_linked_to(&b).await;
    a.links.hang_up(b.id);
    until(|| b.closed() == 1).await;
    assert_eq!(a.closed(), 0);
}

#[tokio::test]
async fn a_dial_where_nobody_listens_is_refused_and_one_without_an_address_fails() {
    let (a, b) = (body("a", 1).await, body("b", 2).await);
    let address = b.address.clone();
    drop(b);
    until(|| std::net::TcpStream::connect(&address).is_err()).await;
    a.links.dial(address);
    until(|| a.inputs(|i| matches!(i, Input::DialFailed { refused: true, .. })) == 1).await;
    a.links.dial("no such host.invalid:1".into());
    until(|| a.inputs(|i| matches!(i, Input::DialFailed { refused: false, .. })) == 1).await;
    a.links.dial("192.0.2.1:7".into());
    until(|| a.inputs(|i| matches!(i, Input::DialFailed { refused: false, .. })) == 2).await;
}

#[tokio::test]
async fn a_cut_mutes_both_ways_and_a_heal_restores() {
    let (a, b) = (body("a", 1).await, body("b", 2).await);
    a.is_linked_to(&b).await;
    a.links.cutter().cut([b.name.clone()], [b.address.clone()]);
    a.links.send(b.id, &control("from a"));
    b.links.send(a.id, &control("from b"));
    a.links.dial(b.address.clone());
    until(|| a.failed().is_some()).await;
    assert_eq!((a.frames().len(), b.frames().len()), (0, 0));
    assert_eq!(a.closed() + b.closed(), 0);
    a.links.cutter().heal();
    until(|| a.frames() == [control("from b")] && b.frames() == [control("from a")]).await;
}
