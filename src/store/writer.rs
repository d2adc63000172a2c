//! The connection that writes, and its thread.
//!
//! Invariant: each job runs in a savepoint; jobs that wait share a transaction and its commit; a job is answered `Ok` when
//! that commit is on disk, whether its caller still waits or not.

use super::{StoreError, lock};
use rusqlite::{Connection, TransactionBehavior};
use std::sync::Mutex;
use std::thread::JoinHandle;
use tokio::sync::{mpsc, oneshot};

/// Writes that share one commit at most: bounds how long the first of them waits.
const GROUP: usize = 256;
/// Writes that wait for the writer at most; more wait for a place.
const BACKLOG: usize = 4096;

type Job = Box<dyn FnOnce(&Connection) -> Option<Finish> + Send>;
type Finish = Box<dyn FnOnce(Result<(), StoreError>) + Send>;

pub(super) struct Writer {
    jobs: mpsc::Sender<Job>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Writer {
    /// Starts the thread, which owns the connection.
    pub(super) fn start(connection: Connection) -> std::io::Result<Self> {
        let (jobs, queue) = mpsc::channel(BACKLOG);
        let thread =
            std::thread::Builder::new().name("store-writer".into()).spawn(move || write_loop(connection, queue))?;
        Ok(Self { jobs, thread: Mutex::new(Some(thread)) })
    }

    /// Runs `work` in a savepoint, and answers after its commit.
    pub(super) async fn run<T, E, F>(&self, work: F) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
        F: FnOnce(&Connection) -> Result<T, E> + Send + 'static,
    {
        let (answer, answered) = oneshot::channel::<Result<T, E>>();
        let job: Job = Box::new(move |connection| match in_savepoint(connection, work) {
            Ok(value) => Some(Box::new(move |committed: Result<(), StoreError>| {
                // Nobody receives it when the caller was cancelled: what is committed stays.
                let _ = answer.send(committed.map(|()| value).map_err(E::from));
            })),
            Err(error) => {
                let _ = answer.send(Err(error));
                None
            }
        });
        self.jobs.send(job).await.map_err(|_| StoreError::Closed)?;
        answered.await.map_err(|_| E::from(StoreError::Closed))?
    }

    /// Waits for the jobs under way, and ends the thread. Later jobs are answered [`StoreError::Closed`].
    pub(super) async fn close(&self) {
        let thread = lock(&self.thread).take();
        let (done, gone) = oneshot::channel();
        // The last job: it makes the thread leave its loop.
        let stop: Job = Box::new(move |_| {
            Some(Box::new(move |_| {
                let _ = done.send(());
                STOP.set(true);
            }))
        });
        if self.jobs.send(stop).await.is_ok() {
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

fn in_savepoint<T, E: From<StoreError>>(
    connection: &Connection,
    work: impl FnOnce(&Connection) -> Result<T, E>,
) -> Result<T, E> {
    let sql = |statement: &str| connection.execute_batch(statement).map_err(|e| E::from(e.into()));
    sql("SAVEPOINT verb")?;
    // A verb that panics is a bug of ours: it must not take the writer, and with it all mail, down.
    let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| work(connection)))
        .unwrap_or_else(|_| Err(StoreError::Aborted("a write panicked".into()).into()));
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
                Some(error) => Err(StoreError::Aborted(format!("the commit failed: {error}"))),
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
