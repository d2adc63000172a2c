//! The store: everything the daemon keeps, in a database.
//!
//! Invariant: a verb is one transaction, and when it has returned, what it wrote is on disk.
//!
//! `engine` runs transactions; the verbs are in one file per noun. A verb may run more than once before it is committed.

pub(crate) mod accounts;
pub(crate) mod aliases;
pub(crate) mod batch;
pub(crate) mod bodies;
pub(crate) mod checks;
mod claim_rows;
mod content;
#[cfg(all(test, feature = "cluster"))]
mod contention;
pub(crate) mod copy;
pub(crate) mod deliver;
pub mod domains;
mod due;
pub(crate) mod email_changes;
pub(crate) mod emails;
pub(crate) mod engine;
pub(crate) mod events;
mod expunged;
pub(crate) mod flag_list;
pub(crate) mod history;
pub(crate) mod idempotency;
pub(crate) mod inbox_addresses;
pub(crate) mod inboxes;
pub(crate) mod jobs;
pub(crate) mod keys;
pub(crate) mod keywords;
pub(crate) mod labels;
mod long_changes;
pub(crate) mod mailbox_changes;
mod mailbox_tree;
pub(crate) mod mailboxes;
pub(crate) mod message_rows;
pub(crate) mod messages;
pub mod names;
pub(crate) mod open_mailbox;
pub mod ownership;
mod parts;
pub(crate) mod permissions;
#[cfg_attr(
    not(feature = "cluster"),
    allow(dead_code, reason = "leases of a process before are ended one by one on PostgreSQL alone")
)]
mod process;
pub(crate) mod queue;
pub(crate) mod rates;
pub(crate) mod room;
pub(crate) mod rotation;
pub(crate) mod routing;
pub(crate) mod senders;
pub(crate) mod sent;
pub(crate) mod ses;
#[cfg(test)]
pub(crate) mod testing;
pub(crate) mod threads;
pub(crate) mod tokens;
pub(crate) mod transfer;
mod turns;
pub(crate) mod unreadable;
pub(crate) mod users;

pub use content::StoredMessage;
pub(crate) use engine::Transaction;

pub(crate) use engine::sqlite::compact;

use crate::config::{self, Config};
use crate::events::Events;
use crate::id::{AccountId, InboxId, RunnerId};
use crate::resources::Owner;
use crate::resources::disk::{DiskLow, FreeDisk};
use engine::Engine;
#[cfg(test)]
pub(crate) use engine::params;
#[cfg(feature = "cluster")]
use engine::postgres::Postgres;
use engine::sqlite::Sqlite;
use process::Process;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use turns::Turn;

