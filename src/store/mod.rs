//! The store: everything the daemon keeps, in one SQLite database.
//!
//! Invariant: a verb is one transaction, and when it has answered, what it wrote is on disk (`synchronous=FULL`).
//! One thread writes; concurrent writes share one commit (group commit), each in its own savepoint, so that one's
//! failure undoes nothing of another's. Readers have connections of their own and see the last commit (WAL).
//!
//! This file is the engine; the verbs stand in one file per noun.

pub mod accounts;
pub mod aliases;
pub mod checks;
mod content;
pub mod deliver;
pub mod domains;
mod expunged;
pub mod history;
pub mod inboxes;
pub mod keys;
pub mod mailbox_changes;
pub mod mailboxes;
pub mod messages;
mod migrations;
pub mod open_mailbox;
pub mod ownership;
pub mod queue;
pub mod room;
pub mod rotation;
pub mod routing;
pub mod senders;
pub mod ses;
#[cfg(test)]
pub(crate) mod testing;
pub mod tokens;
mod values;

pub use content::StoredMessage;

use rusqlite::{Connection, OpenFlags, TransactionBehavior};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::{Semaphore, mpsc, oneshot};

/// Readers at work at once. SQLite reads are short and mostly from the page cache.
const READERS: usize = 4;
/// Writes that share one commit at most: bounds how long the first of them waits.
const GROUP: usize = 256;
/// Writes that wait for the writer at most; more wait for a place.
const BACKLOG: usize = 4096;

/// Why a verb could not do its work. All of them are temporary to a client: 451, `NO [UNAVAILABLE]`, 503.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// SQLite said no.
    #[error("the database failed: {0}")]
    Sqlite(#[from] rusqlite::Error),
    /// The store has been closed, or its writer has died.
    #[error("the store is closed")]
    Closed,
    /// A row holds what no version of this program writes.
    #[error("the database holds a value it should not: {0}")]
    Corrupt(String),
}

