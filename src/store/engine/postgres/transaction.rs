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
use super::pool::Place;
use super::session::{Failure, in_words};
use crate::events::Event;
use crate::id::AccountId;
use crate::resources::Owner;
use crate::store::StoreError;
use crate::store::engine::{Connection, LogPlace, Transaction};
use crate::store::turns::lock_number;
use postgres::error::SqlState;
use ring::rand::{SecureRandom, SystemRandom};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

/// A transaction is run again for so long.
const AGAIN: Duration = Duration::from_secs(10);
/// For the outcome of a commit to be found.
const OUTCOME: Duration = Duration::from_secs(30);
/// The longest pause before a transaction is run again.
const PAUSE: Duration = Duration::from_millis(200);

/// Runs of a write beside all others, and then beside those of other owners. After those it runs alone: a write that reads much
/// may run into others each time. Writes of one owner that run into one another hold up no other owner's.
const RUNS_BESIDE_ALL: u32 = 5;
const RUNS_BESIDE_OTHER_OWNERS: u32 = 5;
/// Of the lock that all writes share and one that runs alone has for itself: `writes` as octets.
const ALL_WRITES: i64 = i64::from_be_bytes(*b"\0\0writes");
/// The wait to run alone. Writes that begin meanwhile wait behind it.
const WAIT_TO_BE_ALONE: Duration = Duration::from_secs(2);

/// Which writes run beside one, on any daemon.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Beside {
    All,
    OtherOwners,
    None,
}

impl Beside {
    fn in_run(number: u32) -> Self {
        match number {
            ..RUNS_BESIDE_ALL => Self::All,
            number if number < RUNS_BESIDE_ALL + RUNS_BESIDE_OTHER_OWNERS => Self::OtherOwners,
            _ => Self::None,
        }
    }
}

/// The locks of a run of a write.
#[derive(Clone, Copy)]
struct Locks<'a> {
    /// Shared by the writes of its owner.
    owner: i64,
    turns: &'a [i64],
    beside: Beside,
}

/// The number of the lock that an owner's writes share.
pub(super) fn lock_of(owner: &Owner) -> i64 {
    lock_number(format!("owner {owner:?}").as_bytes())
}

impl Locks<'_> {
    /// Takes the locks, begins a write, and answers with its number.
    ///
    /// The snapshot of the transaction is then of what those before it have committed. A lock taken within it would wait with a snapshot from
    /// before, and the write would fail all the same. All of it is one request.
    fn begin(self) -> String {
        let (owner, wait) = (self.owner, WAIT_TO_BE_ALONE.as_millis());
        // Alone, or beside other owners: the others' locks are waited for.
        let all = match self.beside {
            Beside::All => {
                format!("SELECT pg_advisory_lock_shared({ALL_WRITES}), pg_advisory_lock_shared({owner}); ")
            }
            Beside::OtherOwners => format!(
                "SET LOCAL lock_timeout = {wait}; SELECT pg_advisory_lock_shared({ALL_WRITES}), pg_advisory_lock({owner}); \
                 SET LOCAL lock_timeout = 0; "
            ),
            Beside::None => format!(
                "SET LOCAL lock_timeout = {wait}; SELECT pg_advisory_lock({ALL_WRITES}); SET LOCAL lock_timeout = 0; "
            ),
        };
        let turns: String = self.turns.iter().map(|turn| format!("SELECT pg_advisory_lock({turn}); ")).collect();
        format!("BEGIN; {all}{turns}COMMIT; BEGIN ISOLATION LEVEL SERIALIZABLE; SELECT pg_current_xact_id()")
    }

    /// Commits a write, and gives the locks back.
    const COMMIT: &'static str = "COMMIT; SELECT pg_advisory_unlock_all()";

    /// Gives the locks back of a write that was rolled back.
    fn give_back(place: &mut Place) {
        if place.command("SELECT pg_advisory_unlock_all()").is_err() {
            place.discard();
        }
    }
}

const BEGIN_READ: &str = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY";

/// The value of a verb, and its events.
type Value<T> = (T, Vec<(AccountId, Event)>);

/// What came of one run.
enum Run<T, E> {
    Done(T),
    Failed(E),
    /// Nothing of it was kept.
    Again(StoreError),
}

impl<T, E: From<StoreError>> Run<T, E> {
    /// Of a request that the server did not take: the transaction is not committed.
    fn refused(place: &mut Place, error: postgres::Error) -> Self {
        match Failure::of(&error) {
            Failure::Conflict => {
                // The connection is as good as before.
                place.roll_back();
                Locks::give_back(place);
                Self::Again(error.into())
            }
            Failure::Lost => {
                place.discard();
                Self::Again(error.into())
            }
            Failure::Cancelled | Failure::Other => {
                place.discard();
                Self::Failed(StoreError::from(error).into())
            }
        }
    }
}

