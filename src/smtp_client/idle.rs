//! Idle connections, waiting for the next message. Invariant: at most [`CONNECTIONS`] are idle, each for at most [`TIMEOUT`]; one
//! closed by the server is not reused.

use super::connection::Connection;
use crate::net::connections::network_of;
use futures_util::future::join_all;
use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// Idle timeout. Servers wait five minutes (RFC 5321 §4.5.3.2.7), but their capacity is shared.
const TIMEOUT: Duration = Duration::from_secs(5);
/// Maximum idle connections.
const CONNECTIONS: usize = 100;

/// What a connection can be reused for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Key {
    pub host: String,
    pub socket: SocketAddr,
    /// Verified TLS, and the authenticated user.
    pub verified: Option<Option<String>>,
}

/// Idle connections; clones share them.
#[derive(Clone, Debug, Default)]
pub(super) struct IdleConnections(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    /// The longest idle first.
    waiting: VecDeque<(Instant, Key, Connection)>,
    /// A task is closing expired connections.
    is_watched: bool,
}

impl IdleConnections {
    /// The most recently used connection that is still open.
    pub fn take(&self, key: &Key) -> Option<Connection> {
        let mut state = self.lock();
        while let Some(at) = state.waiting.iter().rposition(|(_, waiting, _)| waiting == key) {
            let (_, _, mut connection) = state.waiting.remove(at)?;
            if connection.is_silent() {
                return Some(connection);
            }
        }
        None
    }

    /// Any idle connection to this network.
    pub fn take_to(&self, network: IpAddr) -> Option<Connection> {
        let mut state = self.lock();
        let at = state.waiting.iter().position(|(_, key, _)| network_of(key.socket.ip()) == network)?;
        state.waiting.remove(at).map(|(_, _, connection)| connection)
    }

    /// Adds a connection.
    pub fn put(&self, key: Key, connection: Connection) {
        let mut state = self.lock();
        state.waiting.push_back((Instant::now(), key, connection));
        let surplus = if state.waiting.len() > CONNECTIONS { state.waiting.pop_front() } else { None };
        let watch = !std::mem::replace(&mut state.is_watched, true);
        drop(state);
        if let Some((_, _, connection)) = surplus {
            tokio::spawn(connection.quit());
        }
        if watch {
            tokio::spawn(self.clone().close_expired());
        }
    }

    pub async fn close(&self) {
        let waiting = std::mem::take(&mut self.lock().waiting);
        join_all(waiting.into_iter().map(|(_, _, connection)| connection.quit())).await;
    }

    async fn close_expired(self) {
        loop {
            let next = {
                let mut state = self.lock();
                let now = Instant::now();
                while state.waiting.front().is_some_and(|(since, ..)| *since + TIMEOUT <= now) {
                    if let Some((_, _, connection)) = state.waiting.pop_front() {
                        tokio::spawn(connection.quit());
                    }
                }
                match state.waiting.front() {
                    Some((since, ..)) => *since + TIMEOUT,
                    None => {
                        state.is_watched = false;
                        return;
                    }
                }
            };
            tokio::time::sleep_until(next).await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
