//! Calls that leave neither the process nor the thread, beside actix's own `Addr::send`.

use std::time::{Duration, Instant};

use actix::{Actor, Addr, Context, Handler, Message, MessageResult, ResponseFuture};
use anyhow::{Context as _, ensure};
use flock_actix::{Bird, BirdRef, Flock, Hatching};
use serde::{Deserialize, Serialize};

use super::calls::meter::{Machine, median, round};
use super::{Bench, Options, Progress, Report, thousands};

pub(super) const BENCH: Bench = Bench {
    name: "local",
    what: "calls within a thread, by name and by a kept reference, beside actix's Addr::send",
    options: &[
        ("--rounds", "10"),
        ("--calls", "50000"),
        ("--names", "10000"),
        ("--many", "1000000"),
    ],
    run,
};

/// What is promised of so many names: the time of a call by name, and by a kept reference.
const NAMES: usize = 10_000;
const BY_NAME: f64 = 1.4;
const KEPT: f64 = 1.2;

/// From one bird to the next, none of which is left out: a prime.
const STRIDE: usize = 7919;

/// For all birds to be started.
const PATIENCE: Duration = Duration::from_secs(120);

/// So many more, please.
#[derive(Clone, Copy, Debug, Message, Serialize, Deserialize)]
#[rtype(result = "u64")]
struct Add(u64);

/// Counts: as a bird, and as an actor without a name.
#[derive(Debug, Default)]
struct Counter(u64);

impl Actor for Counter {
    type Context = Context<Self>;
}

impl Bird for Counter {
    type Args = ();

    async fn hatch((): (), _: &Hatching) -> anyhow::Result<Self> {
        Ok(Self::default())
    }
}

impl Handler<Add> for Counter {
    type Result = MessageResult<Add>;

    fn handle(&mut self, Add(n): Add, _: &mut Context<Self>) -> Self::Result {
        self.0 += n;
        MessageResult(self.0)
    }
}

flock_actix::bird!(Counter as "counter" { Add });

/// How a call is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Way {
    /// By the address of an actor that flock knows nothing of.
    Addr,
    /// By a name, from which a reference is made for each call.
    Name,
    /// By a reference that was made before.
    Kept,
}

/// Make so many calls, one after the other. How many nanoseconds did they take?
#[derive(Clone, Copy, Debug, Message, Serialize, Deserialize)]
#[rtype(result = "Result<u64, String>")]
struct Drive(Way, usize);

/// Makes the calls: a bird, so that it is on the thread of the others.
#[derive(Debug)]
struct Driver {
    flock: Flock,
    names: Vec<String>,
    kept: Vec<BirdRef<Counter>>,
    actors: Vec<Addr<Counter>>,
}

impl Actor for Driver {
    type Context = Context<Self>;
}

impl Bird for Driver {
    /// How many birds there are, and how many actors there are to be.
    type Args = usize;

    async fn hatch(count: usize, bird: &Hatching) -> anyhow::Result<Self> {
        let flock = bird.flock();
        let names: Vec<String> = (0..count).map(name).collect();
        let kept = names.iter().map(|name| flock.bird(name)).collect::<Result<_, _>>()?;
        let actors = (0..count).map(|_| Counter::default().start()).collect();
        Ok(Self { flock, names, kept, actors })
    }
}

impl Handler<Drive> for Driver {
    type Result = ResponseFuture<Result<u64, String>>;

    fn handle(&mut self, Drive(way, calls): Drive, _: &mut Context<Self>) -> Self::Result {
        // Taken along in pieces that cost nothing while the calls are made.
        let flock = self.flock.clone();
        let places = (0..calls).map(|call| call * STRIDE % self.names.len());
        match way {
            Way::Addr => {
                let to: Vec<_> = places.map(|at| self.actors[at].clone()).collect();
                Box::pin(timed(to, async |to| to.send(Add(1)).await.is_ok()))
            }
            Way::Name => {
                // All in one text: whoever calls by a name has just made or read it.
                let names: String = places.map(|at| self.names[at].as_str()).collect();
                let to: Vec<_> = (0..calls).map(|call| call * NAME..(call + 1) * NAME).collect();
                Box::pin(timed(to, async move |at| {
                    let name = names.get(at.clone()).unwrap_or_default();
                    match flock.bird::<Counter>(name) {
                        Ok(bird) => bird.send(Add(1)).await.is_ok(),
                        Err(_) => false,
                    }
                }))
            }
            Way::Kept => {
                let to: Vec<_> = places.map(|at| self.kept[at].clone()).collect();
                Box::pin(timed(to, async |to| to.send(Add(1)).await.is_ok()))
            }
        }
    }
}

flock_actix::bird!(Driver as "driver" { Drive });

async fn timed<T>(to: Vec<T>, call: impl AsyncFn(&T) -> bool) -> Result<u64, String> {
    let begun = Instant::now();
    for to in &to {
        if !call(to).await {
            return Err("a call failed".to_owned());
        }
    }
    u64::try_from(begun.elapsed().as_nanos()).map_err(|e| e.to_string())
}