/// Why a store could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The folder or file could not be made or read.
    #[error("{path}: {source}")]
    Io {
        /// The path it was about.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// SQLite said no.
    #[error("{path}: {source}")]
    Sqlite {
        /// The database file.
        path: PathBuf,
        /// What SQLite said.
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

type Job = Box<dyn FnOnce(&Connection) -> Option<Finish> + Send>;
type Finish = Box<dyn FnOnce(Result<(), StoreError>) + Send>;

/// A handle to the store; clones share it.
#[derive(Clone)]
pub struct Store(Arc<Inner>);

struct Inner {
    jobs: mpsc::Sender<Job>,
    readers: Mutex<Vec<Connection>>,
    permits: Semaphore,
    path: PathBuf,
    writer: Mutex<Option<std::thread::JoinHandle<()>>>,
    // Held for the lifetime of the store: one daemon per data directory.
    _lock: std::fs::File,
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Store").field(&self.0.path).finish()
    }
}

impl Store {
    /// Opens the store in a data directory, makes both when they are missing, and brings the schema up to date.
    pub fn open(data_dir: &Path) -> Result<Self, OpenError> {
        let io = |path: &Path| {
            let path = path.to_owned();
            move |source| OpenError::Io { path, source }
        };
        make_private_dir(data_dir).map_err(io(data_dir))?;
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

        let mut readers = Vec::with_capacity(READERS);
        for _ in 0..READERS {
            let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
            let reader = Connection::open_with_flags(&path, flags).map_err(sqlite)?;
            prepare(&reader).map_err(sqlite)?;
            readers.push(reader);
        }
        let (jobs, queue) = mpsc::channel(BACKLOG);
        let thread = std::thread::Builder::new()
            .name("store-writer".into())
            .spawn(move || write_loop(writer, queue))
            .map_err(io(&path))?;
        Ok(Self(Arc::new(Inner {
            jobs,
            readers: Mutex::new(readers),
            permits: Semaphore::new(READERS),
            path,
            writer: Mutex::new(Some(thread)),
            _lock: lock,
        })))
    }

    /// Runs `work` in a transaction of its own and answers when it is on disk. An error undoes all that it wrote.
    pub(crate) async fn write<T, E, F>(&self, work: F) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
        F: FnOnce(&Connection) -> Result<T, E> + Send + 'static,
    {
        let (answer, answered) = oneshot::channel::<Result<T, E>>();
        let job: Job = Box::new(move |connection| match in_savepoint(connection, work) {
            Ok(value) => Some(Box::new(move |committed: Result<(), StoreError>| {
                // Nobody listens any more when the caller was cancelled: the commit stands all the same.
                let _ = answer.send(committed.map(|()| value).map_err(E::from));
            })),
            Err(error) => {
                let _ = answer.send(Err(error));
                None
            }
        });
        self.0.jobs.send(job).await.map_err(|_| StoreError::Closed)?;
        answered.await.map_err(|_| E::from(StoreError::Closed))?
    }

    /// Runs `work` on a reader, off the async threads. It sees one snapshot when it opens a transaction itself.
    pub(crate) async fn read<T, E, F>(&self, work: F) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
        F: FnOnce(&Connection) -> Result<T, E> + Send + 'static,
    {
        let inner = Arc::clone(&self.0);
        let _permit = self.0.permits.acquire().await.map_err(|_| StoreError::Closed)?;
        let reader = lock(&inner.readers).pop().ok_or(StoreError::Closed)?;
        let lent = Lent { inner, reader: Some(reader) };
        tokio::task::spawn_blocking(move || match &lent.reader {
            Some(reader) => work(reader),
            None => Err(StoreError::Closed.into()),
        })
        .await
        .map_err(|_| StoreError::Closed)?
    }

    /// Waits for the writes under way, and closes. Later verbs answer [`StoreError::Closed`].
    pub async fn close(&self) {
        self.0.permits.close();
        let thread = lock(&self.0.writer).take();
        let (done, gone) = oneshot::channel();
        // The last job: it makes the writer leave its loop.
        let stop: Job = Box::new(move |_| {
            Some(Box::new(move |_| {
                let _ = done.send(());
                STOP.set(true);
            }))
        });
        if self.0.jobs.send(stop).await.is_ok() {
            let _ = gone.await;
        }
        if let Some(thread) = thread {
            let _ = tokio::task::spawn_blocking(move || thread.join()).await;
        }
    }
}

thread_local! {
    /// Set on the writer thread by the last job.
    static STOP: std::cell::Cell<bool> = const { std::cell::Cell::new(false) };
}

/// A reader out of the pool, put back when dropped, also after a panic or a cancelled caller.
struct Lent {
    inner: Arc<Inner>,
    reader: Option<Connection>,
}

impl Drop for Lent {
    fn drop(&mut self) {
        if let Some(reader) = self.reader.take() {
            lock(&self.inner.readers).push(reader);
        }
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
    connection.pragma_update(None, "temp_store", "MEMORY")?;
    connection.set_prepared_statement_cache_capacity(128);
    Ok(())
}

fn in_savepoint<T, E: From<StoreError>>(
    connection: &Connection,
    work: impl FnOnce(&Connection) -> Result<T, E>,
) -> Result<T, E> {
    let sql = |statement: &str| connection.execute_batch(statement).map_err(|e| E::from(e.into()));
    sql("SAVEPOINT verb")?;
    // A verb that panics is a bug of ours: it must not take the writer, and with it all mail, down.
    let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| work(connection)))
        .unwrap_or_else(|_| Err(StoreError::Corrupt("a verb panicked".into()).into()));
    match done {
        Ok(value) => sql("RELEASE verb").map(|()| value),
        Err(error) => {
            sql("ROLLBACK TO verb; RELEASE verb")?;
            Err(error)
        }
    }
}

