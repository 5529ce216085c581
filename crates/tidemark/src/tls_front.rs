//! TLS in front of a server that speaks without it on this machine.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::crypto::ring::default_provider;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::{RootCertStore, ServerConfig};

type Failure = Box<dyn std::error::Error>;

/// What a server shows of itself, and whom it lets in.
pub(crate) struct Certificates<'a> {
    /// Its certificate and key, one after the other, as PEM.
    pub(crate) certificate_key: &'a Path,
    /// Who must have signed the certificates of clients; without it clients need none.
    pub(crate) ca: Option<&'a Path>,
}

impl Certificates<'_> {
    pub(crate) fn load(&self) -> Result<TlsAcceptor, Failure> {
        let unusable = |path: &Path, error: &dyn std::fmt::Display| {
            format!("{} cannot be used: {error}", path.display())
        };
        let own = self.certificate_key;
        let read = |path: &Path| -> Result<Vec<CertificateDer<'static>>, String> {
            CertificateDer::pem_file_iter(path)
                .and_then(Iterator::collect)
                .map_err(|error| unusable(path, &error))
        };
        let chain = read(own)?;
        let key = PrivateKeyDer::from_pem_file(own).map_err(|error| unusable(own, &error))?;
        let provider = Arc::new(default_provider());
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()?;
        let builder = match self.ca {
            None => builder.with_no_client_auth(),
            Some(ca) => {
                let mut roots = RootCertStore::empty();
                for certificate in read(ca)? {
                    roots.add(certificate)?;
                }
                let verifier =
                    WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
                        .build()?;
                builder.with_client_cert_verifier(verifier)
            }
        };
        let config = builder.with_single_cert(chain, key).map_err(|e| unusable(own, &e))?;
        Ok(TlsAcceptor::from(Arc::new(config)))
    }
}

/// Accepts connections until it is dropped, and passes on what they say.
pub(crate) async fn serve(listener: TcpListener, acceptor: TlsAcceptor, behind: SocketAddr) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let Ok((client, _)) = accepted else { continue };
                connections.spawn(pass_on(client, acceptor.clone(), behind));
            }
            // So that those that are over are not kept.
            Some(_) = connections.join_next() => {}
        }
    }
}

/// A client that is not let in, or goes away, is no concern of anybody else's.
async fn pass_on(client: TcpStream, acceptor: TlsAcceptor, behind: SocketAddr) {
    let Ok(mut client) = acceptor.accept(client).await else { return };
    let Ok(mut server) = TcpStream::connect(behind).await else { return };
    let _ = copy_bidirectional(&mut client, &mut server).await;
}
