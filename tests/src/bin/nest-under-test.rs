//! A nest, as its own process, that does what a test tells it on standard input.

use std::collections::BTreeMap;
use std::io::{BufRead as _, Write as _};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use actix::{Actor, Context, Handler, Message};
use anyhow::Context as _;
use flock_actix::{Bird, Event, Events, Flock, Hatching, NestState, Outcomes};
use flock_proto::Why;
use flock_tests::diary;
use flock_tests::keeper::{self, Keeper};
use flock_tests::protocol::{
    Answered, Bulk, Command, Hatchings, Health, Hello, Kept, Loaded, NestSeen, Orders, Question,
    Reply, Travels, Voice,
};
use flock_tests::tallies::{self, each};
use flock_tests::tally::{Tally, hatchings, now_us};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

/// Who are you?
#[derive(Debug, Message, Serialize, Deserialize)]
#[rtype(result = "Voice")]
struct Sing;

/// Sings.
#[derive(Debug)]
struct Singer(Voice, Alive);

/// Counts the actors that there are, whatever the flock holds of them.
#[derive(Debug)]
struct Alive;

static ALIVE: AtomicUsize = AtomicUsize::new(0);

impl Alive {
    fn new() -> Self {
        ALIVE.fetch_add(1, Ordering::Relaxed);
        Self
    }
}

impl Drop for Alive {
    fn drop(&mut self) {
        ALIVE.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Actor for Singer {
    type Context = Context<Self>;
}

impl Bird for Singer {
    type Args = ();

    async fn hatch((): (), bird: &Hatching) -> anyhow::Result<Self> {
        static LIVES: AtomicU64 = AtomicU64::new(0);
        let (pid, life) = (std::process::id(), LIVES.fetch_add(1, Ordering::Relaxed));
        let voice = Voice { nest: bird.nest().to_string(), life: format!("{pid}/{life}") };
        Ok(Self(voice, Alive::new()))
    }
}

impl Handler<Sing> for Singer {
    type Result = actix::MessageResult<Sing>;

    fn handle(&mut self, Sing: Sing, _: &mut Self::Context) -> Self::Result {
        actix::MessageResult(self.0.clone())
    }
}

flock_actix::bird!(Singer as "singer" { Sing });

/// Also run by `bench`, which is a program of its own, behind a word of its own.
pub(crate) fn main() -> anyhow::Result<()> {
    let orders = std::env::args().next_back().context("no orders")?;
    let orders = serde_json::from_str(&orders)?;
    count_panics();
    let questions = listen()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(serve(orders, questions))
}

static PANICS: AtomicU64 = AtomicU64::new(0);

/// Also those that the nest catches.
fn count_panics() {
    let tell = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        PANICS.fetch_add(1, Ordering::Relaxed);
        tell(panic);
    }));
}

/// Reads the questions on a thread of its own: whatever hangs elsewhere in this process, when the
/// test is gone, so is the nest.
fn listen() -> anyhow::Result<mpsc::UnboundedReceiver<Question>> {
    let (tell, questions) = mpsc::unbounded_channel();
    let listener = move || {
        for line in std::io::stdin().lock().lines().map_while(Result::ok) {
            match serde_json::from_str(&line) {
                Ok(question) => drop(tell.send(question)),
                Err(e) => eprintln!("not a question ({e}): {line}"),
            }
        }
        std::process::exit(0);
    };
    std::thread::Builder::new().name("questions".into()).spawn(listener)?;
    Ok(questions)
}

