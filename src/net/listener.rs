//! A server's accept loop: connection limits, one task per connection, graceful shutdown.

use super::connections::{Activity, Capacity, Connections, Place, Refused};
use super::proxy_protocol::{self, HeaderError};
use super::ranges::Networks;
use std::borrow::Cow;
use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// A shutdown signal: sessions watch [`Shutdown::requested`], and the daemon waits until all have ended.
#[derive(Clone, Debug, Default)]
pub struct Shutdown {
    token: CancellationToken,
    tasks: TaskTracker,
}

impl Shutdown {
    pub fn new() -> Self {
        Self::default()
    }

    pub fn request(&self) {
        self.token.cancel();
    }

    /// Resolves when shutdown is requested. Cancel safe.
    pub async fn requested(&self) {
        self.token.cancelled().await;
    }

    pub fn is_requested(&self) -> bool {
        self.token.is_cancelled()
    }

    pub fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.tasks.spawn(task);
    }

    /// Waits until every task has ended, for at most `time_limit`. False if some are still running.
    pub async fn finished(&self, time_limit: Duration) -> bool {
        self.tasks.close();
        tokio::time::timeout(time_limit, self.tasks.wait()).await.is_ok()
    }
}

/// Send buffer of a connection in octets, not counting data in flight.
#[cfg(target_os = "linux")]
const UNSENT: u32 = 32 * 1024;

/// Minimum time between logged refusals, so that a client that reconnects for ever cannot fill the log.
const LOG_PAUSE: Duration = Duration::from_secs(1);

/// Limits how many refusals are logged.
#[derive(Debug, Default)]
struct Refusals {
    last: Option<Instant>,
    unsaid: u64,
}

impl Refusals {
    /// Counts a refusal; if it is to be logged, returns how many were not logged since the last one.
    fn next(&mut self, now: Instant) -> Option<u64> {
        if self.last.is_some_and(|last| now.saturating_duration_since(last) < LOG_PAUSE) {
            self.unsaid += 1;
            return None;
        }
        self.last = Some(now);
        Some(std::mem::take(&mut self.unsaid))
    }
}

/// The proxies that a listener accepts connections from.
#[derive(Clone, Debug, Default)]
pub enum Proxies {
    /// None: the peer of each connection is the client.
    #[default]
    None,
    /// Their connections begin with a PROXY header that names the client.
    WithHeader(Networks),
    /// Each request names its client (`X-Forwarded-For`).
    NamedInRequests(Networks),
}

impl Proxies {
    fn contain(&self, address: IpAddr) -> bool {
        match self {
            Self::None => false,
            Self::WithHeader(networks) | Self::NamedInRequests(networks) => networks.contains(address),
        }
    }
}

/// What is written to a connection over the limit, in the protocol's form.
pub type Refuse = fn() -> Cow<'static, [u8]>;

/// Shared by the connections of a listener.
struct Listener {
    name: &'static str,
    connections: Arc<Connections>,
    refuse: Refuse,
    refusals: Mutex<Refusals>,
}

