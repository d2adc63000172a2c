//! The store: all persistent data, in a database.
//!
//! Invariant: a verb is one transaction, and has returned only when its writes are on disk.
//!
//! `engine` runs transactions; the verbs are in one file per noun. A verb may be run several times before it is committed.

pub(crate) mod access;
pub(crate) mod accounts;
pub(crate) mod aliases;
pub(crate) mod append;
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
pub(crate) mod event_subjects;
pub(crate) mod events;
mod expunged;
pub(crate) mod flag_list;
pub(crate) mod history;
mod hot_rows;
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
pub(crate) mod metadata;
pub mod names;
pub(crate) mod notification_tokens;
pub(crate) mod object_ids;
pub(crate) mod open_mailbox;
mod overviews;
pub mod ownership;
mod parts;
pub(crate) mod permissions;
#[cfg_attr(
    not(feature = "cluster"),
    allow(dead_code, reason = "only PostgreSQL needs the lease owners of the previous process")
)]
mod process;
pub(crate) mod queue;
pub(crate) mod quota;
pub(crate) mod rates;
pub(crate) mod resync;
pub(crate) mod retention;
pub(crate) mod rotation;
pub(crate) mod routing;
pub(crate) mod search;
pub(crate) mod senders;
pub(crate) mod sent;
pub(crate) mod ses;
pub(crate) mod statistics;
#[cfg(test)]
pub(crate) mod testing;
pub(crate) mod threads;
pub(crate) mod tokens;
pub(crate) mod transfer;
pub(crate) mod uid_ranges;
pub(crate) mod unreadable;
pub(crate) mod users;
pub(crate) mod version;
pub(crate) mod webhooks;

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
use hot_rows::HotRow;
use process::Process;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// All of these are temporary errors to a client: 451, `NO [UNAVAILABLE]`, 503.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("database error: {0}")]
    Sqlite(#[from] rusqlite::Error),
    #[cfg(feature = "cluster")]
    #[error("database error: {}", engine::postgres::in_words(.0))]
    Postgres(#[from] ::postgres::Error),
    /// A query that must return a row has returned none.
    #[error("the query returned no rows: {0}")]
    NoRow(String),
    /// The store was closed, or its writer thread has ended.
    #[error("the store is closed")]
    Closed,
    /// A row has a value that no version of this program writes.
    #[error("invalid data in the database: {0}")]
    Corrupt(String),
    /// Too little disk space is free for new mail.
    #[error(transparent)]
    DiskLow(#[from] DiskLow),
    /// An inbox was deleted between two transactions.
    #[error("the inbox {0} was deleted")]
    InboxDeleted(InboxId),
    /// The same for one that was disabled, and takes no mail until it is enabled.
    #[error("the inbox {0} was disabled")]
    InboxDisabled(InboxId),
    #[error(transparent)]
    Body(#[from] bodies::format::DamagedBody),
    #[cfg(feature = "cluster")]
    #[error(transparent)]
    Object(#[from] bodies::objects::ObjectError),
    /// The body was stored while an object store was configured.
    #[error(
        "a body is in object {0}, but [bodies] store configures no object store: configure the one with the object"
    )]
    NoObjectStore(String),
    /// Exclusive access was requested, by this or another program.
    #[cfg(feature = "cluster")]
    #[error("the database is in use: {0}")]
    InUse(String),
    /// The transaction panicked, was not committed, or its outcome is unknown.
    #[error("{0}")]
    Aborted(String),
}

impl StoreError {
    /// True if one body cannot be read, and others can.
    pub fn is_damage(&self) -> bool {
        match self {
            Self::Body(_) => true,
            #[cfg(feature = "cluster")]
            Self::Object(error) => error.is_damage(),
            _ => false,
        }
    }
}

#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("{path}: {source}")]
    Io { path: PathBuf, source: std::io::Error },
    #[error("{path}: {source}")]
    Sqlite { path: PathBuf, source: rusqlite::Error },
    #[cfg(feature = "cluster")]
    #[error(transparent)]
    Postgres(#[from] engine::postgres::OpenError),
    #[error("[store] engine is postgres, which this program was built without: build it with the feature cluster")]
    NotBuiltIn,
    /// A verb that runs at startup failed.
    #[error("{path}: {error}")]
    Store {
        /// The database file or the data directory.
        path: PathBuf,
        error: StoreError,
    },
    #[error(transparent)]
    Schema(#[from] Box<engine::sqlite::migrations::SchemaError>),
    /// A copy was interrupted, or is running.
    #[error("the database is an incomplete copy of {0}: run `inboxlayer store copy` from there again")]
    IncompleteCopy(String),
    #[error("{path} is in use: another inboxlayer process has this data directory open")]
    InUse {
        /// The lock file.
        path: PathBuf,
    },
}

impl OpenError {
    /// True if other programs have the store open.
    pub fn is_in_use(&self) -> bool {
        match self {
            Self::InUse { .. } => true,
            #[cfg(feature = "cluster")]
            Self::Postgres(engine::postgres::OpenError::Store(StoreError::InUse(_))) => true,
            _ => false,
        }
    }
}

/// Whether other programs may have the same database open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    Shared,
    /// Opening fails while others have the database open, and excludes them afterwards.
    Exclusive,
}

impl Access {
    /// PostgreSQL's `application_name`.
    #[cfg(feature = "cluster")]
    pub(in crate::store) const fn application_name(self) -> &'static str {
        match self {
            Self::Shared => "inboxlayer",
            Self::Exclusive => "inboxlayer exclusive",
        }
    }
}

/// A handle to the store for an owner; reads and writes are scheduled fairly between owners. Clones share the store.
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
    /// The object store for bodies, if one is configured.
    #[cfg(feature = "cluster")]
    objects: std::sync::OnceLock<bodies::objects::Objects>,
    #[cfg(feature = "cluster")]
    unreferenced: bodies::Unreferenced,
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store").field("engine", &self.inner.engine).field("owner", &self.owner).finish()
    }
}

