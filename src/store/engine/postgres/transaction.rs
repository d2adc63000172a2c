//! A verb as a transaction: begun, run again where another was in its way, committed once.
//!
//! A write is SERIALIZABLE: it sees and leaves what it would if writes ran one after the other, so what holds with SQLite's one
//! writer holds here. The server may therefore end any write that runs into another (40001, 40P01). The verb is then run
//! again, whole, in a new transaction; so it is when the connection was lost before COMMIT was sent, since the server rolls back
//! what has not been committed.
//!
//! When the connection is lost *after* COMMIT was sent, either may be the case. The write's number on the server
//! (`pg_current_xact_id`), read when it began, tells: on a new connection `pg_xact_status` says whether it was committed (the verb has
//! succeeded and must not run again), aborted (it may), or is still being committed (it is asked again). So a write is done
//! once, and is acknowledged only when it is done. Where the server cannot be reached for [`OUTCOME`], the error says that the
//! outcome is not known; the client tries again, as with every temporary error, and a message may then be there twice, but
//! none that was acknowledged is lost. The answer holds as long as the server that is reached has the history of the one that was
//! lost: a standby that takes over must be a synchronous one, as for every other acknowledged write.

use super::caller::Caller;
use super::events::EventLog;
use super::locks::{Beside, GIVE_ALL_BACK, Locks, OwnerLocks};
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

/// A transaction is run again for so long; a write, once it has run alone.
const AGAIN: Duration = Duration::from_secs(10);
/// The waits of a write for the locks of those that run alone.
const LOCKED: Duration = Duration::from_secs(60);
/// The wait of a write that runs alone for the others to end: writes that begin meanwhile wait behind it. The first, which doubles, and the
/// longest.
const FIRST_WAIT: Duration = Duration::from_secs(2);
const LONGEST_WAIT: Duration = Duration::from_secs(16);
/// For the outcome of a commit to be found.
const OUTCOME: Duration = Duration::from_secs(30);
/// The longest pause before a transaction is run again.
const PAUSE: Duration = Duration::from_millis(200);

const BEGIN_READ: &str = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY";

/// The value of a verb, and its events.
type Value<T> = (T, Vec<(AccountId, Event)>);

/// Why a transaction is run again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Why {
    /// It has run into others, after so long.
    Conflict(Duration),
    /// Others had its locks for too long.
    Locked,
    /// The connection was lost, or a statement took too long.
    CutOff,
}

/// What came of one run.
enum Run<T, E> {
    Done(T),
    Failed(E),
    /// Nothing of it was kept.
    Again(Why, StoreError),
}

impl<T, E: From<StoreError>> Run<T, E> {
    /// Of a request that the server did not take: the transaction is not committed. `conflict` says what it means that others were in
    /// its way.
    fn refused(place: &mut Place, error: postgres::Error, conflict: Why) -> Self {
        match Failure::of(&error) {
            Failure::Conflict => {
                // The connection is as good as before.
                place.roll_back();
                Self::Again(conflict, error.into())
            }
            Failure::Lost => {
                place.discard();
                Self::Again(Why::CutOff, error.into())
            }
            Failure::Cancelled | Failure::Other => {
                place.discard();
                Self::Failed(StoreError::from(error).into())
            }
        }
    }
}

