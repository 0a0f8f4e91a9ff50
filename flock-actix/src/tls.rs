//! Certificates: whoever has one of the flock's authority may join, by the name that it bears.
//!
//! `trust` says which certificates of others count.

mod trust;

use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::client::danger::ServerCertVerifier;
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{
    CertificateDer, CertificateRevocationListDer, PrivateKeyDer, ServerName, UnixTime,
};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::version::TLS13;
use rustls::{ClientConfig, ClientConnection, ServerConfig, ServerConnection};

use crate::secret::{self, Unread};
use trust::Trust;
pub(crate) use trust::{names, why};

/// What is spoken within: the wire's version is in it, so nests of versions that have nothing in common
/// part in the handshake.
const ALPN: &[u8] = b"flock/1";

/// No file of a key is longer.
const MAX_KEY: u64 = 64 * 1024;

/// Mutual TLS 1.3: this nest's certificate, and the authority by which those of the others count.
///
/// The flock has an authority (a CA) of its own, and each nest a certificate that it signed, with the nest's
/// name as a DNS name (a subject alternative name; without wildcards). Whoever has none stays out, and
/// nobody gets in by a name that isn't in his certificate. The names of a nest's certificate are compared
/// with its own letter by letter.
///
/// Clones share what [`reload`](Self::reload) reads: keep one beside the nest.
///
/// ```no_run
/// # async fn doc() -> Result<(), Box<dyn std::error::Error>> {
/// use flock_actix::{Flock, Tls};
///
/// let tls = Tls::from_pem_files("flock-ca.pem", "nest-1.pem", "nest-1.key")?;
/// let flock = Flock::builder("canaries").bind("10.0.0.7:7101").tls(tls.clone()).join().await?;
/// // Later, when there is a new certificate in the same files:
/// tls.reload()?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Tls(Arc<Inner>);

struct Inner {
    files: Files,
    ready: ArcSwap<Ready>,
}

#[derive(Clone, Debug)]
struct Files {
    authority: PathBuf,
    certificate: PathBuf,
    key: PathBuf,
    revoked: Option<PathBuf>,
}

/// What a handshake needs.
struct Ready {
    client: Arc<ClientConfig>,
    server: Arc<ServerConfig>,
    names: Vec<String>,
}

impl Tls {
    /// From PEM files: the certificates of the flock's authority (several, while one replaces another),
    /// this nest's own (with those between it and the authority behind it), and its private key, which
    /// nobody but its owner may read.
    ///
    /// # Errors
    /// One of the files can't be read, or the others wouldn't let this nest in: its certificate isn't of
    /// that authority, has expired, has no DNS name, or belongs to another key.
    pub fn from_pem_files(
        authority: impl AsRef<Path>,
        certificate: impl AsRef<Path>,
        key: impl AsRef<Path>,
    ) -> Result<Self, TlsError> {
        Self::from_files(Files {
            authority: authority.as_ref().into(),
            certificate: certificate.as_ref().into(),
            key: key.as_ref().into(),
            revoked: None,
        })
    }

    /// The same, and whoever is on this list of the authority (a CRL, in PEM) stays out.
    ///
    /// # Errors
    /// The file can't be read, or is no such list.
    pub fn revoked(self, list: impl AsRef<Path>) -> Result<Self, TlsError> {
        Self::from_files(Files { revoked: Some(list.as_ref().into()), ..self.0.files.clone() })
    }

    /// Reads all files anew, for the links that are made from now on. Those that are open stay as they are.
    ///
    /// # Errors
    /// As at first; or a name of the certificate, by which this nest may be known, isn't in the new one. What
    /// was read before goes on.
    pub fn reload(&self) -> Result<(), TlsError> {
        let fresh = Ready::read(&self.0.files)?;
        let missing =
            self.0.ready.load().names.iter().find(|name| !fresh.names.contains(name)).cloned();
        if let Some(name) = missing {
            return Err(TlsError::NameGone(name));
        }
        self.0.ready.store(Arc::new(fresh));
        Ok(())
    }

    fn from_files(files: Files) -> Result<Self, TlsError> {
        let ready = ArcSwap::from_pointee(Ready::read(&files)?);
        Ok(Self(Arc::new(Inner { files, ready })))
    }

    /// The names by which this nest may go.
    pub(crate) fn names(&self) -> Vec<String> {
        self.0.ready.load().names.clone()
    }

    /// One end of a connection, from whoever dialled it.
    pub(crate) fn dialler(&self) -> Result<ClientConnection, rustls::Error> {
        // Never sent, never compared: who it is that was dialled, its certificate tells.
        let nobody =
            ServerName::try_from("flock").map_err(|e| rustls::Error::General(e.to_string()))?;
        ClientConnection::new(self.0.ready.load().client.clone(), nobody)
    }

    /// The other end.
    pub(crate) fn dialled(&self) -> Result<ServerConnection, rustls::Error> {
        ServerConnection::new(self.0.ready.load().server.clone())
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls").field("names", &self.names()).finish_non_exhaustive()
    }
}

impl Ready {
    fn read(files: &Files) -> Result<Self, TlsError> {
        let authority = certificates(&files.authority)?;
        let chain = certificates(&files.certificate)?;
        let key = private_key(&files.key)?;
        let revoked = files.revoked.as_deref().map(lists).transpose()?.unwrap_or_default();

        let provider = Arc::new(ring::default_provider());
        let trust = Trust::new(authority, revoked, provider.clone());
        let trust =
            trust.map_err(|why| TlsError::Authority { path: files.authority.clone(), why })?;
        let bad = |why: String| TlsError::Certificate { path: files.certificate.clone(), why };
        let certified = CertifiedKey::from_der(chain, key, &provider);
        let certified =
            certified.map_err(|e| TlsError::Key { path: files.key.clone(), why: e.to_string() })?;
        let names = trust.check(&certified.cert).map_err(|e| bad(why(&e)))?;
        Self::build(trust, Arc::new(certified), names, &provider).map_err(|e| bad(e.to_string()))
    }

