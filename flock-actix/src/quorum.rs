//! Whether enough nests are there.

use std::time::Duration;

use flock_proto::{Answer, Input, Nest, NestName, NestState};

use crate::error::RequestError;
use crate::flock::Flock;
use crate::request::DEADLINE;

impl Flock {
    /// Resolves when so many nests are up, this one included, as this one sees it, and birds may live here
    /// by the flock's [policy](crate::Builder::policy). For whoever shall not begin before the flock is there.
    ///
    /// # Errors
    /// [`RequestError::TimedOut`] if they aren't by then; [`RequestError::Closed`] once this nest is shut down.
    pub async fn ready(&self, nests: usize, within: Duration) -> Result<(), RequestError> {
        // What happens from here on isn't missed.
        let mut events = self.events();
        let enough = async {
            loop {
                let look = move |nest: &Nest| !nest.is_stopped() && up(nest) >= nests;
                if self.look(look).await.ok_or(RequestError::Closed)? {
                    return Ok(());
                }
                if events.recv().await.is_none() {
                    return Err(RequestError::Closed);
                }
            }
        };
        tokio::time::timeout(within, enough).await.unwrap_or(Err(RequestError::TimedOut))
    }

    /// Says that a nest is dead for good, and shall not be counted any more by a
    /// [majority](crate::Policy::Majority): for an operator who *knows*. All nests in contact hear of it. Should
    /// it have been cut off only, it goes on as before until it meets them, and then joins anew.
    ///
    /// # Errors
    /// [`RequestError::NoSuchNest`] if none of this name is known; [`RequestError::NestAlive`] if it is in
    /// contact.
    pub async fn forget(&self, nest: &str) -> Result<(), RequestError> {
        let nest = NestName::new(nest)?;
        match self.ask(DEADLINE, |req, _| Input::Forget { req, nest }).await? {
            Answer::Forgotten => Ok(()),
            other => Err(self.refusal(other)),
        }
    }
}

fn up(nest: &Nest) -> usize {
    nest.view().members().iter().filter(|member| member.state == NestState::Up).count()
}
