//! Certificates of an authority that a test makes for itself.
#![allow(dead_code, reason = "each test file uses its own part of it")]

use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, DnType,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyIdMethod, KeyPair, KeyUsagePurpose,
    RevokedCertParams, SerialNumber, date_time_ymd,
};

use super::Tls;

/// An authority, and a directory for what it makes, which goes with it.
pub(crate) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    /// Its own certificate.
    pub(crate) pem: String,
    dir: PathBuf,
}

/// A certificate and its key.
pub(crate) struct Papers {
    pub(crate) certificate: PathBuf,
    pub(crate) key: PathBuf,
    pub(crate) serial: SerialNumber,
}

fn fresh() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

impl Authority {
    pub(crate) fn new() -> Self {
        let number = fresh();
        let dir = std::env::temp_dir().join(format!("flock-tls-{}-{number}", std::process::id()));
        fs::create_dir_all(&dir).expect("a directory");
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, format!("authority {number}"));
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate().expect("a key");
        let pem = params.self_signed(&key).expect("a certificate").pem();
        fs::write(dir.join("ca.pem"), &pem).expect("it is written");
        Self { issuer: Issuer::new(params, key), pem, dir }
    }

    /// The file with its own certificate.
    pub(crate) fn file(&self) -> PathBuf {
        self.dir.join("ca.pem")
    }

    /// A file of the directory.
    pub(crate) fn at(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// A certificate for these names.
    pub(crate) fn papers(&self, names: &[&str]) -> Papers {
        self.unusual(names, |_| {})
    }

    /// One that is changed before it is signed.
    pub(crate) fn unusual(
        &self,
        names: &[&str],
        change: impl FnOnce(&mut CertificateParams),
    ) -> Papers {
        let number = fresh();
        let names: Vec<String> = names.iter().map(|&name| name.into()).collect();
        let mut params = CertificateParams::new(names).expect("names");
        let serial = SerialNumber::from(number);
        params.serial_number = Some(serial.clone());
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        change(&mut params);
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &self.issuer).expect("it signs").pem();
        let files = [("pem", certificate), ("key", key.serialize_pem())].map(|(end, text)| {
            let path = self.at(&format!("{number}.{end}"));
            fs::write(&path, text).expect("it is written");
            path
        });
        let [certificate, key] = files;
        close(&key);
        Papers { certificate, key, serial }
    }

    pub(crate) fn expired(&self, names: &[&str]) -> Papers {
        self.unusual(names, |params| {
            params.not_before = date_time_ymd(2001, 1, 1);
            params.not_after = date_time_ymd(2002, 1, 1);
        })
    }

    /// What a nest of these names starts with.
    pub(crate) fn tls(&self, names: &[&str]) -> Tls {
        self.tls_with(&self.papers(names))
    }

    pub(crate) fn tls_with(&self, papers: &Papers) -> Tls {
        Tls::from_pem_files(self.file(), &papers.certificate, &papers.key).expect("good papers")
    }

    /// Its list of those who are to stay out.
    pub(crate) fn revoke(&self, revoked: &[&Papers]) -> PathBuf {
        let revoked = revoked.iter().map(|papers| RevokedCertParams {
            serial_number: papers.serial.clone(),
            revocation_time: date_time_ymd(2020, 1, 1),
            reason_code: None,
            invalidity_date: None,
        });
        let list = CertificateRevocationListParams {
            this_update: date_time_ymd(2020, 1, 1),
            next_update: date_time_ymd(2100, 1, 1),
            crl_number: SerialNumber::from(fresh()),
            issuing_distribution_point: None,
            revoked_certs: revoked.collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        let path = self.at("revoked.pem");
        let list = list.signed_by(&self.issuer).expect("it signs");
        fs::write(&path, list.pem().expect("PEM")).expect("it is written");
        path
    }
}

impl Drop for Authority {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.dir);
    }
}

/// Nobody but the owner may read it.
fn close(path: &PathBuf) {
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        fs::set_permissions(path, fs::Permissions::from_mode(0o600)).expect("its mode is set");
    }
}
