//! One of the nests: it has its share of the birds, and calls all of them.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::io::{BufRead as _, Write as _};
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use flock_actix::{BirdRef, Event, Flock, NestState};
use serde::{Deserialize, Serialize};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::LocalSet;

use super::super::calls::echo::{Echo, FLOCK, Ping};
use super::histogram::Histogram;

/// Of each body.
const BYTES: usize = 64;

/// From one call to the next: each caller comes to each bird. A prime.
const STRIDE: usize = 97;

/// So often it is looked how many calls are due.
const TICK: Duration = Duration::from_millis(1);

/// For all nests to see each other, and for all birds to be started.
const PATIENCE: Duration = Duration::from_secs(60);

/// What it is told to do.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) enum Order {
    /// Wait until so many nests are up. Answered by `true`.
    Await(usize),
    /// Start so many birds. Answered by `true`.
    Start(usize),
    /// Make calls. Answered by [`Called`].
    Call(Calls),
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(super) struct Calls {
    /// To so many birds in turn.
    pub(super) birds: usize,
    /// So many at a time, at most.
    pub(super) in_flight: usize,
    pub(super) seconds: f64,
    /// No more than that; or as fast as it goes.
    pub(super) per_second: Option<f64>,
}

/// What came of it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Called {
    pub(super) answered: u64,
    pub(super) seconds: f64,
    /// By what went wrong.
    pub(super) errors: BTreeMap<String, u64>,
    pub(super) times: Histogram,
    /// Nests that this one held for dead meanwhile.
    pub(super) downs: u64,
}

/// Joins those that listen there, says where it listens itself, and does what it is told.
pub(super) fn serve() -> anyhow::Result<()> {
    let mut words = std::env::args().skip(2);
    let name = words.next().context("a nest needs a name")?;
    let seeds: Vec<String> = words.collect();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    LocalSet::new().block_on(&runtime, async {
        let nest = Flock::builder(FLOCK).name(&name).seeds(seeds).species::<Echo>();
        let flock = nest.join().await?;
        say(&flock.address().context("a nest that joined listens somewhere")?.to_string())?;
        let mut orders = orders();
        while let Some(order) = orders.recv().await {
            match serde_json::from_str(&order)? {
                Order::Await(nests) => {
                    all_up(&flock, nests).await?;
                    say(&true)?;
                }
                Order::Start(birds) => {
                    let all = (0..birds).map(|n| (bird(n), ()));
                    let start = flock.start_many::<Echo>(all).deadline(PATIENCE);
                    start.await.into_result()?;
                    say(&true)?;
                }
                Order::Call(calls) => say(&call(&flock, calls).await?)?,
            }
        }
        Ok(())
    })
}

fn bird(number: usize) -> String {
    format!("bird/account/{number:08}")
}

fn orders() -> mpsc::UnboundedReceiver<String> {
    let (order, orders) = mpsc::unbounded_channel();
    std::thread::spawn(move || {
        for line in std::io::stdin().lock().lines().map_while(Result::ok) {
            if order.send(line).is_err() {
                return;
            }
        }
        // The bench is gone, whatever is being done here.
        std::process::exit(0);
    });
    orders
}

fn say(what: &impl Serialize) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{}", serde_json::to_string(what)?)?;
    Ok(out.flush()?)
}

async fn all_up(flock: &Flock, nests: usize) -> anyhow::Result<()> {
    let agreed = async {
        loop {
            let seen = flock.nests().await;
            if seen.iter().filter(|nest| nest.state == NestState::Up).count() >= nests {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(PATIENCE, agreed).await.context("the nests don't find each other")
}

/// What all callers have in common.
struct Tally {
    over: Cell<bool>,
    answered: Cell<u64>,
    errors: RefCell<BTreeMap<String, u64>>,
    times: RefCell<Histogram>,
}

impl Tally {
    fn fail(&self, why: String) {
        *self.errors.borrow_mut().entry(why).or_default() += 1;
    }
}

async fn call(flock: &Flock, calls: Calls) -> anyhow::Result<Called> {
    let birds: Result<Vec<_>, _> = (0..calls.birds).map(|n| flock.bird::<Echo>(&bird(n))).collect();
    let birds: Rc<[BirdRef<Echo>]> = birds?.into();
    let tally = Rc::new(Tally {
        over: Cell::new(false),
        answered: Cell::new(0),
        errors: RefCell::default(),
        times: RefCell::new(Histogram::new()),
    });
    let mut events = flock.events();
    let due = calls.per_second.map(|_| Rc::new(Semaphore::new(0)));
    let begun = Instant::now();
    let caller =
        |first| tokio::task::spawn_local(call_on(birds.clone(), first, tally.clone(), due.clone()));
    let callers: Vec<_> = (0..calls.in_flight).map(caller).collect();
    let span = Duration::try_from_secs_f64(calls.seconds)?;
    let (mut tick, mut given) = (tokio::time::interval(TICK), 0);
    while begun.elapsed() < span {
        tick.tick().await;
        if let Some((due, per_second)) = due.as_ref().zip(calls.per_second) {
            let until_now = (begun.elapsed().as_secs_f64() * per_second) as usize;
            due.add_permits(until_now - given);
            given = until_now;
        }
    }
    let (answered, took) = (tally.answered.get(), begun.elapsed());
    tally.over.set(true);
    if let Some(due) = due {
        due.close();
    }
    for caller in callers {
        caller.await?;
    }
    let mut downs = 0;
    while let Ok(Some(event)) = tokio::time::timeout(Duration::ZERO, events.recv()).await {
        downs += u64::from(matches!(event, Event::NestDown(_)));
    }
    Ok(Called {
        answered,
        seconds: took.as_secs_f64(),
        errors: tally.errors.take(),
        times: tally.times.replace(Histogram::new()),
        downs,
    })
}

async fn call_on(
    birds: Rc<[BirdRef<Echo>]>,
    first: usize,
    tally: Rc<Tally>,
    due: Option<Rc<Semaphore>>,
) {
    let data = vec![7; BYTES];
    let (mut at, mut n) = (first * STRIDE % birds.len(), 0);
    while let Some(bird) = birds.get(at).filter(|_| !tally.over.get()) {
        if let Some(due) = &due {
            // Closed: it is over.
            let Ok(one) = due.acquire().await else { return };
            one.forget();
        }
        n += 1;
        let begun = Instant::now();
        match bird.send(Ping { n, data: data.clone() }).await {
            Ok(pong) if pong.n == n && pong.data.len() == BYTES => {
                tally.answered.set(tally.answered.get() + 1);
                tally.times.borrow_mut().add(begun.elapsed());
            }
            Ok(_) => tally.fail("another's answer".to_owned()),
            Err(e) => {
                tally.fail(e.to_string());
                // One that is refused at once would never let another task run.
                tokio::task::yield_now().await;
            }
        }
        at = (at + STRIDE) % birds.len();
    }
}
