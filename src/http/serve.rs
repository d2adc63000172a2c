//! HTTP/1.1 over TCP or TLS, and HTTP/2 over TLS, with limits on connections and time-outs for slow clients. RFC 9112. Invariant: a
//! connection is closed if its client stalls in the handshake, the request head or body, stays idle, or reads the
//! response below the minimum rate.

mod http2;

use super::exchange::{REQUEST_ID, exchange};
use super::forwarded::client_of;
use crate::config::Config;
use crate::id::RequestId;
use crate::net::connections::{Activity, Capacity};
use crate::net::listener::{self, Proxies, Shutdown};
use crate::net::ranges::Networks;
use crate::net::request::{Client, Connection};
use crate::net::tls::{HTTP2, ServerTls};
use crate::resources::rate::MinimumRate;
use crate::resources::write_timeout::{WriteLimits, WriteTimeout};
use axum::Router;
use axum::body::Body;
use axum::middleware::from_fn;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use std::borrow::Cow;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tower_http::timeout::TimeoutBody;
use tower_service::Service;

#[derive(Clone, Copy, Debug)]
pub(super) struct Timeouts {
    pub(super) handshake: Duration,
    /// For a request head, and for the next request on a persistent connection.
    pub(super) head: Duration,
    /// Between two pieces of a request body.
    pub(super) body: Duration,
    /// For reading a response.
    pub(super) answer: WriteLimits,
}

/// Maximum for the TLS handshake.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// Maximum octets of a request head; a larger one is 431.
const HEAD_OCTETS: usize = 32 * 1024;
/// Response octets buffered per connection, not counting the last piece.
const WRITE_BUFFER: usize = 64 * 1024;
/// The response to a connection over the limit.
fn too_many() -> Cow<'static, [u8]> {
    let id = RequestId::new();
    tracing::debug!(listener = "http", %id, "503: too many connections");
    format!(
        "HTTP/1.1 503 Service Unavailable\r\n{REQUEST_ID}: {id}\r\nRetry-After: 5\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
    )
    .into_bytes()
    .into()
}

/// Serves the router until shutdown; requests in progress are completed.
pub async fn serve(listener: TcpListener, router: Router, tls: Option<ServerTls>, config: &Config, shutdown: Shutdown) {
    let limits = &config.limits;
    let silence = limits.http_timeout.0;
    let answer = WriteLimits { timeout: silence, rate: MinimumRate::of(limits) };
    let timeouts = Timeouts { handshake: silence.min(HANDSHAKE), head: silence, body: silence, answer };
    let router = router.layer(from_fn(exchange));
    serve_with(timeouts, listener, router, tls, limits.capacity(), config.trusted_proxies.clone(), shutdown).await;
}

pub(super) async fn serve_with(
    timeouts: Timeouts,
    listener: TcpListener,
    router: Router,
    tls: Option<ServerTls>,
    capacity: Capacity,
    proxies: Networks,
    shutdown: Shutdown,
) {
    let in_requests = Proxies::NamedInRequests(proxies.clone());
    let proxies = Arc::new(proxies);
    let ending = shutdown.clone();
    listener::serve("http", listener, capacity, too_many, in_requests, shutdown, move |stream, peer, activity| {
        let (router, tls, ending) = (router.clone(), tls.clone(), ending.clone());
        let peer = Peer { address: peer, activity, proxies: Arc::clone(&proxies) };
        async move {
            let Some(tls) = tls else {
                return connection(stream, peer, router, timeouts, ending).await;
            };
            let handshake = tokio::select! {
                handshake = tokio::time::timeout(timeouts.handshake, tls.accept_http(stream)) => handshake,
                () = peer.activity.has_to_close() => return,
            };
            let address = peer.address;
            match handshake {
                Ok(Ok(stream)) if stream.get_ref().1.alpn_protocol() == Some(HTTP2) => {
                    http2::connection(stream, peer, router, timeouts, ending).await
                }
                Ok(Ok(stream)) => connection(stream, peer, router, timeouts, ending).await,
                Ok(Err(error)) => {
                    tracing::info!(listener = "http", peer = %address, %error, "TLS handshake failed")
                }
                Err(_) => tracing::info!(listener = "http", peer = %address, "TLS handshake timed out"),
            }
        }
    })
    .await;
}

/// The remote end of a connection.
struct Peer {
    address: SocketAddr,
    activity: Arc<Activity>,
    proxies: Arc<Networks>,
}

async fn connection<S>(stream: S, peer: Peer, router: Router, timeouts: Timeouts, shutdown: Shutdown)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let Peer { address: peer, activity, proxies } = peer;
    let stream = WriteTimeout::new(stream, timeouts.answer).with_activity(Arc::clone(&activity));
    let (serving, ending) = (Arc::clone(&activity), shutdown.clone());
    // Requests carry their client's address.
    let service = service_fn(move |mut request: hyper::Request<Incoming>| {
        let client = client_of(peer.ip(), request.headers(), &proxies);
        request.extensions_mut().insert(Client(client));
        let (mut router, serving) = (router.clone(), Arc::clone(&serving));
        request.extensions_mut().insert(Connection { activity: Arc::clone(&serving), shutdown: ending.clone() });
        serving.works();
        async move {
            let answer = router.call(request.map(|body| Body::new(TimeoutBody::new(timeouts.body, body)))).await;
            serving.waits();
            answer
        }
    });
    let served = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(timeouts.head)
        .max_header_size(HEAD_OCTETS)
        .max_buf_size(WRITE_BUFFER)
        .serve_connection(TokioIo::new(stream), service);
    let mut served = pin!(served);
    let ended = tokio::select! {
        ended = served.as_mut() => ended,
        () = close_requested(&activity, &shutdown) => {
            // No request is in progress: the client is idle or does not read its response.
            if activity.is_waiting() && !shutdown.is_requested() {
                return;
            }
            served.as_mut().graceful_shutdown();
            served.await
        }
    };
    log_end(peer, ended);
}

fn log_end(peer: SocketAddr, ended: Result<(), hyper::Error>) {
    match ended {
        Ok(()) => {}
        Err(error) if error.is_timeout() => {
            tracing::info!(listener = "http", %peer, "client timed out, closing connection")
        }
        Err(error) if error.is_parse() => {
            tracing::info!(listener = "http", %peer, %error, "malformed request")
        }
        Err(error) => match timed_out(&error) {
            Some(error) => tracing::info!(listener = "http", %peer, %error, "closing the connection"),
            None => tracing::debug!(listener = "http", %peer, %error, "connection lost"),
        },
    }
}

/// The error of a write time-out, if there was one.
fn timed_out(error: &hyper::Error) -> Option<&io::Error> {
    let cause = std::error::Error::source(error)?.downcast_ref::<io::Error>()?;
    (cause.kind() == io::ErrorKind::TimedOut).then_some(cause)
}

/// Resolves when the daemon stops or the connection is to be closed for another client.
async fn close_requested(activity: &Activity, shutdown: &Shutdown) {
    tokio::select! {
        () = activity.has_to_close() => {}
        () = shutdown.requested() => {}
    }
}