fn write_loop(mut connection: Connection, mut queue: mpsc::Receiver<Job>) {
    while let Some(first) = queue.blocking_recv() {
        let mut finishes = Vec::new();
        let committed = connection.transaction_with_behavior(TransactionBehavior::Immediate).and_then(|transaction| {
            finishes.extend(first(&transaction));
            let mut taken = 1;
            // A full disk takes the whole transaction back, not one savepoint: what came after would be kept by itself
            // and be told that it was not.
            while taken < GROUP
                && !transaction.is_autocommit()
                && let Ok(job) = queue.try_recv()
            {
                finishes.extend(job(&transaction));
                taken += 1;
            }
            transaction.commit()
        });
        let error = committed.err().map(|e| e.to_string());
        if let Some(error) = &error {
            tracing::error!(%error, writes = finishes.len(), "a commit failed: nothing of it was kept");
        }
        for finish in finishes {
            finish(match &error {
                None => Ok(()),
                Some(error) => Err(StoreError::Corrupt(format!("the commit failed: {error}"))),
            });
        }
        if STOP.get() {
            queue.close();
            // Those who still wait are told that the store is closed: their job is dropped unrun.
            while queue.try_recv().is_ok() {}
            break;
        }
    }
    if let Err((_, error)) = connection.close() {
        tracing::error!(%error, "the database did not close cleanly");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn account(connection: &Connection, id: &str) -> Result<(), StoreError> {
        connection.execute("INSERT INTO account VALUES (?1, 'x', 0)", [id])?;
        Ok(())
    }

    async fn count(store: &Store) -> i64 {
        store
            .read(|c| Ok::<_, StoreError>(c.query_row("SELECT count(*) FROM account", [], |r| r.get(0))?))
            .await
            .unwrap()
    }

    #[tokio::test]
    async fn what_a_failed_or_panicking_verb_wrote_is_undone_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        let writes = (0..40).map(|i| {
            let store = store.clone();
            tokio::spawn(async move {
                store
                    .write(move |c| {
                        account(c, &format!("acc_{i}"))?;
                        assert!(i % 4 != 1, "a bug");
                        if i % 4 == 2 { Err(StoreError::Closed) } else { Ok(()) }
                    })
                    .await
            })
        });
        let mut kept = 0;
        for write in writes.collect::<Vec<_>>() {
            kept += i64::from(write.await.unwrap().is_ok());
        }
        assert_eq!(kept, 20);
        assert_eq!(count(&store).await, 20);
    }

    #[tokio::test]
    async fn nobody_else_reads_the_files_wherever_they_are() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        std::fs::set_permissions(dir.path(), PermissionsExt::from_mode(0o755)).unwrap();
        let store = Store::open(dir.path()).unwrap();
        store.write(|c| account(c, "acc_1")).await.unwrap();
        let modes = std::fs::read_dir(dir.path()).unwrap().map(|entry| {
            let entry = entry.unwrap();
            (entry.file_name(), entry.metadata().unwrap().permissions().mode() & 0o077)
        });
        let modes: Vec<_> = modes.collect();
        assert!(modes.len() >= 4 && modes.iter().all(|(_, mode)| *mode == 0), "{modes:?}");
    }

    #[tokio::test]
    async fn a_full_disk_keeps_nothing_that_was_answered_with_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        let most = |store: &Store, pages: &'static str| {
            let set = move |c: &Connection| Ok::<_, StoreError>(c.execute_batch(pages)?);
            let store = store.clone();
            async move { store.write(set).await.unwrap() }
        };
        most(&store, "PRAGMA max_page_count = 1").await; // As many as there are.
        // All are in one group: the first waits for the others.
        let (go, wait) = std::sync::mpsc::channel::<()>();
        let first = store.write(move |c| {
            let _ = wait.recv();
            account(c, "acc_1")
        });
        let large =
            store.write(|c| Ok::<_, StoreError>(c.execute("INSERT INTO body (data) VALUES (zeroblob(9999999))", [])?));
        let after = store.write(|c| account(c, "acc_3"));
        let release = async move { go.send(()).unwrap() };
        let (first, large, after, ()) = tokio::join!(first, large, after, release);
        assert!(large.is_err());
        let answered = i64::from(first.is_ok()) + i64::from(after.is_ok());
        assert_eq!(count(&store).await, answered, "{first:?} {after:?}");
        most(&store, "PRAGMA max_page_count = 1000000").await;
        store.write(|c| account(c, "acc_4")).await.unwrap();
        assert_eq!(count(&store).await, answered + 1);
    }

    #[tokio::test]
    async fn a_store_reopens_with_what_it_answered_and_only_once_at_a_time() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        assert!(matches!(Store::open(dir.path()), Err(OpenError::InUse { .. })));
        store.write(|c| account(c, "acc_1")).await.unwrap();
        store.close().await;
        assert!(matches!(store.write(|c| account(c, "acc_2")).await, Err(StoreError::Closed)));
        drop(store);
        assert_eq!(count(&Store::open(dir.path()).unwrap()).await, 1);
    }
}
