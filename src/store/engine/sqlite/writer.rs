//! The writer thread and its connection.
//!
//! Invariant: each job runs in its own savepoint; queued jobs share a transaction and its commit; a job returns `Ok` only when
//! that commit is on disk. It runs even if its caller is cancelled. Owners are served round-robin, the jobs of one owner in
//! order.

use crate::resources::Owner;
use crate::resources::disk::FreeDisk;
use crate::resources::fair::{FairSemaphore, Permit};
use crate::store::{StoreError, lock};
use rusqlite::{Connection, TransactionBehavior};
use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tokio::sync::oneshot;

/// The maximum of jobs in one commit.
const GROUP_SIZE: usize = 256;
/// After this, no further job joins a group: bounds the time until the first job's commit.
const GROUP_TIME: Duration = Duration::from_millis(50);
/// The maximum of queued jobs; of one owner, three quarters of it. Further callers wait.
const BACKLOG: usize = 4096;

/// Runs on the writer thread, in the transaction or with the error of its BEGIN. Returns what to call after the commit; `None` if
/// the job has failed.
type Work = Box<dyn FnOnce(Result<&Connection, StoreError>) -> Option<AfterCommit> + Send>;
/// Called with the result of the commit.
type AfterCommit = Box<dyn FnOnce(Result<(), StoreError>) + Send>;

pub(super) struct Writer {
    queue: Arc<Queue>,
    places: FairSemaphore<Owner>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Writer {
    /// Starts the thread, which owns the connection.
    pub(super) fn start(connection: Connection, disk: FreeDisk) -> std::io::Result<Self> {
        let queue = Arc::new(Queue::default());
        let jobs = Arc::clone(&queue);
        let thread = std::thread::Builder::new()
            .name("store-writer".into())
            .spawn(move || write_loop(connection, &jobs, &disk))?;
        let places = FairSemaphore::new(BACKLOG, BACKLOG / 4 * 3);
        Ok(Self { queue, places, thread: Mutex::new(Some(thread)) })
    }

    /// Runs `work` in a savepoint, then, once the commit is on disk, `committed`, and returns its value. Both run even if the
    /// caller is cancelled after the job is queued.
    pub(super) async fn run<W, T, E, F, C>(&self, owner: &Owner, work: F, committed: C) -> Result<T, E>
    where
        W: Send + 'static,
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
        F: FnOnce(&Connection) -> Result<W, E> + Send + 'static,
        C: FnOnce(W) -> T + Send + 'static,
    {
        let (answer, answered) = oneshot::channel::<Result<T, E>>();
        let work: Work =
            Box::new(move |transaction| match transaction.map_err(E::from).and_then(|c| in_savepoint(c, work)) {
                Ok(written) => Some(Box::new(move |commit: Result<(), StoreError>| {
                    // Sending fails if the caller was cancelled.
                    let _ = answer.send(commit.map(|()| committed(written)).map_err(E::from));
                })),
                Err(error) => {
                    let _ = answer.send(Err(error));
                    None
                }
            });
        let place = self.places.acquire(owner.clone()).await.ok_or(StoreError::Closed)?;
        self.queue.push(owner, Job { work, _place: place })?;
        answered.await.map_err(|_| E::from(StoreError::Closed))?
    }

    /// The number of an owner's queued jobs.
    #[cfg(test)]
    pub(super) fn waiting(&self, owner: &Owner) -> usize {
        lock(&self.queue.state).jobs.get(owner).map_or(0, VecDeque::len)
    }

    /// Waits for queued jobs, then ends the thread. Later jobs fail with [`StoreError::Closed`].
    pub(super) async fn close(&self) {
        self.places.close();
        self.queue.close();
        let thread = lock(&self.thread).take();
        if let Some(thread) = thread {
            // A panic of the thread was logged by the panic hook.
            let _ = tokio::task::spawn_blocking(move || thread.join()).await;
        }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.queue.close();
    }
}

struct Job {
    work: Work,
    _place: Permit<Owner>,
}

#[derive(Default)]
struct Queue {
    state: Mutex<QueuedJobs>,
    changed: Condvar,
}

#[derive(Default)]
struct QueuedJobs {
    /// The owners with queued jobs, each once, the next to be served first.
    owners: VecDeque<Owner>,
    jobs: HashMap<Owner, VecDeque<Job>>,
    is_closed: bool,
}

impl QueuedJobs {
    fn pop(&mut self) -> Option<Job> {
        let owner = self.owners.pop_front()?;
        let jobs = self.jobs.get_mut(&owner)?;
        let job = jobs.pop_front();
        if jobs.is_empty() {
            self.jobs.remove(&owner);
        } else {
            self.owners.push_back(owner);
        }
        job
    }
}

impl Queue {
    fn push(&self, owner: &Owner, job: Job) -> Result<(), StoreError> {
        let mut state = lock(&self.state);
        if state.is_closed {
            return Err(StoreError::Closed);
        }
        match state.jobs.get_mut(owner) {
            Some(jobs) => jobs.push_back(job),
            None => {
                state.jobs.insert(owner.clone(), VecDeque::from([job]));
                state.owners.push_back(owner.clone());
            }
        }
        drop(state);
        self.changed.notify_one();
        Ok(())
    }