/// Accepts connections until shutdown, each served in its own task. `refuse` is written to a connection over the limit
/// before it is closed, in the protocol's form (`421 …`, `* BYE …`). A session reports in its [`Activity`] whether it
/// is waiting, and ends on [`Activity::has_to_close`]. The address is the client's, also behind a proxy that sends a
/// header.
pub async fn serve<F, S>(
    name: &'static str,
    socket: TcpListener,
    capacity: Capacity,
    refuse: Refuse,
    proxies: Proxies,
    shutdown: Shutdown,
    session: F,
) where
    F: Fn(TcpStream, SocketAddr, Arc<Activity>) -> S + Send + Sync + 'static,
    S: Future<Output = ()> + Send + 'static,
{
    let (connections, session) = (Connections::new(capacity), Arc::new(session));
    let listener = Arc::new(Listener { name, connections, refuse, refusals: Mutex::default() });
    loop {
        let accepted = tokio::select! {
            biased;
            () = shutdown.requested() => return,
            accepted = socket.accept() => accepted,
        };
        let (mut stream, peer) = match accepted {
            Ok((stream, peer)) => (stream, SocketAddr::new(peer.ip().to_canonical(), peer.port())),
            Err(error) => {
                if !is_of_one_connection(&error) {
                    // Out of file descriptors or memory: pause instead of a busy loop.
                    tracing::warn!(listener = name, %error, "cannot accept a connection");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
                continue;
            }
        };
        // Responses are small and the client waits for them.
        let _ = stream.set_nodelay(true);
        // Without this the kernel would buffer megabytes for a slow client, and a write would seem to be stuck.
        #[cfg(target_os = "linux")]
        let _ = socket2::SockRef::from(&stream).set_tcp_notsent_lowat(UNSENT);
        let is_proxy = proxies.contain(peer.ip());
        let reads_header = is_proxy && matches!(proxies, Proxies::WithHeader(_));
        let place = match listener.connections.admit(peer.ip(), is_proxy).await {
            Ok(place) => place,
            Err(refused) => {
                listener.refuse(&stream, peer, refused);
                continue;
            }
        };
        let (listener, session, ending) = (Arc::clone(&listener), Arc::clone(&session), shutdown.clone());
        shutdown.spawn(async move {
            let client = if reads_header {
                tokio::select! {
                    client = listener.client_behind(&mut stream, peer, place) => client,
                    () = ending.requested() => None,
                }
            } else {
                Some((peer, place))
            };
            if let Some((client, place)) = client {
                session(stream, client, Arc::clone(&place.activity)).await;
                drop(place);
            }
        });
    }
}

impl Listener {
    fn refuse(&self, stream: &TcpStream, client: SocketAddr, refused: Refused) {
        let next = self.refusals.lock().unwrap_or_else(PoisonError::into_inner).next(Instant::now());
        if let Some(unsaid) = next {
            tracing::info!(listener = self.name, %client, unsaid, "refused: {refused}");
        }
        // Never blocks: what does not fit in the socket's buffer is dropped.
        let _ = stream.try_write(&(self.refuse)());
    }

    /// Reads the PROXY header and returns the client's address and slot.
    async fn client_behind(
        &self,
        stream: &mut TcpStream,
        proxy: SocketAddr,
        place: Place,
    ) -> Option<(SocketAddr, Place)> {
        let header = tokio::select! {
            header = proxy_protocol::read(stream) => header,
            () = place.activity.has_to_close() => return None,
        };
        let client = match header {
            Ok(Some(client)) => SocketAddr::new(client.ip().to_canonical(), client.port()),
            Ok(None) => return Some((proxy, place)),
            Err(error @ HeaderError::Closed(_)) => {
                tracing::debug!(listener = self.name, %proxy, "{error}");
                return None;
            }
            Err(error) => {
                tracing::warn!(
                    listener = self.name, %proxy,
                    "{error}, connection closed: let the proxy send one (HAProxy: send-proxy-v2), or take it out of trusted_proxies"
                );
                return None;
            }
        };
        drop(place);
        match self.connections.admit(client.ip(), false).await {
            Ok(place) => Some((client, place)),
            Err(refused) => {
                self.refuse(stream, client, refused);
                None
            }
        }
    }
}

fn is_of_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset | io::ErrorKind::Interrupted
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_of_refusals_is_logged_once_a_second_with_a_count() {
        let (mut refusals, start) = (Refusals::default(), Instant::now());
        assert_eq!(refusals.next(start), Some(0));
        for _ in 0..500 {
            assert_eq!(refusals.next(start + LOG_PAUSE / 2), None);
        }
        assert_eq!(refusals.next(start + LOG_PAUSE), Some(500));
        assert_eq!(refusals.next(start + LOG_PAUSE * 2), Some(0));
    }
}
