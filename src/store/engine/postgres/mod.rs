//! PostgreSQL: a store that several daemons share.
//!
//! Invariant: a write has returned only when it is committed as durably as the server's `synchronous_commit` says. Writes are
//! serializable, reads on one snapshot. Each transaction has its own connection and blocking thread. Readers and
//! writers have separate pools, each shared fairly between owners.

mod caller;
mod catalog;
mod connect;
pub(super) mod events;
mod follower;
mod locks;
mod pool;
mod presence;
mod row_queues;
mod schema;
pub(in crate::store) mod search;
mod session;
mod statement;
#[cfg(test)]
pub(in crate::store) mod testing;
#[cfg(test)]
mod tests;
mod transaction;

pub(super) use catalog::{CATALOG, items};
pub(in crate::store) use session::{Session, in_words};
pub(super) use statement::column;

use super::{Connection, Transaction};
use crate::config;
use crate::events::Events;
use crate::resources::Owner;
use crate::store::hot_rows::HotRow;
use crate::store::process::Owners;
use crate::store::{Access, StoreError, copy, jobs};
use caller::{Caller, CancelOnDrop};
use connect::{Connector, SettingsError};
use events::EventLog;
use follower::Follower;
use locks::OwnerLocks;
use pool::Pool;
use row_queues::RowQueues;
use schema::SchemaError;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio_util::task::TaskTracker;
use transaction::Tries;

/// How long to wait for a program that is exiting to close its connections.
const EXIT_TIMEOUT: Duration = Duration::from_secs(5);

