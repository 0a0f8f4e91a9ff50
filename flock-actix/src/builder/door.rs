//! Where a nest listens, and who may come in.

use super::Builder;
use crate::error::StartError;
#[cfg(feature = "noise")]
use crate::key::ClusterKey;
#[cfg(feature = "noise")]
use crate::link::Keyring;
use crate::net::{self, Door};
use crate::rt::Crew;

impl Builder {
    /// The flock's key: whoever hasn't got it stays out, and all that nests say to each other is sealed
    /// with it. Give the same to all nests; a nest with a key and one without refuse each other. Only with
    /// a key do nests talk to other machines, unless they are told to be [`insecure`](Self::insecure).
    #[cfg(feature = "noise")]
    pub fn key(self, key: ClusterKey) -> Self {
        self.keys([key])
    }

    /// The same with up to eight keys, of which the first seals what this nest begins, and all open what
    /// others begin. So a key can be replaced while the flock goes on: restart the nests one by one with
    /// the keys `[old, new]`, then with `[new, old]`, then with `[new]`.
    #[cfg(feature = "noise")]
    pub fn keys(mut self, keys: impl IntoIterator<Item = ClusterKey>) -> Self {
        self.keys = Some(keys.into_iter().collect());
        self
    }

    /// Talk to other machines though nothing keeps strangers out: only for a network that is
    /// closed to them. Every start warns of it. Beside a [key](Self::key) it changes nothing.
    pub const fn insecure(mut self) -> Self {
        self.insecure = true;
        self
    }

    pub(super) fn check_keys(&self) -> Result<(), StartError> {
        #[cfg(feature = "noise")]
        if let Some(keys) = &self.keys
            && Keyring::new(keys.clone()).is_none()
        {
            return Err(StartError::BadKeyring(keys.len()));
        }
        Ok(())
    }

    pub(super) async fn open_door(&self, crew: &Crew) -> Result<Door, StartError> {
        let (host, bind) = (self.host.clone(), self.bind.clone());
        // On the control thread's runtime: the socket will live there, and the caller's own runtime
        // may be of any kind.
        let found = crew.control().spawn(async move { net::resolve(&host, &bind).await }).await;
        let found = found.map_err(|_| StartError::Closed)?;
        let found = found.map_err(|source| self.cant_bind(source))?;
        for &address in &found {
            if !address.ip().is_loopback() && !self.insecure && !self.has_key() {
                return Err(StartError::NotLoopback { address });
            }
            if address.ip().is_unspecified() && self.advertise.is_none() {
                return Err(StartError::Unspecified { address });
            }
        }
        if self.insecure && !self.has_key() {
            tracing::warn!(bind = %self.bind, "insecure: whoever reaches this address may join");
        }
        let host = self.host.clone();
        let door = crew.control().spawn(async move { Door::open(&host, &found).await }).await;
        door.map_err(|_| StartError::Closed)?.map_err(|source| self.cant_bind(source))
    }

    /// Strangers stay out.
    pub(super) const fn has_key(&self) -> bool {
        #[cfg(feature = "noise")]
        return self.keys.is_some();
        #[cfg(not(feature = "noise"))]
        false
    }

    pub(super) fn cant_bind(&self, source: std::io::Error) -> StartError {
        StartError::Bind { address: self.bind.clone(), source }
    }
}