/// Runs a write until it is committed, and publishes its events, or until it fails. Blocks. `None`: it has to run beside fewer others, and
/// is to be run again once it is first in [`Tries::line`] of this process, so that those that wait for that have no connection.
pub(super) fn write<T, E: From<StoreError>>(
    place: &mut Place,
    log: &EventLog,
    owner: OwnerLocks,
    turns: &[i64],
    tries: &mut Tries,
    work: impl Fn(&Transaction<'_>) -> Result<T, E>,
) -> Option<Result<T, E>> {
    let locks = Locks { owner, turns, beside: tries.beside() };
    let mut is_in_line = false;
    let done = loop {
        if tries.beside() != locks.beside {
            break None;
        }
        let waited = if is_in_line { Ok(()) } else { tries.wait_in_line(place, locks) };
        is_in_line = true;
        let run = match waited {
            Ok(()) => write_once(place, log, locks, tries.wait, &work),
            Err(error) => Run::refused(place, error, Why::Locked),
        };
        match run {
            Run::Done(done) => break Some(Ok(done)),
            Run::Failed(error) => break Some(Err(error)),
            Run::Again(why, error) => {
                // The place in line goes with the connection.
                is_in_line &= why != Why::CutOff;
                if let Err(error) = tries.again(why, error) {
                    break Some(Err(error.into()));
                }
            }
        }
    };
    if locks.beside != Beside::All {
        place.command_if_connected(GIVE_ALL_BACK);
    }
    done
}

/// Runs a write with its locks, and gives them back. After one that ran alone, or waited to, others have as much time as it took.
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
            let run = Run::refused(place, error, Why::Locked);
            place.command_if_connected(&locks.give_back(false));
            run
        }
        Ok(number) => {
            let run = run_and_commit(place, log, number, locks, work);
            if !matches!(run, Run::Done(_)) {
                place.command_if_connected(&locks.give_back(true));
            }
            run
        }
    };
    // Where the connection is lost, so are the locks.
    if locks.beside == Beside::None && place.is_connected() {
        std::thread::sleep(start.elapsed().min(LONGEST_WAIT));
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
        Run::Again(why, error) => return Run::Again(why, error),
    };
    let committing = log.committing(in_log, events);
    let Err(error) = place.command(&format!("COMMIT; {}", locks.give_back(true))) else {
        committing.committed();
        return Run::Done(value);
    };
    // The server refuses a commit with an error of its own; giving the locks back does not fail.
    if Failure::of(&error) != Failure::Lost {
        return Run::refused(place, error, Why::Conflict(start.elapsed()));
    }
    tracing::warn!(error = in_words(&error), "the connection to the database was lost during a commit");
    place.discard();
    match was_committed(place, number) {
        Ok(true) => {
            committing.committed();
            Run::Done(value)
        }
        Ok(false) => Run::Again(Why::CutOff, error.into()),
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
            Err(error) => Run::refused(place, error, Why::Conflict(Duration::ZERO)),
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
            Run::Again(_, error) => pauses.next(AGAIN, error)?,
        }
    }
}

