//! The schema's versions, and what the server and the database must be.
//!
//! Invariant: a version that has shipped never changes, and is applied once, under a lock, by the daemon that comes first. A version only adds to what the
//! one before it knows (expand); what is no longer used is removed by a later one (contract), which names as its minimum reader the first version
//! of the program that does without. So a daemon of the version before keeps working on the newer schema, and one that would not
//! is refused.

use super::session::{Session, in_words};

/// The oldest major version of PostgreSQL that is tried.
const OLDEST_SERVER: u32 = 14;
/// Of the advisory lock under which the schema is changed: one of the program's own, `inboxlay` as octets.
const LOCK: i64 = i64::from_be_bytes(*b"inboxlay");

/// For the schema to be brought up to date, by this program or the one that came first.
const LONGEST: &str = "30min";

/// A step of the schema.
struct Migration {
    /// The oldest version of the schema that a program must know to work on this one.
    minimum_reader: u32,
    sql: &'static [&'static str],
}

/// In order; the first makes version 1.
const MIGRATIONS: &[Migration] = &[
    Migration {
        minimum_reader: 1,
        sql: &[include_str!("schema.sql"), include_str!("bodies.sql"), include_str!("triggers.sql")],
    },
    Migration { minimum_reader: 1, sql: &[include_str!("events.sql")] },
    // Programs of the versions before end the long changes of other daemons when they start.
    Migration { minimum_reader: 3, sql: &[include_str!("daemons.sql")] },
    Migration { minimum_reader: 4, sql: &[include_str!("no_triggers.sql")] },
    // A program that does not know it would open an incomplete copy.
    Migration { minimum_reader: 5, sql: &["CREATE TABLE incomplete_copy (source TEXT NOT NULL)"] },
    Migration { minimum_reader: 5, sql: &[include_str!("emails.sql")] },
    Migration { minimum_reader: 5, sql: &[include_str!("threads.sql")] },
    Migration { minimum_reader: 5, sql: &[include_str!("inboxes.sql")] },
    // A program that does not know permissions would let every token do everything.
    Migration { minimum_reader: 9, sql: &[include_str!("users.sql")] },
    Migration { minimum_reader: 9, sql: &[include_str!("idempotency.sql")] },
];

/// Why the database is not used.
#[derive(Debug, thiserror::Error)]
pub enum SchemaError {
    #[error("the database: {}", in_words(.0))]
    Database(#[from] postgres::Error),
    #[error("the database server is PostgreSQL {0}: it must be {OLDEST_SERVER} or newer")]
    ServerTooOld(u32),
    #[error(
        "the database is read-only (a standby, or default_transaction_read_only): [store] url must name the primary"
    )]
    ReadOnly,
    #[error(
        "the database has the encoding {0}: create it with ENCODING 'UTF8' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0"
    )]
    Encoding(String),
    #[error(
        "the database does not order text by its octets: create it with ENCODING 'UTF8' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0"
    )]
    Collation,
    #[error("the user of [store] url may not create tables in the database's first schema: {0}")]
    Privilege(String),
    #[error(
        "the database is at schema version {found}, which programs of schema version {minimum} and newer can use; this one is of {known}: start the newer program"
    )]
    TooNew { found: u32, minimum: u32, known: u32 },
    #[error("the database answered {0:?} where a number was expected")]
    NotANumber(String),
}

/// Checks the server, and applies what is missing. The connection is not to be used for anything else. Returns the epoch of the event log.
pub(super) fn bring_up_to_date(session: &Session) -> Result<i64, SchemaError> {
    check_server(session)?;
    session.command(&format!("SET statement_timeout = '{LONGEST}'; SELECT pg_advisory_lock({LOCK})"))?;
    apply(session)?;
    let epoch = number(session, EPOCH)?;
    // After an error the lock goes with the connection.
    session.command(&format!("SELECT pg_advisory_unlock({LOCK})"))?;
    Ok(epoch.into())
}

/// Events of transactions that this server has not begun yet were made on another: the database was restored from there. In a new epoch
/// they are before all that comes. 281474976710656 is 2^48.
const EPOCH: &str = "
    UPDATE event_log SET epoch = epoch + 1
        WHERE greatest((SELECT max(position) FROM event), removed_position) - epoch * 281474976710656
            >= CAST(CAST(pg_snapshot_xmax(pg_current_snapshot()) AS TEXT) AS BIGINT);
    SELECT coalesce(max(epoch), 0) FROM event_log";

fn number(session: &Session, sql: &str) -> Result<u32, SchemaError> {
    let found = session.command(sql)?.unwrap_or_default();
    found.parse().map_err(|_| SchemaError::NotANumber(found))
}

fn check_server(session: &Session) -> Result<(), SchemaError> {
    let version = number(session, "SHOW server_version_num")? / 10_000;
    if version < OLDEST_SERVER {
        return Err(SchemaError::ServerTooOld(version));
    }
    match session.command("SHOW server_encoding")? {
        Some(encoding) if encoding == "UTF8" => {}
        other => return Err(SchemaError::Encoding(other.unwrap_or_default())),
    }
    if number(session, "SELECT CAST('B' < 'a' AND 'a b' < 'aa' AND 'z' < 'é' AS INTEGER)")? != 1 {
        return Err(SchemaError::Collation);
    }
    if session.command("SHOW fsync")?.as_deref() != Some("on") {
        tracing::warn!("the database server runs with fsync = off: mail is lost when its machine fails");
    }
    Ok(())
}

/// Fails where this program cannot use the schema. Returns its version.
pub(super) fn check_version(session: &Session) -> Result<u32, SchemaError> {
    let known = u32::try_from(MIGRATIONS.len()).unwrap_or(u32::MAX);
    let found = number(session, "SELECT coalesce(max(version), 0) FROM schema_version")?;
    let minimum = number(session, "SELECT coalesce(max(minimum_reader), 0) FROM schema_version")?;
    if minimum > known { Err(SchemaError::TooNew { found, minimum, known }) } else { Ok(found) }
}

fn apply(session: &Session) -> Result<(), SchemaError> {
    let table = "CREATE TABLE IF NOT EXISTS schema_version
        (version INTEGER NOT NULL PRIMARY KEY, minimum_reader INTEGER NOT NULL, applied_at TIMESTAMPTZ NOT NULL DEFAULT now())";
    session.command(table).map_err(|error| match error.code() {
        Some(&postgres::error::SqlState::INSUFFICIENT_PRIVILEGE) => SchemaError::Privilege(in_words(&error)),
        _ => error.into(),
    })?;
    let found = check_version(session)?;
    for (version, migration) in (1_u32..).zip(MIGRATIONS).filter(|(version, _)| *version > found) {
        let Migration { minimum_reader, sql } = migration;
        let sql = sql.join("\n");
        session.command(&format!(
            "BEGIN; {sql};
             INSERT INTO schema_version (version, minimum_reader) VALUES ({version}, {minimum_reader}); COMMIT"
        ))?;
        tracing::info!(version, "the schema of the database was brought forward");
    }
    Ok(())
}
