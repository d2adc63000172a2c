//! One server's accept loop: limits, a task for each connection, an orderly end.

use super::connections::{Activity, Capacity, Connections, Place, Refused};
use super::proxy_protocol::{self, HeaderError};
use super::ranges::Networks;
use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// The daemon is to end: sessions watch [`Shutdown::requested`], and the daemon waits until all have gone.
#[derive(Clone, Debug, Default)]
pub struct Shutdown {
    token: CancellationToken,
    tasks: TaskTracker,
}

impl Shutdown {
    /// Nothing has been asked yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Asks everything to end.
    pub fn request(&self) {
        self.token.cancel();
    }

    /// Resolves once the end has been asked for. Cancel safe.
    pub async fn requested(&self) {
        self.token.cancelled().await;
    }

    /// True once the end has been asked for.
    pub fn is_requested(&self) -> bool {
        self.token.is_cancelled()
    }

    /// Runs a task that [`Shutdown::finished`] waits for.
    pub fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.tasks.spawn(task);
    }

    /// Waits until every task has ended, at most `patience`. False when some still ran.
    pub async fn finished(&self, time_limit: Duration) -> bool {
        self.tasks.close();
        tokio::time::timeout(time_limit, self.tasks.wait()).await.is_ok()
    }
}

/// Octets that the system takes for a connection beyond those under way.
#[cfg(target_os = "linux")]
const UNSENT: u32 = 32 * 1024;

/// Refusals are logged once in this time: whoever knocks for ever writes no log of their length.
const LOG_PAUSE: Duration = Duration::from_secs(1);

/// Which refusals are logged.
#[derive(Debug, Default)]
struct Refusals {
    last: Option<Instant>,
    unsaid: u64,
}

impl Refusals {
    /// One more: how many were not logged since the last that was, when this one is to be.
    fn next(&mut self, now: Instant) -> Option<u64> {
        if self.last.is_some_and(|last| now.saturating_duration_since(last) < LOG_PAUSE) {
            self.unsaid += 1;
            return None;
        }
        self.last = Some(now);
        Some(std::mem::take(&mut self.unsaid))
    }
}

/// The load balancers that a listener takes connections from.
#[derive(Clone, Debug, Default)]
pub enum Proxies {
    /// Each connection is its peer's own.
    #[default]
    None,
    /// Their connections begin with a PROXY header that names the client.
    WithHeader(Networks),
    /// Each of their requests names its client.
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

/// What the connections of a listener share.
struct Listener {
    name: &'static str,
    connections: Arc<Connections>,
    refuse: &'static [u8],
    refusals: Mutex<Refusals>,
}

/// Takes connections until the shutdown, each served in a task of its own. `refuse` is written to one over the limit
/// before it is closed: the protocol's own words (`421 …`, `* BYE …`). A session says in its [`Activity`] what it waits
/// for, and ends on [`Activity::has_to_close`]. Its address is the client's, also behind a proxy with a header.
pub async fn serve<F, S>(
    name: &'static str,
    socket: TcpListener,
    capacity: Capacity,
    refuse: &'static [u8],
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
                    // Out of file descriptors or memory: a pause instead of a busy loop.
                    tracing::warn!(listener = name, %error, "could not take a connection");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
                continue;
            }
        };
        // Replies are short and waited for.
        let _ = stream.set_nodelay(true);
        // Or else a write could wait for megabytes that the system has taken for a slow client: it would seem stuck.
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
        // Never waits for the peer: what does not fit in the socket's buffer is lost.
        let _ = stream.try_write(self.refuse);
    }

    /// Reads the PROXY header of a proxy's connection: its client, and the place that is the client's from now on.
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
    fn a_flood_of_refusals_is_one_line_a_second_and_none_is_lost_count_of() {
        let (mut refusals, start) = (Refusals::default(), Instant::now());
        assert_eq!(refusals.next(start), Some(0));
        for _ in 0..500 {
            assert_eq!(refusals.next(start + LOG_PAUSE / 2), None);
        }
        assert_eq!(refusals.next(start + LOG_PAUSE), Some(500));
        assert_eq!(refusals.next(start + LOG_PAUSE * 2), Some(0));
    }
}
