//! The event log on SQLite. There is one writer, so the rows of an epoch are committed in the order of their numbers.

use crate::events::Cursor;
use crate::store::StoreError;
use crate::store::engine::{Transaction, params};

/// At most `?1` rows, the oldest first.
pub(in crate::store::engine) const OLDEST: &str = "SELECT position, number, at FROM event ORDER BY number LIMIT ?1";
/// Up to the row at `?1`, `?2`.
pub(in crate::store::engine) const REMOVE: &str = "DELETE FROM event WHERE number <= ?2 AND position <= ?1";

pub(in crate::store::engine) fn end(transaction: &Transaction<'_>, base: i64) -> Result<Cursor, StoreError> {
    // Not the number of the last row, which may have been removed.
    let sql = "SELECT coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'event'), 0)";
    Ok(Cursor { position: base, number: transaction.query_row(sql, params![], |row| row.get(0))? })
}
