//! HTTP/2 over TLS, spoken by the crate `h2`: its limits, and clients that stall.

use super::connections::{LONG, SHORT, serving_router, tls_files};
use crate::net::listener::Shutdown;
use crate::net::tls::ServerTls;
use axum::Router;
use axum::extract::Path;
use axum::routing::{get, post};
use bytes::Bytes;
use h2::client::{Connection, SendRequest};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio_rustls::TlsConnector;

fn router() -> Router {
    Router::new()
        .route("/", get(async || "hello"))
        .route("/octets/{count}", get(async |Path(count): Path<usize>| vec![b'x'; count]))
        .route("/echo", post(async |body: Bytes| body))
}

async fn serving(time_limit: Duration) -> (SocketAddr, (TempDir, Shutdown), TlsConnector) {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let (dir, chain, key, certificate) = tls_files();
    let (address, shutdown) =
        serving_router(router(), Some(ServerTls::load(&chain, &key).unwrap()), time_limit, 10).await;
    let mut roots = rustls::RootCertStore::empty();
    roots.add(certificate).unwrap();
    let mut config = rustls::ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec()];
    (address, (dir, shutdown), TlsConnector::from(Arc::new(config)))
}

type Driven = JoinHandle<Result<(), h2::Error>>;

/// A connection whose client has a window of `window` octets for each response.
async fn connect(address: SocketAddr, tls: &TlsConnector, window: u32) -> (SendRequest<Bytes>, Driven) {
    let stream = TcpStream::connect(address).await.unwrap();
    let stream = tls.connect("localhost".try_into().unwrap(), stream).await.unwrap();
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    let handshake = h2::client::Builder::new().initial_window_size(window).handshake(stream);
    let (client, connection): (_, Connection<_, Bytes>) = handshake.await.unwrap();
    (client, tokio::spawn(connection))
}

fn request(method: &str, path: &str) -> axum::http::Request<()> {
    axum::http::Request::builder().method(method).uri(format!("https://localhost{path}")).body(()).unwrap()
}

/// A whole response.
async fn answer(client: &mut SendRequest<Bytes>, method: &str, path: &str, body: Bytes) -> (u16, Vec<u8>) {
    let (response, mut sending) = client.send_request(request(method, path), body.is_empty()).unwrap();
    if !body.is_empty() {
        sending.send_data(body, true).unwrap();
    }
    let mut response = response.await.unwrap();
    let mut octets = Vec::new();
    while let Some(data) = response.body_mut().data().await {
        let data = data.unwrap();
        response.body_mut().flow_control().release_capacity(data.len()).unwrap();
        octets.extend_from_slice(&data);
    }
    (response.status().as_u16(), octets)
}

#[tokio::test]
async fn requests_and_responses_of_any_size_are_whole() {
    let (address, _server, tls) = serving(LONG).await;
    let (mut client, _driven) = connect(address, &tls, 65_535).await;
    assert_eq!(answer(&mut client, "GET", "/", Bytes::new()).await, (200, b"hello".to_vec()));
    for count in [0, 1, 16_384, 16_385, 300_000] {
        let (status, octets) = answer(&mut client, "GET", &format!("/octets/{count}"), Bytes::new()).await;
        assert_eq!((status, octets.len()), (200, count));
        let body: Bytes = (0..count).map(|n| (n % 251) as u8).collect();
        assert_eq!(answer(&mut client, "POST", "/echo", body.clone()).await, (200, body.to_vec()), "{count}");
    }
}

#[tokio::test]
async fn requests_at_once_are_limited() {
    let (address, _server, tls) = serving(LONG).await;
    let (client, _driven) = connect(address, &tls, 0).await;
    let mut client = client.ready().await.unwrap();
    // Its settings have come with the first response.
    let (response, _) = client.send_request(request("GET", "/octets/1"), true).unwrap();
    let _open = response.await.unwrap();
    assert_eq!(client.current_max_send_streams(), 16);
}

#[tokio::test]
async fn an_idle_connection_is_closed() {
    let (address, _server, tls) = serving(SHORT).await;
    for requests in [0, 1] {
        let (mut client, driven) = connect(address, &tls, 65_535).await;
        for _ in 0..requests {
            assert_eq!(answer(&mut client, "GET", "/", Bytes::new()).await.0, 200);
        }
        // It ends only because the server closes: the client is still there.
        assert!(tokio::time::timeout(LONG, driven).await.is_ok());
        drop(client);
    }
}

#[tokio::test]
async fn a_client_that_takes_no_more_of_a_response_is_disconnected_though_others_go_on() {
    let (address, _server, tls) = serving(SHORT).await;
    let (mut client, driven) = connect(address, &tls, 20_000).await;
    let (response, _) = client.send_request(request("GET", "/octets/1000000"), true).unwrap();
    let stalled = response.await.unwrap();
    // Others are read meanwhile, so that the connection is never idle.
    let others = async {
        loop {
            let Ok((response, _)) = client.send_request(request("GET", "/"), true) else { break };
            if response.await.is_err() {
                break;
            }
            tokio::time::sleep(SHORT / 10).await;
        }
    };
    assert!(tokio::time::timeout(LONG, others).await.is_ok());
    assert!(tokio::time::timeout(LONG, driven).await.is_ok());
    drop(stalled);
}

#[tokio::test]
async fn a_request_body_that_stalls_is_ended() {
    let (address, _server, tls) = serving(SHORT).await;
    let (mut client, _driven) = connect(address, &tls, 65_535).await;
    let (response, mut sending) = client.send_request(request("POST", "/echo"), false).unwrap();
    sending.send_data(Bytes::from_static(b"the first octets"), false).unwrap();
    let ended = tokio::time::timeout(LONG, response).await.expect("the server ends it");
    assert!(ended.map_or(true, |response| response.status().is_client_error()));
}

#[tokio::test]
async fn requests_in_progress_are_completed_at_shutdown() {
    let (address, server, tls) = serving(LONG).await;
    let (mut client, driven) = connect(address, &tls, 20_000).await;
    let (response, _) = client.send_request(request("GET", "/octets/100000"), true).unwrap();
    let mut response = response.await.unwrap();
    let (_dir, shutdown) = server;
    shutdown.request();
    let mut count = 0;
    while let Some(data) = response.body_mut().data().await {
        count += data.as_ref().unwrap().len();
        response.body_mut().flow_control().release_capacity(data.unwrap().len()).unwrap();
    }
    assert_eq!(count, 100_000);
    drop(client);
    assert!(tokio::time::timeout(LONG, driven).await.is_ok());
}