    fn build(
        trust: Trust,
        certified: Arc<CertifiedKey>,
        names: Vec<String>,
        provider: &Arc<CryptoProvider>,
    ) -> Result<Self, rustls::Error> {
        let own = Arc::new(SingleCertAndKey::from(certified));
        let server = ServerConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(&[&TLS13])?
            .with_client_cert_verifier(trust.of_diallers.clone());
        let mut server = server.with_cert_resolver(own.clone());
        server.alpn_protocols = vec![ALPN.to_vec()];
        // Every link is judged by the certificates as they are now: none goes on from an earlier one.
        server.send_tls13_tickets = 0;
        server.session_storage = Arc::new(rustls::server::NoServerSessionStorage {});
        let client = ClientConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(&[&TLS13])?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(trust));
        let mut client = client.with_client_cert_resolver(own);
        client.alpn_protocols = vec![ALPN.to_vec()];
        client.enable_sni = false;
        client.resumption = rustls::client::Resumption::disabled();
        Ok(Self { client: Arc::new(client), server: Arc::new(server), names })
    }
}

/// Both ends must have said it: an end that says nothing isn't sent away by itself.
pub(crate) fn speaks_flock(alpn: Option<&[u8]>) -> bool {
    alpn == Some(ALPN)
}

impl Trust {
    /// Whether others would let in whoever shows this, and by which names.
    fn check(&self, chain: &[CertificateDer<'static>]) -> Result<Vec<String>, rustls::Error> {
        let (own, between) = chain.split_first().ok_or(rustls::Error::NoCertificatesPresented)?;
        let (now, nobody) =
            (UnixTime::now(), ServerName::IpAddress(std::net::Ipv4Addr::LOCALHOST.into()));
        self.verify_server_cert(own, between, &nobody, &[], now)?;
        self.of_diallers.verify_client_cert(own, between, now)?;
        names(own)
    }
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let some = all_in(path, &read(path)?)?;
    if some.is_empty() {
        return Err(TlsError::Nothing { path: path.into(), what: "certificate" });
    }
    Ok(some)
}

fn lists(path: &Path) -> Result<Vec<CertificateRevocationListDer<'static>>, TlsError> {
    let some = all_in(path, &read(path)?)?;
    if some.is_empty() {
        return Err(TlsError::Nothing { path: path.into(), what: "list of revoked certificates" });
    }
    Ok(some)
}

fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
    let text = secret::read(path, MAX_KEY).map_err(|e| match e {
        Unread::Io(source) => TlsError::File { path: path.into(), source },
        Unread::Open { mode } => TlsError::OpenToOthers { path: path.into(), mode },
    })?;
    PrivateKeyDer::from_pem_slice(&text).map_err(|e| match e {
        pem::Error::NoItemsFound => TlsError::Nothing { path: path.into(), what: "private key" },
        e => TlsError::Pem { path: path.into(), why: e.to_string() },
    })
}

fn read(path: &Path) -> Result<Vec<u8>, TlsError> {
    fs::read(path).map_err(|source| TlsError::File { path: path.into(), source })
}

fn all_in<T: PemObject>(path: &Path, text: &[u8]) -> Result<Vec<T>, TlsError> {
    let all: Result<_, _> = T::pem_slice_iter(text).collect();
    all.map_err(|e: pem::Error| TlsError::Pem { path: path.into(), why: e.to_string() })
}

/// Why certificates can't be used. Nothing of a private key is in it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
    /// A file can't be read.
    #[error("can't read {path}: {source}", path = path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the operating system says.
        source: io::Error,
    },
    /// The file of the private key can be read or written by others than its owner.
    #[error(
        "{path} holds a secret and is open to others (mode {mode:o}): `chmod 600` it",
        path = path.display()
    )]
    OpenToOthers {
        /// The file.
        path: PathBuf,
        /// Its mode.
        mode: u32,
    },
    /// A file isn't PEM.
    #[error("{path} is not in PEM: {why}", path = path.display())]
    Pem {
        /// The file.
        path: PathBuf,
        /// In words.
        why: String,
    },
    /// A file holds nothing of what it should.
    #[error("{path} holds no {what}", path = path.display())]
    Nothing {
        /// The file.
        path: PathBuf,
        /// What it should hold.
        what: &'static str,
    },
    /// The authority's certificates, or its list of revoked ones, can't be used.
    #[error("the authority of {path} can't be used: {why}", path = path.display())]
    Authority {
        /// The file with its certificates.
        path: PathBuf,
        /// In words.
        why: String,
    },
    /// The others wouldn't let in whoever shows this certificate.
    #[error("the certificate of {path} would be refused: {why}", path = path.display())]
    Certificate {
        /// The file.
        path: PathBuf,
        /// In words.
        why: String,
    },
    /// The private key can't be used, or isn't the certificate's.
    #[error("the private key of {path} can't be used: {why}", path = path.display())]
    Key {
        /// The file.
        path: PathBuf,
        /// In words.
        why: String,
    },
    /// A certificate that was read anew lacks a name of the one before. That one goes on.
    #[error("the new certificate isn't for {0}, as the present one is")]
    NameGone(String),
}
