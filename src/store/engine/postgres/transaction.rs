//! A verb as a transaction: begun, retried after conflicts, committed once.
//!
//! A write is SERIALIZABLE, or REPEATABLE READ while it excludes all other writes (`locks.rs`): its result is that of some serial
//! order of all writes, so what holds with SQLite's single writer holds here. The server may therefore abort any write that conflicts with another (40001, 40P01). The whole verb is then
//! retried in a new transaction, and also if the connection is lost before COMMIT is sent, since the server rolls back
//! what is not committed.
//!
//! If the connection is lost *after* COMMIT is sent, the outcome is unknown. `pg_xact_status` with the transaction ID
//! (`pg_current_xact_id`), read at the start, returns it on a new connection: committed (the verb must not run again), aborted (it is
//! retried), or in progress (the status is polled). So a write is done once, and is acknowledged only when it is done. If the server
//! is unreachable for [`OUTCOME_TIMEOUT`], the error says that the outcome is unknown; the client retries, as after every temporary
//! error, and a message may then be stored twice, but none that was acknowledged is lost. This requires that a standby that takes
//! over is a synchronous one, as every other acknowledged write does.

use super::caller::Caller;
use super::events::EventLog;
use super::locks::{Exclusivity, Locks, OwnerLocks, RELEASE_ALL};
use super::pool::Place;
use super::session::{Failure, in_words};
use crate::events::Event;
use crate::id::AccountId;
use crate::store::StoreError;
use crate::store::engine::{Connection, LogPlace, Transaction};
use postgres::error::SqlState;
use ring::rand::{SecureRandom, SystemRandom};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

/// For how long a transaction is retried; a write at least until it has run exclusively.
const RETRY_TIME: Duration = Duration::from_secs(10);
/// For how long a write waits for the locks of exclusive ones.
const LOCK_TIMEOUT: Duration = Duration::from_secs(60);
/// Timeout of an exclusive write for others to end, since writes that begin meanwhile wait behind it. It doubles up to the maximum.
const MIN_WAIT: Duration = Duration::from_secs(2);
const MAX_WAIT: Duration = Duration::from_secs(16);
/// Time limit for the outcome of a commit.
const OUTCOME_TIMEOUT: Duration = Duration::from_secs(30);
/// Maximum pause before a retry.
const MAX_PAUSE: Duration = Duration::from_millis(200);

const BEGIN_READ: &str = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY";

/// The value of a verb, and its events.
type Value<T> = (T, Vec<(AccountId, Event)>);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cause {
    /// It was aborted after this long, because it conflicts with others.
    Conflict(Duration),
    /// The timeout for a lock.
    Locked,
    /// The connection was lost, or a statement took too long.
    Interrupted,
}

enum Run<T, E> {
    Done(T),
    Failed(E),
    /// It was rolled back.
    Retry(Cause, StoreError),
}

impl<T, E: From<StoreError>> Run<T, E> {
    /// After a request that failed: the transaction is not committed. `conflict` is the cause if the error is a conflict.
    fn refused(place: &mut Place, error: postgres::Error, conflict: Cause) -> Self {
        match Failure::of(&error) {
            Failure::Conflict => {
                // The connection is as good as before.
                place.roll_back();
                Self::Retry(conflict, error.into())
            }
            Failure::Lost => {
                place.discard();
                Self::Retry(Cause::Interrupted, error.into())
            }
            Failure::Cancelled | Failure::Other => {
                place.discard();
                Self::Failed(StoreError::from(error).into())
            }
        }
    }
}

