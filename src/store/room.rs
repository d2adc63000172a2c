//! How much an inbox holds, and may.
//!
//! Invariant: the check is made in the transaction that stores, which is the only one that writes: nothing that happens at
//! the same time overfills an inbox. What it costs does not grow with the inbox: the store keeps a count, and adds
//! nothing up.

use super::{Store, StoreError};
use crate::id::InboxId;
use rusqlite::{Connection, OptionalExtension, params};

/// Why a message was not put into an inbox.
#[derive(Debug, thiserror::Error)]
pub enum NotStored {
    /// These inboxes have no room for it: temporary, since their owner may make some.
    #[error("the inbox is full")]
    Full(Vec<InboxId>),
    /// The store failed: temporary.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<rusqlite::Error> for NotStored {
    fn from(error: rusqlite::Error) -> Self {
        Self::Store(error.into())
    }
}

/// Whether an inbox that may hold `most` octets takes `size` more. One that is not there has nothing to say: what is put
/// into it fails by itself.
pub(super) fn has_room(connection: &Connection, inbox: &InboxId, size: u64, most: u64) -> Result<bool, StoreError> {
    let sql = "SELECT size FROM inbox WHERE id = ?1";
    let held: Option<i64> = connection.prepare_cached(sql)?.query_row(params![inbox], |row| row.get(0)).optional()?;
    Ok(held.is_none_or(|held| held.unsigned_abs().saturating_add(size) <= most))
}

/// An error that names those of the inboxes that have no room.
pub(super) fn check<'a>(
    connection: &Connection,
    inboxes: impl Iterator<Item = &'a InboxId>,
    size: u64,
    most: u64,
) -> Result<(), NotStored> {
    let mut full = Vec::new();
    for inbox in inboxes {
        if !full.contains(inbox) && !has_room(connection, inbox, size, most)? {
            full.push(inbox.clone());
        }
    }
    if full.is_empty() { Ok(()) } else { Err(NotStored::Full(full)) }
}

/// Octets of a message.
pub(super) fn octets(header: &[u8], body: &[u8]) -> u64 {
    u64::try_from(header.len().saturating_add(body.len())).unwrap_or(u64::MAX)
}

impl Store {
    /// Whether an inbox that may hold `most` octets takes `size` more now. Whoever stores is told for certain.
    pub async fn inbox_has_room(&self, inbox: &InboxId, size: u64, most: u64) -> Result<bool, StoreError> {
        let inbox = inbox.clone();
        self.read(move |connection| has_room(connection, &inbox, size, most)).await
    }
}

#[cfg(test)]
mod tests;
