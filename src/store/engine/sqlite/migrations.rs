//! Schema migrations.
//!
//! Invariant: a released migration never changes. All missing migrations are applied in one transaction, after the database was
//! copied. Those after [`BASE`] only add (expand): programs of the version before go on working. What is no longer used is removed by
//! a later one (contract), whose minimum reader is the first version that does without it. Older programs are refused.

use super::copy::{self, CopyError};
use crate::resources::disk::FreeDisk;
use rusqlite::{Connection, TransactionBehavior};
use std::path::{Path, PathBuf};

struct Migration {
    /// The schema version that a program must support, at least, to use a database with this migration.
    minimum_reader: u32,
    sql: &'static str,
}

/// A migration that programs of the previous version do not support.
const fn contract(version: u32, sql: &'static str) -> Migration {
    Migration { minimum_reader: version, sql }
}

/// In order; the first creates schema version 1. Programs up to version 15 ignore the minimum reader and refuse every newer
/// version.
const MIGRATIONS: &[Migration] = &[
    contract(1, include_str!("migrations/0001.sql")),
    contract(2, include_str!("migrations/0002.sql")),
    contract(3, include_str!("migrations/0003.sql")),
    contract(4, include_str!("migrations/0004.sql")),
    contract(5, include_str!("migrations/0005.sql")),
    contract(6, include_str!("migrations/0006.sql")),
    contract(7, include_str!("migrations/0007.sql")),
    contract(8, include_str!("migrations/0008.sql")),
    contract(9, include_str!("migrations/0009.sql")),
    contract(10, include_str!("migrations/0010.sql")),
    contract(11, include_str!("migrations/0011.sql")),
    contract(12, include_str!("migrations/0012.sql")),
    contract(13, include_str!("migrations/0013.sql")),
    contract(14, include_str!("migrations/0014.sql")),
    contract(15, include_str!("migrations/0015.sql")),
    contract(16, include_str!("migrations/0016.sql")),
    contract(17, include_str!("migrations/0017.sql")),
    contract(18, include_str!("migrations/0018.sql")),
    // An older program would open an incomplete copy.
    contract(19, include_str!("migrations/0019.sql")),
    Migration { minimum_reader: 19, sql: include_str!("migrations/0020.sql") },
    Migration { minimum_reader: 19, sql: include_str!("migrations/0021.sql") },
    Migration { minimum_reader: 19, sql: include_str!("migrations/0022.sql") },
    // An older program does not enforce the permissions of tokens.
    contract(23, include_str!("migrations/0023.sql")),
    Migration { minimum_reader: 23, sql: include_str!("migrations/0024.sql") },
    Migration { minimum_reader: 23, sql: include_str!("migrations/0025.sql") },
    // A program that does not know the index would store messages that no search finds.
    contract(26, include_str!("migrations/0026.sql")),
    // An older program delivers what the lists block.
    contract(27, include_str!("migrations/0027.sql")),
    Migration { minimum_reader: 27, sql: include_str!("migrations/0028.sql") },
    Migration { minimum_reader: 27, sql: include_str!("migrations/0029.sql") },
    Migration { minimum_reader: 27, sql: include_str!("migrations/0030.sql") },
    // An older program delivers to inboxes that are disabled.
    contract(31, include_str!("migrations/0031.sql")),
    Migration { minimum_reader: 31, sql: include_str!("migrations/0032.sql") },
    // An older program sends compressed events as they are.
    contract(33, include_str!("migrations/0033.sql")),
    Migration { minimum_reader: 33, sql: include_str!("migrations/0034.sql") },
    Migration { minimum_reader: 33, sql: include_str!("migrations/0035.sql") },
    Migration { minimum_reader: 33, sql: include_str!("migrations/0036.sql") },
    Migration { minimum_reader: 33, sql: include_str!("migrations/0037.sql") },
    Migration { minimum_reader: 33, sql: include_str!("migrations/0038.sql") },
    Migration { minimum_reader: 33, sql: include_str!("migrations/0039.sql") },
    Migration { minimum_reader: 33, sql: include_str!("migrations/0040.sql") },
    Migration { minimum_reader: 33, sql: include_str!("migrations/0041.sql") },
    Migration { minimum_reader: 33, sql: include_str!("migrations/0042.sql") },
    Migration { minimum_reader: 33, sql: include_str!("migrations/0043.sql") },
];

/// The schema of the first release. Later migrations leave the database usable by programs of the version before.
#[cfg(test)]
const BASE: u32 = 41;