/// Runs a write until it is committed, and publishes its events, or until it fails. Blocks. `None` if it has to become more exclusive: the
/// caller waits for [`Tries::queue`] within the process, so that waiters hold no connection, and calls this again.
pub(super) fn write<T, E: From<StoreError>>(
    place: &mut Place,
    log: &EventLog,
    owner: OwnerLocks,
    hot_rows: &[i64],
    tries: &mut Tries,
    work: impl Fn(&Transaction<'_>) -> Result<T, E>,
) -> Option<Result<T, E>> {
    let locks = Locks { owner, hot_rows, exclusivity: tries.exclusivity() };
    let mut is_queued = false;
    let done = loop {
        if tries.exclusivity() != locks.exclusivity {
            break None;
        }
        let waited = if is_queued { Ok(()) } else { tries.wait_in_queue(place, locks) };
        is_queued = true;
        let run = match waited {
            Ok(()) => write_once(place, log, locks, tries.wait, &work),
            Err(error) => Run::refused(place, error, Cause::Locked),
        };
        match run {
            Run::Done(done) => break Some(Ok(done)),
            Run::Failed(error) => break Some(Err(error)),
            Run::Retry(why, error) => {
                // The lock is lost with the connection.
                is_queued &= why != Cause::Interrupted;
                if let Err(error) = tries.again(why, error) {
                    break Some(Err(error.into()));
                }
            }
        }
    };
    if locks.exclusivity != Exclusivity::Shared {
        place.command_if_connected(RELEASE_ALL);
    }
    done
}

/// Runs a write with its locks, and releases them. After an exclusive run, or the wait for one, other writes have as much time as it took.
fn write_once<T, E: From<StoreError>>(
    place: &mut Place,
    log: &EventLog,
    locks: Locks<'_>,
    wait: Duration,
    work: impl Fn(&Transaction<'_>) -> Result<T, E>,
) -> Run<T, E> {
    let start = Instant::now();
    let run = match place.command(&locks.begin(wait)) {
        Err(error) => {
            let run = Run::refused(place, error, Cause::Locked);
            place.command_if_connected(&locks.release(false));
            run
        }
        Ok(number) => {
            let run = run_and_commit(place, log, number, locks, work);
            if !matches!(run, Run::Done(_)) {
                place.command_if_connected(&locks.release(true));
            }
            run
        }
    };
    // If the connection is lost, so are the locks.
    if locks.exclusivity == Exclusivity::Global && place.is_connected() {
        std::thread::sleep(start.elapsed().min(MAX_WAIT));
    }
    run
}

/// Runs a write that has begun, and commits it.
fn run_and_commit<T, E: From<StoreError>>(
    place: &mut Place,
    log: &EventLog,
    number: Option<String>,
    locks: Locks<'_>,
    work: impl Fn(&Transaction<'_>) -> Result<T, E>,
) -> Run<T, E> {
    let start = Instant::now();
    let number = number.unwrap_or_default();
    let Ok(number) = number.parse::<i64>() else {
        place.discard();
        return Run::Failed(StoreError::Corrupt(format!("{number:?} as the number of a transaction")).into());
    };
    let in_log = log.place(number);
    let (value, events) = match run_verb(place, in_log, work) {
        Run::Done(done) => done,
        Run::Failed(error) => return Run::Failed(error),
        Run::Retry(why, error) => return Run::Retry(why, error),
    };
    let committing = log.committing(in_log, events);
    let Err(error) = place.command(&format!("COMMIT; {}", locks.release(true))) else {
        committing.committed();
        return Run::Done(value);
    };
    // The error is that of COMMIT: releasing locks does not fail.
    if Failure::of(&error) != Failure::Lost {
        return Run::refused(place, error, Cause::Conflict(start.elapsed()));
    }
    tracing::warn!(error = in_words(&error), "the connection to the database was lost during a commit");
    place.discard();
    match was_committed(place, number) {
        Ok(true) => {
            committing.committed();
            Run::Done(value)
        }
        Ok(false) => Run::Retry(Cause::Interrupted, error.into()),
        Err(error) => {
            committing.uncertain();
            Run::Failed(error.into())
        }
    }
}

/// Runs a read as long as `caller` waits for it. Blocks.
pub(super) fn read<T, E: From<StoreError>>(
    place: &mut Place,
    in_log: LogPlace,
    work: impl Fn(&Transaction<'_>) -> Result<T, E>,
    caller: &Caller,
) -> Result<T, E> {
    let mut pauses = Pauses::new();
    loop {
        let begun = place.session().map(|session| caller.reads_on(session)).and_then(|()| place.command(BEGIN_READ));
        let done = match begun {
            Ok(_) if caller.is_gone() => Run::Failed(StoreError::Aborted("the read was cancelled".into()).into()),
            Ok(_) => run_verb(place, in_log, &work),
            Err(error) => Run::refused(place, error, Cause::Conflict(Duration::ZERO)),
        };
        caller.has_read();
        match done {
            Run::Done((value, _)) => {
                place.roll_back();
                return Ok(value);
            }
            Run::Failed(error) => {
                place.roll_back();
                return Err(error);
            }
            Run::Retry(_, error) => pauses.next(RETRY_TIME, error)?,
        }
    }
}

/// Runs the verb in a transaction that has begun. If it fails, the transaction is rolled back.
fn run_verb<T, E: From<StoreError>>(
    place: &mut Place,
    in_log: LogPlace,
    work: impl Fn(&Transaction<'_>) -> Result<T, E>,
) -> Run<Value<T>, E> {
    let start = Instant::now();
    let session = match place.session() {
        Ok(session) => session,
        Err(error) => return Run::refused(place, error, Cause::Interrupted),
    };
    let transaction = Transaction::new(Connection::Postgres(session), in_log);
    // A verb that panics is a bug of ours: its transaction is rolled back.
    let done = catch_unwind(AssertUnwindSafe(|| work(&transaction)))
        .unwrap_or_else(|_| Err(StoreError::Aborted("a transaction panicked".into()).into()));
    let events = transaction.into_events();
    let again = |why, error: &str| Run::Retry(why, StoreError::Aborted(error.into()));
    let run = match (session.failure(), done) {
        (None, Ok(value)) => return Run::Done((value, events)),
        (Some(Failure::Conflict), _) => {
            again(Cause::Conflict(start.elapsed()), "the transaction conflicts with others")
        }
        (Some(Failure::Lost), _) => again(Cause::Interrupted, "the connection to the database was lost"),
        (Some(Failure::Cancelled), _) => again(Cause::Interrupted, "a statement took too long"),
        (None | Some(Failure::Other), Err(error)) => Run::Failed(error),
        // The transaction cannot be committed, even if the verb handled the failure.
        (Some(Failure::Other), Ok(_)) => Run::Failed(StoreError::Aborted("a statement failed".into()).into()),
    };
    place.roll_back();
    run
}

/// Whether the transaction of this number was committed. Blocks.
fn was_committed(place: &mut Place, number: i64) -> Result<bool, StoreError> {
    let unknown = |why: &str| {
        Err(StoreError::Aborted(format!("the connection was lost during a commit, and its outcome is unknown: {why}")))
    };
    let sql = format!("SELECT pg_xact_status('{number}'::xid8)");
    let mut pauses = Pauses { start: Instant::now(), pause: Duration::from_millis(10) };
    loop {
        let status = place.command(&sql);
        match status.as_ref().map(Option::as_deref) {
            Ok(Some("committed")) => return Ok(true),
            Ok(Some("aborted")) => return Ok(false),
            // The server has not yet noticed that the connection is lost.
            Ok(Some("in progress")) => {}
            Ok(_) => return unknown("the server no longer has its status"),
            // An ID that the server has not assigned yet: its history does not include this transaction.
            Err(error) if error.code() == Some(&SqlState::INVALID_PARAMETER_VALUE) => return Ok(false),
            Err(_) => place.discard(),
        }
        if pauses.next(OUTCOME_TIMEOUT, StoreError::Closed).is_err() {
            return unknown("the database cannot be reached");
        }
    }
}

/// The failed runs of a write.
#[derive(Debug)]
pub(super) struct Tries {
    pauses: Pauses,
    retries: u64,
    /// Runs that conflicted, and their time.
    runs: u32,
    ran: Duration,
    /// Timeout of the next exclusive run for other writes to end.
    wait: Duration,
}

impl Tries {
    pub fn new() -> Self {
        Self { pauses: Pauses::new(), retries: 0, runs: 0, ran: Duration::ZERO, wait: MIN_WAIT }
    }

    pub fn retries(&self) -> u64 {
        self.retries
    }

    fn exclusivity(&self) -> Exclusivity {
        Exclusivity::after(self.runs, self.ran)
    }

    /// The queue of its next run.
    pub fn queue(&self, owner: OwnerLocks) -> Option<i64> {
        owner.queue(self.exclusivity())
    }

    fn wait_in_queue(&self, place: &mut Place, locks: Locks<'_>) -> Result<(), postgres::Error> {
        let longest = LOCK_TIMEOUT.saturating_sub(self.pauses.start.elapsed());
        locks.wait_in_queue(longest).map_or(Ok(()), |sql| place.command(&sql).map(|_| ()))
    }

    /// Waits before the next run. Fails with the error if there is none; after conflicts only if it has run exclusively, or waited for that.
    fn again(&mut self, why: Cause, error: StoreError) -> Result<(), StoreError> {
        self.retries += 1;
        match why {
            Cause::Conflict(ran) => {
                let limit = if self.exclusivity() == Exclusivity::Global { RETRY_TIME } else { Duration::MAX };
                (self.runs, self.ran) = (self.runs + 1, self.ran + ran);
                self.pauses.next(limit, error)
            }
            Cause::Locked => {
                self.wait = MAX_WAIT.min(self.wait * 2);
                let waited = format!("a write waited {} s for other writes to end", LOCK_TIMEOUT.as_secs());
                self.pauses.next(LOCK_TIMEOUT, StoreError::Aborted(waited))
            }
            Cause::Interrupted => self.pauses.next(RETRY_TIME, error),
        }
    }
}

/// Exponential backoff, from one millisecond.
#[derive(Debug)]
struct Pauses {
    start: Instant,
    pause: Duration,
}

impl Pauses {
    fn new() -> Self {
        Self { start: Instant::now(), pause: Duration::from_millis(1) }
    }

    /// Waits. Fails with the error after `limit`.
    fn next(&mut self, limit: Duration, error: StoreError) -> Result<(), StoreError> {
        if self.start.elapsed() >= limit {
            return Err(error);
        }
        tracing::debug!(%error, "retrying a transaction");
        std::thread::sleep(jittered(self.pause));
        self.pause = MAX_PAUSE.min(self.pause * 2);
        Ok(())
    }
}

/// Between half of a pause and all of it, so that conflicting transactions do not retry in step.
fn jittered(pause: Duration) -> Duration {
    let mut random = [0; 4];
    // All of it if the random number generator fails.
    let share = SystemRandom::new().fill(&mut random).map_or(u32::MAX, |()| u32::from_le_bytes(random));
    pause / 2 + (pause / 2).mul_f64(f64::from(share) / f64::from(u32::MAX))
}
