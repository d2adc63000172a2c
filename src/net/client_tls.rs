//! TLS to other mail servers. Invariant: credentials go to a relay only over TLS with a certificate valid for its
//! name. At an MX any certificate is accepted, since unauthenticated TLS is better than plaintext (RFC 7435); the
//! handshake signature is still verified. RFC 3207 (STARTTLS), RFC 8314.

use super::tls::TlsError;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use std::path::Path;
use std::sync::Arc;
use tokio_rustls::TlsConnector;

/// A TLS client; clones share the roots and the session cache.
#[derive(Clone)]
pub struct ClientTls {
    verifying: TlsConnector,
    opportunistic: TlsConnector,
    // `None` without any root certificate: then nothing verifies.
    verifier: Option<Arc<WebPkiServerVerifier>>,
}

impl std::fmt::Debug for ClientTls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ClientTls").finish_non_exhaustive()
    }
}

impl ClientTls {
    /// Trusts the system's roots and those in a PEM file.
    pub fn new(extra_roots: Option<&Path>) -> Result<Self, TlsError> {
        let mut roots = RootCertStore::empty();
        let system = rustls_native_certs::load_native_certs();
        for error in &system.errors {
            tracing::warn!(%error, "cannot read a root certificate of the system");
        }
        roots.add_parsable_certificates(system.certs);
        if let Some(path) = extra_roots {
            let file = |reason: String| TlsError::File { path: path.to_owned(), reason };
            let extra: Vec<CertificateDer<'static>> = CertificateDer::pem_file_iter(path)
                .and_then(Iterator::collect)
                .map_err(|e: rustls_pki_types::pem::Error| file(e.to_string()))?;
            for certificate in extra {
                roots.add(certificate).map_err(|e| file(e.to_string()))?;
            }
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let roots = Arc::new(roots);
        let verifier =
            WebPkiServerVerifier::builder_with_provider(Arc::clone(&roots), Arc::clone(&provider)).build().ok();
        let builder =
            || ClientConfig::builder_with_provider(Arc::clone(&provider)).with_safe_default_protocol_versions();
        let verifying = builder()?.with_root_certificates(roots).with_no_client_auth();
        let any = Arc::new(AnyCertificate(Arc::clone(&provider)));
        let opportunistic = builder()?.dangerous().with_custom_certificate_verifier(any).with_no_client_auth();
        Ok(Self { verifying: Arc::new(verifying).into(), opportunistic: Arc::new(opportunistic).into(), verifier })
    }

    /// Verifies the peer's certificate.
    pub fn verifying(&self) -> &TlsConnector {
        &self.verifying
    }

    /// Accepts any certificate.
    pub fn opportunistic(&self) -> &TlsConnector {
        &self.opportunistic
    }

    /// True if the certificate shown by the peer is valid for `host`.
    pub fn proves(&self, connection: &rustls::ClientConnection, host: &str) -> bool {
        let (Some(verifier), Ok(name)) = (&self.verifier, ServerName::try_from(host)) else { return false };
        let Some((leaf, chain)) = connection.peer_certificates().and_then(<[_]>::split_first) else { return false };
        verifier.verify_server_cert(leaf, chain, &name, &[], UnixTime::now()).is_ok()
    }
}

/// Accepts any certificate, but verifies that the peer signed the handshake with its key.
#[derive(Debug)]
struct AnyCertificate(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _leaf: &CertificateDer<'_>,
        _chain: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
