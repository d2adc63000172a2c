//! The store: everything the daemon keeps, in one SQLite database.
//!
//! Invariant: a verb is one transaction, and when it has answered, what it wrote is on disk (`synchronous=FULL`).
//! One thread writes; concurrent writes share one commit (group commit), each in its own savepoint, so that one's
//! failure undoes nothing of another's. Readers have connections of their own and see the last commit (WAL).
//!
//! This file, `readers` and `writer` are the engine; the verbs are in one file per noun.

pub(crate) mod accounts;
pub(crate) mod aliases;
pub(crate) mod batch;
pub(crate) mod checks;
pub(crate) mod compact;
mod content;
pub(crate) mod deliver;
pub mod domains;
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
pub(crate) mod messages;
mod migrations;
pub mod names;
pub(crate) mod open_mailbox;
pub mod ownership;
mod parts;
pub(crate) mod queue;
mod readers;
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
mod values;
mod writer;

pub use content::StoredMessage;

use crate::events::{Event, Events};
use crate::id::{AccountId, InboxId, MailboxId};
use crate::resources::Owner;
use crate::resources::disk::{DiskLow, FreeDisk};
use readers::Readers;
use rusqlite::{Connection, OpenFlags};
use std::cell::RefCell;
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use writer::Writer;

/// Readers at work at once. SQLite reads are short and mostly from the page cache.
const READERS: usize = 4;

/// Why a verb could not do its work. All of them are temporary to a client: 451, `NO [UNAVAILABLE]`, 503.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// An error of SQLite.
    #[error("the database failed: {0}")]
    Sqlite(#[from] rusqlite::Error),
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

/// A transaction, and the events that are published once it is on disk.
pub(crate) struct Transaction<'a> {
    connection: &'a Connection,
    events: RefCell<Vec<(AccountId, Event)>>,
}

impl Transaction<'_> {
    /// Publishes an event with the commit.
    fn publish(&self, account: AccountId, event: Event) {
        self.events.borrow_mut().push((account, event));
    }

    /// Notes that a mailbox has changed, for the sessions that have it open.
    fn mailbox_changed(&self, inbox: &InboxId, mailbox: MailboxId) -> Result<(), StoreError> {
        let sql = "SELECT account_id FROM inbox WHERE id = ?1";
        let account = self.prepare_cached(sql)?.query_row([inbox], |row| row.get(0))?;
        self.publish(account, Event::MailboxChanged { inbox: inbox.clone(), mailbox });
        Ok(())
    }
}

impl Deref for Transaction<'_> {
    type Target = Connection;

    fn deref(&self) -> &Connection {
        self.connection
    }
}

/// A handle to the store, on behalf of an owner: reads and writes take turns by it. Clones share the store.
#[derive(Clone)]
pub struct Store {
    inner: Arc<Inner>,
    owner: Owner,
}

