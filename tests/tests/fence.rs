//! A store that compares fences takes each write of one life, and none of a life before.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use actix::prelude::*;
use flock_actix::testing::TestFlock;
use flock_actix::{Bird, FenceHandle, Flock, Hatching, bird};
use rusqlite::Connection;
use serde::{Deserialize, Serialize};

const PATIENCE: Duration = Duration::from_secs(30);
const BIRDS: usize = 12;

/// What a bird is told of its write.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Written {
    /// The row holds so much now.
    Total(i64),
    /// A later life has written there.
    Outdated,
}

#[derive(Debug, Message, Serialize, Deserialize)]
#[rtype(result = "Result<Written, String>")]
struct Post(i64);

/// Panics.
#[derive(Debug, Message, Serialize, Deserialize)]
#[rtype(result = "()")]
struct Boom;

/// Keeps nothing: all is in the store, under its name, with the fence that wrote it.
struct Ledger {
    name: String,
    store: Connection,
    fence: FenceHandle,
}

impl Actor for Ledger {
    type Context = Context<Self>;
}

impl Bird for Ledger {
    type Args = PathBuf;

    async fn hatch(store: PathBuf, bird: &Hatching) -> anyhow::Result<Self> {
        let ledger =
            Self { name: bird.name().to_string(), store: open(&store)?, fence: bird.fence() };
        // From now on no life before may write, also if this one never does.
        ledger.write(0)?;
        Ok(ledger)
    }
}

bird!(Ledger as "ledger", fenced { Post, Boom });

impl Ledger {
    /// One statement, which compares and writes at once: that is what makes it safe.
    fn write(&self, amount: i64) -> rusqlite::Result<Written> {
        let fence = self.fence.now().0 as i64;
        let written = self.store.query_row(
            "INSERT INTO ledger (name, total, fence) VALUES (?1, ?2, ?3)
             ON CONFLICT (name) DO UPDATE SET total = total + ?2, fence = ?3 WHERE fence <= ?3
             RETURNING total",
            (&self.name, amount, fence),
            |row| row.get(0),
        );
        match written {
            Ok(total) => Ok(Written::Total(total)),
            Err(rusqlite::Error::QueryReturnedNoRows) => Ok(Written::Outdated),
            Err(other) => Err(other),
        }
    }
}

impl Handler<Post> for Ledger {
    type Result = Result<Written, String>;

    fn handle(&mut self, Post(amount): Post, _: &mut Context<Self>) -> Self::Result {
        self.write(amount).map_err(|e| e.to_string())
    }
}

impl Handler<Boom> for Ledger {
    type Result = ();

    fn handle(&mut self, _: Boom, _: &mut Context<Self>) {
        panic!("boom")
    }
}

fn open(path: &Path) -> rusqlite::Result<Connection> {
    let store = Connection::open(path)?;
    store.busy_timeout(PATIENCE)?;
    // What a test needs of a disk.
    store.pragma_update(None, "synchronous", "OFF")?;
    store.execute_batch(
        "CREATE TABLE IF NOT EXISTS ledger (
            name TEXT PRIMARY KEY, total INTEGER NOT NULL, fence INTEGER NOT NULL)",
    )?;
    Ok(store)
}

/// What the store holds, by name: total and fence.
fn rows(store: &Connection) -> BTreeMap<String, (i64, i64)> {
    let mut rows = store.prepare("SELECT name, total, fence FROM ledger").expect("a query");
    let rows = rows.query_map((), |row| Ok((row.get(0)?, (row.get(1)?, row.get(2)?))));
    rows.expect("rows").collect::<Result<_, _>>().expect("rows")
}

/// The writes that were acknowledged.
struct Clerk {
    names: Vec<String>,
    acknowledged: BTreeMap<String, i64>,
    outdated: usize,
}

