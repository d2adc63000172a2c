//! TLS for every server: one certificate, read again when its file changes.

use arc_swap::ArcSwap;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

/// A certificate could not be loaded.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The file cannot be read or holds no PEM of the kind asked for.
    #[error("{path}: {reason}")]
    File {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The key does not belong to the certificate, or is of a kind rustls does not take.
    #[error("the certificate and its key do not go together: {0}")]
    Pair(#[from] rustls::Error),
}

/// The server side of TLS; clones share one configuration, which a reload replaces for all new connections.
#[derive(Clone)]
pub struct ServerTls {
    config: Arc<ArcSwap<rustls::ServerConfig>>,
    certificate: PathBuf,
    private_key: PathBuf,
}

impl std::fmt::Debug for ServerTls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ServerTls").field("certificate", &self.certificate).finish_non_exhaustive()
    }
}

impl ServerTls {
    /// Loads a chain and its key from PEM files.
    pub fn load(certificate: &Path, private_key: &Path) -> Result<Self, TlsError> {
        let config = read(certificate, private_key)?;
        Ok(Self {
            config: Arc::new(ArcSwap::from(config)),
            certificate: certificate.to_owned(),
            private_key: private_key.to_owned(),
        })
    }

    /// A TLS handshake on an accepted connection.
    pub async fn accept<S: AsyncRead + AsyncWrite + Unpin>(&self, stream: S) -> std::io::Result<TlsStream<S>> {
        TlsAcceptor::from(self.config.load_full()).accept(stream).await
    }

    /// Looks at the files every `pause` and takes a new pair in use. A pair that does not load changes nothing: the old
    /// one stays, and the log says why.
    pub async fn reload_forever(self, pause: Duration) {
        let mut seen = self.modified();
        loop {
            tokio::time::sleep(pause).await;
            let now = self.modified();
            if now == seen {
                continue;
            }
            match read(&self.certificate, &self.private_key) {
                Ok(config) => {
                    self.config.store(config);
                    seen = now;
                    tracing::info!(certificate = %self.certificate.display(), "the certificate was read again");
                }
                // Between the two writes of a renewal the pair does not match: the next look finds it whole.
                Err(error) => tracing::warn!(%error, "the new certificate is not used"),
            }
        }
    }

    fn modified(&self) -> [Option<SystemTime>; 2] {
        [&self.certificate, &self.private_key].map(|path| std::fs::metadata(path).and_then(|m| m.modified()).ok())
    }
}

fn read(certificate: &Path, private_key: &Path) -> Result<Arc<rustls::ServerConfig>, TlsError> {
    let file = |path: &Path| {
        let path = path.to_owned();
        move |e: rustls_pki_types::pem::Error| TlsError::File { path, reason: e.to_string() }
    };
    let chain: Vec<CertificateDer<'static>> =
        CertificateDer::pem_file_iter(certificate).and_then(Iterator::collect).map_err(file(certificate))?;
    let key = PrivateKeyDer::from_pem_file(private_key).map_err(file(private_key))?;
    let config = rustls::ServerConfig::builder().with_no_client_auth().with_single_cert(chain, key)?;
    Ok(Arc::new(config))
}
