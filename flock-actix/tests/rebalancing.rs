//! Who takes over birds, when, and how many at a time; and that a plan is what happens.

mod common;

use std::collections::BTreeMap;
use std::time::Duration;

use common::*;
use flock_actix::testing::TestFlock;
use flock_actix::{Change, Event, Flock, NestState, Plan, PlanError, Rebalancing, RequestError};

/// Birds by the nests that they moved from and to.
type Moved = BTreeMap<(String, String), usize>;

/// So many nests that wait to be asked, and know counters. They have their shares: no bird lives yet.
async fn passive(nests: usize) -> TestFlock {
    TestFlock::with(nests, |nest| nest.species::<Counter>().rebalancing(Rebalancing::Passive)).await
}

/// One more nest of the flock, which goes by the defaults.
async fn joins(flock: &TestFlock, name: &str, weight: u32) -> Flock {
    let seeds = flock.nests().filter_map(Flock::address).map(|a| a.to_string());
    let nest = Flock::builder("test").name(name).weight(weight).species::<Counter>().seeds(seeds);
    let nest = tokio::time::timeout(PATIENCE, nest.form_after(PATIENCE).join()).await;
    nest.expect("in time").expect("it joins")
}

/// Where each bird lives, once all live where each of these nests says that they belong.
async fn homes(nests: &[&Flock], birds: &[String]) -> BTreeMap<String, String> {
    let all_home = || async {
        let mut lives = Vec::new();
        for nest in nests {
            let here = nest.local_birds().await;
            lives.extend(here.iter().map(|bird| (bird.to_string(), nest.name().to_owned())));
        }
        for nest in nests {
            for (bird, home) in &lives {
                if owner(nest, bird).await.as_ref() != Some(home) {
                    return None;
                }
            }
        }
        (lives.len() == birds.len()).then(|| lives.into_iter().collect())
    };
    let search = async {
        loop {
            if let Some(homes) = all_home().await {
                return homes;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(PATIENCE, search).await.expect("all come home")
}

fn moved(before: &BTreeMap<String, String>, after: &BTreeMap<String, String>) -> Moved {
    let mut moved = Moved::new();
    for (bird, from) in before {
        let to = &after[bird];
        if from != to {
            *moved.entry((from.clone(), to.clone())).or_default() += 1;
        }
    }
    moved
}

fn planned(plan: &Plan) -> Moved {
    let moves = plan.moves.iter();
    moves.map(|m| ((m.from.to_string(), m.to.to_string()), m.birds)).collect()
}

/// Birds came to live just where the plan says.
fn assert_planned(
    plan: &Plan,
    before: &BTreeMap<String, String>,
    after: &BTreeMap<String, String>,
) {
    assert_eq!(planned(plan), moved(before, after));
    assert_eq!(plan.birds, after.len());
    for share in &plan.shares {
        let here = after.values().filter(|nest| **nest == *share.nest.as_str()).count();
        assert_eq!(share.birds, here, "{}", share.nest);
    }
}

/// Weight and due of each nest, by name, as this one sees them.
async fn shares(nest: &Flock) -> Vec<(String, u32, u32)> {
    nest.nests().await.into_iter().map(|n| (n.name.to_string(), n.weight, n.due)).collect()
}

async fn all_see(nests: &[&Flock], wanted: &[(&str, u32, u32)]) {
    let search = async {
        for nest in nests {
            let matches = |seen: Vec<(String, u32, u32)>| {
                let seen: Vec<_> = seen.iter().map(|(n, w, d)| (n.as_str(), *w, *d)).collect();
                seen == wanted
            };
            while !matches(shares(nest).await) {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        }
    };
    tokio::time::timeout(PATIENCE, search).await.expect("all see these shares");
}

async fn moves(nests: &[&Flock]) -> u64 {
    let mut moves = 0;
    for nest in nests {
        moves += nest.counters().await.moves;
    }
    moves
}

#[tokio::test]
async fn passive_joins_move_nothing() {
    let mut flock = passive(2).await;
    let mut birds = names("bird", 60);
    start_all(flock.nest(0), &birds).await;
    let mut before = homes(&[flock.nest(0), flock.nest(1)], &birds).await;
    flock.start_nest("nest-2").await;
    flock.start_nest("nest-3").await;
    // By now both are up in each view: had they shares, some names would be theirs.
    flock.agree().await;
    let nests: Vec<&Flock> = flock.nests().collect();
    let waiting = [("nest-0", 1, 0), ("nest-1", 1, 0), ("nest-2", 0, 1), ("nest-3", 0, 1)];
    all_see(&nests, &waiting).await;
    // They do all else that nests do.
    nests[2].start::<Counter>("another", 1).await.expect("it starts");
    for (n, name) in birds.iter().enumerate() {
        assert_eq!(counter(nests[2 + n % 2], name).send(Add(1)).await, Ok(1));
    }
    birds.push("another".into());
    let after = homes(&nests, &birds).await;
    let home = after["another"].clone();
    assert!(["nest-0", "nest-1"].contains(&home.as_str()), "{home}");
    before.insert("another".into(), home);
    assert_eq!(after, before);
    assert_eq!(moves(&nests).await, 0);
}

#[tokio::test]
async fn rebalance_gives_each_its_share() {
    let mut flock = passive(2).await;
    let birds = names("bird", 90);
    start_all(flock.nest(0), &birds).await;
    flock.start_nest("nest-2").await;
    flock.start_nest("nest-3").await;
    flock.agree().await;
    let nests: Vec<&Flock> = flock.nests().collect();
    let before = homes(&nests, &birds).await;
    let plan = nests[3].plan(Change::Rebalance).await.expect("a plan");
    let waiting = nests[0].rebalance().await.expect("it asks them");
    assert_eq!(waiting.iter().map(|n| n.as_str()).collect::<Vec<_>>(), ["nest-2", "nest-3"]);
    let all = ["nest-0", "nest-1", "nest-2", "nest-3"];
    all_see(&nests, &all.map(|nest| (nest, 1, 0))).await;
    let after = homes(&nests, &birds).await;
    assert_planned(&plan, &before, &after);
    for nest in all {
        assert!(after.values().any(|home| home == nest), "{nest} has none");
    }
    assert_eq!(moves(&nests).await, plan.total() as u64, "each moved once");
    assert_eq!(nests[1].rebalance().await, Ok(vec![]), "nobody waits any more");
}

#[tokio::test]
async fn a_death_moves_birds_to_those_who_waited() {
    let mut flock = passive(2).await;
    let birds = names("bird", 60);
    start_all(flock.nest(0), &birds).await;
    flock.start_nest("nest-2").await;
    flock.agree().await;
    let plan = flock.nest(2).plan(Change::Leave("nest-1".into())).await.expect("a plan");
    let mut events = flock.nest(0).events();
    flock.kill(1).await;
    let took = until(&mut events, |event| match event {
        Event::ShareChanged { nest, weight } => Some((nest.to_string(), *weight)),
        _ => None,
    });
    assert_eq!(took.await, ("nest-2".to_owned(), 1));
    let nests: Vec<&Flock> = flock.nests().collect();
    all_see(&nests, &[("nest-0", 1, 0), ("nest-2", 1, 0)]).await;
    let after = homes(&nests, &birds).await;
    for share in &plan.shares {
        let here = after.values().filter(|home| **home == *share.nest.as_str()).count();
        assert!(here > 0 && here == share.birds, "{share:?}, and {here} are there");
    }
}

#[tokio::test]
async fn the_last_that_has_a_share_leaves_its_birds_to_one_that_waited() {
    let mut flock = passive(1).await;
    let birds = names("bird", 40);
    start_all(flock.nest(0), &birds).await;
    flock.start_nest("nest-1").await;
    flock.agree().await;
    let left = flock.nest(0).leave().await.expect("it leaves");
    assert_eq!(left.left_behind, []);
    let nests = [flock.nest(1)];
    all_see(&nests, &[("nest-1", 1, 0)]).await;
    assert_eq!(homes(&nests, &birds).await.len(), 40);
    for name in &birds {
        let life = counter(nests[0], name).send(Tell).await.expect("it lives").expect("it");
        assert_eq!(life.why, "Move", "{name} was handed over");
    }
}

#[tokio::test]
async fn each_nest_goes_by_its_own_setting() {
    let flock = passive(2).await;
    let birds = names("bird", 60);
    start_all(flock.nest(0), &birds).await;
    let active = joins(&flock, "nest-2", 1).await;
    let nests = [flock.nest(0), flock.nest(1), &active];
    all_see(&nests, &["nest-0", "nest-1", "nest-2"].map(|nest| (nest, 1, 0))).await;
    assert!(homes(&nests, &birds).await.values().any(|home| home == "nest-2"));
}

#[tokio::test]
async fn the_plan_is_what_happens() {
    let flock = counters(3).await;
    let birds = names("bird", 200);
    start_all(flock.nest(0), &birds).await;
    let nests: Vec<&Flock> = flock.nests().collect();
    let before = homes(&nests, &birds).await;

    let join = Change::Join { name: "nest-3".into(), weight: 2 };
    let plan = nests[1].plan(join).await.expect("a plan");
    assert!(plan.total() > 0 && plan.moves.iter().all(|m| m.to.as_str() == "nest-3"), "{plan}");
    let newcomer = joins(&flock, "nest-3", 2).await;
    let nests = [nests[0], nests[1], nests[2], &newcomer];
    let all = ["nest-0", "nest-1", "nest-2", "nest-3"];
    all_see(&nests, &[(all[0], 1, 0), (all[1], 1, 0), (all[2], 1, 0), (all[3], 2, 0)]).await;
    let joined = homes(&nests, &birds).await;
    assert_planned(&plan, &before, &joined);

    let weight = Change::Weight { nest: "nest-1".into(), weight: 3 };
    let plan = nests[0].plan(weight).await.expect("a plan");
    nests[1].set_weight(3).await.expect("it has it");
    all_see(&nests, &[(all[0], 1, 0), (all[1], 3, 0), (all[2], 1, 0), (all[3], 2, 0)]).await;
    let weighed = homes(&nests, &birds).await;
    assert!(plan.total() > 0);
    assert_planned(&plan, &joined, &weighed);

    let none = Change::Weight { nest: "nest-2".into(), weight: 0 };
    let plan = nests[3].plan(none).await.expect("a plan");
    nests[2].set_weight(0).await.expect("it has it");
    all_see(&nests, &[(all[0], 1, 0), (all[1], 3, 0), (all[2], 0, 0), (all[3], 2, 0)]).await;
    let without = homes(&nests, &birds).await;
    assert!(!without.values().any(|home| home == "nest-2"), "none is left there");
    assert_planned(&plan, &weighed, &without);

    let plan = nests[2].plan(Change::Leave("nest-3".into())).await.expect("a plan");
    newcomer.leave().await.expect("it leaves");
    let left = homes(&nests[..3], &birds).await;
    assert_planned(&plan, &without, &left);
    let lines: Vec<String> = plan.to_string().lines().map(Into::into).collect();
    assert_eq!(lines[0], format!("{} of 200 birds move", plan.total()));
}

#[tokio::test]
async fn there_is_no_plan_for_what_cannot_happen() {
    let flock = counters(2).await;
    let plan = async |change| flock.nest(0).plan(change).await.map(|plan| plan.total());
    let join = |name: &str, weight| Change::Join { name: name.into(), weight };
    assert_eq!(plan(join("nest-2", 1)).await, Ok(0), "no bird, no move");
    assert!(matches!(plan(join("nest-1", 1)).await, Err(PlanError::NameTaken(_))));
    assert!(matches!(plan(join("", 1)).await, Err(PlanError::BadName(_))));
    assert_eq!(plan(join("nest-2", 65)).await, Err(PlanError::BadWeight(65)));
    let stranger = plan(Change::Leave("nest-2".into())).await;
    assert!(matches!(&stranger, Err(PlanError::NoSuchNest(n)) if n.as_str() == "nest-2"));
    assert_eq!(flock.nest(0).set_weight(65).await, Err(RequestError::BadWeight(65)));
    flock.nest(1).leave().await.expect("it leaves");
    assert_eq!(flock.nest(1).plan(Change::Rebalance).await, Err(PlanError::Closed));
}

#[tokio::test]
async fn birds_that_wait_for_their_turn_are_called_where_they_are_and_a_leave_is_not_held_up() {
    let slow = |nest: flock_actix::Builder| nest.species::<Counter>().moves_per_second(1);
    let mut flock = TestFlock::with(1, slow).await;
    let birds = names("bird", 200);
    start_all(flock.nest(0), &birds).await;
    flock.start_nest("nest-1").await;
    flock.agree().await;
    let (old, new) = (flock.nest(0), flock.nest(1));
    let mut waiting = 0;
    for name in &birds {
        let life = counter(new, name).send(Tell).await.expect("it is called").expect("a life");
        let belongs = owner(new, name).await.expect("an owner");
        waiting += usize::from(belongs == "nest-1" && life.nest == "nest-0");
    }
    assert!(waiting > 0, "half of them have a minute and more to wait");
    let (stopped, birds) = birds.split_last().expect("a bird");
    new.stop(stopped).await.expect("it stops, wherever it is");
    // At one a second it would be cut short.
    assert_eq!(old.leave().await.expect("it leaves").left_behind, []);
    assert_eq!(homes(&[new], birds).await.len(), 199);
}

#[tokio::test]
async fn nests_that_come_during_a_cool_down_take_their_shares_together() {
    const HOUR: Duration = Duration::from_secs(3600);
    let mut flock = TestFlock::with(2, |nest| nest.species::<Counter>().cool_down(HOUR)).await;
    let birds = names("bird", 60);
    start_all(flock.nest(0), &birds).await;
    flock.start_nest("nest-2").await;
    flock.start_nest("nest-3").await;
    flock.agree().await;
    let waiting = [("nest-0", 1, 0), ("nest-1", 1, 0), ("nest-2", 0, 1), ("nest-3", 0, 1)];
    all_see(&flock.nests().collect::<Vec<_>>(), &waiting).await;
    // Deaths never wait, nor does what is asked for.
    flock.kill(1).await;
    let nests: Vec<&Flock> = flock.nests().collect();
    all_see(&nests, &["nest-0", "nest-2", "nest-3"].map(|nest| (nest, 1, 0))).await;
    assert_eq!(homes(&nests, &birds).await.len(), 60);
}

#[tokio::test]
async fn a_cool_down_passes() {
    let short = Duration::from_millis(300);
    let mut flock =
        TestFlock::with(1, move |nest| nest.species::<Counter>().cool_down(short)).await;
    let birds = names("bird", 40);
    start_all(flock.nest(0), &birds).await;
    let mut events = flock.nest(0).events();
    flock.start_nest("nest-1").await;
    let seen = until(&mut events, |event| match event {
        Event::NestUp(nest) => Some(nest.to_string()),
        Event::ShareChanged { .. } => panic!("it was never seen to wait"),
        _ => None,
    });
    assert_eq!(seen.await, "nest-1");
    let took = until(&mut events, |event| match event {
        Event::ShareChanged { nest, weight } => Some((nest.to_string(), *weight)),
        _ => None,
    });
    assert_eq!(took.await, ("nest-1".to_owned(), 1));
    let nests: Vec<&Flock> = flock.nests().collect();
    assert!(homes(&nests, &birds).await.values().any(|home| home == "nest-1"));
    assert!(nests[0].nests().await.iter().all(|nest| nest.state == NestState::Up));
}
