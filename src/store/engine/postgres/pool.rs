//! Connections in use and at rest.
//!
//! Invariant: a connection is used by one transaction at a time, on a blocking thread, and comes back with its permit; one that has
//! failed does not come back. They are shared out by owner, and none takes the last one.

use super::connect::Connector;
use super::session::Session;
use crate::resources::Owner;
use crate::resources::fair::{FairSemaphore, Permit};
use crate::store::{StoreError, lock};
use std::sync::{Arc, Mutex};

/// A bounded pool of connections, each opened when it is first needed.
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
    /// A pool of at least two.
    pub fn new(connector: Connector, size: usize) -> Self {
        let size = size.max(2);
        Self { permits: FairSemaphore::new(size, size - 1), idle: Idle { connector, sessions: Arc::default() } }
    }

    /// Waits for a place. Cancel safe.
    pub async fn place(&self, owner: &Owner) -> Result<Place, StoreError> {
        let permit = self.permits.acquire(owner.clone()).await.ok_or(StoreError::Closed)?;
        Ok(Place { session: None, idle: self.idle.clone(), _permit: permit })
    }

    /// A place, if there is one: for the start, when no other work needs one. Its connection is opened when it is first used.
    pub fn place_at_once(&self) -> Option<Place> {
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
        // To close a connection blocks.
        let sessions = std::mem::take(&mut *lock(&self.idle.sessions));
        let closing = std::thread::Builder::new().name("store-close".into()).spawn(move || drop(sessions));
        if let Err(error) = closing {
            tracing::error!(%error, "connections to the database were not closed");
        }
    }
}

/// A place in the pool, and the connection that goes with it. Its methods block.
pub(super) struct Place {
    session: Option<Session>,
    idle: Idle,
    // Dropped last: the next permit holder finds the connection.
    _permit: Permit<Owner>,
}

impl Place {
    /// The connection; a new one where none is idle.
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

    /// Runs statements without parameters on it. The first column of the last row, if any.
    pub fn command(&mut self, sql: &str) -> Result<Option<String>, postgres::Error> {
        self.session()?.command(sql)
    }

    /// Ends the transaction without a commit. Where that fails, the connection is closed, which ends it too.
    pub fn roll_back(&mut self) {
        if self.session.as_ref().is_some_and(|session| session.roll_back().is_err()) {
            self.discard();
        }
    }

    /// Closes the connection, which has failed, and those at rest: what ended one has often ended them all.
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
