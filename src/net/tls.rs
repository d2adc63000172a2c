//! Server TLS: one certificate for all servers, reloaded when its file changes.

use arc_swap::ArcSwap;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The file cannot be read, or has no PEM of the expected kind.
    #[error("{path}: {reason}")]
    File { path: PathBuf, reason: String },
    /// The key does not match the certificate, or rustls does not support its type.
    #[error("the certificate and the private key do not match: {0}")]
    Pair(#[from] rustls::Error),
}

/// The name of HTTP/2 over TLS in ALPN (RFC 9113 §3.1).
pub const HTTP2: &[u8] = b"h2";

/// A configuration, and the same one with ALPN for HTTP.
struct Configs {
    mail: Arc<rustls::ServerConfig>,
    http: Arc<rustls::ServerConfig>,
}

/// A TLS server; clones share one configuration, which a reload replaces for new connections.
#[derive(Clone)]
pub struct ServerTls {
    configs: Arc<ArcSwap<Configs>>,
    certificate: PathBuf,
    private_key: PathBuf,
}

impl std::fmt::Debug for ServerTls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ServerTls").field("certificate", &self.certificate).finish_non_exhaustive()
    }
}

impl ServerTls {
    /// Loads a certificate chain and its private key from PEM files.
    pub fn load(certificate: &Path, private_key: &Path) -> Result<Self, TlsError> {
        let configs = read(certificate, private_key)?;
        Ok(Self {
            configs: Arc::new(ArcSwap::from_pointee(configs)),
            certificate: certificate.to_owned(),
            private_key: private_key.to_owned(),
        })
    }

    /// Performs the TLS handshake on an accepted connection.
    pub async fn accept<S: AsyncRead + AsyncWrite + Unpin>(&self, stream: S) -> std::io::Result<TlsStream<S>> {
        TlsAcceptor::from(Arc::clone(&self.configs.load().mail)).accept(stream).await
    }

    /// The same for HTTP; the client chooses [`HTTP2`] or HTTP/1.1 by ALPN.
    pub async fn accept_http<S: AsyncRead + AsyncWrite + Unpin>(&self, stream: S) -> std::io::Result<TlsStream<S>> {
        TlsAcceptor::from(Arc::clone(&self.configs.load().http)).accept(stream).await
    }

    /// Checks the files every `pause` and switches to a new pair. If it does not load, the old pair stays in use and
    /// the reason is logged.
    pub async fn reload_forever(self, pause: Duration) {
        let mut seen = self.modified();
        loop {
            tokio::time::sleep(pause).await;
            let now = self.modified();
            if now == seen {
                continue;
            }
            match read(&self.certificate, &self.private_key) {
                Ok(configs) => {
                    self.configs.store(Arc::new(configs));
                    seen = now;
                    tracing::info!(certificate = %self.certificate.display(), "certificate reloaded");
                }
                // Between the two writes of a renewal the pair does not match; the next check finds both.
                Err(error) => tracing::warn!(%error, "cannot load the new certificate, keeping the old one"),
            }
        }
    }

    fn modified(&self) -> [Option<SystemTime>; 2] {
        [&self.certificate, &self.private_key].map(|path| std::fs::metadata(path).and_then(|m| m.modified()).ok())
    }
}

fn read(certificate: &Path, private_key: &Path) -> Result<Configs, TlsError> {
    let file = |path: &Path| {
        let path = path.to_owned();
        move |e: rustls_pki_types::pem::Error| TlsError::File { path, reason: e.to_string() }
    };
    let chain: Vec<CertificateDer<'static>> =
        CertificateDer::pem_file_iter(certificate).and_then(Iterator::collect).map_err(file(certificate))?;
    let key = PrivateKeyDer::from_pem_file(private_key).map_err(file(private_key))?;
    let mail = rustls::ServerConfig::builder().with_no_client_auth().with_single_cert(chain, key)?;
    let mut http = mail.clone();
    http.alpn_protocols = vec![HTTP2.to_vec(), b"http/1.1".to_vec()];
    Ok(Configs { mail: Arc::new(mail), http: Arc::new(http) })
}