    /// Waits for a job; `None` once the queue is closed and empty.
    fn next(&self) -> Option<Job> {
        let mut state = lock(&self.state);
        loop {
            match state.pop() {
                Some(job) => return Some(job),
                None if state.is_closed => return None,
                None => state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner),
            }
        }
    }

    fn try_next(&self) -> Option<Job> {
        lock(&self.state).pop()
    }

    fn close(&self) {
        lock(&self.state).is_closed = true;
        self.changed.notify_one();
    }
}

fn in_savepoint<T, E: From<StoreError>>(
    connection: &Connection,
    work: impl FnOnce(&Connection) -> Result<T, E>,
) -> Result<T, E> {
    let sql = |statement: &str| connection.execute_batch(statement).map_err(|e| E::from(e.into()));
    sql("SAVEPOINT verb")?;
    // A panic in a verb is a bug; it must not end the writer thread, which all writes need.
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

fn write_loop(mut connection: Connection, queue: &Queue, disk: &FreeDisk) {
    update_reusable(&connection, disk);
    while let Some(first) = queue.next() {
        let mut after_commit = Vec::new();
        disk.release_reserve_if_full();
        let committed = match connection.transaction_with_behavior(TransactionBehavior::Immediate) {
            Ok(transaction) => {
                run_group(&transaction, first, queue, &mut after_commit);
                transaction.commit()
            }
            Err(error) => {
                (first.work)(Err(StoreError::Aborted(format!("cannot begin a transaction: {error}"))));
                Err(error)
            }
        };
        let error = committed.err().map(|e| e.to_string());
        if let Some(error) = &error {
            tracing::error!(%error, writes = after_commit.len(), "commit failed, all writes in it were rolled back");
        }
        for notify in after_commit {
            notify(match &error {
                None => Ok(()),
                Some(error) => Err(StoreError::Aborted(format!("the commit failed: {error}"))),
            });
        }
        update_reusable(&connection, disk);
    }
    if let Err((_, error)) = connection.close() {
        tracing::error!(%error, "cannot close the database");
    }
}

/// Tells `disk` how many octets of the database file are unused pages.
fn update_reusable(connection: &Connection, disk: &FreeDisk) {
    // Not the table-valued functions of the pragmas: those are prepared again after each commit.
    let pragma = |sql| connection.prepare_cached(sql)?.query_row([], |row| row.get::<_, i64>(0));
    match pragma("PRAGMA freelist_count").and_then(|pages| Ok(pages.saturating_mul(pragma("PRAGMA page_size")?))) {
        Ok(octets) => disk.set_reusable(octets.unsigned_abs()),
        Err(error) => tracing::error!(%error, "cannot count the unused pages of the database"),
    }
}

/// Runs a job and those queued behind it.
fn run_group(transaction: &Connection, first: Job, queue: &Queue, after_commit: &mut Vec<AfterCommit>) {
    let start = Instant::now();
    after_commit.extend((first.work)(Ok(transaction)));
    let mut taken = 1;
    // When the disk is full, SQLite rolls back the whole transaction, not one savepoint (autocommit is then on). A job that ran
    // after that would be committed by itself.
    while taken < GROUP_SIZE
        && start.elapsed() < GROUP_TIME
        && !transaction.is_autocommit()
        && let Some(job) = queue.try_next()
    {
        after_commit.extend((job.work)(Ok(transaction)));
        taken += 1;
    }
}
