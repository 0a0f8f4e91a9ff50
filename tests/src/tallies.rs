//! What a nest under test does with tallies and diaries, when it is told to.

use std::sync::Arc;
use std::time::{Duration, Instant};

use flock_actix::{CallError, Flock};
use serde_bytes::ByteBuf;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::diary::{self, Diary};
use crate::protocol::{Paced, Raised};
use crate::tally::{Block, Late, Learn, One, Recall, Tally, Told, begun};

/// Of calls that are expected to be answered.
const PATIENCE: Duration = Duration::from_secs(10);

/// Between two tries of one call: hundreds of birds without a nest must not keep the processor busy
/// with refusals.
const PAUSE: Duration = Duration::from_millis(20);

/// Does the same with each of these birds, a few dozen at a time.
pub async fn each<T, F>(
    flock: &Flock,
    names: Vec<String>,
    deed: impl Fn(Flock, String) -> F + Clone + Send + 'static,
) -> Vec<T>
where
    T: Send + 'static,
    F: Future<Output = T> + Send,
{
    let places = Arc::new(Semaphore::new(64));
    let mut tasks = JoinSet::new();
    for name in names {
        let (flock, places, deed) = (flock.clone(), Arc::clone(&places), deed.clone());
        tasks.spawn(async move {
            // Never closed, so always granted.
            let _place = places.acquire_owned().await;
            deed(flock, name).await
        });
    }
    tasks.join_all().await
}

/// Has each count one more, again and again until it has said so.
pub async fn raise(
    flock: &Flock,
    names: Vec<String>,
    deadline: Duration,
    patience: Duration,
) -> Vec<Raised> {
    let end = Instant::now() + patience;
    let raise = move |flock: Flock, name: String| async move {
        let mut open = 0;
        loop {
            let told = raise_once(&flock, &name, deadline).await;
            if told.is_ok() || Instant::now() >= end {
                open += u64::from(told.is_err());
                return Raised { name, told, open };
            }
            open += 1;
            tokio::time::sleep(PAUSE).await;
        }
    };
    each(flock, names, raise).await
}

async fn raise_once(flock: &Flock, name: &str, deadline: Duration) -> Result<Told, String> {
    let tally = flock.bird::<Tally>(name).map_err(|e| e.to_string())?;
    tally.send(One).deadline(deadline).await.map_err(|e| e.to_string())
}

/// How many callers keep a steady pace, and how long each waits between two calls.
const CALLERS: usize = 4;
const BREATH: Duration = Duration::from_millis(2);

/// Has them count at a steady pace, one after the other, for so long.
pub async fn pace(flock: &Flock, names: Vec<String>, span: Duration) -> Paced {
    let names = Arc::new(names);
    let mut callers = JoinSet::new();
    for caller in 0..CALLERS {
        let (flock, names) = (flock.clone(), Arc::clone(&names));
        callers.spawn(async move { pace_one(&flock, &names, caller, span).await });
    }
    let mut all = Paced::default();
    for paced in callers.join_all().await {
        all.hung += paced.hung;
        all.took_us.extend(paced.took_us);
        all.first_failure = all.first_failure.or(paced.first_failure);
        for (to, more) in [(&mut all.answered, paced.answered), (&mut all.failed, paced.failed)] {
            for (name, count) in more {
                *to.entry(name).or_default() += count;
            }
        }
    }
    all
}

