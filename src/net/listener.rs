//! One door's accept loop: limits, a task for each connection, an orderly end.

use super::connections::{Activity, Capacity, Connections};
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
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
    pub async fn finished(&self, patience: Duration) -> bool {
        self.tasks.close();
        tokio::time::timeout(patience, self.tasks.wait()).await.is_ok()
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
/// before it is closed: the protocol's own words (`421 …`, `* BYE …`). A session says in its [`Activity`] what it waits
/// for, and ends on [`Activity::has_to_close`].
pub async fn serve<F, S>(
    door: &'static str,
    listener: TcpListener,
    capacity: Capacity,
    refuse: &'static [u8],
    shutdown: Shutdown,
    session: F,
) where
    F: Fn(TcpStream, SocketAddr, Arc<Activity>) -> S,
    S: Future<Output = ()> + Send + 'static,
{
    let connections = Connections::new(capacity);
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
        match connections.admit(peer.ip()).await {
            Ok(place) => {
                let session = session(stream, peer, Arc::clone(&place.activity));
                shutdown.spawn(async move {
                    session.await;
                    drop(place);
                });
            }
            Err(refused) => {
                if let Some(unsaid) = refusals.next(Instant::now()) {
                    tracing::info!(door, %peer, unsaid, "refused: {refused}");
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
}
