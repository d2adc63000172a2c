//! One door's accept loop: limits, a task for each connection, an orderly end.

use std::collections::HashMap;
use std::future::Future;
use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// How many connections a door takes at once.
#[derive(Clone, Copy, Debug)]
pub struct Capacity {
    /// In all.
    pub total: usize,
    /// From one address: an IPv4 address, or an IPv6 /64.
    pub per_address: usize,
}

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
    pub async fn finished(&self, patience: Duration) -> bool {
        self.tasks.close();
        tokio::time::timeout(patience, self.tasks.wait()).await.is_ok()
    }
}

/// Who is connected to one door.
#[derive(Debug)]
struct Census {
    capacity: Capacity,
    present: Mutex<Present>,
}

#[derive(Debug, Default)]
struct Present {
    total: usize,
    by_address: HashMap<IpAddr, usize>,
}

/// A connection's place; dropping it makes room.
#[derive(Debug)]
struct Place {
    census: Arc<Census>,
    address: IpAddr,
}

impl Census {
    fn admit(self: &Arc<Self>, address: IpAddr) -> Option<Place> {
        let address = network_of(address);
        let mut present = self.present.lock().unwrap_or_else(PoisonError::into_inner);
        let here = present.by_address.get(&address).copied().unwrap_or(0);
        if present.total >= self.capacity.total || here >= self.capacity.per_address {
            return None;
        }
        present.by_address.insert(address, here + 1);
        present.total += 1;
        Some(Place { census: Arc::clone(self), address })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut present = self.census.present.lock().unwrap_or_else(PoisonError::into_inner);
        present.total = present.total.saturating_sub(1);
        match present.by_address.get_mut(&self.address) {
            Some(count) if *count > 1 => *count -= 1,
            _ => {
                present.by_address.remove(&self.address);
            }
        }
    }
}

/// What counts as one address: an IPv6 host has a whole /64 to itself; an IPv4-mapped address is its IPv4 one.
pub fn network_of(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & (u128::MAX << 64))),
        v4 => v4,
    }
}

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

/// Takes connections until the shutdown, each served in a task of its own. `refuse` is written to one over the limit
/// before it is closed: the protocol's own words (`421 …`, `* BYE …`).
pub async fn serve<F, S>(
    door: &'static str,
    listener: TcpListener,
    capacity: Capacity,
    refuse: &'static [u8],
    shutdown: Shutdown,
    session: F,
) where
    F: Fn(TcpStream, SocketAddr) -> S,
    S: Future<Output = ()> + Send + 'static,
{
    let census = Arc::new(Census { capacity, present: Mutex::default() });
    let mut refusals = Refusals::default();
    loop {
        let accepted = tokio::select! {
            biased;
            () = shutdown.requested() => return,
            accepted = listener.accept() => accepted,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                if !is_of_one_connection(&error) {
                    // Out of file descriptors or memory: a pause instead of a busy loop.
                    tracing::warn!(door, %error, "could not take a connection");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
                continue;
            }
        };
        // Replies are short and waited for.
        let _ = stream.set_nodelay(true);
        match census.admit(peer.ip()) {
            Some(place) => {
                let session = session(stream, peer);
                shutdown.spawn(async move {
                    session.await;
                    drop(place);
                });
            }
            None => {
                if let Some(unsaid) = refusals.next(Instant::now()) {
                    tracing::info!(door, %peer, unsaid, "refused: too many connections");
                }
                // Never waits for the peer: what does not fit in the socket's buffer is lost.
                let _ = stream.try_write(refuse);
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

    #[test]
    fn a_place_is_given_back_and_a_v6_network_counts_as_one() {
        let census = Arc::new(Census { capacity: Capacity { total: 3, per_address: 2 }, present: Mutex::default() });
        let v6 = |text: &str| text.parse::<IpAddr>().unwrap();
        let first = census.admit(v6("2001:db8::1")).unwrap();
        let _second = census.admit(v6("2001:db8::2")).unwrap();
        assert!(census.admit(v6("2001:db8::3")).is_none());
        let _other = census.admit(v6("192.0.2.1")).unwrap();
        assert!(census.admit(v6("192.0.2.2")).is_none());
        drop(first);
        assert!(census.admit(v6("::ffff:192.0.2.1")).is_some());
    }
}