async fn serve(
    orders: Orders,
    mut questions: mpsc::UnboundedReceiver<Question>,
) -> anyhow::Result<()> {
    let form_after = if orders.seeds.is_empty() { Duration::ZERO } else { Duration::from_secs(60) };
    let mut builder = flock_tests::builder("flock-tests")?
        .name(orders.name)
        .bind(&orders.bind)
        .seeds(orders.seeds)
        .species::<Singer>()
        .species::<Tally>()
        .species::<Keeper>()
        .weight(orders.weight)
        .form_after(form_after);
    builder = if orders.is_later {
        builder.species::<diary::later::Diary>()
    } else {
        builder.species::<diary::Diary>()
    };
    if let Some(time) = orders.drain_timeout {
        builder = builder.drain_timeout(time);
    }
    if let Some(time) = orders.leave_timeout {
        builder = builder.leave_timeout(time);
    }
    if let Some(advertise) = orders.advertise {
        builder = builder.advertise(advertise);
    }
    if let Some(key) = orders.key {
        builder = builder.key(key.parse()?);
    }
    if !orders.bind.parse::<SocketAddr>()?.ip().is_loopback() {
        builder = builder.insecure();
    }
    // From the very start: birds move here as soon as it is up.
    let state = Arc::new(State { is_later: orders.is_later, ..State::default() });
    tokio::spawn(note(builder.events(), Arc::clone(&state)));
    let flock = builder.join().await?;
    state.up_us.store(now_us(), Ordering::Relaxed);
    let address = flock.address().context("a nest that joined listens somewhere")?;
    say(&Hello { address: address.to_string() });
    let ended = flock.clone();
    let mut ended = tokio::spawn(async move { ended.run_until_signal().await });
    loop {
        let Question { id, command } = tokio::select! {
            question = questions.recv() => match question {
                Some(question) => question,
                None => return Ok(()),
            },
            ended = &mut ended => {
                ended??;
                return Ok(());
            }
        };
        let (flock, state) = (flock.clone(), Arc::clone(&state));
        tokio::spawn(async move {
            say(&Reply { id, answer: answer(&flock, &state, command).await });
        });
    }
}

#[derive(Debug, Default)]
struct State {
    events: Mutex<Vec<String>>,
    loads: tokio::sync::Mutex<JoinSet<Loaded>>,
    quiet: AtomicBool,
    travels: Mutex<Travels>,
    up_us: AtomicU64,
    warnings: AtomicU64,
    is_later: bool,
}

/// Keeps what happened, except what happens to birds by the hundred.
async fn note(mut events: Events, state: Arc<State>) {
    let begun = Instant::now();
    while let Some(event) = events.recv().await {
        if matches!(
            event,
            Event::BadFrame { .. }
                | Event::Refused { .. }
                | Event::NameTaken(_)
                | Event::ClockSkew { .. }
        ) {
            state.warnings.fetch_add(1, Ordering::Relaxed);
        }
        match &event {
            Event::Started(_) => {}
            Event::Hatching { bird, why: Why::Move } => {
                lock(&state.travels).come.insert(bird.to_string());
            }
            Event::Hatching { .. } => {}
            Event::Moved { bird, .. } => {
                lock(&state.travels).gone.insert(bird.to_string());
            }
            _ => {
                let text = format!("{:7.3} s  {event}", begun.elapsed().as_secs_f64());
                lock(&state.events).push(text);
            }
        }
    }
}

