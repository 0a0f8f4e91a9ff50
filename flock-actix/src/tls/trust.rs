//! Which certificates of others count.

use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, ServerName, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls::{
    CertificateError, DigitallySignedStruct, Error, OtherError, RootCertStore, SignatureScheme,
};
use webpki::EndEntityCert;

/// Those of one authority, whatever name they bear: a nest dials an address, and learns from the answer
/// who is there. That its name is in its certificate is looked at then.
#[derive(Debug)]
pub(super) struct Trust {
    pub(super) of_diallers: Arc<dyn ClientCertVerifier>,
    of_dialled: Arc<WebPkiServerVerifier>,
}

impl Trust {
    pub(super) fn new(
        authority: Vec<CertificateDer<'static>>,
        revoked: Vec<CertificateRevocationListDer<'static>>,
        provider: Arc<CryptoProvider>,
    ) -> Result<Self, String> {
        let mut roots = RootCertStore::empty();
        for certificate in authority {
            roots.add(certificate).map_err(|e| e.to_string())?;
        }
        let roots = Arc::new(roots);
        let of_diallers =
            WebPkiClientVerifier::builder_with_provider(roots.clone(), provider.clone())
                .with_crls(revoked.clone())
                .only_check_end_entity_revocation()
                // Whoever knocks need not learn whom this nest trusts.
                .clear_root_hint_subjects()
                .build()
                .map_err(|e| e.to_string())?;
        let of_dialled = WebPkiServerVerifier::builder_with_provider(roots, provider)
            .with_crls(revoked)
            .only_check_end_entity_revocation()
            .build()
            .map_err(|e| e.to_string())?;
        Ok(Self { of_diallers, of_dialled })
    }
}

impl ServerCertVerifier for Trust {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let first = names(end_entity)?.into_iter().next().ok_or_else(nameless)?;
        let name = ServerName::try_from(first).map_err(|_| nameless())?;
        self.of_dialled.verify_server_cert(end_entity, intermediates, &name, ocsp, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.of_dialled.verify_tls12_signature(message, cert, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.of_dialled.verify_tls13_signature(message, cert, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.of_dialled.supported_verify_schemes()
    }
}

/// The names by which whoever has this certificate may go: its DNS names, but those with a wildcard. At
/// least one.
pub(crate) fn names(certificate: &CertificateDer<'_>) -> Result<Vec<String>, Error> {
    let parsed = EndEntityCert::try_from(certificate);
    let parsed = parsed.map_err(|_| CertificateError::BadEncoding)?;
    let names = parsed.valid_dns_names().filter(|name| !name.contains('*'));
    let names: Vec<_> = names.map(str::to_owned).collect();
    if names.is_empty() { Err(nameless()) } else { Ok(names) }
}

/// The certificate is for nobody.
#[derive(Debug, thiserror::Error)]
#[error(
    "no DNS name (a subject alternative name, without a wildcard) is in it for a nest to go by"
)]
struct Nameless;

fn nameless() -> Error {
    CertificateError::Other(OtherError(Arc::new(Nameless))).into()
}

/// Why a certificate doesn't count, in words.
pub(crate) fn why(error: &Error) -> String {
    use CertificateError as Bad;
    match error {
        Error::NoCertificatesPresented => "it has no certificate".into(),
        Error::InvalidCertificate(Bad::UnknownIssuer | Bad::BadSignature) => {
            "its certificate is not of the flock's authority".into()
        }
        Error::InvalidCertificate(Bad::Revoked) => "its certificate is revoked".into(),
        Error::InvalidCertificate(Bad::Other(OtherError(e))) => format!("its certificate: {e}"),
        Error::InvalidCertificate(e) => format!("its certificate: {e}"),
        e => e.to_string(),
    }
}
