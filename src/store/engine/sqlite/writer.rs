//! The writer thread and its connection.
//!
//! Invariant: queued jobs share a transaction and its commit (a group); a job returns `Ok` only when that commit is on disk, and one
//! that fails changes nothing. It runs even if its caller is cancelled. Owners are served round-robin, the jobs of one owner in order.
//!
//! SQLite copies each page that is changed after a savepoint to a journal, for a submission twice what it writes to the write-ahead log. So a
//! group first runs without savepoints. If one of several jobs fails, the transaction is rolled back, and they run again, each in a savepoint, as do those of
//! the next groups: a client whose writes fail does not make every group run twice.

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

/// The groups after a failure whose jobs run in savepoints.
const SAVEPOINT_GROUPS: u32 = 100;

/// A verb and its caller.
trait Work: Send {
    /// Runs the verb on the writer thread, in the transaction. May be called again after the transaction was rolled back. False if the
    /// verb failed.
    fn run(&mut self, transaction: &Connection, in_savepoint: bool) -> bool;

    /// Answers the caller: with the verb's error if it failed, otherwise with its value or the error of the commit.
    fn end(self: Box<Self>, commit: Result<(), StoreError>);
}

struct Verb<W, T, E, F, C> {
    work: F,
    committed: C,
    done: Option<Result<W, E>>,
    answer: oneshot::Sender<Result<T, E>>,
}

impl<W, T, E, F, C> Work for Verb<W, T, E, F, C>
where
    W: Send,
    T: Send,
    E: From<StoreError> + Send,
    F: Fn(&Connection) -> Result<W, E> + Send,
    C: FnOnce(W) -> T + Send,
{
    fn run(&mut self, transaction: &Connection, in_savepoint: bool) -> bool {
        // A panic in a verb is a bug; it must not end the writer thread, which all writes need.
        let work = || {
            std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| (self.work)(transaction)))
                .unwrap_or_else(|_| Err(StoreError::Aborted("a write panicked".into()).into()))
        };
        let done = if in_savepoint { savepoint(transaction, work) } else { work() };
        let has_succeeded = done.is_ok();
        self.done = Some(done);
        has_succeeded
    }

    fn end(self: Box<Self>, commit: Result<(), StoreError>) {
        let Self { committed, done, answer, .. } = *self;
        // Sending fails if the caller was cancelled.
        let _ = answer.send(match (done, commit) {
            (Some(Err(error)), _) => Err(error),
            (_, Err(error)) => Err(error.into()),
            (Some(Ok(written)), Ok(())) => Ok(committed(written)),
            (None, Ok(())) => Err(StoreError::Aborted("a write was not run".into()).into()),
        });
    }
}

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

    /// Runs `work`, then, once the commit is on disk, `committed`, and returns its value. Both run even if the caller is cancelled after
    /// the job is queued. `work` may run twice.
    pub(super) async fn run<W, T, E, F, C>(&self, owner: &Owner, work: F, committed: C) -> Result<T, E>
    where
        W: Send + 'static,
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
        F: Fn(&Connection) -> Result<W, E> + Send + 'static,
        C: FnOnce(W) -> T + Send + 'static,
    {
        let (answer, answered) = oneshot::channel::<Result<T, E>>();
        let work = Box::new(Verb { work, committed, done: None, answer });
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
    work: Box<dyn Work>,
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

/// Runs `work` in a savepoint, which is rolled back if it fails.
fn savepoint<T, E: From<StoreError>>(connection: &Connection, work: impl FnOnce() -> Result<T, E>) -> Result<T, E> {
    let sql = |statement: &str| connection.execute_batch(statement).map_err(|e| E::from(e.into()));
    sql("SAVEPOINT verb")?;
    match work() {
        Ok(value) => sql("RELEASE verb").map(|()| value),
        Err(error) => {
            sql("ROLLBACK TO verb; RELEASE verb")?;
            Err(error)
        }
    }
}

fn write_loop(mut connection: Connection, queue: &Queue, disk: &FreeDisk) {
    update_reusable(&connection, disk);
    // Jobs to be run again, and the number of the next groups that use savepoints.
    let (mut again, mut savepoint_groups) = (VecDeque::new(), 0_u32);
    while let Some(first) = again.pop_front().or_else(|| queue.next()) {
        disk.release_reserve_if_full();
        let mut next = || again.pop_front().or_else(|| queue.try_next());
        let (mut group, in_savepoints) = (Vec::new(), savepoint_groups > 0);
        let committed = match connection.transaction_with_behavior(TransactionBehavior::Immediate) {
            Ok(transaction) => match run_group(&transaction, first, &mut next, in_savepoints, &mut group) {
                // The only job has failed: dropping the transaction rolls it back.
                false if group.len() == 1 => Ok(()),
                false => {
                    drop(transaction);
                    savepoint_groups = SAVEPOINT_GROUPS;
                    group.extend(again);
                    again = group.into();
                    continue;
                }
                true => transaction.commit().map_err(|error| format!("the commit failed: {error}")),
            },
            Err(error) => {
                group.push(first);
                Err(format!("cannot begin a transaction: {error}"))
            }
        };
        savepoint_groups = savepoint_groups.saturating_sub(1);
        if let Err(error) = &committed {
            tracing::error!(%error, writes = group.len(), "no write of a group was committed");
        }
        for job in group {
            job.work.end(committed.clone().map_err(StoreError::Aborted));
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

/// Runs a job and the next ones, and adds them to `group`. Without savepoints, it ends with the first job that fails; then it is false,
/// and the transaction must be rolled back.
fn run_group(
    transaction: &Connection,
    first: Job,
    mut next: impl FnMut() -> Option<Job>,
    in_savepoints: bool,
    group: &mut Vec<Job>,
) -> bool {
    let start = Instant::now();
    let mut job = first;
    loop {
        let has_succeeded = job.work.run(transaction, in_savepoints);
        group.push(job);
        if !has_succeeded && !in_savepoints {
            return false;
        }
        // When the disk is full, SQLite rolls back the whole transaction, not one savepoint (autocommit is then on). A job that ran
        // after that would be committed by itself.
        if group.len() >= GROUP_SIZE || start.elapsed() >= GROUP_TIME || transaction.is_autocommit() {
            return true;
        }
        match next() {
            Some(following) => job = following,
            None => return true,
        }
    }
}