/// Runs a write until it is committed, and publishes its events, or until it fails. Blocks.
pub(super) fn write<T, E: From<StoreError>>(
    place: &mut Place,
    log: &EventLog,
    owner: i64,
    turns: &[i64],
    work: impl Fn(&Transaction<'_>) -> Result<T, E>,
) -> Result<T, E> {
    let (mut pauses, mut runs) = (Pauses::new(), 0);
    loop {
        match write_once(place, log, Locks { owner, turns, beside: Beside::in_run(runs) }, &work) {
            Run::Done(done) => return Ok(done),
            Run::Failed(error) => return Err(error),
            Run::Again(error) => pauses.next(error)?,
        }
        runs += 1;
    }
}

fn write_once<T, E: From<StoreError>>(
    place: &mut Place,
    log: &EventLog,
    locks: Locks<'_>,
    work: impl Fn(&Transaction<'_>) -> Result<T, E>,
) -> Run<T, E> {
    let number = match place.command(&locks.begin()) {
        Ok(number) => number.unwrap_or_default(),
        Err(error) => return Run::refused(place, error),
    };
    let Ok(number) = number.parse::<i64>() else {
        place.discard();
        return Run::Failed(StoreError::Corrupt(format!("{number:?} as the number of a transaction")).into());
    };
    let in_log = log.place(number);
    let (value, events) = match run_verb(place, in_log, work) {
        Run::Done(done) => done,
        Run::Failed(error) => {
            Locks::give_back(place);
            return Run::Failed(error);
        }
        Run::Again(error) => {
            Locks::give_back(place);
            return Run::Again(error);
        }
    };
    let committing = log.committing(in_log, events);
    let Err(error) = place.command(Locks::COMMIT) else {
        committing.committed();
        return Run::Done(value);
    };
    // The server refuses a commit with an error of its own; giving the locks back does not fail.
    if Failure::of(&error) != Failure::Lost {
        return Run::refused(place, error);
    }
    tracing::warn!(error = in_words(&error), "the connection to the database was lost during a commit");
    place.discard();
    match was_committed(place, number) {
        Ok(true) => {
            committing.committed();
            Run::Done(value)
        }
        Ok(false) => Run::Again(error.into()),
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
            Err(error) => Run::refused(place, error),
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
            Run::Again(error) => pauses.next(error)?,
        }
    }
}

/// Runs the verb in the transaction that has begun. Where it fails, the transaction is rolled back.
fn run_verb<T, E: From<StoreError>>(
    place: &mut Place,
    in_log: LogPlace,
    work: impl Fn(&Transaction<'_>) -> Result<T, E>,
) -> Run<Value<T>, E> {
    let session = match place.session() {
        Ok(session) => session,
        Err(error) => return Run::refused(place, error),
    };
    let transaction = Transaction::new(Connection::Postgres(session), in_log);
    // A verb that panics is a bug of ours: its transaction is rolled back.
    let done = catch_unwind(AssertUnwindSafe(|| work(&transaction)))
        .unwrap_or_else(|_| Err(StoreError::Aborted("a transaction panicked".into()).into()));
    let events = transaction.into_events();
    let run = match (session.failure(), done) {
        (None, Ok(value)) => return Run::Done((value, events)),
        (Some(Failure::Conflict), _) => Run::Again(StoreError::Aborted("the transaction ran into others".into())),
        (Some(Failure::Lost), _) => Run::Again(StoreError::Aborted("the connection to the database was lost".into())),
        (Some(Failure::Cancelled), _) => Run::Again(StoreError::Aborted("a statement took too long".into())),
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
    let mut pauses = Pauses { start: Instant::now(), limit: OUTCOME, pause: Duration::from_millis(10) };
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
        if pauses.next(StoreError::Closed).is_err() {
            return unknown("the database cannot be reached");
        }
    }
}

/// The pauses between runs of a transaction: the first a millisecond, each further one twice as long.
struct Pauses {
    start: Instant,
    limit: Duration,
    pause: Duration,
}

impl Pauses {
    fn new() -> Self {
        Self { start: Instant::now(), limit: AGAIN, pause: Duration::from_millis(1) }
    }

    /// Waits; fails with the error once it has been tried for long enough.
    fn next(&mut self, error: StoreError) -> Result<(), StoreError> {
        if self.start.elapsed() >= self.limit {
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