impl Store {
    /// Opens or creates the SQLite store in a data directory, and migrates its schema. The owner of the handle is the system.
    pub fn open(data_dir: &Path) -> Result<Self, OpenError> {
        #[cfg(all(test, feature = "cluster"))]
        if let Some(config) = testing::cluster_config(data_dir) {
            return Self::from_config(&config, FreeDisk::new(data_dir, 0));
        }
        let lock = lock_data_dir(data_dir)?;
        let disk = FreeDisk::new(data_dir, 0);
        let events = Events::new();
        let engine = Engine::Sqlite(Sqlite::open(data_dir, &disk, events.clone())?);
        Ok(Self::new(engine, disk, events, Process::new(), lock))
    }

    /// Opens the configured store. `disk` limits new mail while too little space is free.
    pub fn from_config(config: &Config, disk: FreeDisk) -> Result<Self, OpenError> {
        Self::open_with_access(config, disk, Access::Shared)
    }

    /// The same, with shared or exclusive access.
    pub fn open_with_access(config: &Config, disk: FreeDisk, access: Access) -> Result<Self, OpenError> {
        let lock = lock_data_dir(&config.data_dir.0)?;
        let (events, process) = (Events::new(), Process::new());
        let engine = open_engine(config, &disk, &events, access)?;
        if let Some(source) = engine.incomplete_copy_of() {
            return Err(OpenError::IncompleteCopy(source.to_owned()));
        }
        #[cfg(feature = "cluster")]
        if let Engine::Postgres(engine) = &engine {
            let path = || config.data_dir.0.clone();
            // The data directory is locked, so its previous process has ended.
            let previous =
                process.replace_previous(&path()).map_err(|source| OpenError::Io { path: path(), source })?;
            if let Some(owners) = previous {
                engine.end_leases(&owners).map_err(|error| OpenError::Store { path: path(), error })?;
            }
        }
        Ok(Self::new(engine, disk, events, process, lock))
    }

