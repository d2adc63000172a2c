//! Message bytes: a body once, and a header block before it for each form the message has.
//!
//! Invariant: no content stays without a reference, nor a body without a content.

use super::{Store, StoreError, Transaction};
use crate::id::{BodyId, ContentId, SubmissionId};
use crate::store::engine::{Octets, Row, params};
use std::ops::Range;

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

/// Stores a header block before a stored body of `body_size` octets.
pub(super) fn insert_content(
    connection: &Transaction<'_>,
    header: &[u8],
    body_id: BodyId,
    body_size: usize,
) -> Result<ContentId, StoreError> {
    let size = i64::try_from(header.len().saturating_add(body_size)).unwrap_or(i64::MAX);
    let sql = "INSERT INTO content (header, body_id, size) VALUES (?1, ?2, ?3) RETURNING id";
    connection.query_row(sql, params![header, body_id, size], |row| row.get(0))
}

/// Removes those of the contents that no message and no submission has any more, and bodies with their last content.
pub(super) fn remove_unreferenced(
    connection: &Transaction<'_>,
    contents: impl IntoIterator<Item = ContentId>,
) -> Result<(), StoreError> {
    let sql = "DELETE FROM content WHERE id = ?1 AND NOT EXISTS (SELECT 1 FROM message WHERE content_id = ?1)
                   AND NOT EXISTS (SELECT 1 FROM submission WHERE original_id = ?1 OR outgoing_id = ?1) RETURNING body_id";
    for content in contents {
        let body: Option<BodyId> = connection.query_opt(sql, params![content], |row| row.get(0))?;
        if let Some(body) = body {
            let sql = "DELETE FROM body WHERE id = ?1 AND NOT EXISTS (SELECT 1 FROM content WHERE body_id = ?1)";
            connection.execute(sql, params![body])?;
        }
    }
    Ok(())
}

/// The bytes of a content row.
pub(super) fn load(connection: &Transaction<'_>, content_id: ContentId) -> Result<StoredMessage, StoreError> {
    let sql = "SELECT c.header, b.data FROM content c JOIN body b ON b.id = c.body_id WHERE c.id = ?1";
    let row = |row: &Row<'_>| Ok(StoredMessage { header: row.get(0)?, body: row.get(1)? });
    connection.query_row(sql, params![content_id], row)
}

/// Octets of a content row, counted from the beginning of its header block; fewer at its end. With them, how many there
/// are in all. The others are not brought into memory.
pub(super) fn load_range(
    connection: &Transaction<'_>,
    content_id: ContentId,
    range: Range<usize>,
) -> Result<(usize, Vec<u8>), StoreError> {
    let sql = "SELECT body_id FROM content WHERE id = ?1";
    let body_id = connection.query_row(sql, params![content_id], |row| row.get(0))?;
    let (header_size, mut octets) = connection.read_range(Octets::Header(content_id), range.clone())?;
    let of_body = range.start.saturating_sub(header_size)..range.end.saturating_sub(header_size);
    let (body_size, rest) = connection.read_range(Octets::Body(body_id), of_body)?;
    octets.extend_from_slice(&rest);
    Ok((header_size.saturating_add(body_size), octets))
}

impl Store {
    /// Some octets of the body of a submission; fewer at its end. Fails when it has been dropped from the queue.
    pub async fn submission_body_range(&self, id: &SubmissionId, range: Range<usize>) -> Result<Vec<u8>, StoreError> {
        let id = id.clone();
        self.read(move |connection| {
            let sql = "SELECT c.body_id FROM submission s JOIN content c ON c.id = s.original_id WHERE s.id = ?1";
            let body_id = connection.query_row(sql, params![id], |row| row.get(0))?;
            Ok(connection.read_range(Octets::Body(body_id), range.clone())?.1)
        })
        .await
    }

    /// The bytes of a content row.
    pub async fn content(&self, content_id: ContentId) -> Result<StoredMessage, StoreError> {
        self.read(move |connection| load(connection, content_id)).await
    }
}
