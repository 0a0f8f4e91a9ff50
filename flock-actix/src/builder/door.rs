//! Where a nest listens, and who may come in.

use super::Builder;
use crate::error::StartError;
#[cfg(feature = "noise")]
use crate::key::ClusterKey;
#[cfg(feature = "noise")]
use crate::link::Keyring;
use crate::net::{self, Door};
use crate::rt::Crew;
#[cfg(feature = "tls")]
use crate::tls::Tls;

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

    /// Certificates instead of a key: whoever has none of the flock's authority stays out, and each nest
    /// bears a name of its own certificate; if that has only one, it is the [name](Self::name) of a nest
    /// that is given no other. All is sealed by TLS 1.3. A nest with a certificate and one without refuse
    /// each other, and to have both a certificate and a key is an error at the start.
    #[cfg(feature = "tls")]
    pub fn tls(mut self, certificates: Tls) -> Self {
        self.tls = Some(certificates);
        self
    }

    /// Talk to other machines though nothing keeps strangers out: only for a network that is
    /// closed to them. Every start warns of it. Beside a key or certificates it changes nothing.
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

    /// A nest goes by a name of its certificate, or the others would refuse it: without a name of its
    /// own by the only one.
    pub(super) fn check_certificate(&mut self) -> Result<(), StartError> {
        #[cfg(feature = "tls")]
        if let Some(tls) = &self.tls {
            #[cfg(feature = "noise")]
            if self.keys.is_some() {
                return Err(StartError::KeyAndCertificate);
            }
            let names = tls.names();
            match (&self.name, names.as_slice()) {
                (Some(name), names) if names.contains(name) => {}
                (None, [name]) => self.name = Some(name.clone()),
                (name, _) => {
                    return Err(StartError::NotCertified { name: name.clone(), names });
                }
            }
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
            if !address.ip().is_loopback() && !self.insecure && !self.keeps_strangers_out() {
                return Err(StartError::NotLoopback { address });
            }
            if address.ip().is_unspecified() && self.advertise.is_none() {
                return Err(StartError::Unspecified { address });
            }
        }
        if self.insecure && !self.keeps_strangers_out() {
            tracing::warn!(bind = %self.bind, "insecure: whoever reaches this address may join");
        }
        let host = self.host.clone();
        let door = crew.control().spawn(async move { Door::open(&host, &found).await }).await;
        door.map_err(|_| StartError::Closed)?.map_err(|source| self.cant_bind(source))
    }

    /// Strangers stay out.
    pub(super) const fn keeps_strangers_out(&self) -> bool {
        #[cfg(feature = "noise")]
        if self.keys.is_some() {
            return true;
        }
        #[cfg(feature = "tls")]
        if self.tls.is_some() {
            return true;
        }
        false
    }

    pub(super) fn cant_bind(&self, source: std::io::Error) -> StartError {
        StartError::Bind { address: self.bind.clone(), source }
    }
}