    /// Opens two stores with exclusive access; the second may be an incomplete copy. They may share a data directory.
    pub fn open_two(from: &Config, to: &Config) -> Result<(Self, Self), OpenError> {
        let lock = lock_data_dir(&from.data_dir.0)?;
        let second = match from.data_dir == to.data_dir {
            true => lock.try_clone().map_err(|source| OpenError::Io { path: to.data_dir.0.join("lock"), source })?,
            false => lock_data_dir(&to.data_dir.0)?,
        };
        let open = |config: &Config, lock| {
            let (disk, events) = (FreeDisk::new(&config.data_dir.0, 0), Events::new());
            let engine = open_engine(config, &disk, &events, Access::Exclusive)?;
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
            unreferenced: bodies::Unreferenced::default(),
        };
        Self { inner: Arc::new(inner), owner: Owner::System }
    }

    /// Events are published here after the commit.
    pub fn events(&self) -> &Events {
        &self.inner.events
    }

    /// True if other daemons may write to the same database.
    pub fn is_shared(&self) -> bool {
        self.inner.engine.is_shared()
    }

    /// A new lease owner.
    pub fn lease_owner(&self) -> RunnerId {
        self.inner.process.owner()
    }

    pub fn for_owner(&self, owner: Owner) -> Self {
        Self { inner: Arc::clone(&self.inner), owner }
    }

    pub fn for_account(&self, account: &AccountId) -> Self {
        self.for_owner(Owner::Account(account.clone()))
    }

    /// Runs `work` in a transaction, and returns after its commit is on disk and its events are published. An error rolls it
    /// back. If the caller is cancelled after `work` was started or queued, the transaction is completed, but on
    /// PostgreSQL not retried after conflicts.
    pub(crate) async fn write<T, E, F>(&self, work: F) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
        F: Fn(&Transaction<'_>) -> Result<T, E> + Send + 'static,
    {
        self.write_serialized(&[], work).await
    }

    /// The same, serialized with other writes that have one of `hot_rows`: for verbs that change frequently changed rows.
    async fn write_serialized<T, E, F>(&self, hot_rows: &[HotRow], work: F) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
        F: Fn(&Transaction<'_>) -> Result<T, E> + Send + 'static,
    {
        self.inner.engine.write(&self.owner, hot_rows, work).await
    }

    /// Runs `work` on a reader, on a blocking thread and one snapshot. If the caller is cancelled, a running statement is
    /// interrupted.
    pub(crate) async fn read<T, E, F>(&self, work: F) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
        F: Fn(&Transaction<'_>) -> Result<T, E> + Send + 'static,
    {
        self.inner.engine.read(&self.owner, work).await
    }

    /// Commits an empty transaction, to check that writes work.
    pub async fn probe_writer(&self) -> Result<(), StoreError> {
        self.write(|_| Ok(())).await
    }

    /// Fails while too little disk space is free for new mail. Other writes do not check this.
    pub(crate) fn check_disk(&self) -> Result<(), StoreError> {
        Ok(self.inner.disk.check()?)
    }

    /// Waits for running and queued writes, then closes. Later verbs return [`StoreError::Closed`].
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

/// Creates the data directory if it does not exist, and locks it against other daemons.
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

/// Opens or creates a file with mode 0600: the directory may be accessible to other users.
fn private_file(path: &Path) -> std::io::Result<std::fs::File> {
    use std::os::unix::fs::OpenOptionsExt;
    std::fs::OpenOptions::new().create(true).append(true).mode(0o600).open(path)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // The guarded values are consistent at every moment, so a panic while locked does no harm.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
#[cfg(all(test, feature = "cluster"))]
#[path = "two_daemons/tests.rs"]
mod two_daemons_tests;