impl Clerk {
    /// Posts once to each, from this nest.
    async fn post_all(&mut self, nest: &Flock) {
        for name in &self.names {
            let ledger = nest.bird::<Ledger>(name).expect("a name");
            match ledger.send(Post(1)).deadline(PATIENCE).await.expect("an answer") {
                Ok(Written::Total(total)) => {
                    let sum = self.acknowledged.entry(name.clone()).or_default();
                    *sum += 1;
                    assert_eq!(total, *sum, "{name} holds what was acknowledged, no more, no less");
                }
                Ok(Written::Outdated) => self.outdated += 1,
                Err(store) => panic!("{name}: {store}"),
            }
        }
    }
}

#[tokio::test]
async fn a_fence_guards_a_store_through_moves_crashes_deaths_and_heals() {
    let path = std::env::temp_dir().join(format!("flock-fence-{}.sqlite", std::process::id()));
    // A run before may have been killed.
    let _ = std::fs::remove_file(&path);
    let store = open(&path).expect("a store");
    let describe = |nest: flock_actix::Builder| nest.species::<Ledger>();
    let mut flock = TestFlock::with(2, describe).await;
    let names: Vec<String> = (0..BIRDS).map(|n| format!("ledger-{n}")).collect();
    for name in &names {
        flock.nest(0).start::<Ledger>(name, path.clone()).await.expect("it starts");
    }
    let mut clerk = Clerk { names, acknowledged: BTreeMap::new(), outdated: 0 };
    clerk.post_all(flock.nest(0)).await;
    let mut before = rows(&store);

    // Crashes: the same nest goes on, with the same fence.
    for name in &clerk.names {
        let boom = flock.nest(0).bird::<Ledger>(name).expect("a name").send(Boom).await;
        assert!(boom.is_err(), "{boom:?}");
    }
    clerk.post_all(flock.nest(0)).await;

    // Moves: a nest comes.
    flock.start_nest("nest-2").await;
    flock.agree().await;
    flock.one_life_each(BIRDS, PATIENCE).await;
    let moved: Vec<String> =
        flock.nest(2).local_birds().await.iter().map(ToString::to_string).collect();
    assert!(!moved.is_empty());
    clerk.post_all(flock.nest(1)).await;
    let after = rows(&store);
    for name in &moved {
        assert!(after[name].1 > before[name].1, "{name} moved");
    }
    before = after;

    // A death: others go on, above what the dead one wrote.
    let lost: Vec<String> =
        flock.nest(1).local_birds().await.iter().map(ToString::to_string).collect();
    flock.kill(1).await;
    flock.agree().await;
    flock.one_life_each(BIRDS, PATIENCE).await;
    clerk.post_all(flock.nest(0)).await;
    let after = rows(&store);
    for name in &lost {
        assert!(after[name].1 > before[name].1, "{name} lost its nest");
    }
    assert_eq!(clerk.outdated, 0, "nothing but a partition has two lives write");

    // A partition: two lives of each, and one store. Which of the two may write, the fence says.
    flock.partition(&[0], &[2]);
    let both = || async {
        flock.nest(0).local_birds().await.len() == BIRDS
            && flock.nest(2).local_birds().await.len() == BIRDS
    };
    flock.eventually(PATIENCE, both).await;
    for _ in 0..3 {
        clerk.post_all(flock.nest(0)).await;
        clerk.post_all(flock.nest(2)).await;
    }
    assert!(clerk.outdated > 0, "a life before was refused");
    let during = rows(&store);

    // The heal: the life that stays is above both, and may write.
    flock.heal();
    flock.agree().await;
    flock.one_life_each(BIRDS, PATIENCE).await;
    clerk.outdated = 0;
    clerk.post_all(flock.nest(0)).await;
    clerk.post_all(flock.nest(2)).await;
    assert_eq!(clerk.outdated, 0);
    for (name, (total, fence)) in rows(&store) {
        assert_eq!(total, clerk.acknowledged[&name], "{name}: what was acknowledged is there");
        assert!(fence > during[&name].1, "{name} goes on above both sides");
    }
    drop((store, flock));
    std::fs::remove_file(&path).expect("the store was there");
}
