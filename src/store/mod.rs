//! The store: everything the daemon keeps, in one SQLite database.
//!
//! Invariant: a verb is one transaction, and when it has returned, what it wrote is on disk.
//!
//! `engine` runs transactions; the verbs are in one file per noun. A verb may run more than once before it is committed.

pub(crate) mod accounts;
pub(crate) mod aliases;
pub(crate) mod batch;
pub(crate) mod bodies;
pub(crate) mod checks;
mod content;
pub(crate) mod deliver;
pub mod domains;
pub(crate) mod engine;
mod expunged;
pub(crate) mod flag_list;
pub(crate) mod history;
pub(crate) mod inboxes;
pub(crate) mod jobs;
pub(crate) mod keys;
pub(crate) mod keywords;
pub(crate) mod mailbox_changes;
mod mailbox_tree;
pub(crate) mod mailboxes;
pub(crate) mod message_rows;
pub(crate) mod messages;
pub mod names;
pub(crate) mod open_mailbox;
pub mod ownership;
mod parts;
pub(crate) mod queue;
pub(crate) mod room;
pub(crate) mod rotation;
pub(crate) mod routing;
pub(crate) mod senders;
pub(crate) mod ses;
#[cfg(test)]
pub(crate) mod testing;
pub(crate) mod tokens;
pub(crate) mod transfer;
pub(crate) mod unreadable;

pub use content::StoredMessage;
pub(crate) use engine::Transaction;

pub(crate) use engine::sqlite::compact;

use crate::events::{Event, Events};
use crate::id::{AccountId, InboxId, MailboxId};
use crate::resources::Owner;
use crate::resources::disk::{DiskLow, FreeDisk};
pub(crate) use engine::params;
use engine::sqlite::Sqlite;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Why a verb could not do its work. All of them are temporary to a client: 451, `NO [UNAVAILABLE]`, 503.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// An error of SQLite.
    #[error("the database failed: {0}")]
    Sqlite(#[from] rusqlite::Error),
    /// A row is not there.
    #[error("the database has no such row: {0}")]
    NoRow(String),
    /// The store has been closed, or its writer has died.
    #[error("the store is closed")]
    Closed,
    /// A row holds what no version of this program writes.
    #[error("the database holds a value it should not: {0}")]
    Corrupt(String),
    /// Too little disk is free for new mail.
    #[error(transparent)]
    DiskLow(#[from] DiskLow),
    /// An inbox was deleted between two transactions.
    #[error("the inbox {0} has just been deleted")]
    InboxDeleted(InboxId),
    /// The work did not end: it panicked, or its commit failed.
    #[error("{0}")]
    Aborted(String),
}

/// Why a store could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The folder or file could not be made or read.
    #[error("{path}: {source}")]
    Io {
        /// The path it was about.
        path: PathBuf,
        /// The system's error.
        source: std::io::Error,
    },
    /// An error of SQLite.
    #[error("{path}: {source}")]
    Sqlite {
        /// The database file.
        path: PathBuf,
        /// SQLite's error.
        source: rusqlite::Error,
    },
    /// A verb of the start failed.
    #[error("{path}: {error}")]
    Store {
        /// The database file.
        path: PathBuf,
        error: StoreError,
    },
    /// A newer version of the program has written here.
    #[error(
        "{path} is at schema version {found}, this program knows {known}: start the newer program, or restore the backup made before it"
    )]
    TooNew {
        /// The database file.
        path: PathBuf,
        /// The version it is at.
        found: i64,
        /// The newest version this program knows.
        known: i64,
    },
    /// Another daemon has it open.
    #[error("{path} is in use: another inboxlayer has this data directory open")]
    InUse {
        /// The lock file.
        path: PathBuf,
    },
}

impl Transaction<'_> {
    /// Notes that a mailbox has changed, for the sessions that have it open.
    fn mailbox_changed(&self, inbox: &InboxId, mailbox: MailboxId) -> Result<(), StoreError> {
        let sql = "SELECT account_id FROM inbox WHERE id = ?1";
        let account = self.query_row(sql, params![inbox], |row| row.get(0))?;
        self.publish(account, Event::MailboxChanged { inbox: inbox.clone(), mailbox });
        Ok(())
    }
}

/// A handle to the store, on behalf of an owner: reads and writes take turns by it. Clones share the store.
#[derive(Clone)]
pub struct Store {
    inner: Arc<Inner>,
    owner: Owner,
}

struct Inner {
    engine: Sqlite,
    disk: FreeDisk,
    events: Events,
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store").field("path", &self.inner.engine.path()).field("owner", &self.owner).finish()
    }
}

impl Store {
    /// Opens the store in a data directory, makes both when they are missing, and brings the schema up to date. The handle
    /// is the system's.
    pub fn open(data_dir: &Path) -> Result<Self, OpenError> {
        Self::open_on(data_dir, FreeDisk::new(data_dir, 0))
    }

    /// The same, and takes no new mail while the disk is low.
    pub fn open_on(data_dir: &Path, disk: FreeDisk) -> Result<Self, OpenError> {
        let engine = Sqlite::open(data_dir, &disk)?;
        let inner = Inner { engine, disk, events: Events::new() };
        Ok(Self { inner: Arc::new(inner), owner: Owner::System })
    }

    /// Where the events of committed changes are published.
    pub fn events(&self) -> &Events {
        &self.inner.events
    }

    /// A handle on behalf of another owner.
    pub fn for_owner(&self, owner: Owner) -> Self {
        Self { inner: Arc::clone(&self.inner), owner }
    }

    /// A handle for an account.
    pub fn for_account(&self, account: &AccountId) -> Self {
        self.for_owner(Owner::Account(account.clone()))
    }

    /// Runs `work` in a transaction of its own and returns when it is on disk; then its events are published. An error rolls
    /// it back. It is done also when the caller is cancelled.
    pub(crate) async fn write<T, E, F>(&self, work: F) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
        F: Fn(&Transaction<'_>) -> Result<T, E> + Send + 'static,
    {
        self.inner.engine.write(&self.owner, &self.inner.events, work).await
    }

    /// Runs `work` on a reader, off the async threads. All that it reads is of one snapshot. When the caller is cancelled, a
    /// statement under way is interrupted.
    pub(crate) async fn read<T, E, F>(&self, work: F) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
        F: Fn(&Transaction<'_>) -> Result<T, E> + Send + 'static,
    {
        self.inner.engine.read(&self.owner, work).await
    }

    /// Returns when the writer has committed a transaction that changes nothing.
    pub async fn writer_answers(&self) -> Result<(), StoreError> {
        self.write(|_| Ok(())).await
    }

    /// Fails while the disk is too full for new mail. Other writes are not affected.
    pub(crate) fn check_disk(&self) -> Result<(), StoreError> {
        Ok(self.inner.disk.check()?)
    }

    /// Waits for the writes under way, and closes. Later verbs answer [`StoreError::Closed`].
    pub async fn close(&self) {
        self.inner.engine.close().await;
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What the mutexes here guard is whole at every moment.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
