//! Message bytes: a body once, and a header block before it for each form the message has.
//!
//! Invariant: no body or content stays without a reference; triggers of the schema see to it in the same transaction.

use super::{Store, StoreError};
use rusqlite::{Connection, params};

/// A message's bytes as they are stored: header block (with the empty line that ends it) and body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredMessage {
    /// The header block, the empty line included.
    pub header: Vec<u8>,
    /// All that follows it.
    pub body: Vec<u8>,
}

impl StoredMessage {
    /// Both together, as one message.
    pub fn into_bytes(self) -> Vec<u8> {
        let mut bytes = self.header;
        bytes.extend_from_slice(&self.body);
        bytes
    }
}

/// Stores a body; the caller gives it a header block with [`insert_content`] in the same transaction.
pub(super) fn insert_body(connection: &Connection, body: &[u8]) -> Result<i64, StoreError> {
    connection.prepare_cached("INSERT INTO body (data) VALUES (?1)")?.execute([body])?;
    Ok(connection.last_insert_rowid())
}

/// Stores a header block before a stored body of `body_size` octets.
pub(super) fn insert_content(
    connection: &Connection,
    header: &[u8],
    body_id: i64,
    body_size: usize,
) -> Result<i64, StoreError> {
    let size = i64::try_from(header.len().saturating_add(body_size)).unwrap_or(i64::MAX);
    connection
        .prepare_cached("INSERT INTO content (header, body_id, size) VALUES (?1, ?2, ?3)")?
        .execute(params![header, body_id, size])?;
    Ok(connection.last_insert_rowid())
}

/// The bytes of a content row.
pub(super) fn load(connection: &Connection, content_id: i64) -> Result<StoredMessage, StoreError> {
    let sql = "SELECT c.header, b.data FROM content c JOIN body b ON b.id = c.body_id WHERE c.id = ?1";
    let row = |row: &rusqlite::Row<'_>| Ok(StoredMessage { header: row.get(0)?, body: row.get(1)? });
    Ok(connection.prepare_cached(sql)?.query_row([content_id], row)?)
}

impl Store {
    /// The bytes of a content row, by its number in the store.
    pub async fn content(&self, content_id: i64) -> Result<StoredMessage, StoreError> {
        self.read(move |connection| load(connection, content_id)).await
    }
}
