//! Certificates of this server: read from files, and read again when the files change.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use tidemark_deployment::fingerprint;
use tidemark_docdb::ServerTls;
use tokio_rustls::rustls::crypto::ring::default_provider;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::{RootCertStore, ServerConfig};

type Failure = Box<dyn std::error::Error>;

/// How often it is looked whether the files changed.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// The files of a server's certificate.
#[derive(Debug, Clone)]
pub(crate) struct CertificateFiles {
    /// Its certificate, those between it and the root, and its key, as PEM.
    pub(crate) certificate_key: PathBuf,
    /// Who must have signed the certificates of clients; without it clients need none.
    pub(crate) client_ca: Option<PathBuf>,
}

/// A server's certificate, as it is in its files now.
pub(crate) struct Certificates {
    files: CertificateFiles,
    /// Held for a look at the files, and for reading them.
    state: Mutex<State>,
}

struct State {
    config: Arc<ServerConfig>,
    fingerprint: String,
    /// When the files were changed that it was read from.
    stamp: Vec<Option<SystemTime>>,
    looked_at: Instant,
}

impl Certificates {
    pub(crate) fn load(files: CertificateFiles) -> Result<Arc<Self>, Failure> {
        let stamp = files.stamp();
        let (config, fingerprint) = files.read()?;
        let state = State { config, fingerprint, stamp, looked_at: Instant::now() };
        Ok(Arc::new(Self { files, state: Mutex::new(state) }))
    }

    /// The fingerprint of the certificate that is shown now.
    pub(crate) fn fingerprint(&self) -> String {
        self.with_current(|state| state.fingerprint.clone())
    }

    fn with_current<T>(&self, look: impl FnOnce(&State) -> T) -> T {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.looked_at.elapsed() >= LOOK_INTERVAL {
            state.looked_at = Instant::now();
            let stamp = self.files.stamp();
            if stamp != state.stamp {
                match self.files.read() {
                    Ok((config, fingerprint)) => {
                        tracing::info!(fingerprint, "another certificate is shown from now on");
                        (state.config, state.fingerprint, state.stamp) =
                            (config, fingerprint, stamp);
                    }
                    // They are being replaced, or are no good: what was read is.
                    Err(error) => {
                        tracing::warn!(%error, "the new certificate cannot be used; the one before is shown");
                    }
                }
            }
        }
        look(&state)
    }
}

impl ServerTls for Certificates {
    fn config(&self) -> Arc<ServerConfig> {
        self.with_current(|state| Arc::clone(&state.config))
    }
}

impl CertificateFiles {
    fn stamp(&self) -> Vec<Option<SystemTime>> {
        let modified = |path: &PathBuf| std::fs::metadata(path).and_then(|m| m.modified()).ok();
        std::iter::once(&self.certificate_key).chain(&self.client_ca).map(modified).collect()
    }

    fn read(&self) -> Result<(Arc<ServerConfig>, String), Failure> {
        let own = &self.certificate_key;
        let chain = read_certificates(own)?;
        let shown = chain.first().map(fingerprint).unwrap_or_default();
        let key = PrivateKeyDer::from_pem_file(own).map_err(|error| unusable(own, &error))?;
        let provider = Arc::new(default_provider());
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()?;
        let builder = match &self.client_ca {
            None => builder.with_no_client_auth(),
            Some(ca) => {
                let mut roots = RootCertStore::empty();
                for certificate in read_certificates(ca)? {
                    roots.add(certificate)?;
                }
                let roots = Arc::new(roots);
                let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider);
                builder.with_client_cert_verifier(verifier.build()?)
            }
        };
        let config = builder.with_single_cert(chain, key).map_err(|e| unusable(own, &e))?;
        Ok((Arc::new(config), shown))
    }
}

fn unusable(path: &Path, error: &dyn std::fmt::Display) -> String {
    format!("{} cannot be used: {error}", path.display())
}

fn read_certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let found: Vec<_> = CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect)
        .map_err(|error| unusable(path, &error))?;
    if found.is_empty() { Err(unusable(path, &"it holds no certificate")) } else { Ok(found) }
}
