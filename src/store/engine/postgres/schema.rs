//! Schema migrations, and the requirements on the server and the database.
//!
//! Invariant: a released migration never changes. It is applied once, under a lock, by the first daemon that has it. Those after
//! [`BASE`] only add (expand); what is no longer used is removed by a later one (contract), whose minimum reader is the first
//! version of the program that does without it. So daemons of the version before go on working on the new schema, and older ones
//! are refused.

use super::session::{Session, in_words};

/// The oldest major version of PostgreSQL that is tested.
const MIN_SERVER_VERSION: u32 = 14;
/// The number of the advisory lock that migrations are applied under: `inboxlay` in ASCII.
const LOCK: i64 = i64::from_be_bytes(*b"inboxlay");

/// Of migrations, whether applied by this program or, while it waits for the lock, by another.
const TIMEOUT: &str = "30min";

struct Migration {
    /// The schema version that a program must support, at least, to use a database with this migration.
    minimum_reader: u32,
    sql: &'static [&'static str],
}

/// In order; the first creates schema version 1.
const MIGRATIONS: &[Migration] = &[
    Migration {
        minimum_reader: 1,
        sql: &[include_str!("schema.sql"), include_str!("bodies.sql"), include_str!("triggers.sql")],
    },
    Migration { minimum_reader: 1, sql: &[include_str!("events.sql")] },
    // Older programs release the long changes of other daemons when they start.
    Migration { minimum_reader: 3, sql: &[include_str!("daemons.sql")] },
    Migration { minimum_reader: 4, sql: &[include_str!("no_triggers.sql")] },
    // An older program would open an incomplete copy.
    Migration { minimum_reader: 5, sql: &["CREATE TABLE incomplete_copy (source TEXT NOT NULL)"] },
    Migration { minimum_reader: 5, sql: &[include_str!("emails.sql")] },
    Migration { minimum_reader: 5, sql: &[include_str!("threads.sql")] },
    Migration { minimum_reader: 5, sql: &[include_str!("inboxes.sql")] },
    // An older program does not enforce the permissions of tokens.
    Migration { minimum_reader: 9, sql: &[include_str!("users.sql")] },
    Migration { minimum_reader: 9, sql: &[include_str!("idempotency.sql")] },
    Migration { minimum_reader: 9, sql: &[include_str!("uid_validity.sql")] },
    // A program that does not know the index would store messages that no search finds.
    Migration { minimum_reader: 12, sql: &[include_str!("search.sql")] },
    // An older program delivers what the lists block.
    Migration { minimum_reader: 13, sql: &[include_str!("access.sql")] },
    Migration { minimum_reader: 13, sql: &[include_str!("retention.sql")] },
    Migration { minimum_reader: 13, sql: &[include_str!("labels.sql")] },
    Migration { minimum_reader: 13, sql: &[include_str!("notifications.sql")] },
    // An older program delivers to inboxes that are disabled.
    Migration { minimum_reader: 17, sql: &[include_str!("disabled.sql")] },
    Migration { minimum_reader: 17, sql: &[include_str!("webhooks.sql")] },
    // An older program sends compressed events as they are.
    Migration { minimum_reader: 19, sql: &[include_str!("webhook_limits.sql")] },
    Migration { minimum_reader: 19, sql: &[include_str!("sent_threads.sql")] },
    Migration { minimum_reader: 19, sql: &[include_str!("statistics.sql")] },
    Migration { minimum_reader: 19, sql: &[include_str!("least_modseq.sql")] },
    Migration { minimum_reader: 19, sql: &[include_str!("object_id.sql")] },
    Migration { minimum_reader: 19, sql: &[include_str!("deleted.sql")] },
    Migration { minimum_reader: 19, sql: &[include_str!("saved_at.sql")] },
    Migration { minimum_reader: 19, sql: &[include_str!("metadata.sql")] },
    Migration { minimum_reader: 19, sql: &[include_str!("overview.sql")] },
    Migration { minimum_reader: 19, sql: &[include_str!("folded.sql")] },
    Migration { minimum_reader: 19, sql: &[include_str!("notify.sql")] },
];

/// The schema of the first release. Later migrations leave the database usable by daemons of the version before.
#[cfg(test)]
const BASE: u32 = 27;

#[derive(Debug, thiserror::Error)]
pub enum SchemaError {
    #[error("database error: {}", in_words(.0))]
    Database(#[from] postgres::Error),
    #[error("the database server is PostgreSQL {0}, version {MIN_SERVER_VERSION} or newer is required: upgrade it")]
    ServerTooOld(u32),
    #[error(
        "the database is read-only (a standby, or default_transaction_read_only): [store] url must name the primary"
    )]
    ReadOnly,
    #[error(
        "the encoding of the database is {0}: create it with ENCODING 'UTF8' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0"
    )]
    Encoding(String),
    #[error(
        "the collation of the database is not C: create it with ENCODING 'UTF8' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0"
    )]
    Collation,
    #[error("the user in [store] url lacks the CREATE privilege on the current schema of the database: {0}")]
    Privilege(String),
    #[error(
        "the database has schema version {found}, which requires a program that supports version {minimum}; this one supports {known}: start the newer program"
    )]
    TooNew { found: u32, minimum: u32, known: u32 },
    #[error("the database returned {0:?} instead of a number")]
    NotANumber(String),
}

/// Checks the server and applies missing migrations. Returns the epoch of the event log. The session's `statement_timeout` is
/// changed, so it must not be used for anything else.
pub(super) fn migrate(session: &Session) -> Result<i64, SchemaError> {
    check_server(session)?;
    session.command(&format!("SET statement_timeout = '{TIMEOUT}'; SELECT pg_advisory_lock({LOCK})"))?;
    apply(session)?;
    let epoch = number(session, EPOCH)?;
    // After an error the lock is released with the connection.
    session.command(&format!("SELECT pg_advisory_unlock({LOCK})"))?;
    Ok(epoch.into())
}

/// If the log has events of transactions with higher IDs than this server has assigned, the database was restored from another
/// server. A new epoch then puts later events after those. 281474976710656 is 2^48.
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
    if version < MIN_SERVER_VERSION {
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
        tracing::warn!(
            "the database server runs with fsync = off: accepted mail may be lost in a crash of its machine"
        );
    }
    Ok(())
}

/// Returns the schema version. Fails if this program does not support it.
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
        tracing::info!(version, "applied a schema migration");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_migration_leaves_the_database_usable_by_the_version_before() {
        for (version, migration) in (1_u32..).zip(MIGRATIONS).filter(|(version, _)| *version > BASE) {
            assert!(migration.minimum_reader < version, "migration {version}");
        }
    }
}
