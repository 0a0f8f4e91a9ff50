//! Each response type does through the inbox what it does through actix's mailbox.

use actix::prelude::*;

use super::birds::*;
use super::fake::*;
use crate::bird_ref::BirdRef;

/// A bird, called through its inbox or told the same through its mailbox.
struct Both {
    nest: Plane,
    bird: BirdRef<Probe>,
    name: &'static str,
}

impl Both {
    async fn new(name: &'static str) -> Self {
        let nest = alone();
        let bird = nest.start::<Probe>(name, Plan::default()).await;
        Self { nest, bird, name }
    }

    async fn begun(&self, key: &str) {
        let entry = format!("begun {key}");
        until("the job is begun", || diary(self.name).contains(&entry)).await;
    }
}

/// A plain actor with the same handlers shows what the mailbox does.
struct Plain(Addr<Probe>);

#[actix::test]
async fn a_value_and_every_kind_of_future_bring_their_answers() {
    let both = Both::new("kinds").await;
    assert_eq!(both.bird.send(Add(4)).await, Ok(4));
    let later = both.bird.send(Later("kinds-later".into())).at_once();
    let act = both.bird.send(ActLater("kinds-act".into())).at_once();
    assert_eq!(both.bird.send(Add(1)).await, Ok(5), "neither holds up the next job");
    gate("kinds-act").notify_one();
    assert_eq!(act.await, Ok(6));
    gate("kinds-later").notify_one();
    assert_eq!(later.await, Ok(4));
    let atomic = both.bird.send(Atomic("kinds-atomic".into())).at_once();
    gate("kinds-atomic").notify_one();
    assert_eq!(atomic.await, Ok(7));
}

#[actix::test]
async fn an_atomic_response_has_the_bird_for_itself() {
    let both = Both::new("exclusive").await;
    let atomic = both.bird.send(Atomic("exclusive".into())).at_once();
    let next = both.bird.send(Later("exclusive-next".into())).at_once();
    both.begun("exclusive").await;
    // Another bird of the same thread has its turn meanwhile, so this one had it, too.
    let other = both.nest.start::<Probe>("exclusive-other", Plan::default()).await;
    for n in 1..20 {
        assert_eq!(other.send(Add(1)).await, Ok(n));
    }
    assert_eq!(diary("exclusive").len(), 2, "the next job waits");
    gate("exclusive").notify_one();
    assert_eq!(atomic.await, Ok(1));
    gate("exclusive-next").notify_one();
    assert_eq!(next.await, Ok(1));
}

#[actix::test]
async fn the_mailbox_agrees() {
    let plain = Plain(Probe::create(|_| Probe::plain("plain")));
    assert_eq!(plain.0.send(Add(4)).await, Ok(4));
    let later = plain.0.send(Later("plain-later".into()));
    let act = plain.0.send(ActLater("plain-act".into()));
    assert_eq!(plain.0.send(Add(1)).await, Ok(5));
    gate("plain-act").notify_one();
    assert_eq!(act.await, Ok(6));
    gate("plain-later").notify_one();
    assert_eq!(later.await, Ok(4));
    let atomic = plain.0.send(Atomic("plain-atomic".into()));
    let next = plain.0.send(Add(1));
    gate("plain-atomic").notify_one();
    assert_eq!(atomic.await, Ok(7));
    assert_eq!(next.await, Ok(8));
}

#[actix::test]
async fn jobs_are_handled_in_the_order_in_which_they_were_sent() {
    let both = Both::new("order").await;
    for n in 0..500 {
        both.bird.do_send(Note(n));
    }
    assert_eq!(both.bird.send(Add(0)).await, Ok(0));
    let numbers: Vec<u64> = diary("order").iter().filter_map(|entry| entry.parse().ok()).collect();
    assert_eq!(numbers, (0..500).collect::<Vec<_>>());
}
