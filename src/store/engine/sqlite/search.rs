//! The search index in FTS5. The document's number is the rowid, by which the list of each trigram is ordered: FTS5 seeks to a range and
//! reads it in descending order.

use crate::id::MessageId;
use crate::store::engine::search::{Document, Documents};
use crate::store::engine::{List, params};
use crate::store::{StoreError, Transaction};
use serde_json::json;
use std::fmt::Write as _;
use std::ops::Range;

const FIND: &str = "SELECT rowid FROM search_gram WHERE search_gram MATCH ?1 AND rowid >= ?2 AND rowid < ?3
    ORDER BY rowid DESC LIMIT ?4";

pub(in crate::store::engine) fn insert(c: &Transaction<'_>, document: &Document<'_>) -> Result<(), StoreError> {
    let Document { number, message, grams } = document;
    c.execute(
        "INSERT INTO search_document (message_id, number, is_folded) VALUES (?1, ?2, 1)",
        params![message, number],
    )?;
    let words = joined(grams, " ");
    c.execute("INSERT INTO search_gram (rowid, grams) VALUES (?1, ?2)", params![number, words])?;
    Ok(())
}

pub(in crate::store::engine) fn remove(c: &Transaction<'_>, messages: &[MessageId]) -> Result<(), StoreError> {
    let messages: List = messages.iter().map(|id| json!([id])).collect();
    let sql =
        "DELETE FROM search_document WHERE message_id IN (SELECT value ->> 0 FROM json_each(?1)) RETURNING number";
    let numbers: Vec<i64> = c.query(sql, params![messages], |row| row.get(0))?;
    for number in numbers {
        c.execute("DELETE FROM search_gram WHERE rowid = ?1", params![number])?;
    }
    Ok(())
}

pub(in crate::store::engine) fn clear(c: &Transaction<'_>) -> Result<(), StoreError> {
    c.execute("DELETE FROM search_document", params![])?;
    c.execute("INSERT INTO search_gram (search_gram) VALUES ('delete-all')", params![])?;
    Ok(())
}

pub(in crate::store::engine) fn find(
    c: &Transaction<'_>,
    grams: &[u32],
    within: Range<i64>,
    limit: usize,
) -> Result<Documents, StoreError> {
    let limit_of_sql = i64::try_from(limit).unwrap_or(i64::MAX);
    let values = params![joined(grams, " AND "), within.start, within.end, limit_of_sql];
    let numbers: Vec<i64> = c.query(FIND, values, |row| row.get(0))?;
    let rest = if numbers.len() < limit { None } else { numbers.last().copied() };
    Ok(Documents { numbers, rest })
}

fn joined(grams: &[u32], separator: &str) -> String {
    let mut text = String::with_capacity(grams.len() * (8 + separator.len()));
    for gram in grams {
        if !text.is_empty() {
            text.push_str(separator);
        }
        // The letter makes it a bareword in FTS5's query syntax.
        let _ = write!(text, "g{gram:x}");
    }
    text
}

/// The statement of [`find`], and its first parameter.
#[cfg(test)]
pub(in crate::store) fn statement(grams: &[u32]) -> (&'static str, String) {
    (FIND, joined(grams, " AND "))
}
