//! Birds whose `hatch` starts other birds by name, and waits for them.

mod common;

use std::time::Duration;

use actix::prelude::*;
use common::*;
use flock_actix::testing::TestFlock;
use flock_actix::{Bird, BirdRef, Flock, Hatching, RequestError, bird};
use serde::{Deserialize, Serialize};

/// Has started all of its brood when it hatches, wherever and how often it does.
struct Parent(Vec<String>);

/// Whom it has started.
#[derive(Message, Serialize, Deserialize)]
#[rtype(result = "Vec<String>")]
struct Brood;

/// What a parent starts: further parents, each with its own brood, as deep as the list goes.
#[derive(Clone, Serialize, Deserialize)]
struct Plan {
    children: Vec<(String, Plan)>,
    patience: Duration,
}

impl Actor for Parent {
    type Context = Context<Self>;
}

impl Bird for Parent {
    type Args = Plan;

    async fn hatch(plan: Plan, bird: &Hatching) -> anyhow::Result<Self> {
        let mut brood = Vec::new();
        for (child, plan_of_child) in plan.children {
            let child_of = bird.flock().start_or_get::<Self>(&child, plan_of_child);
            child_of.deadline(plan.patience).await?;
            brood.push(child);
        }
        Ok(Self(brood))
    }
}

bird!(Parent as "nested-parent" { Brood });

impl Handler<Brood> for Parent {
    type Result = MessageResult<Brood>;

    fn handle(&mut self, _: Brood, _: &mut Context<Self>) -> Self::Result {
        MessageResult(self.0.clone())
    }
}

fn parent(nest: &Flock, name: &str) -> BirdRef<Parent> {
    nest.bird(name).expect("a name")
}

fn childless() -> Plan {
    Plan { children: Vec::new(), patience: PATIENCE }
}

/// A parent with one child, which has one of its own.
fn three_deep(name: &str) -> Plan {
    let child = Plan { children: vec![(format!("{name}-c-c"), childless())], ..childless() };
    Plan { children: vec![(format!("{name}-c"), child)], ..childless() }
}

async fn parents(nests: usize) -> TestFlock {
    TestFlock::with(nests, |nest| nest.species::<Parent>().species::<Counter>()).await
}

/// All of them have one life, and each has its brood.
async fn all_there(flock: &TestFlock, families: &[String]) {
    for name in families {
        for (bird, brood) in [
            (name.clone(), vec![format!("{name}-c")]),
            (format!("{name}-c"), vec![format!("{name}-c-c")]),
            (format!("{name}-c-c"), vec![]),
        ] {
            for nest in flock.nests() {
                let told = parent(nest, &bird).send(Brood).deadline(PATIENCE).await;
                assert_eq!(told.as_ref(), Ok(&brood), "{bird} from {}", nest.name());
            }
        }
    }
    let one_each = || async {
        let mut all = 0;
        for nest in flock.nests() {
            all += nest.local_birds().await.len();
        }
        all == 3 * families.len()
    };
    flock.eventually(PATIENCE, one_each).await;
    assert_eq!(lives(flock).await.len(), 3 * families.len());
}

#[actix::test]
async fn a_hatch_that_starts_birds_which_start_birds_ends_wherever_they_live() {
    let flock = parents(3).await;
    let families = names("family", 20);
    for (n, name) in families.iter().enumerate() {
        let start = flock.nest(n % 3).start::<Parent>(name, three_deep(name)).deadline(PATIENCE);
        start.await.expect("it starts");
    }
    all_there(&flock, &families).await;
}

#[actix::test]
async fn hatches_start_birds_while_a_nest_joins_and_another_leaves() {
    let mut flock = parents(2).await;
    let mut families = names("family", 20);
    for name in &families {
        flock.nest(0).start::<Parent>(name, three_deep(name)).await.expect("it starts");
    }
    // Those that start meanwhile, from a nest that stays.
    let (nest, late) = (flock.nest(0).clone(), names("late", 60));
    families.extend(late.iter().cloned());
    let starts = actix::spawn(async move {
        for name in late {
            let start = nest.start::<Parent>(&name, three_deep(&name)).deadline(PATIENCE);
            start.await.unwrap_or_else(|e| panic!("{name}: {e}"));
        }
    });
    flock.start_nest("nest-2").await;
    flock.nest(1).leave().await.expect("it leaves");
    flock.kill(1).await;
    starts.await.expect("all start");
    flock.agree().await;
    all_there(&flock, &families).await;
}

#[actix::test]
async fn birds_whose_hatches_wait_for_each_other_end_by_their_deadlines_and_hold_up_no_other() {
    let patience = Duration::from_secs(1);
    let flock = parents(2).await;
    // The parent waits for the child, and the child for the parent, which doesn't hatch before that.
    for n in 0..10 {
        let [one, other] = ["one", "other"].map(|it| format!("{it}-{n}"));
        let back = Plan { children: vec![(one.clone(), childless())], patience };
        let plan = Plan { children: vec![(other.clone(), back)], patience: 3 * patience };
        let nest = flock.nest(n % 2).clone();
        let start = actix::spawn(async move {
            nest.start::<Parent>(&one, plan).deadline(PATIENCE).await.map(drop)
        });
        // Others start, and answer, while those two wait.
        for name in names(&format!("bystander-{n}"), 5) {
            flock.nest(0).start::<Counter>(&name, 0).deadline(patience).await.expect("it starts");
            assert_eq!(counter(flock.nest(1), &name).send(Add(1)).await, Ok(1));
        }
        let ended = tokio::time::timeout(PATIENCE, start).await.expect("it ends");
        match ended.expect("no panic") {
            Ok(()) => {
                let told = parent(flock.nest(0), &format!("one-{n}")).send(Brood).await;
                assert_eq!(told, Ok(vec![other]));
            }
            Err(RequestError::HatchFailed(why)) => {
                assert!(why.contains("the deadline passed"), "{why}");
            }
            Err(other) => panic!("{other}"),
        }
    }
}
