//! The search index as a GIN index on arrays of trigrams. GIN cannot seek to a range of document numbers, and returns rows in no order.
//! So documents are grouped into blocks by number, and each has its block's number as one more trigram. A search queries one block after the
//! other: GIN intersects the lists of the trigrams with the block's short list, and at most a block of rows is sorted.

use crate::id::MessageId;
use crate::store::engine::search::{Document, Documents};
use crate::store::engine::{List, params};
use crate::store::{StoreError, Transaction};
use serde_json::json;
use std::ops::Range;

/// Documents per block.
const BLOCK: i64 = 4096;
/// Blocks queried per call.
const BLOCKS: usize = 64;

// Without MATERIALIZED, the planner may filter rows in order of number, and read every array.
const FIND: &str = "WITH found AS MATERIALIZED
        (SELECT number FROM search_document WHERE grams @> CAST(CAST(?1 AS TEXT) AS INTEGER[]))
    SELECT number FROM found WHERE number >= ?2 AND number < ?3 ORDER BY number DESC LIMIT ?4";

pub(in crate::store::engine) fn insert(c: &Transaction<'_>, document: &Document<'_>) -> Result<(), StoreError> {
    let Document { number, message, grams } = document;
    let sql = "INSERT INTO search_document (message_id, number, is_folded, grams)
               VALUES (?1, ?2, 1, CAST(CAST(?3 AS TEXT) AS INTEGER[]))";
    c.execute(sql, params![message, number, array(block_of(*number), grams)])?;
    Ok(())
}

pub(in crate::store::engine) fn remove(c: &Transaction<'_>, messages: &[MessageId]) -> Result<(), StoreError> {
    let messages: List = messages.iter().map(|id| json!([id])).collect();
    let sql = format!("DELETE FROM search_document WHERE message_id IN (SELECT value ->> 0 FROM {})", c.items(1));
    c.execute(&sql, params![messages])?;
    Ok(())
}

pub(in crate::store::engine) fn clear(c: &Transaction<'_>) -> Result<(), StoreError> {
    c.execute("TRUNCATE search_document", params![])?;
    Ok(())
}

pub(in crate::store::engine) fn find(
    c: &Transaction<'_>,
    grams: &[u32],
    within: Range<i64>,
    limit: usize,
) -> Result<Documents, StoreError> {
    let mut found = Documents::default();
    if within.is_empty() {
        return Ok(found);
    }
    let (first, last) = (block_of(within.start), block_of(within.end - 1));
    for (looked_into, block) in (first..=last).rev().enumerate() {
        if looked_into == BLOCKS {
            found.rest = Some((block + 1) * BLOCK);
            return Ok(found);
        }
        let left = i64::try_from(limit - found.numbers.len()).unwrap_or(i64::MAX);
        let values = params![array(block, grams), within.start, within.end, left];
        found.numbers.extend(c.query(FIND, values, |row| row.get::<i64>(0))?);
        if found.numbers.len() >= limit {
            found.rest = found.numbers.last().copied();
            return Ok(found);
        }
    }
    Ok(found)
}

const fn block_of(number: i64) -> i64 {
    number.div_euclid(BLOCK)
}

/// The trigrams and a block, as the server reads an array.
fn array(block: i64, grams: &[u32]) -> String {
    // It may collide with a trigram's number; then a search compares a message too many.
    let block = (block.cast_unsigned().wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32) as u32;
    let numbers = grams.iter().chain([&block]).map(|gram| gram.cast_signed().to_string()).collect::<Vec<_>>();
    format!("{{{}}}", numbers.join(","))
}

/// The statements that [`find`] runs if nothing is found, with their parameters.
#[cfg(test)]
pub(in crate::store) fn statements(grams: &[u32], within: Range<i64>) -> Vec<String> {
    let of = |block: i64| {
        let array = format!("'{}'", array(block, grams));
        let values = [array, within.start.to_string(), within.end.to_string(), "20".to_owned()];
        let numbered = values.iter().enumerate().map(|(at, value)| (format!("?{}", at + 1), value));
        numbered.fold(FIND.to_owned(), |sql, (parameter, value)| sql.replace(&parameter, value))
    };
    (block_of(within.start)..=block_of(within.end - 1)).map(of).collect()
}