async fn answer(flock: &Flock, state: &Arc<State>, command: Command) -> Value {
    match command {
        Command::Start(names) => json!(start(flock, names).await),
        Command::StartMany { names, deadline, or_roll_back } => {
            let birds = names.into_iter().map(|name| (name, ()));
            let start = flock.start_many::<Singer>(birds).deadline(deadline);
            json!(bulk(if or_roll_back { start.or_roll_back() } else { start }.await))
        }
        Command::StopMany(names) => json!(bulk(flock.stop_many(names).await)),
        Command::Await(birds) => {
            while flock.count().await < birds {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            Value::Null
        }
        Command::AwaitGone(nest) => {
            gone(flock, &nest).await;
            Value::Null
        }
        Command::Stop(name) => json!(flock.stop(&name).await.map_err(|e| e.to_string())),
        Command::Call { names, deadline, patience } => {
            json!(call_each(flock, names, deadline, patience).await)
        }
        Command::Load(names) => {
            state.quiet.store(false, Ordering::Release);
            load(flock, state, names).await
        }
        Command::Quiet => {
            state.quiet.store(true, Ordering::Release);
            json!(total(&mut *state.loads.lock().await).await)
        }
        Command::Keep { names, span } => json!(keep_each(flock, names, span).await),
        Command::Lives => json!(ALIVE.load(Ordering::Relaxed)),
        Command::Local => json!(texts(flock.local_birds().await)),
        Command::Birds => {
            json!(owners(flock).await)
        }
        Command::Nests => json!(nests(flock).await),
        Command::Events => {
            json!(*lock(&state.events))
        }
        Command::Leave => json!(flock.leave().await.map(|_| ()).map_err(|e| e.to_string())),
        Command::StartTallies { names, bytes } => {
            let birds = names.into_iter().map(|name| (name, bytes));
            json!(bulk(flock.start_many::<Tally>(birds).await))
        }
        Command::Raise { names, deadline, patience } => {
            json!(tallies::raise(flock, names, deadline, patience).await)
        }
        Command::RaiseLate(name, time) => json!(tallies::raise_late(flock, &name, time).await),
        Command::Teach(names, bytes) => json!(tallies::teach(flock, names, bytes).await),
        Command::Examine(names, bytes) => json!(tallies::examine(flock, names, bytes).await),
        Command::Hatchings => {
            let ((count, last_us), up_us) = (hatchings(), state.up_us.load(Ordering::Relaxed));
            json!(Hatchings { count, last_us, up_us })
        }
        Command::AwaitMoved(birds) => {
            while lock(&state.travels).gone.len() < birds {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            Value::Null
        }
        Command::Travels => json!(*lock(&state.travels)),
        Command::ForgetTravels => {
            *lock(&state.travels) = Travels::default();
            Value::Null
        }
        Command::Stick { name, block } => {
            tallies::stick(flock, &name, block).await;
            Value::Null
        }
        Command::Write(name, what) => json!(tallies::write(flock, &name, what).await),
        Command::Pace { names, span } => json!(tallies::pace(flock, names, span).await),
        Command::Health => {
            let counters = flock.counters().await;
            let refused = counters.refused + counters.crowded;
            json!(Health {
                panics: PANICS.load(Ordering::Relaxed),
                noticed: counters.bad_frames + counters.unknown_frames + refused,
                warnings: state.warnings.load(Ordering::Relaxed),
            })
        }
        Command::Read(name) => json!(tallies::read(flock, &name, state.is_later).await),
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Comes back once no nest of this name is up.
async fn gone(flock: &Flock, name: &str) {
    let mut events = flock.events();
    loop {
        let nests = flock.nests().await;
        if !nests.iter().any(|n| n.name.as_str() == name && n.state == NestState::Up) {
            return;
        }
        let lost = events.lost();
        while let Some(event) = events.recv().await {
            // What was lost may have been the word.
            let told = matches!(event, Event::NestDown(nest) if nest.as_str() == name);
            if told || events.lost() > lost {
                break;
            }
        }
    }
}

async fn start(flock: &Flock, names: Vec<String>) -> Vec<String> {
    let start = |flock: Flock, name: String| async move {
        let started = flock.start::<Singer>(&name, ()).await;
        started.err().map(|e| format!("{name}: {e}"))
    };
    each(flock, names, start).await.into_iter().flatten().collect()
}

fn bulk<T>(outcomes: Outcomes<T>) -> Bulk {
    let mut bulk = Bulk { ok: Vec::new(), failed: Vec::new() };
    for (name, outcome) in outcomes {
        match outcome {
            Ok(_) => bulk.ok.push(name),
            Err(e) => bulk.failed.push((name, e.to_string())),
        }
    }
    bulk
}

async fn call_each(
    flock: &Flock,
    names: Vec<String>,
    deadline: Duration,
    patience: Duration,
) -> Vec<Answered> {
    let end = Instant::now() + patience;
    let call = move |flock: Flock, name: String| async move {
        loop {
            let answer = call(&flock, &name, deadline).await;
            if answer.is_ok() || Instant::now() >= end {
                return Answered { name, answer };
            }
            // Lest hundreds of birds without a nest keep the processor busy with refusals.
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    each(flock, names, call).await
}

async fn call(flock: &Flock, name: &str, deadline: Duration) -> Result<Voice, String> {
    let bird = flock.bird::<Singer>(name).map_err(|e| e.to_string())?;
    bird.send(Sing).deadline(deadline).await.map_err(|e| e.to_string())
}

/// Eight callers, each of which calls one bird after the other.
async fn load(flock: &Flock, state: &Arc<State>, names: Vec<String>) -> Value {
    for caller in 0..8 {
        let (flock, state, names) = (flock.clone(), Arc::clone(state), names.clone());
        state.clone().loads.lock().await.spawn(async move {
            let mut loaded = Loaded { answered: 0, failed: Vec::new() };
            let mut at = caller;
            while !state.quiet.load(Ordering::Acquire) {
                let name = &names[at % names.len()];
                match call(&flock, name, Duration::from_secs(5)).await {
                    Ok(_) => loaded.answered += 1,
                    Err(e) => loaded.failed.push(format!("{name}: {e}")),
                }
                at += 8;
                // Calls that never have to wait would never let another task run.
                tokio::task::yield_now().await;
            }
            loaded
        });
    }
    Value::Null
}

async fn total(loads: &mut JoinSet<Loaded>) -> Loaded {
    let mut total = Loaded { answered: 0, failed: Vec::new() };
    while let Some(loaded) = loads.join_next().await {
        match loaded {
            Ok(loaded) => {
                total.answered += loaded.answered;
                total.failed.extend(loaded.failed);
            }
            Err(e) => total.failed.push(e.to_string()),
        }
    }
    total
}

/// Has each of these keepers keep one thing after the other.
async fn keep_each(flock: &Flock, names: Vec<String>, span: Duration) -> BTreeMap<String, Kept> {
    let mut all = JoinSet::new();
    for name in names {
        let flock = flock.clone();
        all.spawn(async move {
            let begun = Instant::now();
            let mut kept = Kept::default();
            let Ok((bird, _)) = flock.start_or_get::<Keeper>(&name, ()).await else {
                return (name, kept);
            };
            while kept.told == 0 || begun.elapsed() < span {
                kept.asked += 1;
                if let Ok(Ok(count)) = bird.send(keeper::Keep).await {
                    (kept.told, kept.last) = (kept.told + 1, count);
                }
            }
            (name, kept)
        });
    }
    all.join_all().await.into_iter().collect()
}

/// All birds that the flock has, a page after the other.
async fn owners(flock: &Flock) -> BTreeMap<String, Option<String>> {
    let (mut owners, mut after) = (BTreeMap::new(), None);
    loop {
        let page = flock.birds(after.as_deref(), 10_000).await;
        let Some(last) = page.last() else { return owners };
        after = Some(last.name.to_string());
        let owned = page.into_iter().map(|b| (b.name.to_string(), b.nest.map(|n| n.to_string())));
        owners.extend(owned);
    }
}

async fn nests(flock: &Flock) -> Vec<NestSeen> {
    let seen = flock.nests().await.into_iter();
    let seen = seen.map(|nest| NestSeen {
        name: nest.name.to_string(),
        up: nest.state == NestState::Up,
        suspected: nest.suspected,
    });
    seen.collect()
}

fn texts(names: impl IntoIterator<Item = flock_actix::BirdName>) -> Vec<String> {
    names.into_iter().map(|name| name.to_string()).collect()
}

/// Writes a line. When nobody reads any more, the test is gone.
fn say(line: &impl Serialize) {
    let text = serde_json::to_string(line).unwrap_or_default();
    let mut out = std::io::stdout().lock();
    if writeln!(out, "{text}").and_then(|()| out.flush()).is_err() {
        std::process::exit(0);
    }
}