/// Bytes of each name.
const NAME: usize = 21;

fn name(number: usize) -> String {
    format!("bird/account/{number:08}")
}

/// Nanoseconds for one call, and ratios of them; medians of the rounds.
#[derive(Clone, Copy, Debug, Default, Serialize)]
struct Figures {
    names: usize,
    addr_ns: f64,
    name_ns: f64,
    kept_ns: f64,
    name_ratio: f64,
    kept_ratio: f64,
}

#[derive(Clone, Debug, Serialize)]
struct All {
    rounds: usize,
    others: f64,
    local: Vec<Figures>,
}

fn run(options: &Options, progress: &Progress) -> anyhow::Result<Report> {
    let rounds = options.get::<usize>("--rounds")?.max(1);
    let calls = options.get("--calls")?;
    let machine = Machine::now()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut local = Vec::new();
    for count in [options.get::<usize>("--names")?, options.get("--many")?] {
        if count > 0 {
            local.push(runtime.block_on(measure(count, rounds, calls, progress))?);
        }
    }
    let others = round(machine.others(&[std::process::id()])?);
    Ok(report(&All { rounds, others, local }))
}

async fn measure(
    count: usize,
    rounds: usize,
    calls: usize,
    progress: &Progress,
) -> anyhow::Result<Figures> {
    ensure!(!count.is_multiple_of(STRIDE), "the stride would leave birds out");
    progress.now(format_args!("{} birds are started", thousands(count as u64)));
    let flock = Flock::builder("flock-bench").species::<Counter>().species::<Driver>();
    let flock = flock.local().await?;
    let birds = (0..count).map(|number| (name(number), ()));
    drop(flock.start_many::<Counter>(birds).deadline(PATIENCE).await.into_result()?);
    let driver = flock.start::<Driver>("driver", count).deadline(PATIENCE).await?;
    let ask = async |way| {
        let took = driver.send(Drive(way, calls)).deadline(PATIENCE).await?;
        let took = took.map_err(anyhow::Error::msg).context("not all calls were answered")?;
        anyhow::Ok(took as f64 / calls as f64)
    };
    let mut found = Vec::new();
    for number in 0..=rounds {
        progress.now(format_args!("{} names, round {number}", thousands(count as u64)));
        let addr = ask(Way::Addr).await?;
        // By turns: the later one finds the birds where the other has just had them.
        let (name, kept) = if number % 2 == 0 {
            let name = ask(Way::Name).await?;
            (name, ask(Way::Kept).await?)
        } else {
            let kept = ask(Way::Kept).await?;
            (ask(Way::Name).await?, kept)
        };
        let round = [addr, name, kept];
        // The first one only warms up.
        if number > 0 {
            found.push(round);
        }
    }
    Ok(figures(count, &found))
}

fn figures(names: usize, rounds: &[[f64; 3]]) -> Figures {
    let over = |of: fn(&[f64; 3]) -> f64| round(median(rounds.iter().map(of)));
    Figures {
        names,
        addr_ns: over(|[addr, ..]| *addr),
        name_ns: over(|[_, name, _]| *name),
        kept_ns: over(|[.., kept]| *kept),
        name_ratio: over(|[addr, name, _]| name / addr),
        kept_ratio: over(|[addr, _, kept]| kept / addr),
    }
}

fn report(all: &All) -> Report {
    let mut report = Report::new(all);
    for it in &all.local {
        let names = thousands(it.names as u64);
        report.row(format!("{names} names: Addr::send"), format!("{:.0} ns", it.addr_ns));
        for (what, ns, ratio, must) in [
            ("by name", it.name_ns, it.name_ratio, BY_NAME),
            ("by a kept reference", it.kept_ns, it.kept_ratio, KEPT),
        ] {
            report.row(format!("… {what}"), format!("{ns:.0} ns"));
            let (what, found) = (format!("… {what}, ÷ Addr::send"), format!("{ratio:.2} ×"));
            if it.names == NAMES {
                report.promise(what, found, format!("≤ {must:.1} ×"), ratio > 0.0 && ratio <= must);
            } else {
                report.row(what, found);
            }
        }
    }
    report.row("others' part of the machine", format!("{:.0} %", all.others * 100.0));
    report.note(format!(
        "Medians of {} rounds; one call at a time, to as many birds or actors in turn as there are names.",
        all.rounds
    ));
    report
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slow_call_breaks_a_promise_of_ten_thousand_names() {
        let all = |names, name, kept| {
            let local = vec![figures(names, &[[100.0, name, kept]])];
            report(&All { rounds: 1, others: 0.0, local })
        };
        assert!(all(NAMES, 140.0, 120.0).is_as_promised());
        assert!(!all(NAMES, 141.0, 120.0).is_as_promised());
        assert!(!all(NAMES, 140.0, 121.0).is_as_promised());
        assert!(all(1_000_000, 300.0, 300.0).is_as_promised());
    }
}