/// Why a verb could not do its work. All of them are temporary to a client: 451, `NO [UNAVAILABLE]`, 503.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// An error of SQLite.
    #[error("the database failed: {0}")]
    Sqlite(#[from] rusqlite::Error),
    /// An error of PostgreSQL.
    #[cfg(feature = "cluster")]
    #[error("the database failed: {}", engine::postgres::in_words(.0))]
    Postgres(#[from] ::postgres::Error),
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
    /// A body is not what its name says.
    #[error(transparent)]
    Body(#[from] bodies::format::DamagedBody),
    /// The object store that bodies are kept in.
    #[cfg(feature = "cluster")]
    #[error(transparent)]
    Object(#[from] bodies::objects::ObjectError),
    /// A body was put into an object store that is not configured now.
    #[error("object {0} holds a body, and [bodies] store names no object store")]
    NoObjectStore(String),
    /// Other programs have the database open, and one of them or this one needs it for itself.
    #[cfg(feature = "cluster")]
    #[error("the database is in use: {0}")]
    InUse(String),
    /// The work did not end: it panicked, or its commit failed.
    #[error("{0}")]
    Aborted(String),
}

impl StoreError {
    /// True where one body cannot be read, and others can.
    pub fn is_damage(&self) -> bool {
        match self {
            Self::Body(_) => true,
            #[cfg(feature = "cluster")]
            Self::Object(error) => error.is_damage(),
            _ => false,
        }
    }
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
    #[cfg(feature = "cluster")]
    #[error(transparent)]
    Postgres(#[from] engine::postgres::OpenError),
    /// The configuration names an engine that this program was built without.
    #[error("this program was built without PostgreSQL")]
    NotBuiltIn,
    /// A verb of the start failed.
    #[error("{path}: {error}")]
    Store {
        /// The database file.
        path: PathBuf,
        error: StoreError,
    },
    /// The schema is not one that this program can use.
    #[error(transparent)]
    Schema(#[from] Box<engine::sqlite::migrations::SchemaError>),
    /// Its copying was cut off, or is under way.
    #[error("the database is an incomplete copy of {0}: run `inboxlayer store copy` again from there")]
    IncompleteCopy(String),
    /// Another daemon has it open.
    #[error("{path} is in use: another inboxlayer has this data directory open")]
    InUse {
        /// The lock file.
        path: PathBuf,
    },
}

impl OpenError {
    /// True where other programs have the store open.
    pub fn is_in_use(&self) -> bool {
        match self {
            Self::InUse { .. } => true,
            #[cfg(feature = "cluster")]
            Self::Postgres(engine::postgres::OpenError::Store(StoreError::InUse(_))) => true,
            _ => false,
        }
    }
}

/// Whether others may have the same database open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    Shared,
    /// Fails while others have it open, and keeps them from opening it.
    Alone,
}

impl Access {
    /// What the program calls itself to a database server.
    #[cfg(feature = "cluster")]
    pub(in crate::store) const fn program(self) -> &'static str {
        match self {
            Self::Shared => "inboxlayer",
            Self::Alone => "inboxlayer alone",
        }
    }
}

/// A handle to the store, on behalf of an owner: reads and writes take turns by it. Clones share the store.
#[derive(Clone)]
pub struct Store {
    inner: Arc<Inner>,
    owner: Owner,
}

struct Inner {
    engine: Engine,
    disk: FreeDisk,
    events: Events,
    process: Process,
    // Held for the lifetime of the store: one daemon per data directory.
    _lock: std::fs::File,
    /// Where bodies are kept outside the database.
    #[cfg(feature = "cluster")]
    objects: std::sync::OnceLock<bodies::objects::Objects>,
    #[cfg(feature = "cluster")]
    unnamed: bodies::Unnamed,
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store").field("engine", &self.inner.engine).field("owner", &self.owner).finish()
    }
}

impl Store {
    /// Opens the SQLite store in a data directory, makes both when they are missing, and brings the schema up to date. The
    /// handle is the system's.
    pub fn open(data_dir: &Path) -> Result<Self, OpenError> {
        #[cfg(all(test, feature = "cluster"))]
        if let Some(config) = testing::cluster_config(data_dir) {
            return Self::of_config(&config, FreeDisk::new(data_dir, 0));
        }
        let lock = lock_data_dir(data_dir)?;
        let disk = FreeDisk::new(data_dir, 0);
        let events = Events::new();
        let engine = Engine::Sqlite(Sqlite::open(data_dir, &disk, events.clone())?);
        Ok(Self::new(engine, disk, events, Process::new(), lock))
    }

    /// Opens the store that the configuration names, and takes no new mail while the disk is low.
    pub fn of_config(config: &Config, disk: FreeDisk) -> Result<Self, OpenError> {
        Self::with_access(config, disk, Access::Shared)
    }

    /// The same, beside others or alone.
    pub fn with_access(config: &Config, disk: FreeDisk, access: Access) -> Result<Self, OpenError> {
        let lock = lock_data_dir(&config.data_dir.0)?;
        let (events, process) = (Events::new(), Process::new());
        let engine = open_engine(config, &disk, &events, access)?;
        if let Some(source) = engine.incomplete_copy_of() {
            return Err(OpenError::IncompleteCopy(source.to_owned()));
        }
        #[cfg(feature = "cluster")]
        if let Engine::Postgres(engine) = &engine {
            let path = || config.data_dir.0.clone();
            // With the lock held, the process that had the directory is gone.
            let before = process.succeed(&path()).map_err(|source| OpenError::Io { path: path(), source })?;
            if let Some(owners) = before {
                engine.end_leases(&owners).map_err(|error| OpenError::Store { path: path(), error })?;
            }
        }
        Ok(Self::new(engine, disk, events, process, lock))
    }

    /// Opens two stores, each alone, the second of which may be an incomplete copy. They may have one data directory, which is locked.
    pub fn two_of_configs(from: &Config, to: &Config) -> Result<(Self, Self), OpenError> {
        let lock = lock_data_dir(&from.data_dir.0)?;
        let second = match from.data_dir == to.data_dir {
            true => lock.try_clone().map_err(|source| OpenError::Io { path: to.data_dir.0.join("lock"), source })?,
            false => lock_data_dir(&to.data_dir.0)?,
        };
        let open = |config: &Config, lock| {
            let (disk, events) = (FreeDisk::new(&config.data_dir.0, 0), Events::new());
            let engine = open_engine(config, &disk, &events, Access::Alone)?;
            Ok::<_, OpenError>(Self::new(engine, disk, events, Process::new(), lock))
        };
        Ok((open(from, lock)?, open(to, second)?))
    }

    fn new(engine: Engine, disk: FreeDisk, events: Events, process: Process, lock: std::fs::File) -> Self {
        let inner = Inner {
            engine,
            disk,
            events,
            process,
            _lock: lock,
            #[cfg(feature = "cluster")]
            objects: std::sync::OnceLock::new(),
            #[cfg(feature = "cluster")]
            unnamed: bodies::Unnamed::default(),
        };
        Self { inner: Arc::new(inner), owner: Owner::System }
    }

    /// Where the events of committed changes are published.
    pub fn events(&self) -> &Events {
        &self.inner.events
    }

    /// Other daemons may change what is in it.
    pub fn is_shared(&self) -> bool {
        self.inner.engine.is_shared()
    }

    /// A fresh owner of leases.
    pub fn lease_owner(&self) -> RunnerId {
        self.inner.process.owner()
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
        self.write_in_turn(&[], work).await
    }

    /// The same for a verb that changes what many others change at the same time.
    async fn write_in_turn<T, E, F>(&self, turns: &[Turn], work: F) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
        F: Fn(&Transaction<'_>) -> Result<T, E> + Send + 'static,
    {
        self.inner.engine.write(&self.owner, turns, work).await
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

fn open_engine(config: &Config, disk: &FreeDisk, events: &Events, access: Access) -> Result<Engine, OpenError> {
    match config.store.engine {
        config::Engine::Sqlite => Ok(Engine::Sqlite(Sqlite::open(&config.data_dir.0, disk, events.clone())?)),
        #[cfg(feature = "cluster")]
        config::Engine::Postgres => {
            Ok(Engine::Postgres(Box::new(Postgres::open(&config.store, events.clone(), access)?)))
        }
        #[cfg(not(feature = "cluster"))]
        config::Engine::Postgres => {
            let _ = access;
            Err(OpenError::NotBuiltIn)
        }
    }
}

/// Makes the data directory where it is missing, and keeps other daemons out of it.
fn lock_data_dir(data_dir: &Path) -> Result<std::fs::File, OpenError> {
    make_private_dir(data_dir).map_err(|source| OpenError::Io { path: data_dir.to_owned(), source })?;
    let path = data_dir.join("lock");
    let lock = private_file(&path).map_err(|source| OpenError::Io { path: path.clone(), source })?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(std::fs::TryLockError::WouldBlock) => Err(OpenError::InUse { path }),
        Err(std::fs::TryLockError::Error(source)) => Err(OpenError::Io { path, source }),
    }
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

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What the mutexes here guard is whole at every moment.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
#[cfg(all(test, feature = "cluster"))]
#[path = "two_daemons/tests.rs"]
mod two_daemons_tests;
