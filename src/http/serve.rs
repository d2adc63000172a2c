//! HTTP/1.1 over TCP or TLS, with limits on connections and on the patience for slow ones. RFC 9112.
//!
//! Invariant: a client that stalls in the handshake, in a request's head or body, stays idle, or does not read its answer at
//! the minimum rate, loses its connection.

use super::forwarded::client_of;
use crate::config::Config;
use crate::net::connections::{Activity, Capacity};
use crate::net::listener::{self, Proxies, Shutdown};
use crate::net::ranges::Networks;
use crate::net::tls::ServerTls;
use crate::resources::rate::MinimumRate;
use crate::resources::write_timeout::{WriteLimits, WriteTimeout};
use axum::Router;
use axum::body::Body;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tower_http::timeout::TimeoutBody;
use tower_service::Service;

/// How long a client may take.
#[derive(Clone, Copy, Debug)]
pub(super) struct Timeouts {
    /// For the TLS handshake.
    pub(super) handshake: Duration,
    /// For the head of a request, also the wait for the next one on a kept connection.
    pub(super) head: Duration,
    /// Between two pieces of a body.
    pub(super) body: Duration,
    /// For reading an answer.
    pub(super) answer: WriteLimits,
}

/// For the TLS handshake at most.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// A request head has at most so many octets; more is 431.
const HEAD_OCTETS: usize = 32 * 1024;
/// Octets of a connection's answers that wait to be written, but for the last piece.
const WRITE_BUFFER: usize = 64 * 1024;
/// What one over the limit of connections is told.
const TOO_MANY: &[u8] =
    b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 5\r\nConnection: close\r\nContent-Length: 0\r\n\r\n";

/// Whose request it is: the connection's peer, or whom a trusted proxy names.
#[derive(Clone, Copy, Debug)]
pub(super) struct Client(pub(super) IpAddr);

/// Serves the router until the shutdown; requests under way are finished.
pub async fn serve(listener: TcpListener, router: Router, tls: Option<ServerTls>, config: &Config, shutdown: Shutdown) {
    let limits = &config.limits;
    let silence = limits.http_timeout.0;
    let answer = WriteLimits { timeout: silence, rate: MinimumRate::of(limits) };
    let timeouts = Timeouts { handshake: silence.min(HANDSHAKE), head: silence, body: silence, answer };
    serve_with(timeouts, listener, router, tls, Capacity::of(limits), config.trusted_proxies.clone(), shutdown).await;
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
    listener::serve("http", listener, capacity, TOO_MANY, in_requests, shutdown, move |stream, peer, activity| {
        let (router, tls, ending) = (router.clone(), tls.clone(), ending.clone());
        let peer = Peer { address: peer, activity, proxies: Arc::clone(&proxies) };
        async move {
            let Some(tls) = tls else {
                return connection(stream, peer, router, timeouts, ending).await;
            };
            let handshake = tokio::select! {
                handshake = tokio::time::timeout(timeouts.handshake, tls.accept(stream)) => handshake,
                () = peer.activity.has_to_close() => return,
            };
            let address = peer.address;
            match handshake {
                Ok(Ok(stream)) => connection(stream, peer, router, timeouts, ending).await,
                Ok(Err(error)) => {
                    tracing::info!(listener = "http", peer = %address, %error, "the TLS handshake failed")
                }
                Err(_) => tracing::info!(listener = "http", peer = %address, "the TLS handshake took too long"),
            }
        }
    })
    .await;
}

/// The other end of a connection.
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
    let serving = Arc::clone(&activity);
    // Requests carry who sent them.
    let service = service_fn(move |mut request: hyper::Request<Incoming>| {
        let client = client_of(peer.ip(), request.headers(), &proxies);
        request.extensions_mut().insert(Client(client));
        let (mut router, serving) = (router.clone(), Arc::clone(&serving));
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
        () = end_asked(&activity, &shutdown) => {
            // No request is under way: the client sends none, or takes no answer.
            if activity.is_waiting() && !shutdown.is_requested() {
                return;
            }
            served.as_mut().graceful_shutdown();
            served.await
        }
    };
    match ended {
        Ok(()) => {}
        Err(error) if error.is_timeout() => {
            tracing::info!(listener = "http", %peer, "a client that stalled was sent away")
        }
        Err(error) if error.is_parse() => {
            tracing::info!(listener = "http", %peer, %error, "refused: this is no request")
        }
        Err(error) => match timed_out(&error) {
            Some(error) => tracing::info!(listener = "http", %peer, %error, "closing the connection"),
            None => tracing::debug!(listener = "http", %peer, %error, "a connection broke"),
        },
    }
}

/// Why a write took too long, if one did.
fn timed_out(error: &hyper::Error) -> Option<&io::Error> {
    let cause = std::error::Error::source(error)?.downcast_ref::<io::Error>()?;
    (cause.kind() == io::ErrorKind::TimedOut).then_some(cause)
}

/// Resolves when the daemon stops, or another client needs the connection's place.
async fn end_asked(activity: &Activity, shutdown: &Shutdown) {
    tokio::select! {
        () = activity.has_to_close() => {}
        () = shutdown.requested() => {}
    }
}
