//! How a nest goes: handing over what it has, at its own wish or at a signal's.

use std::time::Duration;

use flock_proto::{Answer, BirdName, Input};

use crate::error::RequestError;
use crate::flock::Flock;

/// The core answers by the time that its own deadline has passed, whatever that is.
const ANSWERED: Duration = Duration::from_secs(24 * 60 * 60);

/// How a nest [left](Flock::leave).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Departure {
    /// Birds that could not be handed over: the deadline passed, or no other nest could take them. If
    /// there is another nest, its flock hatches them afresh, as if this nest had died.
    pub left_behind: Vec<BirdName>,
}

/// What ended [`Flock::run_until_signal`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Ended {
    /// A signal came, and the nest has left.
    Left(Departure),
    /// A second signal came while it was leaving: it was shut down at once, and whatever it had is left
    /// to the others, as if it had died.
    CutShort,
}

impl Flock {
    /// Hands all birds over to the other nests, with their states where they
    /// [migrate](crate::Migrate), says goodbye, and shuts this nest down; other handles on it are then of
    /// no use. Calls go on meanwhile: those that a bird has begun are finished, those that wait go
    /// after it. Each bird goes as soon as it can: a slow one holds up no other.
    ///
    /// What can't be handed over in [30 s](crate::Builder::leave_timeout) is left to the others, as if
    /// this nest had died, and told; calls that it was handling end as
    /// [`OutcomeUnknown`](crate::CallError::OutcomeUnknown), five seconds later at most. A thread that a
    /// bird blocks is left alone: it goes on until the process ends, which it should then. On an error the
    /// nest is still there.
    pub async fn leave(&self) -> Result<Departure, RequestError> {
        let left_behind = match self.ask(ANSWERED, |req, _| Input::Leave { req }).await? {
            Answer::Left { left_behind } => left_behind,
            other => return Err(self.refusal(other)),
        };
        self.part().await?;
        Ok(Departure { left_behind })
    }

    /// Runs until the process is told to end by SIGTERM or SIGINT (on Windows: Ctrl-C), then
    /// [leaves](Self::leave). A second signal ends it at once.
    ///
    /// ```no_run
    /// # use flock_actix::Flock;
    /// # #[actix::main]
    /// # async fn main() -> anyhow::Result<()> {
    /// let flock = Flock::builder("canaries").bind("127.0.0.1:7101").join().await?;
    /// flock.run_until_signal().await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// Beside an actix-web server, which catches the signals itself, let that end first: it stops to
    /// accept, finishes what it has begun, which may call birds, and then the nest leaves. Mind its
    /// shutdown timeout, for all of which it waits where connections stay open:
    ///
    /// ```ignore
    /// server.shutdown_timeout(5).run().await?; // returns after SIGTERM
    /// flock.leave().await?;
    /// ```
    ///
    /// # Errors
    /// [`RequestError::NoSignals`] if the operating system lets nobody listen for signals; otherwise
    /// those of [`leave`](Self::leave).
    pub async fn run_until_signal(&self) -> Result<Ended, RequestError> {
        let mut signals = Signals::listen().map_err(|e| RequestError::NoSignals(e.to_string()))?;
        let signal = signals.next().await;
        tracing::info!(nest = self.name(), "{signal}: leaving");
        tokio::select! {
            biased;
            left = self.leave() => left.map(Ended::Left),
            signal = signals.next() => {
                tracing::warn!(nest = self.name(), "{signal} again: ending at once");
                self.shut().await;
                Ok(Ended::CutShort)
            }
        }
    }
}

#[cfg(unix)]
struct Signals {
    terminate: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
}

#[cfg(unix)]
impl Signals {
    fn listen() -> std::io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        let terminate = signal(SignalKind::terminate())?;
        Ok(Self { terminate, interrupt: signal(SignalKind::interrupt())? })
    }

    /// The next one's name.
    async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}

#[cfg(not(unix))]
struct Signals;

#[cfg(not(unix))]
impl Signals {
    fn listen() -> std::io::Result<Self> {
        Ok(Self)
    }

    async fn next(&mut self) -> &'static str {
        if tokio::signal::ctrl_c().await.is_err() {
            // Nobody can press it.
            std::future::pending::<()>().await;
        }
        "Ctrl-C"
    }
}