/// After any of these, the database is unchanged.
#[derive(Debug, thiserror::Error)]
pub enum SchemaError {
    #[error("{}: {source}", .path.display())]
    Sqlite { path: PathBuf, source: rusqlite::Error },
    #[error(
        "{} has schema version {found}, which requires a program that supports version {minimum}; this one supports {known}: start the newer program, or restore the copy that was made before the upgrade (docs/operations.md)",
        .path.display()
    )]
    TooNew { path: PathBuf, found: u32, minimum: u32, known: u32 },
    #[error(
        "cannot copy {} before migrating its schema from version {found} to {known}: {source}. Nothing was changed",
        .path.display()
    )]
    NoCopy { path: PathBuf, found: u32, known: u32, source: CopyError },
    #[error("{}", failed(.path, *.found, *.version, .copy.as_deref(), .source))]
    Failed { path: PathBuf, found: u32, version: u32, copy: Option<PathBuf>, source: rusqlite::Error },
}

fn failed(path: &Path, found: u32, version: u32, copy: Option<&Path>, source: &rusqlite::Error) -> String {
    let path = path.display();
    let failed = format!("cannot migrate {path} from schema version {found} to {version}: {source}");
    match copy {
        None => failed,
        Some(copy) => format!(
            "{failed}. Nothing was changed: the previous version of the program can still use the database. If the database is damaged, \
             restore the copy: stop the daemon, then rm -f '{path}-wal' '{path}-shm' && cp '{}' '{path}'",
            copy.display()
        ),
    }
}

/// Copies the database and applies missing migrations. `PRAGMA user_version` is the number of the last one applied.
pub(super) fn run(connection: &mut Connection, path: &Path, disk: &FreeDisk) -> Result<(), SchemaError> {
    apply(connection, path, disk, MIGRATIONS)
}

fn apply(connection: &mut Connection, path: &Path, disk: &FreeDisk, all: &[Migration]) -> Result<(), SchemaError> {
    let sqlite = |source| SchemaError::Sqlite { path: path.to_owned(), source };
    let (found, minimum) = versions(connection).map_err(sqlite)?;
    let known = u32::try_from(all.len()).unwrap_or(u32::MAX);
    if minimum > known {
        return Err(SchemaError::TooNew { path: path.to_owned(), found, minimum, known });
    }
    if found >= known {
        return Ok(());
    }
    let copy = match found {
        0 => None,
        _ => Some(copy::before_upgrade(connection, path, found, disk).map_err(|source| SchemaError::NoCopy {
            path: path.to_owned(),
            found,
            known,
            source,
        })?),
    };
    let mut version = found;
    apply_after(connection, all, &mut version).map_err(|source| SchemaError::Failed {
        path: path.to_owned(),
        found,
        version,
        copy: copy.clone(),
        source,
    })?;
    if let Some(copy) = copy {
        tracing::info!(from = found, to = known, copy = %copy.display(), "migrated the schema; the copy is of the previous version");
    }
    Ok(())
}

/// Applies the migrations after `version` in one transaction. On failure, `version` is the one that failed.
fn apply_after(connection: &mut Connection, all: &[Migration], version: &mut u32) -> rusqlite::Result<()> {
    let found = *version;
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    transaction.execute_batch(
        "CREATE TABLE IF NOT EXISTS schema_version
            (version INTEGER PRIMARY KEY, minimum_reader INTEGER NOT NULL, applied_at INTEGER NOT NULL DEFAULT (unixepoch())) STRICT",
    )?;
    for (number, Migration { minimum_reader, sql }) in (1_u32..).zip(all).filter(|(number, _)| *number > found) {
        *version = number;
        transaction.execute_batch(sql)?;
        let sql = "INSERT INTO schema_version (version, minimum_reader) VALUES (?1, ?2)";
        transaction.execute(sql, [number, *minimum_reader])?;
    }
    transaction.pragma_update(None, "user_version", *version)?;
    transaction.commit()
}

/// The schema version, and the one that a program must support at least.
fn versions(connection: &Connection) -> rusqlite::Result<(u32, u32)> {
    let found: u32 = connection.query_row("PRAGMA user_version", [], |row| row.get(0))?;
    let sql = "SELECT EXISTS (SELECT 1 FROM sqlite_schema WHERE name = 'schema_version')";
    let minimum = match connection.query_row(sql, [], |row| row.get(0))? {
        true => connection.query_row("SELECT max(minimum_reader) FROM schema_version", [], |row| row.get(0))?,
        false => found,
    };
    Ok((found, minimum))
}

#[cfg(test)]
mod tests;
