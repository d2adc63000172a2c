//! Connections: TLS, stalled clients, the connection limit.

use crate::config::Config;
use crate::http::serve::{Timeouts, serve_with};
use crate::net::connections::Capacity;
use crate::net::listener::Shutdown;
use crate::net::ranges::Networks;
use crate::net::tls::ServerTls;
use crate::resources::rate::MinimumRate;
use crate::resources::write_timeout::WriteLimits;
use axum::Router;
use axum::routing::get;
use rustls_pki_types::CertificateDer;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// Serves one path until shutdown.
async fn serving(tls: Option<ServerTls>, time_limit: Duration, max: usize) -> (SocketAddr, Shutdown) {
    serving_router(Router::new().route("/", get(async || "hello")), tls, time_limit, max).await
}

pub(super) async fn serving_router(
    router: Router,
    tls: Option<ServerTls>,
    time_limit: Duration,
    max: usize,
) -> (SocketAddr, Shutdown) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (address, shutdown) = (listener.local_addr().unwrap(), Shutdown::new());
    let answer = WriteLimits { timeout: time_limit, rate: MinimumRate::of(&Config::default().limits) };
    let time_limit = Timeouts { handshake: time_limit, head: time_limit, body: time_limit, answer };
    let capacity = Capacity::of_one_address(max);
    tokio::spawn(serve_with(time_limit, listener, router, tls, capacity, Networks::default(), shutdown.clone()));
    (address, shutdown)
}

pub(super) const LONG: Duration = Duration::from_secs(60);
pub(super) const SHORT: Duration = Duration::from_millis(100);

/// A certificate for `localhost`: its folder, the chain, the key, and the certificate itself.
pub(super) fn tls_files() -> (TempDir, PathBuf, PathBuf, CertificateDer<'static>) {
    let dir = tempfile::tempdir().unwrap();
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let (chain, key) = (dir.path().join("chain.pem"), dir.path().join("key.pem"));
    std::fs::write(&chain, made.cert.pem()).unwrap();
    std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
    (dir, chain, key, made.cert.der().clone())
}

#[tokio::test]
async fn a_tls_listener_serves_tls_only() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let (_dir, chain, key, certificate) = tls_files();
    let (address, _shutdown) = serving(Some(ServerTls::load(&chain, &key).unwrap()), LONG, 10).await;

    let root = reqwest::Certificate::from_der(&certificate).unwrap();
    let client = reqwest::Client::builder().tls_certs_only([root]).resolve("localhost", address).build().unwrap();
    let url = format!("https://localhost:{}/", address.port());
    assert_eq!(client.get(url).send().await.unwrap().text().await.unwrap(), "hello");

    let mut plain = TcpStream::connect(address).await.unwrap();
    plain.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
    let mut answer = Vec::new();
    let _ = plain.read_to_end(&mut answer).await;
    assert!(!answer.windows(5).any(|w| w == b"hello"), "{answer:?}");
}

#[tokio::test]
async fn a_stalled_client_is_disconnected() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let (address, _shutdown) = serving(None, SHORT, 10).await;
    for beginning in ["", "GET / HT", "GET / HTTP/1.1\r\nHost: x\r\n", "GET / HTTP/1.1\r\nHost: x\r\n\r\n"] {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(beginning.as_bytes()).await.unwrap();
        // This ends only because the server closes, also after a completed request.
        let mut answer = String::new();
        let _ = stream.read_to_string(&mut answer).await;
        assert_eq!(answer.contains("hello"), beginning.ends_with("\r\n\r\n"), "{beginning:?}: {answer}");
    }
}

#[tokio::test]
async fn a_client_that_does_not_read_is_disconnected() {
    let (address, _shutdown) = serving(None, SHORT, 10).await;
    let mut stream = TcpStream::connect(address).await.unwrap();
    let questions = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n".repeat(1000);
    // When no more responses fit in the buffers, no request is read, and writing blocks until the server closes.
    let refused = async { while stream.write_all(&questions).await.is_ok() {} };
    assert!(tokio::time::timeout(LONG, refused).await.is_ok());
}

#[tokio::test]
async fn a_connection_over_the_limit_is_refused_and_slots_are_freed() {
    let (address, shutdown) = serving(None, LONG, 1).await;
    let first = TcpStream::connect(address).await.unwrap();
    let mut second = TcpStream::connect(address).await.unwrap();
    let mut answer = String::new();
    let _ = second.read_to_string(&mut answer).await;
    assert!(answer.starts_with("HTTP/1.1 503 ") && answer.contains("Retry-After"), "{answer}");
    drop(first);
    loop {
        let mut third = TcpStream::connect(address).await.unwrap();
        let requested = third.write_all(b"GET / HTTP/1.0\r\n\r\n").await;
        let mut answer = String::new();
        if requested.is_ok() && third.read_to_string(&mut answer).await.is_ok() && answer.contains("hello") {
            break;
        }
        tokio::task::yield_now().await;
    }
    shutdown.request();
    assert!(shutdown.finished(LONG).await);
}