async fn pace_one(flock: &Flock, names: &[String], caller: usize, span: Duration) -> Paced {
    let begun = Instant::now();
    let mut paced = Paced::default();
    for name in names.iter().cycle().skip(caller * names.len() / CALLERS) {
        if begun.elapsed() >= span {
            break;
        }
        let asked = Instant::now();
        let call = raise_once(flock, name, Duration::from_secs(2));
        match tokio::time::timeout(PATIENCE, call).await {
            Ok(Ok(_)) => {
                *paced.answered.entry(name.clone()).or_default() += 1;
                paced.took_us.push(u32::try_from(asked.elapsed().as_micros()).unwrap_or(u32::MAX));
            }
            Ok(Err(why)) => {
                *paced.failed.entry(name.clone()).or_default() += 1;
                paced.first_failure.get_or_insert(why);
            }
            Err(_) => {
                *paced.failed.entry(name.clone()).or_default() += 1;
                paced.hung += 1;
            }
        }
        tokio::time::sleep(BREATH).await;
    }
    paced
}

/// Has it count one more, after so long.
pub async fn raise_late(flock: &Flock, name: &str, time: Duration) -> Result<Told, String> {
    let tally = flock.bird::<Tally>(name).map_err(|e| e.to_string())?;
    tally.send(Late(time)).deadline(time + PATIENCE).await.map_err(|e| e.to_string())
}

/// Has each keep its own name in mind. Who failed, and why.
pub async fn teach(flock: &Flock, names: Vec<String>, bytes: usize) -> Vec<String> {
    let teach = move |flock: Flock, name: String| async move {
        let tally = flock.bird::<Tally>(&name).map_err(|e| e.to_string())?;
        let taught = tally.send(Learn(lesson(&name, bytes))).deadline(PATIENCE).await;
        taught.map_err(|e: CallError| format!("{name}: {e}"))
    };
    failed(each(flock, names, teach).await)
}

/// Who doesn't know what it was taught.
pub async fn examine(flock: &Flock, names: Vec<String>, bytes: usize) -> Vec<String> {
    let examine = move |flock: Flock, name: String| async move {
        let tally = flock.bird::<Tally>(&name).map_err(|e| e.to_string())?;
        match tally.send(Recall).deadline(PATIENCE).await {
            Ok(mind) if mind == lesson(&name, bytes) => Ok(()),
            Ok(mind) => Err(format!("{name} has {} other bytes in mind", mind.len())),
            Err(e) => Err(format!("{name}: {e}")),
        }
    };
    failed(each(flock, names, examine).await)
}

/// So many bytes, others for each name: a bird that hatched from its arguments doesn't know them.
fn lesson(name: &str, bytes: usize) -> ByteBuf {
    name.bytes().chain([b' ']).cycle().take(bytes).collect::<Vec<_>>().into()
}

fn failed(outcomes: Vec<Result<(), String>>) -> Vec<String> {
    outcomes.into_iter().filter_map(Result::err).collect()
}

/// Has a tally that lives in this very process begin something that doesn't end.
pub async fn stick(flock: &Flock, name: &str, block: bool) {
    let Ok(tally) = flock.bird::<Tally>(name) else { return };
    let before = begun();
    tokio::spawn(async move {
        // Nobody waits for what becomes of them.
        let _ = if block {
            tally.send(Block).deadline(Duration::MAX).await
        } else {
            tally.send(Late(Duration::from_secs(86_400))).deadline(Duration::MAX).await.map(drop)
        };
    });
    while begun() == before {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

/// Starts a diary, and writes this into it.
pub async fn write(flock: &Flock, name: &str, what: String) -> Result<(), String> {
    let diary = flock.start::<Diary>(name, ()).await.map_err(|e| e.to_string())?;
    diary.send(diary::Write(what)).await.map_err(|e| e.to_string())
}

/// What a diary says, which is of this build or a later one.
pub async fn read(flock: &Flock, name: &str, is_later: bool) -> Result<String, String> {
    let read = if is_later {
        let diary = flock.bird::<diary::later::Diary>(name).map_err(|e| e.to_string())?;
        diary.send(diary::Read).deadline(PATIENCE).await
    } else {
        let diary = flock.bird::<Diary>(name).map_err(|e| e.to_string())?;
        diary.send(diary::Read).deadline(PATIENCE).await
    };
    read.map_err(|e| e.to_string())
}
