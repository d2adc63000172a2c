//! Message bytes: a body once, and a header block before it for each form the message has.
//!
//! Invariant: no body or content stays without a reference; triggers of the schema see to it in the same transaction.

use super::{Store, StoreError};
use crate::id::{BodyId, ContentId, SubmissionId};
use rusqlite::blob::ZeroBlob;
use rusqlite::{Connection, params};
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

/// A body of more octets is written in pieces: as a parameter it would be copied.
const ONE_PIECE: usize = 256 * 1024;

/// Stores a body; the caller gives it a header block with [`insert_content`] in the same transaction.
pub(super) fn insert_body(connection: &Connection, body: &[u8]) -> Result<BodyId, StoreError> {
    let mut insert = connection.prepare_cached("INSERT INTO body (data) VALUES (?1)")?;
    if body.len() <= ONE_PIECE {
        insert.execute([body])?;
        return Ok(BodyId::new(connection.last_insert_rowid()));
    }
    insert.execute([ZeroBlob(u64::try_from(body.len()).unwrap_or(u64::MAX))])?;
    let id = connection.last_insert_rowid();
    let mut blob = connection.blob_open(rusqlite::MAIN_DB, "body", "data", id, false)?;
    for (at, piece) in body.chunks(ONE_PIECE).enumerate() {
        blob.write_at(piece, at * ONE_PIECE)?;
    }
    Ok(BodyId::new(id))
}

/// Stores a header block before a stored body of `body_size` octets.
pub(super) fn insert_content(
    connection: &Connection,
    header: &[u8],
    body_id: BodyId,
    body_size: usize,
) -> Result<ContentId, StoreError> {
    let size = i64::try_from(header.len().saturating_add(body_size)).unwrap_or(i64::MAX);
    connection
        .prepare_cached("INSERT INTO content (header, body_id, size) VALUES (?1, ?2, ?3)")?
        .execute(params![header, body_id, size])?;
    Ok(ContentId::new(connection.last_insert_rowid()))
}

/// The bytes of a content row.
pub(super) fn load(connection: &Connection, content_id: ContentId) -> Result<StoredMessage, StoreError> {
    let sql = "SELECT c.header, b.data FROM content c JOIN body b ON b.id = c.body_id WHERE c.id = ?1";
    let row = |row: &rusqlite::Row<'_>| Ok(StoredMessage { header: row.get(0)?, body: row.get(1)? });
    Ok(connection.prepare_cached(sql)?.query_row([content_id], row)?)
}

/// Octets of a content row, counted from the beginning of its header block; fewer at its end. With them, how many there
/// are in all. The others are not brought into memory.
pub(super) fn load_range(
    connection: &Connection,
    content_id: ContentId,
    range: Range<usize>,
) -> Result<(usize, Vec<u8>), StoreError> {
    let sql = "SELECT body_id FROM content WHERE id = ?1";
    let body_id = connection.prepare_cached(sql)?.query_row([content_id], |row| row.get(0))?;
    let header = connection.blob_open(rusqlite::MAIN_DB, "content", "header", content_id.row(), true)?;
    let body = connection.blob_open(rusqlite::MAIN_DB, "body", "data", body_id, true)?;
    let size = header.len() + body.len();
    let (start, end) = (range.start.min(size), range.end.min(size));
    let mut octets = vec![0; end.saturating_sub(start)];
    let of_header = start.min(header.len())..end.min(header.len());
    let (first, rest) = octets.split_at_mut(of_header.len());
    if !first.is_empty() {
        header.read_at_exact(first, of_header.start)?;
    }
    if !rest.is_empty() {
        body.read_at_exact(rest, start.saturating_sub(header.len()))?;
    }
    Ok((size, octets))
}

impl Store {
    /// Some octets of the body of a submission; fewer at its end. Fails when it has been dropped from the queue.
    pub async fn submission_body_range(&self, id: &SubmissionId, range: Range<usize>) -> Result<Vec<u8>, StoreError> {
        let id = id.clone();
        self.read(move |connection| {
            let sql = "SELECT c.body_id FROM submission s JOIN content c ON c.id = s.original_id WHERE s.id = ?1";
            let body_id = connection.prepare_cached(sql)?.query_row([id], |row| row.get(0))?;
            let blob = connection.blob_open(rusqlite::MAIN_DB, "body", "data", body_id, true)?;
            let end = range.end.min(blob.len());
            let start = range.start.min(end);
            let mut octets = vec![0; end - start];
            blob.read_at_exact(&mut octets, start)?;
            Ok(octets)
        })
        .await
    }

    /// The bytes of a content row.
    pub async fn content(&self, content_id: ContentId) -> Result<StoredMessage, StoreError> {
        self.read(move |connection| load(connection, content_id)).await
    }
}
