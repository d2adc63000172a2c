//! A bounded pool of connections.
//!
//! Invariant: a connection is used by one transaction at a time, on a blocking thread, and returns to the pool with its permit,
//! unless it has failed. Permits are shared fairly between owners; no owner can hold all of them.

use super::connect::Connector;
use super::session::Session;
use crate::resources::Owner;
use crate::resources::fair::{FairSemaphore, Permit};
use crate::store::{StoreError, lock};
use std::sync::{Arc, Mutex};

/// Connections are opened on first use.
#[derive(Debug)]
pub(super) struct Pool {
    permits: FairSemaphore<Owner>,
    idle: Idle,
}

#[derive(Clone)]
struct Idle {
    connector: Connector,
    sessions: Arc<Mutex<Vec<Session>>>,
}

impl std::fmt::Debug for Idle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.connector.fmt(f)
    }
}

impl Pool {
    /// A pool of `size` connections, at least two.
    pub fn new(connector: Connector, size: usize) -> Self {
        let size = size.max(2);
        Self { permits: FairSemaphore::new(size, size - 1), idle: Idle { connector, sessions: Arc::default() } }
    }

    /// Waits for a permit. Cancel safe.
    pub async fn place(&self, owner: &Owner) -> Result<Place, StoreError> {
        let permit = self.permits.acquire(owner.clone()).await.ok_or(StoreError::Closed)?;
        Ok(Place { session: None, idle: self.idle.clone(), _permit: permit })
    }

    /// Does not wait for a permit. `None` if all are in use.
    pub fn try_place(&self) -> Option<Place> {
        let permit = self.permits.try_acquire(Owner::System)?;
        Some(Place { session: None, idle: self.idle.clone(), _permit: permit })
    }

    /// Later calls of [`Self::place`] fail.
    pub fn close(&self) {
        self.permits.close();
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        // Closing a connection blocks.
        let sessions = std::mem::take(&mut *lock(&self.idle.sessions));
        let closing = std::thread::Builder::new().name("store-close".into()).spawn(move || drop(sessions));
        if let Err(error) = closing {
            tracing::error!(%error, "cannot close connections to the database");
        }
    }
}

/// A permit of the pool and its connection. The methods block.
pub(super) struct Place {
    session: Option<Session>,
    idle: Idle,
    // Dropped after the connection is back in `idle`, so that the next permit holder finds it.
    _permit: Permit<Owner>,
}

impl Place {
    /// The connection: an idle one, or else a new one.
    pub fn session(&mut self) -> Result<&Session, postgres::Error> {
        let session = match self.session.take() {
            Some(session) => session,
            None => {
                let idle = lock(&self.idle.sessions).pop();
                idle.map_or_else(|| self.idle.connector.connect(), Ok)?
            }
        };
        Ok(self.session.insert(session))
    }

    /// See [`Session::command`].
    pub fn command(&mut self, sql: &str) -> Result<Option<String>, postgres::Error> {
        self.session()?.command(sql)
    }

    pub fn is_connected(&self) -> bool {
        self.session.is_some()
    }

    /// The same where there is a connection, which is closed when that fails.
    pub fn command_if_connected(&mut self, sql: &str) {
        if self.session.as_ref().is_some_and(|session| session.command(sql).is_err()) {
            self.discard();
        }
    }

    /// Rolls back. If that fails, closes the connection, which has the same effect.
    pub fn roll_back(&mut self) {
        if self.session.as_ref().is_some_and(|session| session.roll_back().is_err()) {
            self.discard();
        }
    }

    /// Closes the connection, which has failed, and all idle ones, which have probably failed too.
    pub fn discard(&mut self) {
        self.session = None;
        let idle = std::mem::take(&mut *lock(&self.idle.sessions));
        drop(idle);
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Some(session) = self.session.take() {
            lock(&self.idle.sessions).push(session);
        }
    }
}
