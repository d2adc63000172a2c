//! The schema's versions, in order.
//!
//! Invariant: a version that has shipped never changes; a store is brought forward one version at a time, each in one
//! transaction, and a store from the future is refused.

use super::OpenError;
use rusqlite::{Connection, TransactionBehavior};
use std::path::Path;

const MIGRATIONS: &[&str] = &[include_str!("migrations/0001.sql")];

/// Applies what is missing. `PRAGMA user_version` counts what has been applied.
pub(super) fn bring_up_to_date(connection: &mut Connection, path: &Path) -> Result<(), OpenError> {
    let sqlite = |source| OpenError::Sqlite { path: path.to_owned(), source };
    let found: i64 = connection.query_row("PRAGMA user_version", [], |row| row.get(0)).map_err(sqlite)?;
    let known = i64::try_from(MIGRATIONS.len()).unwrap_or(i64::MAX);
    if found > known {
        return Err(OpenError::TooNew { path: path.to_owned(), found, known });
    }
    for (version, migration) in (1_i64..).zip(MIGRATIONS).filter(|(version, _)| *version > found) {
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(sqlite)?;
        transaction.execute_batch(migration).map_err(sqlite)?;
        transaction.pragma_update(None, "user_version", version).map_err(sqlite)?;
        transaction.commit().map_err(sqlite)?;
        tracing::info!(version, "the store's schema was brought forward");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Store;

    #[test]
    fn a_store_from_the_future_is_refused_with_both_versions_named() {
        let dir = tempfile::tempdir().unwrap();
        drop(Store::open(dir.path()).unwrap());
        let connection = Connection::open(dir.path().join("inboxlayer.db")).unwrap();
        connection.pragma_update(None, "user_version", 99).unwrap();
        let refused = Store::open(dir.path()).unwrap_err();
        assert!(matches!(refused, OpenError::TooNew { found: 99, .. }), "{refused}");
    }
}
