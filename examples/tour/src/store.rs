//! Where tickers keep their positions: one SQLite file that all nests of this machine share.
//!
//! One connection for a process, on a thread of its own. Whatever waits when that thread is free
//! goes into one transaction: a thousand birds that store at once cost a handful of commits, and
//! the nests seldom wait for each other's write lock.

use std::path::{Path, PathBuf};
use std::sync::{OnceLock, mpsc};
use std::time::Duration;

use anyhow::Context as _;
use rusqlite::{Connection, OptionalExtension, Transaction, TransactionBehavior};
use tokio::sync::oneshot;

/// How many requests one transaction takes: bounds how long the other processes are kept waiting.
const BATCH: usize = 512;

static STORE: OnceLock<Store> = OnceLock::new();

/// A handle on the store's thread.
#[derive(Clone, Debug)]
pub struct Store {
    asks: mpsc::Sender<Ask>,
}

/// Why a position was not read or not stored: nothing is known to have changed.
#[derive(Clone, Debug)]
pub struct StoreError(String);

impl std::fmt::Display for StoreError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "the store failed: {}", self.0)
    }
}

impl std::error::Error for StoreError {}

enum Ask {
    Load { ticker: String, answer: oneshot::Sender<Result<u64, StoreError>> },
    Save { ticker: String, position: u64, answer: oneshot::Sender<Result<(), StoreError>> },
}

impl Store {
    /// Opens the file, creating it if need be.
    pub fn open(path: &Path) -> anyhow::Result<Self> {
        let connection =
            connect(path).with_context(|| format!("cannot open the store {}", path.display()))?;
        let (asks, inbox) = mpsc::channel();
        std::thread::Builder::new()
            .name("store".into())
            .spawn(move || serve(connection, &inbox))
            .context("cannot start the store's thread")?;
        Ok(Self { asks })
    }

    /// Opens the file for all birds of this process: [`Store::here`] finds it from now on.
    pub fn open_here(path: &Path) -> anyhow::Result<()> {
        let store = Self::open(path)?;
        STORE.set(store).map_err(|_| anyhow::anyhow!("this process has a store already"))
    }

    /// The store of this process. A bird hatches wherever the ring says, so it is given only its
    /// args; what belongs to the place it finds at the place.
    pub fn here() -> anyhow::Result<Self> {
        STORE.get().cloned().context("this process opened no store")
    }

    /// The stored position of a ticker; 0 if it never stored one.
    pub async fn load(&self, ticker: &str) -> Result<u64, StoreError> {
        let (answer, loaded) = oneshot::channel();
        self.ask(Ask::Load { ticker: ticker.into(), answer })?;
        loaded.await.unwrap_or_else(|_| Err(gone()))
    }

    /// Stores a position. When this resolves to `Ok`, every process that loads sees it.
    ///
    /// The request is queued by the call itself, not by the first poll, so positions are stored in
    /// the order of the calls.
    pub fn save(
        &self,
        ticker: &str,
        position: u64,
    ) -> impl Future<Output = Result<(), StoreError>> + Send + use<> {
        let (answer, saved) = oneshot::channel();
        let asked = self.ask(Ask::Save { ticker: ticker.into(), position, answer });
        async move {
            asked?;
            saved.await.unwrap_or_else(|_| Err(gone()))
        }
    }

    fn ask(&self, ask: Ask) -> Result<(), StoreError> {
        self.asks.send(ask).map_err(|_| gone())
    }
}

/// The default file of nests that are started by hand: nests on one machine find the same one.
pub fn default_path() -> PathBuf {
    std::env::temp_dir().join("flock-tickers.db")
}

fn gone() -> StoreError {
    StoreError("its thread has ended".into())
}

fn connect(path: &Path) -> rusqlite::Result<Connection> {
    let connection = Connection::open(path)?;
    // First of all: three nests open the same fresh file at once, and even the switch to WAL takes
    // a lock.
    connection.busy_timeout(Duration::from_secs(10))?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    // No fsync for a commit. Stored here means: written to the log, which lies in the operating
    // system's cache. That outlives a killed process, which is what the tour shows; it doesn't
    // outlive a power cut, for which one would set FULL and pay an fsync for each batch.
    connection.pragma_update(None, "synchronous", "NORMAL")?;
    connection.execute(
        "CREATE TABLE IF NOT EXISTS tickers (name TEXT PRIMARY KEY, position INTEGER NOT NULL)
         WITHOUT ROWID",
        [],
    )?;
    Ok(connection)
}

fn serve(mut connection: Connection, inbox: &mpsc::Receiver<Ask>) {
    while let Ok(first) = inbox.recv() {
        let mut batch = vec![first];
        batch.extend(inbox.try_iter().take(BATCH - 1));
        serve_batch(&mut connection, batch);
    }
}

/// Answers go out only after the commit: what is acknowledged is stored.
fn serve_batch(connection: &mut Connection, batch: Vec<Ask>) {
    let failure = |e: rusqlite::Error| StoreError(e.to_string());
    let done = carry_out(connection, &batch).map_err(failure);
    for (at, ask) in batch.into_iter().enumerate() {
        // Whoever asked may have gone; then nobody is owed an answer.
        let _ = match (ask, &done) {
            (Ask::Load { answer, .. }, Ok(loaded)) => {
                answer.send(Ok(loaded.get(at).copied().unwrap_or(0))).is_ok()
            }
            (Ask::Save { answer, .. }, Ok(_)) => answer.send(Ok(())).is_ok(),
            (Ask::Load { answer, .. }, Err(e)) => answer.send(Err(e.clone())).is_ok(),
            (Ask::Save { answer, .. }, Err(e)) => answer.send(Err(e.clone())).is_ok(),
        };
    }
}

/// One transaction for the batch; a position for each of its requests.
fn carry_out(connection: &mut Connection, batch: &[Ask]) -> rusqlite::Result<Vec<u64>> {
    // A batch that only reads takes no write lock: a thousand hatches after a kill don't queue up
    // behind each other.
    let writes = batch.iter().any(|ask| matches!(ask, Ask::Save { .. }));
    let behavior =
        if writes { TransactionBehavior::Immediate } else { TransactionBehavior::Deferred };
    let work = connection.transaction_with_behavior(behavior)?;
    let positions = batch.iter().map(|ask| match ask {
        Ask::Load { ticker, .. } => load(&work, ticker),
        Ask::Save { ticker, position, .. } => save(&work, ticker, *position),
    });
    let positions = positions.collect::<rusqlite::Result<Vec<_>>>()?;
    work.commit()?;
    Ok(positions)
}

fn load(work: &Transaction<'_>, ticker: &str) -> rusqlite::Result<u64> {
    let mut query = work.prepare_cached("SELECT position FROM tickers WHERE name = ?1")?;
    let position: Option<i64> = query.query_row([ticker], |row| row.get(0)).optional()?;
    Ok(position.and_then(|p| u64::try_from(p).ok()).unwrap_or(0))
}

/// Never back: while the flock is cut in two, both sides run the ticker and both reach this file,
/// which in a real partition one of them would not. Here neither may be refused (each side shall
/// answer), so the greater position stays. Where only one may write, store the bird's fence beside
/// the row and refuse a smaller one.
fn save(work: &Transaction<'_>, ticker: &str, position: u64) -> rusqlite::Result<u64> {
    let mut update = work.prepare_cached(
        "INSERT INTO tickers (name, position) VALUES (?1, ?2)
         ON CONFLICT (name) DO UPDATE SET position = max(position, excluded.position)",
    )?;
    update.execute((ticker, i64::try_from(position).unwrap_or(i64::MAX)))?;
    Ok(position)
}
