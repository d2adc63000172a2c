//! A pool of read-only connections.
//!
//! Invariant: a read owns a permit and a connection; both return to the pool when it ends, also by a panic, and not earlier, also
//! when its caller is cancelled. A read sees one snapshot. Permits are shared fairly between owners; no owner can hold all of
//! them.

use crate::resources::Owner;
use crate::resources::fair::{FairSemaphore, Permit};
use crate::store::{StoreError, lock};
use rusqlite::Connection;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

/// Steps of SQLite's virtual machine between two checks whether the caller was cancelled: some hundred microseconds.
const CANCEL_CHECK_STEPS: i32 = 10_000;

pub(super) struct Readers {
    permits: FairSemaphore<Owner>,
    idle: Arc<Mutex<Vec<Connection>>>,
}

impl Readers {
    pub(super) fn new(connections: Vec<Connection>) -> Self {
        let count = connections.len();
        let permits = FairSemaphore::new(count, count.saturating_sub(1));
        Self { permits, idle: Arc::new(Mutex::new(connections)) }
    }

    /// Runs `work` on a connection, on a blocking thread.
    pub(super) async fn run<T, E, F>(&self, owner: &Owner, work: F) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
        F: FnOnce(&Connection) -> Result<T, E> + Send + 'static,
    {
        let permit = self.permits.acquire(owner.clone()).await.ok_or(StoreError::Closed)?;
        let connection = lock(&self.idle).pop();
        let mut reader = PooledReader { connection, idle: Arc::clone(&self.idle), _permit: permit };
        let caller = CancelOnDrop::default();
        let cancelled = Arc::clone(&caller.0);
        let done = tokio::task::spawn_blocking(move || {
            // Always `Some`: there are as many permits as connections.
            let connection = reader.connection.as_mut().ok_or(StoreError::Closed)?;
            let snapshot = Snapshot::begin(connection, cancelled).map_err(StoreError::from)?;
            work(snapshot.0)
        });
        done.await.map_err(|error| StoreError::Aborted(format!("a read was aborted: {error}")))?
    }

    /// Later reads return [`StoreError::Closed`].
    pub(super) fn close(&self) {
        self.permits.close();
    }
}

/// A read-only transaction. Unlike [`rusqlite::Transaction`], it caches the statements BEGIN and ROLLBACK, since preparing them
/// takes about as long as a short read, and they are never interrupted.
struct Snapshot<'a>(&'a mut Connection);

impl<'a> Snapshot<'a> {
    /// Statements fail once `cancelled` is set.
    fn begin(connection: &'a mut Connection, cancelled: Arc<AtomicBool>) -> rusqlite::Result<Self> {
        connection.prepare_cached("BEGIN")?.execute([])?;
        let snapshot = Self(connection);
        snapshot.0.progress_handler(CANCEL_CHECK_STEPS, Some(move || cancelled.load(Ordering::Relaxed)))?;
        Ok(snapshot)
    }

    fn end(&mut self) -> rusqlite::Result<()> {
        self.0.progress_handler(0, None::<fn() -> bool>)?;
        self.0.prepare_cached("ROLLBACK")?.execute([])?;
        Ok(())
    }
}

impl Drop for Snapshot<'_> {
    fn drop(&mut self) {
        if let Err(error) = self.end() {
            tracing::error!(%error, "cannot end a read transaction of the database");
        }
    }
}

/// A connection taken from the pool.
struct PooledReader {
    connection: Option<Connection>,
    idle: Arc<Mutex<Vec<Connection>>>,
    // Dropped after the connection is back in `idle`, so that the next permit holder finds it.
    _permit: Permit<Owner>,
}

impl Drop for PooledReader {
    fn drop(&mut self) {
        if let Some(connection) = self.connection.take() {
            lock(&self.idle).push(connection);
        }
    }
}

/// Sets its flag when the future that holds it is dropped.
#[derive(Default)]
struct CancelOnDrop(Arc<AtomicBool>);

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
