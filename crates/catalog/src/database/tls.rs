//! TLS to PostgreSQL, with the words of its own clients: `sslmode` and `sslrootcert`.

use std::path::Path;
use std::sync::Arc;

use postgres::config::SslMode;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{DigitallySignedStruct, RootCertStore, SignatureScheme};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::error::DatabaseError;

/// What an address says of TLS; the rest of it is for the client.
pub(super) struct Tls {
    /// Whether it must be, may be, or must not be.
    pub(super) mode: SslMode,
    is_verified: bool,
    roots: Option<String>,
}

fn unusable(what: impl std::fmt::Display) -> DatabaseError {
    DatabaseError::Postgres(what.to_string())
}

impl Tls {
    /// Takes `sslmode` and `sslrootcert` out of an address; answers the rest of it, too.
    ///
    /// As PostgreSQL's clients have it: `prefer`, without a word, and `require` take any certificate,
    /// unless `require` names a root; `verify-full` and `verify-ca` do not, and check the host's name.
    pub(super) fn split(url: &str) -> Result<(String, Self), DatabaseError> {
        let (address, query) = url.split_once('?').unwrap_or((url, ""));
        let value = |name: &str| {
            let mut pairs = query.split('&').filter_map(|pair| pair.split_once('='));
            pairs.find(|(key, _)| *key == name).map(|(_, value)| value.to_owned())
        };
        let roots = value("sslrootcert");
        let (mode, is_verified) = match value("sslmode").as_deref() {
            None | Some("prefer" | "allow") => (SslMode::Prefer, false),
            Some("disable") => (SslMode::Disable, false),
            Some("require") => (SslMode::Require, roots.is_some()),
            Some("verify-ca" | "verify-full") => (SslMode::Require, true),
            Some(other) => {
                return Err(unusable(format!(
                    "sslmode={other} is none of disable, prefer, require, verify-ca, verify-full"
                )));
            }
        };
        let is_other =
            |pair: &&str| !pair.starts_with("sslmode=") && !pair.starts_with("sslrootcert=");
        let rest: Vec<&str> =
            query.split('&').filter(|pair| !pair.is_empty()).filter(is_other).collect();
        let address = if rest.is_empty() {
            address.to_owned()
        } else {
            format!("{address}?{}", rest.join("&"))
        };
        Ok((address, Self { mode, is_verified, roots }))
    }

    pub(super) fn connector(&self) -> Result<MakeRustlsConnect, DatabaseError> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let verifier: Arc<dyn ServerCertVerifier> = if self.is_verified {
            let roots = Arc::new(load_roots(self.roots.as_deref())?);
            WebPkiServerVerifier::builder_with_provider(roots, Arc::clone(&provider))
                .build()
                .map_err(unusable)?
        } else {
            Arc::new(AnyCertificate(Arc::clone(&provider)))
        };
        let config = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(unusable)?
            .dangerous()
            .with_custom_certificate_verifier(verifier)
            .with_no_client_auth();
        Ok(MakeRustlsConnect::new(config))
    }
}

/// The roots of a file, or the system's.
fn load_roots(file: Option<&str>) -> Result<RootCertStore, DatabaseError> {
    let mut roots = RootCertStore::empty();
    let Some(file) = file else {
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        return Ok(roots);
    };
    let unreadable = |error| unusable(format!("sslrootcert={file} cannot be read: {error}"));
    let certificates = CertificateDer::pem_file_iter(Path::new(file)).map_err(unreadable)?;
    for certificate in certificates {
        roots.add(certificate.map_err(unreadable)?).map_err(unusable)?;
    }
    if roots.is_empty() {
        return Err(unusable(format!("sslrootcert={file} holds no certificate")));
    }
    Ok(roots)
}

/// Takes whatever certificate a server shows: that protects from who listens, not from who answers
/// instead.
#[derive(Debug)]
struct AnyCertificate(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, certificate, signed, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_for_tls_are_taken_out_of_an_address() {
        let split = |query: &str| {
            let (rest, tls) = Tls::split(&format!("postgres://h/d{query}")).unwrap();
            (rest, tls.mode, tls.is_verified)
        };
        let address = || "postgres://h/d".to_owned();
        assert_eq!(split(""), (address(), SslMode::Prefer, false));
        assert_eq!(split("?sslmode=disable"), (address(), SslMode::Disable, false));
        assert_eq!(split("?sslmode=require"), (address(), SslMode::Require, false));
        assert_eq!(split("?sslrootcert=f&sslmode=require"), (address(), SslMode::Require, true));
        assert_eq!(split("?sslmode=verify-full"), (address(), SslMode::Require, true));
        let (rest, ..) = split("?a=b&sslmode=prefer&c=d");
        assert_eq!(rest, "postgres://h/d?a=b&c=d");
        assert!(Tls::split("postgres://h/d?sslmode=maybe").is_err());
    }
}
