//! Connections to endpoints.
//!
//! Invariant: a connection is open within [`CONNECT_LIMIT`], and at most [`ANSWER_OCTETS`] octets are read from it for one answer, interim
//! responses (RFC 9110 §15.2) and TLS included: hyper reads interim responses without a limit.

use super::endpoint::Guard;
use hyper::Uri;
use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy::connect::{Connected, Connection, HttpConnector};
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use std::error::Error;
use std::fmt;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tower_service::Service;

/// Of the look-up of the name, the connection and its TLS handshake.
const CONNECT_LIMIT: Duration = Duration::from_secs(5);
/// Octets of an answer up to the end of its fields, and again of what is read of its body.
const ANSWER_OCTETS: usize = 64 * 1024;

type BoxError = Box<dyn Error + Send + Sync>;
type Connecting<T> = Pin<Box<dyn Future<Output = Result<T, BoxError>> + Send>>;

/// The octets that may still be read from a connection. Clones share them.
#[derive(Clone, Debug)]
pub(super) struct Allowance(Arc<AtomicUsize>);

impl Allowance {
    fn new() -> Self {
        Self(Arc::new(ANSWER_OCTETS.into()))
    }

    /// To be called where an answer's fields end, and where it ends.
    pub fn renew(&self) {
        self.0.store(ANSWER_OCTETS, Ordering::Relaxed);
    }

    fn spend(&self, octets: usize) -> io::Result<()> {
        let spent = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(octets));
        let limit = ANSWER_OCTETS / 1024;
        spent
            .map(drop)
            .map_err(|_| io::Error::other(format!("the endpoint sent more than {limit} KiB without a final status")))
    }
}

/// A connection that is read up to its allowance.
#[derive(Debug)]
pub(super) struct Counted {
    stream: TcpStream,
    allowance: Allowance,
}

impl AsyncRead for Counted {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, buffer))?;
        Poll::Ready(self.allowance.spend(buffer.filled().len() - before))
    }
}

impl AsyncWrite for Counted {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, octets: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, octets)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

impl Connection for Counted {
    fn connected(&self) -> Connected {
        // Each response has it among its extensions.
        Connected::new().extra(self.allowance.clone())
    }
}

/// Opens counted TCP connections.
#[derive(Clone, Debug)]
pub(super) struct Tcp(HttpConnector<Guard>);

impl Service<Uri> for Tcp {
    type Response = TokioIo<Counted>;
    type Error = BoxError;
    type Future = Connecting<Self::Response>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.0.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, to: Uri) -> Self::Future {
        let connecting = self.0.call(to);
        Box::pin(async move {
            let stream = connecting.await?.into_inner();
            Ok(TokioIo::new(Counted { stream, allowance: Allowance::new() }))
        })
    }
}

/// Opens connections, with TLS for https.
#[derive(Clone)]
pub(super) struct Connector(HttpsConnector<Tcp>);

impl fmt::Debug for Connector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connector").finish_non_exhaustive()
    }
}

impl Connector {
    pub fn new(tls: Arc<ClientConfig>, guard: Guard) -> Self {
        let mut tcp = HttpConnector::new_with_resolver(guard);
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        // Shared by the addresses of the name.
        tcp.set_connect_timeout(Some(CONNECT_LIMIT));
        Self(HttpsConnector::from((Tcp(tcp), tls)))
    }
}

impl Service<Uri> for Connector {
    type Response = <HttpsConnector<Tcp> as Service<Uri>>::Response;
    type Error = BoxError;
    type Future = Connecting<Self::Response>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, to: Uri) -> Self::Future {
        let connecting = self.0.call(to);
        Box::pin(async move {
            match tokio::time::timeout(CONNECT_LIMIT, connecting).await {
                Ok(connected) => connected,
                Err(_) => Err(format!("no connection within {} s", CONNECT_LIMIT.as_secs()).into()),
            }
        })
    }
}