/// Runs the verb in the transaction that has begun. Where it fails, the transaction is rolled back.
fn run_verb<T, E: From<StoreError>>(
    place: &mut Place,
    in_log: LogPlace,
    work: impl Fn(&Transaction<'_>) -> Result<T, E>,
) -> Run<Value<T>, E> {
    let start = Instant::now();
    let session = match place.session() {
        Ok(session) => session,
        Err(error) => return Run::refused(place, error, Why::CutOff),
    };
    let transaction = Transaction::new(Connection::Postgres(session), in_log);
    // A verb that panics is a bug of ours: its transaction is rolled back.
    let done = catch_unwind(AssertUnwindSafe(|| work(&transaction)))
        .unwrap_or_else(|_| Err(StoreError::Aborted("a transaction panicked".into()).into()));
    let events = transaction.into_events();
    let again = |why, error: &str| Run::Again(why, StoreError::Aborted(error.into()));
    let run = match (session.failure(), done) {
        (None, Ok(value)) => return Run::Done((value, events)),
        (Some(Failure::Conflict), _) => again(Why::Conflict(start.elapsed()), "the transaction ran into others"),
        (Some(Failure::Lost), _) => again(Why::CutOff, "the connection to the database was lost"),
        (Some(Failure::Cancelled), _) => again(Why::CutOff, "a statement took too long"),
        (None | Some(Failure::Other), Err(error)) => Run::Failed(error),
        // Whatever the verb made of the failure: the transaction cannot be committed.
        (Some(Failure::Other), Ok(_)) => Run::Failed(StoreError::Aborted("a statement failed".into()).into()),
    };
    place.roll_back();
    run
}

/// Whether the transaction of this number was committed. Blocks.
fn was_committed(place: &mut Place, number: i64) -> Result<bool, StoreError> {
    let unknown = |why: &str| {
        Err(StoreError::Aborted(format!(
            "the connection was lost during a commit, and whether it was done is not known: {why}"
        )))
    };
    let sql = format!("SELECT pg_xact_status('{number}'::xid8)");
    let mut pauses = Pauses { start: Instant::now(), pause: Duration::from_millis(10) };
    loop {
        let status = place.command(&sql);
        match status.as_ref().map(Option::as_deref) {
            Ok(Some("committed")) => return Ok(true),
            Ok(Some("aborted")) => return Ok(false),
            // It is being committed: the server has not yet noticed that the connection is lost.
            Ok(Some("in progress")) => {}
            Ok(_) => return unknown("the server no longer knows"),
            // A number that the server has not given out yet: it has a history without this transaction.
            Err(error) if error.code() == Some(&SqlState::INVALID_PARAMETER_VALUE) => return Ok(false),
            Err(_) => place.discard(),
        }
        if pauses.next(OUTCOME, StoreError::Closed).is_err() {
            return unknown("the database cannot be reached");
        }
    }
}

/// What a write has tried.
#[derive(Debug)]
pub(super) struct Tries {
    pauses: Pauses,
    /// Runs that ran into others, and the time in them.
    runs: u32,
    ran: Duration,
    /// For the others to end.
    wait: Duration,
}

impl Tries {
    pub fn new() -> Self {
        Self { pauses: Pauses::new(), runs: 0, ran: Duration::ZERO, wait: FIRST_WAIT }
    }

    fn beside(&self) -> Beside {
        Beside::after(self.runs, self.ran)
    }

    /// The line of its next run, where it has one.
    pub fn line(&self, owner: OwnerLocks) -> Option<i64> {
        owner.line(self.beside())
    }

    fn wait_in_line(&self, place: &mut Place, locks: Locks<'_>) -> Result<(), postgres::Error> {
        let longest = LOCKED.saturating_sub(self.pauses.start.elapsed());
        locks.wait_in_line(longest).map_or(Ok(()), |sql| place.command(&sql).map(|_| ()))
    }

    /// Waits before the next run. Fails with the error where there is none: because of others only after it has run alone, or has waited
    /// for that.
    fn again(&mut self, why: Why, error: StoreError) -> Result<(), StoreError> {
        match why {
            Why::Conflict(ran) => {
                let limit = if self.beside() == Beside::None { AGAIN } else { Duration::MAX };
                (self.runs, self.ran) = (self.runs + 1, self.ran + ran);
                self.pauses.next(limit, error)
            }
            Why::Locked => {
                self.wait = LONGEST_WAIT.min(self.wait * 2);
                let waited = format!("a write has waited {} s for other writes to end", LOCKED.as_secs());
                self.pauses.next(LOCKED, StoreError::Aborted(waited))
            }
            Why::CutOff => self.pauses.next(AGAIN, error),
        }
    }
}

/// The pauses between runs of a transaction: the first a millisecond, each further one twice as long.
#[derive(Debug)]
struct Pauses {
    start: Instant,
    pause: Duration,
}

impl Pauses {
    fn new() -> Self {
        Self { start: Instant::now(), pause: Duration::from_millis(1) }
    }

    /// Waits; fails with the error once it has been tried for so long.
    fn next(&mut self, limit: Duration, error: StoreError) -> Result<(), StoreError> {
        if self.start.elapsed() >= limit {
            return Err(error);
        }
        tracing::debug!(%error, "a transaction is run again");
        std::thread::sleep(jittered(self.pause));
        self.pause = PAUSE.min(self.pause * 2);
        Ok(())
    }
}

/// Between half of a pause and all of it, so that transactions that ran into one another do not meet again.
fn jittered(pause: Duration) -> Duration {
    let mut random = [0; 4];
    // Without randomness, all of it.
    let share = SystemRandom::new().fill(&mut random).map_or(u32::MAX, |()| u32::from_le_bytes(random));
    pause / 2 + (pause / 2).mul_f64(f64::from(share) / f64::from(u32::MAX))
}
