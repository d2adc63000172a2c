//! Contents: a header block with a reference to a body, which several contents may share.
//!
//! Invariant: unreferenced contents are deleted in the same transaction; their bodies are deleted later ([`bodies::release`]).

use super::bodies::Piece;
use super::{Store, StoreError, Transaction, bodies};
use crate::id::{BodyId, ContentId, SubmissionId};
use crate::store::engine::{List, Octets, Row, params};
use std::collections::BTreeSet;
use std::ops::Range;

/// The octets of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredMessage {
    /// The header block, with the empty line.
    pub header: Vec<u8>,
    pub body: Vec<u8>,
}

impl StoredMessage {
    pub fn into_bytes(self) -> Vec<u8> {
        let mut bytes = self.header;
        bytes.extend_from_slice(&self.body);
        bytes
    }
}

/// Stores a header block for a stored body of `body_size` octets.
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

/// Removes those of the contents that no message and no submission refers to, and releases their bodies.
pub(super) fn remove_unreferenced(
    connection: &Transaction<'_>,
    contents: impl IntoIterator<Item = ContentId>,
) -> Result<(), StoreError> {
    let contents: BTreeSet<i64> = contents.into_iter().map(ContentId::row).collect();
    let sql = format!(
        "DELETE FROM content WHERE id IN (SELECT CAST(value AS BIGINT) FROM {})
             AND NOT EXISTS (SELECT 1 FROM message WHERE content_id = content.id)
             AND NOT EXISTS (SELECT 1 FROM submission WHERE original_id = content.id)
             AND NOT EXISTS (SELECT 1 FROM submission WHERE outgoing_id = content.id) RETURNING body_id",
        connection.items(1)
    );
    let (count, items) = (contents.len(), contents.into_iter().collect::<List>());
    let mut bodies: Vec<BodyId> = connection.query(&sql, params![items], |row| row.get(0))?;
    if !bodies.is_empty() && bodies.len() < count {
        // Those that are left have these bodies: usually the copy in Sent has that of a message that has left the queue.
        let sql = format!(
            "SELECT body_id FROM content WHERE id IN (SELECT CAST(value AS BIGINT) FROM {})",
            connection.items(1)
        );
        let left: Vec<BodyId> = connection.query(&sql, params![items], |row| row.get(0))?;
        bodies.retain(|body| !left.contains(body));
    }
    bodies::release(connection, bodies)
}

/// A message whose body may still have to be read from the object store.
pub(super) struct FoundMessage {
    header: Vec<u8>,
    body: Piece,
}

pub(super) fn load(connection: &Transaction<'_>, content_id: ContentId) -> Result<FoundMessage, StoreError> {
    let sql = "SELECT header, body_id FROM content WHERE id = ?1";
    let row = |row: &Row<'_>| Ok((row.get(0)?, row.get(1)?));
    let (header, body_id) = connection.query_row(sql, params![content_id], row)?;
    let (_, body) = bodies::read(connection, body_id, 0..usize::MAX)?;
    Ok(FoundMessage { header, body })
}

/// The total length of a content, header block included, and the octets of `range`, clipped to it. Octets outside the range are
/// not read.
pub(super) fn load_range(
    connection: &Transaction<'_>,
    content_id: ContentId,
    range: Range<usize>,
) -> Result<(usize, FoundMessage), StoreError> {
    let sql = "SELECT body_id FROM content WHERE id = ?1";
    let body_id = connection.query_row(sql, params![content_id], |row| row.get(0))?;
    let (header_size, header) = connection.read_range(Octets::Header(content_id), range.clone())?;
    let of_body = range.start.saturating_sub(header_size)..range.end.saturating_sub(header_size);
    let (body_size, body) = bodies::read(connection, body_id, of_body)?;
    Ok((header_size.saturating_add(body_size), FoundMessage { header, body }))
}

impl Store {
    pub(super) async fn fetch_message(&self, found: FoundMessage) -> Result<StoredMessage, StoreError> {
        Ok(StoredMessage { header: found.header, body: self.fetch_body(found.body).await? })
    }

    /// A range of the body of a submission, clipped to it. Fails if the submission was dropped.
    pub async fn submission_body_range(&self, id: &SubmissionId, range: Range<usize>) -> Result<Vec<u8>, StoreError> {
        let id = id.clone();
        let found = self.read(move |connection| {
            let sql = "SELECT c.body_id FROM submission s JOIN content c ON c.id = s.original_id WHERE s.id = ?1";
            let body_id = connection.query_row(sql, params![id], |row| row.get(0))?;
            bodies::read(connection, body_id, range.clone())
        });
        let (_, piece) = found.await?;
        self.fetch_body(piece).await
    }

    pub async fn content(&self, content_id: ContentId) -> Result<StoredMessage, StoreError> {
        let found = self.read(move |connection| load(connection, content_id)).await?;
        self.fetch_message(found).await
    }
}
