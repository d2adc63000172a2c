//! Overviews of messages: what lists show of a header, decoded once.
//!
//! Invariant: a content has at most one overview, which is removed with it. The index of searches adds them; a content without one (new,
//! set aside, with a very long header, or older than overviews) is parsed when it is shown.

use super::{StoreError, Transaction};
use crate::id::ContentId;
use crate::store::engine::params;

/// Adds the overview of a stored content, unless it has one.
pub(super) fn add(c: &Transaction<'_>, content: ContentId, written: &str) -> Result<(), StoreError> {
    let sql = "INSERT INTO overview (content_id, fields) VALUES (?1, ?2) ON CONFLICT (content_id) DO NOTHING";
    c.execute(sql, params![content, written])?;
    Ok(())
}

/// Removes all, to be added again.
pub(super) fn clear(c: &Transaction<'_>) -> Result<(), StoreError> {
    c.execute("DELETE FROM overview", params![])?;
    Ok(())
}
