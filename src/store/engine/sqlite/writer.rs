//! The connection that writes, and its thread.
//!
//! Invariant: each job runs in a savepoint; jobs that wait share a transaction and its commit; a job is answered `Ok` when
//! that commit is on disk, whether its caller still waits or not. Owners take turns, job by job; the jobs of one owner run
//! in the order they came.

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

/// Jobs that share one commit at most.
const GROUP: usize = 256;
/// No further job joins a group that has run for so long: bounds how long the first of it waits for the others.
const GROUP_TIME: Duration = Duration::from_millis(50);
/// Jobs that wait for the writer at most, of one owner at most three quarters of them; more wait for a place.
const BACKLOG: usize = 4096;

/// What runs on the writer's thread, in a transaction where one could begin; then what waits for its commit, if anything.
type Work = Box<dyn FnOnce(Result<&Connection, StoreError>) -> Option<Finish> + Send>;
type Finish = Box<dyn FnOnce(Result<(), StoreError>) + Send>;

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

    /// Runs `work` in a savepoint, then `committed` once the commit is on disk, and answers with its value. Both run
    /// also when the caller is cancelled meanwhile.
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
                    // Not received if the caller was cancelled: the commit stays.
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

    /// How many jobs of an owner wait.
    #[cfg(test)]
    pub(super) fn waiting(&self, owner: &Owner) -> usize {
        lock(&self.queue.state).jobs.get(owner).map_or(0, VecDeque::len)
    }

    /// Waits for the jobs that came before, and ends the thread. Later ones are answered [`StoreError::Closed`].
    pub(super) async fn close(&self) {
        self.places.close();
        self.queue.close();
        let thread = lock(&self.thread).take();
        if let Some(thread) = thread {
            // A thread that panicked has said so in the log.
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

/// The jobs that wait, by owner.
#[derive(Default)]
struct Queue {
    state: Mutex<Waiting>,
    changed: Condvar,
}

#[derive(Default)]
struct Waiting {
    /// The owners that have a job here, each once: the next to be served first.
    turns: VecDeque<Owner>,
    jobs: HashMap<Owner, VecDeque<Job>>,
    is_closed: bool,
}

impl Waiting {
    fn pop(&mut self) -> Option<Job> {
        let owner = self.turns.pop_front()?;
        let jobs = self.jobs.get_mut(&owner)?;
        let job = jobs.pop_front();
        if jobs.is_empty() {
            self.jobs.remove(&owner);
        } else {
            self.turns.push_back(owner);
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
                state.turns.push_back(owner.clone());
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

fn write_loop(mut connection: Connection, queue: &Queue, disk: &FreeDisk) {
    note_reusable(&connection, disk);
    while let Some(first) = queue.next() {
        let mut finishes = Vec::new();
        disk.release_reserve_if_full();
        let committed = match connection.transaction_with_behavior(TransactionBehavior::Immediate) {
            Ok(transaction) => {
                run_group(&transaction, first, queue, &mut finishes);
                transaction.commit()
            }
            Err(error) => {
                (first.work)(Err(StoreError::Aborted(format!("no transaction could begin: {error}"))));
                Err(error)
            }
        };
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
        note_reusable(&connection, disk);
    }
    if let Err((_, error)) = connection.close() {
        tracing::error!(%error, "the database did not close cleanly");
    }
}

/// Says how much of the database holds nothing.
fn note_reusable(connection: &Connection, disk: &FreeDisk) {
    // As tables, pragmas would be prepared again with each commit.
    let pragma = |sql| connection.prepare_cached(sql)?.query_row([], |row| row.get::<_, i64>(0));
    match pragma("PRAGMA freelist_count").and_then(|pages| Ok(pages.saturating_mul(pragma("PRAGMA page_size")?))) {
        Ok(octets) => disk.set_reusable(octets.unsigned_abs()),
        Err(error) => tracing::error!(%error, "the free pages of the database could not be counted"),
    }
}

/// Runs a job, and those that wait behind it.
fn run_group(transaction: &Connection, first: Job, queue: &Queue, finishes: &mut Vec<Finish>) {
    let start = Instant::now();
    finishes.extend((first.work)(Ok(transaction)));
    let mut taken = 1;
    // A full disk takes the whole transaction back, not one savepoint: later changes would be kept alone and be acknowledged
    // that it was not.
    while taken < GROUP
        && start.elapsed() < GROUP_TIME
        && !transaction.is_autocommit()
        && let Some(job) = queue.try_next()
    {
        finishes.extend((job.work)(Ok(transaction)));
        taken += 1;
    }
}