struct Inner {
    readers: Readers,
    writer: Writer,
    disk: FreeDisk,
    events: Events,
    path: PathBuf,
    // Held for the lifetime of the store: one daemon per data directory.
    _lock: std::fs::File,
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store").field("path", &self.inner.path).field("owner", &self.owner).finish()
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
        let io = |path: &Path| {
            let path = path.to_owned();
            move |source| OpenError::Io { path, source }
        };
        make_private_dir(data_dir).map_err(io(data_dir))?;
        disk.release_reserve_if_full();
        let lock_path = data_dir.join("lock");
        let lock = private_file(&lock_path).map_err(io(&lock_path))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(std::fs::TryLockError::WouldBlock) => return Err(OpenError::InUse { path: lock_path }),
            Err(std::fs::TryLockError::Error(source)) => return Err(OpenError::Io { path: lock_path, source }),
        }

        let path = data_dir.join("inboxlayer.db");
        // What SQLite puts beside it gets the same mode.
        private_file(&path).map_err(io(&path))?;
        let sqlite = |source| OpenError::Sqlite { path: path.clone(), source };
        let mut writer = Connection::open(&path).map_err(sqlite)?;
        prepare(&writer).map_err(sqlite)?;
        writer.pragma_update(None, "journal_mode", "WAL").map_err(sqlite)?;
        // What was answered 250 survives a power cut: every commit is synced.
        writer.pragma_update(None, "synchronous", "FULL").map_err(sqlite)?;
        migrations::bring_up_to_date(&mut writer, &path)?;
        // With the lock held, previous lease owners are dead.
        match jobs::end_leases(&writer).map_err(sqlite)? {
            0 => {}
            ended => tracing::info!(ended, "work that was cut off is due again"),
        }

        let mut readers = Vec::with_capacity(READERS);
        for _ in 0..READERS {
            let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
            let reader = Connection::open_with_flags(&path, flags).map_err(sqlite)?;
            prepare(&reader).map_err(sqlite)?;
            readers.push(reader);
        }
        disk.hold_reserve();
        let writer = Writer::start(writer, disk.clone()).map_err(io(&path))?;
        let inner = Inner { readers: Readers::new(readers), writer, disk, events: Events::new(), path, _lock: lock };
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

    /// Runs `work` in a transaction of its own and returns when it is on disk. An error rolls it back. It is done also when
    /// the caller is cancelled.
    pub(crate) async fn write<T, E, F>(&self, work: F) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
        F: FnOnce(&Connection) -> Result<T, E> + Send + 'static,
    {
        self.inner.writer.run(&self.owner, work, |value| value).await
    }

    /// The same; the transaction's events are published when it is on disk, also when the caller is cancelled meanwhile.
    pub(crate) async fn change<T, E, F>(&self, work: F) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
        F: FnOnce(&Transaction<'_>) -> Result<T, E> + Send + 'static,
    {
        let hub = self.inner.events.clone();
        let work = move |connection: &Connection| {
            let transaction = Transaction { connection, events: RefCell::default() };
            let value = work(&transaction)?;
            Ok((value, transaction.events.into_inner()))
        };
        let publish = move |(value, events): (T, Vec<(AccountId, Event)>)| {
            for (account, event) in events {
                hub.publish(&account, event);
            }
            value
        };
        self.inner.writer.run(&self.owner, work, publish).await
    }

    /// Runs `work` on a reader, off the async threads. All that it reads is of one snapshot. When the caller is cancelled, a
    /// statement under way is interrupted.
    pub(crate) async fn read<T, E, F>(&self, work: F) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
        F: FnOnce(&Connection) -> Result<T, E> + Send + 'static,
    {
        self.inner.readers.run(&self.owner, work).await
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
        self.inner.readers.close();
        self.inner.writer.close().await;
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What the mutexes here guard is whole at every moment.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// True when the query has a row.
fn exists(connection: &Connection, sql: &str, with: impl rusqlite::Params) -> Result<bool, StoreError> {
    Ok(connection.prepare_cached(sql)?.exists(with)?)
}

fn make_private_dir(path: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// Opens a file, made for this user alone: the folder may have been there before, open to others.
fn private_file(path: &Path) -> std::io::Result<std::fs::File> {
    use std::os::unix::fs::OpenOptionsExt;
    std::fs::OpenOptions::new().create(true).append(true).mode(0o600).open(path)
}

fn prepare(connection: &Connection) -> rusqlite::Result<()> {
    connection.busy_timeout(std::time::Duration::from_secs(10))?;
    connection.pragma_update(None, "foreign_keys", true)?;
    connection.pragma_update(None, "trusted_schema", false)?;
    connection.pragma_update(None, "cache_size", -16_384)?;
    // A savepoint's journal is in memory up to 64 KiB and then in a file: all in memory, its upkeep grows with the square
    // of what the savepoint changes (32,000 deletes: minutes against two seconds).
    connection.pragma_update(None, "temp_store", "FILE")?;
    connection.set_prepared_statement_cache_capacity(128);
    Ok(())
}

#[cfg(test)]
mod tests;