#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error(transparent)]
    Settings(#[from] SettingsError),
    #[error("cannot connect to the database: {}", in_words(.0))]
    Connect(postgres::Error),
    #[error(transparent)]
    Schema(#[from] SchemaError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("opening the database panicked")]
    Panicked,
    #[error("cannot start a thread for the event log: {0}")]
    Thread(std::io::Error),
}

/// True for the client's own error, because of `TargetSessionAttrs::ReadWrite`.
fn is_read_only(error: &postgres::Error) -> bool {
    let cause = std::error::Error::source(error).and_then(|cause| cause.downcast_ref::<std::io::Error>());
    cause.is_some_and(|cause| cause.kind() == std::io::ErrorKind::PermissionDenied)
}

#[derive(Debug)]
pub(in crate::store) struct Postgres {
    connector: Connector,
    readers: Pool,
    writers: Pool,
    row_queues: RowQueues,
    /// Running transactions.
    running: TaskTracker,
    log: Arc<EventLog>,
    /// The number of writes, and how many times one was run again.
    writes: AtomicU64,
    retries: AtomicU64,
    pub incomplete_copy_of: Option<String>,
}

impl Postgres {
    /// Connects and migrates the schema. Blocks.
    pub fn open(settings: &config::Store, hub: Events, access: Access) -> Result<Self, OpenError> {
        // The client has its own Tokio runtime, which cannot be used on a thread of another one.
        std::thread::scope(|scope| scope.spawn(|| Self::connect(settings, hub, access)).join())
            .unwrap_or(Err(OpenError::Panicked))
    }

    fn connect(settings: &config::Store, hub: Events, access: Access) -> Result<Self, OpenError> {
        let connector = Connector::new(settings, access)?;
        let session = connector.connect().map_err(|error| match is_read_only(&error) {
            true => SchemaError::ReadOnly.into(),
            false => OpenError::Connect(error),
        })?;
        let epoch = schema::migrate(&session)?;
        let log = Arc::new(EventLog::new(hub, epoch));
        let verbs = Transaction::new(Connection::Postgres(&session), log.place(0));
        let incomplete_copy_of = copy::incomplete_copy_of(&verbs)?;
        drop(session);
        let began = Instant::now();
        let follower = loop {
            match Follower::begin(Arc::clone(&log), connector.clone()) {
                Err(StoreError::InUse(_)) if began.elapsed() < EXIT_TIMEOUT => {
                    std::thread::sleep(Duration::from_millis(100))
                }
                begun => break begun?,
            }
        };
        follower.start().and_then(|()| log.start_notifier(connector.clone())).map_err(OpenError::Thread)?;
        let readers = Pool::new(connector.clone(), settings.read_connections);
        let writers = Pool::new(connector.clone(), settings.write_connections);
        let (row_queues, running) = (RowQueues::default(), TaskTracker::new());
        let (writes, retries) = (AtomicU64::new(0), AtomicU64::new(0));
        Ok(Self { connector, readers, writers, row_queues, running, log, writes, retries, incomplete_copy_of })
    }

    /// Releases the leases of a process that has ended. Blocks.
    pub fn end_leases(&self, of: &Owners) -> Result<(), StoreError> {
        let end = || {
            let mut place = self.writers.try_place().ok_or(StoreError::Closed)?;
            let (locks, mut tries) = (OwnerLocks::new(&Owner::System), Tries::new());
            let ended = loop {
                let end = |c: &Transaction<'_>| jobs::end_leases(c, Some(of));
                if let Some(ended) = transaction::write(&mut place, &self.log, locks, &[], &mut tries, end) {
                    break ended?;
                }
            };
            if ended > 0 {
                tracing::info!(ended, "released the leases of interrupted jobs");
            }
            Ok(())
        };
        let panicked = || Err(StoreError::Aborted("releasing leases panicked".into()));
        std::thread::scope(|scope| scope.spawn(end).join()).unwrap_or_else(|_| panicked())
    }

    pub async fn write<T, E, F>(&self, owner: &Owner, hot_rows: &[HotRow], work: F) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
        F: Fn(&Transaction<'_>) -> Result<T, E> + Send + 'static,
    {
        self.log.check_schema()?;
        let hot_rows = Arc::new(self.row_queues.wait(hot_rows).await);
        let (locks, mut work, mut tries, mut lines) = (OwnerLocks::new(owner), work, Tries::new(), Vec::new());
        loop {
            let mut place = self.writers.place(owner).await?;
            let (log, hot_rows) = (Arc::clone(&self.log), Arc::clone(&hot_rows));
            // The events are published before the connection returns to the pool, so an owner's are in the order of its commits.
            let run = self.running.spawn_blocking(move || {
                let done = transaction::write(&mut place, &log, locks, hot_rows.keys(), &mut tries, &work);
                (done, tries, work)
            });
            let aborted = |error| StoreError::Aborted(format!("a write was aborted: {error}"));
            let done;
            (done, tries, work) = run.await.map_err(aborted)?;
            if let Some(done) = done {
                self.writes.fetch_add(1, Ordering::Relaxed);
                self.retries.fetch_add(tries.retries(), Ordering::Relaxed);
                return done;
            }
            // After its hot rows: a write with a place in a queue holds them.
            lines.push(self.row_queues.wait_at(tries.queue(locks).into_iter().collect()).await);
        }
    }

    pub async fn read<T, E, F>(&self, owner: &Owner, work: F) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
        F: Fn(&Transaction<'_>) -> Result<T, E> + Send + 'static,
    {
        self.log.check_schema()?;
        let mut place = self.readers.place(owner).await?;
        let guard = CancelOnDrop { caller: Arc::<Caller>::default(), connector: self.connector.clone() };
        let (caller, log) = (Arc::clone(&guard.caller), self.log.place(0));
        let done = self.running.spawn_blocking(move || transaction::read(&mut place, log, work, &caller));
        done.await.map_err(|error| StoreError::Aborted(format!("a read was aborted: {error}")))?
    }

    /// Looks at the log of other daemons so seldom, but for notifications.
    #[cfg(test)]
    pub fn looks_every(&self, pause: Duration) {
        self.log.faults.looks_every.set(pause).unwrap();
    }

    /// Does not notify other daemons any more.
    #[cfg(test)]
    pub fn loses_notifications(&self) {
        self.log.faults.loses_notifications.set(()).unwrap();
    }

    /// Wakes the runners of other daemons.
    pub fn notify_of_work(&self) {
        self.log.notify_of_work();
    }

    /// Waits for running transactions, then closes. Later verbs return [`StoreError::Closed`].
    pub async fn close(&self) {
        self.readers.close();
        self.writers.close();
        self.running.close();
        self.running.wait().await;
        self.log.close();
        let log = Arc::clone(&self.log);
        let closed = tokio::task::spawn_blocking(move || log.wait_closed());
        if let Err(error) = closed.await {
            tracing::error!(%error, "cannot wait for the event notifier to end");
        }
        let (writes, retries) = (self.writes.load(Ordering::Relaxed), self.retries.load(Ordering::Relaxed));
        tracing::info!(writes, retries, "closed the database");
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        self.log.close();
    }
}
