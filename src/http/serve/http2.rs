//! HTTP/2 over TLS (RFC 9113), chosen by ALPN.
//!
//! Invariant: a connection has at most [`STREAMS`] requests in progress, and its buffers are bounded: [`CONNECTION_WINDOW`] octets of
//! request bodies, [`PIECE`] octets of each response that the client has no window for. It is closed when it is idle for as long as a
//! request head may take, and when a client does not take the next octets of a response in the time for that.

use super::{Peer, Timeouts, close_requested, log_end};
use crate::http::forwarded::client_of;
use crate::net::connections::Activity;
use crate::net::listener::Shutdown;
use crate::net::request::{Client, Connection};
use axum::Router;
use axum::body::{Body, HttpBody};
use bytes::Bytes;
use hyper::body::{Frame, Incoming, SizeHint};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::Instant;
use tower_http::timeout::TimeoutBody;
use tower_service::Service;

/// Maximum number of requests in progress per connection.
const STREAMS: u32 = 16;
/// Octets of a request body, and of all of a connection, that a client may send before they are read.
const STREAM_WINDOW: u32 = 64 * 1024;
const CONNECTION_WINDOW: u32 = 256 * 1024;
/// Maximum octets of a request's header list.
const HEADER_LIST: u32 = 32 * 1024;
/// Maximum octets of a response that are handed over at once: they stay in memory until the client has a window for them.
const PIECE: usize = 16 * 1024;
/// Between two checks for idle connections and stalled responses; shorter if the time limits are.
const CHECK_PAUSE: Duration = Duration::from_secs(5);

pub(super) async fn connection<S>(stream: S, peer: Peer, router: Router, timeouts: Timeouts, shutdown: Shutdown)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let Peer { address: peer, activity, proxies } = peer;
    let requests = Arc::new(Requests::new(Arc::clone(&activity)));
    let (begun, ending) = (Arc::clone(&requests), shutdown.clone());
    let service = service_fn(move |mut request: hyper::Request<Incoming>| {
        let client = client_of(peer.ip(), request.headers(), &proxies);
        request.extensions_mut().insert(Client(client));
        request.extensions_mut().insert(Connection { activity: Arc::clone(&begun.activity), shutdown: ending.clone() });
        let (mut router, open) = (router.clone(), begun.begin());
        async move {
            let response = router.call(request.map(|body| Body::new(TimeoutBody::new(timeouts.body, body)))).await?;
            Ok::<_, std::convert::Infallible>(response.map(|body| Pieces { body, rest: Bytes::new(), open }))
        }
    });
    let served = hyper::server::conn::http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_header_list_size(HEADER_LIST)
        .max_send_buf_size(PIECE)
        .serve_connection(TokioIo::new(stream), service);
    let mut served = pin!(served);
    let mut check = tokio::time::interval(CHECK_PAUSE.min(timeouts.head / 4).max(Duration::from_millis(10)));
    let ended = loop {
        tokio::select! {
            ended = served.as_mut() => break ended,
            () = close_requested(&activity, &shutdown) => {
                // No request is in progress.
                if activity.is_waiting() && !shutdown.is_requested() {
                    return;
                }
                served.as_mut().graceful_shutdown();
                tokio::select! {
                    ended = served.as_mut() => break ended,
                    () = requests.stalled(timeouts.answer.timeout) => return,
                }
            }
            _ = check.tick() => {
                if requests.is_idle_for(timeouts.head) || requests.has_stalled_for(timeouts.answer.timeout) {
                    tracing::info!(listener = "http", %peer, "client timed out, closing connection");
                    return;
                }
            }
        }
    };
    log_end(peer, ended);
}

/// The requests of a connection.
#[derive(Debug)]
struct Requests {
    activity: Arc<Activity>,
    open: Mutex<Open>,
}

#[derive(Debug)]
struct Open {
    requests: Vec<Weak<Request>>,
    /// Since when there is none.
    idle_since: Instant,
}

/// A request in progress, until its response has been handed over.
#[derive(Debug)]
struct Request {
    requests: Arc<Requests>,
    /// Since when the client has to take the next octets of the response; `None` while they are made.
    waits_since: Mutex<Option<Instant>>,
}

impl Requests {
    fn new(activity: Arc<Activity>) -> Self {
        Self { activity, open: Mutex::new(Open { requests: Vec::new(), idle_since: Instant::now() }) }
    }

    fn open(&self) -> std::sync::MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn begin(self: &Arc<Self>) -> Arc<Request> {
        let request = Arc::new(Request { requests: Arc::clone(self), waits_since: Mutex::new(None) });
        let mut open = self.open();
        open.requests.retain(|request| request.strong_count() > 0);
        open.requests.push(Arc::downgrade(&request));
        self.activity.works();
        request
    }

    fn is_idle_for(&self, time: Duration) -> bool {
        let open = self.open();
        open.requests.iter().all(|request| request.strong_count() == 0) && open.idle_since.elapsed() >= time
    }

    fn has_stalled_for(&self, time: Duration) -> bool {
        let requests: Vec<_> = self.open().requests.iter().filter_map(Weak::upgrade).collect();
        requests.iter().any(|request| request.waits_since().is_some_and(|since| since.elapsed() >= time))
    }

    /// Waits until a response has stalled.
    async fn stalled(&self, time: Duration) {
        while !self.has_stalled_for(time) {
            tokio::time::sleep(CHECK_PAUSE.min(time)).await;
        }
    }
}

impl Request {
    fn waits_since(&self) -> std::sync::MutexGuard<'_, Option<Instant>> {
        self.waits_since.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Request {
    fn drop(&mut self) {
        let mut open = self.requests.open();
        open.requests.retain(|request| request.strong_count() > 0);
        if open.requests.is_empty() {
            open.idle_since = Instant::now();
            self.requests.activity.waits();
        }
    }
}

/// A response body in pieces, which are polled for when the client has a window for more.
struct Pieces {
    body: Body,
    rest: Bytes,
    open: Arc<Request>,
}

impl HttpBody for Pieces {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        if self.rest.is_empty() {
            *self.open.waits_since() = None;
            match ready!(Pin::new(&mut self.body).poll_frame(context)) {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => self.rest = data,
                    Err(trailers) => return Poll::Ready(Some(Ok(trailers))),
                },
                ended => return Poll::Ready(ended),
            }
        }
        let length = self.rest.len().min(PIECE);
        *self.open.waits_since() = Some(Instant::now());
        Poll::Ready(Some(Ok(Frame::data(self.rest.split_to(length)))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let (rest, hint) = (self.rest.len() as u64, self.body.size_hint());
        let mut whole = SizeHint::new();
        if let Some(upper) = hint.upper() {
            whole.set_upper(upper.saturating_add(rest));
        }
        whole.set_lower(hint.lower().saturating_add(rest));
        whole
    }
}
